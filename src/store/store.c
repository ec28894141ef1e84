/* What all stores share: names are checked, calls handed to the driver, addresses understood. */
#include "base/mem.h"
#include "store/store_int.h"
#include <inttypes.h>
#include <string.h>

bool store_part_unfinished(const char *part, size_t len)
{
    size_t digits = 0;
    while (digits < len && part[len - 1 - digits] >= '0' && part[len - 1 - digits] <= '9')
        digits++;
    return digits > 0 && len - digits >= 5 && memcmp(part + len - digits - 5, "-tmp-", 5) == 0;
}

static bool plain_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool store_part_plain(const char *part, size_t len)
{
    if (len == 0 || len > STORE_PART_MAX || (len == 1 && part[0] == '.') ||
        (len == 2 && part[0] == '.' && part[1] == '.'))
        return false;
    for (size_t i = 0; i < len; i++)
        if (!plain_char(part[i]))
            return false;
    return true;
}

/* Whether the first `len` bytes are a name. */
static bool name_valid(const char *name, size_t len)
{
    if (len > STORE_NAME_MAX)
        return false;
    for (size_t depth = 1; depth <= STORE_DEPTH_MAX; depth++) {
        const char *slash = memchr(name, '/', len);
        size_t part = slash != NULL ? (size_t)(slash - name) : len;
        if (!store_part_plain(name, part) || store_part_unfinished(name, part))
            return false;
        if (slash == NULL)
            return true;
        name += part + 1;
        len -= part + 1;
    }
    return false;
}

static int check_name(const struct store *s, const char *name, struct err *e)
{
    if (name_valid(name, strlen(name)))
        return 0;
    return err_set(e, ERR_USAGE,
                   "\"%.200s\" cannot be the name of an object in %s: names are parts of letters, "
                   "digits, '.', '_' and '-' with single slashes between them",
                   name, s->address);
}

static int check_prefix(const struct store *s, const char *prefix, struct err *e)
{
    size_t len = strlen(prefix);
    if (len == 0 ||
        (len <= STORE_NAME_MAX && prefix[len - 1] == '/' && name_valid(prefix, len - 1)))
        return 0;
    return err_set(e, ERR_USAGE,
                   "cannot list \"%.200s\" in %s: a directory is listed by its name with a slash "
                   "at the end",
                   prefix, s->address);
}

uint64_t store_pieces_size(const struct piece *pieces, size_t npieces)
{
    uint64_t size = 0;
    for (size_t i = 0; i < npieces; i++)
        size += pieces[i].len;
    return size;
}

int store_check_range(const struct store *s, const char *name, uint64_t size, uint64_t offset,
                      uint64_t *len, struct err *e)
{
    if (*len == STORE_TO_END && offset <= size)
        *len = size - offset;
    if (offset <= size && *len <= size - offset)
        return 0;
    uint64_t end = *len == STORE_TO_END || *len > UINT64_MAX - offset ? offset : offset + *len;
    return err_set(e, ERR_CORRUPT,
                   "%s in %s has %" PRIu64 " bytes, but should have at least %" PRIu64
                   ": it was truncated",
                   name, s->address, size, end);
}

int store_not_found(const struct store *s, const char *name, struct err *e)
{
    return err_set(e, ERR_NOT_FOUND, "there is no %s in %s", name, s->address);
}

int store_exists(const struct store *s, const char *name, struct err *e)
{
    return err_set(e, ERR_EXISTS, "%s exists in %s already", name, s->address);
}

const struct store_properties *store_properties(const struct store *s)
{
    return &s->properties;
}

const char *store_address(const struct store *s)
{
    return s->address;
}

int store_put(struct store *s, const char *name, enum store_put_mode mode,
              const struct piece *pieces, size_t npieces, struct err *e)
{
    int rc = check_name(s, name, e);
    if (rc < 0)
        return rc;
    return s->ops->put(s, name, mode, pieces, npieces, e);
}

