/* Holding a lock: taking it, keeping it fresh, knowing when it is lost. The protocol is restic's:
 * look, write ours, look again; a refresh writes a new file before it removes the old one. */
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/text.h"
#include "repo/lock_int.h"
#include <pthread.h>
#include <signal.h>
#include <stdio.h>

enum {
    TAKES_MOST = 3,   /* tries when another one takes a lock at the same moment */
    SETTLE_MS = 200,  /* until a store surely lists what was written */
    BACKOFF_MS = 500, /* at most, between tries */
    STEP_S = 5,       /* of the thread: short, so that waking from a suspend is noticed */
    RETRY_S = 30,     /* after a refresh that failed */
};

struct lock {
    enum lock_kind kind;
    pthread_t thread;
    bool running;
    pthread_cond_t wake;
    pthread_mutex_t mutex; /* guards what follows */
    bool stop;
    struct id id;
    int64_t refreshed;   /* since boot: start of the last refresh that succeeded */
    int64_t tried;       /* since boot: start of the last refresh */
    const char *lost;    /* why it does not hold any more, or NULL */
    struct id_list left; /* replaced files of ours that could not be removed yet */
};

/* ---- which lock files this process holds, in all its repositories ---- */

static pthread_mutex_t held_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct id_list held;
static unsigned being_written; /* files whose id is not known before they are there */

static void held_begin(void)
{
    (void)pthread_mutex_lock(&held_mutex);
    being_written++;
    (void)pthread_mutex_unlock(&held_mutex);
}

static void held_end(const struct id *id) /* NULL: it was not written */
{
    (void)pthread_mutex_lock(&held_mutex);
    being_written--;
    if (id != NULL)
        id_list_add(&held, id);
    (void)pthread_mutex_unlock(&held_mutex);
}

static void held_drop(const struct id *id)
{
    (void)pthread_mutex_lock(&held_mutex);
    for (size_t i = 0; i < held.n; i++) {
        if (id_equal(&held.id[i], id)) {
            held.id[i] = held.id[--held.n];
            break;
        }
    }
    if (held.n == 0)
        id_list_release(&held);
    (void)pthread_mutex_unlock(&held_mutex);
}

bool lock_is_held(const struct id *id)
{
    (void)pthread_mutex_lock(&held_mutex);
    bool found = being_written > 0;
    for (size_t i = 0; i < held.n && !found; i++)
        found = id_equal(&held.id[i], id);
    (void)pthread_mutex_unlock(&held_mutex);
    return found;
}

static int write_ours(struct repo *r, enum lock_kind kind, struct id *out, struct err *e)
{
    held_begin();
    int rc = lock_file_save(r, kind, out, e);
    held_end(rc == 0 ? out : NULL);
    return rc;
}

/* Removing what is gone already is as good. */
static int remove_file(struct repo *r, const struct id *id, struct err *e)
{
    int rc = repo_remove_file(r, "locks", id, e);
    if (rc == 0 || rc == ERR_NOT_FOUND)
        held_drop(id);
    return rc == ERR_NOT_FOUND ? 0 : rc;
}

/* ---- taking ---- */

static void describe(const struct lock_file *l, struct clock *clock, struct buf *out)
{
    char hex[ID_SHORT + 1], age[32];
    (void)id_short(&l->id, hex);
    if (l->damaged) {
        buf_addf(out, "by lock %s, which cannot be read", hex);
        return;
    }
    int64_t ns = timespec_diff(clock_wall(clock), l->time);
    buf_addf(out, "%sby process %lld of ", l->exclusive ? "exclusively " : "", (long long)l->pid);
    text_printable(l->user != NULL ? l->user : "?", l->user != NULL ? strlen(l->user) : 1, out);
    buf_adds(out, " on ");
    text_printable(l->host != NULL ? l->host : "?", l->host != NULL ? strlen(l->host) : 1, out);
    buf_addf(out, " (lock %s, refreshed %s ago)", hex, duration_human(ns > 0 ? ns : 0, age));
}

