/*
 * test_arguments_predictor.c - bad arguments of the functions that make, change and evaluate predictors.
 */
#include "arguments.h"

#define LINEAR_BIAS(bias) taskmet_predictor_create_linear(FEATURES, TARGETS, bias, &O.made.predictor)
#define MLP(inputs, outputs, count, hidden, activation, last)                                                        \
    taskmet_predictor_create_mlp(inputs, outputs, count, hidden, activation, last, 1, &O.made.predictor)

enum { TANH = TASKMET_ACTIVATION_TANH, IDENTITY = TASKMET_ACTIVATION_IDENTITY };

static void test_create_linear(void) {
    REFUSE_SIZE("inputs|outputs", taskmet_predictor_create_linear(bad, TARGETS, 1, &O.made.predictor));
    REFUSE_SIZE("outputs|inputs", taskmet_predictor_create_linear(FEATURES, bad, 0, &O.made.predictor));
    REFUSE_ENUM("bias", taskmet_predictor_create_linear(FEATURES, TARGETS, bad, &O.made.predictor));
    REFUSE(INVALID, "bias", "2", LINEAR_BIAS(2));
    REFUSE_NULL("predictor", taskmet_predictor_create_linear(FEATURES, TARGETS, 1, NULL));
    /* Products that overflow as a number of entries, with the bias only, and as a number of bytes only. */
    static const int64_t pairs[][2] = {{INT64_MAX, INT64_MAX},
                                       {INT64_C(1) << 32, INT64_C(1) << 31},
                                       {INT64_MAX, 1},
                                       {1, INT64_MAX},
                                       {1, INT64_MAX / 2 + 1},
                                       {INT64_C(1) << 31, INT64_C(1) << 31},
                                       {INT64_MAX / 8, 1}};
    for (int k = 0; k < 7; k += 1)
        REFUSE(HUGE_SIZE, "inputs|outputs|memory|bytes", NULL,
               taskmet_predictor_create_linear(pairs[k][0], pairs[k][1], 1, &O.made.predictor));
}

static void test_create_mlp(void) {
    static const int64_t hidden[] = {4, 5}, zero[] = {4, 0}, negative[] = {-3, 4}, lowest[] = {4, INT64_MIN},
                         vast[] = {4, INT64_MAX}, product[] = {INT64_C(1) << 32, INT64_C(1) << 31};
    REFUSE_SIZE("inputs|hidden|outputs", MLP(bad, TARGETS, 2, hidden, TANH, IDENTITY));
    REFUSE_SIZE("outputs|hidden|inputs", MLP(FEATURES, bad, 2, hidden, TANH, IDENTITY));
    REFUSE(SMALL, "hidden_count", "-1", MLP(FEATURES, TARGETS, -1, hidden, TANH, IDENTITY));
    REFUSE(SMALL, "hidden_count", NULL, MLP(FEATURES, TARGETS, INT64_MIN, hidden, TANH, IDENTITY));
    REFUSE(HUGE_SIZE, "hidden_count|hidden|memory|bytes", NULL,
           MLP(FEATURES, TARGETS, INT64_MAX, hidden, TANH, IDENTITY));
    REFUSE_NULL("hidden", MLP(FEATURES, TARGETS, 1, NULL, TANH, IDENTITY));
    REFUSE(SMALL, "hidden", "hidden[1]", MLP(FEATURES, TARGETS, 2, zero, TANH, IDENTITY));
    REFUSE(SMALL, "hidden", "got 0", MLP(FEATURES, TARGETS, 2, zero, TANH, IDENTITY));
    REFUSE(SMALL, "hidden", "hidden[0]", MLP(FEATURES, TARGETS, 2, negative, TANH, IDENTITY));
    REFUSE(SMALL, "hidden", "-3", MLP(FEATURES, TARGETS, 2, negative, TANH, IDENTITY));
    REFUSE(SMALL, "hidden", "hidden[1]", MLP(FEATURES, TARGETS, 2, lowest, TANH, IDENTITY));
    REFUSE(HUGE_SIZE, "hidden|memory|bytes", NULL, MLP(FEATURES, TARGETS, 2, vast, TANH, IDENTITY));
    REFUSE(HUGE_SIZE, "hidden|memory|bytes", NULL, MLP(FEATURES, TARGETS, 2, product, TANH, IDENTITY));
    REFUSE_ENUM("activation", MLP(FEATURES, TARGETS, 2, hidden, bad, IDENTITY));
    REFUSE_ENUM("output_activation", MLP(FEATURES, TARGETS, 2, hidden, TANH, bad));
    REFUSE(INVALID, "activation", "9", MLP(FEATURES, TARGETS, 2, hidden, 9, IDENTITY));
    REFUSE_NULL("predictor",
                taskmet_predictor_create_mlp(FEATURES, TARGETS, 2, hidden, TANH, IDENTITY, 1, NULL));
}

