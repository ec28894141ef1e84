/* manifest.json and its signature: what a snapshot says of itself, apart from the repository's own
 * keys. */
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "job/job_int.h"
#include "salvor_version.h"

#include <stdlib.h>
#include <string.h>

enum {
    LIST_MOST = 1000,          /* entries of "missing" and "notes" */
    MANIFEST_MOST = 128 << 20, /* bytes of one that we are ready to read */
};

void manifest_release(struct manifest *m)
{
    free(m->resource);
    free(m->type);
    free(m->base);
    free(m->source);
    *m = (struct manifest){0};
}

/* A manifest stays a document that can be read: a disk that is failing may leave a million entries
 * unread. */
static void put_list(struct json_out *o, const char *key, const struct str_list *l)
{
    size_t n = l->n < LIST_MOST ? l->n : LIST_MOST;
    json_key(o, key);
    json_begin_array(o);
    for (size_t i = 0; i < n; i++)
        json_put_text(o, l->s[i]);
    if (l->n > n) {
        _cleanup_free_ char *more = str_fmt("and %zu more", l->n - n);
        json_put_text(o, more);
    }
    json_end_array(o);
}

int manifest_write(struct job *j, const struct config_resource *r, const struct backup_options *o,
                   const struct backup_result *res, const struct river_in *in, struct buf *out,
                   struct err *e)
{
    char host_time[TIME_TEXT];
    struct json_out json;
    json_out_init(&json, out);
    json.pretty = true;
    json_begin_object(&json);
    json_u64(&json, "manifest_version", MANIFEST_VERSION);
    json_text(&json, "salvor", SALVOR_VERSION);
    json_text(&json, "resource", r->name);
    json_text(&json, "type", resource_type_name(r->type));
    if (o->job != NULL)
        json_text(&json, "job", o->job);
    json_text(&json, "point", o->point);
    json_text(&json, "time", time_format(res->begun, true, host_time));
    json_double(&json, "seconds", (double)res->duration / (double)NSEC_PER_SEC);
    json_id(&json, "content", &in->content);
    json_u64(&json, "files", res->files);
    json_u64(&json, "dirs", res->dirs);
    json_u64(&json, "bytes", res->bytes);
    json_u64(&json, "bytes_new", res->bytes_new);
    json_u64(&json, "bytes_stored", res->bytes_stored);
    json_bool(&json, "partial", res->partial);
    put_list(&json, "missing", &res->missing);
    put_list(&json, "notes", &res->notes);
    json_key(&json, "source");
    json_begin_object(&json);
    int rc = source_describe(in->source, &json, e);
    if (rc < 0)
        return rc;
    json_end_object(&json);
    json_key(&json, "host");
    host_facts(&json);
    json_end_object(&json);
    (void)j;
    rc = json_out_finish(&json, e);
    if (rc == 0)
        rc = buf_append(out, "\n", 1, e);
    return rc;
}

char *manifest_parse_base(struct json_in *in)
{
    char *base = NULL, *exact = NULL;
    json_object(in);
    for (const char *key; (key = json_next_key(in)) != NULL;) {
        _cleanup_(buf_release) struct buf bytes = BUF_INIT(BUF_TEXT);
        if (strcmp(key, "base") == 0) {
            json_replace_text(in, &base);
        } else if (strcmp(key, "base_bytes") == 0) {
            json_get_base64(in, &bytes);
            if (memchr(buf_str(&bytes), '\0', bytes.len) != NULL)
                json_in_fail(in, "a path has a NUL");
            free(exact);
            exact = buf_take(&bytes);
        } else {
            json_skip(in);
        }
    }
    if (exact == NULL)
        return base;
    free(base);
    return exact;
}

static int parse_base(struct manifest *m, const char *what, struct err *e)
{
    struct json_in in;
    json_in_init(&in, m->source, strlen(m->source));
    m->base = manifest_parse_base(&in);
    return json_in_finish(&in, what, e);
}

