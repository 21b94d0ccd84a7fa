/*
 * arguments.h - how the test_arguments programs ask for a refusal.
 *
 * REFUSE(allowed, names, values, call) makes a call with one bad argument and checks everything the header promises:
 * the status is one of `allowed`; the message begins with the function's name and names the argument (one of the words
 * in "a|b") and its value (one of the texts in "a|b"); no output and no object has changed. Calls write their results
 * into O, whose bytes are a sentinel before each call, and use the objects of W, whose contents are compared bit for bit.
 */
#ifndef ARGUMENTS_H
#define ARGUMENTS_H

#include "check.h"

#include <ctype.h>
#include <inttypes.h>

/* Sets of statuses. */
#define ALLOW(status) (1u << (status))
#define INVALID ALLOW(TASKMET_ERROR_INVALID_ARGUMENT)
#define SHAPE ALLOW(TASKMET_ERROR_SHAPE)
#define STATE ALLOW(TASKMET_ERROR_STATE)
#define NUMERICAL ALLOW(TASKMET_ERROR_NUMERICAL)
#define IO ALLOW(TASKMET_ERROR_IO)
#define FORMAT ALLOW(TASKMET_ERROR_FORMAT)
#define VERSION ALLOW(TASKMET_ERROR_VERSION)
#define UNSUPPORTED ALLOW(TASKMET_ERROR_UNSUPPORTED)
/* A size or stride below its minimum; one whose products overflow. */
#define SMALL (INVALID | SHAPE)
#define HUGE_SIZE (INVALID | SHAPE | ALLOW(TASKMET_ERROR_OUT_OF_MEMORY))
/* A struct_size that cannot be, or a reserved field that is set. */
#define BAD_STRUCT (INVALID | VERSION)

/* The sizes of the fixtures: every product of two of them is another number. */
enum { ROWS = 6, FEATURES = 3, TARGETS = 2, HIDDEN = 4, LINEAR_COUNT = TARGETS * (FEATURES + 1), BUFFER = 128 };

/* NULL, a destroyed handle, a living handle of another kind. */
enum { BAD_NULL, BAD_DESTROYED, BAD_OTHER_KIND, BAD_HANDLES };

typedef struct world {
    double x[ROWS * FEATURES], y[ROWS * TARGETS], ones[BUFFER], numbers[BUFFER];
    taskmet_dataset *data, *borrowed, *wide, *tall; /* wide: another number of features; tall: of targets */
    taskmet_predictor *linear, *mlp, *callback;
    taskmet_metric *constant, *conditional, *scalar, *single; /* single: one output */
    taskmet_metric *metric_tall, *metric_wide;                /* for 3 targets; for 4 features */
    taskmet_workspace *workspace;
    taskmet_task *task;
    taskmet_optimizer *adam;
    int64_t linear_count, mlp_count, constant_count, conditional_count;
    int released, freed;
    struct {
        taskmet_dataset *dataset[BAD_HANDLES];
        taskmet_predictor *predictor[BAD_HANDLES];
        taskmet_metric *metric[BAD_HANDLES];
        taskmet_workspace *workspace[BAD_HANDLES];
        taskmet_task *task[BAD_HANDLES];
        taskmet_optimizer *optimizer[BAD_HANDLES];
    } bad;
} world;

/* Everything a call may write to. */
typedef struct outputs {
    double real[BUFFER];
    double more[BUFFER];
    double value;
    int64_t integer[4];
    union {
        taskmet_dataset *dataset;
        taskmet_predictor *predictor;
        taskmet_metric *metric;
        taskmet_workspace *workspace;
        taskmet_task *task;
        taskmet_optimizer *optimizer;
    } made;
    taskmet_inner_report inner;
    taskmet_solver_report solver;
    taskmet_check_report check;
} outputs;

static world W;
static outputs O, outputs_before;

/* ---------------------------------------------------------------------------------------------------------------- */
/* The objects' contents                                                                                            */

typedef struct contents {
    double parameters[5][BUFFER];
    double loss[4];
    double scale;
    int64_t shape[4];
} contents;

static contents contents_before;

