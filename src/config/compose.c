/* Writing a first salvor.yaml for what was found: something to read, to change, and to use as it
 * is. */
#include "config/config_int.h"
#include <stdio.h>
#include <string.h>

/* A YAML scalar in double quotes; a dollar is doubled, since ${VAR} would be expanded. */
static void quoted(const char *text, struct buf *out)
{
    buf_adds(out, "\"");
    for (size_t len = strlen(text), i = 0, size; i < len; i += size) {
        uint32_t rune = utf8_decode(text + i, len - i, &size);
        if (rune == '$')
            buf_adds(out, "$$");
        else if (rune == '"' || rune == '\\')
            buf_addf(out, "\\%c", (char)rune);
        else if (rune < 0x20 || (rune >= 0x7f && rune < 0xa0) || rune == 0x2028 || rune == 0x2029 ||
                 rune == 0xfeff)
            buf_addf(out, "\\u%04X", (unsigned)rune);
        else if (rune == 0xfffd && size == 1)
            buf_adds(out, "?"); /* not UTF-8: YAML has no way to write it */
        else
            buf_add(out, text + i, size);
    }
    buf_adds(out, "\"");
}

static void quoted_path(const char *path, struct buf *out)
{
    char *glob = glob_escape(path);
    quoted(glob, out);
    free(glob);
}

/* A comment of one line, whatever is in the text. */
static void comment(const char *text, struct buf *out)
{
    buf_adds(out, "# ");
    text_printable(text, strlen(text), out);
    buf_adds(out, "\n");
}

static void head(const struct config_found *f, const char *name, const char *repository,
                 const char *password_file, struct buf *out)
{
    buf_adds(out,
             "# What salvor protects here, and how. \"salvor config check\" says whether it is "
             "right.\n"
             "# Relative paths start at the directory of this file; ${NAME} is taken from the\n"
             "# environment; no secret is ever written into it.\n");
    for (size_t i = 0; i < f->notes.n; i++)
        comment(f->notes.s[i], out);
    if (f->env_file != NULL) {
        buf_adds(out,
                 "\n# Where ${NAME} is looked for when it is not in the environment.\nenv_file: ");
        quoted(f->env_file, out);
        buf_adds(out, "\n");
    }
    buf_adds(out, "\nname: ");
    quoted(name, out);
    buf_adds(out, "\n\nrepository:\n  url: ");
    quoted(repository, out);
    buf_adds(out, "\n"
                  "  # The passphrase opens all backups. Keep a copy of it away from this machine: "
                  "without it\n"
                  "  # nobody can bring anything back. One of these, or $SALVOR_PASSWORD_FILE:\n");
    buf_adds(out, password_file != NULL ? "  password_file: " : "  # password_file: ");
    quoted(password_file != NULL ? password_file : "~/.config/salvor/password", out);
    buf_adds(
        out,
        "    # mode 600\n"
        "  # password_command: pass show salvor\n"
        "  # password: ${SALVOR_PASSPHRASE}\n"
        "\n"
        "# What stays: so many days, weeks and months that have a backup. The newest good one\n"
        "# always does. delete_after: 365d would delete by the calendar whatever the rest "
        "says.\n"
        "keep: { daily: 30, weekly: 13, monthly: 12 }\n");
}

/* A name for the path that is not among `used` yet, which it joins. */
static const char *fresh_name(const char *path, struct str_list *used)
{
    char name[NAME_MOST + 1], numbered[NAME_MOST + 1];
    name_from_path(path, name);
    if (name[0] == '\0' || str_eq(name, "all"))
        memcpy(name, "data", sizeof "data");
    memcpy(numbered, name, sizeof name);
    for (unsigned i = 2; str_list_has(used, numbered); i++)
        (void)snprintf(numbered, sizeof numbered, "%.*s-%u", NAME_MOST - 12, name, i);
    str_list_add(used, numbered);
    return used->s[used->n - 1];
}

static void objectives(const char *rto, struct buf *out)
{
    buf_addf(out,
             "    # At most a day of work is lost; it is back within %s.\n"
             "    objectives: { rpo: 24h, rto: %s }\n",
             rto, rto);
}

static void excludes(const char *indent, struct buf *out)
{
    static const char *const line[] = {
        "# Made again by a build, or of no use after a restore:",
        "- node_modules",
        "- .venv",
        "- __pycache__",
        "- .cache",
        "- cache",
        "- tmp",
        "- \"*.tmp\"",
        "- logs",
        "- \"*.log\"",
        "- dist",
        "- build",
        "- target",
        "- .next",
        "- coverage",
        "# Live databases are not copied as files; type: sqlite does it safely:",
        "- \"*.db\"",
        "- \"*.sqlite\"",
        "- \"*.sqlite3\"",
        "- \"*-wal\"",
        "- \"*-shm\"",
        "- \"*-journal\"",
    };
    buf_addf(out, "%sexclude:\n", indent);
    for (size_t i = 0; i < array_len(line); i++)
        buf_addf(out, "%s  %s\n", indent, line[i]);
}

