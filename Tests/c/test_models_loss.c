/*
 * test_models_loss.c - the prediction loss by hand; weights, refilling, instances; standardisation by hand;
 * normalisation and regularisation against the evaluated metric.
 */
#include "check.h"

enum { D = 3, N = 2, ROWS = 11, ALL = ROWS * N * N };

static double x[ROWS * D], y[ROWS * N];

static taskmet_dataset *new_dataset(void) {
    taskmet_dataset *data = NULL;
    NEED(taskmet_dataset_create(ROWS, D, x, D, N, y, N, &data));
    return data;
}

static double loss_of(const taskmet_predictor *p, const taskmet_metric *m, const taskmet_dataset *data, double rho) {
    double value = (double)NAN;
    CHECK_OK(taskmet_loss_value(p, m, data, rho, &value));
    return value;
}

/* (1/N) sum_i s_i e_i' Lambda_i e_i from predictions and metrics; weights may be NULL. */
static double loss_by_hand(const double *f, const double *lambda, const double *weights) {
    double sum = 0;
    for (int i = 0; i < ROWS; i += 1)
        for (int a = 0; a < N; a += 1)
            for (int b = 0; b < N; b += 1)
                sum += (weights == NULL ? 1 : weights[i]) * (f[i * N + a] - y[i * N + a]) *
                       lambda[(i * N + a) * N + b] * (f[i * N + b] - y[i * N + b]);
    return sum / (double)ROWS;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The loss                                                                                                         */

static void test_loss_by_hand(void) {
    static const double weights[ROWS] = {1, 0, 2, 0.5, 1, 3, 1, 1, 0, 0.25, 1};
    taskmet_predictor *p = make_mlp(1, D, N, 5);
    taskmet_metric *m = make_conditional(2, D, N, TASKMET_STRUCTURE_FULL, 0, 4);
    taskmet_dataset *data = new_dataset();
    double f[ROWS * N], lambda[ALL], square = 0;
    const double rho = 0.3;
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, f, N));
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, lambda, ALL));
    double *theta = predictor_parameters(p);
    for (int64_t k = 0; k < predictor_count(p); k += 1) square += theta[k] * theta[k];
    CHECK_CLOSE(loss_of(p, m, data, 0), loss_by_hand(f, lambda, NULL), 1e-13);
    CHECK_CLOSE(loss_of(p, m, data, rho), loss_by_hand(f, lambda, NULL) + rho / 2 * square, 1e-13);
    CHECK_OK(taskmet_dataset_set_weights(data, weights, ROWS));
    CHECK_CLOSE(loss_of(p, m, data, 0), loss_by_hand(f, lambda, weights), 1e-13);
    free(theta);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* Lambda = I: n times the mean squared error over entries. */
static void test_identity_metric(void) {
    taskmet_predictor *p = make_linear(3, D, N);
    taskmet_metric *m = NULL;
    taskmet_dataset *data = new_dataset();
    double f[ROWS * N], sum = 0;
    NEED(taskmet_metric_create_constant(N, TASKMET_STRUCTURE_FULL, 0, 0, &m));
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, f, N));
    for (int k = 0; k < ROWS * N; k += 1) sum += (f[k] - y[k]) * (f[k] - y[k]);
    CHECK_CLOSE(loss_of(p, m, data, 0), sum / (double)ROWS, 1e-13);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* Whether rho touches the biases; the linear predictor's are the last N parameters, a network's are one per layer. */
