/*
 * fault_disk.c - disks that are full, slow, read-only or broken: a save that cannot be finished says so, leaves
 * the old file and nothing beside it; a load that cannot read says so and changes nothing. System calls are made
 * to fail one by one: the program has functions of their names, which the library then calls. Full file systems
 * and directories without permission are also tried as they are.
 */
#define _GNU_SOURCE
#include "../c/trainer_fixture.h"
#include "directory.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

static const shape small = {40, 2, 2, 2, 5, 20};
#define SHORT "warmup_iterations=5 inner_iterations=3 "

/* ---------------------------------------------------------------------------------------------------------------- */
/* System calls that fail                                                                                            */

typedef enum operation { OPEN, UNNAMED, WRITE, READ, SYNC, LINK, RENAME, OPERATIONS } operation;
static const char *const names[OPERATIONS] = {"open", "open (unnamed)", "write", "pread", "fsync", "linkat", "rename"};

static struct {
    operation fails;
    int active;
    int call;  /* which one, counted from 0; -1: all of them */
    int error; /* errno; 0: a short count */
    int calls[OPERATIONS];
    int failures;
} plan;

static int unnamed_files = 1; /* 0: a file system that has none */

static int fails_now(operation which) {
    if (which == UNNAMED && !unnamed_files) {
        errno = EOPNOTSUPP;
        return 1;
    }
    const int call = plan.calls[which];
    plan.calls[which] += 1;
    if (!plan.active || which != plan.fails || (plan.call >= 0 && call != plan.call)) return 0;
    plan.failures += 1;
    errno = plan.error;
    return 1;
}

