/* Locals that release themselves when they leave scope, so that an early return is safe.
 *
 *     _cleanup_(buf_release) struct buf json = BUF_INIT(1 << 20);
 *     _cleanup_free_ char *name = str_fmt("%s.tmp", path);
 *     _cleanup_close_ int fd = open(...);
 *
 * take() and take_fd() move a value out of such a local. */
#ifndef SALVOR_BASE_CLEANUP_H
#define SALVOR_BASE_CLEANUP_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define _cleanup_(fn) __attribute__((cleanup(fn)))
#define _cleanup_free_ _cleanup_(cleanup_free)
#define _cleanup_close_ _cleanup_(cleanup_close)
#define _cleanup_fclose_ _cleanup_(cleanup_fclose)
#define _warn_unused_ __attribute__((warn_unused_result))
#define _printf_(fmt, first) __attribute__((format(printf, fmt, first)))

static inline void cleanup_free(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_close(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
}

static inline void cleanup_fclose(FILE **f)
{
    if (*f != NULL)
        (void)fclose(*f);
}

/* Takes a pointer out of a cleaned-up local: the local becomes NULL, the value is returned. */
#define take(p)                                                                                    \
    __extension__({                                                                                \
        __typeof__(p) taken_ = (p);                                                                \
        (p) = NULL;                                                                                \
        taken_;                                                                                    \
    })

static inline int take_fd(int *fd)
{
    int taken = *fd;
    *fd = -1;
    return taken;
}

#define array_len(a) (sizeof(a) / sizeof((a)[0]))

#endif
