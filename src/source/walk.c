/* Walking: what was chosen, as entries in tree order. It goes by descriptors of the directories
 * that it is in, so that one that is swapped for a link meanwhile leads nowhere else. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "source/files_int.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>

/* ---- paths ---- */

/* Makes s->path the entry `name` of the directory whose path has `len` bytes; returns its length.
 */
static size_t set_path(struct files_source *s, size_t len, const char *name)
{
    size_t n = strlen(name), need = len + n + 2;
    if (need > s->path_cap) {
        s->path_cap = need * 2;
        s->path = mem_resize(s->path, s->path_cap, 1);
    }
    if (len > 0 && s->path[len - 1] != '/')
        s->path[len++] = '/';
    memcpy(s->path + len, name, n + 1);
    return len + n;
}

static char *relative(const struct files_source *s)
{
    size_t len = strlen(s->base);
    return str_dup(s->path + (s->base[len - 1] == '/' ? len : len + 1));
}

/* ---- directories ---- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Reads all names of f->fd, sorted by their bytes. 0, or errno with what could be read. */
static int read_names(struct frame *f)
{
    DIR *d = fdopendir(fcntl(f->fd, F_DUPFD_CLOEXEC, 0));
    if (d == NULL)
        return errno;
    size_t used = 0, size = 0;
    struct dirent *entry;
    while ((errno = 0, entry = readdir(d)) != NULL) {
        const char *name = entry->d_name;
        size_t len = strlen(name) + 1;
        if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
            continue;
        if (used + len > size) {
            size = (size + len) * 2 < 1024 ? 1024 : (size + len) * 2;
            f->names = mem_resize(f->names, size, 1);
        }
        memcpy(f->names + used, name, len);
        used += len;
        f->nname++;
    }
    int sys = errno;
    (void)closedir(d);
    f->name = mem_array(f->nname > 0 ? f->nname : 1, sizeof(*f->name));
    char *p = f->names;
    for (size_t i = 0; i < f->nname; i++, p += strlen(p) + 1)
        f->name[i] = p;
    qsort(f->name, f->nname, sizeof(*f->name), compare_names);
    return sys;
}

/* https://bford.info/cachedir/: the tag must begin with this. */
#define CACHE_TAG "CACHEDIR.TAG"
#define CACHE_SIGNATURE "Signature: 8a477f597d28d172789f06886806bc55"

