/*
 * test_trainer_stops.c - a trainer that is told to stop, from wherever: it ends soon, at a whole iteration, and goes on
 * to the same bits as a twin that was never disturbed; and what lives on when handles are destroyed.
 */
#include "trainer_fixture.h"

#include <pthread.h>

/* A linear predictor solved exactly; a network on mini-batches, whose random numbers must come back as well. */
static const shape linear = {30, 2, 2, 2, 0, 14}, network = {30, 2, 2, 2, 6, 14};
#define EXACT "warmup_iterations=20 inner_iterations=5 metric_rate=0.05 "
#define BATCHES EXACT "inner_solver=adam inner_batch=4 outer_batch=5 hypergradient_batch=6 "
#define ENDLESS "outer_iterations=1000000000 patience=0 "

/* ---------------------------------------------------------------------------------------------------------------- */
/* Interrupts                                                                                                       */

typedef struct asker {
    int64_t asked, stop_at;
    int32_t answer;
    double last, least; /* seconds between two questions */
    pthread_t thread;
    int elsewhere;
} asker;

static int32_t ask(void *user) {
    asker *a = user;
    const double now = seconds_now();
    if (a->asked > 0) a->least = fmin(a->least, now - a->last);
    if (!pthread_equal(pthread_self(), a->thread)) a->elsewhere += 1;
    a->last = now;
    a->asked += 1;
    return a->asked >= a->stop_at ? a->answer : 0;
}

static asker new_asker(int64_t stop_at, int32_t answer) {
    asker a = {0, stop_at, answer, 0, 1e9, pthread_self(), 0};
    return a;
}

/* The third answer ends the fit at once. */
static void fit_until_interrupted(taskmet_trainer *trainer, int32_t answer) {
    asker a = new_asker(3, answer);
    NEED(taskmet_trainer_set_interrupt(trainer, ask, &a));
    const taskmet_fit_report report = run_fit(trainer);
    CHECK(report.reason == TASKMET_STOP_INTERRUPT);
    CHECK(a.asked == 3 && a.elsewhere == 0);
    check_that(a.least > 0.04, __FILE__, __LINE__, "asked again after %g s", a.least);
    const double late = seconds_now() - a.last;
    check_that(late < (check_quick ? 30 : 1), __FILE__, __LINE__, "returned %g s after the answer", late);
    NEED(taskmet_trainer_set_interrupt(trainer, NULL, NULL));
}

#define LONG_LOOP "inner_iterations=10000000 inner_tolerance=0 "

static void test_interrupted_inner_loop(int32_t answer) {
    setup s;
    begin(&s, &network, BATCHES);
    steps(s.trainer, 2);
    snapshot before = take_snapshot(s.trainer);
    configure(s.trainer, LONG_LOOP);
    fit_until_interrupted(s.trainer, answer);
    CHECK_UNCHANGED(&before, s.trainer, "interrupted in the inner loop");
    asker a = new_asker(2, 1);
    NEED(taskmet_trainer_set_interrupt(s.trainer, ask, &a));
    CHECK_OK(taskmet_trainer_step(s.trainer, NULL));
    CHECK_UNCHANGED(&before, s.trainer, "interrupted in a step");
    NEED(taskmet_trainer_set_interrupt(s.trainer, NULL, NULL));
    configure(s.trainer, "inner_iterations=5 inner_tolerance=1e-6");
    compare_with_twin(&s, &network, BATCHES, "after an interrupt");
    free_snapshot(&before);
    finish(&s);
}

static void test_interrupted_warmup(void) {
    setup s;
    begin(&s, &network, BATCHES);
    configure(s.trainer, "warmup_iterations=10000000 inner_tolerance=0");
    fit_until_interrupted(s.trainer, 1);
    CHECK(record_count(s.trainer) == 0);
    configure(s.trainer, "warmup_iterations=20 inner_tolerance=1e-6");
    compare_with_twin(&s, &network, BATCHES, "after an interrupted warm-up");
    finish(&s);
}

