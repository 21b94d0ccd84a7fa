/*
 * test_checks.c - the gradient checks find right gradients right, wrong ones wrong, and say so where they cannot tell.
 */
#include "check.h"

enum { D = 2, N = 2, INSTANCE_ROWS = 3 };

/* What is wrong with a task. */
enum { RIGHT, SIGN_FLIPPED, SCALED, ONE_ENTRY, NOISY };

typedef struct user_task {
    int softmax; /* 1: a softmax-weighted cost, 0: squares, cubes and a sine */
    int wrong;
    int64_t wrong_entry;
} user_task;

/* ---------------------------------------------------------------------------------------------------------------- */
/* Two smooth tasks                                                                                                 */

static double cubic_loss(int64_t count, const double *f, const double *y, double *gradient) {
    double loss = 0;
    for (int64_t k = 0; k < count; k += 1) {
        const double e = f[k] - y[k];
        loss += e * e / 2 + e * e * e / 6 + sin(2 * f[k]);
        if (gradient != NULL) gradient[k] = e + e * e / 2 + 2 * cos(2 * f[k]);
    }
    return loss;
}

/* The cost of a soft choice by the predictions: sum_k softmax(2 f)_k y_k over all entries of the instance. */
static double softmax_loss(int64_t count, const double *f, const double *y, double *gradient) {
    double top = f[0], sum = 0, cost = 0;
    for (int64_t k = 1; k < count; k += 1) top = fmax(top, f[k]);
    for (int64_t k = 0; k < count; k += 1) sum += exp(2 * (f[k] - top));
    for (int64_t k = 0; k < count; k += 1) cost += exp(2 * (f[k] - top)) / sum * y[k];
    for (int64_t k = 0; gradient != NULL && k < count; k += 1)
        gradient[k] = 2 * exp(2 * (f[k] - top)) / sum * (y[k] - cost);
    return cost;
}

/* In [-1, 1), from the bits of the numbers (FNV-1a): the same for the same predictions, unrelated for others. */
static double noise_of(const double *values, int64_t count) {
    const unsigned char *bytes = (const unsigned char *)values;
    uint64_t hash = UINT64_C(14695981039346656037);
    for (size_t k = 0; k < (size_t)count * sizeof(double); k += 1) hash = (hash ^ bytes[k]) * UINT64_C(1099511628211);
    return random_next(&hash);
}

static void spoil_gradient(const user_task *task, double *gradient, int64_t count) {
    for (int64_t k = 0; k < count; k += 1) {
        if (task->wrong == SIGN_FLIPPED) gradient[k] = -gradient[k];
        if (task->wrong == SCALED) gradient[k] *= 1.01;
        if (task->wrong == ONE_ENTRY && k == task->wrong_entry) gradient[k] = -gradient[k];
    }
}

static int32_t run_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    const user_task *task = user;
    const int64_t n = batch->outputs;
    const double share = 1 / (double)batch->instance_count;
    *loss = 0;
    for (int64_t k = 0; k < batch->instance_count; k += 1) {
        const int64_t at = batch->offsets[k] * n, count = batch->offsets[k + 1] * n - at;
        double *part = gradient == NULL ? NULL : gradient + at;
        const double *f = batch->predictions + at, *y = batch->targets + at;
        *loss += share * (task->softmax ? softmax_loss(count, f, y, part) : cubic_loss(count, f, y, part));
    }
    for (int64_t k = 0; gradient != NULL && k < batch->rows * n; k += 1) gradient[k] *= share;
    if (task->wrong == NOISY) *loss += 1e-3 * noise_of(batch->predictions, batch->rows * n);
    if (gradient != NULL) spoil_gradient(task, gradient, batch->rows * n);
    return TASKMET_CALLBACK_OK;
}

static taskmet_task *make_task(user_task *user) {
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_callback(run_task, user, NULL, &task));
    return task;
}

/* With instances of three rows. */
static taskmet_dataset *make_grouped_dataset(uint64_t seed, int64_t instances) {
    taskmet_dataset *data = make_dataset(seed, instances * INSTANCE_ROWS, D, N);
    int64_t *offsets = need_memory((size_t)(instances + 1) * sizeof(int64_t));
    for (int64_t k = 0; k <= instances; k += 1) offsets[k] = k * INSTANCE_ROWS;
    NEED(taskmet_dataset_set_instances(data, instances, offsets));
    free(offsets);
    return data;
}

