/* What the files of the PostgreSQL client share. */
#ifndef SALVOR_CLIENT_POSTGRES_INT_H
#define SALVOR_CLIENT_POSTGRES_INT_H

#include "client/postgres.h"
#include <stdarg.h>

void pg_vformat(struct buf *out, const char *fmt, va_list args);

#endif
