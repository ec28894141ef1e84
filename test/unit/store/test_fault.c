/* Plans of faults, the count of calls, and crashes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/file.h"
#include "store/store.h"
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static void plans(void **state)
{
    static const struct {
        const char *text;
        uint64_t at;
        enum fault_kind kind;
        bool after;
    } good[] = {
        {"0", 0, FAULT_NONE, false},
        {"7:transient", 7, FAULT_TRANSIENT, false},
        {"1:final", 1, FAULT_FINAL, false},
        {"12:short", 12, FAULT_SHORT, false},
        {"3:lost-reply", 3, FAULT_LOST_REPLY, false},
        {"5:crash", 5, FAULT_CRASH, false},
        {"100000:crash-after", 100000, FAULT_CRASH, true},
    };
    static const char *const bad[] = {"",         "7",
                                      "7:",       ":final",
                                      "x:final",  "7:finally",
                                      "-1:final", "7 :final",
                                      "7:final ", "99999999999999999999:final"};
    (void)state;
    for (size_t i = 0; i < array_len(good); i++) {
        struct fault_plan plan;
        struct err e = ERR_INIT;
        assert_int_equal(store_fault_parse(good[i].text, &plan, &e), 0);
        assert_int_equal(plan.fail_at, good[i].at);
        assert_int_equal(plan.kind, good[i].kind);
        assert_int_equal(plan.after, good[i].after);
        assert_int_equal(plan.calls, 0);
        assert_null(plan.count_file);
    }
    for (size_t i = 0; i < array_len(bad); i++) {
        struct fault_plan plan;
        struct err e = ERR_INIT;
        assert_int_equal(store_fault_parse(bad[i], &plan, &e), ERR_USAGE);
    }
}

static void calls_are_counted(void **state)
{
    char directory[] = "/tmp/salvor-fault-XXXXXX";
    struct fault_plan plan = {0};
    struct err e = ERR_INIT;
    uint64_t size;
    (void)state;
    assert_non_null(mkdtemp(directory));
    _cleanup_free_ char *file = path_join(directory, "count");
    plan.count_file = file;
    struct store *s = store_fault_new(store_memory_new(), &plan);
    assert_false(store_properties(s)->local_files);
    for (int i = 0; i < 12; i++)
        assert_int_equal(store_stat(s, "x", &size, &e), ERR_NOT_FOUND);
    assert_int_equal(plan.calls, 12);
    store_free(s);
    _cleanup_(buf_release) struct buf b = BUF_INIT(BUF_TEXT);
    assert_int_equal(file_read(file, &b, &e), 0);
    assert_string_equal(buf_str(&b), "12\n");
    assert_int_equal(dir_remove_all(directory, &e), 0);
}

/* Puts "x" in a child whose first call crashes; whether "x" is there afterwards. */
static bool crash(bool after)
{
    char directory[] = "/tmp/salvor-fault-XXXXXX";
    struct fault_plan plan = {.fail_at = 1, .kind = FAULT_CRASH, .after = after};
    struct err e = ERR_INIT;
    struct store *local = NULL;
    uint64_t size;
    int status;
    assert_non_null(mkdtemp(directory));
    assert_int_equal(store_local_new(directory, false, &local, &e), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct store *s = store_fault_new(local, &plan);
        (void)!store_put(s, "x", PUT_NEW, NULL, 0, &e);
        _exit(0);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    int rc = store_stat(local, "x", &size, &e);
    store_free(local);
    assert_int_equal(dir_remove_all(directory, &e), 0);
    return rc == 0;
}

static void crashes(void **state)
{
    (void)state;
    assert_false(crash(false));
    assert_true(crash(true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plans),
        cmocka_unit_test(calls_are_counted),
        cmocka_unit_test(crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
