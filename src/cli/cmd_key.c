/* salvor key: the passphrases that open the repository. */
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

struct args {
    const char *new_password_file;
};

static const struct option options[] = {
    {"new-password-file", 0, OPTION_TEXT, offsetof(struct args, new_password_file), "FILE",
     "the new passphrase, instead of asking for it"},
};

struct listing {
    bool json;
    struct table table;
    struct json_line line;
};

static int show(const struct key_info *k, void *arg, struct err *e)
{
    (void)e;
    struct listing *l = arg;
    char id[ID_SHORT + 1], when[TIME_TEXT];
    if (!l->json) {
        table_add(&l->table, id_short(&k->id, id));
        table_add(&l->table, time_format_human(k->created, false, when));
        table_add(&l->table, k->user);
        table_add(&l->table, k->host);
        table_add(&l->table, k->current ? "in use now" : "-");
        return 0;
    }
    json_begin_object(&l->line.json);
    json_id(&l->line.json, "id", &k->id);
    json_time(&l->line.json, "created", k->created);
    json_text(&l->line.json, "user", k->user);
    json_text(&l->line.json, "host", k->host);
    json_bool(&l->line.json, "current", k->current);
    json_end_object(&l->line.json);
    return 0;
}

static int list(struct cli *c, struct job *j, struct err *e)
{
    static const char *const titles[] = {"ID", "MADE", "USER", "HOST", "REMARK"};
    struct listing l = {.json = c->json};
    table_init(&l.table, titles, array_len(titles));
    json_line_begin(&l.line);
    json_key(&l.line.json, "keys");
    json_begin_array(&l.line.json);
    int rc = repo_key_list(j->repo, show, &l, e);
    json_end_array(&l.line.json);
    if (rc == 0 && c->json)
        rc = json_line_end(&l.line, e);
    else if (rc == 0)
        table_print(&l.table, stdout);
    buf_release(&l.line.text);
    table_release(&l.table);
    return rc;
}

/* Says what became of a key; `id` may be NULL. */
static int done(const struct cli *c, const char *action, const char *id, struct err *e)
{
    if (!c->json) {
        printf("key %s%s%s\n", id != NULL ? id : "", id != NULL ? " " : "", action);
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "key");
    json_begin_object(&l.json);
    json_text(&l.json, "action", action);
    json_text(&l.json, "id", id);
    json_end_object(&l.json);
    return json_line_end(&l, e);
}

static int add(struct cli *c, struct job *j, const struct args *a, struct err *e)
{
    _cleanup_(passphrase_release) struct passphrase p = {.asked = false};
    struct id id;
    char hex[ID_HEX + 1];
    int rc = ask_new_passphrase(a->new_password_file, &p, e);
    if (rc == 0)
        rc = repo_key_add(j->repo, buf_str(&p.text), &id, e);
    return rc < 0 ? rc : done(c, "added", id_hex(&id, hex), e);
}

static int change(struct cli *c, struct job *j, const struct args *a, struct err *e)
{
    _cleanup_(passphrase_release) struct passphrase p = {.asked = false};
    int rc = ask_new_passphrase(a->new_password_file, &p, e);
    if (rc == 0)
        rc = repo_key_change(j->repo, buf_str(&p.text), e);
    return rc < 0 ? rc : done(c, "changed", NULL, e);
}

static int remove_key(struct cli *c, struct job *j, const char *prefix, struct err *e)
{
    int rc = repo_key_remove(j->repo, prefix, e);
    return rc < 0 ? rc : done(c, "removed", prefix, e);
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    bool removes = strcmp(word[0], "remove") == 0;
    bool known = removes || strcmp(word[0], "list") == 0 || strcmp(word[0], "add") == 0 ||
                 strcmp(word[0], "passwd") == 0;
    if (!known)
        return err_set(e, ERR_USAGE, "key %s? it is list, add, remove ID or passwd", word[0]);
    if ((n == 2) != removes)
        return err_set(e, ERR_USAGE,
                       removes ? "key remove needs the id of a key; `salvor key list` "
                                 "shows them"
                               : "key list, add and passwd take nothing more");
    _cleanup_(job_freep) struct job *j = NULL;
    int rc = cli_open(c, &j, e);
    if (rc < 0)
        return rc;
    if (word[0][0] == 'l')
        return list(c, j, e);
    struct ledger_run record;
    record_begin(j, &record, "key", NULL, NULL);
    rc = removes             ? remove_key(c, j, word[1], e)
         : word[0][0] == 'a' ? add(c, j, a, e)
                             : change(c, j, a, e);
    record_end(j, &record, rc, e);
    return rc;
}

const struct command cmd_key = {
    .name = "key",
    .words = "list | add | remove ID | passwd",
    .summary = "list, add, remove and change the passphrases of the repository",
    COMMAND_OPTIONS(options, struct args),
    .least = 1,
    .most = 2,
    .run = run,
};
