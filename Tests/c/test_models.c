/*
 * test_models.c - how predictors and metrics begin, what is read back from them, and that copies are independent.
 */
#include "check.h"

enum { D = 3, N = 3, ROWS = 9, IDENTITY = TASKMET_ACTIVATION_IDENTITY };

static const taskmet_structure structures[] = {TASKMET_STRUCTURE_SCALAR, TASKMET_STRUCTURE_DIAGONAL,
                                               TASKMET_STRUCTURE_LOWRANK, TASKMET_STRUCTURE_FULL};
enum { STRUCTURES = 4, RANK = 2 };
static const int64_t entries[STRUCTURES] = {1, N, N *RANK, N *N};

/* ---------------------------------------------------------------------------------------------------------------- */
/* Predictors                                                                                                       */

static void test_linear_starts_at_zero(void) {
    for (int32_t bias = 0; bias < 2; bias += 1) {
        taskmet_predictor *p = NULL;
        int64_t inputs = 0, outputs = 0, count = 0;
        double x[ROWS * D], out[ROWS * N];
        random_fill(1, x, ROWS * D);
        random_fill(2, out, ROWS * N);
        CHECK_OK(taskmet_predictor_create_linear(D, N, bias, &p));
        CHECK_OK(taskmet_predictor_shape(p, &inputs, &outputs, &count));
        CHECK(inputs == D && outputs == N && count == N * (D + bias));
        CHECK(predictor_count(p) == count);
        double *theta = predictor_parameters(p);
        CHECK(check_max_abs(theta, count) == 0);
        CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, out, N));
        CHECK(check_max_abs(out, ROWS * N) == 0);
        free(theta);
        taskmet_predictor_destroy(p);
    }
}

/* W (n x d, row-major), then b: f_k = sum_j W_kj x_j + b_k. */
static void test_linear_layout(void) {
    taskmet_predictor *p = NULL;
    const double theta[] = {1, 2, 3, 4, 5, 6, 10, 20}, x[] = {1, 0.5, -1}, expected[] = {1 + 1 - 3 + 10, 4 + 2.5 - 6 + 20};
    double out[2] = {0};
    CHECK_OK(taskmet_predictor_create_linear(3, 2, 1, &p));
    CHECK_OK(taskmet_predictor_set_parameters(p, theta, 8));
    CHECK_OK(taskmet_predictor_predict(p, 1, x, 3, out, 2));
    CHECK_CLOSE_ARRAYS(out, expected, 2, 1e-15);
    taskmet_predictor_destroy(p);
}

static taskmet_predictor *make_deep(uint64_t seed, taskmet_activation activation, taskmet_activation last) {
    static const int64_t hidden[] = {5, 4};
    taskmet_predictor *p = NULL;
    NEED(taskmet_predictor_create_mlp(D, N, 2, hidden, activation, last, seed, &p));
    return p;
}

/* Uniform in +-1/sqrt(layer inputs), weights and biases: PyTorch's nn.Linear. */
static void test_mlp_start(void) {
    enum { FIRST = 5 * (D + 1), SECOND = 4 * 6, LAST = N * 5, COUNT = FIRST + SECOND + LAST };
    static const int64_t sizes[] = {FIRST, SECOND, LAST}, layer_inputs[] = {D, 5, 4};
    taskmet_predictor *p = make_deep(1, TASKMET_ACTIVATION_RELU, IDENTITY);
    taskmet_predictor *same = make_deep(1, TASKMET_ACTIVATION_RELU, IDENTITY);
    taskmet_predictor *another = make_deep(2, TASKMET_ACTIVATION_RELU, IDENTITY);
    CHECK(predictor_count(p) == COUNT);
    double *a = predictor_parameters(p), *b = predictor_parameters(same), *c = predictor_parameters(another);
    CHECK_SAME_BITS(a, b, COUNT);
    CHECK(!check_same_bits(a, c, COUNT));
    int64_t at = 0;
    for (int layer = 0; layer < 3; layer += 1) {
        const double bound = 1 / sqrt((double)layer_inputs[layer]);
        double largest = 0, smallest = 0;
        for (int64_t k = at; k < at + sizes[layer]; k += 1) {
            largest = fmax(largest, a[k]);
            smallest = fmin(smallest, a[k]);
        }
        CHECK(largest <= bound && smallest >= -bound);
        CHECK(largest > 0.2 * bound && smallest < -0.2 * bound); /* it fills the interval, on both sides */
        at += sizes[layer];
    }
    for (int k = 1; k < COUNT; k += 1) CHECK(a[k] != a[k - 1]);
    free(a), free(b), free(c);
    taskmet_predictor_destroy(p), taskmet_predictor_destroy(same), taskmet_predictor_destroy(another);
}

