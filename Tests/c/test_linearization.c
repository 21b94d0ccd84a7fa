/*
 * test_linearization.c - taskmet_linearization: the products are those of the predictor and differences of it, at the point
 * of the last update whatever happens afterwards; what is refused changes nothing.
 */
#include "arguments.h"
#include "user_predictor.h"

enum { D = 5, N = 3, MANY = 300, STRIDE = 7 };

typedef struct fixture {
    taskmet_predictor *predictor;
    taskmet_linearization *linearization;
    int64_t rows, count;
    double *x, *c, *w, *f; /* x: rows x STRIDE, c: rows x N */
} fixture;

static taskmet_linearization *make_linearization(void) {
    taskmet_linearization *linearization = NULL;
    NEED(taskmet_linearization_create(&linearization));
    return linearization;
}

static void fixture_fill(fixture *f, int64_t rows) {
    f->rows = rows;
    f->count = predictor_count(f->predictor);
    f->x = random_array(21, rows * STRIDE);
    f->c = random_array(22, rows * N);
    f->w = random_array(23, f->count);
    f->f = zeros(rows * N);
    f->linearization = make_linearization();
    NEED(taskmet_linearization_update(f->linearization, f->predictor, rows, f->x, STRIDE, f->f, N));
}

static void fixture_free(fixture *f) {
    free(f->x), free(f->c), free(f->w), free(f->f);
    taskmet_linearization_destroy(f->linearization);
    taskmet_predictor_destroy(f->predictor);
}

/* kind 0: linear, 1: two hidden layers of tanh units, 2: the same with standardisation */
static fixture make_fixture(int kind, int64_t rows) {
    static const int64_t hidden[] = {6, 4};
    fixture f;
    if (kind == 0) {
        f.predictor = make_linear(30, D, N);
    } else {
        NEED(taskmet_predictor_create_mlp(D, N, 2, hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_SIGMOID, 31,
                                          &f.predictor));
    }
    if (kind == 2) {
        const double mean[D] = {0.1, -0.2, 0, 0.4, 1}, scale[D] = {2, 0.5, 1, 3, 0.7};
        const double target_mean[N] = {1, -1, 0}, target_scale[N] = {3, 0.2, 5};
        NEED(taskmet_predictor_set_standardization(f.predictor, mean, scale, D, target_mean, target_scale, N));
    }
    fixture_fill(&f, rows);
    return f;
}

static double inner(const double *a, const double *b, int64_t count) {
    double sum = 0;
    for (int64_t k = 0; k < count; k += 1) sum += a[k] * b[k];
    return sum;
}

/* Central differences of the fourth order. */
static double difference(double a, double b, double c, double d, double h) {
    return (8 * (b - c) - (a - d)) / (12 * h);
}

/* ---------------------------------------------------------------------------------------------------------------- */

static void test_against_predictor(const fixture *f) {
    double *predicted = zeros(f->rows * N), *tangent = zeros(f->rows * N), *expected = zeros(f->rows * N);
    double *gradient = zeros(f->count), *expected_gradient = zeros(f->count);
    CHECK_OK(taskmet_predictor_predict(f->predictor, f->rows, f->x, STRIDE, predicted, N));
    CHECK_SAME_BITS(f->f, predicted, f->rows * N);
    CHECK_OK(taskmet_linearization_vjp(f->linearization, f->c, N, gradient, f->count));
    CHECK_OK(taskmet_predictor_vjp(f->predictor, f->rows, f->x, STRIDE, f->c, N, expected_gradient, f->count));
    CHECK_CLOSE_ARRAYS(gradient, expected_gradient, f->count, 1e-13);
    CHECK_OK(taskmet_linearization_jvp(f->linearization, f->w, f->count, tangent, N));
    CHECK_OK(taskmet_predictor_jvp(f->predictor, f->rows, f->x, STRIDE, f->w, f->count, expected, N));
    CHECK_CLOSE_ARRAYS(tangent, expected, f->rows * N, 1e-13);
    free(predicted), free(tangent), free(expected), free(gradient), free(expected_gradient);
}

