/* Clocks, RFC 3339, and the times and durations that people type. */
#include "base/clock.h"
#include "base/text.h"
#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

enum { SEC_PER_DAY = 86400 };

/* ---- clocks ---- */

static struct timespec system_wall(struct clock *c)
{
    struct timespec t;
    (void)c;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return t;
}

static int64_t system_since_boot(struct clock *c)
{
    struct timespec t;
    (void)c;
    (void)clock_gettime(CLOCK_BOOTTIME, &t);
    return t.tv_sec * NSEC_PER_SEC + t.tv_nsec;
}

struct clock clock_system = {system_wall, system_since_boot};

struct timespec clock_wall(struct clock *c)
{
    return c->wall(c);
}

int64_t clock_since_boot(struct clock *c)
{
    return c->since_boot(c);
}

/* ---- arithmetic ---- */

int64_t timespec_diff(struct timespec a, struct timespec b)
{
    int64_t seconds, total;
    if (__builtin_sub_overflow((int64_t)a.tv_sec, (int64_t)b.tv_sec, &seconds) ||
        __builtin_mul_overflow(seconds, NSEC_PER_SEC, &total) ||
        __builtin_add_overflow(total, (int64_t)(a.tv_nsec - b.tv_nsec), &total))
        return timespec_compare(a, b) < 0 ? INT64_MIN : INT64_MAX;
    return total;
}

struct timespec timespec_add(struct timespec a, int64_t nanoseconds)
{
    int64_t seconds = nanoseconds / NSEC_PER_SEC;
    int64_t rest = a.tv_nsec + nanoseconds % NSEC_PER_SEC;
    if (rest < 0) {
        rest += NSEC_PER_SEC;
        seconds--;
    } else if (rest >= NSEC_PER_SEC) {
        rest -= NSEC_PER_SEC;
        seconds++;
    }
    int64_t sum;
    if (__builtin_add_overflow((int64_t)a.tv_sec, seconds, &sum))
        return (struct timespec){seconds < 0 ? INT64_MIN : INT64_MAX, 0};
    return (struct timespec){sum, rest};
}

/* ---- writing ---- */

/* Breaks a time down and brings its year into 0..9999 as restic does, day and hour unchanged. */
static struct tm broken_down(struct timespec t, bool utc)
{
    /* What fits an int of years; beyond it the C library gives up. */
    const time_t most = INT64_C(60000000000000000);
    time_t sec = t.tv_sec > most ? most : t.tv_sec < -most ? -most : t.tv_sec;
    struct tm tm = {0};
    (void)(utc ? gmtime_r(&sec, &tm) : localtime_r(&sec, &tm));
    if (tm.tm_year < 0 - 1900)
        tm.tm_year = 0 - 1900;
    if (tm.tm_year > 9999 - 1900) {
        tm.tm_year = 9999 - 1900;
        if (tm.tm_mon == 1 && tm.tm_mday == 29) { /* 9999 is no leap year */
            tm.tm_mon = 2;
            tm.tm_mday = 1;
        }
    }
    return tm;
}

static char *put_digits(char *at, int value, int width)
{
    for (int i = width - 1; i >= 0; i--, value /= 10)
        at[i] = (char)('0' + value % 10);
    return at + width;
}

static char *put_date(char *at, const struct tm *tm, char between)
{
    at = put_digits(at, tm->tm_year + 1900, 4);
    *at++ = '-';
    at = put_digits(at, tm->tm_mon + 1, 2);
    *at++ = '-';
    at = put_digits(at, tm->tm_mday, 2);
    *at++ = between;
    at = put_digits(at, tm->tm_hour, 2);
    *at++ = ':';
    at = put_digits(at, tm->tm_min, 2);
    *at++ = ':';
    return put_digits(at, tm->tm_sec, 2);
}

char *time_format(struct timespec t, bool utc, char out[TIME_TEXT])
{
    struct tm tm = broken_down(t, utc);
    char *at = put_date(out, &tm, 'T');
    if (t.tv_nsec > 0 && t.tv_nsec < NSEC_PER_SEC) {
        *at++ = '.';
        at = put_digits(at, (int)t.tv_nsec, 9);
        while (at[-1] == '0')
            at--;
    }
    if (tm.tm_gmtoff == 0) {
        *at++ = 'Z';
    } else {
        /* Zones of long ago have seconds; Go drops them, towards zero. */
        int minutes = (int)(tm.tm_gmtoff / 60);
        *at++ = minutes < 0 ? '-' : '+';
        minutes = minutes < 0 ? -minutes : minutes;
        at = put_digits(at, minutes / 60, 2);
        *at++ = ':';
        at = put_digits(at, minutes % 60, 2);
    }
    *at = '\0';
    return out;
}

char *time_format_human(struct timespec t, bool utc, char out[TIME_TEXT])
{
    struct tm tm = broken_down(t, utc);
    *put_date(out, &tm, ' ') = '\0';
    return out;
}

