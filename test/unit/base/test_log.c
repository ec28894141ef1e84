/* Notices: levels, harmless lines, whole lines from several threads, the progress bar lifted. */
#include "unit.h"

#include "base/buf.h"
#include "base/log.h"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

/* Runs `body` with standard error in memory and gives what was written. */
static void capture(void (*body)(void), struct buf *out)
{
    char block[4096];
    ssize_t n;
    _cleanup_close_ int memory = memfd_create("stderr", 0);
    assert_true(memory >= 0);
    (void)fflush(stderr);
    _cleanup_close_ int saved = dup(STDERR_FILENO);
    assert_true(dup2(memory, STDERR_FILENO) >= 0);
    body();
    (void)dup2(saved, STDERR_FILENO);
    (void)lseek(memory, 0, SEEK_SET);
    while ((n = read(memory, block, sizeof block)) > 0)
        buf_add(out, block, (size_t)n);
}

static void say_all(void)
{
    log_line(LOG_ERROR, "one %d", 1);
    log_warning("two\x1b[2J\nthree");
    log_notice("four \u00e9");
    log_line(LOG_INFO, "not shown");
    log_debug("not shown");
}

static void levels(void **state)
{
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    (void)state;
    capture(say_all, &out);
    assert_string_equal(buf_str(&out), "salvor: one 1\n"
                                       "salvor: warning: two\\x1b[2J\\x0athree\n"
                                       "salvor: four \u00e9\n");
    buf_clear(&out);
    log_set_level(LOG_ERROR);
    capture(say_all, &out);
    log_set_level(LOG_NOTICE);
    assert_string_equal(buf_str(&out), "salvor: one 1\n");
}

static void say_to_journal(void)
{
    struct stat st;
    char name[64];
    assert_int_equal(fstat(STDERR_FILENO, &st), 0);
    (void)snprintf(name, sizeof name, "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
    (void)setenv("JOURNAL_STREAM", name, 1);
    log_warning("disk");
    (void)unsetenv("JOURNAL_STREAM");
}

static void journal_gets_priorities(void **state)
{
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    (void)state;
    capture(say_to_journal, &out);
    assert_string_equal(buf_str(&out), "<4>salvor: warning: disk\n");
}

static int lifted_now, lifts;

static void lift(bool lifted, void *arg)
{
    assert_ptr_equal(arg, &lifts);
    lifted_now += lifted ? 1 : -1;
    assert_int_equal(lifted_now, lifted ? 1 : 0);
    lifts++;
}

static void *say_often(void *arg)
{
    for (int i = 0; i < 200; i++)
        log_notice("thread %s line", (const char *)arg);
    return NULL;
}

static void say_from_threads(void)
{
    static char names[4][2] = {"a", "b", "c", "d"};
    pthread_t thread[array_len(names)];
    log_set_lift(lift, &lifts);
    for (size_t i = 0; i < array_len(names); i++)
        assert_int_equal(pthread_create(&thread[i], NULL, say_often, names[i]), 0);
    for (size_t i = 0; i < array_len(names); i++)
        assert_int_equal(pthread_join(thread[i], NULL), 0);
    log_set_lift(NULL, NULL);
}

static void threads_and_lift(void **state)
{
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    (void)state;
    capture(say_from_threads, &out);
    size_t lines = 0;
    for (const char *s = buf_str(&out); *s != '\0'; s += strlen("salvor: thread a line\n")) {
        assert_memory_equal(s, "salvor: thread ", 15);
        assert_memory_equal(s + 16, " line\n", 6);
        lines++;
    }
    assert_int_equal(lines, 800);
    assert_int_equal(lifts, 1600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(levels),
        cmocka_unit_test(journal_gets_priorities),
        cmocka_unit_test(threads_and_lift),
    };
    return cmocka_run_group_tests_name("log", tests, NULL, NULL);
}
