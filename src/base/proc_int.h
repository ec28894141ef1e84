/* How a child is made, for proc.c. */
#ifndef SALVOR_BASE_PROC_INT_H
#define SALVOR_BASE_PROC_INT_H

#include "base/proc.h"

/* Starts the child that `o` describes with these three descriptors; its number in *pid. */
_warn_unused_ int proc_spawn(const struct proc_options *o, const char *name, const int files[3],
                             pid_t *pid, struct err *e);

#endif
