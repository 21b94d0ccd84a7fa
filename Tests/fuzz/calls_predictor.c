/*
 * calls_predictor.c - calls of the functions of predictors and of linearisations.
 */
#include "world.h"

#include <string.h>

static taskmet_status call_predictor_create_linear(world *w) {
    const int64_t inputs = dimension_argument(w, w->inputs), outputs = dimension_argument(w, w->outputs);
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    return adopt(w, PREDICTOR, taskmet_predictor_create_linear(inputs, outputs, case_argument(w, 2), made),
                 (void **)made);
}

static taskmet_status call_predictor_create_mlp(world *w) {
    const int64_t inputs = dimension_argument(w, w->inputs), outputs = dimension_argument(w, w->outputs);
    const int64_t layers = wrong(w) ? size_argument(w, -1) : below(w, 3);
    int64_t *hidden = memory(w, 16 * sizeof *hidden);
    for (int k = 0; k < 16; k += 1) hidden[k] = dimension_argument(w, 1 + below(w, 6));
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    const taskmet_activation activation = case_argument(w, TASKMET_ACTIVATION_SILU + 1);
    const taskmet_activation last = chance(w, 70) ? 0 : case_argument(w, TASKMET_ACTIVATION_SILU + 1);
    if (layers == 0 || wrong(w)) hidden = NULL;
    return adopt(w, PREDICTOR,
                 taskmet_predictor_create_mlp(inputs, outputs, layers, hidden, activation, last, next_random(w), made),
                 (void **)made);
}

static taskmet_status call_predictor_create_callback(world *w) {
    const int64_t inputs = size_argument(w, w->inputs);
    /* The callbacks know the world's sizes alone: others are given where they are refused. */
    const int64_t outputs = wrong(w) ? -below(w, 3) : w->outputs;
    const int64_t count = wrong(w) ? -below(w, 3) : CALLBACK_PARAMETERS;
    const double *theta = chance(w, 30) ? NULL : input(w, CALLBACK_PARAMETERS, 1);
    taskmet_predictor_callbacks *callbacks = memory(w, sizeof *callbacks);
    *callbacks = predictor_callbacks;
    callbacks->struct_size = struct_size_argument(w, sizeof *callbacks);
    if (callbacks->struct_size > sizeof *callbacks) callbacks->struct_size = 3; /* the rest would be read */
    if (chance(w, 20)) callbacks->hvp = NULL;
    if (wrong(w)) callbacks->vjp = NULL;
    owned *owner = new_owner(w);
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    return adopt_owned(w, PREDICTOR,
                       taskmet_predictor_create_callback(inputs, outputs, theta, count, callbacks, owner, release_owned,
                                                         made),
                       (void **)made, owner);
}

static taskmet_status call_predictor_copy(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    return adopt(w, PREDICTOR, taskmet_predictor_copy(a.handle, made), (void **)made);
}

static taskmet_status call_predictor_convert(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    const taskmet_precision precision = precision_argument(w);
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    return adopt(w, PREDICTOR, taskmet_predictor_convert(a.handle, precision, made), (void **)made);
}

static taskmet_status call_predictor_precision(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    taskmet_precision *precision = memory(w, sizeof *precision);
    return taskmet_predictor_precision(a.handle, wrong(w) ? NULL : precision);
}

