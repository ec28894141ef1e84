/* RESTORE.txt: written for somebody who has the repository, its passphrase and stock tools, and has
 * never heard of salvor. */
#include "base/json.h"
#include "job/job_int.h"
#include <string.h>

/* What of a source's description is spoken of here; NULL where there is none. */
struct facts {
    char *base;                                 /* where content was read from */
    char *database, *dump, *globals, *encoding; /* of PostgreSQL */
    int64_t version;
    bool parts; /* tables in parts beside the dump */
};

static void facts_release(struct facts *f)
{
    free(f->base);
    free(f->database);
    free(f->dump);
    free(f->globals);
    free(f->encoding);
}

static void facts_read(const struct buf *description, struct facts *f)
{
    struct json_in in;
    struct err ignored = ERR_INIT;
    json_in_init(&in, description->data, description->len);
    f->base = manifest_parse_base(&in);
    if (json_in_finish(&in, "the source's description", &ignored) < 0)
        free(take(f->base));
    json_in_init(&in, description->data, description->len);
    json_object(&in);
    for (const char *key; (key = json_next_key(&in)) != NULL;) {
        char **text = strcmp(key, "database") == 0   ? &f->database
                      : strcmp(key, "dump") == 0     ? &f->dump
                      : strcmp(key, "globals") == 0  ? &f->globals
                      : strcmp(key, "encoding") == 0 ? &f->encoding
                                                     : NULL;
        if (text != NULL && *text == NULL)
            *text = json_get_text(&in);
        else if (strcmp(key, "server_version") == 0)
            f->version = json_get_i64(&in);
        else if (strcmp(key, "parts") == 0)
            f->parts = json_get_u64(&in) > 0;
        else
            json_skip(&in);
    }
    if (json_in_finish(&in, "the source's description", &ignored) < 0)
        f->version = 0;
}

static void how_files(const char *base, struct buf *out)
{
    buf_adds(out, "3. The files are below ./out/");
    buf_adds(out, "RESOURCE/content/ with their modes and times. Look at them, then copy\n"
                  "   them to where they belong, keeping modes and owners:\n\n"
                  "       cp -a ./out/RESOURCE/content/. WHERE/\n\n");
    if (base != NULL)
        buf_addf(out, "   They were read from below:  %s\n\n", base);
}

static void how_sqlite(const char *base, struct buf *out)
{
    buf_adds(
        out,
        "3. Each file below ./out/RESOURCE/content/ is a whole SQLite database. Check it:\n\n"
        "       sqlite3 ./out/RESOURCE/content/FILE 'PRAGMA integrity_check'\n\n"
        "4. Stop the application. Move the old database aside, and with it FILE-wal and FILE-shm\n"
        "   if there are any: an old -wal beside a new database would damage it. Then copy the new\n"
        "   one to its place, and start the application.\n\n");
    if (base != NULL)
        buf_addf(out, "   The databases were read from below:  %s\n\n", base);
}

/* One word for a shell. */
static void shell_word(const char *word, struct buf *out)
{
    const char *plain = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./%=";
    if (*word != '\0' && word[strspn(word, plain)] == '\0') {
        buf_adds(out, word);
        return;
    }
    buf_adds(out, "'");
    for (const char *p = word; *p != '\0'; p++)
        if (*p == '\'')
            buf_adds(out, "'\\''");
        else
            buf_add(out, p, 1);
    buf_adds(out, "'");
}

/* What names a database after -d, where a name with = or :// would mean something else. */
static char *database_word(const char *name)
{
    struct buf out = BUF_INIT(BUF_TEXT), conn = BUF_INIT(BUF_TEXT);
    if (strpbrk(name, "=: '\\") == NULL) {
        shell_word(name, &out);
        return buf_take(&out);
    }
    buf_adds(&conn, "dbname='");
    for (const char *p = name; *p != '\0'; p++)
        buf_addf(&conn, "%s%c", *p == '\'' || *p == '\\' ? "\\" : "", *p);
    buf_adds(&conn, "'");
    shell_word(buf_str(&conn), &out);
    buf_release(&conn);
    return buf_take(&out);
}