static int locked_by(struct repo *r, const struct lock_file *l, struct err *e)
{
    char watched[32];
    _cleanup_(buf_release) struct buf who = BUF_INIT(BUF_TEXT);
    describe(l, r->clock, &who);
    (void)err_set(e, ERR_LOCKED, "%s is locked %s", store_address(r->store), buf_str(&who));
    e->retryable = true;
    if (l->ours)
        return err_hint(e, "wait until it has ended");
    if (r->cache_dir == NULL)
        return err_hint(e, "wait until it has ended; if it is gone for sure, run `salvor unlock "
                           "--all`");
    return err_hint(e,
                    "wait until it has ended; salvor removes it after 30 min without a sign of "
                    "life (watched for %s); if it is gone for sure, run `salvor unlock --all`",
                    duration_human(l->watched, watched));
}

static bool conflicts(enum lock_kind kind, const struct lock_file *l)
{
    return kind == LOCK_EXCLUSIVE || l->exclusive || l->damaged;
}

static int clear_stale(struct repo *r, const struct lock_file *l, struct err *e)
{
    _cleanup_(buf_release) struct buf who = BUF_INIT(BUF_TEXT);
    describe(l, r->clock, &who);
    int rc = remove_file(r, &l->id, e);
    if (rc != 0)
        return err_prefix(e, "cannot remove a stale lock held %s", buf_str(&who));
    log_notice("removed a stale lock that was held %s", buf_str(&who));
    return 0;
}

/* Looks at the locks there are: 0 if ours (`mine`, NULL before it is written) may be among them. */
static int look(struct repo *r, enum lock_kind kind, const struct id *mine, struct err *e)
{
    _cleanup_(lock_list_release) struct lock_list l = {0};
    int rc = lock_scan(r, mine, &l, e);
    for (size_t i = 0; rc == 0 && i < l.n; i++) {
        if (l.lock[i].stale)
            rc = clear_stale(r, &l.lock[i], e);
        else if (conflicts(kind, &l.lock[i]))
            rc = locked_by(r, &l.lock[i], e);
    }
    return rc;
}

static void sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    (void)nanosleep(&t, NULL);
}

/* Two who take locks at the same moment see each other and both step back: a random pause lets one
 * of them come first. */
static void back_off(void)
{
    struct err e = ERR_INIT;
    uint16_t r = 0;
    (void)(random_bytes(&r, sizeof r, &e) == 0);
    sleep_ms(BACKOFF_MS / 5 + r % BACKOFF_MS);
}

static int take_lock(struct repo *r, enum lock_kind kind, struct id *out, int64_t *since,
                     struct err *e)
{
    for (int i = 0;; i++) {
        int rc = look(r, kind, NULL, e);
        if (rc != 0)
            return rc;
        *since = clock_since_boot(r->clock);
        rc = write_ours(r, kind, out, e);
        if (rc != 0)
            return err_prefix(e, "cannot lock %s", store_address(r->store));
        if (!store_properties(r->store)->immediate_listing)
            sleep_ms(SETTLE_MS);
        rc = look(r, kind, out, e);
        if (rc == 0)
            return 0;
        struct err why = ERR_INIT;
        if (remove_file(r, out, &why) != 0)
            log_warning("cannot remove our lock again: %s", why.msg);
        if (rc != ERR_LOCKED || i + 1 == TAKES_MOST)
            return rc;
        back_off();
    }
}

/* ---- keeping ---- */

static bool too_old(const struct repo *r, const struct lock *l)
{
    return clock_since_boot(r->clock) - l->refreshed >= LOCK_EXPIRE;
}

static void set_lost(struct lock *l, const char *why)
{
    (void)pthread_mutex_lock(&l->mutex);
    if (l->lost == NULL)
        l->lost = why;
    (void)pthread_mutex_unlock(&l->mutex);
}

static const char expired[] = "it could not be refreshed for 15 minutes";
static const char removed[] = "somebody removed it";

static void forget_file(struct repo *r, struct lock *l, const struct id *id)
{
    struct err e = ERR_INIT;
    if (remove_file(r, id, &e) != 0)
        id_list_add(&l->left, id);
}

