/*
 * test_arguments_metric.c - bad arguments of the functions that make, change and evaluate metrics.
 */
#include "arguments.h"

enum {
    SCALAR = TASKMET_STRUCTURE_SCALAR,
    DIAGONAL = TASKMET_STRUCTURE_DIAGONAL,
    LOWRANK = TASKMET_STRUCTURE_LOWRANK,
    FULL = TASKMET_STRUCTURE_FULL,
    TANH = TASKMET_ACTIVATION_TANH
};

#define CONSTANT(outputs, structure, rank)                                                                           \
    taskmet_metric_create_constant(outputs, structure, rank, 1, &O.made.metric)
#define CONDITIONAL(inputs, outputs, structure, rank, count, hidden, activation)                                     \
    taskmet_metric_create_conditional(inputs, outputs, structure, rank, count, hidden, activation, 1, &O.made.metric)

static void test_create_constant(void) {
    REFUSE_SIZE("outputs", CONSTANT(bad, DIAGONAL, 0));
    REFUSE_SIZE("outputs", CONSTANT(bad, FULL, 0));
    REFUSE_SIZE("outputs|rank", CONSTANT(bad, LOWRANK, 1));
    REFUSE_ENUM("structure", CONSTANT(TARGETS, bad, 0));
    REFUSE(INVALID, "structure", "4", CONSTANT(TARGETS, 4, 1));
    REFUSE(SMALL, "rank", "0", CONSTANT(TARGETS, LOWRANK, 0));
    REFUSE(SMALL, "rank", "-1", CONSTANT(TARGETS, LOWRANK, -1));
    REFUSE(SMALL, "rank", "3", CONSTANT(TARGETS, LOWRANK, TARGETS + 1));
    REFUSE(SMALL, "rank", NULL, CONSTANT(TARGETS, LOWRANK, INT64_MAX));
    REFUSE(SMALL, "rank", NULL, CONSTANT(TARGETS, LOWRANK, INT64_MIN));
    REFUSE_NULL("metric", taskmet_metric_create_constant(TARGETS, FULL, 0, 1, NULL));
    /* Sizes whose squares overflow as entries, and as bytes only; one with no room left for s; a large rank. */
    REFUSE(HUGE_SIZE, "outputs|memory|bytes", NULL, CONSTANT(INT64_C(3037000500), FULL, 0));
    REFUSE(HUGE_SIZE, "outputs|memory|bytes", NULL, CONSTANT(INT64_C(1) << 31, FULL, 0));
    REFUSE(HUGE_SIZE, "outputs|memory|bytes", NULL, CONSTANT(INT64_MAX - 1, DIAGONAL, 0));
    REFUSE(HUGE_SIZE, "outputs|memory|bytes", NULL, CONSTANT(INT64_MAX / 8, DIAGONAL, 0));
    REFUSE(HUGE_SIZE, "outputs|rank|memory|bytes", NULL, CONSTANT(INT64_C(1) << 33, LOWRANK, INT64_C(1) << 32));
    /* The rank of other structures is ignored, whatever it is. */
    for (int32_t structure = SCALAR; structure <= FULL; structure += 1) {
        if (structure == LOWRANK) continue;
        taskmet_metric *metric = NULL;
        CHECK_OK(taskmet_metric_create_constant(TARGETS, structure, -5, 1, &metric));
        taskmet_metric_destroy(metric);
    }
}

