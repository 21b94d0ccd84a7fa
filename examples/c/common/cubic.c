#include "cubic.h"

#include <stdio.h>
#include <stdlib.h>

#include "soft_top_one.h"

enum { ITEMS = 50, RANDOM_DRAWS = 10 };

/* One item of 50 is taken. scale = 1 is what the largest cost (score - anchor)^2 comes to for scores from 0 to 1; see
 * soft_top_one.h for why it is fixed. The larger it is, the softer the choice. */
static const soft_choice choice = {1.0, 0.01, 1.0};

static table random_items(generator *random, int64_t instances)
{
    table t = table_create(instances * ITEMS, 1, 1);
    for (int64_t i = 0; i < t.rows; i++) {
        double x = uniform(random, -1, 1);
        t.x[i] = x;
        t.y[i] = 10 * x * x * x - 6.5 * x;
    }
    table_finish(&t, ITEMS);
    return t;
}

/* The task, as the library calls it: once for many instances. */
static int32_t worth_of_choices(void *user, const taskmet_task_batch *batch, double *loss, double *gradient)
{
    double worth = 0;
    (void)user;
    for (int64_t k = 0; k < batch->instance_count; k++) {
        int64_t first = batch->offsets[k], count = batch->offsets[k + 1] - first;
        const double *scores = batch->predictions + first, *y = batch->targets + first;
        double taken[ITEMS];

        if (count != ITEMS) return TASKMET_CALLBACK_ERROR;
        if (batch->phase == TASKMET_PHASE_VALIDATION) {
            if (gradient != NULL) return TASKMET_CALLBACK_ERROR; /* the hard choice has none */
            worth += y[best_index(scores, count)];
            continue;
        }
        soft_choice_take(&choice, scores, count, taken);
        for (int64_t i = 0; i < count; i++) worth += taken[i] * y[i];
        if (gradient != NULL) {
            soft_choice_derivative(&choice, taken, y, count, gradient + first);
            for (int64_t i = 0; i < count; i++) gradient[first + i] /= -(double)batch->instance_count;
        }
    }
    *loss = -worth / (double)batch->instance_count;
    return TASKMET_CALLBACK_OK;
}

problem cubic_create(uint64_t seed)
{
    problem p;
    generator random = {seed};
    p.training = random_items(&random, 200);
    p.validation = random_items(&random, 200);
    p.test = random_items(&random, 400);
    CHECK(taskmet_task_create_callback(worth_of_choices, NULL, NULL, &p.task));
    return p;
}

/* The mean worth of the items with the highest scores. */
static double quality(const problem *p, const table *t, const double *scores)
{
    double loss;
    CHECK(taskmet_task_gradient(p->task, t->dataset, TASKMET_PHASE_VALIDATION, scores, 1, &loss, NULL, 1));
    return -loss;
}

double cubic_decision_quality(const problem *p, const table *t, const taskmet_predictor *predictor, uint64_t seed)
{
    double chance = 0, reached, optimal = quality(p, t, t->y);
    double *scores = predictions_for(predictor, t);
    generator random = {~seed}; /* away from the state that the data began with */

    reached = quality(p, t, scores);
    for (int draw = 0; draw < RANDOM_DRAWS; draw++) {
        for (int64_t i = 0; i < t->rows; i++) scores[i] = uniform(&random, 0, 1);
        chance += quality(p, t, scores) / RANDOM_DRAWS;
    }
    free(scores);
    return (reached - chance) / (optimal - chance);
}

double cubic_slope(const taskmet_predictor *predictor)
{
    double parameters[2]; /* the weight, then the bias */
    CHECK(taskmet_predictor_get_parameters(predictor, parameters, 2));
    return parameters[0];
}

void cubic_plot_metric(const taskmet_metric *metric)
{
    enum { POINTS = 21, WIDTH = 60 };
    double x[POINTS], lambda[POINTS], largest = 0;

    for (int i = 0; i < POINTS; i++) x[i] = -1 + 2.0 * i / (POINTS - 1);
    CHECK(taskmet_metric_evaluate(metric, POINTS, x, 1, lambda, POINTS));
    for (int i = 0; i < POINTS; i++)
        if (lambda[i] > largest) largest = lambda[i];

    puts("\nThe learned metric: how much an error at x counts in the prediction loss");
    puts("     x   Lambda(x)   what an item is worth there");
    for (int i = 0; i < POINTS; i++) {
        printf("  %4.1f   %9.4f   %6.2f  ", x[i], lambda[i], 10 * x[i] * x[i] * x[i] - 6.5 * x[i]);
        for (int bar = 0; bar < (int)(WIDTH * lambda[i] / largest + 0.5); bar++) putchar('#');
        putchar('\n');
    }
}
