/* Nodes: words, copies, and what stat(2) says. */
#include "base/mem.h"
#include "base/node.h"
#include "test/unit/unit.h"
#include <sys/stat.h>

static void words_go_both_ways(void **state)
{
    (void)state;
    for (int t = NODE_FILE; t <= NODE_IRREGULAR; t++)
        assert_int_equal(node_type_parse(node_type_name((enum node_type)t)), t);
    assert_string_equal(node_type_name(NODE_BLOCK), "dev");
    assert_string_equal(node_type_name(NODE_CHAR), "chardev");
    assert_string_equal(node_type_name(NODE_INVALID), "");
    assert_int_equal(node_type_parse(""), NODE_INVALID);
    assert_int_equal(node_type_parse("file "), NODE_INVALID);
}

static void copy_is_deep(void **state)
{
    (void)state;
    struct node a = {.name = str_dup("n"), .type = NODE_FILE, .has_content = true};
    a.user = str_dup("u");
    a.nxattr = 2;
    a.xattr = mem_array(2, sizeof(*a.xattr));
    a.xattr[0] = (struct node_xattr){str_dup("user.a"), mem_dup("v", 1), 1};
    a.xattr[1] = (struct node_xattr){str_dup("user.empty"), NULL, 0};
    a.ncontent = 2;
    a.content = mem_array(2, sizeof(*a.content));
    a.content[1].byte[0] = 7;
    struct node b;
    node_copy(&b, &a);
    node_release(&a);
    assert_null(a.name);
    assert_int_equal(a.nxattr, 0);
    assert_string_equal(b.name, "n");
    assert_string_equal(b.user, "u");
    assert_null(b.group);
    assert_string_equal(b.xattr[0].name, "user.a");
    assert_memory_equal(b.xattr[0].value, "v", 1);
    assert_int_equal(b.xattr[1].len, 0);
    assert_true(b.has_content);
    assert_int_equal(b.content[1].byte[0], 7);
    node_release(&b);
    node_release(&b);
}

static void stat_fills_what_restic_keeps(void **state)
{
    (void)state;
    struct stat st = {.st_mode = S_IFREG | 04755, .st_size = 5, .st_nlink = 2, .st_rdev = 9};
    st.st_uid = 1;
    st.st_gid = 2;
    st.st_ino = 3;
    st.st_dev = 4;
    st.st_atim = (struct timespec){10, 1};
    st.st_mtim = (struct timespec){20, 2};
    st.st_ctim = (struct timespec){30, 3};
    struct node n = {0};
    node_from_stat(&n, &st);
    assert_int_equal(n.type, NODE_FILE);
    assert_int_equal(n.mode, 04755);
    assert_int_equal(n.size, 5);
    assert_int_equal(n.links, 2);
    assert_int_equal(n.rdev, 0);
    assert_int_equal(n.uid, 1);
    assert_int_equal(n.gid, 2);
    assert_int_equal(n.inode, 3);
    assert_int_equal(n.device_id, 4);
    assert_int_equal(n.atime.tv_sec, 10);
    assert_int_equal(n.mtime.tv_nsec, 2);
    assert_int_equal(n.ctime.tv_sec, 30);

    st.st_mode = S_IFDIR | 01777;
    node_from_stat(&n, &st);
    assert_int_equal(n.type, NODE_DIR);
    assert_int_equal(n.mode, 01777);
    assert_int_equal(n.size + n.links + n.rdev, 0);
    st.st_mode = S_IFCHR | 0600;
    node_from_stat(&n, &st);
    assert_int_equal(n.type, NODE_CHAR);
    assert_int_equal(n.rdev, 9);
    assert_int_equal(n.links, 2);
    st.st_mode = S_IFLNK | 0777;
    node_from_stat(&n, &st);
    assert_int_equal(n.type, NODE_SYMLINK);
    assert_int_equal(n.links, 2);
    assert_int_equal(n.size, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_go_both_ways),
        cmocka_unit_test(copy_is_deep),
        cmocka_unit_test(stat_fills_what_restic_keeps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
