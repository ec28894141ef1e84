/* Time: reading clocks (injectable, so that tests can jump them) and RFC 3339. */
#ifndef SALVOR_BASE_CLOCK_H
#define SALVOR_BASE_CLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

#define NSEC_PER_SEC INT64_C(1000000000)

struct clock {
    struct timespec (*wall)(struct clock *c); /* the date, as the system believes it */
    int64_t (*since_boot)(struct clock *c);   /* nanoseconds, counting time asleep, never jumping */
};

/* The system's clocks (CLOCK_REALTIME and CLOCK_BOOTTIME). */
extern struct clock clock_system;

struct timespec clock_wall(struct clock *c);
int64_t clock_since_boot(struct clock *c);

enum { TIME_TEXT = 48 };
/* As Go's time.RFC3339Nano: trailing zeros of the fraction cut, "Z" or "+02:00". The zone is that
 * of the process (TZ) or UTC. Years are clamped to 0..9999. Returns out. */
char *time_format(struct timespec t, bool utc, char out[TIME_TEXT]);
/* "2026-11-21 02:00:07", local zone or UTC, for people. */
char *time_format_human(struct timespec t, bool utc, char out[TIME_TEXT]);
/* RFC 3339 with optional fraction and a zone; false if it is not that. */
bool time_parse(const char *text, size_t len, struct timespec *out);
/* What a person types for --at: RFC 3339, "2026-11-20", "2026-11-20 14:03[:07]" (local zone; a bare
 * day means its end), "14:03" (today), "yesterday", "now", "3h ago"/"2d ago". */
bool time_parse_human(const char *text, struct timespec now, struct timespec *out);
/* "90s", "15m", "24h", "7d", "2w", "1y", "1h30m": nanoseconds; y is 365 d. */
bool duration_parse(const char *text, int64_t *nanoseconds);
/* "3.2 s", "4 min 10 s", "2 h 5 min", "3 d 4 h". */
char *duration_human(int64_t nanoseconds, char out[32]);

static inline int timespec_compare(struct timespec a, struct timespec b)
{
    if (a.tv_sec != b.tv_sec)
        return a.tv_sec < b.tv_sec ? -1 : 1;
    return a.tv_nsec < b.tv_nsec ? -1 : a.tv_nsec > b.tv_nsec;
}

/* a - b in nanoseconds, saturated. */
int64_t timespec_diff(struct timespec a, struct timespec b);
struct timespec timespec_add(struct timespec a, int64_t nanoseconds);

#endif
