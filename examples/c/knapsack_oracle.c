/*
 * A solver of your own as the task: pack a courier's van, a 0/1 knapsack, by predicted fees.
 *
 * Of 16 parcels with known integer weights those are taken that the van can carry and that pay most; what a parcel
 * pays must be predicted, by a linear model. Express parcels pay more the farther they go, ordinary ones less: the product
 * of two features, which a linear model does not have. Express parcels pay so much that they are taken anyway; where the
 * model must be right is among the ordinary ones. The library gets a dynamic program that packs the van, and no gradient.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/arguments.h"
#include "common/models.h"
#include "common/training.h"

enum { PARCELS = 16, CAPACITY = 20, FEATURES = 4, SEEDS = 5 };
enum { WEIGHT, DISTANCE, EXPRESS, SIZE }; /* a parcel's features */

/* ------------------------------------------------------------------------------------------------------------------ */
/* The oracle                                                                                                        */

/* The parcels to take (1 or 0) for the largest sum of fees, by dynamic programming over the room that is left. */
static void pack(const double *fees, const double *weights, double *taken)
{
    double best[CAPACITY + 1] = {0}; /* what can be earned in that much room */
    char takes[PARCELS][CAPACITY + 1];
    for (int i = 0; i < PARCELS; i++) {
        int weight = (int)weights[i];
        for (int room = CAPACITY; room >= 0; room--) {
            takes[i][room] = room >= weight && best[room - weight] + fees[i] > best[room];
            if (takes[i][room]) best[room] = best[room - weight] + fees[i];
        }
    }
    for (int i = PARCELS - 1, room = CAPACITY; i >= 0; i--) {
        taken[i] = takes[i][room];
        if (takes[i][room]) room -= (int)weights[i];
    }
}

/* The library calls it for many vans at once; the weights of a van's parcels are its instance's context. */
static int32_t pack_vans(void *user, const taskmet_oracle_batch *batch, double *decisions)
{
    (void)user;
    for (int64_t k = 0; k < batch->count; k++) {
        int64_t first = batch->offsets[k];
        if (batch->offsets[k + 1] - first != PARCELS || batch->context == NULL) return TASKMET_CALLBACK_ERROR;
        pack(batch->costs + first, batch->context[k], decisions + first);
    }
    return TASKMET_CALLBACK_OK;
}

