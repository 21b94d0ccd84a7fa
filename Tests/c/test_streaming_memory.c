/*
 * test_streaming_memory.c - half a gigabyte of rows, of either precision, that a callback makes up, processed in a
 * small part of that memory. Each computation is a process of its own, whose largest resident set is compared with its
 * size before. (Built without sanitizers, which keep freed memory.)
 */
#include "streaming.h"

#include <sys/resource.h>
#include <sys/wait.h>

enum { FEATURES = 63, MEBI = 1 << 20 };

/* The rows are 488 MiB; blocks, lanes and kept linearisations may take 100. */
enum { ALLOWED = 100, BYTES = 512000000 };

static taskmet_precision precision;

static double number_at(int64_t row, int64_t column) { return (double)(row * (column + 3) % 101) / 101; }

static void make_up(int64_t first, int64_t count, void *x, void *y) {
    for (int64_t i = 0; i < count; i += 1) {
        const int64_t row = first + i;
        for (int64_t k = 0; k < FEATURES; k += 1) set_number(precision, x, i * FEATURES + k, number_at(row, k));
        set_number(precision, y, i, (double)(row % 1009) / 1009 + number_at(row, 0));
    }
}

static int32_t make_rows(void *user, int64_t first, int64_t count, double *x, double *y) {
    (void)user;
    make_up(first, count, x, y);
    return TASKMET_CALLBACK_OK;
}

static int32_t make_rows_f32(void *user, int64_t first, int64_t count, float *x, float *y) {
    (void)user;
    make_up(first, count, x, y);
    return TASKMET_CALLBACK_OK;
}

static taskmet_dataset *data;
static taskmet_predictor *linear, *mlp;
static taskmet_metric *metric;

static void compute_gradient(taskmet_workspace *workspace) {
    double value = 0, *out = zeros(predictor_count(mlp));
    NEED(taskmet_loss_value_gradient(mlp, metric, data, 0.1, workspace, &value, out, predictor_count(mlp)));
    CHECK(isfinite(value) && value > 0);
    free(out);
}

static void compute_minimum(taskmet_workspace *workspace) {
    taskmet_inner_options options;
    taskmet_inner_options_init(&options);
    options.solver = TASKMET_INNER_EXACT;
    NEED(taskmet_predictor_fit_standardization(linear, data, 3));
    NEED(taskmet_loss_minimize(linear, metric, data, 0.1, &options, workspace, NULL));
}

static void compute_hypergradient(taskmet_workspace *workspace) {
    const int64_t count = predictor_count(mlp), phi = metric_count(metric);
    double *g = random_array(4, count), *out = zeros(phi);
    taskmet_solver_options options;
    taskmet_solver_options_init(&options);
    options.max_iterations = 2;
    NEED(taskmet_hypergradient_from_gradient(mlp, metric, data, 0.1, g, count, &options, workspace, NULL, 0, out, phi,
                                             NULL));
    CHECK(check_max_abs(out, phi) > 0);
    free(g), free(out);
}

static int32_t square_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    double sum = 0;
    (void)user;
    for (int64_t k = 0; k < batch->rows; k += 1) {
        const double error = batch->predictions[k] - batch->targets[k];
        sum += error * error / (double)batch->rows;
        if (gradient != NULL) gradient[k] = 2 * error / (double)batch->rows;
    }
    *loss = sum;
    return TASKMET_CALLBACK_OK;
}

static void train(taskmet_workspace *workspace) {
    taskmet_trainer *trainer = NULL;
    taskmet_task *task = NULL;
    (void)workspace;
    NEED(taskmet_task_create_callback(square_task, NULL, NULL, &task));
    NEED(taskmet_trainer_create(mlp, metric, data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_string(trainer, "inner_solver", "adam"));
    NEED(taskmet_trainer_set_int(trainer, "inner_batch", 5000));
    NEED(taskmet_trainer_set_int(trainer, "outer_batch", 5000));
    NEED(taskmet_trainer_set_int(trainer, "hypergradient_batch", 20000));
    NEED(taskmet_trainer_set_int(trainer, "warmup_iterations", 3));
    NEED(taskmet_trainer_set_int(trainer, "inner_iterations", 3));
    NEED(taskmet_trainer_set_int(trainer, "threads", 2));
    NEED(taskmet_trainer_set_int(trainer, "metric_cache_bytes", MEBI));
    NEED(taskmet_trainer_step(trainer, NULL));
    taskmet_trainer_destroy(trainer);
    taskmet_task_destroy(task);
}

static long peak(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss / 1024;
}

static void test_peak(const char *name, void (*compute)(taskmet_workspace *), int64_t threads) {
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
        taskmet_workspace *workspace = NULL;
        NEED(taskmet_workspace_create(threads, MEBI, &workspace));
        const long before = peak();
        compute(workspace);
        const long grown = peak() - before;
        printf("%s, float%d, %d threads: %ld MiB more\n", name, 8 * (int)number_size(precision), (int)threads, grown);
        CHECK(grown < ALLOWED);
        fflush(stdout);
        _exit(check_failed == 0 ? 0 : 1);
    }
    int status = 0;
    waitpid(child, &status, 0);
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static taskmet_predictor *converted(taskmet_predictor *predictor) {
    taskmet_predictor *result = NULL;
    NEED(taskmet_predictor_convert(predictor, precision, &result));
    taskmet_predictor_destroy(predictor);
    return result;
}

static void make_objects(void) {
    const int64_t rows = BYTES / (FEATURES + 1) / (int64_t)number_size(precision);
    taskmet_metric *wide = make_conditional(2, FEATURES, 1, TASKMET_STRUCTURE_SCALAR, 1, 4);
    if (precision == TASKMET_FLOAT32)
        NEED(taskmet_dataset_create_from_callback_f32(rows, FEATURES, 1, make_rows_f32, NULL, NULL, &data));
    else NEED(taskmet_dataset_create_from_callback(rows, FEATURES, 1, make_rows, NULL, NULL, &data));
    linear = converted(make_linear(1, FEATURES, 1));
    mlp = converted(make_mlp(1, FEATURES, 1, 8));
    NEED(taskmet_metric_convert(wide, precision, &metric));
    taskmet_metric_destroy(wide);
}

static void test_precision(taskmet_precision own) {
    precision = own;
    make_objects();
    for (int64_t threads = 1; threads <= 2; threads += 1) {
        test_peak("gradient", compute_gradient, threads);
        test_peak("exact minimum", compute_minimum, threads);
        test_peak("hypergradient", compute_hypergradient, threads);
    }
    test_peak("trainer", train, 2);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(mlp), taskmet_predictor_destroy(linear);
    taskmet_dataset_destroy(data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_precision(TASKMET_FLOAT64);
    test_precision(TASKMET_FLOAT32);
    return check_end();
}
