/* Mappings of the configuration: their names are checked against a table of keys, or chosen by the
 * person; then each value is read by what the table says. */
#include "base/mem.h"
#include "config/config_int.h"
#include <string.h>

int read_later(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    (void)field;
    return slip(l, n, e, "\"%s\" is not supported by this version of salvor; take it out", k->name);
}

yaml_node_t *mapping_find(struct loader *l, const yaml_node_t *n, const char *key)
{
    if (n->type != YAML_MAPPING_NODE)
        return NULL;
    for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *name = document_node(l, p->key);
        if (name->type == YAML_SCALAR_NODE && str_eq((const char *)name->data.scalar.value, key))
            return document_node(l, p->value);
    }
    return NULL;
}

int mapping_check(struct loader *l, const yaml_node_t *n, const char *expected, struct err *e)
{
    char is[SHOWN];
    int rc = count_value(l, n, e);
    if (rc != 0)
        return rc;
    bool nothing = n->type == YAML_SCALAR_NODE && n->data.scalar.length == 0 &&
                   n->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    if (n->type != YAML_MAPPING_NODE && !nothing)
        return slip(l, n, e, "expected %s, not %s", expected, shown(n, is));
    if (nothing)
        return 0;
    /* Every name once. Names are text, so that messages can name them. */
    const yaml_node_pair_t *start = n->data.mapping.pairs.start;
    for (const yaml_node_pair_t *p = start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *name = document_node(l, p->key);
        if ((rc = count_value(l, name, e)) != 0)
            return rc;
        if (name->type != YAML_SCALAR_NODE || name->data.scalar.length == 0 ||
            strlen((const char *)name->data.scalar.value) != name->data.scalar.length)
            return slip(l, name, e, "expected a name here, such as \"app:\"");
        for (const yaml_node_pair_t *q = start; q < p; q++) {
            const yaml_node_t *other = document_node(l, q->key);
            if (str_eq((const char *)other->data.scalar.value,
                       (const char *)name->data.scalar.value))
                return slip(l, name, e, "%s is there twice, first in line %zu", shown(name, is),
                            other->start_mark.line + 1);
        }
    }
    return 0;
}

static int unknown_key(struct loader *l, const struct key *keys, const yaml_node_t *name,
                       struct err *e)
{
    const char *known[32];
    size_t n = 0, len = 0;
    char is[SHOWN], all[512] = "";
    for (; keys[n].name != NULL && n < array_len(known); n++) {
        known[n] = keys[n].name;
        if (keys[n].read != read_later && len < sizeof all)
            len += (size_t)snprintf(all + len, sizeof all - len, "%s%s", len > 0 ? ", " : "",
                                    known[n]);
    }
    const char *word = (const char *)name->data.scalar.value;
    if (str_eq(word, "<<"))
        return slip(l, name, e, "merging with << is not supported; write the keys out");
    const char *nearest = text_nearest(word, known, n);
    if (nearest != NULL)
        return slip(l, name, e, "unknown key %s; did you mean \"%s\"?", shown(name, is), nearest);
    return slip(l, name, e, "unknown key %s; known here are %s", shown(name, is), all);
}

/* Checks all names first, then reads in the order of the table, so that what comes later in the
 * table can rely on what comes earlier, wherever it stands in the file. */
int read_mapping(struct loader *l, const struct key *k, yaml_node_t *n, void *field, struct err *e)
{
    _cleanup_free_ char *expected = str_fmt("keys such as \"%s:\"", k->keys[0].name);
    int rc = mapping_check(l, n, expected, e);
    if (rc != 0 || n->type != YAML_MAPPING_NODE)
        return rc;
    for (const yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top;
         p++) {
        const yaml_node_t *name = document_node(l, p->key);
        const struct key *key = k->keys;
        while (key->name != NULL && !str_eq(key->name, (const char *)name->data.scalar.value))
            key++;
        if (key->name == NULL)
            return unknown_key(l, k->keys, name, e);
        if (key->read == read_later)
            return read_later(l, key, document_node(l, p->key), NULL, e);
    }
    for (const struct key *key = k->keys; key->name != NULL; key++) {
        yaml_node_t *value = mapping_find(l, n, key->name);
        if (value == NULL)
            continue;
        if (l->depth == array_len(l->where))
            return slip(l, value, e, "nested too deeply");
        l->where[l->depth++] = key->name;
        rc = key->read(l, key, value, (char *)field + key->offset, e);
        l->depth--;
        if (rc != 0)
            return rc;
    }
    return 0;
}
