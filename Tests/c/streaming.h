/*
 * streaming.h - what the tests of streamed datasets share: rows that a callback reads from arrays and can fail to read,
 * .npy files, and the same rows in memory.
 */
#ifndef STREAMING_H
#define STREAMING_H

#include "trainer_fixture.h"

#include <pthread.h>

/* How a reader fails: a number that it returns, or one of these. */
enum { LEAVE_X_NAN = 1000, LEAVE_Y_INFINITY, LEAVE_ROWS };

typedef struct reader {
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

static inline void start_reader(reader *r, int64_t rows, int64_t d, const double *x, int64_t n, const double *y) {
    memset(r, 0, sizeof *r);
    r->rows = rows, r->d = d, r->n = n, r->x = x, r->y = y;
    r->fail_at = -1;
    r->how = TASKMET_CALLBACK_ERROR;
    r->home = pthread_self();
    pthread_mutex_init(&r->lock, NULL);
}

static inline int read_counted(reader *r, int64_t first, int64_t count, const double *x, const double *y) {
    pthread_mutex_lock(&r->lock);
    const int failing = r->calls == r->fail_at;
    r->calls += 1;
    if (count > r->largest) r->largest = count;
    if (!pthread_equal(pthread_self(), r->home)) r->abroad += 1;
    if (first < 0 || count < 1 || first + count > r->rows) r->wrong = 1;
    if (!isnan(x[0]) || !isnan(x[count * r->d - 1]) || !isnan(y[0]) || !isnan(y[count * r->n - 1])) r->wrong = 1;
    pthread_mutex_unlock(&r->lock);
    return failing;
}

static int32_t read_rows(void *user, int64_t first, int64_t count, double *x, double *y) {
    reader *r = user;
    const int failing = read_counted(r, first, count, x, y);
    if (failing && r->how == LEAVE_ROWS) return TASKMET_CALLBACK_OK;
    if (failing && r->how < LEAVE_X_NAN) return r->how;
    memcpy(x, r->x + first * r->d, (size_t)(count * r->d) * sizeof(double));
    memcpy(y, r->y + first * r->n, (size_t)(count * r->n) * sizeof(double));
    if (failing && r->how == LEAVE_X_NAN) x[count * r->d - 1] = (double)NAN;
    if (failing && r->how == LEAVE_Y_INFINITY) y[0] = (double)INFINITY;
    return TASKMET_CALLBACK_OK;
}

static inline void free_reader(void *user) { ((reader *)user)->freed += 1; }

static inline taskmet_dataset *make_streamed(reader *r) {
    taskmet_dataset *dataset = NULL;
    NEED(taskmet_dataset_create_from_callback(r->rows, r->d, r->n, read_rows, r, free_reader, &dataset));
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
static inline void save_npy(const char *path, const double *values, int64_t rows, int64_t columns) {
    char text[128];
    if (columns == 0)
        snprintf(text, sizeof text, "{'descr': '<f8', 'fortran_order': False, 'shape': (%" PRId64 ",), }", rows);
    else
        snprintf(text, sizeof text, "{'descr': '<f8', 'fortran_order': False, 'shape': (%" PRId64 ", %" PRId64 "), }",
                 rows, columns);
    write_npy(path, 1, text, values, (size_t)(rows * (columns == 0 ? 1 : columns)) * sizeof(double));
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