/* A network without hidden layers is a linear map; its activation is the output's. */
static void test_mlp_without_hidden(void) {
    taskmet_predictor *mlp = NULL, *linear = NULL, *squashed = NULL;
    double x[ROWS * D], a[ROWS * N], b[ROWS * N];
    random_fill(3, x, ROWS * D);
    CHECK_OK(taskmet_predictor_create_mlp(D, N, 0, NULL, TASKMET_ACTIVATION_RELU, IDENTITY, 4, &mlp));
    CHECK_OK(taskmet_predictor_create_linear(D, N, 1, &linear));
    double *theta = predictor_parameters(mlp);
    CHECK_OK(taskmet_predictor_set_parameters(linear, theta, N * (D + 1)));
    CHECK_OK(taskmet_predictor_predict(mlp, ROWS, x, D, a, N));
    CHECK_OK(taskmet_predictor_predict(linear, ROWS, x, D, b, N));
    CHECK_CLOSE_ARRAYS(a, b, ROWS * N, 1e-14);
    CHECK_OK(taskmet_predictor_create_mlp(D, N, 0, NULL, TASKMET_ACTIVATION_RELU, TASKMET_ACTIVATION_TANH, 4, &squashed));
    CHECK_OK(taskmet_predictor_set_parameters(squashed, theta, N * (D + 1)));
    CHECK_OK(taskmet_predictor_predict(squashed, ROWS, x, D, a, N));
    for (int k = 0; k < ROWS * N; k += 1) b[k] = tanh(b[k]);
    CHECK_CLOSE_ARRAYS(a, b, ROWS * N, 1e-13);
    free(theta);
    taskmet_predictor_destroy(mlp), taskmet_predictor_destroy(linear), taskmet_predictor_destroy(squashed);
}

static double activate(taskmet_activation activation, double z) {
    switch (activation) {
    case TASKMET_ACTIVATION_RELU: return z > 0 ? z : 0;
    case TASKMET_ACTIVATION_LEAKY_RELU: return z > 0 ? z : 0.01 * z;
    case TASKMET_ACTIVATION_TANH: return tanh(z);
    case TASKMET_ACTIVATION_SIGMOID: return 1 / (1 + exp(-z));
    case TASKMET_ACTIVATION_SOFTPLUS: return z > 30 ? z : log1p(exp(z));
    case TASKMET_ACTIVATION_ELU: return z > 0 ? z : expm1(z);
    case TASKMET_ACTIVATION_GELU: return z * erfc(-z / sqrt(2)) / 2;
    case TASKMET_ACTIVATION_SILU: return z / (1 + exp(-z));
    default: return z;
    }
}

/* f(x) = a(1 x + 0), seen through a network of one unit; far arguments must not overflow. */
static void test_activations(void) {
    static const double points[] = {-800, -40, -3, -1, -0.25, 0, 1e-9, 0.5, 1, 2.5, 40, 800};
    enum { POINTS = sizeof points / sizeof points[0] };
    const double theta[] = {1, 0};
    for (taskmet_activation kind = TASKMET_ACTIVATION_IDENTITY; kind <= TASKMET_ACTIVATION_SILU; kind += 1) {
        taskmet_predictor *p = NULL;
        double out[POINTS] = {0};
        CHECK_OK(taskmet_predictor_create_mlp(1, 1, 0, NULL, IDENTITY, kind, 0, &p));
        CHECK_OK(taskmet_predictor_set_parameters(p, theta, 2));
        CHECK_OK(taskmet_predictor_predict(p, POINTS, points, 1, out, 1));
        for (int k = 0; k < POINTS; k += 1) {
            const double expected = activate(kind, points[k]);
            check_that(fabs(out[k] - expected) <= 1e-13 * fmax(1, fabs(expected)), __FILE__, __LINE__,
                       "activation %d at %g is %.17g, not %.17g", (int)kind, points[k], out[k], expected);
        }
        taskmet_predictor_destroy(p);
    }
}

