/* salvor show: what is in a snapshot. */
#include "base/mem.h"
#include "cli/cli.h"
#include "repo/tree.h"

#include <string.h>
#include <sys/stat.h>

struct args {
    bool recursive;
};

static const struct option options[] = {
    {"recursive", 'R', OPTION_FLAG, offsetof(struct args, recursive), NULL,
     "what is in the directories too"},
};

struct listing {
    const struct cli *cli;
    const char *prefix; /* of the paths that are shown; "" or ends in a slash */
    bool recursive;
};

static void print_mode(const struct node *n)
{
    static const char letters[] = {
        [NODE_INVALID] = '?', [NODE_FILE] = '-',   [NODE_DIR] = 'd',
        [NODE_SYMLINK] = 'l', [NODE_BLOCK] = 'b',  [NODE_CHAR] = 'c',
        [NODE_FIFO] = 'p',    [NODE_SOCKET] = 's', [NODE_IRREGULAR] = '?',
    };
    char s[11] = "?rwxrwxrwx";
    s[0] = letters[n->type];
    for (int i = 0; i < 9; i++)
        if (!(n->mode & (0400U >> i)))
            s[1 + i] = '-';
    if (n->mode & S_ISUID)
        s[3] = s[3] == 'x' ? 's' : 'S';
    if (n->mode & S_ISGID)
        s[6] = s[6] == 'x' ? 's' : 'S';
    if (n->mode & S_ISVTX)
        s[9] = s[9] == 'x' ? 't' : 'T';
    printf("%s", s);
}

static void print_owner(const char *name, uint32_t number)
{
    if (name != NULL && *name != '\0')
        printf("  %-8s", name);
    else
        printf("  %-8u", number);
}

static int entry_json(const char *path, const struct node *n, struct err *e)
{
    struct json_line l;
    char mode[8];
    json_line_begin(&l);
    struct json_out *j = &l.json;
    (void)snprintf(mode, sizeof mode, "%04o", (unsigned)n->mode & 07777);
    json_text(j, "path", path);
    json_text(j, "type", node_type_name(n->type));
    json_text(j, "mode", mode);
    json_u64(j, "uid", n->uid);
    json_u64(j, "gid", n->gid);
    json_text(j, "user", n->user);
    json_text(j, "group", n->group);
    json_u64(j, "size", n->size);
    json_time(j, "mtime", n->mtime);
    json_text(j, "linktarget", n->linktarget);
    return json_line_end(&l, e);
}

static int entry(const char *path, const struct node *n, bool *enter, void *arg, struct err *e)
{
    const struct listing *l = arg;
    char when[TIME_TEXT];
    _cleanup_free_ char *whole = str_fmt("%s%s", l->prefix, path);
    *enter = l->recursive;
    if (l->cli->json)
        return entry_json(whole, n, e);
    print_mode(n);
    print_owner(n->user, n->uid);
    print_owner(n->group, n->gid);
    printf("  %12llu  %s  ", n->type == NODE_FILE ? (unsigned long long)n->size : 0ULL,
           time_format_human(n->mtime, false, when));
    print_safe(stdout, whole);
    if (n->linktarget != NULL && *n->linktarget != '\0') {
        printf(" -> ");
        print_safe(stdout, n->linktarget);
    }
    printf(n->type == NODE_DIR ? "/\n" : "\n");
    return 0;
}

static int print_head(const struct cli *c, const struct snapshot *s, struct err *e)
{
    if (c->json) {
        struct json_line l;
        json_line_begin(&l);
        json_key(&l.json, "snapshot");
        json_begin_object(&l.json);
        json_snapshot(&l.json, s);
        json_end_object(&l.json);
        return json_line_end(&l, e);
    }
    char hex[ID_HEX + 1], when[TIME_TEXT];
    printf("snapshot %s\n", id_hex(&s->id, hex));
    printf("taken    %s on ", time_format_human(s->time, false, when));
    print_safe(stdout, s->hostname != NULL ? s->hostname : "-");
    printf(" by ");
    print_safe(stdout, s->username != NULL ? s->username : "-");
    printf("\ntags     ");
    for (size_t i = 0; i < s->tags.n; i++) {
        print_safe(stdout, s->tags.s[i]);
        printf(" ");
    }
    printf("\n\n");
    return 0;
}

/* How the paths below `word` begin, so that each can be given to show and dump again. */
static char *prefix_of(const char *word)
{
    size_t len = strlen(word);
    while (len > 0 && word[len - 1] == '/')
        len--;
    return *word == '\0' ? str_dup("") : str_fmt("%.*s/", (int)len, word);
}

/* Lists what `word` means in the snapshot: what is in it, or itself when it is no directory. */
static int list_path(struct listing *l, struct job *j, const struct snapshot *s, const char *word,
                     struct err *e)
{
    _cleanup_free_ char *path = cli_path(s, word), *prefix = prefix_of(word);
    _cleanup_(node_release) struct node node = {.name = NULL};
    char id[ID_SHORT + 1];
    l->prefix = prefix;
    if (*path == '\0')
        return tree_walk(j->repo, &s->tree, entry, l, e);
    int rc = tree_lookup(j->repo, &s->tree, path, &node, e);
    if (rc < 0)
        return err_prefix(e, "snapshot %s", id_short(&s->id, id));
    if (node.has_subtree)
        return tree_walk(j->repo, &node.subtree, entry, l, e);
    bool enter = false;
    l->prefix = "";
    return entry(word, &node, &enter, l, e);
}

static int run(struct cli *c, void *argp, char **word, int n, struct err *e)
{
    const struct args *a = argp;
    _cleanup_(job_freep) struct job *j = NULL;
    const struct snapshot *s = NULL;
    int rc = cli_open_loaded(c, &j, e);
    if (rc == 0)
        rc = cli_snapshot(j, word[0], &s, e);
    if (rc == 0 && n == 1)
        rc = print_head(c, s, e);
    if (rc < 0)
        return rc;
    struct listing l = {.cli = c, .prefix = "", .recursive = a->recursive};
    return list_path(&l, j, s, n == 2 ? word[1] : "", e);
}

const struct command cmd_show = {
    .name = "show",
    .words = "SNAPSHOT [PATH]",
    .summary = "show what is in a snapshot, as ls -l does",
    COMMAND_OPTIONS(options, struct args),
    .least = 1,
    .most = 2,
    .run = run,
};
