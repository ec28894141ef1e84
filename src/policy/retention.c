/* Retention: which snapshots of one resource stay. The items are looked at from the newest to the
 * oldest; every rule only ever adds a reason to stay, and at the end what has none goes. The hard
 * limit comes last, since it overrules all of them but one. */
#include "policy/retention.h"
#include "base/clock.h"
#include "base/mem.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Adds one more reason to stay; those that no longer fit are left out. */
static void _printf_(2, 3) keep(struct retention_item *it, const char *fmt, ...)
{
    if (!it->keep)
        it->why[0] = '\0';
    size_t len = strlen(it->why);
    char reason[sizeof it->why];
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(reason, sizeof reason, fmt, ap);
    va_end(ap);
    if (len + strlen(reason) + 3 <= sizeof it->why)
        (void)snprintf(it->why + len, sizeof it->why - len, "%s%s", len > 0 ? ", " : "", reason);
    it->keep = true;
}

static void drop(struct retention_item *it, const char *why)
{
    it->keep = false;
    (void)snprintf(it->why, sizeof it->why, "%s", why);
}

/* "365 d": in days where it is whole days, as people wrote it. */
static const char *duration_text(int64_t ns, char out[32])
{
    const int64_t day = 86400 * NSEC_PER_SEC;
    if (ns % day == 0)
        (void)snprintf(out, 32, "%lld d", (long long)(ns / day));
    else
        (void)duration_human(ns, out);
    return out;
}

/* ---- calendar periods, all in UTC ---- */

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b < 0);
}

static struct tm utc(struct timespec t)
{
    struct tm tm = {0};
    (void)gmtime_r(&t.tv_sec, &tm); /* fails only in years that do not fit an int */
    return tm;
}

static int64_t hour_of(struct timespec t)
{
    return floor_div(t.tv_sec, 3600);
}

static int64_t day_of(struct timespec t)
{
    return floor_div(t.tv_sec, 86400);
}

/* ISO weeks begin on Monday, and the first of January 1970 was a Thursday. */
static int64_t week_of(struct timespec t)
{
    return floor_div(day_of(t) + 3, 7);
}

static int64_t month_of(struct timespec t)
{
    struct tm tm = utc(t);
    return (int64_t)tm.tm_year * 12 + tm.tm_mon;
}

static int64_t year_of(struct timespec t)
{
    return utc(t).tm_year;
}

struct period {
    const char *label; /* for strftime */
    int64_t (*number)(struct timespec t);
};
static const struct period hourly = {"hourly %Y-%m-%d %H:00", hour_of};
static const struct period daily = {"daily %Y-%m-%d", day_of};
static const struct period weekly = {"weekly %G-W%V", week_of};
static const struct period monthly = {"monthly %Y-%m", month_of};
static const struct period yearly = {"yearly %Y", year_of};

/* ---- the rules; `item` goes from the newest to the oldest ---- */

static void keep_last(struct retention_item **item, size_t n, unsigned count)
{
    unsigned kept = 0;
    for (size_t i = 0; i < n && kept < count; i++)
        if (item[i]->good)
            keep(item[i], "last %u of %u", ++kept, count);
}

/* The newest good one of each of `count` periods that have one. */
static void keep_periods(struct retention_item **item, size_t n, unsigned count,
                         const struct period *p)
{
    unsigned kept = 0;
    int64_t previous = 0;
    for (size_t i = 0; i < n && kept < count; i++) {
        int64_t number = p->number(item[i]->time);
        if (!item[i]->good || (kept > 0 && number == previous))
            continue;
        char label[64];
        struct tm tm = utc(item[i]->time);
        if (strftime(label, sizeof label, p->label, &tm) == 0)
            label[0] = '\0';
        keep(item[i], "%s", label);
        previous = number;
        kept++;
    }
}

