/* What the rest of the program does with a configuration: finding it, asking it, freeing it. */
#include "config/config.h"
#include "base/file.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/proc.h"
#include <ctype.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>

/* A passphrase may be typed into a dialogue of the password manager. */
enum { SECRET_COMMAND_MS = 300000, SECRET_MOST = 64 * 1024 };

static bool present(const char *path)
{
    return access(path, F_OK) == 0 || errno != ENOENT;
}

int config_find(const char *path, char **out, struct err *e)
{
    *out = NULL;
    const char *variable = getenv("SALVOR_CONFIG");
    const char *named = path != NULL                            ? path
                        : variable != NULL && *variable != '\0' ? variable
                                                                : NULL;
    if (named != NULL) {
        if (*named == '\0' || !present(named))
            return err_set(e, ERR_USAGE, "cannot find the configuration \"%s\", which %s names",
                           named, path != NULL ? "-c" : "$SALVOR_CONFIG");
        *out = str_dup(named);
        return 0;
    }
    static const char *const places[] = {"salvor.yaml", "~/.config/salvor/salvor.yaml",
                                         "/etc/salvor/salvor.yaml"};
    for (size_t i = 0; i < array_len(places); i++) {
        _cleanup_free_ char *place = path_expand_home(places[i]);
        if (place[0] == '~' || !present(place))
            continue;
        *out = take(place);
        return 0;
    }
    return err_set(e, ERR_NOT_FOUND,
                   "there is no configuration: neither ./salvor.yaml nor "
                   "~/.config/salvor/salvor.yaml nor /etc/salvor/salvor.yaml; \"salvor init\" "
                   "writes one, or name one with -c");
}

static void secret_release(struct config_secret *s)
{
    free(s->file);
    free(s->command);
    if (s->value != NULL)
        mem_wipe(s->value, strlen(s->value));
    free(s->value);
}

static void postgres_release(struct config_postgres *p)
{
    if (p->url != NULL)
        mem_wipe(p->url, strlen(p->url));
    free(p->url);
    free(p->unset);
    free(p->bindir);
    free(p->health);
    free(p->cutover);
    free(p->freeze);
    str_list_release(&p->databases);
}

void config_resource_release(struct config_resource *r)
{
    postgres_release(&r->postgres);
    free(r->name);
    str_list_release(&r->paths);
    str_list_release(&r->excludes);
    str_list_release(&r->keep.tags);
    *r = (struct config_resource){.rpo_grace = -1};
}

void config_free(struct config *c)
{
    if (c == NULL)
        return;
    free(c->path);
    free(c->name);
    free(c->text);
    free(c->repository.url);
    secret_release(&c->repository.password);
    secret_release(&c->signing.key);
    str_list_release(&c->signing.trust);
    str_list_release(&c->keep.tags);
    for (size_t i = 0; i < c->nresource; i++)
        config_resource_release(&c->resource[i]);
    free(c->resource);
    for (size_t i = 0; i < c->njob; i++) {
        free(c->job[i].name);
        free(c->job[i].at);
        str_list_release(&c->job[i].backup);
    }
    free(c->job);
    free(c);
}

void config_freep(struct config **c)
{
    config_free(*c);
}

const struct config_resource *config_resource_find(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->nresource; i++)
        if (str_eq(c->resource[i].name, name))
            return &c->resource[i];
    return NULL;
}

const char *resource_type_name(enum resource_type t)
{
    switch (t) {
    case RESOURCE_FILES: return "files";
    case RESOURCE_SQLITE: return "sqlite";
    case RESOURCE_STREAM: return "stream";
    case RESOURCE_POSTGRES: return "postgres";
    }
    return "unknown";
}

/* A missing file is not ERR_NOT_FOUND here: that would mean that no secret was asked for. */
static int read_secret_file(const char *path, struct buf *text, struct err *e)
{
    struct stat st;
    int rc = file_read(path, text, e);
    if (rc != 0) {
        if (rc == ERR_NOT_FOUND)
            e->code = ERR_USAGE;
        return err_prefix(e, "a secret is missing");
    }
    if (stat(path, &st) == 0 && S_ISREG(st.st_mode) && (st.st_mode & 077) != 0)
        log_warning("%s holds a secret but others than its owner may use it (mode %03o); run "
                    "\"chmod 600 %s\"",
                    path, (unsigned)(st.st_mode & 0777), path);
    return 0;
}

/* The first line, without blanks around it, as restic takes it. */
static int first_line(const struct buf *text, const char *from, struct buf *out, struct err *e)
{
    const char *s = buf_str(text);
    size_t len = text->len;
    if (str_starts(s, "\xEF\xBB\xBF")) { /* a byte order mark that an editor left */
        s += 3;
        len -= 3;
    }
    size_t line = 0;
    while (line < len && s[line] != '\n')
        line++;
    if (memchr(s, '\0', line) != NULL)
        return err_set(e, ERR_USAGE, "the secret from %s holds a NUL byte; it must be text", from);
    while (line > 0 && isspace((unsigned char)*s))
        s++, line--;
    while (line > 0 && isspace((unsigned char)s[line - 1]))
        line--;
    if (line == 0)
        return err_set(e, ERR_USAGE, "the secret from %s is empty: its first line has no text",
                       from);
    return buf_append(out, s, line, e);
}

int config_secret_read(const struct config_secret *s, struct buf *out, struct err *e)
{
    _cleanup_(buf_wipe_release) struct buf text = BUF_INIT(SECRET_MOST);
    if (s->value != NULL)
        return buf_append(out, s->value, strlen(s->value), e);
    if (s->file != NULL) {
        int rc = read_secret_file(s->file, &text, e);
        return rc != 0 ? rc : first_line(&text, s->file, out, e);
    }
    if (s->command != NULL) {
        int rc = proc_capture_shell(s->command, SECRET_COMMAND_MS, &text, e);
        if (rc != 0)
            return err_prefix(e, "the command that gives a secret failed");
        return first_line(&text, "its command", out, e);
    }
    return err_set(e, ERR_NOT_FOUND, "the configuration names no secret here");
}
