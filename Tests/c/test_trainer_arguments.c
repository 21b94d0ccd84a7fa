/*
 * test_trainer_arguments.c - bad arguments of the trainer, of the held-out evaluation and of every option; what may be
 * done before the first step only, and what after it.
 */
#include "arguments.h"
#include "trainer_fixture.h"

static taskmet_trainer *fresh, *started, *bad_trainers[BAD_HANDLES];

/* What a message about sizes that do not fit may name. */
#define IN "predictor|metric|dataset|features|inputs"
#define OUT "predictor|metric|dataset|targets|outputs"

/* Where a call would write a handle. */
#define MADE(kind) ((taskmet_##kind **)(void *)&O.made)

#define REFUSE_TRAINER(call)                                                                                         \
    for (int bad_k = BAD_NULL; bad_k < BAD_HANDLES; bad_k += 1) {                                                    \
        taskmet_trainer *bad = bad_trainers[bad_k];                                                                  \
        REFUSE(INVALID, "trainer", NULL, call);                                                                      \
    }

static taskmet_trainer *make_trainer(const char *options) {
    taskmet_trainer *trainer = NULL;
    NEED(taskmet_trainer_create(W.linear, W.conditional, W.data, &trainer));
    configure(trainer, options);
    return trainer;
}

/* The destroyed one comes first: no later handle may be taken for it. */
static void make_trainers(void) {
    bad_trainers[BAD_DESTROYED] = make_trainer("");
    taskmet_trainer_destroy(bad_trainers[BAD_DESTROYED]);
    bad_trainers[BAD_OTHER_KIND] = (taskmet_trainer *)(void *)W.linear;
    fresh = make_trainer("inner_iterations=3 warmup_iterations=3 outer_iterations=2");
    started = make_trainer("inner_iterations=3 warmup_iterations=3 outer_iterations=2");
    NEED(taskmet_trainer_add_task(started, W.task, 1));
    steps(started, 2);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The trainer's functions                                                                                          */

static void test_create(void) {
    const taskmet_predictor *const p = W.linear;
    const taskmet_metric *const m = W.conditional;
    REFUSE_HANDLE(predictor, "predictor", taskmet_trainer_create(bad, m, W.data, MADE(trainer)));
    REFUSE_HANDLE(metric, "metric", taskmet_trainer_create(p, bad, W.data, MADE(trainer)));
    REFUSE_HANDLE(dataset, "dataset", taskmet_trainer_create(p, m, bad, MADE(trainer)));
    REFUSE_NULL("trainer", taskmet_trainer_create(p, m, W.data, NULL));
    REFUSE(SHAPE, IN, NULL, taskmet_trainer_create(p, m, W.wide, MADE(trainer)));
    REFUSE(SHAPE, OUT, NULL, taskmet_trainer_create(p, m, W.tall, MADE(trainer)));
    REFUSE(SHAPE, OUT, NULL, taskmet_trainer_create(p, W.metric_tall, W.data, MADE(trainer)));
    REFUSE(SHAPE, OUT, NULL, taskmet_trainer_create(p, W.single, W.data, MADE(trainer)));
    REFUSE(SHAPE, IN, NULL, taskmet_trainer_create(p, W.metric_wide, W.data, MADE(trainer)));
    /* A trainer that was not made holds nothing. */
    CHECK_OK(taskmet_dataset_set_weights(W.wide, W.ones, ROWS));
    CHECK_OK(taskmet_dataset_set_weights(W.tall, W.ones, ROWS));
    for (int k = 0; k < BAD_HANDLES; k += 1) taskmet_trainer_destroy(bad_trainers[k]);
    CHECK(objects_untouched());
}

static void test_tasks_and_validation(void) {
    REFUSE_TRAINER(taskmet_trainer_add_task(bad, W.task, 1));
    REFUSE_HANDLE(task, "task", taskmet_trainer_add_task(fresh, bad, 1));
    REFUSE_REAL("weight", taskmet_trainer_add_task(fresh, W.task, bad));
    REFUSE(INVALID, "weight", "0", taskmet_trainer_add_task(fresh, W.task, 0));
    REFUSE(INVALID, "weight", "-2", taskmet_trainer_add_task(fresh, W.task, -2));
    REFUSE_TRAINER(taskmet_trainer_set_validation(bad, W.data));
    REFUSE_HANDLE(dataset, "dataset", taskmet_trainer_set_validation(fresh, bad));
    REFUSE(SHAPE, "dataset|features", NULL, taskmet_trainer_set_validation(fresh, W.wide));
    REFUSE(SHAPE, "dataset|targets|outputs", NULL, taskmet_trainer_set_validation(fresh, W.tall));
    CHECK_OK(taskmet_dataset_set_weights(W.wide, W.ones, ROWS));
    /* After the first step. */
    REFUSE(STATE, NULL, NULL, taskmet_trainer_add_task(started, W.task, 1));
    REFUSE(STATE, NULL, NULL, taskmet_trainer_set_validation(started, W.data));
}

static void test_callback_setters(void) {
    REFUSE_TRAINER(taskmet_trainer_set_progress(bad, NULL, NULL));
    REFUSE_TRAINER(taskmet_trainer_set_log(bad, NULL, NULL));
    REFUSE_TRAINER(taskmet_trainer_set_interrupt(bad, NULL, NULL));
    CHECK_OK(taskmet_trainer_set_progress(fresh, NULL, W.x));
    CHECK_OK(taskmet_trainer_set_log(fresh, NULL, W.x));
    CHECK_OK(taskmet_trainer_set_interrupt(fresh, NULL, W.x));
}

/* A struct for results whose size cannot be: refused before any work. */
#define REFUSE_STRUCT(type, call)                                                                                    \
    for (size_t size_k = 0; size_k < 4; size_k += 3) {                                                               \
        type bad;                                                                                                    \
        memset(&bad, 0, sizeof bad);                                                                                 \
        bad.struct_size = size_k;                                                                                    \
        REFUSE(BAD_STRUCT, "struct_size", size_k == 0 ? "0" : "3", call);                                            \
    }

static void test_training(void) {
    snapshot before = take_snapshot(started);
    REFUSE_TRAINER(taskmet_trainer_step(bad, NULL));
    REFUSE_TRAINER(taskmet_trainer_fit(bad, NULL));
    REFUSE_STRUCT(taskmet_record, taskmet_trainer_step(started, &bad));
    REFUSE_STRUCT(taskmet_fit_report, taskmet_trainer_fit(started, &bad));
    REFUSE(STATE, NULL, "task", taskmet_trainer_step(fresh, NULL));
    REFUSE(STATE, NULL, "task", taskmet_trainer_fit(fresh, NULL));
    CHECK(record_count(fresh) == 0);
    CHECK_UNCHANGED(&before, started, "refused steps");
    free_snapshot(&before);
}

#define BEST TASKMET_MODEL_BEST

static void test_results(void) {
    snapshot before = take_snapshot(started);
    taskmet_record record;
    memset(&record, 0, sizeof record);
    record.struct_size = sizeof record;
    REFUSE_TRAINER(taskmet_trainer_copy_predictor(bad, BEST, MADE(predictor)));
    REFUSE_TRAINER(taskmet_trainer_copy_metric(bad, BEST, MADE(metric)));
    REFUSE_ENUM("model", taskmet_trainer_copy_predictor(started, bad, MADE(predictor)));
    REFUSE_ENUM("model", taskmet_trainer_copy_metric(started, bad, MADE(metric)));
    REFUSE(INVALID, "model", "2", taskmet_trainer_copy_predictor(started, 2, MADE(predictor)));
    REFUSE_NULL("predictor", taskmet_trainer_copy_predictor(started, BEST, NULL));
    REFUSE_NULL("metric", taskmet_trainer_copy_metric(started, BEST, NULL));
    for (taskmet_model model = TASKMET_MODEL_BEST; model <= TASKMET_MODEL_LAST; model += 1) {
        REFUSE(STATE, NULL, NULL, taskmet_trainer_copy_predictor(fresh, model, MADE(predictor)));
        REFUSE(STATE, NULL, NULL, taskmet_trainer_copy_metric(fresh, model, MADE(metric)));
    }
    REFUSE_TRAINER(taskmet_trainer_history_count(bad, O.integer));
    REFUSE_NULL("count", taskmet_trainer_history_count(started, NULL));
    REFUSE_TRAINER(taskmet_trainer_history_get(bad, 0, &record));
    REFUSE_NULL("record", taskmet_trainer_history_get(started, 0, NULL));
    REFUSE_STRUCT(taskmet_record, taskmet_trainer_history_get(started, 0, &bad));
    const int64_t indices[] = {-1, record_count(started), INT64_MIN, INT64_MAX};
    for (size_t k = 0; k < LENGTH(indices); k += 1)
        REFUSE(INVALID, "index", number_text(indices[k]), taskmet_trainer_history_get(started, indices[k], &record));
    REFUSE(INVALID, "index", "0", taskmet_trainer_history_get(fresh, 0, &record));
    CHECK(strstr(taskmet_last_error(), "-1") == NULL);
    CHECK(record.iteration == 0 && record.task_loss == 0); /* never written */
    CHECK_UNCHANGED(&before, started, "refused readings");
    free_snapshot(&before);
}

/* The part of a struct that both sides know is written: no more than the caller's, no more than the library's. */
static void test_struct_sizes(void) {
    const size_t prefix = offsetof(taskmet_record, prediction_loss);
    struct {
        taskmet_record record;
        char more[32];
    } larger;
    taskmet_record whole = record_at(started, 1), smaller;
    memset(&smaller, 0xA5, sizeof smaller);
    smaller.struct_size = prefix;
    CHECK_OK(taskmet_trainer_history_get(started, 1, &smaller));
    CHECK(smaller.struct_size == prefix && smaller.iteration == 1 && smaller.task_loss == whole.task_loss);
    for (size_t k = prefix; k < sizeof smaller; k += 1) CHECK(((unsigned char *)&smaller)[k] == 0xA5);
    memset(&larger, 0xA5, sizeof larger);
    larger.record.struct_size = sizeof larger;
    CHECK_OK(taskmet_trainer_history_get(started, 1, &larger.record));
    CHECK(larger.record.struct_size == sizeof larger);
    smaller.struct_size = prefix + 4; /* within a field */
    REFUSE(BAD_STRUCT, "struct_size", number_text((int64_t)prefix + 4), taskmet_trainer_history_get(started, 1, &smaller));
    larger.record.struct_size = whole.struct_size = 0;
    CHECK(memcmp(&larger.record, &whole, sizeof whole) == 0);
    for (size_t k = 0; k < sizeof larger.more; k += 1) CHECK((unsigned char)larger.more[k] == 0xA5);
}

static void test_explain(void) {
    int64_t needed = 0;
    char *const out = (char *)O.real;
    REFUSE_TRAINER(taskmet_trainer_explain(bad, NULL, 0, O.integer));
    REFUSE(SMALL, "capacity", "-1", taskmet_trainer_explain(started, out, -1, O.integer));
    REFUSE(SMALL, "capacity|out", NULL, taskmet_trainer_explain(started, NULL, 10, O.integer));
    REFUSE(SHAPE, "capacity", "1", taskmet_trainer_explain(started, out, 1, O.integer));
    REFUSE(SMALL, "capacity", "0", taskmet_trainer_explain(started, out, 0, O.integer));
    CHECK_OK(taskmet_trainer_explain(started, NULL, 0, &needed));
    CHECK(needed > 1);
    REFUSE(SHAPE, "capacity", number_text(needed - 1), taskmet_trainer_explain(started, out, needed - 1, NULL));
    SURVIVE(taskmet_trainer_explain(fresh, NULL, 0, O.integer));
}

static void test_files(void) {
    char path[600];
    snapshot before = take_snapshot(started);
    REFUSE_TRAINER(taskmet_trainer_save(bad, test_path));
    REFUSE_NULL("path", taskmet_trainer_save(started, NULL));
    REFUSE(INVALID | IO, "path", NULL, taskmet_trainer_save(started, ""));
    snprintf(path, sizeof path, "%s/missing/trainer", test_directory);
    REFUSE(IO, NULL, path, taskmet_trainer_save(started, path));
    REFUSE(IO, NULL, test_directory, taskmet_trainer_save(started, test_directory));
    REFUSE_TRAINER(taskmet_trainer_load(bad, test_path));
    REFUSE_NULL("path", taskmet_trainer_load(started, NULL));
    REFUSE(INVALID | IO, "path", NULL, taskmet_trainer_load(started, ""));
    REFUSE(IO, NULL, test_path, taskmet_trainer_load(started, test_path)); /* never written */
    REFUSE(IO | FORMAT, NULL, test_directory, taskmet_trainer_load(started, test_directory));
    SURVIVE(taskmet_trainer_save(fresh, test_path));
    remove(test_path);
    CHECK_UNCHANGED(&before, started, "refused files");
    free_snapshot(&before);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Held-out evaluation                                                                                              */

static void test_evaluate(void) {
    const taskmet_predictor *const p = W.linear;
    double *const loss = &O.value, *const each = O.real;
    REFUSE_HANDLE(task, "task", taskmet_task_evaluate(bad, p, W.data, loss, each, ROWS, NULL, 0));
    REFUSE_HANDLE(predictor, "predictor", taskmet_task_evaluate(W.task, bad, W.data, loss, each, ROWS, NULL, 0));
    REFUSE_HANDLE(dataset, "dataset", taskmet_task_evaluate(W.task, p, bad, loss, each, ROWS, NULL, 0));
    REFUSE(SHAPE, IN, NULL, taskmet_task_evaluate(W.task, p, W.wide, loss, each, ROWS, NULL, 0));
    REFUSE(SHAPE, OUT, NULL, taskmet_task_evaluate(W.task, p, W.tall, loss, each, ROWS, NULL, 0));
    REFUSE_COUNT("count|per_instance_loss", ROWS, taskmet_task_evaluate(W.task, p, W.data, loss, each, bad, NULL, 0));
    REFUSE(SMALL, "count|per_instance_loss", NULL, taskmet_task_evaluate(W.task, p, W.data, loss, NULL, ROWS, NULL, 0));
    REFUSE(SMALL | UNSUPPORTED, "decisions|decision_count", NULL,
           taskmet_task_evaluate(W.task, p, W.data, loss, each, ROWS, O.more, ROWS));
    REFUSE(SMALL | UNSUPPORTED, "decisions|decision_count", NULL,
           taskmet_task_evaluate(W.task, p, W.data, loss, each, ROWS, NULL, ROWS));
    REFUSE(SMALL | UNSUPPORTED, "decisions|decision_count", NULL,
           taskmet_task_evaluate(W.task, p, W.data, loss, each, ROWS, NULL, -1));
}

/* Against the same task asked by hand: whole, and instance by instance. */
static void test_evaluate_values(void) {
    static const int64_t offsets[] = {0, 2, 3, ROWS};
    taskmet_dataset *data = NULL;
    double f[ROWS * TARGETS], whole = 0, loss = 0, each[3] = {0}, only[3] = {0}, part = 0;
    NEED(taskmet_dataset_create(ROWS, FEATURES, W.x, FEATURES, TARGETS, W.y, TARGETS, &data));
    NEED(taskmet_dataset_set_instances(data, 3, offsets));
    NEED(taskmet_predictor_predict(W.mlp, ROWS, W.x, FEATURES, f, TARGETS));
    NEED(taskmet_task_gradient(W.task, data, TASKMET_PHASE_VALIDATION, f, TARGETS, &whole, NULL, 0));
    CHECK_OK(taskmet_task_evaluate(W.task, W.mlp, data, &loss, each, 3, NULL, 0));
    CHECK_CLOSE(loss, whole, 1e-14);
    for (int k = 0; k < 3; k += 1) {
        const int64_t first = offsets[k], rows = offsets[k + 1] - first, one[] = {0, rows};
        taskmet_dataset *alone = NULL;
        NEED(taskmet_dataset_create(rows, FEATURES, W.x + first * FEATURES, FEATURES, TARGETS, W.y + first * TARGETS,
                                    TARGETS, &alone));
        NEED(taskmet_dataset_set_instances(alone, 1, one));
        NEED(taskmet_task_gradient(W.task, alone, TASKMET_PHASE_VALIDATION, f + first * TARGETS, TARGETS, &part, NULL,
                                   0));
        CHECK_CLOSE(each[k], part, 1e-14);
        taskmet_dataset_destroy(alone);
    }
    CHECK_OK(taskmet_task_evaluate(W.task, W.mlp, data, NULL, only, 3, NULL, 0));
    CHECK_SAME_BITS(only, each, 3);
    CHECK_OK(taskmet_task_evaluate(W.task, W.mlp, data, &whole, NULL, 0, NULL, 0));
    CHECK_SAME_BITS(&whole, &loss, 1);
    taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options: the listing                                                                                             */

typedef taskmet_option_description option;

static option option_at(int64_t index) {
    option info;
    memset(&info, 0, sizeof info);
    info.struct_size = sizeof info;
    NEED(taskmet_option_info(index, &info));
    return info;
}

static void test_option_info(void) {
    option info = option_at(0);
    const option before = info;
    const int64_t indices[] = {-1, taskmet_option_count(), INT64_MIN, INT64_MAX};
    for (size_t k = 0; k < LENGTH(indices); k += 1)
        REFUSE(INVALID, "index", number_text(indices[k]), taskmet_option_info(indices[k], &info));
    CHECK(memcmp(&info, &before, sizeof info) == 0);
    REFUSE_NULL("info", taskmet_option_info(0, NULL));
    REFUSE_STRUCT(taskmet_option_description, taskmet_option_info(0, &bad));
    memset(&info, 0xA5, sizeof info);
    info.struct_size = offsetof(option, type);
    CHECK_OK(taskmet_option_info(0, &info));
    CHECK(info.name == before.name && info.help == before.help);
    for (size_t k = offsetof(option, type); k < sizeof info; k += 1) CHECK(((unsigned char *)&info)[k] == 0xA5);
}

/* Whether "a|b" has a choice. */
static int is_choice(const char *choices, const char *word) {
    const size_t length = strlen(word);
    for (const char *at = choices; at != NULL; at = strchr(at, '|')) {
        at += *at == '|';
        if (strcspn(at, "|") == length && strncmp(at, word, length) == 0) return 1;
    }
    return 0;
}

static void test_listing(void) {
    const int64_t count = taskmet_option_count();
    CHECK(count > 0 && count == taskmet_option_count());
    for (int64_t k = 0; k < count; k += 1) {
        const option o = option_at(k), again = option_at(k);
        CHECK(o.name == again.name && o.help == again.help); /* static */
        CHECK(o.name != NULL && o.name[0] != 0);
        CHECK(o.help != NULL && o.help[0] != 0 && strchr(o.help, '\n') == NULL);
        CHECK(o.fixed_after_start == 0 || o.fixed_after_start == 1);
        CHECK(o.type == TASKMET_OPTION_INT || o.type == TASKMET_OPTION_DOUBLE || o.type == TASKMET_OPTION_STRING);
        if (o.type == TASKMET_OPTION_INT) CHECK(o.int_minimum <= o.int_default && o.int_default <= o.int_maximum);
        if (o.type == TASKMET_OPTION_DOUBLE)
            CHECK(o.double_minimum <= o.double_default && o.double_default <= o.double_maximum);
        if (o.type == TASKMET_OPTION_STRING) CHECK(is_choice(o.choices, o.string_default));
        for (int64_t j = 0; j < k; j += 1) CHECK(strcmp(option_at(j).name, o.name) != 0);
    }
}

/* What the documentation promises. */
static const char *const defaults =
    "outer_iterations=200 inner_iterations=100 warmup_iterations=500 inner_batch=0 outer_batch=0 hypergradient_batch=0 "
    "validation_interval=1 patience=100 max_rollbacks=10 max_rejections=10 agreement_interval=0 solver_iterations=300 "
    "solver_warm_start=1 lbfgs_memory=10 penalize_bias=1 adapt=1 threads=1 metric_cache_bytes=268435456 seed=0 rho=0 "
    "alpha=0 lodl_loss=weighted_mse lodl_sampling=all lodl_samples=5000 lodl_deviation=0 lodl_rate=0.1 lodl_rank=20 "
    "inner_rate=0.01 inner_momentum=0 inner_tolerance=1e-6 inner_clip=0 metric_rate=0.01 metric_clip=0 "
    "metric_floor=0.01 metric_l1=0 metric_identity=0 solver_tolerance=1e-4 solver_ridge=1e-3 solver_normal_ridge=0 "
    "max_prediction_loss_ratio=0 trust_residual=0.1 trust_agreement=0.5 trust_gradient=0.1 explosion_factor=1000 "
    "preset=default method=taskmet inner_solver=auto metric_optimizer=adam solver=auto normalization=auto "
    "outer_data=training task_combination=weighted_sum";

#define CHECK_VALUE(trainer, name, value) \
    check_that(has_value(trainer, name, value), __FILE__, __LINE__, "the option %s is not %s", name, value)

static void test_defaults(void) {
    taskmet_trainer *trainer = make_trainer("");
    char word[128], *value = NULL;
    for (const char *left = defaults; next_setting(&left, word, &value);) CHECK_VALUE(trainer, word, value);
    taskmet_trainer_destroy(trainer);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options: every bad value of each                                                                                 */

static void set_integer(const option *o, int64_t value) {
    int64_t got = value - 1;
    CHECK_STATUS(taskmet_trainer_set_int(fresh, o->name, value), TASKMET_OK, o->name);
    CHECK_STATUS(taskmet_trainer_get_int(fresh, o->name, &got), TASKMET_OK, o->name);
    check_that(got == value, __FILE__, __LINE__, "%s: set %" PRId64 ", got %" PRId64, o->name, value, got);
}

static void test_int_option(const option *o) {
    const int64_t below[] = {o->int_minimum - (o->int_minimum > INT64_MIN), INT64_MIN};
    const int64_t above[] = {o->int_maximum + (o->int_maximum < INT64_MAX), INT64_MAX};
    set_integer(o, o->int_maximum);
    set_integer(o, o->int_minimum);
    set_integer(o, o->int_default);
    for (int k = 0; k < 2; k += 1) {
        if (below[k] < o->int_minimum)
            REFUSE(INVALID, o->name, number_text(below[k]), taskmet_trainer_set_int(fresh, o->name, below[k]));
        if (above[k] > o->int_maximum)
            REFUSE(INVALID, o->name, number_text(above[k]), taskmet_trainer_set_int(fresh, o->name, above[k]));
    }
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_double(fresh, o->name, 1));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_string(fresh, o->name, "1"));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_get_double(fresh, o->name, &O.value));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_get_string(fresh, o->name, (const char **)(void *)&O.made));
    int64_t got = o->int_default - 1;
    CHECK_OK(taskmet_trainer_get_int(fresh, o->name, &got));
    CHECK(got == o->int_default);
}