#define CALLBACK(inputs, outputs, theta, count, callbacks)                                                           \
    taskmet_predictor_create_callback(inputs, outputs, theta, count, callbacks, &W.freed, count_release,             \
                                      &O.made.predictor)

static void test_create_callback(void) {
    taskmet_predictor_callbacks good = flat_callbacks(), c = good;
    REFUSE_SIZE("inputs", CALLBACK(bad, TARGETS, NULL, 1, &good));
    REFUSE_SIZE("outputs", CALLBACK(FEATURES, bad, NULL, 1, &good));
    REFUSE_SIZE("parameter_count", CALLBACK(FEATURES, TARGETS, NULL, bad, &good));
    REFUSE_SIZE("parameter_count", CALLBACK(FEATURES, TARGETS, W.ones, bad, &good));
    REFUSE_ARRAY("theta", W.ones, 5, CALLBACK(FEATURES, TARGETS, bad, 5, &good));
    REFUSE_NULL("callbacks", CALLBACK(FEATURES, TARGETS, NULL, 1, NULL));
    c.forward = NULL;
    REFUSE_NULL("forward", CALLBACK(FEATURES, TARGETS, NULL, 1, &c));
    c = good, c.vjp = NULL;
    REFUSE_NULL("vjp", CALLBACK(FEATURES, TARGETS, NULL, 1, &c));
    c = good, c.jvp = NULL;
    REFUSE_NULL("jvp", CALLBACK(FEATURES, TARGETS, NULL, 1, &c));
    c = good, c.struct_size = 0;
    REFUSE(BAD_STRUCT, "struct_size", "0", CALLBACK(FEATURES, TARGETS, NULL, 1, &c));
    c = good, c.struct_size = 3;
    REFUSE(BAD_STRUCT, "struct_size", "3", CALLBACK(FEATURES, TARGETS, NULL, 1, &c));
    /* Too short to have all that is needed. */
    c = good, c.struct_size = offsetof(taskmet_predictor_callbacks, jvp);
    REFUSE(BAD_STRUCT, "struct_size|jvp", NULL, CALLBACK(FEATURES, TARGETS, NULL, 1, &c));
    REFUSE_NULL("predictor", taskmet_predictor_create_callback(FEATURES, TARGETS, NULL, 1, &good, &W.freed,
                                                               count_release, NULL));
}

/* A struct of a later version, whose new fields are zero, is as good as this one. */
static void test_larger_callbacks(void) {
    struct {
        taskmet_predictor_callbacks known;
        void *later[4];
    } larger;
    memset(&larger, 0, sizeof larger);
    larger.known = flat_callbacks();
    larger.known.struct_size = sizeof larger;
    int freed = 0;
    taskmet_predictor *predictor = NULL;
    double out[TARGETS] = {0};
    CHECK_OK(taskmet_predictor_create_callback(FEATURES, TARGETS, W.ones, 1, &larger.known, &freed, count_release,
                                               &predictor));
    CHECK_OK(taskmet_predictor_predict(predictor, 1, W.x, FEATURES, out, TARGETS));
    CHECK(out[0] == 1 && out[1] == 1);
    taskmet_predictor_destroy(predictor);
    CHECK(freed == 1);
}

