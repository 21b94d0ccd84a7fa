/*
 * fuzz_npy.c - libFuzzer: any bytes as the .npy file of a streamed dataset's features and targets at once, and of its
 * targets beside three good rows of features. What is accepted is as large as it says, gives the same loss as its
 * numbers in memory, and a status where its end is gone.
 */
#include "target.h"

enum { GOOD_ROWS = 3, MOST_COLUMNS = 64 };

/* The numbers at a file's end, in memory that is aligned. */
static double *numbers_at_end(const uint8_t *data, size_t size, int64_t count) {
    static double numbers[1 << 13];
    const size_t bytes = (size_t)count * sizeof(double);
    PROMISE(bytes < size && bytes <= sizeof numbers);
    memcpy(numbers, data + size - bytes, bytes);
    return numbers;
}

/* The loss, of a predictor that multiplies all features, so that no number is left out. */
static taskmet_status loss_of(const taskmet_dataset *dataset, double *loss) {
    static double ones[MOST_COLUMNS * MOST_COLUMNS];
    int64_t features, targets;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    PROMISE(taskmet_dataset_shape(dataset, NULL, &features, &targets, NULL) == TASKMET_OK);
    for (int64_t k = 0; k < features * targets; k += 1) ones[k] = 1 + (double)k;
    PROMISE(taskmet_predictor_create_linear(features, targets, 0, &predictor) == TASKMET_OK);
    PROMISE(taskmet_predictor_set_parameters(predictor, ones, features * targets) == TASKMET_OK);
    PROMISE(taskmet_metric_create_constant(targets, TASKMET_STRUCTURE_SCALAR, 1, 0, &metric) == TASKMET_OK);
    const taskmet_status status = taskmet_loss_value(predictor, metric, dataset, 0, loss);
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    return status;
}

/* The streamed dataset gives what the same numbers in memory give; x is NULL where the targets are the features too. */
static void compare(const taskmet_dataset *streamed, const double *x, const uint8_t *data, size_t size) {
    int64_t rows, features, targets;
    double loss = 0, expected = 0;
    taskmet_dataset *kept;
    PROMISE(taskmet_dataset_shape(streamed, &rows, &features, &targets, NULL) == TASKMET_OK);
    PROMISE(rows >= 1 && targets >= 1 && rows <= (int64_t)size && targets <= (int64_t)size);
    const double *y = numbers_at_end(data, size, rows * targets);
    if (targets > MOST_COLUMNS) return;
    const taskmet_status status = loss_of(streamed, &loss);
    if (taskmet_dataset_create(rows, features, x == NULL ? y : x, features, targets, y, targets, &kept) != TASKMET_OK) {
        PROMISE(!all_finite(y, rows * targets) && status == TASKMET_ERROR_FORMAT);
        return;
    }
    PROMISE(status == loss_of(kept, &expected) && memcmp(&loss, &expected, sizeof loss) == 0);
    taskmet_dataset_destroy(kept);
}

/* Three rows of two features, as a file that stays. */
static const char *good_file(const double *x) {
    static const char *path;
    static const char start[] = "\x93NUMPY\x01\0v\0{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }";
    char header[128];
    if (path != NULL) return path;
    memset(header, ' ', sizeof header);
    memcpy(header, start, sizeof start - 1);
    header[sizeof header - 1] = '\n';
    path = scratch_path();
    FILE *file = fopen(path, "wb");
    PROMISE(file != NULL && fwrite(header, sizeof header, 1, file) == 1);
    PROMISE(fwrite(x, sizeof(double), 2 * GOOD_ROWS, file) == 2 * GOOD_ROWS && fclose(file) == 0);
    return path;
}

static void judge(const char *x_path, const double *x, const uint8_t *data, size_t size) {
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
    judge(NULL, NULL, data, size);
    judge(good_file(x), x, data, size);
    return 0;
}
