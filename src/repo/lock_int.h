/* Locks, inside of the room. */
#ifndef SALVOR_REPO_LOCK_INT_H
#define SALVOR_REPO_LOCK_INT_H

#include "repo/repo_int.h"

#endif
