/* SHA-256 names: hexadecimal both ways, and sorted lists of them. */
#include "base/id.h"
#include "base/mem.h"
#include <stdlib.h>

static const char digits[] = "0123456789abcdef";

/* 16 plus the value of a lower-case hexadecimal digit, 0 for any other byte. A table, because an
 * index holds millions of names. */
static const uint8_t value[256] = {
    ['0'] = 16, ['1'] = 17, ['2'] = 18, ['3'] = 19, ['4'] = 20, ['5'] = 21, ['6'] = 22, ['7'] = 23,
    ['8'] = 24, ['9'] = 25, ['a'] = 26, ['b'] = 27, ['c'] = 28, ['d'] = 29, ['e'] = 30, ['f'] = 31,
};

bool id_is_zero(const struct id *a)
{
    static const struct id zero;
    return id_equal(a, &zero);
}

static char *hex(const struct id *a, size_t bytes, char *out)
{
    for (size_t i = 0; i < bytes; i++) {
        out[2 * i] = digits[a->byte[i] >> 4];
        out[2 * i + 1] = digits[a->byte[i] & 15];
    }
    out[2 * bytes] = '\0';
    return out;
}

char *id_hex(const struct id *a, char out[ID_HEX + 1])
{
    return hex(a, ID_SIZE, out);
}

char *id_short(const struct id *a, char out[ID_SHORT + 1])
{
    return hex(a, ID_SHORT / 2, out);
}

bool id_parse(const char *text, size_t len, struct id *out)
{
    if (len != ID_HEX)
        return false;
    struct id id;
    unsigned all = 16;
    for (size_t i = 0; i < ID_SIZE; i++) {
        unsigned high = value[(uint8_t)text[2 * i]], low = value[(uint8_t)text[2 * i + 1]];
        all &= high & low;
        id.byte[i] = (uint8_t)(high << 4 | (low & 15));
    }
    if (all == 0)
        return false;
    *out = id;
    return true;
}

void id_list_add(struct id_list *l, const struct id *a)
{
    struct id copy = *a; /* it may be an item of this list, which moves */
    mem_grow(&l->id, l->n, &l->cap, sizeof *l->id);
    l->id[l->n++] = copy;
}

static int compare(const void *a, const void *b)
{
    return id_compare(a, b);
}

void id_list_sort(struct id_list *l)
{
    if (l->n < 2)
        return;
    qsort(l->id, l->n, sizeof *l->id, compare);
    size_t kept = 1;
    for (size_t i = 1; i < l->n; i++)
        if (!id_equal(&l->id[i], &l->id[kept - 1]))
            l->id[kept++] = l->id[i];
    l->n = kept;
}

bool id_list_has(const struct id_list *l, const struct id *a)
{
    return l->n > 0 && bsearch(a, l->id, l->n, sizeof *l->id, compare) != NULL;
}

void id_list_release(struct id_list *l)
{
    free(l->id);
    *l = (struct id_list){0};
}
