/* salvor's own signing key: where it comes from, whom we trust, and the line in manifest.sig. */
#include "history/signing.h"
#include "base/file.h"
#include "base/mem.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

static const char prefix[] = "salvor-ed25519";
enum { KEY_TEXT_MOST = 4096 };

static void trim(const char **text, size_t *len)
{
    while (*len > 0 && isspace((unsigned char)**text))
        (*text)++, (*len)--;
    while (*len > 0 && isspace((unsigned char)(*text)[*len - 1]))
        (*len)--;
}

/* Exactly `want` bytes from base64. */
static bool decode(const char *text, size_t len, size_t want, void *out)
{
    struct err ignored;
    _cleanup_(buf_wipe_release) struct buf raw = BUF_INIT(KEY_TEXT_MOST);
    if (len > KEY_TEXT_MOST || base64_decode(text, len, &raw, &ignored) != 0 || raw.len != want)
        return false;
    memcpy(out, raw.data, want);
    return true;
}

/* `from` says where the text is from; the text itself is never shown. */
static int take_key(struct signing *s, const char *text, size_t len, const char *from,
                    struct err *e)
{
    trim(&text, &len);
    if (!decode(text, len, SIGN_SECRET, s->key.secret))
        return err_set(e, ERR_USAGE,
                       "%s holds no signing key: it should be the base64 text of 32 bytes, such as "
                       "\"openssl rand -base64 32\" prints",
                       from);
    int rc = sign_key_from_secret(&s->key, e);
    s->has_key = rc == 0;
    return rc;
}

/* ERR_NOT_FOUND when there is no such file. */
static int take_key_file(struct signing *s, const char *path, struct err *e)
{
    char text[KEY_TEXT_MOST];
    size_t got = 0;
    struct stat st;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0)
        return err_sys(e, errno, "cannot open the signing key %s", path);
    if (fstat(fd, &st) < 0)
        return err_sys(e, errno, "cannot look at the signing key %s", path);
    if (!S_ISREG(st.st_mode))
        return err_set(e, ERR_USAGE, "the signing key %s is not a file", path);
    if ((st.st_mode & 077) != 0)
        return err_set(e, ERR_REFUSED,
                       "the signing key %s may be used by others than its owner (mode %03o); run "
                       "\"chmod 600 %s\", or make a new key if somebody else may have read it",
                       path, (unsigned)(st.st_mode & 0777), path);
    int rc = fd_pread_all(fd, text, sizeof text, 0, &got, path, e);
    if (rc == 0)
        rc = take_key(s, text, got, path, e);
    mem_wipe(text, sizeof text);
    return rc;
}

/* Links it into place rather than renaming, so that of two processes that make one at the same time
 * the first wins and the second uses its key. */
static int make_key_file(const char *path, struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf text = BUF_INIT(KEY_TEXT_MOST);
    _cleanup_free_ char *dir = path_dir(path);
    _cleanup_free_ char *fresh = str_fmt("%s.new-%ld", path, (long)getpid());
    struct sign_key key;
    int rc = dir_make_all(dir, 0700, e);
    if (rc == 0)
        rc = sign_key_random(&key, e);
    if (rc == 0)
        rc = buf_reserve(&text, 64, e); /* at once: growing would leave copies behind */
    if (rc == 0) {
        base64_encode(key.secret, sizeof key.secret, &text);
        buf_adds(&text, "\n");
        rc = file_write_atomic(fresh, text.data, text.len, 0600, e);
    }
    mem_wipe(&key, sizeof key);
    if (rc != 0)
        return err_prefix(e, "cannot make the signing key %s", path);
    if (link(fresh, path) != 0 && errno != EEXIST)
        rc = err_sys(e, errno, "cannot make the signing key %s", path);
    (void)unlink(fresh);
    return rc != 0 ? rc : dir_sync(dir, e);
}

