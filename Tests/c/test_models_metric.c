/*
 * test_models_metric.c - normalisation, its stored scale, the metric's pull-back and its regularisation, against the
 * metric's own values; refusals that leave the metric as it was.
 */
#include "check.h"

enum { D = 3, N = 3, RANK = 2, ROWS = 10, SIZE = N * N, ALL = ROWS * SIZE, STRUCTURES = 4 };

static const taskmet_structure structures[STRUCTURES] = {TASKMET_STRUCTURE_SCALAR, TASKMET_STRUCTURE_DIAGONAL,
                                                         TASKMET_STRUCTURE_LOWRANK, TASKMET_STRUCTURE_FULL};
static double x[ROWS * D];

static taskmet_metric *new_metric(int conditional, taskmet_structure structure) {
    return conditional ? make_conditional(1, D, N, structure, RANK, 4) : make_constant(1, N, structure, RANK);
}

/* A constant metric takes rows without features. */
static void evaluate(const taskmet_metric *m, int conditional, double *out) {
    CHECK_OK(taskmet_metric_evaluate(m, ROWS, conditional ? x : NULL, conditional ? D : 0, out, ALL));
}

static double trace_of(const double *lambda) {
    double sum = 0;
    for (int k = 0; k < N; k += 1) sum += lambda[k * (N + 1)];
    return sum;
}

static double square_of(const double *lambda) {
    double sum = 0;
    for (int k = 0; k < SIZE; k += 1) sum += lambda[k] * lambda[k];
    return sum;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Normalisation                                                                                                    */

static void check_rows(const taskmet_metric *m, int conditional, const double *plain, taskmet_normalization kind) {
    double lambda[ALL], expected[ALL];
    for (int k = 0; k < ALL; k += 1) {
        const double *row = plain + k / SIZE * SIZE;
        expected[k] = kind == TASKMET_NORMALIZATION_TRACE ? plain[k] * (double)N / trace_of(row)
                                                          : plain[k] * sqrt((double)N / square_of(row));
    }
    evaluate(m, conditional, lambda);
    CHECK_CLOSE_ARRAYS(lambda, expected, ALL, 1e-13);
}

static void test_row_normalizations(int conditional) {
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = new_metric(conditional, structures[k]);
        double plain[ALL], lambda[ALL];
        CHECK_OK(taskmet_metric_set_floor(m, 0.02));
        evaluate(m, conditional, plain);
        static const taskmet_normalization kinds[] = {TASKMET_NORMALIZATION_TRACE, TASKMET_NORMALIZATION_FROBENIUS};
        for (int j = 0; j < 2; j += 1) {
            if (structures[k] == TASKMET_STRUCTURE_SCALAR) {
                /* Divided by its trace a constant one has nothing left to learn either. */
                CHECK_STATUS(taskmet_metric_set_normalization(m, kinds[j]), TASKMET_ERROR_UNSUPPORTED,
                             conditional ? "use batch_trace" : "use none, or batch_trace with a conditional metric");
            } else {
                CHECK_OK(taskmet_metric_set_normalization(m, kinds[j]));
                check_rows(m, conditional, plain, kinds[j]);
            }
        }
        CHECK_OK(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_NONE));
        evaluate(m, conditional, lambda);
        CHECK_SAME_BITS(lambda, plain, ALL);
        taskmet_metric_destroy(m);
    }
}

/* One output leaves nothing to normalise row by row, whatever the structure. */
static void test_single_output(void) {
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = NULL;
        double scale = 0;
        NEED(taskmet_metric_create_constant(1, structures[k], 1, 1, &m));
        CHECK_STATUS(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_TRACE), TASKMET_ERROR_UNSUPPORTED, NULL);
        CHECK_STATUS(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_FROBENIUS), TASKMET_ERROR_UNSUPPORTED,
                     NULL);
        CHECK_OK(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_BATCH_TRACE));
        CHECK_OK(taskmet_metric_update_normalization(m, 1, NULL, 0));
        CHECK_OK(taskmet_metric_get_normalization_scale(m, &scale));
        CHECK_CLOSE(scale, 1, 1e-12);
        taskmet_metric_destroy(m);
    }
}

