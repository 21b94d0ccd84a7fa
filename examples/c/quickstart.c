/*
 * The shortest program that learns a metric from a callback.
 *
 * Demand for power is a parabola in the temperature; the forecast is a straight line, so it must be wrong somewhere.
 * Least squares spreads the errors over all days. The utility pays for them on hot days only, and nine times as much
 * where the forecast was too low. The library is told no more than that: what a batch of forecasts costs, and the gradient.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <taskmet.h>

#define CHECK(call) \
    do { if ((call) != TASKMET_OK) { fprintf(stderr, "%s\n", taskmet_last_error()); exit(1); } } while (0)

enum { ROWS = 200, ITERATIONS = 100, HIDDEN = 16, PHI = 2 * HIDDEN + HIDDEN + 1 + 1 };

/* The task: the mean cost of the forecasts, and its derivative by each of them. */
static int32_t cost_of_errors(void *user, const taskmet_task_batch *batch, double *loss, double *gradient)
{
    double sum = 0;
    (void)user;
    for (int64_t i = 0; i < batch->rows; i++) {
        double error = batch->predictions[i] - batch->targets[i];
        double price = (error < 0 ? 9.0 : 1.0) / (1 + exp(-10 * (batch->inputs[i] - 0.5)));
        sum += price * error * error;
        if (gradient != NULL) gradient[i] = 2 * price * error / (double)batch->rows;
    }
    *loss = sum / (double)batch->rows;
    return TASKMET_CALLBACK_OK;
}

/* Days from the coldest (x = -1) to the hottest (x = 1), with noise in the demand. */
static taskmet_dataset *make_days(uint64_t seed, double *x)
{
    double y[ROWS];
    taskmet_dataset *days;
    for (int i = 0; i < ROWS; i++) {
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        x[i] = (2 * i + 1.0) / ROWS - 1;
        y[i] = 1 + 2 * x[i] * x[i] + 0.2 * ((double)(seed >> 32) / 4294967296.0 - 0.5);
    }
    CHECK(taskmet_dataset_create(ROWS, 1, x, 1, 1, y, 1, &days));
    return days;
}

/* The cost of the predictor's forecasts; gradient may be NULL. */
static double cost(const taskmet_task *task, const taskmet_predictor *predictor, const taskmet_dataset *days,
                   const double *x, double *gradient)
{
    double predictions[ROWS], loss;
    CHECK(taskmet_predictor_predict(predictor, ROWS, x, 1, predictions, 1));
    CHECK(taskmet_task_gradient(task, days, TASKMET_PHASE_TRAINING, predictions, 1, &loss, gradient, 1));
    return loss;
}

int main(void)
{
    const int64_t hidden[] = {HIDDEN};
    double x[ROWS], c[ROWS], phi[PHI], hypergradient[PHI];
    taskmet_dataset *training = make_days(1, x), *held_out = make_days(2, x); /* the same x, other noise */
    taskmet_predictor *predictor;
    taskmet_metric *identity, *metric;
    taskmet_task *task;
    taskmet_optimizer *adam;
    taskmet_inner_options exact;

    CHECK(taskmet_predictor_create_linear(1, 1, 1, &predictor));
    CHECK(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 1, 1, hidden, TASKMET_ACTIVATION_TANH, 1,
                                            &metric));
    CHECK(taskmet_metric_set_normalization(metric, TASKMET_NORMALIZATION_BATCH_TRACE));
    CHECK(taskmet_metric_get_parameters(metric, phi, PHI));
    CHECK(taskmet_task_create_callback(cost_of_errors, NULL, NULL, &task));
    CHECK(taskmet_optimizer_create_adam(PHI, 0.05, 0.9, 0.999, 1e-8, &adam));
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;

    CHECK(taskmet_metric_create_constant(1, TASKMET_STRUCTURE_SCALAR, 1, 0, &identity));
    CHECK(taskmet_loss_minimize(predictor, identity, training, 0, &exact, NULL, NULL));
    printf("cost on held-out days, least squares:  %.4f\n", cost(task, predictor, held_out, x, NULL));

    for (int iteration = 0; iteration <= ITERATIONS; iteration++) {
        CHECK(taskmet_metric_update_normalization(metric, ROWS, x, 1));
        CHECK(taskmet_loss_minimize(predictor, metric, training, 0, &exact, NULL, NULL)); /* theta*(phi) */
        if (iteration == ITERATIONS) break;
        cost(task, predictor, training, x, c); /* c_i = dL_task / df(x_i) */
        CHECK(taskmet_hypergradient(predictor, metric, training, 0, c, 1, NULL, hypergradient, PHI, NULL));
        CHECK(taskmet_optimizer_step(adam, hypergradient, PHI, phi, PHI));
        CHECK(taskmet_metric_set_parameters(metric, phi, PHI));
    }
    printf("cost on held-out days, learned metric: %.4f\n", cost(task, predictor, held_out, x, NULL));

    taskmet_optimizer_destroy(adam);
    taskmet_task_destroy(task);
    taskmet_metric_destroy(metric);
    taskmet_metric_destroy(identity);
    taskmet_predictor_destroy(predictor);
    taskmet_dataset_destroy(held_out);
    taskmet_dataset_destroy(training);
    return 0;
}
