/*
 * calls_metric.c - calls of the functions of metrics.
 */
#include "world.h"

static taskmet_status call_metric_create_constant(world *w) {
    const int64_t outputs = dimension_argument(w, w->outputs);
    const taskmet_structure structure = case_argument(w, TASKMET_STRUCTURE_FULL + 1);
    const int64_t rank = size_argument(w, 1);
    taskmet_metric **made = (taskmet_metric **)output_handle(w);
    return adopt(w, METRIC, taskmet_metric_create_constant(outputs, structure, rank, next_random(w), made),
                 (void **)made);
}

static taskmet_status call_metric_create_conditional(world *w) {
    const int64_t inputs = dimension_argument(w, w->inputs), outputs = dimension_argument(w, w->outputs);
    const taskmet_structure structure = case_argument(w, TASKMET_STRUCTURE_FULL + 1);
    const int64_t rank = size_argument(w, 1), layers = wrong(w) ? size_argument(w, -1) : below(w, 3);
    int64_t *hidden = memory(w, 16 * sizeof *hidden);
    for (int k = 0; k < 16; k += 1) hidden[k] = dimension_argument(w, 1 + below(w, 5));
    const taskmet_activation activation = case_argument(w, TASKMET_ACTIVATION_SILU + 1);
    taskmet_metric **made = (taskmet_metric **)output_handle(w);
    return adopt(w, METRIC,
                 taskmet_metric_create_conditional(inputs, outputs, structure, rank, layers, wrong(w) ? NULL : hidden,
                                                   activation, next_random(w), made),
                 (void **)made);
}

static taskmet_status call_metric_copy(world *w) {
    const argument a = read_argument(w, METRIC);
    taskmet_metric **made = (taskmet_metric **)output_handle(w);
    return adopt(w, METRIC, taskmet_metric_copy(a.handle, made), (void **)made);
}

static taskmet_status call_metric_convert(world *w) {
    const argument a = read_argument(w, METRIC);
    const taskmet_precision precision = precision_argument(w);
    taskmet_metric **made = (taskmet_metric **)output_handle(w);
    return adopt(w, METRIC, taskmet_metric_convert(a.handle, precision, made), (void **)made);
}

static taskmet_status call_metric_precision(world *w) {
    const argument a = read_argument(w, METRIC);
    taskmet_precision *precision = memory(w, sizeof *precision);
    return taskmet_metric_precision(a.handle, wrong(w) ? NULL : precision);
}

