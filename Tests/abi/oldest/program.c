/*
 * A program of the days of the taskmet.h beside it, the oldest of TASKMET_ABI_VERSION 0: compiled with that
 * header, and run with the library of today. It uses every kind of thing that crosses the boundary: handles,
 * arrays, structs in and out, callbacks with a struct, files, refusals. Results are compared with closed forms,
 * not with other versions' bits.
 */
#include <taskmet.h>

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;

static void check(int good, const char *what) {
    passed += good != 0;
    failed += good == 0;
    if (!good) printf("FAILED: %s (\"%s\")\n", what, taskmet_last_error());
}

#define CHECK(condition) check((condition) ? 1 : 0, #condition)
#define OK(call) CHECK((call) == TASKMET_OK)

enum { ROWS = 200 };

static double x[ROWS], y[ROWS];
static taskmet_dataset *data;

/* The squared error, with its gradient; counts what it is told. */
static int32_t squared_error(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    int64_t *rows = user;
    *loss = 0;
    if (batch->struct_size < sizeof *batch || batch->outputs != 1 || batch->features != 1 ||
        (batch->phase != TASKMET_PHASE_TRAINING && batch->phase != TASKMET_PHASE_VALIDATION))
        return TASKMET_CALLBACK_ERROR;
    for (int64_t i = 0; i < batch->rows; i += 1) {
        const double error = batch->predictions[i] - batch->targets[i];
        *loss += error * error / (double)batch->rows;
        if (gradient != NULL) gradient[i] = 2 * error / (double)batch->rows;
    }
    *rows += batch->rows;
    return TASKMET_CALLBACK_OK;
}

/* y = 3 x - 1: least squares finds the line. */
static void test_exact_line(taskmet_predictor *line, const taskmet_metric *metric) {
    taskmet_inner_options options;
    struct {
        taskmet_inner_report report;
        double beyond; /* which a newer library must not write to */
    } inner;
    double theta[2] = {0, 0}, loss = 1;
    taskmet_workspace *workspace = NULL;
    memset(&inner, 0, sizeof inner);
    inner.report.struct_size = sizeof inner.report;
    inner.beyond = 42;
    taskmet_inner_options_init(&options);
    CHECK(options.struct_size == sizeof options && options.solver == TASKMET_INNER_LBFGS);
    options.solver = TASKMET_INNER_EXACT;
    OK(taskmet_workspace_create(1, 0, &workspace));
    OK(taskmet_loss_minimize(line, metric, data, 0, &options, workspace, &inner.report));
    OK(taskmet_predictor_get_parameters(line, theta, 2));
    CHECK(fabs(theta[0] - 3) < 1e-12 && fabs(theta[1] + 1) < 1e-12);
    CHECK(inner.report.value < 1e-20 && inner.report.converged == 1 && inner.beyond == 42);
    OK(taskmet_loss_value(line, metric, data, 0, &loss));
    CHECK(loss < 1e-20);
    taskmet_workspace_destroy(workspace);
}

/* A task, its gradient, the hypergradient: zero where the residuals are. */
static void test_hypergradient(const taskmet_predictor *line, const taskmet_metric *metric) {
    taskmet_task *task = NULL;
    int64_t judged = 0, phi = 0;
    double predictions[ROWS], c[ROWS], loss = -1, *out;
    taskmet_solver_options options;
    taskmet_solver_report report;
    taskmet_check_report checked;
    double worst = -1;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    OK(taskmet_task_create_callback(squared_error, &judged, NULL, &task));
    for (int i = 0; i < ROWS; i += 1) predictions[i] = y[i] + 0.5;
    OK(taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, predictions, 1, &loss, c, 1));
    CHECK(fabs(loss - 0.25) < 1e-12 && fabs(c[7] - 1.0 / ROWS) < 1e-15 && judged == ROWS);
    memset(&checked, 0, sizeof checked);
    checked.struct_size = sizeof checked;
    OK(taskmet_task_check_gradient(task, data, predictions, 1, 3, 1, 0, &worst, &checked));
    CHECK(checked.verdict == TASKMET_VERDICT_CORRECT && worst < 1e-6);
    taskmet_solver_options_init(&options);
    options.solver = TASKMET_SOLVER_DENSE;
    OK(taskmet_metric_parameter_count(metric, &phi));
    out = calloc((size_t)phi, sizeof *out);
    OK(taskmet_hypergradient(line, metric, data, 0, c, 1, &options, out, phi, &report));
    CHECK(report.converged == 1 && report.gradient_norm > 0);
    for (int64_t k = 0; k < phi; k += 1) CHECK(fabs(out[k]) < 1e-10);
    free(out);
    taskmet_task_destroy(task);
}

static void test_files(const taskmet_predictor *line, const char *path) {
    taskmet_predictor *loaded = NULL;
    double here = 0.25, there = 0, expected = 3 * 0.25 - 1;
    OK(taskmet_predictor_save(line, path));
    OK(taskmet_predictor_load(path, &loaded));
    OK(taskmet_predictor_predict(loaded, 1, &here, 1, &there, 1));
    CHECK(fabs(there - expected) < 1e-12);
    taskmet_predictor_destroy(loaded);
    CHECK(remove(path) == 0);
}

static void test_refusals(void) {
    taskmet_predictor *p = NULL;
    CHECK(taskmet_predictor_create_linear(0, 1, 1, &p) == TASKMET_ERROR_INVALID_ARGUMENT && p == NULL);
    CHECK(strstr(taskmet_last_error(), "inputs") != NULL);
    CHECK(taskmet_predictor_load("/nonexistent", &p) == TASKMET_ERROR_IO);
    CHECK(strcmp(taskmet_status_name(TASKMET_ERROR_FORMAT), "TASKMET_ERROR_FORMAT") == 0);
}

int main(int argc, char **argv) {
    taskmet_predictor *line = NULL;
    taskmet_metric *metric = NULL;
    const int64_t hidden[] = {4};
    CHECK(taskmet_abi_version() == TASKMET_ABI_VERSION);
    for (int i = 0; i < ROWS; i += 1) {
        x[i] = -1 + 2.0 * i / (ROWS - 1);
        y[i] = 3 * x[i] - 1;
    }
    OK(taskmet_dataset_create(ROWS, 1, x, 1, 1, y, 1, &data));
    OK(taskmet_predictor_create_linear(1, 1, 1, &line));
    OK(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 1, 1, hidden,
                                            TASKMET_ACTIVATION_TANH, 1, &metric));
    test_exact_line(line, metric);
    test_hypergradient(line, metric);
    test_files(line, argc > 1 ? argv[1] : "line.safetensors");
    test_refusals();
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(line);
    taskmet_dataset_destroy(data);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
