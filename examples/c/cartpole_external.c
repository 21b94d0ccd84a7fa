/*
 * A simulator of your own in the training loop: one step of the simulator, of the model and of the metric at a time.
 *
 * A cart with a pole (CartPole) is pushed at random; its state reaches us beside NOISE coordinates that mean nothing. A
 * model of few units learns to predict the next state s'. What it is for: a controller pushes with the strength k's' of the
 * *predicted* next state, so the task loss is the mean of (k's'_predicted - k's')^2. A model trained by least squares
 * spends its units on all coordinates alike; TaskMet learns a weight for each.
 *
 * After each step of the simulator, on a minibatch of stored transitions:
 *
 *     theta = a step of Adam on the weighted error          taskmet_dataset_refill, taskmet_loss_value_gradient
 *     c     = d task loss / d predictions                   taskmet_linearization_update, then three lines of C
 *     g     = d task loss / d theta                         taskmet_linearization_vjp: no second forward pass
 *     phi   = a step of Adam against d task loss / d phi    taskmet_hypergradient_from_gradient
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arguments.h"
#include "common/support.h"

enum { STATE = 4, NOISE = 8, OBSERVED = STATE + NOISE, INPUTS = OBSERVED + 2, BATCH = 128, LATEST = 2000 };

/* ------------------------------------------------------------------------------------------------------------------ */
/* The simulator                                                                                                     */

typedef struct cart_pole {
    double position, velocity, angle, angular_velocity;
} cart_pole;

static cart_pole cart_pole_start(generator *random)
{
    cart_pole s = {uniform(random, -0.05, 0.05), uniform(random, -0.05, 0.05), uniform(random, -0.05, 0.05),
                   uniform(random, -0.05, 0.05)};
    return s;
}

/* One Euler step of 0.02 s; action 1 pushes to the right with 10 N, 0 to the left. */
static cart_pole cart_pole_step(cart_pole s, int action)
{
    const double gravity = 9.8, mass = 1.1, pole_mass = 0.1, half_length = 0.5, step = 0.02;
    double sine = sin(s.angle), cosine = cos(s.angle), moment = pole_mass * half_length;
    double push = ((action ? 10.0 : -10.0) + moment * s.angular_velocity * s.angular_velocity * sine) / mass;
    double angular = (gravity * sine - cosine * push) / (half_length * (4.0 / 3 - pole_mass * cosine * cosine / mass));
    double linear = push - moment * angular * cosine / mass;
    cart_pole next = {s.position + step * s.velocity, s.velocity + step * linear, s.angle + step * s.angular_velocity,
                      s.angular_velocity + step * angular};
    return next;
}

static int cart_pole_failed(cart_pole s)
{
    return fabs(s.position) > 2.4 || fabs(s.angle) > 12 * 3.14159265358979 / 180;
}

/* The controller's gains, by coordinate. */
static const double gains[OBSERVED] = {0.3, 0.9, 20, 4};

/* ------------------------------------------------------------------------------------------------------------------ */
/* Transitions                                                                                                       */

/* Ring buffers: state and action (as two indicators), and the next state. */
typedef struct memory {
    double x[LATEST][INPUTS], y[LATEST][OBSERVED];
    int64_t count;
} memory;

static void observe(cart_pole s, double *out, generator *random)
{
    out[0] = s.position, out[1] = s.velocity, out[2] = s.angle, out[3] = s.angular_velocity;
    for (int k = STATE; k < OBSERVED; k++) out[k] = uniform(random, -1.732, 1.732); /* variance 1 */
}

/* One random push from the state in x; returns where it leads, or a new start where that is a failure. */
static cart_pole act(memory *m, cart_pole s, generator *random)
{
    int64_t slot = m->count++ % LATEST;
    int action = uniform(random, 0, 1) < 0.5;
    cart_pole next = cart_pole_step(s, action);
    observe(s, m->x[slot], random);
    m->x[slot][OBSERVED] = !action, m->x[slot][OBSERVED + 1] = action;
    observe(next, m->y[slot], random);
    return cart_pole_failed(next) ? cart_pole_start(random) : next;
}

typedef struct minibatch {
    double x[BATCH][INPUTS], y[BATCH][OBSERVED];
} minibatch;

