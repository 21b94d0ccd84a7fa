/*
 * test_callback_task.c - what a task's callback is given, and what becomes of everything it can answer.
 */
#include "check.h"

enum { ROWS = 6, D = 3, N = 2, INSTANCES = 3, WIDE = N + 2 };
enum { LOSS_NAN = 1000, LOSS_INFINITY, GRADIENT_NAN, GRADIENT_INFINITY, NOTHING_WRITTEN, GRADIENT_UNWRITTEN };

typedef struct judge {
    int32_t how; /* what it returns, or one of the numbers above */
    taskmet_phase phase;
    int wants_gradient, calls, busy;
    double predictions[ROWS * N];
    int64_t offsets[ROWS + 1];
    int64_t instances;
    taskmet_dataset *data;
} judge;

static double x[ROWS * D], y[ROWS * N];

/* Everything the header says about the batch. */
static void check_batch(const judge *j, const taskmet_task_batch *batch, const double *loss, const double *gradient) {
    CHECK(batch->struct_size >= sizeof(taskmet_task_batch));
    CHECK(batch->instance_count == j->instances);
    CHECK(batch->rows == ROWS && batch->outputs == N && batch->features == D);
    CHECK(batch->phase == j->phase && batch->reserved == 0);
    for (int64_t k = 0; k < batch->instance_count; k += 1) CHECK(batch->instances[k] == k);
    for (int64_t k = 0; k <= batch->instance_count; k += 1) CHECK(batch->offsets[k] == j->offsets[k]);
    CHECK_SAME_BITS(batch->predictions, j->predictions, ROWS * N);
    CHECK_SAME_BITS(batch->targets, y, ROWS * N);
    CHECK_SAME_BITS(batch->inputs, x, ROWS * D);
    CHECK(isnan(*loss));
    CHECK((gradient != NULL) == j->wants_gradient);
    for (int k = 0; gradient != NULL && k < ROWS * N; k += 1) CHECK(isnan(gradient[k]));
}

/* The loss is the sum of k f_k / 10, its gradient k / 10. */
static int32_t judge_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    judge *j = user;
    j->calls += 1;
    check_batch(j, batch, loss, gradient);
    if (j->busy) {
        CHECK_STATUS(taskmet_dataset_set_weights(j->data, x, ROWS), TASKMET_ERROR_BUSY, "dataset");
        CHECK_STATUS(taskmet_dataset_refill(j->data, ROWS, x, D, y, N, NULL, 0), TASKMET_ERROR_BUSY, "dataset");
        CHECK_OK(taskmet_dataset_shape(j->data, NULL, NULL, NULL, NULL));
    }
    if (j->how == NOTHING_WRITTEN) return TASKMET_CALLBACK_OK;
    *loss = 0;
    for (int k = 0; k < ROWS * N; k += 1) {
        *loss += k * batch->predictions[k] / 10;
        if (gradient != NULL && (j->how != GRADIENT_UNWRITTEN || k != 7)) gradient[k] = k / 10.0;
    }
    if (j->how == LOSS_NAN) *loss = (double)NAN;
    if (j->how == LOSS_INFINITY) *loss = (double)INFINITY;
    if (j->how == GRADIENT_NAN && gradient != NULL) gradient[ROWS * N - 1] = (double)NAN;
    if (j->how == GRADIENT_INFINITY && gradient != NULL) gradient[0] = -(double)INFINITY;
    return j->how < LOSS_NAN ? j->how : TASKMET_CALLBACK_OK;
}

static taskmet_dataset *make_data(judge *j) {
    static const double weights[ROWS] = {1, 2, 0, 1, 1, 3}; /* not the task's business */
    static const int64_t offsets[INSTANCES + 1] = {0, 2, 3, ROWS};
    double wide_x[ROWS * (D + 1)], wide_y[ROWS * WIDE];
    for (int i = 0; i < ROWS; i += 1) {
        for (int k = 0; k <= D; k += 1) wide_x[i * (D + 1) + k] = k < D ? x[i * D + k] : 99;
        for (int k = 0; k < WIDE; k += 1) wide_y[i * WIDE + k] = k < N ? y[i * N + k] : 99;
    }
    taskmet_dataset *data = NULL;
    NEED(taskmet_dataset_create(ROWS, D, wide_x, D + 1, N, wide_y, WIDE, &data));
    NEED(taskmet_dataset_set_weights(data, weights, ROWS));
    memcpy(j->offsets, offsets, sizeof offsets);
    NEED(taskmet_dataset_set_instances(data, INSTANCES, offsets));
    j->instances = INSTANCES;
    j->data = data;
    return data;
}