static void check_verdict(const taskmet_check_report *report, double worst, taskmet_verdict expected, const char *what) {
    static const char *const names[] = {"CORRECT", "WRONG", "UNDECIDED"};
    const int known = report->verdict >= 0 && report->verdict <= 2;
    check_that(report->verdict == expected, __FILE__, __LINE__, "%s is %s (worst %.3g, noise %.3g, step %.3g), not %s",
               what, known ? names[report->verdict] : "?", worst, report->noise, report->step, names[expected]);
    check_that(worst == report->worst_error, __FILE__, __LINE__, "%s: worst %.17g, report %.17g", what, worst,
               report->worst_error);
    check_that(isfinite(worst) && worst >= 0 && isfinite(report->noise) && report->noise >= 0 && report->step > 0 &&
                   isfinite(report->analytic) && isfinite(report->numeric) && report->scale >= 0,
               __FILE__, __LINE__, "%s: a number of the report is not what it should be", what);
    /* The error is the one of the two derivatives in the report. */
    const double size = fmax(fmax(fabs(report->analytic), fabs(report->numeric)), report->scale);
    if (size > 0)
        check_that(fabs(worst - fabs(report->analytic - report->numeric) / size) <= 1e-6 * fmax(worst, 1e-6), __FILE__,
                   __LINE__, "%s: worst %.6g, but analytic %.17g, numeric %.17g, scale %.3g", what, worst,
                   report->analytic, report->numeric, report->scale);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The task's gradient                                                                                              */

enum { INSTANCES = 3, ROWS = INSTANCES * INSTANCE_ROWS, ENTRIES = ROWS * N };

static taskmet_check_report check_task(user_task *user, uint64_t seed, double tolerance, double *worst) {
    taskmet_dataset *data = make_grouped_dataset(20, INSTANCES);
    taskmet_task *task = make_task(user);
    double f[ENTRIES];
    taskmet_check_report report;
    random_fill(21, f, ENTRIES);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_task_check_gradient(task, data, f, N, ENTRIES, seed, tolerance, worst, &report));
    CHECK(report.directions >= ENTRIES);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
    return report;
}

static void test_task_verdicts(int softmax) {
    static const struct {
        int wrong;
        taskmet_verdict verdict;
        const char *what;
    } cases[] = {
        {RIGHT, TASKMET_VERDICT_CORRECT, "a right gradient"},
        {SIGN_FLIPPED, TASKMET_VERDICT_WRONG, "a gradient with the wrong sign"},
        {SCALED, TASKMET_VERDICT_WRONG, "a gradient times 1.01"},
        {NOISY, TASKMET_VERDICT_UNDECIDED, "a noisy loss"},
    };
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k += 1) {
        for (uint64_t seed = 1; seed <= 3; seed += 1) {
            user_task user = {softmax, cases[k].wrong, 0};
            double worst = -1;
            const taskmet_check_report report = check_task(&user, seed, 0, &worst);
            check_verdict(&report, worst, cases[k].verdict, cases[k].what);
            if (cases[k].wrong == RIGHT) CHECK(worst <= 1e-5);
            if (cases[k].wrong == SIGN_FLIPPED) CHECK(worst > 1.9 && worst < 2.1);
            if (cases[k].wrong == SCALED) CHECK(worst > 0.009 && worst < 0.011);
        }
    }
}

/* All entries are tried where there are no more than directions: one wrong sign is found, and the report says where. */
static void test_wrong_entry(void) {
    for (int64_t entry = 0; entry < ENTRIES; entry += 1) {
        user_task user = {0, ONE_ENTRY, entry};
        double worst = -1;
        const taskmet_check_report report = check_task(&user, 5, 0, &worst);
        check_verdict(&report, worst, TASKMET_VERDICT_WRONG, "a gradient with one wrong entry");
        CHECK(worst > 1.9 && worst < 2.1);
        check_that(report.row == entry / N && report.output == entry % N, __FILE__, __LINE__,
                   "entry %d is wrong, but the report tells row %d, output %d", (int)entry, (int)report.row,
                   (int)report.output);
    }
}

