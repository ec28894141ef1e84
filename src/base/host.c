/* Facts of this machine, asked of the kernel and of files only: no child process. */
#include "base/host.h"
#include "base/file.h"
#include "base/host_int.h"
#include "base/mem.h"
#include "salvor_version.h"
#include <errno.h>
#include <limits.h>
#include <mntent.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>

char *host_name(void)
{
    const char *own = getenv("SALVOR_HOST");
    if (own != NULL && *own != 0)
        return str_dup(own);
    char name[HOST_NAME_MAX + 1] = "";
    if (gethostname(name, sizeof(name) - 1) < 0 || name[0] == 0)
        return str_dup("localhost");
    return str_dup(name);
}

char *host_user(void)
{
    uid_t uid = geteuid();
    struct passwd pw, *found = NULL;
    size_t size = 1024;
    _cleanup_free_ char *space = mem_alloc(size);
    int rc;
    while ((rc = getpwuid_r(uid, &pw, space, size, &found)) == ERANGE && size < (1 << 20)) {
        size *= 2;
        space = mem_resize(space, size, 1);
    }
    if (rc == 0 && found != NULL)
        return str_dup(pw.pw_name);
    return str_fmt("%lu", (unsigned long)uid);
}

/* The first line of a small file, "" if it cannot be read. */
static char *first_line(const char *path)
{
    _cleanup_(buf_release) struct buf text = BUF_INIT(4096);
    struct err e = ERR_INIT;
    if (file_read(path, &text, &e) != 0)
        return str_dup("");
    return str_ndup(buf_str(&text), strcspn(buf_str(&text), "\n"));
}

char *host_boot_id(void)
{
    return first_line("/proc/sys/kernel/random/boot_id");
}

char *host_pid_space(void)
{
    char name[64];
    ssize_t n = readlink("/proc/self/ns/pid", name, sizeof(name) - 1);
    return str_ndup(name, n > 0 ? (size_t)n : 0);
}

uint64_t host_stat_start(const char *line)
{
    /* The second field is the program's name in brackets, which may hold anything. */
    const char *p = strrchr(line, ')');
    if (p == NULL || p[1] != ' ' || p[2] == 'Z' || p[2] == 'X')
        return 0;
    p++;
    for (int field = 3; field < 22; field++) {
        p = strchr(p + 1, ' ');
        if (p == NULL)
            return 0;
    }
    char *end;
    errno = 0;
    uint64_t start = strtoull(p + 1, &end, 10);
    if (end == p + 1 || errno != 0)
        return 0;
    return start > 0 ? start : 1; /* a process of the kernel's first tick is one too */
}

uint64_t host_process_start(pid_t pid)
{
    if (pid <= 0)
        return 0;
    _cleanup_free_ char *path = str_fmt("/proc/%ld/stat", (long)pid);
    _cleanup_free_ char *line = first_line(path);
    if (line[0] != 0)
        return host_stat_start(line);
    /* Processes of others are not in /proc when it is mounted with hidepid. */
    return kill(pid, 0) == 0 || errno == EPERM ? HOST_START_UNKNOWN : 0;
}

char *host_setting(FILE *f, const char *key)
{
    _cleanup_free_ char *line = NULL;
    size_t size = 0, len = strlen(key);
    while (getline(&line, &size, f) > 0) {
        if (strncmp(line, key, len) != 0 || line[len] != '=')
            continue;
        const char *value = line + len + 1;
        size_t n = strcspn(value, "\r\n");
        if (n >= 2 && (value[0] == '"' || value[0] == '\'') && value[n - 1] == value[0])
            return str_ndup(value + 1, n - 2);
        return str_ndup(value, n);
    }
    return NULL;
}

static void put_system(struct json_out *j, const struct utsname *kernel)
{
    static const char *const path[] = {"/etc/os-release", "/usr/lib/os-release"};
    _cleanup_free_ char *name = NULL;
    for (size_t i = 0; i < array_len(path) && name == NULL; i++) {
        _cleanup_fclose_ FILE *f = fopen(path[i], "re");
        if (f != NULL)
            name = host_setting(f, "PRETTY_NAME");
    }
    json_text(j, "system", name != NULL ? name : kernel->sysname);
}

