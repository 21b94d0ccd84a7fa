/*
 * fuzz_model_file.c - libFuzzer: any bytes as the file of a predictor and of a metric. What loads is finite, can be
 * used, and is the same after it is saved and loaded again.
 */
#include "target.h"

enum { MOST = 1 << 16 };

static double values[MOST], again[MOST], out[MOST];

static void use_predictor(taskmet_predictor *predictor) {
    int64_t inputs, outputs, count;
    PROMISE(taskmet_predictor_shape(predictor, &inputs, &outputs, &count) == TASKMET_OK);
    if (inputs > MOST || outputs > MOST || count > MOST) return;
    PROMISE(taskmet_predictor_get_parameters(predictor, values, count) == TASKMET_OK);
    PROMISE(all_finite(values, count));
    memset(again, 0, (size_t)inputs * sizeof(double));
    const taskmet_status status = taskmet_predictor_predict(predictor, 1, again, inputs, out, outputs);
    PROMISE(status == TASKMET_OK ? all_finite(out, outputs) : status == TASKMET_ERROR_NUMERICAL);
    taskmet_predictor *copy;
    PROMISE(taskmet_predictor_save(predictor, scratch_path()) == TASKMET_OK);
    PROMISE(taskmet_predictor_load(scratch_path(), &copy) == TASKMET_OK);
    PROMISE(taskmet_predictor_get_parameters(copy, again, count) == TASKMET_OK);
    PROMISE(memcmp(values, again, (size_t)count * sizeof(double)) == 0);
    taskmet_predictor_destroy(copy);
}

static void use_metric(taskmet_metric *metric) {
    int64_t inputs, outputs, count;
    PROMISE(taskmet_metric_shape(metric, &inputs, &outputs, &count) == TASKMET_OK);
    if (inputs > MOST || outputs > 256 || count > MOST) return;
    PROMISE(taskmet_metric_get_parameters(metric, values, count) == TASKMET_OK);
    PROMISE(all_finite(values, count));
    memset(again, 0, (size_t)inputs * sizeof(double));
    const int64_t entries = outputs * outputs;
    const taskmet_status status = taskmet_metric_evaluate(metric, 1, again, inputs, out, entries);
    PROMISE(status == TASKMET_OK ? all_finite(out, entries) : status == TASKMET_ERROR_NUMERICAL);
    taskmet_metric *copy;
    PROMISE(taskmet_metric_save(metric, scratch_path()) == TASKMET_OK);
    PROMISE(taskmet_metric_load(scratch_path(), &copy) == TASKMET_OK);
    PROMISE(taskmet_metric_get_parameters(copy, again, count) == TASKMET_OK);
    PROMISE(memcmp(values, again, (size_t)count * sizeof(double)) == 0);
    taskmet_metric_destroy(copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *path = file_of(data, size);
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    if (loaded(taskmet_predictor_load(path, &predictor))) {
        use_predictor(predictor);
        taskmet_predictor_destroy(predictor);
    }
    if (loaded(taskmet_metric_load(path, &metric))) {
        use_metric(metric);
        taskmet_metric_destroy(metric);
    }
    return 0;
}
