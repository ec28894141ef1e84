/* Retention: worked examples, and random lists against a second implementation that asks of each
 * snapshot alone, by definition and by calendar text, whether it stays. */
#include "base/clock.h"
#include "base/mem.h"
#include "policy/retention.h"
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const int64_t DAY = 86400 * NSEC_PER_SEC;

static struct timespec at(const char *text)
{
    struct timespec t = {0};
    assert_true(time_parse(text, strlen(text), &t));
    return t;
}

static struct retention_item good(const char *text)
{
    return (struct retention_item){.time = at(text), .good = true};
}

static struct retention_item partial(const char *text)
{
    return (struct retention_item){.time = at(text)};
}

/* One letter an item: K stays, - goes. */
static void expect(const struct retention *r, const char *now, struct retention_item *item,
                   size_t n, const char *kept)
{
    retention_decide(r, at(now), item, n);
    char got[64] = "";
    assert_true(n < sizeof got);
    for (size_t i = 0; i < n; i++)
        got[i] = item[i].keep ? 'K' : '-';
    assert_string_equal(got, kept);
}

static void no_rule_keeps_all(void **state)
{
    (void)state;
    struct retention r = {0};
    struct retention_item i[] = {good("2020-01-01T00:00:00Z"), partial("2019-01-01T00:00:00Z"),
                                 good("2026-01-01T00:00:00Z")};
    expect(&r, "2026-02-01T00:00:00Z", i, 3, "KKK");
    assert_string_equal(i[0].why, "no rule is given");
    assert_string_equal(i[2].why, "newest good");
    retention_decide(&r, at("2026-02-01T00:00:00Z"), NULL, 0);
}

static void newest_good_stays_whatever(void **state)
{
    (void)state;
    struct retention r = {.tags = &(struct str_list){.s = (char *[]){(char[]){"x"}}, .n = 1}};
    struct retention_item i[] = {good("2026-01-01T00:00:00Z"), good("2026-01-02T00:00:00Z"),
                                 partial("2026-01-03T00:00:00Z"), partial("2025-12-01T00:00:00Z")};
    expect(&r, "2026-02-01T00:00:00Z", i, 4, "-KK-");
    assert_string_equal(i[0].why, "no rule keeps it");
    assert_string_equal(i[2].why, "partial, newer than the newest good one");
    assert_string_equal(i[3].why, "partial, and a newer one is good");
}

static void periods_count_what_has_a_backup(void **state)
{
    (void)state;
    struct retention r = {.daily = 3};
    /* Two weeks of silence between: three days that have one, not three days. */
    struct retention_item i[] = {
        good("2026-11-20T02:00:00Z"), good("2026-11-20T14:00:00Z"), good("2026-11-05T02:00:00Z"),
        good("2026-11-05T01:00:00Z"), good("2026-11-04T02:00:00Z"), good("2026-11-03T02:00:00Z"),
    };
    expect(&r, "2026-12-20T00:00:00Z", i, 6, "-KK-K-");
    assert_string_equal(i[1].why, "newest good, daily 2026-11-20");
    assert_string_equal(i[4].why, "daily 2026-11-04");
}

static void partials_never_displace(void **state)
{
    (void)state;
    struct retention r = {.last = 2, .daily = 2, .within = 2 * DAY};
    struct retention_item i[] = {
        partial("2026-11-20T03:00:00Z"), good("2026-11-20T02:00:00Z"),
        partial("2026-11-19T23:00:00Z"), good("2026-11-15T02:00:00Z"),
        partial("2026-11-15T09:00:00Z"),
    };
    expect(&r, "2026-11-21T00:00:00Z", i, 5, "KKKK-");
    assert_string_equal(i[2].why, "within 2 d");
    assert_string_equal(i[3].why, "last 2 of 2, daily 2026-11-15");
}

