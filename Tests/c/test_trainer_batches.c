/*
 * test_trainer_batches.c - which instances the task is shown; random numbers, threads and memory: the same seed gives
 * the same bits, whatever else is done at the same time.
 */
#include "trainer_fixture.h"

#include <pthread.h>

/* Instances of two and three rows. */
static const shape linear = {60, 2, 2, 2, 0, 25}, network = {60, 2, 2, 2, 6, 25};
#define SHORT "warmup_iterations=20 inner_iterations=8 metric_rate=0.05 outer_iterations=5 "
#define BATCHES SHORT "inner_solver=adam inner_batch=4 outer_batch=5 hypergradient_batch=6 adapt=0 "

/* ---------------------------------------------------------------------------------------------------------------- */
/* What the task sees                                                                                               */

typedef struct inspector {
    const problem *data[2];      /* by phase */
    int64_t batches[2], size[2]; /* how many it was shown, and how large they must be */
    int64_t seen[64];            /* how often each instance was in a training batch */
} inspector;

/* Instance `id` of the data stands in these rows of the batch, whole. */
static void inspect_instance(const problem *p, const taskmet_task_batch *b, int64_t id, int64_t first, int64_t last) {
    const int64_t from = p->offsets[id], rows = p->offsets[id + 1] - from;
    CHECK(last - first == rows);
    if (last - first != rows) return;
    CHECK_SAME_BITS(b->targets + first * p->n, p->y + from * p->n, rows * p->n);
    CHECK_SAME_BITS(b->inputs + first * p->d, p->x + from * p->d, rows * p->d);
}

static void inspect(judge *self, const taskmet_task_batch *b) {
    inspector *s = self->context;
    const int phase = b->phase == TASKMET_PHASE_VALIDATION;
    const problem *p = s->data[phase];
    int64_t in_batch[64] = {0};
    s->batches[phase] += 1;
    CHECK(b->struct_size >= sizeof *b && b->reserved == 0 && b->features == p->d && b->outputs == p->n);
    CHECK(b->instance_count == s->size[phase] && b->offsets[0] == 0 && b->offsets[b->instance_count] == b->rows);
    for (int64_t k = 0; k < b->instance_count; k += 1) {
        const int64_t id = b->instances[k];
        CHECK(id >= 0 && id < p->instances);
        if (id < 0 || id >= p->instances) continue;
        in_batch[id] += 1;
        CHECK(in_batch[id] == 1); /* drawn without replacement */
        if (phase == TASKMET_PHASE_TRAINING) s->seen[id] += 1;
        inspect_instance(p, b, id, b->offsets[k], b->offsets[k + 1]);
    }
}

/* outer: the instances that a training batch must have. */
static void test_shown(const shape *size, const char *options, int64_t outer, int on_validation) {
    setup s;
    inspector seen;
    begin(&s, size, options);
    memset(&seen, 0, sizeof seen);
    seen.data[0] = on_validation ? &s.validation : &s.training;
    seen.data[1] = &s.validation;
    seen.size[0] = outer > 0 ? outer : seen.data[0]->instances;
    seen.size[1] = s.validation.instances;
    s.judge.context = &seen;
    s.judge.inside = inspect;
    CHECK(s.training.instances == 24 && s.validation.instances == 10);
    configure(s.trainer, check_quick ? "outer_iterations=3" : "outer_iterations=20");
    run_fit(s.trainer);
    CHECK(seen.batches[0] >= record_count(s.trainer) && seen.batches[1] >= record_count(s.trainer));
    int64_t never = check_quick ? -20 : 0;
    for (int64_t k = 0; k < seen.data[0]->instances; k += 1) never += seen.seen[k] == 0;
    check_that(never <= (outer == 1 ? 20 : 3), __FILE__, __LINE__, "%" PRId64 " instances were never shown", never);
    s.judge.inside = NULL;
    finish(&s);
}

/* A batch that is larger than the data is all of them. */
static void test_batches(void) {
    test_shown(&linear, SHORT, 0, 0);
    test_shown(&linear, SHORT "outer_batch=5 adapt=0", 5, 0);
    test_shown(&linear, SHORT "outer_batch=1 hypergradient_batch=1 adapt=0", 1, 0);
    test_shown(&network, BATCHES, 5, 0);
    test_shown(&network, BATCHES "outer_batch=1000 inner_batch=1000 hypergradient_batch=1000", 0, 0);
    test_shown(&linear, SHORT "outer_data=validation", 0, 1);
    test_shown(&network, BATCHES "outer_data=validation", 5, 1);
}

/* The records of mini-batches: what the task judged, and how many instances the linear system had. */
static void test_records_of_batches(void) {
    setup s;
    begin(&s, &network, BATCHES "agreement_interval=2");
    const taskmet_fit_report report = run_fit(s.trainer);
    int measured = 0;
    for (int64_t k = 0; k < 6; k += 1) {
        const taskmet_record r = record_at(s.trainer, k);
        if (k > 0) CHECK(r.hypergradient_instances == 6);
        CHECK(isnan(r.agreement) || fabs(r.agreement) <= 1 + 1e-12);
        CHECK(k > 0 || isnan(r.agreement));
        measured += !isnan(r.agreement);
        CHECK(isfinite(r.task_loss) && isfinite(r.prediction_loss));
    }
    CHECK(measured == 2 || measured == 3); /* every other one of five */
    CHECK(report.best_task_loss <= report.first_task_loss);
    finish(&s);
}

