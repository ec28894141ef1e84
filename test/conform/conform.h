/* The conformance suite of stores: every driver keeps every sentence of store/store.h. */
#ifndef SALVOR_TEST_CONFORM_H
#define SALVOR_TEST_CONFORM_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include "store/store.h"
#include <cmocka.h>

struct place;

/* A driver under test. */
struct driver {
    const char *name;
    /* Opens the store of a place: an empty directory to begin with, which the driver may use or
     * not. Returns NULL and fills e if it cannot. */
    struct store *(*open)(struct place *p, struct err *e);
    bool durable; /* opening the same place again, from any process, finds the same objects */
};

/* Where one test's store is; made before and removed after it. */
struct place {
    const struct driver *driver;
    char directory[64];
    struct fault_plan plan; /* for drivers with faults */
    struct store *s;        /* opened once */
};

extern const struct driver drivers[];
extern const size_t ndrivers;

struct store *place_open_again(struct place *p);

/* `len` bytes that follow from `seed`; the caller frees. */
uint8_t *some_bytes(uint64_t seed, size_t len);
void put_bytes(struct store *s, const char *name, uint64_t seed, size_t len);
/* Fails the test unless the object has exactly these bytes. */
void assert_bytes(struct store *s, const char *name, uint64_t seed, size_t len);
/* Whether a buffer holds exactly these bytes; for threads, which may not assert. */
bool holds_bytes(const struct buf *b, uint64_t seed, size_t len);
bool exists(struct store *s, const char *name);

/* The groups of tests, each ended by one without a function. */
extern const struct CMUnitTest objects_tests[], listing_tests[], crowd_tests[];

#endif