static void test_values(taskmet_task *task, judge *j, const taskmet_dataset *data, const double *wide_f) {
    static const taskmet_phase phases[] = {TASKMET_PHASE_TRAINING, TASKMET_PHASE_VALIDATION};
    double expected = 0;
    for (int k = 0; k < ROWS * N; k += 1) expected += k * j->predictions[k] / 10;
    for (int k = 0; k < 2; k += 1) {
        double loss = -1, gradient[ROWS * WIDE];
        for (int i = 0; i < ROWS * WIDE; i += 1) gradient[i] = 77;
        j->phase = phases[k];
        j->wants_gradient = 1;
        j->calls = 0;
        CHECK_OK(taskmet_task_gradient(task, data, phases[k], wide_f, WIDE, &loss, gradient, WIDE));
        CHECK(j->calls == 1);
        CHECK_SAME_BITS(&loss, &expected, 1);
        for (int i = 0; i < ROWS * WIDE; i += 1)
            CHECK(gradient[i] == (i % WIDE < N ? (i / WIDE * N + i % WIDE) / 10.0 : 77));
        loss = -1;
        j->wants_gradient = 0;
        CHECK_OK(taskmet_task_gradient(task, data, phases[k], wide_f, WIDE, &loss, NULL, 0));
        CHECK_SAME_BITS(&loss, &expected, 1);
    }
}

typedef struct answer {
    int32_t how;
    taskmet_status status;
    const char *text; /* in the message */
    int only_with_gradient;
} answer;

static const answer answers[] = {
    {TASKMET_CALLBACK_REJECT, TASKMET_ERROR_REJECTED, "task_gradient: ", 0},
    {TASKMET_CALLBACK_STOP, TASKMET_ERROR_CALLBACK, "task_gradient: ", 0},
    {TASKMET_CALLBACK_ERROR, TASKMET_ERROR_CALLBACK, "task_gradient: ", 0},
    {4, TASKMET_ERROR_CALLBACK, "4", 0},
    {-1, TASKMET_ERROR_CALLBACK, "-1", 0},
    {INT32_MIN, TASKMET_ERROR_CALLBACK, "-2147483648", 0},
    {LOSS_NAN, TASKMET_ERROR_CALLBACK, "loss", 0},
    {LOSS_INFINITY, TASKMET_ERROR_CALLBACK, "loss", 0},
    {NOTHING_WRITTEN, TASKMET_ERROR_CALLBACK, "loss", 0},
    {GRADIENT_NAN, TASKMET_ERROR_CALLBACK, "gradient", 1},
    {GRADIENT_INFINITY, TASKMET_ERROR_CALLBACK, "gradient", 1},
    {GRADIENT_UNWRITTEN, TASKMET_ERROR_CALLBACK, "gradient", 1},
};

/* Garbage above 3 that is not one of this file's own numbers is tried by test_garbage. */
static void test_answers(taskmet_task *task, judge *j, const taskmet_dataset *data, const double *wide_f) {
    j->phase = TASKMET_PHASE_TRAINING;
    for (size_t k = 0; k < sizeof answers / sizeof answers[0]; k += 1) {
        for (int with = answers[k].only_with_gradient; with < 2; with += 1) {
            double loss = -5, gradient[ROWS * N];
            for (int i = 0; i < ROWS * N; i += 1) gradient[i] = 77;
            j->how = answers[k].how;
            j->wants_gradient = with;
            CHECK_STATUS(taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, wide_f, WIDE, &loss,
                                               with ? gradient : NULL, with ? N : 0),
                         answers[k].status, answers[k].text);
            CHECK(strncmp(taskmet_last_error(), "task_gradient: ", 15) == 0);
            CHECK(loss == -5);
            for (int i = 0; i < ROWS * N; i += 1) CHECK(gradient[i] == 77);
        }
    }
    j->how = TASKMET_CALLBACK_OK;
}

