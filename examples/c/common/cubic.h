/*
 * The cubic problem of the TaskMet paper (section 4.2): 50 items, x ~ U[-1, 1], worth y = 10 x^3 - 6.5 x; a linear model
 * predicts y, the item with the highest prediction is taken. Least squares fits a line with a negative slope, and so takes
 * one of the worst.
 */
#ifndef EXAMPLES_CUBIC_H
#define EXAMPLES_CUBIC_H

#include "problem.h"

/* 200 instances to train on, 200 for validation, 400 for the test.
 *
 * The task's loss is minus the mean over instances of what is taken. In TASKMET_PHASE_TRAINING the choice is soft and has
 * a gradient; in TASKMET_PHASE_VALIDATION it is the decision itself, the one item with the highest prediction. */
problem cubic_create(uint64_t seed);

/* (q - q_random) / (q_optimal - q_random) on a table, q the mean worth of the items taken: 1 is perfect, 0 is chance. */
double cubic_decision_quality(const problem *p, const table *t, const taskmet_predictor *predictor, uint64_t seed);

/* The slope of a linear predictor of one feature. */
double cubic_slope(const taskmet_predictor *predictor);

/* Draws the metric over x as bars. */
void cubic_plot_metric(const taskmet_metric *metric);

#endif
