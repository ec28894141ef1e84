/* A SHA-256 digest that names something in a repository: a blob, a pack, an index, a snapshot. */
#ifndef SALVOR_BASE_ID_H
#define SALVOR_BASE_ID_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { ID_SIZE = 32, ID_HEX = 64, ID_SHORT = 8 };

struct id {
    uint8_t byte[ID_SIZE];
};

struct id_list {
    struct id *id;
    size_t n, cap;
};

static inline int id_compare(const struct id *a, const struct id *b)
{
    return memcmp(a->byte, b->byte, ID_SIZE);
}

static inline bool id_equal(const struct id *a, const struct id *b)
{
    return memcmp(a->byte, b->byte, ID_SIZE) == 0;
}

bool id_is_zero(const struct id *a);

/* Writes 64 lower-case hexadecimal digits and a NUL to out; returns out. */
char *id_hex(const struct id *a, char out[ID_HEX + 1]);
/* The first 8 digits, as programs show them to people. */
char *id_short(const struct id *a, char out[ID_SHORT + 1]);
/* Reads exactly 64 lower-case hexadecimal digits (`len` must be 64); false if it is not that. */
bool id_parse(const char *hex, size_t len, struct id *out);

void id_list_add(struct id_list *l, const struct id *a);
void id_list_sort(struct id_list *l);                          /* ascending, duplicates removed */
bool id_list_has(const struct id_list *l, const struct id *a); /* the list must be sorted */
void id_list_release(struct id_list *l);

#endif