static int32_t garbage_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)batch, (void)gradient;
    *loss = 1;
    return *(int32_t *)user;
}

static void test_garbage(const taskmet_dataset *data, const double *wide_f) {
    static int32_t values[] = {12345, 255, 256, 65536, INT32_MAX}; /* 256: an int8 would see 0 */
    for (size_t k = 0; k < sizeof values / sizeof values[0]; k += 1) {
        taskmet_task *task = NULL;
        double loss = -5;
        char number[16];
        snprintf(number, sizeof number, "%d", (int)values[k]);
        NEED(taskmet_task_create_callback(garbage_task, &values[k], NULL, &task));
        CHECK_STATUS(taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, wide_f, WIDE, &loss, NULL, 0),
                     TASKMET_ERROR_CALLBACK, number);
        CHECK(loss == -5);
        taskmet_task_destroy(task);
    }
}

/* The same failures through the functions that call the task many times; the models are only read. */
static void test_failing_checks(const taskmet_dataset *data, const double *f) {
    static const struct {
        int32_t how;
        taskmet_status status;
    } cases[] = {{TASKMET_CALLBACK_REJECT, TASKMET_ERROR_REJECTED},
                 {TASKMET_CALLBACK_STOP, TASKMET_ERROR_CALLBACK},
                 {TASKMET_CALLBACK_ERROR, TASKMET_ERROR_CALLBACK},
                 {12345, TASKMET_ERROR_CALLBACK}};
    taskmet_predictor *predictor = make_linear(3, D, N);
    taskmet_metric *metric = make_constant(4, N, TASKMET_STRUCTURE_FULL, 0);
    double *before = predictor_parameters(predictor);
    const int64_t count = predictor_count(predictor);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k += 1) {
        int32_t how = cases[k].how;
        double worst = -5;
        taskmet_task *task = NULL;
        NEED(taskmet_task_create_callback(garbage_task, &how, NULL, &task));
        CHECK_STATUS(taskmet_task_check_gradient(task, data, f, WIDE, 2, 1, 0, &worst, NULL), cases[k].status,
                     "task_check_gradient: ");
        CHECK_STATUS(taskmet_hypergradient_check(predictor, metric, data, 0.1, task, NULL, NULL, 1, 1, 0, &worst, NULL),
                     cases[k].status, "hypergradient_check: ");
        CHECK(worst == -5);
        taskmet_task_destroy(task);
    }
    double *after = predictor_parameters(predictor);
    CHECK_SAME_BITS(after, before, count);
    free(before), free(after);
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
}

/* Without instances every row is one. */
static void test_single_rows(taskmet_task *task, judge *j) {
    double loss = 0;
    taskmet_dataset *data = NULL;
    NEED(taskmet_dataset_create(ROWS, D, x, D, N, y, N, &data));
    j->instances = ROWS;
    for (int k = 0; k <= ROWS; k += 1) j->offsets[k] = k;
    j->data = data;
    j->wants_gradient = 0;
    CHECK_OK(taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, j->predictions, N, &loss, NULL, 0));
    taskmet_dataset_destroy(data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    random_fill(1, x, ROWS * D);
    random_fill(2, y, ROWS * N);
    judge j;
    memset(&j, 0, sizeof j);
    random_fill(3, j.predictions, ROWS * N);
    double wide_f[ROWS * WIDE];
    for (int k = 0; k < ROWS * WIDE; k += 1) wide_f[k] = k % WIDE < N ? j.predictions[k / WIDE * N + k % WIDE] : 99;
    taskmet_dataset *data = make_data(&j);
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_callback(judge_task, &j, NULL, &task));
    test_values(task, &j, data, wide_f);
    j.busy = 1;
    test_values(task, &j, data, wide_f);
    j.busy = 0;
    test_answers(task, &j, data, wide_f);
    test_garbage(data, wide_f);
    test_failing_checks(data, wide_f);
    test_single_rows(task, &j);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
    return check_end();
}
