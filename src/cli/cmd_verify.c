/* salvor verify: the repository against itself, and the signatures of what salvor wrote. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/steps.h"
#include "crypt/crypt.h"

struct args {
    struct share read_data;
};

static const struct option options[] = {
    {"read-data", 0, OPTION_SHARE_OF, offsetof(struct args, read_data), "SHARE",
     "read the data too, all or a share such as 5%"},
};

static void found_text(const char *object, const char *detail, const char *affects, bool damage,
                       void *arg)
{
    (void)arg;
    log_line(damage ? LOG_ERROR : LOG_NOTICE, "%s: %s%s%s", object, detail,
             affects != NULL ? "; needed by " : "", affects != NULL ? affects : "");
}

static void found_json(const char *object, const char *detail, const char *affects, bool damage,
                       void *arg)
{
    struct err *e = arg;
    struct json_line l;
    json_line_begin(&l);
    json_key(&l.json, "finding");
    json_begin_object(&l.json);
    json_bool(&l.json, "damage", damage);
    json_text(&l.json, "object", object);
    json_text(&l.json, "detail", detail);
    json_text(&l.json, "affects", affects);
    json_end_object(&l.json);
    struct err failed = ERR_INIT;
    if (json_line_end(&l, &failed) < 0 && e->code == 0)
        *e = failed;
}

static int print_json(const struct verify_result *v, struct err *e)
{
    struct json_line l;
    json_line_begin(&l);
    struct json_out *j = &l.json;
    json_key(j, "verify");
    json_begin_object(j);
    json_bool(j, "clean", v->damage == 0);
    json_u64(j, "damage", v->damage);
    json_u64(j, "snapshots", v->snapshots);
    json_u64(j, "trees", v->trees);
    json_u64(j, "blobs", v->blobs);
    json_u64(j, "packs", v->packs);
    json_u64(j, "packs_read", v->packs_read);
    json_u64(j, "bytes_read", v->bytes_read);
    json_u64(j, "waste", v->waste);
    json_u64(j, "signatures_good", v->signatures_good);
    json_u64(j, "unsigned_foreign", v->unsigned_foreign);
    json_double(j, "seconds", (double)v->duration / (double)NSEC_PER_SEC);
    json_end_object(j);
    return json_line_end(&l, e);
}

static void print_text(const struct verify_result *v)
{
    char read[24], took[32];
    printf("%s: %llu snapshots, %llu trees, %llu blobs in %llu packs; %llu packs (%s) read; "
           "%llu signatures good",
           v->damage == 0 ? "no damage" : "DAMAGE FOUND", (unsigned long long)v->snapshots,
           (unsigned long long)v->trees, (unsigned long long)v->blobs, (unsigned long long)v->packs,
           (unsigned long long)v->packs_read, size_human(v->bytes_read, read),
           (unsigned long long)v->signatures_good);
    if (v->unsigned_foreign > 0)
        printf(", %llu snapshots of other programs unsigned",
               (unsigned long long)v->unsigned_foreign);
    printf("; in %s\n", duration_human(v->duration, took));
    if (v->packs_read < v->packs && v->damage == 0)
        printf("the data of %llu packs were not read; --read-data reads them all\n",
               (unsigned long long)(v->packs - v->packs_read));
    (void)fflush(stdout);
}

int step_verify(struct cli *c, struct job *j, const struct verify_step *s, struct err *e)
{
    struct err output = ERR_INIT;
    struct verify_result v = {.snapshots = 0};
    struct verify_options o = {
        .resources = s->resource,
        .nresources = s->n,
        .read_share = s->read_share,
        .found = c->json ? found_json : found_text,
        .found_arg = &output,
    };
    int rc = random_bytes(&o.seed, sizeof o.seed, e);
    if (rc < 0)
        return rc;
    struct bar *bar = bar_start(c, &j->progress, "verify");
    rc = job_verify(j, &o, &v, e);
    bar_stop(bar);
    if (rc < 0 && rc != ERR_CORRUPT)
        return rc;
    if (output.code != 0) {
        *e = output;
        return e->code;
    }
    struct err printing = ERR_INIT;
    if (c->json && print_json(&v, &printing) < 0) {
        *e = printing;
        return e->code;
    }
    if (!c->json)
        print_text(&v);
    return rc;
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    _cleanup_(job_freep) struct job *j = NULL;
    _cleanup_(str_list_release) struct str_list names = {NULL, 0, 0};
    int rc = cli_resource_names(c, word, n, &names, e);
    if (rc == 0)
        rc = cli_open(c, &j, e);
    struct verify_step s = {(const char *const *)names.s, names.n, a->read_data.of_one};
    return rc == 0 ? step_verify(c, j, &s, e) : rc;
}

const struct command cmd_verify = {
    .name = "verify",
    .words = "[RESOURCE...]",
    .summary = "check that everything which snapshots need is there, whole and signed",
    COMMAND_OPTIONS(options, struct args),
    .least = 0,
    .most = WORDS_ANY,
    .run = run,
};
