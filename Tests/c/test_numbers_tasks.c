/*
 * test_numbers_tasks.c - every kind of task x difficult targets and predictions (ties, zeros, 5e-324 to 1.8e308) x
 * everything that is asked of a task, and the trainer's methods on it. Each call says OK or NUMERICAL (docs/reliability.md
 * says which, where); what it delivers is finite, what it refuses leaves everything as it was, and the message names what
 * happened.
 */
#include "trainer_fixture.h"

#include <float.h>

enum { INSTANCES = 5, ITEMS = 4, ROWS = INSTANCES * ITEMS, D = 2 };

static double x[ROWS * D], predictions[ROWS];
static const double untouched = -7.25;

/* ---------------------------------------------------------------------------------------------------------------- */
/* Numbers                                                                                                          */

typedef struct numbers {
    const char *name;
    double size;
    enum { DIFFERENT, SAME, WIDE } kind; /* WIDE: some of that size, some of its inverse */
    int extreme;                         /* NUMERICAL is an answer, too */
} numbers;

static const numbers cases[] = {
    {"ordinary", 1, DIFFERENT, 0},       {"zeros", 0, DIFFERENT, 0},          {"ties", 0.5, SAME, 0},
    {"5e-324", 5e-324, DIFFERENT, 0},    {"1e-300", 1e-300, DIFFERENT, 0},    {"1e-160", 1e-160, DIFFERENT, 0},
    {"1e-20", 1e-20, DIFFERENT, 0},      {"1e20", 1e20, DIFFERENT, 0},        {"1e100", 1e100, DIFFERENT, 0},
    {"1e160", 1e160, DIFFERENT, 1},      {"1e300", 1e300, DIFFERENT, 1},      {"1e308", DBL_MAX, DIFFERENT, 1},
    {"ties of 1e308", DBL_MAX, SAME, 1}, {"1e-20 and 1e20", 1e20, WIDE, 0},   {"1e-300 and 1e300", 1e300, WIDE, 1},
};

static void fill(const numbers *n, uint64_t seed, double *out) {
    random_fill(seed, out, ROWS);
    for (int k = 0; k < ROWS; k += 1) {
        if (n->kind == SAME) out[k] = 1;
        if (n->kind == WIDE && k % 3 == 0) out[k] /= n->size * n->size;
        out[k] *= n->size;
    }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Tasks                                                                                                            */

/* The best of an instance's items. */
static int32_t best_item(void *user, const taskmet_oracle_batch *batch, double *decisions) {
    (void)user;
    for (int64_t k = 0; k < batch->count; k += 1) {
        int64_t best = batch->offsets[k];
        for (int64_t j = best; j < batch->offsets[k + 1]; j += 1) {
            if (!isfinite(batch->costs[j])) return TASKMET_CALLBACK_ERROR; /* it was promised not to be asked */
            decisions[j] = 0;
            if (batch->costs[j] > batch->costs[best]) best = j;
        }
        decisions[best] = 1;
    }
    return TASKMET_CALLBACK_OK;
}

static int32_t bounded_losses(void *user, const taskmet_task_batch *batch, double *losses) {
    (void)user;
    for (int64_t k = 0; k < batch->instance_count; k += 1) {
        losses[k] = 0;
        for (int64_t i = batch->offsets[k]; i < batch->offsets[k + 1]; i += 1) {
            const double error = fabs(batch->predictions[i] / 2 - batch->targets[i] / 2);
            if (!isfinite(error)) return TASKMET_CALLBACK_ERROR;
            losses[k] += error / (1 + error);
        }
    }
    return TASKMET_CALLBACK_OK;
}

static const double box[2 * ITEMS * ITEMS] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1,
                                              -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1, 0, 0, 0, 0, -1};
static const double box_values[2 * ITEMS] = {1, 1, 1, 1, 0, 0, 0, 0};
static const double identity[ITEMS * ITEMS] = {1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1};

