/* A growable byte buffer with a cap. One byte more than the cap allows is allocated, for the NUL
 * that always follows the contents. */
#include "base/buf.h"
#include "base/mem.h"
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf)BUF_INIT(max);
}

void buf_release(struct buf *b)
{
    free(b->data);
    b->data = NULL;
    b->len = b->size = 0;
}

void buf_wipe_release(struct buf *b)
{
    mem_wipe(b->data, b->size);
    buf_release(b);
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    if (b->data != NULL)
        b->data[0] = '\0';
}

void buf_swap(struct buf *a, struct buf *b)
{
    struct buf t = *a;
    *a = *b;
    *b = t;
}

int buf_reserve(struct buf *b, size_t more, struct err *e)
{
    if (b->len > b->max || more > b->max - b->len)
        return err_set(e, ERR_LIMIT, "%zu bytes more than the %zu in use exceed the limit of %zu",
                       more, b->len, b->max);
    size_t need = b->len + more;
    if (need < b->size)
        return 0;
    if (need == SIZE_MAX)
        return err_set(e, ERR_LIMIT, "%zu bytes are more than an address space holds", need);
    /* Doubling keeps the number of copies small; the cap keeps it from overshooting. */
    size_t size = b->size < 64 ? 64 : b->size;
    if (size <= need)
        size = size > SIZE_MAX / 2 || size * 2 <= need ? need + 1 : size * 2;
    if (size > b->max && b->max < SIZE_MAX)
        size = b->max + 1;
    uint8_t *data = realloc(b->data, size);
    if (data == NULL)
        return err_sys(e, ENOMEM, "cannot hold %zu bytes", size);
    data[b->len] = '\0';
    b->data = data;
    b->size = size;
    return 0;
}

int buf_append(struct buf *b, const void *data, size_t len, struct err *e)
{
    int rc = buf_reserve(b, len, e);
    if (rc < 0)
        return rc;
    if (len > 0)
        memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

static int buf_vprintf(struct buf *b, struct err *e, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    int n = vsnprintf(NULL, 0, fmt, again);
    va_end(again);
    if (n < 0)
        return err_sys(e, errno, "cannot format text");
    int rc = buf_reserve(b, (size_t)n, e);
    if (rc < 0)
        return rc;
    (void)vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
    b->len += (size_t)n;
    return 0;
}

int buf_printf(struct buf *b, struct err *e, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int rc = buf_vprintf(b, e, fmt, ap);
    va_end(ap);
    return rc;
}

static void must(int rc, const struct err *e)
{
    if (rc == 0)
        return;
    (void)fprintf(stderr, "salvor: %s; this is a bug, please report it\n", e->msg);
    _exit(1);
}

void buf_add(struct buf *b, const void *data, size_t len)
{
    struct err e = ERR_INIT;
    must(buf_append(b, data, len, &e), &e);
}

void buf_adds(struct buf *b, const char *text)
{
    buf_add(b, text, strlen(text));
}

void buf_addf(struct buf *b, const char *fmt, ...)
{
    struct err e = ERR_INIT;
    va_list ap;
    va_start(ap, fmt);
    int rc = buf_vprintf(b, &e, fmt, ap);
    va_end(ap);
    must(rc, &e);
}

const char *buf_str(const struct buf *b)
{
    if (b->data == NULL)
        return "";
    /* Whoever filled the room that buf_reserve made may have left the NUL to us. */
    if (b->data[b->len] != '\0')
        b->data[b->len] = '\0';
    return (const char *)b->data;
}

char *buf_take(struct buf *b)
{
    if (b->data == NULL)
        return str_dup("");
    (void)buf_str(b);
    char *text = (char *)b->data;
    b->data = NULL;
    b->len = b->size = 0;
    return text;
}