static void test_predictor_copy(void) {
    taskmet_predictor *p = make_deep(5, TASKMET_ACTIVATION_TANH, IDENTITY), *copy = NULL;
    const int64_t count = predictor_count(p);
    const double means[] = {0.1, 0.2, 0.3}, scales[] = {2, 3, 4};
    double x[ROWS * D], a[ROWS * N], b[ROWS * N], c[ROWS * N];
    random_fill(6, x, ROWS * D);
    CHECK_OK(taskmet_predictor_set_standardization(p, means, scales, D, means, scales, N));
    CHECK_OK(taskmet_predictor_copy(p, &copy));
    CHECK(copy != p);
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, a, N));
    CHECK_OK(taskmet_predictor_predict(copy, ROWS, x, D, b, N));
    CHECK_SAME_BITS(a, b, ROWS * N);
    double *before = predictor_parameters(p);
    shake_predictor(copy, 7, 1);
    CHECK_OK(taskmet_predictor_set_standardization(copy, NULL, NULL, 0, NULL, NULL, 0));
    double *after = predictor_parameters(p);
    CHECK_SAME_BITS(before, after, count);
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, c, N));
    CHECK_SAME_BITS(a, c, ROWS * N);
    CHECK_OK(taskmet_predictor_predict(copy, ROWS, x, D, b, N));
    shake_predictor(p, 8, 1);
    CHECK_OK(taskmet_predictor_predict(copy, ROWS, x, D, c, N));
    CHECK_SAME_BITS(b, c, ROWS * N);
    taskmet_predictor_destroy(p);
    CHECK_OK(taskmet_predictor_predict(copy, ROWS, x, D, c, N)); /* outlives the original */
    CHECK_SAME_BITS(b, c, ROWS * N);
    free(before), free(after);
    taskmet_predictor_destroy(copy);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Metrics                                                                                                          */

static double identity_distance(const double *lambda, int64_t rows) {
    double largest = 0;
    for (int64_t k = 0; k < rows * N * N; k += 1)
        largest = fmax(largest, fabs(lambda[k] - (k % (N * N) % (N + 1) == 0 ? 1 : 0)));
    return largest;
}

static double trace_of(const double *lambda) {
    double sum = 0;
    for (int k = 0; k < N; k += 1) sum += lambda[k * (N + 1)];
    return sum;
}

static taskmet_metric *new_metric(int conditional, taskmet_structure structure, uint64_t seed) {
    static const int64_t hidden[] = {8};
    taskmet_metric *m = NULL;
    if (conditional)
        NEED(taskmet_metric_create_conditional(D, N, structure, RANK, 1, hidden, TASKMET_ACTIVATION_TANH, seed, &m));
    else NEED(taskmet_metric_create_constant(N, structure, RANK, seed, &m));
    return m;
}

static void test_constant_start(void) {
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = new_metric(0, structures[k], 1);
        int64_t inputs = -1, outputs = 0, count = 0;
        double lambda[2 * N * N], scale = 0;
        CHECK_OK(taskmet_metric_shape(m, &inputs, &outputs, &count));
        CHECK(inputs == 0 && outputs == N && count == entries[k] + 1 && metric_count(m) == count);
        CHECK_OK(taskmet_metric_evaluate(m, 2, NULL, 0, lambda, 2 * N * N));
        CHECK_SAME_BITS(lambda, lambda + N * N, N * N);
        if (structures[k] != TASKMET_STRUCTURE_LOWRANK) CHECK(identity_distance(lambda, 2) <= 1e-12);
        CHECK(fabs(trace_of(lambda) - (double)N) <= 1e-12);
        double *phi = metric_parameters(m);
        CHECK_CLOSE(phi[count - 1], log(0.1), 1e-14);
        CHECK_OK(taskmet_metric_get_normalization_scale(m, &scale));
        CHECK(scale == 1);
        free(phi);
        taskmet_metric_destroy(m);
    }
}

