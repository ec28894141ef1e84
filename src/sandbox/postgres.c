/* A throwaway PostgreSQL cluster: initdb, a keeper, the server, and its end. */
#include "base/file.h"
#include "base/host.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "sandbox/sandbox_int.h"

#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>

enum {
    INITDB_MS = 120000,
    START_MS = 60000,
    STOP_MS = 60000,  /* for the keeper to stop the server and delete its files */
    ROOM_LEAST = 128, /* MiB: an empty cluster and its first log */
};

struct sandbox {
    struct sandbox_user user;
    struct sandbox_place place;
    char *bindir, *url;
    int major;
    pid_t keeper;              /* 0: none */
    int keeper_in, keeper_out; /* its standard input: closing it ends the server; its output. -1 */
    pid_t server;
    uint64_t server_start;
    struct pg_server where;
};

/* Holds the server as its child, so that the number stays the server's. A line on its standard
 * input restarts the server; its end, which the kernel brings about however salvor ends, stops it
 * and deletes all. $1: the programs' directory, $2: ours, $3: the socket's. */
static const char keeper_script[] =
    "while :; do\n"
    "    \"$1/postgres\" -D \"$2/data\" -c config_file=\"$2/settings\" </dev/null >\"$2/log\" 2>&1 &\n"
    "    server=$!\n"
    "    echo $server\n"
    "    read -r _ || break\n"
    "    kill -INT $server\n"
    "    wait $server\n"
    "done\n"
    "kill -QUIT $server\n"
    "wait $server\n"
    "cd /\n"
    "exec rm -rf \"$2\" \"$3\"\n";

/* The same without a server. */
static const char directory_script[] = "read -r _\n"
                                       "cd /\n"
                                       "exec rm -rf \"$2\"\n";

static char *in_place(const struct sandbox *s, const char *name)
{
    return path_join(s->place.dir, name);
}

char *sandbox_log_end(const struct sandbox *s)
{
    enum { END = 1200 };
    _cleanup_free_ char *path = in_place(s, "log");
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    char text[END + 1];
    struct stat st;
    size_t got = 0;
    struct err ignored = ERR_INIT;
    if (fd < 0 || fstat(fd, &st) < 0 ||
        fd_pread_all(fd, text, END, st.st_size > END ? st.st_size - END : 0, &got, path, &ignored) <
            0)
        got = 0;
    while (got > 0 && text[got - 1] == '\n')
        got--;
    text[got] = '\0';
    _cleanup_(buf_release) struct buf safe = BUF_INIT(BUF_TEXT);
    for (const char *p = text; *p != '\0';) {
        size_t len = strcspn(p, "\n");
        text_printable(p, len, &safe);
        p += len;
        if (*p == '\n') {
            buf_adds(&safe, " / ");
            p++;
        }
    }
    return str_dup(buf_str(&safe));
}

/* ---- making it ---- */

/* Where the programs are: bindir, or that of the initdb that fits. */
static int find_programs(struct sandbox *s, const struct sandbox_postgres *o, struct err *e)
{
    _cleanup_free_ char *initdb = NULL, *postgres = NULL;
    int rc = pg_program("initdb", o->major, o->major > 0 && !o->or_newer, o->bindir, &initdb, e);
    if (rc == 0) {
        s->bindir = path_dir(initdb);
        postgres = path_join(s->bindir, "postgres");
        if (access(postgres, X_OK) < 0)
            rc = err_sys(e, errno, "cannot run %s", postgres);
    }
    return rc;
}

static int choose_base(const struct sandbox *s, const char *asked, const char **base, struct err *e)
{
    const char *places[] = {getenv("TMPDIR"), "/var/tmp", "/tmp"};
    if (asked != NULL) {
        *base = asked;
        if (sandbox_user_reaches(&s->user, asked))
            return 0;
        return err_set(e, ERR_DENIED,
                       "%s: the throwaway server's user %s cannot get there; choose "
                       "a directory that it may enter, such as /var/tmp",
                       asked, s->user.name != NULL ? s->user.name : "");
    }
    for (size_t i = 0; i < array_len(places); i++) {
        if (places[i] == NULL || *places[i] == '\0' || !sandbox_user_reaches(&s->user, places[i]))
            continue;
        *base = places[i];
        return 0;
    }
    return err_set(e, ERR_DENIED,
                   "neither $TMPDIR nor /var/tmp nor /tmp can be written by the "
                   "throwaway server's user");
}