static void test_create_conditional(void) {
    static const int64_t hidden[] = {4, 5}, zero[] = {4, 0}, negative[] = {-3, 4}, vast[] = {4, INT64_MAX},
                         product[] = {INT64_C(1) << 32, INT64_C(1) << 31};
    REFUSE_SIZE("inputs|hidden", CONDITIONAL(bad, TARGETS, FULL, 0, 2, hidden, TANH));
    REFUSE_SIZE("outputs|hidden", CONDITIONAL(FEATURES, bad, FULL, 0, 2, hidden, TANH));
    REFUSE_SIZE("outputs|hidden", CONDITIONAL(FEATURES, bad, DIAGONAL, 0, 0, NULL, TANH));
    REFUSE_SIZE("outputs|hidden|rank", CONDITIONAL(FEATURES, bad, LOWRANK, 1, 2, hidden, TANH));
    REFUSE_ENUM("structure", CONDITIONAL(FEATURES, TARGETS, bad, 1, 2, hidden, TANH));
    REFUSE(SMALL, "rank", "0", CONDITIONAL(FEATURES, TARGETS, LOWRANK, 0, 2, hidden, TANH));
    REFUSE(SMALL, "rank", "-1", CONDITIONAL(FEATURES, TARGETS, LOWRANK, -1, 2, hidden, TANH));
    REFUSE(SMALL, "rank", "3", CONDITIONAL(FEATURES, TARGETS, LOWRANK, TARGETS + 1, 2, hidden, TANH));
    REFUSE(SMALL, "hidden_count", "-1", CONDITIONAL(FEATURES, TARGETS, FULL, 0, -1, hidden, TANH));
    REFUSE(SMALL, "hidden_count", NULL, CONDITIONAL(FEATURES, TARGETS, FULL, 0, INT64_MIN, hidden, TANH));
    REFUSE(HUGE_SIZE, "hidden_count|hidden|memory|bytes", NULL,
           CONDITIONAL(FEATURES, TARGETS, FULL, 0, INT64_MAX, hidden, TANH));
    REFUSE_NULL("hidden", CONDITIONAL(FEATURES, TARGETS, FULL, 0, 1, NULL, TANH));
    REFUSE(SMALL, "hidden", "hidden[1]", CONDITIONAL(FEATURES, TARGETS, FULL, 0, 2, zero, TANH));
    REFUSE(SMALL, "hidden", "hidden[0]", CONDITIONAL(FEATURES, TARGETS, FULL, 0, 2, negative, TANH));
    REFUSE(SMALL, "hidden", "-3", CONDITIONAL(FEATURES, TARGETS, FULL, 0, 2, negative, TANH));
    REFUSE(HUGE_SIZE, "hidden|memory|bytes", NULL, CONDITIONAL(FEATURES, TARGETS, FULL, 0, 2, vast, TANH));
    REFUSE(HUGE_SIZE, "hidden|memory|bytes", NULL, CONDITIONAL(FEATURES, TARGETS, FULL, 0, 2, product, TANH));
    REFUSE(HUGE_SIZE, "outputs|memory|bytes", NULL,
           CONDITIONAL(FEATURES, INT64_C(3037000500), FULL, 0, 2, hidden, TANH));
    REFUSE(HUGE_SIZE, "outputs|memory|bytes", NULL, CONDITIONAL(FEATURES, INT64_C(1) << 31, FULL, 0, 2, hidden, TANH));
    REFUSE_ENUM("activation", CONDITIONAL(FEATURES, TARGETS, FULL, 0, 2, hidden, bad));
    REFUSE_NULL("metric",
                taskmet_metric_create_conditional(FEATURES, TARGETS, FULL, 0, 2, hidden, TANH, 1, NULL));
}

static void test_copy_shape_parameters(void) {
    const int64_t n = W.conditional_count;
    REFUSE_HANDLE(metric, "metric", taskmet_metric_copy(bad, &O.made.metric));
    REFUSE_NULL("copy", taskmet_metric_copy(W.conditional, NULL));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_shape(bad, &O.integer[0], &O.integer[1], &O.integer[2]));
    CHECK_OK(taskmet_metric_shape(W.conditional, NULL, NULL, NULL));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_parameter_count(bad, &O.integer[0]));
    REFUSE_NULL("count", taskmet_metric_parameter_count(W.conditional, NULL));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_get_parameters(bad, O.real, n));
    REFUSE_NULL("out", taskmet_metric_get_parameters(W.conditional, NULL, n));
    REFUSE_COUNT("count", n, taskmet_metric_get_parameters(W.conditional, O.real, bad));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_set_parameters(bad, W.numbers, n));
    REFUSE_NULL("values", taskmet_metric_set_parameters(W.conditional, NULL, n));
    REFUSE_COUNT("count", n, taskmet_metric_set_parameters(W.conditional, W.numbers, bad));
    REFUSE_ARRAY("values", W.numbers, n, taskmet_metric_set_parameters(W.conditional, bad, n));
}

static void test_normalization(void) {
    const int64_t d = FEATURES;
    REFUSE_HANDLE(metric, "metric", taskmet_metric_set_normalization(bad, TASKMET_NORMALIZATION_TRACE));
    REFUSE_ENUM("normalization", taskmet_metric_set_normalization(W.conditional, bad));
    REFUSE(INVALID, "normalization", "4", taskmet_metric_set_normalization(W.conditional, 4));
    REFUSE(UNSUPPORTED, "normalization|structure|metric", NULL,
           taskmet_metric_set_normalization(W.scalar, TASKMET_NORMALIZATION_TRACE));
    REFUSE(UNSUPPORTED, "normalization|structure|metric", NULL,
           taskmet_metric_set_normalization(W.scalar, TASKMET_NORMALIZATION_FROBENIUS));
    REFUSE(UNSUPPORTED, "normalization|outputs|metric", NULL,
           taskmet_metric_set_normalization(W.single, TASKMET_NORMALIZATION_TRACE));
    REFUSE(UNSUPPORTED, "normalization|outputs|metric", NULL,
           taskmet_metric_set_normalization(W.single, TASKMET_NORMALIZATION_FROBENIUS));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_update_normalization(bad, ROWS, W.x, d));
    REFUSE_ROWS(taskmet_metric_update_normalization(W.conditional, bad, W.x, d));
    REFUSE_NULL("x", taskmet_metric_update_normalization(W.conditional, ROWS, NULL, d));
    REFUSE_STRIDE("x_stride", d, taskmet_metric_update_normalization(W.conditional, ROWS, W.x, bad));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_metric_update_normalization(W.conditional, ROWS, bad, d));
    REFUSE(STATE, "metric|normalization|BATCH_TRACE|batch_trace", NULL,
           taskmet_metric_update_normalization(W.constant, ROWS, NULL, 0));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_get_normalization_scale(bad, &O.value));
    REFUSE_NULL("scale", taskmet_metric_get_normalization_scale(W.conditional, NULL));
    REFUSE_HANDLE(metric, "metric", taskmet_metric_set_floor(bad, 0.1));
    REFUSE_REAL("floor", taskmet_metric_set_floor(W.conditional, bad));
    REFUSE(INVALID, "floor", "-0.5", taskmet_metric_set_floor(W.conditional, -0.5));
}

