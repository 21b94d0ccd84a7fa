/*
 * host_fork.c - the library in a process that forks: before its first use, after it, while another thread is
 * inside it, and with several threads in the child. Children that do not end are a failure.
 */
#include "../c/trainer_fixture.h"

#include <pthread.h>
#include <sys/wait.h>

enum { WORKERS = 4, SECONDS = 60 };

static const shape network = {900, 3, 2, 2, 8, 60};
#define OPTIONS "warmup_iterations=10 inner_iterations=5 inner_solver=adam inner_batch=100 outer_batch=200 "

/* Some training with the library's own threads, to a number that must be the same in every process. */
static uint64_t use_library(void) {
    setup s;
    uint64_t hash = 1469598103934665603u;
    begin(&s, &network, OPTIONS "threads=2");
    steps(s.trainer, 3);
    double *theta = NULL;
    taskmet_predictor *last = predictor_of(s.trainer, TASKMET_MODEL_LAST);
    theta = predictor_parameters(last);
    for (int64_t k = 0; k < predictor_count(last); k += 1) {
        uint64_t bits = 0;
        memcpy(&bits, &theta[k], sizeof bits);
        hash = (hash ^ bits) * 1099511628211u;
    }
    free(theta);
    taskmet_predictor_destroy(last);
    finish(&s);
    return hash;
}

/* Objects made and dropped, on several threads at once: the table of handles is what they all need. */
static void *churn(void *stop) {
    for (long k = 0; stop != NULL ? !*(volatile int *)stop : k < 20000; k += 1) {
        taskmet_predictor *p = NULL;
        int64_t count = 0;
        if (taskmet_predictor_create_linear(3, 2, 1, &p) != TASKMET_OK) abort();
        if (taskmet_predictor_parameter_count(p, &count) != TASKMET_OK || count != 8) abort();
        taskmet_predictor_destroy(p);
    }
    return NULL;
}

static void churn_on_threads(void) {
    pthread_t threads[WORKERS];
    for (int k = 0; k < WORKERS; k += 1)
        if (pthread_create(&threads[k], NULL, churn, NULL) != 0) abort();
    churn(NULL);
    for (int k = 0; k < WORKERS; k += 1) pthread_join(threads[k], NULL);
}

/* ---------------------------------------------------------------------------------------------------------------- */

enum { TRAIN = 1, THREADS = 2, AGAIN = 4 };

static int child(int what, uint64_t expected) {
    alarm(SECONDS);
    int good = 1;
    if (what & TRAIN) good = use_library() == expected;
    if (what & THREADS) churn_on_threads();
    if (what & AGAIN) { /* a child of the child */
        const pid_t next = fork();
        if (next == 0) _exit(child(what & ~AGAIN, expected) ? 0 : 3);
        int status = -1;
        waitpid(next, &status, 0);
        good = good && WIFEXITED(status) && WEXITSTATUS(status) == 0;
    }
    return good;
}

static void check_child(int what, uint64_t expected, const char *when) {
    fflush(stdout);
    const pid_t pid = fork();
    if (pid == 0) _exit(child(what, expected) ? 0 : 3);
    int status = -1;
    waitpid(pid, &status, 0);
    check_that(WIFEXITED(status) && WEXITSTATUS(status) == 0, __FILE__, __LINE__, "a child %s: %s %d", when,
               WIFSIGNALED(status) ? "killed by signal" : "exit status",
               WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
}

/* The child has only the thread that forked; what the others held when they were lost must not stand in its way. */
static void test_fork_while_in_use(int forks) {
    pthread_t threads[2];
    volatile int stop = 0;
    int failures = 0;
    for (int k = 0; k < 2; k += 1)
        if (pthread_create(&threads[k], NULL, churn, (void *)&stop) != 0) abort();
    for (int k = 0; k < forks && failures == 0; k += 1) {
        const pid_t pid = fork();
        if (pid == 0) {
            taskmet_predictor *p = NULL;
            alarm(10);
            taskmet_status status = taskmet_predictor_create_linear(3, 2, 1, &p);
            taskmet_predictor_destroy(p);
            _exit(status == TASKMET_OK ? 0 : 3);
        }
        int status = -1;
        waitpid(pid, &status, 0);
        failures += !(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    }
    stop = 1;
    for (int k = 0; k < 2; k += 1) pthread_join(threads[k], NULL);
    check_that(failures == 0, __FILE__, __LINE__, "a child of a fork while other threads were in the library hangs");
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    int ends[2];
    uint64_t first = 0;
    /* What it comes to, from a process that ends before this one has used the library. */
    if (pipe(ends) != 0) abort();
    const pid_t pid = fork();
    if (pid == 0) {
        first = use_library();
        _exit(write(ends[1], &first, sizeof first) == sizeof first ? 0 : 3);
    }
    waitpid(pid, NULL, 0);
    CHECK(read(ends[0], &first, sizeof first) == sizeof first);
    check_child(TRAIN | THREADS | AGAIN, first, "forked before the first use");
    CHECK(use_library() == first);
    check_child(TRAIN, first, "forked after use");
    check_child(THREADS, first, "forked after use, with threads of its own");
    check_child(TRAIN | THREADS | AGAIN, first, "forked after use, and its own child");
    churn_on_threads();
    check_child(TRAIN | THREADS | AGAIN, first, "forked after use on several threads");
    test_fork_while_in_use(check_quick ? 300 : 5000);
    return check_end();
}
