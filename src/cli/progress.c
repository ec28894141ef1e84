/* Progress on standard error: a bar on a terminal, five times a second; elsewhere a line now and
 * then, so that a log shows that it lives. A thread of its own reads the job's counters. */
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"

#include <pthread.h>
#include <string.h>
#include <sys/ioctl.h>

enum { TICK_MS = 200, LINE_EVERY_S = 30, WIDTH_MOST = 160, BAR = 20 };

struct bar {
    struct progress *progress;
    char *what;
    bool terminal;
    int64_t begun; /* ns since boot */
    /* the rate is measured since the phase began */
    const char *phase;
    int64_t phase_begun;
    uint64_t phase_bytes;
    pthread_t thread;
    pthread_mutex_t lock; /* guards stop, shown and the terminal's line */
    pthread_cond_t wake;
    bool stop, shown;
};

/* What the counters say, as one line without the bar itself. */
static void describe(struct bar *b, bool with_bar, char *out, size_t size)
{
    const struct progress *p = b->progress;
    const char *phase = atomic_load(&p->phase);
    uint64_t bytes = atomic_load(&p->bytes), total = atomic_load(&p->bytes_total);
    uint64_t items = atomic_load(&p->items), items_total = atomic_load(&p->items_total);
    int64_t now = clock_since_boot(&clock_system);
    if (phase != b->phase) {
        b->phase = phase;
        b->phase_begun = now;
        b->phase_bytes = bytes;
    }
    double seconds = (double)(now - b->phase_begun) / (double)NSEC_PER_SEC;
    double rate =
        seconds > 0.5 && bytes > b->phase_bytes ? (double)(bytes - b->phase_bytes) / seconds : 0;

    char done[24], of[24], speed[24], left[32], bar[BAR + 16] = "";
    struct buf line = BUF_INIT(BUF_TEXT);
    if (with_bar && total > 0) {
        double share = bytes >= total ? 1 : (double)bytes / (double)total;
        int full = (int)(share * BAR);
        (void)snprintf(bar, sizeof bar, "[%.*s%*s] %3d%%  ", full, "####################",
                       BAR - full, "", (int)(share * 100));
    }
    buf_addf(&line, "%s: %s  %s%s", b->what, phase != NULL ? phase : "working", bar,
             size_human(bytes, done));
    if (total > 0)
        buf_addf(&line, " of %s", size_human(total, of));
    if (items_total > 0)
        buf_addf(&line, ", %llu of %llu", (unsigned long long)items,
                 (unsigned long long)items_total);
    else if (items > 0)
        buf_addf(&line, ", %llu", (unsigned long long)items);
    if (rate > 0)
        buf_addf(&line, ", %s/s", size_human((uint64_t)rate, speed));
    if (rate > 0 && total > bytes)
        buf_addf(&line, ", %s left",
                 duration_human((int64_t)((double)(total - bytes) / rate) * NSEC_PER_SEC, left));
    (void)snprintf(out, size, "%s", buf_str(&line));
    buf_release(&line);
}

static int terminal_width(void)
{
    struct winsize w;
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col < 20)
        return 79;
    return w.ws_col - 1 < WIDTH_MOST ? w.ws_col - 1 : WIDTH_MOST;
}

/* The lock is held. */
static void draw(struct bar *b)
{
    char line[512];
    describe(b, true, line, sizeof line);
    (void)fprintf(stderr, "\r%.*s\033[K", terminal_width(), line);
    (void)fflush(stderr);
    b->shown = true;
}

static void erase(struct bar *b)
{
    if (b->shown)
        (void)fputs("\r\033[K", stderr);
    (void)fflush(stderr);
    b->shown = false;
}

/* Called around each notice: the bar makes way for it and comes back with the next tick. */
static void lift(bool lifted, void *arg)
{
    struct bar *b = arg;
    if (lifted) {
        (void)pthread_mutex_lock(&b->lock);
        erase(b);
    } else {
        (void)pthread_mutex_unlock(&b->lock);
    }
}

static void wait_tick(struct bar *b)
{
    struct timespec until;
    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until = timespec_add(until, (int64_t)TICK_MS * 1000000);
    (void)pthread_cond_timedwait(&b->wake, &b->lock, &until);
}

static void *run(void *arg)
{
    struct bar *b = arg;
    int64_t last = b->begun;
    (void)pthread_mutex_lock(&b->lock);
    for (wait_tick(b); !b->stop; wait_tick(b)) {
        int64_t now = clock_since_boot(&clock_system);
        if (b->terminal) {
            draw(b);
        } else if (now - last >= LINE_EVERY_S * NSEC_PER_SEC) {
            char line[512];
            last = now;
            describe(b, false, line, sizeof line);
            (void)pthread_mutex_unlock(&b->lock);
            log_notice("%s", line);
            (void)pthread_mutex_lock(&b->lock);
        }
    }
    (void)pthread_mutex_unlock(&b->lock);
    return NULL;
}

struct bar *bar_start(const struct cli *c, struct progress *p, const char *what)
{
    if (c->quiet || c->json)
        return NULL;
    struct bar *b = mem_zero(sizeof *b);
    struct buf safe = BUF_INIT(BUF_TEXT);
    text_printable(what, strlen(what), &safe);
    b->what = buf_take(&safe);
    b->progress = p;
    b->terminal = isatty(STDERR_FILENO) == 1;
    b->begun = b->phase_begun = clock_since_boot(&clock_system);
    pthread_condattr_t monotonic;
    (void)pthread_condattr_init(&monotonic);
    (void)pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    (void)pthread_mutex_init(&b->lock, NULL);
    (void)pthread_cond_init(&b->wake, &monotonic);
    (void)pthread_condattr_destroy(&monotonic);
    if (pthread_create(&b->thread, NULL, run, b) != 0) { /* no bar is no reason to fail */
        free(b->what);
        free(b);
        return NULL;
    }
    if (b->terminal)
        log_set_lift(lift, b);
    return b;
}

void bar_stop(struct bar *b)
{
    if (b == NULL)
        return;
    log_set_lift(NULL, NULL);
    (void)pthread_mutex_lock(&b->lock);
    b->stop = true;
    (void)pthread_cond_signal(&b->wake);
    (void)pthread_mutex_unlock(&b->lock);
    (void)pthread_join(b->thread, NULL);
    erase(b);
    (void)pthread_mutex_destroy(&b->lock);
    (void)pthread_cond_destroy(&b->wake);
    free(b->what);
    free(b);
}

void bar_stopp(struct bar **b)
{
    bar_stop(*b);
    *b = NULL;
}