static void test_copy_shape_parameters(void) {
    const int64_t n = W.mlp_count;
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_copy(bad, &O.made.predictor));
    REFUSE_NULL("copy", taskmet_predictor_copy(W.mlp, NULL));
    REFUSE_HANDLE(predictor, "predictor",
                  taskmet_predictor_shape(bad, &O.integer[0], &O.integer[1], &O.integer[2]));
    CHECK_OK(taskmet_predictor_shape(W.mlp, NULL, NULL, NULL));
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_parameter_count(bad, &O.integer[0]));
    REFUSE_NULL("count", taskmet_predictor_parameter_count(W.mlp, NULL));
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_get_parameters(bad, O.real, n));
    REFUSE_NULL("out", taskmet_predictor_get_parameters(W.mlp, NULL, n));
    REFUSE_COUNT("count", n, taskmet_predictor_get_parameters(W.mlp, O.real, bad));
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_set_parameters(bad, W.numbers, n));
    REFUSE_NULL("values", taskmet_predictor_set_parameters(W.mlp, NULL, n));
    REFUSE_COUNT("count", n, taskmet_predictor_set_parameters(W.mlp, W.numbers, bad));
    REFUSE_ARRAY("values", W.numbers, n, taskmet_predictor_set_parameters(W.mlp, bad, n));
}

static void test_settings(void) {
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_set_penalize_bias(bad, 1));
    REFUSE_ENUM("penalize_bias", taskmet_predictor_set_penalize_bias(W.mlp, bad));
    REFUSE(INVALID, "penalize_bias", "2", taskmet_predictor_set_penalize_bias(W.linear, 2));
    REFUSE(UNSUPPORTED, "predictor|callback", NULL, taskmet_predictor_set_penalize_bias(W.callback, 1));
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_fit_standardization(bad, W.data, 3));
    REFUSE_HANDLE(dataset, "dataset", taskmet_predictor_fit_standardization(W.mlp, bad, 3));
    REFUSE(SHAPE, "dataset|predictor|inputs|features", "4", taskmet_predictor_fit_standardization(W.mlp, W.wide, 3));
    REFUSE(SHAPE, "dataset|predictor|outputs|targets", "3", taskmet_predictor_fit_standardization(W.mlp, W.tall, 3));
    REFUSE_ENUM("what", taskmet_predictor_fit_standardization(W.mlp, W.data, bad));
    REFUSE(INVALID, "what", "0", taskmet_predictor_fit_standardization(W.mlp, W.data, 0));
    REFUSE(INVALID, "what", "4", taskmet_predictor_fit_standardization(W.mlp, W.data, 4));
    REFUSE(UNSUPPORTED, "predictor|callback", NULL, taskmet_predictor_fit_standardization(W.callback, W.data, 3));
}

static void test_standardization(void) {
    taskmet_predictor *const p = W.mlp;
    const double *const one = W.ones;
    const int64_t d = FEATURES, n = TARGETS;
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_set_standardization(bad, one, one, d, one, one, n));
    REFUSE_NULL("input_mean", taskmet_predictor_set_standardization(p, NULL, one, d, one, one, n));
    REFUSE_NULL("input_scale", taskmet_predictor_set_standardization(p, one, NULL, d, one, one, n));
    REFUSE_NULL("target_mean", taskmet_predictor_set_standardization(p, one, one, d, NULL, one, n));
    REFUSE_NULL("target_scale", taskmet_predictor_set_standardization(p, one, one, d, one, NULL, n));
    REFUSE_COUNT("inputs", d, taskmet_predictor_set_standardization(p, one, one, bad, one, one, n));
    REFUSE_COUNT("targets", n, taskmet_predictor_set_standardization(p, one, one, d, one, one, bad));
    REFUSE(SMALL, "inputs|input_mean|input_scale", NULL,
           taskmet_predictor_set_standardization(p, NULL, NULL, d, one, one, n));
    REFUSE(SMALL, "targets|target_mean|target_scale", NULL,
           taskmet_predictor_set_standardization(p, one, one, d, NULL, NULL, n));
    REFUSE_ARRAY("input_mean", one, d, taskmet_predictor_set_standardization(p, bad, one, d, one, one, n));
    REFUSE_ARRAY("input_scale", one, d, taskmet_predictor_set_standardization(p, one, bad, d, one, one, n));
    REFUSE_ARRAY("target_mean", one, n, taskmet_predictor_set_standardization(p, one, one, d, bad, one, n));
    REFUSE_ARRAY("target_scale", one, n, taskmet_predictor_set_standardization(p, one, one, d, one, bad, n));
    static const double scales[] = {0, -2};
    for (int k = 0; k < 2; k += 1) {
        const double *bad = replaced(one, d, scales[k]), *short_bad = bad + d - n; /* both end with the bad scale */
        REFUSE(INVALID, "input_scale", k == 0 ? "0" : "-2",
               taskmet_predictor_set_standardization(p, one, bad, d, one, one, n));
        REFUSE(INVALID, "target_scale", k == 0 ? "0" : "-2",
               taskmet_predictor_set_standardization(p, one, one, d, one, short_bad, n));
    }
    REFUSE(UNSUPPORTED, "predictor|callback", NULL,
           taskmet_predictor_set_standardization(W.callback, one, one, d, one, one, n));
}

