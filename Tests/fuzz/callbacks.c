/*
 * callbacks.c - the caller's side of every callback: right answers, and all the ways to misbehave that a caller has:
 * any return value, numbers that are not finite, numbers left out, calls back into the library.
 */
#include "world.h"

#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

void release_owned(void *user) {
    owned *owner = user;
    owner->released += 1;
    free(owner->x), free(owner->y);
    owner->x = owner->y = NULL;
}

/* Calls the library from inside a callback. */
static void call_back(world *w) {
    const frame *here = w->frame;
    if (here == NULL || here->depth >= MOST_DEPTH || w->nested >= 4) return;
    w->nested += 1;
    perform_any(w);
}

static double bad_number(world *w) {
    static const double numbers[] = {NAN, INFINITY, -INFINITY, 1e308, -1e308, 1e-310};
    return numbers[below(w, 6)];
}

/* What a callback that has written `count` numbers returns, after it has spoilt some of them or not. */
static int32_t answer(world *w, double *numbers, int64_t count) {
    static const int32_t returns[] = {TASKMET_CALLBACK_REJECT, TASKMET_CALLBACK_STOP, TASKMET_CALLBACK_ERROR, 4, -1, 17,
                                      INT32_MIN, INT32_MAX};
    if (w->split) { /* a program is a function of its seed: nothing is drawn */
        uint64_t bits = 0;
        if (numbers != NULL && count > 0) memcpy(&bits, numbers, sizeof bits);
        return (int64_t)(scrambled(bits) % 1000) < w->mischief ? TASKMET_CALLBACK_ERROR : TASKMET_CALLBACK_OK;
    }
    /* The library's own threads call too: a program's choices are this thread's. */
    if (!pthread_equal(pthread_self(), w->thread) || w->frame == NULL) return TASKMET_CALLBACK_OK;
    if (chance(w, 5)) call_back(w);
    if (!chance(w, w->mischief)) return TASKMET_CALLBACK_OK;
    switch (below(w, 4)) {
    case 0: return returns[below(w, 8)];
    case 1:
        if (numbers != NULL && count > 0) numbers[below(w, count)] = bad_number(w);
        return TASKMET_CALLBACK_OK;
    case 2:
        if (numbers != NULL)
            for (int64_t k = below(w, count + 1); k < count; k += 1) numbers[k] = NAN;
        return TASKMET_CALLBACK_OK;
    default: call_back(w); return TASKMET_CALLBACK_OK;
    }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Tasks                                                                                                            */

static double squared_errors(const taskmet_task_batch *batch, double *gradient) {
    const double share = 1 / (double)batch->instance_count;
    double sum = 0;
    for (int64_t k = 0; k < batch->rows * batch->outputs; k += 1) {
        const double error = batch->predictions[k] - batch->targets[k];
        const double price = error < 0 ? 3 : 1;
        sum += share * price * error * error;
        if (gradient != NULL) gradient[k] = 2 * share * price * error;
    }
    return sum;
}

int32_t task_callback(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    world *w = ((owned *)user)->world;
    *loss = squared_errors(batch, gradient);
    const int32_t first = answer(w, loss, 1);
    return first != TASKMET_CALLBACK_OK ? first : answer(w, gradient, batch->rows * batch->outputs);
}

/* The cheapest vertex of the simplex. */
int32_t oracle_callback(void *user, const taskmet_oracle_batch *batch, double *decisions) {
    for (int64_t k = 0; k < batch->count; k += 1) {
        int64_t best = batch->offsets[k];
        for (int64_t j = batch->offsets[k]; j < batch->offsets[k + 1]; j += 1) {
            decisions[j] = 0;
            if (batch->costs[j] < batch->costs[best]) best = j;
        }
        if (batch->offsets[k + 1] > batch->offsets[k]) decisions[best] = 1;
    }
    return answer(((owned *)user)->world, decisions, batch->offsets[batch->count]);
}

int32_t losses_callback(void *user, const taskmet_task_batch *batch, double *losses) {
    for (int64_t k = 0; k < batch->instance_count; k += 1) {
        losses[k] = 0;
        for (int64_t j = batch->offsets[k] * batch->outputs; j < batch->offsets[k + 1] * batch->outputs; j += 1)
            losses[k] += fabs(batch->predictions[j] - batch->targets[j]);
    }
    return answer(((owned *)user)->world, losses, batch->instance_count);
}

static uint64_t mix(uint64_t hash, const void *bytes, size_t size) {
    for (size_t k = 0; k < size; k += 1) hash = (hash ^ ((const unsigned char *)bytes)[k]) * UINT64_C(0x100000001B3);
    return hash;
}

int32_t probe_callback(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user, (void)gradient;
    const size_t rows = (size_t)batch->rows, instances = (size_t)batch->instance_count;
    uint64_t hash = mix(0, batch->offsets, (instances + 1) * sizeof(int64_t));
    hash = mix(hash, batch->targets, rows * (size_t)batch->outputs * sizeof(double));
    if (batch->inputs != NULL) /* of all rows of a streamed dataset there are none */
        hash = mix(hash, batch->inputs, rows * (size_t)batch->features * sizeof(double));
    for (size_t k = 0; batch->context != NULL && k < instances; k += 1)
        hash = mix(hash, batch->context[k], (size_t)batch->context_counts[k] * sizeof(double));
    *loss = (double)(hash >> 12);
    return TASKMET_CALLBACK_OK;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A streamed dataset's reader                                                                                      */

/* What the library promises of a reading of numbers of this size. */
static int is_promised(const owned *owner, int64_t first_row, int64_t count, size_t size) {
    const stream *s = &owner->stream;
    if (owner->released > 0) report_finding("a reader was called after its free_user");
    const int there = first_row >= 0 && count >= 1 && first_row <= s->rows - count;
    if (!there)
        report_finding("a reader was asked for %lld rows from row %lld on, of %lld", (long long)count,
                       (long long)first_row, (long long)s->rows);
    const int64_t tile = 1024 / (int64_t)size, most = (1 << 19) / (s->features + s->targets) / (int64_t)size;
    if (there && count > tile && count > most)
        report_finding("a reader was asked for %lld rows of %lld numbers at once", (long long)count,
                       (long long)(s->features + s->targets));
    return there;
}

static void require_filled(int filled) {
    if (!filled) report_finding("a reader got room that is not filled with NaN");
}

static int is_nan(int64_t count, const double *room) {
    int filled = 1;
    for (int64_t k = 0; k < count; k += 1) filled &= isnan(room[k]) != 0;
    return filled;
}

static int is_nan_f32(int64_t count, const float *room) {
    int filled = 1;
    for (int64_t k = 0; k < count; k += 1) filled &= isnan(room[k]) != 0;
    return filled;
}

/* Numbers in [-2, 2). */
static void fill_rows(uint64_t seed, int64_t first_row, int64_t count, int64_t columns, double *out) {
    for (int64_t k = 0; k < count * columns; k += 1)
        out[k] = (double)(int64_t)scrambled(seed + (uint64_t)(first_row * columns + k)) / 4611686018427387904.0;
}

/* How the reading of a bad row fails: the same way each time, and on any thread. */
static int32_t fail_reading(const stream *s, int64_t first_row, double *x, double *y) {
    const int64_t row = s->bad_row - first_row;
    switch (s->seed % 5) {
    case 0: return TASKMET_CALLBACK_ERROR;
    case 1: return (int32_t)(s->seed >> 32 | 4); /* no answer that there is */
    case 2: x[row * s->features] = NAN; return TASKMET_CALLBACK_OK;
    case 3: y[(row + 1) * s->targets - 1] = INFINITY; return TASKMET_CALLBACK_OK;
    default: return TASKMET_CALLBACK_REJECT;
    }
}

/* So many rows may be split between threads, as chance will have it, and a program is a function of its seed: what is
 * drawn in answer() would not be. */
enum { SPLIT_ROWS = 384 };

static int32_t read_numbers(const owned *owner, int64_t first_row, int64_t count, double *x, double *y) {
    const stream *s = &owner->stream;
    fill_rows(s->seed, first_row, count, s->features, x);
    fill_rows(~s->seed, first_row, count, s->targets, y);
    if (s->bad_row >= first_row && s->bad_row - first_row < count) return fail_reading(s, first_row, x, y);
    if (s->rows >= SPLIT_ROWS) return TASKMET_CALLBACK_OK;
    const int32_t first = answer(owner->world, x, count * s->features);
    return first != TASKMET_CALLBACK_OK ? first : answer(owner->world, y, count * s->targets);
}

int32_t read_callback(void *user, int64_t first_row, int64_t count, double *x, double *y) {
    const owned *owner = user;
    const stream *s = &owner->stream;
    if (!is_promised(owner, first_row, count, sizeof *x)) return TASKMET_CALLBACK_ERROR;
    require_filled(is_nan(count * s->features, x) && is_nan(count * s->targets, y));
    return read_numbers(owner, first_row, count, x, y);
}

/* The same numbers, as far as float32 has them: what is too large becomes infinite. */
int32_t read_f32_callback(void *user, int64_t first_row, int64_t count, float *x, float *y) {
    const owned *owner = user;
    const stream *s = &owner->stream;
    if (!is_promised(owner, first_row, count, sizeof *x)) return TASKMET_CALLBACK_ERROR;
    require_filled(is_nan_f32(count * s->features, x) && is_nan_f32(count * s->targets, y));
    double *numbers = malloc((size_t)(count * (s->features + s->targets)) * sizeof *numbers);
    if (numbers == NULL) abort();
    double *const targets = numbers + count * s->features;
    const int32_t status = read_numbers(owner, first_row, count, numbers, targets);
    for (int64_t k = 0; k < count * s->features; k += 1) x[k] = (float)numbers[k];
    for (int64_t k = 0; k < count * s->targets; k += 1) y[k] = (float)targets[k];
    free(numbers);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A predictor: f_k(x) = sum_j b_jk(x) sin(theta_j). Its callbacks do not know how many parameters and outputs it     */
/* has: these are the world's (calls_predictor.c makes no others).                                                    */

static double basis(const double *x, int64_t j, int64_t k) { return cos((double)(j + 1) * x[0] + (double)k); }

static int32_t forward(void *user, int64_t rows, const double *x, int64_t stride, const double *theta, double *out) {
    world *w = ((owned *)user)->world;
    const int64_t n = w->outputs;
    for (int64_t i = 0; i < rows; i += 1)
        for (int64_t k = 0; k < n; k += 1) {
            out[i * n + k] = 0;
            for (int64_t j = 0; j < CALLBACK_PARAMETERS; j += 1)
                out[i * n + k] += basis(x + i * stride, j, k) * sin(theta[j]);
        }
    return answer(w, out, rows * n);
}

static int32_t vjp(void *user, int64_t rows, const double *x, int64_t stride, const double *theta, const double *c,
                   double *out) {
    world *w = ((owned *)user)->world;
    const int64_t n = w->outputs;
    for (int64_t j = 0; j < CALLBACK_PARAMETERS; j += 1) {
        out[j] = 0;
        for (int64_t i = 0; i < rows; i += 1)
            for (int64_t k = 0; k < n; k += 1) out[j] += c[i * n + k] * basis(x + i * stride, j, k) * cos(theta[j]);
    }
    return answer(w, out, CALLBACK_PARAMETERS);
}

static int32_t jvp(void *user, int64_t rows, const double *x, int64_t stride, const double *theta, const double *v,
                   double *out) {
    world *w = ((owned *)user)->world;
    const int64_t n = w->outputs;
    for (int64_t i = 0; i < rows; i += 1)
        for (int64_t k = 0; k < n; k += 1) {
            out[i * n + k] = 0;
            for (int64_t j = 0; j < CALLBACK_PARAMETERS; j += 1)
                out[i * n + k] += basis(x + i * stride, j, k) * cos(theta[j]) * v[j];
        }
    return answer(w, out, rows * n);
}

static int32_t hvp(void *user, int64_t rows, const double *x, int64_t stride, const double *theta, const double *c,
                   const double *v, double *out) {
    world *w = ((owned *)user)->world;
    const int64_t n = w->outputs;
    for (int64_t j = 0; j < CALLBACK_PARAMETERS; j += 1) {
        out[j] = 0;
        for (int64_t i = 0; i < rows; i += 1)
            for (int64_t k = 0; k < n; k += 1)
                out[j] -= c[i * n + k] * basis(x + i * stride, j, k) * sin(theta[j]) * v[j];
    }
    return answer(w, out, CALLBACK_PARAMETERS);
}

const taskmet_predictor_callbacks predictor_callbacks = {sizeof(taskmet_predictor_callbacks), forward, vjp, jvp, hvp};

/* ---------------------------------------------------------------------------------------------------------------- */
/* A trainer's                                                                                                      */

int32_t progress_callback(void *user, const taskmet_record *record) {
    (void)record;
    return answer(user, NULL, 0);
}

int32_t interrupt_callback(void *user) { return answer(user, NULL, 0); }

void log_callback(void *user, taskmet_log_level level, const char *message) {
    if (level < TASKMET_LOG_INFO || level > TASKMET_LOG_WARNING || message == NULL || message[0] == 0)
        report_finding("a log message of level %d is empty, or of no level", (int)level);
    answer(user, NULL, 0);
}
