/*
 * How good are the hypergradients that a preset computes? Along a run of the trainer with the default preset, at models of
 * several iterations, two estimates are compared with the exact hypergradient (all rows, LAPACK; for a linear predictor at
 * the exact inner solution, for a network at the same parameters and damping):
 *
 *   default  all rows, the preset's solver, tolerance and ridge
 *   paper    10 random instances in the linear system and the cross term, 50 (cubic) or 100 in the task's gradient, and
 *            5 iterations of CG on the normal equations, normal_ridge 1e-5; the mean of several draws is shown
 *
 *     hypergradient_accuracy [LOAD_FILE]
 *
 * prints the cosines. LOAD_FILE is hourly load data as examples/c/grid_scheduling reads it.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cubic.h"
#include "load_data.h"
#include "schedule.h"
#include "soft_top_one.h"

enum { DRAWS = 10, MAXIMUM = 64 };

/* What is measured on one problem. */
typedef struct setting {
    const char *name;
    problem data;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    double rho;
    int64_t rows_per_instance, outer_batch, iterations, interval;
    int linear;
} setting;

/* ------------------------------------------------------------------------------------------------------------------ */
/* A task of the budget problem's size: 5 websites reach 10 users with probabilities y; two are chosen softly.          */

static double soft_budget(const double *predictions, const double *y, double *gradient) {
    enum { SITES = 5, USERS = 10 };
    soft_choice choice = {2, 0.5, 1};
    double score[SITES], taken[SITES], value[SITES], slope[SITES], loss = 0;
    for (int i = 0; i < SITES; i += 1) {
        score[i] = value[i] = 0;
        for (int j = 0; j < USERS; j += 1) score[i] += predictions[i * USERS + j];
    }
    soft_choice_take(&choice, score, SITES, taken);
    for (int j = 0; j < USERS; j += 1) {
        double missed = 1;
        for (int i = 0; i < SITES; i += 1) missed *= 1 - taken[i] * y[i * USERS + j];
        loss -= 1 - missed;
        for (int i = 0; i < SITES; i += 1) value[i] -= missed / (1 - taken[i] * y[i * USERS + j]) * y[i * USERS + j];
    }
    if (gradient != NULL) {
        soft_choice_derivative(&choice, taken, value, SITES, slope);
        for (int i = 0; i < SITES * USERS; i += 1) gradient[i] = slope[i / USERS];
    }
    return loss;
}

static int32_t budget_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user;
    *loss = 0;
    for (int64_t k = 0; k < batch->instance_count; k += 1) {
        const int64_t start = batch->offsets[k] * batch->outputs;
        *loss += soft_budget(batch->predictions + start, batch->targets + start, gradient ? gradient + start : NULL);
    }
    *loss /= (double)batch->instance_count;
    for (int64_t i = 0; gradient != NULL && i < batch->rows * batch->outputs; i += 1)
        gradient[i] /= (double)batch->instance_count;
    return TASKMET_CALLBACK_OK;
}

/* y = Bernoulli(0.1) U(0, 1)^4 U(0.5, 1.5), a row for each website; x = a random linear layer of the standardised y. */
static void budget_rows(table *t, const double *layer, generator *random) {
    for (int64_t i = 0; i < t->rows * 10; i += 1) {
        const double low = pow(uniform(random, 0, 1), 4) * uniform(random, 0.5, 1.5) * 0.6;
        t->y[i] = uniform(random, 0, 1) < 0.1 ? low : 0;
    }
    for (int64_t i = 0; i < t->rows; i += 1)
        for (int k = 0; k < 10; k += 1)
            for (int j = 0; j < 10; j += 1) t->x[i * 10 + k] += layer[k * 10 + j] * (t->y[i * 10 + j] - 0.015) / 0.06;
    table_finish(t, 5);
}

