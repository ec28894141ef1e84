/* Allocation that never returns NULL: running out of memory ends the program with one line. */
#include "base/mem.h"
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* _exit: another thread may hold any lock that an exit handler would wait for. */
static _Noreturn void out_of_memory(size_t size)
{
    (void)fprintf(stderr,
                  "salvor: out of memory (asked for %zu bytes); nothing that was stored is lost, "
                  "run it again with more memory\n",
                  size);
    _exit(1);
}

void *mem_alloc(size_t size)
{
    void *p = malloc(size > 0 ? size : 1);
    if (p == NULL)
        out_of_memory(size);
    return p;
}

void *mem_zero(size_t size)
{
    return mem_array(1, size);
}

void *mem_array(size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        out_of_memory(SIZE_MAX);
    void *p = calloc(total > 0 ? total : 1, 1);
    if (p == NULL)
        out_of_memory(total);
    return p;
}

void *mem_resize(void *p, size_t count, size_t size)
{
    size_t total;
    if (__builtin_mul_overflow(count, size, &total))
        out_of_memory(SIZE_MAX);
    void *moved = realloc(p, total > 0 ? total : 1);
    if (moved == NULL)
        out_of_memory(total);
    return moved;
}

void *mem_dup(const void *p, size_t size)
{
    void *copy = mem_alloc(size);
    if (size > 0)
        memcpy(copy, p, size);
    return copy;
}

char *str_dup(const char *s)
{
    return s != NULL ? mem_dup(s, strlen(s) + 1) : NULL;
}

char *str_ndup(const char *s, size_t len)
{
    char *copy = mem_alloc(len + 1);
    if (len > 0)
        memcpy(copy, s, len);
    copy[len] = '\0';
    return copy;
}

char *str_fmt(const char *fmt, ...)
{
    char *text = NULL;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory(0);
    return text;
}

void mem_grow(void *array, size_t n, size_t *cap, size_t item_size)
{
    if (n < *cap)
        return;
    /* A size_t of items always fits before doubling overflows: each is at least one byte. */
    size_t grown = *cap < 8 ? 8 : *cap * 2;
    if (grown <= n)
        grown = n + 1;
    void *p;
    memcpy(&p, array, sizeof p);
    p = mem_resize(p, grown, item_size);
    memcpy(array, &p, sizeof p);
    *cap = grown;
}

void mem_wipe(void *p, size_t len)
{
    if (len > 0)
        explicit_bzero(p, len);
}
