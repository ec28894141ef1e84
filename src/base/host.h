/* Facts of this machine: who and where we are (locks, snapshots) and what an equal one needs (X12).
 */
#ifndef SALVOR_BASE_HOST_H
#define SALVOR_BASE_HOST_H

#include "base/json.h"
#include <sys/types.h>

char *host_name(void);      /* $SALVOR_HOST or gethostname; the caller frees */
char *host_user(void);      /* of the effective uid, or its number */
char *host_boot_id(void);   /* differs after a reboot; "" if unknown */
char *host_pid_space(void); /* the PID namespace, such as "pid:[4026531836]"; "" if unknown */
/* Ticks after boot when process `pid` started, 0 if there is none or it is a zombie. With the pid
 * it tells a process from a later one of the same number. HOST_START_UNKNOWN: it is there, but we
 * may not look at it. */
#define HOST_START_UNKNOWN UINT64_MAX
uint64_t host_process_start(pid_t pid);
/* Writes one object: system, kernel, architecture, processors, memory (bytes), disks (array of
 * path, device, type and, unless remote, size and used in bytes), package_count and packages (array
 * of "name version"; both only where dpkg is), salvor (its version). */
void host_facts(struct json_out *j);

#endif