/* <c, f(x)> moved by one input of one row. */
static void test_inputs(const fixture *f) {
    double *gradient = zeros(f->rows * D), *out = zeros(f->rows * N);
    const double h = 1e-3;
    CHECK_OK(taskmet_linearization_input_vjp(f->linearization, f->c, N, gradient, D));
    for (int64_t row = 0; row < f->rows; row += f->rows / 2) {
        double expected[D];
        for (int k = 0; k < D; k += 1) {
            double values[4], *entry = &f->x[row * STRIDE + k];
            const double start = *entry;
            for (int s = 0; s < 4; s += 1) {
                *entry = start + h * (double)(s < 2 ? 2 - s : 1 - s);
                NEED(taskmet_predictor_predict(f->predictor, f->rows, f->x, STRIDE, out, N));
                values[s] = inner(out, f->c, f->rows * N);
            }
            *entry = start;
            expected[k] = difference(values[0], values[1], values[2], values[3], h);
        }
        CHECK_CLOSE_ARRAYS(gradient + row * D, expected, D, 1e-8);
    }
    free(gradient), free(out);
}

/* The derivative of vjp along w. */
static void test_hvp(const fixture *f) {
    double *theta = predictor_parameters(f->predictor), *moved = zeros(f->count), *product = zeros(f->count);
    double *expected = zeros(f->count), *values[4];
    const double h = 1e-3;
    CHECK_OK(taskmet_linearization_hvp(f->linearization, f->c, N, f->w, f->count, product, f->count));
    for (int s = 0; s < 4; s += 1) {
        values[s] = zeros(f->count);
        for (int64_t k = 0; k < f->count; k += 1) moved[k] = theta[k] + h * (double)(s < 2 ? 2 - s : 1 - s) * f->w[k];
        NEED(taskmet_predictor_set_parameters(f->predictor, moved, f->count));
        NEED(taskmet_predictor_vjp(f->predictor, f->rows, f->x, STRIDE, f->c, N, values[s], f->count));
    }
    NEED(taskmet_predictor_set_parameters(f->predictor, theta, f->count));
    for (int64_t k = 0; k < f->count; k += 1)
        expected[k] = difference(values[0][k], values[1][k], values[2][k], values[3][k], h);
    if (check_max_abs(expected, f->count) > 1e-9) CHECK_CLOSE_ARRAYS(product, expected, f->count, 1e-7);
    else CHECK(check_max_abs(product, f->count) == 0); /* linear */
    for (int s = 0; s < 4; s += 1) free(values[s]);
    free(theta), free(moved), free(product), free(expected);
}

/* The held point does not follow the predictor or the caller's rows; an update does, and takes fewer rows in its memory. */
static void test_point(const fixture *f) {
    double *before = zeros(f->count), *after = zeros(f->count), *theta = predictor_parameters(f->predictor);
    CHECK_OK(taskmet_linearization_vjp(f->linearization, f->c, N, before, f->count));
    shake_predictor(f->predictor, 40, 0.3);
    f->x[0] += 1;
    CHECK_OK(taskmet_linearization_vjp(f->linearization, f->c, N, after, f->count));
    CHECK_SAME_BITS(before, after, f->count);
    CHECK_OK(taskmet_linearization_update(f->linearization, f->predictor, 1, f->x, STRIDE, NULL, 0));
    CHECK_OK(taskmet_linearization_vjp(f->linearization, f->c, N, after, f->count));
    NEED(taskmet_predictor_vjp(f->predictor, 1, f->x, STRIDE, f->c, N, before, f->count));
    CHECK_CLOSE_ARRAYS(after, before, f->count, 1e-13);
    f->x[0] -= 1;
    NEED(taskmet_predictor_set_parameters(f->predictor, theta, f->count));
    free(before), free(after), free(theta);
}

