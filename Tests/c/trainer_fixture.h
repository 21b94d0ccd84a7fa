/*
 * trainer_fixture.h - what the trainer's tests share: a problem that its predictor must get wrong somewhere, a task
 * that cares where and can be told to fail, trainers set up from one line of options, a trainer's whole visible state.
 */
#ifndef TRAINER_FIXTURE_H
#define TRAINER_FIXTURE_H

#include "check.h"

#include <inttypes.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

#define LENGTH(array) (sizeof(array) / sizeof(array)[0])

static inline double seconds_now(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

static inline float *narrowed(const double *values, int64_t count) {
    float *result = need_memory((size_t)count * sizeof(float));
    for (int64_t k = 0; k < count; k += 1) result[k] = (float)values[k];
    return result;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The problem: y_k = 1 + 2 x_0^2 + 0.3 k x_last + noise                                                            */

typedef struct problem {
    int64_t rows, d, n, instances;
    double *x, *y;
    int64_t *offsets;
    taskmet_dataset *data;
} problem;

/* group 0: every row is an instance; else instances of group, group + 1, group, ... rows. */
static inline problem make_problem(uint64_t seed, int64_t rows, int64_t d, int64_t n, int64_t group) {
    problem p = {rows, d, n, 0, random_array(seed, rows * d), random_array(seed + 1, rows * n), NULL, NULL};
    p.offsets = need_memory((size_t)(rows + 1) * sizeof(int64_t));
    for (int64_t i = 0; i < rows; i += 1)
        for (int64_t k = 0; k < n; k += 1) {
            const double hot = p.x[i * d], last = p.x[i * d + d - 1];
            p.y[i * n + k] = 1 + 2 * hot * hot + 0.3 * (double)k * last + 0.1 * p.y[i * n + k];
        }
    while (p.offsets[p.instances] < rows) {
        const int64_t size = group == 0 ? 1 : group + p.instances % 2, left = rows - p.offsets[p.instances];
        p.offsets[p.instances + 1] = p.offsets[p.instances] + (size < left ? size : left);
        p.instances += 1;
    }
    NEED(taskmet_dataset_create(rows, d, p.x, d, n, p.y, n, &p.data));
    if (group > 0) NEED(taskmet_dataset_set_instances(p.data, p.instances, p.offsets));
    return p;
}

static inline void destroy_problem(problem *p) {
    taskmet_dataset_destroy(p->data);
    free(p->x), free(p->y), free(p->offsets);
    memset(p, 0, sizeof *p);
}

/* The root mean squared error over all entries. */
static inline double rmse_of(const taskmet_predictor *predictor, const problem *p) {
    double sum = 0, *f = zeros(p->rows * p->n);
    NEED(taskmet_predictor_predict(predictor, p->rows, p->x, p->d, f, p->n));
    for (int64_t k = 0; k < p->rows * p->n; k += 1) sum += (f[k] - p->y[k]) * (f[k] - p->y[k]);
    free(f);
    return sqrt(sum / (double)(p->rows * p->n));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The task: squared errors at a price, which depends on the row and on the side                                    */

/* How it fails: a number that it returns, or one of these. */
enum { LEAVE_LOSS_NAN = 1000, LEAVE_LOSS_INFINITY, LEAVE_GRADIENT_NAN, LEAVE_GRADIENT_INFINITY, LEAVE_NOTHING };

typedef struct judge {
    double under, over;   /* the price of a prediction that is too low, too high */
    double edge, slope;   /* paid where slope (x_0 - edge) > 0 */
    double noise;         /* of this size, in place of the true gradient; 0: none */
    uint64_t random;
    taskmet_phase phase;  /* it fails in this phase, */
    int64_t from, to;     /*   in the calls from .. to - 1, counted by phase, */
    int32_t how;          /*   in this way */
    int64_t calls[2];     /* by phase */
    int64_t failures;
    void (*inside)(struct judge *self, const taskmet_task_batch *batch); /* done in each call */
    void *context;
    int freed;
} judge;

static inline judge new_judge(void) {
    judge j;
    memset(&j, 0, sizeof j);
    j.under = 9;
    j.over = 1;
    j.edge = 0.5;
    j.slope = 10;
    return j;
}

/* From its next call in this phase on, for so many calls. */
static inline void let_fail(judge *j, taskmet_phase phase, int32_t how, int64_t times) {
    j->phase = phase;
    j->from = j->calls[phase];
    j->to = j->from + times;
    j->how = how;
    j->failures = 0;
}

static inline void let_work(judge *j) { j->to = 0; }

/* The mean over the instances of the mean cost of their entries. */
static inline void judge_value(const judge *j, const taskmet_task_batch *b, double *loss, double *gradient) {
    double sum = 0;
    for (int64_t k = 0; k < b->instance_count; k += 1) {
        const int64_t first = b->offsets[k], last = b->offsets[k + 1];
        const double share = 1 / (double)(b->instance_count * (last - first) * b->outputs);
        for (int64_t i = first; i < last; i += 1)
            for (int64_t o = i * b->outputs; o < (i + 1) * b->outputs; o += 1) {
                const double error = b->predictions[o] - b->targets[o];
                const double here = 1 / (1 + exp(-j->slope * (b->inputs[i * b->features] - j->edge)));
                const double price = share * here * (error < 0 ? j->under : j->over);
                sum += price * error * error;
                if (gradient != NULL) gradient[o] = 2 * price * error;
            }
    }
    *loss = sum;
}

static inline int32_t judge_fail(const judge *j, int64_t count, double *loss, double *gradient) {
    if (j->how == LEAVE_LOSS_NAN) *loss = (double)NAN;
    if (j->how == LEAVE_LOSS_INFINITY) *loss = (double)INFINITY;
    if (j->how == LEAVE_GRADIENT_NAN && gradient != NULL) gradient[count - 1] = (double)NAN;
    if (j->how == LEAVE_GRADIENT_INFINITY && gradient != NULL) gradient[0] = -(double)INFINITY;
    return j->how < LEAVE_LOSS_NAN || j->how > LEAVE_NOTHING ? j->how : TASKMET_CALLBACK_OK;
}

static int32_t judge_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    judge *j = user;
    const taskmet_phase phase = batch->phase == TASKMET_PHASE_VALIDATION;
    const int64_t call = j->calls[phase], count = batch->rows * batch->outputs;
    const int idle = gradient == NULL && (j->how == LEAVE_GRADIENT_NAN || j->how == LEAVE_GRADIENT_INFINITY);
    const int failing = phase == j->phase && call >= j->from && call < j->to && !idle;
    j->calls[phase] = call + 1;
    if (j->inside != NULL) j->inside(j, batch);
    if (failing) j->failures += 1;
    if (failing && j->how == LEAVE_NOTHING) return TASKMET_CALLBACK_OK;
    judge_value(j, batch, loss, gradient);
    for (int64_t k = 0; j->noise > 0 && gradient != NULL && k < count; k += 1)
        gradient[k] = j->noise * random_next(&j->random);
    return failing ? judge_fail(j, count, loss, gradient) : TASKMET_CALLBACK_OK;
}

static inline void judge_free(void *user) { ((judge *)user)->freed += 1; }

static inline taskmet_task *make_task(judge *j) {
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_callback(judge_task, j, judge_free, &task));
    return task;
}

/* What the task says of a predictor on all of a problem, by a judge of its own: nothing is counted. */
static inline double loss_of(const judge *j, const taskmet_predictor *predictor, const problem *p) {
    judge own = *j;
    double loss = 0;
    own.to = 0;
    own.inside = NULL;
    taskmet_task *task = make_task(&own);
    NEED(taskmet_task_evaluate(task, predictor, p->data, &loss, NULL, 0, NULL, 0));
    taskmet_task_destroy(task);
    return loss;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options from one line: "inner_solver=exact metric_rate=0.1"                                                      */

static inline taskmet_option_type option_type(const char *name) {
    taskmet_option_description info;
    for (int64_t k = 0; k < taskmet_option_count(); k += 1) {
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        NEED(taskmet_option_info(k, &info));
        if (strcmp(info.name, name) == 0) return info.type;
    }
    return -1;
}

static inline taskmet_status set_option(taskmet_trainer *trainer, const char *name, const char *value) {
    const taskmet_option_type type = option_type(name);
    if (type == TASKMET_OPTION_INT) return taskmet_trainer_set_int(trainer, name, strtoll(value, NULL, 10));
    if (type == TASKMET_OPTION_DOUBLE) return taskmet_trainer_set_double(trainer, name, strtod(value, NULL));
    return taskmet_trainer_set_string(trainer, name, value);
}

/* Takes the next name and value off the line; 0 at its end. */
static inline int next_setting(const char **options, char word[128], char **value) {
    int length = 0;
    if (sscanf(*options, " %127s%n", word, &length) != 1) return 0;
    *options += length;
    *value = strchr(word, '=');
    if (*value == NULL) abort();
    *(*value)++ = 0;
    return 1;
}

static inline void configure(taskmet_trainer *trainer, const char *options) {
    char word[128], *value = NULL;
    while (next_setting(&options, word, &value)) NEED(set_option(trainer, word, value));
}

/* Whether the trainer's option has this value. */
static inline int has_value(const taskmet_trainer *trainer, const char *name, const char *value) {
    const taskmet_option_type type = option_type(name);
    int64_t integer = -7;
    double real = -7;
    const char *text = NULL;
    if (type == TASKMET_OPTION_INT)
        return CHECK_OK(taskmet_trainer_get_int(trainer, name, &integer)) && integer == strtoll(value, NULL, 10);
    if (type == TASKMET_OPTION_DOUBLE)
        return CHECK_OK(taskmet_trainer_get_double(trainer, name, &real)) && real == strtod(value, NULL);
    return CHECK_OK(taskmet_trainer_get_string(trainer, name, &text)) && strcmp(text, value) == 0;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A trainer with everything it needs                                                                               */

typedef struct shape {
    int64_t rows, d, n, group;
    int64_t hidden;     /* of the predictor; 0: linear */
    int64_t validation; /* rows held out; 0: none */
} shape;

typedef struct setup {
    problem training, validation;
    judge judge; /* the task's user: a setup must not move */
    taskmet_task *task;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_trainer *trainer;
} setup;

static inline taskmet_predictor *new_predictor(const shape *size) {
    taskmet_predictor *predictor = NULL;
    if (size->hidden > 0) return make_mlp(21, size->d, size->n, size->hidden);
    NEED(taskmet_predictor_create_linear(size->d, size->n, 1, &predictor));
    return predictor;
}

/* As users make it: at its initialisation. */
static inline taskmet_metric *new_metric(int64_t d, int64_t n, taskmet_structure structure) {
    static const int64_t hidden[] = {8};
    taskmet_metric *metric = NULL;
    NEED(taskmet_metric_create_conditional(d, n, structure, 1, 1, hidden, TASKMET_ACTIVATION_TANH, 22, &metric));
    return metric;
}

static inline taskmet_trainer *new_trainer(const setup *s, const char *options) {
    taskmet_trainer *trainer = NULL;
    NEED(taskmet_trainer_create(s->predictor, s->metric, s->training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, s->task, 1));
    if (s->validation.data != NULL) NEED(taskmet_trainer_set_validation(trainer, s->validation.data));
    configure(trainer, options);
    return trainer;
}

static inline void begin(setup *s, const shape *size, const char *options) {
    memset(s, 0, sizeof *s);
    s->training = make_problem(1, size->rows, size->d, size->n, size->group);
    if (size->validation > 0) s->validation = make_problem(7, size->validation, size->d, size->n, size->group);
    s->judge = new_judge();
    s->task = make_task(&s->judge);
    s->predictor = new_predictor(size);
    s->metric = new_metric(size->d, size->n, size->n == 1 ? TASKMET_STRUCTURE_SCALAR : TASKMET_STRUCTURE_DIAGONAL);
    s->trainer = new_trainer(s, options);
}

static inline void finish(setup *s) {
    taskmet_trainer_destroy(s->trainer);
    taskmet_task_destroy(s->task);
    taskmet_predictor_destroy(s->predictor);
    taskmet_metric_destroy(s->metric);
    destroy_problem(&s->training);
    if (s->validation.data != NULL) destroy_problem(&s->validation);
    CHECK(s->judge.freed == 1);
}

static inline void steps(taskmet_trainer *trainer, int64_t count) {
    for (int64_t k = 0; k < count; k += 1) NEED(taskmet_trainer_step(trainer, NULL));
}

static inline taskmet_fit_report new_report(void) {
    taskmet_fit_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    report.reason = -1;
    return report;
}

static inline taskmet_fit_report run_fit(taskmet_trainer *trainer) {
    taskmet_fit_report report = new_report();
    NEED(taskmet_trainer_fit(trainer, &report));
    return report;
}

static inline int64_t record_count(const taskmet_trainer *trainer) {
    int64_t count = -1;
    NEED(taskmet_trainer_history_count(trainer, &count));
    return count;
}

static inline taskmet_record record_at(const taskmet_trainer *trainer, int64_t index) {
    taskmet_record record;
    memset(&record, 0, sizeof record);
    record.struct_size = sizeof record;
    NEED(taskmet_trainer_history_get(trainer, index, &record));
    return record;
}

static inline taskmet_predictor *predictor_of(const taskmet_trainer *trainer, taskmet_model model) {
    taskmet_predictor *predictor = NULL;
    NEED(taskmet_trainer_copy_predictor(trainer, model, &predictor));
    return predictor;
}

static inline taskmet_metric *metric_of(const taskmet_trainer *trainer, taskmet_model model) {
    taskmet_metric *metric = NULL;
    NEED(taskmet_trainer_copy_metric(trainer, model, &metric));
    return metric;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* All that can be seen of a trainer, but for the seconds                                                           */

typedef struct snapshot {
    int64_t records, theta, phi;
    double *thetas[2], *phis[2], scales[2]; /* best, last */
    taskmet_record *history;
} snapshot;

/* The fields before the seconds. */
#define RECORD_FACTS offsetof(taskmet_record, seconds_inner)

static inline snapshot take_snapshot(const taskmet_trainer *trainer) {
    snapshot s;
    memset(&s, 0, sizeof s);
    s.records = record_count(trainer);
    s.history = need_memory((size_t)s.records * sizeof(taskmet_record));
    for (int64_t k = 0; k < s.records; k += 1) s.history[k] = record_at(trainer, k);
    for (taskmet_model model = TASKMET_MODEL_BEST; s.records > 0 && model <= TASKMET_MODEL_LAST; model += 1) {
        taskmet_predictor *predictor = predictor_of(trainer, model);
        taskmet_metric *metric = metric_of(trainer, model);
        s.theta = predictor_count(predictor);
        s.phi = metric_count(metric);
        s.thetas[model] = predictor_parameters(predictor);
        s.phis[model] = metric_parameters(metric);
        NEED(taskmet_metric_get_normalization_scale(metric, &s.scales[model]));
        taskmet_predictor_destroy(predictor);
        taskmet_metric_destroy(metric);
    }
    return s;
}

static inline void free_snapshot(snapshot *s) {
    for (int k = 0; k < 2; k += 1) free(s->thetas[k]), free(s->phis[k]);
    free(s->history);
    memset(s, 0, sizeof *s);
}

/* What differs first; NULL where every bit is the same. */
static inline const char *difference(const snapshot *a, const snapshot *b) {
    if (a->records != b->records) return "the number of records";
    for (int64_t k = 0; k < a->records; k += 1)
        if (memcmp(&a->history[k], &b->history[k], RECORD_FACTS) != 0) return "the records";
    if (a->theta != b->theta || a->phi != b->phi) return "the shapes";
    for (int k = 0; a->records > 0 && k < 2; k += 1) {
        if (!check_same_bits(a->thetas[k], b->thetas[k], a->theta)) return k ? "theta (last)" : "theta (best)";
        if (!check_same_bits(a->phis[k], b->phis[k], a->phi)) return k ? "phi (last)" : "phi (best)";
        if (!check_same_bits(&a->scales[k], &b->scales[k], 1)) return "the metric's scale";
    }
    return NULL;
}

static inline int compare_snapshots(const snapshot *a, const snapshot *b, const char *file, int line,
                                    const char *what) {
    const char *found = difference(a, b);
    return check_that(found == NULL, file, line, "%s: %s (%" PRId64 " and %" PRId64 " records)", what, found,
                      a->records, b->records);
}

static inline int compare_trainers(const taskmet_trainer *a, const taskmet_trainer *b, const char *file, int line,
                                   const char *what) {
    snapshot first = take_snapshot(a), second = take_snapshot(b);
    const int same = compare_snapshots(&first, &second, file, line, what);
    free_snapshot(&first), free_snapshot(&second);
    return same;
}

static inline int compare_to_snapshot(const snapshot *before, const taskmet_trainer *trainer, const char *file,
                                      int line, const char *what) {
    snapshot now = take_snapshot(trainer);
    const int same = compare_snapshots(before, &now, file, line, what);
    free_snapshot(&now);
    return same;
}

/* Two trainers have done the same; a trainer is as it was. */
#define CHECK_SAME_TRAINERS(a, b, what) compare_trainers((a), (b), __FILE__, __LINE__, what)
#define CHECK_UNCHANGED(before, trainer, what) compare_to_snapshot((before), (trainer), __FILE__, __LINE__, what)

/* Goes on for two steps, and compares with a trainer that has done as many iterations without an incident. */
static inline void compare_with_twin(setup *s, const shape *size, const char *options, const char *what) {
    setup twin;
    begin(&twin, size, options);
    steps(s->trainer, 2);
    steps(twin.trainer, record_count(s->trainer) - 1);
    CHECK_SAME_TRAINERS(s->trainer, twin.trainer, what);
    finish(&twin);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Progress, log and files                                                                                          */

/* A progress callback that keeps what it sees, and at the record of one iteration does something else. */
typedef struct watcher {
    taskmet_record seen[16];
    int64_t count, act_at; /* -1: never */
    int32_t answer;
    taskmet_trainer *stop, *destroy;
} watcher;

static inline int32_t watch(void *user, const taskmet_record *record) {
    watcher *w = user;
    if (w->count < 16) w->seen[w->count] = *record;
    w->count += 1;
    if (record->iteration != w->act_at) return TASKMET_CALLBACK_OK;
    if (w->stop != NULL) taskmet_trainer_stop(w->stop);
    if (w->destroy != NULL) taskmet_trainer_destroy(w->destroy);
    return w->answer;
}

static inline watcher new_watcher(int64_t act_at, int32_t answer) {
    watcher w;
    memset(&w, 0, sizeof w);
    w.act_at = act_at;
    w.answer = answer;
    return w;
}

typedef struct log_book {
    int messages[2]; /* by level */
    int broken;      /* empty, with a line end, of no level */
    char text[2][16384];
} log_book;

static inline void keep_log(void *user, taskmet_log_level level, const char *message) {
    log_book *book = user;
    if (level < TASKMET_LOG_INFO || level > TASKMET_LOG_WARNING || message == NULL || message[0] == 0 ||
        strpbrk(message, "\r\n") != NULL) {
        book->broken += 1;
        return;
    }
    book->messages[level] += 1;
    char *text = book->text[level];
    const size_t used = strlen(text);
    snprintf(text + used, sizeof book->text[level] - used, "%s\n", message);
}

static char test_directory[400], test_path[512];

static inline void make_test_directory(void) {
    const char *base = getenv("TMPDIR");
    snprintf(test_directory, sizeof test_directory, "%.300s/taskmet-test-XXXXXX",
             base == NULL || base[0] == 0 ? "/tmp" : base);
    if (mkdtemp(test_directory) == NULL) abort();
    snprintf(test_path, sizeof test_path, "%s/trainer.safetensors", test_directory);
}

/* Fails where anything else was left there. */
static inline void remove_test_directory(void) {
    remove(test_path);
    CHECK(rmdir(test_directory) == 0);
}

#endif /* TRAINER_FIXTURE_H */
