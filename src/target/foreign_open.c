/* What a foreign archive is, and what is in it: found out before anything is restored. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "target/foreign_int.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

const struct foreign_facts *foreign_facts(const struct foreign *a)
{
    return &a->facts;
}

const char *foreign_format_name(enum foreign_format f)
{
    static const char *const names[] = {[FOREIGN_SQL] = "sql",
                                        [FOREIGN_CUSTOM] = "custom",
                                        [FOREIGN_TAR] = "tar",
                                        [FOREIGN_DIRECTORY] = "directory"};
    return names[f];
}

void foreign_facts_release(struct foreign_facts *f)
{
    for (size_t i = 0; i < f->nextension; i++) {
        free(f->extension[i].name);
        free(f->extension[i].version);
    }
    free(f->extension);
    str_list_release(&f->roles);
    str_list_release(&f->databases);
    free(f->layers);
    free(f->server);
    free(f->program);
    free(f->database);
    free(f->encoding);
    *f = (struct foreign_facts){0};
}

void foreign_free(struct foreign *a)
{
    if (a == NULL)
        return;
    struct err e = ERR_INIT;
    if (a->scratch != NULL && dir_remove_all(a->scratch, &e) < 0)
        log_warning("%s", e.msg);
    foreign_facts_release(&a->facts);
    free(a->path);
    free(a->plain);
    free(a->scratch);
    free(a->bindir);
    free(a->gpg_passphrase_file);
    free(a->scratch_base);
    free(a->pg_restore);
    free(a);
}

void foreign_freep(struct foreign **a)
{
    foreign_free(*a);
    *a = NULL;
}

/* ---- what it is ---- */

static int read_head(const struct foreign *a, uint8_t *head, size_t *len, struct err *e)
{
    _cleanup_(stream_closep) struct stream *s = NULL;
    int rc = foreign_stream(a, &s, e);
    return rc < 0 ? rc : stream_read_full(s, head, FOREIGN_HEAD, len, e);
}

static void name_layers(struct foreign *a)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    for (size_t i = 0; i < a->nlayers; i++)
        buf_addf(&text, "%s%s", i > 0 ? ", " : "", a->layer[i]->name);
    a->facts.layers = str_dup(buf_str(&text));
}

static int peel(struct foreign *a, uint8_t *head, size_t *len, struct err *e)
{
    for (;;) {
        int rc = read_head(a, head, len, e);
        if (rc < 0)
            return rc;
        const struct foreign_layer *layer =
            foreign_layer_find(head, *len, a->nlayers == 0 ? a->path : "");
        if (layer == NULL)
            break;
        if (a->nlayers == LAYERS_MOST)
            return err_set(e, ERR_UNSUPPORTED,
                           "%s: more than %d compressions or encryptions in "
                           "each other",
                           a->path, (int)LAYERS_MOST);
        a->layer[a->nlayers++] = layer;
    }
    name_layers(a);
    return 0;
}

static bool is_tar(const uint8_t *head, size_t len)
{
    return len >= 512 && memcmp(head + 257, "ustar", 5) == 0;
}

/* What else it may be, for the message; NULL if it may be SQL. */
static const char *not_sql(const uint8_t *head, size_t len)
{
    static const struct {
        const char *magic;
        size_t len;
        const char *what;
    } others[] = {
        {"SQLite format 3", 16, "a database of SQLite"},
        {"PK\x03\x04", 4, "a zip archive; unpack it first"},
        {"7z\xbc\xaf\x27\x1c", 6, "a 7z archive; unpack it first"},
        {"REDIS", 5, "a dump of Redis"},
        {"\xff\xfe", 2, "text in UTF-16; convert it to UTF-8 first (iconv)"},
        {"\xfe\xff", 2, "text in UTF-16; convert it to UTF-8 first (iconv)"},
        {"-----BEGIN PGP", 14, "signed or a key, but not encrypted for anybody"},
        {"<!DOCTYPE", 9, "a web page: perhaps a download that failed"},
        {"<html", 5, "a web page: perhaps a download that failed"},
        {"<?xml", 5, "XML: perhaps a download that failed"},
    };
    for (size_t i = 0; i < array_len(others); i++)
        if (len >= others[i].len && memcmp(head, others[i].magic, others[i].len) == 0)
            return others[i].what;
    for (size_t i = 0; i < len; i++)
        if (head[i] < 32 && strchr("\t\n\r\f\v\b\x1b", head[i]) == NULL)
            return "something else, of bytes that are no text";
    return NULL;
}

