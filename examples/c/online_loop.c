/*
 * An external training loop: TaskMet's Algorithm 1 by hand, on the step level of the library. Without arguments it solves
 * the paper's cubic problem; with --load FILE it schedules generation for real hourly load data. The loop is the same:
 *
 *     repeat
 *         theta = argmin of the prediction loss under the metric      taskmet_loss_minimize
 *         c     = d task loss / d predictions                         taskmet_task_gradient: the problem's callback
 *         h     = d task loss / d phi, through theta                  taskmet_hypergradient_from_gradient
 *         phi   = a step of Adam against h                            taskmet_optimizer_step
 *
 * The problems themselves (data, task callback, scores) are in common/.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arguments.h"
#include "common/cubic.h"
#include "common/load_data.h"
#include "common/models.h"
#include "common/schedule.h"

typedef struct settings {
    taskmet_structure structure; /* of the metric's factor */
    int64_t hidden;              /* units of the metric's network */
    double rho;                  /* of the prediction loss */
    int64_t iterations;          /* updates of phi */
    double rate;                 /* Adam's, for phi */
    double cap;                  /* see kept_model in common/models.h */
    uint64_t seed;
    int64_t report_interval;                           /* a line of progress every so many iterations, */
    const char *statistic_name;                        /* with one number about the predictor in it: */
    double (*statistic)(const taskmet_predictor *predictor); /* may be NULL */
} settings;

/* ------------------------------------------------------------------------------------------------------------------ */
/* Models                                                                                                            */

/* Moves the predictor to the least loss under a metric: theta*(phi), exactly, because it is linear. */
static void fit(taskmet_predictor *predictor, const taskmet_metric *metric, const table *training, double rho,
                taskmet_workspace *workspace)
{
    taskmet_inner_options options;
    taskmet_inner_options_init(&options);
    options.solver = TASKMET_INNER_EXACT;
    CHECK(taskmet_loss_minimize(predictor, metric, training->dataset, rho, &options, workspace, NULL));
}

/* Two-stage learning: least squares, that is the identity for a metric, without a look at the task. */
static taskmet_predictor *fit_two_stage(const table *training, double rho)
{
    taskmet_metric *identity = new_identity(training->outputs);
    taskmet_predictor *predictor = new_linear_predictor(training);
    fit(predictor, identity, training, rho, NULL);
    taskmet_metric_destroy(identity);
    return predictor;
}

