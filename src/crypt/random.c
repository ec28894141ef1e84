/* Randomness, and keeping secrets out of core dumps. Nothing is buffered here: OpenSSL's generator
 * is per thread, fast, and safe across fork, which a buffer of our own would not be (a child that
 * repeats its parent's initialisation vectors gives both their plaintexts away). */
#include "crypt/crypt_int.h"
#include <limits.h>
#include <openssl/rand.h>
#include <sys/prctl.h>
#include <sys/resource.h>

int random_bytes(void *out, size_t len, struct err *e)
{
    uint8_t *p = out;
    while (len > 0) {
        int n = len < INT_MAX ? (int)len : INT_MAX;
        if (RAND_bytes(p, n) != 1)
            return crypt_fail(e, "get random bytes");
        p += n;
        len -= (size_t)n;
    }
    return 0;
}

void secrets_protect_process(void)
{
    /* Each is a second line of defence: where the system refuses, the program still works. The
     * limit alone does not stop a core dump that goes to a pipe, such as systemd-coredump's. */
    struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
}