/* Columns of equal length, at right angles to each other; the seed decides them, and nothing else needs a seed. */
static void test_seeds(void) {
    taskmet_metric *m = new_metric(0, TASKMET_STRUCTURE_LOWRANK, 1);
    double *f = metric_parameters(m), dot = 0, first = 0, second = 0;
    for (int k = 0; k < N; k += 1) {
        dot += f[k * RANK] * f[k * RANK + 1];
        first += f[k * RANK] * f[k * RANK];
        second += f[k * RANK + 1] * f[k * RANK + 1];
    }
    CHECK(fabs(dot) <= 1e-12);
    CHECK_CLOSE(first, second, 1e-12);
    CHECK_CLOSE(first, 0.9 * (double)N / (double)RANK, 1e-12);
    free(f);
    taskmet_metric_destroy(m);
    for (int conditional = 0; conditional < 2; conditional += 1) {
        for (int k = 0; k < STRUCTURES; k += 1) {
            taskmet_metric *a = new_metric(conditional, structures[k], 1), *b = new_metric(conditional, structures[k], 1);
            taskmet_metric *c = new_metric(conditional, structures[k], 2);
            double *p = metric_parameters(a), *q = metric_parameters(b), *r = metric_parameters(c);
            const int64_t count = metric_count(a);
            CHECK_SAME_BITS(p, q, count);
            const int seeded = conditional || structures[k] == TASKMET_STRUCTURE_LOWRANK;
            CHECK(check_same_bits(p, r, count) == !seeded);
            free(p), free(q), free(r);
            taskmet_metric_destroy(a), taskmet_metric_destroy(b), taskmet_metric_destroy(c);
        }
    }
}

static void test_conditional_start(void) {
    double x[ROWS * D], lambda[ROWS * N * N];
    random_fill(2, x, ROWS * D);
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = new_metric(1, structures[k], 3);
        int64_t inputs = 0, outputs = 0, count = 0;
        CHECK_OK(taskmet_metric_shape(m, &inputs, &outputs, &count));
        CHECK(inputs == D && outputs == N && count == 8 * (D + 1) + entries[k] * 9 + 1);
        CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, lambda, ROWS * N * N));
        if (structures[k] != TASKMET_STRUCTURE_LOWRANK) CHECK(identity_distance(lambda, ROWS) <= 0.2);
        for (int i = 0; i < ROWS; i += 1) CHECK(fabs(trace_of(lambda + i * N * N) / (double)N - 1) <= 0.2);
        for (int i = 1; i < ROWS; i += 1) CHECK(!check_same_bits(lambda, lambda + i * N * N, N * N));
        /* s is last, and the last layer's bias before it is the constant metric's factor. */
        double *phi = metric_parameters(m);
        CHECK_CLOSE(phi[count - 1], log(0.1), 1e-14);
        if (structures[k] == TASKMET_STRUCTURE_FULL)
            for (int j = 0; j < N * N; j += 1)
                CHECK(fabs(phi[count - 1 - N * N + j] - (j % (N + 1) == 0 ? sqrt(0.9) : 0)) <= 1e-14);
        free(phi);
        taskmet_metric_destroy(m);
    }
}

/* The factor's entries row by row, then s: Lambda = L L' + (exp(s) + floor) I. */
static void test_constant_layout(void) {
    const double floor = 0.05;
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = make_constant(10 + (uint64_t)k, N, structures[k], RANK);
        double *phi = metric_parameters(m), factor[N * N] = {0}, expected[N * N], lambda[N * N];
        const int columns = structures[k] == TASKMET_STRUCTURE_LOWRANK ? RANK : N;
        for (int i = 0; i < N; i += 1)
            for (int j = 0; j < columns; j += 1) {
                const int diagonal = i == j;
                factor[i * N + j] = structures[k] == TASKMET_STRUCTURE_SCALAR     ? diagonal * phi[0]
                                    : structures[k] == TASKMET_STRUCTURE_DIAGONAL ? diagonal * phi[i]
                                                                                  : phi[i * columns + j];
            }
        for (int i = 0; i < N; i += 1)
            for (int j = 0; j < N; j += 1) {
                expected[i * N + j] = i == j ? exp(phi[entries[k]]) + floor : 0;
                for (int c = 0; c < N; c += 1) expected[i * N + j] += factor[i * N + c] * factor[j * N + c];
            }
        CHECK_OK(taskmet_metric_set_floor(m, floor));
        CHECK_OK(taskmet_metric_evaluate(m, 1, NULL, 0, lambda, N * N));
        CHECK_CLOSE_ARRAYS(lambda, expected, N * N, 1e-14);
        free(phi);
        taskmet_metric_destroy(m);
    }
}

