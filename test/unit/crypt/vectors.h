/* What the tests of this room share: test vectors are written in hexadecimal. */
#ifndef SALVOR_TEST_CRYPT_VECTORS_H
#define SALVOR_TEST_CRYPT_VECTORS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

static inline unsigned digit(char c)
{
    const char *all = "0123456789abcdef", *at = strchr(all, c);
    assert_true(c != '\0' && at != NULL);
    return (unsigned)(at - all);
}

/* Decodes all of hex into out, returns the number of bytes. */
static inline size_t unhex(const char *hex, void *out)
{
    uint8_t *p = out;
    size_t n = strlen(hex) / 2;
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return n;
}

#endif