int open(const char *path, int flags, ...) {
    va_list arguments;
    va_start(arguments, flags);
    const mode_t mode = (flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    if (fails_now((flags & O_TMPFILE) == O_TMPFILE ? UNNAMED : OPEN)) return -1;
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

ssize_t write(int descriptor, const void *bytes, size_t count) {
    if (fails_now(WRITE)) {
        if (plan.error != 0) return -1;
        count = (count + 1) / 2;
    }
    return syscall(SYS_write, descriptor, bytes, count);
}

ssize_t pread(int descriptor, void *bytes, size_t count, off_t offset) {
    if (fails_now(READ)) {
        if (plan.error != 0) return -1;
        count = (count + 1) / 2;
    }
    return syscall(SYS_pread64, descriptor, bytes, count, offset);
}

int fsync(int descriptor) { return fails_now(SYNC) ? -1 : (int)syscall(SYS_fsync, descriptor); }

int linkat(int from, const char *old, int to, const char *new, int flags) {
    return fails_now(LINK) ? -1 : (int)syscall(SYS_linkat, from, old, to, new, flags);
}

int rename(const char *old, const char *new) {
    return fails_now(RENAME) ? -1 : (int)syscall(SYS_renameat2, AT_FDCWD, old, AT_FDCWD, new, 0);
}

static void let_calls_fail(operation which, int call, int error) {
    memset(&plan, 0, sizeof plan);
    plan.fails = which;
    plan.call = call;
    plan.error = error;
    plan.active = 1;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* What must hold after it                                                                                           */

typedef struct bytes {
    unsigned char *at;
    size_t size;
} bytes;

static bytes contents(const char *path) {
    bytes b = {need_memory(1 << 20), 0};
    FILE *file = fopen(path, "rb");
    if (file == NULL) return b;
    b.size = fread(b.at, 1, 1 << 20, file);
    fclose(file);
    return b;
}

/* A trainer two steps on, whose first state is in test_path. */
static void begin_saved(setup *s) {
    begin(s, &small, SHORT);
    steps(s->trainer, 1);
    NEED(taskmet_trainer_save(s->trainer, test_path));
    steps(s->trainer, 1);
}

/* Saves; it is written whole, or refused and everything is as it was. Whether it was written. */
static int save_under(setup *s, const char *what) {
    snapshot before = take_snapshot(s->trainer);
    bytes old = contents(test_path);
    const int entries = entries_of(test_directory), descriptors = entries_of("/proc/self/fd");
    const taskmet_status got = taskmet_trainer_save(s->trainer, test_path);
    plan.active = 0;
    bytes now = contents(test_path);
    const int same = old.size == now.size && memcmp(old.at, now.at, old.size) == 0;
    check_that(got == TASKMET_OK || got == TASKMET_ERROR_IO, __FILE__, __LINE__, "%s: %s", what,
               taskmet_status_name(got));
    if (got != TASKMET_OK) {
        check_that(same, __FILE__, __LINE__, "%s: the old file has changed", what);
        check_that(strncmp(taskmet_last_error(), "trainer_save: path: cannot ", 27) == 0, __FILE__, __LINE__,
                   "%s: \"%s\"", what, taskmet_last_error());
    } else {
        taskmet_trainer *loaded = new_trainer(s, "");
        check_that(taskmet_trainer_load(loaded, test_path) == TASKMET_OK, __FILE__, __LINE__, "%s: %s", what,
                   taskmet_last_error());
        CHECK_UNCHANGED(&before, loaded, what);
        taskmet_trainer_destroy(loaded);
    }
    check_that(entries_of(test_directory) == entries, __FILE__, __LINE__, "%s: something was left behind", what);
    check_that(entries_of("/proc/self/fd") == descriptors, __FILE__, __LINE__, "%s: a descriptor was left open", what);
    CHECK_UNCHANGED(&before, s->trainer, what);
    free_snapshot(&before);
    free(old.at), free(now.at);
    return got == TASKMET_OK;
}

/* ---------------------------------------------------------------------------------------------------------------- */

/* One call fails (-1: all of them), if there is one: then a save does about it what `written` says. */
static void test_save_once(operation which, int call, int error, int written) {
    char what[128];
    setup s;
    begin_saved(&s);
    snprintf(what, sizeof what, "%s call %d: %s", names[which], call, error == 0 ? "short" : strerror(error));
    let_calls_fail(which, call, error);
    const int got = save_under(&s, what);
    if (plan.failures > 0)
        check_that(got == written, __FILE__, __LINE__, "%s: %s", what, got ? "written" : "refused");
    check_that(plan.failures > 0 || call > 0, __FILE__, __LINE__, "%s: did not happen", what);
    finish(&s);
}

static void test_save(operation which, int error, int calls, int written) {
    for (int call = -1; call < calls; call += 1) test_save_once(which, call, error, written);
}

static void test_failing_saves(void) {
    test_save(WRITE, ENOSPC, 5, 0);
    test_save(WRITE, EIO, 2, 0);
    test_save(WRITE, EDQUOT, 2, 0);
    test_save(WRITE, 0, 5, 1); /* the rest comes with the next */
    for (int call = 0; call < 3; call += 1) test_save_once(WRITE, call, EINTR, 1); /* again */
    test_save(SYNC, EIO, 1, 0);
    test_save(SYNC, ENOSPC, 1, 0);
    test_save(RENAME, EIO, 1, 0);
    test_save(RENAME, EROFS, 1, 0);
    test_save_once(unnamed_files ? LINK : OPEN, 0, EEXIST, 1); /* the name is taken: another one */
    if (!unnamed_files) {
        test_save(OPEN, EACCES, 1, 0);
        return;
    }
    test_save(UNNAMED, EOPNOTSUPP, 1, 1); /* the file gets a name at once */
    test_save(UNNAMED, EISDIR, 1, 1);
    test_save(LINK, ENOENT, 1, 1); /* no /proc: the same */
    test_save(LINK, EPERM, 1, 1);
}

/* Reads that fail; a file that becomes shorter while it is read. */
static void test_failing_loads(void) {
    static const int errors[] = {EIO, ESTALE, EINTR, 0};
    for (size_t k = 0; k < LENGTH(errors); k += 1)
        for (int call = 0; call < 6; call += 1) {
            setup s;
            begin_saved(&s);
            snapshot before = take_snapshot(s.trainer);
            const int descriptors = entries_of("/proc/self/fd"), refused = errors[k] != 0 && errors[k] != EINTR;
            let_calls_fail(READ, call, errors[k]);
            const taskmet_status got = taskmet_trainer_load(s.trainer, test_path);
            plan.active = 0;
            CHECK(plan.failures == 1);
            CHECK(got == (refused ? TASKMET_ERROR_IO : TASKMET_OK));
            if (refused) CHECK_UNCHANGED(&before, s.trainer, "a load that cannot read");
            CHECK(entries_of("/proc/self/fd") == descriptors);
            free_snapshot(&before);
            finish(&s);
        }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* As they are                                                                                                       */

/* Runs the test in a process of its own, since what it does cannot be undone. */
static void in_child(int (*test)(void), const char *what) {
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        check_failed = 0;
        const int ran = test();
        fflush(stdout);
        _exit(check_failed > 0 ? 1 : ran ? 0 : 2);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2) {
        printf("left out: %s (needs root)\n", what);
        return;
    }
    check_that(WIFEXITED(status) && WEXITSTATUS(status) == 0, __FILE__, __LINE__, "%s: status %x", what,
               (unsigned)status);
}

/* The process's limit of a file's size: refused, and not killed by the SIGXFSZ of a write beyond it. */
static int under_size_limit(void) {
    setup s;
    begin_saved(&s);
    bytes old = contents(test_path);
    struct rlimit limit;
    getrlimit(RLIMIT_FSIZE, &limit);
    const size_t sizes[] = {0, 1, 100, old.size - 1};
    for (size_t k = 0; k < LENGTH(sizes); k += 1) {
        limit.rlim_cur = sizes[k];
        setrlimit(RLIMIT_FSIZE, &limit);
        CHECK(!save_under(&s, "beyond the limit of a file's size"));
    }
    limit.rlim_cur = old.size + 4096;
    setrlimit(RLIMIT_FSIZE, &limit);
    CHECK(save_under(&s, "within the limit of a file's size"));
    free(old.at);
    finish(&s);
    return 1;
}

/* A file system of three pages: the second file does not fit. It is this process's alone, and goes with it. */
static int on_full_disk(void) {
    if (unshare(CLONE_NEWNS) != 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0) return 0;
    if (mount("none", test_directory, "tmpfs", 0, "size=20k,mode=700") != 0) return 0;
    setup s;
    begin_saved(&s);
    char filler[600];
    snprintf(filler, sizeof filler, "%s/filler", test_directory);
    FILE *file = fopen(filler, "wb");
    for (int k = 0; file != NULL && k < 40000; k += 1) putc(0, file);
    if (file != NULL) fclose(file);
    CHECK(!save_under(&s, "on a full disk"));
    unlink(filler);
    CHECK(save_under(&s, "on a disk that has space again"));
    CHECK(mount("none", test_directory, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
    CHECK(!save_under(&s, "on a read-only disk"));
    finish(&s);
    return 1;
}

/* A directory that may be read and not written to, by a user who is not root. */
static int in_readonly_directory(void) {
    setup s;
    begin_saved(&s);
    if (chmod(test_directory, 0555) != 0 || chmod(test_path, 0644) != 0) abort();
    if (geteuid() == 0 && (setegid(65534) != 0 || seteuid(65534) != 0)) abort();
    CHECK(!save_under(&s, "in a directory without permission"));
    taskmet_trainer *loaded = new_trainer(&s, "");
    CHECK_OK(taskmet_trainer_load(loaded, test_path));
    taskmet_trainer_destroy(loaded);
    finish(&s);
    return 1;
}

/* What permissions there are: a new file has the process's default ones; links are replaced, not followed. */
static void test_permissions(void) {
    struct stat information;
    char link[600];
    setup s;
    const mode_t mask = umask(027);
    begin_saved(&s);
    CHECK(stat(test_path, &information) == 0 && (information.st_mode & 0777) == 0640);
    umask(mask);
    bytes old = contents(test_path);
    snprintf(link, sizeof link, "%s/link", test_directory);
    CHECK(symlink(test_path, link) == 0);
    CHECK_OK(taskmet_trainer_save(s.trainer, link));
    CHECK(lstat(link, &information) == 0 && S_ISREG(information.st_mode));
    bytes now = contents(test_path);
    CHECK(old.size == now.size && memcmp(old.at, now.at, old.size) == 0);
    free(old.at), free(now.at);
    unlink(link);
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    test_failing_saves();
    unnamed_files = 0;
    test_failing_saves();
    unnamed_files = 1;
    test_failing_loads();
    test_permissions();
    in_child(under_size_limit, "a limit of a file's size");
    in_child(on_full_disk, "a full disk");
    in_child(in_readonly_directory, "a directory without permission");
    chmod(test_directory, 0700);
    remove_test_directory();
    return check_end();
}
