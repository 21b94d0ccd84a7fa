/* What the training loop gets: three tables of rows, and the task that judges the predictions for them. */
#ifndef EXAMPLES_PROBLEM_H
#define EXAMPLES_PROBLEM_H

#include "support.h"

/* Rows of features x and targets y, and the library's dataset made of them. */
typedef struct table {
    int64_t rows, features, outputs;
    double *x; /* rows x features */
    double *y; /* rows x outputs */
    taskmet_dataset *dataset;
} table;

typedef struct problem {
    table training, validation, test;
    taskmet_task *task;
} problem;

/* A table with room for its rows, all zero. */
table table_create(int64_t rows, int64_t features, int64_t outputs);

/* Once x and y are filled in: makes the dataset. Instance k owns rows k * rows_per_instance and following. */
void table_finish(table *t, int64_t rows_per_instance);

void table_destroy(table *t);
void problem_destroy(problem *p);

/* The predictions for all of a table's rows: rows x outputs numbers, to be freed. */
double *predictions_for(const taskmet_predictor *predictor, const table *t);

/* The task loss of the predictor on a table. */
double task_loss(const problem *p, const table *t, taskmet_phase phase, const taskmet_predictor *predictor);

/* The mean squared error of the predictor over all entries of a table. */
double mean_squared_error(const taskmet_predictor *predictor, const table *t);
double mean_squared_difference(const double *a, const double *b, int64_t count);

#endif
