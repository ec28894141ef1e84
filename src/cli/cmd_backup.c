/* salvor backup: resources into snapshots, now. */
#include "base/log.h"
#include "base/mem.h"
#include "base/stream.h"
#include "cli/steps.h"
#include "crypt/crypt.h"

#include <fcntl.h>
#include <string.h>

struct args {
    const char *name;
    bool reread;
};

static const struct option options[] = {
    {"name", 0, OPTION_TEXT, offsetof(struct args, name), "NAME",
     "what the resource of one address is called"},
    {"reread", 0, OPTION_FLAG, offsetof(struct args, reread), NULL,
     "read every byte again, trusting no time stamps"},
};

int point_new(char out[POINT_ID], struct err *e)
{
    uint8_t random[(POINT_ID - 1) / 2];
    int rc = random_bytes(random, sizeof random, e);
    if (rc == 0)
        hex_encode(random, sizeof random, out);
    return rc;
}

static int print_json(const struct config_resource *r, const char *point,
                      const struct backup_result *b, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *j = &l.json;
    json_key(j, "backup");
    json_begin_object(j);
    json_text(j, "resource", r->name);
    json_text(j, "type", resource_type_name(r->type));
    json_id(j, "snapshot", &b->snapshot);
    json_id(j, "tree", &b->tree);
    json_text(j, "point", point);
    json_time(j, "begun", b->begun);
    json_double(j, "seconds", (double)b->duration / (double)NSEC_PER_SEC);
    json_u64(j, "files", b->files);
    json_u64(j, "files_unchanged", b->unchanged);
    json_u64(j, "directories", b->dirs);
    json_u64(j, "bytes", b->bytes);
    json_u64(j, "bytes_new", b->bytes_new);
    json_u64(j, "bytes_stored", b->bytes_stored);
    json_u64(j, "bytes_resumed", b->bytes_resumed);
    json_bool(j, "partial", b->partial);
    json_list(j, "missing", &b->missing);
    json_list(j, "notes", &b->notes);
    json_key(j, "size_warning");
    if (b->size_warning[0] != '\0')
        json_put_text(j, b->size_warning);
    else
        json_put_null(j);
    json_end_object(j);
    return json_line_end(&l, e);
}

static void print_text(const struct config_resource *r, const struct backup_result *b)
{
    char id[ID_SHORT + 1], all[24], new[24], stored[24], took[32];
    printf("%s: snapshot %s%s: %llu file%s", r->name, id_short(&b->snapshot, id),
           b->partial ? ", PARTIAL" : "", (unsigned long long)b->files, b->files == 1 ? "" : "s");
    if (b->unchanged > 0)
        printf(" (%llu unchanged)", (unsigned long long)b->unchanged);
    printf(", %s, %s new, %s stored, in %s\n", size_human(b->bytes, all),
           size_human(b->bytes_new, new), size_human(b->bytes_stored, stored),
           duration_human(b->duration, took));
    if (b->bytes_resumed > 0)
        printf("%s: %s were there already from an interrupted backup\n", r->name,
               size_human(b->bytes_resumed, all));
    (void)fflush(stdout);
}

static int backup_one(struct cli *c, struct job *j, const struct backup_step *s,
                      const struct config_resource *r, const char *point, struct err *e)
{
    struct backup_options o = {.job = s->job, .point = point, .reread = s->reread};
    _cleanup_(backup_result_release) struct backup_result result = {.partial = false};
    if (r->type == RESOURCE_STREAM) {
        if (isatty(STDIN_FILENO))
            return err_set(e, ERR_USAGE,
                           "resource %s is standard input, which is a terminal; pipe "
                           "something into salvor",
                           r->name);
        int fd = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
        if (fd < 0)
            return err_set(e, ERR_USAGE, "resource %s is standard input, which is closed", r->name);
        o.input = stream_from_fd(fd, "standard input");
    }
    struct bar *bar = bar_start(c, &j->progress, r->name);
    int rc = job_backup(j, r, &o, &result, e);
    bar_stop(bar);
    if (rc < 0 && rc != ERR_PARTIAL)
        return rc;
    for (size_t k = 0; k < result.missing.n; k++)
        log_line(LOG_ERROR, "%s: missing: %s", r->name, result.missing.s[k]);
    for (size_t k = 0; k < result.notes.n; k++)
        log_notice("%s: %s", r->name, result.notes.s[k]);
    if (result.size_warning[0] != '\0')
        log_warning("%s: %s", r->name, result.size_warning);
    if (c->json) {
        struct err failed = ERR_INIT;
        int written = print_json(r, point, &result, &failed);
        if (written < 0) {
            *e = failed;
            return written;
        }
    } else {
        print_text(r, &result);
    }
    return rc;
}

