/* What is around an archive: compression and encryption, undone by the programs that made them,
 * one behind the other. */
#include "base/log.h"
#include "base/mem.h"
#include "target/foreign_int.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct foreign_layer gzip = {"gzip", WORDS("gzip", "-dc"), "gzip"},
                                  zstd = {"zstd", WORDS("zstd", "-dcq"), "zstd"},
                                  xz = {"xz", WORDS("xz", "-dc"), "xz-utils"},
                                  bzip2 = {"bzip2", WORDS("bzip2", "-dc"), "bzip2"},
                                  lz4 = {"lz4", WORDS("lz4", "-dc"), "lz4"},
                                  gpg = {"gpg", WORDS("gpg"), "gnupg"};

static bool begins(const uint8_t *head, size_t len, const char *magic, size_t n)
{
    return len >= n && memcmp(head, magic, n) == 0;
}

/* The first packet of an encrypted message: a session key for a public key or a passphrase. */
static bool is_openpgp(const uint8_t *head, size_t len, const char *name)
{
    static const char armour[] = "-----BEGIN PGP MESSAGE-----";
    if (begins(head, len, armour, sizeof armour - 1))
        return true;
    static const uint8_t packets[] = {0x84, 0x85, 0x86, 0x8c, 0x8d, 0x8e, 0xc1, 0xc3};
    bool named = str_ends(name, ".gpg") || str_ends(name, ".pgp") || str_ends(name, ".asc");
    return len > 0 &&
           (memchr(packets, head[0], sizeof packets) != NULL || (named && (head[0] & 0x80) != 0));
}

const struct foreign_layer *foreign_layer_find(const uint8_t *head, size_t len, const char *name)
{
    static const struct {
        const char *magic;
        size_t len;
        const struct foreign_layer *layer;
    } magics[] = {
        {"\x1f\x8b", 2, &gzip},
        {"\x28\xb5\x2f\xfd", 4, &zstd},
        {"\xfd"
         "7zXZ\0",
         6, &xz},
        {"BZh", 3, &bzip2},
        {"\x04\x22\x4d\x18", 4, &lz4},
    };
    for (size_t i = 0; i < array_len(magics); i++)
        if (begins(head, len, magics[i].magic, magics[i].len))
            return magics[i].layer;
    return is_openpgp(head, len, name) ? &gpg : NULL;
}

/* ---- the chain ---- */

struct chain {
    struct stream stream;
    const struct foreign *archive;
    struct proc *proc[LAYERS_MOST];
    struct stream *from; /* of the last program, or of the file */
    bool ended;
};

static const char *has(const char *text, const char *word)
{
    return strstr(text, word);
}

/* Without gpg's lines for programs, in one line. */
static char *said(const char *text)
{
    _cleanup_(buf_release) struct buf out = BUF_INIT(BUF_TEXT);
    while (*text != '\0') {
        size_t len = strcspn(text, "\n");
        if (len > 0 && !str_starts(text, "[GNUPG:]")) {
            buf_adds(&out, out.len > 0 ? "; " : "");
            text_printable(text, len, &out);
        }
        text += len + (text[len] == '\n');
    }
    return buf_take(&out);
}

static int gpg_failed(const struct foreign *a, const char *text, const char *words, struct err *e)
{
    if (has(text, "Bad session key") || has(text, "Bad passphrase"))
        return err_set(e, ERR_PASSPHRASE, "%s: the passphrase does not open it (gpg)", a->path);
    if (has(text, "No secret key"))
        return err_set(e, ERR_PASSPHRASE,
                       "%s is encrypted for a key that this user's gpg does not have (%s); import "
                       "the secret key first",
                       a->path, words);
    if (has(text, "No pinentry") || has(text, "key decryption failed: Inappropriate ioctl") ||
        has(text, "cancelled") || has(text, "No passphrase given"))
        return err_set(e, ERR_PASSPHRASE,
                       "%s: gpg could not ask for the passphrase (%s); let its agent know it, or "
                       "give --passphrase-file",
                       a->path, words);
    return err_set(e, ERR_CORRUPT, "%s is damaged or cut off: gpg says: %s", a->path, words);
}

/* Why a program failed, for people; 0 where its failure is none. */
static int explain(const struct chain *c, size_t i, struct err *e)
{
    const struct foreign_layer *layer = c->archive->layer[i];
    _cleanup_free_ char *text = proc_errors(c->proc[i]);
    _cleanup_free_ char *words = said(text);
    if (layer == &gpg && has(text, "DECRYPTION_OKAY") && !has(text, "write error")) {
        log_notice("%s: %s", c->archive->path, words); /* a signature by a key that is not here */
        return 0;
    }
    if (has(text, "decompression OK"))
        return 0; /* something follows the data */
    if (layer == &gpg)
        return gpg_failed(c->archive, text, words, e);
    return err_set(e, ERR_CORRUPT, "%s is damaged or cut off: %s says: %s", c->archive->path,
                   layer->name, words);
}

