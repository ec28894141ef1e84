/* Hard links: which file was the first of its device and inode. */
#include "base/mem.h"
#include "target/files_int.h"

static size_t slot_of(const struct links *l, uint64_t device, uint64_t inode)
{
    uint64_t h = (inode ^ (device << 32 | device >> 32)) * UINT64_C(0x9e3779b97f4a7c15);
    size_t i = (size_t)(h >> 20) & (l->size - 1);
    while (l->slot[i].path != NULL && (l->slot[i].device != device || l->slot[i].inode != inode))
        i = (i + 1) & (l->size - 1);
    return i;
}

static void grow(struct links *l)
{
    struct links bigger = {.n = l->n, .size = l->size > 0 ? l->size * 2 : 64};
    bigger.slot = mem_array(bigger.size, sizeof(*bigger.slot));
    for (size_t i = 0; i < l->size; i++)
        if (l->slot[i].path != NULL)
            bigger.slot[slot_of(&bigger, l->slot[i].device, l->slot[i].inode)] = l->slot[i];
    free(l->slot);
    *l = bigger;
}

struct link_first *links_find(const struct links *l, uint64_t device, uint64_t inode)
{
    if (l->size == 0)
        return NULL;
    struct link_first *f = &l->slot[slot_of(l, device, inode)];
    return f->path != NULL ? f : NULL;
}

void links_add(struct links *l, uint64_t device, uint64_t inode, const char *path)
{
    if (l->n * 2 >= l->size)
        grow(l);
    l->slot[slot_of(l, device, inode)] = (struct link_first){device, inode, str_dup(path), false};
    l->n++;
}

void links_release(struct links *l)
{
    for (size_t i = 0; i < l->size; i++)
        free(l->slot[i].path);
    free(l->slot);
    *l = (struct links){0};
}
