/*
 * streaming.h - what the tests of streamed datasets share: rows in either precision that a callback reads from arrays
 * and can fail to read, .npy files, and the same rows in memory. Arrays of the tests' own are double; for float32 their
 * numbers are some that float32 has.
 */
#ifndef STREAMING_H
#define STREAMING_H

#include "trainer_fixture.h"

#include <pthread.h>

static inline double get_number(taskmet_precision precision, const void *numbers, int64_t k) {
    return precision == TASKMET_FLOAT32 ? (double)((const float *)numbers)[k] : ((const double *)numbers)[k];
}

static inline void set_number(taskmet_precision precision, void *numbers, int64_t k, double value) {
    if (precision == TASKMET_FLOAT32) ((float *)numbers)[k] = (float)value;
    else ((double *)numbers)[k] = value;
}

static inline void round_numbers(taskmet_precision precision, double *values, int64_t count) {
    for (int64_t k = 0; k < count && precision == TASKMET_FLOAT32; k += 1) values[k] = (double)(float)values[k];
}

/* The numbers in an array of their own. */
static inline void *copy_numbers(taskmet_precision precision, const double *values, int64_t count) {
    double *result = need_memory((size_t)(count > 0 ? count : 1) * sizeof *result);
    for (int64_t k = 0; k < count; k += 1) set_number(precision, result, k, values[k]);
    return result;
}

static inline size_t number_size(taskmet_precision precision) {
    return precision == TASKMET_FLOAT32 ? sizeof(float) : sizeof(double);
}

/* How many rows are read at once at most: 512 KiB of them, and a tile at least. */
static inline int64_t largest_block(taskmet_precision precision, int64_t columns) {
    const int64_t size = (int64_t)number_size(precision), tile = 1024 / size, fitting = (1 << 19) / columns / size;
    return fitting < tile ? tile : fitting;
}

