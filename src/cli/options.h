/* Options of a command: a table that is parsed, and printed as --help. The man pages are checked
 * against it (test/cli/options-in-man).
 *
 * A table names for each option where its value goes in a struct of the command's own, which was
 * cleared before: what is not given stays 0. */
#ifndef SALVOR_CLI_OPTIONS_H
#define SALVOR_CLI_OPTIONS_H

#include "base/text.h"
#include <stddef.h>

enum option_kind {
    OPTION_FLAG,     /* bool */
    OPTION_TEXT,     /* const char *: into argv */
    OPTION_LIST,     /* struct str_list: each time one more, and commas separate */
    OPTION_COUNT,    /* unsigned */
    OPTION_DURATION, /* int64_t, nanoseconds: "30d" */
    OPTION_SHARE,    /* struct share: "5%", "0.05", "1/20" */
    OPTION_SHARE_OF, /* the same, or nothing: then all of it. --x=5%, --x 5% or --x alone */
};

struct share {
    bool given;
    double of_one; /* 0 to 1 */
};

struct option {
    const char *name; /* without dashes */
    char letter;      /* 0: none */
    enum option_kind kind;
    size_t offset;     /* in the command's struct */
    const char *value; /* what the help calls it; NULL for flags */
    const char *help;  /* a line, no capital, no full stop */
};

/* One after the other; `more` (may be NULL) is searched after `own`. */
struct option_set {
    const struct option *option;
    size_t n;
    void *into;
};

/* Parses argv[0..argc). Words that are no options stay, in order, at the front of argv, and *nwords
 * counts them; after `--` everything is a word, and `-` is one. With `stop` parsing ends at the
 * first word (it and the rest stay). ERR_USAGE names the option, and the nearest known one. */
_warn_unused_ int options_parse(const struct option_set *own, const struct option_set *more,
                                bool stop, char **argv, int argc, int *nwords, struct err *e);
/* Frees the lists. */
void options_release(const struct option_set *s);
/* Appends a line for each option. */
void options_help(const struct option *o, size_t n, struct buf *out);

/* "5%", "0.05" or "1/20" of something: 0 to 1. */
bool share_parse(const char *text, double *of_one);

#endif
