/* The statements in sql/, embedded at build. */
#ifndef SALVOR_CLIENT_POSTGRES_SQL_H
#define SALVOR_CLIENT_POSTGRES_SQL_H

extern const char sql_at_work[];
extern const char sql_blockers[];
extern const char sql_lock_holders[];

#endif