/* The task's gradient comes from the held-out data, the predictor from the others. */
static void test_outer_data(void) {
    setup s;
    shape size = linear;
    begin(&s, &size, SHORT "outer_data=validation outer_iterations=40");
    const taskmet_fit_report report = run_fit(s.trainer);
    const taskmet_record last = record_at(s.trainer, 40);
    taskmet_predictor *predictor = predictor_of(s.trainer, TASKMET_MODEL_LAST);
    CHECK(report.best_task_loss < 0.9 * report.first_task_loss);
    CHECK_CLOSE(last.task_loss, loss_of(&s.judge, predictor, &s.validation), 1e-12);
    CHECK_CLOSE(last.validation_task_loss, last.task_loss, 1e-12);
    CHECK_CLOSE(last.prediction_rmse, rmse_of(predictor, &s.validation), 1e-12); /* of the rows that the task judged */
    taskmet_predictor_destroy(predictor);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The same bits, or others                                                                                         */

/* Whether two settings of options give the same models and records. */
static void compare_runs(const shape *size, const char *options, const char *first, const char *second, int same) {
    setup s;
    begin(&s, size, options);
    taskmet_trainer *a = new_trainer(&s, options), *b = new_trainer(&s, options);
    configure(a, first);
    configure(b, second);
    run_fit(a), run_fit(b);
    snapshot x = take_snapshot(a), y = take_snapshot(b);
    const char *found = difference(&x, &y);
    check_that((found == NULL) == same, __FILE__, __LINE__, "%s: \"%s\" and \"%s\" differ in %s", options, first,
               second, found == NULL ? "nothing" : found);
    free_snapshot(&x), free_snapshot(&y);
    taskmet_trainer_destroy(a), taskmet_trainer_destroy(b);
    finish(&s);
}

static void test_seeds(void) {
    compare_runs(&network, BATCHES, "seed=3", "seed=3", 1);
    compare_runs(&network, BATCHES, "seed=3", "seed=4", 0);
    compare_runs(&linear, SHORT "outer_batch=5", "seed=0", "seed=9007199254740992", 0);
    compare_runs(&linear, SHORT, "seed=3", "seed=4", 1); /* nothing is drawn */
    compare_runs(&network, SHORT, "", "", 1);
}

static void test_threads(void) {
    const int64_t rows = check_quick ? 150 : 3000;
    const shape large = {rows, 3, 2, 0, 8, 100};
    compare_runs(&large, SHORT "inner_solver=adam", "threads=1", "threads=2", 1);
    compare_runs(&large, SHORT "inner_solver=lbfgs", "threads=1", "threads=3", 1);
    compare_runs(&large, SHORT "inner_solver=adam", "metric_cache_bytes=1", "metric_cache_bytes=1000000000", 1);
    compare_runs(&large, BATCHES "inner_batch=300 outer_batch=500 hypergradient_batch=700", "threads=1",
                 "threads=2 metric_cache_bytes=1", 1);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Two trainers at once                                                                                             */

/* Without memory of its own: several threads may ask it. */
static int32_t shared_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    judge_value(user, batch, loss, gradient);
    return TASKMET_CALLBACK_OK;
}

static taskmet_trainer *trainer_on(const setup *s, taskmet_task *task, const char *seed) {
    taskmet_trainer *trainer = NULL;
    NEED(taskmet_trainer_create(s->predictor, s->metric, s->training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_validation(trainer, s->validation.data));
    configure(trainer, BATCHES "outer_iterations=30");
    if (check_quick) configure(trainer, "outer_iterations=5");
    configure(trainer, seed);
    return trainer;
}

typedef struct worker {
    taskmet_trainer *trainer;
    taskmet_status status;
    char message[256];
} worker;

static void *fit_elsewhere(void *argument) {
    worker *w = argument;
    w->status = taskmet_trainer_fit(w->trainer, NULL);
    if (w->status != TASKMET_OK) snprintf(w->message, sizeof w->message, "%s", taskmet_last_error());
    return NULL;
}

/* They share the data, the task and the models that they were made from. */
static void test_two_at_once(void) {
    static const char *const seeds[] = {"seed=1", "seed=2"};
    setup s;
    judge own = new_judge();
    taskmet_task *task = NULL;
    pthread_t threads[2];
    worker workers[2];
    taskmet_trainer *alone[2];
    begin(&s, &network, BATCHES);
    NEED(taskmet_task_create_callback(shared_task, &own, NULL, &task));
    memset(workers, 0, sizeof workers);
    for (int k = 0; k < 2; k += 1) {
        alone[k] = trainer_on(&s, task, seeds[k]);
        run_fit(alone[k]);
        workers[k].trainer = trainer_on(&s, task, seeds[k]);
    }
    for (int k = 0; k < 2; k += 1)
        if (pthread_create(&threads[k], NULL, fit_elsewhere, &workers[k]) != 0) abort();
    for (int k = 0; k < 2; k += 1) {
        pthread_join(threads[k], NULL);
        check_that(workers[k].status == TASKMET_OK, __FILE__, __LINE__, "%s (\"%s\")",
                   taskmet_status_name(workers[k].status), workers[k].message);
        if (workers[k].status == TASKMET_OK)
            CHECK_SAME_TRAINERS(workers[k].trainer, alone[k], "two trainers at once, and one");
        taskmet_trainer_destroy(workers[k].trainer);
        taskmet_trainer_destroy(alone[k]);
    }
    taskmet_task_destroy(task);
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_batches();
    test_records_of_batches();
    test_outer_data();
    test_seeds();
    test_threads();
    test_two_at_once();
    return check_end();
}