/* ---- reading ---- */

/* A text being read: every step moves p or fails. */
struct scan {
    const char *p, *end;
};

static bool scan_char(struct scan *s, char c)
{
    if (s->p == s->end || *s->p != c)
        return false;
    s->p++;
    return true;
}

/* Exactly `width` digits whose value lies in low..high. */
static bool scan_digits(struct scan *s, int width, int low, int high, int *value)
{
    int v = 0;
    for (int i = 0; i < width; i++, s->p++) {
        if (s->p == s->end || *s->p < '0' || *s->p > '9')
            return false;
        v = v * 10 + (*s->p - '0');
    }
    *value = v;
    return v >= low && v <= high;
}

static int days_in_month(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    return month == 2 && leap ? 29 : days[month - 1];
}

/* Days from 1970-01-01; the year starts in March, so that the leap day is its last. */
static int64_t days_since_epoch(int year, int month, int day)
{
    int y = month <= 2 ? year - 1 : year;
    int era = (y >= 0 ? y : y - 399) / 400;
    int year_of_era = y - era * 400;
    int day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    int day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    return (int64_t)era * 146097 + day_of_era - 719468;
}

static bool scan_day(struct scan *s, struct tm *tm)
{
    int year, month;
    if (!scan_digits(s, 4, 0, 9999, &year) || !scan_char(s, '-') ||
        !scan_digits(s, 2, 1, 12, &month) || !scan_char(s, '-') ||
        !scan_digits(s, 2, 1, days_in_month(year, month), &tm->tm_mday))
        return false;
    tm->tm_year = year - 1900;
    tm->tm_mon = month - 1;
    return true;
}

static bool scan_hour_minute(struct scan *s, struct tm *tm)
{
    return scan_digits(s, 2, 0, 23, &tm->tm_hour) && scan_char(s, ':') &&
           scan_digits(s, 2, 0, 59, &tm->tm_min);
}

/* An optional fraction: digits past the ninth count for nothing, as in Go. */
static bool scan_fraction(struct scan *s, long *nanoseconds)
{
    *nanoseconds = 0;
    if (!scan_char(s, '.'))
        return true;
    long place = NSEC_PER_SEC / 10;
    const char *first = s->p;
    for (; s->p < s->end && *s->p >= '0' && *s->p <= '9'; s->p++, place /= 10)
        *nanoseconds += place * (*s->p - '0');
    return s->p > first;
}

static bool scan_zone(struct scan *s, int *seconds)
{
    int hours, minutes, sign = 1;
    *seconds = 0;
    if (scan_char(s, 'Z'))
        return true;
    if (scan_char(s, '-'))
        sign = -1;
    else if (!scan_char(s, '+'))
        return false;
    if (!scan_digits(s, 2, 0, 23, &hours) || !scan_char(s, ':') ||
        !scan_digits(s, 2, 0, 59, &minutes))
        return false;
    *seconds = sign * (hours * 60 + minutes) * 60;
    return true;
}

bool time_parse(const char *text, size_t len, struct timespec *out)
{
    struct scan s = {text, text + len};
    struct tm tm = {0};
    long nanoseconds;
    int zone;
    if (!scan_day(&s, &tm) || !scan_char(&s, 'T') || !scan_hour_minute(&s, &tm) ||
        !scan_char(&s, ':') || !scan_digits(&s, 2, 0, 59, &tm.tm_sec) ||
        !scan_fraction(&s, &nanoseconds) || !scan_zone(&s, &zone) || s.p != s.end)
        return false;
    int64_t days = days_since_epoch(tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday);
    out->tv_sec = days * SEC_PER_DAY + tm.tm_hour * 3600 + tm.tm_min * 60 + tm.tm_sec - zone;
    out->tv_nsec = nanoseconds;
    return true;
}

/* The last nanosecond of the local day that lies `days` after the one in tm. */
static struct timespec end_of_day(struct tm tm, int days)
{
    struct tm next = {.tm_year = tm.tm_year, .tm_mon = tm.tm_mon, .tm_isdst = -1};
    next.tm_mday = tm.tm_mday + days + 1;
    struct tm noon = next;
    noon.tm_hour = 12;
    (void)mktime(&noon); /* says which day of which month that is */
    time_t t = mktime(&next);
    /* Where the clock is put forward at midnight, midnight does not exist, and mktime may have
     * answered with the hour before. */
    if (next.tm_mday != noon.tm_mday)
        t += 3600;
    return timespec_add((struct timespec){t, 0}, -1);
}

static bool parse_ago(const char *text, size_t len, struct timespec now, struct timespec *out)
{
    static const char ago[] = " ago";
    char duration[32];
    int64_t nanoseconds;
    size_t n = len - strlen(ago);
    if (len <= strlen(ago) || n >= sizeof duration || strcasecmp(text + n, ago) != 0)
        return false;
    memcpy(duration, text, n);
    duration[n] = '\0';
    if (!duration_parse(duration, &nanoseconds))
        return false;
    *out = timespec_add(now, -nanoseconds);
    return true;
}

