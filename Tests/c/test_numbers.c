/*
 * test_numbers.c - a table of difficult data (constants, repeated rows, one row, one feature, designs without full rank,
 * numbers of 1e-300 and 1e300, weights of zero) x predictors x metrics x inner solvers x everything that is computed from
 * them. Each call says OK or NUMERICAL (docs/reliability.md says which, where); what it delivers is finite, what it
 * refuses leaves everything as it was, and the message names what happened.
 */
#include "trainer_fixture.h"

#include <float.h>

enum { ROWS = 24, D = 3, N = 2, ENTRIES = ROWS * N, MOST = 256 };

/* ---------------------------------------------------------------------------------------------------------------- */
/* Data                                                                                                             */

typedef enum x_kind {
    RANDOM, CONSTANT, SAME_ROWS, SAME_COLUMNS, NEARLY_SAME_COLUMNS, FLAT_COLUMN, GRADED, MIXED
} x_kind;
typedef enum weights_kind { UNWEIGHTED, EQUAL, ONE_ROW } weights_kind;

typedef struct data_set {
    const char *name;
    int64_t rows, d;
    x_kind kind;
    double x, y; /* sizes */
    weights_kind weights;
    double weight;
    int extreme; /* NUMERICAL is an answer, too */
} data_set;

static const data_set data_sets[] = {
    {"ordinary", ROWS, D, RANDOM, 1, 1, UNWEIGHTED, 1, 0},
    {"constants", ROWS, D, CONSTANT, 1, 1, UNWEIGHTED, 1, 0},
    {"repeated rows", ROWS, D, SAME_ROWS, 1, 1, UNWEIGHTED, 1, 0},
    {"one row", 1, D, RANDOM, 1, 1, UNWEIGHTED, 1, 0},
    {"two rows", 2, D, RANDOM, 1, 1, UNWEIGHTED, 1, 0},
    {"one feature", ROWS, 1, RANDOM, 1, 1, UNWEIGHTED, 1, 0},
    {"one row of one feature", 1, 1, RANDOM, 1, 1, UNWEIGHTED, 1, 0},
    {"a feature without variance", ROWS, D, FLAT_COLUMN, 1, 1, UNWEIGHTED, 1, 0},
    {"features of zero", ROWS, D, RANDOM, 0, 1, UNWEIGHTED, 1, 0},
    {"targets of zero", ROWS, D, RANDOM, 1, 0, UNWEIGHTED, 1, 0},
    {"repeated columns", ROWS, D, SAME_COLUMNS, 1, 1, UNWEIGHTED, 1, 0},
    {"columns that differ by 1e-9", ROWS, D, NEARLY_SAME_COLUMNS, 1, 1, UNWEIGHTED, 1, 0},
    {"columns of 1, 1e-6 and 1e6", ROWS, D, GRADED, 1e6, 1, UNWEIGHTED, 1, 1},
    {"columns of 1, 1e-12 and 1e12", ROWS, D, GRADED, 1e12, 1, UNWEIGHTED, 1, 1},
    {"weights of zero", ROWS, D, RANDOM, 1, 1, EQUAL, 0, 0},
    {"one row with a weight", ROWS, D, RANDOM, 1, 1, ONE_ROW, 1, 0},
    {"weights of 1e-300", ROWS, D, RANDOM, 1, 1, EQUAL, 1e-300, 0},
    {"weights of 1e300", ROWS, D, RANDOM, 1, 1, EQUAL, 1e300, 1},
    {"targets of 5e-324", ROWS, D, RANDOM, 1, 5e-324, UNWEIGHTED, 1, 0},
    {"targets of 1e-300", ROWS, D, RANDOM, 1, 1e-300, UNWEIGHTED, 1, 0},
    {"targets of 1e-160", ROWS, D, RANDOM, 1, 1e-160, UNWEIGHTED, 1, 0},
    {"targets of 1e16", ROWS, D, RANDOM, 1, 1e16, UNWEIGHTED, 1, 1},
    {"targets of 1e100", ROWS, D, RANDOM, 1, 1e100, UNWEIGHTED, 1, 1},
    {"targets of 1e154", ROWS, D, RANDOM, 1, 1e154, UNWEIGHTED, 1, 1},
    {"targets of 1e300", ROWS, D, RANDOM, 1, 1e300, UNWEIGHTED, 1, 1},
    {"targets of 1e308", ROWS, D, RANDOM, 1, DBL_MAX / 4, UNWEIGHTED, 1, 1},
    {"targets of 1e300 without weight", ROWS, D, RANDOM, 1, 1e300, EQUAL, 0, 1},
    {"features of 5e-324", ROWS, D, RANDOM, 5e-324, 1, UNWEIGHTED, 1, 0},
    {"features of 1e-300", ROWS, D, RANDOM, 1e-300, 1, UNWEIGHTED, 1, 0},
    {"features of 1e100", ROWS, D, RANDOM, 1e100, 1, UNWEIGHTED, 1, 1},
    {"features of 1e160", ROWS, D, RANDOM, 1e160, 1, UNWEIGHTED, 1, 1},
    {"features of 1e308", ROWS, D, RANDOM, DBL_MAX / 2, 1, UNWEIGHTED, 1, 1},
    {"features of 1e-300 to 1e300", ROWS, D, MIXED, 1, 1, UNWEIGHTED, 1, 1},
    {"everything of 1e200", ROWS, D, RANDOM, 1e200, 1e200, EQUAL, 1e200, 1},
};

