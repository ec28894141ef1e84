/* What a target driver provides. Drivers begin with struct target, their files with struct
 * target_file. */
#ifndef SALVOR_TARGET_TARGET_INT_H
#define SALVOR_TARGET_TARGET_INT_H

#include "target/target.h"

struct target_ops {
    int (*directory)(struct target *t, const char *path, const struct node *n, struct err *e);
    int (*begin)(struct target *t, const char *path, const struct node *n, struct target_file **out,
                 struct err *e);
    int (*old_bytes)(struct target_file *f, void *data, size_t len, uint64_t offset, size_t *got,
                     struct err *e);
    int (*write)(struct target_file *f, const void *data, size_t len, uint64_t offset,
                 struct err *e);
    int (*same)(struct target_file *f, struct err *e);
    int (*commit)(struct target_file *f, struct err *e);
    void (*abort)(struct target_file *f);
    int (*finish)(struct target *t, struct err *e);
    void (*free)(struct target *t);
};

struct target {
    const struct target_ops *ops;
};

struct target_file {
    struct target *target;
    uint64_t old_size;
};

#endif
