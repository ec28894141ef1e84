/* Which snapshot a person means by "latest", a moment, an id or the beginning of one; and when
 * there is none or there are several, what to say that helps. */
#include "base/json.h"
#include "base/mem.h"
#include "repo/snapshot.h"

enum { NAMED_MOST = 8 }; /* in one message */

const char *snapshot_tag(const struct snapshot *s, const char *key)
{
    size_t len = strlen(key);
    for (size_t i = 0; i < s->tags.n; i++) {
        if (strncmp(s->tags.s[i], key, len) == 0 && s->tags.s[i][len] == '=')
            return s->tags.s[i] + len + 1;
    }
    return NULL;
}

bool snapshot_is_ours(const struct snapshot *s)
{
    return str_list_has(&s->tags, "salvor");
}

bool snapshot_size(const struct snapshot *s, uint64_t *bytes)
{
    if (s->summary == NULL)
        return false;
    bool found = false;
    struct err ignored = ERR_INIT;
    struct json_in in;
    const char *key = NULL;
    json_in_init(&in, s->summary, strlen(s->summary));
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "total_bytes_processed") == 0) {
            *bytes = json_get_u64(&in);
            found = true;
        } else {
            json_skip(&in);
        }
    }
    return json_in_finish(&in, "summary", &ignored) == 0 && found;
}

static bool is_of(const struct snapshot *s, const char *resource)
{
    return resource == NULL || str_eq(snapshot_tag(s, "resource"), resource);
}

/* "1a2b3c4d of appdb from 2026-11-20 02:00:07" */
static void describe(const struct snapshot *s, struct buf *out)
{
    char hex[ID_SHORT + 1], time[TIME_TEXT];
    const char *resource = snapshot_tag(s, "resource");
    buf_addf(out, "%s%s%s from %s", id_short(&s->id, hex), resource != NULL ? " of " : "",
             resource != NULL ? resource : "", time_format_human(s->time, false, time));
}

/* ---- by id ---- */

static int ambiguous(const struct snapshot_list *l, const char *prefix, struct err *e)
{
    _cleanup_(buf_release) struct buf names = BUF_INIT(BUF_TEXT);
    size_t matches = 0;
    for (size_t i = 0; i < l->n; i++) {
        char hex[ID_HEX + 1];
        if (!str_starts(id_hex(&l->s[i].id, hex), prefix))
            continue;
        if (matches++ < NAMED_MOST) {
            buf_adds(&names, matches > 1 ? ", " : "");
            describe(&l->s[i], &names);
        }
    }
    if (matches > NAMED_MOST)
        buf_addf(&names, " and %zu more", matches - NAMED_MOST);
    return err_set(e, ERR_USAGE, "%zu snapshots begin with %s: %s; write more of the id", matches,
                   prefix, buf_str(&names));
}

static int find_by_id(const struct snapshot_list *l, const struct snapshot_query *q, size_t *out,
                      struct err *e)
{
    size_t matches = 0;
    for (size_t i = 0; i < l->n; i++) {
        char hex[ID_HEX + 1];
        if (str_starts(id_hex(&l->s[i].id, hex), q->which) && matches++ == 0)
            *out = i;
    }
    if (matches > 1)
        return ambiguous(l, q->which, e);
    if (matches == 0)
        return err_set(e, ERR_NOT_FOUND,
                       "there is no snapshot %s; `salvor list` shows those that there are",
                       q->which);
    if (is_of(&l->s[*out], q->resource))
        return 0;
    _cleanup_(buf_release) struct buf what = BUF_INIT(BUF_TEXT);
    describe(&l->s[*out], &what);
    return err_set(e, ERR_NOT_FOUND, "snapshot %s is not one of %s", buf_str(&what), q->resource);
}

/* ---- by time ---- */

/* Not what "latest" means, unless asked for: an incomplete one, or the state that a restore
 * replaced. */
static bool is_second_rate(const struct snapshot *s, bool partial_too)
{
    return str_list_has(&s->tags, "pre-restore") ||
           (!partial_too && str_list_has(&s->tags, "partial"));
}

static void name_resources(const struct snapshot_list *l, struct buf *out)
{
    _cleanup_(str_list_release) struct str_list names = {0};
    for (size_t i = 0; i < l->n; i++) {
        const char *name = snapshot_tag(&l->s[i], "resource");
        if (name != NULL && !str_list_has(&names, name))
            str_list_add(&names, name);
    }
    str_list_sort(&names);
    for (size_t i = 0; i < names.n && i < NAMED_MOST; i++)
        buf_addf(out, "%s%s", i > 0 ? ", " : "", names.s[i]);
    if (names.n > NAMED_MOST)
        buf_addf(out, " and %zu more", names.n - NAMED_MOST);
}

/* None matched: tells the nearest truth. */
static int none_found(const struct snapshot_list *l, const struct snapshot_query *q, struct err *e)
{
    const struct snapshot *oldest = NULL, *second_rate = NULL;
    char time[TIME_TEXT], at[TIME_TEXT];
    _cleanup_free_ char *of = q->resource != NULL ? str_fmt(" of %s", q->resource) : str_dup("");
    for (size_t i = 0; i < l->n; i++) {
        const struct snapshot *s = &l->s[i];
        if (!is_of(s, q->resource))
            continue;
        if (is_second_rate(s, q->partial_too))
            second_rate = s;
        else if (oldest == NULL || timespec_compare(s->time, oldest->time) < 0)
            oldest = s;
    }
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    if (oldest != NULL)
        return err_set(e, ERR_NOT_FOUND,
                       "there is no snapshot%s as old as %s; the oldest is from %s", of,
                       time_format_human(q->at, false, at),
                       time_format_human(oldest->time, false, time));
    if (second_rate != NULL) {
        describe(second_rate, &text);
        return err_set(e, ERR_NOT_FOUND,
                       "there is no complete snapshot%s, only incomplete ones such as %s; name one "
                       "by its id if it is what you want",
                       of, buf_str(&text));
    }
    if (l->n == 0)
        return err_set(e, ERR_NOT_FOUND, "there is no snapshot in the repository yet");
    name_resources(l, &text);
    return err_set(e, ERR_NOT_FOUND, "there is no snapshot%s%s%s", of,
                   text.len > 0 ? "; there are snapshots of " : "", buf_str(&text));
}

static int find_by_time(const struct snapshot_list *l, const struct snapshot_query *q, size_t *out,
                        struct err *e)
{
    const struct snapshot *best = NULL;
    for (size_t i = 0; i < l->n; i++) {
        const struct snapshot *s = &l->s[i];
        if (!is_of(s, q->resource) || is_second_rate(s, q->partial_too) ||
            (q->has_at && timespec_compare(s->time, q->at) > 0))
            continue;
        if (best == NULL || timespec_compare(s->time, best->time) >= 0)
            best = s;
    }
    if (best == NULL)
        return none_found(l, q, e);
    *out = (size_t)(best - l->s);
    return 0;
}

int snapshot_find(const struct snapshot_list *l, const struct snapshot_query *q, size_t *out,
                  struct err *e)
{
    bool latest = q->which == NULL || q->which[0] == '\0' || strcmp(q->which, "latest") == 0;
    return latest ? find_by_time(l, q, out, e) : find_by_id(l, q, out, e);
}
