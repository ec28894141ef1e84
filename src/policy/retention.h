/* Which snapshots of one resource stay. Pure: `now` and the list are arguments. The rules are those
 * of DESIGN section 7. */
#ifndef SALVOR_POLICY_RETENTION_H
#define SALVOR_POLICY_RETENTION_H

#include "base/text.h"
#include <stdint.h>
#include <time.h>

struct retention {
    unsigned last, hourly, daily, weekly, monthly,
        yearly;                  /* periods that have a backup; 0: not given */
    int64_t within;              /* ns before the newest good one; 0: not given */
    int64_t delete_after;        /* ns before now: gone whatever the rest says; 0: never */
    const struct str_list *tags; /* snapshots with one of them stay; may be NULL */
};

struct retention_item {
    struct timespec time;
    bool good;         /* complete and, where known, verified: counts for periods */
    bool drilled_last; /* the last one that a drill proved */
    bool in_use;       /* a restore reads it, or a mirror still lacks it */
    const struct str_list *tags;
    /* result */
    bool keep;
    char why[96]; /* "newest good", "daily 2026-11-20", "deleted after 365 d", ... */
};

/* Decides for `n` items of one resource, in any order; periods are calendar ones in UTC. With no
 * rule given at all everything stays. */
void retention_decide(const struct retention *r, struct timespec now, struct retention_item *items,
                      size_t n);

#endif