enum host_disk host_disk_kind(const char *device, const char *dir, const char *type)
{
    static const char *const remote[] = {"nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "afs"};
    for (size_t i = 0; i < array_len(remote); i++)
        if (str_eq(type, remote[i]))
            return HOST_DISK_REMOTE;
    if (str_eq(type, "fuse") || str_starts(type, "fuse."))
        return strchr(device, ':') != NULL ? HOST_DISK_REMOTE : HOST_DISK_NONE;
    if (str_eq(type, "squashfs") || str_eq(type, "iso9660") || str_eq(type, "devtmpfs"))
        return HOST_DISK_NONE; /* installed software, media */
    if (str_starts(device, "/dev/") || str_eq(type, "zfs"))
        return HOST_DISK_LOCAL;
    return str_eq(dir, "/") ? HOST_DISK_LOCAL : HOST_DISK_NONE; /* a container's root */
}

static void put_disk(struct json_out *j, const struct mntent *m, enum host_disk kind)
{
    json_begin_object(j);
    json_text(j, "path", m->mnt_dir);
    json_text(j, "device", m->mnt_fsname);
    json_text(j, "type", m->mnt_type);
    struct statvfs fs;
    if (kind == HOST_DISK_LOCAL && statvfs(m->mnt_dir, &fs) == 0) {
        json_u64(j, "size", (uint64_t)fs.f_blocks * fs.f_frsize);
        json_u64(j, "used", (uint64_t)(fs.f_blocks - fs.f_bfree) * fs.f_frsize);
    }
    json_end_object(j);
}

static void put_disks(struct json_out *j)
{
    json_key(j, "disks");
    json_begin_array(j);
    _cleanup_(str_list_release) struct str_list seen = {0};
    FILE *mounts = setmntent("/proc/self/mounts", "re");
    struct mntent m;
    char text[8192];
    while (mounts != NULL && getmntent_r(mounts, &m, text, sizeof(text)) != NULL) {
        enum host_disk kind = host_disk_kind(m.mnt_fsname, m.mnt_dir, m.mnt_type);
        if (kind == HOST_DISK_NONE || str_list_has(&seen, m.mnt_fsname))
            continue; /* what is mounted in several places is still one disk */
        str_list_add(&seen, m.mnt_fsname);
        put_disk(j, &m, kind);
    }
    if (mounts != NULL)
        (void)endmntent(mounts);
    json_end_array(j);
}

/* The value of a "Key: value" line without its newline, NULL if it is another key's. */
static const char *field(char *line, const char *key)
{
    size_t len = strlen(key);
    if (strncmp(line, key, len) != 0 || line[len] != ':')
        return NULL;
    char *value = line + len + 1;
    value += strspn(value, " \t");
    value[strcspn(value, "\r\n")] = 0;
    return value;
}

void host_packages(FILE *f, struct str_list *out)
{
    _cleanup_free_ char *line = NULL, *name = NULL, *version = NULL;
    size_t size = 0;
    bool installed = false, more = true;
    while (more) {
        more = getline(&line, &size, f) > 0;
        const char *v;
        if (!more || line[0] == '\n') { /* an empty line ends a package */
            if (installed && name != NULL && version != NULL)
                str_list_add_take(out, str_fmt("%s %s", name, version));
            free(take(name));
            free(take(version));
            installed = false;
        } else if ((v = field(line, "Package")) != NULL) {
            free(name);
            name = str_dup(v);
        } else if ((v = field(line, "Version")) != NULL) {
            free(version);
            version = str_dup(v);
        } else if ((v = field(line, "Status")) != NULL) {
            installed = str_ends(v, " installed"); /* not " not-installed", " config-files" */
        }
    }
    str_list_sort(out);
}

static void put_packages(struct json_out *j)
{
    _cleanup_fclose_ FILE *f = fopen("/var/lib/dpkg/status", "re");
    if (f == NULL)
        return;
    _cleanup_(str_list_release) struct str_list list = {0};
    host_packages(f, &list);
    json_u64(j, "package_count", list.n);
    json_key(j, "packages");
    json_begin_array(j);
    for (size_t i = 0; i < list.n; i++)
        json_put_text(j, list.s[i]);
    json_end_array(j);
}

void host_facts(struct json_out *j)
{
    struct utsname kernel = {0};
    (void)uname(&kernel);
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

    json_begin_object(j);
    put_system(j, &kernel);
    _cleanup_free_ char *release = str_fmt("%s %s", kernel.sysname, kernel.release);
    json_text(j, "kernel", release);
    json_text(j, "architecture", kernel.machine);
    json_u64(j, "processors", processors > 0 ? (uint64_t)processors : 1);
    json_u64(j, "memory", pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0);
    put_disks(j);
    put_packages(j);
    json_text(j, "salvor", SALVOR_VERSION);
    json_end_object(j);
}
