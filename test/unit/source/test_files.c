/* The source of files on a real directory: order, attributes, excludes, and files that change. */
#include "base/mem.h"
#include "source/source.h"
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "../real_dir.h"

static int set_up(void **state)
{
    (void)state;
    enter_dir();
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    leave_dir();
    return 0;
}

static struct source *source_of(const char *const *paths, size_t npaths,
                                const char *const *excludes, size_t nexcludes)
{
    struct source_files_options o = {.paths = paths,
                                     .npaths = npaths,
                                     .excludes = excludes,
                                     .nexcludes = nexcludes};
    struct source *s = NULL;
    struct err e = ERR_INIT;
    if (source_files_new(&o, &s, &e) != 0)
        fail_msg("%s", e.msg);
    return s;
}

/* Everything that the source tells, as text: ">" enter, "<" leave, "!" problem. */
static char *walk(struct source *s)
{
    struct buf b = BUF_INIT(BUF_TEXT);
    for (;;) {
        struct source_item i;
        struct err e = ERR_INIT;
        if (source_next(s, &i, &e) != 0)
            fail_msg("%s", e.msg);
        enum source_step step = i.step;
        static const char mark[] = {'>', '<', ' ', '!'};
        if (step != SOURCE_END)
            buf_addf(&b, "%c%s\n", mark[step], i.path);
        source_item_release(&i);
        if (step == SOURCE_END)
            break;
    }
    source_free(s);
    return buf_take(&b);
}

static void check_walk(const char *const *paths, size_t npaths, const char *const *excludes,
                       size_t nexcludes, const char *want)
{
    _cleanup_free_ char *got = walk(source_of(paths, npaths, excludes, nexcludes));
    assert_string_equal(got, want);
}

#define PATHS(...)                                                                                 \
    (const char *const[]){__VA_ARGS__}, array_len(((const char *const[]){__VA_ARGS__}))
#define NO_EXCLUDES NULL, 0

static void make_tree(void)
{
    assert_int_equal(mkdir("a", 0755) | mkdir("a/b", 0755) | mkdir("a/b/deep", 0700) |
                         mkdir("a-b", 0755) | mkdir("a/node_modules", 0755),
                     0);
    put("a/one", "1");
    put("a/b/two", "22");
    put("a/b/deep/three", "333");
    put("a/node_modules/x", "x");
    put("a-b/four", "4");
    put("a/empty", "");
    assert_int_equal(symlink("b/two", "a/link"), 0);
}

static void test_order(void **state)
{
    (void)state;
    make_tree();
    check_walk(PATHS("a"), NO_EXCLUDES,
               ">a\n>a/b\n>a/b/deep\n a/b/deep/three\n<a/b/deep\n a/b/two\n<a/b\n a/empty\n"
               " a/link\n>a/node_modules\n a/node_modules/x\n<a/node_modules\n a/one\n<a\n");
    /* The order of names, not of paths: "a" before "a-b", though "a-b" sorts before "a/b". */
    check_walk(PATHS("./a-b", "a/b/two", "a/b/deep"), NO_EXCLUDES,
               ">a\n>a/b\n>a/b/deep\n a/b/deep/three\n<a/b/deep\n a/b/two\n<a/b\n<a\n"
               ">a-b\n a-b/four\n<a-b\n");
    check_walk(PATHS("a/b/two"), NO_EXCLUDES, " two\n");
    check_walk(PATHS("a/b", "a/b/../b/two", "a/b/deep/"), NO_EXCLUDES,
               ">b\n>b/deep\n b/deep/three\n<b/deep\n b/two\n<b\n");
}

static void test_excludes(void **state)
{
    (void)state;
    make_tree();
    check_walk(PATHS("a"), PATHS("node_modules", "t*", "link"),
               ">a\n>a/b\n>a/b/deep\n<a/b/deep\n<a/b\n a/empty\n a/one\n<a\n");
    check_walk(PATHS("a"), PATHS("b/deep", "one/", "node_modules/"),
               ">a\n>a/b\n a/b/two\n<a/b\n a/empty\n a/link\n a/one\n<a\n");
    _cleanup_free_ char *anchored = path_join(dir, "a/*/two");
    _cleanup_free_ char *nothing = path_join(dir, "b");
    check_walk(PATHS("a/b"), PATHS(anchored, nothing), ">b\n>b/deep\n b/deep/three\n<b/deep\n<b\n");
    /* What was named outright is there even so. */
    check_walk(PATHS("a/b/two"), PATHS("two"), " two\n");

    struct err e = ERR_INIT;
    struct source *s = NULL;
    struct source_files_options o = {.paths = PATHS("a"), .excludes = PATHS("/")};
    assert_int_equal(source_files_new(&o, &s, &e), ERR_USAGE);
}