/* Limits that are not values themselves, which a minimum and a maximum cannot say. */
static const struct {
    const char *name;
    double value;
} excluded[] = {{"inner_rate", 0}, {"metric_rate", 0}, {"explosion_factor", 1}, {"inner_momentum", 1}};

static void test_double_option(const option *o) {
    const double middle = o->double_default * 0.75 + (o->double_maximum < 1e9 ? o->double_maximum : 10) * 0.25;
    const double values[] = {middle, o->double_default}, far[] = {-1.5e300, 1.5e300};
    double got = -7;
    for (int k = 0; k < 2; k += 1) {
        CHECK_STATUS(taskmet_trainer_set_double(fresh, o->name, values[k]), TASKMET_OK, o->name);
        CHECK_STATUS(taskmet_trainer_get_double(fresh, o->name, &got), TASKMET_OK, o->name);
        check_that(got == values[k], __FILE__, __LINE__, "%s: set %g, got %g", o->name, values[k], got);
    }
    for (size_t k = 0; k < LENGTH(excluded); k += 1)
        if (strcmp(excluded[k].name, o->name) == 0)
            REFUSE(INVALID, o->name, excluded[k].value > 0 ? "1" : "0",
                   taskmet_trainer_set_double(fresh, o->name, excluded[k].value));
    for (int k = 0; k < 2; k += 1)
        if (far[k] < o->double_minimum || far[k] > o->double_maximum)
            REFUSE(INVALID, o->name, "1.5e", taskmet_trainer_set_double(fresh, o->name, far[k]));
    if (o->double_minimum - 0.5 < o->double_minimum)
        REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_double(fresh, o->name, o->double_minimum - 0.5));
    if (o->double_maximum + 0.5 > o->double_maximum)
        REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_double(fresh, o->name, o->double_maximum + 0.5));
    REFUSE_REAL(o->name, taskmet_trainer_set_double(fresh, o->name, bad));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_int(fresh, o->name, 1));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_string(fresh, o->name, "1"));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_get_int(fresh, o->name, O.integer));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_get_string(fresh, o->name, (const char **)(void *)&O.made));
    CHECK_OK(taskmet_trainer_get_double(fresh, o->name, &got));
    CHECK(got == o->double_default);
}

