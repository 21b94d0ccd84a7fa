/*
 * test_baselines.c - the trainer's other methods through the API: they train, keep the metric, go on from files, and undo
 * what a task refuses; a LODL as a task of its own.
 */
#include "trainer_fixture.h"

static const shape small = {30, 2, 2, 3, 5, 15}, linear = {30, 2, 2, 3, 0, 15};
#define SHORT "warmup_iterations=15 inner_iterations=6 lodl_samples=80 lodl_loss=quadratic alpha=0.1 "

static const char *const methods[] = {"method=dfl " SHORT, "method=lodl " SHORT, "method=weighted_mse " SHORT};
/* Those whose steps are taken on a task that can refuse them. */
static const char *const focused = "method=dfl " SHORT;

/* ---------------------------------------------------------------------------------------------------------------- */
/* Training                                                                                                         */

static void test_training(const char *options) {
    setup s;
    begin(&s, &small, options);
    steps(s.trainer, 1);
    snapshot before = take_snapshot(s.trainer);
    configure(s.trainer, "outer_iterations=8");
    const taskmet_fit_report report = run_fit(s.trainer);
    snapshot after = take_snapshot(s.trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 8);
    CHECK(report.best_task_loss <= report.first_task_loss && report.untrusted == 0);
    CHECK_SAME_BITS(after.phis[TASKMET_MODEL_LAST], before.phis[TASKMET_MODEL_LAST], before.phi);
    CHECK(!check_same_bits(after.thetas[TASKMET_MODEL_LAST], before.thetas[TASKMET_MODEL_LAST], before.theta));
    for (int64_t k = 1; k <= 8; k += 1) {
        const taskmet_record record = record_at(s.trainer, k);
        CHECK(record.inner_steps == 6 && isnan(record.hypergradient_norm) && isfinite(record.task_loss));
        CHECK(record.metric_rate == 0.01 && isfinite(record.validation_task_loss));
    }
    taskmet_predictor *last = predictor_of(s.trainer, TASKMET_MODEL_LAST);
    CHECK_CLOSE(record_at(s.trainer, 8).validation_task_loss, loss_of(&s.judge, last, &s.validation), 1e-12);
    taskmet_predictor_destroy(last);
    free_snapshot(&before), free_snapshot(&after);
    finish(&s);
}

/* The task wants hot days right; a line has to choose. */
static void test_gain(const char *options) {
    setup s;
    begin(&s, &linear, options);
    configure(s.trainer, "outer_iterations=30 inner_iterations=20 lodl_loss=directed_weighted_mse inner_rate=0.05");
    const taskmet_fit_report report = run_fit(s.trainer);
    check_that(report.best_task_loss < 0.9 * report.first_task_loss, __FILE__, __LINE__, "%s: %g of %g", options,
               report.best_task_loss, report.first_task_loss);
    finish(&s);
}

static void test_going_on(const char *options) {
    setup s;
    begin(&s, &small, options);
    configure(s.trainer, "inner_batch=4 inner_solver=adam");
    steps(s.trainer, 3);
    CHECK_OK(taskmet_trainer_save(s.trainer, test_path));
    taskmet_trainer *other = new_trainer(&s, "");
    CHECK_OK(taskmet_trainer_load(other, test_path));
    steps(s.trainer, 3), steps(other, 3);
    CHECK_SAME_TRAINERS(other, s.trainer, options);
    taskmet_trainer_destroy(other);
    finish(&s);
}

static void test_patience_and_cap(void) {
    setup s;
    begin(&s, &small, focused);
    configure(s.trainer, "patience=3 outer_iterations=50 max_prediction_loss_ratio=0.01");
    const taskmet_fit_report report = run_fit(s.trainer); /* no model is as right as that */
    CHECK(report.reason == TASKMET_STOP_PATIENCE && report.iterations == 3 && report.best_iteration == 0);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* What the task answers                                                                                            */

static void test_stop(const char *options, taskmet_phase phase) {
    setup s;
    begin(&s, &small, options);
    steps(s.trainer, 2);
    snapshot before = take_snapshot(s.trainer);
    let_fail(&s.judge, phase, TASKMET_CALLBACK_STOP, 1);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_TASK && s.judge.failures == 1);
    CHECK_UNCHANGED(&before, s.trainer, options);
    let_fail(&s.judge, phase, TASKMET_CALLBACK_ERROR, 1);
    CHECK_STATUS(taskmet_trainer_step(s.trainer, NULL), TASKMET_ERROR_CALLBACK, "task");
    CHECK_UNCHANGED(&before, s.trainer, options);
    let_work(&s.judge);
    free_snapshot(&before);
    compare_with_twin(&s, &small, options, "after a stop and an error");
    finish(&s);
}

/* The second of six steps is refused, twice; then always. */
static void test_rejection(void) {
    setup s;
    begin(&s, &small, focused);
    steps(s.trainer, 2);
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, 2);
    taskmet_record record;
    memset(&record, 0, sizeof record);
    record.struct_size = sizeof record;
    CHECK_OK(taskmet_trainer_step(s.trainer, &record));
    CHECK(record.rejections == 2 && record.rollbacks == 2 && record.metric_rate == 0.01 / 4);
    snapshot before = take_snapshot(s.trainer);
    configure(s.trainer, "max_rejections=3");
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, 1000);
    CHECK_STATUS(taskmet_trainer_step(s.trainer, NULL), TASKMET_ERROR_REJECTED, "REJECT");
    CHECK(s.judge.failures == 4);
    CHECK_UNCHANGED(&before, s.trainer, "a step that the task rejects throughout");
    let_work(&s.judge);
    CHECK_OK(taskmet_trainer_step(s.trainer, &record));
    CHECK(record.rejections == 0);
    free_snapshot(&before);
    finish(&s);
}