static void how_postgres(const struct facts *f, struct buf *out)
{
    if (f->database == NULL || f->dump == NULL)
        return;
    char *d = database_word(f->database);
    struct buf dump = BUF_INIT(BUF_TEXT);
    shell_word(f->dump, &dump);
    buf_addf(
        out,
        "3. What was saved is the database %s of a PostgreSQL %d server. You need psql and\n"
        "   pg_restore of that version or newer, and a server of that version or newer; say by\n"
        "   PGHOST, PGPORT, PGUSER and PGPASSWORD where it is. All that follows is done in\n"
        "   the directory of the files:\n\n"
        "       cd ./out/RESOURCE/content\n\n",
        f->database, (int)(f->version / 10000));
    if (f->globals != NULL && strcmp(f->globals, "none") != 0)
        buf_addf(out,
                 "4. On a new server, make the roles%s. It says of those that are there already\n"
                 "   that they are; that does no harm, but they keep what they have:\n\n"
                 "       psql -X -q -d postgres -f globals.sql\n\n",
                 strcmp(f->globals, "with_passwords") == 0
                     ? ""
                     : " (they come without passwords: set them)");
    buf_addf(
        out,
        "5. Make the database under its own name. An old one of that name must be renamed\n"
        "   first (ALTER DATABASE ... RENAME TO ...):\n\n"
        "       pg_restore -e -d postgres --create --section=pre-data %s\n\n"
        "   Or make it under another name, and use that name below instead:\n\n"
        "         createdb -T template0 -E %s OTHER && pg_restore -e -d OTHER --section=pre-data "
        "%s\n\n"
        "6. Load the data, %sthen make indexes, keys and triggers:\n\n"
        "       pg_restore -e -d %s --section=data %s\n",
        buf_str(&dump), f->encoding != NULL ? f->encoding : "UTF8", buf_str(&dump),
        f->parts ? "the large tables from the files in data/, " : "", d, buf_str(&dump));
    if (f->parts)
        buf_addf(out, "       psql -X -q -d %s -f data/load.sql\n", d);
    buf_addf(out,
             "       pg_restore -e -d %s --section=post-data %s\n"
             "       psql -X -q -d %s -c ANALYZE\n\n",
             d, buf_str(&dump), d);
    buf_release(&dump);
    free(d);
}

void restore_text(const struct job *j, const struct config_resource *r,
                  const struct buf *description, struct buf *out)
{
    _cleanup_(facts_release) struct facts facts = {.base = NULL};
    facts_read(description, &facts);
    const char *base = facts.base;
    struct buf text = BUF_INIT(BUF_TEXT);
    buf_addf(
        &text,
        "How to bring back \"%s\" without salvor\n\n"
        "This snapshot lies in a plain restic repository. You need the program restic (0.14 or newer),\n"
        "the repository's passphrase, and access to it. It was written to:\n\n"
        "       %s\n\n"
        "1. List the snapshots of this resource (restic asks for the passphrase):\n\n"
        "       restic -r REPOSITORY snapshots --tag salvor,resource=RESOURCE\n\n"
        "   A snapshot tagged \"partial\" lacks something; its manifest.json says what. One tagged\n"
        "   \"pre-restore\" holds what a restore replaced, and may be the newest of all.\n\n"
        "2. Restore the newest that has neither tag, or an older one, by its ID:\n\n"
        "       restic -r REPOSITORY restore ID --target ./out\n\n",
        r->name, store_address(j->store));
    switch (r->type) {
    case RESOURCE_SQLITE: how_sqlite(base, &text); break;
    case RESOURCE_FILES: how_files(base, &text); break;
    case RESOURCE_POSTGRES: how_postgres(&facts, &text); break;
    case RESOURCE_STREAM:
        buf_adds(
            &text,
            "3. What was read from standard input is the file ./out/RESOURCE/content/RESOURCE\n\n");
        break;
    }
    buf_adds(
        &text,
        "With salvor the same is:\n\n       salvor -r REPOSITORY restore RESOURCE --to ./out\n");

    /* The words REPOSITORY, ID and RESOURCE are what a person has to put in; the resource is known
     * here. */
    const char *p = buf_str(&text);
    for (const char *at; (at = strstr(p, "RESOURCE")) != NULL; p = at + strlen("RESOURCE")) {
        buf_add(out, p, (size_t)(at - p));
        buf_adds(out, r->name);
    }
    buf_adds(out, p);
    buf_release(&text);
}
