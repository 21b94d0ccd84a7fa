/*
 * The cubic problem of the TaskMet paper (section 4.2), by the trainer: the same straight line trained twice, once with the
 * mean squared error (two-stage learning), once under a metric that is learned from the task. The line cannot follow the
 * cubic; the question is where it should be wrong.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arguments.h"
#include "common/cubic.h"
#include "common/models.h"
#include "common/training.h"

typedef struct settings {
    uint64_t seed;      /* of the data, the metric's network and the batches */
    int64_t seeds;      /* how many, from `seed` on */
    const char *preset; /* "default" or "paper" */
    int64_t iterations; /* updates of the metric; 0: as many as the preset says */
} settings;

/* ------------------------------------------------------------------------------------------------------------------ */
/* Training                                                                                                          */

/* A trained model and its marks on the test data. */
typedef struct outcome {
    taskmet_trainer *trainer;
    taskmet_predictor *predictor; /* the trainer's best */
    taskmet_metric *metric;
    taskmet_fit_report report;
    double slope, quality, error; /* quality: of the decisions, normalised; error: mean squared */
} outcome;

/* A metric that is a number for each x, from a network with one hidden layer of 200 units: the paper's. */
static taskmet_metric *new_metric(uint64_t seed)
{
    const int64_t hidden = 200;
    taskmet_metric *metric;
    CHECK(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 1, 1, &hidden, TASKMET_ACTIVATION_RELU,
                                            seed, &metric));
    return metric;
}

/* Both methods get the same options. With the default preset nothing needs to be set: it solves for the line exactly. What
 * the paper's preset leaves to the problem is the rate for the predictor, and how many instances the task judges at once. */
static void set_options(taskmet_trainer *trainer, const settings *s, const char *method)
{
    set_string(trainer, "preset", s->preset);
    if (strcmp(s->preset, "paper") == 0) {
        set_double(trainer, "inner_rate", 0.1);
        set_int(trainer, "outer_batch", 50);
    }
    set_string(trainer, "method", method);
    set_int(trainer, "seed", (int64_t)(s->seed & INT64_MAX));
    if (s->iterations > 0) set_int(trainer, "outer_iterations", s->iterations);
}

/* Takes the metric to begin with. progress may be NULL. */
static outcome train(const problem *p, const settings *s, const char *method, taskmet_metric *metric,
                     taskmet_progress_fn progress)
{
    taskmet_predictor *predictor = new_linear_predictor(&p->training);
    outcome o;

    o.trainer = new_trainer(p, predictor, metric); /* works on copies */
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
    set_options(o.trainer, s, method);
    CHECK(taskmet_trainer_set_progress(o.trainer, progress, NULL));

    o.report = fit(o.trainer);
    CHECK(taskmet_trainer_copy_predictor(o.trainer, TASKMET_MODEL_BEST, &o.predictor));
    CHECK(taskmet_trainer_copy_metric(o.trainer, TASKMET_MODEL_BEST, &o.metric));
    o.slope = cubic_slope(o.predictor);
    o.quality = cubic_decision_quality(p, &p->test, o.predictor, s->seed);
    o.error = mean_squared_error(o.predictor, &p->test);
    return o;
}

static outcome train_two_stage(const problem *p, const settings *s)
{
    return train(p, s, "two_stage", new_identity(1), NULL);
}

static outcome train_taskmet(const problem *p, const settings *s, taskmet_progress_fn progress)
{
    return train(p, s, "taskmet", new_metric(s->seed), progress);
}