/* Losses stand for what has no getter: the data, the weights, the standardisation. */
static inline void read_contents(contents *c) {
    memset(c, 0, sizeof *c);
    NEED(taskmet_predictor_get_parameters(W.linear, c->parameters[0], W.linear_count));
    NEED(taskmet_predictor_get_parameters(W.mlp, c->parameters[1], W.mlp_count));
    NEED(taskmet_predictor_get_parameters(W.callback, c->parameters[2], 1));
    NEED(taskmet_metric_get_parameters(W.constant, c->parameters[3], W.constant_count));
    NEED(taskmet_metric_get_parameters(W.conditional, c->parameters[4], W.conditional_count));
    NEED(taskmet_loss_value(W.linear, W.constant, W.data, 0.1, &c->loss[0]));
    NEED(taskmet_loss_value(W.mlp, W.conditional, W.data, 0.1, &c->loss[1]));
    NEED(taskmet_loss_value(W.mlp, W.conditional, W.borrowed, 0.1, &c->loss[2]));
    NEED(taskmet_loss_value(W.callback, W.constant, W.data, 0.1, &c->loss[3]));
    NEED(taskmet_metric_get_normalization_scale(W.conditional, &c->scale));
    NEED(taskmet_dataset_shape(W.data, &c->shape[0], &c->shape[1], &c->shape[2], &c->shape[3]));
}

