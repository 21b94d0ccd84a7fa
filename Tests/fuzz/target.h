/*
 * target.h - what the libFuzzer targets share: bytes as a file without a disk, promises that end the run where they are
 * broken, and the trainer whose checkpoints are read (make_corpus.c writes one).
 */
#ifndef TARGET_H
#define TARGET_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "taskmet.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A broken promise is a crash to libFuzzer, which keeps the input. */
#define PROMISE(condition)                                                                                           \
    do {                                                                                                             \
        if (!(condition)) {                                                                                          \
            fprintf(stderr, "%s:%d: broken: %s (last error: %s)\n", __FILE__, __LINE__, #condition,                  \
                    taskmet_last_error());                                                                           \
            abort();                                                                                                 \
        }                                                                                                            \
    } while (0)

/* The path of a file in memory with these bytes; the same path each time. */
static inline const char *file_of(const uint8_t *data, size_t size) {
    static char path[64];
    static int descriptor = -1;
    if (descriptor < 0) {
        descriptor = memfd_create("input", 0);
        if (descriptor < 0) abort();
        snprintf(path, sizeof path, "/proc/self/fd/%d", descriptor);
    }
    if (ftruncate(descriptor, 0) != 0 || pwrite(descriptor, data, size, 0) != (ssize_t)size) abort();
    return path;
}

/* Where an object is saved to, to be read again. */
static inline const char *scratch_path(void) {
    static char path[64];
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(path, sizeof path, "%s/taskmet-fuzz-%d", parent, (int)getpid());
    return path;
}

/* What every load promises: a status of the enumeration, and a message where it fails. */
static inline int loaded(taskmet_status status) {
    PROMISE(status >= TASKMET_OK && status <= TASKMET_ERROR_UNSUPPORTED);
    PROMISE(status == TASKMET_OK || taskmet_last_error()[0] != 0);
    return status == TASKMET_OK;
}

static inline int all_finite(const double *values, int64_t count) {
    for (int64_t k = 0; k < count; k += 1)
        if (!isfinite(values[k])) return 0;
    return 1;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A trainer: the same in each run, since a checkpoint is for the data that it was made with                        */

enum { ROWS = 8, FEATURES = 2 };

static inline int32_t squared_error(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user;
    *loss = 0;
    for (int64_t i = 0; i < batch->rows; i += 1) {
        const double error = batch->predictions[i] - batch->targets[i];
        const double price = (batch->inputs[i * FEATURES] > 0 ? 3.0 : 1.0) / (double)batch->rows;
        *loss += price * error * error;
        if (gradient != NULL) gradient[i] = 2 * price * error;
    }
    return TASKMET_CALLBACK_OK;
}

static inline taskmet_trainer *make_trainer(void) {
    const int64_t hidden = 3;
    double x[ROWS * FEATURES], y[ROWS];
    taskmet_dataset *data;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_task *task;
    taskmet_trainer *trainer;
    for (int i = 0; i < ROWS; i += 1) {
        x[FEATURES * i] = (i - 4) / 4.0;
        x[FEATURES * i + 1] = (i * 5 % 8) / 8.0;
        y[i] = x[FEATURES * i] * x[FEATURES * i];
    }
    PROMISE(taskmet_dataset_create(ROWS, FEATURES, x, FEATURES, 1, y, 1, &data) == TASKMET_OK);
    PROMISE(taskmet_predictor_create_mlp(FEATURES, 1, 1, &hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_IDENTITY,
                                         1, &predictor) == TASKMET_OK);
    PROMISE(taskmet_metric_create_conditional(FEATURES, 1, TASKMET_STRUCTURE_DIAGONAL, 1, 1, &hidden,
                                              TASKMET_ACTIVATION_TANH, 1, &metric) == TASKMET_OK);
    PROMISE(taskmet_task_create_callback(squared_error, NULL, NULL, &task) == TASKMET_OK);
    PROMISE(taskmet_trainer_create(predictor, metric, data, &trainer) == TASKMET_OK);
    PROMISE(taskmet_trainer_add_task(trainer, task, 1) == TASKMET_OK);
    taskmet_task_destroy(task);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
    taskmet_dataset_destroy(data);
    return trainer;
}

/* A step that does not take long, whatever the options are. */
static inline taskmet_status short_step(taskmet_trainer *trainer) {
    static const char *const names[] = {"inner_iterations", "warmup_iterations", "solver_iterations"};
    for (size_t k = 0; k < sizeof names / sizeof names[0]; k += 1)
        PROMISE(taskmet_trainer_set_int(trainer, names[k], 4) == TASKMET_OK);
    return taskmet_trainer_step(trainer, NULL);
}

#endif /* TARGET_H */