static void test_penalize_bias(void) {
    enum { HIDDEN = 4, FIRST = HIDDEN * D, SECOND = FIRST + HIDDEN, THIRD = SECOND + N * HIDDEN, COUNT = THIRD + N };
    taskmet_metric *m = make_constant(4, N, TASKMET_STRUCTURE_FULL, 0);
    taskmet_dataset *data = new_dataset();
    for (int network = 0; network < 2; network += 1) {
        taskmet_predictor *p = network ? make_mlp(5, D, N, HIDDEN) : make_linear(5, D, N), *copy = NULL;
        const int64_t count = predictor_count(p);
        double *theta = predictor_parameters(p), weights = 0, biases = 0, *with = zeros(count), *without = zeros(count);
        CHECK(count == (network ? COUNT : N * D + N));
        for (int64_t k = 0; k < count; k += 1) {
            const int is_bias = network ? (k >= FIRST && k < SECOND) || k >= THIRD : k >= N * D;
            *(is_bias ? &biases : &weights) += theta[k] * theta[k] / 2;
        }
        const double plain = loss_of(p, m, data, 0);
        CHECK_CLOSE(loss_of(p, m, data, 2), plain + 2 * (weights + biases), 1e-13);
        CHECK_OK(taskmet_loss_gradient(p, m, data, 2, with, count));
        CHECK_OK(taskmet_predictor_set_penalize_bias(p, 0));
        CHECK_CLOSE(loss_of(p, m, data, 2), plain + 2 * weights, 1e-13);
        CHECK_OK(taskmet_loss_gradient(p, m, data, 2, without, count));
        for (int64_t k = 0; k < count; k += 1) {
            const int is_bias = network ? (k >= FIRST && k < SECOND) || k >= THIRD : k >= N * D;
            CHECK(fabs(with[k] - without[k] - (is_bias ? 2 * theta[k] : 0)) <= 1e-13);
        }
        CHECK_OK(taskmet_predictor_copy(p, &copy));
        CHECK_CLOSE(loss_of(copy, m, data, 2), plain + 2 * weights, 1e-13);
        CHECK_OK(taskmet_predictor_set_penalize_bias(p, 1));
        CHECK_CLOSE(loss_of(p, m, data, 2), plain + 2 * (weights + biases), 1e-13);
        free(theta), free(with), free(without);
        taskmet_predictor_destroy(p), taskmet_predictor_destroy(copy);
    }
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* Value and gradient in one pass are the value and the gradient. */
static void test_value_gradient(void) {
    taskmet_predictor *p = make_mlp(6, D, N, 5);
    taskmet_metric *m = make_conditional(7, D, N, TASKMET_STRUCTURE_LOWRANK, 1, 4);
    taskmet_dataset *data = new_dataset();
    const int64_t count = predictor_count(p);
    double *a = zeros(count), *b = zeros(count), value = 0;
    CHECK_OK(taskmet_loss_value_gradient(p, m, data, 0.2, NULL, &value, a, count));
    CHECK_OK(taskmet_loss_gradient(p, m, data, 0.2, b, count));
    CHECK_CLOSE(value, loss_of(p, m, data, 0.2), 1e-14);
    CHECK_CLOSE_ARRAYS(a, b, count, 1e-14);
    /* And the gradient is the loss's: a central difference along itself. */
    double *theta = predictor_parameters(p), slope = 0, up = 0, down = 0;
    const double h = 1e-5 / check_max_abs(a, count);
    for (int64_t k = 0; k < count; k += 1) slope += a[k] * a[k];
    for (int64_t k = 0; k < count; k += 1) b[k] = theta[k] + h * a[k];
    CHECK_OK(taskmet_predictor_set_parameters(p, b, count));
    up = loss_of(p, m, data, 0.2);
    for (int64_t k = 0; k < count; k += 1) b[k] = theta[k] - h * a[k];
    CHECK_OK(taskmet_predictor_set_parameters(p, b, count));
    down = loss_of(p, m, data, 0.2);
    CHECK_CLOSE((up - down) / (2 * h), slope, 1e-7);
    free(a), free(b), free(theta);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Datasets                                                                                                         */

static void check_shape(const taskmet_dataset *data, int64_t rows, int64_t instances) {
    int64_t r = 0, d = 0, n = 0, k = 0;
    CHECK_OK(taskmet_dataset_shape(data, &r, &d, &n, &k));
    CHECK(r == rows && d == D && n == N && k == instances);
}

/* A refilled dataset is the one that would have been made from the same arrays. */
static void test_refill(void) {
    static const int64_t offsets[] = {0, 4, ROWS}, sizes[] = {5, 40, ROWS, 1};
    taskmet_predictor *p = make_mlp(8, D, N, 5);
    taskmet_metric *m = make_conditional(9, D, N, TASKMET_STRUCTURE_FULL, 0, 4);
    taskmet_dataset *data = new_dataset();
    CHECK_OK(taskmet_dataset_set_instances(data, 2, offsets));
    check_shape(data, ROWS, 2);
    for (int k = 0; k < 4; k += 1) {
        const int64_t rows = sizes[k];
        double *xs = random_array(50, rows * (D + 1)), *ys = random_array(51, rows * (N + 2)), *ws = random_array(52, rows);
        for (int64_t i = 0; i < rows; i += 1) ws[i] = 1 + ws[i];
        taskmet_dataset *fresh = NULL;
        NEED(taskmet_dataset_create(rows, D, xs, D + 1, N, ys, N + 2, &fresh));
        CHECK_OK(taskmet_dataset_refill(data, rows, xs, D + 1, ys, N + 2, NULL, 0));
        check_shape(data, rows, rows);
        double a = loss_of(p, m, data, 0.1), b = loss_of(p, m, fresh, 0.1);
        CHECK_SAME_BITS(&a, &b, 1);
        CHECK_OK(taskmet_dataset_set_weights(fresh, ws, rows));
        CHECK_OK(taskmet_dataset_refill(data, rows, xs, D + 1, ys, N + 2, ws, rows));
        a = loss_of(p, m, data, 0.1), b = loss_of(p, m, fresh, 0.1);
        CHECK_SAME_BITS(&a, &b, 1);
        CHECK_OK(taskmet_dataset_refill(data, rows, xs, D + 1, ys, N + 2, NULL, 0)); /* all ones again */
        const double plain = loss_of(p, m, data, 0.1);
        CHECK(!check_same_bits(&plain, &a, 1));
        free(xs), free(ys), free(ws);
        taskmet_dataset_destroy(fresh);
    }
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* Inputs are copied: what the caller does to its arrays afterwards is its own business. Instances are for tasks alone. */
static void test_dataset_is_a_copy(void) {
    static const int64_t groups[] = {0, 1, 5, ROWS};
    taskmet_predictor *p = make_linear(10, D, N);
    taskmet_metric *m = make_constant(11, N, TASKMET_STRUCTURE_DIAGONAL, 0);
    double own_x[ROWS * D], own_y[ROWS * N], weights[ROWS];
    int64_t offsets[4];
    taskmet_dataset *data = NULL;
    memcpy(own_x, x, sizeof x);
    memcpy(own_y, y, sizeof y);
    memcpy(offsets, groups, sizeof groups);
    for (int k = 0; k < ROWS; k += 1) weights[k] = 1;
    NEED(taskmet_dataset_create(ROWS, D, own_x, D, N, own_y, N, &data));
    const double before = loss_of(p, m, data, 0);
    CHECK_OK(taskmet_dataset_set_weights(data, weights, ROWS));
    CHECK_OK(taskmet_dataset_set_instances(data, 3, offsets));
    memset(own_x, 0, sizeof own_x);
    memset(own_y, 0, sizeof own_y);
    memset(weights, 0, sizeof weights);
    memset(offsets, 0, sizeof offsets);
    const double after = loss_of(p, m, data, 0);
    CHECK_SAME_BITS(&after, &before, 1);
    check_shape(data, ROWS, 3);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data);
}

/* A weight of 2 is the row twice, a weight of 0 no row, but N counts rows. */
static void test_weights_are_repetitions(void) {
    enum { MORE = ROWS + 1 };
    double twice_x[MORE * D], twice_y[MORE * N], weights[ROWS];
    taskmet_predictor *p = make_mlp(12, D, N, 5);
    taskmet_metric *m = make_conditional(13, D, N, TASKMET_STRUCTURE_DIAGONAL, 0, 4);
    taskmet_dataset *data = new_dataset(), *longer = NULL;
    memcpy(twice_x, x, sizeof x), memcpy(twice_x + ROWS * D, x + 3 * D, D * sizeof(double));
    memcpy(twice_y, y, sizeof y), memcpy(twice_y + ROWS * N, y + 3 * N, N * sizeof(double));
    for (int k = 0; k < ROWS; k += 1) weights[k] = k == 3 ? 2 : 1;
    NEED(taskmet_dataset_create(MORE, D, twice_x, D, N, twice_y, N, &longer));
    CHECK_OK(taskmet_dataset_set_weights(data, weights, ROWS));
    CHECK_CLOSE(loss_of(p, m, data, 0) * (double)ROWS, loss_of(p, m, longer, 0) * (double)MORE, 1e-13);
    for (int k = 0; k < ROWS; k += 1) weights[k] = 0;
    CHECK_OK(taskmet_dataset_set_weights(data, weights, ROWS));
    CHECK(loss_of(p, m, data, 0) == 0);
    taskmet_predictor_destroy(p);
    taskmet_metric_destroy(m);
    taskmet_dataset_destroy(data), taskmet_dataset_destroy(longer);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Standardisation                                                                                                  */

/* out = target_mean + target_scale * plain((x - input_mean) / input_scale); any pair may be NULL. */
static void predict_by_hand(const taskmet_predictor *plain, const double *input_mean, const double *input_scale,
                            const double *target_mean, const double *target_scale, double *out) {
    double z[ROWS * D];
    for (int k = 0; k < ROWS * D; k += 1)
        z[k] = input_mean == NULL ? x[k] : (x[k] - input_mean[k % D]) / input_scale[k % D];
    CHECK_OK(taskmet_predictor_predict(plain, ROWS, z, D, out, N));
    for (int k = 0; target_mean != NULL && k < ROWS * N; k += 1)
        out[k] = target_mean[k % N] + target_scale[k % N] * out[k];
}

static void check_standardized(const taskmet_predictor *p, const taskmet_predictor *plain, const double *input_mean,
                               const double *input_scale, const double *target_mean, const double *target_scale) {
    double got[ROWS * N], expected[ROWS * N];
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, got, N));
    predict_by_hand(plain, input_mean, input_scale, target_mean, target_scale, expected);
    CHECK_CLOSE_ARRAYS(got, expected, ROWS * N, 1e-13);
}

static void column_statistics(const double *values, int columns, double *mean, double *scale) {
    for (int c = 0; c < columns; c += 1) {
        mean[c] = scale[c] = 0;
        for (int i = 0; i < ROWS; i += 1) mean[c] += values[i * columns + c] / (double)ROWS;
        for (int i = 0; i < ROWS; i += 1) scale[c] += pow(values[i * columns + c] - mean[c], 2) / (double)ROWS;
        scale[c] = scale[c] == 0 ? 1 : sqrt(scale[c]);
    }
}

static void test_standardization(int network) {
    static const double im[D] = {0.5, -1, 2}, is[D] = {2, 0.5, 3}, tm[N] = {10, -20}, ts[N] = {4, 0.25};
    taskmet_predictor *p = network ? make_mlp(14, D, N, 5) : make_linear(14, D, N), *plain = NULL;
    NEED(taskmet_predictor_copy(p, &plain));
    double *before = predictor_parameters(p);
    CHECK_OK(taskmet_predictor_set_standardization(p, im, is, D, tm, ts, N));
    check_standardized(p, plain, im, is, tm, ts);
    CHECK_OK(taskmet_predictor_set_standardization(p, im, is, D, NULL, NULL, 0));
    check_standardized(p, plain, im, is, NULL, NULL);
    CHECK_OK(taskmet_predictor_set_standardization(p, NULL, NULL, 0, tm, ts, N));
    check_standardized(p, plain, NULL, NULL, tm, ts);
    CHECK_OK(taskmet_predictor_set_standardization(p, NULL, NULL, 0, NULL, NULL, 0));
    check_standardized(p, plain, NULL, NULL, NULL, NULL);
    double *after = predictor_parameters(p);
    CHECK_SAME_BITS(after, before, predictor_count(p)); /* theta is the network's, in its own units */
    free(before), free(after);
    taskmet_predictor_destroy(p), taskmet_predictor_destroy(plain);
}

/* The side that is not named is kept; a column that does not vary has scale 1; weights do not count. */
static void test_fit_standardization(void) {
    double im[D], is[D], tm[N], ts[N], weights[ROWS], flat[ROWS * D];
    static const double other_mean[D] = {7, 8, 9}, other_scale[D] = {1, 2, 3};
    taskmet_predictor *p = make_mlp(15, D, N, 5), *plain = NULL;
    taskmet_dataset *data = new_dataset();
    for (int k = 0; k < ROWS; k += 1) weights[k] = k;
    CHECK_OK(taskmet_dataset_set_weights(data, weights, ROWS));
    NEED(taskmet_predictor_copy(p, &plain));
    column_statistics(x, D, im, is);
    column_statistics(y, N, tm, ts);
    CHECK_OK(taskmet_predictor_fit_standardization(p, data, TASKMET_STANDARDIZE_INPUTS + TASKMET_STANDARDIZE_TARGETS));
    check_standardized(p, plain, im, is, tm, ts);
    CHECK_OK(taskmet_predictor_set_standardization(p, other_mean, other_scale, D, other_mean, other_scale, N));
    CHECK_OK(taskmet_predictor_fit_standardization(p, data, TASKMET_STANDARDIZE_INPUTS));
    check_standardized(p, plain, im, is, other_mean, other_scale);
    CHECK_OK(taskmet_predictor_set_standardization(p, other_mean, other_scale, D, other_mean, other_scale, N));
    CHECK_OK(taskmet_predictor_fit_standardization(p, data, TASKMET_STANDARDIZE_TARGETS));
    check_standardized(p, plain, other_mean, other_scale, tm, ts);
    memcpy(flat, x, sizeof x);
    for (int i = 0; i < ROWS; i += 1) flat[i * D + 1] = 0.1; /* its mean is not 0.1 to the last bit */
    CHECK_OK(taskmet_dataset_refill(data, ROWS, flat, D, y, N, NULL, 0));
    column_statistics(flat, D, im, is);
    im[1] = 0.1, is[1] = 1;
    CHECK_OK(taskmet_predictor_fit_standardization(p, data, TASKMET_STANDARDIZE_INPUTS));
    check_standardized(p, plain, im, is, tm, ts);
    taskmet_predictor_destroy(p), taskmet_predictor_destroy(plain);
    taskmet_dataset_destroy(data);
}

/* Derivatives see the same function: J v is the difference quotient, and <c, J v> = <J'c, v>. */
static void test_standardized_derivatives(void) {
    static const double im[D] = {0.5, -1, 2}, is[D] = {2, 0.5, 3}, tm[N] = {10, -20}, ts[N] = {4, 0.25};
    taskmet_predictor *p = make_mlp(16, D, N, 5);
    const int64_t count = predictor_count(p);
    double c[ROWS * N], jv[ROWS * N], up[ROWS * N], down[ROWS * N], left = 0, right = 0;
    double *v = random_array(17, count), *jc = zeros(count), *theta = predictor_parameters(p), *moved = zeros(count);
    const double h = 1e-5;
    random_fill(18, c, ROWS * N);
    CHECK_OK(taskmet_predictor_set_standardization(p, im, is, D, tm, ts, N));
    CHECK_OK(taskmet_predictor_jvp(p, ROWS, x, D, v, count, jv, N));
    CHECK_OK(taskmet_predictor_vjp(p, ROWS, x, D, c, N, jc, count));
    for (int k = 0; k < ROWS * N; k += 1) left += c[k] * jv[k];
    for (int64_t k = 0; k < count; k += 1) right += jc[k] * v[k];
    CHECK_CLOSE(left, right, 1e-12);
    for (int64_t k = 0; k < count; k += 1) moved[k] = theta[k] + h * v[k];
    CHECK_OK(taskmet_predictor_set_parameters(p, moved, count));
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, up, N));
    for (int64_t k = 0; k < count; k += 1) moved[k] = theta[k] - h * v[k];
    CHECK_OK(taskmet_predictor_set_parameters(p, moved, count));
    CHECK_OK(taskmet_predictor_predict(p, ROWS, x, D, down, N));
    for (int k = 0; k < ROWS * N; k += 1) up[k] = (up[k] - down[k]) / (2 * h);
    CHECK_CLOSE_ARRAYS(up, jv, ROWS * N, 1e-8);
    free(v), free(jc), free(theta), free(moved);
    taskmet_predictor_destroy(p);
}

