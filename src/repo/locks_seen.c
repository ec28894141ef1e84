/* How long we have watched each foreign lock. A refresh gives a lock a new id, so one that keeps
 * its id has not been refreshed; the time in the lock itself is of a clock that may be wrong. Kept
 * in <cache>/locks-seen, a line a lock: id, boot id, nanoseconds since that boot, wall seconds. */
#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/lock_int.h"
#include <inttypes.h>

struct seen {
    struct id id;
    char boot[64];
    int64_t since_boot, wall;
};

struct seen_list {
    struct seen *seen;
    size_t n, cap;
};

static void seen_list_release(struct seen_list *l)
{
    free(l->seen);
}

static bool seen_parse(const char *line, struct seen *s)
{
    char hex[ID_HEX + 1];
    return sscanf(line, "%64s %63s %" SCNd64 " %" SCNd64, hex, s->boot, &s->since_boot, &s->wall) ==
               4 &&
           strlen(hex) == ID_HEX && id_parse(hex, ID_HEX, &s->id);
}

/* What cannot be read was never seen: that errs on the side of waiting. */
static void seen_load(const char *path, struct seen_list *out)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    struct err e = ERR_INIT;
    if (file_read(path, &text, &e) != 0)
        return;
    const char *line = buf_str(&text);
    while (*line != '\0') {
        struct seen s;
        if (seen_parse(line, &s)) {
            mem_grow(&out->seen, out->n, &out->cap, sizeof *out->seen);
            out->seen[out->n++] = s;
        }
        line += strcspn(line, "\n");
        line += *line == '\n';
    }
}

static void seen_save(const char *path, const struct seen_list *l)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    struct err e = ERR_INIT;
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < l->n; i++) {
        char hex[ID_HEX + 1];
        rc = buf_printf(&text, &e, "%s %s %" PRId64 " %" PRId64 "\n", id_hex(&l->seen[i].id, hex),
                        l->seen[i].boot, l->seen[i].since_boot, l->seen[i].wall);
    }
    if (rc == 0)
        rc = file_write_atomic(path, buf_str(&text), text.len, 0600, &e);
    if (rc != 0)
        log_debug("cannot remember the locks that were seen: %s", e.msg);
}

static const struct seen *seen_find(const struct seen_list *l, const struct id *id)
{
    for (size_t i = 0; i < l->n; i++) {
        if (id_equal(&l->seen[i].id, id))
            return &l->seen[i];
    }
    return NULL;
}

/* Across a reboot only the wall clock knows how long it was. */
static int64_t watched_since(const struct seen *first, const struct seen *now)
{
    int64_t t = str_eq(first->boot, now->boot) ? now->since_boot - first->since_boot
                : now->wall - first->wall < INT64_MAX / NSEC_PER_SEC
                    ? (now->wall - first->wall) * NSEC_PER_SEC
                    : 0;
    return t > 0 ? t : 0;
}

void locks_seen(struct repo *r, struct lock_list *l)
{
    if (r->cache_dir == NULL)
        return;
    _cleanup_free_ char *path = path_join(r->cache_dir, "locks-seen");
    _cleanup_free_ char *boot = host_boot_id();
    _cleanup_(seen_list_release) struct seen_list before = {0}, after = {0};
    seen_load(path, &before);
    struct seen now = {.since_boot = clock_since_boot(r->clock),
                       .wall = clock_wall(r->clock).tv_sec};
    (void)snprintf(now.boot, sizeof now.boot, "%s", boot[0] != '\0' ? boot : "-");

    bool changed = false;
    for (size_t i = 0; i < l->n; i++) {
        if (l->lock[i].ours)
            continue; /* known without watching */
        const struct seen *first = seen_find(&before, &l->lock[i].id);
        now.id = l->lock[i].id;
        changed |= first == NULL;
        if (first == NULL)
            first = &now;
        l->lock[i].watched = watched_since(first, &now);
        mem_grow(&after.seen, after.n, &after.cap, sizeof *after.seen);
        after.seen[after.n++] = *first;
    }
    if (changed || after.n != before.n)
        seen_save(path, &after);
}
