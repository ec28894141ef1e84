/* A restic repository (format version 2, version 1 readable) in a store: opening it, its keys and
 * locks, and the blobs in it. Format: restic's doc/design.rst.
 *
 * Reading calls may be made from several threads. Opening reads config and one key; the index is
 * loaded by repo_load_index, after the snapshots that it must cover were listed. */
#ifndef SALVOR_REPO_REPO_H
#define SALVOR_REPO_REPO_H

#include "base/clock.h"
#include "base/id.h"
#include "store/store.h"

struct repo;

enum blob_type { BLOB_DATA = 0, BLOB_TREE = 1 };

enum { BLOB_MAX = 128 << 20 }; /* bytes of plaintext that we are ready to read in one blob */

enum compression { COMPRESSION_AUTO, COMPRESSION_OFF, COMPRESSION_MAX };

struct repo_options {
    struct clock *clock; /* NULL: clock_system */
    const char
        *cache_dir; /* index cache and journals live in <cache_dir>/<repository id>/; NULL: none */
    enum compression compression;
    size_t pack_size;      /* bytes at which a pack is closed; 0 means 16 MiB */
    size_t upload_threads; /* 0: what the store likes, at most 4 */
};

/* ---- making and opening; the store stays the caller's and must outlive the repository ---- */

/* Makes an empty repository of `version` (2; 1 for tests). ERR_EXISTS if there is a config. */
_warn_unused_ int repo_init(struct store *s, const char *passphrase, int version, struct err *e);
/* Whether there is one: fails as repo_open does before it uses the passphrase. */
_warn_unused_ int repo_find(struct store *s, struct err *e);
/* ERR_NOT_FOUND: no repository there; ERR_PASSPHRASE; ERR_UNSUPPORTED: a newer version; ERR_CORRUPT
 * names the damaged file. */
_warn_unused_ int repo_open(struct store *s, const char *passphrase, const struct repo_options *o,
                            struct repo **out, struct err *e);
void repo_free(struct repo *r); /* releases the lock; NULL is allowed */
void repo_freep(struct repo **r);

const struct id *repo_id(const struct repo *r);
int repo_version(const struct repo *r);
uint64_t repo_chunker_polynomial(const struct repo *r);
struct store *repo_store(struct repo *r);

/* ---- keys ---- */
struct key_info {
    struct id id;
    char *user, *host;
    struct timespec created;
    bool current; /* the one that opened this repository */
};
typedef int key_fn(const struct key_info *k, void *arg, struct err *e);
_warn_unused_ int repo_key_list(struct repo *r, key_fn *fn, void *arg, struct err *e);
_warn_unused_ int repo_key_add(struct repo *r, const char *passphrase, struct id *out,
                               struct err *e);
/* By id prefix. ERR_REFUSED for the current key and for the last one. */
_warn_unused_ int repo_key_remove(struct repo *r, const char *prefix, struct err *e);
/* Adds the new one, then removes the current one. */
_warn_unused_ int repo_key_change(struct repo *r, const char *passphrase, struct err *e);

/* ---- locks (restic's) ---- */
enum lock_kind { LOCK_SHARED, LOCK_EXCLUSIVE };
/* Takes a lock and keeps it fresh from a thread of its own until repo_unlock. Stale locks are
 * cleared as DESIGN says: ours with a dead process at once, a foreign one after 30 minutes of our
 * own watching. SIGHUP is ignored from then on unless it is handled: stock restic sends it to see
 * whether a lock's holder lives. ERR_LOCKED names holder, host, process and age, and says what to
 * do. One lock at a time. */
_warn_unused_ int repo_lock(struct repo *r, enum lock_kind kind, struct err *e);
/* Whether the lock still holds; ERR_LOCKED when the last refresh that succeeded is 15 minutes old
 * (time asleep counts) or the lock file is gone. `again` asks the store too. */
_warn_unused_ int repo_lock_check(struct repo *r, bool again, struct err *e);
void repo_unlock(struct repo *r);

