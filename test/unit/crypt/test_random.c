/* Randomness differs, also between a process and its child; protection from core dumps holds. */
#include "vectors.h"

#include "crypt/crypt.h"
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

static void differs(void **state)
{
    (void)state;
    uint8_t seen[64][16];
    struct err e = ERR_INIT;
    for (size_t i = 0; i < array_len(seen); i++) {
        assert_int_equal(random_bytes(seen[i], sizeof seen[i], &e), 0);
        for (size_t j = 0; j < i; j++)
            assert_memory_not_equal(seen[i], seen[j], sizeof seen[i]);
    }
    assert_int_equal(random_bytes(seen, 0, &e), 0);
}

static void a_child_does_not_repeat_its_parent(void **state)
{
    (void)state;
    uint8_t warm[16], own[16], childs[16];
    struct err e = ERR_INIT;
    int fd[2], status;
    assert_int_equal(random_bytes(warm, sizeof warm, &e), 0);
    assert_int_equal(pipe(fd), 0);
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        bool sent = random_bytes(own, sizeof own, &e) == 0 &&
                    write(fd[1], own, sizeof own) == (ssize_t)sizeof own;
        _exit(sent ? 0 : 1);
    }
    assert_int_equal(random_bytes(own, sizeof own, &e), 0);
    assert_int_equal(read(fd[0], childs, sizeof childs), sizeof childs);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    assert_memory_not_equal(own, childs, sizeof own);
    (void)close(fd[0]);
    (void)close(fd[1]);
}

static void no_core_dumps(void **state)
{
    (void)state;
    int status;
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit limit;
        secrets_protect_process();
        _exit(getrlimit(RLIMIT_CORE, &limit) == 0 && limit.rlim_cur == 0 &&
                      prctl(PR_GET_DUMPABLE, 0, 0, 0, 0) == 0
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(differs),
        cmocka_unit_test(a_child_does_not_repeat_its_parent),
        cmocka_unit_test(no_core_dumps),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
