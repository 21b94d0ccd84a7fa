/*
 * calls_learning.c - calls of the functions of the prediction loss, of the hypergradient and of optimisers.
 */
#include "world.h"

#include <string.h>

/* A predictor, a metric and a dataset, which mostly fit each other. */
typedef struct problem {
    argument predictor, metric, dataset;
    double rho;
    object sizes; /* of the predictor */
    int64_t rows, phi;
} problem;

static problem draw_problem(world *w) {
    problem p = {read_argument(w, PREDICTOR), read_argument(w, METRIC), read_argument(w, DATASET), 0, {0}, 0, 0};
    p.rho = real_argument(w, chance(w, 50) ? 0 : 0.1);
    p.sizes = sizes_of(w, &p.predictor);
    p.rows = sizes_of(w, &p.dataset).rows;
    p.phi = sizes_of(w, &p.metric).count;
    return p;
}

/* NULL now and then. */
static void *draw_workspace(world *w) {
    const argument a = changed_argument(w, WORKSPACE);
    return chance(w, 40) || a.object == NULL ? NULL : a.handle;
}

static taskmet_status call_loss_value(world *w) {
    const problem p = draw_problem(w);
    return taskmet_loss_value(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, output(w, 1));
}

static taskmet_status call_loss_gradient(world *w) {
    const problem p = draw_problem(w);
    const int64_t count = size_argument(w, p.sizes.count);
    return taskmet_loss_gradient(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, output(w, count), count);
}

static taskmet_status call_loss_value_gradient(world *w) {
    const problem p = draw_problem(w);
    const int64_t count = size_argument(w, p.sizes.count);
    void *workspace = draw_workspace(w);
    double *value = output(w, 1), *out = output(w, count);
    return taskmet_loss_value_gradient(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, workspace, value,
                                       out, count);
}

static taskmet_status call_loss_hvp(world *w) {
    const problem p = draw_problem(w);
    const int64_t count = size_argument(w, p.sizes.count), w_count = size_argument(w, p.sizes.count);
    return taskmet_loss_hvp(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, input(w, w_count, 1), w_count,
                            output(w, count), count);
}

static taskmet_status call_loss_gnvp(world *w) {
    const problem p = draw_problem(w);
    const int64_t count = size_argument(w, p.sizes.count), w_count = size_argument(w, p.sizes.count);
    return taskmet_loss_gnvp(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, input(w, w_count, 1),
                             w_count, output(w, count), count);
}

/* A few iterations: what is asked for is done, however long it takes. */
static int64_t draw_iterations(world *w) {
    return wrong(w) ? (chance(w, 50) ? -1 : INT64_MIN) : 1 + below(w, 20);
}

static taskmet_status call_inner_options_init(world *w) {
    taskmet_inner_options_init(memory(w, sizeof(taskmet_inner_options)));
    if (chance(w, 10)) taskmet_inner_options_init(NULL);
    return TASKMET_OK;
}

static const taskmet_inner_options *draw_inner_options(world *w) {
    if (chance(w, 20)) return NULL;
    taskmet_inner_options *o = memory(w, sizeof *o);
    taskmet_inner_options_init(o);
    o->solver = case_argument(w, TASKMET_INNER_EXACT + 1);
    o->max_iterations = draw_iterations(w);
    o->gradient_tolerance = real_argument(w, 1e-6);
    o->learning_rate = real_argument(w, chance(w, 50) ? 0 : 0.05);
    o->momentum = real_argument(w, chance(w, 50) ? 0 : 0.5);
    o->memory = wrong(w) ? size_argument(w, 10) : below(w, 5);
    if (wrong(w)) o->reserved = (int32_t)next_random(w);
    o->struct_size = struct_size_argument(w, sizeof *o);
    if (o->struct_size > sizeof *o) o->struct_size = sizeof *o + 1; /* the rest would be read */
    return o;
}

