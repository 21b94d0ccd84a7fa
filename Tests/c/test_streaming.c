/*
 * test_streaming.c - datasets whose rows are read by blocks: every result has the bits of the same rows in memory, in
 * either precision, for any number of threads; a reader that fails leaves everything as it was.
 */
#include "streaming.h"

/* Of everything that is made here. */
static taskmet_precision precision;

/* The same rows three times. */
typedef struct sources {
    int64_t rows, d, n;
    double *x, *y;
    taskmet_dataset *memory, *callback, *files;
    reader reader;
    file_pair paths;
} sources;

static void set_up(sources *s, int64_t rows, int64_t d, int64_t n, int grouped) {
    memset(s, 0, sizeof *s);
    s->rows = rows, s->d = d, s->n = n;
    problem p = make_problem(3, rows, d, n, grouped ? 3 : 0);
    round_numbers(precision, p.x, rows * d), round_numbers(precision, p.y, rows * n);
    taskmet_dataset_destroy(p.data);
    p.data = make_in_memory(precision, rows, d, p.x, n, p.y);
    double *weights = random_array(5, rows);
    for (int64_t i = 0; i < rows; i += 1) weights[i] = 1.5 + weights[i];
    start_reader(&s->reader, precision, rows, d, p.x, n, p.y);
    s->paths = name_files();
    save_npy(s->paths.x, precision, p.x, rows, d);
    save_npy(s->paths.y, precision, p.y, rows, n == 1 ? 0 : n);
    s->callback = make_streamed(&s->reader);
    NEED(taskmet_dataset_create_from_files(s->paths.x, s->paths.y, &s->files));
    taskmet_dataset *const all[] = {p.data, s->callback, s->files};
    for (size_t k = 0; k < LENGTH(all); k += 1) {
        if (grouped) NEED(taskmet_dataset_set_instances(all[k], p.instances, p.offsets));
        NEED(taskmet_dataset_set_weights(all[k], weights, rows));
        taskmet_precision got = -1;
        CHECK_OK(taskmet_dataset_precision(all[k], &got));
        CHECK(got == precision);
    }
    s->memory = p.data, s->x = p.x, s->y = p.y;
    free(weights), free(p.offsets);
}