/* A tolerance wide enough forgives the factor; NULL for the report; the same seed gives the same numbers. */
static void test_task_check_details(void) {
    user_task user = {1, SCALED, 0};
    double worst = -1, again = -1;
    taskmet_check_report report = check_task(&user, 7, 0.05, &worst);
    check_verdict(&report, worst, TASKMET_VERDICT_CORRECT, "a factor of 1.01 within 5 %");
    (void)check_task(&user, 7, 0.05, &again);
    CHECK_SAME_BITS(&worst, &again, 1);
    taskmet_dataset *data = make_grouped_dataset(20, INSTANCES);
    taskmet_task *task = make_task(&user);
    double wide[ROWS * (N + 3)], f[ENTRIES];
    random_fill(21, f, ENTRIES);
    for (int k = 0; k < ROWS * (N + 3); k += 1) wide[k] = k % (N + 3) < N ? f[k / (N + 3) * N + k % (N + 3)] : 99;
    CHECK_OK(taskmet_task_check_gradient(task, data, wide, N + 3, ENTRIES, 7, 0.05, &again, NULL));
    CHECK_SAME_BITS(&worst, &again, 1);
    /* Fewer directions than entries: four random ones and four single entries. */
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_task_check_gradient(task, data, f, N, 4, 7, 0, &worst, &report));
    CHECK(report.verdict == TASKMET_VERDICT_WRONG && report.directions == 8);
    /* A struct from before the last fields: only those it has are written. */
    taskmet_check_report small;
    memset(&small, 0xA5, sizeof small);
    small.struct_size = offsetof(taskmet_check_report, scale);
    const taskmet_check_report before = small;
    CHECK_OK(taskmet_task_check_gradient(task, data, f, N, 4, 7, 0, &worst, &small));
    CHECK(small.verdict == TASKMET_VERDICT_WRONG && small.worst_error == worst);
    CHECK(small.row == before.row && small.directions == before.directions);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

/* A loss that does not depend on the predictions has the gradient zero, and that is right. */
static int32_t flat_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user;
    *loss = 3;
    for (int64_t k = 0; gradient != NULL && k < batch->rows * batch->outputs; k += 1) gradient[k] = 0;
    return TASKMET_CALLBACK_OK;
}

static void test_flat_task(void) {
    taskmet_dataset *data = make_grouped_dataset(20, INSTANCES);
    taskmet_task *task = NULL;
    double f[ENTRIES], worst = -1;
    taskmet_check_report report;
    report.struct_size = sizeof report;
    random_fill(21, f, ENTRIES);
    NEED(taskmet_task_create_callback(flat_task, NULL, NULL, &task));
    CHECK_OK(taskmet_task_check_gradient(task, data, f, N, 3, 1, 0, &worst, &report));
    CHECK(worst == 0 && report.verdict == TASKMET_VERDICT_CORRECT);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The hypergradient                                                                                                */

typedef struct problem {
    taskmet_dataset *data;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_inner_options inner;
    taskmet_solver_options solver;
    double rho;
} problem;

static problem make_problem(int linear) {
    problem p;
    memset(&p, 0, sizeof p);
    p.data = make_grouped_dataset(30, linear ? 14 : 8);
    p.predictor = linear ? make_linear(31, D, N) : make_mlp(31, D, N, 4);
    p.metric = make_conditional(32, D, N, TASKMET_STRUCTURE_DIAGONAL, 0, 4);
    p.rho = linear ? 0.05 : 0.1;
    taskmet_inner_options_init(&p.inner);
    taskmet_solver_options_init(&p.solver);
    p.inner.solver = linear ? TASKMET_INNER_EXACT : TASKMET_INNER_LBFGS;
    p.inner.gradient_tolerance = 1e-10;
    p.inner.max_iterations = 5000;
    p.solver.solver = linear ? TASKMET_SOLVER_DENSE : TASKMET_SOLVER_CG;
    p.solver.tolerance = 1e-11;
    return p;
}

static void destroy_problem(problem *p) {
    taskmet_dataset_destroy(p->data);
    taskmet_predictor_destroy(p->predictor);
    taskmet_metric_destroy(p->metric);
}

/* The models are only read. */
static void check_problem(problem *p, int wrong, int softmax, taskmet_verdict expected, const char *what) {
    user_task user = {softmax, wrong, 0};
    taskmet_task *task = make_task(&user);
    double worst = -1;
    double *theta = predictor_parameters(p->predictor), *phi = metric_parameters(p->metric);
    taskmet_check_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_hypergradient_check(p->predictor, p->metric, p->data, p->rho, task, &p->inner, &p->solver, 4, 3, 0,
                                         &worst, &report));
    check_verdict(&report, worst, expected, what);
    if (expected == TASKMET_VERDICT_CORRECT) CHECK(worst <= 1e-4);
    CHECK(report.row == -1 && report.output == -1 && report.directions == 4);
    double *theta_after = predictor_parameters(p->predictor), *phi_after = metric_parameters(p->metric);
    CHECK_SAME_BITS(theta_after, theta, predictor_count(p->predictor));
    CHECK_SAME_BITS(phi_after, phi, metric_count(p->metric));
    free(theta), free(phi), free(theta_after), free(phi_after);
    taskmet_task_destroy(task);
}