struct lock_info {
    struct id id;
    struct timespec time;
    bool exclusive;
    char *host, *user; /* NULL when unknown */
    int64_t pid;
    bool stale;   /* would be cleared by the next repo_lock */
    bool ours;    /* of this host, boot and process space */
    bool damaged; /* it cannot be read: only id, stale and damaged mean something */
};
typedef int lock_fn(const struct lock_info *l, void *arg, struct err *e);
_warn_unused_ int repo_lock_list(struct repo *r, lock_fn *fn, void *arg, struct err *e);
/* Removes stale locks and those that cannot be read, or with `all` every lock but our own; *n
 * counts them. */
_warn_unused_ int repo_lock_clear(struct repo *r, bool all, size_t *n, struct err *e);

/* ---- whole files: index, snapshots, locks (design.rst "Unpacked Data Format") ---- */
/* Names are "snapshots/<id>" and so on. Content is checked against the id, unsealed, decompressed.
 */
_warn_unused_ int repo_load_file(struct repo *r, const char *dir, const struct id *id,
                                 struct buf *out, struct err *e);
_warn_unused_ int repo_save_file(struct repo *r, const char *dir, const void *json, size_t len,
                                 struct id *out, struct err *e);
_warn_unused_ int repo_list_files(struct repo *r, const char *dir, struct id_list *out,
                                  struct err *e);
_warn_unused_ int repo_remove_file(struct repo *r, const char *dir, const struct id *id,
                                   struct err *e);
/* The store's name of a file: "data/ab/abcd..." for packs ("data"), else "<dir>/<id>". */
enum { REPO_NAME_MAX = 96 };
char *repo_file_name(const char *dir, const struct id *id, char out[REPO_NAME_MAX]);

/* ---- blobs ---- */
struct blob_place {
    struct id pack;
    uint32_t offset, length; /* sealed bytes in the pack */
    uint32_t plain_length;   /* bytes of plaintext */
    bool compressed;
};

/* Loads or refreshes the index: from the binary cache where it is current. A damaged index file
 * is ERR_CORRUPT naming it. */
_warn_unused_ int repo_load_index(struct repo *r, struct err *e);
bool repo_has_blob(struct repo *r, enum blob_type type, const struct id *id);
/* Where a blob lies; false if no index knows it. */
bool repo_find_blob(struct repo *r, enum blob_type type, const struct id *id,
                    struct blob_place *out);
/* Appends the plaintext to `out` after checking MAC, length and SHA-256. Tries other copies of the
 * blob when one is damaged or away. ERR_CORRUPT / ERR_NOT_FOUND name blob and pack. */
_warn_unused_ int repo_load_blob(struct repo *r, enum blob_type type, const struct id *id,
                                 struct buf *out, struct err *e);
/* Opens sealed bytes that the caller read itself (restore reads whole ranges): unseals in place,
 * decompresses into `out` (cleared first), checks length and SHA-256. */
_warn_unused_ int repo_open_blob(struct repo *r, const struct id *id,
                                 const struct blob_place *place, uint8_t *sealed, struct buf *out,
                                 struct err *e);

/* ---- writing blobs: known? -> compress -> seal -> pack -> store ---- */
struct writer; /* needs a lock and a loaded index; many threads may save at once; one at a time */

struct writer_stats {
    uint64_t blobs_new, blobs_known;
    uint64_t bytes_new;    /* plaintext of new blobs */
    uint64_t bytes_stored; /* of these, sealed and compressed */
    uint64_t packs,
        packs_resumed; /* resumed: uploaded by an interrupted run, taken from the journal */
    uint64_t bytes_resumed;
};

/* Also reads the journals that interrupted runs of this machine left in the cache directory, and
 * takes over the packs that they uploaded. */
_warn_unused_ int writer_new(struct repo *r, struct writer **out, struct err *e);
/* Hashes, and where the repository does not hold it yet, compresses, seals and packs it. Blocks
 * while too much waits for the store. `data` may be reused when it returns. `is_new` may be NULL.
 */
_warn_unused_ int writer_save(struct writer *w, enum blob_type type, const void *data, size_t len,
                              struct id *out, bool *is_new, struct err *e);
/* Uploads what is open, then the index: afterwards everything saved so far is durable and found. */
_warn_unused_ int writer_commit(struct writer *w, struct err *e);
void writer_get_stats(struct writer *w, struct writer_stats *out);
/* Without a commit before: what was uploaded stays for the next run to take over. */
void writer_free(struct writer *w);
void writer_freep(struct writer **w);

#endif
