/*
 * check.h - what the C tests share: checks that count and go on, crash locations, random numbers, small fixtures.
 *
 * Every program is check_begin(argc, argv), some checks, return check_end(). The argument "quick" asks for small sizes
 * (used under valgrind). Include this header first: it asks for POSIX.
 */
#ifndef CHECK_H
#define CHECK_H

#ifndef _POSIX_C_SOURCE
#define _POSIX_C_SOURCE 200809L
#endif

#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "taskmet.h"

static long check_passed;
static long check_failed;
static int check_quick;

/* ---------------------------------------------------------------------------------------------------------------- */
/* Where the program is, so that a crash inside the library says which check led to it                              */

static const char *volatile check_file = "?";
static volatile sig_atomic_t check_line;
static struct sigaction check_old_actions[64];

static inline int check_at(const char *file, int line) {
    check_file = file;
    check_line = line;
    return 0;
}

/* Tells the place, then hands over to whoever handled the signal before (a sanitizer, or the default). snprintf is not
 * async-signal-safe by the letter, but the program is lost at this point anyway. */
static void check_crash(int number) {
    char text[512];
    const int length =
        snprintf(text, sizeof text, "%s:%d: CRASH (signal %d)\n", check_file, (int)check_line, number);
    if (length > 0) fwrite(text, 1, (size_t)length, stdout);
    fflush(stdout);
    sigaction(number, &check_old_actions[number], NULL);
}

static inline void check_begin(int argc, char **argv) {
    static const int fatal[] = {SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGTRAP, SIGABRT};
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_handler = check_crash;
    sigemptyset(&action.sa_mask);
    for (size_t k = 0; k < sizeof fatal / sizeof fatal[0]; k += 1)
        sigaction(fatal[k], &action, &check_old_actions[fatal[k]]);
    check_quick = argc > 1 && strcmp(argv[1], "quick") == 0;
}