static int parse(const struct buf *text, const char *what, struct manifest *m, struct err *e)
{
    struct json_in in;
    json_in_init(&in, text->data, text->len);
    json_object(&in);
    uint64_t version = 0;
    for (const char *key; (key = json_next_key(&in)) != NULL;) {
        if (strcmp(key, "manifest_version") == 0)
            version = json_get_u64(&in);
        else if (strcmp(key, "resource") == 0)
            json_replace_text(&in, &m->resource);
        else if (strcmp(key, "type") == 0)
            json_replace_text(&in, &m->type);
        else if (strcmp(key, "content") == 0)
            m->content = json_get_id(&in);
        else if (strcmp(key, "time") == 0)
            m->time = json_get_time(&in);
        else if (strcmp(key, "files") == 0)
            m->files = json_get_u64(&in);
        else if (strcmp(key, "bytes") == 0)
            m->bytes = json_get_u64(&in);
        else if (strcmp(key, "partial") == 0)
            m->partial = json_get_bool(&in);
        else if (strcmp(key, "source") == 0) {
            free(m->source);
            m->source = json_get_raw(&in);
        } else
            json_skip(&in);
    }
    int rc = json_in_finish(&in, what, e);
    if (rc == 0 && m->source != NULL)
        rc = parse_base(m, what, e);
    if (rc < 0)
        return rc;
    if (version == 0 || m->resource == NULL || m->type == NULL)
        return err_set(e, ERR_CORRUPT, "%s: not a manifest of salvor", what);
    if (version > MANIFEST_VERSION)
        return err_set(
            e, ERR_UNSUPPORTED,
            "%s: manifest version %llu is newer than this program knows (%d); use a newer "
            "salvor, or restore with stock tools as RESTORE.txt in the snapshot says",
            what, (unsigned long long)version, MANIFEST_VERSION);
    return 0;
}

/* That the manifest is signed, and that it speaks of the content that it lies beside. */
static int check_signature(struct job *j, const struct snapshot *s, const struct buf *text,
                           const struct manifest *m, const char *sig_path, struct err *why)
{
    _cleanup_(buf_release) struct buf sig = BUF_INIT(4096);
    struct err e = ERR_INIT;
    int rc = snapshot_read_file(j, s, sig_path, &sig, &e);
    if (rc == ERR_NOT_FOUND)
        return err_set(why, ERR_NOT_FOUND, "the manifest is not signed");
    if (rc < 0)
        return err_set(why, ERR_CORRUPT, "the manifest's signature cannot be read: %s", e.msg);
    rc = signing_check(&j->signing, text->data, text->len, buf_str(&sig), sig.len, why);
    if (rc == ERR_CORRUPT)
        return rc;
    struct id content;
    if (snapshot_content(j, s, &content, &e) < 0)
        return err_set(why, ERR_CORRUPT, "%s", e.msg);
    if (!id_equal(&content, &m->content))
        return err_set(why, ERR_CORRUPT,
                       "the signed manifest speaks of other content than lies beside it");
    return rc;
}

int manifest_load(struct job *j, const struct snapshot *s, struct manifest *out, int *signature,
                  struct err *why, struct err *e)
{
    const char *resource = snapshot_tag(s, "resource");
    if (resource == NULL)
        return err_set(e, ERR_NOT_FOUND, "the snapshot was not made by salvor");
    _cleanup_(buf_release) struct buf text = BUF_INIT(MANIFEST_MOST);
    _cleanup_free_ char *path = str_fmt("%s/manifest.json", resource);
    _cleanup_free_ char *sig_path = str_fmt("%s/manifest.sig", resource);
    int rc = snapshot_read_file(j, s, path, &text, e);
    if (rc < 0)
        return rc;
    struct manifest m = {0};
    rc = parse(&text, path, &m, e);
    if (rc < 0) {
        manifest_release(&m);
        return rc;
    }
    *signature = check_signature(j, s, &text, &m, sig_path, why);
    *out = m;
    return 0;
}