static void draw(const memory *m, minibatch *batch, generator *random)
{
    double stored = m->count < LATEST ? (double)m->count : LATEST;
    for (int row = 0; row < BATCH; row++) {
        int64_t slot = (int64_t)uniform(random, 0, stored);
        memcpy(batch->x[row], m->x[slot], sizeof batch->x[row]);
        memcpy(batch->y[row], m->y[slot], sizeof batch->y[row]);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The learner                                                                                                       */

typedef struct learner {
    taskmet_predictor *model;
    taskmet_metric *metric;
    taskmet_dataset *dataset;
    taskmet_workspace *workspace;
    taskmet_linearization *linearization;
    taskmet_optimizer *model_adam, *metric_adam;
    int64_t theta_count, phi_count;
    double *theta, *phi, *theta_gradient, *phi_gradient;
    minibatch drawn;
    double predictions[BATCH][OBSERVED], c[BATCH][OBSERVED];
} learner;

static learner *learner_create(uint64_t seed)
{
    const int64_t units = 3;
    learner *l = calloc(1, sizeof *l);
    if (l == NULL) fail("out of memory");
    CHECK(taskmet_predictor_create_mlp(INPUTS, OBSERVED, 1, &units, TASKMET_ACTIVATION_TANH,
                                       TASKMET_ACTIVATION_IDENTITY, seed, &l->model));
    /* A weight for each coordinate; normalised, since only their ratios matter. */
    CHECK(taskmet_metric_create_constant(OBSERVED, TASKMET_STRUCTURE_DIAGONAL, 1, 0, &l->metric));
    CHECK(taskmet_metric_set_normalization(l->metric, TASKMET_NORMALIZATION_FROBENIUS));
    CHECK(taskmet_dataset_create(BATCH, INPUTS, l->drawn.x[0], INPUTS, OBSERVED, l->drawn.y[0], OBSERVED, &l->dataset));
    CHECK(taskmet_workspace_create(1, 0, &l->workspace));
    CHECK(taskmet_linearization_create(&l->linearization));
    CHECK(taskmet_predictor_parameter_count(l->model, &l->theta_count));
    CHECK(taskmet_metric_parameter_count(l->metric, &l->phi_count));
    CHECK(taskmet_optimizer_create_adam(l->theta_count, 3e-3, 0.9, 0.999, 1e-8, &l->model_adam));
    CHECK(taskmet_optimizer_create_adam(l->phi_count, 3e-3, 0.9, 0.999, 1e-8, &l->metric_adam));
    l->theta = new_reals(l->theta_count), l->theta_gradient = new_reals(l->theta_count);
    l->phi = new_reals(l->phi_count), l->phi_gradient = new_reals(l->phi_count);
    CHECK(taskmet_predictor_get_parameters(l->model, l->theta, l->theta_count));
    CHECK(taskmet_metric_get_parameters(l->metric, l->phi, l->phi_count));
    return l;
}

static void learner_destroy(learner *l)
{
    free(l->theta), free(l->theta_gradient), free(l->phi), free(l->phi_gradient);
    taskmet_optimizer_destroy(l->metric_adam);
    taskmet_optimizer_destroy(l->model_adam);
    taskmet_linearization_destroy(l->linearization);
    taskmet_workspace_destroy(l->workspace);
    taskmet_dataset_destroy(l->dataset);
    taskmet_metric_destroy(l->metric);
    taskmet_predictor_destroy(l->model);
    free(l);
}

/* theta <- Adam on the weighted error of the minibatch. */
static void fit_model(learner *l)
{
    double loss;
    CHECK(taskmet_dataset_refill(l->dataset, BATCH, l->drawn.x[0], INPUTS, l->drawn.y[0], OBSERVED, NULL, 0));
    CHECK(taskmet_loss_value_gradient(l->model, l->metric, l->dataset, 0, l->workspace, &loss, l->theta_gradient,
                                      l->theta_count));
    CHECK(taskmet_optimizer_step(l->model_adam, l->theta_gradient, l->theta_count, l->theta, l->theta_count));
    CHECK(taskmet_predictor_set_parameters(l->model, l->theta, l->theta_count));
}

/* The task loss at the model's predictions for the minibatch, and its derivative by them in c. */
static double judge(learner *l)
{
    double loss = 0;
    CHECK(taskmet_linearization_update(l->linearization, l->model, BATCH, l->drawn.x[0], INPUTS, l->predictions[0],
                                       OBSERVED));
    for (int row = 0; row < BATCH; row++) {
        double error = 0;
        for (int k = 0; k < OBSERVED; k++) error += gains[k] * (l->predictions[row][k] - l->drawn.y[row][k]);
        for (int k = 0; k < OBSERVED; k++) l->c[row][k] = 2 * error * gains[k] / BATCH;
        loss += error * error / BATCH;
    }
    return loss;
}

/* phi <- Adam on the task loss, through theta*(phi). The model is not at its optimum, and its Hessian not definite: some
 * iterations with the Gauss-Newton matrix and a ridge are a good direction all the same. */
static void fit_metric(learner *l)
{
    taskmet_solver_options options;
    taskmet_solver_options_init(&options);
    options.solver = TASKMET_SOLVER_GAUSS_NEWTON_CG;
    options.max_iterations = 10;
    options.ridge = 1e-3;
    judge(l);
    CHECK(taskmet_linearization_vjp(l->linearization, l->c[0], OBSERVED, l->theta_gradient, l->theta_count));
    CHECK(taskmet_hypergradient_from_gradient(l->model, l->metric, l->dataset, 0, l->theta_gradient, l->theta_count,
                                              &options, l->workspace, NULL, 0, l->phi_gradient, l->phi_count, NULL));
    CHECK(taskmet_optimizer_step(l->metric_adam, l->phi_gradient, l->phi_count, l->phi, l->phi_count));
    CHECK(taskmet_metric_set_parameters(l->metric, l->phi, l->phi_count));
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The loop                                                                                                          */

/* Prints and returns the task loss over fresh minibatches; weights: Lambda's diagonal. */
static double report(learner *l, const memory *m, const char *method, double *weights, generator *random)
{
    enum { BATCHES = 20 };
    static double lambda[OBSERVED * OBSERVED];
    double loss = 0, largest_noise = 0;
    for (int k = 0; k < BATCHES; k++) {
        draw(m, &l->drawn, random);
        loss += judge(l) / BATCHES;
    }
    CHECK(taskmet_metric_evaluate(l->metric, 1, NULL, 0, lambda, OBSERVED * OBSERVED));
    for (int k = 0; k < OBSERVED; k++) weights[k] = lambda[k * OBSERVED + k];
    for (int k = STATE; k < OBSERVED; k++) largest_noise = fmax(largest_noise, weights[k]);
    printf("%-14s %9.4f   %8.2f %8.2f %8.2f %8.2f   %8.2f\n", method, loss, weights[0], weights[1], weights[2],
           weights[3], largest_noise);
    return loss;
}

/* One run of the simulator; the metric is learned from step `metric_start` on. */
static double learn(const char *method, int64_t steps, int64_t metric_start, uint64_t seed, double *weights)
{
    generator simulator = {seed}, sampling = {seed + 1};
    cart_pole s = cart_pole_start(&simulator);
    learner *l = learner_create(seed);
    memory *m = calloc(1, sizeof *m);
    if (m == NULL) fail("out of memory");
    for (int64_t step = 0; step < steps; step++) {
        s = act(m, s, &simulator);
        if (step < BATCH) continue;
        draw(m, &l->drawn, &sampling);
        fit_model(l);
        if (step >= metric_start) fit_metric(l);
    }
    double loss = report(l, m, method, weights, &sampling);
    free(m);
    learner_destroy(l);
    return loss;
}

static const command cartpole_external = {
    "cartpole_external",
    "usage: cartpole_external [--steps N] [--seed S]\n"
    "\n"
    "Learns a model of a cart with a pole beside 8 coordinates of noise, by least squares and under a learned metric.\n"
    "\n"
    "  --steps N   of the simulator, one update of model and metric after each (default: 6000)\n"
    "  --seed S    (default: 1)\n"};

int main(int argc, char **argv)
{
    int64_t steps = 6000;
    uint64_t seed = 1;
    double identity[OBSERVED], learned[OBSERVED], noise = 0;
    for (int k = 1; k < argc; k++) {
        const command *c = &cartpole_external;
        const char *option = argv[k], *value = option_value(c, argc, argv, &k);
        if (strcmp(option, "--steps") == 0) steps = (int64_t)whole_number(c, option, value, 1, 100000000);
        else if (strcmp(option, "--seed") == 0) seed = whole_number(c, option, value, 0, UINT64_MAX);
        else refuse(c, "unknown option", option);
    }
    printf("method         task loss   position velocity    angle  ang. v.   largest noise   (the metric's weights)\n");
    double before = learn("least squares", steps, steps, seed, identity);
    double after = learn("TaskMet", steps, steps / 10, seed, learned);
    for (int k = STATE; k < OBSERVED; k++) noise = fmax(noise, learned[k]);
    printf("task loss %.0f %% less; the angle weighs %.1f times the largest noise\n", 100 * (1 - after / before),
           learned[2] / noise);
    return 0;
}
