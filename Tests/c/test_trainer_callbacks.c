/*
 * test_trainer_callbacks.c - what becomes of everything that a trainer's callbacks can answer, and of calls from inside
 * them: the trainer is as it was before the iteration that did not come to its end.
 *
 * "As it was" is taken at its word: afterwards it goes on to the same bits as a twin that was never disturbed.
 */
#include "trainer_fixture.h"

#include <pthread.h>

#define EVER (INT64_MAX / 2)

/* A linear predictor solved exactly; a network on mini-batches, whose random numbers must come back as well. */
static const shape linear = {30, 2, 2, 2, 0, 14}, network = {30, 2, 2, 2, 6, 14};
#define EXACT "warmup_iterations=20 inner_iterations=5 metric_rate=0.05 "
#define BATCHES EXACT "inner_solver=adam inner_batch=4 outer_batch=5 hypergradient_batch=6 "

/* ---------------------------------------------------------------------------------------------------------------- */
/* The task's answers                                                                                               */

typedef struct answer {
    const char *name;
    int32_t how;
    taskmet_status status;
    const char *text; /* in the message */
    int training_only;
} answer;

static const answer answers[] = {
    {"error", TASKMET_CALLBACK_ERROR, TASKMET_ERROR_CALLBACK, NULL, 0},
    {"4", 4, TASKMET_ERROR_CALLBACK, "4", 0},
    {"-1", -1, TASKMET_ERROR_CALLBACK, "-1", 0},
    {"INT32_MIN", INT32_MIN, TASKMET_ERROR_CALLBACK, "-2147483648", 0},
    {"garbage", 65536, TASKMET_ERROR_CALLBACK, "65536", 0},
    {"loss NaN", LEAVE_LOSS_NAN, TASKMET_ERROR_CALLBACK, "loss", 0},
    {"loss infinite", LEAVE_LOSS_INFINITY, TASKMET_ERROR_CALLBACK, "loss", 0},
    {"nothing written", LEAVE_NOTHING, TASKMET_ERROR_CALLBACK, "loss", 0},
    {"gradient NaN", LEAVE_GRADIENT_NAN, TASKMET_ERROR_CALLBACK, "gradient", 1},
    {"gradient infinite", LEAVE_GRADIENT_INFINITY, TASKMET_ERROR_CALLBACK, "gradient", 1},
    {"reject", TASKMET_CALLBACK_REJECT, TASKMET_ERROR_REJECTED, "REJECT", 1},
    {"stop", TASKMET_CALLBACK_STOP, TASKMET_OK, NULL, 0},
};

/* A failure writes nothing; a stop writes the last whole record. */
static void fail_in_step(setup *s, const answer *a) {
    taskmet_record record, untouched;
    memset(&record, 0xA5, sizeof record);
    record.struct_size = sizeof record;
    untouched = record;
    CHECK_STATUS(taskmet_trainer_step(s->trainer, &record), a->status, a->text);
    if (a->status != TASKMET_OK) {
        CHECK(memcmp(&record, &untouched, sizeof record) == 0);
        CHECK(strncmp(taskmet_last_error(), "trainer_step: ", 14) == 0);
    } else if (record_count(s->trainer) > 0) {
        untouched = record_at(s->trainer, record_count(s->trainer) - 1);
        CHECK(memcmp(&record, &untouched, RECORD_FACTS) == 0);
    }
}

static void fail_in_fit(setup *s, const answer *a) {
    taskmet_fit_report report, untouched;
    memset(&report, 0xA5, sizeof report);
    report.struct_size = sizeof report;
    untouched = report;
    const int64_t count = record_count(s->trainer);
    CHECK_STATUS(taskmet_trainer_fit(s->trainer, &report), a->status, a->text);
    if (a->status != TASKMET_OK) {
        CHECK(memcmp(&report, &untouched, sizeof report) == 0);
        CHECK(strncmp(taskmet_last_error(), "trainer_fit: ", 13) == 0);
    } else {
        CHECK(report.reason == TASKMET_STOP_TASK);
        CHECK(report.iterations == (count == 0 ? 0 : count - 1));
    }
}