static taskmet_status call_metric_destroy(world *w) {
    const argument a = read_argument(w, METRIC);
    forget(w, METRIC, a.handle);
    taskmet_metric_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_metric_shape(world *w) {
    const argument a = read_argument(w, METRIC);
    int64_t *inputs = output_integer(w), *outputs = output_integer(w), *count = output_integer(w);
    return taskmet_metric_shape(a.handle, inputs, outputs, count);
}

static taskmet_status call_metric_parameter_count(world *w) {
    const argument a = read_argument(w, METRIC);
    return taskmet_metric_parameter_count(a.handle, output_integer(w));
}

static taskmet_status call_metric_get_parameters(world *w) {
    const argument a = read_argument(w, METRIC);
    const int64_t count = size_argument(w, sizes_of(w, &a).count);
    return taskmet_metric_get_parameters(a.handle, output(w, count), count);
}

static taskmet_status call_metric_set_parameters(world *w) {
    const argument a = changed_argument(w, METRIC);
    const int64_t count = size_argument(w, sizes_of(w, &a).count);
    return taskmet_metric_set_parameters(a.handle, input(w, count, chance(w, 90) ? 1 : 1e3), count);
}

static taskmet_status call_metric_set_normalization(world *w) {
    const argument a = changed_argument(w, METRIC);
    const taskmet_normalization normalization =
        chance(w, 50) ? TASKMET_NORMALIZATION_BATCH_TRACE : case_argument(w, TASKMET_NORMALIZATION_BATCH_TRACE + 1);
    return taskmet_metric_set_normalization(a.handle, normalization);
}

/* The rows that a metric is asked at: none for a constant one, now and then. */
typedef struct points {
    int64_t rows, stride;
    double *x;
} points;

static points draw_points(world *w, const argument *a) {
    const object o = sizes_of(w, a);
    points p = {.rows = size_argument(w, 1 + below(w, 6)), .stride = stride_argument(w, o.inputs)};
    p.x = input_matrix(w, p.rows, p.stride, 2);
    if (o.inputs == 0 && chance(w, 70)) p.x = NULL, p.stride = 0;
    return p;
}

static taskmet_status call_metric_update_normalization(world *w) {
    const argument a = changed_argument(w, METRIC);
    const points p = draw_points(w, &a);
    return taskmet_metric_update_normalization(a.handle, p.rows, p.x, p.stride);
}

static taskmet_status call_metric_get_normalization_scale(world *w) {
    const argument a = read_argument(w, METRIC);
    return taskmet_metric_get_normalization_scale(a.handle, output(w, 1));
}

static taskmet_status call_metric_set_floor(world *w) {
    const argument a = changed_argument(w, METRIC);
    return taskmet_metric_set_floor(a.handle, real_argument(w, 0.05));
}

static taskmet_status call_metric_set_standardization(world *w) {
    const argument a = changed_argument(w, METRIC);
    if (chance(w, 20)) return taskmet_metric_set_standardization(a.handle, NULL, NULL, size_argument(w, 0));
    const int64_t count = size_argument(w, sizes_of(w, &a).inputs);
    double *scale = input(w, count, 1);
    if (scale != NULL && count > 0 && count < 64 && !wrong(w))
        for (int64_t k = 0; k < count; k += 1) scale[k] = positive_argument(w);
    return taskmet_metric_set_standardization(a.handle, input(w, count, 1), scale, count);
}

static taskmet_status call_metric_evaluate(world *w) {
    const argument a = read_argument(w, METRIC);
    const points p = draw_points(w, &a);
    const int64_t n = sizes_of(w, &a).outputs, rows = p.rows > 0 && p.rows < 64 ? p.rows : 1;
    const int64_t count = size_argument(w, rows * n * n);
    return taskmet_metric_evaluate(a.handle, p.rows, p.x, p.stride, output(w, count), count);
}

static taskmet_status call_metric_vjp(world *w) {
    const argument a = read_argument(w, METRIC);
    const points p = draw_points(w, &a);
    const object o = sizes_of(w, &a);
    const int64_t rows = p.rows > 0 && p.rows < 64 ? p.rows : 1;
    const int64_t cotangents = size_argument(w, rows * o.outputs * o.outputs), count = size_argument(w, o.count);
    return taskmet_metric_vjp(a.handle, p.rows, p.x, p.stride, input(w, cotangents, 1), cotangents, output(w, count),
                              count);
}

static taskmet_status call_metric_regularizer(world *w) {
    const argument a = read_argument(w, METRIC);
    const points p = draw_points(w, &a);
    double *value = chance(w, 30) ? NULL : output(w, 1);
    const int64_t count = chance(w, 30) ? 0 : size_argument(w, sizes_of(w, &a).count);
    double *out = count == 0 && !wrong(w) ? NULL : output(w, count);
    return taskmet_metric_regularizer(a.handle, p.rows, p.x, p.stride, real_argument(w, 0.1), real_argument(w, 0.1),
                                      value, out, count);
}

static taskmet_status call_metric_save(world *w) {
    const argument a = read_argument(w, METRIC);
    return taskmet_metric_save(a.handle, path_argument(w, METRIC));
}

static taskmet_status call_metric_load(world *w) {
    const char *path = path_argument(w, METRIC);
    taskmet_metric **made = (taskmet_metric **)output_handle(w);
    return adopt(w, METRIC, taskmet_metric_load(path, made), (void **)made);
}

const call metric_calls[] = {
    CALLS_OFTEN(metric_create_constant, 20),
    CALLS_OFTEN(metric_create_conditional, 20),
    CALLS(metric_copy),
    CALLS(metric_convert),
    CALLS_OFTEN(metric_precision, 5),
    CALLS_OFTEN(metric_destroy, 15),
    CALLS_OFTEN(metric_shape, 5),
    CALLS_OFTEN(metric_parameter_count, 5),
    CALLS(metric_get_parameters),
    CALLS_OFTEN(metric_set_parameters, 15),
    CALLS_OFTEN(metric_set_normalization, 15),
    CALLS(metric_update_normalization),
    CALLS_OFTEN(metric_get_normalization_scale, 5),
    CALLS(metric_set_floor),
    CALLS(metric_set_standardization),
    CALLS(metric_evaluate),
    CALLS(metric_vjp),
    CALLS(metric_regularizer),
    CALLS(metric_save),
    CALLS(metric_load),
    CALLS_END,
};
