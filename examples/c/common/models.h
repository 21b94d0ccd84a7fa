/* The models that the larger examples begin with, and how they choose among the iterates of a training. */
#ifndef EXAMPLES_MODELS_H
#define EXAMPLES_MODELS_H

#include "problem.h"

/* A linear predictor for a table's rows, at zero. Its intercept is not penalised: that would pull the two-stage predictor
 * to zero and flatter whatever follows. */
taskmet_predictor *new_linear_predictor(const table *training);

/* The metric of two-stage learning: the identity, constant. */
taskmet_metric *new_identity(int64_t outputs);

/* What is measured in one iteration. */
typedef struct iterate {
    int64_t iteration;
    double training_loss, validation_loss; /* the task's */
    double error_ratio;                    /* validation error over the two-stage predictor's */
} iterate;

/* A model to keep: the iterate with the lowest validation task loss among those whose validation error (root mean square) is
 * at most `cap` times the two-stage predictor's, because a task's gain is paid for with error and somebody has to set the
 * price; INFINITY: no cap. Of equals (decisions that are the same) the one with the lower training loss. */
typedef struct kept_model {
    double cap;
    int64_t iteration; /* -1: none yet */
    double validation_loss, training_loss;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
} kept_model;

kept_model kept_under(double cap);

/* Copies the predictor and the metric if this iterate is better than the one that is kept. */
void keep_if_better(kept_model *kept, const iterate *now, const taskmet_predictor *predictor,
                    const taskmet_metric *metric);

void kept_destroy(kept_model *kept);

#endif
