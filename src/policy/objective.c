/* Objectives: whether the promised RPO, RTO and sizes are kept, and how long a restore will take.
 */
#include "policy/objective.h"
#include "base/clock.h"
#include "base/text.h"
#include <stdio.h>

static const int64_t LEAST_GRACE = 2 * 3600 * NSEC_PER_SEC;

static int64_t add_saturated(int64_t a, int64_t b)
{
    int64_t sum;
    return __builtin_add_overflow(a, b, &sum) ? INT64_MAX : sum;
}

enum objective_state rpo_state(const struct rpo *o, struct timespec now, int64_t *left)
{
    int64_t unused;
    left = left != NULL ? left : &unused;
    *left = 0;
    if (o->promise <= 0)
        return OBJECTIVE_NONE;
    if (!o->has_backup) {
        *left = -1;
        return OBJECTIVE_MISSED;
    }
    /* A backup from the future (a clock was set back) is as good as one of this moment. */
    int64_t age = timespec_diff(now, o->newest);
    if (age < 0)
        age = 0;
    int64_t grace = o->grace;
    if (grace < 0) {
        grace = add_saturated(o->measured, o->measured);
        if (grace < LEAST_GRACE)
            grace = LEAST_GRACE;
    }
    *left = o->promise - age;
    if (age <= o->promise)
        return OBJECTIVE_KEPT;
    return age <= add_saturated(o->promise, grace) ? OBJECTIVE_LATE : OBJECTIVE_MISSED;
}

enum objective_state rto_state(int64_t promise, int64_t measured)
{
    if (promise <= 0 || measured <= 0)
        return OBJECTIVE_NONE;
    return measured <= promise ? OBJECTIVE_KEPT : OBJECTIVE_MISSED;
}

const char *objective_name(enum objective_state s)
{
    switch (s) {
    case OBJECTIVE_NONE: return "none";
    case OBJECTIVE_KEPT: return "kept";
    case OBJECTIVE_LATE: return "late";
    case OBJECTIVE_MISSED: return "missed";
    }
    return "none";
}

/* The work in a restore, in bytes: making a file costs about as much as writing 32 KiB, and
 * starting (deriving the key, reading the index) as much as 64 MiB. The start keeps a measurement
 * of a tiny restore from forecasting days for a large one. */
static double work(uint64_t bytes, uint64_t files)
{
    return 64.0 * 1024 * 1024 + (double)bytes + 32.0 * 1024 * (double)files;
}

int64_t forecast_restore(const struct measured_restore *m, size_t n, uint64_t bytes, uint64_t files)
{
    double spent = 0, done = 0;
    for (size_t i = 0; i < n; i++) {
        if (m[i].duration <= 0)
            continue;
        spent += (double)m[i].duration;
        done += work(m[i].bytes, m[i].files);
    }
    if (spent <= 0)
        return 0;
    double forecast = spent / done * work(bytes, files);
    if (forecast >= (double)INT64_MAX)
        return INT64_MAX;
    return forecast < 1 ? 1 : (int64_t)forecast;
}

bool size_within(const struct size_rule *r, uint64_t bytes, char why[128])
{
    char is[24], bound[24];
    (void)size_human(bytes, is);
    why[0] = '\0';
    if (r->min > 0 && bytes < r->min)
        (void)snprintf(why, 128, "%s is less than the minimum of %s", is,
                       size_human(r->min, bound));
    else if (r->least > 0 && bytes < r->least)
        (void)snprintf(why, 128, "%s is less than the %s expected at least", is,
                       size_human(r->least, bound));
    else if (r->most > 0 && bytes > r->most)
        (void)snprintf(why, 128, "%s is more than the %s expected at most", is,
                       size_human(r->most, bound));
    if (why[0] != '\0' || r->average == 0)
        return why[0] == '\0';

    double ratio = (double)bytes / (double)r->average;
    bool low = r->drift_least > 0 && ratio < r->drift_least;
    bool high = r->drift_most > 0 && ratio > r->drift_most;
    if (low || high)
        (void)snprintf(why, 128, "%s is %.0f %% of the average of %s; expected at %s %.0f %%", is,
                       ratio * 100, size_human(r->average, bound), low ? "least" : "most",
                       (low ? r->drift_least : r->drift_most) * 100);
    return !low && !high;
}