static taskmet_status call_predictor_destroy(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    forget(w, PREDICTOR, a.handle);
    taskmet_predictor_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_predictor_shape(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    int64_t *inputs = output_integer(w), *outputs = output_integer(w), *count = output_integer(w);
    return taskmet_predictor_shape(a.handle, inputs, outputs, count);
}

static taskmet_status call_predictor_parameter_count(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    return taskmet_predictor_parameter_count(a.handle, output_integer(w));
}

static taskmet_status call_predictor_get_parameters(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    const int64_t count = size_argument(w, sizes_of(w, &a).count);
    return taskmet_predictor_get_parameters(a.handle, output(w, count), count);
}

static taskmet_status call_predictor_set_parameters(world *w) {
    const argument a = changed_argument(w, PREDICTOR);
    const int64_t count = size_argument(w, sizes_of(w, &a).count);
    return taskmet_predictor_set_parameters(a.handle, input(w, count, chance(w, 90) ? 1 : 1e3), count);
}

static taskmet_status call_predictor_set_penalize_bias(world *w) {
    const argument a = changed_argument(w, PREDICTOR);
    return taskmet_predictor_set_penalize_bias(a.handle, case_argument(w, 2));
}

/* A pair of means and scales, or none. */
static int64_t draw_standardization(world *w, int64_t right, double **mean, double **scale) {
    *mean = *scale = NULL;
    if (chance(w, 30)) return wrong(w) ? right : 0;
    const int64_t count = size_argument(w, right);
    *mean = input(w, count, 1);
    *scale = input(w, count, 1);
    if (*scale != NULL && !wrong(w))
        for (int64_t k = 0; k < right && count == right; k += 1) (*scale)[k] = positive_argument(w);
    return count;
}

static taskmet_status call_predictor_set_standardization(world *w) {
    const argument a = changed_argument(w, PREDICTOR);
    const object o = sizes_of(w, &a);
    double *input_mean, *input_scale, *target_mean, *target_scale;
    const int64_t inputs = draw_standardization(w, o.inputs, &input_mean, &input_scale);
    const int64_t targets = draw_standardization(w, o.outputs, &target_mean, &target_scale);
    return taskmet_predictor_set_standardization(a.handle, input_mean, input_scale, inputs, target_mean, target_scale,
                                                 targets);
}

static taskmet_status call_predictor_fit_standardization(world *w) {
    const argument a = changed_argument(w, PREDICTOR), d = read_argument(w, DATASET);
    return taskmet_predictor_fit_standardization(a.handle, d.handle, case_argument(w, 4));
}

static taskmet_status call_predictor_predict(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    const object o = sizes_of(w, &a);
    const int64_t rows = size_argument(w, 1 + below(w, 8));
    const int64_t x_stride = stride_argument(w, o.inputs), out_stride = stride_argument(w, o.outputs);
    return taskmet_predictor_predict(a.handle, rows, input_matrix(w, rows, x_stride, 2), x_stride,
                                     output_matrix(w, rows, out_stride), out_stride);
}

static taskmet_status call_predictor_vjp(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    const object o = sizes_of(w, &a);
    const int64_t rows = size_argument(w, 1 + below(w, 8)), count = size_argument(w, o.count);
    const int64_t x_stride = stride_argument(w, o.inputs), c_stride = stride_argument(w, o.outputs);
    return taskmet_predictor_vjp(a.handle, rows, input_matrix(w, rows, x_stride, 2), x_stride,
                                 input_matrix(w, rows, c_stride, 2), c_stride, output(w, count), count);
}

static taskmet_status call_predictor_jvp(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    const object o = sizes_of(w, &a);
    const int64_t rows = size_argument(w, 1 + below(w, 8)), count = size_argument(w, o.count);
    const int64_t x_stride = stride_argument(w, o.inputs), out_stride = stride_argument(w, o.outputs);
    return taskmet_predictor_jvp(a.handle, rows, input_matrix(w, rows, x_stride, 2), x_stride, input(w, count, 1),
                                 count, output_matrix(w, rows, out_stride), out_stride);
}

static taskmet_status call_predictor_save(world *w) {
    const argument a = read_argument(w, PREDICTOR);
    return taskmet_predictor_save(a.handle, path_argument(w, PREDICTOR));
}

static taskmet_status call_predictor_load(world *w) {
    const char *path = path_argument(w, PREDICTOR);
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    return adopt(w, PREDICTOR, taskmet_predictor_load(path, made), (void **)made);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Linearisations                                                                                                   */

static taskmet_status call_linearization_create(world *w) {
    taskmet_linearization **made = (taskmet_linearization **)output_handle(w);
    return adopt(w, LINEARIZATION, taskmet_linearization_create(made), (void **)made);
}

static taskmet_status call_linearization_destroy(world *w) {
    const argument a = read_argument(w, LINEARIZATION);
    forget(w, LINEARIZATION, a.handle);
    taskmet_linearization_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_linearization_update(world *w) {
    const argument a = changed_argument(w, LINEARIZATION), p = read_argument(w, PREDICTOR);
    object o = sizes_of(w, &p);
    o.rows = size_argument(w, 1 + below(w, 5));
    const int64_t x_stride = stride_argument(w, o.inputs), out_stride = stride_argument(w, o.outputs);
    double *out = chance(w, 30) ? NULL : output_matrix(w, o.rows, out_stride);
    const taskmet_status status = taskmet_linearization_update(
        a.handle, p.handle, o.rows, input_matrix(w, o.rows, x_stride, 2), x_stride, out, out_stride);
    if (status == TASKMET_OK) note_sizes(w, a.handle, o);
    return status;
}

/* What it was last made at; small numbers where that is nothing. */
static object linearized(world *w, const argument *a) {
    object o = sizes_of(w, a);
    if (o.rows == 0) o.rows = 1;
    return o;
}

static taskmet_status call_linearization_vjp(world *w) {
    const argument a = changed_argument(w, LINEARIZATION);
    const object o = linearized(w, &a);
    const int64_t stride = stride_argument(w, o.outputs), count = size_argument(w, o.count);
    return taskmet_linearization_vjp(a.handle, input_matrix(w, o.rows, stride, 1), stride, output(w, count), count);
}

static taskmet_status call_linearization_input_vjp(world *w) {
    const argument a = changed_argument(w, LINEARIZATION);
    const object o = linearized(w, &a);
    const int64_t stride = stride_argument(w, o.outputs), out_stride = stride_argument(w, o.inputs);
    return taskmet_linearization_input_vjp(a.handle, input_matrix(w, o.rows, stride, 1), stride,
                                           output_matrix(w, o.rows, out_stride), out_stride);
}

static taskmet_status call_linearization_jvp(world *w) {
    const argument a = changed_argument(w, LINEARIZATION);
    const object o = linearized(w, &a);
    const int64_t out_stride = stride_argument(w, o.outputs), count = size_argument(w, o.count);
    return taskmet_linearization_jvp(a.handle, input(w, count, 1), count, output_matrix(w, o.rows, out_stride),
                                     out_stride);
}

static taskmet_status call_linearization_hvp(world *w) {
    const argument a = changed_argument(w, LINEARIZATION);
    const object o = linearized(w, &a);
    const int64_t stride = stride_argument(w, o.outputs);
    const int64_t count = size_argument(w, o.count), w_count = size_argument(w, o.count);
    return taskmet_linearization_hvp(a.handle, input_matrix(w, o.rows, stride, 1), stride, input(w, w_count, 1),
                                     w_count, output(w, count), count);
}

const call predictor_calls[] = {
    CALLS_OFTEN(predictor_create_linear, 20),
    CALLS_OFTEN(predictor_create_mlp, 20),
    CALLS(predictor_create_callback),
    CALLS(predictor_copy),
    CALLS(predictor_convert),
    CALLS_OFTEN(predictor_precision, 5),
    CALLS_OFTEN(predictor_destroy, 20),
    CALLS_OFTEN(predictor_shape, 5),
    CALLS_OFTEN(predictor_parameter_count, 5),
    CALLS(predictor_get_parameters),
    CALLS_OFTEN(predictor_set_parameters, 20),
    CALLS(predictor_set_penalize_bias),
    CALLS(predictor_set_standardization),
    CALLS(predictor_fit_standardization),
    CALLS(predictor_predict),
    CALLS(predictor_vjp),
    CALLS(predictor_jvp),
    CALLS(predictor_save),
    CALLS(predictor_load),
    CALLS_OFTEN(linearization_create, 5),
    CALLS_OFTEN(linearization_destroy, 3),
    CALLS_OFTEN(linearization_update, 15),
    CALLS(linearization_vjp),
    CALLS(linearization_input_vjp),
    CALLS(linearization_jvp),
    CALLS(linearization_hvp),
    CALLS_END,
};
