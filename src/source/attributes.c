/* Attributes: from a directory entry to the node that the repository keeps. */
#include "base/mem.h"
#include "source/files_int.h"
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <string.h>

void owner_names_init(struct owner_names *o)
{
    memset(o, 0, sizeof(*o));
    (void)pthread_mutex_init(&o->lock, NULL);
}

void owner_names_release(struct owner_names *o)
{
    for (size_t i = 0; i < o->nuser; i++)
        free(o->user[i].name);
    for (size_t i = 0; i < o->ngroup; i++)
        free(o->group[i].name);
    free(o->user);
    free(o->group);
    (void)pthread_mutex_destroy(&o->lock);
}

/* Asks the system; the buffer grows for groups with many members. */
static char *look_up(uint32_t id, bool group)
{
    char *name = NULL;
    for (size_t size = 4096; size <= (1U << 20) && name == NULL; size *= 4) {
        _cleanup_free_ char *text = mem_alloc(size);
        struct passwd pw, *user = NULL;
        struct group gr, *grp = NULL;
        int rc =
            group ? getgrgid_r(id, &gr, text, size, &grp) : getpwuid_r(id, &pw, text, size, &user);
        if (rc == ERANGE)
            continue;
        name = str_dup(user != NULL ? user->pw_name : grp != NULL ? grp->gr_name : "");
    }
    return name != NULL ? name : str_dup("");
}

/* The name of `id`, owned by the cache. */
static const char *cached(struct owner_name **list, size_t *n, size_t *cap, uint32_t id, bool group)
{
    for (size_t i = 0; i < *n; i++) {
        if ((*list)[i].id != id)
            continue;
        if (i > 0) { /* the one that is asked for most is found first */
            struct owner_name up = (*list)[i];
            (*list)[i] = (*list)[i - 1];
            (*list)[i - 1] = up;
            i--;
        }
        return (*list)[i].name;
    }
    mem_grow(list, *n, cap, sizeof(**list));
    (*list)[*n] = (struct owner_name){.id = id, .name = look_up(id, group)};
    return (*list)[(*n)++].name;
}

void attributes_from_stat(struct node *n, const struct stat *st, struct owner_names *o)
{
    node_from_stat(n, st);
    n->atime = n->mtime;
    free(n->user);
    free(n->group);
    (void)pthread_mutex_lock(&o->lock);
    n->user = str_dup(cached(&o->user, &o->nuser, &o->user_cap, n->uid, false));
    n->group = str_dup(cached(&o->group, &o->ngroup, &o->group_cap, n->gid, true));
    (void)pthread_mutex_unlock(&o->lock);
}