static double x[ROWS * D], y[ROWS * N];

static void fill_x(const data_set *set) {
    const int64_t d = set->d;
    random_fill(11, x, ROWS * D);
    for (int64_t i = 0; i < set->rows; i += 1) {
        double *row = x + i * d;
        for (int64_t j = 0; j < d; j += 1) {
            if (set->kind == CONSTANT) row[j] = 1;
            if (set->kind == SAME_ROWS) row[j] = x[i % 2 * d + j];
            if (set->kind == SAME_COLUMNS) row[j] = row[0];
            if (set->kind == NEARLY_SAME_COLUMNS) row[j] = row[0] + 1e-9 * row[j];
            if (set->kind == FLAT_COLUMN && j == 1) row[j] = 3;
            if (set->kind == GRADED && j > 0) row[j] *= j == 1 ? 1 / set->x : set->x;
            if (set->kind == MIXED) row[j] *= i % 2 == 0 ? 1e300 : 1e-300;
            if (set->kind != GRADED) row[j] *= set->x;
        }
    }
}

static taskmet_dataset *make_data(const data_set *set) {
    double weights[ROWS];
    taskmet_dataset *data = NULL;
    fill_x(set);
    random_fill(12, y, ROWS * N);
    for (int64_t k = 0; k < ENTRIES; k += 1) y[k] = set->y * (set->kind == CONSTANT ? 2 : 1 + y[k]);
    NEED(taskmet_dataset_create(set->rows, set->d, x, set->d, N, y, N, &data));
    for (int64_t i = 0; i < ROWS; i += 1) weights[i] = set->weights == ONE_ROW && i > 0 ? 0 : set->weight;
    if (set->weights != UNWEIGHTED) NEED(taskmet_dataset_set_weights(data, weights, set->rows));
    return data;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Models                                                                                                           */

typedef struct model {
    const char *name;
    int64_t hidden; /* 0: linear */
    taskmet_activation activation;
} model;

static const model models[] = {
    {"linear", 0, 0}, {"tanh", 4, TASKMET_ACTIVATION_TANH}, {"relu", 4, TASKMET_ACTIVATION_RELU}};

typedef struct metric_kind {
    const char *name;
    taskmet_structure structure;
    int conditional;
    taskmet_normalization normalization;
} metric_kind;

static const metric_kind metrics[] = {
    {"scalar", TASKMET_STRUCTURE_SCALAR, 0, TASKMET_NORMALIZATION_NONE},
    {"diagonal, batch_trace", TASKMET_STRUCTURE_DIAGONAL, 0, TASKMET_NORMALIZATION_BATCH_TRACE},
    {"lowrank, frobenius", TASKMET_STRUCTURE_LOWRANK, 0, TASKMET_NORMALIZATION_FROBENIUS},
    {"full, trace", TASKMET_STRUCTURE_FULL, 0, TASKMET_NORMALIZATION_TRACE},
    {"conditional scalar, batch_trace", TASKMET_STRUCTURE_SCALAR, 1, TASKMET_NORMALIZATION_BATCH_TRACE},
    {"conditional diagonal", TASKMET_STRUCTURE_DIAGONAL, 1, TASKMET_NORMALIZATION_NONE},
    {"conditional lowrank, trace", TASKMET_STRUCTURE_LOWRANK, 1, TASKMET_NORMALIZATION_TRACE},
    {"conditional full, batch_trace", TASKMET_STRUCTURE_FULL, 1, TASKMET_NORMALIZATION_BATCH_TRACE},
};

static taskmet_predictor *make_model(const model *m, int64_t d) {
    taskmet_predictor *predictor = NULL;
    if (m->hidden == 0) NEED(taskmet_predictor_create_linear(d, N, 1, &predictor));
    if (m->hidden > 0)
        NEED(taskmet_predictor_create_mlp(d, N, 1, &m->hidden, m->activation, TASKMET_ACTIVATION_IDENTITY, 3,
                                          &predictor));
    return predictor;
}

/* The features of a network with relu are unbounded, those with tanh are not: the first meets overflow in Lambda. */
static taskmet_metric *make_metric(const metric_kind *kind, const model *m, int64_t d) {
    static const int64_t hidden[] = {4};
    const taskmet_activation activation = m->hidden > 0 ? m->activation : TASKMET_ACTIVATION_RELU;
    taskmet_metric *metric = NULL;
    if (kind->conditional)
        NEED(taskmet_metric_create_conditional(d, N, kind->structure, 1, 1, hidden, activation, 5, &metric));
    else
        NEED(taskmet_metric_create_constant(N, kind->structure, 1, 5, &metric));
    NEED(taskmet_metric_set_normalization(metric, kind->normalization));
    return metric;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* One cell of the table                                                                                            */

typedef struct cell {
    const data_set *set;
    const model *model;
    const metric_kind *kind;
    taskmet_dataset *data;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    int64_t theta, phi;
} cell;

static cell C;
static char inner[160];            /* what else the calls depend on */
static int extreme;                /* numbers that may overflow, for what the call is given besides the data */
static double out[MOST], value;    /* where calls write */
static const double untouched = -7.25;
static double theta_before[MOST], phi_before[MOST];

static const taskmet_inner_solver inner_solvers[] = {TASKMET_INNER_ADAM, TASKMET_INNER_SGD, TASKMET_INNER_LBFGS,
                                                     TASKMET_INNER_EXACT};
static const char *const inner_names[] = {"adam", "sgd", "lbfgs", "exact"};

static int complain(const char *call, int line, const char *what, const char *message) {
    return check_that(0, __FILE__, line, "%s / %s / %s%s: %s: %s (\"%s\")", C.set->name, C.model->name, C.kind->name,
                      inner, call, what, message);
}

static void remember(void) {
    for (int k = 0; k < MOST; k += 1) out[k] = untouched;
    value = untouched;
    NEED(taskmet_predictor_get_parameters(C.predictor, theta_before, C.theta));
    NEED(taskmet_metric_get_parameters(C.metric, phi_before, C.phi));
}

static int same_parameters(void) {
    double theta[MOST], phi[MOST];
    NEED(taskmet_predictor_get_parameters(C.predictor, theta, C.theta));
    NEED(taskmet_metric_get_parameters(C.metric, phi, C.phi));
    return check_same_bits(theta, theta_before, C.theta) && check_same_bits(phi, phi_before, C.phi);
}

/* Words that say what a number became, or what could not be done. */
static int names_the_trouble(const char *message) {
    static const char *const words[] = {" is ", " are ", "overflow", "not finite", "would become", "did not converge",
                                        "needs a"};
    const char *colon = strchr(message, ':');
    for (size_t k = 0; colon != NULL && k < LENGTH(words); k += 1)
        if (strstr(colon, words[k]) != NULL) return 1;
    return 0;
}

static taskmet_status expected_failure(taskmet_status got) {
    if (got == TASKMET_ERROR_NUMERICAL && (C.set->extreme || extreme)) return 1;
    return got == TASKMET_ERROR_UNSUPPORTED && C.model->hidden > 0 && strstr(inner, "exact") != NULL;
}

/* Judges one call; count: of what it writes to `out`. Returns whether it was OK. */
static int judge_call(taskmet_status got, int64_t count, const char *call, int line) {
    const char *message = got == TASKMET_OK ? "" : taskmet_last_error();
    int64_t k = 0;
    check_passed += 1;
    while (k < count && isfinite(out[k]) && (got == TASKMET_OK ? out[k] != untouched : out[k] == untouched)) k += 1;
    if (got == TASKMET_OK) {
        if (k < count) complain(call, line, "it wrote what is not finite", "");
        return k == count;
    }
    if (!expected_failure(got)) complain(call, line, taskmet_status_name(got), message);
    if (strncmp(message, call + strlen("taskmet_"), (size_t)(strchr(message, ':') - message)) != 0 ||
        !names_the_trouble(message))
        complain(call, line, "a message that says too little", message);
    if (k < count || value != untouched) complain(call, line, "a failed call wrote something", message);
    if (!same_parameters()) complain(call, line, "a failed call changed parameters", message);
    return 0;
}

#define CALL(count, call) (remember(), check_at(__FILE__, __LINE__), judge_call((call), (count), #call, __LINE__))

static void need_finite(double number, const char *what, int line) {
    if (!isfinite(number)) complain(what, line, "a number that is not finite", "");
}
#define FINITE(number) need_finite((number), #number, __LINE__)

/* ---------------------------------------------------------------------------------------------------------------- */
/* Step level                                                                                                       */

static void test_predictor(const double *direction) {
    const int64_t rows = C.set->rows, d = C.set->d;
    CALL(rows * N, taskmet_predictor_predict(C.predictor, rows, x, d, out, N));
    CALL(C.theta, taskmet_predictor_vjp(C.predictor, rows, x, d, y, N, out, C.theta));
    CALL(rows * N, taskmet_predictor_jvp(C.predictor, rows, x, d, direction, C.theta, out, N));
}

static void test_metric(void) {
    const int64_t rows = C.set->rows, d = C.set->d;
    double cotangent[ROWS * N * N];
    random_fill(17, cotangent, ROWS * N * N);
    CALL(rows * N * N, taskmet_metric_evaluate(C.metric, rows, x, d, out, rows * N * N));
    CALL(C.phi, taskmet_metric_vjp(C.metric, rows, x, d, cotangent, rows * N * N, out, C.phi));
    if (CALL(C.phi, taskmet_metric_regularizer(C.metric, rows, x, d, 0.1, 0.2, &value, out, C.phi))) FINITE(value);
}

static void test_loss(const double *direction) {
    if (CALL(0, taskmet_loss_value(C.predictor, C.metric, C.data, 0.5, &value))) FINITE(value);
    CALL(C.theta, taskmet_loss_gradient(C.predictor, C.metric, C.data, 0, out, C.theta));
    if (CALL(C.theta, taskmet_loss_value_gradient(C.predictor, C.metric, C.data, 0, NULL, &value, out, C.theta)))
        FINITE(value);
    CALL(C.theta, taskmet_loss_hvp(C.predictor, C.metric, C.data, 0, direction, C.theta, out, C.theta));
    CALL(C.theta, taskmet_loss_gnvp(C.predictor, C.metric, C.data, 0, direction, C.theta, out, C.theta));
}

static void test_hypergradient(taskmet_solver solver, double ridge, double size) {
    double c[ENTRIES];
    taskmet_solver_options options;
    taskmet_solver_report report;
    char name[160];
    random_fill(19, c, ENTRIES);
    for (int64_t k = 0; k < ENTRIES; k += 1) c[k] *= size;
    taskmet_solver_options_init(&options);
    options.solver = solver;
    options.ridge = ridge;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    strcpy(name, inner);
    snprintf(inner, sizeof inner, "%.60s / solver %d, ridge %g, c of %g", name, solver, ridge, size);
    if (CALL(C.phi, taskmet_hypergradient(C.predictor, C.metric, C.data, 0, c, N, &options, out, C.phi, &report))) {
        FINITE(report.residual);
        FINITE(report.gradient_norm);
        FINITE(report.solution_norm);
        if (report.converged && !(report.residual <= options.tolerance) && solver != TASKMET_SOLVER_GAUSS_NEWTON_CG)
            complain("taskmet_hypergradient", __LINE__, "converged, and is not", "");
    }
    strcpy(inner, name);
}

/* The solution depends on c linearly, to the last bit where it is multiplied by a power of two. */
static void test_proportion(taskmet_solver solver) {
    double c[ENTRIES], first[MOST];
    taskmet_solver_options options;
    random_fill(19, c, ENTRIES);
    taskmet_solver_options_init(&options);
    options.solver = solver;
    for (int power = 0; power >= -600; power -= 600) {
        for (int64_t k = 0; k < ENTRIES && power < 0; k += 1) c[k] = ldexp(c[k], power);
        if (!CALL(C.phi, taskmet_hypergradient(C.predictor, C.metric, C.data, 0, c, N, &options, out, C.phi, NULL)))
            return;
        for (int64_t k = 0; k < C.phi && power < 0; k += 1) {
            const double back = ldexp(out[k], -power);
            if (fabs(first[k]) > 1e-60 && back != first[k])
                complain("taskmet_hypergradient", __LINE__, "not in proportion", "");
        }
        memcpy(first, out, sizeof first);
    }
}

static void test_hypergradients(void) {
    static const double sizes[] = {1, 1e-300, 1e-170, 1e170, 1e300, 0};
    for (taskmet_solver solver = TASKMET_SOLVER_CG; solver <= TASKMET_SOLVER_IDENTITY; solver += 1)
        for (size_t k = 0; k < LENGTH(sizes); k += 1) {
            extreme = sizes[k] >= 1e300 || (C.set->weight > 0 && sizes[k] > 1e200 * C.set->weight);
            test_hypergradient(solver, 0, sizes[k]);
            extreme = 0;
            if (k == 0) test_hypergradient(solver, 1e-3, 1);
            /* Weights of 1e-300 make products that are rounded to denormal numbers. */
            if (k == 0 && !C.set->extreme && C.set->weight != 1e-300) test_proportion(solver);
        }
}

static double gradient_norm(void) {
    double sum = 0, gradient[MOST];
    if (taskmet_loss_gradient(C.predictor, C.metric, C.data, 0, gradient, C.theta) != TASKMET_OK) return INFINITY;
    for (int64_t k = 0; k < C.theta; k += 1) sum = hypot(sum, gradient[k]);
    return sum;
}

static void test_minimize(taskmet_inner_solver solver) {
    taskmet_inner_options options;
    taskmet_inner_report report;
    taskmet_predictor *start = C.predictor;
    taskmet_inner_options_init(&options);
    options.solver = solver;
    options.max_iterations = solver == TASKMET_INNER_LBFGS ? 200 : 20;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    const double before = gradient_norm();
    NEED(taskmet_predictor_copy(start, &C.predictor));
    if (CALL(0, taskmet_loss_minimize(C.predictor, C.metric, C.data, 0, &options, NULL, &report))) {
        NEED(taskmet_predictor_get_parameters(C.predictor, out, C.theta));
        for (int64_t k = 0; k < C.theta; k += 1) FINITE(out[k]);
        FINITE(report.value);
        FINITE(report.gradient_norm);
        /* However large the numbers are, what solves a linear problem solves it. */
        if (C.model->hidden == 0 && solver >= TASKMET_INNER_LBFGS &&
            !(report.gradient_norm <= fmax(1e-8, 1e-6 * before)))
            complain("taskmet_loss_minimize", __LINE__, "the gradient has not vanished", "");
        test_hypergradient(TASKMET_SOLVER_CG, 0, 1);
        test_hypergradient(TASKMET_SOLVER_DENSE, 0, 1);
    }
    taskmet_predictor_destroy(C.predictor);
    C.predictor = start;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Trainer                                                                                                          */

/* A task that no prediction makes infinite: the mean of |e| / (1 + |e|), e = yhat / 2 - y / 2. */
static int32_t bounded_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    const int64_t count = batch->rows * batch->outputs;
    double sum = 0;
    (void)user;
    for (int64_t k = 0; k < count; k += 1) {
        const double error = batch->predictions[k] / 2 - batch->targets[k] / 2, size = fabs(error);
        if (!isfinite(error)) return TASKMET_CALLBACK_ERROR; /* it was promised not to be */
        sum += size / (1 + size);
        if (gradient != NULL) gradient[k] = (error < 0 ? -0.5 : 0.5) / (1 + size) / (1 + size) / (double)count;
    }
    *loss = sum / (double)count;
    return TASKMET_CALLBACK_OK;
}

static void inspect_record(const taskmet_record *r) {
    FINITE(r->task_loss);
    FINITE(r->prediction_loss);
    FINITE(r->prediction_rmse);
    FINITE(r->inner_gradient_norm);
    FINITE(r->metric_rate);
    FINITE(r->metric_smallest_eigenvalue);
    FINITE(r->metric_largest_eigenvalue);
    FINITE(r->metric_mean_trace);
    FINITE(r->validation_task_loss);
    FINITE(r->validation_rmse);
    if (r->iteration == 0) return;
    FINITE(r->hypergradient_norm);
    FINITE(r->solver_residual);
    if (C.set->rows > 1) FINITE(r->agreement); /* one row has no halves */
}

static void inspect_trainer(const taskmet_trainer *trainer) {
    char text[8000];
    snapshot now = take_snapshot(trainer);
    for (int64_t k = 0; k < now.records; k += 1) inspect_record(&now.history[k]);
    for (int best = 0; now.records > 0 && best < 2; best += 1) {
        for (int64_t k = 0; k < now.theta; k += 1) FINITE(now.thetas[best][k]);
        for (int64_t k = 0; k < now.phi; k += 1) FINITE(now.phis[best][k]);
        FINITE(now.scales[best]);
    }
    free_snapshot(&now);
    CALL(0, taskmet_trainer_explain(trainer, text, sizeof text, NULL));
    if (strstr(text, "nan") != NULL || strstr(text, "inf") != NULL)
        complain("taskmet_trainer_explain", __LINE__, "a number that is not finite", text);
}

static void test_trainer(taskmet_task *task, const char *solver) {
    taskmet_trainer *trainer = NULL;
    taskmet_fit_report report = new_report();
    NEED(taskmet_trainer_create(C.predictor, C.metric, C.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_validation(trainer, C.data));
    NEED(taskmet_trainer_set_string(trainer, "inner_solver", solver));
    configure(trainer, "warmup_iterations=10 inner_iterations=5 outer_iterations=3 agreement_interval=1 "
                       "metric_rate=0.1 metric_l1=1e-3 metric_identity=1e-3");
    if (CALL(0, taskmet_trainer_fit(trainer, &report))) {
        if (report.reason != TASKMET_STOP_ITERATIONS && report.reason != TASKMET_STOP_STALLED)
            complain("taskmet_trainer_fit", __LINE__, "another reason to stop", "");
        FINITE(report.best_task_loss);
        FINITE(report.first_task_loss);
        FINITE(report.best_rmse_ratio);
        FINITE(report.seconds);
        inspect_trainer(trainer);
    } else if (record_count(trainer) != 0) {
        complain("taskmet_trainer_fit", __LINE__, "records of what has failed", "");
    }
    taskmet_trainer_destroy(trainer);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The table                                                                                                        */

static void test_cell(taskmet_task *task) {
    double direction[MOST];
    random_fill(23, direction, MOST);
    inner[0] = 0;
    C.predictor = make_model(C.model, C.set->d);
    C.metric = make_metric(C.kind, C.model, C.set->d);
    C.theta = predictor_count(C.predictor);
    C.phi = metric_count(C.metric);
    shake_predictor(C.predictor, 29, 0.3);
    if (C.kind->normalization == TASKMET_NORMALIZATION_BATCH_TRACE)
        CALL(0, taskmet_metric_update_normalization(C.metric, C.set->rows, x, C.set->d));
    test_predictor(direction);
    test_metric();
    test_loss(direction);
    test_hypergradients();
    for (size_t k = 0; k < LENGTH(inner_solvers); k += 1) {
        snprintf(inner, sizeof inner, " / %s", inner_names[k]);
        test_minimize(inner_solvers[k]);
        test_trainer(task, inner_names[k]);
    }
    taskmet_predictor_destroy(C.predictor);
    taskmet_metric_destroy(C.metric);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_callback(bounded_task, NULL, NULL, &task));
    size_t cells = 0;
    for (size_t a = 0; a < LENGTH(data_sets); a += 1) {
        C.set = &data_sets[a];
        C.data = make_data(C.set);
        for (size_t b = 0; b < LENGTH(models); b += 1)
            for (size_t c = 0; c < LENGTH(metrics); c += 1, cells += 1) {
                if (check_quick && cells % 41 != 0) continue;
                C.model = &models[b];
                C.kind = &metrics[c];
                test_cell(task);
            }
        taskmet_dataset_destroy(C.data);
    }
    taskmet_task_destroy(task);
    return check_end();
}
