/*
 * Scheduling generation for tomorrow (Donti, Amos and Kolter 2017): what is predicted is what is scheduled. A shortage of
 * generation costs a hundred times as much as a surplus.
 */
#ifndef EXAMPLES_SCHEDULE_H
#define EXAMPLES_SCHEDULE_H

#include "models.h"
#include "problem.h"

/* The operator's cost, the mean over hours and days of
 *     50 max(y - f, 0) + 0.5 max(f - y, 0) + 0.5 (f - y)^2,   f the prediction, y the load. */
taskmet_task *schedule_task(void);

/* Cost and root mean squared error on validation and test. */
typedef struct schedule_score {
    double validation_cost, validation_error, cost, error;
} schedule_score;

schedule_score schedule_evaluate(const problem *p, const taskmet_predictor *predictor);

/* A table of scores: its head, and a line; cap is the limit that the validation error was held to, INFINITY: none. */
void schedule_print_head(void);
void schedule_print(const char *method, double cap, schedule_score score, schedule_score two_stage);
void schedule_print_kept(const problem *p, const kept_model *kept, schedule_score two_stage);

/* Two other ways to bring the cost down, as honest company for the metric. Both obey the same rule: the lowest validation
 * cost whose validation error is at most `cap` times that of the two-stage predictor. Both begin with that predictor, and
 * leave it as it is. */

/* A part (0 to 100 %) of a constant shift per hour, the one with the lowest validation cost. */
schedule_score schedule_shift(const problem *p, const taskmet_predictor *two_stage, double cap);

/* Decision-focused learning: Adam on the predictor's own parameters against the task's gradient. One run, and a score for
 * each of `count` caps. */
void schedule_decision_focused(const problem *p, const taskmet_predictor *two_stage, const double *caps,
                               schedule_score *scores, int count);

#endif
