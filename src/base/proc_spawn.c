/* Making a child: everything that needs memory is prepared before fork, since the child of a
 * program with threads may only make system calls until it runs the new program. */
#include "base/mem.h"
#include "base/proc_int.h"
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

extern char **environ;

/* Whether a and b, "NAME=value" or "NAME", speak of the same variable. */
static bool same_name(const char *a, const char *b)
{
    size_t len = strcspn(a, "=");
    return strcspn(b, "=") == len && memcmp(a, b, len) == 0;
}

/* Our environment with `changes` made to it; the array is the caller's, the texts are not. */
static const char **environment(const char *const *changes)
{
    size_t ours = 0, more = 0, n = 0;
    while (environ != NULL && environ[ours] != NULL)
        ours++;
    while (changes != NULL && changes[more] != NULL)
        more++;
    const char **out = mem_array(ours + more + 1, sizeof(*out));
    for (size_t i = 0; i < ours; i++) {
        bool changed = false;
        for (size_t j = 0; j < more && !changed; j++)
            changed = same_name(environ[i], changes[j]);
        if (!changed)
            out[n++] = environ[i];
    }
    for (size_t j = 0; j < more; j++) {
        bool last = strchr(changes[j], '=') != NULL; /* of several, the last counts */
        for (size_t k = j + 1; k < more && last; k++)
            last = !same_name(changes[j], changes[k]);
        if (last)
            out[n++] = changes[j];
    }
    return out;
}

struct plan {
    const struct proc_options *o;
    const char **env;
    const int *files;
    int report; /* where the child writes the errno of what failed */
    pid_t parent;
    int most_fds;
};

/* Descriptors beyond the three are ours, and libraries' that forgot to say close-on-exec. */
static void close_the_rest_on_exec(int most)
{
#if defined(SYS_close_range)
    if (syscall(SYS_close_range, 3u, ~0u, 4u /* CLOSE_RANGE_CLOEXEC */) == 0)
        return;
#endif
    for (int fd = 3; fd < most; fd++)
        (void)fcntl(fd, F_SETFD, FD_CLOEXEC);
}

/* Puts the files onto 0, 1 and 2, whichever of these numbers they have now. */
static bool place_files(int files[3])
{
    for (int i = 0; i < 3; i++) {
        if (files[i] >= 0 && files[i] <= 2 && files[i] != i) {
            files[i] = fcntl(files[i], F_DUPFD_CLOEXEC, 3);
            if (files[i] < 0)
                return false;
        }
    }
    for (int i = 0; i < 3; i++) {
        if (files[i] == i ? fcntl(i, F_SETFD, 0) < 0 : dup2(files[i], i) < 0)
            return false;
    }
    return true;
}

/* By system call: the library's own wrappers would ask the other threads, which are not here. */
static bool become(const struct proc_options *o)
{
    return !o->become || (syscall(SYS_setgroups, (size_t)0, NULL) == 0 &&
                          syscall(SYS_setresgid, o->gid, o->gid, o->gid) == 0 &&
                          syscall(SYS_setresuid, o->uid, o->uid, o->uid) == 0);
}

static bool die_with_parent(const struct plan *p)
{
    if (p->o->death_signal == 0)
        return true;
    if (prctl(PR_SET_PDEATHSIG, p->o->death_signal) < 0)
        return false;
    if (getppid() != p->parent) /* it went before we asked */
        _exit(127);
    return true;
}

static _Noreturn void run_child(const struct plan *p)
{
    union { /* execvpe promises not to write to the words */
        const char *const *in;
        char *const *out;
    } words = {.in = p->o->argv}, env = {.in = p->env};
    struct sigaction normal = {.sa_handler = SIG_DFL};
    sigset_t none;
    (void)sigemptyset(&none);
    int files[3] = {p->files[0], p->files[1], p->files[2]};
    if (setpgid(0, 0) == 0 && sigaction(SIGPIPE, &normal, NULL) == 0 && place_files(files) &&
        become(p->o) && (p->o->dir == NULL || chdir(p->o->dir) == 0) && die_with_parent(p)) {
        close_the_rest_on_exec(p->most_fds);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        (void)execvpe(p->o->argv[0], words.out, env.out);
    }
    int sys = errno;
    while (write(p->report, &sys, sizeof(sys)) < 0 && errno == EINTR) {
    }
    _exit(127);
}

/* What the child reported: an errno, or 0 when the new program runs. */
static int read_report(int fd)
{
    int sys = 0;
    ssize_t n;
    while ((n = read(fd, &sys, sizeof(sys))) < 0 && errno == EINTR) {
    }
    return n == (ssize_t)sizeof(sys) ? sys : 0;
}

static int explain(const struct proc_options *o, const char *name, int sys, struct err *e)
{
    (void)err_sys(e, sys, "cannot run %s", name);
    if (o->become && sys == EPERM)
        return err_hint(e, "only root can run it as user %u", (unsigned)o->uid);
    if (o->dir != NULL && access(o->dir, X_OK) != 0)
        return err_hint(e, "can its working directory %s be entered?", o->dir);
    /* A directory of PATH that we may not read turns "not found" into "permission denied". */
    bool absent = sys == ENOENT || sys == EACCES;
    return absent ? err_hint(e, "is it installed, in PATH and executable?") : e->code;
}

int proc_spawn(const struct proc_options *o, const char *name, const int files[3], pid_t *pid,
               struct err *e)
{
    int report[2];
    if (pipe2(report, O_CLOEXEC) < 0)
        return err_sys(e, errno, "cannot run %s: cannot make a pipe", name);
    _cleanup_close_ int answer = report[0];
    _cleanup_close_ int asked = report[1];
    if (report[1] <= 2) { /* the child is about to use these numbers */
        int higher = fcntl(report[1], F_DUPFD_CLOEXEC, 3);
        if (higher < 0)
            return err_sys(e, errno, "cannot run %s", name);
        (void)close(report[1]);
        asked = higher;
    }
    _cleanup_free_ const char **env = environment(o->env);
    struct plan plan = {.o = o, .env = env, .files = files, .report = asked, .parent = getpid()};
    long most = sysconf(_SC_OPEN_MAX);
    plan.most_fds = most > 0 && most < 65536 ? (int)most : 65536;

    /* A handler of ours must not run in the child. */
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid_t child = fork();
    int sys = errno;
    if (child == 0)
        run_child(&plan);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (child < 0)
        return err_sys(e, sys, "cannot run %s", name);
    (void)close(take_fd(&asked));
    sys = read_report(answer);
    if (sys == 0) {
        *pid = child;
        return 0;
    }
    while (waitpid(child, NULL, 0) < 0 && errno == EINTR) {
    }
    return explain(o, name, sys, e);
}