/* after: how many steps went well before; 0: it fails in the warm-up. */
static void test_answer(const shape *size, const char *options, const answer *a, taskmet_phase phase, int after) {
    for (int by_fit = 0; by_fit < 2; by_fit += 1) {
        setup s;
        begin(&s, size, options);
        steps(s.trainer, after);
        snapshot before = take_snapshot(s.trainer);
        let_fail(&s.judge, phase, a->how, EVER);
        if (by_fit) fail_in_fit(&s, a);
        if (!by_fit) fail_in_step(&s, a);
        CHECK(s.judge.failures > 0);
        if (after == 0 && a->status != TASKMET_OK) CHECK(s.judge.failures == 1); /* nothing to try again */
        CHECK_UNCHANGED(&before, s.trainer, a->name);
        if (after == 0) {
            taskmet_predictor *none = NULL;
            CHECK_STATUS(taskmet_trainer_copy_predictor(s.trainer, TASKMET_MODEL_BEST, &none), TASKMET_ERROR_STATE, "");
        }
        let_work(&s.judge);
        compare_with_twin(&s, size, options, a->name);
        free_snapshot(&before);
        finish(&s);
    }
}

static void test_answers(void) {
    for (size_t k = 0; k < LENGTH(answers); k += check_quick ? 5 : 1)
        for (taskmet_phase phase = TASKMET_PHASE_TRAINING; phase <= TASKMET_PHASE_VALIDATION; phase += 1) {
            if (phase == TASKMET_PHASE_VALIDATION && answers[k].training_only) continue;
            test_answer(&linear, EXACT, &answers[k], phase, 2);
            test_answer(&linear, EXACT, &answers[k], phase, 0);
            test_answer(&network, BATCHES, &answers[k], phase, 2);
        }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Rejections                                                                                                       */

/* A step that the task rejects is done again with half the rate: as if that had been the rate from the start. */
static void test_rejected_steps(int64_t times) {
    setup s, twin;
    begin(&s, &linear, EXACT);
    begin(&twin, &linear, EXACT);
    steps(s.trainer, 2), steps(twin.trainer, 2);
    const double rate = record_at(s.trainer, 2).metric_rate, halved = ldexp(rate, (int)-times);
    CHECK(rate == 0.05);
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, times);
    steps(s.trainer, 1);
    NEED(taskmet_trainer_set_double(twin.trainer, "metric_rate", halved));
    steps(twin.trainer, 1);
    const taskmet_record record = record_at(s.trainer, 3);
    CHECK(s.judge.failures == times);
    CHECK(record.iteration == 3 && record.rejections == times && record.rollbacks == times);
    CHECK(record.metric_rate == halved);
    snapshot a = take_snapshot(s.trainer), b = take_snapshot(twin.trainer);
    CHECK_SAME_BITS(a.thetas[TASKMET_MODEL_LAST], b.thetas[TASKMET_MODEL_LAST], a.theta);
    CHECK_SAME_BITS(a.phis[TASKMET_MODEL_LAST], b.phis[TASKMET_MODEL_LAST], a.phi);
    free_snapshot(&a), free_snapshot(&b);
    NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", 5));
    const taskmet_fit_report report = run_fit(s.trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.rejections == times && report.rollbacks >= times);
    finish(&s), finish(&twin);
}

/* The rate comes back: twice as large after five steps in a row of which none was undone. */
static void test_recovering_rate(void) {
    setup s;
    begin(&s, &linear, EXACT);
    steps(s.trainer, 2);
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, 2);
    steps(s.trainer, 4); /* 3 at a quarter of the rate, then 4, 5, 6 */
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, 1);
    steps(s.trainer, 1 + 17); /* 7 at an eighth: the count begins again */
    for (int64_t k = 3; k <= 24; k += 1) {
        const double lost = k < 7 ? 4 : k < 13 ? 8 : k < 18 ? 4 : k < 23 ? 2 : 1;
        check_that(record_at(s.trainer, k).metric_rate == 0.05 / lost, __FILE__, __LINE__, "%d: %g", (int)k,
                   record_at(s.trainer, k).metric_rate);
    }
    finish(&s);
}

/* However often it is halved, there is a rate, and the trainer can be saved. */
static void test_smallest_rate(void) {
    setup s;
    begin(&s, &linear, EXACT "max_rejections=1000");
    steps(s.trainer, 2);
    for (int k = 0; k < 2; k += 1) {
        let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, 600);
        steps(s.trainer, 1);
    }
    CHECK(record_at(s.trainer, 4).metric_rate > 0);
    taskmet_trainer *loaded = new_trainer(&s, "");
    CHECK_OK(taskmet_trainer_save(s.trainer, test_path));
    CHECK_OK(taskmet_trainer_load(loaded, test_path));
    CHECK_SAME_TRAINERS(loaded, s.trainer, "at the smallest rate");
    remove(test_path);
    taskmet_trainer_destroy(loaded);
    finish(&s);
}

