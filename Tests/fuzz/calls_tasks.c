/*
 * calls_tasks.c - calls of the functions of tasks.
 */
#include "world.h"

#include <string.h>

static taskmet_status call_task_create_callback(world *w) {
    owned *owner = new_owner(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt_owned(w, TASK,
                       taskmet_task_create_callback(wrong(w) ? NULL : task_callback, owner, release_owned, made),
                       (void **)made, owner);
}

static taskmet_status call_task_destroy(world *w) {
    const argument a = read_argument(w, TASK);
    forget(w, TASK, a.handle);
    taskmet_task_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_task_gradient(world *w) {
    const argument a = read_argument(w, TASK), d = read_argument(w, DATASET);
    const object o = sizes_of(w, &d);
    const int64_t stride = stride_argument(w, o.outputs), out_stride = stride_argument(w, o.outputs);
    const double *predictions = input_matrix(w, o.rows, stride, 1);
    double *loss = output(w, 1), *gradient = chance(w, 30) ? NULL : output_matrix(w, o.rows, out_stride);
    return taskmet_task_gradient(a.handle, d.handle, case_argument(w, 2), predictions, stride, loss, gradient,
                                 out_stride);
}

static taskmet_status call_task_get_sense(world *w) {
    const argument a = read_argument(w, TASK);
    return taskmet_task_get_sense(a.handle, output_bytes(w, sizeof(taskmet_sense)));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Built-in tasks                                                                                                    */

static taskmet_status call_task_create_topk(world *w) {
    const int64_t k = size_argument(w, 1 + below(w, w->group * w->outputs));
    const double temperature = positive_argument(w);
    const int32_t legacy = chance(w, 70) ? 0 : case_argument(w, 2);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt(w, TASK, taskmet_task_create_topk(k, temperature, legacy, made), (void **)made);
}

static taskmet_status call_task_create_budget_allocation(world *w) {
    const int64_t budget = size_argument(w, 1 + below(w, w->group));
    const int32_t legacy = chance(w, 70) ? 0 : case_argument(w, 2);
    const double gamma = chance(w, 50) || legacy == 1 ? real_argument(w, 0) : positive_argument(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt(w, TASK, taskmet_task_create_budget_allocation(budget, gamma, legacy, made), (void **)made);
}

static taskmet_status call_task_create_portfolio(world *w) {
    const double aversion = positive_argument(w), lower = real_argument(w, chance(w, 80) ? 0 : -1);
    const double upper = real_argument(w, chance(w, 80) ? 1 : 0.6);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt(w, TASK, taskmet_task_create_portfolio(aversion, lower, upper, case_argument(w, 2), made),
                 (void **)made);
}

/* A d x d matrix B B' of any rank, or one that is not positive semidefinite. */
static double *draw_quadratic(world *w, int64_t d) {
    double *q = memory(w, (size_t)(d * d) * sizeof *q), *b = memory(w, (size_t)(d * d) * sizeof *b);
    const int64_t rank = below(w, d + 1);
    for (int64_t k = 0; k < d * rank; k += 1) b[k] = uniform(w);
    for (int64_t i = 0; i < d; i += 1)
        for (int64_t j = 0; j < d; j += 1)
            for (int64_t r = 0; r < rank; r += 1) q[i * d + j] += b[i * rank + r] * b[j * rank + r];
    if (wrong(w)) q[below(w, d * d)] = real_argument(w, -3);
    return q;
}

/* Rows of sum z <= total, z_j <= 1, -z_j <= 0, in this order: a bounded set, of which some rows may be left out. */
static void draw_box(world *w, int64_t d, int64_t rows, double **matrix, double **values) {
    double *g = memory(w, (size_t)(rows * d + 1) * sizeof *g), *h = memory(w, (size_t)(rows + 1) * sizeof *h);
    for (int64_t i = 0; i < rows; i += 1) {
        for (int64_t j = 0; j < d; j += 1)
            g[i * d + j] = i == 0       ? 1
                           : i <= d     ? (double)(i - 1 == j)
                           : i <= 2 * d ? -(double)(i - d - 1 == j)
                                        : uniform(w);
        h[i] = i == 0 ? 1.5 : i <= d ? 1 : i <= 2 * d ? 0 : 1;
    }
    if (rows > 0 && wrong(w)) g[below(w, rows * d)] = real_argument(w, 0);
    if (rows > 0 && wrong(w)) h[below(w, rows)] = real_argument(w, -1);
    *matrix = g;
    *values = h;
}

static taskmet_status call_task_create_quadratic_program(world *w) {
    const int64_t entries = w->group * w->outputs, d = chance(w, 80) ? entries : 1 + below(w, 4);
    taskmet_quadratic_program *p = memory(w, sizeof *p);
    double *g, *h, *a = memory(w, (size_t)(2 * d) * sizeof *a), *b = memory(w, 2 * sizeof *b);
    for (int64_t j = 0; j < 2 * d; j += 1) a[j] = j < d ? 1 : uniform(w);
    b[0] = 1, b[1] = 0.1 * uniform(w);
    p->inequalities = chance(w, 80) ? 2 * d + 1 : below(w, 2 * d + 4);
    draw_box(w, d, p->inequalities, &g, &h);
    p->equalities = chance(w, 70) ? below(w, 2) : below(w, 3);
    p->variables = d, p->entries = entries;
    p->quadratic = chance(w, 20) ? NULL : draw_quadratic(w, d);
    p->linear = chance(w, 50) ? NULL : input(w, d, 1);
    p->prediction = d == entries && chance(w, 60) ? NULL : input(w, d * entries, 1);
    p->inequality_matrix = wrong(w) ? NULL : g, p->inequality_values = wrong(w) ? NULL : h;
    p->equality_matrix = a, p->equality_values = b;
    /* Sizes that are refused: others would be read. */
    if (wrong(w)) p->variables = chance(w, 50) ? -1 : INT64_MAX;
    if (wrong(w)) p->equalities = chance(w, 50) ? -1 : INT64_MAX;
    if (wrong(w)) p->inequalities = chance(w, 50) ? -1 : INT64_MIN;
    if (wrong(w)) p->entries = chance(w, 50) ? 0 : INT64_MAX;
    p->struct_size = struct_size_argument(w, sizeof *p);
    if (p->struct_size > sizeof *p) p->struct_size = 7;
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt(w, TASK, taskmet_task_create_quadratic_program(wrong(w) ? NULL : p, case_argument(w, 2), made),
                 (void **)made);
}

static taskmet_status call_task_create_linear_program(world *w) {
    const int64_t d = w->group * w->outputs, constraints = chance(w, 80) ? 2 * d + 1 : 1 + below(w, 2 * d + 4);
    double *matrix, *values;
    draw_box(w, d, constraints, &matrix, &values);
    const int64_t claimed = wrong(w) ? (chance(w, 50) ? 0 : INT64_MAX) : constraints;
    const int64_t variables = wrong(w) ? (chance(w, 50) ? -1 : INT64_MAX) : d;
    const double smoothing = positive_argument(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt(w, TASK,
                 taskmet_task_create_linear_program(claimed, variables, wrong(w) ? NULL : matrix,
                                                    wrong(w) ? NULL : values, case_argument(w, 2), smoothing, made),
                 (void **)made);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Tasks around a solver                                                                                            */

static taskmet_status call_task_create_spo_plus(world *w) {
    const taskmet_sense sense = case_argument(w, 2);
    owned *owner = new_owner(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt_owned(
        w, TASK, taskmet_task_create_spo_plus(sense, wrong(w) ? NULL : oracle_callback, owner, release_owned, made),
        (void **)made, owner);
}

/* A few: what is asked for is done. */
static int64_t draw_samples(world *w) {
    static const int64_t refused[] = {0, -1, 1000001, INT64_MAX, INT64_MIN};
    return wrong(w) ? refused[below(w, 5)] : 1 + below(w, 6);
}

static taskmet_status call_task_create_perturbed(world *w) {
    const taskmet_sense sense = case_argument(w, 2);
    const taskmet_perturbed_loss loss = case_argument(w, 2);
    const int64_t samples = draw_samples(w);
    const double sigma = positive_argument(w);
    owned *owner = new_owner(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt_owned(w, TASK,
                       taskmet_task_create_perturbed(sense, oracle_callback, owner, release_owned, loss, samples, sigma,
                                                     next_random(w), made),
                       (void **)made, owner);
}

static taskmet_status call_task_create_blackbox(world *w) {
    const taskmet_sense sense = case_argument(w, 2);
    const double lambda = positive_argument(w);
    owned *owner = new_owner(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt_owned(w, TASK,
                       taskmet_task_create_blackbox(sense, oracle_callback, owner, release_owned, lambda, made),
                       (void **)made, owner);
}

static taskmet_status call_task_create_finite_difference(world *w) {
    const double step = positive_argument(w);
    owned *owner = new_owner(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt_owned(w, TASK,
                       taskmet_task_create_finite_difference(wrong(w) ? NULL : losses_callback, owner, release_owned,
                                                             step, made),
                       (void **)made, owner);
}

static taskmet_status call_task_create_score_function(world *w) {
    const int64_t samples = draw_samples(w);
    const double sigma = positive_argument(w);
    owned *owner = new_owner(w);
    taskmet_task **made = (taskmet_task **)output_handle(w);
    return adopt_owned(w, TASK,
                       taskmet_task_create_score_function(losses_callback, owner, release_owned, samples, sigma,
                                                          next_random(w), made),
                       (void **)made, owner);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Learned decision losses                                                                                          */

static taskmet_status call_lodl_options_init(world *w) {
    taskmet_lodl_options_init(memory(w, sizeof(taskmet_lodl_options)));
    if (chance(w, 10)) taskmet_lodl_options_init(NULL);
    return TASKMET_OK;
}

static taskmet_status call_task_create_lodl(world *w) {
    const argument a = read_argument(w, TASK), d = read_argument(w, DATASET);
    taskmet_lodl_options *o = memory(w, sizeof *o);
    taskmet_lodl_options_init(o);
    o->loss = case_argument(w, TASKMET_LODL_DIRECTED_QUADRATIC + 1);
    o->sampling = case_argument(w, TASKMET_LODL_TWO + 1);
    o->samples = wrong(w) ? 1 - below(w, 3) * 2 : 2 + below(w, 12); /* 1, -1, -3 */
    o->deviation = real_argument(w, chance(w, 50) ? 0 : 0.5);
    o->rank = wrong(w) ? size_argument(w, 1) : below(w, 2);
    o->learning_rate = real_argument(w, 0.1);
    o->iterations = wrong(w) ? -1 : 1 + below(w, 10);
    o->patience = wrong(w) ? -1 : below(w, 5);
    o->held_out_share = real_argument(w, chance(w, 50) ? 0 : 0.4);
    o->threads = wrong(w) ? size_argument(w, 1) : 1 + below(w, 2);
    o->seed = next_random(w);
    o->struct_size = struct_size_argument(w, sizeof *o);
    if (o->struct_size > sizeof *o) o->struct_size = 3;
    taskmet_task **made = (taskmet_task **)output_handle(w);
    w->split = o->threads > 1;
    const taskmet_status status = taskmet_task_create_lodl(a.handle, d.handle, o, made);
    w->split = 0;
    return adopt(w, TASK, status, (void **)made);
}

static taskmet_status call_task_lodl_fit_quality(world *w) {
    const argument a = read_argument(w, TASK);
    return taskmet_task_lodl_fit_quality(a.handle, output_real(w));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Checks and evaluation                                                                                            */

static taskmet_status call_task_check_gradient(world *w) {
    const argument a = read_argument(w, TASK), d = read_argument(w, DATASET);
    const object o = sizes_of(w, &d);
    const int64_t stride = stride_argument(w, o.outputs), directions = wrong(w) ? -below(w, 2) : 1 + below(w, 3);
    const double *predictions = input_matrix(w, o.rows, stride, 1);
    const double tolerance = real_argument(w, chance(w, 50) ? 0 : 1e-3);
    double *worst = output_real(w);
    return taskmet_task_check_gradient(a.handle, d.handle, predictions, stride, directions, next_random(w), tolerance,
                                       worst, output_struct(w, sizeof(taskmet_check_report)));
}

static taskmet_status call_task_evaluate(world *w) {
    const argument a = read_argument(w, TASK), p = read_argument(w, PREDICTOR), d = read_argument(w, DATASET);
    const object o = sizes_of(w, &d);
    double *loss = chance(w, 20) ? NULL : output(w, 1);
    const int64_t count = chance(w, 40) ? 0 : size_argument(w, o.instances);
    double *each = count == 0 ? NULL : output(w, count);
    int64_t decisions = 0;
    if (chance(w, 50)) taskmet_task_decision_count(a.handle, d.handle, &decisions);
    decisions = size_argument(w, decisions);
    double *out = decisions == 0 ? NULL : output(w, decisions);
    return taskmet_task_evaluate(a.handle, p.handle, d.handle, loss, each, count, out, decisions);
}

static taskmet_status call_task_decision_count(world *w) {
    const argument a = read_argument(w, TASK), d = read_argument(w, DATASET);
    return taskmet_task_decision_count(a.handle, d.handle, output_integer(w));
}

static taskmet_status call_task_decision_quality(world *w) {
    const argument a = read_argument(w, TASK), d = read_argument(w, DATASET);
    const object o = sizes_of(w, &d);
    const int64_t stride = stride_argument(w, o.outputs);
    const double *predictions = input_matrix(w, o.rows, stride, 1);
    const int64_t draws = wrong(w) ? -1 : 1 + below(w, 3), samples = wrong(w) ? INT64_MIN : 1 + below(w, 20);
    const double confidence = chance(w, 30) ? 0 : share_argument(w);
    return taskmet_task_decision_quality(a.handle, d.handle, predictions, stride, draws, samples, confidence,
                                         next_random(w), output_struct(w, sizeof(taskmet_decision_report)));
}

const call task_calls[] = {
    CALLS_OFTEN(task_create_callback, 20),
    CALLS_OFTEN(task_destroy, 15),
    CALLS_OFTEN(task_gradient, 30),
    CALLS_OFTEN(task_get_sense, 3),
    CALLS_OFTEN(task_create_topk, 7),
    CALLS_OFTEN(task_create_budget_allocation, 7),
    CALLS_OFTEN(task_create_portfolio, 7),
    CALLS_OFTEN(task_create_quadratic_program, 12),
    CALLS_OFTEN(task_create_linear_program, 10),
    CALLS_OFTEN(task_create_spo_plus, 7),
    CALLS_OFTEN(task_create_perturbed, 7),
    CALLS_OFTEN(task_create_blackbox, 7),
    CALLS_OFTEN(task_create_finite_difference, 7),
    CALLS_OFTEN(task_create_score_function, 7),
    CALLS_OFTEN(lodl_options_init, 1),
    CALLS_OFTEN(task_create_lodl, 7),
    CALLS_OFTEN(task_lodl_fit_quality, 5),
    CALLS(task_check_gradient),
    CALLS_OFTEN(task_evaluate, 20),
    CALLS_OFTEN(task_decision_count, 5),
    CALLS(task_decision_quality),
    CALLS_END,
};
