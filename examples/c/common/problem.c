#include "problem.h"

#include <stdlib.h>

table table_create(int64_t rows, int64_t features, int64_t outputs)
{
    table t = {rows, features, outputs, new_reals(rows * features), new_reals(rows * outputs), NULL};
    return t;
}

void table_finish(table *t, int64_t rows_per_instance)
{
    CHECK(taskmet_dataset_create(t->rows, t->features, t->x, t->features, t->outputs, t->y, t->outputs, &t->dataset));
    if (rows_per_instance > 1) {
        int64_t instances = t->rows / rows_per_instance;
        int64_t *offsets = malloc((size_t)(instances + 1) * sizeof *offsets);
        if (offsets == NULL) fail("out of memory (%lld instances)", (long long)instances);
        for (int64_t k = 0; k <= instances; k++) offsets[k] = k * rows_per_instance;
        CHECK(taskmet_dataset_set_instances(t->dataset, instances, offsets));
        free(offsets);
    }
}

void table_destroy(table *t)
{
    taskmet_dataset_destroy(t->dataset);
    free(t->x);
    free(t->y);
    *t = (table){0};
}

void problem_destroy(problem *p)
{
    taskmet_task_destroy(p->task);
    table_destroy(&p->training);
    table_destroy(&p->validation);
    table_destroy(&p->test);
    *p = (problem){0};
}

double *predictions_for(const taskmet_predictor *predictor, const table *t)
{
    double *predictions = new_reals(t->rows * t->outputs);
    CHECK(taskmet_predictor_predict(predictor, t->rows, t->x, t->features, predictions, t->outputs));
    return predictions;
}

double task_loss(const problem *p, const table *t, taskmet_phase phase, const taskmet_predictor *predictor)
{
    double loss, *predictions = predictions_for(predictor, t);
    CHECK(taskmet_task_gradient(p->task, t->dataset, phase, predictions, t->outputs, &loss, NULL,
                                t->outputs));
    free(predictions);
    return loss;
}

double mean_squared_difference(const double *a, const double *b, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += (a[i] - b[i]) * (a[i] - b[i]);
    return sum / (double)count;
}

double mean_squared_error(const taskmet_predictor *predictor, const table *t)
{
    double *predictions = predictions_for(predictor, t);
    double error = mean_squared_difference(predictions, t->y, t->rows * t->outputs);
    free(predictions);
    return error;
}