static void iso_weeks(void **state)
{
    (void)state;
    struct retention r = {.weekly = 10};
    /* Friday 1 January 2027 is in week 53 of 2026, with Monday 28 December. */
    struct retention_item i[] = {good("2027-01-04T00:00:00Z"), good("2027-01-03T23:59:59Z"),
                                 good("2027-01-01T00:00:00Z"), good("2026-12-28T00:00:00Z"),
                                 good("2026-12-27T23:59:59Z")};
    expect(&r, "2027-02-01T00:00:00Z", i, 5, "KK--K");
    assert_string_equal(i[1].why, "weekly 2026-W53");
    assert_string_equal(i[0].why, "newest good, weekly 2027-W01");
}

static void hard_limit(void **state)
{
    (void)state;
    struct retention r = {.daily = 30, .delete_after = 365 * DAY};
    struct retention_item i[] = {good("2024-06-02T00:00:00Z"), good("2024-06-01T00:00:00Z"),
                                 partial("2024-06-03T00:00:00Z"), good("2024-05-01T00:00:00Z")};
    i[1].drilled_last = true;
    i[3].in_use = true;
    expect(&r, "2026-01-01T00:00:00Z", i, 4, "K---");
    assert_string_equal(i[0].why, "outlives delete_after: newest good");
    assert_string_equal(i[1].why, "deleted after 365 d");

    /* Alone it deletes what is old and nothing else. */
    struct retention only = {.delete_after = DAY};
    struct retention_item k[] = {good("2026-01-01T00:00:00Z"), partial("2025-12-31T23:59:59Z"),
                                 good("2025-12-30T23:59:59Z"), partial("2025-12-31T00:00:00Z")};
    expect(&only, "2026-01-01T00:00:00Z", k, 4, "KK-K");
}

static void relied_on(void **state)
{
    (void)state;
    struct retention r = {.last = 1};
    struct str_list hold = {0}, other = {0};
    str_list_add(&hold, "hold");
    str_list_add(&other, "other");
    struct retention_item i[] = {good("2026-01-05T00:00:00Z"), good("2026-01-04T00:00:00Z"),
                                 good("2026-01-03T00:00:00Z"), good("2026-01-02T00:00:00Z"),
                                 good("2026-01-01T00:00:00Z")};
    i[1].drilled_last = true;
    i[2].in_use = true;
    i[3].tags = &hold;
    i[4].tags = &other;
    r.tags = &hold;
    expect(&r, "2026-02-01T00:00:00Z", i, 5, "KKKK-");
    assert_string_equal(i[3].why, "tag hold");
    str_list_release(&hold);
    str_list_release(&other);
}

static void without_a_good_one(void **state)
{
    (void)state;
    struct retention r = {.last = 1, .within = DAY};
    struct retention_item i[] = {partial("2026-01-05T00:00:00Z"), partial("2020-01-04T00:00:00Z")};
    expect(&r, "2026-02-01T00:00:00Z", i, 2, "KK");
    r.delete_after = 365 * DAY;
    expect(&r, "2026-02-01T00:00:00Z", i, 2, "K-");
}

/* ---- random lists ---- */

static uint64_t seed;

static uint64_t dice(uint64_t sides)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return seed % sides;
}

static const char *text_of(const char *format, struct timespec t, char out[32])
{
    struct tm tm;
    assert_non_null(gmtime_r(&t.tv_sec, &tm));
    assert_true(strftime(out, 32, format, &tm) > 0);
    return out;
}

/* Whether a is before b in the order newest first. */
static bool before(const struct retention_item *a, const struct retention_item *b)
{
    int order = timespec_compare(a->time, b->time);
    return order > 0 || (order == 0 && a < b);
}

/* Stays for a period: good, none newer in its own period, fewer than `count` newer periods. */
static bool period_keeps(const char *format, unsigned count, const struct retention_item *it,
                         const struct retention_item *all, size_t n)
{
    char own[32], others[64][32], text[32];
    size_t newer = 0;
    (void)text_of(format, it->time, own);
    for (size_t i = 0; i < n; i++) {
        if (!all[i].good || !before(&all[i], it))
            continue;
        if (strcmp(text_of(format, all[i].time, text), own) == 0)
            return false;
        bool seen = false;
        for (size_t k = 0; k < newer; k++)
            seen = seen || strcmp(others[k], text) == 0;
        if (!seen)
            memcpy(others[newer++], text, sizeof text);
    }
    return newer < count;
}

