/*
 * Scheduling generation for tomorrow (Donti, Amos and Kolter 2017), by the trainer: a linear model forecasts tomorrow's 24
 * hourly loads, what is forecast is scheduled, and a shortage costs a hundred times as much as a surplus. A task's gain is
 * paid for with forecast error; this program prints the whole trade-off, beside two simpler ways to buy it.
 *
 * Data, features, cost and the two other ways are in common/.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arguments.h"
#include "common/load_data.h"
#include "common/models.h"
#include "common/schedule.h"
#include "common/synthetic_load.h"
#include "common/training.h"

typedef struct settings {
    const char *path; /* the data; NULL: generated */
    double cap;       /* of the chosen model's validation error over the two-stage model's */
    int64_t iterations;
    uint64_t seed;
} settings;

/* What the whole trade-off is shown at. */
static const double caps[] = {1.02, 1.05, 1.10, 1.15, INFINITY};
enum { CAPS = sizeof caps / sizeof *caps };

/* ------------------------------------------------------------------------------------------------------------------ */
/* Data                                                                                                              */

static problem generated_problem(uint64_t seed)
{
    FILE *file = tmpfile();
    if (file == NULL) fail("cannot make a temporary file: %s", strerror(errno));
    synthetic_load_write(file, seed);
    rewind(file);
    problem p = load_data_read_stream(file, "the generated data");
    fclose(file);
    return p;
}

static void generate(const char *path, uint64_t seed)
{
    FILE *file = fopen(path, "w");
    if (file == NULL) fail("cannot open %s: %s", path, strerror(errno));
    synthetic_load_write(file, seed);
    int written = !ferror(file);
    if (fclose(file) != 0 || !written) fail("cannot write %s: %s", path, strerror(errno));
    printf("wrote four years of hourly load and temperature to %s\n", path);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Training                                                                                                          */

static const double penalty = 2e-2; /* rho: of the predictor's weights, for both methods */

/* A trainer with the options that are not at their defaults. The metric is a weight for each hour of the day, from a
 * network of the day's features: which errors matter depends on the day. */
static taskmet_trainer *trainer_for(const problem *p, const settings *s)
{
    const int64_t hidden = 64;
    const table *t = &p->training;
    taskmet_predictor *predictor = new_linear_predictor(t);
    taskmet_metric *metric;
    taskmet_trainer *trainer;

    CHECK(taskmet_metric_create_conditional(t->features, t->outputs, TASKMET_STRUCTURE_DIAGONAL, 1, 1, &hidden,
                                            TASKMET_ACTIVATION_RELU, s->seed, &metric));
    trainer = new_trainer(p, predictor, metric);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);

    set_int(trainer, "outer_iterations", s->iterations);
    set_double(trainer, "rho", penalty);
    set_double(trainer, "metric_rate", 0.003); /* small steps: one of them comes close to each cap */
    set_double(trainer, "max_prediction_loss_ratio", s->cap);
    return trainer;
}

/* Two-stage learning: least squares, with the identity for a metric. The trainer's warm-up is all there is to do. */
static taskmet_predictor *fit_two_stage(const problem *p)
{
    taskmet_predictor *predictor = new_linear_predictor(&p->training);
    taskmet_metric *identity = new_identity(p->training.outputs);
    taskmet_trainer *trainer = new_trainer(p, predictor, identity);
    taskmet_metric_destroy(identity);
    taskmet_predictor_destroy(predictor);

    set_string(trainer, "method", "two_stage");
    set_int(trainer, "outer_iterations", 0);
    set_double(trainer, "rho", penalty);
    fit(trainer);
    CHECK(taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_LAST, &predictor));
    taskmet_trainer_destroy(trainer);
    return predictor;
}

static void print_record(const taskmet_record *r)
{
    printf("%9lld  %9.4f  %10.4f  %10.4f  %15.3e  %8.1e  %7s  %7.2f\n", (long long)r->iteration, r->task_loss,
           r->validation_task_loss, r->validation_rmse, r->hypergradient_norm, r->solver_residual,
           r->trusted ? "yes" : "no", r->seconds_total);
}

/*
 * Learns the metric. The trainer keeps one best model, under the one cap that it was told; stepping through the iterations
 * here, instead of taskmet_trainer_fit, lets this program keep the best model under each of the other caps as well.
 */
static void learn_metric(taskmet_trainer *trainer, const settings *s, double two_stage_error, kept_model *kept)
{
    taskmet_record r = {.struct_size = sizeof r};

    puts("\niteration  task loss  validation  RMSE there  |hypergradient|  residual  trusted  seconds");
    for (int64_t k = 1; k <= s->iterations; k++) {
        taskmet_predictor *predictor;
        taskmet_metric *metric;

        CHECK(taskmet_trainer_step(trainer, &r));
        iterate now = {r.iteration, r.task_loss, r.validation_task_loss, r.validation_rmse / two_stage_error};
        CHECK(taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_LAST, &predictor));
        CHECK(taskmet_trainer_copy_metric(trainer, TASKMET_MODEL_LAST, &metric));
        for (int c = 0; c < CAPS; c++) keep_if_better(&kept[c], &now, predictor, metric);
        taskmet_metric_destroy(metric);
        taskmet_predictor_destroy(predictor);
        if (k == 1 || k % 10 == 0) print_record(&r);
    }
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The comparison                                                                                                    */

