#include "schedule.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

static const double shortage_price = 50, surplus_price = 0.5;

/* The cost of an error f - y, and its derivative; at the kink, the middle of the subgradients. */
static double cost_of(double error)
{
    return (error < 0 ? -shortage_price : surplus_price) * error + 0.5 * error * error;
}

static double derivative_of(double error)
{
    double slope = error < 0 ? -shortage_price : error > 0 ? surplus_price : (surplus_price - shortage_price) / 2;
    return slope + error;
}

/* The task, as the library calls it. Each row is an instance of its own. */
static int32_t cost_of_schedules(void *user, const taskmet_task_batch *batch, double *loss, double *gradient)
{
    int64_t count = batch->rows * batch->outputs;
    double sum = 0;
    (void)user;
    for (int64_t i = 0; i < count; i++) {
        double error = batch->predictions[i] - batch->targets[i];
        sum += cost_of(error);
        if (gradient != NULL) gradient[i] = derivative_of(error) / (double)count;
    }
    *loss = sum / (double)count;
    return TASKMET_CALLBACK_OK;
}

taskmet_task *schedule_task(void)
{
    taskmet_task *task;
    CHECK(taskmet_task_create_callback(cost_of_schedules, NULL, NULL, &task));
    return task;
}

static schedule_score score_predictions(const problem *p, const double *validation, const double *test)
{
    schedule_score score;
    const table *v = &p->validation, *t = &p->test;
    CHECK(taskmet_task_gradient(p->task, v->dataset, TASKMET_PHASE_VALIDATION, validation, v->outputs,
                                &score.validation_cost, NULL, v->outputs));
    CHECK(taskmet_task_gradient(p->task, t->dataset, TASKMET_PHASE_VALIDATION, test, t->outputs, &score.cost, NULL,
                                t->outputs));
    score.validation_error = sqrt(mean_squared_difference(validation, v->y, v->rows * v->outputs));
    score.error = sqrt(mean_squared_difference(test, t->y, t->rows * t->outputs));
    return score;
}

schedule_score schedule_evaluate(const problem *p, const taskmet_predictor *predictor)
{
    double *validation = predictions_for(predictor, &p->validation), *test = predictions_for(predictor, &p->test);
    schedule_score score = score_predictions(p, validation, test);
    free(validation);
    free(test);
    return score;
}

void schedule_print_head(void)
{
    puts("\n                                    validation            test                 against two-stage");
    puts("method                         cap        cost     error       cost      error       cost      error");
}

void schedule_print(const char *method, double cap, schedule_score score, schedule_score two_stage)
{
    char limit[32] = "-";
    if (isfinite(cap)) snprintf(limit, sizeof limit, "%.2f", cap);
    printf("%-28s %5s  %10.4f  %8.4f  %9.4f  %9.4f  %+7.1f %%  %+7.1f %%\n", method, limit, score.validation_cost,
           score.validation_error, score.cost, score.error, 100 * (score.cost / two_stage.cost - 1),
           100 * (score.error / two_stage.error - 1));
}

void schedule_print_kept(const problem *p, const kept_model *kept, schedule_score two_stage)
{
    if (kept->iteration >= 0)
        schedule_print("TaskMet", kept->cap, schedule_evaluate(p, kept->predictor), two_stage);
    else
        printf("%-28s %5.2f  no iteration's error is within the cap\n", "TaskMet", kept->cap);
}

/* Keeps the better of two: the cheaper one of those whose error the cap allows. */
static void keep_better(schedule_score *best, schedule_score candidate, double largest_error)
{
    if (candidate.validation_error <= largest_error && candidate.validation_cost < best->validation_cost)
        *best = candidate;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* A constant shift per hour                                                                                         */

/* The shift of one output with the lowest cost on a table: the cost is convex, so its derivative has one root. */
static double best_shift(const table *t, const double *predictions, int64_t output)
{
    double low = -10, high = 10; /* far wider than any load in 10^5 MW */
    for (int step = 0; step < 60; step++) {
        double shift = (low + high) / 2, slope = 0;
        for (int64_t i = output; i < t->rows * t->outputs; i += t->outputs)
            slope += derivative_of(predictions[i] + shift - t->y[i]);
        if (slope > 0) high = shift;
        else low = shift;
    }
    return (low + high) / 2;
}

static void add_to_rows(double *out, const double *predictions, const table *t, const double *shift, double part)
{
    for (int64_t i = 0; i < t->rows * t->outputs; i++) out[i] = predictions[i] + part * shift[i % t->outputs];
}

schedule_score schedule_shift(const problem *p, const taskmet_predictor *two_stage, double cap)
{
    enum { PARTS = 100 };
    const table *v = &p->validation, *t = &p->test;
    double *validation = predictions_for(two_stage, v), *test = predictions_for(two_stage, t);
    double *moved_validation = new_reals(v->rows * v->outputs), *moved_test = new_reals(t->rows * t->outputs);
    double *shift = new_reals(v->outputs);
    schedule_score start = score_predictions(p, validation, test), best = start;

    for (int64_t k = 0; k < v->outputs; k++) shift[k] = best_shift(v, validation, k);
    for (int part = 1; part <= PARTS; part++) {
        add_to_rows(moved_validation, validation, v, shift, (double)part / PARTS);
        add_to_rows(moved_test, test, t, shift, (double)part / PARTS);
        keep_better(&best, score_predictions(p, moved_validation, moved_test), cap * start.validation_error);
    }
    free(validation);
    free(test);
    free(moved_validation);
    free(moved_test);
    free(shift);
    return best;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Decision-focused learning                                                                                         */

void schedule_decision_focused(const problem *p, const taskmet_predictor *two_stage, const double *caps,
                               schedule_score *scores, int count)
{
    enum { STEPS = 300, VALIDATION_INTERVAL = 5 };
    const double rate = 3e-4;
    const table *t = &p->training;
    int64_t size;
    taskmet_predictor *predictor;
    taskmet_optimizer *adam;
    schedule_score start = schedule_evaluate(p, two_stage);

    CHECK(taskmet_predictor_copy(two_stage, &predictor));
    CHECK(taskmet_predictor_parameter_count(predictor, &size));
    CHECK(taskmet_optimizer_create_adam(size, rate, 0.9, 0.999, 1e-8, &adam));
    double *theta = new_reals(size), *gradient = new_reals(size), *c = new_reals(t->rows * t->outputs);
    CHECK(taskmet_predictor_get_parameters(predictor, theta, size));

    for (int k = 0; k < count; k++) scores[k] = start;
    for (int step = 1; step <= STEPS; step++) {
        double loss, *predictions = predictions_for(predictor, t);
        CHECK(taskmet_task_gradient(p->task, t->dataset, TASKMET_PHASE_TRAINING, predictions, t->outputs, &loss, c,
                                    t->outputs));
        CHECK(taskmet_predictor_vjp(predictor, t->rows, t->x, t->features, c, t->outputs, gradient, size));
        CHECK(taskmet_optimizer_step(adam, gradient, size, theta, size));
        CHECK(taskmet_predictor_set_parameters(predictor, theta, size));
        free(predictions);
        if (step % VALIDATION_INTERVAL != 0) continue;
        schedule_score score = schedule_evaluate(p, predictor);
        for (int k = 0; k < count; k++) keep_better(&scores[k], score, caps[k] * start.validation_error);
    }
    free(theta);
    free(gradient);
    free(c);
    taskmet_optimizer_destroy(adam);
    taskmet_predictor_destroy(predictor);
}