static taskmet_task *new_task(const char *name)
{
    const taskmet_sense sense = TASKMET_SENSE_MAXIMIZE;
    taskmet_task *task;
    if (strcmp(name, "spo_plus") == 0) CHECK(taskmet_task_create_spo_plus(sense, pack_vans, NULL, NULL, &task));
    else if (strcmp(name, "perturbed") == 0)
        CHECK(taskmet_task_create_perturbed(sense, pack_vans, NULL, NULL, TASKMET_PERTURBED_FENCHEL_YOUNG, 16, 1.0, 1,
                                            &task));
    else CHECK(taskmet_task_create_blackbox(sense, pack_vans, NULL, NULL, 1.0, &task));
    return task;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Data                                                                                                              */

static double random_parcel(generator *random, double *x, double *weight)
{
    int express = uniform(random, 0, 1) < 0.25;
    *weight = floor(express ? uniform(random, 1, 4) : uniform(random, 3, 9));
    x[WEIGHT] = (*weight - 5) / 2.5;
    x[DISTANCE] = uniform(random, -1, 1);
    x[EXPRESS] = express;
    x[SIZE] = uniform(random, -1, 1);
    double fee = express ? 20 + 14 * x[DISTANCE] : 6 - 4 * x[DISTANCE];
    return (fee + x[SIZE]) * uniform(random, 0.9, 1.1);
}

static table random_vans(generator *random, int64_t vans)
{
    table t = table_create(vans * PARCELS, FEATURES, 1);
    double *weights = new_reals(t.rows);
    int64_t *offsets = malloc((size_t)(vans + 1) * sizeof *offsets);
    if (offsets == NULL) fail("out of memory (%lld vans)", (long long)vans);
    for (int64_t i = 0; i < t.rows; i++) t.y[i] = random_parcel(random, t.x + i * FEATURES, &weights[i]);
    for (int64_t k = 0; k <= vans; k++) offsets[k] = k * PARCELS;
    table_finish(&t, PARCELS);
    CHECK(taskmet_dataset_set_context(t.dataset, weights, vans, offsets));
    free(offsets);
    free(weights);
    return t;
}

static problem random_problem(uint64_t seed, const char *task)
{
    problem p;
    generator random = {seed};
    p.training = random_vans(&random, 200);
    p.validation = random_vans(&random, 100);
    p.test = random_vans(&random, 500);
    p.task = new_task(task);
    return p;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Training and judging                                                                                              */

/* A linear model, and a metric that is a number for each parcel: how much an error in its fee counts. */
static taskmet_predictor *train(const problem *p, const char *method, uint64_t seed, taskmet_fit_report *report)
{
    const int64_t hidden = 16;
    taskmet_predictor *predictor = new_linear_predictor(&p->training), *best;
    taskmet_metric *metric;
    CHECK(taskmet_metric_create_conditional(FEATURES, 1, TASKMET_STRUCTURE_SCALAR, 1, 1, &hidden,
                                            TASKMET_ACTIVATION_TANH, seed, &metric));
    taskmet_trainer *trainer = new_trainer(p, predictor, metric);
    set_string(trainer, "method", method);
    set_int(trainer, "patience", 40);
    *report = fit(trainer);
    CHECK(taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_BEST, &best));
    taskmet_trainer_destroy(trainer);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
    return best;
}

static taskmet_decision_report judge(const problem *p, const taskmet_predictor *predictor)
{
    taskmet_decision_report report = {.struct_size = sizeof report};
    double *predictions = predictions_for(predictor, &p->test);
    CHECK(taskmet_task_decision_quality(p->task, p->test.dataset, predictions, 1, 0, 0, 0, 1, &report));
    free(predictions);
    return report;
}

/* A line of the table: what is lost against packing by the true fees, and how wrong the predicted ones are. */
static void run(uint64_t seed, const char *task)
{
    static const char *const methods[] = {"two_stage", "taskmet"};
    problem p = random_problem(seed, task);
    taskmet_fit_report fitted = {.struct_size = sizeof fitted};

    printf("%-6llu", (unsigned long long)seed);
    for (int method = 0; method < 2; method++) {
        taskmet_predictor *predictor = train(&p, methods[method], seed, &fitted);
        taskmet_decision_report test = judge(&p, predictor);
        double scale = 100 / test.optimal_objective;
        printf("  %6.2f %% (%5.2f to %5.2f)  %7.2f  ", scale * test.regret, scale * test.regret_lower,
               scale * test.regret_upper, test.mean_squared_error);
        taskmet_predictor_destroy(predictor);
    }
    printf("  %4lld  %7.2f\n", (long long)fitted.best_iteration, fitted.seconds);
    fflush(stdout);
    problem_destroy(&p);
}

static const command knapsack = {
    "knapsack_oracle",
    "usage: knapsack_oracle [--seed S] [--task spo_plus|perturbed|blackbox]\n"
    "\n"
    "Packs vans by predicted fees, with a dynamic program as the decision oracle.\n"
    "\n"
    "  --seed S  of the first of five data sets (default: 1)\n"
    "  --task T  what is made of the oracle's decisions in training (default: spo_plus)\n"};

int main(int argc, char **argv)
{
    uint64_t seed = 1;
    const char *task = "spo_plus";
    for (int k = 1; k < argc; k++) {
        const char *option = argv[k], *value = option_value(&knapsack, argc, argv, &k);
        if (strcmp(option, "--seed") == 0) seed = whole_number(&knapsack, option, value, 0, INT64_MAX);
        else if (strcmp(option, "--task") != 0) refuse(&knapsack, "unknown option", option);
        else if (strcmp(value, "spo_plus") == 0 || strcmp(value, "perturbed") == 0 || strcmp(value, "blackbox") == 0)
            task = value;
        else refuse(&knapsack, "not a task (spo_plus, perturbed, blackbox)", value);
    }
    printf("Packing vans by predicted fees; TaskMet learns from a dynamic program by %s.\n"
           "Regret on 500 test vans, in %% of the best packing (95 %% interval), and mean squared error of the fees\n"
           "\n",
           task);
    puts("        two-stage                           TaskMet");
    puts("seed      regret                   error      regret                   error    best  seconds");
    for (int k = 0; k < SEEDS; k++) run(seed + (uint64_t)k, task);
    return 0;
}
