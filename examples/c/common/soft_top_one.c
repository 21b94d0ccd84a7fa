#include "soft_top_one.h"

#include <math.h>

static double sigmoid(double z)
{
    if (z >= 0) return 1 / (1 + exp(-z));
    return exp(z) / (1 + exp(z)); /* no overflow, and full precision near zero */
}

/* taken_i = Z_i at a given t; returns sum Z and, in slope, its derivative by t. */
static double take_at(const soft_choice *choice, const double *scores, int64_t count, double t, double *taken,
                      double *slope)
{
    double sum = 0;
    *slope = 0;
    for (int64_t i = 0; i < count; i++) {
        double d = (1 - 2 * scores[i]) / choice->scale;
        taken[i] = sigmoid((t - d) / choice->epsilon);
        sum += taken[i];
        *slope += taken[i] * (1 - taken[i]) / choice->epsilon;
    }
    return sum;
}

void soft_choice_take(const soft_choice *choice, const double *scores, int64_t count, double *taken)
{
    double highest = scores[0], lowest = scores[0];
    for (int64_t i = 1; i < count; i++) {
        highest = fmax(highest, scores[i]);
        lowest = fmin(lowest, scores[i]);
    }

    /* At the t where the best item alone takes B/M nobody takes more; where the worst takes B/M nobody takes less. So the
     * root lies between. Newton's steps, and a bisection wherever one of them leaves what is left of the interval. */
    double even = choice->epsilon * log(choice->amount / ((double)count - choice->amount));
    double low = (1 - 2 * highest) / choice->scale + even;
    double high = (1 - 2 * lowest) / choice->scale + even;
    double t = low;
    for (int step = 0; step < 100; step++) {
        double slope, excess = take_at(choice, scores, count, t, taken, &slope) - choice->amount;
        if (fabs(excess) <= 1e-14 * choice->amount) break;
        if (excess < 0) low = t;
        else high = t;
        double next = t - excess / slope;
        if (!(next > low && next < high)) next = low + (high - low) / 2;
        if (next == t || !(next > low && next < high)) break; /* no number left between the two */
        t = next;
    }
}

void soft_choice_derivative(const soft_choice *choice, const double *taken, const double *values, int64_t count,
                            double *derivative)
{
    /* dZ_i/dt = w_i = Z_i (1 - Z_i) / epsilon, and sum Z = B moves t by dt/dscore_j = -(2 / scale) w_j / sum w. Together
     * d(sum Z_i y_i)/dscore_j = (2 / scale) w_j (y_j - the mean of y under w). */
    double weight = 0, mean = 0;
    for (int64_t i = 0; i < count; i++) {
        double w = taken[i] * (1 - taken[i]);
        weight += w;
        mean += w * values[i];
    }
    if (weight > 0) mean /= weight;
    for (int64_t j = 0; j < count; j++)
        derivative[j] = 2 / (choice->scale * choice->epsilon) * taken[j] * (1 - taken[j]) * (values[j] - mean);
}

int64_t best_index(const double *scores, int64_t count)
{
    int64_t best = 0;
    for (int64_t i = 1; i < count; i++)
        if (scores[i] > scores[best]) best = i;
    return best;
}
