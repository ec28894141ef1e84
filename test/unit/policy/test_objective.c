/* Objectives at and around their bounds. */
#include "base/clock.h"
#include "policy/objective.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

static const int64_t HOUR = 3600 * NSEC_PER_SEC;

static enum objective_state after(const struct rpo *o, int64_t age, int64_t *left)
{
    return rpo_state(o, timespec_add(o->newest, age), left);
}

static void rpo(void **state)
{
    (void)state;
    int64_t left = 0;
    struct rpo o = {.promise = 24 * HOUR, .grace = -1, .has_backup = true, .newest = {1000000, 7}};
    assert_int_equal(after(&o, 0, &left), OBJECTIVE_KEPT);
    assert_int_equal(left, 24 * HOUR);
    assert_int_equal(after(&o, 24 * HOUR, &left), OBJECTIVE_KEPT);
    assert_int_equal(left, 0);
    assert_int_equal(after(&o, 24 * HOUR + 1, &left), OBJECTIVE_LATE);
    assert_int_equal(left, -1);
    assert_int_equal(after(&o, 26 * HOUR, NULL), OBJECTIVE_LATE);
    assert_int_equal(after(&o, 26 * HOUR + 1, NULL), OBJECTIVE_MISSED);
    /* A clock that was set back. */
    assert_int_equal(after(&o, -5 * HOUR, &left), OBJECTIVE_KEPT);
    assert_int_equal(left, 24 * HOUR);

    o.measured = 3 * HOUR; /* grace is six hours then */
    assert_int_equal(after(&o, 30 * HOUR, NULL), OBJECTIVE_LATE);
    assert_int_equal(after(&o, 30 * HOUR + 1, NULL), OBJECTIVE_MISSED);
    o.grace = 0;
    assert_int_equal(after(&o, 24 * HOUR + 1, NULL), OBJECTIVE_MISSED);
    o.grace = INT64_MAX;
    assert_int_equal(after(&o, 1000 * HOUR, NULL), OBJECTIVE_LATE);

    o.has_backup = false;
    assert_int_equal(after(&o, 0, &left), OBJECTIVE_MISSED);
    assert_true(left < 0);
    o.promise = 0;
    assert_int_equal(after(&o, 0, &left), OBJECTIVE_NONE);
    assert_int_equal(left, 0);
}

static void rto(void **state)
{
    (void)state;
    assert_int_equal(rto_state(0, 5), OBJECTIVE_NONE);
    assert_int_equal(rto_state(5, 0), OBJECTIVE_NONE);
    assert_int_equal(rto_state(5, 5), OBJECTIVE_KEPT);
    assert_int_equal(rto_state(5, 6), OBJECTIVE_MISSED);
    assert_string_equal(objective_name(OBJECTIVE_NONE), "none");
    assert_string_equal(objective_name(OBJECTIVE_KEPT), "kept");
    assert_string_equal(objective_name(OBJECTIVE_LATE), "late");
    assert_string_equal(objective_name(OBJECTIVE_MISSED), "missed");
}

static void forecast(void **state)
{
    (void)state;
    const uint64_t gib = UINT64_C(1) << 30;
    assert_int_equal(forecast_restore(NULL, 0, gib, 1), 0);
    struct measured_restore m[] = {{gib, 1, 4 * NSEC_PER_SEC}, {gib, 1, 0}};
    assert_int_equal(forecast_restore(m + 1, 1, gib, 1), 0);
    assert_int_equal(forecast_restore(m, 2, gib, 1), 4 * NSEC_PER_SEC);
    int64_t ten = forecast_restore(m, 1, 10 * gib, 1);
    assert_true(ten > 30 * NSEC_PER_SEC && ten < 50 * NSEC_PER_SEC);
    /* Many small files take longer than their bytes. */
    assert_true(forecast_restore(m, 1, gib, 100000) > 8 * NSEC_PER_SEC);
    /* A tiny restore that took two seconds does not forecast a day for a gigabyte. */
    struct measured_restore tiny = {1000, 1, 2 * NSEC_PER_SEC};
    assert_true(forecast_restore(&tiny, 1, gib, 1) < 60 * NSEC_PER_SEC);
    assert_true(forecast_restore(&tiny, 1, UINT64_MAX, UINT64_MAX) > 0);
}

static void size(void **state)
{
    (void)state;
    char why[128];
    struct size_rule r = {.min = 1024};
    assert_true(size_within(&(struct size_rule){0}, 0, why));
    assert_true(size_within(&r, 1024, why));
    assert_string_equal(why, "");
    assert_false(size_within(&r, 1023, why));
    assert_non_null(strstr(why, "minimum"));

    r = (struct size_rule){.least = 1000, .most = 2000};
    assert_true(size_within(&r, 1000, why) && size_within(&r, 2000, why));
    assert_false(size_within(&r, 999, why));
    assert_non_null(strstr(why, "at least"));
    assert_false(size_within(&r, 2001, why));
    assert_non_null(strstr(why, "at most"));

    r = (struct size_rule){.drift_least = 0.5, .drift_most = 2.0};
    assert_true(size_within(&r, 1, why)); /* nothing to compare with yet */
    r.average = 1000;
    assert_true(size_within(&r, 500, why) && size_within(&r, 2000, why));
    assert_false(size_within(&r, 499, why));
    assert_non_null(strstr(why, "50 %"));
    assert_false(size_within(&r, 2001, why));
    assert_non_null(strstr(why, "200 %"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rpo),
        cmocka_unit_test(rto),
        cmocka_unit_test(forecast),
        cmocka_unit_test(size),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