/* m is the mean of tr(A_i)/n; it stays until it is asked for again, and belongs to BATCH_TRACE alone. */
static void test_batch_trace(int conditional) {
    for (int k = 0; k < STRUCTURES; k += 1) {
        taskmet_metric *m = new_metric(conditional, structures[k]);
        double plain[ALL], lambda[ALL], expected[ALL], mean = 0, scale = 0;
        const double *features = conditional ? x : NULL;
        CHECK_OK(taskmet_metric_set_floor(m, 0.02));
        evaluate(m, conditional, plain);
        CHECK_STATUS(taskmet_metric_update_normalization(m, ROWS, features, conditional ? D : 0), TASKMET_ERROR_STATE,
                     "metric_update_normalization: ");
        CHECK_OK(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_BATCH_TRACE));
        CHECK_OK(taskmet_metric_get_normalization_scale(m, &scale));
        CHECK(scale == 1);
        evaluate(m, conditional, lambda);
        CHECK_CLOSE_ARRAYS(lambda, plain, ALL, 1e-15);
        CHECK_OK(taskmet_metric_update_normalization(m, ROWS, features, conditional ? D : 0));
        for (int i = 0; i < ROWS; i += 1) mean += trace_of(plain + i * SIZE) / (double)(N * ROWS);
        CHECK_OK(taskmet_metric_get_normalization_scale(m, &scale));
        CHECK_CLOSE(scale, mean, 1e-13);
        for (int i = 0; i < ALL; i += 1) expected[i] = plain[i] / mean;
        evaluate(m, conditional, lambda);
        CHECK_CLOSE_ARRAYS(lambda, expected, ALL, 1e-13);
        double after = 0;
        shake_metric(m, 2, 0.4);
        CHECK_OK(taskmet_metric_get_normalization_scale(m, &after));
        CHECK_SAME_BITS(&after, &scale, 1);
        taskmet_metric_destroy(m);
    }
}

