/*
 * test_optimizer.c - Adam and gradient descent against the formulas; refused steps; the inner minimisers reach the optimum.
 */
#include "check.h"

enum { N = 4, STEPS = 12 };

static void gradient_at(int step, double *out) {
    random_fill(50 + (uint64_t)step, out, N);
    out[0] *= 100; /* Adam does not care about scale, gradient descent does */
    out[1] *= 1e-6;
}

/* PyTorch's Adam: p -= rate * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon). */
typedef struct adam {
    double m[N], v[N], beta1, beta2, epsilon, rate;
    int t;
} adam;

static void adam_step(adam *a, const double *g, double *p) {
    a->t += 1;
    for (int k = 0; k < N; k += 1) {
        a->m[k] = a->beta1 * a->m[k] + (1 - a->beta1) * g[k];
        a->v[k] = a->beta2 * a->v[k] + (1 - a->beta2) * g[k] * g[k];
        const double m = a->m[k] / (1 - pow(a->beta1, a->t)), v = a->v[k] / (1 - pow(a->beta2, a->t));
        p[k] -= a->rate * m / (sqrt(v) + a->epsilon);
    }
}

/* Steps `from` .. `to` of both; entry by entry, since the entries' sizes differ. */
static void compare_adam(taskmet_optimizer *optimizer, adam *hand, double *p, double *q, int from, int to) {
    double g[N];
    for (int step = from; step < to; step += 1) {
        gradient_at(step, g);
        CHECK_OK(taskmet_optimizer_step(optimizer, g, N, p, N));
        adam_step(hand, g, q);
        for (int k = 0; k < N; k += 1) CHECK_CLOSE(p[k], q[k], 1e-13);
    }
}

static void test_adam(void) {
    static const double settings[][4] = {{0.01, 0.9, 0.999, 1e-8}, {0.3, 0.5, 0.9, 1e-3}, {1, 0, 0, 1e-8}};
    for (int k = 0; k < 3; k += 1) {
        const double *s = settings[k];
        adam hand;
        double p[N] = {1, -2, 3, 40}, q[N] = {1, -2, 3, 40};
        taskmet_optimizer *optimizer = NULL;
        memset(&hand, 0, sizeof hand);
        hand.rate = s[0], hand.beta1 = s[1], hand.beta2 = s[2], hand.epsilon = s[3];
        CHECK_OK(taskmet_optimizer_create_adam(N, s[0], s[1], s[2], s[3], &optimizer));
        compare_adam(optimizer, &hand, p, q, 0, STEPS);
        CHECK_OK(taskmet_optimizer_set_learning_rate(optimizer, s[0] / 7));
        hand.rate = s[0] / 7;
        compare_adam(optimizer, &hand, p, q, STEPS, STEPS + 4);
        /* Reset forgets moments and count, not the rate. */
        CHECK_OK(taskmet_optimizer_reset(optimizer));
        memset(hand.m, 0, sizeof hand.m);
        memset(hand.v, 0, sizeof hand.v);
        hand.t = 0;
        compare_adam(optimizer, &hand, p, q, 0, STEPS);
        taskmet_optimizer_destroy(optimizer);
    }
}

/* PyTorch's form: b <- momentum b + g; p <- p - rate b. */
static void test_sgd(void) {
    static const double momenta[] = {0, 0.5, 0.9};
    for (int k = 0; k < 3; k += 1) {
        taskmet_optimizer *optimizer = NULL;
        double p[N] = {1, -2, 3, 40}, q[N] = {1, -2, 3, 40}, b[N] = {0}, g[N], rate = 0.05;
        CHECK_OK(taskmet_optimizer_create_sgd(N, rate, momenta[k], &optimizer));
        for (int step = 0; step < 3 * STEPS; step += 1) {
            if (step == STEPS) {
                rate = 0.2;
                CHECK_OK(taskmet_optimizer_set_learning_rate(optimizer, rate));
            }
            if (step == 2 * STEPS) {
                memset(b, 0, sizeof b);
                CHECK_OK(taskmet_optimizer_reset(optimizer));
            }
            gradient_at(step, g);
            CHECK_OK(taskmet_optimizer_step(optimizer, g, N, p, N));
            for (int i = 0; i < N; i += 1) {
                b[i] = momenta[k] * b[i] + g[i];
                q[i] -= rate * b[i];
            }
            CHECK_CLOSE_ARRAYS(p, q, N, 1e-13);
        }
        taskmet_optimizer_destroy(optimizer);
    }
}

