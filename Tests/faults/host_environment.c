/*
 * host_environment.c - what the library finds in its host it leaves there: signal handlers and masks, standard
 * output and error, environment, locale, directory, limits, random numbers, floating-point control, threads,
 * descriptors. Each part is compared before and after training, files, refusals and callbacks that fail.
 */
#define _GNU_SOURCE
#include "../c/trainer_fixture.h"
#include "directory.h"

#include <fcntl.h>
#include <fenv.h>
#include <locale.h>
#include <sched.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>

extern char **environ;
/* OpenBLAS's, whose number of threads belongs to the host. */
int openblas_get_num_threads(void);
void openblas_set_num_threads(int count);

static const shape network = {900, 3, 2, 2, 8, 60}, linear = {60, 2, 2, 2, 0, 20};
#define OPTIONS "warmup_iterations=10 inner_iterations=5 inner_solver=adam inner_batch=100 outer_batch=200 threads=2"

/* ---------------------------------------------------------------------------------------------------------------- */
/* What a host does with the library                                                                                 */

static void refuse_something(void) {
    taskmet_predictor *p = NULL;
    taskmet_metric *m = NULL;
    CHECK(taskmet_predictor_create_linear(0, 1, 1, &p) == TASKMET_ERROR_INVALID_ARGUMENT);
    CHECK(taskmet_predictor_load("/nonexistent", &p) == TASKMET_ERROR_IO);
    CHECK(taskmet_metric_create_constant(1, 77, 1, 1, &m) == TASKMET_ERROR_INVALID_ARGUMENT);
    CHECK(strlen(taskmet_last_error()) > 0);
}

static void fit(const shape *size, const char *options) {
    setup s;
    char text[8192];
    begin(&s, size, options);
    steps(s.trainer, 3);
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, LEAVE_GRADIENT_NAN, 1);
    CHECK(taskmet_trainer_step(s.trainer, NULL) == TASKMET_ERROR_CALLBACK);
    let_work(&s.judge);
    NEED(taskmet_trainer_save(s.trainer, test_path));
    NEED(taskmet_trainer_load(s.trainer, test_path));
    NEED(taskmet_trainer_explain(s.trainer, text, sizeof text, NULL));
    taskmet_trainer_stop(s.trainer);
    NEED(taskmet_trainer_fit(s.trainer, NULL));
    finish(&s);
}