/* Wherever it is then: within a solver that has far to go, or between short iterations. */
static void test_interrupted_elsewhere(const char *options) {
    setup s;
    begin(&s, &network, ENDLESS EXACT);
    configure(s.trainer, options);
    fit_until_interrupted(s.trainer, 1);
    const int64_t count = record_count(s.trainer);
    CHECK(count == 0 || record_at(s.trainer, count - 1).iteration == count - 1);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Stops                                                                                                            */

static void test_stop_before(void) {
    setup s;
    begin(&s, &linear, EXACT);
    taskmet_trainer_stop(s.trainer);
    for (int k = 0; k < 2; k += 1) { /* it stays in force */
        const taskmet_fit_report report = run_fit(s.trainer);
        CHECK(report.reason == TASKMET_STOP_REQUESTED && report.iterations == 0);
        CHECK(record_count(s.trainer) <= 1);
    }
    CHECK_OK(taskmet_trainer_step(s.trainer, NULL));
    CHECK(record_count(s.trainer) <= 1);
    taskmet_trainer_clear_stop(s.trainer);
    steps(s.trainer, 2);
    snapshot before = take_snapshot(s.trainer);
    CHECK(before.records == 3);
    taskmet_trainer_stop(s.trainer);
    taskmet_trainer_stop(s.trainer);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_REQUESTED);
    taskmet_record record = record_at(s.trainer, 0);
    CHECK_OK(taskmet_trainer_step(s.trainer, &record));
    CHECK(record.iteration == 2);
    CHECK_UNCHANGED(&before, s.trainer, "stopped before it began");
    taskmet_trainer_clear_stop(s.trainer);
    compare_with_twin(&s, &linear, EXACT, "after a stop");
    free_snapshot(&before);
    finish(&s);
}

/* A handle that is gone says nothing to the trainer that has its place now. */
static void test_stale_stop(void) {
    setup s;
    begin(&s, &linear, EXACT "outer_iterations=3");
    taskmet_trainer *const gone = s.trainer;
    taskmet_trainer_destroy(gone);
    s.trainer = new_trainer(&s, EXACT "outer_iterations=3");
    taskmet_trainer_stop(gone);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_ITERATIONS);
    taskmet_trainer_stop(s.trainer);
    taskmet_trainer_stop(gone);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_REQUESTED);
    taskmet_trainer_clear_stop(gone);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_REQUESTED);
    taskmet_trainer_clear_stop(s.trainer);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_ITERATIONS);
    finish(&s);
}

/* However many other handles are alive, a trainer can be made, and stopped. */
static void test_many_handles(void) {
    enum { MANY = 70000 };
    static taskmet_optimizer *many[MANY];
    setup s;
    if (check_quick) return;
    for (int k = 0; k < MANY; k += 1) NEED(taskmet_optimizer_create_sgd(1, 0.1, 0, &many[k]));
    begin(&s, &linear, EXACT "outer_iterations=3");
    taskmet_trainer_stop(s.trainer);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_REQUESTED);
    taskmet_trainer_clear_stop(s.trainer);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_ITERATIONS);
    finish(&s);
    for (int k = 0; k < MANY; k += 1) taskmet_optimizer_destroy(many[k]);
}

static void *stop_later(void *trainer) {
    const struct timespec while_it_runs = {0, 100000000};
    nanosleep(&while_it_runs, NULL);
    taskmet_trainer_stop(trainer);
    return NULL;
}

static void test_stop_from_thread(void) {
    setup s;
    pthread_t thread;
    begin(&s, &linear, ENDLESS EXACT);
    if (pthread_create(&thread, NULL, stop_later, s.trainer) != 0) abort();
    const double start = seconds_now();
    const taskmet_fit_report report = run_fit(s.trainer);
    const double took = seconds_now() - start;
    pthread_join(thread, NULL);
    CHECK(report.reason == TASKMET_STOP_REQUESTED);
    check_that(took < (check_quick ? 60 : 2), __FILE__, __LINE__, "stopped after %g s", took);
    const int64_t count = record_count(s.trainer);
    CHECK(report.iterations == (count == 0 ? 0 : count - 1));
    for (int64_t k = 0; k < count; k += 1) CHECK(record_at(s.trainer, k).iteration == k);
    taskmet_trainer_clear_stop(s.trainer);
    steps(s.trainer, 1);
    CHECK(record_count(s.trainer) == count + (count == 0 ? 2 : 1));
    finish(&s);
}