static problem budget_problem(void) {
    generator random = {7};
    double layer[100];
    for (int k = 0; k < 100; k += 1) layer[k] = uniform(&random, -1, 1) / sqrt(10);
    problem p = {table_create(400, 10, 10), table_create(100, 10, 10), table_create(100, 10, 10), NULL};
    budget_rows(&p.training, layer, &random);
    budget_rows(&p.validation, layer, &random);
    budget_rows(&p.test, layer, &random);
    CHECK(taskmet_task_create_callback(budget_task, NULL, NULL, &p.task));
    return p;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Estimates of one hypergradient                                                                                      */

/* g = sum_i J_i' c_i of the task over `count` random instances (all of them: count = the table's). */
static void task_gradient(const setting *s, const taskmet_predictor *predictor, int64_t count, generator *random,
                          double *g, int64_t parameters) {
    const table *t = &s->data.training;
    const int64_t n = t->outputs, size = s->rows_per_instance, instances = t->rows / size;
    table part = table_create(count * size, t->features, n);
    for (int64_t k = 0; k < count; k += 1) {
        const int64_t from = count == instances ? k : (int64_t)uniform(random, 0, (double)instances);
        memcpy(part.x + k * size * t->features, t->x + from * size * t->features, (size_t)(size * t->features) * 8);
        memcpy(part.y + k * size * n, t->y + from * size * n, (size_t)(size * n) * 8);
    }
    table_finish(&part, size);
    double loss = 0, *predictions = predictions_for(predictor, &part), *c = new_reals(part.rows * n);
    CHECK(taskmet_task_gradient(s->data.task, part.dataset, TASKMET_PHASE_TRAINING, predictions, n, &loss, c, n));
    CHECK(taskmet_predictor_vjp(predictor, part.rows, part.x, part.features, c, n, g, parameters));
    free(predictions), free(c);
    table_destroy(&part);
}

/* Ten random instances, as the paper takes them. */
static table random_instances(const setting *s, int64_t count, generator *random) {
    const table *t = &s->data.training;
    const int64_t size = s->rows_per_instance, instances = t->rows / size;
    table part = table_create(count * size, t->features, t->outputs);
    for (int64_t k = 0; k < count; k += 1) {
        const int64_t from = (int64_t)uniform(random, 0, (double)instances);
        memcpy(part.x + k * size * t->features, t->x + from * size * t->features, (size_t)(size * t->features) * 8);
        memcpy(part.y + k * size * t->outputs, t->y + from * size * t->outputs, (size_t)(size * t->outputs) * 8);
    }
    table_finish(&part, size);
    return part;
}

static double cosine(const double *a, const double *b, int64_t count) {
    double aa = 0, bb = 0, ab = 0;
    for (int64_t k = 0; k < count; k += 1) aa += a[k] * a[k], bb += b[k] * b[k], ab += a[k] * b[k];
    return ab / sqrt(aa * bb);
}

static taskmet_solver_options solver_with(taskmet_solver solver, double tolerance, double ridge) {
    taskmet_solver_options options;
    taskmet_solver_options_init(&options);
    options.solver = solver;
    options.tolerance = tolerance;
    options.ridge = ridge;
    return options;
}

/* The cosines of both presets' hypergradients with the exact one, at the trainer's last model. */
static void measure(const setting *s, taskmet_trainer *trainer, generator *random, double *by_default, double *by_paper) {
    const table *t = &s->data.training;
    taskmet_predictor *predictor = NULL, *solved = NULL;
    taskmet_metric *metric = NULL;
    int64_t p = 0, q = 0;
    CHECK(taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_LAST, &predictor));
    CHECK(taskmet_trainer_copy_metric(trainer, TASKMET_MODEL_LAST, &metric));
    CHECK(taskmet_metric_update_normalization(metric, t->rows, t->x, t->features));
    CHECK(taskmet_predictor_copy(predictor, &solved));
    CHECK(taskmet_predictor_parameter_count(predictor, &p));
    CHECK(taskmet_metric_parameter_count(metric, &q));
    double *g = new_reals(p), *exact = new_reals(q), *estimate = new_reals(q);
    const int64_t instances = t->rows / s->rows_per_instance;

    if (s->linear) {
        taskmet_inner_options inner;
        taskmet_inner_options_init(&inner);
        inner.solver = TASKMET_INNER_EXACT;
        CHECK(taskmet_loss_minimize(solved, metric, t->dataset, s->rho, &inner, NULL, NULL));
    }
    const taskmet_solver_options dense = solver_with(TASKMET_SOLVER_DENSE, 1e-8, s->linear ? 0 : 1e-3);
    task_gradient(s, solved, instances, random, g, p);
    CHECK(taskmet_hypergradient_from_gradient(solved, metric, t->dataset, s->rho, g, p, &dense, NULL, NULL, 0, exact, q,
                                              NULL));

    taskmet_solver_options chosen = s->linear ? dense : solver_with(TASKMET_SOLVER_CG, 1e-4, 1e-3);
    chosen.max_iterations = 300;
    task_gradient(s, predictor, instances, random, g, p);
    CHECK(taskmet_hypergradient_from_gradient(predictor, metric, t->dataset, s->rho, g, p, &chosen, NULL, NULL, 0, estimate,
                                              q, NULL));
    *by_default = cosine(estimate, exact, q);

    taskmet_solver_options paper = solver_with(TASKMET_SOLVER_NORMAL_CG, 0, 0);
    paper.max_iterations = 5;
    paper.normal_ridge = 1e-5;
    *by_paper = 0;
    for (int draw = 0; draw < DRAWS; draw += 1) {
        table part = random_instances(s, 10, random);
        task_gradient(s, predictor, s->outer_batch, random, g, p);
        CHECK(taskmet_hypergradient_from_gradient(predictor, metric, part.dataset, s->rho, g, p, &paper, NULL, NULL, 0,
                                                  estimate, q, NULL));
        *by_paper += cosine(estimate, exact, q) / DRAWS;
        table_destroy(&part);
    }
    free(g), free(exact), free(estimate);
    taskmet_predictor_destroy(predictor);
    taskmet_predictor_destroy(solved);
    taskmet_metric_destroy(metric);
}

