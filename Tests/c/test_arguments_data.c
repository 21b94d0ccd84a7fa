/*
 * test_arguments_data.c - bad arguments of the functions that make and change datasets, workspaces and optimisers, and of
 * those that tell versions and errors.
 */
#include "arguments.h"

/* Refused in the same way by both functions that make a dataset; the borrowing one has two more arguments. */
#define REFUSE_CONTENTS(make, ...)                                                                                   \
    do {                                                                                                             \
        REFUSE_SIZE("rows", make(bad, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, __VA_ARGS__));                 \
        REFUSE_SIZE("features|x_stride",                                                                             \
                    make(ROWS, bad, W.x, bad > 0 ? bad : FEATURES, TARGETS, W.y, TARGETS, __VA_ARGS__));             \
        REFUSE_SIZE("targets|y_stride",                                                                              \
                    make(ROWS, FEATURES, W.x, FEATURES, bad, W.y, bad > 0 ? bad : TARGETS, __VA_ARGS__));            \
        REFUSE_STRIDE("x_stride", FEATURES, make(ROWS, FEATURES, W.x, bad, TARGETS, W.y, TARGETS, __VA_ARGS__));     \
        REFUSE_STRIDE("y_stride", TARGETS, make(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, bad, __VA_ARGS__));     \
        REFUSE_NULL("x", make(ROWS, FEATURES, NULL, FEATURES, TARGETS, W.y, TARGETS, __VA_ARGS__));                  \
        REFUSE_NULL("y", make(ROWS, FEATURES, W.x, FEATURES, TARGETS, NULL, TARGETS, __VA_ARGS__));                  \
        REFUSE_ARRAY("x", W.x, ROWS *FEATURES,                                                                       \
                     make(ROWS, FEATURES, bad, FEATURES, TARGETS, W.y, TARGETS, __VA_ARGS__));                       \
        REFUSE_ARRAY("y", W.y, ROWS *TARGETS,                                                                        \
                     make(ROWS, FEATURES, W.x, FEATURES, TARGETS, bad, TARGETS, __VA_ARGS__));                       \
    } while (0)

static void test_dataset_create(void) {
    REFUSE_CONTENTS(taskmet_dataset_create, &O.made.dataset);
    REFUSE_NULL("dataset", taskmet_dataset_create(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, NULL));
    REFUSE_CONTENTS(taskmet_dataset_borrow, count_release, &W.released, &O.made.dataset);
    REFUSE_NULL("dataset", taskmet_dataset_borrow(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, count_release,
                                                  &W.released, NULL));
}

static int32_t read_nothing(void *user, int64_t first, int64_t count, double *x, double *y) {
    (void)user, (void)first, (void)count, (void)x, (void)y;
    return TASKMET_CALLBACK_ERROR;
}

static int32_t read_nothing_f32(void *user, int64_t first, int64_t count, float *x, float *y) {
    (void)user, (void)first, (void)count, (void)x, (void)y;
    return TASKMET_CALLBACK_ERROR;
}

/* Refused in the same way in both precisions. */
#define REFUSE_READER(make, read)                                                                                    \
    do {                                                                                                             \
        taskmet_dataset **const made = &O.made.dataset;                                                              \
        REFUSE_SIZE("rows", make(bad, FEATURES, TARGETS, read, &W.freed, count_release, made));                      \
        REFUSE_SIZE("features", make(ROWS, bad, TARGETS, read, &W.freed, count_release, made));                      \
        REFUSE_SIZE("targets", make(ROWS, FEATURES, bad, read, &W.freed, count_release, made));                      \
        REFUSE_NULL("read", make(ROWS, FEATURES, TARGETS, NULL, &W.freed, count_release, made));                     \
        REFUSE_NULL("dataset", make(ROWS, FEATURES, TARGETS, read, &W.freed, count_release, NULL));                  \
    } while (0)

static void test_dataset_create_from_callback(void) {
    REFUSE_READER(taskmet_dataset_create_from_callback, read_nothing);
    REFUSE_READER(taskmet_dataset_create_from_callback_f32, read_nothing_f32);
}

