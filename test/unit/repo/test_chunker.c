/* Where streams are cut: limits, the same cuts again after an insertion, and the frozen table. */
#include "base/id.h"
#include "base/mem.h"
#include "crypt/crypt.h"
#include "repo/chunker.h"
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static const uint64_t POLYNOMIAL = UINT64_C(0x3DA3358B4DC173); /* the one of restic's tests */

/* The same bytes everywhere: xorshift64*. */
static void fill(uint8_t *data, size_t len, uint64_t seed)
{
    for (size_t i = 0; i < len; i++) {
        seed ^= seed >> 12;
        seed ^= seed << 25;
        seed ^= seed >> 27;
        data[i] = (uint8_t)((seed * UINT64_C(0x2545F4914F6CDD1D)) >> 56);
    }
}

/* Cuts all of it; writes the lengths, returns how many. */
static size_t cut_all(const struct chunker *c, const uint8_t *data, size_t len, size_t *cut,
                      size_t most)
{
    size_t n = 0;
    while (len > 0 && n < most) {
        size_t one = chunker_cut(c, data, len);
        assert_true(one > 0 && one <= len && one <= CHUNK_MOST);
        cut[n++] = one;
        data += one;
        len -= one;
    }
    assert_int_equal(len, 0);
    return n;
}

/* The plain definition: the hash of the 64 bytes before a place. */
static size_t cut_slowly(const struct chunker *c, const uint8_t *data, size_t len)
{
    for (size_t at = CHUNK_LEAST; at < len && at < CHUNK_MOST; at++) {
        uint64_t h = 0;
        for (size_t i = at - 64; i < at; i++)
            h = h * 2 + c->gear[data[i]];
        if (h >> 45 == 0)
            return at;
    }
    return len < CHUNK_MOST ? len : CHUNK_MOST;
}

static void cuts_are_frozen(void **state)
{
    (void)state;
    enum { LEN = 64 << 20 };
    _cleanup_free_ uint8_t *data = mem_alloc(LEN);
    struct chunker c;
    chunker_init(&c, POLYNOMIAL);
    fill(data, LEN, 1);
    size_t cut[200];
    size_t n = cut_all(&c, data, LEN, cut, array_len(cut));
    /* One digest of all lengths as little-endian u64; the first ones in the open. */
    struct id digest;
    char hex[ID_HEX + 1];
    sha256(cut, n * sizeof *cut, &digest);
    assert_string_equal(id_hex(&digest, hex),
                        "7d540f62afcda15402f6c92ec39eb35457c8e2b006f974aaf3a357778dbc8efa");
    assert_int_equal(n, 66);
    static const size_t first[] = {999910, 611262, 686624, 2012564, 1902783, 751158};
    for (size_t i = 0; i < array_len(first); i++)
        assert_int_equal(cut[i], first[i]);
}

static void cuts_are_as_defined(void **state)
{
    (void)state;
    enum { LEN = 24 << 20 };
    _cleanup_free_ uint8_t *data = mem_alloc(LEN);
    struct chunker c;
    chunker_init(&c, POLYNOMIAL);
    fill(data, LEN, 7);
    for (size_t at = 0; at < LEN;) {
        size_t one = chunker_cut(&c, data + at, LEN - at);
        assert_int_equal(one, cut_slowly(&c, data + at, LEN - at));
        at += one;
    }
}

static void limits_hold(void **state)
{
    (void)state;
    enum { LEN = CHUNK_MOST + 12345 };
    _cleanup_free_ uint8_t *data = mem_zero(LEN);
    struct chunker c;
    chunker_init(&c, POLYNOMIAL);
    assert_int_equal(chunker_cut(&c, data, 0), 0);
    assert_int_equal(chunker_cut(&c, data, 1), 1);
    assert_int_equal(chunker_cut(&c, data, CHUNK_LEAST), CHUNK_LEAST);
    assert_int_equal(chunker_cut(&c, data, LEN), CHUNK_MOST); /* zeros never cut here */
    assert_int_equal(chunker_cut(&c, data, CHUNK_MOST - 1), CHUNK_MOST - 1);
}

static void cuts_meet_again_after_an_insertion(void **state)
{
    (void)state;
    enum { LEN = 32 << 20, SHIFT = 1000 };
    _cleanup_free_ uint8_t *data = mem_alloc(LEN + SHIFT);
    struct chunker c;
    chunker_init(&c, POLYNOMIAL);
    fill(data, SHIFT, 99);
    fill(data + SHIFT, LEN, 3);
    size_t a[100], b[100];
    size_t na = cut_all(&c, data + SHIFT, LEN, a, array_len(a));
    size_t nb = cut_all(&c, data, LEN + SHIFT, b, array_len(b));
    size_t same = 0;
    for (size_t i = 1; i <= na && i <= nb && a[na - i] == b[nb - i]; i++)
        same++;
    assert_true(same >= na / 2);
}

static void tables_differ_between_repositories(void **state)
{
    (void)state;
    struct chunker a, b;
    chunker_init(&a, POLYNOMIAL);
    chunker_init(&b, POLYNOMIAL ^ 6);
    assert_memory_not_equal(a.gear, b.gear, sizeof a.gear);
}

static void speed(void **state)
{
    (void)state;
    enum { LEN = 256 << 20 };
    _cleanup_free_ uint8_t *data = mem_alloc(LEN);
    struct chunker c;
    chunker_init(&c, POLYNOMIAL);
    fill(data, LEN, 5);
    struct timespec from, to;
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    for (size_t at = 0; at < LEN;)
        at += chunker_cut(&c, data + at, LEN - at);
    (void)clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    /* 6,200 MB/s here, since half of the bytes are never looked at; told, not judged. */
    print_message("chunker: %.0f MB/s\n", LEN / s / 1e6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cuts_are_frozen),
        cmocka_unit_test(cuts_are_as_defined),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(cuts_meet_again_after_an_insertion),
        cmocka_unit_test(tables_differ_between_repositories),
        cmocka_unit_test(speed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