static void outcome_destroy(outcome *o)
{
    taskmet_metric_destroy(o->metric);
    taskmet_predictor_destroy(o->predictor);
    taskmet_trainer_destroy(o->trainer);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* One seed, in detail                                                                                               */

/* 0, then 1, 2, 5, 10, 20, 50, ... */
static int is_worth_a_line(int64_t iteration)
{
    while (iteration >= 10 && iteration % 10 == 0) iteration /= 10;
    return iteration <= 2 || iteration == 5;
}

/* What was not measured is NaN. */
static void print_number(int width, double value)
{
    if (isnan(value)) printf("  %*s", width, "-");
    else printf("  %*.4g", width, value);
}

/* The trainer's progress callback. */
static int32_t print_record(void *user, const taskmet_record *record)
{
    (void)user;
    if (record->iteration == 0)
        puts("\niteration  task loss  validation  RMSE there  |hypergradient|   residual  trusted");
    if (!is_worth_a_line(record->iteration)) return TASKMET_CALLBACK_OK;
    printf("%9lld", (long long)record->iteration);
    print_number(9, record->task_loss);
    print_number(10, record->validation_task_loss);
    print_number(10, record->validation_rmse);
    print_number(15, record->hypergradient_norm);
    print_number(9, record->solver_residual);
    printf("  %7s\n", record->iteration == 0 ? "-" : record->trusted ? "yes" : "no");
    return TASKMET_CALLBACK_OK;
}

static void print_outcome(const char *method, const outcome *o)
{
    printf("%-8s  %6.3f  %16.3f  %8.3f  %10lld  %7.2f\n", method, o->slope, o->quality, o->error,
           (long long)o->report.iterations, o->report.seconds);
}

/* Puts a mark where y is in a picture of the plane: -4 at the bottom, 4 at the top. */
enum { PLOT_ROWS = 17, PLOT_COLUMNS = 61 };

static void put_mark(char picture[PLOT_ROWS][PLOT_COLUMNS], int column, double y, char mark)
{
    double row = floor((4 - y) / 8 * (PLOT_ROWS - 1) + 0.5);
    if (row >= 0 && row < PLOT_ROWS) picture[(int)row][column] = mark;
}

/* The cubic, and the two lines, over x. */
static void plot_lines(const taskmet_predictor *two_stage, const taskmet_predictor *taskmet)
{
    char picture[PLOT_ROWS][PLOT_COLUMNS];
    double x[PLOT_COLUMNS], first[PLOT_COLUMNS], second[PLOT_COLUMNS];

    memset(picture, ' ', sizeof picture);
    for (int k = 0; k < PLOT_COLUMNS; k++) x[k] = -1 + 2.0 * k / (PLOT_COLUMNS - 1);
    CHECK(taskmet_predictor_predict(two_stage, PLOT_COLUMNS, x, 1, first, 1));
    CHECK(taskmet_predictor_predict(taskmet, PLOT_COLUMNS, x, 1, second, 1));
    for (int k = 0; k < PLOT_COLUMNS; k++) {
        put_mark(picture, k, 10 * x[k] * x[k] * x[k] - 6.5 * x[k], '*');
        put_mark(picture, k, first[k], 'm');
        put_mark(picture, k, second[k], 'T');
    }

    puts("\nWhat an item at x is worth (*), and the line that predicts it by least squares (m) and by TaskMet (T).");
    puts("The item with the highest prediction is taken, so all that counts is which end of the line is up:");
    for (int row = 0; row < PLOT_ROWS; row++)
        printf("  %4.1f |%.*s\n", 4 - 8.0 * row / (PLOT_ROWS - 1), PLOT_COLUMNS, picture[row]);
    printf("       +%.*s\n", PLOT_COLUMNS, "-------------------------------------------------------------");
    printf("       %-30s%-29s%s\n", "-1", " 0", " x = 1");
}

static void run_one(const settings *s)
{
    problem p = cubic_create(s->seed);
    printf("The cubic problem: take the best of 50 items, by the predictions of a straight line (seed %llu, preset "
           "%s)\n",
           (unsigned long long)s->seed, s->preset);
    outcome two_stage = train_two_stage(&p, s), taskmet = train_taskmet(&p, s, print_record);
    printf("stopped: %s\n", stop_name(taskmet.report.reason));


    plot_lines(two_stage.predictor, taskmet.predictor);
    cubic_plot_metric(taskmet.metric);
    puts("\nThe trainer's explanation:\n");
    print_explanation(taskmet.trainer);

    puts("\nmethod     slope  decision quality  test MSE  iterations  seconds");
    print_outcome("MSE", &two_stage);
    print_outcome("TaskMet", &taskmet);
    printf("(decision quality: 1 is perfect, 0 is chance; any line that rises reaches what a line can; TaskMet's model is "
           "that of\niteration %lld)\n",
           (long long)taskmet.report.best_iteration);

    outcome_destroy(&taskmet);
    outcome_destroy(&two_stage);
    problem_destroy(&p);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Many seeds, in a table                                                                                            */

enum { SLOPE, QUALITY, ERROR, MARKS };

/* The marks of both methods, for mean and standard deviation. */
typedef struct summary {
    double sum[2][MARKS], sum_of_squares[2][MARKS];
    int64_t count;
} summary;

static void add(summary *all, int method, const outcome *o)
{
    const double marks[MARKS] = {o->slope, o->quality, o->error};
    for (int k = 0; k < MARKS; k++) {
        all->sum[method][k] += marks[k];
        all->sum_of_squares[method][k] += marks[k] * marks[k];
    }
}

static void print_summary(const summary *all)
{
    static const char *const methods[] = {"MSE", "TaskMet"};
    double n = (double)all->count;

    puts("\nmean +- standard deviation\nmethod             slope    decision quality            test MSE");
    for (int method = 0; method < 2; method++) {
        printf("%-8s", methods[method]);
        for (int k = 0; k < MARKS; k++) {
            double mean = all->sum[method][k] / n;
            double variance = n > 1 ? (all->sum_of_squares[method][k] - n * mean * mean) / (n - 1) : 0;
            printf("  %8.3f +- %5.3f", mean, sqrt(fmax(variance, 0)));
        }
        putchar('\n');
    }
}

static void run_many(settings s)
{
    summary all = {{{0}}, {{0}}, s.seeds};

    printf("The cubic problem on %lld data sets (preset %s)\n\n", (long long)s.seeds, s.preset);
    puts("            MSE                          TaskMet");
    puts("seed        slope  quality  test MSE     slope  quality  test MSE  iterations  best  seconds");
    for (int64_t k = 0; k < s.seeds; k++, s.seed++) {
        problem p = cubic_create(s.seed);
        outcome two_stage = train_two_stage(&p, &s), taskmet = train_taskmet(&p, &s, NULL);
        printf("%-10llu %6.3f  %7.3f  %8.3f    %6.3f  %7.3f  %8.3f  %10lld  %4lld  %7.2f\n",
               (unsigned long long)s.seed, two_stage.slope, two_stage.quality, two_stage.error, taskmet.slope,
               taskmet.quality, taskmet.error, (long long)taskmet.report.iterations,
               (long long)taskmet.report.best_iteration, taskmet.report.seconds);
        fflush(stdout);
        add(&all, 0, &two_stage);
        add(&all, 1, &taskmet);
        outcome_destroy(&taskmet);
        outcome_destroy(&two_stage);
        problem_destroy(&p);
    }
    print_summary(&all);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* The command line                                                                                                  */

static const command cubic = {
    "cubic",
    "usage: cubic [--seed S] [--seeds N] [--preset default|paper] [--iterations N]\n"
    "\n"
    "The paper's cubic problem: a straight line trained by least squares, and under a learned metric.\n"
    "\n"
    "  --seed S        of the data, the metric's network and the batches (default: 1)\n"
    "  --seeds N       this many data sets, seed S and following: a line each, mean and standard deviation\n"
    "  --preset P      the trainer's options: default, or paper for those of the paper\n"
    "  --iterations N  updates of the metric, at most (default: the preset's)\n"};

int main(int argc, char **argv)
{
    settings s = {1, 0, "default", 0};

    for (int k = 1; k < argc; k++) {
        const command *c = &cubic;
        const char *option = argv[k], *value = option_value(c, argc, argv, &k);
        if (strcmp(option, "--seed") == 0) s.seed = whole_number(c, option, value, 0, UINT64_MAX);
        else if (strcmp(option, "--seeds") == 0) s.seeds = (int64_t)whole_number(c, option, value, 1, 1000000);
        else if (strcmp(option, "--iterations") == 0)
            s.iterations = (int64_t)whole_number(c, option, value, 1, 1000000);
        else if (strcmp(option, "--preset") != 0) refuse(c, "unknown option", option);
        else if (strcmp(value, "default") == 0 || strcmp(value, "paper") == 0) s.preset = value;
        else refuse(c, "not a preset (default, paper)", value);
    }
    if (s.seeds > 0) run_many(s);
    else run_one(&s);
    return 0;
}