/* One after another; the message of a refusal tells each of them. */
static void test_choices(const option *o) {
    char word[64];
    const char *got = NULL;
    for (const char *at = o->choices; *at != 0; at += strcspn(at, "|"), at += *at == '|') {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, "|"), at);
        CHECK_STATUS(taskmet_trainer_set_string(fresh, o->name, word), TASKMET_OK, o->name);
        CHECK_STATUS(taskmet_trainer_get_string(fresh, o->name, &got), TASKMET_OK, o->name);
        check_that(strcmp(got, word) == 0 && got != word, __FILE__, __LINE__, "%s: set %s, got %s", o->name, word, got);
        REFUSE(INVALID, o->name, "sideways", taskmet_trainer_set_string(fresh, o->name, "sideways"));
        check_that(has_any(taskmet_last_error(), word, 1), __FILE__, __LINE__, "\"%s\" does not name the choice %s",
                   taskmet_last_error(), word);
    }
    CHECK_OK(taskmet_trainer_set_string(fresh, o->name, o->string_default));
}

static void test_string_option(const option *o) {
    char almost[80];
    const char *got = NULL;
    test_choices(o);
    snprintf(almost, sizeof almost, "%s ", o->string_default);
    REFUSE(INVALID, o->name, almost, taskmet_trainer_set_string(fresh, o->name, almost));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_string(fresh, o->name, ""));
    REFUSE(INVALID, o->name, o->choices, taskmet_trainer_set_string(fresh, o->name, o->choices));
    REFUSE_NULL("value", taskmet_trainer_set_string(fresh, o->name, NULL));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_int(fresh, o->name, 1));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_set_double(fresh, o->name, 1));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_get_int(fresh, o->name, O.integer));
    REFUSE(INVALID, o->name, NULL, taskmet_trainer_get_double(fresh, o->name, &O.value));
    CHECK_OK(taskmet_trainer_get_string(fresh, o->name, &got));
    CHECK(got != NULL && strcmp(got, o->string_default) == 0);
}