/* "2026-11-20", "2026-11-20 14:03", "2026-11-20 14:03:07", "14:03"; a T may stand for the space. */
static bool parse_local(const char *text, size_t len, struct tm today, struct timespec *out)
{
    struct scan s = {text, text + len};
    struct tm tm = {0};
    if (scan_day(&s, &tm)) {
        if (s.p == s.end) {
            *out = end_of_day(tm, 0);
            return true;
        }
        if (!scan_char(&s, ' ') && !scan_char(&s, 'T'))
            return false;
    } else {
        s.p = text;
        tm = (struct tm){.tm_year = today.tm_year, .tm_mon = today.tm_mon};
        tm.tm_mday = today.tm_mday;
    }
    if (!scan_hour_minute(&s, &tm))
        return false;
    if (scan_char(&s, ':') && !scan_digits(&s, 2, 0, 59, &tm.tm_sec))
        return false;
    tm.tm_isdst = -1;
    *out = (struct timespec){mktime(&tm), 0};
    return s.p == s.end;
}

bool time_parse_human(const char *text, struct timespec now, struct timespec *out)
{
    char word[64];
    size_t len = strlen(text);
    while (len > 0 && isspace((unsigned char)*text))
        text++, len--;
    while (len > 0 && isspace((unsigned char)text[len - 1]))
        len--;
    if (len == 0 || len >= sizeof word)
        return false;
    memcpy(word, text, len);
    word[len] = '\0';

    struct tm today = {0};
    (void)localtime_r(&now.tv_sec, &today);
    if (strcasecmp(word, "now") == 0)
        *out = now;
    else if (strcasecmp(word, "yesterday") == 0)
        *out = end_of_day(today, -1);
    else if (strcasecmp(word, "today") == 0)
        *out = end_of_day(today, 0);
    else
        return time_parse(word, len, out) || parse_ago(word, len, now, out) ||
               parse_local(word, len, today, out);
    return true;
}

/* ---- durations ---- */

bool duration_parse(const char *text, int64_t *nanoseconds)
{
    static const struct {
        char letter;
        int64_t seconds;
    } unit[] = {{'s', 1},
                {'m', 60},
                {'h', 3600},
                {'d', SEC_PER_DAY},
                {'w', 7 * SEC_PER_DAY},
                {'y', INT64_C(365) * SEC_PER_DAY}};
    int64_t total = 0;
    const char *s = text;
    do {
        int64_t value = 0;
        if (!isdigit((unsigned char)*s))
            return false;
        for (; isdigit((unsigned char)*s); s++)
            if (__builtin_mul_overflow(value, 10, &value) ||
                __builtin_add_overflow(value, *s - '0', &value))
                return false;
        size_t u = 0;
        while (u < array_len(unit) && unit[u].letter != *s)
            u++;
        if (u == array_len(unit) || __builtin_mul_overflow(value, unit[u].seconds, &value) ||
            __builtin_mul_overflow(value, NSEC_PER_SEC, &value) ||
            __builtin_add_overflow(total, value, &total))
            return false;
        s++;
    } while (*s != '\0');
    *nanoseconds = total;
    return true;
}

/* "2 h 5 min", but "2 h": a second part only where there is one. */
static void two_parts(char out[32], const char *sign, uint64_t large, const char *unit,
                      uint64_t small, const char *small_unit)
{
    int n = snprintf(out, 32, "%s%u %s", sign, (unsigned)large, unit);
    if (small > 0 && n > 0 && n < 32)
        (void)snprintf(out + n, (size_t)(32 - n), " %u %s", (unsigned)small, small_unit);
}

char *duration_human(int64_t nanoseconds, char out[32])
{
    const char *sign = nanoseconds < 0 ? "-" : "";
    uint64_t ns = nanoseconds < 0 ? 0 - (uint64_t)nanoseconds : (uint64_t)nanoseconds;
    uint64_t tenths = (ns + 50000000) / 100000000, s = (ns + 500000000) / NSEC_PER_SEC;
    uint64_t min = s / 60, h = s / 3600, d = s / SEC_PER_DAY;
    if (ns > 0 && ns < 99500000)
        (void)snprintf(out, 32, "%s%u ms", sign, (unsigned)((ns + 500000) / 1000000));
    else if (tenths < 600)
        (void)snprintf(out, 32, "%s%u.%u s", sign, (unsigned)tenths / 10, (unsigned)tenths % 10);
    else if (min < 60)
        two_parts(out, sign, min, "min", s % 60, "s");
    else if (h < 24)
        two_parts(out, sign, h, "h", min % 60, "min");
    else
        two_parts(out, sign, d, "d", h % 24, "h");
    return out;
}
