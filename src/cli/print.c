/* What goes out: lines of JSON, errors, and text from a repository made harmless. */
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

void json_line_begin(struct json_line *l)
{
    buf_init(&l->text, BUF_JSON);
    json_out_init(&l->json, &l->text);
    json_begin_object(&l->json);
}

int json_line_end(struct json_line *l, struct err *e)
{
    json_end_object(&l->json);
    int rc = json_out_finish(&l->json, e);
    if (rc == 0) {
        (void)fwrite(l->text.data, 1, l->text.len, stdout);
        (void)putchar('\n');
        (void)fflush(stdout); /* whoever reads line by line waits for it; main asks for errors */
    }
    buf_release(&l->text);
    return rc;
}

void json_snapshot(struct json_out *j, const struct snapshot *s)
{
    uint64_t bytes = 0;
    json_id(j, "id", &s->id);
    json_time(j, "time", s->time);
    json_id(j, "tree", &s->tree);
    json_text(j, "resource", snapshot_tag(s, "resource"));
    json_text(j, "type", snapshot_tag(s, "type"));
    json_text(j, "job", snapshot_tag(s, "job"));
    json_text(j, "point", snapshot_tag(s, "point"));
    json_bool(j, "partial", str_list_has(&s->tags, "partial"));
    json_key(j, "bytes");
    if (snapshot_size(s, &bytes))
        json_put_u64(j, bytes);
    else
        json_put_null(j);
    json_text(j, "host", s->hostname);
    json_text(j, "user", s->username);
    json_list(j, "paths", &s->paths);
    json_list(j, "tags", &s->tags);
}

void print_failure(const struct cli *c, const struct err *e)
{
    log_line(LOG_ERROR, "%s", e->msg);
    if (!c->json)
        return;
    struct json_line l;
    struct err ignored = ERR_INIT;
    json_line_begin(&l);
    json_key(&l.json, "error");
    json_begin_object(&l.json);
    json_text(&l.json, "code", err_name(e->code));
    json_text(&l.json, "message", e->msg);
    json_end_object(&l.json);
    if (json_line_end(&l, &ignored) < 0)
        log_warning("%s", ignored.msg);
}

void print_safe(FILE *f, const char *text)
{
    _cleanup_(buf_release) struct buf safe = BUF_INIT(BUF_TEXT);
    text_printable(text, strlen(text), &safe);
    (void)fputs(buf_str(&safe), f);
}