/* Rows must be finite, exist, and a failed update leaves m alone. */
static void test_failed_update(void) {
    taskmet_metric *m = new_metric(1, TASKMET_STRUCTURE_FULL);
    double bad[ROWS * D], before = 0, after = 0;
    CHECK_OK(taskmet_metric_set_normalization(m, TASKMET_NORMALIZATION_BATCH_TRACE));
    CHECK_OK(taskmet_metric_update_normalization(m, ROWS, x, D));
    CHECK_OK(taskmet_metric_get_normalization_scale(m, &before));
    memcpy(bad, x, sizeof x);
    bad[7] = (double)NAN;
    CHECK_STATUS(taskmet_metric_update_normalization(m, ROWS, bad, D), TASKMET_ERROR_INVALID_ARGUMENT, "x");
    CHECK_OK(taskmet_metric_get_normalization_scale(m, &after));
    CHECK_SAME_BITS(&after, &before, 1);
    taskmet_metric_destroy(m);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Derivatives in phi                                                                                               */

/* sum_i <C_i, Lambda_i> at phi + h w. */
static double weighted_sum(taskmet_metric *m, int conditional, const double *c, const double *phi, const double *w,
                           double h) {
    const int64_t count = metric_count(m);
    double *moved = zeros(count), lambda[ALL], sum = 0;
    for (int64_t k = 0; k < count; k += 1) moved[k] = phi[k] + h * w[k];
    CHECK_OK(taskmet_metric_set_parameters(m, moved, count));
    evaluate(m, conditional, lambda);
    for (int k = 0; k < ALL; k += 1) sum += c[k] * lambda[k];
    CHECK_OK(taskmet_metric_set_parameters(m, phi, count));
    free(moved);
    return sum;
}

/* The cotangent is not symmetric: Lambda's two halves both count. BATCH_TRACE holds m fixed here. */
static void test_pull_back(int conditional) {
    static const taskmet_normalization kinds[] = {TASKMET_NORMALIZATION_NONE, TASKMET_NORMALIZATION_FROBENIUS,
                                                  TASKMET_NORMALIZATION_TRACE};
    double c[ALL];
    random_fill(3, c, ALL);
    for (int k = 0; k < STRUCTURES; k += 1)
        for (int j = 0; j < 3; j += 1) {
            if (structures[k] == TASKMET_STRUCTURE_SCALAR && j > 0) continue;
            taskmet_metric *m = new_metric(conditional, structures[k]);
            const int64_t count = metric_count(m);
            double *phi = metric_parameters(m), *w = random_array(4, count), *out = zeros(count), slope = 0;
            const double h = 1e-4;
            CHECK_OK(taskmet_metric_set_normalization(m, kinds[j]));
            CHECK_OK(taskmet_metric_vjp(m, ROWS, conditional ? x : NULL, conditional ? D : 0, c, ALL, out, count));
            for (int64_t i = 0; i < count; i += 1) slope += out[i] * w[i];
            const double near = weighted_sum(m, conditional, c, phi, w, h) - weighted_sum(m, conditional, c, phi, w, -h);
            const double far = weighted_sum(m, conditional, c, phi, w, 2 * h) -
                               weighted_sum(m, conditional, c, phi, w, -2 * h);
            check_that(fabs((8 * near - far) / (12 * h) - slope) <= 1e-7 * fmax(1, fabs(slope)), __FILE__, __LINE__,
                       "structure %d, conditional %d, normalisation %d: slope %.12g, differences %.12g", (int)structures[k],
                       conditional, (int)kinds[j], slope, (8 * near - far) / (12 * h));
            free(phi), free(w), free(out);
            taskmet_metric_destroy(m);
        }
}

static double penalty_by_hand(const double *lambda, double b1, double b2) {
    double sum = 0;
    for (int k = 0; k < ALL; k += 1) {
        const double off = lambda[k] - (k % SIZE % (N + 1) == 0 ? 1 : 0);
        sum += b1 * fabs(lambda[k]) + b2 * off * off;
    }
    return sum / (double)ROWS;
}

static void test_regularizer(int conditional) {
    static const double rates[][2] = {{0, 0}, {0.5, 0}, {0, 2}, {0.5, 2}};
    const double *features = conditional ? x : NULL;
    const int64_t stride = conditional ? D : 0;
    for (int k = 0; k < STRUCTURES; k += 1)
        for (int j = 0; j < 4; j += 1) {
            const double b1 = rates[j][0], b2 = rates[j][1], h = 1e-6;
            taskmet_metric *m = new_metric(conditional, structures[k]);
            const int64_t count = metric_count(m);
            double lambda[ALL], value = -1, alone = -1, up = 0, down = 0, slope = 0;
            double *phi = metric_parameters(m), *w = random_array(5, count), *out = zeros(count), *moved = zeros(count);
            evaluate(m, conditional, lambda);
            CHECK_OK(taskmet_metric_regularizer(m, ROWS, features, stride, b1, b2, &value, out, count));
            CHECK_OK(taskmet_metric_regularizer(m, ROWS, features, stride, b1, b2, &alone, NULL, 0));
            CHECK_OK(taskmet_metric_regularizer(m, ROWS, features, stride, b1, b2, NULL, out, count));
            CHECK_SAME_BITS(&value, &alone, 1);
            CHECK(fabs(value - penalty_by_hand(lambda, b1, b2)) <= 1e-12 * fmax(1, value));
            for (int64_t i = 0; i < count; i += 1) slope += out[i] * w[i];
            for (int64_t i = 0; i < count; i += 1) moved[i] = phi[i] + h * w[i];
            CHECK_OK(taskmet_metric_set_parameters(m, moved, count));
            CHECK_OK(taskmet_metric_regularizer(m, ROWS, features, stride, b1, b2, &up, NULL, 0));
            for (int64_t i = 0; i < count; i += 1) moved[i] = phi[i] - h * w[i];
            CHECK_OK(taskmet_metric_set_parameters(m, moved, count));
            CHECK_OK(taskmet_metric_regularizer(m, ROWS, features, stride, b1, b2, &down, NULL, 0));
            check_that(fabs((up - down) / (2 * h) - slope) <= 1e-6 * fmax(1, fabs(slope)), __FILE__, __LINE__,
                       "structure %d, conditional %d, b1 %g, b2 %g: slope %.9g, differences %.9g", (int)structures[k],
                       conditional, b1, b2, slope, (up - down) / (2 * h));
            free(phi), free(w), free(out), free(moved);
            taskmet_metric_destroy(m);
        }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    random_fill(100, x, ROWS * D);
    test_single_output();
    test_failed_update();
    for (int conditional = 0; conditional < 2; conditional += 1) {
        test_row_normalizations(conditional);
        test_batch_trace(conditional);
        test_pull_back(conditional);
        test_regularizer(conditional);
    }
    return check_end();
}