static void test_linear_hypergradient(void) {
    problem p = make_problem(1);
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "linear, exact");
    check_problem(&p, RIGHT, 1, TASKMET_VERDICT_CORRECT, "linear, exact, softmax task");
    check_problem(&p, SIGN_FLIPPED, 0, TASKMET_VERDICT_WRONG, "linear, exact, task gradient with the wrong sign");
    check_problem(&p, SCALED, 0, TASKMET_VERDICT_WRONG, "linear, exact, task gradient times 1.01");
    p.solver.solver = TASKMET_SOLVER_IDENTITY; /* not the hypergradient at all */
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_WRONG, "linear, exact, v = g");
    p.solver.solver = TASKMET_SOLVER_DENSE;
    p.rho = 0;
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "linear, exact, rho = 0");
    destroy_problem(&p);
}

static void test_mlp_hypergradient(void) {
    problem p = make_problem(0);
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "mlp, lbfgs");
    check_problem(&p, RIGHT, 1, TASKMET_VERDICT_CORRECT, "mlp, lbfgs, softmax task");
    check_problem(&p, SIGN_FLIPPED, 0, TASKMET_VERDICT_WRONG, "mlp, lbfgs, task gradient with the wrong sign");
    destroy_problem(&p);
}

/* BATCH_TRACE: up to date, m moves with phi; else it is held fixed on both sides. Right either way. */
static void test_batch_trace_hypergradient(void) {
    problem p = make_problem(1);
    const int64_t rows = 14 * INSTANCE_ROWS;
    double *x = random_array(30, rows * D); /* what make_dataset gave the dataset */
    double before = 0, after = 0;
    CHECK_OK(taskmet_metric_set_normalization(p.metric, TASKMET_NORMALIZATION_BATCH_TRACE));
    CHECK_OK(taskmet_metric_update_normalization(p.metric, rows, x, D));
    CHECK_OK(taskmet_metric_get_normalization_scale(p.metric, &before));
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "batch trace, m up to date");
    CHECK_OK(taskmet_metric_get_normalization_scale(p.metric, &after));
    CHECK_SAME_BITS(&after, &before, 1);
    shake_metric(p.metric, 40, 0.2);
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "batch trace, m of another phi");
    CHECK_OK(taskmet_metric_get_normalization_scale(p.metric, &after));
    CHECK_SAME_BITS(&after, &before, 1);
    CHECK_OK(taskmet_metric_set_normalization(p.metric, TASKMET_NORMALIZATION_TRACE));
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "trace");
    CHECK_OK(taskmet_metric_set_normalization(p.metric, TASKMET_NORMALIZATION_FROBENIUS));
    check_problem(&p, RIGHT, 0, TASKMET_VERDICT_CORRECT, "frobenius");
    free(x);
    destroy_problem(&p);
}

/* Where the inner problem is hardly begun, theta is not theta*(phi), and the check must not say CORRECT. */
static void test_inaccurate_inner_solution(void) {
    problem p = make_problem(0);
    user_task user = {0, RIGHT, 0};
    taskmet_task *task = make_task(&user);
    taskmet_check_report report;
    double worst = -1;
    report.struct_size = sizeof report;
    p.inner.solver = TASKMET_INNER_ADAM;
    p.inner.max_iterations = 3;
    CHECK_OK(taskmet_hypergradient_check(p.predictor, p.metric, p.data, p.rho, task, &p.inner, &p.solver, 2, 3, 0,
                                         &worst, &report));
    CHECK(report.verdict != TASKMET_VERDICT_CORRECT);
    taskmet_task_destroy(task);
    destroy_problem(&p);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_task_verdicts(0);
    test_task_verdicts(1);
    test_wrong_entry();
    test_task_check_details();
    test_flat_task();
    test_linear_hypergradient();
    test_mlp_hypergradient();
    test_batch_trace_hypergradient();
    test_inaccurate_inner_solution();
    return check_end();
}