static void test_standardization(void) {
    const double *const one = W.ones;
    const int64_t d = FEATURES;
    REFUSE_HANDLE(metric, "metric", taskmet_metric_set_standardization(bad, one, one, d));
    REFUSE_NULL("mean", taskmet_metric_set_standardization(W.conditional, NULL, one, d));
    REFUSE_NULL("scale", taskmet_metric_set_standardization(W.conditional, one, NULL, d));
    REFUSE(SMALL, "mean|scale|inputs", NULL, taskmet_metric_set_standardization(W.conditional, NULL, NULL, d));
    REFUSE_COUNT("inputs", d, taskmet_metric_set_standardization(W.conditional, one, one, bad));
    REFUSE_ARRAY("mean", one, d, taskmet_metric_set_standardization(W.conditional, bad, one, d));
    REFUSE_ARRAY("scale", one, d, taskmet_metric_set_standardization(W.conditional, one, bad, d));
    REFUSE(INVALID, "scale", "0", taskmet_metric_set_standardization(W.conditional, one, replaced(one, d, 0), d));
    REFUSE(INVALID, "scale", "-2", taskmet_metric_set_standardization(W.conditional, one, replaced(one, d, -2), d));
    REFUSE(UNSUPPORTED, "metric|constant", NULL, taskmet_metric_set_standardization(W.constant, one, one, d));
}

static void test_evaluate(void) {
    const taskmet_metric *const m = W.conditional;
    const int64_t d = FEATURES, all = ROWS * TARGETS * TARGETS;
    REFUSE_HANDLE(metric, "metric", taskmet_metric_evaluate(bad, ROWS, W.x, d, O.real, all));
    REFUSE_ROWS(taskmet_metric_evaluate(m, bad, W.x, d, O.real, all));
    REFUSE_ROWS(taskmet_metric_evaluate(W.constant, bad, NULL, 0, O.real, all));
    REFUSE_NULL("x", taskmet_metric_evaluate(m, ROWS, NULL, d, O.real, all));
    REFUSE_STRIDE("x_stride", d, taskmet_metric_evaluate(m, ROWS, W.x, bad, O.real, all));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_metric_evaluate(m, ROWS, bad, d, O.real, all));
    REFUSE_NULL("out", taskmet_metric_evaluate(m, ROWS, W.x, d, NULL, all));
    REFUSE_COUNT("count", all, taskmet_metric_evaluate(m, ROWS, W.x, d, O.real, bad));
    SURVIVE(taskmet_metric_evaluate(m, 0, W.x, d, O.real, 0));
}

static void test_vjp(void) {
    const taskmet_metric *const m = W.conditional;
    const int64_t d = FEATURES, all = ROWS * TARGETS * TARGETS, n = W.conditional_count;
    const double *const c = W.numbers;
    REFUSE_HANDLE(metric, "metric", taskmet_metric_vjp(bad, ROWS, W.x, d, c, all, O.real, n));
    REFUSE_ROWS(taskmet_metric_vjp(m, bad, W.x, d, c, all, O.real, n));
    REFUSE_NULL("x", taskmet_metric_vjp(m, ROWS, NULL, d, c, all, O.real, n));
    REFUSE_STRIDE("x_stride", d, taskmet_metric_vjp(m, ROWS, W.x, bad, c, all, O.real, n));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_metric_vjp(m, ROWS, bad, d, c, all, O.real, n));
    REFUSE_NULL("cotangent", taskmet_metric_vjp(m, ROWS, W.x, d, NULL, all, O.real, n));
    REFUSE_COUNT("cotangent_count", all, taskmet_metric_vjp(m, ROWS, W.x, d, c, bad, O.real, n));
    REFUSE_ARRAY("cotangent", W.numbers, all, taskmet_metric_vjp(m, ROWS, W.x, d, bad, all, O.real, n));
    REFUSE_NULL("out", taskmet_metric_vjp(m, ROWS, W.x, d, c, all, NULL, n));
    REFUSE_COUNT("count", n, taskmet_metric_vjp(m, ROWS, W.x, d, c, all, O.real, bad));
    SURVIVE(taskmet_metric_vjp(m, 0, W.x, d, c, 0, O.real, n));
}

