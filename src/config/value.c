/* Values of the configuration: each reader takes one node, checks it, and writes one field. What
 * they expect is told with an example. */
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "config/config_int.h"
#include <ctype.h>
#include <limits.h>
#include <math.h>
#include <string.h>

/* More values than any person writes: aliases could multiply a small file into gigabytes. */
enum { MOST_VALUES = 20000 };

int count_value(struct loader *l, const yaml_node_t *n, struct err *e)
{
    if (++l->visited > MOST_VALUES)
        return slip(l, n, e, "more than %d values", MOST_VALUES);
    return 0;
}

int scalar_text(struct loader *l, const yaml_node_t *n, const char *expected, const char **out,
                struct err *e)
{
    char is[SHOWN];
    int rc = count_value(l, n, e);
    if (rc != 0)
        return rc;
    if (n->type != YAML_SCALAR_NODE)
        return slip(l, n, e, "expected %s, not %s", expected, shown(n, is));
    *out = (const char *)n->data.scalar.value;
    if (n->data.scalar.length == 0)
        return slip(l, n, e, "expected %s, but there is nothing", expected);
    if (strlen(*out) != n->data.scalar.length)
        return slip(l, n, e, "expected %s, but it holds a NUL byte", expected);
    return 0;
}

/* ---- ${VAR} ---- */

static bool is_variable_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

/* The length of NAME in "NAME}...", 0 if it is not one. */
static size_t variable_length(const char *s)
{
    size_t len = 0;
    while (is_variable_char(s[len]))
        len++;
    return s[len] == '}' && !isdigit((unsigned char)s[0]) ? len : 0;
}

static int expand_one(struct loader *l, const yaml_node_t *n, const char *name, size_t len,
                      struct buf *out, struct err *e)
{
    char word[128];
    if (len == 0 || len >= sizeof word)
        return slip(l, n, e,
                    "after ${ comes the name of a variable and then }, such as ${HOME}; write $$ "
                    "for a dollar sign");
    memcpy(word, name, len);
    word[len] = '\0';
    char *value = variable_value(l, word);
    if (value == NULL)
        return slip(l, n, e,
                    "the environment has no variable %s; set it, or write $${%s} if "
                    "these very characters are meant",
                    word, word);
    int rc = buf_append(out, value, strlen(value), e);
    mem_wipe(value, strlen(value));
    free(value);
    return rc != 0 ? err_prefix(e, "%s: ${%s}", l->file, word) : 0;
}

char *variable_value(const struct loader *l, const char *name)
{
    const char *set = getenv(name);
    if (set != NULL)
        return str_dup(set);
    for (size_t i = 0; i < l->env.n; i++) {
        char *value = env_file_value(l->env.s[i], name);
        if (value != NULL)
            return value;
    }
    return NULL;
}

/* Replaces ${VAR} by the environment's and $$ by a dollar. */
static int expand(struct loader *l, const yaml_node_t *n, const char *raw, char **out,
                  struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf text = BUF_INIT(BUF_TEXT);
    while (*raw != '\0') {
        size_t plain = strcspn(raw, "$");
        int rc = buf_append(&text, raw, plain, e);
        raw += plain;
        if (rc == 0 && raw[0] == '$' && raw[1] == '$') {
            rc = buf_append(&text, "$", 1, e);
            raw += 2;
        } else if (rc == 0 && raw[0] == '$' && raw[1] == '{') {
            size_t len = variable_length(raw + 2);
            rc = expand_one(l, n, raw + 2, len, &text, e);
            if (rc == 0)
                raw += 2 + len + 1;
        } else if (rc == 0 && raw[0] == '$' && (raw[1] == '_' || isalpha((unsigned char)raw[1]))) {
            return slip(l, n, e, "write ${NAME} for a variable, or $$ for a dollar sign");
        } else if (rc == 0 && raw[0] == '$') {
            rc = buf_append(&text, "$", 1, e);
            raw++;
        }
        if (rc != 0)
            return rc;
    }
    *out = buf_take(&text);
    return 0;
}

int expanded(struct loader *l, const yaml_node_t *n, const char *expected, char **out,
             struct err *e)
{
    const char *raw = NULL;
    int rc = scalar_text(l, n, expected, &raw, e);
    if (rc == 0)
        rc = expand(l, n, raw, out, e);
    if (rc == 0 && **out == '\0') {
        free(take(*out));
        rc = slip(l, n, e, "expected %s, but the variable is empty", expected);
    }
    return rc;
}

static void put_text(void *field, char *text)
{
    char **to = field;
    free(*to);
    *to = text;
}

