/* Streams over descriptors and memory. */
#include "base/stream.h"
#include "test/unit/unit.h"
#include <fcntl.h>

static void memory_gives_all_and_ends(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(stream_closep) struct stream *s = stream_from_memory("hello", 5);
    char text[8];
    size_t got;
    assert_int_equal(stream_read(s, text, 2, &got, &e), 0);
    assert_int_equal(got, 2);
    assert_int_equal(stream_read_full(s, text + 2, 6, &got, &e), 0);
    assert_int_equal(got, 3);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(stream_read(s, text, 8, &got, &e), 0);
    assert_int_equal(got, 0);
}

static void empty_memory_may_be_null(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(stream_closep) struct stream *s = stream_from_memory(NULL, 0);
    char byte;
    size_t got = 7;
    assert_int_equal(stream_read(s, &byte, 1, &got, &e), 0);
    assert_int_equal(got, 0);
}

static void pipe_is_read_past_short_counts(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int fds[2];
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    assert_int_equal(write(fds[1], "abc", 3), 3);
    assert_int_equal(write(fds[1], "def", 3), 3);
    (void)close(fds[1]);
    _cleanup_(stream_closep) struct stream *s = stream_from_fd(fds[0], "a pipe");
    char text[16];
    size_t got;
    assert_int_equal(stream_read_full(s, text, sizeof(text), &got, &e), 0);
    assert_int_equal(got, 6);
    assert_memory_equal(text, "abcdef", 6);
}

static void error_names_the_stream(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    int fd = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    _cleanup_(stream_closep) struct stream *s = stream_from_fd(fd, "the root");
    char byte;
    size_t got;
    assert_int_equal(stream_read(s, &byte, 1, &got, &e), ERR_IO);
    assert_non_null(strstr(e.msg, "the root"));
}

static void closing_nothing_is_allowed(void **state)
{
    (void)state;
    stream_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_gives_all_and_ends),
        cmocka_unit_test(empty_memory_may_be_null),
        cmocka_unit_test(pipe_is_read_past_short_counts),
        cmocka_unit_test(error_names_the_stream),
        cmocka_unit_test(closing_nothing_is_allowed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