static void test_regularizer(void) {
    const taskmet_metric *const m = W.conditional;
    const int64_t d = FEATURES, n = W.conditional_count;
    REFUSE_HANDLE(metric, "metric", taskmet_metric_regularizer(bad, ROWS, W.x, d, 1, 1, &O.value, O.real, n));
    REFUSE_ROWS(taskmet_metric_regularizer(m, bad, W.x, d, 1, 1, &O.value, O.real, n));
    REFUSE_NULL("x", taskmet_metric_regularizer(m, ROWS, NULL, d, 1, 1, &O.value, O.real, n));
    REFUSE_STRIDE("x_stride", d, taskmet_metric_regularizer(m, ROWS, W.x, bad, 1, 1, &O.value, O.real, n));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_metric_regularizer(m, ROWS, bad, d, 1, 1, &O.value, O.real, n));
    REFUSE_REAL("b1", taskmet_metric_regularizer(m, ROWS, W.x, d, bad, 1, &O.value, O.real, n));
    REFUSE_REAL("b2", taskmet_metric_regularizer(m, ROWS, W.x, d, 1, bad, &O.value, O.real, n));
    REFUSE(INVALID, "b1", "-1", taskmet_metric_regularizer(m, ROWS, W.x, d, -1, 1, &O.value, O.real, n));
    REFUSE(INVALID, "b2", "-1", taskmet_metric_regularizer(m, ROWS, W.x, d, 1, -1, &O.value, O.real, n));
    REFUSE_COUNT("count", n, taskmet_metric_regularizer(m, ROWS, W.x, d, 1, 1, &O.value, O.real, bad));
    REFUSE(SMALL, "out|count", NULL, taskmet_metric_regularizer(m, ROWS, W.x, d, 1, 1, &O.value, NULL, n));
    SURVIVE(taskmet_metric_regularizer(m, ROWS, W.x, d, 1, 1, NULL, NULL, 0));
    SURVIVE(taskmet_metric_regularizer(m, 0, W.x, d, 1, 1, &O.value, O.real, n));
}

/* exp(s) beyond all numbers: an error that says so, not an infinite metric. */
static void test_overflow(void) {
    double parameters[BUFFER];
    taskmet_metric *metric = make_constant(5, TARGETS, FULL, 0);
    const int64_t n = metric_count(metric);
    NEED(taskmet_metric_get_parameters(metric, parameters, n));
    parameters[n - 1] = 1000;
    CHECK_OK(taskmet_metric_set_parameters(metric, parameters, n));
    REFUSE(NUMERICAL, NULL, NULL, taskmet_metric_evaluate(metric, 1, NULL, 0, O.real, TARGETS * TARGETS));
    REFUSE(NUMERICAL, NULL, NULL, taskmet_loss_value(W.linear, metric, W.data, 0, &O.value));
    REFUSE(NUMERICAL, NULL, NULL,
           taskmet_loss_gradient(W.linear, metric, W.data, 0, O.real, W.linear_count));
    taskmet_metric_destroy(metric);
}

static void test_paths(void) {
    REFUSE_HANDLE(metric, "metric", taskmet_metric_save(bad, "/nonexistent/model"));
    REFUSE_NULL("path", taskmet_metric_save(W.constant, NULL));
    REFUSE(IO, "path|nonexistent", "/nonexistent/model", taskmet_metric_save(W.constant, "/nonexistent/model"));
    REFUSE(IO | INVALID, "path", NULL, taskmet_metric_save(W.constant, ""));
    REFUSE_NULL("path", taskmet_metric_load(NULL, &O.made.metric));
    REFUSE_NULL("metric", taskmet_metric_load("/nonexistent/model", NULL));
    REFUSE(IO, "path|nonexistent", "/nonexistent/model", taskmet_metric_load("/nonexistent/model", &O.made.metric));
    REFUSE(IO | INVALID, "path", NULL, taskmet_metric_load("", &O.made.metric));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_create_constant();
    test_create_conditional();
    test_copy_shape_parameters();
    test_normalization();
    test_standardization();
    test_evaluate();
    test_vjp();
    test_regularizer();
    test_overflow();
    test_paths();
    destroy_world();
    return check_end();
}
