/* Passphrases and questions. A passphrase never stands on a command line; it comes from where a
 * person or a unit file put it, else from the terminal, without echo. */
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/work.h"
#include "cli/cli.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <termios.h>

enum { LINE_MOST = 4096 };

void passphrase_release(struct passphrase *p)
{
    buf_wipe_release(&p->text);
}

bool can_ask(void)
{
    return isatty(STDIN_FILENO) == 1 && isatty(STDERR_FILENO) == 1;
}

/* Reads up to a newline, byte by byte, so that nothing of the next answer is taken. */
static int read_line(int fd, struct buf *out, struct err *e)
{
    for (;;) {
        char byte = 0;
        ssize_t n = read(fd, &byte, 1);
        if (n < 0 && errno == EINTR) {
            int rc = cancel_check(e);
            if (rc < 0)
                return rc;
            continue;
        }
        if (n < 0)
            return err_sys(e, errno, "cannot read the answer");
        if (n == 0 || byte == '\n')
            return 0;
        int rc = buf_append(out, &byte, 1, e);
        if (rc < 0)
            return rc;
    }
}

int ask_line(const char *question, char **out, struct err *e)
{
    _cleanup_(buf_release) struct buf line = BUF_INIT(LINE_MOST);
    fputs(question, stderr);
    int rc = read_line(STDIN_FILENO, &line, e);
    if (rc == 0)
        *out = buf_take(&line);
    return rc;
}

/* Asks on the terminal itself: standard input may be what is backed up. */
static int read_hidden(const char *question, struct buf *out, struct err *e)
{
    _cleanup_close_ int tty = open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY);
    struct termios shown;
    if (tty < 0 || tcgetattr(tty, &shown) != 0)
        return err_set(e, ERR_USAGE,
                       "no passphrase, and no terminal to ask for it; set SALVOR_PASSWORD_FILE, "
                       "give -p FILE, or write repository.password_file in the configuration");
    struct termios hidden = shown;
    hidden.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK);
    hidden.c_lflag |= ECHONL;
    int rc = fd_write_all(tty, question, strlen(question), "terminal", e);
    if (rc < 0)
        return rc;
    (void)tcsetattr(tty, TCSAFLUSH, &hidden);
    rc = read_line(tty, out, e);
    if (rc < 0)
        (void)dprintf(tty, "\n");
    (void)tcsetattr(tty, TCSAFLUSH, &shown);
    return rc;
}

static int ask_terminal(const char *question, bool twice, struct passphrase *out, struct err *e)
{
    out->origin = "the terminal";
    out->asked = true;
    int rc = read_hidden(question, &out->text, e);
    if (rc < 0 || !twice)
        return rc;
    _cleanup_(buf_wipe_release) struct buf again = BUF_INIT(LINE_MOST);
    rc = read_hidden("Once more, to be sure: ", &again, e);
    if (rc < 0)
        return rc;
    if (strcmp(buf_str(&again), buf_str(&out->text)) != 0)
        return err_set(e, ERR_USAGE, "the two passphrases differ; nothing was done");
    return 0;
}

/* The places that may give it, in order; the first that is set must work. */
struct place {
    const char *origin;
    struct config_secret secret;
};

static char *variable(const char *name)
{
    char *v = getenv(name);
    return v != NULL && *v != '\0' ? v : NULL;
}

static bool is_set(const struct config_secret *s)
{
    return s->file != NULL || s->command != NULL || s->value != NULL;
}

static int ask_places(const struct place *place, size_t n, struct passphrase *out, bool *found,
                      struct err *e)
{
    for (size_t i = 0; i < n && !*found; i++) {
        if (!is_set(&place[i].secret))
            continue;
        *found = true;
        out->origin = place[i].origin;
        int rc = config_secret_read(&place[i].secret, &out->text, e);
        if (rc < 0)
            return err_prefix(e, "passphrase from %s", out->origin);
    }
    return 0;
}

static int refuse_empty(const struct passphrase *p, struct err *e)
{
    if (p->text.len > 0)
        return 0;
    return err_set(e, ERR_USAGE, "the passphrase from %s is empty", p->origin);
}

int ask_passphrase(const struct cli *c, const struct config *config, bool twice,
                   struct passphrase *out, struct err *e)
{
    *out = (struct passphrase){.text = BUF_INIT(LINE_MOST)};
    _cleanup_free_ char *option = str_dup(c->password_file);
    const struct config_secret none = {NULL, NULL, NULL};
    const struct config_secret *configured = &config->repository.password;
    const struct place place[] = {
        {"-p", {.file = option}},
        {"SALVOR_PASSWORD", {.value = variable("SALVOR_PASSWORD")}},
        {"SALVOR_PASSWORD_FILE", {.file = variable("SALVOR_PASSWORD_FILE")}},
        {"SALVOR_PASSWORD_COMMAND", {.command = variable("SALVOR_PASSWORD_COMMAND")}},
        /* a repository of the configuration has the configuration's passphrase */
        {"the configuration", c->own_repository ? *configured : none},
        {"RESTIC_PASSWORD", {.value = variable("RESTIC_PASSWORD")}},
        {"RESTIC_PASSWORD_FILE", {.file = variable("RESTIC_PASSWORD_FILE")}},
        {"RESTIC_PASSWORD_COMMAND", {.command = variable("RESTIC_PASSWORD_COMMAND")}},
        /* one named otherwise may be a copy of it */
        {"the configuration", *configured},
    };
    bool found = false;
    int rc = ask_places(place, array_len(place), out, &found, e);
    if (rc == 0 && !found && !twice) /* nobody should type it for what is not there */
        rc = job_find(config, e);
    if (rc == 0 && !found)
        rc = ask_terminal(twice ? "New passphrase of the repository: "
                                : "Passphrase of the repository: ",
                          twice, out, e);
    if (rc < 0)
        return rc;
    return refuse_empty(out, e);
}

int ask_new_passphrase(const char *file, struct passphrase *out, struct err *e)
{
    *out = (struct passphrase){.text = BUF_INIT(LINE_MOST)};
    int rc = 0;
    if (file != NULL) {
        _cleanup_free_ char *path = str_dup(file);
        struct config_secret s = {.file = path};
        out->origin = "the new password file";
        rc = config_secret_read(&s, &out->text, e);
    } else {
        rc = ask_terminal("New passphrase: ", true, out, e);
    }
    if (rc < 0)
        return rc;
    return refuse_empty(out, e);
}