/* From the progress callback, which is no nested call. */
static void test_stop_from_progress(void) {
    setup s;
    watcher w = new_watcher(2, TASKMET_CALLBACK_OK);
    begin(&s, &linear, EXACT);
    w.stop = s.trainer;
    NEED(taskmet_trainer_set_progress(s.trainer, watch, &w));
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_REQUESTED);
    CHECK(record_count(s.trainer) == 3);
    NEED(taskmet_trainer_set_progress(s.trainer, NULL, NULL));
    taskmet_trainer_clear_stop(s.trainer);
    compare_with_twin(&s, &linear, EXACT, "after a stop from the progress callback");
    finish(&s);
}

static taskmet_trainer *trainer_of_handler;

static void on_signal(int number) {
    (void)number;
    taskmet_trainer_stop(trainer_of_handler);
}

static void raise_inside(judge *self, const taskmet_task_batch *batch) {
    (void)batch;
    if (self->calls[TASKMET_PHASE_TRAINING] == 3) raise(SIGUSR1);
}

/* In the middle of an iteration, on the thread that trains. */
static void test_stop_from_signal_handler(void) {
    struct sigaction action, old;
    setup s;
    memset(&action, 0, sizeof action);
    action.sa_handler = on_signal;
    sigemptyset(&action.sa_mask);
    begin(&s, &linear, EXACT);
    trainer_of_handler = s.trainer;
    s.judge.inside = raise_inside;
    sigaction(SIGUSR1, &action, &old);
    CHECK(run_fit(s.trainer).reason == TASKMET_STOP_REQUESTED);
    sigaction(SIGUSR1, &old, NULL);
    CHECK(record_count(s.trainer) <= 4);
    taskmet_trainer_clear_stop(s.trainer);
    compare_with_twin(&s, &linear, EXACT, "after a stop from a signal handler");
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The end of objects                                                                                               */

static void test_destroyed_parts(void) {
    setup s;
    begin(&s, &linear, EXACT);
    taskmet_task_destroy(s.task);
    taskmet_predictor_destroy(s.predictor);
    taskmet_metric_destroy(s.metric);
    taskmet_dataset_destroy(s.training.data);
    taskmet_dataset_destroy(s.validation.data);
    CHECK(s.judge.freed == 0);
    compare_with_twin(&s, &linear, EXACT, "with handles that are gone");
    taskmet_trainer_destroy(s.trainer);
    CHECK(s.judge.freed == 1);
    finish(&s); /* destroys all of them again, which does nothing */
}

static void test_destroyed_inside(void) {
    setup s;
    watcher w = new_watcher(2, TASKMET_CALLBACK_STOP);
    begin(&s, &linear, EXACT);
    w.destroy = s.trainer;
    NEED(taskmet_trainer_set_progress(s.trainer, watch, &w));
    CHECK_OK(taskmet_trainer_fit(s.trainer, NULL));
    CHECK(w.count == 3);
    CHECK_STATUS(taskmet_trainer_step(s.trainer, NULL), TASKMET_ERROR_INVALID_ARGUMENT, "trainer");
    CHECK_OK(taskmet_dataset_set_weights(s.training.data, s.training.y, s.training.rows)); /* nobody holds it */
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_interrupted_inner_loop(1);
    test_interrupted_inner_loop(-1);
    test_interrupted_warmup();
    test_interrupted_elsewhere("");
    test_interrupted_elsewhere("solver=neumann solver_iterations=1000000000 solver_tolerance=0");
    test_interrupted_elsewhere("solver=normal_cg solver_iterations=1000000000 solver_tolerance=0");
    test_stop_before();
    test_stale_stop();
    test_many_handles();
    test_stop_from_thread();
    test_stop_from_progress();
    test_stop_from_signal_handler();
    test_destroyed_parts();
    test_destroyed_inside();
    return check_end();
}
