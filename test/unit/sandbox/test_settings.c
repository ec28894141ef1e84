/* What a throwaway server is told, and what is known of extensions. */
#include "sandbox/sandbox_int.h"
#include "test/unit/unit.h"

#include <string.h>

static void compares_versions(void **state)
{
    (void)state;
    assert_true(sandbox_version_older("0.4.4", "0.5"));
    assert_true(sandbox_version_older("1.9", "1.10"));
    assert_true(sandbox_version_older("1.2", "1.2.1"));
    assert_false(sandbox_version_older("1.2.1", "1.2"));
    assert_false(sandbox_version_older("3.3.2", "3.3.2"));
    assert_false(sandbox_version_older("2.0-dev", "1.9"));
    assert_false(sandbox_version_older("unpackaged", "1.0"));
    assert_false(sandbox_version_older("", ""));
}

static void names_packages(void **state)
{
    (void)state;
    static const char *const known[][2] = {
        {"vector", "postgresql-15-pgvector"},
        {"postgis_topology", "postgresql-15-postgis-3"},
        {"plpython3u", "postgresql-plpython3-15"},
        {"some_thing", "postgresql-15-some-thing"},
    };
    for (size_t i = 0; i < array_len(known); i++) {
        _cleanup_free_ char *package = sandbox_extension_package(known[i][0], 15);
        assert_string_equal(package, known[i][1]);
    }
    assert_true(sandbox_extension_preloads("timescaledb"));
    assert_false(sandbox_extension_preloads("pgcrypto"));
}

static void stays_within_the_machine(void **state)
{
    (void)state;
    struct sandbox_place p = {.dir = (char *)(uintptr_t) "/d",
                              .socket_dir = (char *)(uintptr_t) "/with 'quote"};
    _cleanup_(buf_release) struct buf small = BUF_INIT(BUF_TEXT), large = BUF_INIT(BUF_TEXT);
    sandbox_settings(&p, UINT64_C(256) << 20, UINT64_C(1) << 30, "", &small);
    sandbox_settings(&p, UINT64_C(512) << 30, UINT64_C(9) << 40, "citus, pg_cron", &large);
    assert_non_null(strstr(buf_str(&small), "shared_buffers = 32MB\n"));
    assert_non_null(strstr(buf_str(&small), "max_wal_size = 256MB\n"));
    assert_non_null(strstr(buf_str(&large), "shared_buffers = 512MB\n"));
    assert_non_null(strstr(buf_str(&large), "shared_preload_libraries = 'citus, pg_cron'\n"));
    assert_null(strstr(buf_str(&small), "shared_preload_libraries"));
    assert_non_null(strstr(buf_str(&small), "listen_addresses = ''\n"));
    assert_non_null(strstr(buf_str(&small), "unix_socket_directories = '\"/with ''quote\"'\n"));
    assert_true(sandbox_memory() > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(compares_versions),
        cmocka_unit_test(names_packages),
        cmocka_unit_test(stays_within_the_machine),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