static int check_room(const char *dir, uint64_t *left, struct err *e)
{
    struct statvfs fs;
    if (statvfs(dir, &fs) < 0)
        return err_sys(e, errno, "cannot see how much room %s has", dir);
    *left = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (*left >= (uint64_t)ROOM_LEAST << 20)
        return 0;
    char size[24];
    return err_set(e, ERR_FULL, "a throwaway server needs room: %s has only %s left", dir,
                   size_human(*left, size));
}

static int write_settings(const struct sandbox *s, const char *preload, struct err *e)
{
    uint64_t left = 0;
    int rc = check_room(s->place.dir, &left, e);
    if (rc < 0)
        return rc;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_TEXT);
    sandbox_settings(&s->place, sandbox_memory(), left, preload, &text);
    _cleanup_free_ char *path = in_place(s, "settings");
    return file_write_atomic(path, text.data, text.len, 0644, e); /* in a directory of mode 700 */
}

/* A program of the server, to its end; its output goes to the log. */
static int run(const struct sandbox *s, const char *const *argv, int ms, struct err *e)
{
    _cleanup_free_ char *log = in_place(s, "log");
    _cleanup_close_ int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    _cleanup_close_ int out =
        open(log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0666);
    if (null < 0 || out < 0 || fchmod(out, 0666) < 0) /* the server's user writes to it later */
        return err_sys(e, errno, "cannot open %s", log);
    struct sandbox_child c = {
        .argv = argv, .user = &s->user, .dir = s->place.dir, .in = null, .out = out, .err = out};
    const char *name = path_base(argv[0]);
    pid_t pid;
    int status = 0;
    int rc = sandbox_child_start(&c, &pid, e);
    if (rc == 0)
        rc = sandbox_child_wait(pid, name, ms, true, &status, e);
    if (rc == 0 && status != 0) {
        _cleanup_free_ char *said = sandbox_log_end(s);
        rc = err_set(e, ERR_IO, "%s failed: %s", name, said);
    }
    return rc;
}

/* A locale that this host lacks would fail initdb. */
static const char *locale_or_c(const char *name, int mask)
{
    if (name == NULL || *name == '\0')
        return "C";
    locale_t l = newlocale(mask, name, (locale_t)0);
    if (l != (locale_t)0) {
        freelocale(l);
        return name;
    }
    log_notice("this host has no locale %s; the throwaway server takes C instead: text sorts in "
               "another order there",
               name);
    return "C";
}

static int init_cluster(const struct sandbox *s, const struct sandbox_postgres *o, struct err *e)
{
    _cleanup_free_ char *program = path_join(s->bindir, "initdb"), *data = in_place(s, "data");
    const char *argv[] = {
        program,        "-D",
        data,           "-U",
        "postgres",     "-A",
        "trust",        "-N",
        "-E",           o->encoding != NULL ? o->encoding : "UTF8",
        "--lc-collate", locale_or_c(o->collate, LC_COLLATE_MASK),
        "--lc-ctype",   locale_or_c(o->ctype, LC_CTYPE_MASK),
        "--locale=C",   "-T",
        "english",      NULL,
    };
    return run(s, argv, INITDB_MS, e);
}

/* ---- starting ---- */

/* The number of the server, which the keeper tells. */
static int read_server(struct sandbox *s, struct err *e)
{
    char line[32] = "";
    size_t n = 0;
    while (strchr(line, '\n') == NULL && n < sizeof line - 1) {
        struct pollfd p = {.fd = s->keeper_out, .events = POLLIN};
        if (poll(&p, 1, START_MS) <= 0)
            break;
        ssize_t got = read(s->keeper_out, line + n, sizeof line - 1 - n);
        if (got <= 0)
            break;
        n += (size_t)got;
        line[n] = '\0';
    }
    s->server = (pid_t)strtol(line, NULL, 10);
    if (s->server <= 1) {
        s->server = 0;
        return err_set(e, ERR_IO, "the throwaway server's keeper (/bin/sh) did not start");
    }
    s->server_start = host_process_start(s->server);
    return 0;
}

