/* What a throwaway server is configured with: as fast as a server whose data nobody will miss can
 * be, within what the machine has, and with nothing in it that acts by itself. */
#include "base/file.h"
#include "base/mem.h"
#include "sandbox/sandbox_int.h"

#include <ctype.h>
#include <string.h>

#define MIB (UINT64_C(1) << 20)

/* "max" or a missing file gives no limit. */
static uint64_t limit_in(const char *path)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(64);
    struct err ignored = ERR_INIT;
    if (file_read(path, &text, &ignored) < 0 || !isdigit((unsigned char)*buf_str(&text)))
        return UINT64_MAX;
    uint64_t v = strtoull(buf_str(&text), NULL, 10);
    return v > 0 ? v : UINT64_MAX;
}

uint64_t sandbox_memory(void)
{
    static const char *const limits[] = {
        "/sys/fs/cgroup/memory.max",
        "/sys/fs/cgroup/memory/memory.limit_in_bytes",
    };
    long pages = sysconf(_SC_PHYS_PAGES), size = sysconf(_SC_PAGESIZE);
    uint64_t memory = pages > 0 && size > 0 ? (uint64_t)pages * (uint64_t)size : 512 * MIB;
    for (size_t i = 0; i < array_len(limits); i++) {
        uint64_t limit = limit_in(limits[i]);
        memory = limit < memory ? limit : memory;
    }
    return memory;
}

static unsigned long long clamp_mib(uint64_t bytes, uint64_t least, uint64_t most)
{
    uint64_t mib = bytes / MIB;
    return mib < least ? least : mib > most ? most : mib;
}

void sandbox_settings(const struct sandbox_place *p, uint64_t memory, uint64_t disk_free,
                      const char *preload, struct buf *out)
{
    buf_addf(out, "# A throwaway server of salvor.\n");
    /* Reached over the socket in a directory of mode 700, and by nothing else. */
    buf_addf(out, "listen_addresses = ''\nport = 5432\nunix_socket_permissions = 0700\n");
    /* A list, so that a name with a comma needs quotes of its own. */
    buf_adds(out, "unix_socket_directories = '\"");
    for (const char *c = p->socket_dir; *c != '\0'; c++)
        buf_addf(out, "%s%c", *c == '\'' ? "'" : *c == '"' ? "\"" : *c == '\\' ? "\\" : "", *c);
    buf_adds(out, "\"'\n");
    /* Nothing here is to survive a crash. */
    buf_adds(out, "fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n"
                  "wal_level = minimal\nmax_wal_senders = 0\nautovacuum = off\n"
                  "checkpoint_timeout = 1h\nbgwriter_lru_maxpages = 0\njit = off\n");
    buf_addf(out, "max_wal_size = %lluMB\n", clamp_mib(disk_free / 10, 256, 4096));
    buf_addf(out, "shared_buffers = %lluMB\n", clamp_mib(memory / 16, 32, 512));
    buf_addf(out, "maintenance_work_mem = %lluMB\n", clamp_mib(memory / 16, 64, 512));
    buf_addf(out, "work_mem = %lluMB\n", clamp_mib(memory / 256, 4, 32));
    /* /dev/shm is tiny in many containers. */
    buf_adds(out, "dynamic_shared_memory_type = mmap\n");
    buf_adds(out, "max_connections = 64\nmax_locks_per_transaction = 512\n"
                  "max_prepared_transactions = 0\n");
    /* A restored subscription or timed job must not reach out into the world. */
    buf_adds(out, "max_logical_replication_workers = 0\ncron.launch_active_jobs = off\n"
                  "timescaledb.telemetry_level = off\n");
    buf_adds(out, "logging_collector = off\nlog_destination = 'stderr'\n"
                  "log_min_messages = warning\nlog_checkpoints = off\n");
    if (*preload != '\0')
        buf_addf(out, "shared_preload_libraries = '%s'\n", preload);
}

bool sandbox_extension_preloads(const char *name)
{
    static const char *const names[] = {
        "citus",     "pg_cron",          "pg_net",         "pg_qualstats",
        "pg_search", "pg_squeeze",       "pg_stat_kcache", "pg_stat_statements",
        "pg_tle",    "pg_wait_sampling", "pgaudit",        "pglogical",
        "pgsodium",  "set_user",         "timescaledb",    "vchord",
        "vectors",
    };
    for (size_t i = 0; i < array_len(names); i++)
        if (strcmp(name, names[i]) == 0)
            return true;
    return false;
}

char *sandbox_extension_package(const char *name, int major)
{
    /* Those whose package is not called postgresql-<major>-<name, with dashes>; %d is the major
     * version. */
    static const struct {
        const char *extension, *package;
    } packages[] = {
        {"address_standardizer", "postgresql-%d-postgis-3"},
        {"pg_cron", "postgresql-%d-cron"},
        {"pg_partman", "postgresql-%d-partman"},
        {"pg_repack", "postgresql-%d-repack"},
        {"pg_squeeze", "postgresql-%d-squeeze"},
        {"pltcl", "postgresql-pltcl-%d"},
        {"plperl", "postgresql-plperl-%d"},
        {"plperlu", "postgresql-plperl-%d"},
        {"plpython3u", "postgresql-plpython3-%d"},
        {"postgis", "postgresql-%d-postgis-3"},
        {"postgis_raster", "postgresql-%d-postgis-3"},
        {"postgis_tiger_geocoder", "postgresql-%d-postgis-3"},
        {"postgis_topology", "postgresql-%d-postgis-3"},
        {"timescaledb", "timescaledb-2-postgresql-%d"},
        {"vector", "postgresql-%d-pgvector"},
    };
    for (size_t i = 0; i < array_len(packages); i++)
        if (strcmp(name, packages[i].extension) == 0)
            return str_fmt(packages[i].package, major);
    char *guess = str_fmt("postgresql-%d-%s", major, name);
    for (char *p = guess; *p != '\0'; p++)
        *p = *p == '_' ? '-' : *p;
    return guess;
}

bool sandbox_version_older(const char *have, const char *want)
{
    for (;;) {
        char *h, *w;
        unsigned long long a = strtoull(have, &h, 10), b = strtoull(want, &w, 10);
        if (h == have || w == want || a != b)
            return h != have && w != want && a < b;
        if (*h != '.' || *w != '.')
            return *w == '.'; /* 1.2 is older than 1.2.1 */
        have = h + 1;
        want = w + 1;
    }
}
