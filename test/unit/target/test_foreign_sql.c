/* SQL as dumps write it: what is a line of its own and what is only text, names, roles, ends. */
#include "base/mem.h"
#include "target/foreign_int.h"
#include "test/unit/unit.h"

#include <string.h>

static struct foreign_facts facts;
static struct sql_scan scan;

static int begin(void **state)
{
    (void)state;
    facts = (struct foreign_facts){0};
    sql_scan_init(&scan, &facts);
    return 0;
}

static int end(void **state)
{
    (void)state;
    sql_scan_release(&scan);
    foreign_facts_release(&facts);
    return 0;
}

/* All lines of a text, through the reader; the first answer that is not SQL_OTHER. */
static enum sql_line read_all(const char *text)
{
    struct err e = ERR_INIT;
    struct sql_lines lines = {.from = stream_from_memory(text, strlen(text))};
    struct sql_piece piece;
    bool got = true;
    enum sql_line first = SQL_OTHER;
    while (first == SQL_OTHER) {
        assert_int_equal(sql_lines_next(&lines, &piece, &got, &e), 0);
        if (!got)
            break;
        first = sql_scan_piece(&scan, &piece);
    }
    sql_lines_release(&lines);
    return first;
}

static void only_commands_are_commands(void **state)
{
    (void)state;
    assert_int_equal(read_all("INSERT INTO t VALUES ('a\n\\! rm\n''\\! rm');\n"
                              "INSERT INTO t VALUES (E'a\\'\n\\! rm\\\\');\n"
                              "/* it's /* nested */\n\\! rm */\n"
                              "CREATE FUNCTION f() AS $a$ $b$\n\\! rm\n$b$ '\n$a$;\n"
                              "SELECT \"odd\n\\! name\", $1, a$b$c; -- \\! rm\n"
                              "COPY t (a) FROM stdin;\n\\! rm\na\\\\b\t'\n\\.\n"
                              "SELECT 1;\n"),
                     SQL_OTHER);
    assert_true(sql_scan_complete(&scan));
    assert_int_equal(scan.lines, 18);
}

static void a_command_is_found_anywhere(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "\\! rm\n",
        "SELECT 1 \\! rm\n",
        "SELECT 'a' \\gexec\n",
        "COPY t FROM stdin;\n1\n\\.\n\\! rm\n",
        "/* a */ \\! rm\n",
        "SELECT $a$b$a$ \\! rm\n",
        "\\copy t from program 'rm'\n",
        "\\i /etc/passwd\n",
        "\\o |rm\n",
        "\\echo `rm`\n",
        "\\set x `rm`\n",
        "\\connect `rm`\n",
        "\\connect a b c\n",
        "\\connect postgres://elsewhere/x\n",
        "\\connect host=elsewhere\n",
        "\\connect \"dbname=a host=elsewhere\"\n",
        "\\connect -reuse-previous=on \"dbname='a' host='elsewhere'\"\n",
        "\\connect :x\n",
    };
    for (size_t i = 0; i < array_len(texts); i++) {
        sql_scan_release(&scan);
        sql_scan_init(&scan, &facts);
        if (read_all(texts[i]) != SQL_FORBIDDEN)
            fail_msg("let through: %s", texts[i]);
    }
}

static void databases_are_connected_to_by_name(void **state)
{
    (void)state;
    static const struct {
        const char *text, *name;
    } good[] = {
        {"\\connect app\n", "app"},
        {"\\c app\n", "app"},
        {"\\connect \"My App\"\n", "My App"},
        {"\\connect -reuse-previous=on \"dbname='a b'\"\n", "a b"},
    };
    for (size_t i = 0; i < array_len(good); i++) {
        sql_scan_release(&scan);
        sql_scan_init(&scan, &facts);
        assert_int_equal(read_all(good[i].text), SQL_CONNECT);
        assert_string_equal(scan.connect, good[i].name);
    }
    assert_true(facts.connects);
}

static void names_what_must_be_there(void **state)
{
    (void)state;
    assert_int_equal(
        read_all(
            "--\n-- PostgreSQL database dump\n--\n\n"
            "-- Dumped from database version 15.18 (Debian 15.18-0)\n"
            "-- Dumped by pg_dump version 16.1\n"
            "SET client_encoding = 'LATIN1';\n"
            "CREATE EXTENSION IF NOT EXISTS \"uuid-ossp\" WITH SCHEMA public;\n"
            "CREATE EXTENSION vector VERSION '0.5.1';\n"
            "ALTER TABLE public.t OWNER TO app;\n"
            "GRANT SELECT ON TABLE public.t TO \"odd \"\"role\", PUBLIC, b WITH GRANT OPTION;\n"
            "REVOKE ALL ON SCHEMA s FROM c;\n"
            "ALTER DEFAULT PRIVILEGES FOR ROLE d IN SCHEMA s GRANT SELECT ON TABLES TO f;\n"
            "CREATE POLICY p ON public.t FOR SELECT TO g, h USING ((a > 1));\n"
            "GRANT i TO j;\n"
            "COPY public.t (a) FROM stdin;\nALTER TABLE x OWNER TO nobody;\n\\.\n"),
        SQL_OTHER);
    static const char *const roles[] = {"app", "odd \"role", "b", "c", "f",
                                        "d",   "g",          "h", "j", "i"};
    assert_int_equal(facts.roles.n, array_len(roles));
    for (size_t i = 0; i < array_len(roles); i++)
        assert_true(str_list_has(&facts.roles, roles[i]));
    assert_int_equal(facts.nextension, 2);
    assert_string_equal(facts.extension[0].name, "uuid-ossp");
    assert_string_equal(facts.extension[1].version, "0.5.1");
    assert_string_equal(facts.server, "15.18");
    assert_int_equal(facts.server_major, 15);
    assert_string_equal(facts.program, "16.1");
    assert_string_equal(facts.encoding, "LATIN1");
    assert_false(sql_scan_complete(&scan)); /* its end is missing */
}

static void knows_its_end(void **state)
{
    (void)state;
    assert_int_equal(read_all("-- PostgreSQL database cluster dump\n"
                              "-- PostgreSQL database dump\n"
                              "-- PostgreSQL database dump complete\n"),
                     SQL_OTHER);
    assert_false(sql_scan_complete(&scan));
    assert_int_equal(read_all("-- PostgreSQL database cluster dump complete\n"), SQL_OTHER);
    assert_true(sql_scan_complete(&scan));
    assert_int_equal(read_all("COPY t FROM stdin;\n1\n"), SQL_OTHER);
    assert_false(sql_scan_complete(&scan));
}

static void long_lines_come_in_pieces(void **state)
{
    (void)state;
    size_t len = 3 * (size_t)SQL_LINE_MOST;
    _cleanup_free_ char *text = mem_alloc(len + 64);
    int n = sprintf(text, "COPY t FROM stdin;\n");
    memset(text + n, 'x', len);
    strcpy(text + n + len, "\n\\.\nALTER TABLE t OWNER TO me;\n");
    assert_int_equal(read_all(text), SQL_OTHER);
    assert_int_equal(scan.lines, 4);
    assert_int_equal(facts.roles.n, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_commands_are_commands, begin, end),
        cmocka_unit_test_setup_teardown(a_command_is_found_anywhere, begin, end),
        cmocka_unit_test_setup_teardown(databases_are_connected_to_by_name, begin, end),
        cmocka_unit_test_setup_teardown(names_what_must_be_there, begin, end),
        cmocka_unit_test_setup_teardown(knows_its_end, begin, end),
        cmocka_unit_test_setup_teardown(long_lines_come_in_pieces, begin, end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