static void test_products(void) {
    static const int64_t sizes[] = {4, MANY};
    for (int kind = 0; kind < 3; kind += 1) {
        for (int size = 0; size < (check_quick ? 1 : 2); size += 1) {
            fixture f = make_fixture(kind, sizes[size]);
            test_against_predictor(&f);
            test_inputs(&f);
            test_hvp(&f);
            test_point(&f);
            fixture_free(&f);
        }
    }
}

/* A predictor made of callbacks, with and without hvp. */
static void test_callback(void) {
    user_predictor model = user_model(D, N, 4);
    taskmet_predictor_callbacks callbacks = user_callbacks();
    double *theta = random_array(50, user_count(&model));
    fixture f;
    NEED(taskmet_predictor_create_callback(D, N, theta, user_count(&model), &callbacks, &model, NULL, &f.predictor));
    fixture_fill(&f, 6);
    test_against_predictor(&f);
    test_hvp(&f);
    arm();
    CHECK_STATUS(taskmet_linearization_input_vjp(f.linearization, f.c, N, O.real, D), TASKMET_ERROR_UNSUPPORTED,
                 "linearization_input_vjp: predictor: ");
    CHECK(outputs_untouched());
    /* A failing forward leaves nothing behind. */
    model.failing = USER_FORWARD, model.how = TASKMET_CALLBACK_ERROR;
    CHECK_STATUS(taskmet_linearization_update(f.linearization, f.predictor, 6, f.x, STRIDE, NULL, 0),
                 TASKMET_ERROR_CALLBACK, "forward");
    CHECK_STATUS(taskmet_linearization_vjp(f.linearization, f.c, N, O.real, f.count), TASKMET_ERROR_STATE,
                 "linearization");
    CHECK(outputs_untouched());
    fixture_free(&f);
    free(theta);
    taskmet_linearization *flat = make_linearization();
    NEED(taskmet_linearization_update(flat, W.callback, 1, W.x, FEATURES, NULL, 0));
    REFUSE(UNSUPPORTED, "linearization", "hvp", taskmet_linearization_hvp(flat, W.ones, TARGETS, W.ones, 1, O.real, 1));
    taskmet_linearization_destroy(flat);
}

/* ---------------------------------------------------------------------------------------------------------------- */