/* Removes what earlier refreshes could not. */
static void forget_left(struct repo *r, struct lock *l)
{
    struct id_list left = l->left;
    l->left = (struct id_list){0};
    for (size_t i = 0; i < left.n; i++)
        forget_file(r, l, &left.id[i]);
    id_list_release(&left);
}

/* Writes our lock anew. The old file must still be there afterwards: else somebody took us for dead
 * and may have a lock of their own. Only the thread that tends the lock changes its id. */
static int refresh(struct repo *r, struct lock *l, struct err *e)
{
    struct id new, old = l->id;
    char name[REPO_NAME_MAX];
    uint64_t size;
    int64_t start = clock_since_boot(r->clock);
    int rc = write_ours(r, l->kind, &new, e);
    if (rc != 0)
        return rc;
    rc = store_stat(r->store, repo_file_name("locks", &old, name), &size, e);
    if (rc == ERR_NOT_FOUND)
        set_lost(l, removed);
    else if (rc == 0 && too_old(r, l)) /* the machine slept meanwhile */
        rc = err_set(e, ERR_LOCKED, "%s", expired);
    if (rc != 0) {
        forget_file(r, l, &new);
        return rc;
    }
    (void)pthread_mutex_lock(&l->mutex);
    l->id = new;
    l->refreshed = start;
    (void)pthread_mutex_unlock(&l->mutex);
    forget_file(r, l, &old);
    return 0;
}

void lock_tend(struct repo *r)
{
    struct lock *l = r->lock;
    struct err e = ERR_INIT;
    int64_t now = clock_since_boot(r->clock);
    (void)pthread_mutex_lock(&l->mutex);
    bool lost = l->lost != NULL, old = too_old(r, l);
    bool due = now - l->refreshed >= LOCK_REFRESH && now - l->tried >= RETRY_S * NSEC_PER_SEC;
    if (due)
        l->tried = now;
    (void)pthread_mutex_unlock(&l->mutex);
    if (lost)
        return;
    if (old) {
        set_lost(l, expired);
        return;
    }
    if (!due)
        return;
    forget_left(r, l);
    if (refresh(r, l, &e) != 0)
        log_warning("cannot refresh the lock on %s: %s", store_address(r->store), e.msg);
}

static void *keep_fresh(void *arg)
{
    struct repo *r = arg;
    struct lock *l = r->lock;
    (void)pthread_mutex_lock(&l->mutex);
    while (!l->stop) {
        struct timespec until;
        (void)clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_sec += STEP_S;
        (void)pthread_cond_timedwait(&l->wake, &l->mutex, &until);
        if (l->stop)
            break;
        (void)pthread_mutex_unlock(&l->mutex);
        lock_tend(r);
        (void)pthread_mutex_lock(&l->mutex);
    }
    (void)pthread_mutex_unlock(&l->mutex);
    return NULL;
}

/* Signals stay with the threads that expect them. */
static int start_thread(struct repo *r, struct err *e)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->lock->thread, NULL, keep_fresh, r);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_sys(e, rc, "cannot start the thread that keeps the lock fresh");
    r->lock->running = true;
    return 0;
}

static struct lock *lock_new(enum lock_kind kind, const struct id *id, int64_t since)
{
    struct lock *l = mem_zero(sizeof *l);
    l->kind = kind;
    l->id = *id;
    l->refreshed = l->tried = since;
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&l->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    (void)pthread_mutex_init(&l->mutex, NULL);
    return l;
}

/* ---- the contract ---- */

/* Stock restic asks by SIGHUP whether the holder of a lock lives, and would end it by that. Whoever
 * handles the signal keeps doing so. */
static void outlive_hangups(void)
{
    struct sigaction now;
    if (sigaction(SIGHUP, NULL, &now) == 0 && (now.sa_flags & SA_SIGINFO) == 0 &&
        now.sa_handler == SIG_DFL)
        (void)signal(SIGHUP, SIG_IGN);
}

