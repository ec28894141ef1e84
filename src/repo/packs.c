/* The packs that are in the store, with their sizes. */
#include "base/file.h"
#include "base/mem.h"
#include "repo/packs_int.h"
#include <string.h>

static int list_one(const struct store_object *o, void *arg, struct err *e)
{
    (void)e;
    struct pack_files *l = arg;
    struct pack_file f = {.size = o->size};
    char name[REPO_NAME_MAX];
    const char *base = path_base(o->name);
    /* Not ours, or not where anybody would look for it. */
    if (!id_parse(base, strlen(base), &f.id) ||
        strcmp(repo_file_name("data", &f.id, name), o->name) != 0)
        return 0;
    mem_grow(&l->file, l->n, &l->cap, sizeof *l->file);
    l->file[l->n++] = f;
    return 0;
}

static int compare(const void *va, const void *vb)
{
    const struct pack_file *a = va, *b = vb;
    return id_compare(&a->id, &b->id);
}

int pack_files_load(struct repo *r, struct pack_files *out, struct err *e)
{
    int rc = store_list(r->store, "data/", list_one, out, e);
    if (rc == 0 && out->n > 1)
        qsort(out->file, out->n, sizeof *out->file, compare);
    return rc;
}

const struct pack_file *pack_files_find(const struct pack_files *l, const struct id *id)
{
    struct pack_file key = {.id = *id};
    return l->n > 0 ? bsearch(&key, l->file, l->n, sizeof *l->file, compare) : NULL;
}

void pack_files_release(struct pack_files *l)
{
    free(l->file);
    memset(l, 0, sizeof *l);
}