/* What lies between the rows is not data, and a single row has no next one, however long its stride. */
static void test_dataset_padding(void) {
    double x[ROWS * 5], y[ROWS * 4];
    for (int k = 0; k < ROWS * 5; k += 1) x[k] = k % 5 < FEATURES ? W.x[k / 5 * FEATURES + k % 5] : (double)NAN;
    for (int k = 0; k < ROWS * 4; k += 1) y[k] = k % 4 < TARGETS ? W.y[k / 4 * TARGETS + k % 4] : (double)INFINITY;
    taskmet_dataset *padded = NULL;
    double loss = 0, expected = 0;
    NEED(taskmet_dataset_create(ROWS, FEATURES, x, 5, TARGETS, y, 4, &padded));
    CHECK_OK(taskmet_loss_value(W.mlp, W.conditional, padded, 0.1, &loss));
    CHECK_OK(taskmet_loss_value(W.mlp, W.conditional, W.data, 0.1, &expected));
    CHECK_SAME_BITS(&loss, &expected, 1);
    taskmet_dataset_destroy(padded);
    taskmet_dataset *single = NULL;
    const taskmet_status got = taskmet_dataset_create(1, FEATURES, W.x, INT64_MAX, TARGETS, W.y, INT64_MAX, &single);
    CHECK(got == TASKMET_OK || got == TASKMET_ERROR_INVALID_ARGUMENT || got == TASKMET_ERROR_SHAPE ||
          got == TASKMET_ERROR_OUT_OF_MEMORY);
    if (got == TASKMET_OK) CHECK_OK(taskmet_loss_value(W.mlp, W.conditional, single, 0.1, &loss));
    taskmet_dataset_destroy(single);
}

static void test_dataset_refill(void) {
    taskmet_dataset *const d = W.data;
    REFUSE_HANDLE(dataset, "dataset", taskmet_dataset_refill(bad, ROWS, W.x, FEATURES, W.y, TARGETS, NULL, 0));
    REFUSE_SIZE("rows|x_stride|weights_count", taskmet_dataset_refill(d, bad, W.x, FEATURES, W.y, TARGETS, NULL, 0));
    REFUSE_STRIDE("x_stride", FEATURES, taskmet_dataset_refill(d, ROWS, W.x, bad, W.y, TARGETS, NULL, 0));
    REFUSE_STRIDE("y_stride", TARGETS, taskmet_dataset_refill(d, ROWS, W.x, FEATURES, W.y, bad, NULL, 0));
    REFUSE_NULL("x", taskmet_dataset_refill(d, ROWS, NULL, FEATURES, W.y, TARGETS, NULL, 0));
    REFUSE_NULL("y", taskmet_dataset_refill(d, ROWS, W.x, FEATURES, NULL, TARGETS, NULL, 0));
    REFUSE_ARRAY("x", W.x, ROWS *FEATURES, taskmet_dataset_refill(d, ROWS, bad, FEATURES, W.y, TARGETS, NULL, 0));
    REFUSE_ARRAY("y", W.y, ROWS *TARGETS, taskmet_dataset_refill(d, ROWS, W.x, FEATURES, bad, TARGETS, NULL, 0));
    REFUSE_ARRAY("weights", W.ones, ROWS, taskmet_dataset_refill(d, ROWS, W.x, FEATURES, W.y, TARGETS, bad, ROWS));
    REFUSE(INVALID, "weights", "-2",
           taskmet_dataset_refill(d, ROWS, W.x, FEATURES, W.y, TARGETS, replaced(W.ones, ROWS, -2), ROWS));
    REFUSE_COUNT("weights|weights_count", ROWS,
                 taskmet_dataset_refill(d, ROWS, W.x, FEATURES, W.y, TARGETS, W.ones, bad));
    REFUSE(SMALL, "weights|weights_count", NULL,
           taskmet_dataset_refill(d, ROWS, W.x, FEATURES, W.y, TARGETS, NULL, ROWS));
    REFUSE(STATE, "dataset", NULL, taskmet_dataset_refill(W.borrowed, ROWS, W.x, FEATURES, W.y, TARGETS, NULL, 0));
}

