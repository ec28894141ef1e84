/* The record of rows that were put back, as undo reads it: also when somebody has been at it. */
#include "base/file.h"
#include "base/mem.h"
#include "job/rows_int.h"

#include "../unit.h"

static const char good[] =
    "{\"version\":1,\"configured\":true,\"server\":\"host='/tmp' dbname='a'\",\"database\":\"a\","
    "\"digest\":\"hash\",\"later\":{\"x\":[1]},\"tables\":[{\"schema\":\"s\",\"table\":\"t\",\"key\":"
    "[\"a\",\"b\"],\"columns\":[\"a\",\"b\",\"c\"]},{\"schema\":\"s\",\"table\":\"u\",\"key\":[\"x\"],"
    "\"columns\":[\"x\"]}]}\n0\t1\t2\t99\n1\tx\t98\n";

static int read_text(const char *dir, const char *text, size_t len, struct rows_record *out,
                     FILE **body, struct err *e)
{
    _cleanup_free_ char *path = path_join(dir, "record");
    assert_int_equal(0, file_write_atomic(path, text, len, 0600, e));
    return rows_record_read(path, out, body, e);
}

static void reads_what_was_written(void **state)
{
    struct rows_record r;
    struct err e = ERR_INIT;
    _cleanup_fclose_ FILE *body = NULL;
    char line[64];
    assert_int_equal(0, read_text(*state, good, strlen(good), &r, &body, &e));
    assert_true(r.configured);
    assert_string_equal(r.server, "host='/tmp' dbname='a'");
    assert_string_equal(r.database, "a");
    assert_int_equal(r.digest, ROWS_HASH);
    assert_int_equal(r.n, 2);
    assert_string_equal(r.table[0].name, "t");
    assert_int_equal(r.table[0].key.n, 2);
    assert_string_equal(r.table[0].column.s[2], "c");
    assert_string_equal(r.table[1].key.s[0], "x");
    assert_non_null(fgets(line, sizeof line, body));
    assert_string_equal(line, "0\t1\t2\t99\n");
    rows_record_release(&r);
}

static void refuses_what_is_none(void **state)
{
    static const char *const bad[] = {
        "",
        "\n",
        "{}\n",
        "[1]\n",
        "nonsense\n",
        "{\"version\":2,\"server\":\"\",\"database\":\"a\",\"tables\":[{\"schema\":\"s\",\"table\":"
        "\"t\",\"key\":[\"a\"],\"columns\":[]}]}\n",
        "{\"version\":1,\"database\":\"a\",\"tables\":[]}\n",
        "{\"version\":1,\"server\":\"\",\"database\":\"a\",\"tables\":[{\"schema\":\"s\",\"table\":"
        "\"t\",\"key\":[]}]}\n",
        "{\"version\":1,\"server\":\"\",\"database\":\"a\",\"tables\":[{\"key\":[\"a\"]}]}\n",
        "{\"version\":1,\"server\":\"\",\"database\":\"a\",\"tables\":[1]}\n",
        "{\"version\":1,\"server\":\"\",\"database\":\"a\",\"tables\":[{\"schema\":null,\"table\":null,"
        "\"key\":[null]}]}\n",
    };
    for (size_t i = 0; i < array_len(bad); i++) {
        struct rows_record r;
        struct err e = ERR_INIT;
        FILE *body = NULL;
        assert_int_equal(ERR_CORRUPT, read_text(*state, bad[i], strlen(bad[i]), &r, &body, &e));
        assert_null(body);
        assert_non_null(strstr(e.msg, "record"));
    }
}

static void refuses_what_is_cut_off(void **state)
{
    size_t head = (size_t)(strchr(good, '\n') - good);
    for (size_t len = 0; len < head; len++) {
        struct rows_record r;
        struct err e = ERR_INIT;
        FILE *body = NULL;
        assert_int_equal(ERR_CORRUPT, read_text(*state, good, len, &r, &body, &e));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        unit_dir_test(reads_what_was_written),
        unit_dir_test(refuses_what_is_none),
        unit_dir_test(refuses_what_is_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
