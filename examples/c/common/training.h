/* What every example that uses the trainer does with it. */
#ifndef EXAMPLES_TRAINING_H
#define EXAMPLES_TRAINING_H

#include "problem.h"

/* A trainer for a problem: with its training and validation data and its task. */
taskmet_trainer *new_trainer(const problem *p, const taskmet_predictor *predictor, const taskmet_metric *metric);

/* Training's options, by name; the program ends where the library refuses one. */
void set_int(taskmet_trainer *trainer, const char *name, int64_t value);
void set_double(taskmet_trainer *trainer, const char *name, double value);
void set_string(taskmet_trainer *trainer, const char *name, const char *value);

/* Trains until the trainer has a reason to stop. */
taskmet_fit_report fit(taskmet_trainer *trainer);

/* A word for why training stopped. */
const char *stop_name(taskmet_stop_reason reason);

/* The library's own account of the best model and of the way to it, on stdout. */
void print_explanation(const taskmet_trainer *trainer);

#endif
