/*
 * test_callback_predictor.c - a predictor made of callbacks does what the built-in one with the same parameters does, to
 * rounding; every way in which a callback can fail is told and changes nothing.
 */
#include "user_predictor.h"

enum { ROWS = 23, D = 3, N = 2, X_STRIDE = D + 2, OUT_STRIDE = N + 1 };
static const double TOLERANCE = 1e-11;

typedef struct scene {
    double x[ROWS * X_STRIDE], y[ROWS * N], weights[ROWS], c[ROWS * N];
    taskmet_dataset *data;
    taskmet_metric *metric;
} scene;

static scene S;

static void make_scene(void) {
    random_fill(1, S.x, ROWS * X_STRIDE);
    random_fill(2, S.y, ROWS * N);
    random_fill(3, S.c, ROWS * N);
    for (int k = 0; k < ROWS; k += 1) S.weights[k] = 0.5 + 0.1 * (k % 7);
    NEED(taskmet_dataset_create(ROWS, D, S.x, X_STRIDE, N, S.y, N, &S.data));
    NEED(taskmet_dataset_set_weights(S.data, S.weights, ROWS));
    S.metric = make_conditional(5, D, N, TASKMET_STRUCTURE_FULL, 0, 4);
}

static void destroy_scene(void) {
    taskmet_dataset_destroy(S.data);
    taskmet_metric_destroy(S.metric);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The same numbers as the built-in predictor                                                                       */

static void compare_products(const taskmet_predictor *user, const taskmet_predictor *own) {
    const int64_t count = predictor_count(own);
    double a[ROWS * OUT_STRIDE] = {0}, b[ROWS * OUT_STRIDE] = {0};
    double *w = random_array(7, count), *p = zeros(count), *q = zeros(count);
    CHECK_OK(taskmet_predictor_predict(user, ROWS, S.x, X_STRIDE, a, OUT_STRIDE));
    CHECK_OK(taskmet_predictor_predict(own, ROWS, S.x, X_STRIDE, b, OUT_STRIDE));
    CHECK_CLOSE_ARRAYS(a, b, ROWS * OUT_STRIDE, TOLERANCE);
    CHECK_OK(taskmet_predictor_jvp(user, ROWS, S.x, X_STRIDE, w, count, a, OUT_STRIDE));
    CHECK_OK(taskmet_predictor_jvp(own, ROWS, S.x, X_STRIDE, w, count, b, OUT_STRIDE));
    CHECK_CLOSE_ARRAYS(a, b, ROWS * OUT_STRIDE, TOLERANCE);
    CHECK_OK(taskmet_predictor_vjp(user, ROWS, S.x, X_STRIDE, S.c, N, p, count));
    CHECK_OK(taskmet_predictor_vjp(own, ROWS, S.x, X_STRIDE, S.c, N, q, count));
    CHECK_CLOSE_ARRAYS(p, q, count, TOLERANCE);
    free(w), free(p), free(q);
}

static void compare_losses(const taskmet_predictor *user, const taskmet_predictor *own, double rho) {
    const int64_t count = predictor_count(own);
    double *w = random_array(8, count), *p = zeros(count), *q = zeros(count), a = 0, b = 0;
    CHECK_OK(taskmet_loss_value(user, S.metric, S.data, rho, &a));
    CHECK_OK(taskmet_loss_value(own, S.metric, S.data, rho, &b));
    CHECK_CLOSE(a, b, TOLERANCE);
    CHECK_OK(taskmet_loss_gradient(user, S.metric, S.data, rho, p, count));
    CHECK_OK(taskmet_loss_gradient(own, S.metric, S.data, rho, q, count));
    CHECK_CLOSE_ARRAYS(p, q, count, TOLERANCE);
    CHECK_OK(taskmet_loss_value_gradient(user, S.metric, S.data, rho, NULL, &a, p, count));
    CHECK_CLOSE(a, b, TOLERANCE);
    CHECK_CLOSE_ARRAYS(p, q, count, TOLERANCE);
    CHECK_OK(taskmet_loss_hvp(user, S.metric, S.data, rho, w, count, p, count));
    CHECK_OK(taskmet_loss_hvp(own, S.metric, S.data, rho, w, count, q, count));
    CHECK_CLOSE_ARRAYS(p, q, count, TOLERANCE);
    CHECK_OK(taskmet_loss_gnvp(user, S.metric, S.data, rho, w, count, p, count));
    CHECK_OK(taskmet_loss_gnvp(own, S.metric, S.data, rho, w, count, q, count));
    CHECK_CLOSE_ARRAYS(p, q, count, TOLERANCE);
    free(w), free(p), free(q);
}

/* By the dense solver: an iterative one stops somewhere within its tolerance, which is wider than rounding. */
static void compare_hypergradients(const taskmet_predictor *user, const taskmet_predictor *own, double rho) {
    const int64_t count = metric_count(S.metric);
    double *p = zeros(count), *q = zeros(count);
    taskmet_solver_options options;
    taskmet_solver_options_init(&options);
    options.solver = TASKMET_SOLVER_DENSE;
    CHECK_OK(taskmet_hypergradient(user, S.metric, S.data, rho, S.c, N, &options, p, count, NULL));
    CHECK_OK(taskmet_hypergradient(own, S.metric, S.data, rho, S.c, N, &options, q, count, NULL));
    CHECK_CLOSE_ARRAYS(p, q, count, TOLERANCE);
    options.solver = TASKMET_SOLVER_MINRES;
    options.tolerance = 1e-13;
    options.max_iterations = 400;
    CHECK_OK(taskmet_hypergradient(user, S.metric, S.data, rho, S.c, N, &options, p, count, NULL));
    CHECK_CLOSE_ARRAYS(p, q, count, 1e-9);
    free(p), free(q);
}

static void test_same_numbers(int64_t hidden) {
    user_predictor model = user_model(D, N, hidden);
    taskmet_predictor *own = hidden == 0 ? make_linear(9, D, N) : make_mlp(9, D, N, hidden);
    double *theta = predictor_parameters(own);
    taskmet_predictor *user = make_user_predictor(&model, theta);
    int64_t inputs = 0, outputs = 0, count = 0;
    CHECK_OK(taskmet_predictor_shape(user, &inputs, &outputs, &count));
    CHECK(inputs == D && outputs == N && count == predictor_count(own));
    double *kept = predictor_parameters(user);
    CHECK_SAME_BITS(kept, theta, count);
    compare_products(user, own);
    compare_losses(user, own, 0);
    compare_losses(user, own, 0.5);
    compare_hypergradients(user, own, 0.5);
    CHECK(model.unwanted == 0);
    CHECK(model.calls[USER_FORWARD] > 0 && model.calls[USER_VJP] > 0 && model.calls[USER_JVP] > 0);
    free(theta), free(kept);
    taskmet_predictor_destroy(own);
    taskmet_predictor_destroy(user);
    CHECK(model.freed == 1);
}

/* L-BFGS goes the same way with both. */
static void test_same_minimum(void) {
    user_predictor model = user_model(D, N, 0);
    taskmet_predictor *own = make_linear(9, D, N);
    double *theta = predictor_parameters(own);
    taskmet_predictor *user = make_user_predictor(&model, theta);
    const int64_t count = predictor_count(own);
    taskmet_inner_report report;
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_loss_minimize(own, S.metric, S.data, 0.1, NULL, NULL, NULL));
    CHECK_OK(taskmet_loss_minimize(user, S.metric, S.data, 0.1, NULL, NULL, &report));
    CHECK(report.converged == 1);
    CHECK_OK(taskmet_predictor_get_parameters(own, theta, count));
    double *found = predictor_parameters(user);
    CHECK_CLOSE_ARRAYS(found, theta, count, 1e-6);
    free(theta), free(found);
    taskmet_predictor_destroy(own);
    taskmet_predictor_destroy(user);
}

