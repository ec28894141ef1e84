/* The parts that targets of files are made of: directories below a root, putting something in its
 * place, attributes, hard links. */
#ifndef SALVOR_TARGET_FILES_INT_H
#define SALVOR_TARGET_FILES_INT_H

#include "target/target_int.h"
#include <pthread.h>
#include <stdatomic.h>
#include <sys/stat.h>

/* ---- place.c: directories, never through a link ---- */

/* An open directory below the root, shared by the files that go into it. */
struct place {
    atomic_uint refs;
    int fd;           /* -1 in a dry run when it is not there */
    bool fresh;       /* made by this restore: nothing else is in it */
    bool default_acl; /* what is made in it inherits an ACL */
    char *path;       /* relative to the root, "" for the root itself */
};

struct place *place_ref(struct place *p);
void place_unref(struct place *p);
void place_unrefp(struct place **p);

struct places {
    char *root;
    bool dry_run;
    struct place **stack; /* the root, and down to the directory that was asked for last */
    size_t depth, cap;
    struct place_device {
        dev_t device;
        int fd;
    } * device; /* one descriptor for each file system that was written to */
    size_t ndevice, device_cap;
};

/* ERR_EXISTS if the root is not a directory. */
_warn_unused_ int places_init(struct places *ps, const char *root, bool dry_run, struct err *e);
void places_release(struct places *ps);
/* The directory that `path` is in, made if it is missing; *name points into path. ERR_REFUSED if
 * path leads out of the root. The caller gives the reference back. */
_warn_unused_ int places_of(struct places *ps, const char *path, struct place **dir,
                            const char **name, struct err *e);
/* The directory `path` itself. */
_warn_unused_ int places_open(struct places *ps, const char *path, struct place **dir,
                              struct err *e);
/* Makes the directory `path` (700 for now) unless it is there. ERR_EXISTS: something else is. */
_warn_unused_ int places_make(struct places *ps, const char *path, bool *made, struct err *e);
_warn_unused_ int places_sync(struct places *ps, struct err *e);
/* Lets us write to a directory of ours that is read-only, as backups of such have them; the mode
 * that it had, or 0 if nothing was changed. */
mode_t place_open_up(int fd);
/* The absolute path of an entry; the caller frees. */
char *place_path(const struct places *ps, const struct place *p, const char *name);

/* ---- aside.c: putting in place, keeping what is there ---- */

enum { TEMP_NAME = 24 };
/* Makes a file (mode 600, to write) under an unused temporary name. */
_warn_unused_ int temp_open(int dir, char name[TEMP_NAME], int *fd, struct err *e);
/* Calls make(dir, name, arg), which returns 0 or -1 and errno, until the name was unused. */
_warn_unused_ int temp_make(int dir, char name[TEMP_NAME],
                            int (*make)(int dir, const char *name, void *arg), void *arg,
                            struct err *e);

/* Called with the name under which something is going to be kept (NULL: there is nothing, or it is
 * not kept) before anything is changed. */
typedef void about_fn(const char *kept, void *arg);

/* Gives the entry `name` the additional name <name><suffix>, or <name><suffix>-2 and so on, by a
 * hard link where that can be, else by renaming it; *kept is the caller's to free. `about` may be
 * NULL. */
_warn_unused_ int keep_aside(int dir, const char *name, const char *suffix, about_fn *about,
                             void *arg, char **kept, struct err *e);
/* Moves it there, so that `name` is free. */
_warn_unused_ int move_aside(int dir, const char *name, const char *suffix, about_fn *about,
                             void *arg, char **kept, struct err *e);
/* The n-th name to try, n from 1; the caller frees. */
char *aside_name(const char *name, const char *suffix, unsigned n);
/* rename(2) that fails with EEXIST rather than to replace. Returns 0 or -1 and errno. */
int rename_unused(int dir, const char *from, const char *to);

/* Renames `temp` to `name`. What is there is kept under another name (*kept, which the caller
 * frees) if `suffix` is not NULL, else replaced; a directory that is not empty is not replaced:
 * ERR_EXISTS. *replaced tells whether something was there. */
_warn_unused_ int put_in_place(int dir, const char *temp, const char *name, const char *suffix,
                               about_fn *about, void *arg, bool *replaced, char **kept,
                               struct err *e);

/* ---- attributes.c ---- */

struct owner_ids {
    pthread_mutex_t lock;
    struct owner_id {
        char *name;
        uint32_t id;
        bool known;
    } * user, *group;
    size_t nuser, ngroup, user_cap, group_cap;
    bool set; /* owners are to be set: we are root and nobody said otherwise */
};

void owner_ids_init(struct owner_ids *o, bool set);
void owner_ids_release(struct owner_ids *o);

enum { WHY_MAX = 256 };
/* Sets owner, mode, attributes, times of an open file or directory. `fresh`: it was just made, so
 * what it should not have it cannot have, unless `inherits` an ACL. What the system does not allow
 * (an owner without root, an attribute) is told in `why` (which is left alone otherwise) and is no
 * error. */
