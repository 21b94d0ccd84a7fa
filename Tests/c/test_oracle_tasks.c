/*
 * test_oracle_tasks.c - tasks around the caller's program: what an oracle and a losses callback are given, what becomes
 * of their answers, bad arguments, nested calls, threads, training, and who is told when a task is gone.
 */
#include "check.h"

#include <pthread.h>

enum { ROWS = 7, D = 2, INSTANCES = 3, THREADS = 4 };
enum { MINIMIZE = TASKMET_SENSE_MINIMIZE, MAXIMIZE = TASKMET_SENSE_MAXIMIZE, TRAINING = TASKMET_PHASE_TRAINING };

/* More answers than there are in the header. */
enum { LEAVE_NAN = 100, LEAVE_INFINITY = 101 };

static const int64_t offsets[] = {0, 2, 5, ROWS};
static double x[ROWS * D], y[ROWS], predictions[ROWS];
/* Instance k owns k + 1 numbers: 10 k, 10 k + 1, ... */
static const double context[] = {0, 10, 11, 20, 21, 22};
static const int64_t context_offsets[] = {0, 1, 3, 6};

typedef struct program {
    taskmet_sense sense;
    int32_t answer;
    taskmet_phase phase;
    int has_context;
    int freed;
    const taskmet_dataset *busy; /* to be written to while it is in use */
    taskmet_task *nested;        /* to be asked from inside */
    int64_t calls, problems;
} program;

static taskmet_dataset *make_data(int with_context) {
    taskmet_dataset *data = NULL;
    NEED(taskmet_dataset_create(ROWS, D, x, D, 1, y, 1, &data));
    NEED(taskmet_dataset_set_instances(data, INSTANCES, offsets));
    if (with_context) NEED(taskmet_dataset_set_context(data, context, INSTANCES, context_offsets));
    return data;
}

