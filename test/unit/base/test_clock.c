/* Times and durations: written as Go writes them, read from other programs and from people. Zones
 * are given as rules, so that the tests need no time zone database. */
#include "unit.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include <stdlib.h>
#include <string.h>

#define BERLIN "CET-1CEST,M3.5.0,M10.5.0/3"
#define SANTIAGO "<-04>4<-03>,M9.1.6/24,M4.1.6/24"

static void zone(const char *tz)
{
    assert_int_equal(setenv("TZ", tz, 1), 0);
    tzset();
}

static void written_as_go(void **state)
{
    static const struct {
        const char *tz;
        int64_t sec;
        long nsec;
        const char *out;
    } table[] = {
        {"UTC0", 0, 0, "1970-01-01T00:00:00Z"},
        {"UTC0", 1700000000, 1, "2023-11-14T22:13:20.000000001Z"},
        {"UTC0", 1700000000, 120000000, "2023-11-14T22:13:20.12Z"},
        {"UTC0", -1, 999999999, "1969-12-31T23:59:59.999999999Z"},
        {BERLIN, 1700000000, 500000000, "2023-11-14T23:13:20.5+01:00"},
        {BERLIN, 1690000000, 0, "2023-07-22T06:26:40+02:00"},
        {"IST-5:30", 1700000000, 0, "2023-11-15T03:43:20+05:30"},
        {"NST3:30", 1700000000, 0, "2023-11-14T18:43:20-03:30"},
        {"LMT-0:53:28", 0, 0, "1970-01-01T00:53:28+00:53"},
        {"LMT0:53:28", 0, 0, "1969-12-31T23:06:32-00:53"},
        {"LMT0:00:30", 0, 0, "1969-12-31T23:59:30+00:00"},
        {"UTC0", 253402300799, 0, "9999-12-31T23:59:59Z"},
        {"UTC0", 253402300800, 0, "9999-01-01T00:00:00Z"}, /* the year is cut, not the day */
        {"UTC0", 951782400 + INT64_C(12622780800) * 20, 0, "9999-03-01T00:00:00Z"},
        {"UTC0", -62167219200, 0, "0000-01-01T00:00:00Z"},
        {"UTC0", -62167219201, 0, "0000-12-31T23:59:59Z"},
    };
    char out[TIME_TEXT];
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        zone(table[i].tz);
        struct timespec t = {table[i].sec, table[i].nsec};
        assert_string_equal(time_format(t, false, out), table[i].out);
    }
    zone(BERLIN);
    struct timespec t = {1700000000, 5};
    assert_string_equal(time_format(t, true, out), "2023-11-14T22:13:20.000000005Z");
    assert_string_equal(time_format_human(t, false, out), "2023-11-14 23:13:20");
    assert_string_equal(time_format_human(t, true, out), "2023-11-14 22:13:20");
    (void)time_format((struct timespec){INT64_MAX, 0}, false, out);
    (void)time_format((struct timespec){INT64_MIN, 0}, false, out);
}

static void read_back(void **state)
{
    static const struct {
        const char *in;
        int64_t sec;
        long nsec;
    } table[] = {
        {"1970-01-01T00:00:00Z", 0, 0},
        {"2023-11-14T22:13:20.000000001Z", 1700000000, 1},
        {"2023-11-14T22:13:20.1234567899Z", 1700000000, 123456789},
        {"2023-11-14T23:13:20.5+01:00", 1700000000, 500000000},
        {"2023-11-14T18:43:20-03:30", 1700000000, 0},
        {"2000-02-29T00:00:00Z", 951782400, 0},
        {"1969-12-31T23:59:59.25Z", -1, 250000000},
        {"0000-01-01T00:00:00Z", -62167219200, 0},
        {"9999-12-31T23:59:59Z", 253402300799, 0},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        struct timespec t;
        if (!time_parse(table[i].in, strlen(table[i].in), &t))
            fail_msg("refused: %s", table[i].in);
        assert_int_equal(t.tv_sec, table[i].sec);
        assert_int_equal(t.tv_nsec, table[i].nsec);
    }
}