static taskmet_task *make_quadratic(void) {
    taskmet_task *task = NULL;
    taskmet_quadratic_program program;
    memset(&program, 0, sizeof program);
    program.struct_size = sizeof program;
    program.variables = program.entries = ITEMS;
    program.inequalities = 2 * ITEMS;
    program.quadratic = identity;
    program.inequality_matrix = box;
    program.inequality_values = box_values;
    NEED(taskmet_task_create_quadratic_program(&program, TASKMET_SENSE_MINIMIZE, &task));
    return task;
}

static const char *const kinds[] = {"topk",      "topk, published", "budget",     "budget, published", "portfolio",
                                    "quadratic", "linear",          "spo_plus",   "fenchel_young",     "objective",
                                    "blackbox",  "differences",     "score"};

static taskmet_task *make_kind(size_t kind) {
    taskmet_task *task = NULL;
    const taskmet_sense sense = TASKMET_SENSE_MAXIMIZE;
    switch (kind) {
        case 0: NEED(taskmet_task_create_topk(2, 0.1, 0, &task)); break;
        case 1: NEED(taskmet_task_create_topk(2, 0.01, 1, &task)); break;
        case 2: NEED(taskmet_task_create_budget_allocation(2, 0, 0, &task)); break;
        case 3: NEED(taskmet_task_create_budget_allocation(2, 0, 1, &task)); break;
        case 4: NEED(taskmet_task_create_portfolio(0.5, 0, 1, 0, &task)); break;
        case 5: task = make_quadratic(); break;
        case 6: NEED(taskmet_task_create_linear_program(2 * ITEMS, ITEMS, box, box_values, sense, 0.5, &task)); break;
        case 7: NEED(taskmet_task_create_spo_plus(sense, best_item, NULL, NULL, &task)); break;
        case 8:
        case 9:
            NEED(taskmet_task_create_perturbed(
                sense, best_item, NULL, NULL, kind == 8 ? TASKMET_PERTURBED_FENCHEL_YOUNG : TASKMET_PERTURBED_OBJECTIVE, 4,
                0.5, 1, &task));
            break;
        case 10: NEED(taskmet_task_create_blackbox(sense, best_item, NULL, NULL, 2, &task)); break;
        case 11: NEED(taskmet_task_create_finite_difference(bounded_losses, NULL, NULL, 1e-3, &task)); break;
        default: NEED(taskmet_task_create_score_function(bounded_losses, NULL, NULL, 4, 0.1, 1, &task));
    }
    return task;
}

enum { DIFFERENCES = 11 };

static int is_budget(size_t kind) { return kind == 2 || kind == 3; }

/* ---------------------------------------------------------------------------------------------------------------- */
/* Judging calls                                                                                                    */

static char cell[200]; /* where in the table we are */
static int extreme, refused;
static double out[ROWS], value;

static void remember(void) {
    for (int k = 0; k < ROWS; k += 1) out[k] = untouched;
    value = untouched;
}

static int complain(const char *call, int line, const char *what, const char *message) {
    return check_that(0, __FILE__, line, "%s: %s: %s (\"%s\")", cell, call, what, message);
}

/* `count` numbers of `out`, and `value`, are written by the call. */
static int judge_call(taskmet_status got, int64_t count, const char *call, int line) {
    const char *message = got == TASKMET_OK ? "" : taskmet_last_error();
    int64_t k = 0;
    check_passed += 1;
    while (k < count && isfinite(out[k]) && (got == TASKMET_OK || out[k] == untouched)) k += 1;
    if (got == TASKMET_OK) {
        if (k < count || !isfinite(value)) complain(call, line, "it wrote what is not finite", "");
        return 1;
    }
    if (!(got == TASKMET_ERROR_NUMERICAL && extreme) && !(got == TASKMET_ERROR_INVALID_ARGUMENT && refused))
        complain(call, line, taskmet_status_name(got), message);
    if (strncmp(message, call + strlen("taskmet_"), (size_t)(strchr(message, ':') - message)) != 0 ||
        strlen(strchr(message, ':')) < 20)
        complain(call, line, "a message that says too little", message);
    if (k < count || value != untouched) complain(call, line, "a failed call wrote something", message);
    return 0;
}