static bool naive(const struct retention *r, struct timespec now, const struct retention_item *it,
                  const struct retention_item *all, size_t n)
{
    const struct retention_item *newest = NULL;
    unsigned newer = 0;
    for (size_t i = 0; i < n; i++) {
        if (all[i].good && (newest == NULL || before(&all[i], newest)))
            newest = &all[i];
        newer += all[i].good && before(&all[i], it);
    }
    if (it == newest)
        return true;
    if (r->delete_after != 0 && timespec_diff(now, it->time) > r->delete_after)
        return false;
    if (it->in_use || it->drilled_last)
        return true;
    if (!r->last && !r->hourly && !r->daily && !r->weekly && !r->monthly && !r->yearly &&
        !r->within && r->tags == NULL)
        return true;
    if (r->tags != NULL && it->tags != NULL)
        return true; /* there is but one tag here */
    if (!it->good && (newest == NULL || timespec_compare(it->time, newest->time) > 0))
        return true;
    if (newest != NULL && r->within != 0 && timespec_diff(newest->time, it->time) <= r->within)
        return true;
    if (!it->good)
        return false;
    return newer < r->last || period_keeps("%Y-%m-%d %H", r->hourly, it, all, n) ||
           period_keeps("%F", r->daily, it, all, n) ||
           period_keeps("%G %V", r->weekly, it, all, n) ||
           period_keeps("%Y %m", r->monthly, it, all, n) ||
           period_keeps("%Y", r->yearly, it, all, n);
}

static unsigned sometimes(unsigned most)
{
    return dice(3) == 0 ? (unsigned)dice(most) : 0;
}

static void random_lists(void **state)
{
    (void)state;
    struct str_list tags = {0};
    str_list_add(&tags, "hold");
    for (unsigned round = 0; round < 20000; round++) {
        seed = 0x9E3779B97F4A7C15u ^ (round + 1) * UINT64_C(2654435761);
        struct retention r = {
            .last = sometimes(5),
            .hourly = sometimes(9),
            .daily = sometimes(9),
            .weekly = sometimes(9),
            .monthly = sometimes(9),
            .yearly = sometimes(4),
            .within = sometimes(60) * DAY,
            .delete_after = sometimes(900) * DAY,
        };
        r.tags = dice(4) == 0 ? &tags : NULL;
        /* Around the epoch too, where division rounds the other way. */
        static const int64_t span[] = {86400, 30 * 86400, 3 * 365 * 86400};
        int64_t start = dice(4) == 0 ? -400 * 86400 : 1700000000;
        uint64_t reach = (uint64_t)span[dice(3)];
        struct timespec now = {start + (int64_t)reach - (int64_t)dice(1000), 5};

        struct retention_item item[48];
        size_t n = (size_t)dice(array_len(item) + 1);
        memset(item, 0, sizeof item);
        for (size_t i = 0; i < n; i++) {
            item[i].time.tv_sec = start + (int64_t)dice(reach);
            if (i > 0 && dice(10) == 0)
                item[i].time = item[i - 1].time;
            item[i].good = dice(4) != 0;
            item[i].drilled_last = dice(30) == 0;
            item[i].in_use = dice(30) == 0;
            item[i].tags = dice(20) == 0 ? &tags : NULL;
        }
        retention_decide(&r, now, item, n);
        for (size_t i = 0; i < n; i++) {
            assert_true(item[i].why[0] != '\0');
            if (item[i].keep != naive(&r, now, &item[i], item, n))
                fail_msg("round %u, item %zu: keep is %d, \"%s\"", round, i, item[i].keep,
                         item[i].why);
        }
    }
    str_list_release(&tags);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_rule_keeps_all),
        cmocka_unit_test(newest_good_stays_whatever),
        cmocka_unit_test(periods_count_what_has_a_backup),
        cmocka_unit_test(partials_never_displace),
        cmocka_unit_test(iso_weeks),
        cmocka_unit_test(hard_limit),
        cmocka_unit_test(relied_on),
        cmocka_unit_test(without_a_good_one),
        cmocka_unit_test(random_lists),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