static void refused(void **state)
{
    static const char *const table[] = {
        "",
        "2023",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-11-14 22:13:20Z",
        "2023-13-14T22:13:20Z",
        "2023-00-14T22:13:20Z",
        "2023-11-31T22:13:20Z",
        "2023-11-00T22:13:20Z",
        "2023-02-29T00:00:00Z",
        "1900-02-29T00:00:00Z",
        "2023-11-14T24:00:00Z",
        "2023-11-14T22:60:20Z",
        "2023-11-14T22:13:60Z",
        "2023-11-14T22:13:20.Z",
        "2023-11-14T22:13:20+1:00",
        "2023-11-14T22:13:20+0100",
        "2023-11-14T22:13:20+24:00",
        "2023-11-14T22:13:20+01:60",
        "2023-11-14T22:13:20ZZ",
        "2023-11-14T22:13:20Z ",
        "+023-11-14T22:13:20Z",
        "-023-11-14T22:13:20Z",
    };
    struct timespec t;
    (void)state;
    for (size_t i = 0; i < array_len(table); i++)
        if (time_parse(table[i], strlen(table[i]), &t))
            fail_msg("accepted: %s", table[i]);
    const char good[] = "2023-11-14T22:13:20.5+01:00";
    for (size_t len = 0; len < sizeof good - 1; len++)
        assert_false(time_parse(good, len, &t));
}

static void typed_by_people(void **state)
{
    /* Now is 2023-11-14 23:13:20.5 in Berlin. */
    static const struct {
        const char *in, *out;
    } table[] = {
        {"now", "2023-11-14T23:13:20.5+01:00"},
        {" NOW ", "2023-11-14T23:13:20.5+01:00"},
        {"yesterday", "2023-11-13T23:59:59.999999999+01:00"},
        {"today", "2023-11-14T23:59:59.999999999+01:00"},
        {"2023-07-01", "2023-07-01T23:59:59.999999999+02:00"},
        {"2023-12-31", "2023-12-31T23:59:59.999999999+01:00"},
        {"2023-10-29", "2023-10-29T23:59:59.999999999+01:00"},
        {"2023-07-01 14:03", "2023-07-01T14:03:00+02:00"},
        {"2023-07-01T14:03:07", "2023-07-01T14:03:07+02:00"},
        {"14:03", "2023-11-14T14:03:00+01:00"},
        {"14:03:09", "2023-11-14T14:03:09+01:00"},
        {"3h ago", "2023-11-14T20:13:20.5+01:00"},
        {"2d ago", "2023-11-12T23:13:20.5+01:00"},
        {"1h30m ago", "2023-11-14T21:43:20.5+01:00"},
        {"2023-11-14T10:00:00Z", "2023-11-14T11:00:00+01:00"},
    };
    static const char *const wrong[] = {
        "",
        "tomorrow",
        "ago",
        " ago",
        "3 ago",
        "3h",
        "25:00",
        "14:3",
        "14:03:",
        "14:03x",
        "2023-2-1",
        "2023-02-30",
        "2023-07-01 ", /* trimmed, so it is checked below that this one is read */
        "2023-07-01 14",
        "2023-07-01x14:03",
        "2023-07-01 14:03 x",
    };
    const struct timespec now = {1700000000, 500000000};
    struct timespec t;
    char out[TIME_TEXT];
    (void)state;
    zone(BERLIN);
    for (size_t i = 0; i < array_len(table); i++) {
        if (!time_parse_human(table[i].in, now, &t))
            fail_msg("refused: %s", table[i].in);
        assert_string_equal(time_format(t, false, out), table[i].out);
    }
    for (size_t i = 0; i < array_len(wrong); i++) {
        bool trimmed = strcmp(wrong[i], "2023-07-01 ") == 0;
        if (time_parse_human(wrong[i], now, &t) != trimmed)
            fail_msg("accepted: %s", wrong[i]);
    }
}

