/* The target of files on a real directory: what it makes, keeps and refuses. */
#include "base/mem.h"
#include "target/target.h"
#include <fcntl.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>

#include "../real_dir.h"

static char *about_path, *about_kept;
static struct str_list former; /* path, attributes, path, attributes, ... */
static bool check_about;
static struct buf events = BUF_INIT(BUF_TEXT);

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
    buf_release(&events);
    free(take(about_path));
    free(take(about_kept));
    str_list_release(&former);
    return 0;
}

static void note(enum target_event what, const char *path, const char *kept, const char *why,
                 void *arg)
{
    (void)arg;
    static const char mark[] = {'?', '?', '+', '~', '=', '*', '-'};
    if (what == TARGET_ABOUT_ATTRIBUTES) {
        str_list_add(&former, path);
        str_list_add(&former, kept);
        return;
    }
    if (what == TARGET_ABOUT) { /* told in time, and truly */
        struct stat st;
        assert_int_equal(kept != NULL && lstat(kept, &st) == 0, 0);
        free(about_path);
        free(about_kept);
        about_path = str_dup(path);
        about_kept = str_dup(kept);
        return;
    }
    if (check_about && (what == TARGET_CREATED || what == TARGET_REPLACED)) {
        size_t len = strlen(about_path);
        if (strncmp(path, about_path, len) == 0 && path[len] == '/') {
            assert_null(kept); /* its directory was told */
        } else {
            assert_string_equal(about_path, path);
            assert_true(str_eq(about_kept, kept));
        }
    }
    if (check_about && what == TARGET_ATTRIBUTES)
        assert_true(str_list_has(&former, path));
    buf_addf(&events, "%c%s", mark[what], path + strlen(dir) + 1);
    if (kept != NULL)
        buf_addf(&events, " kept %s", kept + strlen(dir) + 1);
    if (what == TARGET_SKIPPED)
        buf_addf(&events, " because %s", why);
    buf_adds(&events, "\n");
}

static struct target *open_target(const char *root, const char *keep, bool dry)
{
    struct target_options o = {.root = root, .keep_suffix = keep, .dry_run = dry, .event = note};
    struct target *t = NULL;
    struct err e = ERR_INIT;
    buf_clear(&events);
    check_about = !dry;
    if (target_files_new(&o, &t, &e) != 0)
        fail_msg("%s", e.msg);
    return t;
}

static struct node node_of(enum node_type type, mode_t mode, uint64_t size)
{
    return (struct node){.type = type,
                         .mode = mode,
                         .size = size,
                         .uid = geteuid(),
                         .gid = getegid(),
                         .mtime = {1234567890, 123456789},
                         .atime = {1234567890, 123456789},
                         .links = 1};
}

static int give_dir(struct target *t, const char *path, mode_t mode)
{
    struct node n = node_of(NODE_DIR, mode, 0);
    struct err e = ERR_INIT;
    return target_directory(t, path, &n, &e);
}

/* A file with this text, as the job does it: the same bytes are not written again. */
static int give_node(struct target *t, const char *path, const struct node *n, const char *text,
                     struct err *e)
{
    struct target_file *f = NULL;
    int rc = target_begin(t, path, n, &f, e);
    if (rc != 0 || f == NULL)
        return rc;
    char old[256];
    size_t got = 0;
    assert_int_equal(target_old_bytes(f, old, sizeof(old), 0, &got, e), 0);
    if (target_old_size(f) == n->size && got == n->size && memcmp(old, text, got) == 0)
        return target_same(f, e);
    if ((rc = target_write(f, text, n->size, 0, e)) != 0) {
        target_abort(f);
        return rc;
    }
    return target_commit(f, e);
}

static int give(struct target *t, const char *path, mode_t mode, const char *text)
{
    struct node n = node_of(NODE_FILE, mode, strlen(text));
    struct err e = ERR_INIT;
    return give_node(t, path, &n, text, &e);
}