/* NULL, or a struct that ends before hvp, means the Gauss-Newton matrix wherever H would be used. */
static void test_without_hvp(void) {
    user_predictor model = user_model(D, N, 5);
    taskmet_predictor *own = make_mlp(11, D, N, 5);
    double *theta = predictor_parameters(own);
    const int64_t count = predictor_count(own), metric_size = metric_count(S.metric);
    double *w = random_array(12, count), *h = zeros(count), *g = zeros(count);
    double *p = zeros(metric_size), *q = zeros(metric_size);
    for (int shorter = 0; shorter < 2; shorter += 1) {
        taskmet_predictor_callbacks callbacks = user_callbacks();
        taskmet_predictor *user = NULL;
        if (shorter) callbacks.struct_size = offsetof(taskmet_predictor_callbacks, hvp);
        else callbacks.hvp = NULL;
        NEED(taskmet_predictor_create_callback(D, N, theta, count, &callbacks, &model, NULL, &user));
        CHECK_OK(taskmet_loss_hvp(user, S.metric, S.data, 0.3, w, count, h, count));
        CHECK_OK(taskmet_loss_gnvp(own, S.metric, S.data, 0.3, w, count, g, count));
        CHECK_CLOSE_ARRAYS(h, g, count, TOLERANCE);
        taskmet_solver_options options;
        taskmet_solver_options_init(&options);
        options.solver = TASKMET_SOLVER_DENSE;
        CHECK_OK(taskmet_hypergradient(user, S.metric, S.data, 0.3, S.c, N, &options, p, metric_size, NULL));
        options.solver = TASKMET_SOLVER_GAUSS_NEWTON_CG;
        options.tolerance = 1e-13;
        CHECK_OK(taskmet_hypergradient(own, S.metric, S.data, 0.3, S.c, N, &options, q, metric_size, NULL));
        CHECK_CLOSE_ARRAYS(p, q, metric_size, 1e-9);
        CHECK(model.calls[USER_HVP] == 0);
        taskmet_predictor_destroy(user);
    }
    free(theta), free(w), free(h), free(g), free(p), free(q);
    taskmet_predictor_destroy(own);
}

