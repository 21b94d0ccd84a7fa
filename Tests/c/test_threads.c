/*
 * test_threads.c - the same bits for any number of the library's threads, and many threads of the caller's at once.
 *
 * Only the main thread counts checks; the others report what they saw.
 */
#include "check.h"

#include <pthread.h>
#include <stdint.h>

enum { D = 6, N = 4, HIDDEN = 32, METRIC_HIDDEN = 16, MAX_THREADS = 16 };

static int64_t row_count(void) { return check_quick ? 400 : 5003; }

/* Starts `count` threads, thread k on arguments + k * size, and waits for all of them. */
static void run_threads(int count, void *(*body)(void *), void *arguments, size_t size) {
    pthread_t threads[MAX_THREADS];
    for (int k = 0; k < count; k += 1)
        if (pthread_create(&threads[k], NULL, body, (char *)arguments + (size_t)k * size) != 0) abort();
    for (int k = 0; k < count; k += 1) pthread_join(threads[k], NULL);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* One run of everything that takes a workspace                                                                     */

typedef struct run {
    /* in */
    const taskmet_dataset *data;
    uint64_t seed;
    int64_t threads, cache; /* threads 0: no workspace */
    /* out */
    double *numbers;
    int64_t count;
    taskmet_status status;
    char message[256];
} run;

/* Remembers the first failure. */
static void note(run *r, taskmet_status got) {
    if (got == TASKMET_OK || r->status != TASKMET_OK) return;
    r->status = got;
    snprintf(r->message, sizeof r->message, "%s", taskmet_last_error());
}

typedef struct models {
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_workspace *workspace;
    int64_t theta, phi;
} models;

static void jitter(uint64_t seed, double *values, int64_t count) {
    for (int64_t k = 0; k < count; k += 1) values[k] += 0.1 * random_next(&seed);
}

static models make_models(run *r) {
    static const int64_t hidden[] = {HIDDEN}, metric_hidden[] = {METRIC_HIDDEN};
    models m;
    memset(&m, 0, sizeof m);
    note(r, taskmet_predictor_create_mlp(D, N, 1, hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_IDENTITY, r->seed,
                                         &m.predictor));
    note(r, taskmet_metric_create_conditional(D, N, TASKMET_STRUCTURE_FULL, 0, 1, metric_hidden,
                                              TASKMET_ACTIVATION_TANH, r->seed, &m.metric));
    if (r->threads > 0) note(r, taskmet_workspace_create(r->threads, r->cache, &m.workspace));
    note(r, taskmet_predictor_parameter_count(m.predictor, &m.theta));
    note(r, taskmet_metric_parameter_count(m.metric, &m.phi));
    double *phi = zeros(m.phi);
    note(r, taskmet_metric_get_parameters(m.metric, phi, m.phi));
    jitter(r->seed, phi, m.phi);
    note(r, taskmet_metric_set_parameters(m.metric, phi, m.phi));
    free(phi);
    return m;
}

static void destroy_models(models *m) {
    taskmet_predictor_destroy(m->predictor);
    taskmet_metric_destroy(m->metric);
    taskmet_workspace_destroy(m->workspace);
}

/* A few steps of an inner solver, and where they lead. */
static double *run_minimize(run *r, const models *m, taskmet_inner_solver solver, double *out) {
    taskmet_inner_options options;
    taskmet_inner_report report;
    taskmet_inner_options_init(&options);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    options.solver = solver;
    options.max_iterations = check_quick ? 4 : 15;
    note(r, taskmet_loss_minimize(m->predictor, m->metric, r->data, 1e-3, &options, m->workspace, &report));
    note(r, taskmet_predictor_get_parameters(m->predictor, out, m->theta));
    out[m->theta] = report.value;
    out[m->theta + 1] = report.gradient_norm;
    return out + m->theta + 2;
}

/* A few products of a linear solver: v, the hypergradient, the residual. */
static double *run_hypergradient(run *r, const models *m, taskmet_solver solver, const double *g, double *out) {
    taskmet_solver_options options;
    taskmet_solver_report report;
    taskmet_solver_options_init(&options);
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    options.solver = solver;
    options.max_iterations = check_quick ? 3 : 8;
    options.ridge = 0.1;
    memset(out, 0, (size_t)m->theta * sizeof(double));
    note(r, taskmet_hypergradient_from_gradient(m->predictor, m->metric, r->data, 1e-3, g, m->theta, &options,
                                                m->workspace, out, m->theta, out + m->theta, m->phi, &report));
    out[m->theta + m->phi] = report.residual;
    return out + m->theta + m->phi + 1;
}

static void *run_all(void *argument) {
    run *r = argument;
    models m = make_models(r);
    if (r->status == TASKMET_OK) {
        double *g = random_array(r->seed + 1, m.theta);
        r->numbers = zeros(8 * (m.theta + m.phi + 2));
        double *out = r->numbers;
        note(r, taskmet_loss_value_gradient(m.predictor, m.metric, r->data, 1e-3, m.workspace, out, out + 1, m.theta));
        out += m.theta + 1;
        out = run_minimize(r, &m, TASKMET_INNER_ADAM, out);
        out = run_hypergradient(r, &m, TASKMET_SOLVER_CG, g, out);
        out = run_minimize(r, &m, TASKMET_INNER_LBFGS, out);
        out = run_hypergradient(r, &m, TASKMET_SOLVER_NORMAL_CG, g, out);
        out = run_hypergradient(r, &m, TASKMET_SOLVER_GAUSS_NEWTON_CG, g, out);
        r->count = out - r->numbers;
        free(g);
    }
    destroy_models(&m);
    return NULL;
}

static run new_run(const taskmet_dataset *data, uint64_t seed, int64_t threads, int64_t cache) {
    run r;
    memset(&r, 0, sizeof r);
    r.data = data;
    r.seed = seed;
    r.threads = threads;
    r.cache = cache;
    return r;
}

static void compare_runs(const run *a, const run *b, const char *what) {
    check_that(b->status == TASKMET_OK, __FILE__, __LINE__, "%s: %s (\"%s\")", what, taskmet_status_name(b->status),
               b->message);
    if (a->status != TASKMET_OK || b->status != TASKMET_OK) return;
    CHECK(a->count == b->count && check_max_abs(b->numbers, b->count) > 0);
    int64_t different = 0, first = -1;
    for (int64_t k = 0; k < a->count; k += 1)
        if (!check_same_bits(a->numbers + k, b->numbers + k, 1)) {
            if (different == 0) first = k;
            different += 1;
        }
    check_that(different == 0, __FILE__, __LINE__, "%s: %ld of %ld numbers have other bits (the first is number %ld)",
               what, (long)different, (long)a->count, (long)first);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* (a) The number of threads and the size of the cache change no bit                                                */

static taskmet_dataset *make_big_dataset(void) {
    const int64_t rows = row_count();
    taskmet_dataset *data = make_dataset(1, rows, D, N);
    double *weights = random_array(3, rows);
    for (int64_t k = 0; k < rows; k += 1) weights[k] = 1.5 + weights[k];
    NEED(taskmet_dataset_set_weights(data, weights, rows));
    free(weights);
    return data;
}

static void test_same_bits(const taskmet_dataset *data) {
    static const struct {
        int64_t threads, cache;
        const char *what;
    } settings[] = {
        {0, 0, "no workspace"},     {1, 0, "1 thread"},         {2, 0, "2 threads"},
        {3, 0, "3 threads"},        {1, 1, "1 thread, no cache"}, {2, 1, "2 threads, no cache"},
        {3, 100000, "3 threads, small cache"}, {7, INT64_C(1) << 40, "7 threads, large cache"},
    };
    run first = new_run(data, 11, settings[0].threads, settings[0].cache);
    run_all(&first);
    compare_runs(&first, &first, settings[0].what);
    for (size_t k = 1; k < sizeof settings / sizeof settings[0]; k += 1) {
        run other = new_run(data, 11, settings[k].threads, settings[k].cache);
        run_all(&other);
        compare_runs(&first, &other, settings[k].what);
        free(other.numbers);
    }
    free(first.numbers);
}

/* A workspace is only memory: another problem in between, of other sizes, changes nothing. */
static void test_workspace_reuse(const taskmet_dataset *data) {
    taskmet_dataset *small = make_dataset(5, 7, 2, 1);
    taskmet_predictor *predictor = make_mlp(6, D, N, HIDDEN), *other = make_linear(7, 2, 1);
    taskmet_metric *metric = make_conditional(8, D, N, TASKMET_STRUCTURE_LOWRANK, 2, METRIC_HIDDEN);
    taskmet_metric *other_metric = make_constant(9, 1, TASKMET_STRUCTURE_SCALAR, 0);
    taskmet_workspace *workspace = NULL;
    const int64_t count = predictor_count(predictor);
    double *first = zeros(count + 1), *second = zeros(count + 1), little[4];
    NEED(taskmet_workspace_create(2, 0, &workspace));
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, data, 0, workspace, first, first + 1, count));
    CHECK_OK(taskmet_loss_value_gradient(other, other_metric, small, 0, workspace, little, little + 1, 3));
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, data, 0, workspace, second, second + 1, count));
    CHECK_SAME_BITS(second, first, count + 1);
    /* A cached metric must not outlive a change of phi, nor of the data. */
    shake_metric(metric, 10, 0.1);
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, data, 0, workspace, first, first + 1, count));
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, data, 0, NULL, second, second + 1, count));
    CHECK_SAME_BITS(second, first, count + 1);
    taskmet_dataset *changing = make_dataset(12, 50, D, N);
    double *x = random_array(13, 50 * D), *y = random_array(14, 50 * N);
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, changing, 0, workspace, first, first + 1, count));
    CHECK_OK(taskmet_dataset_refill(changing, 50, x, D, y, N, NULL, 0));
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, changing, 0, workspace, first, first + 1, count));
    CHECK_OK(taskmet_loss_value_gradient(predictor, metric, changing, 0, NULL, second, second + 1, count));
    CHECK_SAME_BITS(second, first, count + 1);
    free(first), free(second), free(x), free(y);
    taskmet_dataset_destroy(small), taskmet_dataset_destroy(changing);
    taskmet_predictor_destroy(predictor), taskmet_predictor_destroy(other);
    taskmet_metric_destroy(metric), taskmet_metric_destroy(other_metric);
    taskmet_workspace_destroy(workspace);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* (b) Objects of their own and a shared dataset                                                                    */