static int start_keeper(struct sandbox *s, const char *script, struct err *e)
{
    const char *argv[] = {"/bin/sh",
                          "-c",
                          script,
                          "salvor-sandbox",
                          s->bindir != NULL ? s->bindir : "",
                          s->place.dir,
                          s->place.socket_dir,
                          NULL};
    int in[2], out[2];
    if (pipe2(in, O_CLOEXEC) < 0)
        return err_sys(e, errno, "cannot make a pipe");
    _cleanup_close_ int in_read = in[0];
    s->keeper_in = in[1];
    if (pipe2(out, O_CLOEXEC) < 0)
        return err_sys(e, errno, "cannot make a pipe");
    s->keeper_out = out[0];
    _cleanup_close_ int out_write = out[1];
    _cleanup_close_ int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (null < 0)
        return err_sys(e, errno, "cannot open /dev/null");
    struct sandbox_child c = {.argv = argv,
                              .user = &s->user,
                              .dir = s->place.dir,
                              .in = in_read,
                              .out = out_write,
                              .err = null};
    return sandbox_child_start(&c, &s->keeper, e);
}

bool sandbox_alive(const struct sandbox *s)
{
    return s->server > 0 && s->server_start != 0 &&
           host_process_start(s->server) == s->server_start;
}

/* Whether postmaster.pid says so: its eighth line is "ready". */
static bool is_ready(const struct sandbox *s)
{
    _cleanup_free_ char *path = in_place(s, "data/postmaster.pid");
    _cleanup_(buf_release) struct buf text = BUF_INIT(4096);
    struct err ignored = ERR_INIT;
    if (file_read(path, &text, &ignored) < 0)
        return false;
    const char *p = buf_str(&text);
    for (int line = 1; line < 8 && p != NULL; line++)
        p = (p = strchr(p, '\n')) != NULL ? p + 1 : NULL;
    return p != NULL && str_starts(p, "ready");
}

static int wait_ready(const struct sandbox *s, struct err *e)
{
    for (int waited = 0;; waited += 10) {
        if (is_ready(s))
            return 0;
        int rc = cancel_check(e);
        if (rc < 0)
            return rc;
        bool late = waited > START_MS;
        if (late || !sandbox_alive(s)) {
            _cleanup_free_ char *said = sandbox_log_end(s);
            return err_set(e, late ? ERR_TIMEOUT : ERR_IO,
                           "the throwaway server did not start%s: %s", late ? " in time" : "",
                           said);
        }
        (void)poll(NULL, 0, 10);
    }
}

/* Ends keeper and server; with them the files go. */
static void stop(struct sandbox *s)
{
    if (s->keeper_in >= 0)
        (void)close(take_fd(&s->keeper_in));
    if (s->keeper_out >= 0)
        (void)close(take_fd(&s->keeper_out));
    if (s->keeper > 0) {
        struct err ignored = ERR_INIT;
        int status;
        if (sandbox_child_wait(s->keeper, "the keeper", STOP_MS, false, &status, &ignored) < 0)
            log_debug("%s", ignored.msg); /* what is left is removed by us */
        s->keeper = 0;
    }
    s->server = 0;
}

