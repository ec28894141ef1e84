/* Lock files: restic's JSON with a few fields of our own, and the judgement whether the owner still
 * lives. Only what is certain counts as dead at once; everything else has to be watched. */
#include "base/host.h"
#include "base/json.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/lock_int.h"
#include <errno.h>
#include <signal.h>

enum { SCANS_MOST = 5 };

static void lock_file_release(struct lock_file *l)
{
    free(l->host);
    free(l->user);
    free(l->boot);
    free(l->pid_space);
}

void lock_list_release(struct lock_list *l)
{
    for (size_t i = 0; i < l->n; i++)
        lock_file_release(&l->lock[i]);
    free(l->lock);
    *l = (struct lock_list){0};
}

/* ---- in and out ---- */

int lock_file_save(struct repo *r, enum lock_kind kind, struct id *out, struct err *e)
{
    _cleanup_free_ char *host = host_name(), *user = host_user(), *boot = host_boot_id(),
                        *pid_space = host_pid_space();
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_TEXT);
    struct json_out j;
    json_out_init(&j, &json);
    json_begin_object(&j);
    json_time(&j, "time", clock_wall(r->clock));
    json_bool(&j, "exclusive", kind == LOCK_EXCLUSIVE);
    json_text(&j, "hostname", host);
    json_text(&j, "username", user);
    json_i64(&j, "pid", getpid());
    if (getuid() != 0)
        json_u64(&j, "uid", getuid());
    if (getgid() != 0)
        json_u64(&j, "gid", getgid());
    json_text(&j, "boot", boot);
    json_text(&j, "pid_space", pid_space);
    json_u64(&j, "started", host_process_start(getpid()));
    json_end_object(&j);
    int rc = json_out_finish(&j, e);
    return rc != 0 ? rc : repo_save_file(r, "locks", json.data, json.len, out, e);
}

static int lock_parse(const struct buf *json, struct lock_file *l, struct err *e)
{
    struct json_in in;
    const char *key;
    json_in_init(&in, json->data, json->len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "time") == 0)
            l->time = json_get_time(&in);
        else if (strcmp(key, "exclusive") == 0)
            l->exclusive = json_get_bool(&in);
        else if (strcmp(key, "hostname") == 0)
            json_replace_text(&in, &l->host);
        else if (strcmp(key, "username") == 0)
            json_replace_text(&in, &l->user);
        else if (strcmp(key, "pid") == 0)
            l->pid = json_get_i64(&in);
        else if (strcmp(key, "boot") == 0)
            json_replace_text(&in, &l->boot);
        else if (strcmp(key, "pid_space") == 0)
            json_replace_text(&in, &l->pid_space);
        else if (strcmp(key, "started") == 0)
            l->started = json_get_u64(&in);
        else
            json_skip(&in);
    }
    return json_in_finish(&in, "lock", e);
}

/* A lock that cannot be read is a lock all the same: it is marked as damaged. */
static int lock_load(struct repo *r, const struct id *id, struct lock_file *l, struct err *e)
{
    _cleanup_(buf_release) struct buf json = BUF_INIT(BUF_JSON);
    *l = (struct lock_file){.id = *id};
    int rc = repo_load_file(r, "locks", id, &json, e);
    if (rc == 0)
        rc = lock_parse(&json, l, e);
    if (rc == ERR_CORRUPT || rc == ERR_UNSUPPORTED || rc == ERR_LIMIT) {
        lock_file_release(l);
        *l = (struct lock_file){.id = *id, .damaged = true};
        rc = 0;
    }
    if (rc != 0)
        lock_file_release(l);
    return rc;
}

/* ---- judging ---- */

/* This process's side of the comparison. */
struct self {
    char *host;   /* as we call ourselves */
    char *system; /* as the system does, hence stock restic */
    char *boot, *pid_space;
    struct timespec booted;
};

