/* The YAML file as a tree of nodes with their places, and messages that name the place. */
#include "base/mem.h"
#include "config/config_int.h"
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* The schema is at most 5 deep. libyaml takes quadratic time for deep nesting, so it is stopped. */
enum { MOST_NESTED = 16 };

static void parser_delete(yaml_parser_t *p)
{
    yaml_parser_delete(p);
}

static void parser_start(yaml_parser_t *p, const char *text, size_t len)
{
    yaml_parser_set_input_string(p, (const unsigned char *)text, len);
    yaml_parser_set_encoding(p, YAML_UTF8_ENCODING);
}

/* Lines and columns are counted from 0 by libyaml and from 1 by people. */
static int slip_at(const struct loader *l, yaml_mark_t mark, struct err *e, const char *text)
{
    return err_set(e, ERR_USAGE, "%s:%zu:%zu: %s", l->file, mark.line + 1, mark.column + 1, text);
}

/* What to do about a mistake that libyaml words for programmers. */
static const char *advice(const char *problem)
{
    static const struct {
        const char *problem, *advice;
    } known[] = {
        {"found character that cannot start any token",
         "; indent with spaces, not tabs, and put text that begins with @, % or ` in quotes"},
        {"found a tab character that violates indentation", "; indent with spaces, not tabs"},
        {"mapping values are not allowed in this context",
         "; text with \": \" in it needs quotes, and keys of one mapping the same indentation"},
        {"could not find expected ':'", "; is a colon missing, or the indentation wrong?"},
        {"did not find expected key", "; is the indentation wrong, or a quote not closed?"},
        {"did not find expected alphabetic or numeric character",
         "; put text that begins with * or & in quotes"},
        {"found undefined alias", "; put text that begins with * in quotes"},
    };
    for (size_t i = 0; i < array_len(known); i++)
        if (str_eq(problem, known[i].problem))
            return known[i].advice;
    return "";
}

static int parser_slip(const struct loader *l, const yaml_parser_t *p, const char *text, size_t len,
                       struct err *e)
{
    const char *problem = p->problem != NULL ? p->problem : "cannot be read";
    char msg[256];
    yaml_mark_t mark = p->problem_mark;
    if (p->error == YAML_READER_ERROR) { /* the only one without a place but with an offset */
        mark = (yaml_mark_t){0};
        for (size_t i = 0; i < p->problem_offset && i < len; i++) {
            mark.column++;
            if (text[i] == '\n')
                mark = (yaml_mark_t){.line = mark.line + 1};
        }
        (void)snprintf(msg, sizeof msg, "not UTF-8 text: %s", problem);
    } else {
        (void)snprintf(msg, sizeof msg, "not valid YAML: %s%s", problem, advice(problem));
    }
    return slip_at(l, mark, e, msg);
}

/* Goes through the text once without building anything. */
static int check_shape(const struct loader *l, const char *text, size_t len, struct err *e)
{
    _cleanup_(parser_delete) yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return err_set(e, ERR_INTERNAL, "%s: no memory for the YAML parser", l->file);
    parser_start(&p, text, len);
    int depth = 0, documents = 0;
    for (bool end = false; !end;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&p, &event))
            return parser_slip(l, &p, text, len, e);
        yaml_event_type_t type = event.type;
        yaml_mark_t mark = event.start_mark;
        yaml_event_delete(&event);
        end = type == YAML_STREAM_END_EVENT;
        documents += type == YAML_DOCUMENT_START_EVENT;
        depth += type == YAML_MAPPING_START_EVENT || type == YAML_SEQUENCE_START_EVENT;
        depth -= type == YAML_MAPPING_END_EVENT || type == YAML_SEQUENCE_END_EVENT;
        if (depth > MOST_NESTED)
            return slip_at(l, mark, e, "nested too deeply");
        if (documents > 1)
            return slip_at(l, mark, e, "a second document begins here; only one is allowed");
    }
    return 0;
}

int document_parse(struct loader *l, const char *text, size_t len, struct err *e)
{
    int rc = check_shape(l, text, len, e);
    if (rc != 0)
        return rc;
    _cleanup_(parser_delete) yaml_parser_t p;
    if (!yaml_parser_initialize(&p))
        return err_set(e, ERR_INTERNAL, "%s: no memory for the YAML parser", l->file);
    parser_start(&p, text, len);
    if (!yaml_parser_load(&p, &l->doc))
        return parser_slip(l, &p, text, len, e);
    l->has_doc = true;
    return 0;
}

yaml_node_t *document_node(struct loader *l, int index)
{
    return yaml_document_get_node(&l->doc, index);
}

int slip(const struct loader *l, const yaml_node_t *n, struct err *e, const char *fmt, ...)
{
    char msg[ERR_MESSAGE_MAX], where[256] = "";
    va_list ap;
    va_start(ap, fmt);
    (void)vsnprintf(msg, sizeof msg, fmt, ap);
    va_end(ap);
    size_t len = 0;
    for (size_t i = 0; i < l->depth && len < sizeof where; i++)
        len += (size_t)snprintf(where + len, sizeof where - len, "%s%s", i > 0 ? "." : "",
                                l->where[i]);
    return err_set(e, ERR_USAGE, "%s:%zu:%zu: %s%s%s", l->file, n->start_mark.line + 1,
                   n->start_mark.column + 1, where, len > 0 ? ": " : "", msg);
}

const char *shown(const yaml_node_t *n, char out[SHOWN])
{
    const size_t most = 60;
    if (n->type != YAML_SCALAR_NODE) {
        (void)snprintf(out, SHOWN, "a %s", n->type == YAML_MAPPING_NODE ? "mapping" : "list");
        return out;
    }
    const char *text = (const char *)n->data.scalar.value;
    size_t len = n->data.scalar.length;
    _cleanup_(buf_release) struct buf safe = BUF_INIT(4 * most + 1);
    text_printable(text, len < most ? len : most, &safe);
    bool cut = len > most || safe.len > SHOWN - 8;
    (void)snprintf(out, SHOWN, "\"%.*s%s\"", SHOWN - 8, buf_str(&safe), cut ? "..." : "");
    return out;
}
