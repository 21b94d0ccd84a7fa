/*
 * test_arguments_tasks.c - bad arguments of the task functions and the gradient checks; what destroying handles that are
 * none does (nothing).
 */
#include "arguments.h"

enum { TRAINING = TASKMET_PHASE_TRAINING };

static void test_task(void) {
    const double *const f = W.numbers;
    const int64_t n = TARGETS;
    REFUSE_NULL("fn", taskmet_task_create_callback(NULL, &W.freed, count_release, &O.made.task));
    REFUSE_NULL("task", taskmet_task_create_callback(square_task, &W.freed, count_release, NULL));
    REFUSE_HANDLE(task, "task", taskmet_task_gradient(bad, W.data, TRAINING, f, n, &O.value, O.real, n));
    REFUSE_HANDLE(dataset, "dataset", taskmet_task_gradient(W.task, bad, TRAINING, f, n, &O.value, O.real, n));
    REFUSE_ENUM("phase", taskmet_task_gradient(W.task, W.data, bad, f, n, &O.value, O.real, n));
    REFUSE(INVALID, "phase", "2", taskmet_task_gradient(W.task, W.data, 2, f, n, &O.value, O.real, n));
    REFUSE_NULL("predictions", taskmet_task_gradient(W.task, W.data, TRAINING, NULL, n, &O.value, O.real, n));
    REFUSE_STRIDE("predictions_stride", n,
                  taskmet_task_gradient(W.task, W.data, TRAINING, f, bad, &O.value, O.real, n));
    REFUSE_ARRAY("predictions", W.numbers, ROWS *TARGETS,
                 taskmet_task_gradient(W.task, W.data, TRAINING, bad, n, &O.value, O.real, n));
    REFUSE_NULL("loss", taskmet_task_gradient(W.task, W.data, TRAINING, f, n, NULL, O.real, n));
    REFUSE_STRIDE("gradient_stride", n,
                  taskmet_task_gradient(W.task, W.data, TRAINING, f, n, &O.value, O.real, bad));
    double loss = 0;
    CHECK_OK(taskmet_task_gradient(W.task, W.data, TRAINING, f, n, &loss, NULL, 0));
    CHECK(isfinite(loss));
}

