/*
 * broken.c - a library to be loaded before libtaskmet.so, which breaks one promise, named by TASKMET_BREAK: test.sh
 * asks whether the API fuzzer notices.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <dlfcn.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskmet.h"

static int breaks(const char *promise) {
    const char *wanted = getenv("TASKMET_BREAK");
    return wanted != NULL && strcmp(wanted, promise) == 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

taskmet_status taskmet_predictor_predict(const taskmet_predictor *predictor, int64_t rows, const double *x,
                                         int64_t x_stride, double *out, int64_t out_stride) {
    const taskmet_status status = REAL(taskmet_predictor_predict)(predictor, rows, x, x_stride, out, out_stride);
    if (rows > 1 && breaks("crash")) *(volatile int *)8 = 1;
    if (rows > 1 && breaks("abort")) abort();
    if (rows > 1 && breaks("print")) printf("predicting\n"), fflush(stdout);
    if (status == TASKMET_OK && breaks("nan")) out[0] = NAN;
    if (status == TASKMET_OK && breaks("overrun")) out[(rows - 1) * out_stride + out_stride] = 1;
    if (status != TASKMET_OK && out != NULL && breaks("output")) out[0] = 1;
    if (status != TASKMET_OK && breaks("status")) return 77;
    return status;
}

/* Writes before it looks whether all is well. */
taskmet_status taskmet_metric_set_parameters(taskmet_metric *metric, const double *values, int64_t count) {
    const taskmet_status status = REAL(taskmet_metric_set_parameters)(metric, values, count);
    if (status != TASKMET_OK && breaks("contents")) REAL(taskmet_metric_set_floor)(metric, 1e-3);
    int64_t real_count = 0;
    double zeros[64] = {0};
    if (status != TASKMET_OK && breaks("contents") &&
        REAL(taskmet_metric_parameter_count)(metric, &real_count) == TASKMET_OK && real_count <= 64)
        REAL(taskmet_metric_set_parameters)(metric, zeros, real_count);
    return status;
}

const char *taskmet_last_error(void) { return breaks("message") ? "" : REAL(taskmet_last_error)(); }

/* Gives back what it never took. */
taskmet_status taskmet_task_create_callback(taskmet_task_fn fn, void *user, void (*free_user)(void *user),
                                            taskmet_task **task) {
    const taskmet_status status = REAL(taskmet_task_create_callback)(fn, user, breaks("leak") ? NULL : free_user, task);
    if (status != TASKMET_OK && free_user != NULL && breaks("free")) free_user(user);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A reader before the caller's                                                                                     */

typedef struct reader {
    taskmet_read_fn read;
    void *user;
    void (*free_user)(void *user);
    int64_t features, targets;
} reader;

/* Asks for rows that are not wanted, in room that is not all NaN. */
static int32_t read_otherwise(void *user, int64_t first_row, int64_t count, double *x, double *y) {
    const reader *r = user;
    if (breaks("room")) x[0] = 0;
    return r->read(r->user, breaks("rows") ? first_row + 1 : first_row, count, x, y);
}

/* Reads once more after the end. */
static void free_reader(void *user) {
    reader *r = user;
    r->free_user(r->user);
    double *row = breaks("late") ? calloc((size_t)(r->features + r->targets), sizeof *row) : NULL;
    if (row != NULL) r->read(r->user, 0, 1, row, row + r->features);
    free(row);
    free(r);
}

taskmet_status taskmet_dataset_create_from_callback(int64_t rows, int64_t features, int64_t targets,
                                                    taskmet_read_fn read, void *user, void (*free_user)(void *user),
                                                    taskmet_dataset **dataset) {
    if (read == NULL || !(breaks("room") || breaks("rows") || breaks("late")))
        return REAL(taskmet_dataset_create_from_callback)(rows, features, targets, read, user, free_user, dataset);
    reader *r = malloc(sizeof *r);
    if (r == NULL) abort();
    *r = (reader){read, user, free_user, features, targets};
    const taskmet_status status = REAL(taskmet_dataset_create_from_callback)(rows, features, targets, read_otherwise, r,
                                                                             free_reader, dataset);
    if (status != TASKMET_OK) free(r);
    return status;
}