static void test_metric_standardization(void) {
    static const double mean[D] = {0.5, -1, 2}, scale[D] = {2, 0.5, 3};
    taskmet_metric *m = make_conditional(19, D, N, TASKMET_STRUCTURE_FULL, 0, 4);
    double z[ROWS * D], plain[ALL], got[ALL], back[ALL];
    for (int k = 0; k < ROWS * D; k += 1) z[k] = (x[k] - mean[k % D]) / scale[k % D];
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, z, D, plain, ALL));
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, back, ALL));
    CHECK_OK(taskmet_metric_set_standardization(m, mean, scale, D));
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, got, ALL));
    CHECK_CLOSE_ARRAYS(got, plain, ALL, 1e-13);
    CHECK_OK(taskmet_metric_set_standardization(m, NULL, NULL, 0));
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, x, D, got, ALL));
    CHECK_SAME_BITS(got, back, ALL);
    taskmet_metric_destroy(m);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    random_fill(100, x, ROWS * D);
    random_fill(101, y, ROWS * N);
    test_loss_by_hand();
    test_identity_metric();
    test_penalize_bias();
    test_value_gradient();
    test_refill();
    test_dataset_is_a_copy();
    test_weights_are_repetitions();
    test_standardization(0);
    test_standardization(1);
    test_fit_standardization();
    test_standardized_derivatives();
    test_metric_standardization();
    return check_end();
}
