/* The packs that are in the store, with their sizes. */
#ifndef SALVOR_REPO_PACKS_INT_H
#define SALVOR_REPO_PACKS_INT_H

#include "repo/repo_int.h"

struct pack_file {
    struct id id;
    uint64_t size;
};

struct pack_files {
    struct pack_file *file; /* ascending by id */
    size_t n, cap;
};

_warn_unused_ int pack_files_load(struct repo *r, struct pack_files *out, struct err *e);
const struct pack_file *pack_files_find(const struct pack_files *l, const struct id *id);
void pack_files_release(struct pack_files *l);

#endif