static void test_dataset_instances(void) {
    static const int64_t good[] = {0, 2, 6}, late[] = {1, 2, 6}, negative[] = {-1, 2, 6}, equal[] = {0, 3, 3, 6},
                         back[] = {0, 4, 2, 6}, brief[] = {0, 2, 5}, beyond[] = {0, 2, 7}, vast[] = {0, INT64_MAX, 6},
                         none[] = {0, INT64_MIN, 6}, many[] = {0, 1, 2, 3, 4, 5, 6, 7};
    REFUSE_HANDLE(dataset, "dataset", taskmet_dataset_set_instances(bad, 2, good));
    REFUSE_SIZE("instance_count", taskmet_dataset_set_instances(W.data, bad, good));
    REFUSE(SMALL, "instance_count|offsets", "7", taskmet_dataset_set_instances(W.data, ROWS + 1, many));
    REFUSE_NULL("offsets", taskmet_dataset_set_instances(W.data, 2, NULL));
    REFUSE(SMALL, "offsets", "[0]", taskmet_dataset_set_instances(W.data, 2, late));
    REFUSE(SMALL, "offsets", "-1", taskmet_dataset_set_instances(W.data, 2, negative));
    REFUSE(SMALL, "offsets", "3", taskmet_dataset_set_instances(W.data, 3, equal));
    REFUSE(SMALL, "offsets", "2", taskmet_dataset_set_instances(W.data, 3, back));
    REFUSE(SMALL, "offsets", "5", taskmet_dataset_set_instances(W.data, 2, brief));
    REFUSE(SMALL, "offsets", "7", taskmet_dataset_set_instances(W.data, 2, beyond));
    REFUSE(SMALL, "offsets", NULL, taskmet_dataset_set_instances(W.data, 2, vast));
    REFUSE(SMALL, "offsets", NULL, taskmet_dataset_set_instances(W.data, 2, none));
}

static void test_dataset_weights_and_shape(void) {
    REFUSE_HANDLE(dataset, "dataset", taskmet_dataset_set_weights(bad, W.ones, ROWS));
    REFUSE_NULL("weights", taskmet_dataset_set_weights(W.data, NULL, ROWS));
    REFUSE_COUNT("count|weights", ROWS, taskmet_dataset_set_weights(W.data, W.ones, bad));
    REFUSE_ARRAY("weights", W.ones, ROWS, taskmet_dataset_set_weights(W.data, bad, ROWS));
    REFUSE(INVALID, "weights", "-2", taskmet_dataset_set_weights(W.data, replaced(W.ones, ROWS, -2), ROWS));
    REFUSE_HANDLE(dataset, "dataset",
                  taskmet_dataset_shape(bad, &O.integer[0], &O.integer[1], &O.integer[2], &O.integer[3]));
    CHECK_OK(taskmet_dataset_shape(W.data, NULL, NULL, NULL, NULL));
    int64_t rows = 0, features = 0, targets = 0, instances = 0;
    CHECK_OK(taskmet_dataset_shape(W.data, &rows, &features, &targets, &instances));
    CHECK(rows == ROWS && features == FEATURES && targets == TARGETS && instances == ROWS);
}

static void test_workspace(void) {
    REFUSE(INVALID, "threads", "0", taskmet_workspace_create(0, 0, &O.made.workspace));
    REFUSE(INVALID, "threads", "-1", taskmet_workspace_create(-1, 0, &O.made.workspace));
    REFUSE(INVALID, "threads", "257", taskmet_workspace_create(257, 0, &O.made.workspace));
    REFUSE(INVALID, "threads", "9223372036854775807", taskmet_workspace_create(INT64_MAX, 0, &O.made.workspace));
    REFUSE(INVALID, "threads", "-9223372036854775808", taskmet_workspace_create(INT64_MIN, 0, &O.made.workspace));
    REFUSE(INVALID, "metric_cache_bytes", "-1", taskmet_workspace_create(1, -1, &O.made.workspace));
    REFUSE_NULL("workspace", taskmet_workspace_create(1, 0, NULL));
    /* A limit, not a request: the largest one is fine. So is the largest number of threads. */
    static const int64_t threads[] = {1, 256}, bytes[] = {INT64_MAX, 1};
    for (int k = 0; k < 2; k += 1) {
        taskmet_workspace *workspace = NULL;
        double value = 0, expected = 0, out[BUFFER];
        CHECK_OK(taskmet_workspace_create(threads[k], bytes[k], &workspace));
        CHECK_OK(taskmet_loss_value_gradient(W.mlp, W.conditional, W.data, 0, workspace, &value, out, W.mlp_count));
        CHECK_OK(taskmet_loss_value(W.mlp, W.conditional, W.data, 0, &expected));
        CHECK_CLOSE(value, expected, 1e-14);
        taskmet_workspace_destroy(workspace);
    }
}

