/* The parts of host.c that its tests look at. */
#ifndef SALVOR_BASE_HOST_INT_H
#define SALVOR_BASE_HOST_INT_H

#include "base/text.h"
#include <stdint.h>
#include <stdio.h>

/* Value of `key` in a file of KEY=value lines as os-release(5), without quotes; NULL if it is not
 * there. The caller frees. */
char *host_setting(FILE *f, const char *key);
/* Adds "name version" of every installed package in dpkg's status file, sorted. */
void host_packages(FILE *f, struct str_list *out);

/* How a mounted file system counts as a disk. */
enum host_disk {
    HOST_DISK_NONE,   /* kept in memory or made up by the kernel */
    HOST_DISK_LOCAL,  /* may be asked for its size */
    HOST_DISK_REMOTE, /* listed only: asking would hang while its server is away */
};
enum host_disk host_disk_kind(const char *device, const char *dir, const char *type);

/* Field 22 of a line of /proc/PID/stat, at least 1; 0 if it is a zombie or not such a line. */
uint64_t host_stat_start(const char *line);

#endif
