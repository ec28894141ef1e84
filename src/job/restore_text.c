/* RESTORE.txt: written for somebody who has the repository, its passphrase and stock tools, and has
 * never heard of salvor. */
#include "job/job_int.h"

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

void restore_text(const struct job *j, const struct config_resource *r, const char *base,
                  struct buf *out)
{
    struct buf text = BUF_INIT(BUF_TEXT);
    buf_addf(
        &text,
        "How to bring back \"%s\" without salvor\n\n"
        "This snapshot lies in a plain restic repository. You need the program restic (0.14 or newer),\n"
        "the repository's passphrase, and access to it. It was written to:\n\n"
        "       %s\n\n"
        "1. List the snapshots of this resource (restic asks for the passphrase):\n\n"
        "       restic -r REPOSITORY snapshots --tag salvor,resource=RESOURCE\n\n"
        "   A snapshot tagged \"partial\" lacks something; its manifest.json says what.\n\n"
        "2. Restore one of them, by its id or the newest:\n\n"
        "       restic -r REPOSITORY restore latest --tag salvor,resource=RESOURCE --target ./out\n\n",
        r->name, store_address(j->store));
    switch (r->type) {
    case RESOURCE_SQLITE: how_sqlite(base, &text); break;
    case RESOURCE_FILES: how_files(base, &text); break;
    case RESOURCE_POSTGRES: break;
    case RESOURCE_STREAM:
        buf_adds(
            &text,
            "3. What was read from standard input is the file ./out/RESOURCE/content/RESOURCE\n\n");
        break;
    }
    buf_adds(
        &text,
        "With salvor the same is:\n\n       salvor -r REPOSITORY restore RESOURCE --to ./out\n");

    /* The words REPOSITORY and RESOURCE are what a person has to put in; the resource is known
     * here. */
    const char *p = buf_str(&text);
    for (const char *at; (at = strstr(p, "RESOURCE")) != NULL; p = at + strlen("RESOURCE")) {
        buf_add(out, p, (size_t)(at - p));
        buf_adds(out, r->name);
    }
    buf_adds(out, p);
    buf_release(&text);
}