/* Everything that follows is given here, so that no PG* variable can lead elsewhere. */
static void describe(struct sandbox *s)
{
    _cleanup_(buf_release) struct buf url = BUF_INIT(BUF_TEXT);
    buf_adds(&url, "host='");
    for (const char *p = s->place.socket_dir; *p != '\0'; p++)
        buf_addf(&url, "%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
    /* An option that does no harm, so that PGOPTIONS is not asked, nor by children. */
    buf_adds(&url,
             "' hostaddr='' port=5432 user=postgres password='' dbname=postgres "
             "sslmode=disable gssencmode=disable target_session_attrs=any options='-c jit=off'");
    s->url = buf_take(&url);
    s->where = (struct pg_server){.url = s->url, .bindir = s->bindir};
}

/* From the cluster itself: it is the one place that cannot be wrong. */
static int read_major(struct sandbox *s, struct err *e)
{
    _cleanup_free_ char *path = in_place(s, "data/PG_VERSION");
    _cleanup_(buf_release) struct buf text = BUF_INIT(64);
    int rc = file_read(path, &text, e);
    s->major = rc < 0 ? 0 : (int)strtol(buf_str(&text), NULL, 10);
    return rc;
}

static int start_server(struct sandbox *s, struct err *e)
{
    int rc = read_server(s, e);
    return rc < 0 ? rc : wait_ready(s, e);
}

/* Libraries are preloaded at the start only. */
static int restart_with(struct sandbox *s, const char *preload, struct err *e)
{
    int rc = write_settings(s, preload, e);
    if (rc == 0)
        rc = fd_write_all(s->keeper_in, "again\n", 6, "the throwaway server's keeper", e);
    return rc < 0 ? rc : start_server(s, e);
}

static int check_extensions(struct sandbox *s, const struct sandbox_postgres *o, struct err *e)
{
    if (o->nextensions == 0)
        return 0;
    _cleanup_(buf_release) struct buf preload = BUF_INIT(BUF_TEXT);
    _cleanup_(pg_freep) struct pg *p = NULL;
    int rc = pg_connect(&s->where, &p, e);
    if (rc == 0)
        rc = sandbox_extensions_check(p, o, &preload, e);
    pg_free(take(p)); /* a restart waits for no session */
    return rc < 0 || preload.len == 0 ? rc : restart_with(s, buf_str(&preload), e);
}

static int start(struct sandbox *s, const struct sandbox_postgres *o, struct err *e)
{
    const char *base = NULL;
    int rc = sandbox_user_choose(&s->user, e);
    if (rc == 0)
        rc = find_programs(s, o, e);
    if (rc == 0)
        rc = choose_base(s, o->dir, &base, e);
    if (rc < 0)
        return rc;
    sandbox_sweep(o->dir);
    rc = sandbox_place_make(&s->place, base, &s->user, e);
    if (rc == 0)
        rc = write_settings(s, "", e);
    if (rc == 0)
        rc = sandbox_place_give(&s->place, &s->user, e);
    if (rc == 0)
        rc = init_cluster(s, o, e);
    if (rc == 0)
        rc = start_keeper(s, keeper_script, e);
    if (rc == 0)
        rc = start_server(s, e);
    if (rc < 0)
        return rc;
    describe(s);
    rc = read_major(s, e);
    return rc < 0 ? rc : check_extensions(s, o, e);
}

static struct sandbox *sandbox_new(void)
{
    struct sandbox *s = mem_zero(sizeof *s);
    s->place.owner = s->place.socket_owner = s->keeper_in = s->keeper_out = -1;
    return s;
}

int sandbox_postgres_start(const struct sandbox_postgres *o, struct sandbox **out, struct err *e)
{
    _cleanup_(sandbox_freep) struct sandbox *s = sandbox_new();
    int rc = start(s, o, e);
    if (rc < 0)
        return err_prefix(e, "throwaway PostgreSQL");
    log_debug("throwaway PostgreSQL %d in %s", s->major, s->place.dir);
    *out = take(s);
    return 0;
}

static int start_directory(struct sandbox *s, const char *dir, struct err *e)
{
    const char *base = NULL;
    s->user = (struct sandbox_user){.uid = geteuid(), .gid = getegid()};
    int rc = choose_base(s, dir, &base, e);
    if (rc < 0)
        return rc;
    sandbox_sweep(dir);
    rc = sandbox_place_make(&s->place, base, &s->user, e);
    return rc < 0 ? rc : start_keeper(s, directory_script, e);
}

int sandbox_directory_start(const char *dir, struct sandbox **out, struct err *e)
{
    _cleanup_(sandbox_freep) struct sandbox *s = sandbox_new();
    int rc = start_directory(s, dir, e);
    if (rc < 0)
        return err_prefix(e, "throwaway directory");
    *out = take(s);
    return 0;
}

/* ---- using it ---- */

const struct pg_server *sandbox_server(const struct sandbox *s)
{
    return &s->where;
}

int sandbox_major(const struct sandbox *s)
{
    return s->major;
}

const char *sandbox_dir(const struct sandbox *s)
{
    return s->place.dir;
}

bool sandbox_user(const struct sandbox *s, uid_t *uid, gid_t *gid)
{
    *uid = s->user.uid;
    *gid = s->user.gid;
    return s->user.change;
}

int sandbox_explain(const struct sandbox *s, struct err *e)
{
    if (e->code == 0 || sandbox_alive(s))
        return e->code;
    _cleanup_free_ char *said = sandbox_log_end(s);
    return err_hint(e, "the throwaway server is gone; the end of its log: %s", said);
}

void sandbox_free(struct sandbox *s)
{
    if (s == NULL)
        return;
    stop(s);
    sandbox_place_remove(&s->place);
    sandbox_user_release(&s->user);
    free(s->bindir);
    free(s->url);
    free(s);
}

void sandbox_freep(struct sandbox **s)
{
    sandbox_free(*s);
    *s = NULL;
}