/* ---- unpacking ---- */

static int make_scratch(struct foreign *a, struct err *e)
{
    _cleanup_free_ char *path = str_fmt("%s/archive-XXXXXX", a->scratch_base);
    if (mkdtemp(path) == NULL)
        return err_sys(e, errno, "cannot make a directory to unpack %s (%s)", a->path, path);
    a->scratch = take(path);
    return 0;
}

/* pg_restore wants a file that it can move about in. */
static int spool(struct foreign *a, struct err *e)
{
    int rc = make_scratch(a, e);
    _cleanup_(stream_closep) struct stream *s = NULL;
    if (rc == 0)
        rc = foreign_stream(a, &s, e);
    if (rc < 0)
        return rc;
    a->plain = path_join(a->scratch, "archive");
    _cleanup_close_ int fd = open(a->plain, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_sys(e, errno, "cannot make %s", a->plain);
    enum { PIECE = 1 << 18 };
    _cleanup_free_ char *data = mem_alloc(PIECE);
    size_t got = 1;
    while (rc == 0 && got > 0) {
        rc = cancel_check(e);
        if (rc == 0)
            rc = stream_read(s, data, PIECE, &got, e);
        if (rc == 0)
            rc = fd_write_all(fd, data, got, a->plain, e);
    }
    return rc;
}

/* The directory with toc.dat in it, at most `deep` below `dir`; NULL. */
static char *find_toc(const char *dir, int deep)
{
    _cleanup_free_ char *toc = path_join(dir, "toc.dat");
    struct stat st;
    if (lstat(toc, &st) == 0 && S_ISREG(st.st_mode))
        return str_dup(dir);
    char *found = NULL;
    DIR *d = deep > 0 ? opendir(dir) : NULL;
    const struct dirent *entry;
    while (d != NULL && found == NULL && (entry = readdir(d)) != NULL) {
        if (entry->d_name[0] == '.')
            continue;
        _cleanup_free_ char *below = path_join(dir, entry->d_name);
        if (lstat(below, &st) == 0 && S_ISDIR(st.st_mode))
            found = find_toc(below, deep - 1);
    }
    if (d != NULL)
        (void)closedir(d);
    return found;
}

/* A directory dump that somebody packed with tar. */
static int untar(struct foreign *a, struct err *e)
{
    int rc = make_scratch(a, e);
    _cleanup_(stream_closep) struct stream *s = NULL;
    if (rc == 0)
        rc = foreign_stream(a, &s, e);
    if (rc < 0)
        return rc;
    const char *argv[] = {"tar", "-x", "-C", a->scratch, "--no-same-owner", "--no-same-permissions",
                          NULL};
    struct proc_options o = {.argv = argv, .in = PROC_IN_FEED, .out = PROC_OUT_NULL};
    _cleanup_(proc_freep) struct proc *tar = NULL;
    rc = proc_start(&o, &tar, e);
    enum { PIECE = 1 << 18 };
    _cleanup_free_ char *data = mem_alloc(PIECE);
    size_t got = 1;
    while (rc == 0 && got > 0) {
        rc = stream_read(s, data, PIECE, &got, e);
        if (rc == 0)
            rc = proc_feed(tar, data, got, e);
    }
    if (rc == 0) {
        proc_feed_end(tar);
        rc = proc_wait(tar, -1, e);
    }
    if (rc == ERR_IO)
        return err_prefix(e, "%s cannot be unpacked", a->path);
    if (rc < 0)
        return rc;
    a->plain = find_toc(a->scratch, 3);
    if (a->plain == NULL)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is a tar archive, but not of a dump: there is no toc.dat in it",
                       a->path);
    return 0;
}