static void test_every_option(void) {
    for (int64_t k = 0; k < taskmet_option_count(); k += 1) {
        const option o = option_at(k);
        if (o.type == TASKMET_OPTION_INT) test_int_option(&o);
        if (o.type == TASKMET_OPTION_DOUBLE) test_double_option(&o);
        if (o.type == TASKMET_OPTION_STRING) test_string_option(&o);
    }
}

static void test_option_functions(void) {
    static const char *const names[] = {"inner_iteration", "", "Seed", "seed ", "no such \xff option"};
    const char **const text = (const char **)(void *)&O.made;
    REFUSE_TRAINER(taskmet_trainer_set_int(bad, "seed", 1));
    REFUSE_TRAINER(taskmet_trainer_set_double(bad, "rho", 1));
    REFUSE_TRAINER(taskmet_trainer_set_string(bad, "solver", "cg"));
    REFUSE_TRAINER(taskmet_trainer_get_int(bad, "seed", O.integer));
    REFUSE_TRAINER(taskmet_trainer_get_double(bad, "rho", &O.value));
    REFUSE_TRAINER(taskmet_trainer_get_string(bad, "solver", text));
    REFUSE_NULL("name", taskmet_trainer_set_int(fresh, NULL, 1));
    REFUSE_NULL("name", taskmet_trainer_set_double(fresh, NULL, 1));
    REFUSE_NULL("name", taskmet_trainer_set_string(fresh, NULL, "cg"));
    REFUSE_NULL("name", taskmet_trainer_get_int(fresh, NULL, O.integer));
    REFUSE_NULL("name", taskmet_trainer_get_double(fresh, NULL, &O.value));
    REFUSE_NULL("name", taskmet_trainer_get_string(fresh, NULL, text));
    REFUSE_NULL("value", taskmet_trainer_get_int(fresh, "seed", NULL));
    REFUSE_NULL("value", taskmet_trainer_get_double(fresh, "rho", NULL));
    REFUSE_NULL("value", taskmet_trainer_get_string(fresh, "solver", NULL));
    for (size_t k = 0; k < LENGTH(names); k += 1) {
        const char *value = names[k][0] == 'n' ? "option" : names[k];
        REFUSE(INVALID, NULL, value, taskmet_trainer_set_int(fresh, names[k], 1));
        REFUSE(INVALID, NULL, value, taskmet_trainer_set_double(fresh, names[k], 1));
        REFUSE(INVALID, NULL, value, taskmet_trainer_set_string(fresh, names[k], "cg"));
        REFUSE(INVALID, NULL, value, taskmet_trainer_get_int(fresh, names[k], O.integer));
        REFUSE(INVALID, NULL, value, taskmet_trainer_get_double(fresh, names[k], &O.value));
        REFUSE(INVALID, NULL, value, taskmet_trainer_get_string(fresh, names[k], text));
    }
}

