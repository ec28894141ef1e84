/* The parts that a source of files is made of: choosing paths, leaving some out, attributes. */
#ifndef SALVOR_SOURCE_FILES_INT_H
#define SALVOR_SOURCE_FILES_INT_H

#include "source/source_int.h"
#include <pthread.h>
#include <sys/stat.h>

/* ---- exclude.c ---- */

struct exclude {
    char *pattern;
    bool plain;    /* no wildcard: compared as it is */
    bool anchored; /* begins with a slash: against the whole absolute path */
    bool slash;    /* has a slash inside: against the path from any of its directories on */
    bool dir_only; /* ended in a slash */
};

struct excludes {
    struct exclude *list;
    size_t n;
    bool any_dir_only;
};

/* Expands ~ and resolves links in the directories that an anchored pattern names literally, since
 * paths are resolved too. ERR_USAGE for an empty pattern. */
_warn_unused_ int excludes_init(struct excludes *x, const char *const *patterns, size_t n,
                                struct err *e);
void excludes_release(struct excludes *x);
/* Whether to leave out the entry `path` (absolute) with its last part `name`. Patterns that ask for
 * a directory are looked at only with `is_dir`, all others only without: call it before stat(2)
 * without and, for a directory, afterwards with. */
bool excludes_match(const struct excludes *x, const char *path, const char *name, bool is_dir);

/* ---- choose.c ---- */

bool has_glob(const char *text);
/* Appends the absolute paths that `pattern` means, links in their directories resolved (a link as
 * the last part is itself meant). Matches of a glob that are excluded are left out; `x` may be
 * NULL. ERR_NOT_FOUND when there are none. */
_warn_unused_ int choose_paths(const char *pattern, const struct excludes *x, struct str_list *out,
                               struct err *e);
/* Sorts in tree order (a directory's entries follow it) and drops what is inside another one. */
void choose_tidy(struct str_list *paths);
/* The nearest directory that is a parent of them all; the caller frees. */
char *choose_base(const struct str_list *paths);

/* ---- attributes.c ---- */

/* Names of users and groups, looked up once each. Thread-safe. */
struct owner_names {
    pthread_mutex_t lock;
    struct owner_name {
        uint32_t id;
        char *name; /* "" when unknown */
    } * user, *group;
    size_t nuser, ngroup, user_cap, group_cap;
};

void owner_names_init(struct owner_names *o);
void owner_names_release(struct owner_names *o);

/* Everything that stat(2) and the user database tell, as restic 0.14 records it: the access time is
 * the modification time, only files have a size, only files, links and devices a link count. */
void attributes_from_stat(struct node *n, const struct stat *st, struct owner_names *o);

/* ---- walk.c ---- */

/* A directory that is being walked: all of it, or only the part that leads to chosen paths. */
struct frame {
    int fd;     /* -1 if it could not be opened */
    bool whole; /* names[]; else the range of chosen paths [lo, hi) */
    size_t path_len;
    dev_t device; /* of the chosen path that we are in */
    char **name;
    size_t nname, at;
    char *names; /* what name[] points into */
    size_t lo, hi;
};

struct files_source {
    struct source source;
    struct str_list paths; /* sorted, none inside another */
    struct excludes excludes;
    struct str_list exclude_words;
    char *base;
    struct owner_names owners;
    bool one_file_system, exclude_caches;

    bool begun;
    struct frame *stack;
    size_t depth, depth_cap;
    char *path; /* the present entry, absolute */
    size_t path_cap;
    bool have_problem; /* to be told next */
    struct err problem;
    char *problem_path;

    uint64_t files, directories, others, bytes, sockets, excluded;
};

static inline struct files_source *files_of(struct source *s)
{
    return (struct files_source *)s;
}

int files_walk(struct source *source, struct source_item *out, struct err *e); /* the `next` */
void files_walk_release(struct files_source *s);

#endif
