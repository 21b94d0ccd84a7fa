/*
 * make_corpus.c - make_corpus <directory>: writes the seeds that need the library: files of predictors and metrics, and
 * a trainer's state, into the directories of the targets below it (which exist).
 */
#include "target.h"

static const char *path_of(const char *directory, const char *name) {
    static char path[4096];
    snprintf(path, sizeof path, "%s/%s", directory, name);
    return path;
}

static void write_predictors(const char *directory) {
    const int64_t hidden[] = {2, 3};
    const double mean[] = {0.5, -1}, scale[] = {2, 0.5};
    taskmet_predictor *linear, *mlp;
    PROMISE(taskmet_predictor_create_linear(2, 1, 0, &linear) == TASKMET_OK);
    PROMISE(taskmet_predictor_save(linear, path_of(directory, "fuzz_model_file/linear")) == TASKMET_OK);
    PROMISE(taskmet_predictor_create_mlp(2, 1, 2, hidden, TASKMET_ACTIVATION_RELU, TASKMET_ACTIVATION_SIGMOID, 1,
                                         &mlp) == TASKMET_OK);
    PROMISE(taskmet_predictor_set_standardization(mlp, mean, scale, 2, mean, scale, 1) == TASKMET_OK);
    PROMISE(taskmet_predictor_save(mlp, path_of(directory, "fuzz_model_file/mlp")) == TASKMET_OK);
    taskmet_predictor_destroy(linear);
    taskmet_predictor_destroy(mlp);
}

static void write_metrics(const char *directory) {
    const int64_t hidden = 2;
    const double x[] = {0.5, 1, 2, -1}, mean[] = {0, 1}, scale[] = {1, 2};
    taskmet_metric *constant, *conditional;
    PROMISE(taskmet_metric_create_constant(2, TASKMET_STRUCTURE_LOWRANK, 1, 1, &constant) == TASKMET_OK);
    PROMISE(taskmet_metric_set_normalization(constant, TASKMET_NORMALIZATION_FROBENIUS) == TASKMET_OK);
    PROMISE(taskmet_metric_save(constant, path_of(directory, "fuzz_model_file/constant")) == TASKMET_OK);
    PROMISE(taskmet_metric_create_conditional(2, 2, TASKMET_STRUCTURE_FULL, 1, 1, &hidden, TASKMET_ACTIVATION_GELU, 1,
                                              &conditional) == TASKMET_OK);
    PROMISE(taskmet_metric_set_standardization(conditional, mean, scale, 2) == TASKMET_OK);
    PROMISE(taskmet_metric_set_normalization(conditional, TASKMET_NORMALIZATION_BATCH_TRACE) == TASKMET_OK);
    PROMISE(taskmet_metric_update_normalization(conditional, 2, x, 2) == TASKMET_OK);
    PROMISE(taskmet_metric_save(conditional, path_of(directory, "fuzz_model_file/conditional")) == TASKMET_OK);
    taskmet_metric_destroy(constant);
    taskmet_metric_destroy(conditional);
}

static void write_checkpoint(const char *directory) {
    taskmet_trainer *trainer = make_trainer();
    for (int k = 0; k < 2; k += 1) PROMISE(short_step(trainer) == TASKMET_OK);
    PROMISE(taskmet_trainer_save(trainer, path_of(directory, "fuzz_checkpoint/two_steps")) == TASKMET_OK);
    taskmet_trainer_destroy(trainer);
}

int main(int argc, char **argv) {
    if (argc != 2) {
        fprintf(stderr, "usage: make_corpus <directory>\n");
        return 2;
    }
    write_predictors(argv[1]);
    write_metrics(argv[1]);
    write_checkpoint(argv[1]);
    return 0;
}
