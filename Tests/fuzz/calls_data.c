/*
 * calls_data.c - calls of the functions of the version, of datasets and of workspaces.
 */
#include "world.h"

#include <stdlib.h>
#include <string.h>

static taskmet_status call_version(world *w) {
    (void)w;
    if (strcmp(taskmet_version(), "") == 0) report_finding("the version is empty");
    return TASKMET_OK;
}

static taskmet_status call_abi_version(world *w) {
    (void)w;
    if (taskmet_abi_version() != TASKMET_ABI_VERSION) report_finding("the ABI's number is %d", taskmet_abi_version());
    return TASKMET_OK;
}

static taskmet_status call_status_name(world *w) {
    const int32_t status = case_argument(w, MOST_STATUS + 1);
    const int known = status >= 0 && status <= MOST_STATUS;
    if (known != (strcmp(taskmet_status_name(status), "unknown status") != 0))
        report_finding("the name of status %d is %s", status, taskmet_status_name(status));
    return TASKMET_OK;
}

static taskmet_status call_last_error(world *w) {
    (void)w;
    if (taskmet_last_error() == NULL) report_finding("the last error is NULL");
    return TASKMET_OK;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Datasets                                                                                                         */

/* The arguments that a dataset is made of. */
typedef struct data {
    int64_t rows, features, x_stride, targets, y_stride;
    double *x, *y;
} data;

static data draw_data(world *w, int64_t rows, int64_t features, int64_t targets) {
    data d = {.rows = size_argument(w, rows), .features = features, .targets = targets};
    d.x_stride = stride_argument(w, d.features);
    d.y_stride = stride_argument(w, d.targets);
    d.x = input_matrix(w, d.rows, d.x_stride, 2);
    d.y = input_matrix(w, d.rows, d.y_stride, 2);
    if (d.y != NULL && chance(w, 40)) /* in [0, 1), as a click-through rate */
        for (size_t k = 0; k < input_size(d.rows, d.y_stride); k += 1) d.y[k] = d.y[k] < 0 ? -d.y[k] / 2 : d.y[k] / 2;
    return d;
}

static taskmet_status call_dataset_create(world *w) {
    const int64_t features = chance(w, 95) ? w->inputs : size_argument(w, 2);
    const int64_t targets = chance(w, 95) ? w->outputs : size_argument(w, 2);
    const data d = draw_data(w, chance(w, 80) ? w->rows : 1 + below(w, 9), features, targets);
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    return adopt(w, DATASET,
                 taskmet_dataset_create(d.rows, d.features, d.x, d.x_stride, d.targets, d.y, d.y_stride, made),
                 (void **)made);
}

static double *copy(const double *values, int64_t rows, int64_t stride) {
    if (values == NULL) return NULL;
    const size_t count = input_size(rows, stride);
    double *copied = malloc((count + 1) * sizeof *copied);
    if (copied == NULL) abort();
    memcpy(copied, values, count * sizeof *copied);
    return copied;
}

static taskmet_status call_dataset_borrow(world *w) {
    const data d = draw_data(w, w->rows, w->inputs, w->outputs);
    owned *owner = new_owner(w);
    owner->x = copy(d.x, d.rows, d.x_stride);
    owner->y = copy(d.y, d.rows, d.y_stride);
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    return adopt_owned(w, DATASET,
                       taskmet_dataset_borrow(d.rows, d.features, owner->x, d.x_stride, d.targets, owner->y, d.y_stride,
                                              release_owned, owner, made),
                       (void **)made, owner);
}

/* The same numbers, as far as float32 has them: what is too large becomes infinite. */
static float *narrow(world *w, const double *values, int64_t rows, int64_t stride) {
    if (values == NULL) return NULL;
    const size_t count = input_size(rows, stride);
    float *narrowed = memory(w, (count + 1) * sizeof *narrowed);
    for (size_t k = 0; k < count; k++) narrowed[k] = (float)values[k];
    return narrowed;
}

static taskmet_status call_dataset_create_f32(world *w) {
    const data d = draw_data(w, w->rows, w->inputs, w->outputs);
    const float *x = narrow(w, d.x, d.rows, d.x_stride), *y = narrow(w, d.y, d.rows, d.y_stride);
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    return adopt(w, DATASET,
                 taskmet_dataset_create_f32(d.rows, d.features, x, d.x_stride, d.targets, y, d.y_stride, made),
                 (void **)made);
}

/* The owner holds float32 numbers where it has room for float64 ones. */
static float *narrow_in_place(double *values, int64_t rows, int64_t stride) {
    if (values == NULL) return NULL;
    float *narrowed = (float *)(void *)values;
    const size_t count = input_size(rows, stride);
    for (size_t k = 0; k < count; k++) {
        double value;
        memcpy(&value, values + k, sizeof value);
        const float rounded = (float)value;
        memcpy(narrowed + k, &rounded, sizeof rounded);
    }
    return narrowed;
}

static taskmet_status call_dataset_borrow_f32(world *w) {
    const data d = draw_data(w, w->rows, w->inputs, w->outputs);
    owned *owner = new_owner(w);
    owner->x = copy(d.x, d.rows, d.x_stride);
    owner->y = copy(d.y, d.rows, d.y_stride);
    const float *x = narrow_in_place(owner->x, d.rows, d.x_stride), *y = narrow_in_place(owner->y, d.rows, d.y_stride);
    taskmet_dataset **made = (taskmet_dataset **)output_handle(w);
    return adopt_owned(w, DATASET,
                       taskmet_dataset_borrow_f32(d.rows, d.features, x, d.x_stride, d.targets, y, d.y_stride,
                                                  release_owned, owner, made),
                       (void **)made, owner);
}

static taskmet_status call_dataset_destroy(world *w) {
    const argument a = read_argument(w, DATASET);
    forget(w, DATASET, a.handle);
    taskmet_dataset_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_dataset_refill(world *w) {
    const argument a = changed_argument(w, DATASET);
    const object sizes = sizes_of(w, &a);
    const data d = draw_data(w, chance(w, 70) ? sizes.rows : 1 + below(w, 9), sizes.inputs, sizes.outputs);
    const int weighted = chance(w, 50);
    const int64_t count = weighted ? size_argument(w, d.rows) : 0;
    const double *weights = weighted ? input(w, count, 1) : NULL;
    return taskmet_dataset_refill(a.handle, d.rows, d.x, d.x_stride, d.y, d.y_stride, weights, count);
}

static taskmet_status call_dataset_refill_f32(world *w) {
    const argument a = changed_argument(w, DATASET);
    const object sizes = sizes_of(w, &a);
    const data d = draw_data(w, chance(w, 70) ? sizes.rows : 1 + below(w, 9), sizes.inputs, sizes.outputs);
    const float *x = narrow(w, d.x, d.rows, d.x_stride), *y = narrow(w, d.y, d.rows, d.y_stride);
    return taskmet_dataset_refill_f32(a.handle, d.rows, x, d.x_stride, y, d.y_stride, NULL, 0);
}

static taskmet_status call_dataset_precision(world *w) {
    const argument a = read_argument(w, DATASET);
    taskmet_precision *precision = memory(w, sizeof *precision);
    return taskmet_dataset_precision(a.handle, wrong(w) ? NULL : precision);
}

/* Offsets of instances: of the world's group, or of random sizes; sometimes not increasing. */
static int64_t *draw_offsets(world *w, int64_t rows, int64_t *instances) {
    int64_t *offsets = memory(w, (size_t)(rows + 2) * sizeof *offsets);
    const int64_t group = chance(w, 80) && rows % w->group == 0 ? w->group : 1 + below(w, rows);
    *instances = 0;
    while (offsets[*instances] < rows) {
        const int64_t end = offsets[*instances] + group;
        offsets[++*instances] = end < rows ? end : rows;
    }
    if (wrong(w)) offsets[below(w, *instances + 1)] += below(w, 5) - 2;
    if (wrong(w)) offsets[below(w, *instances + 1)] = chance(w, 50) ? INT64_MAX : INT64_MIN;
    return offsets;
}

static taskmet_status call_dataset_set_instances(world *w) {
    const argument a = changed_argument(w, DATASET);
    const int64_t rows = sizes_of(w, &a).rows;
    int64_t instances;
    const int64_t *offsets = draw_offsets(w, rows < 1 || rows > 4096 ? 1 : rows, &instances);
    if (wrong(w)) instances = chance(w, 50) ? instances - 1 : size_argument(w, -1);
    return taskmet_dataset_set_instances(a.handle, instances, instances > rows ? NULL : offsets);
}

static taskmet_status call_dataset_set_weights(world *w) {
    const argument a = changed_argument(w, DATASET);
    const int64_t count = size_argument(w, sizes_of(w, &a).rows);
    double *weights = input(w, count, 1);
    if (weights != NULL && count > 0 && count < 4096 && !wrong(w))
        for (int64_t k = 0; k < count; k += 1) weights[k] = weights[k] < 0 ? 0 : weights[k];
    return taskmet_dataset_set_weights(a.handle, weights, count);
}

/* A positive definite matrix of `size` rows. */
static void fill_covariance(world *w, double *matrix, int64_t size) {
    for (int64_t i = 0; i < size; i += 1)
        for (int64_t j = 0; j <= i; j += 1)
            matrix[i * size + j] = matrix[j * size + i] = i == j ? 1 + (double)size : 0.5 * uniform(w);
}

static taskmet_status call_dataset_set_context(world *w) {
    const argument a = changed_argument(w, DATASET);
    if (chance(w, 10)) return taskmet_dataset_set_context(a.handle, NULL, 0, NULL);
    const object o = sizes_of(w, &a);
    const int64_t instances = o.instances < 1 || o.instances > 4096 ? 1 : o.instances;
    const int64_t entries = w->group * o.outputs, each = chance(w, 70) ? entries * entries : below(w, 5);
    int64_t *offsets = memory(w, (size_t)(instances + 1) * sizeof *offsets);
    double *values = memory(w, (size_t)(instances * each + 1) * sizeof *values);
    for (int64_t k = 0; k < instances; k += 1) {
        offsets[k + 1] = (k + 1) * each;
        if (each == entries * entries) fill_covariance(w, values + k * each, entries);
    }
    if (each > 0 && wrong(w)) values[below(w, instances * each)] = real_argument(w, -5);
    if (wrong(w)) offsets[below(w, instances)] = below(w, 3) - 1;
    const int64_t claimed = wrong(w) ? instances - 1 : instances;
    return taskmet_dataset_set_context(a.handle, wrong(w) ? NULL : values, claimed, wrong(w) ? NULL : offsets);
}

static taskmet_status call_dataset_shape(world *w) {
    const argument a = read_argument(w, DATASET);
    int64_t *rows = output_integer(w), *features = output_integer(w);
    int64_t *targets = output_integer(w), *instances = output_integer(w);
    return taskmet_dataset_shape(a.handle, rows, features, targets, instances);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Workspaces                                                                                                       */

static taskmet_status call_workspace_create(world *w) {
    const int64_t threads = size_argument(w, chance(w, 80) ? 1 : 1 + below(w, 3));
    const int64_t bytes = size_argument(w, chance(w, 50) ? 0 : below(w, 5000));
    taskmet_workspace **made = (taskmet_workspace **)output_handle(w);
    return adopt(w, WORKSPACE, taskmet_workspace_create(threads, bytes, made), (void **)made);
}

static taskmet_status call_workspace_destroy(world *w) {
    const argument a = read_argument(w, WORKSPACE);
    forget(w, WORKSPACE, a.handle);
    taskmet_workspace_destroy(a.handle);
    return TASKMET_OK;
}

const call data_calls[] = {
    CALLS_OFTEN(version, 1),
    CALLS_OFTEN(abi_version, 1),
    CALLS_OFTEN(status_name, 1),
    CALLS_OFTEN(last_error, 1),
    CALLS_OFTEN(dataset_create, 40),
    CALLS(dataset_borrow),
    CALLS(dataset_create_f32),
    CALLS(dataset_borrow_f32),
    CALLS(dataset_refill_f32),
    CALLS_OFTEN(dataset_precision, 5),
    CALLS_OFTEN(dataset_destroy, 15),
    CALLS(dataset_refill),
    CALLS_OFTEN(dataset_set_instances, 25),
    CALLS(dataset_set_weights),
    CALLS(dataset_set_context),
    CALLS_OFTEN(dataset_shape, 5),
    CALLS(workspace_create),
    CALLS_OFTEN(workspace_destroy, 5),
    CALLS_END,
};