static void keep_within(struct retention_item **item, size_t n, int64_t within,
                        struct timespec newest)
{
    char text[32];
    for (size_t i = 0; i < n; i++)
        if (timespec_diff(newest, item[i]->time) <= within)
            keep(item[i], "within %s", duration_text(within, text));
}

static void keep_tagged(struct retention_item **item, size_t n, const struct str_list *tags)
{
    for (size_t i = 0; i < n; i++)
        for (size_t k = 0; item[i]->tags != NULL && k < item[i]->tags->n; k++)
            if (str_list_has(tags, item[i]->tags->s[k])) {
                keep(item[i], "tag %s", item[i]->tags->s[k]);
                break;
            }
}

/* What needs no rule: the newest good one, what somebody relies on, and partial ones for which
 * there is nothing better yet. */
static void keep_always(struct retention_item **item, size_t n, const struct retention_item *newest)
{
    for (size_t i = 0; i < n; i++) {
        struct retention_item *it = item[i];
        if (it == newest)
            keep(it, "newest good");
        if (it->drilled_last)
            keep(it, "drilled last");
        if (it->in_use)
            keep(it, "in use");
        if (it->good)
            continue;
        if (newest == NULL)
            keep(it, "partial, but there is no good one");
        else if (timespec_compare(it->time, newest->time) > 0)
            keep(it, "partial, newer than the newest good one");
        else if (!it->keep)
            drop(it, "partial, and a newer one is good");
    }
}

/* The hard limit: only the newest good one may outlive it. */
static void delete_old(struct retention_item **item, size_t n, int64_t after, struct timespec now,
                       const struct retention_item *newest)
{
    char text[32];
    for (size_t i = 0; i < n; i++) {
        if (timespec_diff(now, item[i]->time) <= after)
            continue;
        if (item[i] == newest) {
            drop(item[i], "");
            keep(item[i], "outlives delete_after: newest good");
            continue;
        }
        (void)snprintf(item[i]->why, sizeof item[i]->why, "deleted after %s",
                       duration_text(after, text));
        item[i]->keep = false;
    }
}

static bool any_rule(const struct retention *r)
{
    return r->last || r->hourly || r->daily || r->weekly || r->monthly || r->yearly ||
           r->within > 0 || (r->tags != NULL && r->tags->n > 0);
}

/* Newest first; of equal times the one that was given first, so that the outcome is always the
 * same. */
static int newest_first(const void *a, const void *b)
{
    const struct retention_item *x = *(struct retention_item *const *)a,
                                *y = *(struct retention_item *const *)b;
    int order = timespec_compare(y->time, x->time);
    return order != 0 ? order : (x > y) - (x < y);
}

void retention_decide(const struct retention *r, struct timespec now, struct retention_item *items,
                      size_t n)
{
    if (n == 0)
        return;
    _cleanup_free_ struct retention_item **item = mem_array(n, sizeof(struct retention_item *));
    for (size_t i = 0; i < n; i++) {
        item[i] = &items[i];
        drop(item[i], "no rule keeps it");
    }
    qsort(item, n, sizeof(struct retention_item *), newest_first);

    const struct retention_item *newest = NULL;
    for (size_t i = 0; i < n && newest == NULL; i++)
        if (item[i]->good)
            newest = item[i];

    keep_always(item, n, newest);
    if (any_rule(r)) {
        keep_last(item, n, r->last);
        keep_periods(item, n, r->hourly, &hourly);
        keep_periods(item, n, r->daily, &daily);
        keep_periods(item, n, r->weekly, &weekly);
        keep_periods(item, n, r->monthly, &monthly);
        keep_periods(item, n, r->yearly, &yearly);
        if (r->within > 0 && newest != NULL)
            keep_within(item, n, r->within, newest->time);
        if (r->tags != NULL)
            keep_tagged(item, n, r->tags);
    } else {
        for (size_t i = 0; i < n; i++)
            if (!item[i]->keep)
                keep(item[i], "no rule is given");
    }
    if (r->delete_after > 0)
        delete_old(item, n, r->delete_after, now, newest);
}