/* ---- what is in it: SQL ---- */

/* What a damaged packed file unpacks to may look like anything, and its checksum comes last: that
 * it is damaged counts before whatever `e` complains of. */
static int complain(struct stream *s, struct err *e)
{
    enum { PIECE = 1 << 18 };
    _cleanup_free_ char *data = mem_alloc(PIECE);
    struct err why = ERR_INIT;
    size_t got = 1;
    int rc = 0;
    while (rc == 0 && got > 0) {
        rc = cancel_check(&why);
        if (rc == 0)
            rc = stream_read(s, data, PIECE, &got, &why);
    }
    if (rc < 0)
        *e = why;
    return e->code;
}

static int scan_sql(struct foreign *a, struct stream *s, struct err *e)
{
    _cleanup_(sql_scan_release) struct sql_scan scan;
    sql_scan_init(&scan, &a->facts);
    _cleanup_(sql_lines_release) struct sql_lines lines = {.from = s};
    struct sql_piece piece;
    bool got = true;
    for (;;) {
        int rc = cancel_check(e);
        if (rc == 0)
            rc = sql_lines_next(&lines, &piece, &got, e);
        if (rc < 0)
            return rc;
        if (!got)
            break;
        enum sql_line what = sql_scan_piece(&scan, &piece);
        if (what == SQL_FORBIDDEN)
            (void)err_set(e, ERR_REFUSED,
                          "%s, line %llu: the psql command \\%s is none that a dump needs, and may "
                          "run programs; take it out if you trust the file",
                          a->path, (unsigned long long)scan.lines, scan.command);
        else if (scan.other != NULL)
            (void)err_set(e, ERR_UNSUPPORTED, "%s is %s, not of PostgreSQL", a->path, scan.other);
        if (what == SQL_FORBIDDEN || scan.other != NULL)
            return complain(s, e);
    }
    if (!sql_scan_complete(&scan))
        return err_set(e, ERR_CORRUPT,
                       "%s is cut off after %llu lines: it says that it is a dump, and its end is "
                       "missing",
                       a->path, (unsigned long long)scan.lines);
    struct str_list wanted = {0};
    for (size_t i = 0; i < a->facts.roles.n; i++)
        if (!str_list_has(&scan.created, a->facts.roles.s[i]))
            str_list_add(&wanted, a->facts.roles.s[i]);
    str_list_release(&a->facts.roles);
    a->facts.roles = wanted;
    return 0;
}

static int look_sql(struct foreign *a, struct err *e)
{
    struct stream *s = NULL;
    int rc = foreign_stream(a, &s, e);
    return rc < 0 ? rc : scan_sql(a, s, e);
}

/* ---- the same: what pg_restore reads ---- */

/* The first bytes of a custom archive, and of the toc.dat of the others, tell the format's version,
 * and so the oldest pg_restore that reads it. */
static int needed_major(struct foreign *a, int *major, struct err *e)
{
    struct stat st;
    _cleanup_free_ char *toc = NULL;
    if (stat(a->plain, &st) == 0 && S_ISDIR(st.st_mode))
        toc = path_join(a->plain, "toc.dat");
    const char *path = toc != NULL ? toc : a->plain;
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t head[1024];
    size_t len = 0;
    if (fd < 0)
        return err_sys(e, errno, "cannot open %s", path);
    int rc = fd_pread_all(fd, head, sizeof head, 0, &len, path, e);
    if (rc < 0)
        return rc;
    const uint8_t *p = a->facts.format == FOREIGN_TAR ? head + 512 : head;
    if (len < (size_t)(p - head) + 8 || memcmp(p, "PGDMP", 5) != 0)
        return err_set(e, ERR_CORRUPT, "%s is damaged: its table of contents does not begin as one",
                       a->path);
    int minor = p[5] == 1 ? p[6] : 255;
    *major = minor <= 14 ? 10 : minor == 15 ? 16 : minor == 16 ? 17 : 99;
    rc = *major == 99 ? ERR_NOT_FOUND
                      : pg_program("pg_restore", *major, false, a->bindir, &a->pg_restore, e);
    if (rc == ERR_NOT_FOUND) {
        _cleanup_free_ char *why = str_dup(*major == 99 ? "no pg_restore known" : e->msg);
        return err_set(
            e, ERR_UNSUPPORTED,
            "%s was written by a newer pg_dump (archive version %d.%d, of PostgreSQL %s) "
            "than can be read here: %s",
            a->path, p[5], p[6],
            *major == 99   ? "18 or later"
            : *major == 17 ? "17"
                           : "16",
            why);
    }
    return rc;
}

