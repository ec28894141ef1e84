/* The options of a command line by table: long (--name VALUE, --name=VALUE), short (-n VALUE,
 * -nVALUE, -ab), in any order with words. */
#include "cli/options.h"
#include "base/clock.h"
#include "base/mem.h"
#include "base/text.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct found {
    const struct option *option;
    void *to;
};

static bool find_name(const struct option_set *s, const char *name, size_t len, struct found *f)
{
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (strlen(s->option[i].name) == len && memcmp(s->option[i].name, name, len) == 0) {
            *f = (struct found){&s->option[i], (char *)s->into + s->option[i].offset};
            return true;
        }
    return false;
}

static bool find_letter(const struct option_set *s, char letter, struct found *f)
{
    for (size_t i = 0; s != NULL && i < s->n; i++)
        if (s->option[i].letter == letter) {
            *f = (struct found){&s->option[i], (char *)s->into + s->option[i].offset};
            return true;
        }
    return false;
}

static int unknown_name(const struct option_set *own, const struct option_set *more,
                        const char *word, size_t len, struct err *e)
{
    const char *names[64];
    size_t n = 0;
    for (size_t i = 0; i < own->n && n < array_len(names); i++)
        names[n++] = own->option[i].name;
    for (size_t i = 0; more != NULL && i < more->n && n < array_len(names); i++)
        names[n++] = more->option[i].name;
    _cleanup_free_ char *name = str_ndup(word, len);
    const char *nearest = text_nearest(name, names, n);
    if (nearest != NULL)
        return err_set(e, ERR_USAGE, "unknown option --%s (did you mean --%s?)", name, nearest);
    return err_set(e, ERR_USAGE, "unknown option --%s", name);
}

bool share_parse(const char *text, double *of_one)
{
    char *end = NULL;
    double v = strtod(text, &end);
    if (end == text)
        return false;
    if (*end == '%') {
        v /= 100;
        end++;
    } else if (*end == '/') {
        const char *below = end + 1;
        double d = strtod(below, &end);
        if (end == below || !(d > 0))
            return false;
        v /= d;
    }
    if (*end != '\0' || !(v >= 0 && v <= 1))
        return false;
    *of_one = v;
    return true;
}

static bool count_parse(const char *text, unsigned *out)
{
    char *end = NULL;
    errno = 0;
    unsigned long v = strtoul(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || v > 1000000)
        return false;
    *out = (unsigned)v;
    return true;
}

static void list_add(struct str_list *l, const char *text)
{
    for (const char *p = text;; p++) {
        size_t len = strcspn(p, ",");
        if (len > 0)
            str_list_add_take(l, str_ndup(p, len));
        p += len;
        if (*p == '\0')
            return;
    }
}

/* `text` is NULL when no value was given. */
static int assign(const struct found *f, const char *text, struct err *e)
{
    const struct option *o = f->option;
    if (text == NULL && o->kind != OPTION_FLAG && o->kind != OPTION_SHARE_OF)
        return err_set(e, ERR_USAGE, "option --%s needs a value: %s", o->name, o->value);
    struct share *share = f->to;
    bool ok = true;
    switch (o->kind) {
    case OPTION_FLAG:
        if (text != NULL)
            return err_set(e, ERR_USAGE, "option --%s takes no value", o->name);
        *(bool *)f->to = true;
        break;
    case OPTION_TEXT: *(const char **)f->to = text; break;
    case OPTION_LIST: list_add(f->to, text); break;
    case OPTION_COUNT: ok = count_parse(text, f->to); break;
    case OPTION_DURATION: ok = duration_parse(text, f->to); break;
    case OPTION_SHARE:
        share->given = true;
        ok = share_parse(text, &share->of_one);
        break;
    case OPTION_SHARE_OF:
        share->given = true;
        share->of_one = 1;
        ok = text == NULL || (share_parse(text, &share->of_one) && share->of_one > 0);
        break;
    }
    if (ok)
        return 0;
    const char *expected = o->kind == OPTION_COUNT      ? "a number"
                           : o->kind == OPTION_DURATION ? "a time such as 90m, 24h or 30d"
                                                        : "a share such as 5%, 0.05 or 1/20";
    return err_set(e, ERR_USAGE, "option --%s: \"%s\" is not %s", o->name, text, expected);
}