/* After the first step an option can be set to the value that it has; a fixed one may say that it is too late. */
static void test_after_start(void) {
    int fixed = 0;
    for (int64_t k = 0; k < taskmet_option_count(); k += 1) {
        const option o = option_at(k);
        int64_t integer = 0;
        double real = 0;
        const char *text = NULL;
        taskmet_status got = TASKMET_OK;
        fixed += o.fixed_after_start;
        if (o.type == TASKMET_OPTION_INT) {
            NEED(taskmet_trainer_get_int(started, o.name, &integer));
            got = taskmet_trainer_set_int(started, o.name, integer);
        } else if (o.type == TASKMET_OPTION_DOUBLE) {
            NEED(taskmet_trainer_get_double(started, o.name, &real));
            got = taskmet_trainer_set_double(started, o.name, real);
        } else {
            NEED(taskmet_trainer_get_string(started, o.name, &text));
            if (strcmp(o.name, "preset") == 0) continue; /* sets options that are fixed */
            got = taskmet_trainer_set_string(started, o.name, text);
        }
        CHECK_STATUS(got, o.fixed_after_start && got != TASKMET_OK ? TASKMET_ERROR_STATE : TASKMET_OK, o.name);
    }
    CHECK(fixed >= 2);
    REFUSE(STATE, "metric_floor", NULL, taskmet_trainer_set_double(started, "metric_floor", 0.02));
    REFUSE(STATE, "normalization", NULL, taskmet_trainer_set_string(started, "normalization", "none"));
    REFUSE(STATE, "outer_data", NULL, taskmet_trainer_set_string(started, "outer_data", "validation"));
    CHECK(has_value(started, "outer_data", "training"));
}