#define CALL(count, call) (remember(), check_at(__FILE__, __LINE__), judge_call((call), (count), #call, __LINE__))

static void need_finite(double number, const char *what, int line) {
    if (!isfinite(number)) complain(what, line, "a number that is not finite", "");
}
#define FINITE(number) need_finite((number), #number, __LINE__)

/* ---------------------------------------------------------------------------------------------------------------- */
/* What is asked of a task                                                                                          */

static void test_quality(const taskmet_task *task, const taskmet_dataset *data) {
    taskmet_decision_report r;
    memset(&r, 0, sizeof r);
    r.struct_size = sizeof r;
    if (!CALL(0, taskmet_task_decision_quality(task, data, predictions, 1, 2, 20, 0.9, 1, &r))) return;
    FINITE(r.objective), FINITE(r.optimal_objective), FINITE(r.random_objective), FINITE(r.regret);
    FINITE(r.objective_lower), FINITE(r.objective_upper), FINITE(r.regret_lower), FINITE(r.regret_upper);
    FINITE(r.mean_squared_error);
    if (r.random_objective != r.optimal_objective && fabs(r.optimal_objective) > 1e-290) FINITE(r.decision_quality);
}

static void test_task(const taskmet_task *task, const taskmet_dataset *data) {
    CALL(ROWS, taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, predictions, 1, &value, out, 1));
    CALL(0, taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, predictions, 1, &value, NULL, 0));
    CALL(0, taskmet_task_gradient(task, data, TASKMET_PHASE_VALIDATION, predictions, 1, &value, NULL, 0));
    test_quality(task, data);
}

static void test_lodl(const taskmet_task *task, const taskmet_dataset *data) {
    taskmet_lodl_options options;
    taskmet_task *lodl = NULL;
    taskmet_lodl_options_init(&options);
    options.samples = 20;
    options.deviation = 0.5;
    for (options.loss = TASKMET_LODL_WEIGHTED_MSE; options.loss <= TASKMET_LODL_QUADRATIC; options.loss += 2)
        if (CALL(0, taskmet_task_create_lodl(task, data, &options, &lodl))) {
            CALL(ROWS, taskmet_task_gradient(lodl, data, TASKMET_PHASE_TRAINING, predictions, 1, &value, out, 1));
            taskmet_task_destroy(lodl);
        }
}

static void inspect_trainer(const taskmet_trainer *trainer) {
    snapshot now = take_snapshot(trainer);
    for (int64_t k = 0; k < now.records; k += 1) {
        const taskmet_record *r = &now.history[k];
        FINITE(r->task_loss), FINITE(r->prediction_loss), FINITE(r->prediction_rmse), FINITE(r->inner_gradient_norm);
        FINITE(r->metric_mean_trace);
    }
    for (int best = 0; now.records > 0 && best < 2; best += 1) {
        for (int64_t k = 0; k < now.theta; k += 1) FINITE(now.thetas[best][k]);
        for (int64_t k = 0; k < now.phi; k += 1) FINITE(now.phis[best][k]);
    }
    free_snapshot(&now);
}