static void test_unsupported(void) {
    setup s;
    begin(&s, &small, "method=spo_plus " SHORT);
    CHECK_STATUS(taskmet_trainer_step(s.trainer, NULL), TASKMET_ERROR_UNSUPPORTED, "spo_plus");
    CHECK(record_count(s.trainer) == 0);
    configure(s.trainer, "method=dfl");
    steps(s.trainer, 1);
    CHECK_STATUS(taskmet_trainer_set_string(s.trainer, "method", "taskmet"), TASKMET_ERROR_STATE, "method");
    CHECK_STATUS(taskmet_trainer_set_int(s.trainer, "lodl_samples", 7), TASKMET_ERROR_STATE, "lodl_samples");
    CHECK_OK(taskmet_trainer_set_double(s.trainer, "alpha", 2));
    CHECK_STATUS(taskmet_trainer_set_double(s.trainer, "alpha", -1), TASKMET_ERROR_INVALID_ARGUMENT, "alpha");
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A LODL of one's own                                                                                              */

/* The price of a squared error depends on the row and the side: a form that fits. */
static void test_lodl(void) {
    setup s;
    begin(&s, &small, "method=dfl " SHORT);
    taskmet_lodl_options options;
    taskmet_lodl_options_init(&options);
    CHECK(options.struct_size == sizeof options && options.samples == 0 && options.threads == 0);
    options.loss = TASKMET_LODL_DIRECTED_WEIGHTED_MSE;
    options.samples = check_quick ? 100 : 1000;
    options.iterations = options.patience = 600;
    options.learning_rate = 0.03;
    taskmet_task *lodl = NULL;
    CHECK_OK(taskmet_task_create_lodl(s.task, s.training.data, &options, &lodl));
    double quality = 0, loss = 0, other = 0, *f = random_array(5, s.training.rows * s.training.n);
    CHECK_OK(taskmet_task_lodl_fit_quality(lodl, &quality));
    check_that(quality > 0.99 && quality <= 1, __FILE__, __LINE__, "R^2 is %g", quality);
    CHECK_STATUS(taskmet_task_lodl_fit_quality(s.task, &quality), TASKMET_ERROR_INVALID_ARGUMENT, "lodl");
    for (taskmet_phase phase = 0; phase < 2; phase += 1) {
        const int64_t n = s.training.n;
        NEED(taskmet_task_gradient(s.task, s.training.data, phase, f, n, &loss, NULL, 0));
        CHECK_OK(taskmet_task_gradient(lodl, s.training.data, phase, f, n, &other, NULL, 0));
        CHECK(phase == TASKMET_PHASE_VALIDATION ? other == loss : fabs(other - loss) < 0.1 * loss);
        double *g = random_array(6, s.validation.rows * n);
        const taskmet_status status =
            taskmet_task_gradient(lodl, s.validation.data, phase, g, n, &other, NULL, 0);
        CHECK(status == (phase == TASKMET_PHASE_VALIDATION ? TASKMET_OK : TASKMET_ERROR_STATE));
        free(g);
    }
    free(f);
    taskmet_trainer *trainer = NULL;
    NEED(taskmet_trainer_create(s.predictor, s.metric, s.training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, lodl, 1));
    taskmet_task_destroy(lodl); /* the trainer has one, and that one has the task */
    configure(trainer, "method=dfl " SHORT);
    steps(trainer, 3);
    CHECK(record_at(trainer, 3).prediction_loss < record_at(trainer, 1).prediction_loss);
    taskmet_trainer_destroy(trainer);
    finish(&s);
}

/* A task that fails while it is sampled makes no LODL. */
static void test_lodl_failures(void) {
    static const int32_t answers[] = {TASKMET_CALLBACK_ERROR, TASKMET_CALLBACK_STOP, TASKMET_CALLBACK_REJECT};
    static const taskmet_status statuses[] = {TASKMET_ERROR_CALLBACK, TASKMET_ERROR_CALLBACK, TASKMET_ERROR_REJECTED};
    setup s;
    begin(&s, &small, "");
    for (size_t k = 0; k < LENGTH(answers); k += 1) {
        taskmet_lodl_options options;
        taskmet_lodl_options_init(&options);
        options.samples = 20;
        taskmet_task *lodl = NULL;
        let_fail(&s.judge, TASKMET_PHASE_VALIDATION, answers[k], 1);
        s.judge.from += 30, s.judge.to += 30;
        CHECK_STATUS(taskmet_task_create_lodl(s.task, s.training.data, &options, &lodl), statuses[k], "callback");
        CHECK(lodl == NULL);
    }
    let_work(&s.judge);
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    for (size_t k = 0; k < LENGTH(methods); k += 1) {
        test_training(methods[k]);
        if (!check_quick) test_gain(methods[k]);
        test_going_on(methods[k]);
    }
    test_stop(methods[0], TASKMET_PHASE_TRAINING);
    test_stop(methods[0], TASKMET_PHASE_VALIDATION);
    test_stop(methods[1], TASKMET_PHASE_VALIDATION);
    test_stop(methods[2], TASKMET_PHASE_VALIDATION);
    test_patience_and_cap();
    test_rejection();
    test_unsupported();
    test_lodl();
    test_lodl_failures();
    remove_test_directory();
    return check_end();
}
