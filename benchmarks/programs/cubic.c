/*
 * The cubic problem of the TaskMet paper from start to result, by the paper's recipe: a line that falls (least squares) is
 * trained under a learned metric until it rises, which is the best that a line can do.
 *
 *     cubic DATA SEED
 *
 * DATA: doubles, x then y of 200 training instances of 50 items, then of 400 test instances. Prints one line of JSON: outer
 * iterations, the slope, the decision quality on the test instances. programs/cubic.py is the same in PyTorch.
 */
#include <stdio.h>
#include <stdlib.h>
#include <taskmet.h>

enum { ITEMS = 50, TRAINING = 200, TEST = 400, MOST_ITERATIONS = 1000 };

#define CHECK(call) check((call), #call)

static void check(taskmet_status status, const char *call)
{
    if (status == TASKMET_OK) return;
    fprintf(stderr, "%s: %s\n", call, taskmet_last_error());
    exit(1);
}

/* Reads x and y of some instances, and makes a dataset of them; the arrays stay. */
static taskmet_dataset *read_instances(FILE *file, int64_t instances, double **x, double **y)
{
    const size_t rows = (size_t)instances * ITEMS;
    int64_t *offsets = malloc(((size_t)instances + 1) * sizeof *offsets);
    taskmet_dataset *dataset = NULL;
    *x = malloc(rows * sizeof **x);
    *y = malloc(rows * sizeof **y);
    if (offsets == NULL || *x == NULL || *y == NULL || fread(*x, sizeof **x, rows, file) != rows
        || fread(*y, sizeof **y, rows, file) != rows) {
        fprintf(stderr, "the data file is too short\n");
        exit(1);
    }
    for (int64_t k = 0; k <= instances; k++) offsets[k] = k * ITEMS;
    CHECK(taskmet_dataset_create((int64_t)rows, 1, *x, 1, 1, *y, 1, &dataset));
    CHECK(taskmet_dataset_set_instances(dataset, instances, offsets));
    free(offsets);
    return dataset;
}

/* The paper's recipe for this problem: see its preset in the library's options. */
static taskmet_trainer *new_trainer(taskmet_dataset *training, taskmet_task *task, uint64_t seed)
{
    const int64_t hidden = 200;
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    taskmet_trainer *trainer = NULL;
    CHECK(taskmet_predictor_create_linear(1, 1, 1, &predictor));
    CHECK(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 1, 1, &hidden, TASKMET_ACTIVATION_RELU, seed,
                                            &metric));
    CHECK(taskmet_trainer_create(predictor, metric, training, &trainer));
    CHECK(taskmet_trainer_add_task(trainer, task, 1));
    CHECK(taskmet_trainer_set_string(trainer, "preset", "paper"));
    CHECK(taskmet_trainer_set_double(trainer, "inner_rate", 0.1));
    CHECK(taskmet_trainer_set_int(trainer, "outer_batch", 50));
    CHECK(taskmet_trainer_set_int(trainer, "seed", (int64_t)seed));
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    return trainer;
}

static double slope_of(const taskmet_trainer *trainer, taskmet_predictor **predictor)
{
    double parameters[2];
    CHECK(taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_LAST, predictor));
    CHECK(taskmet_predictor_get_parameters(*predictor, parameters, 2));
    return parameters[0];
}

int main(int count, char **arguments)
{
    taskmet_dataset *training, *test;
    taskmet_task *task;
    taskmet_predictor *predictor = NULL;
    taskmet_decision_report report = {.struct_size = sizeof report};
    double *arrays[4], *predictions, slope = -1;
    int iterations = 0;
    FILE *file = count == 3 ? fopen(arguments[1], "rb") : NULL;
    if (file == NULL) {
        fprintf(stderr, "usage: cubic DATA SEED\n");
        return 2;
    }
    training = read_instances(file, TRAINING, &arrays[0], &arrays[1]);
    test = read_instances(file, TEST, &arrays[2], &arrays[3]);
    fclose(file);

    CHECK(taskmet_task_create_topk(1, 0.01, 1, &task));
    taskmet_trainer *trainer = new_trainer(training, task, strtoull(arguments[2], NULL, 10));
    while (slope <= 0 && iterations < MOST_ITERATIONS) {
        CHECK(taskmet_trainer_step(trainer, NULL));
        iterations += 1;
        taskmet_predictor_destroy(predictor);
        slope = slope_of(trainer, &predictor);
    }

    predictions = malloc(TEST * ITEMS * sizeof *predictions);
    if (predictions == NULL) return 1;
    CHECK(taskmet_predictor_predict(predictor, TEST * ITEMS, arrays[2], 1, predictions, 1));
    CHECK(taskmet_task_decision_quality(task, test, predictions, 1, 10, 1, 0, 1, &report));
    printf("{\"iterations\": %d, \"slope\": %.6f, \"quality\": %.6f}\n", iterations, slope, report.decision_quality);

    free(predictions);
    for (int k = 0; k < 4; k++) free(arrays[k]);
    taskmet_predictor_destroy(predictor);
    taskmet_trainer_destroy(trainer);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(training);
    taskmet_dataset_destroy(test);
    return 0;
}