static struct self self_get(struct clock *clock)
{
    char name[256] = "";
    (void)gethostname(name, sizeof name - 1);
    return (struct self){
        .host = host_name(),
        .system = str_dup(name),
        .boot = host_boot_id(),
        .pid_space = host_pid_space(),
        .booted = timespec_add(clock_wall(clock), -clock_since_boot(clock)),
    };
}

static void self_release(struct self *s)
{
    free(s->host);
    free(s->system);
    free(s->boot);
    free(s->pid_space);
}

static bool pid_gone(int64_t pid)
{
    if (pid <= 0 || pid > INT32_MAX)
        return false; /* not a pid of this system: nothing is known */
    return (kill((pid_t)pid, 0) < 0 && errno == ESRCH) || host_process_start((pid_t)pid) == 0;
}

/* Whether the process that wrote a lock of our host, boot and process space is gone: not there, a
 * zombie, or another one that got its number. */
static bool owner_gone(const struct lock_file *l)
{
    if (pid_gone(l->pid))
        return true;
    uint64_t started = host_process_start((pid_t)l->pid);
    if (started != HOST_START_UNKNOWN && l->started != HOST_START_UNKNOWN && l->started != 0 &&
        started != l->started)
        return true;
    /* Our own, but nobody in this process knows it: an unlock that could not reach the store. */
    return l->pid == getpid() && !lock_is_held(&l->id);
}

static void judge(struct lock_file *l, const struct self *self)
{
    if (l->damaged)
        return;
    if (l->boot == NULL) { /* stock restic: host and pid are all there is */
        l->ours = str_eq(l->host, self->system);
        l->stale = l->ours && pid_gone(l->pid);
        return;
    }
    if (!str_eq(l->host, self->host) || l->boot[0] == '\0' || self->boot[0] == '\0')
        return;
    if (!str_eq(l->boot, self->boot)) {
        /* Of this host before it was started anew. But a lock written since then is of another
         * machine that has the same name. */
        l->stale = timespec_compare(l->time, self->booted) < 0;
        return;
    }
    l->ours =
        l->pid_space != NULL && l->pid_space[0] != '\0' && str_eq(l->pid_space, self->pid_space);
    l->stale = l->ours && owner_gone(l);
}

/* ---- scanning ---- */

static int scan_once(struct repo *r, const struct id *except, struct lock_list *out, bool *vanished,
                     struct err *e)
{
    _cleanup_(id_list_release) struct id_list ids = {0};
    int rc = repo_list_files(r, "locks", &ids, e);
    *vanished = false;
    for (size_t i = 0; rc == 0 && i < ids.n; i++) {
        struct lock_file l;
        if (except != NULL && id_equal(except, &ids.id[i]))
            continue;
        rc = lock_load(r, &ids.id[i], &l, e);
        if (rc == ERR_NOT_FOUND) {
            *vanished = true;
            rc = 0;
        } else if (rc == 0) {
            mem_grow(&out->lock, out->n, &out->cap, sizeof *out->lock);
            out->lock[out->n++] = l;
        }
    }
    if (rc != 0)
        lock_list_release(out);
    return rc;
}

int lock_scan(struct repo *r, const struct id *except, struct lock_list *out, struct err *e)
{
    bool vanished = true;
    *out = (struct lock_list){0};
    for (int i = 0; i < SCANS_MOST && vanished; i++) {
        lock_list_release(out);
        int rc = scan_once(r, except, out, &vanished, e);
        if (rc != 0)
            return rc;
    }
    _cleanup_(self_release) struct self self = self_get(r->clock);
    for (size_t i = 0; i < out->n; i++)
        judge(&out->lock[i], &self);
    locks_seen(r, out);
    for (size_t i = 0; i < out->n; i++) {
        struct lock_file *l = &out->lock[i];
        if (!l->ours && l->watched >= LOCK_FOREIGN)
            l->stale = true;
    }
    return 0;
}