static void databases(const struct config_found *f, struct str_list *used, struct buf *out)
{
    for (size_t i = 0; i < f->sqlite.n; i++) {
        buf_addf(out, "\n  %s:\n    type: sqlite\n    path: ", fresh_name(f->sqlite.s[i], used));
        quoted_path(f->sqlite.s[i], out);
        buf_adds(out, "\n");
        objectives("5m", out);
    }
    if (f->postgres != NULL) {
        buf_addf(out, "\n  # DATABASE_URL: ");
        text_printable(f->postgres, strlen(f->postgres), out);
        buf_addf(out, "\n  %s:\n    type: postgres\n    url: ${DATABASE_URL}\n",
                 fresh_name(f->postgres, used));
        objectives("1h", out);
    }
    if (f->sqlite.n + (f->postgres != NULL) == 0)
        buf_adds(out, "\n  # app:\n  #   type: sqlite\n  #   path: data/app.db    # while it is in "
                      "use, too\n");
}

static void secrets(const struct config_found *f, struct str_list *used, struct buf *out)
{
    if (f->secrets.n == 0)
        return;
    buf_addf(out, "\n  %s:\n    type: files\n    paths:\n", fresh_name("secrets", used));
    for (size_t i = 0; i < f->secrets.n; i++) {
        buf_adds(out, "      - ");
        quoted_path(f->secrets.s[i], out);
        buf_adds(out, "\n");
    }
    objectives("5m", out);
}

/* What users uploaded: without excludes, since nobody knows how they call their files. */
static void uploads(const struct config_found *f, struct str_list *used, struct buf *out)
{
    if (f->files.n == 0)
        return;
    buf_addf(out, "\n  %s:\n    type: files\n    paths:\n", fresh_name("uploads", used));
    for (size_t i = 0; i < f->files.n; i++) {
        buf_adds(out, "      - ");
        quoted_path(f->files.s[i], out);
        buf_adds(out, "\n");
    }
    objectives("1h", out);
}

/* The whole directory: only a proposal where there is something else to begin with. */
static void whole(const struct config_found *f, const char *repository, struct str_list *used,
                  struct buf *out)
{
    bool proposal = f->files.n + f->sqlite.n + f->secrets.n > 0 || f->postgres != NULL;
    const char *indent = proposal ? "  #   " : "    ";
    buf_addf(out, "\n%s%s:\n%stype: files\n%spath: .\n", proposal ? "  # " : "  ",
             fresh_name("files", used), indent, indent);
    excludes(indent, out);
    if (memchr(repository, ':', strcspn(repository, "/")) == NULL) {
        buf_addf(out, "%s  - ", indent); /* the repository may lie in the directory */
        _cleanup_(buf_release) struct buf here = BUF_INIT(BUF_TEXT);
        if (repository[0] != '/' && repository[0] != '~' && !str_starts(repository, "./") &&
            !str_starts(repository, "../"))
            buf_adds(&here, "./"); /* this one only, not all of its name */
        buf_adds(&here, repository);
        quoted_path(buf_str(&here), out);
        buf_adds(out, "\n");
    }
    buf_addf(out, "%sexclude_caches: true    # directories that hold a CACHEDIR.TAG\n", indent);
    if (!proposal)
        objectives("1h", out);
}

void config_compose(const struct config_found *f, const char *name, const char *repository,
                    const char *password_file, struct buf *out)
{
    _cleanup_(str_list_release) struct str_list used = {0};
    head(f, name, repository, password_file, out);
    buf_adds(out, "\nresources:\n");
    databases(f, &used, out);
    secrets(f, &used, out);
    uploads(f, &used, out);
    whole(f, repository, &used, out);
    buf_adds(out, "\n"
                  "# Jobs do not begin by themselves in this version: let cron or a timer call\n"
                  "# \"salvor run daily\". Times as in crontab, in UTC.\n"
                  "jobs:\n"
                  "  daily:\n"
                  "    at: \"0 2 * * *\"\n"
                  "    backup: all\n"
                  "    verify: true\n"
                  "    forget: true\n"
                  "  weekly:\n"
                  "    at: \"0 3 * * 0\"\n"
                  "    prune: true\n");
}
