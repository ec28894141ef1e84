/* cmocka and the headers that it wants before it. */
#ifndef SALVOR_TEST_UNIT_BASE_UNIT_H
#define SALVOR_TEST_UNIT_BASE_UNIT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after those */
#include <cmocka.h>

#endif