int repo_lock(struct repo *r, enum lock_kind kind, struct err *e)
{
    struct id id;
    int64_t since;
    if (r->lock != NULL)
        return err_set(e, ERR_INTERNAL, "this process has locked %s already",
                       store_address(r->store));
    outlive_hangups();
    int rc = take_lock(r, kind, &id, &since, e);
    if (rc != 0)
        return rc;
    r->lock = lock_new(kind, &id, since);
    rc = start_thread(r, e);
    if (rc != 0)
        repo_unlock(r);
    return rc;
}

static int lost_error(const struct repo *r, const char *why, struct err *e)
{
    return err_set(e, ERR_LOCKED,
                   "the lock on %s was lost (%s): nothing more is written, since another program "
                   "may be at work there; run the command again, what is uploaded stays",
                   store_address(r->store), why);
}

int repo_lock_check(struct repo *r, bool again, struct err *e)
{
    struct lock *l = r->lock;
    if (l == NULL)
        return err_set(e, ERR_INTERNAL, "%s is not locked", store_address(r->store));
    for (;;) {
        (void)pthread_mutex_lock(&l->mutex);
        if (l->lost == NULL && too_old(r, l))
            l->lost = expired;
        const char *lost = l->lost;
        struct id id = l->id;
        (void)pthread_mutex_unlock(&l->mutex);
        if (lost != NULL)
            return lost_error(r, lost, e);
        if (!again)
            return 0;
        char name[REPO_NAME_MAX];
        uint64_t size;
        int rc = store_stat(r->store, repo_file_name("locks", &id, name), &size, e);
        if (rc != ERR_NOT_FOUND)
            return rc;
        (void)pthread_mutex_lock(&l->mutex);
        if (id_equal(&id, &l->id) && l->lost == NULL) /* else it was refreshed meanwhile */
            l->lost = removed;
        (void)pthread_mutex_unlock(&l->mutex);
    }
}

void repo_unlock(struct repo *r)
{
    struct lock *l = r->lock;
    struct err e = ERR_INIT;
    if (l == NULL)
        return;
    (void)pthread_mutex_lock(&l->mutex);
    l->stop = true;
    (void)pthread_cond_signal(&l->wake);
    (void)pthread_mutex_unlock(&l->mutex);
    if (l->running)
        (void)pthread_join(l->thread, NULL);
    forget_left(r, l);
    if (remove_file(r, &l->id, &e) != 0) {
        log_warning("cannot remove the lock on %s: %s; the next salvor on this machine will",
                    store_address(r->store), e.msg);
        held_drop(&l->id);
    }
    for (size_t i = 0; i < l->left.n; i++)
        held_drop(&l->left.id[i]);
    id_list_release(&l->left);
    (void)pthread_cond_destroy(&l->wake);
    (void)pthread_mutex_destroy(&l->mutex);
    free(l);
    r->lock = NULL;
}

int repo_lock_list(struct repo *r, lock_fn *fn, void *arg, struct err *e)
{
    _cleanup_(lock_list_release) struct lock_list l = {0};
    int rc = lock_scan(r, NULL, &l, e);
    for (size_t i = 0; rc == 0 && i < l.n; i++) {
        const struct lock_file *f = &l.lock[i];
        struct lock_info info = {f->id,  f->time,  f->exclusive, f->host,   f->user,
                                 f->pid, f->stale, f->ours,      f->damaged};
        rc = fn(&info, arg, e);
    }
    return rc;
}

int repo_lock_clear(struct repo *r, bool all, size_t *n, struct err *e)
{
    _cleanup_(lock_list_release) struct lock_list l = {0};
    *n = 0;
    int rc = lock_scan(r, r->lock != NULL ? &r->lock->id : NULL, &l, e);
    for (size_t i = 0; rc == 0 && i < l.n; i++) {
        if (!all && !l.lock[i].stale && !l.lock[i].damaged)
            continue;
        rc = remove_file(r, &l.lock[i].id, e);
        *n += rc == 0;
    }
    return rc;
}