static void has(const char *path, const char *text)
{
    struct buf b = BUF_INIT(BUF_TEXT);
    struct err e = ERR_INIT;
    if (file_read(path, &b, &e) != 0)
        fail_msg("%s", e.msg);
    assert_string_equal(buf_str(&b), text);
    buf_release(&b);
}

static void finish(struct target *t)
{
    struct err e = ERR_INIT;
    if (target_finish(t, &e) != 0)
        fail_msg("%s", e.msg);
    target_free(t);
}

/* No temporary file is left. */
static void is_tidy(void)
{
    assert_int_not_equal(system("find . -name '.salvor-*' | grep -q ."), 0);
}

static void test_fresh(void **state)
{
    (void)state;
    struct target *t = open_target("new/root", NULL, false);
    struct err e = ERR_INIT;
    assert_int_equal(give_dir(t, "d", 0555), 0);
    assert_int_equal(give_dir(t, "d/e", 02750), 0);
    assert_int_equal(give(t, "d/e/secret", 0600, "key"), 0);
    assert_int_equal(give(t, "d/empty", 0640, ""), 0);
    struct node link = node_of(NODE_SYMLINK, 0777, 0);
    link.linktarget = str_dup("../\xff");
    assert_int_equal(give_node(t, "d/link", &link, "", &e), 0);
    node_release(&link);
    struct node fifo = node_of(NODE_FIFO, 0620, 0);
    assert_int_equal(give_node(t, "d/pipe", &fifo, "", &e), 0);
    struct node sock = node_of(NODE_SOCKET, 0620, 0);
    assert_int_equal(give_node(t, "d/sock", &sock, "", &e), 0);
    assert_int_equal(give(t, "d/suid", 04755, "#!"), 0);
    finish(t);
    assert_string_equal(buf_str(&events),
                        "+new/root/d\n+new/root/d/e\n+new/root/d/e/secret\n+new/root/d/empty\n"
                        "+new/root/d/link\n+new/root/d/pipe\n"
                        "-new/root/d/sock because a socket is made by its program\n"
                        "+new/root/d/suid\n");
    has("new/root/d/e/secret", "key");
    struct stat st;
    assert_int_equal(stat("new/root", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat("new/root/d", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0555);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    assert_int_equal(stat("new/root/d/e", &st), 0);
    assert_int_equal(st.st_mode & 07777, 02750);
    assert_int_equal(stat("new/root/d/suid", &st), 0);
    assert_int_equal(st.st_mode & 07777, 04755);
    assert_int_equal(stat("new/root/d/e/secret", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_mtim.tv_sec, 1234567890);
    assert_int_equal(lstat("new/root/d/link", &st), 0);
    assert_int_equal(st.st_mtim.tv_nsec, 123456789);
    assert_int_equal(stat("new/root/d/pipe", &st), 0);
    assert_true(S_ISFIFO(st.st_mode) && (st.st_mode & 0777) == 0620);
    assert_int_equal(chmod("new/root/d", 0755), 0);
    is_tidy();
}

static void test_in_place(void **state)
{
    (void)state;
    assert_int_equal(mkdir("r", 0755) | mkdir("r/dir", 0755) | mkdir("r/was-dir", 0755), 0);
    put("r/same", "same");
    put("r/differs", "new state");
    put("r/differs.pre-restore", "an older one");
    put("r/was-file", "file");
    put("r/was-dir/x", "x");
    assert_int_equal(symlink("/etc", "r/was-link"), 0);
    struct stat before, after;
    assert_int_equal(stat("r/same", &before), 0);

    struct target *t = open_target("r", ".pre-restore", false);
    assert_int_equal(give_dir(t, "dir", 0755), 0);
    assert_int_equal(give(t, "dir/extra", 0644, "e"), 0);
    assert_int_equal(give(t, "differs", 0644, "old state"), 0);
    assert_int_equal(give(t, "same", 0600, "same"), 0);
    assert_int_equal(give(t, "was-dir", 0644, "now a file"), 0);
    assert_int_equal(give_dir(t, "was-file", 0755), 0);
    assert_int_equal(give(t, "was-file/in", 0644, "in"), 0);
    assert_int_equal(give_dir(t, "was-link", 0755), 0);
    assert_int_equal(give(t, "was-link/passwd", 0644, "not yours"), 0);
    finish(t);
    assert_string_equal(buf_str(&events),
                        "*r/dir\n+r/dir/extra\n~r/differs kept r/differs.pre-restore-2\n*r/same\n"
                        "~r/was-dir kept r/was-dir.pre-restore\n"
                        "~r/was-file kept r/was-file.pre-restore\n+r/was-file/in\n"
                        "~r/was-link kept r/was-link.pre-restore\n+r/was-link/passwd\n");
    has("r/differs", "old state");
    has("r/differs.pre-restore-2", "new state");
    has("r/differs.pre-restore", "an older one");
    has("r/was-dir.pre-restore/x", "x");
    has("r/was-link/passwd", "not yours");
    assert_int_equal(stat("r/same", &after), 0);
    assert_int_equal(before.st_ino, after.st_ino);
    assert_int_equal(after.st_mode & 07777, 0600);
    assert_int_equal(after.st_mtim.tv_nsec, 123456789);
    is_tidy();
}

static void test_replace(void **state)
{
    (void)state;
    assert_int_equal(mkdir("r", 0755) | mkdir("r/full", 0755) | mkdir("r/empty", 0755), 0);
    put("r/f", "new");
    put("r/full/x", "x");
    struct target *t = open_target("r", NULL, false);
    struct err e = ERR_INIT;
    assert_int_equal(give(t, "f", 0644, "old"), 0);
    assert_int_equal(give(t, "empty", 0644, "file"), 0);
    struct node n = node_of(NODE_FILE, 0644, 4);
    assert_int_equal(give_node(t, "full", &n, "file", &e), ERR_EXISTS);
    assert_non_null(strstr(e.msg, "r/full"));
    finish(t);
    assert_string_equal(buf_str(&events), "~r/f\n~r/empty\n");
    has("r/full/x", "x");
    is_tidy();
}

static void test_escapes(void **state)
{
    (void)state;
    assert_int_equal(mkdir("r", 0755) | mkdir("outside", 0755), 0);
    put("outside/victim", "safe");
    assert_int_equal(symlink("../outside", "r/link") | symlink("../outside/victim", "r/file"), 0);
    struct target *t = open_target("r", NULL, false);
    struct err e = ERR_INIT;
    struct node n = node_of(NODE_FILE, 0644, 4);
    static const char *const bad[] = {"../x", "/etc/x", "a/../../x", "a//x", ".", "..", "", "a/"};
    for (size_t i = 0; i < array_len(bad); i++) {
        assert_int_equal(give_node(t, bad[i], &n, "evil", &e), ERR_REFUSED);
        assert_int_equal(give_dir(t, bad[i], 0755), ERR_REFUSED);
    }
    assert_int_equal(access("r/a", F_OK), -1);
    assert_int_equal(give_node(t, "link/victim", &n, "evil", &e), ERR_EXISTS);
    assert_int_equal(give_node(t, "file", &n, "evil", &e), 0); /* replaces the link */
    has("outside/victim", "safe");
    has("r/file", "evil");

    /* A tree that makes a link and then goes through it. */
    struct node link = node_of(NODE_SYMLINK, 0777, 0);
    link.linktarget = str_dup("../outside");
    assert_int_equal(give_node(t, "trap", &link, "", &e), 0);
    node_release(&link);
    assert_int_equal(give_dir(t, "trap", 0777), 0);
    assert_int_equal(give_node(t, "trap/victim", &n, "evil", &e), 0);
    finish(t);
    has("outside/victim", "safe");
    struct stat st;
    assert_int_equal(stat("outside", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755);
    is_tidy();
}

static void test_hard_links(void **state)
{
    (void)state;
    struct target *t = open_target("r", NULL, false);
    struct err e = ERR_INIT;
    struct node n = node_of(NODE_FILE, 0644, 6);
    n.links = 3;
    n.inode = 77;
    n.device_id = 5;
    assert_int_equal(give_node(t, "a", &n, "linked", &e), 0);
    assert_int_equal(give_dir(t, "d", 0755), 0);
    assert_int_equal(give_node(t, "d/b", &n, "linked", &e), 0);
    n.inode = 78;
    struct target_file *f = NULL;
    assert_int_equal(target_begin(t, "lost", &n, &f, &e), 0);
    target_abort(f);
    assert_int_equal(give_node(t, "lost-too", &n, "linked", &e), 0);
    finish(t);
    assert_string_equal(buf_str(&events),
                        "+r/a\n+r/d\n+r/d/b\n"
                        "-r/lost-too because lost, which it is a link to, was not restored\n");
    struct stat a, b;
    assert_int_equal(stat("r/a", &a) | stat("r/d/b", &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);

    /* Again, in place: nothing changes. */
    n.inode = 77;
    t = open_target("r", ".pre-restore", false);
    assert_int_equal(give_node(t, "a", &n, "linked", &e), 0);
    assert_int_equal(give_node(t, "d/b", &n, "linked", &e), 0);
    finish(t);
    assert_string_equal(buf_str(&events), "=r/a\n=r/d/b\n");
}

static void test_sparse(void **state)
{
    (void)state;
    enum { SIZE = 8 << 20 };
    _cleanup_free_ char *data = mem_zero(SIZE);
    data[0] = data[SIZE / 2] = 1;
    struct target *t = open_target("r", NULL, false);
    struct err e = ERR_INIT;
    struct node n = node_of(NODE_FILE, 0644, SIZE);
    struct target_file *f = NULL;
    assert_int_equal(target_begin(t, "holes", &n, &f, &e), 0);
    for (size_t at = 0; at < SIZE; at += 1000000)
        assert_int_equal(target_write(f, data + at, at + 1000000 < SIZE ? 1000000 : SIZE - at, at,
                                      &e),
                         0);
    assert_int_equal(target_write(f, data, 2, SIZE - 1, &e), ERR_CORRUPT);
    assert_int_equal(target_commit(f, &e), 0);
    finish(t);
    struct stat st;
    assert_int_equal(stat("r/holes", &st), 0);
    assert_int_equal(st.st_size, SIZE);
    assert_true(st.st_blocks * 512 < SIZE / 2);
    struct buf b = BUF_INIT(2 * SIZE);
    assert_int_equal(file_read("r/holes", &b, &e), 0);
    assert_memory_equal(b.data, data, SIZE);
    buf_release(&b);
}

static void test_xattrs(void **state)
{
    (void)state;
    put("probe", "");
    if (setxattr("probe", "user.x", "1", 1, 0) < 0)
        skip();
    assert_int_equal(mkdir("r", 0755), 0);
    put("r/f", "text");
    assert_int_equal(setxattr("r/f", "user.gone", "1", 1, 0), 0);
    struct node n = node_of(NODE_FILE, 0640, 4);
    struct node_xattr x[2] = {{str_dup("user.empty"), NULL, 0},
                              {str_dup("user.a"), mem_dup("\0b", 2), 2}};
    n.xattr = x;
    n.nxattr = 2;
    struct err e = ERR_INIT;
    struct target *t = open_target("r", NULL, false);
    assert_int_equal(give_node(t, "f", &n, "text", &e), 0);
    assert_int_equal(give_node(t, "g", &n, "text", &e), 0);
    finish(t);
    char value[8];
    assert_int_equal(getxattr("r/f", "user.a", value, 8), 2);
    assert_memory_equal(value, "\0b", 2);
    assert_int_equal(getxattr("r/f", "user.empty", value, 8), 0);
    assert_int_equal(getxattr("r/f", "user.gone", value, 8), -1);
    assert_int_equal(getxattr("r/g", "user.a", value, 8), 2);
    free(x[0].name);
    free(x[1].name);
    free(x[1].value);
}

static void test_dry_run(void **state)
{
    (void)state;
    assert_int_equal(mkdir("r", 0755), 0);
    put("r/f", "new");
    put("r/same", "same");
    struct target *t = open_target("r", ".pre-restore", true);
    assert_int_equal(give(t, "f", 0600, "old"), 0);
    assert_int_equal(give(t, "same", 0600, "same"), 0);
    assert_int_equal(give_dir(t, "d", 0755), 0);
    assert_int_equal(give(t, "d/x", 0644, "x"), 0);
    assert_int_equal(give_dir(t, "f", 0755), 0);
    finish(t);
    assert_string_equal(buf_str(&events), "~r/f\n*r/same\n+r/d\n+r/d/x\n~r/f\n");
    has("r/f", "new");
    struct stat st;
    assert_int_equal(stat("r/d", &st), -1);
    t = open_target("nowhere/yet", NULL, true);
    assert_int_equal(give_dir(t, "d", 0755), 0);
    assert_int_equal(give(t, "d/x", 0644, "x"), 0);
    finish(t);
    assert_string_equal(buf_str(&events), "+nowhere/yet/d\n+nowhere/yet/d/x\n");
    assert_int_equal(stat("nowhere", &st), -1);
}

static void test_abort(void **state)
{
    (void)state;
    assert_int_equal(mkdir("r", 0755), 0);
    put("r/f", "new");
    struct err e = ERR_INIT;
    struct node n = node_of(NODE_FILE, 0644, 3);
    struct target_file *f = NULL;
    struct target *t = open_target("r", NULL, false);
    assert_int_equal(target_begin(t, "f", &n, &f, &e), 0);
    assert_int_equal(target_write(f, "old", 3, 0, &e), 0);
    target_abort(f);
    has("r/f", "new");
    is_tidy();
    target_free(t);
    t = open_target("fresh", NULL, false);
    assert_int_equal(target_begin(t, "f", &n, &f, &e), 0);
    assert_int_equal(target_write(f, "old", 3, 0, &e), 0);
    target_abort(f);
    bool empty = false;
    assert_int_equal(target_is_empty("fresh", &empty, &e), 0);
    assert_true(empty);
    target_free(t);
}

static void test_bad_roots(void **state)
{
    (void)state;
    put("file", "x");
    struct err e = ERR_INIT;
    struct target *t = NULL;
    struct target_options o = {.root = "file"};
    assert_int_equal(target_files_new(&o, &t, &e), ERR_EXISTS);
    o.dry_run = true;
    assert_int_equal(target_files_new(&o, &t, &e), ERR_EXISTS);
    bool empty = true;
    assert_int_equal(target_is_empty("file", &empty, &e), 0);
    assert_false(empty);
    assert_int_equal(target_is_empty("nothing", &empty, &e), 0);
    assert_true(empty);
    assert_int_equal(target_is_empty(".", &empty, &e), 0);
    assert_false(empty);
}

static void test_put_back(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *aside = NULL;
    put("f", "restored");
    put("f.pre-restore", "was");
    _cleanup_free_ char *path = path_join(dir, "f");
    _cleanup_free_ char *kept = path_join(dir, "f.pre-restore");
    assert_int_equal(target_put_back("files", path, kept, ".undone", &aside, &e), 0);
    assert_string_equal(aside + strlen(dir), "/f.undone");
    free(aside);
    has("f", "was");
    has("f.undone", "restored");
    assert_int_equal(access(kept, F_OK), -1);
    /* Without a kept one it is only moved aside. */
    assert_int_equal(target_put_back("files", path, NULL, ".undone", &aside, &e), 0);
    assert_string_equal(aside + strlen(dir), "/f.undone-2");
    free(aside);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(target_put_back("files", path, NULL, ".undone", &aside, &e), 0);
    assert_null(aside);
    /* What was kept is gone: nothing is touched. */
    put("f", "restored");
    assert_int_equal(target_put_back("files", path, kept, ".undone", &aside, &e), ERR_NOT_FOUND);
    has("f", "restored");
    assert_int_equal(target_put_back("bucket", path, kept, ".undone", &aside, &e), ERR_UNSUPPORTED);
}

/* An entry's attributes as one line. */
static char *describe(const char *path)
{
    struct stat st;
    char value[64];
    assert_int_equal(lstat(path, &st), 0);
    ssize_t len = lgetxattr(path, "user.note", value, sizeof(value));
    return str_fmt("%o %u:%u %lld.%09ld %.*s", st.st_mode, st.st_uid, st.st_gid,
                   (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec, len > 0 ? (int)len : 0, value);
}

static void put_all_back(void)
{
    struct err e = ERR_INIT;
    char *aside = NULL;
    for (size_t i = former.n; i > 0; i -= 2)
        if (target_put_back(TARGET_KIND_ATTRIBUTES, former.s[i - 2], former.s[i - 1], ".undone",
                            &aside, &e) != 0)
            fail_msg("%s", e.msg);
    assert_null(aside);
}

static void test_former_attributes(void **state)
{
    (void)state;
    static const char *const path[] = {"r/d", "r/d/same", "r/d/bare", "r/d/link", "r/empty"};
    struct timespec times[2] = {{1000000000, 1}, {1100000000, 2}};
    assert_int_equal(mkdir("r", 0755) | mkdir("r/d", 0750), 0);
    put("r/d/same", "same");
    put("r/d/bare", "same");
    put("r/empty", "");
    assert_int_equal(symlink("same", "r/d/link"), 0);
    assert_int_equal(setxattr("r/d/same", "user.note", "mine", 4, 0), 0);
    assert_int_equal(chmod("r/d/same", 0640) | chmod("r/d/bare", 0400), 0);
    if (geteuid() == 0)
        assert_int_equal(chown("r/d/same", 1234, 4321), 0);
    char *before[array_len(path)];
    for (size_t i = array_len(path); i-- > 0;) {
        assert_int_equal(utimensat(AT_FDCWD, path[i], times, AT_SYMLINK_NOFOLLOW), 0);
        before[i] = describe(path[i]);
    }
    struct node link = node_of(NODE_SYMLINK, 0777, 0);
    link.linktarget = str_dup("same");
    struct node bare = node_of(NODE_FILE, 0600, 4);
    struct node_xattr note_on_bare = {(char[]){"user.note"}, (uint8_t[]){"x"}, 1};
    bare.xattr = &note_on_bare;
    bare.nxattr = 1;
    struct err e = ERR_INIT;
    for (int again = 0; again < 2; again++) { /* the second time there is nothing to tell */
        struct target *t = open_target("r", ".pre-restore", false);
        assert_int_equal(give_dir(t, "d", 0755), 0);
        assert_int_equal(give_node(t, "d/bare", &bare, "same", &e), 0);
        assert_int_equal(give_node(t, "d/link", &link, "", &e), 0);
        assert_int_equal(give(t, "d/same", 0600, "same"), 0);
        assert_int_equal(give(t, "empty", 0644, ""), 0);
        finish(t);
        assert_string_equal(buf_str(&events),
                            again ? "=r/d\n=r/d/bare\n=r/d/link\n=r/d/same\n=r/empty\n"
                                  : "*r/d\n*r/d/bare\n*r/d/link\n*r/d/same\n*r/empty\n");
        assert_int_equal(former.n, 2 * array_len(path));
    }
    node_release(&link);
    assert_int_equal(getxattr("r/d/same", "user.note", NULL, 0), -1);
    for (int again = 0; again < 2; again++) { /* after a crash in the middle, say */
        put_all_back();
        for (size_t i = 0; i < array_len(path); i++) {
            _cleanup_free_ char *now = describe(path[i]);
            assert_string_equal(now, before[i]);
        }
    }
    for (size_t i = 0; i < array_len(path); i++)
        free(before[i]);
}

static void test_former_attributes_of_what_is_not_there(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    char *aside = NULL;
    const char *kind = TARGET_KIND_ATTRIBUTES, *text = "{\"type\":\"file\",\"mode\":384}";
    _cleanup_free_ char *path = path_join(dir, "f");
    assert_int_equal(target_put_back(kind, path, text, ".undone", &aside, &e), 0);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(mkdir("f", 0755), 0);
    assert_int_equal(target_put_back(kind, path, text, ".undone", &aside, &e), ERR_EXISTS);
    static const char *const bad[] = {"",
                                      "{",
                                      "7",
                                      "{\"mode\":-1}",
                                      "{\"mtime\":[1,2,3]}",
                                      "{\"xattr\":[\"YQ==\"]}",
                                      "{\"xattr\":[\"?\",\"\"]}"};
    for (size_t i = 0; i < array_len(bad); i++)
        assert_int_equal(target_put_back(kind, path, bad[i], ".undone", &aside, &e), ERR_CORRUPT);
    assert_int_equal(target_put_back(kind, path, NULL, ".undone", &aside, &e), ERR_CORRUPT);
}

struct work {
    struct target_file *file;
    int n;
};

static void *write_and_commit(void *arg)
{
    struct work *w = arg;
    struct err e = ERR_INIT;
    for (size_t at = 8; at-- > 0;)
        if (target_write(w->file, "x", 1, at, &e) != 0)
            return w;
    return target_commit(w->file, &e) == 0 ? NULL : w;
}

static void test_threads(void **state)
{
    (void)state;
    enum { FILES = 64 };
    assert_int_equal(mkdir("r", 0755), 0);
    for (int i = 0; i < FILES; i += 2) {
        _cleanup_free_ char *name = str_fmt("r/f%d", i);
        put(name, "old");
    }
    struct target *t = open_target("r", ".pre-restore", false);
    check_about = false; /* they come in any order */
    pthread_t thread[FILES];
    struct work work[FILES];
    struct err e = ERR_INIT;
    for (int i = 0; i < FILES; i++) {
        _cleanup_free_ char *name = str_fmt("f%d", i);
        struct node n = node_of(NODE_FILE, 0600, 8);
        work[i].n = i;
        assert_int_equal(target_begin(t, name, &n, &work[i].file, &e), 0);
        assert_int_equal(pthread_create(&thread[i], NULL, write_and_commit, &work[i]), 0);
    }
    for (int i = 0; i < FILES; i++) {
        void *failed = NULL;
        assert_int_equal(pthread_join(thread[i], &failed), 0);
        assert_null(failed);
    }
    finish(t);
    has("r/f0", "xxxxxxxx");
    has("r/f0.pre-restore", "old");
    has("r/f63", "xxxxxxxx");
    is_tidy();
}

static void test_not_root(void **state)
{
    (void)state;
    bool root = geteuid() == 0;
    assert_int_equal(mkdir("r", 0755) | chmod(dir, 0755), 0);
    if (root)
        assert_int_equal(chown("r", 65534, 65534) | setegid(65534) | seteuid(65534), 0);
    uid_t us = geteuid();
    struct target *t = open_target("r", NULL, false);
    struct err e = ERR_INIT;
    struct node n = node_of(NODE_FILE, 04755, 2);
    n.uid = 0;
    n.gid = 0;
    assert_int_equal(give_node(t, "f", &n, "#!", &e), 0);
    struct node dev = node_of(NODE_CHAR, 0600, 0);
    assert_int_equal(give_node(t, "null", &dev, "", &e), 0);
    finish(t);
    if (root)
        assert_int_equal(seteuid(0) | setegid(0), 0);
    assert_string_equal(buf_str(&events), "+r/f\n-r/null because only root can make devices\n");
    struct stat st;
    assert_int_equal(stat("r/f", &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755); /* never set-user of another user */
    assert_int_equal(st.st_uid, us);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_fresh),
        TEST(test_in_place),
        TEST(test_replace),
        TEST(test_escapes),
        TEST(test_hard_links),
        TEST(test_sparse),
        TEST(test_xattrs),
        TEST(test_dry_run),
        TEST(test_abort),
        TEST(test_bad_roots),
        TEST(test_put_back),
        TEST(test_not_root),
        TEST(test_threads),
        TEST(test_former_attributes),
        TEST(test_former_attributes_of_what_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