static void test_predict(void) {
    const taskmet_predictor *const p = W.mlp;
    const int64_t d = FEATURES, n = TARGETS;
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_predict(bad, ROWS, W.x, d, O.real, n));
    REFUSE_ROWS(taskmet_predictor_predict(p, bad, W.x, d, O.real, n));
    REFUSE_NULL("x", taskmet_predictor_predict(p, ROWS, NULL, d, O.real, n));
    REFUSE_STRIDE("x_stride", d, taskmet_predictor_predict(p, ROWS, W.x, bad, O.real, n));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_predictor_predict(p, ROWS, bad, d, O.real, n));
    REFUSE_NULL("out", taskmet_predictor_predict(p, ROWS, W.x, d, NULL, n));
    REFUSE_STRIDE("out_stride", n, taskmet_predictor_predict(p, ROWS, W.x, d, O.real, bad));
    SURVIVE(taskmet_predictor_predict(p, 0, W.x, d, O.real, n));
    SURVIVE(taskmet_predictor_predict(p, 0, NULL, d, NULL, n));
    SURVIVE(taskmet_predictor_predict(p, 1, W.x, INT64_MAX, O.real, INT64_MAX));
}

static void test_vjp(void) {
    const taskmet_predictor *const p = W.mlp;
    const int64_t d = FEATURES, n = TARGETS, count = W.mlp_count;
    const double *const c = W.numbers;
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_vjp(bad, ROWS, W.x, d, c, n, O.real, count));
    REFUSE_ROWS(taskmet_predictor_vjp(p, bad, W.x, d, c, n, O.real, count));
    REFUSE_NULL("x", taskmet_predictor_vjp(p, ROWS, NULL, d, c, n, O.real, count));
    REFUSE_STRIDE("x_stride", d, taskmet_predictor_vjp(p, ROWS, W.x, bad, c, n, O.real, count));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_predictor_vjp(p, ROWS, bad, d, c, n, O.real, count));
    REFUSE_NULL("c", taskmet_predictor_vjp(p, ROWS, W.x, d, NULL, n, O.real, count));
    REFUSE_STRIDE("c_stride", n, taskmet_predictor_vjp(p, ROWS, W.x, d, c, bad, O.real, count));
    REFUSE_ARRAY("c", W.numbers, ROWS *n, taskmet_predictor_vjp(p, ROWS, W.x, d, bad, n, O.real, count));
    REFUSE_NULL("out", taskmet_predictor_vjp(p, ROWS, W.x, d, c, n, NULL, count));
    REFUSE_COUNT("count", count, taskmet_predictor_vjp(p, ROWS, W.x, d, c, n, O.real, bad));
    SURVIVE(taskmet_predictor_vjp(p, 0, W.x, d, c, n, O.real, count));
}