/* At the end: the first program that failed by itself, not because the next one had gone. */
static int chain_end(struct chain *c, struct err *e)
{
    struct err first = ERR_INIT;
    for (size_t i = 0; i < c->archive->nlayers; i++) {
        struct err why = ERR_INIT, known = ERR_INIT;
        int rc = proc_wait(c->proc[i], 10000, &why);
        if (rc == 0)
            continue;
        if (rc == ERR_CANCELLED || proc_status(c->proc[i]) < 0) {
            *e = why;
            return rc;
        }
        _cleanup_free_ char *text = proc_errors(c->proc[i]);
        bool pushed = proc_status(c->proc[i]) == 141 || has(text, "roken pipe");
        rc = explain(c, i, &known);
        if (rc < 0 && !pushed) {
            *e = known;
            return rc;
        }
        if (rc < 0 && first.code == 0)
            first = known;
    }
    if (first.code != 0)
        *e = first;
    return first.code;
}

static int chain_read(struct stream *s, void *data, size_t len, size_t *got, struct err *e)
{
    struct chain *c = (struct chain *)s;
    struct err why = ERR_INIT;
    *got = 0;
    if (c->ended)
        return 0;
    int rc = stream_read(c->from, data, len, got, &why);
    if (rc == 0 && *got > 0)
        return 0;
    if (c->archive->nlayers > 0 && rc != ERR_CANCELLED) {
        c->ended = true;
        return chain_end(c, e);
    }
    if (rc < 0)
        *e = why;
    return rc;
}

static void chain_close(struct stream *s)
{
    struct chain *c = (struct chain *)s;
    stream_close(c->from);
    for (size_t i = 0; i < LAYERS_MOST; i++)
        proc_free(c->proc[i]);
    free(c);
}

static int start_layer(struct chain *c, size_t i, int in, int out, struct err *e)
{
    const struct foreign *a = c->archive;
    const char *words[16];
    size_t n = 0;
    for (const char *const *w = a->layer[i]->argv; *w != NULL; w++)
        words[n++] = *w;
    if (a->layer[i] == &gpg) {
        words[n++] = "--batch";
        words[n++] = "--no-tty";
        words[n++] = "--status-fd=2";
        if (a->gpg_passphrase_file != NULL) {
            words[n++] = "--pinentry-mode=loopback";
            words[n++] = "--passphrase-file";
            words[n++] = a->gpg_passphrase_file;
        }
        words[n++] = "--decrypt";
    }
    words[n] = NULL;
    struct proc_options o = {.argv = words,
                             .in = PROC_IN_FD,
                             .in_fd = in,
                             .out = out < 0 ? PROC_OUT_STREAM : PROC_OUT_FD,
                             .out_fd = out};
    int rc = proc_start(&o, &c->proc[i], e);
    if (rc == ERR_NOT_FOUND)
        return err_set(e, ERR_NOT_FOUND,
                       "%s: opening it needs the program %s, which is not here; "
                       "install it (on Debian: %s)",
                       a->path, a->layer[i]->name, a->layer[i]->package);
    return rc;
}

int foreign_stream(const struct foreign *a, struct stream **out, struct err *e)
{
    _cleanup_close_ int in = open(a->path, O_RDONLY | O_CLOEXEC);
    if (in < 0)
        return err_sys(e, errno, "cannot open %s", a->path);
    struct chain *c = mem_zero(sizeof *c);
    c->stream = (struct stream){chain_read, chain_close};
    c->archive = a;
    _cleanup_(stream_closep) struct stream *s = &c->stream;
    for (size_t i = 0; i < a->nlayers; i++) {
        int fds[2] = {-1, -1};
        bool last = i + 1 == a->nlayers;
        if (!last && pipe2(fds, O_CLOEXEC) < 0)
            return err_sys(e, errno, "cannot make a pipe");
        int rc = start_layer(c, i, in, fds[1], e);
        (void)close(in);
        in = fds[0];
        if (fds[1] >= 0)
            (void)close(fds[1]);
        if (rc < 0)
            return rc;
        if (last)
            c->from = proc_stream(c->proc[i], false);
    }
    if (a->nlayers == 0)
        c->from = stream_from_fd(take_fd(&in), a->path);
    *out = take(s);
    return 0;
}
