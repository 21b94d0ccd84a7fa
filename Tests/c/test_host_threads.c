/*
 * test_host_threads.c - the library in a host that has threads of its own: some that train, each with objects of its
 * own on data that all share, with two of the library's threads; one that asks them to stop; all under the lock of an
 * interpreter, as Python's is: held by whoever runs the host's code, callbacks included, and given up during every call
 * of the library. Written to be run under ThreadSanitizer too, which cannot be combined with Python.
 *
 * Only the main thread counts checks.
 */
#include "trainer_fixture.h"

#include <pthread.h>

enum { TRAINERS = 3, ROUNDS = 3 };

static pthread_mutex_t interpreter = PTHREAD_MUTEX_INITIALIZER;

/* A call of the library, without the interpreter's lock. */
#define RELEASED(result, call)                                                                                       \
    do {                                                                                                             \
        pthread_mutex_unlock(&interpreter);                                                                          \
        (result) = (call);                                                                                           \
        pthread_mutex_lock(&interpreter);                                                                            \
    } while (0)

/* Guarded by the lock: what callbacks of every thread write to. */
static int64_t judged;

static int32_t judge_with_lock(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    pthread_mutex_lock(&interpreter);
    judged += batch->instance_count;
    const judge *j = user;
    judge_value(j, batch, loss, gradient);
    pthread_mutex_unlock(&interpreter);
    return TASKMET_CALLBACK_OK;
}

/* One thread's work, and what came of it. */
typedef struct worker {
    const problem *data;
    taskmet_task *task; /* shared */
    taskmet_trainer *volatile trainer; /* guarded by the lock; NULL before and after */
    taskmet_status status;
    taskmet_stop_reason reasons[ROUNDS];
    double best[ROUNDS];
    char message[256];
} worker;

static void note(worker *w, taskmet_status status) {
    if (status == TASKMET_OK || w->status != TASKMET_OK) return;
    w->status = status;
    snprintf(w->message, sizeof w->message, "%s", taskmet_last_error());
}

/* Makes a trainer, with the lock held before and after. */
static taskmet_trainer *make_own_trainer(worker *w, uint64_t seed) {
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    taskmet_trainer *trainer = NULL;
    const int64_t hidden = 8;
    taskmet_status status;
    RELEASED(status, taskmet_predictor_create_mlp(w->data->d, w->data->n, 1, &hidden, TASKMET_ACTIVATION_TANH,
                                                  TASKMET_ACTIVATION_IDENTITY, seed, &predictor));
    note(w, status);
    RELEASED(status, taskmet_metric_create_conditional(w->data->d, w->data->n, TASKMET_STRUCTURE_DIAGONAL, 1, 1, &hidden,
                                                       TASKMET_ACTIVATION_TANH, seed, &metric));
    note(w, status);
    RELEASED(status, taskmet_trainer_create(predictor, metric, w->data->data, &trainer));
    note(w, status);
    note(w, taskmet_trainer_add_task(trainer, w->task, 1));
    note(w, taskmet_trainer_set_int(trainer, "threads", 2));
    note(w, taskmet_trainer_set_int(trainer, "outer_iterations", check_quick ? 3 : 10));
    note(w, taskmet_trainer_set_int(trainer, "inner_iterations", check_quick ? 5 : 20));
    note(w, taskmet_trainer_set_int(trainer, "warmup_iterations", check_quick ? 5 : 50));
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    return trainer;
}

static void *work(void *argument) {
    worker *w = argument;
    pthread_mutex_lock(&interpreter);
    for (int round = 0; round < ROUNDS; round += 1) {
        taskmet_trainer *trainer = make_own_trainer(w, 7);
        taskmet_fit_report report = {.struct_size = sizeof report};
        taskmet_status status;
        w->trainer = trainer;
        do { /* stopped as often as it may be, it goes on */
            taskmet_trainer_clear_stop(trainer);
            RELEASED(status, taskmet_trainer_fit(trainer, &report));
            note(w, status);
        } while (status == TASKMET_OK && report.reason == TASKMET_STOP_REQUESTED);
        w->reasons[round] = report.reason;
        w->best[round] = report.best_task_loss;
        w->trainer = NULL;
        RELEASED(status, (taskmet_trainer_destroy(trainer), TASKMET_OK));
    }
    pthread_mutex_unlock(&interpreter);
    return NULL;
}

/* Asks one trainer after the other to stop, now and then. */
static void *stop_them(void *argument) {
    worker *workers = argument;
    for (int k = 0; k < 20; k += 1) {
        const struct timespec pause = {0, 2000000};
        nanosleep(&pause, NULL);
        pthread_mutex_lock(&interpreter);
        if (workers[k % TRAINERS].trainer != NULL) taskmet_trainer_stop(workers[k % TRAINERS].trainer);
        pthread_mutex_unlock(&interpreter);
    }
    return NULL;
}

static void check_interpreter(void) {
    const int64_t rows = check_quick ? 450 : 1200; /* enough for two threads of the library's */
    problem data = make_problem(1, rows, 3, 1, 0);
    judge judgement = new_judge();
    taskmet_task *task = NULL;
    worker workers[TRAINERS];
    pthread_t threads[TRAINERS], stopper;
    NEED(taskmet_task_create_callback(judge_with_lock, &judgement, NULL, &task));
    memset(workers, 0, sizeof workers);
    for (int k = 0; k < TRAINERS; k += 1) {
        workers[k].data = &data;
        workers[k].task = task;
        if (pthread_create(&threads[k], NULL, work, &workers[k]) != 0) abort();
    }
    if (pthread_create(&stopper, NULL, stop_them, workers) != 0) abort();
    for (int k = 0; k < TRAINERS; k += 1) pthread_join(threads[k], NULL);
    pthread_join(stopper, NULL);
    CHECK(judged > 0);
    for (int k = 0; k < TRAINERS; k += 1) {
        check_that(workers[k].status == TASKMET_OK, __FILE__, __LINE__, "thread %d: %s", k, workers[k].message);
        for (int round = 0; round < ROUNDS; round += 1) {
            CHECK(workers[k].reasons[round] == TASKMET_STOP_ITERATIONS);
            /* Stops and neighbours change nothing: all of them did the same. */
            CHECK_SAME_BITS(&workers[k].best[round], &workers[0].best[0], 1);
        }
    }
    taskmet_task_destroy(task);
    destroy_problem(&data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    check_interpreter();
    return check_end();
}
