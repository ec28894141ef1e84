/* The option parser: every way to write an option, what is refused and how, and the help. */
#include "test/unit/unit.h"

#include "base/clock.h"
#include "cli/options.h"
#include <string.h>

struct args {
    bool dry_run, all;
    const char *to;
    struct str_list tags;
    unsigned count;
    int64_t within;
    struct share read, waste;
};

static const struct option options[] = {
    {"dry-run", 'n', OPTION_FLAG, offsetof(struct args, dry_run), NULL, "only say it"},
    {"all", 'a', OPTION_FLAG, offsetof(struct args, all), NULL, "all of it"},
    {"to", 't', OPTION_TEXT, offsetof(struct args, to), "DIR", "where to"},
    {"tag", 0, OPTION_LIST, offsetof(struct args, tags), "TAG", "with the tag"},
    {"keep-last", 0, OPTION_COUNT, offsetof(struct args, count), "N", "newest"},
    {"keep-within", 0, OPTION_DURATION, offsetof(struct args, within), "TIME", "so near"},
    {"read-data", 0, OPTION_SHARE_OF, offsetof(struct args, read), "SHARE", "read it"},
    {"waste", 0, OPTION_SHARE, offsetof(struct args, waste), "SHARE", "may stay"},
};

enum { WORDS = 16 };

struct parsed {
    struct args args;
    char *argv[WORDS];
    int n;
    struct err e;
};

/* Splits `line` at blanks, in place, and parses it. */
static int parse(struct parsed *p, char *line, bool stop)
{
    int argc = 0;
    *p = (struct parsed){.n = 0};
    for (char *save = NULL, *w = strtok_r(line, " ", &save); w != NULL && argc < WORDS;
         w = strtok_r(NULL, " ", &save))
        p->argv[argc++] = w;
    struct option_set set = {options, array_len(options), &p->args};
    return options_parse(&set, NULL, stop, p->argv, argc, &p->n, &p->e);
}

static void release(struct parsed *p)
{
    struct option_set set = {options, array_len(options), &p->args};
    options_release(&set);
}

static void all_ways_to_write_one(void **state)
{
    struct parsed p;
    char line[] = "one -nt/x --tag a,b,,c two --tag=d --keep-last 7 --keep-within=30d -- --all";
    (void)state;
    assert_int_equal(parse(&p, line, false), 0);
    assert_true(p.args.dry_run);
    assert_false(p.args.all);
    assert_string_equal(p.args.to, "/x");
    assert_int_equal(p.args.tags.n, 4);
    assert_string_equal(p.args.tags.s[2], "c");
    assert_string_equal(p.args.tags.s[3], "d");
    assert_int_equal(p.args.count, 7);
    assert_true(p.args.within == 30 * 86400 * NSEC_PER_SEC);
    assert_int_equal(p.n, 3);
    assert_string_equal(p.argv[0], "one");
    assert_string_equal(p.argv[1], "two");
    assert_string_equal(p.argv[2], "--all");
    release(&p);
}

static void a_dash_is_a_word(void **state)
{
    struct parsed p;
    char line[] = "- -an -t -";
    (void)state;
    assert_int_equal(parse(&p, line, false), 0);
    assert_int_equal(p.n, 1);
    assert_string_equal(p.argv[0], "-");
    assert_string_equal(p.args.to, "-");
    assert_true(p.args.all && p.args.dry_run);
}

static void stops_at_the_command(void **state)
{
    struct parsed p;
    char line[] = "-n backup --unknown";
    (void)state;
    assert_int_equal(parse(&p, line, true), 0);
    assert_int_equal(p.n, 2);
    assert_string_equal(p.argv[0], "backup");
    assert_string_equal(p.argv[1], "--unknown");
}

static void shares(void **state)
{
    static const struct {
        const char *line;
        double share;
        int words;
    } table[] = {
        {"--read-data", 1, 0},           {"--read-data=5%", 0.05, 0},
        {"--read-data 5% app", 0.05, 1}, {"--read-data app", 1, 1},
        {"--read-data 1/20", 0.05, 0},   {"--read-data 7", 1, 1},
        {"--read-data ./app.db", 1, 1},  {"--read-data=0.25", 0.25, 0},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        struct parsed p;
        char line[64];
        (void)snprintf(line, sizeof line, "%s", table[i].line);
        assert_int_equal(parse(&p, line, false), 0);
        assert_true(p.args.read.given);
        assert_true(p.args.read.of_one > table[i].share - 1e-9 &&
                    p.args.read.of_one < table[i].share + 1e-9);
        assert_int_equal(p.n, table[i].words);
    }
}

static void refusals(void **state)
{
    static const struct {
        const char *line, *message;
    } table[] = {
        {"--dry-rum", "unknown option --dry-rum (did you mean --dry-run?)"},
        {"--zzzzzzzz", "unknown option --zzzzzzzz"},
        {"-nz", "unknown option -z"},
        {"--to", "option --to needs a value: DIR"},
        {"-t", "option --to needs a value: DIR"},
        {"--all=1", "option --all takes no value"},
        {"--keep-last -1", "option --keep-last: \"-1\" is not a number"},
        {"--keep-last 99999999999999999999",
         "option --keep-last: \"99999999999999999999\" is not a number"},
        {"--keep-within soon",
         "option --keep-within: \"soon\" is not a time such as 90m, 24h or 30d"},
        {"--read-data=0", "option --read-data: \"0\" is not a share such as 5%, 0.05 or 1/20"},
        {"--read-data=105%",
         "option --read-data: \"105%\" is not a share such as 5%, 0.05 or 1/20"},
        {"--waste 1/0", "option --waste: \"1/0\" is not a share such as 5%, 0.05 or 1/20"},
        {"--waste=nan", "option --waste: \"nan\" is not a share such as 5%, 0.05 or 1/20"},
        {"--waste=5%x", "option --waste: \"5%x\" is not a share such as 5%, 0.05 or 1/20"},
    };
    (void)state;
    for (size_t i = 0; i < array_len(table); i++) {
        struct parsed p;
        char line[64];
        (void)snprintf(line, sizeof line, "%s", table[i].line);
        assert_int_equal(parse(&p, line, false), ERR_USAGE);
        assert_string_equal(p.e.msg, table[i].message);
        release(&p);
    }
}

static void help(void **state)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    (void)state;
    options_help(options, 3, &text);
    assert_string_equal(buf_str(&text), "  -n, --dry-run  only say it\n"
                                        "  -a, --all      all of it\n"
                                        "  -t, --to DIR   where to\n");
    buf_clear(&text);
    options_help(options + 6, 1, &text);
    assert_string_equal(buf_str(&text), "      --read-data[=SHARE]  read it\n");
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_ways_to_write_one),
        cmocka_unit_test(a_dash_is_a_word),
        cmocka_unit_test(stops_at_the_command),
        cmocka_unit_test(shares),
        cmocka_unit_test(refusals),
        cmocka_unit_test(help),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