/* One call for many rows; zeros where no parameters are given. */
static void test_batches(void) {
    enum { MANY = 3000 };
    user_predictor model = user_model(D, N, 0);
    taskmet_predictor *user = make_user_predictor(&model, NULL);
    double *x = random_array(13, MANY * D), *out = random_array(14, MANY * N);
    CHECK_OK(taskmet_predictor_predict(user, MANY, x, D, out, N));
    CHECK(check_max_abs(out, MANY * N) == 0);
    CHECK(model.calls[USER_FORWARD] <= MANY / 20);
    free(x), free(out);
    taskmet_predictor_destroy(user);
}

static void test_unsupported(void) {
    user_predictor model = user_model(D, N, 0);
    taskmet_predictor *user = make_user_predictor(&model, NULL);
    static const double means[D] = {0}, scales[D] = {1, 1, 1};
    taskmet_inner_options exact;
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;
    CHECK_STATUS(taskmet_predictor_save(user, "/nonexistent/x"), TASKMET_ERROR_UNSUPPORTED, "predictor_save: ");
    CHECK_STATUS(taskmet_predictor_set_penalize_bias(user, 0), TASKMET_ERROR_UNSUPPORTED, "penalize_bias: ");
    CHECK_STATUS(taskmet_predictor_set_standardization(user, means, scales, D, NULL, NULL, 0),
                 TASKMET_ERROR_UNSUPPORTED, "set_standardization: ");
    CHECK_STATUS(taskmet_predictor_fit_standardization(user, S.data, TASKMET_STANDARDIZE_INPUTS),
                 TASKMET_ERROR_UNSUPPORTED, "fit_standardization: ");
    CHECK_STATUS(taskmet_loss_minimize(user, S.metric, S.data, 0, &exact, NULL, NULL), TASKMET_ERROR_UNSUPPORTED,
                 "loss_minimize: ");
    taskmet_predictor_destroy(user);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Failures                                                                                                         */

typedef struct failure {
    int32_t how;
    taskmet_status status;
} failure;

static const failure failures[] = {
    {TASKMET_CALLBACK_ERROR, TASKMET_ERROR_CALLBACK}, {TASKMET_CALLBACK_REJECT, TASKMET_ERROR_REJECTED},
    {TASKMET_CALLBACK_STOP, TASKMET_ERROR_CALLBACK},  {-1, TASKMET_ERROR_CALLBACK},
    {4, TASKMET_ERROR_CALLBACK},                      {INT32_MIN, TASKMET_ERROR_CALLBACK},
    {LEAVE_NAN, TASKMET_ERROR_CALLBACK},              {LEAVE_INFINITY, TASKMET_ERROR_CALLBACK},
    {LEAVE_UNWRITTEN, TASKMET_ERROR_CALLBACK},
};
enum { FAILURES = sizeof failures / sizeof failures[0], OUTPUTS = 64 };

static const char *const callback_names[] = {"forward", "vjp", "jvp", "hvp"};

/* Calls, by number, that must fail when a callback does: each of them uses the callback that `uses` names. */
enum { CALLS = 12 };
static const int uses[CALLS] = {USER_FORWARD, USER_FORWARD, USER_FORWARD, USER_VJP, USER_VJP, USER_VJP,
                                USER_JVP,     USER_JVP,     USER_HVP,     USER_HVP, USER_VJP, USER_FORWARD};

static taskmet_status make_call(int which, taskmet_predictor *p, double *out, taskmet_inner_report *report) {
    const int64_t count = predictor_count(p), size = metric_count(S.metric);
    switch (which) {
    case 0: return taskmet_predictor_predict(p, ROWS, S.x, X_STRIDE, out, N);
    case 1: return taskmet_loss_value(p, S.metric, S.data, 0.1, out);
    case 2: return taskmet_loss_gradient(p, S.metric, S.data, 0.1, out, count);
    case 3: return taskmet_predictor_vjp(p, ROWS, S.x, X_STRIDE, S.c, N, out, count);
    case 4: return taskmet_loss_gradient(p, S.metric, S.data, 0.1, out, count);
    case 5: return taskmet_loss_value_gradient(p, S.metric, S.data, 0.1, NULL, out, out + 1, count);
    case 6: return taskmet_predictor_jvp(p, ROWS, S.x, X_STRIDE, S.c, count, out, N);
    case 7: return taskmet_loss_gnvp(p, S.metric, S.data, 0.1, S.c, count, out, count);
    case 8: return taskmet_loss_hvp(p, S.metric, S.data, 0.1, S.c, count, out, count);
    case 9: return taskmet_hypergradient(p, S.metric, S.data, 0.1, S.c, N, NULL, out, size, NULL);
    case 10: return taskmet_loss_minimize(p, S.metric, S.data, 0.1, NULL, NULL, report);
    default: return taskmet_loss_minimize(p, S.metric, S.data, 0.1, NULL, NULL, report);
    }
}

static void test_failure(user_predictor *model, taskmet_predictor *p, int call, const failure *f) {
    double out[OUTPUTS], sentinel[OUTPUTS];
    taskmet_inner_report report, untouched;
    const int64_t count = predictor_count(p);
    double *before = predictor_parameters(p);
    for (int k = 0; k < OUTPUTS; k += 1) out[k] = sentinel[k] = 1234.5 + k;
    memset(&report, 0xA5, sizeof report);
    report.struct_size = sizeof report;
    memcpy(&untouched, &report, sizeof report);
    model->failing = uses[call];
    model->how = f->how;
    const taskmet_status got = make_call(call, p, out, &report);
    model->failing = -1;
    check_that(got == f->status, __FILE__, __LINE__, "call %d with %s failing by %d gave %s (\"%s\")", call,
               callback_names[uses[call]], (int)f->how, taskmet_status_name(got), taskmet_last_error());
    check_that(strstr(taskmet_last_error(), callback_names[uses[call]]) != NULL, __FILE__, __LINE__,
               "call %d: \"%s\" does not name %s", call, taskmet_last_error(), callback_names[uses[call]]);
    if (f->how < LEAVE_NAN && f->status == TASKMET_ERROR_CALLBACK) {
        char number[16];
        snprintf(number, sizeof number, "%d", (int)f->how);
        check_that(strstr(taskmet_last_error(), number) != NULL, __FILE__, __LINE__,
                   "call %d: \"%s\" does not tell the value %s", call, taskmet_last_error(), number);
    }
    CHECK_SAME_BITS(out, sentinel, OUTPUTS);
    CHECK(memcmp(&report, &untouched, sizeof report) == 0);
    double *after = predictor_parameters(p);
    CHECK_SAME_BITS(after, before, count);
    free(before), free(after);
}

static void test_failures(void) {
    user_predictor model = user_model(D, N, 5);
    taskmet_predictor *own = make_mlp(15, D, N, 5);
    double *theta = predictor_parameters(own);
    taskmet_predictor *user = make_user_predictor(&model, theta);
    for (int call = 0; call < CALLS; call += 1)
        for (int k = 0; k < FAILURES; k += 1) test_failure(&model, user, call, &failures[k]);
    /* And after all that it works as before. */
    compare_products(user, own);
    compare_losses(user, own, 0.5);
    CHECK(model.unwanted == 0);
    free(theta);
    taskmet_predictor_destroy(own);
    taskmet_predictor_destroy(user);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_scene();
    test_same_numbers(0);
    test_same_numbers(5);
    test_same_minimum();
    test_without_hvp();
    test_batches();
    test_unsupported();
    test_failures();
    destroy_scene();
    return check_end();
}