static inline void arm(void) {
    memset(&O, 0xA5, sizeof O);
    O.inner.struct_size = sizeof O.inner;
    O.solver.struct_size = sizeof O.solver;
    O.check.struct_size = sizeof O.check;
    memcpy(&outputs_before, &O, sizeof O);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The judgement of one refusal                                                                                     */

static inline int is_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Whether text has the first `length` characters of part: as a whole word, or anywhere. */
static inline int has_part(const char *text, const char *part, size_t length, int word) {
    for (const char *at = text; *at != 0; at += 1) {
        if (strncmp(at, part, length) != 0) continue;
        if (!word || ((at == text || !is_name(at[-1])) && !is_name(at[length]))) return 1;
    }
    return 0;
}

/* parts: "a|b". NULL has nothing to ask for. */
static inline int has_any(const char *text, const char *parts, int word) {
    if (parts == NULL) return 1;
    for (const char *part = parts;;) {
        const size_t length = strcspn(part, "|");
        if (has_part(text, part, length, word)) return 1;
        if (part[length] == 0) return 0;
        part += length + 1;
    }
}

/* Whether the message begins with the name of the function called in `call`, without taskmet_, and ": ". */
static inline int begins_with_function(const char *message, const char *call) {
    const char *name = strstr(call, "taskmet_");
    if (name == NULL) return 0;
    name += strlen("taskmet_");
    const size_t length = strcspn(name, "( ");
    return strncmp(message, name, length) == 0 && strncmp(message + length, ": ", 2) == 0;
}

static inline int outputs_untouched(void) { return memcmp(&O, &outputs_before, sizeof O) == 0; }

static inline int objects_untouched(void) {
    contents now;
    read_contents(&now);
    const int same = memcmp(&now, &contents_before, sizeof now) == 0;
    if (!same) memcpy(&contents_before, &now, sizeof now); /* so that one damage is told once */
    return same && W.released == 0 && W.freed == 0;
}

static inline void judge_refusal(taskmet_status got, unsigned allowed, const char *names, const char *values,
                                 const char *file, int line, const char *call) {
    char message[2048];
    snprintf(message, sizeof message, "%s", taskmet_last_error());
    const int refused = got > 0 && got < 31 && (ALLOW(got) & allowed) != 0;
    check_that(refused, file, line, "%s gave %s (\"%s\")", call, taskmet_status_name(got),
               got == TASKMET_OK ? "" : message);
    check_that(outputs_untouched(), file, line, "%s wrote to an output", call);
    check_that(objects_untouched(), file, line, "%s changed an object", call);
    if (got == TASKMET_OK) return;
    check_that(begins_with_function(message, call), file, line, "%s: \"%s\" does not begin with the function", call,
               message);
    const char *text = strstr(message, ": ") == NULL ? message : strstr(message, ": ");
    check_that(has_any(text, names, 1), file, line, "%s: \"%s\" does not name %s", call, message, names);
    check_that(has_any(text, values, 0), file, line, "%s: \"%s\" does not tell %s", call, message, values);
}

/* One more level, so that a macro which stands for a call is told, and taken apart, as the call. */
#define REFUSE(allowed, names, values, call) REFUSE_CALL(allowed, names, values, call)

#define REFUSE_CALL(allowed, names, values, call)                                                                    \
    do {                                                                                                             \
        arm();                                                                                                       \
        check_at(__FILE__, __LINE__);                                                                                \
        const taskmet_status refusal_ = (call);                                                                      \
        judge_refusal(refusal_, allowed, names, values, __FILE__, __LINE__, #call);                                  \
    } while (0)

/* ---------------------------------------------------------------------------------------------------------------- */
/* Kinds of bad arguments: each runs `call` with every bad value of its kind in the variable `bad`                  */

static inline const char *number_text(int64_t value) {
    static char text[32];
    snprintf(text, sizeof text, "%" PRId64, value);
    return text;
}

/* A size that must be at least 1; the last one overflows every product. */
static const int64_t bad_sizes[] = {0, -1, INT64_MIN, INT64_MAX};
#define REFUSE_SIZE(names, call)                                                                                     \
    for (int bad_k = 0; bad_k < 4; bad_k += 1) {                                                                     \
        const int64_t bad = bad_sizes[bad_k];                                                                        \
        REFUSE(bad > 0 ? HUGE_SIZE : SMALL, bad > 0 ? names "|memory|bytes" : names,                                 \
               bad > 0 ? NULL : number_text(bad), call);                                                             \
    }

/* The number of rows of arrays that are not a dataset: as a size, but what 0 rows mean is the library's choice. */
#define REFUSE_ROWS(call)                                                                                            \
    for (int bad_k = 1; bad_k < 4; bad_k += 1) {                                                                     \
        const int64_t bad = bad_sizes[bad_k];                                                                        \
        REFUSE(bad > 0 ? HUGE_SIZE : SMALL, bad > 0 ? "rows|count|memory|bytes|x|x_stride" : "rows",                 \
               bad > 0 ? NULL : number_text(bad), call);                                                             \
    }

/* The length of a vector, where `right` is expected. */
static inline int64_t bad_count(int k, int64_t right) {
    const int64_t counts[] = {right - 1, right + 1, 0, -1, INT64_MIN, INT64_MAX};
    return counts[k];
}
#define REFUSE_COUNT(names, right, call)                                                                             \
    for (int bad_k = 0; bad_k < 6; bad_k += 1) {                                                                     \
        const int64_t bad = bad_count(bad_k, right);                                                                 \
        REFUSE(bad <= 0 ? SMALL : bad == INT64_MAX ? HUGE_SIZE : SHAPE, names, number_text(bad), call);              \
    }

/* A row stride, where a row has `row` entries. The last ones overflow as elements and as bytes (from two rows on). */
static inline int64_t bad_stride(int k, int64_t row) {
    const int64_t strides[] = {row - 1, 0, -1, INT64_MIN, INT64_MAX, INT64_MAX / 2, INT64_MAX / 8};
    return strides[k];
}
#define REFUSE_STRIDE(names, row, call)                                                                              \
    for (int bad_k = 0; bad_k < 7; bad_k += 1) {                                                                     \
        const int64_t bad = bad_stride(bad_k, row);                                                                  \
        REFUSE(bad < (row) ? SMALL : HUGE_SIZE, bad < (row) ? names : names "|rows|memory|bytes",                    \
               bad < (row) ? number_text(bad) : NULL, call);                                                         \
    }

static inline double bad_real(int k) { return k == 0 ? (double)NAN : k == 1 ? (double)INFINITY : -(double)INFINITY; }
#define REAL_TEXT "nan|inf|NaN|Inf"
#define REFUSE_REAL(names, call)                                                                                     \
    for (int bad_k = 0; bad_k < 3; bad_k += 1) {                                                                     \
        const double bad = bad_real(bad_k);                                                                          \
        REFUSE(INVALID, names, REAL_TEXT, call);                                                                     \
    }

/* A copy of source with one number that is not finite, at its beginning or its end. */
static inline const double *poisoned(const double *source, int64_t count, int k) {
    static double copy[BUFFER];
    memcpy(copy, source, (size_t)count * sizeof(double));
    copy[k < 3 ? 0 : count - 1] = bad_real(k % 3);
    return copy;
}
#define REFUSE_ARRAY(names, source, count, call)                                                                     \
    for (int bad_k = 0; bad_k < 6; bad_k += 1) {                                                                     \
        const double *bad = poisoned(source, count, bad_k);                                                          \
        REFUSE(INVALID, names, "[|" REAL_TEXT, call);                                                                \
    }

/* The same for an array with one number outside its range, at the end. */
static inline const double *replaced(const double *source, int64_t count, double last) {
    static double copy[BUFFER];
    memcpy(copy, source, (size_t)count * sizeof(double));
    copy[count - 1] = last;
    return copy;
}

static const int32_t bad_enumerators[] = {-1, 99, INT32_MIN, INT32_MAX};
#define REFUSE_ENUM(names, call)                                                                                     \
    for (int bad_k = 0; bad_k < 4; bad_k += 1) {                                                                     \
        const int32_t bad = bad_enumerators[bad_k];                                                                  \
        REFUSE(INVALID, names, number_text(bad), call);                                                              \
    }

#define REFUSE_NULL(names, call) REFUSE(INVALID, names, "NULL|null|nil", call)

/* kind: dataset, predictor, ...; from: BAD_NULL, or BAD_DESTROYED where NULL is allowed. */
#define REFUSE_HANDLE_FROM(from, kind, names, call)                                                                  \
    for (int bad_k = (from); bad_k < BAD_HANDLES; bad_k += 1) {                                                      \
        taskmet_##kind *bad = W.bad.kind[bad_k];                                                                     \
        REFUSE(INVALID, names, NULL, call);                                                                          \
    }
#define REFUSE_HANDLE(kind, names, call) REFUSE_HANDLE_FROM(BAD_NULL, kind, names, call)

/* A call that may succeed or be refused, as long as the program lives and no object is damaged. */
#define SURVIVE(call)                                                                                                \
    do {                                                                                                             \
        arm();                                                                                                       \
        check_at(__FILE__, __LINE__);                                                                                \
        const taskmet_status survived_ = (call);                                                                     \
        check_that(survived_ >= 0 && survived_ <= 12, __FILE__, __LINE__, "%s gave %d", #call, (int)survived_);      \
        check_that(objects_untouched(), __FILE__, __LINE__, "%s changed an object", #call);                          \
    } while (0)

/* ---------------------------------------------------------------------------------------------------------------- */
/* The world                                                                                                        */

static inline void count_release(void *owner) { *(int *)owner += 1; }

/* f(x) = theta for every row and output: the smallest predictor made of callbacks. */
static int32_t flat_forward(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                            double *out) {
    (void)user, (void)x, (void)x_stride;
    for (int64_t k = 0; k < rows * TARGETS; k += 1) out[k] = theta[0];
    return TASKMET_CALLBACK_OK;
}

static int32_t flat_vjp(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                        const double *c, double *out) {
    (void)user, (void)x, (void)x_stride, (void)theta;
    out[0] = 0;
    for (int64_t k = 0; k < rows * TARGETS; k += 1) out[0] += c[k];
    return TASKMET_CALLBACK_OK;
}

static int32_t flat_jvp(void *user, int64_t rows, const double *x, int64_t x_stride, const double *theta,
                        const double *w, double *out) {
    (void)theta;
    return flat_forward(user, rows, x, x_stride, w, out);
}

static inline taskmet_predictor_callbacks flat_callbacks(void) {
    taskmet_predictor_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.forward = flat_forward;
    callbacks.vjp = flat_vjp;
    callbacks.jvp = flat_jvp;
    return callbacks;
}

/* The mean squared error. */
static int32_t square_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user;
    const int64_t count = batch->rows * batch->outputs;
    *loss = 0;
    for (int64_t k = 0; k < count; k += 1) {
        const double error = batch->predictions[k] - batch->targets[k];
        *loss += error * error / (double)batch->instance_count;
        if (gradient != NULL) gradient[k] = 2 * error / (double)batch->instance_count;
    }
    return TASKMET_CALLBACK_OK;
}

static inline void make_data(void) {
    random_fill(1, W.x, ROWS * FEATURES);
    random_fill(2, W.y, ROWS * TARGETS);
    random_fill(3, W.numbers, BUFFER);
    for (int k = 0; k < BUFFER; k += 1) W.ones[k] = 1;
    NEED(taskmet_dataset_create(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, &W.data));
    NEED(taskmet_dataset_borrow(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, NULL, NULL, &W.borrowed));
    W.wide = make_dataset(4, ROWS, FEATURES + 1, TARGETS);
    W.tall = make_dataset(6, ROWS, FEATURES, TARGETS + 1);
}

static inline void make_models(void) {
    const taskmet_predictor_callbacks callbacks = flat_callbacks();
    W.linear = make_linear(10, FEATURES, TARGETS);
    W.mlp = make_mlp(11, FEATURES, TARGETS, HIDDEN);
    NEED(taskmet_predictor_create_callback(FEATURES, TARGETS, NULL, 1, &callbacks, NULL, NULL, &W.callback));
    W.constant = make_constant(12, TARGETS, TASKMET_STRUCTURE_FULL, 0);
    W.conditional = make_conditional(13, FEATURES, TARGETS, TASKMET_STRUCTURE_DIAGONAL, 0, HIDDEN);
    W.scalar = make_constant(14, TARGETS, TASKMET_STRUCTURE_SCALAR, 0);
    W.single = make_constant(15, 1, TASKMET_STRUCTURE_FULL, 0);
    W.metric_tall = make_constant(16, TARGETS + 1, TASKMET_STRUCTURE_FULL, 0);
    W.metric_wide = make_conditional(17, FEATURES + 1, TARGETS, TASKMET_STRUCTURE_DIAGONAL, 0, HIDDEN);
    NEED(taskmet_metric_set_normalization(W.conditional, TASKMET_NORMALIZATION_BATCH_TRACE));
    W.linear_count = predictor_count(W.linear);
    W.mlp_count = predictor_count(W.mlp);
    W.constant_count = metric_count(W.constant);
    W.conditional_count = metric_count(W.conditional);
}

/* The destroyed handles come last, so that nothing made afterwards can be found at their addresses. */
static inline void make_bad_handles(void) {
    NEED(taskmet_dataset_create(1, 1, W.x, 1, 1, W.y, 1, &W.bad.dataset[BAD_DESTROYED]));
    NEED(taskmet_predictor_create_linear(1, 1, 1, &W.bad.predictor[BAD_DESTROYED]));
    NEED(taskmet_metric_create_constant(1, TASKMET_STRUCTURE_SCALAR, 0, 0, &W.bad.metric[BAD_DESTROYED]));
    NEED(taskmet_workspace_create(1, 0, &W.bad.workspace[BAD_DESTROYED]));
    NEED(taskmet_task_create_callback(square_task, NULL, NULL, &W.bad.task[BAD_DESTROYED]));
    NEED(taskmet_optimizer_create_sgd(1, 1, 0, &W.bad.optimizer[BAD_DESTROYED]));
    taskmet_dataset_destroy(W.bad.dataset[BAD_DESTROYED]);
    taskmet_predictor_destroy(W.bad.predictor[BAD_DESTROYED]);
    taskmet_metric_destroy(W.bad.metric[BAD_DESTROYED]);
    taskmet_workspace_destroy(W.bad.workspace[BAD_DESTROYED]);
    taskmet_task_destroy(W.bad.task[BAD_DESTROYED]);
    taskmet_optimizer_destroy(W.bad.optimizer[BAD_DESTROYED]);
    W.bad.dataset[BAD_OTHER_KIND] = (taskmet_dataset *)(void *)W.linear;
    W.bad.predictor[BAD_OTHER_KIND] = (taskmet_predictor *)(void *)W.constant;
    W.bad.metric[BAD_OTHER_KIND] = (taskmet_metric *)(void *)W.linear;
    W.bad.workspace[BAD_OTHER_KIND] = (taskmet_workspace *)(void *)W.task;
    W.bad.task[BAD_OTHER_KIND] = (taskmet_task *)(void *)W.data;
    W.bad.optimizer[BAD_OTHER_KIND] = (taskmet_optimizer *)(void *)W.constant;
}

static inline void make_world(void) {
    make_data();
    make_models();
    NEED(taskmet_workspace_create(2, 0, &W.workspace));
    NEED(taskmet_task_create_callback(square_task, NULL, NULL, &W.task));
    NEED(taskmet_optimizer_create_adam(LINEAR_COUNT, 0.01, 0.9, 0.999, 1e-8, &W.adam));
    make_bad_handles();
    read_contents(&contents_before);
}

static inline void destroy_world(void) {
    taskmet_dataset *const datasets[] = {W.data, W.borrowed, W.wide, W.tall};
    taskmet_predictor *const predictors[] = {W.linear, W.mlp, W.callback};
    taskmet_metric *const metrics[] = {W.constant, W.conditional, W.scalar, W.single, W.metric_tall, W.metric_wide};
    for (int k = 0; k < 4; k += 1) taskmet_dataset_destroy(datasets[k]);
    for (int k = 0; k < 3; k += 1) taskmet_predictor_destroy(predictors[k]);
    for (int k = 0; k < 6; k += 1) taskmet_metric_destroy(metrics[k]);
    taskmet_workspace_destroy(W.workspace);
    taskmet_task_destroy(W.task);
    taskmet_optimizer_destroy(W.adam);
}

#endif /* ARGUMENTS_H */