/* The value of an option that stands apart from it, if the next word is one; moves *i past it. */
static const char *next_value(const struct option *o, char **argv, int argc, int *i)
{
    double share = 0;
    if (o->kind == OPTION_FLAG || *i + 1 >= argc)
        return NULL;
    if (o->kind == OPTION_SHARE_OF &&
        (strpbrk(argv[*i + 1], "%/.") == NULL || !share_parse(argv[*i + 1], &share)))
        return NULL;
    return argv[++*i];
}

static int parse_long(const struct option_set *own, const struct option_set *more, char **argv,
                      int argc, int *i, struct err *e)
{
    const char *word = argv[*i] + 2;
    size_t len = strcspn(word, "=");
    struct found f = {NULL, NULL};
    if (!find_name(own, word, len, &f) && !find_name(more, word, len, &f))
        return unknown_name(own, more, word, len, e);
    const char *value = word[len] == '=' ? word + len + 1 : next_value(f.option, argv, argc, i);
    return assign(&f, value, e);
}

static int parse_short(const struct option_set *own, const struct option_set *more, char **argv,
                       int argc, int *i, struct err *e)
{
    for (const char *p = argv[*i] + 1; *p != '\0'; p++) {
        struct found f = {NULL, NULL};
        if (!find_letter(own, *p, &f) && !find_letter(more, *p, &f))
            return err_set(e, ERR_USAGE, "unknown option -%c", *p);
        bool flag = f.option->kind == OPTION_FLAG;
        bool joined = !flag && p[1] != '\0';
        const char *value = joined ? p + 1 : next_value(f.option, argv, argc, i);
        int rc = assign(&f, value, e);
        if (rc < 0 || !flag)
            return rc;
    }
    return 0;
}

int options_parse(const struct option_set *own, const struct option_set *more, bool stop,
                  char **argv, int argc, int *nwords, struct err *e)
{
    int n = 0, i = 0;
    for (; i < argc; i++) {
        int rc = 0;
        if (strcmp(argv[i], "--") == 0) {
            i++;
            break;
        }
        if (argv[i][0] != '-' || argv[i][1] == '\0') {
            if (stop)
                break;
            argv[n++] = argv[i];
        } else if (argv[i][1] == '-') {
            rc = parse_long(own, more, argv, argc, &i, e);
        } else {
            rc = parse_short(own, more, argv, argc, &i, e);
        }
        if (rc < 0)
            return rc;
    }
    for (; i < argc; i++)
        argv[n++] = argv[i];
    *nwords = n;
    return 0;
}

void options_release(const struct option_set *s)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->option[i].kind == OPTION_LIST)
            str_list_release((struct str_list *)(void *)((char *)s->into + s->option[i].offset));
}

enum { LEFT_MOST = 64 };

/* "-s, --snapshot ID"; its length. */
static int option_words(const struct option *o, char out[LEFT_MOST])
{
    char letter[8] = "    ";
    if (o->letter != 0)
        (void)snprintf(letter, sizeof letter, "-%c, ", o->letter);
    bool optional = o->kind == OPTION_SHARE_OF;
    return snprintf(out, LEFT_MOST, "%s--%s%s%s%s", letter, o->name,
                    o->value == NULL ? ""
                    : optional       ? "[="
                                     : " ",
                    o->value == NULL ? "" : o->value, optional ? "]" : "");
}

void options_help(const struct option *o, size_t n, struct buf *out)
{
    char left[LEFT_MOST];
    int width = 0;
    for (size_t i = 0; i < n; i++) {
        int len = option_words(&o[i], left);
        width = len > width ? len : width;
    }
    for (size_t i = 0; i < n; i++) {
        (void)option_words(&o[i], left);
        buf_addf(out, "  %-*s  %s\n", width, left, o[i].help);
    }
}
