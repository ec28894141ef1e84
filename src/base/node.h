/* A node: all there is to know of one directory entry except its bytes. Sources fill it, the
 * repository keeps it, targets apply it. The fields are those of restic's tree format. */
#ifndef SALVOR_BASE_NODE_H
#define SALVOR_BASE_NODE_H

#include "base/id.h"
#include <sys/types.h>
#include <time.h>

enum node_type {
    NODE_INVALID,
    NODE_FILE,
    NODE_DIR,
    NODE_SYMLINK,
    NODE_BLOCK, /* block device, restic's "dev" */
    NODE_CHAR,  /* character device */
    NODE_FIFO,
    NODE_SOCKET,
    NODE_IRREGULAR,
};

struct node_xattr {
    char *name;
    uint8_t *value;
    size_t len;
};

struct node {
    char *name; /* bytes as the file system has them; no NUL, no slash */
    enum node_type type;
    mode_t mode; /* permission bits with set-user, set-group and sticky, as in stat(2) */
    struct timespec mtime, atime, ctime;
    uint32_t uid, gid;
    char *user, *group; /* NULL or "" when unknown */
    uint64_t inode, device_id, size, links, rdev;
    char *linktarget; /* symlinks only */
    struct node_xattr *xattr;
    size_t nxattr; /* as the file system lists them; ACLs are system.posix_acl_access / _default */
    struct id *content; /* files: the blobs in order */
    size_t ncontent;
    bool has_content;  /* false writes "content": null (all but files) */
    struct id subtree; /* directories */
    bool has_subtree;
    char *extra; /* generic_attributes of a foreign tree as JSON text, or NULL */
    char *error; /* restic's "error" field, or NULL */
};

const char *node_type_name(enum node_type t); /* restic's word for it; "" for NODE_INVALID */
enum node_type node_type_parse(const char *name);
void node_release(struct node *n);                        /* frees what it owns and clears it */
void node_copy(struct node *to, const struct node *from); /* deep; `to` is overwritten */
/* From lstat(2) and friends: fills all but name, user, group, linktarget, xattr and content. As
 * restic does, size is 0 for all but files, links for directories, FIFOs and sockets, and rdev for
 * all but devices; atime is st_atim. */
struct stat;
void node_from_stat(struct node *n, const struct stat *st);
/* Reads the extended attributes, ACLs among them, in the order of the file system. What cannot be
 * read is told by a warning; `what` names the entry. One of the two: fd, or path (not followed if
 * it is a link) if fd < 0. */
void node_read_xattrs(struct node *n, int fd, const char *path, const char *what);

#endif
