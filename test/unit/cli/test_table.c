/* Tables, and text from a repository on its way to a terminal. */
#include "test/unit/unit.h"

#include "cli/cli.h"
#include <string.h>

static void columns_fit(void **state)
{
    static const char *const titles[] = {"ID", ">SIZE", "NAME"};
    _cleanup_free_ char *text = NULL;
    size_t len = 0;
    FILE *f = open_memstream(&text, &len);
    (void)state;
    struct table t;
    table_init(&t, titles, array_len(titles));
    table_add(&t, "1a2b");
    table_add(&t, "12 GiB");
    table_add(&t, "caf\xc3\xa9");
    table_add(&t, NULL);
    table_add(&t, "9 B");
    table_add(&t, "\033[2J");
    table_print(&t, f);
    table_release(&t);
    (void)fclose(f);
    assert_string_equal(text, "ID      SIZE  NAME\n"
                              "1a2b  12 GiB  caf\xc3\xa9\n"
                              "-        9 B  \\x1b[2J\n");
}

static void sizes_come_from_the_summary(void **state)
{
    char good[] = "{\"files_new\":3,\"total_bytes_processed\":1234}", other[] = "{\"a\":[1]}",
         bad[] = "{\"total_bytes_processed\":";
    uint64_t bytes = 0;
    (void)state;
    assert_true(snapshot_size(&(struct snapshot){.summary = good}, &bytes));
    assert_int_equal(bytes, 1234);
    assert_false(snapshot_size(&(struct snapshot){.summary = other}, &bytes));
    assert_false(snapshot_size(&(struct snapshot){.summary = bad}, &bytes));
    assert_false(snapshot_size(&(struct snapshot){.summary = NULL}, &bytes));
}

static void paths_are_below_content(void **state)
{
    char salvor[] = "salvor", name[] = "resource=app", *tags[] = {salvor, name};
    struct snapshot ours = {.tags = {tags, 2, 2}}, foreign = {.tags = {NULL, 0, 0}};
    static const struct {
        bool ours;
        const char *word, *path;
    } table[] = {
        {true, "a/b", "app/content/a/b"},
        {true, "", "app/content"},
        {true, "/app/manifest.json", "app/manifest.json"},
        {true, "/", ""},
        {true, "a/", "app/content/a"},
        {false, "a/b", "a/b"},
        {false, "//etc//", "etc"},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        _cleanup_free_ char *path = cli_path(table[i].ours ? &ours : &foreign, table[i].word);
        assert_string_equal(path, table[i].path);
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_fit),
        cmocka_unit_test(sizes_come_from_the_summary),
        cmocka_unit_test(paths_are_below_content),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
