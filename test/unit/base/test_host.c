/* Facts of the host: the parts that read text, and a look at this machine. */
#include "base/host.h"
#include "base/host_int.h"
#include "test/unit/unit.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static FILE *text_file(const char *text)
{
    FILE *f = tmpfile();
    assert_non_null(f);
    assert_int_equal(fputs(text, f) >= 0, 1);
    rewind(f);
    return f;
}

static void settings(void **state)
{
    (void)state;
    static const char text[] =
        "# comment\nNAME='Debian'\nPRETTY_NAME=\"Debian 12\"\nID=debian\nX=\n";
    static const struct {
        const char *key, *value;
    } c[] = {{"NAME", "Debian"}, {"PRETTY_NAME", "Debian 12"}, {"ID", "debian"}, {"X", ""}};
    for (size_t i = 0; i < array_len(c); i++) {
        _cleanup_fclose_ FILE *f = text_file(text);
        _cleanup_free_ char *value = host_setting(f, c[i].key);
        assert_string_equal(value, c[i].value);
    }
    _cleanup_fclose_ FILE *f = text_file(text);
    assert_null(host_setting(f, "VERSION"));
}

static void packages(void **state)
{
    (void)state;
    _cleanup_fclose_ FILE *f = text_file("Package: zlib\n"
                                         "Status: install ok installed\n"
                                         "Version: 1:1.2\n"
                                         "Description: text\n"
                                         " Package: not this\n"
                                         "\n"
                                         "Package: gone\n"
                                         "Status: deinstall ok config-files\n"
                                         "Version: 1\n"
                                         "\n"
                                         "Package: never\n"
                                         "Status: unknown ok not-installed\n"
                                         "\n"
                                         "Package: acl\n"
                                         "Status: hold ok installed\n"
                                         "Version: 2.3\n");
    _cleanup_(str_list_release) struct str_list l = {0};
    host_packages(f, &l);
    assert_int_equal(l.n, 2);
    assert_string_equal(l.s[0], "acl 2.3");
    assert_string_equal(l.s[1], "zlib 1:1.2");
}

static void disks(void **state)
{
    (void)state;
    assert_int_equal(host_disk_kind("/dev/sda1", "/", "ext4"), HOST_DISK_LOCAL);
    assert_int_equal(host_disk_kind("overlay", "/", "overlay"), HOST_DISK_LOCAL);
    assert_int_equal(host_disk_kind("tank/data", "/data", "zfs"), HOST_DISK_LOCAL);
    assert_int_equal(host_disk_kind("nas:/x", "/mnt", "nfs4"), HOST_DISK_REMOTE);
    assert_int_equal(host_disk_kind("u@h:/x", "/mnt", "fuse.sshfs"), HOST_DISK_REMOTE);
    assert_int_equal(host_disk_kind("overlay", "/var/lib/docker/x", "overlay"), HOST_DISK_NONE);
    assert_int_equal(host_disk_kind("/dev/loop3", "/snap/x", "squashfs"), HOST_DISK_NONE);
    assert_int_equal(host_disk_kind("proc", "/proc", "proc"), HOST_DISK_NONE);
    assert_int_equal(host_disk_kind("tmpfs", "/tmp", "tmpfs"), HOST_DISK_NONE);
    assert_int_equal(host_disk_kind("/dev/fuse", "/run/doc", "fuse"), HOST_DISK_NONE);
}

static void start_of_a_process(void **state)
{
    (void)state;
    static const char rest[] = " 1 1 1 0 -1 4 5 6 7 8 9 10 11 12 20 0 1 0 4711 1000 2";
    char line[200];
    (void)snprintf(line, sizeof(line), "77 (a) Z (b) S%s", rest);
    assert_int_equal(host_stat_start(line), 4711);
    (void)snprintf(line, sizeof(line), "77 (a) Z%s", rest);
    assert_int_equal(host_stat_start(line), 0);
    assert_int_equal(host_stat_start(""), 0);
    assert_int_equal(host_stat_start("77 (a) S 1 1"), 0);
    assert_int_equal(host_stat_start("77 (a"), 0);

    uint64_t own = host_process_start(getpid());
    assert_true(own > 0 && own != HOST_START_UNKNOWN);
    assert_true(own == host_process_start(getpid()));
    assert_int_equal(host_process_start(0), 0);
    assert_int_equal(host_process_start(-1), 0);
}

static void ended_process_has_no_start(void **state)
{
    (void)state;
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0)
        _exit(0);
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_int_equal(host_process_start(pid), 0); /* a zombie */
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(host_process_start(pid), 0);
}

static void identity(void **state)
{
    (void)state;
    (void)setenv("SALVOR_HOST", "elsewhere", 1);
    _cleanup_free_ char *given = host_name();
    assert_string_equal(given, "elsewhere");
    (void)unsetenv("SALVOR_HOST");
    _cleanup_free_ char *name = host_name(), *user = host_user(), *boot = host_boot_id(),
                        *space = host_pid_space();
    assert_true(name[0] != 0 && user[0] != 0);
    assert_true(boot[0] == 0 || strlen(boot) == 36);
    assert_true(space[0] == 0 || strncmp(space, "pid:[", 5) == 0);
}

static void facts_are_an_object(void **state)
{
    (void)state;
    struct err e = ERR_INIT;
    _cleanup_(buf_release) struct buf text = BUF_INIT(BUF_JSON);
    struct json_out out;
    json_out_init(&out, &text);
    host_facts(&out);
    assert_int_equal(json_out_finish(&out, &e), 0);

    struct json_in in;
    const char *key;
    uint64_t memory = 0, processors = 0, count = 0, packages_seen = 0;
    json_in_init(&in, text.data, text.len);
    json_object(&in);
    while ((key = json_next_key(&in)) != NULL) {
        if (strcmp(key, "memory") == 0)
            memory = json_get_u64(&in);
        else if (strcmp(key, "processors") == 0)
            processors = json_get_u64(&in);
        else if (strcmp(key, "package_count") == 0)
            count = json_get_u64(&in);
        else if (strcmp(key, "packages") == 0) {
            json_array(&in);
            while (json_next_item(&in)) {
                assert_non_null(strchr(json_get_string(&in, NULL), ' '));
                packages_seen++;
            }
        } else
            json_skip(&in);
    }
    assert_int_equal(json_in_finish(&in, "facts", &e), 0);
    assert_true(memory > 1 << 20);
    assert_true(processors >= 1);
    assert_true(count == packages_seen);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings),
        cmocka_unit_test(packages),
        cmocka_unit_test(disks),
        cmocka_unit_test(start_of_a_process),
        cmocka_unit_test(ended_process_has_no_start),
        cmocka_unit_test(identity),
        cmocka_unit_test(facts_are_an_object),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