static void tear_down(sources *s) {
    CHECK(!s->reader.wrong);
    taskmet_dataset_destroy(s->memory), taskmet_dataset_destroy(s->files);
    CHECK(s->reader.freed == 0);
    taskmet_dataset_destroy(s->callback);
    CHECK(s->reader.freed == 1);
    remove_files(&s->paths);
    free(s->x), free(s->y);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The steps' own functions                                                                                          */

typedef struct models {
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    double rho;
} models;

typedef struct results {
    int64_t count, phi;
    double value, *vector[6]; /* gradient, H w, G w, two hypergradients, theta* */
} results;

static results new_results(const models *m) {
    results r = {predictor_count(m->predictor), metric_count(m->metric), 0, {0}};
    for (int k = 0; k < 6; k += 1) r.vector[k] = zeros(r.count > r.phi ? r.count : r.phi);
    return r;
}

static void free_results(results *r) {
    for (int k = 0; k < 6; k += 1) free(r->vector[k]);
}

/* The first call that fails ends it. */
static taskmet_status compute(const models *m, const taskmet_dataset *data, int64_t rows, int64_t threads, results *r) {
    taskmet_workspace *workspace = NULL;
    taskmet_predictor *moved = NULL;
    taskmet_solver_options solver;
    taskmet_inner_options inner;
    taskmet_solver_options_init(&solver), taskmet_inner_options_init(&inner);
    solver.max_iterations = 4;
    inner.max_iterations = 3;
    int64_t outputs = 0;
    NEED(taskmet_predictor_shape(m->predictor, NULL, &outputs, NULL));
    double *w = random_array(31, r->count), *c = random_array(32, rows * outputs);
    /* A small cache: factors are evaluated again by block. */
    NEED(taskmet_workspace_create(threads, threads == 1 ? 64 : 0, &workspace));
    NEED(taskmet_predictor_copy(m->predictor, &moved));
    taskmet_status status = taskmet_loss_value_gradient(m->predictor, m->metric, data, m->rho, workspace, &r->value,
                                                        r->vector[0], r->count);
    if (status == TASKMET_OK)
        status = taskmet_loss_hvp(m->predictor, m->metric, data, m->rho, w, r->count, r->vector[1], r->count);
    if (status == TASKMET_OK)
        status = taskmet_loss_gnvp(m->predictor, m->metric, data, m->rho, w, r->count, r->vector[2], r->count);
    if (status == TASKMET_OK)
        status = taskmet_hypergradient(m->predictor, m->metric, data, m->rho, c, outputs, &solver, r->vector[3], r->phi,
                                       NULL);
    if (status == TASKMET_OK)
        status = taskmet_hypergradient_from_gradient(m->predictor, m->metric, data, m->rho, w, r->count, &solver,
                                                     workspace, NULL, 0, r->vector[4], r->phi, NULL);
    if (status == TASKMET_OK) status = taskmet_predictor_fit_standardization(moved, data, 3);
    if (status == TASKMET_OK) status = taskmet_loss_minimize(moved, m->metric, data, m->rho, &inner, workspace, NULL);
    if (status == TASKMET_OK) NEED(taskmet_predictor_get_parameters(moved, r->vector[5], r->count));
    taskmet_predictor_destroy(moved);
    taskmet_workspace_destroy(workspace);
    free(w), free(c);
    return status;
}

static void compare(const models *m, sources *s) {
    results expected = new_results(m), got = new_results(m);
    NEED(compute(m, s->memory, s->rows, 1, &expected));
    const taskmet_dataset *const streamed[] = {s->callback, s->files};
    for (int64_t threads = 1; threads <= 2; threads += 1)
        for (size_t k = 0; k < LENGTH(streamed); k += 1) {
            CHECK_OK(compute(m, streamed[k], s->rows, threads, &got));
            CHECK_SAME_BITS(&got.value, &expected.value, 1);
            for (int j = 0; j < 6; j += 1)
                CHECK_SAME_BITS(got.vector[j], expected.vector[j], j == 3 || j == 4 ? got.phi : got.count);
        }
    free_results(&expected), free_results(&got);
}

static void convert_predictor(taskmet_predictor **predictor) {
    taskmet_predictor *converted = NULL;
    NEED(taskmet_predictor_convert(*predictor, precision, &converted));
    taskmet_predictor_destroy(*predictor);
    *predictor = converted;
}

static void convert_metric(taskmet_metric **metric) {
    taskmet_metric *converted = NULL;
    NEED(taskmet_metric_convert(*metric, precision, &converted));
    taskmet_metric_destroy(*metric);
    *metric = converted;
}

static models make_models(const sources *s, int64_t hidden, int conditional, taskmet_structure structure) {
    models m = {NULL, NULL, 0.2};
    if (hidden > 0) m.predictor = make_mlp(11, s->d, s->n, hidden);
    else m.predictor = make_linear(11, s->d, s->n);
    if (conditional) m.metric = make_conditional(12, s->d, s->n, structure, 1, 3);
    else NEED(taskmet_metric_create_constant(s->n, structure, 1, 1, &m.metric));
    convert_predictor(&m.predictor), convert_metric(&m.metric);
    if (conditional) {
        NEED(taskmet_metric_set_normalization(m.metric, TASKMET_NORMALIZATION_BATCH_TRACE));
        NEED(taskmet_metric_update_normalization(m.metric, s->rows, s->x, s->d));
    }
    return m;
}

static void free_models(models *m) { taskmet_predictor_destroy(m->predictor), taskmet_metric_destroy(m->metric); }

static void test_same_bits(int64_t rows, int64_t d, int64_t n, int64_t hidden) {
    sources s;
    set_up(&s, rows, d, n, 0);
    for (int conditional = 0; conditional < 2; conditional += 1)
        for (int linear = 0; linear < 2; linear += 1) {
            models m = make_models(&s, linear ? 0 : hidden, conditional,
                                   conditional ? TASKMET_STRUCTURE_DIAGONAL : TASKMET_STRUCTURE_FULL);
            compare(&m, &s);
            free_models(&m);
        }
    /* A busy machine may leave all the work to the calling thread. */
    for (int attempt = 0; !check_quick && s.reader.abroad == 0 && attempt < 100; attempt += 1) {
        models m = make_models(&s, hidden, 0, TASKMET_STRUCTURE_DIAGONAL);
        compare(&m, &s);
        free_models(&m);
    }
    tear_down(&s);
    CHECK(s.reader.largest <= largest_block(precision, d + n));
    if (!check_quick) CHECK(s.reader.abroad > 0);
}

/* Linearised tiles are not kept where their activations are too many. */
static void test_linearizations_not_kept(void) {
    static const int64_t hidden[] = {6000};
    sources s;
    set_up(&s, 1000, 3, 2, 0);
    models m = make_models(&s, 0, 1, TASKMET_STRUCTURE_DIAGONAL);
    taskmet_predictor_destroy(m.predictor);
    NEED(taskmet_predictor_create_mlp(s.d, s.n, 1, hidden, TASKMET_ACTIVATION_SIGMOID, TASKMET_ACTIVATION_IDENTITY, 5,
                                      &m.predictor));
    convert_predictor(&m.predictor);
    taskmet_solver_options solver;
    taskmet_solver_options_init(&solver);
    solver.max_iterations = 1;
    const int64_t count = predictor_count(m.predictor), phi = metric_count(m.metric);
    double *g = random_array(6, count), *product[2], *h[2];
    taskmet_dataset *const data[] = {s.memory, s.callback};
    for (int k = 0; k < 2; k += 1) {
        product[k] = zeros(count), h[k] = zeros(phi);
        CHECK_OK(taskmet_loss_hvp(m.predictor, m.metric, data[k], 0.1, g, count, product[k], count));
        CHECK_OK(taskmet_hypergradient_from_gradient(m.predictor, m.metric, data[k], 0.1, g, count, &solver, NULL, NULL,
                                                     0, h[k], phi, NULL));
    }
    CHECK_SAME_BITS(product[0], product[1], count);
    CHECK_SAME_BITS(h[0], h[1], phi);
    for (int k = 0; k < 2; k += 1) free(product[k]), free(h[k]);
    free(g);
    free_models(&m);
    tear_down(&s);
}

/* The exact inner solution, the dense solver. */
static void test_exact(void) {
    sources s;
    set_up(&s, 700, 5, 2, 0);
    models m = make_models(&s, 0, 1, TASKMET_STRUCTURE_LOWRANK);
    taskmet_inner_options inner;
    taskmet_solver_options solver;
    taskmet_inner_options_init(&inner), taskmet_solver_options_init(&solver);
    inner.solver = TASKMET_INNER_EXACT;
    solver.solver = TASKMET_SOLVER_DENSE;
    const int64_t count = predictor_count(m.predictor), phi = metric_count(m.metric);
    double *c = random_array(7, s.rows * s.n), *theta[2], *h[2];
    taskmet_dataset *const data[] = {s.memory, s.callback};
    for (int k = 0; k < 2; k += 1) {
        taskmet_predictor *copy = NULL;
        NEED(taskmet_predictor_copy(m.predictor, &copy));
        CHECK_OK(taskmet_loss_minimize(copy, m.metric, data[k], 0.1, &inner, NULL, NULL));
        theta[k] = predictor_parameters(copy);
        h[k] = zeros(phi);
        CHECK_OK(taskmet_hypergradient(copy, m.metric, data[k], 0.1, c, s.n, &solver, h[k], phi, NULL));
        taskmet_predictor_destroy(copy);
    }
    CHECK_SAME_BITS(theta[0], theta[1], count);
    CHECK_SAME_BITS(h[0], h[1], phi);
    for (int k = 0; k < 2; k += 1) free(theta[k]), free(h[k]);
    free(c);
    free_models(&m);
    tear_down(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Tasks                                                                                                             */

/* The mean square, by instance; looks at inputs where there are some. */
typedef struct square {
    int64_t with_inputs, without;
} square;

static int32_t square_task(void *user, const taskmet_task_batch *b, double *loss, double *gradient) {
    square *s = user;
    double sum = 0;
    for (int64_t k = 0; k < b->instance_count; k += 1) {
        const int64_t first = b->offsets[k] * b->outputs, last = b->offsets[k + 1] * b->outputs;
        const double share = 1 / (double)(b->instance_count * (last - first));
        for (int64_t o = first; o < last; o += 1) {
            const double error = b->predictions[o] - b->targets[o], price = error < 0 ? 9 : 1;
            sum += share * price * error * error;
            if (gradient != NULL) gradient[o] = 2 * share * price * error;
        }
    }
    if (b->inputs != NULL) s->with_inputs += 1;
    else s->without += 1;
    *loss = sum;
    return TASKMET_CALLBACK_OK;
}

static taskmet_task *make_square(square *user) {
    taskmet_task *task = NULL;
    memset(user, 0, sizeof *user);
    NEED(taskmet_task_create_callback(square_task, user, NULL, &task));
    return task;
}

static void test_tasks(void) {
    sources s;
    set_up(&s, 300, 4, 2, 1);
    models m = make_models(&s, 5, 0, TASKMET_STRUCTURE_DIAGONAL);
    square user;
    taskmet_task *task = make_square(&user);
    int64_t instances = 0;
    NEED(taskmet_dataset_shape(s.callback, NULL, NULL, NULL, &instances));
    double loss[2], *each[2], *gradient[2], *f = random_array(9, s.rows * s.n);
    taskmet_dataset *const data[] = {s.memory, s.callback};
    for (int k = 0; k < 2; k += 1) {
        each[k] = zeros(instances), gradient[k] = zeros(s.rows * s.n);
        CHECK_OK(taskmet_task_evaluate(task, m.predictor, data[k], &loss[k], each[k], instances, NULL, 0));
        CHECK_OK(taskmet_task_gradient(task, data[k], TASKMET_PHASE_TRAINING, f, s.n, &loss[k], gradient[k], s.n));
        CHECK((user.without > 0) == (k == 1));
    }
    CHECK_SAME_BITS(&loss[0], &loss[1], 1);
    CHECK_SAME_BITS(each[0], each[1], instances);
    CHECK_SAME_BITS(gradient[0], gradient[1], s.rows * s.n);
    CHECK_STATUS(taskmet_dataset_refill(s.callback, 1, s.x, s.d, s.y, s.n, NULL, 0), TASKMET_ERROR_STATE, "streamed");
    for (int k = 0; k < 2; k += 1) free(each[k]), free(gradient[k]);
    free(f);
    taskmet_task_destroy(task);
    free_models(&m);
    tear_down(&s);
}

/* Differences in float64, whatever the rows' precision. */
static void test_check(void) {
    sources s;
    set_up(&s, 400, 3, 2, 1);
    models m = make_models(&s, 4, 1, TASKMET_STRUCTURE_DIAGONAL);
    square user;
    taskmet_task *task = make_square(&user);
    taskmet_inner_options inner;
    taskmet_solver_options solver;
    taskmet_inner_options_init(&inner), taskmet_solver_options_init(&solver);
    inner.max_iterations = 30;
    double worst[2] = {-1, -2};
    taskmet_dataset *const data[] = {s.memory, s.callback};
    for (int k = 0; k < 2; k += 1)
        CHECK_OK(taskmet_hypergradient_check(m.predictor, m.metric, data[k], 0.1, task, &inner, &solver, 1, 3, 1e-3,
                                             &worst[k], NULL));
    CHECK_SAME_BITS(&worst[0], &worst[1], 1);
    taskmet_task_destroy(task);
    free_models(&m);
    tear_down(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The trainer                                                                                                       */

static taskmet_trainer *train_on(const models *m, const taskmet_dataset *data, taskmet_task *task, const char *options,
                                 int64_t iterations) {
    taskmet_trainer *trainer = NULL;
    NEED(taskmet_trainer_create(m->predictor, m->metric, data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_validation(trainer, data));
    configure(trainer, options);
    steps(trainer, iterations);
    return trainer;
}

static const char *const recipes[] = {
    "warmup_iterations=3 inner_iterations=2 inner_solver=adam",
    "warmup_iterations=3 inner_iterations=2 inner_solver=adam inner_batch=40 outer_batch=30 hypergradient_batch=50 "
    "metric_l1=0.01 agreement_interval=2",
    "warmup_iterations=3 inner_iterations=2 inner_solver=lbfgs solver=normal_cg normalization=none metric_cache_bytes=64",
    "method=dfl warmup_iterations=2 inner_iterations=2 inner_batch=20",
    "method=dfl warmup_iterations=2 inner_iterations=2",
    "method=weighted_mse warmup_iterations=2 inner_iterations=2",
    "method=lodl warmup_iterations=2 inner_iterations=2 lodl_samples=8",
};

static void test_trainer(void) {
    sources s;
    set_up(&s, check_quick ? 260 : 1100, 4, 2, 1);
    models m = make_models(&s, 6, 1, TASKMET_STRUCTURE_DIAGONAL);
    square user;
    taskmet_task *task = make_square(&user);
    for (size_t k = 0; k < LENGTH(recipes); k += 1) {
        taskmet_trainer *expected = train_on(&m, s.memory, task, recipes[k], 3);
        const taskmet_dataset *const streamed[] = {s.callback, s.files};
        for (int threads = 1; threads <= 2; threads += 1) {
            char options[300];
            snprintf(options, sizeof options, "%s threads=%d", recipes[k], threads);
            taskmet_trainer *trainer = train_on(&m, streamed[threads - 1], task, options, 3);
            CHECK_SAME_TRAINERS(trainer, expected, recipes[k]);
            taskmet_trainer_destroy(trainer);
        }
        taskmet_trainer_destroy(expected);
    }
    taskmet_task_destroy(task);
    free_models(&m);
    tear_down(&s);
}

/* A checkpoint of rows in memory goes on with the same rows streamed. */
static void test_checkpoint(void) {
    sources s;
    set_up(&s, 300, 4, 2, 1);
    models m = make_models(&s, 6, 1, TASKMET_STRUCTURE_DIAGONAL);
    square user;
    taskmet_task *task = make_square(&user);
    char path[128];
    snprintf(path, sizeof path, "%s.checkpoint", s.paths.x);
    taskmet_trainer *expected = train_on(&m, s.memory, task, recipes[0], 2);
    taskmet_trainer *trainer = train_on(&m, s.files, task, recipes[0], 0);
    NEED(taskmet_trainer_save(expected, path));
    CHECK_OK(taskmet_trainer_load(trainer, path));
    NEED(taskmet_trainer_step(expected, NULL));
    CHECK_OK(taskmet_trainer_step(trainer, NULL));
    CHECK_SAME_TRAINERS(trainer, expected, "resumed");
    unlink(path);
    taskmet_trainer_destroy(trainer), taskmet_trainer_destroy(expected);
    taskmet_task_destroy(task);
    free_models(&m);
    tear_down(&s);
}

/* Objects of the other precision are refused, before anything is read. */
static void test_mixed(void) {
    sources s;
    set_up(&s, 20, 3, 2, 0);
    models m = make_models(&s, 4, 0, TASKMET_STRUCTURE_DIAGONAL);
    const taskmet_precision own = precision;
    precision = own == TASKMET_FLOAT32 ? TASKMET_FLOAT64 : TASKMET_FLOAT32;
    models others = {NULL, NULL, 0.2};
    NEED(taskmet_predictor_convert(m.predictor, precision, &others.predictor));
    NEED(taskmet_metric_convert(m.metric, precision, &others.metric));
    taskmet_dataset *memory = make_in_memory(precision, s.rows, s.d, s.x, s.n, s.y);
    precision = own;
    const taskmet_status refused = TASKMET_ERROR_INVALID_ARGUMENT;
    const char *text = own == TASKMET_FLOAT32 ? "dataset: its precision must be the predictor's, float64, is float32"
                                              : "dataset: its precision must be the predictor's, float32, is float64";
    double value = -1;
    taskmet_trainer *trainer = NULL;
    taskmet_dataset *const streamed[] = {s.callback, s.files};
    for (size_t k = 0; k < LENGTH(streamed); k += 1) {
        CHECK_STATUS(taskmet_loss_value(others.predictor, others.metric, streamed[k], 0, &value), refused, text);
        CHECK_STATUS(taskmet_trainer_create(others.predictor, others.metric, streamed[k], &trainer), refused, text);
        CHECK(trainer == NULL && value == -1);
        NEED(taskmet_trainer_create(others.predictor, others.metric, memory, &trainer));
        CHECK_STATUS(taskmet_trainer_set_validation(trainer, streamed[k]), refused, "precision");
        taskmet_trainer_destroy(trainer);
        trainer = NULL;
    }
    CHECK(s.reader.calls == 0);
    taskmet_dataset_destroy(memory);
    free_models(&others), free_models(&m);
    tear_down(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Readers that fail                                                                                                 */

static const struct failure {
    int32_t how;
    const char *text;
} failures[] = {
    {TASKMET_CALLBACK_ERROR, "TASKMET_CALLBACK_ERROR"}, {TASKMET_CALLBACK_REJECT, "TASKMET_CALLBACK_REJECT"},
    {TASKMET_CALLBACK_STOP, "TASKMET_CALLBACK_STOP"},   {77, "77"},
    {LEAVE_X_NAN, "must be finite, got nan"},           {LEAVE_Y_INFINITY, "must be finite, got inf"},
    {LEAVE_ROWS, "x[0,0] must be finite"},
};

/* Each call of the reader in turn fails, until none is left to fail; nothing is written by the failed function. */
static void test_failures(int64_t threads) {
    sources s;
    /* As many blocks in both precisions. */
    set_up(&s, precision == TASKMET_FLOAT32 ? 2200 : 1100, 60, 2, 0);
    models m = make_models(&s, 4, 1, TASKMET_STRUCTURE_DIAGONAL);
    results expected = new_results(&m), got = new_results(&m);
    NEED(compute(&m, s.memory, s.rows, threads, &expected));
    int64_t failed = 0;
    taskmet_status status = TASKMET_ERROR_CALLBACK;
    for (int64_t call = 0; status != TASKMET_OK && call < 2000; call += check_quick ? 3 : 1) {
        for (int j = 0; j < 6; j += 1)
            for (int64_t k = 0; k < got.count; k += 1) got.vector[j][k] = -7;
        const struct failure *f = &failures[failed % (int64_t)LENGTH(failures)];
        s.reader.calls = 0, s.reader.fail_at = call, s.reader.how = f->how;
        status = compute(&m, s.callback, s.rows, threads, &got);
        if (status == TASKMET_OK) break;
        failed += 1;
        CHECK(status == TASKMET_ERROR_CALLBACK);
        if (f->how != LEAVE_ROWS) CHECK(strstr(taskmet_last_error(), f->text) != NULL);
        CHECK(strstr(taskmet_last_error(), "the read callback") != NULL);
        for (int j = 0; j < 6; j += 1) {
            const int64_t size = j == 3 || j == 4 ? got.phi : got.count;
            if (got.vector[j][0] == -7) CHECK(got.vector[j][size - 1] == -7);
            else CHECK_SAME_BITS(got.vector[j], expected.vector[j], size);
        }
    }
    CHECK(status == TASKMET_OK && failed > 10);
    s.reader.fail_at = -1;
    CHECK_OK(compute(&m, s.callback, s.rows, threads, &got));
    for (int j = 0; j < 6; j += 1)
        CHECK_SAME_BITS(got.vector[j], expected.vector[j], j == 3 || j == 4 ? got.phi : got.count);
    free_results(&expected), free_results(&got);
    free_models(&m);
    tear_down(&s);
}

/* A step that fails is as if it had not been tried. */
static void test_failing_steps(const char *options, int64_t before) {
    sources s;
    set_up(&s, 400, 4, 2, 1);
    models m = make_models(&s, 5, 1, TASKMET_STRUCTURE_DIAGONAL);
    square user;
    taskmet_task *task = make_square(&user);
    taskmet_trainer *expected = train_on(&m, s.memory, task, options, before + 1);
    taskmet_trainer *trainer = train_on(&m, s.callback, task, options, before);
    taskmet_status status = TASKMET_ERROR_CALLBACK;
    snapshot start = take_snapshot(trainer);
    int64_t failed = 0;
    for (int64_t call = 0; status != TASKMET_OK && call < 3000; call += call < 20 ? 1 : check_quick ? 97 : 13) {
        s.reader.calls = 0, s.reader.fail_at = call;
        s.reader.how = failures[failed % (int64_t)LENGTH(failures)].how;
        status = taskmet_trainer_step(trainer, NULL);
        if (status == TASKMET_OK) break;
        CHECK(status == TASKMET_ERROR_CALLBACK);
        CHECK_UNCHANGED(&start, trainer, options);
        failed += 1;
    }
    CHECK(status == TASKMET_OK && failed > 10);
    CHECK_SAME_TRAINERS(trainer, expected, options);
    free_snapshot(&start);
    taskmet_trainer_destroy(trainer), taskmet_trainer_destroy(expected);
    taskmet_task_destroy(task);
    free_models(&m);
    tear_down(&s);
}

/* The caller is asked within a pass over streamed rows too. */
static int32_t interrupt(void *user) {
    return ++*(int64_t *)user < 3 ? TASKMET_CALLBACK_OK : TASKMET_CALLBACK_STOP;
}

static int32_t fill_slowly(int64_t first, int64_t count, void *x, void *y) {
    const struct timespec pause = {0, 2000000};
    nanosleep(&pause, NULL);
    for (int64_t k = 0; k < count; k += 1) {
        const double value = (double)((first + k) % 100) / 100;
        set_number(precision, x, k, value), set_number(precision, y, k, value);
    }
    return TASKMET_CALLBACK_OK;
}

static int32_t slow_rows(void *user, int64_t first, int64_t count, double *x, double *y) {
    (void)user;
    return fill_slowly(first, count, x, y);
}

static int32_t slow_rows_f32(void *user, int64_t first, int64_t count, float *x, float *y) {
    (void)user;
    return fill_slowly(first, count, x, y);
}

static void test_interrupt(void) {
    /* 12 seconds of pauses for each pass. */
    const int64_t many = 6000 * largest_block(precision, 2);
    taskmet_dataset *data = NULL;
    taskmet_fit_report report = new_report();
    models m = {make_linear(1, 1, 1), NULL, 0};
    square user;
    taskmet_task *task = make_square(&user);
    taskmet_trainer *trainer = NULL;
    int64_t asked = 0;
    NEED(taskmet_metric_create_constant(1, TASKMET_STRUCTURE_SCALAR, 1, 1, &m.metric));
    convert_predictor(&m.predictor), convert_metric(&m.metric);
    if (precision == TASKMET_FLOAT32)
        NEED(taskmet_dataset_create_from_callback_f32(many, 1, 1, slow_rows_f32, NULL, NULL, &data));
    else NEED(taskmet_dataset_create_from_callback(many, 1, 1, slow_rows, NULL, NULL, &data));
    NEED(taskmet_trainer_create(m.predictor, m.metric, data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    configure(trainer, "inner_solver=adam metric_cache_bytes=1000000");
    NEED(taskmet_trainer_set_interrupt(trainer, interrupt, &asked));
    const double start = seconds_now();
    CHECK_OK(taskmet_trainer_fit(trainer, &report));
    CHECK(report.reason == TASKMET_STOP_INTERRUPT && asked == 3);
    CHECK(seconds_now() - start < 10);
    taskmet_trainer_destroy(trainer);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
    free_models(&m);
}

/* ---------------------------------------------------------------------------------------------------------------- */

/* A callback predictor sees a block at a time. */
typedef struct slope {
    int64_t largest;
} slope;

static int32_t slope_forward(void *user, int64_t rows, const double *x, int64_t stride, const double *theta,
                             double *out) {
    slope *s = user;
    if (rows > s->largest) s->largest = rows;
    for (int64_t i = 0; i < rows; i += 1) out[i] = theta[0] * theta[0] * x[i * stride];
    return TASKMET_CALLBACK_OK;
}

static int32_t slope_vjp(void *user, int64_t rows, const double *x, int64_t stride, const double *theta,
                         const double *c, double *out) {
    (void)user;
    out[0] = 0;
    for (int64_t i = 0; i < rows; i += 1) out[0] += 2 * theta[0] * x[i * stride] * c[i];
    return TASKMET_CALLBACK_OK;
}

static int32_t slope_jvp(void *user, int64_t rows, const double *x, int64_t stride, const double *theta,
                         const double *w, double *out) {
    (void)user;
    for (int64_t i = 0; i < rows; i += 1) out[i] = 2 * theta[0] * x[i * stride] * w[0];
    return TASKMET_CALLBACK_OK;
}

static void test_callback_predictor(void) {
    if (precision == TASKMET_FLOAT32) return; /* it is float64 always */
    sources s;
    set_up(&s, 900, 200, 1, 0);
    taskmet_predictor_callbacks functions;
    memset(&functions, 0, sizeof functions);
    functions.struct_size = sizeof functions;
    functions.forward = slope_forward, functions.vjp = slope_vjp, functions.jvp = slope_jvp;
    const double theta = 0.8;
    slope user = {0};
    models m = {NULL, NULL, 0.1};
    NEED(taskmet_predictor_create_callback(s.d, 1, &theta, 1, &functions, &user, NULL, &m.predictor));
    m.metric = make_conditional(12, s.d, 1, TASKMET_STRUCTURE_SCALAR, 1, 3);
    double gradient[2], product[2], w = 1, *h[2];
    taskmet_dataset *const data[] = {s.callback, s.memory};
    double *c = random_array(4, s.rows);
    for (int k = 0; k < 2; k += 1) {
        h[k] = zeros(metric_count(m.metric));
        CHECK_OK(taskmet_loss_gradient(m.predictor, m.metric, data[k], m.rho, &gradient[k], 1));
        CHECK_OK(taskmet_loss_hvp(m.predictor, m.metric, data[k], m.rho, &w, 1, &product[k], 1));
        CHECK_OK(taskmet_hypergradient(m.predictor, m.metric, data[k], m.rho, c, 1, NULL, h[k],
                                       metric_count(m.metric), NULL));
        CHECK(k == 0 ? user.largest <= largest_block(precision, 201) : user.largest == s.rows);
    }
    CHECK_CLOSE_ARRAYS(&gradient[0], &gradient[1], 1, 1e-13);
    CHECK_CLOSE_ARRAYS(&product[0], &product[1], 1, 1e-13);
    CHECK_CLOSE_ARRAYS(h[0], h[1], metric_count(m.metric), 1e-12);
    free(h[0]), free(h[1]), free(c);
    free_models(&m);
    tear_down(&s);
}

/* What goes through every read of rows, for a tool that is slow. */
static void test_reads(void) {
    test_same_bits(400, 3, 2, 7);
    test_trainer();
    test_failures(2);
}

static void test_all(void) {
    test_same_bits(check_quick ? 400 : 1500, 3, 2, 7);
    /* Blocks of one tile, several for each lane. */
    test_same_bits(check_quick ? 800 : 4500, 400, 1, 3);
    if (!check_quick) test_linearizations_not_kept();
    test_exact();
    test_tasks();
    test_check();
    test_trainer();
    test_checkpoint();
    test_mixed();
    test_failures(1);
    test_failures(2);
    test_failing_steps(recipes[0], 0);
    test_failing_steps(recipes[0], 1);
    test_failing_steps(recipes[1], 1);
    test_failing_steps(recipes[5], 1);
    test_interrupt();
    test_callback_predictor();
}

int main(int argc, char **argv) {
    static const taskmet_precision precisions[] = {TASKMET_FLOAT64, TASKMET_FLOAT32};
    check_begin(argc, argv);
    for (size_t k = 0; k < LENGTH(precisions); k += 1) {
        precision = precisions[k];
        if (check_quick && k > 0) test_reads();
        else test_all();
    }
    return check_end();
}