static void test_optimizer_create(void) {
    taskmet_optimizer **const out = &O.made.optimizer;
    REFUSE_SIZE("count", taskmet_optimizer_create_adam(bad, 0.1, 0.9, 0.99, 1e-8, out));
    REFUSE_REAL("learning_rate", taskmet_optimizer_create_adam(3, bad, 0.9, 0.99, 1e-8, out));
    REFUSE(INVALID, "learning_rate", "0", taskmet_optimizer_create_adam(3, 0, 0.9, 0.99, 1e-8, out));
    REFUSE(INVALID, "learning_rate", "-1", taskmet_optimizer_create_adam(3, -1, 0.9, 0.99, 1e-8, out));
    REFUSE_REAL("beta1", taskmet_optimizer_create_adam(3, 0.1, bad, 0.99, 1e-8, out));
    REFUSE(INVALID, "beta1", "-0.5", taskmet_optimizer_create_adam(3, 0.1, -0.5, 0.99, 1e-8, out));
    REFUSE(INVALID, "beta1", "1", taskmet_optimizer_create_adam(3, 0.1, 1, 0.99, 1e-8, out));
    REFUSE_REAL("beta2", taskmet_optimizer_create_adam(3, 0.1, 0.9, bad, 1e-8, out));
    REFUSE(INVALID, "beta2", "-0.5", taskmet_optimizer_create_adam(3, 0.1, 0.9, -0.5, 1e-8, out));
    REFUSE(INVALID, "beta2", "1", taskmet_optimizer_create_adam(3, 0.1, 0.9, 1, 1e-8, out));
    REFUSE_REAL("epsilon", taskmet_optimizer_create_adam(3, 0.1, 0.9, 0.99, bad, out));
    REFUSE(INVALID, "epsilon", "0", taskmet_optimizer_create_adam(3, 0.1, 0.9, 0.99, 0, out));
    REFUSE(INVALID, "epsilon", "-1", taskmet_optimizer_create_adam(3, 0.1, 0.9, 0.99, -1, out));
    REFUSE_NULL("optimizer", taskmet_optimizer_create_adam(3, 0.1, 0.9, 0.99, 1e-8, NULL));
    REFUSE_SIZE("count", taskmet_optimizer_create_sgd(bad, 0.1, 0, out));
    REFUSE_REAL("learning_rate", taskmet_optimizer_create_sgd(3, bad, 0, out));
    REFUSE(INVALID, "learning_rate", "0", taskmet_optimizer_create_sgd(3, 0, 0, out));
    REFUSE(INVALID, "learning_rate", "-1", taskmet_optimizer_create_sgd(3, -1, 0, out));
    REFUSE_REAL("momentum", taskmet_optimizer_create_sgd(3, 0.1, bad, out));
    REFUSE(INVALID, "momentum", "-0.5", taskmet_optimizer_create_sgd(3, 0.1, -0.5, out));
    REFUSE(INVALID, "momentum", "1", taskmet_optimizer_create_sgd(3, 0.1, 1, out));
    REFUSE_NULL("optimizer", taskmet_optimizer_create_sgd(3, 0.1, 0, NULL));
}

/* O.real stands for the parameters: a refused step must leave them alone. */
static void test_optimizer_step(void) {
    taskmet_optimizer *const o = W.adam;
    const int64_t n = LINEAR_COUNT;
    REFUSE_HANDLE(optimizer, "optimizer", taskmet_optimizer_step(bad, W.numbers, n, O.real, n));
    REFUSE_NULL("gradient", taskmet_optimizer_step(o, NULL, n, O.real, n));
    REFUSE_NULL("parameters", taskmet_optimizer_step(o, W.numbers, n, NULL, n));
    REFUSE_COUNT("gradient_count", n, taskmet_optimizer_step(o, W.numbers, bad, O.real, n));
    REFUSE_COUNT("count", n, taskmet_optimizer_step(o, W.numbers, n, O.real, bad));
    REFUSE_ARRAY("gradient", W.numbers, n, taskmet_optimizer_step(o, bad, n, O.real, n));
    REFUSE_HANDLE(optimizer, "optimizer", taskmet_optimizer_reset(bad));
    REFUSE_HANDLE(optimizer, "optimizer", taskmet_optimizer_set_learning_rate(bad, 0.1));
    REFUSE_REAL("learning_rate", taskmet_optimizer_set_learning_rate(o, bad));
    REFUSE(INVALID, "learning_rate", "0", taskmet_optimizer_set_learning_rate(o, 0));
    REFUSE(INVALID, "learning_rate", "-1", taskmet_optimizer_set_learning_rate(o, -1));
    double parameters[LINEAR_COUNT], before[LINEAR_COUNT];
    for (int k = 0; k < 6; k += 1) {
        memcpy(parameters, poisoned(W.numbers, n, k), sizeof parameters);
        memcpy(before, parameters, sizeof before);
        CHECK_STATUS(taskmet_optimizer_step(o, W.numbers, n, parameters, n), TASKMET_ERROR_INVALID_ARGUMENT,
                     "parameters");
        CHECK_SAME_BITS(parameters, before, n);
    }
}

