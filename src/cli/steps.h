/* The steps that commands and configured jobs share: each does the work and says what was done. */
#ifndef SALVOR_CLI_STEPS_H
#define SALVOR_CLI_STEPS_H

#include "cli/cli.h"

enum { POINT_ID = 17 };
/* A new recovery point's id: 16 random hexadecimal digits. */
_warn_unused_ int point_new(char out[POINT_ID], struct err *e);

struct backup_step {
    const struct config_resource **resource;
    size_t n;
    const char *job; /* NULL: by hand */
    bool reread;
};
/* Backs them up as one recovery point. Goes on after one that fails, unless it is interrupted or
 * locked out, and reports at the end: the first failure, else ERR_PARTIAL. */
_warn_unused_ int step_backup(struct cli *c, struct job *j, const struct backup_step *s,
                              struct err *e);

struct verify_step {
    const char *const *resource; /* n 0: the whole repository */
    size_t n;
    double read_share;
};
_warn_unused_ int step_verify(struct cli *c, struct job *j, const struct verify_step *s,
                              struct err *e);

/* Decides and removes; `o` without its callback. */
_warn_unused_ int step_forget(struct cli *c, struct job *j, const struct forget_options *o,
                              struct err *e);

_warn_unused_ int step_prune(struct cli *c, struct job *j, double waste_limit, bool dry_run,
                             struct err *e);

#endif