int store_get(struct store *s, const char *name, uint64_t offset, uint64_t len, struct buf *out,
              struct err *e)
{
    int rc = check_name(s, name, e);
    if (rc < 0)
        return rc;
    size_t before = out->len;
    rc = s->ops->get(s, name, offset, len, out, e);
    if (rc < 0 && out->len > before) {
        out->len = before;
        out->data[before] = '\0';
    }
    return rc;
}

int store_stat(struct store *s, const char *name, uint64_t *size, struct err *e)
{
    int rc = check_name(s, name, e);
    if (rc < 0)
        return rc;
    return s->ops->stat(s, name, size, e);
}

int store_list(struct store *s, const char *prefix, store_list_fn *fn, void *arg, struct err *e)
{
    int rc = check_prefix(s, prefix, e);
    if (rc < 0)
        return rc;
    return s->ops->list(s, prefix, fn, arg, e);
}

int store_remove(struct store *s, const char *name, struct err *e)
{
    int rc = check_name(s, name, e);
    if (rc < 0)
        return rc;
    return s->ops->remove(s, name, e);
}

int store_clean(struct store *s, int64_t age_s, size_t *n, struct err *e)
{
    *n = 0;
    return s->ops->clean(s, age_s, n, e);
}

char *store_local_path(struct store *s, const char *name)
{
    struct err ignored = ERR_INIT;
    if (s->ops->local_path == NULL || check_name(s, name, &ignored) < 0)
        return NULL;
    return s->ops->local_path(s, name);
}

void store_free(struct store *s)
{
    if (s == NULL)
        return;
    char *address = s->address; /* the driver frees the struct */
    s->ops->free(s);
    free(address);
}

void store_freep(struct store **s)
{
    store_free(*s);
}

/* ---- addresses ---- */

#define KNOWN_KINDS "a directory's path, \"local:\" and a path, or \"memory:\""

static int open_local(const char *address, bool create, struct store **out, struct err *e)
{
    if (*address == '\0')
        return err_set(e, ERR_USAGE, "the address of a store is empty; give " KNOWN_KINDS);
    return store_local_new(address, create, out, e);
}

static int open_memory(const char *address, bool create, struct store **out, struct err *e)
{
    (void)create;
    if (*address != '\0')
        return err_set(e, ERR_USAGE, "nothing may follow \"memory:\", but \"%s\" does", address);
    *out = store_memory_new();
    return 0;
}

/* The kinds that restic knows; those without `open` are not in this build. */
static const struct {
    const char *name;
    int (*open)(const char *address, bool create, struct store **out, struct err *e);
} kinds[] = {
    {"local", open_local}, {"memory", open_memory}, {"s3", NULL},
    {"azure", NULL},       {"sftp", NULL},          {"rest", NULL},
    {"rclone", NULL},      {"swift", NULL},         {"b2", NULL},
    {"gs", NULL},
};

int store_open(const char *address, bool create, struct store **out, struct err *e)
{
    /* What has a slash before its colon, or no colon, is a path. */
    size_t len = strcspn(address, ":/");
    if (address[len] != ':')
        return open_local(address, create, out, e);
    for (size_t i = 0; i < array_len(kinds); i++) {
        if (strlen(kinds[i].name) != len || strncmp(address, kinds[i].name, len) != 0)
            continue;
        if (kinds[i].open != NULL)
            return kinds[i].open(address + len + 1, create, out, e);
        /* The rest of the address may hold a password. */
        return err_set(e, ERR_UNSUPPORTED,
                       "this build of salvor cannot open %s stores; give " KNOWN_KINDS,
                       kinds[i].name);
    }
    return err_set(e, ERR_USAGE,
                   "\"%.*s:\" is no known kind of store; give " KNOWN_KINDS
                   " (a path with a colon begins with \"./\")",
                   (int)(len < 40 ? len : 40), address);
}