/* A step to infinity is refused, and was never made: a twin that did not try goes on in the same way. */
static void test_refused_step(int is_adam) {
    taskmet_optimizer *optimizer = NULL, *twin = NULL;
    double p[N] = {1, -2, 3, 40}, q[N] = {1, -2, 3, 40}, g[N];
    const double vast[N] = {1, 1, 1.7e308, 1};
    for (int k = 0; k < 2; k += 1) {
        taskmet_optimizer **out = k == 0 ? &optimizer : &twin;
        if (is_adam) NEED(taskmet_optimizer_create_adam(N, 0.5, 0.9, 0.999, 1e-8, out));
        else NEED(taskmet_optimizer_create_sgd(N, 2.5, 0.9, out));
    }
    for (int step = 0; step < 6; step += 1) {
        gradient_at(step, g);
        CHECK_OK(taskmet_optimizer_step(optimizer, g, N, p, N));
        CHECK_OK(taskmet_optimizer_step(twin, g, N, q, N));
        CHECK_SAME_BITS(p, q, N);
        const double before[N] = {p[0], p[1], p[2], p[3]};
        const taskmet_status got = taskmet_optimizer_step(optimizer, vast, N, p, N);
        check_that(got == TASKMET_ERROR_NUMERICAL, __FILE__, __LINE__, "a step of 1.7e308 with %s gave %s",
                   is_adam ? "Adam" : "gradient descent", taskmet_status_name(got));
        CHECK(strncmp(taskmet_last_error(), "optimizer_step: ", 16) == 0);
        CHECK_SAME_BITS(p, before, N);
    }
    taskmet_optimizer_destroy(optimizer);
    taskmet_optimizer_destroy(twin);
}