static void print_trade_off(const problem *p, const taskmet_predictor *two_stage, const kept_model *kept)
{
    schedule_score base = schedule_evaluate(p, two_stage), focused[CAPS];

    schedule_decision_focused(p, two_stage, caps, focused, CAPS);
    schedule_print_head();
    schedule_print("two-stage", INFINITY, base, base);
    for (int c = 0; c < CAPS; c++)
        schedule_print("two-stage + hourly shift", caps[c], schedule_shift(p, two_stage, caps[c]), base);
    for (int c = 0; c < CAPS; c++) schedule_print("decision-focused", caps[c], focused[c], base);
    for (int c = 0; c < CAPS; c++) schedule_print_kept(p, &kept[c], base);
    puts("(cap: what the validation error may at most be, over two-stage's. Of the models within it each line shows the\n"
         "one with the lowest validation cost; nothing was chosen by the test days.)");
}

/* The iteration of the trainer's best model: the last one whose record says so. */
static int64_t best_iteration(const taskmet_trainer *trainer)
{
    int64_t count, best = 0;
    CHECK(taskmet_trainer_history_count(trainer, &count));
    for (int64_t k = 0; k < count; k++) {
        taskmet_record r = {.struct_size = sizeof r};
        CHECK(taskmet_trainer_history_get(trainer, k, &r));
        if (r.is_best) best = r.iteration;
    }
    return best;
}

/* The trainer's own choice, under the cap that it was given. */
static void print_chosen(const problem *p, const settings *s, const taskmet_trainer *trainer, schedule_score base)
{
    taskmet_predictor *best;
    CHECK(taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_BEST, &best));
    schedule_score chosen = schedule_evaluate(p, best);
    taskmet_predictor_destroy(best);

    puts("\nThe trainer's explanation:\n");
    print_explanation(trainer);
    if (best_iteration(trainer) == 0) {
        printf("\nTaskMet: no iteration's validation error is at most %g times two-stage's, at a lower cost\n", s->cap);
        return;
    }
    printf("\nTaskMet, validation error at most %g times two-stage's (iteration %lld): on test days cost %.4f at RMSE "
           "%.4f,\n%.1f %% less than two-stage's %.4f at RMSE %.4f\n",
           s->cap, (long long)best_iteration(trainer), chosen.cost, chosen.error, 100 * (1 - chosen.cost / base.cost),
           base.cost, base.error);
}

static void run(const settings *s)
{
    problem p = s->path != NULL ? load_data_read(s->path) : generated_problem(s->seed);
    kept_model kept[CAPS];
    p.task = schedule_task();
    for (int c = 0; c < CAPS; c++) kept[c] = kept_under(caps[c]);

    printf("Scheduling generation by %s: %lld days to train on, %lld for validation, %lld for the test (seed %llu)\n",
           s->path != NULL ? s->path : "generated data", (long long)p.training.rows, (long long)p.validation.rows,
           (long long)p.test.rows, (unsigned long long)s->seed);
    taskmet_predictor *two_stage = fit_two_stage(&p);
    schedule_score base = schedule_evaluate(&p, two_stage);
    taskmet_trainer *trainer = trainer_for(&p, s);

    learn_metric(trainer, s, base.validation_error, kept);
    print_trade_off(&p, two_stage, kept);
    print_chosen(&p, s, trainer, base);

    for (int c = 0; c < CAPS; c++) kept_destroy(&kept[c]);
    taskmet_trainer_destroy(trainer);
    taskmet_predictor_destroy(two_stage);
    problem_destroy(&p);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The command line                                                                                                  */

static const command grid_scheduling = {
    "grid_scheduling",
    "usage: grid_scheduling [FILE] [--cap C] [--iterations N] [--seed S]\n"
    "       grid_scheduling --generate PATH [--seed S]\n"
    "\n"
    "Schedules generation for real hourly load data, or without FILE for data that it makes up.\n"
    "\n"
    "  FILE            hourly data, a line each: unix time, load in 10^5 MW, temperature in F; New York time.\n"
    "                  PJM's, as published with Donti, Amos and Kolter (2017), will do: power_sched/ in\n"
    "                  https://github.com/locuslab/e2e-model-learning\n"
    "  --cap C         choose among models whose validation error is at most C times two-stage's (default: 1.05)\n"
    "  --iterations N  updates of the metric (default: 120)\n"
    "  --seed S        of the metric's network and of generated data (default: 1)\n"
    "  --generate PATH writes the generated data to a file, and ends\n"};

int main(int argc, char **argv)
{
    settings s = {NULL, 1.05, 120, 1};
    const char *target = NULL;

    for (int k = 1; k < argc; k++) {
        const command *c = &grid_scheduling;
        if (strncmp(argv[k], "--", 2) != 0) {
            if (s.path != NULL) refuse(c, "a second file", argv[k]);
            s.path = argv[k];
            continue;
        }
        const char *option = argv[k], *value = option_value(c, argc, argv, &k);
        if (strcmp(option, "--cap") == 0) s.cap = positive_number(c, option, value);
        else if (strcmp(option, "--iterations") == 0) s.iterations = (int64_t)whole_number(c, option, value, 1, 1000000);
        else if (strcmp(option, "--seed") == 0) s.seed = whole_number(c, option, value, 0, UINT64_MAX);
        else if (strcmp(option, "--generate") == 0) target = value;
        else refuse(c, "unknown option", option);
    }
    if (target != NULL) generate(target, s.seed);
    else run(&s);
    return 0;
}
