/* Are the promises kept? Pure. */
#ifndef SALVOR_POLICY_OBJECTIVE_H
#define SALVOR_POLICY_OBJECTIVE_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum objective_state { OBJECTIVE_NONE, OBJECTIVE_KEPT, OBJECTIVE_LATE, OBJECTIVE_MISSED };

struct rpo {
    int64_t promise;  /* ns; 0: none */
    int64_t grace;    /* ns; -1: the larger of 2 h and twice `measured` */
    int64_t measured; /* ns that the last good backup took; 0 unknown */
    bool has_backup;
    struct timespec newest; /* data time of the newest good backup */
};
/* Kept within the promise, late inside the grace, missed after it or without any backup. *left (may
 * be NULL): nanoseconds until the promise is broken, negative after. */
enum objective_state rpo_state(const struct rpo *o, struct timespec now, int64_t *left);

/* promise and the longest measured restore, both ns; 0 measured: none yet (OBJECTIVE_NONE). */
enum objective_state rto_state(int64_t promise, int64_t measured);
const char *objective_name(enum objective_state s); /* "none", "kept", "late", "missed" */

/* How long a restore of `bytes` in `files` will take, from earlier ones; 0 when there is nothing to
 * go by. */
struct measured_restore {
    uint64_t bytes, files;
    int64_t duration; /* ns */
};
int64_t forecast_restore(const struct measured_restore *m, size_t n, uint64_t bytes,
                         uint64_t files);

/* Size against what is expected: fills `why` and returns false when it is out of bounds. */
struct size_rule {
    uint64_t min, least, most;      /* bytes; 0: not given */
    double drift_least, drift_most; /* ratio to `average`; 0: not given */
    uint64_t average;               /* of the last successes; 0 unknown */
};
bool size_within(const struct size_rule *r, uint64_t bytes, char why[128]);

#endif