/* The first of: what was given, the environment's text, its file, our own file. */
static int find_key(struct signing *s, const char *given, const char *path, bool make,
                    struct err *e)
{
    const char *text = getenv("SALVOR_SIGNING_KEY"), *file = getenv("SALVOR_SIGNING_KEY_FILE");
    if (given != NULL)
        return take_key(s, given, strlen(given), "the configuration's signing.key", e);
    if (text != NULL && *text != '\0')
        return take_key(s, text, strlen(text), "$SALVOR_SIGNING_KEY", e);
    if (file != NULL && *file != '\0') {
        int rc = take_key_file(s, file, e);
        return rc != 0 ? err_prefix(e, "$SALVOR_SIGNING_KEY_FILE") : 0;
    }
    int rc = path != NULL ? take_key_file(s, path, e)
                          : err_set(e, ERR_NOT_FOUND, "there is no directory for a signing key");
    if (rc != ERR_NOT_FOUND)
        return rc;
    if (!make)
        return 0; /* checking needs none */
    if (path == NULL)
        return rc;
    rc = make_key_file(path, e);
    return rc != 0 ? rc : take_key_file(s, path, e);
}

int signing_load(struct signing *s, const char *given, const char *path, bool make, struct err *e)
{
    *s = (struct signing){0};
    int rc = find_key(s, given, path, make, e);
    if (rc != 0) {
        signing_release(s);
        return rc;
    }
    if (s->has_key) {
        _cleanup_(buf_release) struct buf text = BUF_INIT(KEY_TEXT_MOST);
        base64_encode(s->key.public, SIGN_PUBLIC, &text);
        signing_trust(s, buf_str(&text));
    }
    return 0;
}

void signing_trust(struct signing *s, const char *public_base64)
{
    size_t len = strlen(public_base64);
    trim(&public_base64, &len);
    _cleanup_free_ char *text = str_ndup(public_base64, len);
    if (!str_list_has(&s->trusted, text))
        str_list_add(&s->trusted, text);
}

void signing_release(struct signing *s)
{
    mem_wipe(&s->key, sizeof s->key);
    str_list_release(&s->trusted);
    *s = (struct signing){0};
}

int signing_sign(const struct signing *s, const void *data, size_t len, struct buf *out,
                 struct err *e)
{
    uint8_t signature[SIGN_SIZE];
    if (!s->has_key)
        return err_set(e, ERR_USAGE, "there is no signing key to sign with");
    int rc = sign(&s->key, data, len, signature, e);
    if (rc == 0)
        rc = buf_reserve(out, 256, e);
    if (rc != 0)
        return rc;
    buf_addf(out, "%s ", prefix);
    base64_encode(s->key.public, SIGN_PUBLIC, out);
    buf_adds(out, " ");
    base64_encode(signature, SIGN_SIZE, out);
    buf_adds(out, "\n");
    return 0;
}

/* Takes the word before the next blank off the text; false when there is none. */
static bool next_word(const char **text, size_t *len, const char **word, size_t *n)
{
    trim(text, len);
    *word = *text;
    *n = 0;
    while (*n < *len && !isspace((unsigned char)(*text)[*n]))
        (*n)++;
    *text += *n;
    *len -= *n;
    return *n > 0;
}

int signing_check(const struct signing *s, const void *data, size_t len, const char *sig,
                  size_t sig_len, struct err *e)
{
    const char *kind, *key, *text;
    size_t kind_len, key_len, text_len;
    uint8_t public[SIGN_PUBLIC], signature[SIGN_SIZE];
    bool whole = next_word(&sig, &sig_len, &kind, &kind_len) &&
                 next_word(&sig, &sig_len, &key, &key_len) &&
                 next_word(&sig, &sig_len, &text, &text_len);
    trim(&sig, &sig_len);
    if (!whole || sig_len > 0 || kind_len != strlen(prefix) ||
        memcmp(kind, prefix, kind_len) != 0 || !decode(key, key_len, SIGN_PUBLIC, public) ||
        !decode(text, text_len, SIGN_SIZE, signature))
        return err_set(e, ERR_CORRUPT, "the signature cannot be read: it is altered or cut off");
    if (!sign_verify(public, data, len, signature))
        return err_set(e, ERR_CORRUPT,
                       "the signature does not fit: the data or the signature was altered");

    _cleanup_(buf_release) struct buf canonical = BUF_INIT(KEY_TEXT_MOST);
    base64_encode(public, SIGN_PUBLIC, &canonical);
    if (str_list_has(&s->trusted, buf_str(&canonical)))
        return 0;
    return err_set(e, ERR_REFUSED,
                   "it is signed by the key %s, which is not trusted here; if that is one of "
                   "yours, add it to the configuration: signing: { trust: [%s] }",
                   buf_str(&canonical), buf_str(&canonical));
}