static void test_globs(void **state)
{
    (void)state;
    make_tree();
    put("a/.hidden", "h");
    check_walk(PATHS("a/*e*"), PATHS("node_modules"), " empty\n one\n");
    check_walk(PATHS("**/t[hw]*"), NO_EXCLUDES, ">deep\n deep/three\n<deep\n two\n");
    check_walk(PATHS("a/.h*"), NO_EXCLUDES, " .hidden\n");
    put("a/o[n]e", "literal");
    check_walk(PATHS("a/o[n]e"), NO_EXCLUDES, " o[n]e\n");

    struct err e = ERR_INIT;
    struct source *s = NULL;
    struct source_files_options o = {.paths = PATHS("a", "a/*.db")};
    assert_int_equal(source_files_new(&o, &s, &e), ERR_NOT_FOUND);
    o.paths = (const char *const[]){"nothing"};
    o.npaths = 1;
    assert_int_equal(source_files_new(&o, &s, &e), ERR_NOT_FOUND);
    assert_non_null(strstr(e.msg, "/nothing"));
    o.npaths = 0;
    assert_int_equal(source_files_new(&o, &s, &e), ERR_USAGE);
}

static void test_caches(void **state)
{
    (void)state;
    assert_int_equal(mkdir("c", 0755) | mkdir("c/cache", 0755) | mkdir("c/not", 0755), 0);
    put("c/cache/CACHEDIR.TAG", "Signature: 8a477f597d28d172789f06886806bc55\n# x\n");
    put("c/cache/big", "big");
    put("c/not/CACHEDIR.TAG", "something");
    struct source_files_options o = {.paths = PATHS("c"), .exclude_caches = true};
    struct source *s = NULL;
    struct err e = ERR_INIT;
    assert_int_equal(source_files_new(&o, &s, &e), 0);
    _cleanup_free_ char *got = walk(s);
    assert_string_equal(got, ">c\n>c/cache\n c/cache/CACHEDIR.TAG\n<c/cache\n>c/not\n"
                             " c/not/CACHEDIR.TAG\n<c/not\n<c\n");
}

/* The item of one path. */
static struct source_item item_of(struct source *s, const char *path)
{
    for (;;) {
        struct source_item i;
        struct err e = ERR_INIT;
        assert_int_equal(source_next(s, &i, &e), 0);
        if (i.step == SOURCE_END)
            fail_msg("no %s", path);
        if (i.step != SOURCE_LEAVE && strcmp(i.path, path) == 0)
            return i;
        source_item_release(&i);
    }
}

static void test_attributes(void **state)
{
    (void)state;
    assert_int_equal(mkdir("d", 0755), 0);
    put("d/file\xff", "hello");
    assert_int_equal(chmod("d/file\xff", 04750), 0);
    assert_int_equal(link("d/file\xff", "d/again"), 0);
    assert_int_equal(mkfifo("d/fifo", 0640), 0);
    assert_int_equal(symlink("to\xfe", "d/link"), 0);
    struct timespec times[2] = {{100, 1}, {1234567890, 123456789}};
    assert_int_equal(utimensat(AT_FDCWD, "d/file\xff", times, 0), 0);
    bool attrs = setxattr("d/file\xff", "user.b", "B", 1, 0) == 0 &&
                 setxattr("d/file\xff", "user.a", "", 0, 0) == 0;
    char big[1000];
    memset(big, 'x', sizeof(big));
    attrs = attrs && setxattr("d/file\xff", "user.c", big, sizeof(big), 0) == 0;
    struct stat st;
    assert_int_equal(stat("d/file\xff", &st), 0);

    _cleanup_(source_freep) struct source *s = source_of(PATHS("d"), NO_EXCLUDES);
    struct source_item i = item_of(s, "d");
    assert_int_equal(i.node.type, NODE_DIR);
    assert_int_equal(i.node.links, 0);
    assert_int_equal(i.node.size, 0);
    source_item_release(&i);
    i = item_of(s, "d/fifo");
    assert_int_equal(i.node.type, NODE_FIFO);
    assert_int_equal(i.node.links, 0);
    assert_false(i.has_bytes);
    source_item_release(&i);
    i = item_of(s, "d/file\xff");
    assert_string_equal(i.node.name, "file\xff");
    assert_int_equal(i.node.mode, 04750);
    assert_int_equal(i.node.mtime.tv_sec, 1234567890);
    assert_int_equal(i.node.mtime.tv_nsec, 123456789);
    assert_int_equal(i.node.atime.tv_sec, 1234567890);
    assert_int_equal(i.node.size, 5);
    assert_int_equal(i.node.links, 2);
    assert_int_equal(i.node.inode, st.st_ino);
    assert_int_equal(i.node.device_id, st.st_dev);
    assert_true(i.has_bytes);
    if (attrs) { /* not every file system has them */
        assert_int_equal(i.node.nxattr, 3);
        for (size_t k = 0; k < 3; k++)
            assert_int_equal(i.node.xattr[k].len, i.node.xattr[k].name[5] == 'a'   ? 0
                                                  : i.node.xattr[k].name[5] == 'b' ? 1
                                                                                   : 1000);
    }
    source_item_release(&i);
    i = item_of(s, "d/link");
    assert_int_equal(i.node.type, NODE_SYMLINK);
    assert_string_equal(i.node.linktarget, "to\xfe");
    source_item_release(&i);
}

