/* salvor: the command line. Finds the command, parses its options, runs it, and turns what it says
 * into an exit status. */
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "cli/cli.h"
#include "crypt/crypt.h"

#include <ctype.h>
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>

static const struct command *const commands[] = {
    &cmd_init, &cmd_backup, &cmd_run,    &cmd_list,   &cmd_show,    &cmd_dump,  &cmd_restore,
    &cmd_rows, &cmd_undo,   &cmd_test,   &cmd_verify, &cmd_forget,  &cmd_prune, &cmd_unlock,
    &cmd_key,  &cmd_repair, &cmd_status, &cmd_config, &cmd_version,
};

static const struct option options[] = {
    {"config", 'c', OPTION_TEXT, offsetof(struct cli, config_path), "FILE", "the configuration"},
    {"repository", 'r', OPTION_TEXT, offsetof(struct cli, repository), "ADDRESS",
     "the repository, instead of the configured one"},
    {"password-file", 'p', OPTION_TEXT, offsetof(struct cli, password_file), "FILE",
     "holds the passphrase"},
    {"quiet", 'q', OPTION_FLAG, offsetof(struct cli, quiet), NULL, "no progress, no notices"},
    {"verbose", 'v', OPTION_FLAG, offsetof(struct cli, verbose), NULL, "say more"},
    {"json", 0, OPTION_FLAG, offsetof(struct cli, json), NULL, "results as JSON, a line each"},
    {"help", 'h', OPTION_FLAG, offsetof(struct cli, help), NULL, "this"},
    {"version", 0, OPTION_FLAG, offsetof(struct cli, version), NULL, "the version"},
};

static void print_help(void)
{
    printf("usage: salvor [-c CONFIG] [-r REPOSITORY] [-p FILE] COMMAND [ARGUMENT...]\n\n");
    for (size_t i = 0; i < array_len(commands); i++)
        if (commands[i] != &cmd_version) /* the same as --version */
            printf("  %-8s %s\n", commands[i]->name, commands[i]->summary);
    printf("\nOptions everywhere: -c, --config FILE; -r, --repository ADDRESS;\n"
           "  -p, --password-file FILE; -q, --quiet; -v, --verbose; --json; -h, --help;\n"
           "  --version. More: salvor COMMAND --help; man salvor\n");
}

static void print_command_help(const struct command *cmd)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    options_help(cmd->option, cmd->noption, &text);
    printf("usage: salvor %s%s%s%s\n\n", cmd->name, cmd->noption > 0 ? " [OPTION...]" : "",
           cmd->words != NULL ? " " : "", cmd->words != NULL ? cmd->words : "");
    printf("%c%s.\n\n%s%s", toupper((unsigned char)cmd->summary[0]), cmd->summary + 1,
           buf_str(&text), text.len > 0 ? "\n" : "");
    printf("Options for every command: salvor --help. More: man salvor-%s\n", cmd->name);
}

static void on_signal(int number)
{
    (void)number;
    atomic_store(&cancel_requested, 1);
}

/* The first signal asks to stop in order; a second one of its kind ends at once. One that the
 * parent had ignored (nohup) stays ignored. */
static void catch_signals(void)
{
    static const int stops[] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction stop = {.sa_handler = on_signal, .sa_flags = (int)SA_RESETHAND}, before;
    (void)sigemptyset(&stop.sa_mask);
    for (size_t i = 0; i < array_len(stops); i++)
        if (sigaction(stops[i], NULL, &before) == 0 && before.sa_handler != SIG_IGN)
            (void)sigaction(stops[i], &stop, NULL);
    struct sigaction ignore = {.sa_handler = SIG_IGN};
    (void)sigemptyset(&ignore.sa_mask);
    (void)sigaction(SIGPIPE, &ignore, NULL); /* a write says EPIPE instead */
    (void)sigaction(SIGXFSZ, &ignore, NULL); /* and EFBIG */
}

static int find_command(const char *name, const struct command **out, struct err *e)
{
    const char *names[array_len(commands)];
    for (size_t i = 0; i < array_len(commands); i++) {
        names[i] = commands[i]->name;
        if (strcmp(name, names[i]) == 0) {
            *out = commands[i];
            return 0;
        }
    }
    const char *nearest = text_nearest(name, names, array_len(names));
    if (nearest != NULL)
        return err_set(e, ERR_USAGE, "unknown command %s; did you mean %s?", name, nearest);
    return err_set(e, ERR_USAGE, "unknown command %s; `salvor --help` lists them", name);
}

static int run_command(struct cli *c, const struct option_set *global, const struct command *cmd,
                       int argc, char **argv, struct err *e)
{
    int n = 0;
    _cleanup_free_ void *args = mem_zero(cmd->args_size + 1);
    struct option_set own = {cmd->option, cmd->noption, args};
    int rc = options_parse(&own, global, false, argv, argc, &n, e);
    if (rc == 0 && c->help) {
        print_command_help(cmd);
    } else if (rc == 0 && (n < cmd->least || n > cmd->most)) {
        rc = err_set(e, ERR_USAGE, "%s: %s; usage: salvor %s%s%s", cmd->name,
                     n < cmd->least ? "an argument is missing" : "too many arguments", cmd->name,
                     cmd->words != NULL ? " " : "", cmd->words != NULL ? cmd->words : "");
    } else if (rc == 0) {
        log_set_level(c->quiet ? LOG_WARNING : c->verbose ? LOG_DEBUG : LOG_NOTICE);
        rc = cmd->run(c, args, argv, n, e);
    } else {
        err_hint(e, "see salvor %s --help", cmd->name);
    }
    options_release(&own);
    return rc;
}

static int run(struct cli *c, int argc, char **argv, struct err *e)
{
    struct option_set global = {options, array_len(options), c};
    const struct command *cmd = NULL;
    int n = 0;
    int rc = options_parse(&global, NULL, true, argv + 1, argc - 1, &n, e);
    if (rc < 0)
        return err_hint(e, "see salvor --help");
    char **word = argv + 1;
    if (c->version)
        return cmd_version.run(c, NULL, word, 0, e);
    if (n > 0 && strcmp(word[0], "help") == 0) {
        c->help = true;
        word++;
        n--;
    }
    if (n == 0 && c->help) {
        print_help();
        return 0;
    }
    if (n == 0)
        return err_set(e, ERR_USAGE, "no command was given; `salvor --help` lists them");
    rc = find_command(word[0], &cmd, e);
    return rc < 0 ? rc : run_command(c, &global, cmd, n - 1, word + 1, e);
}

int main(int argc, char **argv)
{
    struct cli c = {.config = NULL};
    struct err e = ERR_INIT;
    (void)umask(077);
    secrets_protect_process();
    catch_signals();
    int rc = argc > 0 ? run(&c, argc, argv, &e) : err_set(&e, ERR_USAGE, "no arguments at all");
    if (rc < 0)
        print_failure(&c, &e);
    if (fflush(stdout) != 0 || ferror(stdout)) {
        log_line(LOG_ERROR, "cannot write standard output: %s", strerror(errno));
        rc = rc < 0 ? rc : ERR_IO;
    }
    config_free(c.config);
    return err_exit_status(rc);
}