int read_text(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    char *text = NULL;
    int rc = expanded(l, n, "text", &text, e);
    if (rc == 0)
        put_text(field, text);
    return rc;
}

/* Left to the shell as it is, which knows variables itself. */
int read_command(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    const char *raw = NULL;
    int rc = scalar_text(l, n, "a command such as \"pass show salvor\"", &raw, e);
    if (rc == 0)
        put_text(field, str_dup(raw));
    return rc;
}

/* A secret: from the environment or not at all. Its text is never shown, whatever it is. */
int read_variable(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    const char *raw = NULL;
    bool variable = n->type == YAML_SCALAR_NODE;
    if (variable) {
        raw = (const char *)n->data.scalar.value;
        size_t len = str_starts(raw, "${") ? variable_length(raw + 2) : 0;
        variable = len > 0 && n->data.scalar.length == len + 3;
    }
    if (!variable)
        return slip(l, n, e,
                    "a secret is not written into this file; use %s_file or %s_command, or "
                    "%s: ${VARIABLE} to take it from the environment",
                    k->name, k->name, k->name);
    char *text = NULL;
    int rc = expanded(l, n, "a secret", &text, e);
    if (rc == 0)
        put_text(field, text);
    return rc;
}

/* ---- paths ---- */

/* `text` expanded and absolute: "~" is the home, what is relative starts at the directory of the
 * configuration. In a pattern the characters of that directory mean themselves. */
static int absolute(struct loader *l, const yaml_node_t *n, const char *text, bool pattern,
                    char **out, struct err *e)
{
    _cleanup_free_ char *home = path_expand_home(text);
    _cleanup_free_ char *dir = pattern ? glob_escape(l->dir) : str_dup(l->dir);
    _cleanup_free_ char *whole = home[0] == '/' ? str_dup(home) : path_join(dir, home);
    if (home[0] == '~')
        return slip(l, n, e, "%s: only ~ and ~/... are known, not the homes of other users", home);
    int rc = path_absolute(whole, out, e);
    return rc != 0 ? slip(l, n, e, "%s", e->msg) : 0;
}

int read_path(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    _cleanup_free_ char *text = NULL;
    char *path = NULL;
    int rc = expanded(l, n, "a path such as /etc/salvor/password", &text, e);
    if (rc == 0)
        rc = absolute(l, n, text, false, &path, e);
    if (rc == 0)
        put_text(field, path);
    return rc;
}

/* scheme://user:password@host, ...?password=x, password=x */
bool has_literal_password(const char *raw)
{
    for (const char *p = raw; (p = strstr(p, "password=")) != NULL;) {
        p += strlen("password=");
        if (*p != '\0' && !str_starts(p + (*p == '\'' || *p == '"'), "${"))
            return true;
    }
    const char *p = strstr(raw, "://");
    if (p == NULL)
        return false;
    p += 3;
    const char *at = memchr(p, '@', strcspn(p, "/?#"));
    const char *colon = at != NULL ? memchr(p, ':', (size_t)(at - p)) : NULL;
    return colon != NULL && colon + 1 < at && !str_starts(colon + 1, "${");
}

/* A repository: a path, or an address such as s3:... or sftp:... that is left alone. */
int read_url(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    const char *expected = "a path such as /var/backups/app or an address such as s3:https://...";
    _cleanup_free_ char *text = NULL;
    const char *raw = NULL;
    int rc = scalar_text(l, n, expected, &raw, e);
    if (rc == 0)
        rc = expanded(l, n, expected, &text, e);
    if (rc != 0)
        return rc;
    if (has_literal_password(raw))
        return slip(l, n, e,
                    "a secret is not written into this file; put ${VARIABLE} in the place "
                    "of the password");
    const char *path = str_starts(text, "local:") ? text + strlen("local:") : text;
    char *url = NULL;
    if (path == text && memchr(text, ':', strcspn(text, "/")) != NULL)
        url = take(text);
    else
        rc = absolute(l, n, path, false, &url, e);
    if (rc == 0)
        put_text(field, url);
    return rc;
}

/* ---- lists; one value may stand without its brackets ---- */

typedef int item_fn(struct loader *l, const yaml_node_t *n, char **out, struct err *e);

static int read_list(struct loader *l, yaml_node_t *n, struct str_list *out, item_fn *item,
                     struct err *e)
{
    char *text = NULL;
    int rc = count_value(l, n, e);
    if (rc != 0)
        return rc;
    if (n->type != YAML_SEQUENCE_NODE) {
        rc = item(l, n, &text, e);
        if (rc == 0)
            str_list_add_take(out, text);
        return rc;
    }
    for (const yaml_node_item_t *i = n->data.sequence.items.start; i < n->data.sequence.items.top;
         i++) {
        rc = item(l, document_node(l, *i), &text, e);
        if (rc != 0)
            return rc;
        str_list_add_take(out, text);
    }
    return 0;
}