static void read_all(struct stream *st, uint64_t *bytes)
{
    char data[4096];
    size_t got = 0;
    struct err e = ERR_INIT;
    *bytes = 0;
    do {
        assert_int_equal(stream_read_full(st, data, sizeof(data), &got, &e), 0);
        *bytes += got;
    } while (got > 0);
}

static void test_change(void **state)
{
    (void)state;
    put("f", "12345");
    struct err e = ERR_INIT;
    struct stream *st = NULL;
    uint64_t bytes = 0;
    struct source *s = source_of(PATHS("f"), NO_EXCLUDES);
    struct source_item i = item_of(s, "f");

    /* Quiet. */
    assert_int_equal(source_open(&i, &st, &e), 0);
    read_all(st, &bytes);
    assert_int_equal(bytes, 5);
    assert_int_equal(source_verdict(&i, st, bytes, &e), 0);
    stream_close(st);
    assert_true(source_unchanged(&i, &i.node));

    /* Written to, same length, at once after it was opened. */
    assert_int_equal(source_open(&i, &st, &e), 0);
    int fd = open("f", O_WRONLY);
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    read_all(st, &bytes);
    assert_int_equal(source_verdict(&i, st, bytes, &e), ERR_CHANGED);
    assert_true(e.retryable);
    stream_close(st);

    /* Replaced between listing and opening: the new one is read, and the node follows. */
    put("f", "1234567");
    assert_int_equal(source_open(&i, &st, &e), 0);
    read_all(st, &bytes);
    assert_int_equal(source_verdict(&i, st, bytes, &e), 0);
    assert_int_equal(i.node.size, 7);
    stream_close(st);
    struct stat now;
    assert_int_equal(stat("f", &now), 0);
    assert_int_equal(i.node.inode, now.st_ino);

    /* A link in its place leads nowhere. */
    assert_int_equal(unlink("f") | symlink("/etc/passwd", "f"), 0);
    assert_int_equal(source_open(&i, &st, &e), ERR_NOT_FOUND);
    assert_int_equal(unlink("f") | mkfifo("f", 0600), 0);
    assert_int_equal(source_open(&i, &st, &e), ERR_NOT_FOUND);
    assert_int_equal(unlink("f"), 0);
    assert_int_equal(source_open(&i, &st, &e), ERR_NOT_FOUND);
    close(fd);
    source_item_release(&i);
    source_free(s);
}

static void test_vanished(void **state)
{
    (void)state;
    make_tree();
    _cleanup_(source_freep) struct source *s = source_of(PATHS("a"), NO_EXCLUDES);
    struct source_item i = item_of(s, "a/b"); /* a is listed, a/one is not looked at yet */
    source_item_release(&i);
    assert_int_equal(unlink("a/one"), 0);
    i = item_of(s, "a/one");
    assert_int_equal(i.step, SOURCE_PROBLEM);
    assert_int_equal(i.problem.code, ERR_NOT_FOUND);
    source_item_release(&i);
}

