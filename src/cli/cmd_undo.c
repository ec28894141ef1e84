/* salvor undo: takes the last restore in place back. Needs no repository, only the ledger. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

struct args {
    bool dry_run;
};

static const struct option options[] = {
    {"dry-run", 'n', OPTION_FLAG, offsetof(struct args, dry_run), NULL,
     "only say what would be put back"},
};

static void print_rows(const struct undo_result *u, bool dry_run)
{
    char when[TIME_TEXT];
    printf("the rows of ");
    print_safe(stdout, u->resource != NULL ? u->resource : "-");
    printf(" that were put back at %s: %llu %s removed, %llu were gone already\n",
           time_format_human(u->restored, false, when), (unsigned long long)u->removed,
           dry_run ? "would be" : "are", (unsigned long long)u->gone);
    for (size_t i = 0; i < u->stay.n; i++) {
        printf("stays       ");
        print_safe(stdout, u->stay.s[i]);
        printf("\n");
    }
}

static int print(const struct cli *c, const struct undo_result *u, bool dry_run, struct err *e)
{
    if (c->json) {
        struct json_line l;
        json_line_begin(&l);
        json_key(&l.json, "undo");
        json_begin_object(&l.json);
        json_bool(&l.json, "dry_run", dry_run);
        json_text(&l.json, "resource", u->resource);
        json_time(&l.json, "restored", u->restored);
        json_u64(&l.json, "put_back", u->put_back);
        json_u64(&l.json, "removed", u->removed);
        json_bool(&l.json, "rows", u->rows);
        json_u64(&l.json, "gone", u->gone);
        json_list(&l.json, "stay", &u->stay);
        json_u64(&l.json, "attributes", u->attributes);
        json_list(&l.json, "asides", &u->asides);
        json_end_object(&l.json);
        return json_line_end(&l, e);
    }
    if (u->rows) {
        print_rows(u, dry_run);
        return 0;
    }
    char when[TIME_TEXT];
    printf("the restore of ");
    print_safe(stdout, u->resource != NULL ? u->resource : "-");
    printf(" at %s %s: %llu put back, %llu that it had created moved aside",
           time_format_human(u->restored, false, when),
           dry_run ? "would be taken back" : "is taken back", (unsigned long long)u->put_back,
           (unsigned long long)u->removed);
    if (u->attributes > 0)
        printf(", attributes of %llu set as they were", (unsigned long long)u->attributes);
    printf("\n");
    for (size_t i = 0; i < u->asides.n; i++) {
        printf("what was restored is now ");
        print_safe(stdout, u->asides.s[i]);
        printf("\n");
    }
    return 0;
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    _cleanup_(ledger_freep) struct ledger *ledger = NULL;
    _cleanup_(undo_result_release) struct undo_result u = {.resource = NULL};
    _cleanup_free_ char *dir = NULL;
    int rc = dir_state(&dir, e);
    if (rc < 0)
        return rc;
    _cleanup_free_ char *path = path_join(dir, "ledger.db");
    if (access(path, F_OK) != 0)
        return err_set(e, ERR_NOT_FOUND,
                       "nothing to undo: there is no ledger at %s; files that a restore kept are "
                       "beside the restored ones as *.pre-restore",
                       path);
    /* Files are put back without one; a server is reached as it says. */
    struct err none = ERR_INIT;
    const struct config *config = cli_config(c, &none) == 0 ? c->config : NULL;
    rc = ledger_open(path, &ledger, e);
    if (rc == 0)
        rc = job_undo(ledger, config, n > 0 ? word[0] : NULL, a->dry_run, &u, e);
    if (rc < 0 && rc != ERR_PARTIAL && !(u.rows && rc == ERR_REFUSED))
        return rc;
    struct err printing = ERR_INIT;
    if (print(c, &u, a->dry_run, &printing) < 0) {
        *e = printing;
        return e->code;
    }
    return rc;
}

const struct command cmd_undo = {
    .name = "undo",
    .words = "[RESOURCE]",
    .summary = "take the last restore in place back",
    COMMAND_OPTIONS(options, struct args),
    .most = 1,
    .run = run,
};