/* The conditional factor is the network's output: the same numbers as a predictor with these layers. */
static void test_conditional_layout(void) {
    static const int64_t hidden[] = {8};
    taskmet_metric *m = new_metric(1, TASKMET_STRUCTURE_DIAGONAL, 4);
    shake_metric(m, 5, 0.5);
    double *phi = metric_parameters(m), x[ROWS * D], factor[ROWS * N], lambda[ROWS * N * N], expected[ROWS * N * N] = {0};
    const int64_t count = metric_count(m);
    taskmet_predictor *network = NULL;
    random_fill(6, x, ROWS * D);
    NEED(taskmet_predictor_create_mlp(D, N, 1, hidden, TASKMET_ACTIVATION_TANH, IDENTITY, 0, &network));
    CHECK(predictor_count(network) == count - 1);
    CHECK_OK(taskmet_predictor_set_parameters(network, phi, count - 1));
    CHECK_OK(taskmet_predictor_predict(network, ROWS, x, D, factor, N));
    for (int i = 0; i < ROWS; i += 1)
        for (int k = 0; k < N; k += 1)
            expected[i * N * N + k * (N + 1)] = factor[i * N + k] * factor[i * N + k] + exp(phi[count - 1]);
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, lambda, ROWS * N * N));
    CHECK_CLOSE_ARRAYS(lambda, expected, ROWS * N * N, 1e-13);
    free(phi);
    taskmet_predictor_destroy(network);
    taskmet_metric_destroy(m);
}

static void test_metric_copy(void) {
    const double means[] = {0.1, 0.2, 0.3}, scales[] = {2, 3, 4};
    double x[ROWS * D], a[ROWS * N * N], b[ROWS * N * N];
    const int64_t all = ROWS * N * N;
    random_fill(7, x, ROWS * D);
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = make_conditional(8, D, N, structures[k], RANK, 5), *copy = NULL;
        CHECK_OK(taskmet_metric_set_standardization(m, means, scales, D));
        CHECK_OK(taskmet_metric_set_floor(m, 0.01));
        CHECK_OK(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_BATCH_TRACE));
        CHECK_OK(taskmet_metric_update_normalization(m, ROWS, x, D));
        CHECK_OK(taskmet_metric_copy(m, &copy));
        CHECK(copy != m);
        CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, a, all));
        CHECK_OK(taskmet_metric_evaluate(copy, ROWS, x, D, b, all));
        CHECK_SAME_BITS(a, b, all);
        shake_metric(copy, 9, 0.5);
        CHECK_OK(taskmet_metric_set_floor(copy, 0.5));
        CHECK_OK(taskmet_metric_update_normalization(copy, ROWS, x, D));
        CHECK_OK(taskmet_metric_set_standardization(copy, NULL, NULL, 0));
        CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, b, all));
        CHECK_SAME_BITS(a, b, all);
        CHECK_OK(taskmet_metric_evaluate(copy, ROWS, x, D, a, all));
        CHECK(!check_same_bits(a, b, all));
        taskmet_metric_destroy(m);
        CHECK_OK(taskmet_metric_evaluate(copy, ROWS, x, D, b, all));
        CHECK_SAME_BITS(a, b, all);
        taskmet_metric_destroy(copy);
    }
}

/* What is set is what is read, bit for bit. */
static void test_parameters_back(void) {
    taskmet_predictor *p = make_deep(11, TASKMET_ACTIVATION_TANH, IDENTITY);
    taskmet_metric *m = new_metric(1, TASKMET_STRUCTURE_FULL, 12);
    const int64_t n = predictor_count(p), k = metric_count(m);
    double *theta = random_array(13, n), *phi = random_array(14, k);
    theta[0] = 5e-324, theta[1] = -0.0, theta[2] = 1e300;
    CHECK_OK(taskmet_predictor_set_parameters(p, theta, n));
    CHECK_OK(taskmet_metric_set_parameters(m, phi, k));
    double *theta_back = predictor_parameters(p), *phi_back = metric_parameters(m);
    CHECK_SAME_BITS(theta_back, theta, n);
    CHECK_SAME_BITS(phi_back, phi, k);
    free(theta), free(phi), free(theta_back), free(phi_back);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_linear_starts_at_zero();
    test_linear_layout();
    test_mlp_start();
    test_mlp_without_hidden();
    test_activations();
    test_predictor_copy();
    test_constant_start();
    test_seeds();
    test_conditional_start();
    test_constant_layout();
    test_conditional_layout();
    test_metric_copy();
    test_parameters_back();
    return check_end();
}