static inline int check_end(void) {
    printf("%ld passed, %ld failed\n", check_passed, check_failed);
    return check_failed == 0 ? 0 : 1;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Checks                                                                                                           */

#ifdef __GNUC__
__attribute__((format(printf, 4, 5)))
#endif
static inline int check_that(int passed, const char *file, int line, const char *format, ...) {
    if (passed) {
        check_passed += 1;
        return 1;
    }
    check_failed += 1;
    va_list arguments;
    printf("%s:%d: FAILED: ", file, line);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    printf("\n");
    fflush(stdout);
    return 0;
}

static inline int check_status(taskmet_status got, taskmet_status expected, const char *text, const char *file,
                               int line, const char *call) {
    const char *message = got == TASKMET_OK ? "" : taskmet_last_error();
    const int right = check_that(got == expected, file, line, "%s gave %s (\"%s\") in place of %s", call,
                                 taskmet_status_name(got), message, taskmet_status_name(expected));
    if (!right || got == TASKMET_OK || text == NULL || text[0] == 0) return right;
    return check_that(strstr(message, text) != NULL, file, line, "%s: the message \"%s\" does not contain \"%s\"", call,
                      message, text);
}

static inline double check_max_abs(const double *values, int64_t count) {
    double largest = 0;
    for (int64_t k = 0; k < count; k += 1) largest = fmax(largest, fabs(values[k]));
    return largest;
}

/* The largest difference, relative to the largest entry of b; infinite where a number is not finite. */
static inline double check_distance(const double *a, const double *b, int64_t count) {
    double largest = 0;
    for (int64_t k = 0; k < count; k += 1) {
        if (!isfinite(a[k]) || !isfinite(b[k])) return INFINITY;
        largest = fmax(largest, fabs(a[k] - b[k]));
    }
    return largest == 0 ? 0 : largest / check_max_abs(b, count);
}

static inline int check_same_bits(const double *a, const double *b, int64_t count) {
    return memcmp(a, b, (size_t)count * sizeof(double)) == 0;
}

static inline void check_need(taskmet_status got, const char *file, int line, const char *call) {
    if (got == TASKMET_OK) return;
    check_that(0, file, line, "%s gave %s (\"%s\"); the program cannot go on", call, taskmet_status_name(got),
               taskmet_last_error());
    exit(check_end());
}

#define CHECK(condition) \
    check_that((check_at(__FILE__, __LINE__), (condition) ? 1 : 0), __FILE__, __LINE__, "%s", #condition)

/* The call's status, and a text that last_error must contain ("" or NULL: any). */
#define CHECK_STATUS(call, expected, text) \
    check_status((check_at(__FILE__, __LINE__), (call)), expected, text, __FILE__, __LINE__, #call)

#define CHECK_OK(call) CHECK_STATUS(call, TASKMET_OK, NULL)

#define CHECK_CLOSE(a, b, tolerance)                                                                                 \
    do {                                                                                                             \
        const double close_a_ = (a), close_b_ = (b);                                                                 \
        check_that(check_distance(&close_a_, &close_b_, 1) <= (tolerance), __FILE__, __LINE__,                       \
                   "%s = %.17g, but %s = %.17g", #a, close_a_, #b, close_b_);                                        \
    } while (0)

/* Two arrays: the largest difference against the largest entry of b. */
#define CHECK_CLOSE_ARRAYS(a, b, count, tolerance)                                                                   \
    do {                                                                                                             \
        const double distance_ = check_distance((a), (b), (count));                                                  \
        check_that(distance_ <= (tolerance), __FILE__, __LINE__, "%s and %s differ by %.3g (more than %.3g)", #a,    \
                   #b, distance_, (double)(tolerance));                                                              \
    } while (0)

#define CHECK_SAME_BITS(a, b, count) \
    check_that(check_same_bits((a), (b), (count)), __FILE__, __LINE__, "%s and %s have different bits", #a, #b)

/* For fixtures: a failure ends the program. */
#define NEED(call) check_need((check_at(__FILE__, __LINE__), (call)), __FILE__, __LINE__, #call)

/* ---------------------------------------------------------------------------------------------------------------- */
/* Numbers (splitmix64: the same on every machine)                                                                  */

static inline double random_next(uint64_t *state) {
    *state += UINT64_C(0x9E3779B97F4A7C15);
    uint64_t z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    z ^= z >> 31;
    return 2.0 * ((double)(z >> 11) / 9007199254740992.0) - 1.0;
}

/* Uniform in [-1, 1). */
static inline void random_fill(uint64_t seed, double *out, int64_t count) {
    for (int64_t k = 0; k < count; k += 1) out[k] = random_next(&seed);
}

/* Never NULL: a test without memory cannot say anything. */
static inline void *need_memory(size_t size) {
    void *memory = calloc(size == 0 ? 1 : size, 1);
    if (memory == NULL) abort();
    return memory;
}

static inline double *zeros(int64_t count) { return need_memory((size_t)count * sizeof(double)); }

static inline double *random_array(uint64_t seed, int64_t count) {
    double *values = zeros(count);
    random_fill(seed, values, count);
    return values;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Fixtures; the caller destroys and frees                                                                          */

static inline taskmet_dataset *make_dataset(uint64_t seed, int64_t rows, int64_t features, int64_t targets) {
    double *x = random_array(seed, rows * features), *y = random_array(seed + 1, rows * targets);
    taskmet_dataset *dataset = NULL;
    NEED(taskmet_dataset_create(rows, features, x, features, targets, y, targets, &dataset));
    free(x);
    free(y);
    return dataset;
}

static inline int64_t predictor_count(const taskmet_predictor *predictor) {
    int64_t count = 0;
    NEED(taskmet_predictor_parameter_count(predictor, &count));
    return count;
}

static inline int64_t metric_count(const taskmet_metric *metric) {
    int64_t count = 0;
    NEED(taskmet_metric_parameter_count(metric, &count));
    return count;
}

static inline double *predictor_parameters(const taskmet_predictor *predictor) {
    const int64_t count = predictor_count(predictor);
    double *values = zeros(count);
    NEED(taskmet_predictor_get_parameters(predictor, values, count));
    return values;
}

static inline double *metric_parameters(const taskmet_metric *metric) {
    const int64_t count = metric_count(metric);
    double *values = zeros(count);
    NEED(taskmet_metric_get_parameters(metric, values, count));
    return values;
}

/* Moves every parameter by up to size, so that nothing is zero or symmetric by its initialisation. */
static inline void shake_predictor(taskmet_predictor *predictor, uint64_t seed, double size) {
    double *values = predictor_parameters(predictor);
    const int64_t count = predictor_count(predictor);
    for (int64_t k = 0; k < count; k += 1) values[k] += size * random_next(&seed);
    NEED(taskmet_predictor_set_parameters(predictor, values, count));
    free(values);
}

static inline void shake_metric(taskmet_metric *metric, uint64_t seed, double size) {
    double *values = metric_parameters(metric);
    const int64_t count = metric_count(metric);
    for (int64_t k = 0; k < count; k += 1) values[k] += size * random_next(&seed);
    NEED(taskmet_metric_set_parameters(metric, values, count));
    free(values);
}

/* With a bias, at random parameters. */
static inline taskmet_predictor *make_linear(uint64_t seed, int64_t inputs, int64_t outputs) {
    taskmet_predictor *predictor = NULL;
    NEED(taskmet_predictor_create_linear(inputs, outputs, 1, &predictor));
    shake_predictor(predictor, seed, 0.5);
    return predictor;
}

/* One hidden layer of tanh units. */
static inline taskmet_predictor *make_mlp(uint64_t seed, int64_t inputs, int64_t outputs, int64_t hidden) {
    taskmet_predictor *predictor = NULL;
    NEED(taskmet_predictor_create_mlp(inputs, outputs, 1, &hidden, TASKMET_ACTIVATION_TANH,
                                      TASKMET_ACTIVATION_IDENTITY, seed, &predictor));
    return predictor;
}

static inline taskmet_metric *make_constant(uint64_t seed, int64_t outputs, taskmet_structure structure,
                                            int64_t rank) {
    taskmet_metric *metric = NULL;
    NEED(taskmet_metric_create_constant(outputs, structure, rank, seed, &metric));
    shake_metric(metric, seed, 0.3);
    return metric;
}

/* One hidden layer of tanh units. */
static inline taskmet_metric *make_conditional(uint64_t seed, int64_t inputs, int64_t outputs,
                                               taskmet_structure structure, int64_t rank, int64_t hidden) {
    taskmet_metric *metric = NULL;
    NEED(taskmet_metric_create_conditional(inputs, outputs, structure, rank, 1, &hidden, TASKMET_ACTIVATION_TANH, seed,
                                           &metric));
    shake_metric(metric, seed, 0.3);
    return metric;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Model files                                                                                                      */

/* What else is wrong with a damaged file shows where no checksum gives it away: renames the header's "checksum" to a
 * key that nobody looks for. */
static inline void forget_checksum(unsigned char *bytes, size_t header) {
    static const char key[] = "\"checksum\"";
    for (size_t at = 8; at + sizeof key - 1 <= header; at += 1)
        if (memcmp(bytes + at, key, sizeof key - 1) == 0) {
            bytes[at + 1] = 'C';
            return;
        }
    CHECK(!"a file with a checksum");
}

#endif /* CHECK_H */