/* "; Dumped from database version: 15.18": the value; NULL if it is another line. */
static char *header_value(const char *line, const char *key)
{
    const char *p = strstr(line, key);
    if (line[0] != ';' || p == NULL)
        return NULL;
    p += strlen(key);
    p += strspn(p, " ");
    return str_ndup(p, strcspn(p, "\r\n"));
}

static void look_header(struct foreign_facts *f, const char *text)
{
    for (const char *p = text; *p == ';'; p += strcspn(p, "\n"), p += *p == '\n') {
        _cleanup_free_ char *line = str_ndup(p, strcspn(p, "\n"));
        char *value;
        if (f->database == NULL && (value = header_value(line, " dbname:")) != NULL)
            f->database = value;
        else if (f->server == NULL &&
                 (value = header_value(line, "Dumped from database version:")) != NULL) {
            value[strcspn(value, " ")] = '\0';
            f->server = value;
            f->server_major = (int)strtol(value, NULL, 10);
        } else if (f->program == NULL &&
                   (value = header_value(line, "Dumped by pg_dump version:")) != NULL) {
            value[strcspn(value, " ")] = '\0';
            f->program = value;
        }
    }
}

int foreign_damaged(const struct foreign *a, const char *said, struct err *e)
{
    static const char *const signs[] = {
        "could not read from input file",
        "unexpected end of file",
        "end of file",
        "could not uncompress",
        "corrupt",
        "did not find magic string",
        "found unexpected block",
        "could not open input file",
        "could not find",
        "error during file seek",
        "could not decompress",
        "is too short",
        "input file is too short",
    };
    if (strstr(said, "unsupported version") != NULL)
        return err_set(e, ERR_UNSUPPORTED, "%s was written by a newer pg_dump: %s", a->path, said);
    for (size_t i = 0; i < array_len(signs); i++)
        if (strstr(said, signs[i]) != NULL)
            return err_set(e, ERR_CORRUPT, "%s is damaged or cut off: pg_restore says: %s", a->path,
                           said);
    return 0;
}

static int run_pg_restore(const struct foreign *a, const char *what, struct proc **p,
                          struct stream **out, struct err *e)
{
    const char *list[] = {a->pg_restore, what, a->plain, NULL};
    const char *schema[] = {a->pg_restore, what, "--file=-", a->plain, NULL};
    struct proc_options o = {.argv = strcmp(what, "--list") == 0 ? list : schema,
                             .out = PROC_OUT_STREAM};
    int rc = proc_start(&o, p, e);
    if (rc == 0)
        *out = proc_stream(*p, false);
    return rc;
}

static int pg_restore_failed(const struct foreign *a, struct proc *p, int rc, struct err *e)
{
    if (rc != ERR_IO)
        return rc;
    _cleanup_free_ char *said = proc_errors(p);
    struct err known = ERR_INIT;
    if (foreign_damaged(a, said, &known) < 0)
        *e = known;
    return e->code;
}

static int look_list(struct foreign *a, struct err *e)
{
    _cleanup_(proc_freep) struct proc *p = NULL;
    _cleanup_(stream_closep) struct stream *s = NULL;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_JSON);
    int rc = run_pg_restore(a, "--list", &p, &s, e);
    size_t got = 1;
    while (rc == 0 && got > 0) {
        rc = buf_reserve(&text, 65536, e);
        if (rc == 0)
            rc = stream_read(s, text.data + text.len, 65536, &got, e);
        text.len += rc == 0 ? got : 0;
    }
    if (rc < 0)
        return p != NULL ? pg_restore_failed(a, p, rc, e) : rc;
    if (buf_append(&text, "", 0, e) == 0)
        look_header(&a->facts, buf_str(&text));
    return 0;
}

