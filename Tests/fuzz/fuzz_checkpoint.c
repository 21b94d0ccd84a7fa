/*
 * fuzz_checkpoint.c - libFuzzer: any bytes as the file of a trainer's state. A refused one leaves the trainer without a
 * history; one that loads can be looked at, saved, and trained on: with success, or with a status and a message.
 */
#include "target.h"

static void look_at(taskmet_trainer *trainer) {
    int64_t count, size;
    PROMISE(taskmet_trainer_history_count(trainer, &count) == TASKMET_OK);
    for (int64_t k = 0; k < count; k += 1) {
        taskmet_record record = {.struct_size = sizeof record};
        PROMISE(taskmet_trainer_history_get(trainer, k, &record) == TASKMET_OK);
    }
    if (loaded(taskmet_trainer_explain(trainer, NULL, 0, &size))) PROMISE(size > 0); /* NUMERICAL where phi is huge */
    for (taskmet_model model = TASKMET_MODEL_BEST; model <= TASKMET_MODEL_LAST; model += 1) {
        taskmet_predictor *predictor;
        taskmet_metric *metric;
        if (loaded(taskmet_trainer_copy_predictor(trainer, model, &predictor))) taskmet_predictor_destroy(predictor);
        if (loaded(taskmet_trainer_copy_metric(trainer, model, &metric))) taskmet_metric_destroy(metric);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    taskmet_trainer *trainer = make_trainer();
    if (loaded(taskmet_trainer_load(trainer, file_of(data, size)))) {
        look_at(trainer);
        loaded(short_step(trainer));
        look_at(trainer);
        PROMISE(taskmet_trainer_save(trainer, scratch_path()) == TASKMET_OK);
        PROMISE(taskmet_trainer_load(trainer, scratch_path()) == TASKMET_OK);
    } else {
        int64_t count = -1;
        PROMISE(taskmet_trainer_history_count(trainer, &count) == TASKMET_OK && count == 0);
    }
    taskmet_trainer_destroy(trainer);
    return 0;
}
