/*
 * test_threads_objects.c - many threads on the same objects of every kind: each takes one at random and reads it, writes
 * it, trains it, stops it, or puts a new one in its place and destroys it, while others are using it. Every call ends with
 * success, BUSY, or one of the refusals that a handle which is gone, or an object in another state, gets; then all is
 * released. Written to be run under ThreadSanitizer too.
 *
 * Only the main thread counts checks.
 */
#include "trainer_fixture.h"

#include <pthread.h>

enum { THREADS = 4, SLOTS = 2, D = 2, N = 1, HIDDEN = 3, INSTANCES = 8 };
enum { THETA = HIDDEN * D + HIDDEN + N * HIDDEN + N, PHI = HIDDEN * D + HIDDEN + N * HIDDEN + N + 1 };
enum { DATASET, PREDICTOR, METRIC, WORKSPACE, LINEARIZATION, OPTIMIZER, TASK, TRAINER, KINDS };

static void *slots[KINDS][SLOTS]; /* read and written atomically */
static int64_t freed, made;       /* callers' pointers, counted atomically */

/* What one thread did. */
typedef struct player {
    uint64_t random;
    int64_t rounds, done, busy, refused, wrong;
    char message[512];
} player;

static int64_t draw(player *p, int64_t bound) {
    return (int64_t)((random_next(&p->random) + 1) / 2 * (double)bound) % bound;
}

static void *take(player *p, int kind) { return __atomic_load_n(&slots[kind][draw(p, SLOTS)], __ATOMIC_ACQUIRE); }

static void destroy(int kind, void *handle) {
    switch (kind) {
    case DATASET: taskmet_dataset_destroy(handle); break;
    case PREDICTOR: taskmet_predictor_destroy(handle); break;
    case METRIC: taskmet_metric_destroy(handle); break;
    case WORKSPACE: taskmet_workspace_destroy(handle); break;
    case LINEARIZATION: taskmet_linearization_destroy(handle); break;
    case OPTIMIZER: taskmet_optimizer_destroy(handle); break;
    case TASK: taskmet_task_destroy(handle); break;
    default: taskmet_trainer_destroy(handle); break;
    }
}

static void count_end(void *user) { __atomic_add_fetch((int64_t *)user, 1, __ATOMIC_RELAXED); }

