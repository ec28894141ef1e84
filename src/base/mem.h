/* Allocation for small things whose size the program itself decides: never returns NULL. When
 * memory runs out it prints one line to standard error and exits with status 1; nothing is lost,
 * since every write to a repository is complete or absent. Sizes that come from outside go
 * through struct buf, which has a cap and fails with an error instead. */
#ifndef SALVOR_BASE_MEM_H
#define SALVOR_BASE_MEM_H

#include "base/cleanup.h"
#include <stddef.h>

void *mem_alloc(size_t size);               /* not cleared; size 0 gives a valid pointer */
void *mem_zero(size_t size);                /* cleared */
void *mem_array(size_t count, size_t size); /* cleared; checks the multiplication */
void *mem_resize(void *p, size_t count, size_t size); /* like reallocarray */
void *mem_dup(const void *p, size_t size);
char *str_dup(const char *s); /* NULL gives NULL */
char *str_ndup(const char *s, size_t len);
char *str_fmt(const char *fmt, ...) _printf_(1, 2); /* like asprintf; the caller frees */

/* Makes room for one more in a growing array: mem_grow(&a, n, &cap, sizeof *a) before a[n++]. */
void mem_grow(void *array, size_t n, size_t *cap, size_t item_size);

/* Overwrites `len` bytes in a way that the compiler does not remove: for secrets. */
void mem_wipe(void *p, size_t len);

#endif
