/*
 * "Take the best of M items", made differentiable.
 *
 * Entropic optimal transport of the M scores to the anchors 0 and 1 (mass 1/M each; B/M of it to anchor 1), at costs
 * (score - anchor)^2 / scale. With two anchors the plan is known up to one number t:
 *
 *     Z_i = sigmoid((t - d_i) / epsilon),   d_i = (1 - 2 score_i) / scale,   t such that sum_i Z_i = B.
 *
 * Z_i is how much of item i is taken. epsilon -> 0 gives the hard choice of the B highest scores. `scale` is a constant
 * here; dividing by the largest cost of the instance instead would make it depend on the scores, and a gradient that
 * leaves that out would not be the gradient of what is computed.
 */
#ifndef EXAMPLES_SOFT_TOP_ONE_H
#define EXAMPLES_SOFT_TOP_ONE_H

#include <stdint.h>

typedef struct soft_choice {
    double amount;  /* B, 0 < B < M */
    double epsilon; /* the entropy's weight, > 0 */
    double scale;   /* of the costs, > 0 */
} soft_choice;

/* taken (count numbers) = Z. */
void soft_choice_take(const soft_choice *choice, const double *scores, int64_t count, double *taken);

/* derivative (count numbers) = d (sum_i Z_i value_i) / d score_j, given Z. Where Z is hard it is zero. */
void soft_choice_derivative(const soft_choice *choice, const double *taken, const double *values, int64_t count,
                            double *derivative);

/* The hard choice: the index of the highest score, the first of equals. */
int64_t best_index(const double *scores, int64_t count);

#endif