/* Roles and extensions, from the SQL of everything but the data. */
static int look_schema(struct foreign *a, struct err *e)
{
    _cleanup_(proc_freep) struct proc *p = NULL;
    struct stream *s = NULL;
    int rc = run_pg_restore(a, "--schema-only", &p, &s, e);
    if (rc == 0)
        rc = scan_sql(a, s, e);
    return rc < 0 && p != NULL ? pg_restore_failed(a, p, rc, e) : rc;
}

static int look_dump(struct foreign *a, struct err *e)
{
    int major = 0;
    int rc = needed_major(a, &major, e);
    if (rc == 0)
        rc = look_list(a, e);
    return rc < 0 ? rc : look_schema(a, e);
}

/* ---- opening ---- */

static uint64_t directory_bytes(const char *dir)
{
    uint64_t bytes = 0;
    DIR *d = opendir(dir);
    const struct dirent *entry;
    struct stat st;
    while (d != NULL && (entry = readdir(d)) != NULL)
        if (fstatat(dirfd(d), entry->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode))
            bytes += (uint64_t)st.st_size;
    if (d != NULL)
        (void)closedir(d);
    return bytes;
}

static int open_directory(struct foreign *a, struct err *e)
{
    _cleanup_free_ char *toc = path_join(a->path, "toc.dat");
    if (access(toc, F_OK) < 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s is a directory, but no dump: there is no toc.dat in it", a->path);
    a->facts.format = FOREIGN_DIRECTORY;
    a->facts.layers = str_dup("");
    a->facts.bytes = directory_bytes(a->path);
    a->plain = str_dup(a->path);
    return look_dump(a, e);
}

static int open_file(struct foreign *a, struct err *e)
{
    uint8_t head[FOREIGN_HEAD];
    size_t len = 0;
    int rc = peel(a, head, &len, e);
    if (rc < 0)
        return rc;
    if (len == 0)
        return err_set(e, ERR_CORRUPT, "%s is empty%s%s%s", a->path, a->nlayers > 0 ? " (" : "",
                       a->facts.layers, a->nlayers > 0 ? ")" : "");
    bool custom = len >= 5 && memcmp(head, "PGDMP", 5) == 0;
    bool tar = is_tar(head, len), toc = tar && strcmp((const char *)head, "toc.dat") == 0;
    a->facts.format = custom ? FOREIGN_CUSTOM
                      : toc  ? FOREIGN_TAR
                      : tar  ? FOREIGN_DIRECTORY
                             : FOREIGN_SQL;
    if (!custom && !tar) {
        const char *what = not_sql(head, len);
        if (what != NULL)
            return err_set(e, ERR_UNSUPPORTED, "%s is no archive of PostgreSQL: it is %s", a->path,
                           what);
        return look_sql(a, e);
    }
    if (tar && !toc)
        rc = untar(a, e);
    else if (a->nlayers > 0)
        rc = spool(a, e);
    else
        a->plain = str_dup(a->path);
    return rc < 0 ? rc : look_dump(a, e);
}

int foreign_open(const char *path, const struct foreign_options *o, struct foreign **out,
                 struct err *e)
{
    struct stat st;
    if (stat(path, &st) < 0)
        return err_sys(e, errno, "cannot open %s", path);
    if (!S_ISDIR(st.st_mode) && !S_ISREG(st.st_mode))
        return err_set(e, ERR_USAGE, "%s is neither a file nor a directory", path);
    _cleanup_(foreign_freep) struct foreign *a = mem_zero(sizeof *a);
    a->path = str_dup(path);
    a->bindir = str_dup(o->bindir);
    a->gpg_passphrase_file = str_dup(o->gpg_passphrase_file);
    a->scratch_base = str_dup(o->scratch);
    a->facts.bytes = (uint64_t)st.st_size;
    int rc = S_ISDIR(st.st_mode) ? open_directory(a, e) : open_file(a, e);
    if (rc == 0)
        *out = take(a);
    return rc;
}