static void test_two_callers(const taskmet_dataset *data) {
    enum { CALLERS = 2 };
    run alone[CALLERS], together[CALLERS];
    for (int k = 0; k < CALLERS; k += 1) {
        alone[k] = new_run(data, 20 + (uint64_t)k, 1 + k, 0);
        together[k] = alone[k];
        run_all(&alone[k]);
    }
    run_threads(CALLERS, run_all, together, sizeof together[0]);
    for (int k = 0; k < CALLERS; k += 1) {
        compare_runs(&alone[k], &together[k], "two callers at once");
        free(alone[k].numbers);
        free(together[k].numbers);
    }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* (c) The message of an error belongs to its thread                                                                */

typedef struct speaker {
    int64_t threads; /* a bad number of threads: it stands in the message */
    pthread_barrier_t *barrier;
    int empty_at_start, own_message, kept;
} speaker;

static void *speak(void *argument) {
    speaker *s = argument;
    char number[32], before[256];
    taskmet_workspace *workspace = NULL;
    s->empty_at_start = taskmet_last_error()[0] == 0;
    snprintf(number, sizeof number, "%ld", (long)s->threads);
    (void)taskmet_workspace_create(s->threads, 0, &workspace);
    snprintf(before, sizeof before, "%s", taskmet_last_error());
    s->own_message = strstr(before, number) != NULL;
    pthread_barrier_wait(s->barrier); /* now everybody has failed */
    s->kept = strcmp(before, taskmet_last_error()) == 0;
    pthread_barrier_wait(s->barrier);
    return NULL;
}

static void test_messages(void) {
    enum { SPEAKERS = 4 };
    pthread_barrier_t barrier;
    speaker speakers[SPEAKERS];
    taskmet_workspace *workspace = NULL;
    CHECK_STATUS(taskmet_workspace_create(-999, 0, &workspace), TASKMET_ERROR_INVALID_ARGUMENT, "-999");
    if (pthread_barrier_init(&barrier, NULL, SPEAKERS) != 0) abort();
    for (int k = 0; k < SPEAKERS; k += 1) {
        memset(&speakers[k], 0, sizeof speakers[k]);
        speakers[k].threads = 1000 + k;
        speakers[k].barrier = &barrier;
    }
    run_threads(SPEAKERS, speak, speakers, sizeof speakers[0]);
    for (int k = 0; k < SPEAKERS; k += 1)
        CHECK(speakers[k].empty_at_start && speakers[k].own_message && speakers[k].kept);
    CHECK(strstr(taskmet_last_error(), "-999") != NULL); /* mine is still mine */
    pthread_barrier_destroy(&barrier);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* (d) Readers against a writer                                                                                     */

/* The writer sets all parameters to one whole number c; f(1, ..., 1) = c (D + 1) exactly. Any mixture would show. */
typedef struct struggle {
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    const taskmet_dataset *data;
    int writes;
    int64_t rounds, done, busy, torn, failed;
} struggle;

static void count_status(struggle *s, taskmet_status got) {
    if (got == TASKMET_OK) s->done += 1;
    else if (got == TASKMET_ERROR_BUSY) s->busy += 1;
    else s->failed += 1;
}

enum { LINEAR = N * (D + 1), FACTOR = N + 1 };

static void read_once(struggle *s) {
    static const double ones[D] = {1, 1, 1, 1, 1, 1};
    double theta[LINEAR], phi[FACTOR], out[N], value = 0;
    taskmet_status got = taskmet_predictor_get_parameters(s->predictor, theta, LINEAR);
    count_status(s, got);
    for (int k = 1; got == TASKMET_OK && k < LINEAR; k += 1) s->torn += theta[k] != theta[0];
    got = taskmet_metric_get_parameters(s->metric, phi, FACTOR);
    count_status(s, got);
    for (int k = 1; got == TASKMET_OK && k < FACTOR; k += 1) s->torn += phi[k] != phi[0];
    got = taskmet_predictor_predict(s->predictor, 1, ones, D, out, N);
    count_status(s, got);
    for (int k = 0; got == TASKMET_OK && k < N; k += 1) s->torn += fmod(out[k], D + 1) != 0 || out[k] != out[0];
    count_status(s, taskmet_loss_value(s->predictor, s->metric, s->data, 0, &value));
    taskmet_predictor *copy = NULL;
    got = taskmet_predictor_copy(s->predictor, &copy);
    count_status(s, got);
    if (got != TASKMET_OK) return;
    if (taskmet_predictor_get_parameters(copy, theta, LINEAR) != TASKMET_OK) s->failed += 1;
    for (int k = 1; k < LINEAR; k += 1) s->torn += theta[k] != theta[0];
    taskmet_predictor_destroy(copy);
}

static void write_once(struggle *s, int64_t round) {
    double theta[LINEAR], phi[FACTOR];
    for (int k = 0; k < LINEAR; k += 1) theta[k] = (double)(round % 1000);
    for (int k = 0; k < FACTOR; k += 1) phi[k] = (double)(round % 5);
    count_status(s, taskmet_predictor_set_parameters(s->predictor, theta, LINEAR));
    count_status(s, taskmet_metric_set_parameters(s->metric, phi, FACTOR));
}

static void *struggle_on(void *argument) {
    struggle *s = argument;
    for (int64_t k = 0; k < s->rounds; k += 1) {
        if (s->writes) write_once(s, k);
        else read_once(s);
    }
    return NULL;
}

static void test_readers_and_writers(void) {
    enum { CALLERS = 6 };
    struggle all[CALLERS];
    taskmet_dataset *data = make_dataset(30, 20, D, N);
    struggle s;
    memset(&s, 0, sizeof s);
    s.data = data;
    s.rounds = check_quick ? 100 : 4000;
    NEED(taskmet_predictor_create_linear(D, N, 1, &s.predictor));
    NEED(taskmet_metric_create_constant(N, TASKMET_STRUCTURE_DIAGONAL, 0, 0, &s.metric));
    write_once(&s, 3); /* the metric does not start with equal numbers */
    CHECK(s.done == 2);
    s.done = 0;
    for (int k = 0; k < CALLERS; k += 1) {
        all[k] = s;
        all[k].writes = k < 2;
    }
    run_threads(CALLERS, struggle_on, all, sizeof all[0]);
    int64_t reads = 0;
    for (int k = 0; k < CALLERS; k += 1) {
        CHECK(all[k].failed == 0 && all[k].torn == 0);
        if (!all[k].writes) reads += all[k].done;
    }
    CHECK(reads > 0);
    /* Nothing stays locked. */
    write_once(&s, 7);
    read_once(&s);
    CHECK(s.done == 7 && s.busy == 0 && s.failed == 0 && s.torn == 0);
    taskmet_predictor_destroy(s.predictor);
    taskmet_metric_destroy(s.metric);
    taskmet_dataset_destroy(data);
}

/* Readers alone never meet BUSY. */
static void test_readers_alone(void) {
    enum { CALLERS = 4 };
    struggle all[CALLERS];
    memset(all, 0, sizeof all);
    taskmet_dataset *data = make_dataset(31, 20, D, N);
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    NEED(taskmet_predictor_create_linear(D, N, 1, &predictor));
    NEED(taskmet_metric_create_constant(N, TASKMET_STRUCTURE_DIAGONAL, 0, 0, &metric));
    const double phi[FACTOR] = {0};
    NEED(taskmet_metric_set_parameters(metric, phi, FACTOR));
    for (int k = 0; k < CALLERS; k += 1) {
        all[k].predictor = predictor, all[k].metric = metric, all[k].data = data;
        all[k].rounds = check_quick ? 50 : 1000;
    }
    run_threads(CALLERS, struggle_on, all, sizeof all[0]);
    for (int k = 0; k < CALLERS; k += 1) CHECK(all[k].busy == 0 && all[k].failed == 0 && all[k].torn == 0);
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    taskmet_dataset_destroy(data);
}

/* One workspace, one call at a time: the others are told BUSY, and nobody gets a wrong number. */
typedef struct rival {
    const taskmet_dataset *data;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_workspace *workspace;
    const double *expected;
    int64_t rounds, done, wrong, failed;
} rival;

static void *share_workspace(void *argument) {
    rival *r = argument;
    double out[1 + LINEAR];
    for (int64_t k = 0; k < r->rounds; k += 1) {
        const taskmet_status got =
            taskmet_loss_value_gradient(r->predictor, r->metric, r->data, 0, r->workspace, out, out + 1, LINEAR);
        if (got == TASKMET_OK) r->done += 1, r->wrong += !check_same_bits(out, r->expected, 1 + LINEAR);
        else if (got != TASKMET_ERROR_BUSY) r->failed += 1;
    }
    return NULL;
}

static void test_shared_workspace(void) {
    enum { CALLERS = 3 };
    rival all[CALLERS], r;
    double expected[1 + LINEAR];
    memset(&r, 0, sizeof r);
    taskmet_dataset *data = make_dataset(32, 300, D, N);
    r.data = data;
    r.predictor = make_linear(33, D, N);
    r.metric = make_conditional(34, D, N, TASKMET_STRUCTURE_FULL, 0, METRIC_HIDDEN);
    r.expected = expected;
    r.rounds = check_quick ? 5 : 300;
    NEED(taskmet_workspace_create(2, 0, &r.workspace));
    NEED(taskmet_loss_value_gradient(r.predictor, r.metric, data, 0, NULL, expected, expected + 1, LINEAR));
    for (int k = 0; k < CALLERS; k += 1) all[k] = r;
    run_threads(CALLERS, share_workspace, all, sizeof all[0]);
    int64_t done = 0;
    for (int k = 0; k < CALLERS; k += 1) {
        CHECK(all[k].wrong == 0 && all[k].failed == 0);
        done += all[k].done;
    }
    CHECK(done > 0);
    taskmet_predictor_destroy(r.predictor);
    taskmet_metric_destroy(r.metric);
    taskmet_workspace_destroy(r.workspace);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* (e) Handles made and destroyed by many threads                                                                   */

typedef struct maker {
    uint64_t seed;
    int64_t rounds, failed, freed;
} maker;

static void count_free(void *user) { ((maker *)user)->freed += 1; }

static int32_t zero_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    (void)user;
    *loss = 0;
    for (int64_t k = 0; gradient != NULL && k < batch->rows * batch->outputs; k += 1) gradient[k] = 0;
    return TASKMET_CALLBACK_OK;
}

static void make_and_destroy(maker *m) {
    static const double x[] = {1, 2, 3, 4}, y[] = {5, 6};
    double parameters[3] = {1, 2, 3}, loss = -1;
    taskmet_dataset *data = NULL;
    taskmet_predictor *predictor = NULL, *copy = NULL;
    taskmet_metric *metric = NULL;
    taskmet_workspace *workspace = NULL;
    taskmet_task *task = NULL;
    taskmet_optimizer *optimizer = NULL;
    m->failed += taskmet_dataset_borrow(2, 2, x, 2, 1, y, 1, count_free, m, &data) != TASKMET_OK;
    m->failed += taskmet_predictor_create_linear(2, 1, 1, &predictor) != TASKMET_OK;
    m->failed += taskmet_metric_create_constant(1, TASKMET_STRUCTURE_FULL, 0, 0, &metric) != TASKMET_OK;
    m->failed += taskmet_workspace_create(1, 0, &workspace) != TASKMET_OK;
    m->failed += taskmet_task_create_callback(zero_task, m, count_free, &task) != TASKMET_OK;
    m->failed += taskmet_optimizer_create_sgd(3, 0.5, 0, &optimizer) != TASKMET_OK;
    m->failed += taskmet_predictor_copy(predictor, &copy) != TASKMET_OK;
    m->failed += taskmet_optimizer_step(optimizer, x, 3, parameters, 3) != TASKMET_OK;
    m->failed += parameters[0] != 0.5 || parameters[1] != 1 || parameters[2] != 1.5;
    m->failed += taskmet_predictor_set_parameters(copy, parameters, 3) != TASKMET_OK;
    m->failed += taskmet_loss_value_gradient(copy, metric, data, 0, workspace, &loss, parameters, 3) != TASKMET_OK;
    m->failed += taskmet_task_gradient(task, data, TASKMET_PHASE_TRAINING, y, 1, &loss, NULL, 0) != TASKMET_OK;
    m->failed += loss != 0;
    taskmet_dataset_destroy(data);
    taskmet_predictor_destroy(predictor), taskmet_predictor_destroy(copy);
    taskmet_metric_destroy(metric);
    taskmet_workspace_destroy(workspace);
    taskmet_task_destroy(task);
    taskmet_optimizer_destroy(optimizer);
}

static void *make_many(void *argument) {
    maker *m = argument;
    for (int64_t k = 0; k < m->rounds; k += 1) make_and_destroy(m);
    return NULL;
}

static void test_makers(void) {
    enum { CALLERS = 4 };
    maker all[CALLERS];
    memset(all, 0, sizeof all);
    for (int k = 0; k < CALLERS; k += 1) all[k].rounds = check_quick ? 30 : 1500;
    run_threads(CALLERS, make_many, all, sizeof all[0]);
    for (int k = 0; k < CALLERS; k += 1) CHECK(all[k].failed == 0 && all[k].freed == 2 * all[k].rounds);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* (f) A dataset that is let go and changed at the same time                                                         */

typedef struct changer {
    taskmet_dataset *data;
    int64_t rounds, changed, failed;
} changer;

static void *refill_often(void *argument) {
    static const double x[] = {1, 2, 3}, y[] = {4, 5, 6};
    changer *c = argument;
    for (int64_t k = 0; k < c->rounds; k += 1) {
        const taskmet_status got = taskmet_dataset_refill(c->data, 1 + k % 3, x, 1, y, 1, NULL, 0);
        c->changed += got == TASKMET_OK;
        c->failed += got != TASKMET_OK && got != TASKMET_ERROR_STATE && got != TASKMET_ERROR_BUSY;
    }
    return NULL;
}

/* Steps only see data that stay as they are from the trainer's beginning to its end. */
static void *train_often(void *argument) {
    changer *c = argument;
    taskmet_predictor *predictor = make_linear(1, 1, 1);
    taskmet_metric *metric = make_constant(1, 1, TASKMET_STRUCTURE_SCALAR, 0);
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_callback(zero_task, NULL, NULL, &task));
    for (int64_t k = 0; k < c->rounds / 10; k += 1) {
        taskmet_trainer *trainer = NULL;
        const taskmet_status got = taskmet_trainer_create(predictor, metric, c->data, &trainer);
        c->failed += got != TASKMET_OK && got != TASKMET_ERROR_BUSY;
        if (got != TASKMET_OK) continue;
        c->failed += taskmet_trainer_add_task(trainer, task, 1) != TASKMET_OK;
        const taskmet_status step = taskmet_trainer_step(trainer, NULL);
        c->failed += step != TASKMET_OK;
        taskmet_trainer_destroy(trainer);
    }
    taskmet_task_destroy(task);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
    return NULL;
}

static void *change_or_train(void *argument) {
    changer *c = argument;
    return c->changed < 0 ? (c->changed = 0, refill_often(c)) : train_often(c);
}

static void test_refill_after_trainer(void) {
    taskmet_dataset *data = make_dataset(3, 3, 1, 1);
    const int64_t rounds = check_quick ? 200 : 4000;
    changer both[2] = {{data, rounds, -1, 0}, {data, rounds, 0, 0}};
    run_threads(2, change_or_train, both, sizeof both[0]);
    CHECK(both[0].failed == 0 && both[1].failed == 0);
    CHECK_OK(taskmet_dataset_refill(data, 1, (const double[]){1}, 1, (const double[]){2}, 1, NULL, 0));
    taskmet_dataset_destroy(data);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    taskmet_dataset *data = make_big_dataset();
    test_same_bits(data);
    test_workspace_reuse(data);
    test_two_callers(data);
    test_messages();
    test_readers_and_writers();
    test_readers_alone();
    test_shared_workspace();
    test_makers();
    test_refill_after_trainer();
    taskmet_dataset_destroy(data);
    return check_end();
}