static bool is_cache(int fd)
{
    char head[sizeof(CACHE_SIGNATURE) - 1];
    size_t got = 0;
    struct err ignored = ERR_INIT;
    _cleanup_close_ int tag = openat(fd, CACHE_TAG, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    return tag >= 0 && fd_pread_all(tag, head, sizeof(head), 0, &got, CACHE_TAG, &ignored) == 0 &&
           got == sizeof(head) && memcmp(head, CACHE_SIGNATURE, got) == 0;
}

/* Of a cache nothing is kept but the tag, so that it is known as one when it comes back. */
static void keep_only_tag(struct frame *f)
{
    for (size_t i = 0; i < f->nname; i++)
        if (strcmp(f->name[i], CACHE_TAG) == 0)
            f->name[0] = f->name[i];
    f->nname = 1;
}

static void frame_release(struct frame *f)
{
    if (f->fd >= 0)
        (void)close(f->fd);
    free(f->name);
    free(f->names);
}

static struct frame *push(struct files_source *s, struct frame f)
{
    mem_grow(&s->stack, s->depth, &s->depth_cap, sizeof(*s->stack));
    s->stack[s->depth] = f;
    return &s->stack[s->depth++];
}

static void note_problem(struct files_source *s, int sys, const char *doing)
{
    s->have_problem = true;
    (void)err_sys(&s->problem, sys, "cannot %s %s", doing, s->path);
    free(s->problem_path);
    s->problem_path = relative(s);
}

/* Opened without leaving a trace in the access time where that is allowed (our own files). */
static int open_dir_at(int dir, const char *name)
{
    int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    int fd = openat(dir, name, flags | O_NOATIME);
    return fd >= 0 || errno != EPERM ? fd : openat(dir, name, flags);
}

/* Fills the names of a whole directory that was just pushed. */
static void list(struct files_source *s, struct frame *f, const struct stat *st)
{
    if (f->fd < 0 || (s->one_file_system && st->st_dev != f->device))
        return;
    int sys = read_names(f);
    if (sys != 0)
        note_problem(s, sys, "list");
    if (s->exclude_caches && is_cache(f->fd))
        keep_only_tag(f);
}

/* ---- entries ---- */

static char *read_link(int dir, const char *name, const struct stat *st)
{
    size_t size = st->st_size > 0 ? (size_t)st->st_size + 1 : PATH_MAX;
    for (; size <= (1U << 20); size *= 2) {
        char *target = mem_alloc(size);
        ssize_t len = readlinkat(dir, name, target, size);
        if (len >= 0 && (size_t)len < size) {
            target[len] = 0;
            return target;
        }
        free(target);
        if (len < 0)
            return NULL;
    }
    errno = ENAMETOOLONG;
    return NULL;
}

static void step_problem(struct files_source *s, struct source_item *out)
{
    out->step = SOURCE_PROBLEM;
    out->path = take(s->problem_path);
    out->node.name = str_dup(path_base(out->path));
    out->problem = s->problem;
    s->have_problem = false;
}

/* Enters the directory `name` of `parent`. `whole`: it or a directory above was chosen. */
static void step_enter(struct files_source *s, const struct frame *parent, const char *name,
                       size_t path_len, struct stat *st, bool whole, size_t lo, size_t hi,
                       struct source_item *out)
{
    struct frame f = {.whole = whole, .path_len = path_len, .lo = lo, .hi = hi};
    f.device = parent->whole ? parent->device : st->st_dev;
    f.fd = open_dir_at(parent->fd, name);
    if (f.fd >= 0) {
        if (fstat(f.fd, st) < 0)
            note_problem(s, errno, "look at");
    } else {
        note_problem(s, errno == ELOOP || errno == ENOTDIR ? ENOENT : errno, "open");
        if (s->problem.code == ERR_NOT_FOUND) {
            step_problem(s, out);
            return;
        }
    }
    out->step = SOURCE_ENTER;
    out->path = relative(s);
    out->node.name = str_dup(name);
    attributes_from_stat(&out->node, st, &s->owners);
    if (f.fd >= 0)
        node_read_xattrs(&out->node, f.fd, NULL, s->path);
    s->directories++;
    struct frame *top = push(s, f);
    if (whole)
        list(s, top, st);
}

static void step_leaf(struct files_source *s, const struct frame *parent, const char *name,
                      const struct stat *st, struct source_item *out)
{
    out->step = SOURCE_LEAF;
    out->path = relative(s);
    out->node.name = str_dup(name);
    attributes_from_stat(&out->node, st, &s->owners);
    if (S_ISLNK(st->st_mode)) {
        /* restic 0.14 keeps no extended attributes of links. */
        out->node.linktarget = read_link(parent->fd, name, st);
        if (out->node.linktarget == NULL) {
            note_problem(s, errno == EINVAL ? ENOENT : errno, "read the link");
            free(out->path);
            free(take(out->node.name));
            step_problem(s, out);
            return;
        }
    } else {
        /* There is no llistxattrat(2); this does the same. */
        char proc[48 + NAME_MAX];
        int n = snprintf(proc, sizeof(proc), "/proc/self/fd/%d/%s", parent->fd, name);
        node_read_xattrs(&out->node, -1, n > 0 && (size_t)n < sizeof(proc) ? proc : s->path,
                         s->path);
    }
    out->has_bytes = S_ISREG(st->st_mode) && st->st_size > 0;
    if (S_ISREG(st->st_mode)) {
        s->files++;
        s->bytes += (uint64_t)st->st_size;
    } else {
        s->others++;
    }
}

/* The next entry of the frame: its name, and for a frame that is not whole the range of chosen
 * paths that go through it. false at the end. */
static bool next_entry(struct files_source *s, struct frame *f, char name[NAME_MAX + 1],
                       bool *chosen, size_t *lo, size_t *hi)
{
    if (f->whole) {
        if (f->at >= f->nname)
            return false;
        const char *from = f->name[f->at++];
        size_t len = strlen(from);
        memcpy(name, from, (len > NAME_MAX ? NAME_MAX : len) + 1);
        name[NAME_MAX] = 0;
        *chosen = true;
        return true;
    }
    if (f->lo >= f->hi)
        return false;
    const char *part = s->paths.s[f->lo] + f->path_len;
    part += *part == '/';
    size_t len = strcspn(part, "/");
    (void)snprintf(name, NAME_MAX + 1, "%.*s", (int)len, part);
    *chosen = part[len] == 0;
    *lo = f->lo++;
    size_t prefix = (size_t)(part - s->paths.s[*lo]) + len;
    while (f->lo < f->hi && strncmp(s->paths.s[f->lo], s->paths.s[*lo], prefix) == 0 &&
           s->paths.s[f->lo][prefix] == '/')
        f->lo++;
    *hi = f->lo;
    return true;
}

/* Begins with the directory that all chosen paths are in. */
static int begin(struct files_source *s, struct err *e)
{
    s->begun = true;
    size_t len = set_path(s, 0, s->base);
    struct frame f = {.path_len = len, .hi = s->paths.n};
    f.fd = open(s->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (f.fd < 0) /* without the right to list it, the way through may still be allowed */
        f.fd = open(s->base, O_PATH | O_DIRECTORY | O_CLOEXEC);
    struct stat st;
    if (f.fd < 0 || fstat(f.fd, &st) < 0) {
        int sys = errno;
        frame_release(&f);
        return err_sys(e, sys, "cannot open directory %s", s->base);
    }
    f.whole = strcmp(s->paths.s[0], "/") == 0;
    f.device = st.st_dev;
    struct frame *top = push(s, f);
    if (f.whole)
        list(s, top, &st);
    return 0;
}

/* One entry into `out`; false if it is left out. */
static bool step(struct files_source *s, struct source_item *out)
{
    struct frame *f = &s->stack[s->depth - 1];
    char name[NAME_MAX + 1];
    bool chosen = false;
    size_t lo = 0, hi = 0;
    if (!next_entry(s, f, name, &chosen, &lo, &hi)) {
        size_t len = f->path_len;
        frame_release(f);
        s->depth--;
        if (s->depth == 0) {
            out->step = SOURCE_END;
            return true;
        }
        s->path[len] = 0;
        out->step = SOURCE_LEAVE;
        out->path = relative(s);
        out->node.name = str_dup(path_base(out->path));
        return true;
    }
    bool whole = f->whole;
    size_t path_len = set_path(s, f->path_len, name);
    if (whole && excludes_match(&s->excludes, s->path, name, false)) {
        s->excluded++;
        return false;
    }
    struct stat st;
    if (fstatat(f->fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        note_problem(s, errno, "look at");
        step_problem(s, out);
        return true;
    }
    if (S_ISSOCK(st.st_mode)) { /* made anew by its program; restic leaves them out too */
        s->sockets++;
        return false;
    }
    if (S_ISDIR(st.st_mode)) {
        if (whole && excludes_match(&s->excludes, s->path, name, true)) {
            s->excluded++;
            return false;
        }
        struct frame parent = *f; /* pushing may move the stack */
        step_enter(s, &parent, name, path_len, &st, chosen, lo, hi, out);
    } else {
        step_leaf(s, f, name, &st, out);
    }
    return true;
}

int files_walk(struct source *source, struct source_item *out, struct err *e)
{
    struct files_source *s = files_of(source);
    if (!s->begun) {
        int rc = begin(s, e);
        if (rc != 0)
            return rc;
    }
    if (s->depth == 0 && !s->have_problem) {
        out->step = SOURCE_END;
        return 0;
    }
    if (s->have_problem) {
        step_problem(s, out);
        return 0;
    }
    while (!step(s, out)) {
    }
    return 0;
}

void files_walk_release(struct files_source *s)
{
    while (s->depth > 0)
        frame_release(&s->stack[--s->depth]);
    free(s->stack);
    free(s->path);
    free(s->problem_path);
}