static void test_arguments(void) {
    taskmet_linearization *l = make_linearization(), *destroyed = make_linearization();
    taskmet_linearization_destroy(destroyed);
    taskmet_linearization_destroy(NULL);
    const int64_t n = W.mlp_count;
    REFUSE_NULL("linearization", taskmet_linearization_create(NULL));
    REFUSE(STATE, "linearization", "update", taskmet_linearization_vjp(l, W.ones, TARGETS, O.real, n));
    REFUSE(STATE, "linearization", "update", taskmet_linearization_jvp(l, W.ones, n, O.real, TARGETS));
    taskmet_linearization *const bad_handles[] = {NULL, destroyed, (taskmet_linearization *)(void *)W.mlp};
    for (int k = 0; k < 3; k += 1) {
        taskmet_linearization *bad = bad_handles[k];
        REFUSE(INVALID, "linearization", NULL,
               taskmet_linearization_update(bad, W.mlp, ROWS, W.x, FEATURES, O.real, TARGETS));
        REFUSE(INVALID, "linearization", NULL, taskmet_linearization_vjp(bad, W.ones, TARGETS, O.real, n));
        REFUSE(INVALID, "linearization", NULL, taskmet_linearization_input_vjp(bad, W.ones, TARGETS, O.real, FEATURES));
        REFUSE(INVALID, "linearization", NULL, taskmet_linearization_jvp(bad, W.ones, n, O.real, TARGETS));
        REFUSE(INVALID, "linearization", NULL, taskmet_linearization_hvp(bad, W.ones, TARGETS, W.ones, n, O.real, n));
    }
    NEED(taskmet_linearization_update(l, W.mlp, ROWS, W.x, FEATURES, NULL, 0));
    REFUSE_HANDLE(predictor, "predictor", taskmet_linearization_update(l, bad, ROWS, W.x, FEATURES, O.real, TARGETS));
    REFUSE_SIZE("rows|x", taskmet_linearization_update(l, W.mlp, bad, W.x, FEATURES, O.real, TARGETS));
    REFUSE_STRIDE("x_stride|x", FEATURES, taskmet_linearization_update(l, W.mlp, ROWS, W.x, bad, O.real, TARGETS));
    REFUSE_STRIDE("out_stride|out", TARGETS, taskmet_linearization_update(l, W.mlp, ROWS, W.x, FEATURES, O.real, bad));
    REFUSE_ARRAY("x", W.x, ROWS * FEATURES,
                 taskmet_linearization_update(l, W.mlp, ROWS, bad, FEATURES, O.real, TARGETS));
    REFUSE_NULL("c", taskmet_linearization_vjp(l, NULL, TARGETS, O.real, n));
    REFUSE_NULL("out", taskmet_linearization_vjp(l, W.ones, TARGETS, NULL, n));
    REFUSE_COUNT("count", n, taskmet_linearization_vjp(l, W.ones, TARGETS, O.real, bad));
    REFUSE_STRIDE("c_stride|c", TARGETS, taskmet_linearization_vjp(l, W.ones, bad, O.real, n));
    REFUSE_ARRAY("c", W.ones, ROWS * TARGETS, taskmet_linearization_vjp(l, bad, TARGETS, O.real, n));
    REFUSE_NULL("out", taskmet_linearization_input_vjp(l, W.ones, TARGETS, NULL, FEATURES));
    REFUSE_STRIDE("out_stride|out", FEATURES, taskmet_linearization_input_vjp(l, W.ones, TARGETS, O.real, bad));
    REFUSE_COUNT("count", n, taskmet_linearization_jvp(l, W.ones, bad, O.real, TARGETS));
    REFUSE_ARRAY("v", W.ones, n, taskmet_linearization_jvp(l, bad, n, O.real, TARGETS));
    REFUSE_STRIDE("out_stride|out", TARGETS, taskmet_linearization_jvp(l, W.ones, n, O.real, bad));
    REFUSE_COUNT("w_count", n, taskmet_linearization_hvp(l, W.ones, TARGETS, W.ones, bad, O.real, n));
    REFUSE_ARRAY("w", W.ones, n, taskmet_linearization_hvp(l, W.ones, TARGETS, bad, n, O.real, n));
    REFUSE_COUNT("count", n, taskmet_linearization_hvp(l, W.ones, TARGETS, W.ones, n, O.real, bad));
    /* What was refused did not take away what is held. */
    CHECK_OK(taskmet_linearization_vjp(l, W.ones, TARGETS, O.real, n));
    taskmet_linearization_destroy(l);
}

/* Products know no other standardisation than the one of their pass. */
static void test_changed_standardization(void) {
    const double mean[FEATURES] = {0}, scale[FEATURES] = {2, 2, 2};
    taskmet_linearization *l = make_linearization();
    taskmet_predictor *predictor = make_mlp(60, FEATURES, TARGETS, HIDDEN);
    const int64_t n = predictor_count(predictor);
    NEED(taskmet_linearization_update(l, predictor, ROWS, W.x, FEATURES, NULL, 0));
    NEED(taskmet_predictor_set_standardization(predictor, mean, scale, FEATURES, NULL, NULL, 0));
    REFUSE(STATE, "linearization", "standardisation", taskmet_linearization_vjp(l, W.ones, TARGETS, O.real, n));
    CHECK_OK(taskmet_linearization_update(l, predictor, ROWS, W.x, FEATURES, NULL, 0));
    CHECK_OK(taskmet_linearization_vjp(l, W.ones, TARGETS, O.real, n));
    taskmet_predictor_destroy(predictor);
    /* It keeps the predictor that its caller has given back. */
    CHECK_OK(taskmet_linearization_vjp(l, W.ones, TARGETS, O.real, n));
    taskmet_linearization_destroy(l);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_products();
    test_callback();
    test_arguments();
    test_changed_standardization();
    destroy_world();
    return check_end();
}
