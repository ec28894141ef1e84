/* Cuts a stream by its content. A byte enters the hash by `h = 2h + gear[byte]`, so after 64 bytes
 * it has left it again: whether there is a cut at a place depends on the 64 bytes before it only.
 * Since a chunk has at least CHUNK_LEAST bytes, hashing starts 64 bytes before that. */
#include "repo/chunker.h"
#include "crypt/crypt.h"
#include <string.h>

enum {
    WINDOW = 64,
    /* One place in 2^19 is a cut, so the mean is CHUNK_LEAST + 512 KiB. The highest bits of the
     * hash are asked because all 64 bytes of the window reach them. */
    CUT_BITS = 19,
};

/* The table follows from the polynomial by SHA-256, so that the sizes of chunks in one repository
 * say nothing about those of the same file in another. */
void chunker_init(struct chunker *c, uint64_t polynomial)
{
    uint8_t seed[9];
    for (int i = 0; i < 8; i++)
        seed[i] = (uint8_t)(polynomial >> (8 * i));
    for (int byte = 0; byte < 256; byte++) {
        struct id digest;
        seed[8] = (uint8_t)byte;
        sha256(seed, sizeof seed, &digest);
        uint64_t value = 0;
        for (int i = 0; i < 8; i++)
            value |= (uint64_t)digest.byte[i] << (8 * i);
        c->gear[byte] = value;
    }
}

size_t chunker_cut(const struct chunker *c, const uint8_t *data, size_t len)
{
    const uint64_t mask = ~(UINT64_MAX >> CUT_BITS);
    if (len <= CHUNK_LEAST)
        return len;
    const uint64_t *gear = c->gear;
    const uint8_t *p = data + CHUNK_LEAST - WINDOW;
    const uint8_t *end = data + (len < CHUNK_MOST ? len : CHUNK_MOST);
    uint64_t h = 0;
    for (; p < data + CHUNK_LEAST; p++)
        h = (h << 1) + gear[*p];
    if ((h & mask) == 0)
        return CHUNK_LEAST;

#define STEP(i)                                                                                    \
    h = (h << 1) + gear[p[i]];                                                                     \
    if (__builtin_expect((h & mask) == 0, 0))                                                      \
        return (size_t)(p - data) + (i) + 1;

    while (end - p >= 8) {
        STEP(0)
        STEP(1)
        STEP(2)
        STEP(3)
        STEP(4)
        STEP(5)
        STEP(6)
        STEP(7)
        p += 8;
    }
    for (; p < end; p++) {
        STEP(0)
    }
#undef STEP
    return (size_t)(end - data);
}
