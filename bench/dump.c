/* Writes what pg_dump writes of a shop's database: `dump BYTES [SEED]` to standard output. The same
 * seed gives the same bytes. Compresses about as real dumps do, to between a third and a quarter.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state;

static uint64_t random_next(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state * UINT64_C(2685821657736338717);
}

static unsigned below(unsigned n)
{
    return (unsigned)((random_next() >> 33) % n);
}

/* More often small than large, as real choices are. */
static unsigned skewed(unsigned n)
{
    unsigned a = below(n), b = below(n), c = below(n);
    unsigned least = a < b ? a : b;
    return least < c ? least : c;
}

static const char *const words[] = {
    "the",      "order",    "was",     "delivered", "late",   "and",     "customer", "asked",
    "for",      "a",        "refund",  "which",     "we",     "granted", "after",    "checking",
    "stock",    "in",       "central", "warehouse", "please", "confirm", "address",  "before",
    "shipping", "invoice",  "paid",    "by",        "card",   "gift",    "wrapped",  "with",
    "note",     "returned", "because", "size",      "did",    "not",     "fit",      "replacement",
    "sent",     "same",     "day",     "carrier",   "lost",   "parcel",  "insured",  "value",
    "discount", "code",     "applied", "twice",     "manual", "review",  "needed",   "priority",
    "handling", "fragile",  "glass",   "kitchen",   "garden", "bicycle", "lamp",     "curtain",
};
static const char *const names[] = {"anna",  "ben",   "carla", "david", "elena", "farid",
                                    "grace", "hugo",  "ines",  "jonas", "kemal", "lena",
                                    "marco", "nadia", "oskar", "priya"};
static const char *const states[] = {"delivered", "shipped",  "paid",
                                     "new",       "returned", "cancelled"};

static void text(unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        printf("%s%s", i > 0 ? " " : "", words[skewed(64)]);
}

static void order(uint64_t id, uint64_t second)
{
    printf("%llu\t%u\t2026-%02u-%02u %02u:%02u:%02u.%06u+00\t%s\t%u.%02u\t", (unsigned long long)id,
           1 + skewed(200000), (unsigned)(1 + second / 2592000 % 12),
           (unsigned)(1 + second / 86400 % 28), (unsigned)(second / 3600 % 24),
           (unsigned)(second / 60 % 60), (unsigned)(second % 60), below(1000000), states[skewed(6)],
           5 + skewed(500), below(100));
    text(3 + below(14));
    printf("\t%08llx-%04x-4%03x-a%03x-%012llx\n", (unsigned long long)random_next() >> 32,
           below(65536), below(4096), below(4096), (unsigned long long)random_next() >> 16);
}

static void customer(uint64_t id)
{
    const char *name = names[below(16)];
    printf(
        "%llu\t%s %c.\t%s.%u@example.%s\t{\"city\": \"%s\", \"newsletter\": %s, \"points\": %u}\n",
        (unsigned long long)id, name, 'A' + (char)below(26), name, below(100000),
        below(3) ? "com" : "org", names[below(16)], below(2) ? "true" : "false", below(5000));
}

static void item(uint64_t id)
{
    printf("%llu\t%llu\t%u\t%u\t%u.%02u\t\\N\n", (unsigned long long)id,
           (unsigned long long)(id / 3 + 1), 1 + skewed(30000), 1 + skewed(9), 1 + skewed(300),
           below(100));
}

int main(int argc, char **argv)
{
    uint64_t size = argc > 1 ? strtoull(argv[1], NULL, 10) : 0;
    state = (argc > 2 ? strtoull(argv[2], NULL, 10) : 1) * UINT64_C(0x9E3779B97F4A7C15) + 1;
    static char buffer[1 << 20];
    (void)setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    printf("--\n-- PostgreSQL database dump\n--\n\nSET client_encoding = 'UTF8';\n\n");
    uint64_t written = 0, id = 1, second = 0;
    for (unsigned table = 0; written < size; table++) {
        static const char *const heads[] = {
            "orders (id, customer, at, state, total, note, reference)",
            "order_items (id, order_id, product, quantity, price, remark)",
            "customers (id, name, email, profile)"};
        printf("COPY public.%s FROM stdin;\n", heads[table % 3]);
        for (unsigned row = 0; row < 200000 && written < size; row++, id++) {
            if (table % 3 == 0)
                order(id, second += below(90));
            else if (table % 3 == 1)
                item(id);
            else
                customer(id);
            if (row % 64 == 63)
                written = (uint64_t)ftello(stdout);
        }
        printf("\\.\n\n\n");
    }
    printf("--\n-- PostgreSQL database dump complete\n--\n");
    return fflush(stdout) == 0 ? 0 : 1;
}