static void add_names(struct buf *out, const char *text, size_t of, const struct str_list *names)
{
    if (names->n == 0)
        return;
    buf_addf(out, "%s%zu of %zu resources %s: ", out->len > 0 ? "; " : "", names->n, of, text);
    for (size_t i = 0; i < names->n; i++)
        buf_addf(out, "%s%s", i > 0 ? ", " : "", names->s[i]);
}

/* Each one's own message was told when it happened. */
static void summarize(size_t of, const struct str_list *failed, const struct str_list *partial,
                      struct err *e)
{
    struct buf text = BUF_INIT(BUF_TEXT);
    add_names(&text, "failed", of, failed);
    add_names(&text, "were backed up in part", of, partial);
    err_set(e, e->code, "%s", buf_str(&text));
    buf_release(&text);
}

/* How the resources of a step went. */
struct outcome {
    struct err first; /* of those that failed, else of those that are partial */
    size_t n;
    struct str_list failed, partial;
};

static void outcome_release(struct outcome *o)
{
    str_list_release(&o->failed);
    str_list_release(&o->partial);
}

/* Notes how one of several went. Negative when the others must not be tried. */
static int note(struct outcome *o, const struct config_resource *r, int rc, const struct err *e)
{
    o->n++;
    if (rc == 0) /* whatever a step that was got over left in `e` */
        return 0;
    str_list_add(rc == ERR_PARTIAL ? &o->partial : &o->failed, r->name);
    /* A table that somebody has locked is no reason to leave the others out; the repository is. */
    bool stop = rc == ERR_CANCELLED || (rc == ERR_LOCKED && r->type != RESOURCE_POSTGRES);
    if (stop || o->first.code == 0 || (o->first.code == ERR_PARTIAL && rc != ERR_PARTIAL))
        o->first = *e;
    return stop ? rc : 0;
}

/* A resource, or each of its databases. */
static int backup_all_of(struct cli *c, struct job *j, const struct backup_step *s, size_t at,
                         const char *point, struct outcome *out)
{
    _cleanup_(job_databases_release) struct job_databases d = {NULL, 0};
    struct err e = ERR_INIT;
    const struct config_resource *r = s->resource[at];
    int rc = job_databases(r, &d, &e);
    if (rc < 0) {
        struct ledger_run run;
        record_begin(j, &run, "backup", r->name, s->job);
        record_end(j, &run, rc, &e);
        (void)err_prefix(&e, "backup of %s failed", r->name);
    }
    bool several = s->n > 1 || d.n > 1;
    for (size_t i = 0; i < (d.n > 0 ? d.n : 1); i++) {
        const struct config_resource *one = d.n > 0 ? &d.resource[i] : r;
        if (rc == 0)
            rc = backup_one(c, j, s, one, point, &e);
        int stop = note(out, one, rc, &e);
        if (stop < 0)
            return stop;
        if (rc < 0 && several)
            log_line(LOG_ERROR, "%s", e.msg);
        e = (struct err)ERR_INIT;
        rc = 0;
    }
    return 0;
}

int step_backup(struct cli *c, struct job *j, const struct backup_step *s, struct err *e)
{
    char point[POINT_ID];
    _cleanup_(outcome_release) struct outcome o = {.n = 0};
    int rc = point_new(point, e);
    if (rc < 0)
        return rc;
    for (size_t i = 0; i < s->n && rc == 0; i++)
        rc = backup_all_of(c, j, s, i, point, &o);
    if (rc == 0 && o.n > 1 && o.first.code != 0)
        summarize(o.n, &o.failed, &o.partial, &o.first);
    *e = o.first;
    return e->code;
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    _cleanup_free_ const struct config_resource **resource = NULL;
    _cleanup_(job_freep) struct job *j = NULL;
    size_t count = 0;
    int rc = cli_resources(c, word, n, a->name, &resource, &count, e);
    if (rc < 0)
        return rc;
    if (count == 0)
        return err_set(
            e, ERR_USAGE,
            "nothing to back up: no resource is configured; name one "
            "(sqlite:FILE, ./PATH, postgres://HOST/DATABASE) or add it to the configuration");
    rc = cli_open(c, &j, e);
    if (rc < 0)
        return rc;
    struct backup_step s = {.resource = resource, .n = count, .reread = a->reread};
    return step_backup(c, j, &s, e);
}

const struct command cmd_backup = {
    .name = "backup",
    .words = "[RESOURCE...]",
    .summary = "back resources up now: configured names or addresses; none means all",
    COMMAND_OPTIONS(options, struct args),
    .least = 0,
    .most = WORDS_ANY,
    .run = run,
};