static void test_unreadable(void **state)
{
    (void)state;
    make_tree();
    assert_int_equal(chmod("a/b", 0) | chmod("a/one", 0) | chmod(dir, 0755), 0);
    bool root = geteuid() == 0; /* who may read everything */
    if (root)
        assert_int_equal(seteuid(65534), 0);
    struct err e = ERR_INIT;
    struct stream *st = NULL;
    check_walk(PATHS("a/b"), NO_EXCLUDES, ">b\n!b\n<b\n");
    struct source *s = source_of(PATHS("a/one"), NO_EXCLUDES);
    struct source_item i = item_of(s, "one");
    assert_int_equal(source_open(&i, &st, &e), ERR_DENIED);
    source_item_release(&i);
    source_free(s);
    if (root)
        assert_int_equal(seteuid(0), 0);
    assert_int_equal(chmod("a/b", 0700), 0);
}

static void test_long_path(void **state)
{
    (void)state;
    /* Deeper than PATH_MAX: can only be made step by step. */
    char name[201];
    memset(name, 'n', 200);
    name[200] = 0;
    assert_int_equal(mkdir("long", 0755), 0);
    assert_int_equal(chdir("long"), 0);
    for (int k = 0; k < 30; k++)
        assert_int_equal(mkdir(name, 0755) | chdir(name), 0);
    int fd = open("bottom", O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, "deep", 4), 4);
    close(fd);
    assert_int_equal(chdir(dir), 0);

    _cleanup_(source_freep) struct source *s = source_of(PATHS("long"), NO_EXCLUDES);
    struct err e = ERR_INIT;
    bool seen = false;
    for (;;) {
        struct source_item i;
        assert_int_equal(source_next(s, &i, &e), 0);
        enum source_step step = i.step;
        assert_int_not_equal(step, SOURCE_PROBLEM);
        if (step == SOURCE_LEAF) {
            struct stream *st = NULL;
            uint64_t bytes = 0;
            assert_int_equal(source_open(&i, &st, &e), 0);
            read_all(st, &bytes);
            assert_int_equal(bytes, 4);
            assert_int_equal(source_verdict(&i, st, bytes, &e), 0);
            stream_close(st);
            seen = true;
        }
        source_item_release(&i);
        if (step == SOURCE_END)
            break;
    }
    assert_true(seen);
}

static void test_describe(void **state)
{
    (void)state;
    make_tree();
    struct err e = ERR_INIT;
    struct source *s = source_of(PATHS("a"), PATHS("x"));
    struct source_item i;
    for (enum source_step step = SOURCE_ENTER; step != SOURCE_END;) {
        assert_int_equal(source_next(s, &i, &e), 0);
        step = i.step;
        source_item_release(&i);
    }
    struct buf b = BUF_INIT(BUF_TEXT);
    struct json_out j;
    json_out_init(&j, &b);
    json_begin_object(&j);
    assert_int_equal(source_describe(s, &j, &e), 0);
    json_end_object(&j);
    assert_int_equal(json_out_finish(&j, &e), 0);
    _cleanup_free_ char *want =
        str_fmt("{\"base\":\"%s\",\"paths\":[\"%s/a\"],\"files\":4,"
                "\"directories\":4,\"others\":1,\"bytes\":6,"
                "\"sockets_left_out\":0,\"excluded\":1,\"excludes\":[\"x\"]}",
                dir, dir);
    assert_string_equal(buf_str(&b), want);
    buf_release(&b);
    source_free(s);
}

static void test_stream(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    struct source *s = source_stream_new("dump.sql", stream_from_memory("select", 6));
    struct source_item i, end;
    assert_int_equal(source_next(s, &i, &e), 0);
    assert_int_equal(i.step, SOURCE_LEAF);
    assert_string_equal(i.path, "dump.sql");
    assert_true(i.has_bytes);
    assert_int_equal(source_next(s, &end, &e), 0);
    assert_int_equal(end.step, SOURCE_END);
    struct stream *st = NULL;
    uint64_t bytes = 0;
    assert_int_equal(source_open(&i, &st, &e), 0);
    read_all(st, &bytes);
    assert_int_equal(source_verdict(&i, st, bytes, &e), 0);
    assert_int_equal(i.node.size, 6);
    stream_close(st);
    assert_int_equal(source_open(&i, &st, &e), ERR_UNSUPPORTED);
    source_item_release(&i);
    source_free(s);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_order),      TEST(test_excludes), TEST(test_globs),    TEST(test_caches),
        TEST(test_attributes), TEST(test_change),   TEST(test_vanished), TEST(test_unreadable),
        TEST(test_long_path),  TEST(test_describe), TEST(test_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