/* A zero gradient moves nothing, also where 0 / 0 is near. */
static void test_zero_gradient(void) {
    static const double zero[N] = {0};
    taskmet_optimizer *optimizer = NULL;
    double p[N] = {1, -2, 3, 40};
    const double before[N] = {1, -2, 3, 40};
    CHECK_OK(taskmet_optimizer_create_adam(N, 0.5, 0.9, 0.999, 1e-8, &optimizer));
    for (int k = 0; k < 3; k += 1) CHECK_OK(taskmet_optimizer_step(optimizer, zero, N, p, N));
    CHECK_SAME_BITS(p, before, N);
    taskmet_optimizer_destroy(optimizer);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The inner minimisers                                                                                             */

static double gradient_norm(const taskmet_predictor *p, const taskmet_metric *m, const taskmet_dataset *data, double rho) {
    const int64_t count = predictor_count(p);
    double *g = zeros(count), sum = 0;
    CHECK_OK(taskmet_loss_gradient(p, m, data, rho, g, count));
    for (int64_t k = 0; k < count; k += 1) sum += g[k] * g[k];
    free(g);
    return sqrt(sum);
}

static taskmet_inner_report minimize(taskmet_predictor *p, const taskmet_metric *m, const taskmet_dataset *data,
                                     taskmet_inner_solver solver, double rate, int64_t iterations) {
    taskmet_inner_options options;
    taskmet_inner_report report;
    taskmet_inner_options_init(&options);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    options.solver = solver;
    options.learning_rate = rate;
    options.momentum = solver == TASKMET_INNER_SGD ? 0.9 : 0;
    options.max_iterations = iterations;
    CHECK_OK(taskmet_loss_minimize(p, m, data, 0.1, &options, NULL, &report));
    return report;
}

/* All of them end at the exact solution of a linear predictor; the report tells the state where they ended. */
static void test_inner_solvers(void) {
    static const struct {
        taskmet_inner_solver solver;
        double rate, tolerance;
        int64_t iterations;
    } cases[] = {{TASKMET_INNER_LBFGS, 0, 1e-7, 500},
                 {TASKMET_INNER_ADAM, 0.02, 1e-3, 4000},
                 {TASKMET_INNER_SGD, 0.05, 1e-6, 4000}};
    taskmet_dataset *data = make_dataset(1, 30, 3, 2);
    taskmet_metric *m = make_conditional(2, 3, 2, TASKMET_STRUCTURE_FULL, 0, 4);
    taskmet_predictor *exact = make_linear(3, 3, 2);
    const taskmet_inner_report truth = minimize(exact, m, data, TASKMET_INNER_EXACT, 0, 0);
    double *best = predictor_parameters(exact);
    CHECK(truth.converged == 1 && truth.gradient_norm <= 1e-10);
    CHECK(gradient_norm(exact, m, data, 0.1) <= 1e-10);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k += 1) {
        taskmet_predictor *p = make_linear(4, 3, 2);
        const taskmet_inner_report report = minimize(p, m, data, cases[k].solver, cases[k].rate, cases[k].iterations);
        double value = 0, *found = predictor_parameters(p);
        CHECK_CLOSE_ARRAYS(found, best, predictor_count(p), cases[k].tolerance);
        CHECK_OK(taskmet_loss_value(p, m, data, 0.1, &value));
        CHECK_CLOSE(report.value, value, 1e-12);
        CHECK(fabs(report.gradient_norm - gradient_norm(p, m, data, 0.1)) <= 1e-12);
        CHECK(report.converged == (report.gradient_norm <= 1e-8));
        CHECK(report.iterations > 0 && report.iterations <= cases[k].iterations && report.evaluations > 0);
        CHECK(value >= truth.value - 1e-12);
        free(found);
        taskmet_predictor_destroy(p);
    }
    free(best);
    taskmet_predictor_destroy(exact);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* Few iterations are success, and no worse than the start; at the optimum nothing is left to do. */
static void test_few_iterations(void) {
    taskmet_dataset *data = make_dataset(5, 30, 3, 2);
    taskmet_metric *m = make_constant(6, 2, TASKMET_STRUCTURE_FULL, 0);
    taskmet_predictor *p = make_mlp(7, 3, 2, 6);
    double before = 0;
    CHECK_OK(taskmet_loss_value(p, m, data, 0.1, &before));
    const taskmet_inner_report one = minimize(p, m, data, TASKMET_INNER_LBFGS, 0, 1);
    CHECK(one.iterations == 1 && one.converged == 0 && one.value < before);
    const taskmet_inner_report all = minimize(p, m, data, TASKMET_INNER_LBFGS, 0, 2000);
    CHECK(all.converged == 1 && all.gradient_norm <= 1e-8 && all.value < one.value);
    double *at = predictor_parameters(p);
    const taskmet_inner_report none = minimize(p, m, data, TASKMET_INNER_LBFGS, 0, 2000);
    double *still = predictor_parameters(p);
    CHECK(none.converged == 1 && none.iterations == 0);
    CHECK_SAME_BITS(still, at, predictor_count(p));
    free(at), free(still);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* More columns than rows and rho = 0: the least-norm solution, which fits exactly and lies in the rows' span. */
static void test_rank_deficient(void) {
    enum { ROWS = 3, D = 6 };
    double x[ROWS * D], y[ROWS], f[ROWS], w[D];
    random_fill(8, x, ROWS * D);
    random_fill(9, y, ROWS);
    taskmet_dataset *data = NULL;
    taskmet_predictor *p = NULL;
    taskmet_metric *m = make_constant(10, 1, TASKMET_STRUCTURE_FULL, 0);
    taskmet_inner_options options;
    taskmet_inner_options_init(&options);
    options.solver = TASKMET_INNER_EXACT;
    NEED(taskmet_dataset_create(ROWS, D, x, D, 1, y, 1, &data));
    NEED(taskmet_predictor_create_linear(D, 1, 0, &p));
    CHECK_OK(taskmet_loss_minimize(p, m, data, 0, &options, NULL, NULL));
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, f, 1));
    CHECK_CLOSE_ARRAYS(f, y, ROWS, 1e-10);
    /* w is a combination of the rows if what is left after projecting on them is nothing (modified Gram-Schmidt). */
    CHECK_OK(taskmet_predictor_get_parameters(p, w, D));
    const double size = check_max_abs(w, D);
    for (int i = 0; i < ROWS; i += 1)
        for (int j = 0; j <= i; j += 1) {
            double dot = 0, norm = 0;
            double *row = x + i * D, *base = x + j * D;
            for (int k = 0; k < D; k += 1) dot += (j < i ? row[k] : w[k]) * base[k], norm += base[k] * base[k];
            for (int k = 0; k < D; k += 1) *(j < i ? row + k : w + k) -= dot / norm * base[k];
        }
    CHECK(check_max_abs(w, D) <= 1e-10 * size);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_adam();
    test_sgd();
    test_refused_step(0);
    test_refused_step(1);
    test_zero_gradient();
    test_inner_solvers();
    test_few_iterations();
    test_rank_deficient();
    return check_end();
}