_warn_unused_ int attributes_set(int fd, const struct node *n, struct owner_ids *o, bool fresh,
                                 bool inherits, char why[WHY_MAX], const char *what, struct err *e);
/* The same for a link, device or pipe `name` in `dir`, or for anything that cannot be opened. */
_warn_unused_ int attributes_set_at(int dir, const char *name, const struct node *n,
                                    struct owner_ids *o, char why[WHY_MAX], const char *what,
                                    struct err *e);

/* Whether attributes_set would change what `now` tells of an entry. */
bool attributes_differ(const struct node *now, const struct node *n, struct owner_ids *o);

/* ---- former.c: the attributes that an entry had before a restore changed nothing else of it ----
 */

/* Of an open file or directory, or, with fd < 0, of `path`. */
_warn_unused_ int former_read(int fd, const char *path, struct node *out, struct err *e);
char *former_text(const struct node *n); /* the caller frees */
/* Sets the attributes of `path` to those in `text`; an entry that is gone is no error. */
_warn_unused_ int former_put_back(const char *path, const char *text, struct err *e);

/* ---- links.c: hard links, found again by device and inode ---- */

struct link_first {
    uint64_t device, inode;
    char *path; /* relative to the root; NULL: the slot is free */
    bool done;  /* committed */
};

struct links {
    struct link_first *slot; /* open addressing */
    size_t n, size;
};

/* The first one of that device and inode, valid until the next links_add; NULL if there is none. */
struct link_first *links_find(const struct links *l, uint64_t device, uint64_t inode);
void links_add(struct links *l, uint64_t device, uint64_t inode, const char *path);
void links_release(struct links *l);

/* ---- write_back.c ---- */

struct write_back;
/* For a file of that size; NULL, which the others take, where a range is only handed on. */
struct write_back *write_back_new(uint64_t file_size);
void write_back_free(struct write_back *w);
/* To be called after each write, from any thread. */
void write_back(struct write_back *w, int fd, size_t len, uint64_t offset);

/* ---- files.c, for the other targets that are made of files ---- */

struct files_target;

/* A regular file that is being restored. */
struct file {
    struct target_file file;
    struct place *dir;
    const char *name; /* in path */
    char *path;       /* relative to the root */
    struct node node;
    pthread_mutex_t lock; /* making fd */
    int fd;               /* being written; -1 until the first byte comes */
    char temp[TEMP_NAME]; /* what it is called meanwhile; "" if by its name */
    struct write_back *back;
    int old_fd; /* what is there now, to be read; -1 */
    bool made;  /* it has a file of its own, whether still open or not */
    bool old;   /* something is there */
    bool first; /* the first one of several hard links */
};

/* What targets that are made of files do in their own way. */
struct files_hooks {
    /* Whether the bytes under the name are all there is to what is there now. */
    bool (*plain)(const struct file *f);
    /* Puts the complete and synced f->temp in its place, in the stead of put_in_place. */
    int (*install)(struct files_target *t, struct file *f, bool *replaced, char **kept,
                   struct err *e);
};

struct files_target {
    struct target target;
    struct places places;
    struct owner_ids owners;
    char *keep_suffix;
    target_event_fn *event;
    void *event_arg;
    pthread_mutex_t lock; /* events, links */
    struct links links;
    struct link_later {
        char *path;
        uint64_t device, inode;
    } * later;
    size_t nlater, later_cap;
    struct dir_later {
        char *path;
        struct node node;
        bool fresh;
    } * dirs;
    size_t ndirs, dirs_cap;
    const struct files_hooks *hooks; /* NULL for plain files */
    bool noticed;                    /* that something of a directory could not be set */
};

_warn_unused_ int files_target_init(struct files_target *t, const struct target_options *o,
                                    struct err *e);
void files_target_release(struct files_target *t);
/* `name` in `dir`; kept is a name in the same directory or NULL. */
void files_event(struct files_target *t, enum target_event what, const struct place *dir,
                 const char *name, const char *kept, const char *why);
/* An entry whose change is told beforehand: files_about is the about_fn, this its argument. */
struct files_entry {
    struct files_target *target;
    const struct place *dir;
    const char *name;
};
void files_about(const char *kept, void *entry);
/* Whether the attributes of an entry that stays will change; tells what they are before. */
bool files_about_attributes(struct files_target *t, const struct place *dir, const char *name,
                            int fd, const struct node *n);
_warn_unused_ int files_directory(struct target *t, const char *path, const struct node *n,
                                  struct err *e);
_warn_unused_ int files_finish(struct target *t, struct err *e);
extern const struct target_ops files_ops;

/* Where a kept file is put back: see target_put_back. */
_warn_unused_ int files_put_back(const char *path, const char *kept, const char *aside_suffix,
                                 char **aside, struct err *e);

/* Writes all but runs of zeros, which stay holes in a file that has nothing there yet. */
_warn_unused_ int write_sparse(int fd, const void *data, size_t len, uint64_t offset,
                               const char *what, struct err *e);

#endif
