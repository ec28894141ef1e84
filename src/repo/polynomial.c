/* Polynomials over GF(2), one bit a coefficient: restic refuses a repository whose config does not
 * hold an irreducible one of degree 53. */
#include "crypt/crypt.h"
#include "repo/chunker.h"

enum { DEGREE = 53 };

/* a * b mod p, both below degree 53. */
static uint64_t multiply(uint64_t a, uint64_t b, uint64_t p)
{
    uint64_t product = 0;
    for (; b != 0; b >>= 1) {
        if (b & 1)
            product ^= a;
        a <<= 1;
        if (a >> DEGREE)
            a ^= p;
    }
    return product;
}

/* Rabin's test: x^(2^53) = x mod p, and since 53 is prime, p must merely have no common factor with
 * x^2 + x besides: neither x nor x + 1 divides it. */
bool polynomial_irreducible(uint64_t p)
{
    if (p >> DEGREE != 1)
        return false;
    if ((p & 1) == 0 || __builtin_parityll(p) == 0)
        return false;
    uint64_t power = 2; /* x */
    for (int i = 0; i < DEGREE; i++)
        power = multiply(power, power, p);
    return power == 2;
}

int polynomial_random(uint64_t *out, struct err *e)
{
    /* About one in 26 odd polynomials of this degree is irreducible. */
    for (;;) {
        uint64_t p;
        int rc = random_bytes(&p, sizeof p, e);
        if (rc < 0)
            return rc;
        p = (p & ((UINT64_C(1) << DEGREE) - 1)) | UINT64_C(1) << DEGREE | 1;
        if (polynomial_irreducible(p)) {
            *out = p;
            return 0;
        }
    }
}