static int item_text(struct loader *l, const yaml_node_t *n, char **out, struct err *e)
{
    return expanded(l, n, "text or a list such as [one, two]", out, e);
}

static int item_path(struct loader *l, const yaml_node_t *n, char **out, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a path or a list such as [.env, config/*.key]", &text, e);
    return rc != 0 ? rc : absolute(l, n, text, true, out, e);
}

static int item_plain_path(struct loader *l, const yaml_node_t *n, char **out, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a file of variables such as .env", &text, e);
    return rc != 0 ? rc : absolute(l, n, text, false, out, e);
}

/* What begins with /, ./, ../ or ~ is about that one path and becomes absolute; anything else is
 * about names anywhere. A slash at the end means directories only, and stays. */
static int item_pattern(struct loader *l, const yaml_node_t *n, char **out, struct err *e)
{
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a pattern or a list such as [node_modules, \"*.log\"]", &text, e);
    if (rc != 0)
        return rc;
    if (text[0] != '/' && text[0] != '~' && !str_starts(text, "./") && !str_starts(text, "../")) {
        *out = take(text);
        return 0;
    }
    _cleanup_free_ char *path = NULL;
    rc = absolute(l, n, text, true, &path, e);
    if (rc == 0 && str_eq(path, "/"))
        rc = slip(l, n, e, "this would leave out everything");
    if (rc == 0)
        *out = str_fmt("%s%s", path, str_ends(text, "/") ? "/" : "");
    return rc;
}

int read_texts(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    return read_list(l, n, field, item_text, e);
}

int read_paths(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    return read_list(l, n, field, item_path, e);
}

int read_patterns(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    return read_list(l, n, field, item_pattern, e);
}

/* Their text is kept until all is read. */
int read_env_files(struct loader *l, const struct key *k, yaml_node_t *n, void *field,
                   struct err *e)
{
    (void)field;
    _cleanup_(str_list_release) struct str_list paths = {0};
    int rc = read_list(l, n, &paths, item_plain_path, e);
    for (size_t i = 0; i < paths.n && rc == 0; i++) {
        _cleanup_(buf_wipe_release) struct buf text = BUF_INIT(BUF_TEXT);
        rc = file_read(paths.s[i], &text, e);
        if (rc == ERR_NOT_FOUND) { /* whoever has lost it must be able to bring it back */
            log_warning("%s: env_file: %s is not there", l->file, paths.s[i]);
            rc = 0;
            continue;
        }
        if (rc < 0)
            return slip(l, n, e, "%s", e->msg);
        str_list_add(&l->env, buf_str(&text));
    }
    (void)k;
    return rc;
}

/* ---- numbers ---- */

int read_bool(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    char is[SHOWN];
    const char *raw = NULL;
    int rc = scalar_text(l, n, "true or false", &raw, e);
    if (rc != 0)
        return rc;
    bool yes = str_eq(raw, "true") || str_eq(raw, "yes") || str_eq(raw, "on");
    if (!yes && !str_eq(raw, "false") && !str_eq(raw, "no") && !str_eq(raw, "off"))
        return slip(l, n, e, "expected true or false, not %s", shown(n, is));
    *(bool *)field = yes;
    return 0;
}

int read_count(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    char is[SHOWN];
    const unsigned most = 1000000;
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a number such as 30", &text, e);
    if (rc != 0)
        return rc;
    unsigned count = 0;
    const char *s = text;
    for (; isdigit((unsigned char)*s) && count <= most; s++)
        count = count * 10 + (unsigned)(*s - '0');
    if (*s != '\0' || count > most)
        return slip(l, n, e, "expected a number such as 30, not %s", shown(n, is));
    *(unsigned *)field = count;
    return 0;
}

int read_duration(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    char is[SHOWN];
    const char *expected = "a duration such as 15m, 24h or 30d";
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, expected, &text, e);
    if (rc == 0 && !duration_parse(text, field))
        rc = slip(l, n, e, "expected %s, not %s", expected, shown(n, is));
    return rc;
}

static int size_of(struct loader *l, const yaml_node_t *n, uint64_t *out, struct err *e)
{
    char is[SHOWN];
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a size such as 10MiB", &text, e);
    if (rc == 0 && !size_parse(text, out))
        rc = slip(l, n, e, "expected a size such as 10MiB, not %s", shown(n, is));
    return rc;
}

int read_size(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    return size_of(l, n, field, e);
}

/* "200%" or "2.0". */
static int ratio_of(struct loader *l, const yaml_node_t *n, double *out, struct err *e)
{
    char is[SHOWN];
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a share such as 50%", &text, e);
    if (rc != 0)
        return rc;
    size_t digits = strspn(text, "0123456789."), len = strlen(text);
    bool percent = text[digits] == '%';
    char *end = NULL;
    double value = strtod(text, &end);
    if (digits == 0 || digits + percent != len || end != text + digits || !isfinite(value) ||
        value <= 0)
        return slip(l, n, e, "expected a share such as 50%%, not %s", shown(n, is));
    *out = percent ? value / 100 : value;
    return 0;
}

/* The two items of a list [least, most]. */
static int pair(struct loader *l, const yaml_node_t *n, const char *example,
                const yaml_node_t *item[2], struct err *e)
{
    int rc = count_value(l, n, e);
    if (rc != 0)
        return rc;
    if (n->type != YAML_SEQUENCE_NODE ||
        n->data.sequence.items.top - n->data.sequence.items.start != 2)
        return slip(l, n, e, "expected a list of the least and the most, such as %s", example);
    item[0] = document_node(l, n->data.sequence.items.start[0]);
    item[1] = document_node(l, n->data.sequence.items.start[1]);
    return 0;
}

int read_expect(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    struct config_size *s = field;
    const yaml_node_t *item[2] = {NULL, NULL};
    int rc = pair(l, n, "[10MiB, 1GiB]", item, e);
    if (rc == 0)
        rc = size_of(l, item[0], &s->expect_least, e);
    if (rc == 0)
        rc = size_of(l, item[1], &s->expect_most, e);
    if (rc == 0 && s->expect_least > s->expect_most)
        rc = slip(l, n, e, "the least is larger than the most");
    return rc;
}

int read_drift(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    struct config_size *s = field;
    const yaml_node_t *item[2] = {NULL, NULL};
    int rc = pair(l, n, "[50%, 200%]", item, e);
    if (rc == 0)
        rc = ratio_of(l, item[0], &s->drift_least, e);
    if (rc == 0)
        rc = ratio_of(l, item[1], &s->drift_most, e);
    if (rc == 0 && s->drift_least > s->drift_most)
        rc = slip(l, n, e, "the least is larger than the most");
    return rc;
}

/* ---- times of day ---- */

/* One or two digits; false if there are none. */
static bool cron_number(const char **s, unsigned least, unsigned most)
{
    unsigned value = 0, digits = 0;
    for (; isdigit((unsigned char)**s) && digits < 3; (*s)++, digits++)
        value = value * 10 + (unsigned)(**s - '0');
    return digits > 0 && value >= least && value <= most;
}

/* "*", "5", "1-5", "*" "/15", "0-30/10", or several with commas; ends at a space or the end. */
static bool cron_field(const char **s, unsigned least, unsigned most)
{
    for (;; (*s)++) {
        if (**s == '*')
            (*s)++;
        else if (!cron_number(s, least, most))
            return false;
        else if (**s == '-' && ((*s)++, !cron_number(s, least, most)))
            return false;
        if (**s == '/' && ((*s)++, !cron_number(s, 1, most)))
            return false;
        if (**s != ',')
            return **s == '\0' || **s == ' ';
    }
}

int read_cron(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)k;
    static const struct {
        const char *name;
        unsigned least, most;
    } part[] = {{"minute", 0, 59},
                {"hour", 0, 23},
                {"day of the month", 1, 31},
                {"month", 1, 12},
                {"day of the week", 0, 7}};
    char is[SHOWN];
    _cleanup_free_ char *text = NULL;
    int rc = expanded(l, n, "a time such as \"0 2 * * *\" (daily at 02:00 UTC)", &text, e);
    if (rc != 0)
        return rc;
    const char *s = text;
    for (size_t i = 0; i < array_len(part); i++) {
        s += strspn(s, " ");
        if (!cron_field(&s, part[i].least, part[i].most))
            return slip(l, n, e,
                        "the %s in %s is wrong: five fields are expected (minute hour day month "
                        "weekday, as in crontab), such as \"0 2 * * *\"",
                        part[i].name, shown(n, is));
    }
    s += strspn(s, " ");
    if (*s != '\0')
        return slip(l, n, e, "more than five fields in %s: minute hour day month weekday",
                    shown(n, is));
    put_text(field, take(text));
    return 0;
}
