/* What the commands share: the command line so far, the configuration, how things are asked and
 * shown. Results go to standard output, all else (progress, questions, errors) to standard error.
 */
#ifndef SALVOR_CLI_CLI_H
#define SALVOR_CLI_CLI_H

#include "base/json.h"
#include "base/text.h"
#include "cli/options.h"
#include "config/config.h"
#include "job/job.h"
#include <stdio.h>

struct cli {
    /* options before or after any command */
    const char *config_path, *repository, *password_file;
    bool json, quiet, verbose, help, version;
    /* the configuration, once cli_config has been called */
    struct config *config;
    bool own_repository; /* the repository is the one that the configuration names */
};

/* One command. main parses `option` into `args_size` cleared bytes, refuses a wrong number of
 * words, and calls run. */
struct command {
    const char *name, *words, *summary; /* words: "[RESOURCE...]", for the help */
    const struct option *option;
    size_t noption, args_size;
    int least, most; /* words */
    int (*run)(struct cli *c, void *args, char **word, int n, struct err *e);
};
#define COMMAND_OPTIONS(table, type)                                                               \
    .option = (table), .noption = array_len(table), .args_size = sizeof(type)
enum { WORDS_ANY = 1 << 20 };

extern const struct command cmd_init, cmd_backup, cmd_run, cmd_list, cmd_show, cmd_dump,
    cmd_restore, cmd_rows, cmd_undo, cmd_verify, cmd_forget, cmd_prune, cmd_unlock, cmd_key,
    cmd_repair, cmd_status, cmd_test, cmd_config, cmd_version;

/* ---- session.c: from words and configuration to an open repository ---- */

/* Reads the configuration; without any, an empty one is composed when a repository is named on the
 * command line or in the environment. Later calls do nothing. ERR_USAGE without either. */
_warn_unused_ int cli_config(struct cli *c, struct err *e);
/* Asks for the passphrase where nothing gives it, and opens the repository. */
_warn_unused_ int cli_open(struct cli *c, struct job **out, struct err *e);
/* Opens it, reads snapshots and index. */
_warn_unused_ int cli_open_loaded(struct cli *c, struct job **out, struct err *e);
/* The resources that words mean: configured names, or addresses, which are added to the
 * configuration (the only one under `name` if that is not NULL). No words: all configured. The
 * array is the caller's to free. */
_warn_unused_ int cli_resources(struct cli *c, char **word, int n, const char *name,
                                const struct config_resource ***out, size_t *nout, struct err *e);
/* The name of the resource that a word means, which need not be configured; the caller frees it. */
_warn_unused_ int cli_resource_name(struct cli *c, const char *word, char **out, struct err *e);
/* The same for several words. */
_warn_unused_ int cli_resource_names(struct cli *c, char **word, int n, struct str_list *out,
                                     struct err *e);
/* The snapshot that a word means: an id, a prefix of one, "latest". It stays the job's. */
_warn_unused_ int cli_snapshot(struct job *j, const char *word, const struct snapshot **out,
                               struct err *e);

/* Adds which snapshot it is in which something was not found; returns the error's code. */
int cli_hint_snapshot(const struct snapshot *s, struct err *e);
/* A path in a snapshot as a person writes it: below content/ in one of ours; with a leading slash,
 * and in others, from the top. Without slashes at either end; the caller frees it. */
char *cli_path(const struct snapshot *s, const char *word);

/* ---- ask.c ---- */

struct passphrase {
    struct buf text;
    const char *origin; /* for messages: "SALVOR_PASSWORD_FILE", "the terminal" */
    bool asked;         /* on the terminal: may be asked again */
};
void passphrase_release(struct passphrase *p); /* wipes it */
/* -p, SALVOR_PASSWORD{,_FILE,_COMMAND}, the configuration, RESTIC_PASSWORD{,_FILE,_COMMAND}, the
 * terminal. With `twice`, for a repository that is being made, the terminal asks to repeat it;
 * else it asks only when there is a repository. ERR_USAGE says how to give one when there is no
 * terminal. */
_warn_unused_ int ask_passphrase(const struct cli *c, const struct config *config, bool twice,
                                 struct passphrase *out, struct err *e);
/* A new one: the first line of `file` if not NULL, else the terminal, twice. */
_warn_unused_ int ask_new_passphrase(const char *file, struct passphrase *out, struct err *e);
/* One line from standard input after a question on standard error; "" at its end. The caller frees
 * it. */
_warn_unused_ int ask_line(const char *question, char **out, struct err *e);
bool can_ask(void); /* standard input and error are a terminal */

/* ---- confirm.c ---- */

/* Lets a restore pass that replaces nothing; else asks for the resource's name, or unattended wants
 * both --yes and SALVOR_ALLOW_UNATTENDED_RESTORE=1. ERR_REFUSED. */
_warn_unused_ int confirm_restore(const struct restore_plan *p, bool yes, bool without_keeping,
                                  struct err *e);

/* The same for another change of what is in use; `what` says it as a sentence without a full stop:
 * "this puts 5 rows back into app". */
_warn_unused_ int confirm_change(const char *resource, const char *what, bool yes, struct err *e);

/* ---- from_file.c ---- */

struct from_file {
    const char *path, *passphrase_file; /* of gpg; NULL: its agent asks */
    const char *to;                     /* the address of a database */
    bool create_roles, without_roles, dry_run;
};
/* Restores an archive that salvor did not make (target/foreign.h) into a new or empty database. */
_warn_unused_ int restore_from_file(struct cli *c, const struct from_file *o, struct err *e);

/* ---- progress.c ---- */

struct bar; /* shows a struct progress from a thread of its own */
/* `what` leads the line: a resource's name; copied. NULL comes back with -q or --json. */
struct bar *bar_start(const struct cli *c, struct progress *p, const char *what);
void bar_stop(struct bar *b); /* clears the line; NULL is allowed */
void bar_stopp(struct bar **b);

/* ---- print.c ---- */

/* The state of one JSON line of output. */
struct json_line {
    struct buf text;
    struct json_out json;
};
void json_line_begin(struct json_line *l); /* an object is begun */
/* Ends the object, writes the line to standard output and releases all. */
_warn_unused_ int json_line_end(struct json_line *l, struct err *e);
/* Fields of a snapshot, into an object that was begun. */
void json_snapshot(struct json_out *j, const struct snapshot *s);
/* An error for whoever reads: a line on standard error, and with --json an object too. */
void print_failure(const struct cli *c, const struct err *e);
/* Prints text from a repository so that a terminal cannot be commanded by it. */
void print_safe(FILE *f, const char *text);

/* ---- table.c ---- */

/* Rows of text in columns that fit what is in them. Columns whose title starts with ">" go to the
 * right. */
struct table {
    const char *const *title;
    size_t columns;
    struct str_list cell;
};
void table_init(struct table *t, const char *const *title, size_t columns);
void table_add(struct table *t, const char *text); /* the next cell; NULL is "-" */
void table_print(const struct table *t, FILE *f);
void table_release(struct table *t);

#endif