static void test_trainer(taskmet_task *task, taskmet_dataset *data, const char *method) {
    taskmet_trainer *trainer = NULL;
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = new_metric(D, 1, TASKMET_STRUCTURE_SCALAR);
    taskmet_fit_report report = new_report();
    NEED(taskmet_predictor_create_linear(D, 1, 1, &predictor));
    NEED(taskmet_trainer_create(predictor, metric, data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_validation(trainer, data));
    configure(trainer, "warmup_iterations=5 inner_iterations=3 outer_iterations=2 agreement_interval=0 "
                       "lodl_samples=20");
    NEED(taskmet_trainer_set_string(trainer, "method", method));
    if (CALL(0, taskmet_trainer_fit(trainer, &report))) {
        FINITE(report.best_task_loss), FINITE(report.first_task_loss), FINITE(report.best_rmse_ratio);
        inspect_trainer(trainer);
    }
    taskmet_trainer_destroy(trainer);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
}

static void test_methods(size_t kind, taskmet_task *task, taskmet_dataset *data, int flat) {
    static const char *const methods[] = {"taskmet", "two_stage", "dfl", "weighted_mse", "lodl", "spo_plus"};
    const int has_surrogate = kind == 0 || (kind >= 5 && kind <= 10);
    const int refused_before = refused;
    for (size_t k = 0; k < LENGTH(methods) - !has_surrogate; k += 1) {
        /* There is no deviation to sample with. */
        refused = refused_before || (flat && strcmp(methods[k], "lodl") == 0);
        test_trainer(task, data, methods[k]);
    }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The table                                                                                                        */

/* Each instance's context: a covariance matrix. */
static taskmet_dataset *make_data(const double *y, double scale) {
    double context[INSTANCES * ITEMS * ITEMS];
    int64_t offsets[INSTANCES + 1], starts[INSTANCES + 1];
    taskmet_dataset *data = NULL;
    for (int k = 0; k <= INSTANCES; k += 1) offsets[k] = k * ITEMS, starts[k] = k * ITEMS * ITEMS;
    for (int k = 0; k < INSTANCES * ITEMS * ITEMS; k += 1) context[k] = scale * identity[k % (ITEMS * ITEMS)];
    NEED(taskmet_dataset_create(ROWS, D, x, D, 1, y, 1, &data));
    NEED(taskmet_dataset_set_instances(data, INSTANCES, offsets));
    NEED(taskmet_dataset_set_context(data, context, INSTANCES, starts));
    return data;
}

static int are_rates(const double *y) {
    for (int k = 0; k < ROWS; k += 1)
        if (!(y[k] >= 0 && y[k] <= 1)) return 0;
    return 1;
}

static void test_targets(size_t kind, taskmet_task *task, const numbers *n, double scale) {
    double y[ROWS];
    fill(n, 5, y);
    for (int k = 0; k < ROWS && is_budget(kind); k += 1) y[k] = fabs(y[k]);
    taskmet_dataset *data = make_data(y, scale);
    refused = is_budget(kind) && !are_rates(y);
    for (size_t k = 0; k < LENGTH(cases); k += check_quick ? 4 : 1) {
        /* A step of 1e-3 is lost in 1e20, and that is said. */
        extreme = n->extreme || cases[k].extreme || (kind == DIFFERENCES && cases[k].size > 1e10);
        snprintf(cell, sizeof cell, "%s, targets %s, predictions %s, covariance %g", kinds[kind], n->name, cases[k].name,
                 scale);
        fill(&cases[k], 7, predictions);
        test_task(task, data);
    }
    extreme = n->extreme || (kind == DIFFERENCES && n->size > 1e10);
    fill(&cases[0], 7, predictions);
    snprintf(cell, sizeof cell, "%s, targets %s", kinds[kind], n->name);
    test_lodl(task, data);
    test_methods(kind, task, data, n->kind == SAME || n->size == 0 || n->extreme);
    taskmet_dataset_destroy(data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    random_fill(3, x, ROWS * D);
    for (size_t kind = 0; kind < LENGTH(kinds); kind += 1) {
        taskmet_task *task = make_kind(kind);
        for (size_t k = 0; k < LENGTH(cases); k += check_quick ? 7 : 1) {
            test_targets(kind, task, &cases[k], 1);
            if (kind == 4) test_targets(kind, task, &cases[k], 1e-20), test_targets(kind, task, &cases[k], 1e20);
        }
        taskmet_task_destroy(task);
    }
    return check_end();
}