static void use_library(void) {
    refuse_something();
    fit(&network, OPTIONS);
    fit(&linear, "warmup_iterations=3 inner_iterations=3");
    fit(&linear, "solver=cg preset=paper warmup_iterations=3 inner_iterations=3");
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The host's state                                                                                                  */

typedef struct state {
    struct sigaction actions[65];
    sigset_t mask;
    stack_t stack;
    struct itimerval timers[3];
    struct rlimit limits[RLIM_NLIMITS];
    char *environment;
    char directory[1024], locale[256];
    mode_t umask;
    int priority, rounding, exceptions_enabled, descriptors, threads, blas_threads;
    unsigned int mxcsr_control;
    cpu_set_t affinity;
} state;

static char *joined_environment(void) {
    size_t size = 1;
    for (char **entry = environ; *entry != NULL; entry += 1) size += strlen(*entry) + 1;
    char *text = need_memory(size);
    for (char **entry = environ; *entry != NULL; entry += 1) strcat(strcat(text, *entry), "\n");
    return text;
}

/* Rounding, flush-to-zero and unmasked exceptions; the status flags may be raised by any arithmetic. */
static unsigned int floating_control(void) {
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr() & ~0x3Fu;
#else
    return 0;
#endif
}

static state look(void) {
    state s;
    memset(&s, 0, sizeof s);
    for (int number = 1; number < 65; number += 1) sigaction(number, NULL, &s.actions[number]);
    sigprocmask(SIG_SETMASK, NULL, &s.mask);
    sigaltstack(NULL, &s.stack);
    for (int k = 0; k < 3; k += 1) getitimer((__itimer_which_t)k, &s.timers[k]);
    for (int k = 0; k < (int)RLIM_NLIMITS; k += 1) getrlimit((__rlimit_resource_t)k, &s.limits[k]);
    s.environment = joined_environment();
    if (getcwd(s.directory, sizeof s.directory) == NULL) abort();
    snprintf(s.locale, sizeof s.locale, "%s", setlocale(LC_ALL, NULL));
    s.umask = umask(022);
    umask(s.umask);
    s.priority = getpriority(PRIO_PROCESS, 0);
    s.rounding = fegetround();
    s.exceptions_enabled = fegetexcept();
    s.mxcsr_control = floating_control();
    s.descriptors = entries_of("/proc/self/fd");
    s.threads = entries_of("/proc/self/task");
    s.blas_threads = openblas_get_num_threads();
    sched_getaffinity(0, sizeof s.affinity, &s.affinity);
    return s;
}

/* The whole of sa_mask is more than the kernel fills. */
static int same_action(const struct sigaction *a, const struct sigaction *b) {
    for (int number = 1; number < 65; number += 1)
        if (sigismember(&a->sa_mask, number) != sigismember(&b->sa_mask, number)) return 0;
    return a->sa_handler == b->sa_handler && a->sa_flags == b->sa_flags;
}

#define SAME(field) CHECK(memcmp(&before->field, &after->field, sizeof before->field) == 0)

static void compare(const state *before, const state *after) {
    for (int number = 1; number < 65; number += 1)
        CHECK(same_action(&before->actions[number], &after->actions[number]));
    SAME(mask), SAME(stack), SAME(timers), SAME(limits), SAME(directory), SAME(locale), SAME(umask);
    SAME(priority), SAME(rounding), SAME(exceptions_enabled), SAME(mxcsr_control), SAME(affinity);
    SAME(descriptors), SAME(threads), SAME(blas_threads);
    CHECK(strcmp(before->environment, after->environment) == 0);
    free(before->environment), free(after->environment);
}

static void use_and_compare(void) {
    const state before = look();
    use_library();
    const state after = look();
    compare(&before, &after);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Hosts of several kinds                                                                                            */

static volatile sig_atomic_t signals_seen;
static void count_signal(int number) { signals_seen += number == SIGALRM; }

/* Its own handlers, an alternative stack, a mask, a timer that interrupts what the library waits for. */
static void test_signals(void) {
    static char stack[1 << 16];
    struct sigaction action, old;
    sigset_t mask;
    memset(&action, 0, sizeof action);
    action.sa_handler = count_signal; /* without SA_RESTART: calls are interrupted */
    const stack_t alternative = {.ss_sp = stack, .ss_size = sizeof stack};
    sigaltstack(&alternative, NULL);
    sigaction(SIGINT, &action, NULL), sigaction(SIGUSR1, &action, NULL), sigaction(SIGALRM, &action, &old);
    sigemptyset(&mask), sigaddset(&mask, SIGUSR2);
    sigprocmask(SIG_BLOCK, &mask, NULL);
    use_and_compare();
    struct itimerval often = {{0, 200}, {0, 200}}, never = {{0, 0}, {0, 0}};
    setitimer(ITIMER_REAL, &often, NULL);
    use_library();
    setitimer(ITIMER_REAL, &never, NULL);
    CHECK(signals_seen > 10);
    sigaction(SIGALRM, &old, NULL);
}

/* Decimal commas, where there is such a locale: checkpoints hold options as text, and are read again in it. */
static void test_locale(void) {
    static const char *const names[] = {"de_DE.UTF-8", "fr_FR.UTF-8", "C.UTF-8"};
    for (size_t k = 0; k < LENGTH(names); k += 1) {
        if (setlocale(LC_ALL, names[k]) == NULL) continue;
        use_and_compare();
    }
    setlocale(LC_ALL, "C");
}

static double *train_to_parameters(int64_t *count, const char *options) {
    setup s;
    begin(&s, &network, options);
    steps(s.trainer, 3);
    taskmet_predictor *last = predictor_of(s.trainer, TASKMET_MODEL_LAST);
    double *theta = predictor_parameters(last);
    *count = predictor_count(last);
    taskmet_predictor_destroy(last);
    finish(&s);
    return theta;
}

/* The library computes in the host's floating-point mode, on all of its threads, and leaves it. */
static void test_rounding(void) {
    static const int modes[] = {FE_UPWARD, FE_DOWNWARD, FE_TOWARDZERO, FE_TONEAREST};
    for (size_t k = 0; k < LENGTH(modes); k += 1) {
        int64_t count = 0;
        fesetround(modes[k]);
        use_and_compare();
        double *one = train_to_parameters(&count, OPTIONS " threads=1"), *two = train_to_parameters(&count, OPTIONS);
        CHECK_SAME_BITS(one, two, count);
        free(one), free(two);
    }
}

static void test_flush_to_zero(void) {
#if defined(__x86_64__)
    const unsigned int normal = __builtin_ia32_stmxcsr();
    __builtin_ia32_ldmxcsr(normal | 0x8040); /* FTZ and DAZ */
    use_and_compare();
    __builtin_ia32_ldmxcsr(normal);
#endif
}

/* A host that wants to be told of the first infinity: ordinary work of the library makes none. */
static void test_trapping_exceptions(void) {
    feenableexcept(FE_INVALID | FE_DIVBYZERO | FE_OVERFLOW);
    use_and_compare();
    fedisableexcept(FE_ALL_EXCEPT);
}

static void test_random_numbers(void) {
    int expected[8], equal = 1;
    srand(5);
    for (size_t k = 0; k < LENGTH(expected); k += 1) expected[k] = rand();
    srand(5);
    use_library();
    for (size_t k = 0; k < LENGTH(expected); k += 1) equal = equal && rand() == expected[k];
    CHECK(equal);
}

static void test_threads_of_openblas(void) {
    openblas_set_num_threads(2);
    use_and_compare();
    CHECK(openblas_get_num_threads() == 2);
    openblas_set_num_threads(1);
    use_and_compare();
}

/* Nothing is printed: both streams go to a file that must stay empty. */
static void test_silence(void) {
    char path[600];
    snprintf(path, sizeof path, "%s/printed", test_directory);
    fflush(stdout);
    const int out = dup(1), err = dup(2), file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    dup2(file, 1), dup2(file, 2);
    const long failed = check_failed;
    use_library();
    fflush(stdout), fflush(stderr);
    struct stat information;
    fstat(file, &information);
    dup2(out, 1), dup2(err, 2);
    close(out), close(err), close(file);
    CHECK(failed == check_failed && information.st_size == 0);
    unlink(path);
}

/* Streams that are closed, as a daemon has them: the library's files get their descriptors then. */
static void test_closed_streams(void) {
    const long failed = check_failed;
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) {
        close(0), close(1), close(2);
        use_library();
        _exit(check_failed != failed);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    use_library(); /* OpenBLAS may start threads with its first product */
    use_and_compare();
    test_signals();
    test_locale();
    test_rounding();
    test_flush_to_zero();
    test_trapping_exceptions();
    test_random_numbers();
    test_threads_of_openblas();
    test_silence();
    test_closed_streams();
    remove_test_directory();
    return check_end();
}