/* ------------------------------------------------------------------------------------------------------------------ */

static int ascending(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void run(setting *s) {
    taskmet_trainer *trainer = NULL;
    generator random = {11};
    double by_default[MAXIMUM], by_paper[MAXIMUM];
    int count = 0;
    CHECK(taskmet_trainer_create(s->predictor, s->metric, s->data.training.dataset, &trainer));
    CHECK(taskmet_trainer_add_task(trainer, s->data.task, 1));
    CHECK(taskmet_trainer_set_validation(trainer, s->data.validation.dataset));
    CHECK(taskmet_trainer_set_double(trainer, "rho", s->rho));
    for (int64_t iteration = 1; iteration <= s->iterations; iteration += 1) {
        CHECK(taskmet_trainer_step(trainer, NULL));
        if (iteration % s->interval == 0 && count < MAXIMUM) {
            measure(s, trainer, &random, by_default + count, by_paper + count);
            count += 1;
        }
    }
    qsort(by_default, (size_t)count, sizeof(double), ascending);
    qsort(by_paper, (size_t)count, sizeof(double), ascending);
    printf("%-8s %7d  %7.4f %7.4f   %7.4f %7.4f\n", s->name, count, by_default[0], by_default[count / 2], by_paper[0],
           by_paper[count / 2]);
    fflush(stdout);
    taskmet_trainer_destroy(trainer);
    taskmet_predictor_destroy(s->predictor);
    taskmet_metric_destroy(s->metric);
    problem_destroy(&s->data);
}

int main(int count, char **arguments) {
    const int64_t hidden = 64, wide = 500;
    printf("cosine with the exact hypergradient\n");
    printf("%-8s %7s  %15s   %15s\n%-8s %7s  %7s %7s   %7s %7s\n", "", "", "default", "paper", "problem", "models", "worst",
           "median", "worst", "median");

    setting cubic = {"cubic", cubic_create(1), NULL, NULL, 0, 50, 50, 30, 3, 1};
    CHECK(taskmet_predictor_create_linear(1, 1, 1, &cubic.predictor));
    CHECK(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 0, 1, &hidden, TASKMET_ACTIVATION_RELU, 1,
                                            &cubic.metric));
    run(&cubic);

    if (count > 1) {
        setting grid = {"grid", load_data_read(arguments[1]), NULL, NULL, 2e-2, 1, 100, 30, 3, 1};
        grid.data.task = schedule_task();
        CHECK(taskmet_predictor_create_linear(LOAD_FEATURES, HOURS, 1, &grid.predictor));
        CHECK(taskmet_predictor_set_penalize_bias(grid.predictor, 0));
        CHECK(taskmet_metric_create_conditional(LOAD_FEATURES, HOURS, TASKMET_STRUCTURE_DIAGONAL, 0, 1, &hidden,
                                                TASKMET_ACTIVATION_RELU, 1, &grid.metric));
        run(&grid);
    }

    setting budget = {"budget", budget_problem(), NULL, NULL, 0, 5, 100, 9, 3, 0};
    budget.outer_batch = 80;
    CHECK(taskmet_predictor_create_mlp(10, 10, 1, &wide, TASKMET_ACTIVATION_RELU, TASKMET_ACTIVATION_IDENTITY, 1,
                                       &budget.predictor));
    CHECK(taskmet_metric_create_conditional(10, 10, TASKMET_STRUCTURE_FULL, 0, 1, &hidden, TASKMET_ACTIVATION_RELU, 1,
                                            &budget.metric));
    run(&budget);
    return 0;
}
