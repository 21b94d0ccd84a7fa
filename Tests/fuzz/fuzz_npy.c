/*
 * fuzz_npy.c - libFuzzer: any bytes as the .npy file of a streamed dataset's features and targets at once, and of its
 * targets beside three good rows of features, in float64 and in float32. What is accepted is as large as it says,
 * gives the same loss as its numbers in memory, and a status where its end is gone.
 */
#include "target.h"

enum { GOOD_ROWS = 3, MOST_COLUMNS = 64 };

static taskmet_precision precision_of(const taskmet_dataset *dataset) {
    taskmet_precision precision;
    PROMISE(taskmet_dataset_precision(dataset, &precision) == TASKMET_OK);
    PROMISE(precision == TASKMET_FLOAT64 || precision == TASKMET_FLOAT32);
    return precision;
}

/* The numbers at a file's end, in memory that is aligned. */
static const void *numbers_at_end(taskmet_precision precision, const uint8_t *data, size_t size, int64_t count) {
    static double numbers[1 << 13];
    const size_t bytes = (size_t)count * (precision == TASKMET_FLOAT32 ? sizeof(float) : sizeof(double));
    PROMISE(bytes < size && bytes <= sizeof numbers);
    memcpy(numbers, data + size - bytes, bytes);
    return numbers;
}

static int are_finite(taskmet_precision precision, const void *numbers, int64_t count) {
    if (precision == TASKMET_FLOAT64) return all_finite(numbers, count);
    for (int64_t k = 0; k < count; k += 1)
        if (!isfinite(((const float *)numbers)[k])) return 0;
    return 1;
}

static taskmet_status make_in_memory(taskmet_precision precision, int64_t rows, int64_t features, const void *x,
                                     int64_t targets, const void *y, taskmet_dataset **made) {
    return precision == TASKMET_FLOAT64
               ? taskmet_dataset_create(rows, features, x, features, targets, y, targets, made)
               : taskmet_dataset_create_f32(rows, features, x, features, targets, y, targets, made);
}

/* The loss, of a predictor that multiplies all features, so that no number is left out. */
static taskmet_status loss_of(const taskmet_dataset *dataset, double *loss) {
    static double ones[MOST_COLUMNS * MOST_COLUMNS];
    int64_t features, targets;
    taskmet_predictor *wide, *predictor;
    taskmet_metric *wide_metric, *metric;
    const taskmet_precision precision = precision_of(dataset);
    PROMISE(taskmet_dataset_shape(dataset, NULL, &features, &targets, NULL) == TASKMET_OK);
    for (int64_t k = 0; k < features * targets; k += 1) ones[k] = 1 + (double)k;
    PROMISE(taskmet_predictor_create_linear(features, targets, 0, &wide) == TASKMET_OK);
    PROMISE(taskmet_predictor_set_parameters(wide, ones, features * targets) == TASKMET_OK);
    PROMISE(taskmet_predictor_convert(wide, precision, &predictor) == TASKMET_OK);
    PROMISE(taskmet_metric_create_constant(targets, TASKMET_STRUCTURE_SCALAR, 1, 0, &wide_metric) == TASKMET_OK);
    PROMISE(taskmet_metric_convert(wide_metric, precision, &metric) == TASKMET_OK);
    const taskmet_status status = taskmet_loss_value(predictor, metric, dataset, 0, loss);
    taskmet_predictor_destroy(wide), taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(wide_metric), taskmet_metric_destroy(metric);
    return status;
}

/* The streamed dataset gives what the same numbers in memory give; x is NULL where the targets are the features too. */
static void compare(const taskmet_dataset *streamed, const void *x, const uint8_t *data, size_t size) {
    int64_t rows, features, targets;
    double loss = 0, expected = 0;
    taskmet_dataset *kept;
    const taskmet_precision precision = precision_of(streamed);
    PROMISE(taskmet_dataset_shape(streamed, &rows, &features, &targets, NULL) == TASKMET_OK);
    PROMISE(rows >= 1 && targets >= 1 && rows <= (int64_t)size && targets <= (int64_t)size);
    const void *y = numbers_at_end(precision, data, size, rows * targets);
    if (targets > MOST_COLUMNS) return;
    const taskmet_status status = loss_of(streamed, &loss);
    if (make_in_memory(precision, rows, features, x == NULL ? y : x, targets, y, &kept) != TASKMET_OK) {
        PROMISE(!are_finite(precision, y, rows * targets) && status == TASKMET_ERROR_FORMAT);
        return;
    }
    PROMISE(status == loss_of(kept, &expected) && memcmp(&loss, &expected, sizeof loss) == 0);
    taskmet_dataset_destroy(kept);
}

/* Three rows of two features, as a file that stays. */
static const char *good_file(taskmet_precision precision, const void *x) {
    static char paths[2][80];
    static const char start[] = "\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }";
    const size_t size = precision == TASKMET_FLOAT32 ? sizeof(float) : sizeof(double);
    char header[128], *const path = paths[precision];
    if (path[0] != 0) return path;
    memset(header, ' ', sizeof header);
    memcpy(header, start, sizeof start - 1);
    *strchr(header + 10, '8') = (char)('0' + size);
    header[sizeof header - 1] = '\n';
    snprintf(path, sizeof paths[0], "%s-%d", scratch_path(), (int)size);
    FILE *file = fopen(path, "wb");
    PROMISE(file != NULL && fwrite(header, sizeof header, 1, file) == 1);
    PROMISE(fwrite(x, size, 2 * GOOD_ROWS, file) == 2 * GOOD_ROWS && fclose(file) == 0);
    return path;
}

static void judge(const char *x_path, const void *x, const uint8_t *data, size_t size) {
    taskmet_dataset *dataset = NULL;
    double loss;
    const char *path = file_of(data, size);
    if (!loaded(taskmet_dataset_create_from_files(x_path == NULL ? path : x_path, path, &dataset))) {
        PROMISE(dataset == NULL);
        return;
    }
    int64_t columns;
    PROMISE(taskmet_dataset_shape(dataset, NULL, NULL, &columns, NULL) == TASKMET_OK);
    compare(dataset, x, data, size);
    file_of(data, size - 1);
    if (columns <= MOST_COLUMNS) PROMISE(loss_of(dataset, &loss) == TASKMET_ERROR_IO);
    taskmet_dataset_destroy(dataset);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const double x[2 * GOOD_ROWS] = {1, 2, 0.5, -1, 0, 3};
    static const float narrow[2 * GOOD_ROWS] = {1, 2, 0.5, -1, 0, 3};
    judge(NULL, NULL, data, size);
    judge(good_file(TASKMET_FLOAT64, x), x, data, size);
    judge(good_file(TASKMET_FLOAT32, narrow), narrow, data, size);
    return 0;
}