/* After all those refusals the optimiser is as new: it makes the same first steps as one that is. */
static void test_optimizer_unchanged(void) {
    taskmet_optimizer *fresh = NULL;
    double a[LINEAR_COUNT] = {1, 2, 3}, b[LINEAR_COUNT] = {1, 2, 3};
    NEED(taskmet_optimizer_create_adam(LINEAR_COUNT, 0.01, 0.9, 0.999, 1e-8, &fresh));
    for (int k = 0; k < 3; k += 1) {
        CHECK_OK(taskmet_optimizer_step(W.adam, W.numbers + k, LINEAR_COUNT, a, LINEAR_COUNT));
        CHECK_OK(taskmet_optimizer_step(fresh, W.numbers + k, LINEAR_COUNT, b, LINEAR_COUNT));
    }
    CHECK_SAME_BITS(a, b, LINEAR_COUNT);
    taskmet_optimizer_destroy(fresh);
}

static void test_versions_and_errors(void) {
    CHECK(taskmet_last_error() != NULL && taskmet_last_error()[0] == 0); /* nothing has failed yet */
    char version[64];
    snprintf(version, sizeof version, "%d.%d.%d", TASKMET_VERSION_MAJOR, TASKMET_VERSION_MINOR, TASKMET_VERSION_PATCH);
    CHECK(strcmp(taskmet_version(), version) == 0);
    CHECK(taskmet_version() == taskmet_version()); /* static */
    CHECK(taskmet_abi_version() == TASKMET_ABI_VERSION);
    static const char *const names[] = {"OK",          "ERROR_INVALID_ARGUMENT", "ERROR_SHAPE",    "ERROR_STATE",
                                        "ERROR_BUSY",  "ERROR_CALLBACK",         "ERROR_REJECTED", "ERROR_NUMERICAL",
                                        "ERROR_OUT_OF_MEMORY", "ERROR_IO",       "ERROR_FORMAT",   "ERROR_VERSION",
                                        "ERROR_UNSUPPORTED"};
    for (int32_t k = 0; k < 13; k += 1) {
        const char *name = taskmet_status_name(k);
        CHECK(name != NULL && strncmp(name, "TASKMET_", 8) == 0 && strcmp(name + 8, names[k]) == 0);
        CHECK(name == taskmet_status_name(k));
    }
    static const int32_t unknown[] = {-1, 13, 99, INT32_MIN, INT32_MAX};
    for (int k = 0; k < 5; k += 1) CHECK(strcmp(taskmet_status_name(unknown[k]), "unknown status") == 0);
}

/* A message stays until the next failure, also over calls that succeed. */
static void test_message_lifetime(void) {
    CHECK_STATUS(taskmet_workspace_create(0, 0, &O.made.workspace), TASKMET_ERROR_INVALID_ARGUMENT, "threads");
    char before[512];
    snprintf(before, sizeof before, "%s", taskmet_last_error());
    CHECK_OK(taskmet_dataset_shape(W.data, NULL, NULL, NULL, NULL));
    CHECK(strcmp(before, taskmet_last_error()) == 0);
    CHECK_STATUS(taskmet_dataset_shape(NULL, NULL, NULL, NULL, NULL), TASKMET_ERROR_INVALID_ARGUMENT, "dataset");
    CHECK(strcmp(before, taskmet_last_error()) != 0);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_versions_and_errors();
    make_world();
    test_dataset_create();
    test_dataset_create_from_callback();
    test_dataset_padding();
    test_dataset_refill();
    test_dataset_instances();
    test_dataset_weights_and_shape();
    test_workspace();
    test_optimizer_create();
    test_optimizer_step();
    test_optimizer_unchanged();
    test_message_lifetime();
    destroy_world();
    return check_end();
}