static int32_t price(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    static const judge judgement = {.under = 3, .over = 1, .edge = 0, .slope = 5};
    (void)user;
    judge_value(&judgement, batch, loss, gradient);
    return TASKMET_CALLBACK_OK;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* What a thread can do                                                                                             */

static taskmet_status make_trainer(player *p, void **handle) {
    taskmet_trainer *trainer = NULL;
    const taskmet_status status =
        taskmet_trainer_create(take(p, PREDICTOR), take(p, METRIC), take(p, DATASET), &trainer);
    if (status != TASKMET_OK) return status;
    *handle = trainer;
    taskmet_trainer_set_int(trainer, "inner_iterations", 3);
    taskmet_trainer_set_int(trainer, "warmup_iterations", 3);
    taskmet_trainer_set_int(trainer, "outer_iterations", 2);
    taskmet_trainer_set_int(trainer, "threads", 2);
    return taskmet_trainer_add_task(trainer, take(p, TASK), 1);
}

static taskmet_status make(player *p, int kind, void **handle) {
    const int64_t hidden = HIDDEN;
    double x[INSTANCES * D], y[INSTANCES * N];
    taskmet_status status;
    switch (kind) {
    case DATASET:
        random_fill(p->random, x, INSTANCES * D);
        random_fill(p->random + 1, y, INSTANCES * N);
        return taskmet_dataset_create(INSTANCES, D, x, D, N, y, N, (taskmet_dataset **)handle);
    case PREDICTOR:
        return taskmet_predictor_create_mlp(D, N, 1, &hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_IDENTITY,
                                            p->random, (taskmet_predictor **)handle);
    case METRIC:
        return taskmet_metric_create_conditional(D, N, TASKMET_STRUCTURE_DIAGONAL, 1, 1, &hidden, TASKMET_ACTIVATION_TANH,
                                                 p->random, (taskmet_metric **)handle);
    case WORKSPACE: return taskmet_workspace_create(1 + draw(p, 2), 0, (taskmet_workspace **)handle);
    case LINEARIZATION: return taskmet_linearization_create((taskmet_linearization **)handle);
    case OPTIMIZER: return taskmet_optimizer_create_adam(THETA, 0.01, 0.9, 0.999, 1e-8, (taskmet_optimizer **)handle);
    case TASK:
        status = taskmet_task_create_callback(price, &freed, count_end, (taskmet_task **)handle);
        if (status == TASKMET_OK) __atomic_add_fetch(&made, 1, __ATOMIC_RELAXED);
        return status;
    default: return make_trainer(p, handle);
    }
}

/* A new object in the place of an old one, which ends while others may be using it. */
static taskmet_status replace(player *p, int kind) {
    void *handle = NULL;
    const taskmet_status status = make(p, kind, &handle);
    if (handle != NULL) destroy(kind, __atomic_exchange_n(&slots[kind][draw(p, SLOTS)], handle, __ATOMIC_ACQ_REL));
    return status;
}

static taskmet_status learn(player *p) {
    double theta[THETA], gradient[THETA], phi[PHI], c[INSTANCES * N], value;
    const taskmet_inner_options few = {.struct_size = sizeof few, .solver = TASKMET_INNER_LBFGS, .max_iterations = 3};
    void *predictor = take(p, PREDICTOR), *metric = take(p, METRIC), *data = take(p, DATASET);
    random_fill(p->random, theta, THETA);
    random_fill(p->random, c, INSTANCES * N);
    switch (draw(p, 6)) {
    case 0: return taskmet_predictor_set_parameters(predictor, theta, THETA);
    case 1: return taskmet_loss_value_gradient(predictor, metric, data, 0.1, take(p, WORKSPACE), &value, gradient, THETA);
    case 2: return taskmet_loss_minimize(predictor, metric, data, 0.1, &few, take(p, WORKSPACE), NULL);
    case 3: return taskmet_hypergradient(predictor, metric, data, 0.1, c, N, NULL, phi, PHI, NULL);
    case 4: return taskmet_metric_set_floor(metric, 0.01 * (double)draw(p, 3));
    default:
        random_fill(p->random, gradient, THETA);
        return taskmet_optimizer_step(take(p, OPTIMIZER), gradient, THETA, theta, THETA);
    }
}

static taskmet_status look(player *p) {
    double x[4 * D], out[4 * N], theta[THETA], loss;
    void *trainer = take(p, TRAINER), *data = take(p, DATASET);
    random_fill(p->random, x, 4 * D);
    switch (draw(p, 6)) {
    case 0: return taskmet_predictor_predict(take(p, PREDICTOR), 4, x, D, out, N);
    case 1: return taskmet_linearization_update(take(p, LINEARIZATION), take(p, PREDICTOR), 4, x, D, out, N);
    case 2: return taskmet_linearization_vjp(take(p, LINEARIZATION), x, N, theta, THETA);
    case 3: return taskmet_task_evaluate(take(p, TASK), take(p, PREDICTOR), data, &loss, NULL, 0, NULL, 0);
    case 4: return taskmet_dataset_set_weights(data, (const double[INSTANCES]){1, 2, 1, 2, 1, 2, 1, 2}, INSTANCES);
    default: return taskmet_trainer_explain(trainer, NULL, 0, NULL);
    }
}

static taskmet_status train(player *p) {
    void *trainer = take(p, TRAINER);
    taskmet_predictor *copy = NULL;
    taskmet_status status;
    switch (draw(p, 4)) {
    case 0: return taskmet_trainer_step(trainer, NULL);
    case 1: return taskmet_trainer_fit(trainer, NULL);
    case 2:
        taskmet_trainer_stop(trainer);
        taskmet_trainer_clear_stop(trainer);
        return TASKMET_OK;
    default:
        status = taskmet_trainer_copy_predictor(trainer, TASKMET_MODEL_BEST, &copy);
        taskmet_predictor_destroy(copy);
        return status;
    }
}

static void count_status(player *p, taskmet_status status) {
    switch (status) {
    case TASKMET_OK: p->done += 1; break;
    case TASKMET_ERROR_BUSY: p->busy += 1; break;
    case TASKMET_ERROR_INVALID_ARGUMENT: /* a handle that is gone, or none yet */
    case TASKMET_ERROR_STATE: p->refused += 1; break;
    default:
        if (p->wrong == 0) snprintf(p->message, sizeof p->message, "%s", taskmet_last_error());
        p->wrong += 1;
    }
}

static void *play(void *argument) {
    player *p = argument;
    for (int64_t k = 0; k < p->rounds; k += 1) {
        const int64_t what = draw(p, 10);
        count_status(p, what < 2   ? replace(p, (int)draw(p, KINDS))
                        : what < 6 ? learn(p)
                        : what < 8 ? look(p)
                                   : train(p));
    }
    return NULL;
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    player players[THREADS];
    pthread_t threads[THREADS];
    memset(players, 0, sizeof players);
    for (int k = 0; k < THREADS; k += 1) {
        players[k].random = (uint64_t)k + 1;
        players[k].rounds = check_quick ? 300 : 3000;
    }
    for (int kind = 0; kind < KINDS; kind += 1)
        for (int slot = 0; slot < SLOTS; slot += 1) NEED(make(&players[0], kind, &slots[kind][slot]));
    for (int k = 0; k < THREADS; k += 1)
        if (pthread_create(&threads[k], NULL, play, &players[k]) != 0) abort();
    for (int k = 0; k < THREADS; k += 1) pthread_join(threads[k], NULL);
    for (int k = 0; k < THREADS; k += 1) {
        check_that(players[k].wrong == 0, __FILE__, __LINE__, "thread %d: %s", k, players[k].message);
        CHECK(players[k].done > players[k].rounds / 4);
    }
    for (int kind = 0; kind < KINDS; kind += 1)
        for (int slot = 0; slot < SLOTS; slot += 1) destroy(kind, slots[kind][slot]);
    CHECK(freed == made);
    return check_end();
}