static int context_is_right(int has, const double *const *pointers, const int64_t *counts, int64_t k,
                            int64_t instance) {
    if (!has) return pointers == NULL && counts == NULL;
    if (counts[k] != instance + 1) return 0;
    for (int64_t j = 0; j <= instance; j += 1)
        if (pointers[k][j] != (double)(10 * instance + j)) return 0;
    return 1;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The callbacks; several threads may be in them, so they count nothing where `calls` is -1                          */

static void do_nested_things(program *p) {
    if (p->busy != NULL) {
        const int64_t alone[] = {0, ROWS};
        CHECK_STATUS(taskmet_dataset_set_instances((taskmet_dataset *)(uintptr_t)p->busy, 1, alone),
                     TASKMET_ERROR_BUSY, "dataset");
    }
    if (p->nested != NULL) {
        taskmet_task *const task = p->nested;
        double loss = 0, gradient[ROWS];
        p->nested = NULL;
        CHECK_OK(taskmet_task_gradient(task, p->busy, TRAINING, predictions, 1, &loss, gradient, 1));
        p->nested = task;
    }
}

/* The one best entry is taken. */
static void take_best(taskmet_sense sense, const double *costs, int64_t count, double *decision) {
    int64_t best = 0;
    for (int64_t j = 1; j < count; j += 1)
        if (sense == MINIMIZE ? costs[j] < costs[best] : costs[j] > costs[best]) best = j;
    for (int64_t j = 0; j < count; j += 1) decision[j] = j == best;
}

static int32_t ask_oracle(void *user, const taskmet_oracle_batch *batch, double *decisions) {
    program *const p = user;
    const int counts = p->calls >= 0;
    if (counts) {
        p->calls += 1;
        p->problems += batch->count;
        CHECK(batch->struct_size == sizeof *batch && batch->reserved == 0 && batch->phase == p->phase);
        CHECK(batch->offsets[0] == 0);
        for (int64_t k = 0; k < batch->offsets[batch->count]; k += 1) CHECK(isnan(decisions[k]));
        do_nested_things(p);
    }
    for (int64_t k = 0; k < batch->count; k += 1) {
        const int64_t instance = batch->instances[k], first = batch->offsets[k];
        if (batch->offsets[k + 1] - first != offsets[instance + 1] - offsets[instance]) return 77;
        if (!context_is_right(p->has_context, batch->context, batch->context_counts, k, instance)) return 78;
        take_best(p->sense, batch->costs + first, batch->offsets[k + 1] - first, decisions + first);
    }
    if (p->answer == LEAVE_NAN) decisions[1] = NAN;
    if (p->answer == LEAVE_INFINITY) decisions[1] = INFINITY;
    return p->answer < 100 ? p->answer : TASKMET_CALLBACK_OK;
}

static double smooth_loss(double prediction, double target, double input) {
    return sin(prediction) + prediction * target * input;
}

static int32_t ask_losses(void *user, const taskmet_task_batch *batch, double *losses) {
    program *const p = user;
    if (p->calls >= 0) {
        p->calls += 1;
        p->problems += batch->instance_count;
        CHECK(batch->struct_size == sizeof *batch && batch->phase == p->phase && batch->outputs == 1);
        CHECK(batch->rows == batch->offsets[batch->instance_count] && batch->features == D);
        for (int64_t k = 0; k < batch->instance_count; k += 1) CHECK(isnan(losses[k]));
        do_nested_things(p);
    }
    for (int64_t k = 0; k < batch->instance_count; k += 1) {
        const int64_t instance = batch->instances[k];
        if (!context_is_right(p->has_context, batch->context, batch->context_counts, k, instance)) return 78;
        losses[k] = 0;
        for (int64_t i = batch->offsets[k]; i < batch->offsets[k + 1]; i += 1) {
            const int64_t row = offsets[instance] + i - batch->offsets[k];
            if (batch->targets[i] != y[row] || batch->inputs[i * D + 1] != x[row * D + 1]) return 79;
            losses[k] += smooth_loss(batch->predictions[i], batch->targets[i], batch->inputs[i * D]);
        }
    }
    if (p->answer == LEAVE_NAN) losses[1] = NAN;
    if (p->answer == LEAVE_INFINITY) losses[1] = -INFINITY;
    return p->answer < 100 ? p->answer : TASKMET_CALLBACK_OK;
}

static void count_free(void *user) { ((program *)user)->freed += 1; }

/* ---------------------------------------------------------------------------------------------------------------- */
/* All of the tasks                                                                                                  */

enum { SPO_PLUS, FENCHEL_YOUNG, OBJECTIVE, BLACKBOX, DIFFERENCES, SCORE_FUNCTION, KINDS };

static int is_oracle(int kind) { return kind <= BLACKBOX; }

/* Queries about an instance of m entries for a loss with its gradient. */
static int64_t queries(int kind, int64_t m) {
    const int64_t counts[KINDS] = {2, 1 + 6, 1 + 5, 2, 1 + 2 * m, 2 * 3};
    return counts[kind];
}

static taskmet_status create(int kind, program *p, taskmet_task **task) {
    switch (kind) {
    case SPO_PLUS: return taskmet_task_create_spo_plus(p->sense, ask_oracle, p, count_free, task);
    case FENCHEL_YOUNG:
        return taskmet_task_create_perturbed(p->sense, ask_oracle, p, count_free, TASKMET_PERTURBED_FENCHEL_YOUNG, 6,
                                             0.5, 1, task);
    case OBJECTIVE:
        return taskmet_task_create_perturbed(p->sense, ask_oracle, p, count_free, TASKMET_PERTURBED_OBJECTIVE, 5, 0.5,
                                             1, task);
    case BLACKBOX: return taskmet_task_create_blackbox(p->sense, ask_oracle, p, count_free, 4, task);
    case DIFFERENCES: return taskmet_task_create_finite_difference(ask_losses, p, count_free, 1e-4, task);
    default: return taskmet_task_create_score_function(ask_losses, p, count_free, 3, 0.5, 1, task);
    }
}

static taskmet_task *make_task(int kind, program *p) {
    taskmet_task *task = NULL;
    NEED(create(kind, p, &task));
    return task;
}

static void test_calls(int kind, taskmet_sense sense, int with_context) {
    program p = {.sense = sense, .phase = TRAINING, .has_context = with_context};
    taskmet_dataset *data = make_data(with_context);
    taskmet_task *task = make_task(kind, &p);
    double loss[2] = {0}, gradient[2][ROWS];
    int64_t expected = 0;
    taskmet_sense got = -1;
    for (int k = 0; k < INSTANCES; k += 1) expected += queries(kind, offsets[k + 1] - offsets[k]);
    for (int k = 0; k < 2; k += 1) {
        CHECK_OK(taskmet_task_gradient(task, data, TRAINING, predictions, 1, &loss[k], gradient[k], 1));
        CHECK(p.calls == k + 1 && p.problems == (k + 1) * expected);
    }
    CHECK_SAME_BITS(&loss[0], &loss[1], 1);
    CHECK_SAME_BITS(gradient[0], gradient[1], ROWS);
    CHECK(check_max_abs(gradient[0], ROWS) > 0);
    CHECK_OK(taskmet_task_get_sense(task, &got));
    CHECK(got == (is_oracle(kind) ? sense : MINIMIZE));
    p.phase = TASKMET_PHASE_VALIDATION;
    CHECK_STATUS(taskmet_task_gradient(task, data, p.phase, predictions, 1, loss, gradient[0], 1),
                 TASKMET_ERROR_UNSUPPORTED, "TRAINING");
    CHECK(p.calls == 2);
    taskmet_task_destroy(task);
    CHECK(p.freed == 1);
    taskmet_dataset_destroy(data);
}

/* SPO+ by hand: the best of 2, 3 and 2 entries. */
static void test_spo_plus_by_hand(taskmet_sense sense) {
    program p = {.sense = sense, .phase = TRAINING};
    taskmet_dataset *data = make_data(0);
    taskmet_task *task = make_task(SPO_PLUS, &p);
    const double sign = sense == MINIMIZE ? 1 : -1;
    double loss = 0, gradient[ROWS], expected = 0, slope[ROWS], shifted[ROWS], w[ROWS], w_shifted[ROWS];
    for (int k = 0; k < INSTANCES; k += 1) {
        const int64_t first = offsets[k], last = offsets[k + 1];
        for (int64_t j = first; j < last; j += 1) shifted[j] = 2 * predictions[j] - y[j];
        take_best(sense, y + first, last - first, w + first);
        take_best(sense, shifted + first, last - first, w_shifted + first);
        for (int64_t j = first; j < last; j += 1) {
            expected += sign * shifted[j] * (w[j] - w_shifted[j]) / INSTANCES;
            slope[j] = sign * 2 * (w[j] - w_shifted[j]) / INSTANCES;
        }
    }
    CHECK_OK(taskmet_task_gradient(task, data, TRAINING, predictions, 1, &loss, gradient, 1));
    CHECK_CLOSE(loss, expected, 1e-14);
    CHECK_CLOSE_ARRAYS(gradient, slope, ROWS, 1e-15);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

/* The gradients that are those of their losses. */
static void test_gradient_checks(void) {
    static const int kinds[] = {SPO_PLUS, FENCHEL_YOUNG, DIFFERENCES};
    taskmet_dataset *data = make_data(0);
    for (int k = 0; k < 6; k += 1) {
        program p = {.sense = k % 2, .phase = TRAINING, .calls = -1};
        taskmet_task *task = make_task(kinds[k / 2], &p);
        taskmet_check_report report = {.struct_size = sizeof report};
        double worst = -1;
        CHECK_OK(taskmet_task_check_gradient(task, data, predictions, 1, 8, 1, 1e-6, &worst, &report));
        CHECK(report.verdict == TASKMET_VERDICT_CORRECT && worst < 1e-6);
        taskmet_task_destroy(task);
    }
    taskmet_dataset_destroy(data);
}

static void test_differences(void) {
    program p = {.sense = MINIMIZE, .phase = TRAINING};
    taskmet_dataset *data = make_data(0);
    taskmet_task *task = make_task(DIFFERENCES, &p);
    double loss, gradient[ROWS];
    CHECK_OK(taskmet_task_gradient(task, data, TRAINING, predictions, 1, &loss, gradient, 1));
    for (int i = 0; i < ROWS; i += 1)
        CHECK_CLOSE(gradient[i], (cos(predictions[i]) + y[i] * x[i * D]) / INSTANCES, 1e-8);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

static void test_answers(int kind) {
    static const struct {
        int32_t answer;
        taskmet_status status;
        const char *text;
    } cases[] = {{TASKMET_CALLBACK_REJECT, TASKMET_ERROR_REJECTED, "1"},
                 {TASKMET_CALLBACK_STOP, TASKMET_ERROR_CALLBACK, "2"},
                 {TASKMET_CALLBACK_ERROR, TASKMET_ERROR_CALLBACK, "3"},
                 {4, TASKMET_ERROR_CALLBACK, "4"},
                 {-1, TASKMET_ERROR_CALLBACK, "-1"},
                 {INT32_MIN, TASKMET_ERROR_CALLBACK, "-2147483648"},
                 {LEAVE_NAN, TASKMET_ERROR_CALLBACK, "[1] must be finite, got"},
                 {LEAVE_INFINITY, TASKMET_ERROR_CALLBACK, "[1] must be finite, got"}};
    program p = {.sense = MAXIMIZE, .phase = TRAINING};
    taskmet_dataset *data = make_data(0);
    taskmet_task *task = make_task(kind, &p);
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k += 1) {
        double loss = -5, gradient[ROWS] = {0};
        p.answer = cases[k].answer;
        CHECK_STATUS(taskmet_task_gradient(task, data, TRAINING, predictions, 1, &loss, gradient, 1), cases[k].status,
                     cases[k].text);
        CHECK(strncmp(taskmet_last_error(), "task_gradient: ", 15) == 0);
        CHECK(loss == -5 && check_max_abs(gradient, ROWS) == 0);
    }
    taskmet_task_destroy(task);
    CHECK(p.freed == 1);
    taskmet_dataset_destroy(data);
}

static void test_nested(int kind) {
    program p = {.sense = MINIMIZE, .phase = TRAINING};
    taskmet_dataset *data = make_data(0);
    taskmet_task *task = make_task(kind, &p);
    double loss = 0, gradient[ROWS];
    p.busy = data;
    p.nested = task;
    CHECK_OK(taskmet_task_gradient(task, data, TRAINING, predictions, 1, &loss, gradient, 1));
    CHECK(p.calls == 2);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

/* Costs that overflow are never asked; a step that rounding swallows neither. */
static void test_values_out_of_range(void) {
    program p = {.sense = MINIMIZE, .phase = TRAINING};
    taskmet_dataset *data = make_data(0);
    double huge[ROWS], loss = -5;
    for (int k = 0; k < ROWS; k += 1) huge[k] = 1e308 * (k % 2 == 0 ? 1 : -1);
    taskmet_task *spo = make_task(SPO_PLUS, &p), *differences = make_task(DIFFERENCES, &p);
    CHECK_STATUS(taskmet_task_gradient(spo, data, TRAINING, huge, 1, &loss, NULL, 0), TASKMET_ERROR_NUMERICAL, "inf");
    double gradient[ROWS];
    CHECK_STATUS(taskmet_task_gradient(differences, data, TRAINING, huge, 1, &loss, gradient, 1),
                 TASKMET_ERROR_NUMERICAL, "step");
    CHECK(p.calls == 0 && loss == -5);
    taskmet_task_destroy(spo);
    taskmet_task_destroy(differences);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Held-out data                                                                                                     */

static void test_held_out(int kind) {
    program p = {.sense = MAXIMIZE, .phase = TASKMET_PHASE_VALIDATION};
    taskmet_dataset *data = make_data(0);
    taskmet_task *task = make_task(kind, &p);
    taskmet_predictor *predictor = make_linear(3, D, 1);
    double loss = 0, losses[INSTANCES], decisions[ROWS], sum = 0, taken[ROWS], forecasts[ROWS];
    int64_t count = -1;
    taskmet_decision_report report = {.struct_size = sizeof report};
    CHECK_OK(taskmet_task_decision_count(task, data, &count));
    CHECK(count == (is_oracle(kind) ? ROWS : 0));
    double *const room = count > 0 ? decisions : NULL;
    CHECK_OK(taskmet_task_evaluate(task, predictor, data, &loss, losses, INSTANCES, room, count));
    for (int k = 0; k < INSTANCES; k += 1) sum += losses[k] / INSTANCES;
    CHECK_CLOSE(loss, sum, 1e-14);
    if (is_oracle(kind)) {
        NEED(taskmet_predictor_predict(predictor, ROWS, x, D, forecasts, 1));
        for (int k = 0; k < INSTANCES; k += 1) {
            double value = 0;
            take_best(MAXIMIZE, forecasts + offsets[k], offsets[k + 1] - offsets[k], taken + offsets[k]);
            for (int64_t j = offsets[k]; j < offsets[k + 1]; j += 1) value += taken[j] * y[j];
            CHECK_CLOSE(losses[k], -value, 1e-14);
        }
        CHECK_SAME_BITS(decisions, taken, ROWS);
        CHECK_OK(taskmet_task_decision_quality(task, data, y, 1, 2, 10, 0, 1, &report));
        CHECK(report.regret == 0 && report.decision_quality == 1);
    } else {
        CHECK_STATUS(taskmet_task_evaluate(task, predictor, data, &loss, NULL, 0, decisions, ROWS),
                     TASKMET_ERROR_UNSUPPORTED, "decisions");
    }
    taskmet_predictor_destroy(predictor);
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Training: it learns from every kind, and STOP ends it without an error                                            */

static void test_training(int kind) {
    program p = {.sense = MINIMIZE, .calls = -1};
    taskmet_dataset *data = make_data(0);
    taskmet_task *task = make_task(kind, &p);
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = make_conditional(5, D, 1, TASKMET_STRUCTURE_SCALAR, 1, 4);
    taskmet_trainer *trainer = NULL;
    taskmet_fit_report report = {.struct_size = sizeof report};
    NEED(taskmet_predictor_create_linear(D, 1, 1, &predictor));
    NEED(taskmet_trainer_create(predictor, metric, data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", 3));
    taskmet_task_destroy(task);
    CHECK(p.freed == 0);
    CHECK_OK(taskmet_trainer_fit(trainer, &report));
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 3);
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", 6));
    p.answer = TASKMET_CALLBACK_STOP;
    CHECK_OK(taskmet_trainer_fit(trainer, &report));
    CHECK(report.reason == TASKMET_STOP_TASK && report.iterations == 3);
    p.answer = TASKMET_CALLBACK_ERROR;
    CHECK_STATUS(taskmet_trainer_fit(trainer, &report), TASKMET_ERROR_CALLBACK, "3");
    taskmet_trainer_destroy(trainer);
    CHECK(p.freed == 1);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Threads                                                                                                           */

typedef struct thread_run {
    const taskmet_task *task;
    const taskmet_dataset *data;
    double loss, gradient[ROWS];
    taskmet_status status;
} thread_run;

static void *evaluate_often(void *argument) {
    thread_run *const r = argument;
    for (int k = 0; k < (check_quick ? 5 : 200) && r->status == TASKMET_OK; k += 1)
        r->status = taskmet_task_gradient(r->task, r->data, TRAINING, predictions, 1, &r->loss, r->gradient, 1);
    return NULL;
}

static void test_threads(int kind) {
    program p = {.sense = MINIMIZE, .has_context = 1, .calls = -1};
    taskmet_dataset *data = make_data(1);
    taskmet_task *task = make_task(kind, &p);
    thread_run runs[THREADS];
    pthread_t threads[THREADS];
    memset(runs, 0, sizeof runs);
    for (int k = 0; k < THREADS; k += 1) {
        runs[k].task = task;
        runs[k].data = data;
        if (pthread_create(&threads[k], NULL, evaluate_often, &runs[k]) != 0) abort();
    }
    for (int k = 0; k < THREADS; k += 1) pthread_join(threads[k], NULL);
    for (int k = 0; k < THREADS; k += 1) {
        CHECK(runs[k].status == TASKMET_OK);
        CHECK_SAME_BITS(&runs[k].loss, &runs[0].loss, 1);
        CHECK_SAME_BITS(runs[k].gradient, runs[0].gradient, ROWS);
    }
    taskmet_task_destroy(task);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Bad arguments                                                                                                     */

static program refused;
static taskmet_task *const no_task = (taskmet_task *)(void *)&refused;
static taskmet_task *out;

static void check_refusal(taskmet_status status, const char *function, const char *text, int line) {
    const char *const message = taskmet_last_error();
    check_that(status == TASKMET_ERROR_INVALID_ARGUMENT && strstr(message, function) == message &&
                   strstr(message, text) != NULL,
               __FILE__, line, "%s (\"%s\") in place of %s...%s", taskmet_status_name(status), message, function, text);
    CHECK(out == no_task && refused.freed == 0);
}

#define REFUSE(function, text, ...) check_refusal(taskmet_##function(__VA_ARGS__), #function ": ", text, __LINE__)

static void test_oracle_arguments(void) {
    const int32_t senses[] = {-1, 2, INT32_MAX};
    void (*const done)(void *) = count_free;
    for (int k = 0; k < 3; k += 1) {
        char text[64];
        snprintf(text, sizeof text, "sense must be 0 to 1, got %d", (int)senses[k]);
        REFUSE(task_create_spo_plus, text, senses[k], ask_oracle, &refused, done, &out);
        REFUSE(task_create_perturbed, text, senses[k], ask_oracle, &refused, done, 0, 1, 1, 0, &out);
        REFUSE(task_create_blackbox, text, senses[k], ask_oracle, &refused, done, 1, &out);
    }
    REFUSE(task_create_spo_plus, "oracle must not be NULL", 0, NULL, &refused, done, &out);
    REFUSE(task_create_perturbed, "oracle must not be NULL", 0, NULL, &refused, done, 0, 1, 1, 0, &out);
    REFUSE(task_create_blackbox, "oracle must not be NULL", 0, NULL, &refused, done, 1, &out);
    REFUSE(task_create_spo_plus, "task must not be NULL", 0, ask_oracle, &refused, done, NULL);
    REFUSE(task_create_perturbed, "task must not be NULL", 0, ask_oracle, &refused, done, 0, 1, 1, 0, NULL);
    REFUSE(task_create_blackbox, "task must not be NULL", 0, ask_oracle, &refused, done, 1, NULL);
    REFUSE(task_create_perturbed, "loss must be 0 to 1, got 2", 0, ask_oracle, &refused, done, 2, 1, 1, 0, &out);
    REFUSE(task_create_perturbed, "loss must be 0 to 1, got -1", 0, ask_oracle, &refused, done, -1, 1, 1, 0, &out);
}

static void test_losses_arguments(void) {
    void (*const done)(void *) = count_free;
    REFUSE(task_create_finite_difference, "losses must not be NULL", NULL, &refused, done, 1, &out);
    REFUSE(task_create_score_function, "losses must not be NULL", NULL, &refused, done, 1, 1, 0, &out);
    REFUSE(task_create_finite_difference, "task must not be NULL", ask_losses, &refused, done, 1, NULL);
    REFUSE(task_create_score_function, "task must not be NULL", ask_losses, &refused, done, 1, 1, 0, NULL);
}

static void test_numbers(void) {
    static const struct {
        double value;
        const char *text;
    } reals[] = {{0, "> 0, got 0"}, {-1, "> 0, got -1"}, {NAN, "finite, got nan"}, {INFINITY, "finite, got inf"}};
    static const struct {
        int64_t value;
        const char *text;
    } samples[] = {{0, "samples must be >= 1, got 0"},
                   {-1, "samples must be >= 1, got -1"},
                   {INT64_MIN, "samples must be >= 1, got -9223372036854775808"},
                   {1000001, "samples must be <= 1000000, got 1000001"},
                   {INT64_MAX, "samples must be <= 1000000, got 9223372036854775807"}};
    void (*const done)(void *) = count_free;
    for (size_t k = 0; k < sizeof reals / sizeof reals[0]; k += 1) {
        const double bad = reals[k].value;
        REFUSE(task_create_perturbed, reals[k].text, 0, ask_oracle, &refused, done, 0, 1, bad, 0, &out);
        CHECK(strstr(taskmet_last_error(), "sigma must be ") != NULL);
        REFUSE(task_create_blackbox, reals[k].text, 0, ask_oracle, &refused, done, bad, &out);
        CHECK(strstr(taskmet_last_error(), "lambda must be ") != NULL);
        REFUSE(task_create_finite_difference, reals[k].text, ask_losses, &refused, done, bad, &out);
        CHECK(strstr(taskmet_last_error(), "step must be ") != NULL);
        REFUSE(task_create_score_function, reals[k].text, ask_losses, &refused, done, 1, bad, 0, &out);
        CHECK(strstr(taskmet_last_error(), "sigma must be ") != NULL);
    }
    for (size_t k = 0; k < sizeof samples / sizeof samples[0]; k += 1) {
        const int64_t bad = samples[k].value;
        REFUSE(task_create_perturbed, samples[k].text, 0, ask_oracle, &refused, done, 0, bad, 1, 0, &out);
        REFUSE(task_create_score_function, samples[k].text, ask_losses, &refused, done, bad, 1, 0, &out);
    }
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    random_fill(1, x, ROWS * D);
    random_fill(2, y, ROWS);
    random_fill(5, predictions, ROWS);
    for (int kind = 0; kind < KINDS; kind += 1) {
        for (int k = 0; k < 4; k += 1) test_calls(kind, k % 2, k / 2);
        test_answers(kind);
        test_nested(kind);
        test_held_out(kind);
        test_training(kind);
        test_threads(kind);
    }
    test_spo_plus_by_hand(MINIMIZE);
    test_spo_plus_by_hand(MAXIMIZE);
    test_gradient_checks();
    test_differences();
    test_values_out_of_range();
    out = no_task;
    test_oracle_arguments();
    test_losses_arguments();
    test_numbers();
    return check_end();
}