static inline taskmet_dataset *make_in_memory(taskmet_precision precision, int64_t rows, int64_t d, const double *x,
                                              int64_t n, const double *y) {
    taskmet_dataset *dataset = NULL;
    if (precision == TASKMET_FLOAT64) {
        NEED(taskmet_dataset_create(rows, d, x, d, n, y, n, &dataset));
        return dataset;
    }
    float *xs = narrowed(x, rows * d), *ys = narrowed(y, rows * n);
    NEED(taskmet_dataset_create_f32(rows, d, xs, d, n, ys, n, &dataset));
    free(xs), free(ys);
    return dataset;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Readers                                                                                                           */

/* How a reader fails: a number that it returns, or one of these. */
enum { LEAVE_X_NAN = 1000, LEAVE_Y_INFINITY, LEAVE_ROWS };

typedef struct reader {
    taskmet_precision precision;
    int64_t rows, d, n;
    const double *x, *y;
    int64_t fail_at; /* this call, counted from 0, fails; -1: none */
    int32_t how;
    int64_t calls, largest; /* how often it was asked, and for how many rows at most */
    int wrong;              /* asked for rows that do not exist, or with room that is no NaN */
    int freed;
    pthread_t home;
    int64_t abroad; /* calls on other threads */
    pthread_mutex_t lock;
} reader;

static inline void start_reader(reader *r, taskmet_precision precision, int64_t rows, int64_t d, const double *x,
                                int64_t n, const double *y) {
    memset(r, 0, sizeof *r);
    r->precision = precision;
    r->rows = rows, r->d = d, r->n = n, r->x = x, r->y = y;
    r->fail_at = -1;
    r->how = TASKMET_CALLBACK_ERROR;
    r->home = pthread_self();
    pthread_mutex_init(&r->lock, NULL);
}

static inline int is_nan_at(const reader *r, const void *numbers, int64_t k) {
    return isnan(get_number(r->precision, numbers, k)) != 0;
}

static inline int read_counted(reader *r, int64_t first, int64_t count, const void *x, const void *y) {
    pthread_mutex_lock(&r->lock);
    const int failing = r->calls == r->fail_at;
    r->calls += 1;
    if (count > r->largest) r->largest = count;
    if (!pthread_equal(pthread_self(), r->home)) r->abroad += 1;
    if (first < 0 || count < 1 || first + count > r->rows) r->wrong = 1;
    if (!is_nan_at(r, x, 0) || !is_nan_at(r, x, count * r->d - 1)) r->wrong = 1;
    if (!is_nan_at(r, y, 0) || !is_nan_at(r, y, count * r->n - 1)) r->wrong = 1;
    pthread_mutex_unlock(&r->lock);
    return failing;
}

static inline int32_t read_into(reader *r, int64_t first, int64_t count, void *x, void *y) {
    const int failing = read_counted(r, first, count, x, y);
    if (failing && r->how == LEAVE_ROWS) return TASKMET_CALLBACK_OK;
    if (failing && r->how < LEAVE_X_NAN) return r->how;
    for (int64_t k = 0; k < count * r->d; k += 1) set_number(r->precision, x, k, r->x[first * r->d + k]);
    for (int64_t k = 0; k < count * r->n; k += 1) set_number(r->precision, y, k, r->y[first * r->n + k]);
    if (failing && r->how == LEAVE_X_NAN) set_number(r->precision, x, count * r->d - 1, (double)NAN);
    if (failing && r->how == LEAVE_Y_INFINITY) set_number(r->precision, y, 0, (double)INFINITY);
    return TASKMET_CALLBACK_OK;
}

static inline int32_t read_rows(void *user, int64_t first, int64_t count, double *x, double *y) {
    return read_into(user, first, count, x, y);
}

static inline int32_t read_rows_f32(void *user, int64_t first, int64_t count, float *x, float *y) {
    return read_into(user, first, count, x, y);
}

static inline void free_reader(void *user) { ((reader *)user)->freed += 1; }

static inline taskmet_dataset *make_streamed(reader *r) {
    taskmet_dataset *dataset = NULL;
    if (r->precision == TASKMET_FLOAT32)
        NEED(taskmet_dataset_create_from_callback_f32(r->rows, r->d, r->n, read_rows_f32, r, free_reader, &dataset));
    else NEED(taskmet_dataset_create_from_callback(r->rows, r->d, r->n, read_rows, r, free_reader, &dataset));
    CHECK(r->calls == 0);
    return dataset;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* .npy files                                                                                                        */

/* A file with a header of this version, the dictionary padded with spaces as NumPy does, and these bytes of data. */
static inline void write_npy(const char *path, int version, const char *dictionary, const void *data, size_t size) {
    const size_t prefix = version == 1 ? 10 : 12, text = strlen(dictionary);
    const size_t length = (prefix + text + 1 + 63) / 64 * 64 - prefix;
    unsigned char start[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0};
    for (size_t k = 0; k < prefix - 8; k += 1) start[8 + k] = (unsigned char)(length >> (8 * k));
    FILE *file = fopen(path, "wb");
    if (file == NULL) abort();
    fwrite(start, 1, prefix, file);
    fwrite(dictionary, 1, text, file);
    for (size_t k = text; k + 1 < length; k += 1) fputc(' ', file);
    fputc('\n', file);
    if (size > 0 && fwrite(data, 1, size, file) != size) abort();
    fclose(file);
}

/* As numpy.save writes a matrix; columns 0: a vector. */
static inline void save_npy(const char *path, taskmet_precision precision, const double *values, int64_t rows,
                            int64_t columns) {
    char text[128], sizes[64];
    const int64_t count = rows * (columns == 0 ? 1 : columns);
    snprintf(sizes, sizeof sizes, columns == 0 ? "%" PRId64 "," : "%" PRId64 ", %" PRId64, rows, columns);
    snprintf(text, sizeof text, "{'descr': '<f%d', 'fortran_order': False, 'shape': (%s), }",
             (int)number_size(precision), sizes);
    void *numbers = copy_numbers(precision, values, count);
    write_npy(path, 1, text, numbers, (size_t)count * number_size(precision));
    free(numbers);
}

typedef struct file_pair {
    char x[96], y[96];
} file_pair;

static inline file_pair name_files(void) {
    file_pair files;
    snprintf(files.x, sizeof files.x, "/tmp/taskmet-streaming-%ld-x.npy", (long)getpid());
    snprintf(files.y, sizeof files.y, "/tmp/taskmet-streaming-%ld-y.npy", (long)getpid());
    return files;
}

static inline void remove_files(const file_pair *files) { unlink(files->x), unlink(files->y); }

#endif