#define REFUSE_LODL(allowed, field, number, text)                                                                    \
    do {                                                                                                             \
        taskmet_lodl_options bad;                                                                                    \
        taskmet_lodl_options_init(&bad);                                                                             \
        bad.field = number;                                                                                          \
        REFUSE(allowed, #field, text, taskmet_task_create_lodl(W.task, W.data, &bad, &O.made.task));                 \
    } while (0)

static void test_lodl(void) {
    REFUSE_HANDLE(task, "task", taskmet_task_create_lodl(bad, W.data, NULL, &O.made.task));
    REFUSE_HANDLE(dataset, "dataset", taskmet_task_create_lodl(W.task, bad, NULL, &O.made.task));
    REFUSE_NULL("lodl", taskmet_task_create_lodl(W.task, W.data, NULL, NULL));
    REFUSE_LODL(BAD_STRUCT, struct_size, 3, "3");
    REFUSE_LODL(INVALID, loss, 4, "4");
    REFUSE_LODL(INVALID, loss, -1, "-1");
    REFUSE_LODL(INVALID, sampling, 3, "3");
    REFUSE_LODL(INVALID, samples, 1, "1");
    REFUSE_LODL(INVALID, samples, -5, "-5");
    REFUSE_LODL(INVALID, deviation, -1, "-1");
    REFUSE_LODL(INVALID, deviation, (double)NAN, REAL_TEXT);
    REFUSE_LODL(INVALID, rank, -1, "-1");
    REFUSE_LODL(INVALID, learning_rate, -0.5, "-0.5");
    REFUSE_LODL(INVALID, learning_rate, (double)INFINITY, REAL_TEXT);
    REFUSE_LODL(INVALID, iterations, INT64_MIN, number_text(INT64_MIN));
    REFUSE_LODL(INVALID, patience, -1, "-1");
    REFUSE_LODL(INVALID, held_out_share, 1, "1");
    REFUSE_LODL(INVALID, held_out_share, -0.1, "-0.1");
    REFUSE_LODL(INVALID, threads, -1, "-1");
    REFUSE_LODL(INVALID, threads, 257, "257");
    taskmet_lodl_options huge;
    taskmet_lodl_options_init(&huge);
    huge.samples = INT64_MAX;
    REFUSE(HUGE_SIZE, "samples|memory", NULL, taskmet_task_create_lodl(W.task, W.data, &huge, &O.made.task));
    REFUSE_HANDLE(task, "lodl", taskmet_task_lodl_fit_quality(bad, &O.value));
    REFUSE(INVALID, "lodl", NULL, taskmet_task_lodl_fit_quality(W.task, &O.value));
    taskmet_lodl_options_init(NULL);
}

/* worst and report are outputs like the others; the verdict is not a status. */
#define CHECK_TASK(task, data, predictions, stride, directions, tolerance, worst, report)                            \
    taskmet_task_check_gradient(task, data, predictions, stride, directions, 1, tolerance, worst, report)

static void test_task_check(void) {
    const double *const f = W.numbers;
    const int64_t n = TARGETS;
    double *const worst = &O.value;
    taskmet_check_report *const report = &O.check;
    REFUSE_HANDLE(task, "task", CHECK_TASK(bad, W.data, f, n, 2, 0, worst, report));
    REFUSE_HANDLE(dataset, "dataset", CHECK_TASK(W.task, bad, f, n, 2, 0, worst, report));
    REFUSE_NULL("predictions", CHECK_TASK(W.task, W.data, NULL, n, 2, 0, worst, report));
    REFUSE_STRIDE("predictions_stride", n, CHECK_TASK(W.task, W.data, f, bad, 2, 0, worst, report));
    REFUSE_ARRAY("predictions", W.numbers, ROWS *TARGETS, CHECK_TASK(W.task, W.data, bad, n, 2, 0, worst, report));
    REFUSE(SMALL, "directions", "0", CHECK_TASK(W.task, W.data, f, n, 0, 0, worst, report));
    REFUSE(SMALL, "directions", "-1", CHECK_TASK(W.task, W.data, f, n, -1, 0, worst, report));
    REFUSE(SMALL, "directions", number_text(INT64_MIN), CHECK_TASK(W.task, W.data, f, n, INT64_MIN, 0, worst, report));
    REFUSE(INVALID, "tolerance", "-1", CHECK_TASK(W.task, W.data, f, n, 2, -1, worst, report));
    REFUSE_REAL("tolerance", CHECK_TASK(W.task, W.data, f, n, 2, bad, worst, report));
    REFUSE_NULL("worst", CHECK_TASK(W.task, W.data, f, n, 2, 0, NULL, report));
    for (size_t size = 0; size < 4; size += 3) {
        taskmet_check_report bad;
        memset(&bad, 0, sizeof bad);
        bad.struct_size = size;
        REFUSE(BAD_STRUCT, "struct_size", size == 0 ? "0" : "3", CHECK_TASK(W.task, W.data, f, n, 2, 0, worst, &bad));
    }
}

#define HYPER_CHECK(p, m, d, rho, task, inner, solver, directions, tolerance, worst, report)                         \
    taskmet_hypergradient_check(p, m, d, rho, task, inner, solver, directions, 1, tolerance, worst, report)

static void test_hypergradient_check(void) {
    const taskmet_predictor *const p = W.linear;
    const taskmet_metric *const m = W.conditional;
    const taskmet_dataset *const d = W.data;
    double *const w = &O.value;
    taskmet_check_report *const r = &O.check;
    REFUSE_HANDLE(predictor, "predictor", HYPER_CHECK(bad, m, d, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE_HANDLE(metric, "metric", HYPER_CHECK(p, bad, d, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE_HANDLE(dataset, "dataset", HYPER_CHECK(p, m, bad, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE_HANDLE(task, "task", HYPER_CHECK(p, m, d, 0.1, bad, NULL, NULL, 1, 0, w, r));
    REFUSE(SHAPE, "predictor|dataset|features|inputs", NULL,
           HYPER_CHECK(p, m, W.wide, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE(SHAPE, "predictor|metric|dataset|targets|outputs", NULL,
           HYPER_CHECK(p, m, W.tall, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE(SHAPE, "metric|predictor|dataset|targets|outputs", NULL,
           HYPER_CHECK(p, W.metric_tall, d, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE(SHAPE, "metric|predictor|dataset|features|inputs", NULL,
           HYPER_CHECK(p, W.metric_wide, d, 0.1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE_REAL("rho", HYPER_CHECK(p, m, d, bad, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE(INVALID, "rho", "-1", HYPER_CHECK(p, m, d, -1, W.task, NULL, NULL, 1, 0, w, r));
    REFUSE(SMALL, "directions", "0", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, NULL, 0, 0, w, r));
    REFUSE(SMALL, "directions", "-1", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, NULL, -1, 0, w, r));
    REFUSE(INVALID, "tolerance", "-1", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, NULL, 1, -1, w, r));
    REFUSE_REAL("tolerance", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, NULL, 1, bad, w, r));
    REFUSE_NULL("worst", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, NULL, 1, 0, NULL, r));
}

static void test_hypergradient_check_structs(void) {
    const taskmet_predictor *const p = W.linear;
    const taskmet_metric *const m = W.conditional;
    const taskmet_dataset *const d = W.data;
    double *const w = &O.value;
    taskmet_inner_options inner;
    taskmet_inner_options_init(&inner);
    inner.max_iterations = -1;
    REFUSE(INVALID, "max_iterations", "-1", HYPER_CHECK(p, m, d, 0.1, W.task, &inner, NULL, 1, 0, w, &O.check));
    taskmet_inner_options_init(&inner);
    inner.struct_size = 0;
    REFUSE(BAD_STRUCT, "struct_size", "0", HYPER_CHECK(p, m, d, 0.1, W.task, &inner, NULL, 1, 0, w, &O.check));
    taskmet_inner_options_init(&inner);
    inner.solver = TASKMET_INNER_EXACT;
    REFUSE(UNSUPPORTED, "solver|inner_options|predictor|EXACT|exact", NULL,
           HYPER_CHECK(W.mlp, m, d, 0.1, W.task, &inner, NULL, 1, 0, w, &O.check));
    taskmet_solver_options solver;
    taskmet_solver_options_init(&solver);
    solver.ridge = -1;
    REFUSE(INVALID, "ridge", "-1", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, &solver, 1, 0, w, &O.check));
    taskmet_solver_options_init(&solver);
    solver.solver = 99;
    REFUSE(INVALID, "solver", "99", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, &solver, 1, 0, w, &O.check));
    taskmet_solver_options_init(&solver);
    solver.struct_size = 3;
    REFUSE(BAD_STRUCT, "struct_size", "3", HYPER_CHECK(p, m, d, 0.1, W.task, NULL, &solver, 1, 0, w, &O.check));
    for (size_t size = 0; size < 4; size += 3) {
        taskmet_check_report bad;
        memset(&bad, 0, sizeof bad);
        bad.struct_size = size;
        REFUSE(BAD_STRUCT, "struct_size", size == 0 ? "0" : "3",
               HYPER_CHECK(p, m, d, 0.1, W.task, NULL, NULL, 1, 0, w, &bad));
    }
}

/* Destroying NULL, what is destroyed already, or a handle of another kind does nothing. */
static void test_destroy_bad_handles(void) {
    for (int k = 0; k < BAD_HANDLES; k += 1) {
        check_at(__FILE__, __LINE__);
        taskmet_dataset_destroy(W.bad.dataset[k]);
        taskmet_predictor_destroy(W.bad.predictor[k]);
        taskmet_metric_destroy(W.bad.metric[k]);
        taskmet_workspace_destroy(W.bad.workspace[k]);
        taskmet_task_destroy(W.bad.task[k]);
        taskmet_optimizer_destroy(W.bad.optimizer[k]);
        CHECK(objects_untouched());
    }
    double loss = 0;
    CHECK_OK(taskmet_task_gradient(W.task, W.data, TRAINING, W.numbers, TARGETS, &loss, NULL, 0));
}

/* Twice for every kind, with nothing in between: the second one must see that there is nothing. */
static void test_double_destroy(void) {
    for (int k = 0; k < 20; k += 1) {
        int freed = 0;
        taskmet_predictor_callbacks callbacks = flat_callbacks();
        taskmet_dataset *dataset = NULL;
        taskmet_predictor *predictor = NULL;
        taskmet_task *task = NULL;
        NEED(taskmet_dataset_borrow(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, count_release, &freed,
                                    &dataset));
        NEED(taskmet_predictor_create_callback(FEATURES, TARGETS, NULL, 1, &callbacks, &freed, count_release,
                                               &predictor));
        NEED(taskmet_task_create_callback(square_task, &freed, count_release, &task));
        for (int twice = 0; twice < 2; twice += 1) {
            taskmet_dataset_destroy(dataset);
            taskmet_predictor_destroy(predictor);
            taskmet_task_destroy(task);
        }
        CHECK(freed == 3);
        CHECK_STATUS(taskmet_dataset_shape(dataset, NULL, NULL, NULL, NULL), TASKMET_ERROR_INVALID_ARGUMENT, "dataset");
        CHECK_STATUS(taskmet_predictor_shape(predictor, NULL, NULL, NULL), TASKMET_ERROR_INVALID_ARGUMENT, "predictor");
    }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_task();
    test_lodl();
    test_task_check();
    test_hypergradient_check();
    test_hypergradient_check_structs();
    test_destroy_bad_handles();
    test_double_destroy();
    destroy_world();
    return check_end();
}