static void test_jvp(void) {
    const taskmet_predictor *const p = W.mlp;
    const int64_t d = FEATURES, n = TARGETS, count = W.mlp_count;
    const double *const v = W.numbers;
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_jvp(bad, ROWS, W.x, d, v, count, O.real, n));
    REFUSE_ROWS(taskmet_predictor_jvp(p, bad, W.x, d, v, count, O.real, n));
    REFUSE_NULL("x", taskmet_predictor_jvp(p, ROWS, NULL, d, v, count, O.real, n));
    REFUSE_STRIDE("x_stride", d, taskmet_predictor_jvp(p, ROWS, W.x, bad, v, count, O.real, n));
    REFUSE_ARRAY("x", W.x, ROWS *d, taskmet_predictor_jvp(p, ROWS, bad, d, v, count, O.real, n));
    REFUSE_NULL("v", taskmet_predictor_jvp(p, ROWS, W.x, d, NULL, count, O.real, n));
    REFUSE_COUNT("count", count, taskmet_predictor_jvp(p, ROWS, W.x, d, v, bad, O.real, n));
    REFUSE_ARRAY("v", W.numbers, count, taskmet_predictor_jvp(p, ROWS, W.x, d, bad, count, O.real, n));
    REFUSE_NULL("out", taskmet_predictor_jvp(p, ROWS, W.x, d, v, count, NULL, n));
    REFUSE_STRIDE("out_stride", n, taskmet_predictor_jvp(p, ROWS, W.x, d, v, count, O.real, bad));
    SURVIVE(taskmet_predictor_jvp(p, 0, W.x, d, v, count, O.real, n));
}

/* A wide output row: what lies between the rows is the caller's. */
static void test_output_padding(void) {
    enum { STRIDE = TARGETS + 3 };
    double wide[ROWS * STRIDE], narrow[ROWS * TARGETS];
    CHECK_OK(taskmet_predictor_predict(W.mlp, ROWS, W.x, FEATURES, narrow, TARGETS));
    for (int k = 0; k < ROWS * STRIDE; k += 1) wide[k] = 77;
    CHECK_OK(taskmet_predictor_predict(W.mlp, ROWS, W.x, FEATURES, wide, STRIDE));
    for (int k = 0; k < ROWS * STRIDE; k += 1)
        CHECK(wide[k] == (k % STRIDE < TARGETS ? narrow[k / STRIDE * TARGETS + k % STRIDE] : 77));
    CHECK_OK(taskmet_predictor_jvp(W.mlp, ROWS, W.x, FEATURES, W.numbers, W.mlp_count, narrow, TARGETS));
    for (int k = 0; k < ROWS * STRIDE; k += 1) wide[k] = 77;
    CHECK_OK(taskmet_predictor_jvp(W.mlp, ROWS, W.x, FEATURES, W.numbers, W.mlp_count, wide, STRIDE));
    for (int k = 0; k < ROWS * STRIDE; k += 1)
        CHECK(wide[k] == (k % STRIDE < TARGETS ? narrow[k / STRIDE * TARGETS + k % STRIDE] : 77));
}

static void test_paths(void) {
    REFUSE_HANDLE(predictor, "predictor", taskmet_predictor_save(bad, "/nonexistent/model"));
    REFUSE_NULL("path", taskmet_predictor_save(W.mlp, NULL));
    REFUSE(IO, "path|nonexistent", "/nonexistent/model", taskmet_predictor_save(W.mlp, "/nonexistent/model"));
    REFUSE(IO | INVALID, "path", NULL, taskmet_predictor_save(W.mlp, ""));
    REFUSE(UNSUPPORTED, "predictor|callback", NULL, taskmet_predictor_save(W.callback, "/nonexistent/model"));
    REFUSE_NULL("path", taskmet_predictor_load(NULL, &O.made.predictor));
    REFUSE_NULL("predictor", taskmet_predictor_load("/nonexistent/model", NULL));
    REFUSE(IO, "path|nonexistent", "/nonexistent/model",
           taskmet_predictor_load("/nonexistent/model", &O.made.predictor));
    REFUSE(IO | INVALID, "path", NULL, taskmet_predictor_load("", &O.made.predictor));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_create_linear();
    test_create_mlp();
    test_create_callback();
    test_larger_callbacks();
    test_copy_shape_parameters();
    test_settings();
    test_standardization();
    test_predict();
    test_vjp();
    test_jvp();
    test_output_padding();
    test_paths();
    destroy_world();
    return check_end();
}