/* On 2023-09-03 the clock in Santiago went from 24:00 of the day before straight to 01:00. */
static void days_without_midnight(void **state)
{
    struct timespec t, now = {1693800000, 0};
    char out[TIME_TEXT];
    (void)state;
    zone(SANTIAGO);
    assert_true(time_parse_human("2023-09-02", now, &t));
    assert_string_equal(time_format(t, false, out), "2023-09-02T23:59:59.999999999-04:00");
    assert_true(time_parse_human("2023-09-03", now, &t));
    assert_string_equal(time_format(t, false, out), "2023-09-03T23:59:59.999999999-03:00");
}

static void durations(void **state)
{
    static const struct {
        const char *in;
        int64_t seconds; /* -1: refused */
    } table[] = {
        {"90s", 90},
        {"15m", 900},
        {"24h", 86400},
        {"7d", 604800},
        {"2w", 1209600},
        {"1y", 31536000},
        {"1h30m", 5400},
        {"0s", 0},
        {"", -1},
        {"5", -1},
        {"h", -1},
        {"-1h", -1},
        {"1.5h", -1},
        {"1h ", -1},
        {"1h30", -1},
        {"300y", -1},
        {"99999999999999999999s", -1},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        int64_t ns = 0;
        assert_int_equal(duration_parse(table[i].in, &ns), table[i].seconds >= 0);
        if (table[i].seconds >= 0)
            assert_int_equal(ns, table[i].seconds * NSEC_PER_SEC);
    }
}

static void durations_for_people(void **state)
{
    static const struct {
        int64_t ms;
        const char *out;
    } table[] = {
        {0, "0.0 s"},           {12, "12 ms"},          {99, "99 ms"},
        {100, "0.1 s"},         {3200, "3.2 s"},        {59949, "59.9 s"},
        {59950, "1 min"},       {250000, "4 min 10 s"}, {3599400, "59 min 59 s"},
        {3599500, "1 h"},       {86400000, "1 d"},      {7500000, "2 h 5 min"},
        {273600000, "3 d 4 h"}, {-3200, "-3.2 s"},
    };
    char out[32];
    (void)state;
    for (size_t i = 0; i < array_len(table); i++)
        assert_string_equal(duration_human(table[i].ms * 1000000, out), table[i].out);
    assert_string_equal(duration_human(INT64_MIN, out), "-106751 d 23 h");
}

static void arithmetic(void **state)
{
    (void)state;
    struct timespec a = {10, 500000000}, b = {8, 700000000};
    assert_int_equal(timespec_diff(a, b), 1800000000);
    assert_int_equal(timespec_diff(b, a), -1800000000);
    struct timespec c = timespec_add(b, 1800000000);
    assert_int_equal(timespec_compare(a, c), 0);
    c = timespec_add(a, -1800000000);
    assert_int_equal(timespec_compare(b, c), 0);
    struct timespec first = {INT64_MIN, 0}, last = {INT64_MAX, 999999999};
    assert_true(timespec_diff(last, first) == INT64_MAX);
    assert_true(timespec_diff(first, last) == INT64_MIN);
    assert_true(timespec_add(last, INT64_MAX).tv_sec == INT64_MAX);
    assert_true(timespec_add(first, INT64_MIN).tv_sec == INT64_MIN);
}

static void clocks_run(void **state)
{
    (void)state;
    assert_true(clock_wall(&clock_system).tv_sec > 1600000000);
    int64_t before = clock_since_boot(&clock_system);
    assert_true(before > 0 && clock_since_boot(&clock_system) >= before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(written_as_go),
        cmocka_unit_test(read_back),
        cmocka_unit_test(refused),
        cmocka_unit_test(typed_by_people),
        cmocka_unit_test(days_without_midnight),
        cmocka_unit_test(durations),
        cmocka_unit_test(durations_for_people),
        cmocka_unit_test(arithmetic),
        cmocka_unit_test(clocks_run),
    };
    return cmocka_run_group_tests_name("clock", tests, NULL, NULL);
}