static void test_max_rejections(int64_t most) {
    setup s;
    begin(&s, &linear, EXACT);
    NEED(taskmet_trainer_set_int(s.trainer, "max_rejections", most));
    steps(s.trainer, 2);
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, most);
    CHECK_OK(taskmet_trainer_step(s.trainer, NULL));
    snapshot before = take_snapshot(s.trainer);
    let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, EVER);
    CHECK_STATUS(taskmet_trainer_step(s.trainer, NULL), TASKMET_ERROR_REJECTED, "REJECT");
    CHECK(s.judge.failures == most + 1);
    CHECK_STATUS(taskmet_trainer_fit(s.trainer, NULL), TASKMET_ERROR_REJECTED, "REJECT");
    CHECK_UNCHANGED(&before, s.trainer, "too many rejections");
    free_snapshot(&before);
    finish(&s);
}

/* There a rejected model is only never the best one. from: the first record that is rejected. */
static void test_rejected_validation(int64_t from) {
    setup s;
    begin(&s, &linear, EXACT);
    if (from > 0) {
        NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", from - 1));
        run_fit(s.trainer);
    }
    NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", 5));
    let_fail(&s.judge, TASKMET_PHASE_VALIDATION, TASKMET_CALLBACK_REJECT, EVER);
    const taskmet_fit_report report = run_fit(s.trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 5 && report.rejections == 0);
    CHECK(s.judge.failures > 0 && record_count(s.trainer) == 6);
    for (int64_t k = 0; k <= 5; k += 1) {
        const taskmet_record record = record_at(s.trainer, k);
        CHECK(isfinite(record.task_loss));
        if (k < from) CHECK(isfinite(record.validation_task_loss));
        if (k >= from) CHECK(record.validation_task_loss == (double)INFINITY);
        if (k >= from && from > 0) CHECK(record.is_best == 0);
    }
    if (from > 0) CHECK(report.best_iteration < from && isfinite(report.best_task_loss));
    if (from == 0) CHECK(report.first_task_loss == (double)INFINITY);
    taskmet_predictor *best = predictor_of(s.trainer, TASKMET_MODEL_BEST);
    CHECK(isfinite(loss_of(&s.judge, best, &s.validation)));
    taskmet_predictor_destroy(best);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Calls from inside a callback                                                                                     */

typedef struct nest {
    setup *outer, *other;
    taskmet_phase phase;
    int done;
} nest;

#define CHECK_BUSY(call) CHECK_STATUS(call, TASKMET_ERROR_BUSY, "trainer")

static void call_same_trainer(const nest *n) {
    taskmet_trainer *t = n->outer->trainer;
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    taskmet_record record;
    int64_t integer = -7;
    double real = -7;
    const char *text = NULL;
    memset(&record, 0, sizeof record);
    record.struct_size = sizeof record;
    CHECK_BUSY(taskmet_trainer_step(t, &record));
    CHECK_BUSY(taskmet_trainer_fit(t, NULL));
    CHECK_BUSY(taskmet_trainer_history_count(t, &integer));
    CHECK_BUSY(taskmet_trainer_history_get(t, 0, &record));
    CHECK_BUSY(taskmet_trainer_copy_predictor(t, TASKMET_MODEL_BEST, &predictor));
    CHECK_BUSY(taskmet_trainer_copy_metric(t, TASKMET_MODEL_LAST, &metric));
    CHECK_BUSY(taskmet_trainer_set_int(t, "inner_iterations", 6));
    CHECK_BUSY(taskmet_trainer_set_double(t, "metric_rate", 1));
    CHECK_BUSY(taskmet_trainer_set_string(t, "solver", "cg"));
    CHECK_BUSY(taskmet_trainer_get_int(t, "inner_iterations", &integer));
    CHECK_BUSY(taskmet_trainer_get_double(t, "metric_rate", &real));
    CHECK_BUSY(taskmet_trainer_get_string(t, "solver", &text));
    CHECK_BUSY(taskmet_trainer_add_task(t, n->other->task, 1));
    CHECK_BUSY(taskmet_trainer_set_validation(t, n->other->validation.data));
    CHECK_BUSY(taskmet_trainer_set_progress(t, NULL, NULL));
    CHECK_BUSY(taskmet_trainer_set_log(t, NULL, NULL));
    CHECK_BUSY(taskmet_trainer_set_interrupt(t, NULL, NULL));
    CHECK_BUSY(taskmet_trainer_explain(t, NULL, 0, &integer));
    CHECK_BUSY(taskmet_trainer_save(t, test_path));
    CHECK_BUSY(taskmet_trainer_load(t, test_path));
    CHECK(predictor == NULL && metric == NULL && integer == -7 && real == -7 && text == NULL);
    CHECK(access(test_path, F_OK) != 0);
}

/* The caller's own predictor and metric are not the trainer's. */
static void call_other_objects(const nest *n) {
    setup *s = n->outer, *other = n->other;
    double *theta = predictor_parameters(s->predictor), *phi = metric_parameters(s->metric);
    CHECK_OK(taskmet_predictor_set_parameters(s->predictor, theta, predictor_count(s->predictor)));
    CHECK_OK(taskmet_metric_set_parameters(s->metric, phi, metric_count(s->metric)));
    CHECK_OK(taskmet_dataset_shape(s->training.data, NULL, NULL, NULL, NULL));
    const taskmet_status got = taskmet_dataset_set_weights(s->training.data, s->training.y, s->training.rows);
    CHECK(got == TASKMET_ERROR_STATE || got == TASKMET_ERROR_BUSY);
    CHECK_OK(taskmet_trainer_step(other->trainer, NULL));
    CHECK(record_count(other->trainer) > 1);
    CHECK(isfinite(loss_of(&other->judge, other->predictor, &s->training)));
    free(theta), free(phi);
}

/* Once in each run. */
static void call_everything(nest *n) {
    n->done += 1;
    if (n->done > 1) return;
    call_same_trainer(n);
    call_other_objects(n);
}

static void nest_in_task(judge *self, const taskmet_task_batch *batch) {
    nest *n = self->context;
    if (batch->phase == n->phase) call_everything(n);
}

static int32_t nest_in_progress(void *user, const taskmet_record *record) {
    (void)record;
    call_everything(user);
    return TASKMET_CALLBACK_OK;
}

static int32_t nest_in_interrupt(void *user) {
    nest *n = user;
    call_everything(n);
    return n->done >= 2; /* has seen that it is asked again */
}

static void nest_in_log(void *user, taskmet_log_level level, const char *message) {
    (void)level, (void)message;
    call_everything(user);
}

/* where: 0 and 1: the task, by phase; 2: progress. */
static void test_nested(int where) {
    setup s, other;
    begin(&s, &linear, EXACT);
    begin(&other, &linear, EXACT);
    nest n = {&s, &other, where == 1 ? TASKMET_PHASE_VALIDATION : TASKMET_PHASE_TRAINING, 0};
    s.judge.context = &n;
    if (where < 2) s.judge.inside = nest_in_task;
    if (where == 2) NEED(taskmet_trainer_set_progress(s.trainer, nest_in_progress, &n));
    steps(s.trainer, 2);
    CHECK(n.done > 0);
    compare_with_twin(&s, &linear, EXACT, "after nested calls");
    finish(&s), finish(&other);
}

static void test_nested_in_interrupt(void) {
    setup s, other;
    begin(&s, &network, "inner_iterations=10000000 inner_tolerance=0 warmup_iterations=3");
    begin(&other, &linear, EXACT);
    nest n = {&s, &other, TASKMET_PHASE_TRAINING, 0};
    NEED(taskmet_trainer_set_interrupt(s.trainer, nest_in_interrupt, &n));
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_INTERRUPT);
    CHECK(n.done == 2);
    finish(&s), finish(&other);
}

