/* salvor version. */
#include "cli/cli.h"
#include "salvor_version.h"

static int run(struct cli *c, void *args, char **word, int n, struct err *e)
{
    (void)args;
    (void)word;
    (void)n;
    if (!c->json) {
        printf("salvor %s\n", SALVOR_VERSION);
        return 0;
    }
    struct json_line l;
    json_line_begin(&l);
    json_text(&l.json, "version", SALVOR_VERSION);
    return json_line_end(&l, e);
}

const struct command cmd_version = {
    .name = "version",
    .summary = "print the version",
    .run = run,
};
