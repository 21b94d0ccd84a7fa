/*
 * calls_streams.c - calls that make streamed datasets: of readers (callbacks.c), and of .npy files, good and damaged.
 */
#include "world.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Now and then as many as are read by several threads. */
static int64_t draw_rows(world *w) { return chance(w, 5) ? w->group * (100 + below(w, 100)) : w->rows; }

static owned *draw_stream(world *w) {
    owned *owner = new_owner(w);
    stream *s = &owner->stream;
    s->rows = size_argument(w, draw_rows(w));
    s->features = size_argument(w, chance(w, 3) ? 600 : w->inputs); /* many: the rows come in several blocks */
    s->targets = size_argument(w, w->outputs);
    s->seed = next_random(w);
    s->bad_row = chance(w, w->mischief / 2) && s->rows > 0 ? below(w, s->rows) : -1;
    return owner;
}

static taskmet_status call_dataset_create_from_callback(world *w) {
    owned *owner = draw_stream(w);
    const stream *s = &owner->stream;
    const taskmet_read_fn read = wrong(w) ? NULL : read_callback;
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    return adopt_owned(w, DATASET,
                       taskmet_dataset_create_from_callback(s->rows, s->features, s->targets, read, owner,
                                                            release_owned, made),
                       (void **)made, owner);
}

static taskmet_status call_dataset_create_from_callback_f32(world *w) {
    owned *owner = draw_stream(w);
    const stream *s = &owner->stream;
    const taskmet_read_f32_fn read = wrong(w) ? NULL : read_f32_callback;
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    return adopt_owned(w, DATASET,
                       taskmet_dataset_create_from_callback_f32(s->rows, s->features, s->targets, read, owner,
                                                                release_owned, made),
                       (void **)made, owner);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Files                                                                                                            */

static const char *draw_type(world *w, taskmet_precision precision) {
    static const char *const types[] = {"<f8", "<f4", ">f8", "<i8", "|O"};
    return wrong(w) ? types[below(w, 5)] : types[precision == TASKMET_FLOAT32];
}

/* The header, padded as NumPy does it; columns 0: of one dimension. */
static void write_header(world *w, FILE *file, taskmet_precision precision, int64_t rows, int64_t columns) {
    char text[256], sizes[64];
    snprintf(sizes, sizeof sizes, columns == 0 ? "%" PRId64 "," : "%" PRId64 ", %" PRId64, rows, columns);
    snprintf(text, sizeof text, "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }", draw_type(w, precision),
             wrong(w) ? "True" : "False", sizes);
    const int version = wrong(w) ? (int)below(w, 256) : 1 + (int)below(w, 2);
    const size_t prefix = version == 1 ? 10 : 12;
    const size_t length = (prefix + strlen(text) + 1 + 63) / 64 * 64 - prefix;
    const unsigned char start[12] = {
        0x93, 'N', 'U', 'M', 'P', 'Y', (unsigned char)version, 0, (unsigned char)length, 0, 0, 0};
    fwrite(start, 1, prefix, file);
    fprintf(file, "%-*s\n", (int)length - 1, text);
}

/* A .npy file in the program's directory, which may claim sizes that it has not. */
static const char *write_matrix(world *w, const char *name, taskmet_precision precision, int64_t rows,
                                int64_t columns) {
    char *path = memory(w, 128);
    snprintf(path, 128, "%s/%s", w->directory, name);
    FILE *file = fopen(path, "wb");
    if (file == NULL) return path; /* which the library cannot open either */
    const int vector = columns == 1 && chance(w, 50);
    write_header(w, file, precision, size_argument(w, rows), vector ? 0 : size_argument(w, columns));
    const int64_t spoilt = wrong(w) ? below(w, rows * columns) : -1;
    for (int64_t k = 0; k < rows * columns; k += 1) {
        const double value = k == spoilt ? (chance(w, 50) ? NAN : -INFINITY) : 2 * uniform(w);
        const float narrow = (float)value;
        if (precision == TASKMET_FLOAT32) fwrite(&narrow, sizeof narrow, 1, file);
        else fwrite(&value, sizeof value, 1, file);
    }
    if (wrong(w)) fputc(0, file);
    fclose(file);
    if (wrong(w)) damage_file(w, path, 150);
    return wrong(w) ? path_argument(w, TRAINER) : path;
}

/* An open file that loses its end fails the calls that read it, from then on. */
static void shorten(world *w, const char *path) {
    if (path == NULL || !chance(w, w->mischief)) return;
    if (truncate(path, (off_t)below(w, 300)) != 0) return; /* it is not there, or a directory */
}

static taskmet_status call_dataset_create_from_files(world *w) {
    const int64_t rows = draw_rows(w);
    const taskmet_precision precision = chance(w, 75) ? w->precision : (taskmet_precision)below(w, 2);
    const taskmet_precision other = wrong(w) ? (taskmet_precision)below(w, 2) : precision;
    const char *x_path = write_matrix(w, "x", precision, rows, w->inputs);
    const char *y_path = write_matrix(w, "y", other, rows, w->outputs);
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    const taskmet_status status = taskmet_dataset_create_from_files(x_path, y_path, made);
    shorten(w, chance(w, 50) ? x_path : y_path);
    /* The dataset keeps its files open: these names are free for the next. */
    if (x_path != NULL) unlink(x_path);
    if (y_path != NULL) unlink(y_path);
    return adopt(w, DATASET, status, (void **)made);
}

const call stream_calls[] = {
    CALLS_OFTEN(dataset_create_from_callback, 15),
    CALLS_OFTEN(dataset_create_from_callback_f32, 10),
    CALLS_OFTEN(dataset_create_from_files, 20),
    CALLS_END,
};