/* A set-up that the log has something to say about: a constant metric with a linear predictor has no effect. */
static void begin_degenerate(setup *s, const char *options) {
    begin(s, &linear, options);
    taskmet_trainer_destroy(s->trainer);
    taskmet_metric_destroy(s->metric);
    NEED(taskmet_metric_create_constant(2, TASKMET_STRUCTURE_DIAGONAL, 0, 0, &s->metric));
    s->trainer = new_trainer(s, options);
}

static void test_log(void) {
    static log_book book;
    setup s, other;
    begin_degenerate(&s, EXACT "outer_iterations=2");
    NEED(taskmet_trainer_set_log(s.trainer, keep_log, &book));
    run_fit(s.trainer);
    CHECK(book.broken == 0 && book.messages[TASKMET_LOG_WARNING] > 0);
    const int messages = book.messages[0] + book.messages[1];
    NEED(taskmet_trainer_set_log(s.trainer, NULL, &book));
    steps(s.trainer, 1);
    CHECK(book.messages[0] + book.messages[1] == messages);
    finish(&s);
    begin_degenerate(&s, EXACT "outer_iterations=2");
    begin(&other, &linear, EXACT);
    nest n = {&s, &other, TASKMET_PHASE_TRAINING, 0};
    NEED(taskmet_trainer_set_log(s.trainer, nest_in_log, &n));
    run_fit(s.trainer);
    CHECK(n.done > 0);
    finish(&s), finish(&other);
}