/* A metric close to the identity, from a network of the row's features. */
static taskmet_metric *new_metric(const settings *s, const table *training)
{
    const double floor = 0.01; /* no row's weight goes to nothing */
    int64_t count;
    double *phi;
    taskmet_metric *metric;

    CHECK(taskmet_metric_create_conditional(training->features, training->outputs, s->structure, 1, 1, &s->hidden,
                                            TASKMET_ACTIVATION_RELU, s->seed, &metric));
    CHECK(taskmet_metric_set_normalization(metric, TASKMET_NORMALIZATION_BATCH_TRACE));
    CHECK(taskmet_metric_set_floor(metric, floor));

    /* eps = exp(s) + floor still begins at 0.1; s is phi's last entry. */
    CHECK(taskmet_metric_parameter_count(metric, &count));
    phi = new_reals(count);
    CHECK(taskmet_metric_get_parameters(metric, phi, count));
    phi[count - 1] = log(0.1 - floor);
    CHECK(taskmet_metric_set_parameters(metric, phi, count));
    free(phi);
    return metric;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Algorithm 1                                                                                                       */

/* What the loop keeps from one iteration to the next. */
typedef struct learner {
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_optimizer *adam;
    taskmet_workspace *workspace;
    int64_t theta_count, phi_count;
    double *phi, *hypergradient; /* phi_count */
    double *g;                   /* theta_count: d task loss / d theta */
    double *c;                   /* rows x outputs: d task loss / d predictions */
} learner;

static learner learner_create(const settings *s, const table *training)
{
    learner l;
    l.predictor = new_linear_predictor(training);
    l.metric = new_metric(s, training);
    CHECK(taskmet_predictor_parameter_count(l.predictor, &l.theta_count));
    CHECK(taskmet_metric_parameter_count(l.metric, &l.phi_count));
    CHECK(taskmet_optimizer_create_adam(l.phi_count, s->rate, 0.9, 0.999, 1e-8, &l.adam));
    CHECK(taskmet_workspace_create(1, 0, &l.workspace));
    l.phi = new_reals(l.phi_count);
    l.hypergradient = new_reals(l.phi_count);
    l.g = new_reals(l.theta_count);
    l.c = new_reals(training->rows * training->outputs);
    CHECK(taskmet_metric_get_parameters(l.metric, l.phi, l.phi_count));
    return l;
}

static void learner_destroy(learner *l)
{
    free(l->c);
    free(l->g);
    free(l->hypergradient);
    free(l->phi);
    taskmet_workspace_destroy(l->workspace);
    taskmet_optimizer_destroy(l->adam);
    taskmet_metric_destroy(l->metric);
    taskmet_predictor_destroy(l->predictor);
}

/* theta*(phi), and the task's loss there with its derivatives by the predictions (c) and by theta (g). */
static double solve_inner_problem(learner *l, const problem *p, const settings *s)
{
    const table *t = &p->training;
    double loss, *predictions;

    CHECK(taskmet_metric_update_normalization(l->metric, t->rows, t->x, t->features));
    fit(l->predictor, l->metric, t, s->rho, l->workspace);
    predictions = predictions_for(l->predictor, t);
    CHECK(taskmet_task_gradient(p->task, t->dataset, TASKMET_PHASE_TRAINING, predictions, t->outputs, &loss, l->c,
                                t->outputs));
    CHECK(taskmet_predictor_vjp(l->predictor, t->rows, t->x, t->features, l->c, t->outputs, l->g, l->theta_count));
    free(predictions);
    return loss;
}

/* d task loss / d phi, by H^-1 g. With a linear predictor H is cheap and the dense solver exact; for others there is
 * TASKMET_SOLVER_CG, which begins at the v of the iteration before if it is given an array for it. */
static taskmet_solver_report find_hypergradient(learner *l, const problem *p, const settings *s)
{
    taskmet_solver_options options;
    taskmet_solver_report report = {.struct_size = sizeof report};

    taskmet_solver_options_init(&options);
    options.solver = TASKMET_SOLVER_DENSE;
    CHECK(taskmet_hypergradient_from_gradient(l->predictor, l->metric, p->training.dataset, s->rho, l->g,
                                              l->theta_count, &options, l->workspace, NULL, 0, l->hypergradient,
                                              l->phi_count, &report));
    return report;
}

static double norm(const double *values, int64_t count)
{
    double sum = 0;
    for (int64_t i = 0; i < count; i++) sum += values[i] * values[i];
    return sqrt(sum);
}

/* A step of Adam, with the hypergradient clipped to norm 1: where decisions are about to change it can be a hundred times as
 * long as elsewhere, and Adam would take hundreds of iterations to forget that one. */
static void update_metric(learner *l)
{
    double length = norm(l->hypergradient, l->phi_count);
    if (length > 1)
        for (int64_t i = 0; i < l->phi_count; i++) l->hypergradient[i] /= length;
    CHECK(taskmet_optimizer_step(l->adam, l->hypergradient, l->phi_count, l->phi, l->phi_count));
    CHECK(taskmet_metric_set_parameters(l->metric, l->phi, l->phi_count));
}

static void report_iterate(const iterate *now, const taskmet_solver_report *solver, const learner *l,
                           const settings *s)
{
    if (now->iteration == 0)
        printf("\niteration  task loss  validation  error/two-stage  |hypergradient|  residual%s%s\n",
               s->statistic != NULL ? "  " : "", s->statistic != NULL ? s->statistic_name : "");
    printf("%9lld  %9.4f  %10.4f  %15.3f  %15.3e  %8.1e", (long long)now->iteration, now->training_loss,
           now->validation_loss, now->error_ratio, norm(l->hypergradient, l->phi_count), solver->residual);
    if (s->statistic != NULL) printf("  %*.3f", (int)strlen(s->statistic_name), s->statistic(l->predictor));
    putchar('\n');
}

/* Learns the metric, and fills each of the kept models. */
static void learn_metric(const problem *p, const settings *s, const taskmet_predictor *two_stage, kept_model *kept,
                         int kept_count)
{
    learner l = learner_create(s, &p->training);
    double two_stage_error = sqrt(mean_squared_error(two_stage, &p->validation));
    iterate now;

    for (now.iteration = 0; now.iteration <= s->iterations; now.iteration++) {
        now.training_loss = solve_inner_problem(&l, p, s);
        taskmet_solver_report solver = find_hypergradient(&l, p, s);
        now.validation_loss = task_loss(p, &p->validation, TASKMET_PHASE_VALIDATION, l.predictor);
        now.error_ratio = sqrt(mean_squared_error(l.predictor, &p->validation)) / two_stage_error;

        for (int k = 0; k < kept_count; k++) keep_if_better(&kept[k], &now, l.predictor, l.metric);
        if (now.iteration % s->report_interval == 0 || now.iteration == s->iterations)
            report_iterate(&now, &solver, &l, s);
        if (now.iteration < s->iterations) update_metric(&l);
    }
    learner_destroy(&l);
}

/* Is the callback's gradient the derivative of its loss? Asked once, where training begins. */
static void check_task(const problem *p, const taskmet_predictor *predictor, uint64_t seed)
{
    static const char *const verdicts[] = {"correct", "WRONG", "undecided: too noisy to tell"};
    const table *t = &p->training;
    double worst, *predictions = predictions_for(predictor, t);
    taskmet_check_report report = {.struct_size = sizeof report};

    CHECK(taskmet_task_check_gradient(p->task, t->dataset, predictions, t->outputs, 10, seed, 0, &worst, &report));
    free(predictions);
    printf("the task callback's gradient is %s (largest relative error %.1e in %lld directions)\n",
           report.verdict >= 0 && report.verdict <= 2 ? verdicts[report.verdict] : "of an unknown verdict", worst,
           (long long)report.directions);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The two problems                                                                                                  */

static void print_cubic(const char *method, const problem *p, const taskmet_predictor *predictor, uint64_t seed)
{
    printf("%-12s %6.3f  %16.3f  %8.3f\n", method, cubic_slope(predictor),
           cubic_decision_quality(p, &p->test, predictor, seed), mean_squared_error(predictor, &p->test));
}

static void run_cubic(settings s)
{
    problem p = cubic_create(s.seed);
    taskmet_predictor *two_stage = fit_two_stage(&p.training, s.rho);
    kept_model best = kept_under(s.cap);

    printf("The cubic problem: take the best of 50 items, by the predictions of a straight line (seed %llu)\n",
           (unsigned long long)s.seed);
    check_task(&p, two_stage, s.seed);
    learn_metric(&p, &s, two_stage, &best, 1);

    puts("\nmethod        slope  decision quality  test MSE");
    print_cubic("MSE", &p, two_stage, s.seed);
    if (best.iteration >= 0) {
        print_cubic("TaskMet", &p, best.predictor, s.seed);
        printf("(TaskMet's model is that of iteration %lld: the best of those whose validation error is at most %g times "
               "MSE's)\n",
               (long long)best.iteration, s.cap);
        cubic_plot_metric(best.metric);
    } else {
        printf("TaskMet: no iteration's error is within the cap of %g\n", s.cap);
    }
    kept_destroy(&best);
    taskmet_predictor_destroy(two_stage);
    problem_destroy(&p);
}

static void run_load(settings s, const char *path)
{
    enum { KEPT = 6 }; /* the chosen model, then the whole trade-off */
    problem p = load_data_read(path);
    p.task = schedule_task();
    taskmet_predictor *two_stage = fit_two_stage(&p.training, s.rho);
    schedule_score base = schedule_evaluate(&p, two_stage), focused;
    kept_model kept[KEPT] = {kept_under(s.cap),  kept_under(1.02), kept_under(1.05),
                             kept_under(1.10), kept_under(1.15), kept_under(INFINITY)};

    printf("Scheduling generation: %lld days to train on, %lld for validation, %lld for the test (seed %llu)\n",
           (long long)p.training.rows, (long long)p.validation.rows, (long long)p.test.rows,
           (unsigned long long)s.seed);
    check_task(&p, two_stage, s.seed);
    learn_metric(&p, &s, two_stage, kept, KEPT);

    schedule_print_head();
    schedule_print("two-stage", INFINITY, base, base);
    schedule_print("two-stage + hourly shift", s.cap, schedule_shift(&p, two_stage, s.cap), base);
    schedule_print("two-stage + hourly shift", INFINITY, schedule_shift(&p, two_stage, INFINITY), base);
    schedule_decision_focused(&p, two_stage, &s.cap, &focused, 1);
    schedule_print("decision-focused", s.cap, focused, base);
    for (int k = 1; k < KEPT; k++) schedule_print_kept(&p, &kept[k], base);

    if (kept[0].iteration >= 0) {
        schedule_score chosen = schedule_evaluate(&p, kept[0].predictor);
        printf("\nTaskMet, validation error at most %g times two-stage's (iteration %lld): held-out cost %.4f at RMSE "
               "%.4f,\n%.1f %% less than two-stage's %.4f at RMSE %.4f\n",
               s.cap, (long long)kept[0].iteration, chosen.cost, chosen.error, 100 * (1 - chosen.cost / base.cost),
               base.cost, base.error);
    } else {
        printf("\nTaskMet: no iteration's error is within the cap of %g\n", s.cap);
    }
    for (int k = 0; k < KEPT; k++) kept_destroy(&kept[k]);
    taskmet_predictor_destroy(two_stage);
    problem_destroy(&p);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The command line                                                                                                  */

static const command online_loop = {
    "online_loop",
    "usage: online_loop [--load FILE] [--cap C] [--iterations N] [--rate R] [--seed S]\n"
    "\n"
    "Learns a metric for the cubic problem, or, with --load, for scheduling generation.\n"
    "\n"
    "  --load FILE     hourly data, a line each: unix time, load in 10^5 MW, temperature in F; New York time.\n"
    "                  PJM's, as published with Donti, Amos and Kolter (2017), will do: power_sched/ in\n"
    "                  https://github.com/locuslab/e2e-model-learning\n"
    "  --cap C         choose among models whose validation error is at most C times two-stage's\n"
    "                  (default: 1.15, with --load 1.05)\n"
    "  --iterations N  updates of the metric (default: 30, with --load 100)\n"
    "  --rate R        learning rate of the metric (default: 0.005, with --load 0.01)\n"
    "  --seed S        of the cubic data and of the metric's network (default: 1)\n"};

int main(int argc, char **argv)
{
    const char *path = NULL;
    settings cubic = {.structure = TASKMET_STRUCTURE_SCALAR, .hidden = 200, .rho = 0, .iterations = 30, .rate = 0.005,
                      .cap = 1.15, .seed = 1, .report_interval = 5, .statistic_name = "slope",
                      .statistic = cubic_slope};
    settings load = {.structure = TASKMET_STRUCTURE_DIAGONAL, .hidden = 64, .rho = 2e-2, .iterations = 100,
                     .rate = 0.01, .cap = 1.05, .seed = 1, .report_interval = 10};

    for (int k = 1; k < argc; k++) {
        const command *c = &online_loop;
        const char *option = argv[k], *value = option_value(c, argc, argv, &k);
        if (strcmp(option, "--load") == 0) path = value;
        else if (strcmp(option, "--cap") == 0) cubic.cap = load.cap = positive_number(c, option, value);
        else if (strcmp(option, "--rate") == 0) cubic.rate = load.rate = positive_number(c, option, value);
        else if (strcmp(option, "--iterations") == 0)
            cubic.iterations = load.iterations = (int64_t)whole_number(c, option, value, 1, 1000000);
        else if (strcmp(option, "--seed") == 0) cubic.seed = load.seed = whole_number(c, option, value, 0, UINT64_MAX);
        else refuse(c, "unknown option", option);
    }
    if (path != NULL) run_load(load, path);
    else run_cubic(cubic);
    return 0;
}
