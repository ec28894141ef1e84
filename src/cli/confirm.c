/* The question before something that is there is replaced. A person types the resource's name; a
 * script needs two separate consents, so that neither a stray flag nor a stray variable is enough.
 */
#include "base/mem.h"
#include "cli/cli.h"

#include <string.h>

static const char consent[] = "SALVOR_ALLOW_UNATTENDED_RESTORE";

static int refuse_unattended(const struct restore_plan *p, bool yes, bool allowed, struct err *e)
{
    const char *missing = !yes && !allowed ? "both are" : !yes ? "--yes is" : "the variable is";
    return err_set(e, ERR_REFUSED,
                   "refused: the restore of %s would %s %s, and there is no "
                   "terminal to ask; unattended it needs --yes and, in the environment, %s=1 (%s "
                   "missing); nothing was changed; --to a new %s needs neither",
                   p->resource,
                   p->database != NULL ? "take the place of" : "replace what differs in", p->root,
                   consent, missing, p->database != NULL ? "database" : "directory");
}

int confirm_change(const char *resource, const char *what, bool yes, struct err *e)
{
    const char *v = getenv(consent);
    bool allowed = v != NULL && strcmp(v, "1") == 0;
    if (yes && allowed)
        return 0;
    if (!can_ask())
        return err_set(e, ERR_REFUSED,
                       "refused: %s, and there is no terminal to ask; unattended it needs --yes "
                       "and, in the environment, %s=1 (%s missing); nothing was changed",
                       what, consent,
                       !yes && !allowed ? "both are"
                       : !yes           ? "--yes is"
                                        : "the variable is");
    _cleanup_free_ char *answer = NULL;
    (void)fflush(stdout);
    print_safe(stderr, what);
    fputs(".\nType the resource's name (", stderr);
    print_safe(stderr, resource);
    int rc = ask_line(") to go on: ", &answer, e);
    if (rc == 0 && strcmp(answer, resource) != 0)
        rc = err_set(e, ERR_REFUSED, "not confirmed: the answer is not \"%s\"; nothing was changed",
                     resource);
    return rc;
}

int confirm_restore(const struct restore_plan *p, bool yes, bool without_keeping, struct err *e)
{
    if (p->target_empty)
        return 0;
    const char *v = getenv(consent);
    bool allowed = v != NULL && strcmp(v, "1") == 0;
    if (yes && allowed)
        return 0;
    if (!can_ask())
        return refuse_unattended(p, yes, allowed, e);

    _cleanup_free_ char *answer = NULL;
    (void)fflush(stdout);
    fputs(p->database != NULL ? "This takes the place of " : "This replaces what differs in ",
          stderr);
    print_safe(stderr, p->root);
    fputs(p->database != NULL ? ", which stays under another name.\n"
          : without_keeping   ? " WITHOUT KEEPING IT.\n"
                              : ".\n",
          stderr);
    fputs("Type the resource's name (", stderr);
    print_safe(stderr, p->resource);
    int rc = ask_line(") to go on: ", &answer, e);
    if (rc < 0)
        return rc;
    if (strcmp(answer, p->resource) != 0)
        return err_set(e, ERR_REFUSED,
                       "not confirmed: the answer is not \"%s\"; nothing was changed", p->resource);
    return 0;
}