/* From another thread, in the middle of a step. */
static void *step_elsewhere(void *argument) {
    nest *n = argument;
    const taskmet_status got = taskmet_trainer_step(n->outer->trainer, NULL);
    n->done = got == TASKMET_ERROR_BUSY && strstr(taskmet_last_error(), "trainer") != NULL ? 1 : -1;
    return NULL;
}

static void start_thread_inside(judge *self, const taskmet_task_batch *batch) {
    pthread_t thread;
    (void)batch;
    if (pthread_create(&thread, NULL, step_elsewhere, self->context) != 0) abort();
    pthread_join(thread, NULL);
}

static void test_second_thread(void) {
    setup s;
    begin(&s, &linear, EXACT);
    nest n = {&s, NULL, TASKMET_PHASE_TRAINING, 0};
    s.judge.context = &n;
    s.judge.inside = start_thread_inside;
    steps(s.trainer, 1);
    CHECK(n.done == 1);
    s.judge.inside = NULL;
    compare_with_twin(&s, &linear, EXACT, "after a call from a second thread");
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Progress                                                                                                         */

static void test_progress(void) {
    setup s;
    watcher w = new_watcher(-1, 0);
    begin(&s, &linear, EXACT "outer_iterations=5");
    NEED(taskmet_trainer_set_progress(s.trainer, watch, &w));
    run_fit(s.trainer);
    CHECK(w.count == 6 && record_count(s.trainer) == 6);
    for (int64_t k = 0; k < 6; k += 1) {
        const taskmet_record record = record_at(s.trainer, k);
        CHECK(w.seen[k].struct_size >= sizeof record && w.seen[k].iteration == k);
        CHECK(memcmp((char *)&w.seen[k] + sizeof(size_t), (char *)&record + sizeof(size_t),
                     RECORD_FACTS - sizeof(size_t)) == 0);
    }
    NEED(taskmet_trainer_set_progress(s.trainer, NULL, &w));
    steps(s.trainer, 1);
    CHECK(w.count == 6);
    finish(&s);
}

/* A stop after a record keeps the record; an error undoes its iteration. */
static void test_progress_answer(int64_t at, int32_t answer) {
    setup s;
    watcher w = new_watcher(at, answer);
    begin(&s, &linear, EXACT);
    NEED(taskmet_trainer_set_progress(s.trainer, watch, &w));
    taskmet_fit_report report = new_report();
    if (answer == TASKMET_CALLBACK_STOP) {
        CHECK_OK(taskmet_trainer_fit(s.trainer, &report));
        CHECK(report.reason == TASKMET_STOP_PROGRESS && report.iterations == at);
        CHECK(record_count(s.trainer) == at + 1);
    } else {
        const taskmet_status status = /* where nothing can be tried again */
            answer == TASKMET_CALLBACK_REJECT ? TASKMET_ERROR_REJECTED : TASKMET_ERROR_CALLBACK;
        CHECK_STATUS(taskmet_trainer_fit(s.trainer, &report), status, "progress");
        CHECK(report.reason == -1);
        CHECK(record_count(s.trainer) == at);
    }
    CHECK(w.count == at + 1);
    NEED(taskmet_trainer_set_progress(s.trainer, NULL, NULL));
    compare_with_twin(&s, &linear, EXACT, "after an answer of the progress callback");
    finish(&s);
}

static int32_t overwrite_record(void *user, const taskmet_record *record) {
    (void)user;
    memset((void *)(uintptr_t)record, 0xA5, sizeof *record);
    return TASKMET_CALLBACK_OK;
}

/* A callback that writes where it should only read spoils nothing but its own copy. */
static void test_overwritten_record(void) {
    setup s;
    begin(&s, &linear, EXACT);
    NEED(taskmet_trainer_set_progress(s.trainer, overwrite_record, NULL));
    steps(s.trainer, 3);
    CHECK(record_at(s.trainer, 3).iteration == 3);
    compare_with_twin(&s, &linear, EXACT, "with records overwritten");
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    test_answers();
    test_recovering_rate();
    if (!check_quick) test_smallest_rate();
    test_overwritten_record();
    for (int64_t times = 1; times <= 3; times += 2) test_rejected_steps(times);
    for (int64_t most = 0; most <= 2; most += 2) test_max_rejections(most);
    for (int64_t from = 0; from <= 2; from += 1) test_rejected_validation(from);
    for (int where = 0; where < 3; where += 1) test_nested(where);
    test_nested_in_interrupt();
    test_log();
    test_second_thread();
    test_progress();
    for (int32_t answer = -1; answer <= 4; answer += 1) {
        if (answer == TASKMET_CALLBACK_OK) continue;
        test_progress_answer(0, answer);
        test_progress_answer(2, answer);
    }
    remove_test_directory();
    return check_end();
}