/* Combinations that cannot work are told when they are set or when training begins, and leave the trainer alone. */
static void test_combinations(void) {
    const struct {
        const taskmet_predictor *predictor;
        const taskmet_metric *metric;
        const char *name, *value;
        unsigned allowed;
    } cases[] = {
        {W.mlp, W.conditional, "inner_solver", "exact", UNSUPPORTED},
        {W.callback, W.constant, "inner_solver", "exact", UNSUPPORTED},
        {W.callback, W.constant, "penalize_bias", "0", UNSUPPORTED},
        {W.linear, W.scalar, "normalization", "trace", UNSUPPORTED},
        {W.linear, W.scalar, "normalization", "frobenius", UNSUPPORTED},
        {W.linear, W.conditional, "outer_data", "validation", UNSUPPORTED | STATE | INVALID},
    };
    for (size_t k = 0; k < LENGTH(cases); k += 1) {
        taskmet_trainer *trainer = NULL;
        NEED(taskmet_trainer_create(cases[k].predictor, cases[k].metric, W.data, &trainer));
        NEED(taskmet_trainer_add_task(trainer, W.task, 1));
        taskmet_status got = set_option(trainer, cases[k].name, cases[k].value);
        if (got == TASKMET_OK) got = taskmet_trainer_step(trainer, NULL);
        check_that(got > 0 && got < 31 && (ALLOW(got) & cases[k].allowed) != 0, __FILE__, __LINE__,
                   "%s=%s gave %s (\"%s\")", cases[k].name, cases[k].value, taskmet_status_name(got),
                   taskmet_last_error());
        check_that(has_any(taskmet_last_error(), cases[k].name, 1) || has_any(taskmet_last_error(), cases[k].value, 0),
                   __FILE__, __LINE__, "\"%s\" names neither %s nor %s", taskmet_last_error(), cases[k].name,
                   cases[k].value);
        CHECK(record_count(trainer) == 0);
        CHECK(has_value(trainer, "penalize_bias", "1")); /* where that was refused too */
        taskmet_trainer_destroy(trainer);
        CHECK(objects_untouched());
    }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Data that a trainer holds                                                                                        */

static void change_data(taskmet_dataset *data, const problem *p, taskmet_status expected) {
    const int64_t offsets[] = {0, 1, p->rows};
    CHECK_STATUS(taskmet_dataset_set_weights(data, W.ones, p->rows), expected, "dataset");
    CHECK_STATUS(taskmet_dataset_set_instances(data, 2, offsets), expected, "dataset");
    CHECK_STATUS(taskmet_dataset_refill(data, p->rows, p->x, p->d, p->y, p->n, NULL, 0), expected, "dataset");
    CHECK_OK(taskmet_dataset_shape(data, NULL, NULL, NULL, NULL));
}

static void test_frozen_data(void) {
    const shape size = {12, 2, 2, 3, 0, 8};
    setup s;
    begin(&s, &size, "inner_iterations=3 warmup_iterations=3");
    taskmet_trainer *second = new_trainer(&s, "");
    for (int step = 0; step < 2; step += 1) {
        change_data(s.training.data, &s.training, TASKMET_ERROR_STATE);
        change_data(s.validation.data, &s.validation, TASKMET_ERROR_STATE);
        steps(s.trainer, 1);
    }
    taskmet_trainer_destroy(s.trainer);
    change_data(s.training.data, &s.training, TASKMET_ERROR_STATE); /* the second one holds it still */
    change_data(s.validation.data, &s.validation, TASKMET_ERROR_STATE);
    taskmet_trainer_destroy(second);
    change_data(s.training.data, &s.training, TASKMET_OK);
    change_data(s.validation.data, &s.validation, TASKMET_OK);
    s.trainer = NULL;
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    make_world();
    make_trainers();
    test_create();
    test_tasks_and_validation();
    test_callback_setters();
    test_training();
    test_results();
    test_struct_sizes();
    test_explain();
    test_files();
    test_evaluate();
    test_evaluate_values();
    test_option_info();
    test_listing();
    test_defaults();
    test_option_functions();
    test_every_option();
    test_after_start();
    test_combinations();
    test_frozen_data();
    taskmet_trainer_stop(NULL);
    taskmet_trainer_clear_stop(NULL);
    taskmet_trainer_destroy(fresh);
    taskmet_trainer_destroy(started);
    destroy_world();
    remove_test_directory();
    return check_end();
}
