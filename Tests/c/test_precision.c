/*
 * test_precision.c - float32 objects: made, refilled, converted and told apart; losses close to float64's; training to the same
 * task loss; model files and checkpoints; every way of mixing precisions refused, and every number that is too large.
 */
#include "trainer_fixture.h"

enum { ROWS = 60, D = 3, N = 2, HIDDEN = 5 };

static taskmet_precision precision_of(const taskmet_predictor *predictor) {
    taskmet_precision precision = -1;
    CHECK_OK(taskmet_predictor_precision(predictor, &precision));
    return precision;
}

static taskmet_precision precision_of_data(const taskmet_dataset *data) {
    taskmet_precision precision = -1;
    CHECK_OK(taskmet_dataset_precision(data, &precision));
    return precision;
}

static taskmet_precision precision_of_metric(const taskmet_metric *metric) {
    taskmet_precision precision = -1;
    CHECK_OK(taskmet_metric_precision(metric, &precision));
    return precision;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The same problem twice                                                                                           */

typedef struct objects {
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_dataset *data;
} objects;

typedef struct pair {
    double *x, *y;
    float *xs, *ys;
    objects wide, narrow;
} pair;

/* Both of numbers that float32 has. */
static pair make_pair(void) {
    pair p;
    memset(&p, 0, sizeof p);
    p.x = random_array(1, ROWS * D), p.y = random_array(2, ROWS * N);
    p.xs = narrowed(p.x, ROWS * D), p.ys = narrowed(p.y, ROWS * N);
    for (int64_t k = 0; k < ROWS * D; k += 1) p.x[k] = (double)p.xs[k];
    for (int64_t k = 0; k < ROWS * N; k += 1) p.y[k] = (double)p.ys[k];
    taskmet_predictor *predictor = make_mlp(21, D, N, HIDDEN);
    taskmet_metric *metric = new_metric(D, N, TASKMET_STRUCTURE_FULL);
    NEED(taskmet_predictor_convert(predictor, TASKMET_FLOAT32, &p.narrow.predictor));
    NEED(taskmet_predictor_convert(p.narrow.predictor, TASKMET_FLOAT64, &p.wide.predictor));
    NEED(taskmet_metric_convert(metric, TASKMET_FLOAT32, &p.narrow.metric));
    NEED(taskmet_metric_convert(p.narrow.metric, TASKMET_FLOAT64, &p.wide.metric));
    NEED(taskmet_dataset_create(ROWS, D, p.x, D, N, p.y, N, &p.wide.data));
    NEED(taskmet_dataset_create_f32(ROWS, D, p.xs, D, N, p.ys, N, &p.narrow.data));
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    return p;
}

static void destroy_objects(objects *o) {
    taskmet_predictor_destroy(o->predictor);
    taskmet_metric_destroy(o->metric);
    taskmet_dataset_destroy(o->data);
}

static void destroy_pair(pair *p) {
    destroy_objects(&p->wide);
    destroy_objects(&p->narrow);
    free(p->x), free(p->y), free(p->xs), free(p->ys);
}

static double value_of(const objects *o) {
    double value = -1;
    CHECK_OK(taskmet_loss_value(o->predictor, o->metric, o->data, 0.1, &value));
    return value;
}

static void test_kinds(void) {
    pair p = make_pair();
    CHECK(precision_of(p.narrow.predictor) == TASKMET_FLOAT32 && precision_of(p.wide.predictor) == TASKMET_FLOAT64);
    CHECK(precision_of_metric(p.narrow.metric) == TASKMET_FLOAT32);
    CHECK(precision_of_metric(p.wide.metric) == TASKMET_FLOAT64);
    CHECK(precision_of_data(p.narrow.data) == TASKMET_FLOAT32 && precision_of_data(p.wide.data) == TASKMET_FLOAT64);
    taskmet_predictor *copy = NULL;
    CHECK_OK(taskmet_predictor_copy(p.narrow.predictor, &copy));
    CHECK(precision_of(copy) == TASKMET_FLOAT32);
    double *theta = predictor_parameters(copy), *back = NULL;
    const int64_t count = predictor_count(copy);
    theta[0] += 1e-12; /* less than float32 can tell from nothing, beside theta[0] */
    CHECK_OK(taskmet_predictor_set_parameters(copy, theta, count));
    back = predictor_parameters(copy);
    for (int64_t k = 0; k < count; k += 1) CHECK(back[k] == (double)(float)theta[k]);
    CHECK(back[0] != theta[0]);
    free(theta), free(back);
    taskmet_predictor_destroy(copy);
    destroy_pair(&p);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Datasets                                                                                                         */

static void count_release(void *user) { *(int *)user += 1; }

static void test_datasets(void) {
    pair p = make_pair();
    taskmet_dataset *borrowed = NULL, *filled = NULL;
    int released = 0;
    float *padded = need_memory(ROWS * (D + 1) * sizeof(float));
    for (int64_t k = 0; k < ROWS * (D + 1); k += 1) padded[k] = k % (D + 1) < D ? p.xs[k / (D + 1) * D + k % (D + 1)] : NAN;
    const double expected = value_of(&p.narrow);
    objects o = p.narrow;
    CHECK_OK(taskmet_dataset_borrow_f32(ROWS, D, padded, D + 1, N, p.ys, N, count_release, &released, &borrowed));
    o.data = borrowed;
    CHECK(value_of(&o) == expected);
    CHECK_STATUS(taskmet_dataset_refill_f32(borrowed, ROWS, p.xs, D, p.ys, N, NULL, 0), TASKMET_ERROR_STATE, "borrowed");
    taskmet_dataset_destroy(borrowed);
    CHECK(released == 1);
    CHECK_OK(taskmet_dataset_create_f32(1, D, p.xs, D, N, p.ys, N, &filled));
    o.data = filled;
    CHECK_OK(taskmet_dataset_refill_f32(filled, ROWS, padded, D + 1, p.ys, N, NULL, 0));
    CHECK(value_of(&o) == expected && precision_of_data(filled) == TASKMET_FLOAT32);
    CHECK_OK(taskmet_dataset_refill(filled, ROWS, p.x, D, p.y, N, NULL, 0));
    CHECK(value_of(&o) == expected && precision_of_data(filled) == TASKMET_FLOAT32);
    taskmet_dataset_destroy(filled);
    CHECK_OK(taskmet_dataset_create(1, D, p.x, D, N, p.y, N, &filled));
    CHECK_OK(taskmet_dataset_refill_f32(filled, ROWS, p.xs, D, p.ys, N, NULL, 0));
    o = p.wide;
    o.data = filled;
    CHECK(value_of(&o) == value_of(&p.wide) && precision_of_data(filled) == TASKMET_FLOAT64);
    taskmet_dataset_destroy(filled);
    free(padded);
    destroy_pair(&p);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Losses: 1e-5, which test_precision's Swift sister derives                                                        */

static void test_losses(void) {
    pair p = make_pair();
    const int64_t count = predictor_count(p.wide.predictor), phi = metric_count(p.wide.metric);
    CHECK_CLOSE(value_of(&p.narrow), value_of(&p.wide), 1e-5);
    double *w = random_array(5, count), *c = random_array(6, ROWS * N), *results[2][4], *f[2];
    for (int k = 0; k < 2; k += 1) {
        const objects *o = k == 0 ? &p.narrow : &p.wide;
        for (int j = 0; j < 3; j += 1) results[k][j] = zeros(count);
        results[k][3] = zeros(phi);
        f[k] = zeros(ROWS * N);
        CHECK_OK(taskmet_predictor_predict(o->predictor, ROWS, p.x, D, f[k], N));
        CHECK_OK(taskmet_loss_gradient(o->predictor, o->metric, o->data, 0.1, results[k][0], count));
        CHECK_OK(taskmet_loss_hvp(o->predictor, o->metric, o->data, 0.1, w, count, results[k][1], count));
        CHECK_OK(taskmet_loss_gnvp(o->predictor, o->metric, o->data, 0.1, w, count, results[k][2], count));
        taskmet_solver_options options;
        taskmet_solver_options_init(&options);
        options.solver = TASKMET_SOLVER_GAUSS_NEWTON_CG;
        options.ridge = 1;
        options.tolerance = 1e-6;
        CHECK_OK(taskmet_hypergradient(o->predictor, o->metric, o->data, 0.1, c, N, &options, results[k][3], phi, NULL));
    }
    CHECK_CLOSE_ARRAYS(f[0], f[1], ROWS * N, 1e-5);
    CHECK(!check_same_bits(f[0], f[1], ROWS * N));
    for (int j = 0; j < 3; j += 1) CHECK_CLOSE_ARRAYS(results[0][j], results[1][j], count, 1e-5);
    CHECK_CLOSE_ARRAYS(results[0][3], results[1][3], phi, 1e-4); /* times the system's condition */
    for (int k = 0; k < 2; k += 1) {
        for (int j = 0; j < 4; j += 1) free(results[k][j]);
        free(f[k]);
    }
    free(w), free(c);
    destroy_pair(&p);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Refusals                                                                                                         */

static void test_mixed(void) {
    pair p = make_pair();
    double value = -1;
    taskmet_trainer *trainer = NULL;
    CHECK_STATUS(taskmet_loss_value(p.wide.predictor, p.narrow.metric, p.wide.data, 0, &value),
                 TASKMET_ERROR_INVALID_ARGUMENT, "metric: its precision must be the predictor's, float64, is float32");
    CHECK_STATUS(taskmet_loss_value(p.narrow.predictor, p.narrow.metric, p.wide.data, 0, &value),
                 TASKMET_ERROR_INVALID_ARGUMENT, "dataset: its precision must be the predictor's, float32, is float64");
    CHECK(value == -1);
    CHECK_STATUS(taskmet_trainer_create(p.wide.predictor, p.wide.metric, p.narrow.data, &trainer),
                 TASKMET_ERROR_INVALID_ARGUMENT, "dataset: its precision");
    CHECK(trainer == NULL);
    NEED(taskmet_trainer_create(p.wide.predictor, p.wide.metric, p.wide.data, &trainer));
    CHECK_STATUS(taskmet_trainer_set_validation(trainer, p.narrow.data), TASKMET_ERROR_INVALID_ARGUMENT, "precision");
    taskmet_trainer_destroy(trainer);
    destroy_pair(&p);
}

static void test_overflow(void) {
    pair p = make_pair();
    const int64_t count = predictor_count(p.wide.predictor);
    double *theta = predictor_parameters(p.wide.predictor), *phi = metric_parameters(p.wide.metric);
    double out[ROWS * N];
    taskmet_predictor *converted = NULL;
    taskmet_metric *other = NULL;
    theta[2] = -1e39, phi[1] = 4e38;
    const taskmet_status invalid = TASKMET_ERROR_INVALID_ARGUMENT;
    CHECK_STATUS(taskmet_predictor_set_parameters(p.narrow.predictor, theta, count), invalid, "values[2]");
    CHECK_STATUS(taskmet_metric_set_parameters(p.narrow.metric, phi, metric_count(p.wide.metric)), invalid, "values[1]");
    CHECK_OK(taskmet_predictor_set_parameters(p.wide.predictor, theta, count));
    CHECK_OK(taskmet_metric_set_parameters(p.wide.metric, phi, metric_count(p.wide.metric)));
    CHECK_STATUS(taskmet_predictor_convert(p.wide.predictor, TASKMET_FLOAT32, &converted), TASKMET_ERROR_NUMERICAL,
                 "theta[2]");
    CHECK_STATUS(taskmet_metric_convert(p.wide.metric, TASKMET_FLOAT32, &other), TASKMET_ERROR_NUMERICAL, "phi[1]");
    CHECK_STATUS(taskmet_predictor_convert(p.wide.predictor, 2, &converted), invalid, "precision must be 0 to 1, got 2");
    CHECK_STATUS(taskmet_metric_convert(p.wide.metric, -1, &other), invalid, "precision must be 0 to 1, got -1");
    CHECK(converted == NULL && other == NULL);
    p.x[D] = 1e300;
    CHECK_STATUS(taskmet_predictor_predict(p.narrow.predictor, ROWS, p.x, D, out, N), invalid, "x[1,0]");
    CHECK_STATUS(taskmet_dataset_refill(p.narrow.data, ROWS, p.x, D, p.y, N, NULL, 0), invalid, "x[1,0]");
    p.ys[1] = INFINITY;
    CHECK_STATUS(taskmet_dataset_refill_f32(p.narrow.data, ROWS, p.xs, D, p.ys, N, NULL, 0), invalid, "y[0,1]");
    p.ys[1] = 0;
    free(theta), free(phi);
    destroy_pair(&p);
}

/* A predictor of the caller's stays float64. */
static int32_t answer_zero(void *user, int64_t rows, const double *x, int64_t stride, const double *theta, double *out) {
    (void)user, (void)x, (void)stride, (void)theta;
    for (int64_t k = 0; k < rows; k += 1) out[k] = 0;
    return TASKMET_CALLBACK_OK;
}

static int32_t answer_product(void *user, int64_t rows, const double *x, int64_t stride, const double *theta,
                              const double *c, double *out) {
    (void)c;
    return answer_zero(user, rows < 1 ? rows : 1, x, stride, theta, out);
}

static void test_callback_predictor(void) {
    taskmet_predictor_callbacks callbacks;
    memset(&callbacks, 0, sizeof callbacks);
    callbacks.struct_size = sizeof callbacks;
    callbacks.forward = answer_zero;
    callbacks.vjp = callbacks.jvp = answer_product;
    taskmet_predictor *own = NULL, *copy = NULL;
    NEED(taskmet_predictor_create_callback(1, 1, NULL, 1, &callbacks, NULL, NULL, &own));
    CHECK(precision_of(own) == TASKMET_FLOAT64);
    CHECK_STATUS(taskmet_predictor_convert(own, TASKMET_FLOAT32, &copy), TASKMET_ERROR_UNSUPPORTED, "callback");
    CHECK_OK(taskmet_predictor_convert(own, TASKMET_FLOAT64, &copy));
    taskmet_predictor_destroy(copy);
    taskmet_predictor_destroy(own);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Training                                                                                                         */

/* A set-up's float32 twin shares its task. */
static setup narrow_twin(const setup *wide) {
    setup twin = *wide;
    problem *const parts[2] = {&twin.training, &twin.validation};
    for (int k = 0; k < 2; k += 1) {
        problem *const q = parts[k];
        if (q->data == NULL) continue;
        float *x = narrowed(q->x, q->rows * q->d), *y = narrowed(q->y, q->rows * q->n);
        NEED(taskmet_dataset_create_f32(q->rows, q->d, x, q->d, q->n, y, q->n, &q->data));
        NEED(taskmet_dataset_set_instances(q->data, q->instances, q->offsets));
        free(x), free(y);
    }
    NEED(taskmet_predictor_convert(wide->predictor, TASKMET_FLOAT32, &twin.predictor));
    NEED(taskmet_metric_convert(wide->metric, TASKMET_FLOAT32, &twin.metric));
    return twin;
}

static void destroy_twin(setup *twin) {
    taskmet_trainer_destroy(twin->trainer);
    taskmet_predictor_destroy(twin->predictor);
    taskmet_metric_destroy(twin->metric);
    taskmet_dataset_destroy(twin->training.data);
    taskmet_dataset_destroy(twin->validation.data);
}

static void train_both(const shape *size, const char *options) {
    setup wide;
    begin(&wide, size, options);
    setup twin = narrow_twin(&wide);
    twin.trainer = new_trainer(&twin, options);
    const taskmet_fit_report expected = run_fit(wide.trainer), report = run_fit(twin.trainer);
    CHECK(expected.best_task_loss < 0.8 * expected.first_task_loss);
    const double gain = expected.first_task_loss - expected.best_task_loss;
    CHECK_CLOSE(report.first_task_loss, expected.first_task_loss, 1e-3);
    check_that(fabs(report.best_task_loss - expected.best_task_loss) < 0.02 * gain, __FILE__, __LINE__,
               "%s: task loss %.6g in float32, %.6g in float64", options, report.best_task_loss, expected.best_task_loss);
    CHECK(report.untrusted <= expected.untrusted + 1);
    taskmet_predictor *best = predictor_of(twin.trainer, TASKMET_MODEL_BEST);
    taskmet_metric *metric = metric_of(twin.trainer, TASKMET_MODEL_LAST);
    CHECK(precision_of(best) == TASKMET_FLOAT32 && precision_of_metric(metric) == TASKMET_FLOAT32);
    CHECK_CLOSE(loss_of(&wide.judge, best, &wide.validation), report.best_task_loss, 1e-5);
    taskmet_predictor_destroy(best);
    taskmet_metric_destroy(metric);
    destroy_twin(&twin);
    finish(&wide);
}

static void test_training(void) {
    const shape linear = {80, 2, 2, 2, 0, 40}, network = {80, 2, 2, 2, 5, 40};
    train_both(&linear, "outer_iterations=15 metric_rate=0.05 rho=0.001");
    train_both(&network, "outer_iterations=12 inner_solver=lbfgs warmup_iterations=300 inner_iterations=100 metric_rate=0.05 "
                         "rho=0.01");
    if (check_quick) return;
    /* Further on Adam's steps at this rate amplify any difference, one of float64's own rounding included. */
    train_both(&network, "outer_iterations=5 inner_solver=adam warmup_iterations=1500 inner_iterations=200 metric_rate=0.05 "
                         "rho=0.01 inner_rate=0.02");
}

/* Every way to train runs in float32. */
static void test_methods(void) {
    static const char *const methods[] = {"taskmet", "two_stage", "dfl", "lodl", "weighted_mse"};
    const shape size = {24, 2, 1, 2, 4, 12};
    setup wide;
    begin(&wide, &size, "");
    setup twin = narrow_twin(&wide);
    for (size_t k = 0; k < LENGTH(methods); k += 1) {
        char options[128];
        snprintf(options, sizeof options,
                 "method=%s outer_iterations=2 warmup_iterations=20 inner_iterations=5 metric_l1=0.01 agreement_interval=1",
                 methods[k]);
        twin.trainer = new_trainer(&twin, options);
        const taskmet_fit_report report = run_fit(twin.trainer);
        check_that(isfinite(report.best_task_loss) && report.iterations == 2, __FILE__, __LINE__, "%s", methods[k]);
        taskmet_trainer_destroy(twin.trainer);
    }
    twin.trainer = NULL;
    destroy_twin(&twin);
    finish(&wide);
}

static void test_check(void) {
    const shape size = {40, 2, 2, 2, 4, 0};
    setup wide;
    begin(&wide, &size, "");
    setup twin = narrow_twin(&wide);
    taskmet_inner_options inner;
    taskmet_solver_options solver;
    taskmet_check_report report;
    double worst = -1;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    taskmet_inner_options_init(&inner);
    taskmet_solver_options_init(&solver);
    CHECK_OK(taskmet_hypergradient_check(twin.predictor, twin.metric, twin.training.data, 0.05, twin.task, &inner, &solver,
                                         2, 3, 1e-3, &worst, &report));
    check_that(report.verdict == TASKMET_VERDICT_CORRECT, __FILE__, __LINE__, "verdict %d, error %g, noise %g",
               (int)report.verdict, report.worst_error, report.noise);
    twin.trainer = NULL;
    destroy_twin(&twin);
    finish(&wide);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Files                                                                                                            */

static void test_files(void) {
    pair p = make_pair();
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    CHECK_OK(taskmet_predictor_save(p.narrow.predictor, test_path));
    CHECK_OK(taskmet_predictor_load(test_path, &predictor));
    CHECK_OK(taskmet_metric_save(p.narrow.metric, test_path));
    CHECK_OK(taskmet_metric_load(test_path, &metric));
    const objects back = {predictor, metric, p.narrow.data};
    CHECK(precision_of(predictor) == TASKMET_FLOAT32 && precision_of_metric(metric) == TASKMET_FLOAT32);
    CHECK(value_of(&back) == value_of(&p.narrow));
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    destroy_pair(&p);
}

static void test_checkpoint(void) {
    const shape size = {40, 2, 2, 2, 5, 20};
    const char *const options = "warmup_iterations=15 inner_iterations=6 metric_rate=0.05";
    setup wide;
    begin(&wide, &size, options);
    setup twin = narrow_twin(&wide);
    twin.trainer = new_trainer(&twin, options);
    taskmet_trainer *loaded = new_trainer(&twin, "");
    steps(twin.trainer, 3);
    CHECK_OK(taskmet_trainer_save(twin.trainer, test_path));
    CHECK_STATUS(taskmet_trainer_load(wide.trainer, test_path), TASKMET_ERROR_SHAPE, "float32");
    CHECK_OK(taskmet_trainer_load(loaded, test_path));
    steps(twin.trainer, 4);
    steps(loaded, 4);
    CHECK_SAME_TRAINERS(loaded, twin.trainer, "float32");
    taskmet_trainer_destroy(loaded);
    destroy_twin(&twin);
    finish(&wide);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    test_kinds();
    test_datasets();
    test_losses();
    test_mixed();
    test_overflow();
    test_callback_predictor();
    test_training();
    test_methods();
    test_check();
    test_files();
    test_checkpoint();
    remove_test_directory();
    return check_end();
}