static taskmet_status call_loss_minimize(world *w) {
    problem p = draw_problem(w);
    p.predictor = changed_argument(w, PREDICTOR);
    const taskmet_inner_options *options = draw_inner_options(w);
    void *workspace = draw_workspace(w);
    return taskmet_loss_minimize(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, options, workspace,
                                 output_struct(w, sizeof(taskmet_inner_report)));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Hypergradients                                                                                                   */

static taskmet_status call_solver_options_init(world *w) {
    taskmet_solver_options_init(memory(w, sizeof(taskmet_solver_options)));
    if (chance(w, 10)) taskmet_solver_options_init(NULL);
    return TASKMET_OK;
}

static const taskmet_solver_options *draw_solver_options(world *w) {
    if (chance(w, 20)) return NULL;
    taskmet_solver_options *o = memory(w, sizeof *o);
    taskmet_solver_options_init(o);
    o->solver = case_argument(w, TASKMET_SOLVER_IDENTITY + 1);
    o->max_iterations = draw_iterations(w);
    o->tolerance = real_argument(w, chance(w, 80) ? 1e-6 : 0);
    o->ridge = real_argument(w, chance(w, 50) ? 0 : 0.1);
    o->normal_ridge = real_argument(w, 0);
    o->neumann_step = real_argument(w, chance(w, 80) ? 0 : 0.1);
    if (wrong(w)) o->reserved = (int32_t)next_random(w);
    o->struct_size = struct_size_argument(w, sizeof *o);
    if (o->struct_size > sizeof *o) o->struct_size = sizeof *o + 1;
    return o;
}

static taskmet_status call_hypergradient(world *w) {
    const problem p = draw_problem(w);
    const int64_t stride = stride_argument(w, p.sizes.outputs), count = size_argument(w, p.phi);
    const double *c = input_matrix(w, p.rows, stride, 1);
    const taskmet_solver_options *options = draw_solver_options(w);
    double *out = output(w, count);
    return taskmet_hypergradient(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, c, stride, options, out,
                                 count, output_struct(w, sizeof(taskmet_solver_report)));
}

static taskmet_status call_hypergradient_from_gradient(world *w) {
    const problem p = draw_problem(w);
    const int64_t count = size_argument(w, p.phi), g_count = size_argument(w, p.sizes.count);
    const double *g = input(w, g_count, 1);
    const taskmet_solver_options *options = draw_solver_options(w);
    void *workspace = draw_workspace(w);
    const int64_t v_count = chance(w, 50) ? 0 : size_argument(w, p.sizes.count);
    double *v = NULL;
    if (v_count != 0 && (v = output(w, v_count)) != NULL) {
        output_region *r = &w->frame->outputs[w->frame->output_count - 1];
        for (size_t k = 0; k < r->size / sizeof *v; k += 1) v[k] = uniform(w);
        if (r->size > 0 && wrong(w)) v[0] = real_argument(w, 1);
        memcpy(r->before, v, r->size);
    }
    double *out = output(w, count);
    return taskmet_hypergradient_from_gradient(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, g, g_count,
                                               options, workspace, v, v_count, out, count,
                                               output_struct(w, sizeof(taskmet_solver_report)));
}

static taskmet_status call_hypergradient_check(world *w) {
    const problem p = draw_problem(w);
    const argument task = read_argument(w, TASK);
    disturb(w, &task);
    const taskmet_inner_options *inner = draw_inner_options(w);
    const taskmet_solver_options *solver = draw_solver_options(w);
    const int64_t directions = wrong(w) ? -below(w, 2) : 1 + below(w, 2);
    const double tolerance = real_argument(w, chance(w, 50) ? 0 : 1e-3);
    double *worst = output_real(w);
    return taskmet_hypergradient_check(p.predictor.handle, p.metric.handle, p.dataset.handle, p.rho, task.handle, inner,
                                       solver, directions, next_random(w), tolerance, worst,
                                       output_struct(w, sizeof(taskmet_check_report)));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Optimisers, of 3 parameters mostly                                                                                */

static taskmet_status call_optimizer_create_adam(world *w) {
    const int64_t count = dimension_argument(w, 3);
    taskmet_optimizer **made = (taskmet_optimizer **)output_handle(w);
    return adopt(w, OPTIMIZER,
                 taskmet_optimizer_create_adam(count, positive_argument(w), share_argument(w), share_argument(w),
                                               real_argument(w, 1e-8), made),
                 (void **)made);
}

static taskmet_status call_optimizer_create_sgd(world *w) {
    const int64_t count = dimension_argument(w, 3);
    taskmet_optimizer **made = (taskmet_optimizer **)output_handle(w);
    return adopt(w, OPTIMIZER, taskmet_optimizer_create_sgd(count, positive_argument(w), share_argument(w), made),
                 (void **)made);
}

static taskmet_status call_optimizer_destroy(world *w) {
    const argument a = read_argument(w, OPTIMIZER);
    forget(w, OPTIMIZER, a.handle);
    taskmet_optimizer_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_optimizer_step(world *w) {
    const argument a = changed_argument(w, OPTIMIZER);
    const int64_t count = size_argument(w, 3), gradients = size_argument(w, 3);
    const double *gradient = input(w, gradients, chance(w, 90) ? 1 : 1e200);
    return taskmet_optimizer_step(a.handle, gradient, gradients, input(w, count, 1), count);
}

static taskmet_status call_optimizer_reset(world *w) {
    const argument a = changed_argument(w, OPTIMIZER);
    return taskmet_optimizer_reset(a.handle);
}

static taskmet_status call_optimizer_set_learning_rate(world *w) {
    const argument a = changed_argument(w, OPTIMIZER);
    return taskmet_optimizer_set_learning_rate(a.handle, positive_argument(w));
}

const call learning_calls[] = {
    CALLS_OFTEN(loss_value, 20),
    CALLS_OFTEN(loss_gradient, 20),
    CALLS_OFTEN(loss_value_gradient, 20),
    CALLS_OFTEN(loss_hvp, 20),
    CALLS_OFTEN(loss_gnvp, 20),
    CALLS_OFTEN(inner_options_init, 1),
    CALLS_OFTEN(loss_minimize, 20),
    CALLS_OFTEN(solver_options_init, 1),
    CALLS_OFTEN(hypergradient, 25),
    CALLS_OFTEN(hypergradient_from_gradient, 25),
    CALLS_OFTEN(hypergradient_check, 5),
    CALLS_OFTEN(optimizer_create_adam, 4),
    CALLS_OFTEN(optimizer_create_sgd, 4),
    CALLS_OFTEN(optimizer_destroy, 3),
    CALLS(optimizer_step),
    CALLS_OFTEN(optimizer_reset, 3),
    CALLS_OFTEN(optimizer_set_learning_rate, 3),
    CALLS_END,
};
