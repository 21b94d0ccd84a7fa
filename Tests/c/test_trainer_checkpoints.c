/*
 * test_trainer_checkpoints.c - a trainer that was saved and loaded goes on to the same bits, from every iteration;
 * files that are damaged, or of other set-ups, are refused and change nothing.
 */
#include "trainer_fixture.h"

#include <dirent.h>

enum { ITERATIONS = 10 }; /* a rate that was halved in the third comes back in the ninth */

static const shape linear = {40, 2, 2, 2, 0, 20}, network = {40, 2, 2, 2, 5, 20}, alone = {40, 2, 2, 2, 5, 0};
#define SHORT "warmup_iterations=15 inner_iterations=6 metric_rate=0.05 "
#define BATCHES "inner_solver=adam inner_batch=4 outer_batch=5 hypergradient_batch=6 "

/* ---------------------------------------------------------------------------------------------------------------- */
/* Going on                                                                                                         */

static void check_same_options(const taskmet_trainer *a, const taskmet_trainer *b) {
    taskmet_option_description info;
    for (int64_t k = 0; k < taskmet_option_count(); k += 1) {
        char text[64] = "";
        int64_t integer = 0;
        double real = 0;
        const char *word = NULL;
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        NEED(taskmet_option_info(k, &info));
        if (info.type == TASKMET_OPTION_INT) {
            NEED(taskmet_trainer_get_int(a, info.name, &integer));
            snprintf(text, sizeof text, "%" PRId64, integer);
        } else if (info.type == TASKMET_OPTION_DOUBLE) {
            NEED(taskmet_trainer_get_double(a, info.name, &real));
            snprintf(text, sizeof text, "%.17g", real);
        } else {
            NEED(taskmet_trainer_get_string(a, info.name, &word));
            snprintf(text, sizeof text, "%s", word);
        }
        check_that(has_value(b, info.name, text), __FILE__, __LINE__, "%s is not %s", info.name, text);
    }
}

/* From what one trainer has saved, others with nothing set go on. last: what an undisturbed one comes to. */
static void continue_from_file(const setup *s, const taskmet_trainer *saved, const snapshot *last,
                               const char *options) {
    taskmet_trainer *loaded = new_trainer(s, "");
    CHECK_OK(taskmet_trainer_save(saved, test_path));
    CHECK_OK(taskmet_trainer_load(loaded, test_path));
    CHECK_SAME_TRAINERS(loaded, saved, options);
    check_same_options(saved, loaded);
    CHECK_OK(taskmet_trainer_save(loaded, test_path)); /* once more through a file */
    taskmet_trainer *again = new_trainer(s, "seed=99 inner_iterations=3 warmup_iterations=2");
    steps(again, 2); /* one that has already been somewhere else */
    CHECK_OK(taskmet_trainer_load(again, test_path));
    steps(loaded, last->records - record_count(loaded));
    steps(again, last->records - record_count(again));
    CHECK_UNCHANGED(last, loaded, options);
    CHECK_UNCHANGED(last, again, options);
    taskmet_trainer_destroy(loaded);
    taskmet_trainer_destroy(again);
}

/* reject_at: the iteration whose first step the task rejects, so that a halved rate is part of the state; 0: none. */
static void test_continuing(const shape *size, const char *options, int64_t reject_at) {
    setup s;
    snapshot last;
    memset(&last, 0, sizeof last);
    for (int saving = 0; saving < 2; saving += 1) { /* first without an interruption */
        begin(&s, size, options);
        NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", 0));
        run_fit(s.trainer);
        NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", 200));
        for (int64_t k = record_count(s.trainer) - 1; k < ITERATIONS; k += 1) {
            /* Before the rejection, what follows would not be rejected again. */
            if (saving && k >= reject_at && (!check_quick || k % 4 == 3))
                continue_from_file(&s, s.trainer, &last, options);
            if (k + 1 == reject_at) let_fail(&s.judge, TASKMET_PHASE_TRAINING, TASKMET_CALLBACK_REJECT, 1);
            steps(s.trainer, 1);
        }
        if (!saving) last = take_snapshot(s.trainer);
        CHECK_UNCHANGED(&last, s.trainer, "a trainer that was saved on the way"); /* saving changes nothing */
        if (!saving) finish(&s);
    }
    CHECK(last.records == ITERATIONS + 1 && (reject_at == 0 || last.history[reject_at].rejections == 1));
    free_snapshot(&last);
    finish(&s);
}

static void test_all_continuing(void) {
    test_continuing(&linear, SHORT, 0);
    test_continuing(&linear, SHORT, 3);
    test_continuing(&network, SHORT "inner_solver=adam", 0);
    test_continuing(&network, SHORT BATCHES "agreement_interval=2", 3);
    test_continuing(&network, SHORT "inner_solver=lbfgs lbfgs_memory=3 solver=cg", 0);
    test_continuing(&alone, SHORT "inner_solver=sgd inner_momentum=0.9 inner_batch=3 metric_optimizer=sgd", 0);
    if (check_quick) return;
    test_continuing(&network, SHORT "validation_interval=3 outer_data=validation outer_batch=4 inner_batch=7", 0);
    test_continuing(&network, SHORT "trust_residual=1e-9 solver=cg solver_iterations=1 hypergradient_batch=2", 0);
    test_continuing(&alone, SHORT "preset=paper inner_iterations=6 warmup_iterations=9", 0);
    test_continuing(&linear, SHORT "normalization=frobenius metric_floor=0.03 rho=0.1 penalize_bias=0", 0);
}

/* The counters of patience come along, and so does the report. */
static void test_patience(void) {
    static const char *const options = SHORT "inner_solver=adam inner_batch=4 outer_batch=5 metric_rate=0.5 "
                                             "validation_interval=2 patience=4 outer_iterations=60";
    setup s;
    begin(&s, &network, options);
    const taskmet_fit_report whole = run_fit(s.trainer);
    CHECK(whole.reason == TASKMET_STOP_PATIENCE);
    for (int64_t k = 1; k < whole.iterations; k += check_quick ? 17 : 4) {
        taskmet_trainer *first = new_trainer(&s, options), *second = new_trainer(&s, "");
        steps(first, k);
        CHECK_OK(taskmet_trainer_save(first, test_path));
        CHECK_OK(taskmet_trainer_load(second, test_path));
        const taskmet_fit_report rest = run_fit(second);
        CHECK(rest.reason == whole.reason && rest.iterations == whole.iterations);
        CHECK(rest.best_iteration == whole.best_iteration && rest.untrusted == whole.untrusted);
        CHECK_SAME_BITS(&rest.best_task_loss, &whole.best_task_loss, 3); /* first_task_loss, best_rmse_ratio */
        CHECK_SAME_TRAINERS(second, s.trainer, "patience");
        taskmet_trainer_destroy(first);
        taskmet_trainer_destroy(second);
    }
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Other set-ups                                                                                                    */

/* A trainer refuses the file at test_path, and is as it was: it goes on as if nothing had been asked. */
static void refuse(const setup *s, taskmet_status allowed, taskmet_status also, const char *what) {
    for (int started = 0; started < 2; started += 1) {
        taskmet_trainer *trainer = new_trainer(s, SHORT), *twin = new_trainer(s, SHORT);
        if (started) steps(trainer, 1);
        snapshot before = take_snapshot(trainer);
        const taskmet_status got = taskmet_trainer_load(trainer, test_path);
        check_that(got == allowed || got == also, __FILE__, __LINE__, "%s: %s (\"%s\")", what, taskmet_status_name(got),
                   got == TASKMET_OK ? "" : taskmet_last_error());
        CHECK(strncmp(taskmet_last_error(), "trainer_load: ", 14) == 0);
        CHECK_UNCHANGED(&before, trainer, what);
        check_same_options(twin, trainer);
        steps(trainer, 2 - started), steps(twin, 2);
        CHECK_SAME_TRAINERS(trainer, twin, what);
        free_snapshot(&before);
        taskmet_trainer_destroy(trainer);
        taskmet_trainer_destroy(twin);
    }
}

#define REFUSE_OTHER(s, what) refuse(s, TASKMET_ERROR_SHAPE, TASKMET_ERROR_STATE, what)

static void save_one(const shape *size) {
    setup s;
    begin(&s, size, SHORT "inner_rate=0.02");
    steps(s.trainer, 2);
    CHECK_OK(taskmet_trainer_save(s.trainer, test_path));
    finish(&s);
}

static void refuse_shape(const shape *size, const char *what) {
    setup s;
    begin(&s, size, "");
    REFUSE_OTHER(&s, what);
    finish(&s);
}

static void test_other_shapes(void) {
    static const shape wider = {40, 2, 2, 2, 6, 20}, more_features = {40, 3, 2, 2, 5, 20},
                       more_targets = {40, 2, 3, 2, 5, 20}, more_rows = {41, 2, 2, 2, 5, 20},
                       no_groups = {40, 2, 2, 0, 5, 20}, other_validation = {40, 2, 2, 2, 5, 21};
    save_one(&network);
    refuse_shape(&linear, "a linear predictor");
    refuse_shape(&wider, "a wider predictor");
    refuse_shape(&more_features, "more features");
    refuse_shape(&more_targets, "more targets");
    refuse_shape(&more_rows, "more rows");
    refuse_shape(&no_groups, "other instances");
    refuse_shape(&other_validation, "more validation rows");
    refuse_shape(&alone, "no validation data");
    save_one(&alone);
    refuse_shape(&network, "validation data where there were none");
}

/* The same shapes, but one number is another. change: 0: x, 1: y, 2: a weight, 3: y of the validation data. */
static void test_other_data(int change) {
    static const char *const names[] = {"another x", "another y", "another weight", "another validation y"};
    setup s;
    save_one(&network);
    begin(&s, &network, "");
    taskmet_trainer_destroy(s.trainer);
    problem *p = change == 3 ? &s.validation : &s.training;
    double *ones = zeros(p->rows);
    for (int64_t i = 0; i < p->rows; i += 1) ones[i] = 1;
    if (change == 0) p->x[p->d * p->rows - 1] += 1e-9;
    if (change == 1 || change == 3) p->y[p->n * p->rows / 2] += 1e-9;
    if (change == 2) ones[3] = 1.5;
    NEED(taskmet_dataset_refill(p->data, p->rows, p->x, p->d, p->y, p->n, ones, p->rows));
    NEED(taskmet_dataset_set_instances(p->data, p->instances, p->offsets));
    s.trainer = new_trainer(&s, "");
    REFUSE_OTHER(&s, names[change]);
    free(ones);
    finish(&s);
}

/* Another structure of the metric; two tasks. */
static void test_other_parts(void) {
    setup s;
    save_one(&network);
    begin(&s, &network, "");
    taskmet_metric *own = s.metric;
    s.metric = new_metric(2, 2, TASKMET_STRUCTURE_FULL);
    REFUSE_OTHER(&s, "another metric");
    taskmet_metric_destroy(s.metric);
    s.metric = own;
    taskmet_trainer *two = new_trainer(&s, SHORT);
    NEED(taskmet_trainer_add_task(two, s.task, 1));
    const taskmet_status got = taskmet_trainer_load(two, test_path);
    CHECK(got == TASKMET_ERROR_SHAPE || got == TASKMET_ERROR_STATE);
    CHECK(record_count(two) == 0);
    taskmet_trainer_destroy(two);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Damaged files                                                                                                    */

typedef struct file {
    unsigned char bytes[1 << 18];
    size_t size, header; /* header: where the data begin */
} file;

static void read_file(file *f) {
    FILE *stream = fopen(test_path, "rb");
    if (stream == NULL) abort();
    f->size = fread(f->bytes, 1, sizeof f->bytes, stream);
    fclose(stream);
    CHECK(f->size > 8 && f->size < sizeof f->bytes);
    f->header = 8 + f->bytes[0] + ((size_t)f->bytes[1] << 8) + ((size_t)f->bytes[2] << 16);
    CHECK(f->header < f->size);
}

/* Some file systems wait for the disk where a file is written over, and not where it is a new one. */
static void write_file(const unsigned char *bytes, size_t size) {
    remove(test_path);
    FILE *stream = fopen(test_path, "wb");
    if (stream == NULL || fwrite(bytes, 1, size, stream) != size || fclose(stream) != 0) abort();
}

typedef struct victim {
    setup s;
    snapshot before;
    file good, bad;
    size_t stride;   /* every how many bytes it is damaged */
    double deadline; /* a damaged option may ask for a long time */
} victim;

static int32_t past_deadline(void *user) { return seconds_now() > ((victim *)user)->deadline; }

static void begin_victim(victim *v, const shape *size, const char *options) {
    begin(&v->s, size, options);
    steps(v->s.trainer, 2);
    CHECK_OK(taskmet_trainer_save(v->s.trainer, test_path));
    read_file(&v->good);
    forget_checksum(v->good.bytes, v->good.header);
    v->bad = v->good;
    v->before = take_snapshot(v->s.trainer);
    NEED(taskmet_trainer_set_interrupt(v->s.trainer, past_deadline, v));
}

static void finish_victim(victim *v) {
    free_snapshot(&v->before);
    finish(&v->s);
}

/* What was loaded can be used: everything returns, with whatever status. */
static void use_damaged(victim *v) {
    taskmet_predictor *predictor = NULL;
    taskmet_metric *metric = NULL;
    int64_t size = 0;
    v->deadline = seconds_now() + 0.06;
    (void)taskmet_trainer_step(v->s.trainer, NULL);
    (void)taskmet_trainer_copy_predictor(v->s.trainer, TASKMET_MODEL_BEST, &predictor);
    (void)taskmet_trainer_copy_metric(v->s.trainer, TASKMET_MODEL_BEST, &metric);
    (void)taskmet_trainer_explain(v->s.trainer, NULL, 0, &size);
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    write_file(v->good.bytes, v->good.size);
    CHECK_OK(taskmet_trainer_load(v->s.trainer, test_path));
    CHECK_UNCHANGED(&v->before, v->s.trainer, "loaded again");
}

/* Refused, and nothing has changed; or loaded (where that is allowed), and harmless. */
static void load_damaged(victim *v, size_t size, int may_load, const char *what, size_t at) {
    write_file(v->bad.bytes, size);
    check_at(__FILE__, __LINE__);
    const taskmet_status got = taskmet_trainer_load(v->s.trainer, test_path);
    const int refused = got == TASKMET_ERROR_FORMAT || got == TASKMET_ERROR_VERSION || got == TASKMET_ERROR_SHAPE ||
                        got == TASKMET_ERROR_STATE || (may_load && got == TASKMET_ERROR_NUMERICAL);
    check_that(refused || (may_load && got == TASKMET_OK), __FILE__, __LINE__, "%s at %lu of %lu: %s (\"%s\")", what,
               (unsigned long)at, (unsigned long)v->good.size, taskmet_status_name(got),
               got == TASKMET_OK ? "" : taskmet_last_error());
    if (got == TASKMET_OK) use_damaged(v);
    if (got != TASKMET_OK) CHECK_UNCHANGED(&v->before, v->s.trainer, what);
}

static void test_truncated(victim *v) {
    for (size_t size = 0; size < v->good.size; size += 5 * v->stride) load_damaged(v, size, 0, "truncated", size);
    load_damaged(v, v->good.size - 1, 0, "truncated", v->good.size - 1);
}

static void flip(victim *v, size_t at, unsigned bits, const char *what) {
    v->bad.bytes[at] ^= (unsigned char)bits;
    load_damaged(v, v->good.size, 1, what, at);
    v->bad.bytes[at] = v->good.bytes[at];
}

/* One bit of each byte of the header, another one in each byte; and of the data, every few bytes. */
static void test_flipped(victim *v) {
    for (size_t at = 0; at < v->good.header; at += v->stride)
        flip(v, at, 1u << at * 5 % 8, "a flipped bit of the header");
    for (size_t at = v->good.header; at < v->good.size; at += 5 * v->stride)
        flip(v, at, 0x40, "a flipped bit of the data");
}

/* The numbers of the data, replaced whole: not finite, negative, huge. */
static void test_hostile_numbers(victim *v) {
    static const double numbers[] = {NAN, INFINITY, -1, 1e300, 9.3e18, 0.5};
    for (size_t at = v->good.header; at + 8 <= v->good.size; at += 24 * v->stride)
        for (size_t j = 0; j < LENGTH(numbers); j += 1) {
            memcpy(v->bad.bytes + at, &numbers[j], 8);
            load_damaged(v, v->good.size, 1, "another number", at);
            memcpy(v->bad.bytes + at, v->good.bytes + at, 8);
        }
}

/* The first digit after "version" becomes a 9. */
static void test_newer_version(victim *v) {
    static const char key[] = "\"version\"";
    size_t at = 8;
    while (at < v->good.header && memcmp(v->good.bytes + at, key, sizeof key - 1) != 0) at += 1;
    for (at += sizeof key; at < v->good.header && !(v->good.bytes[at] >= '0' && v->good.bytes[at] <= '9');) at += 1;
    CHECK(at < v->good.header);
    if (at >= v->good.header) return;
    v->bad.bytes[at] = '9';
    write_file(v->bad.bytes, v->good.size);
    CHECK_STATUS(taskmet_trainer_load(v->s.trainer, test_path), TASKMET_ERROR_VERSION, "version");
    CHECK_UNCHANGED(&v->before, v->s.trainer, "a newer version");
    v->bad.bytes[at] = v->good.bytes[at];
}

static void test_damaged(const shape *size, const char *options, size_t stride) {
    static victim v;
    begin_victim(&v, size, options);
    v.stride = check_quick ? 97 : stride;
    test_newer_version(&v);
    test_truncated(&v);
    test_flipped(&v);
    test_hostile_numbers(&v);
    finish_victim(&v);
}

/* Files that are something else. */
static void test_other_files(void) {
    setup s;
    begin(&s, &network, "");
    CHECK_OK(taskmet_predictor_save(s.predictor, test_path));
    refuse(&s, TASKMET_ERROR_FORMAT, TASKMET_ERROR_FORMAT, "a predictor");
    CHECK_OK(taskmet_metric_save(s.metric, test_path));
    refuse(&s, TASKMET_ERROR_FORMAT, TASKMET_ERROR_FORMAT, "a metric");
    write_file((const unsigned char *)"hello, trainer", 14);
    refuse(&s, TASKMET_ERROR_FORMAT, TASKMET_ERROR_FORMAT, "a text");
    remove(test_path);
    refuse(&s, TASKMET_ERROR_IO, TASKMET_ERROR_IO, "no file");
    /* A trainer's file is no predictor's. */
    steps(s.trainer, 1);
    CHECK_OK(taskmet_trainer_save(s.trainer, test_path));
    taskmet_predictor *predictor = NULL;
    CHECK_STATUS(taskmet_predictor_load(test_path, &predictor), TASKMET_ERROR_FORMAT, "");
    CHECK(predictor == NULL);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Writing                                                                                                          */

static int entries_of_directory(void) {
    int count = 0;
    DIR *stream = opendir(test_directory);
    if (stream == NULL) abort();
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream))
        count += strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0;
    closedir(stream);
    return count;
}

/* The old file stays whole for whoever has it open, and nothing else is left in the directory. */
static void test_replaced(void) {
    static file first, kept;
    char path[600];
    setup s;
    begin(&s, &network, SHORT);
    steps(s.trainer, 1);
    remove(test_path);
    CHECK_OK(taskmet_trainer_save(s.trainer, test_path));
    CHECK(entries_of_directory() == 1);
    read_file(&first);
    FILE *old = fopen(test_path, "rb");
    if (old == NULL) abort();
    steps(s.trainer, 1);
    CHECK_OK(taskmet_trainer_save(s.trainer, test_path));
    CHECK(entries_of_directory() == 1);
    kept.size = fread(kept.bytes, 1, sizeof kept.bytes, old);
    fclose(old);
    CHECK(kept.size == first.size && memcmp(kept.bytes, first.bytes, first.size) == 0);
    /* Where there is no directory nothing is written, and the trainer does not mind. */
    snapshot before = take_snapshot(s.trainer);
    snprintf(path, sizeof path, "%s/missing/trainer", test_directory);
    CHECK_STATUS(taskmet_trainer_save(s.trainer, path), TASKMET_ERROR_IO, "missing");
    CHECK_STATUS(taskmet_trainer_save(s.trainer, test_directory), TASKMET_ERROR_IO, "");
    CHECK(entries_of_directory() == 1);
    CHECK_UNCHANGED(&before, s.trainer, "after a failed save");
    compare_with_twin(&s, &network, SHORT, "after a failed save");
    free_snapshot(&before);
    finish(&s);
}

/* A metric from a file is its owner's no more than before: a trainer chooses what nobody has chosen. */
static void test_metric_from_file(int chosen) {
    setup s;
    taskmet_metric *loaded = NULL;
    taskmet_trainer *trainer = NULL;
    begin(&s, &linear, SHORT);
    if (chosen) {
        taskmet_trainer_destroy(s.trainer);
        NEED(taskmet_metric_set_floor(s.metric, 0.003));
        NEED(taskmet_metric_set_normalization(s.metric, TASKMET_NORMALIZATION_NONE));
        s.trainer = new_trainer(&s, SHORT);
    }
    CHECK_OK(taskmet_metric_save(s.metric, test_path));
    NEED(taskmet_metric_load(test_path, &loaded));
    NEED(taskmet_trainer_create(s.predictor, loaded, s.training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, s.task, 1));
    NEED(taskmet_trainer_set_validation(trainer, s.validation.data));
    configure(trainer, SHORT);
    steps(trainer, 2), steps(s.trainer, 2);
    CHECK_SAME_TRAINERS(trainer, s.trainer, "a metric from a file");
    taskmet_trainer_destroy(trainer);
    taskmet_metric_destroy(loaded);
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    for (int chosen = 0; chosen < 2; chosen += 1) test_metric_from_file(chosen);
    test_all_continuing();
    test_patience();
    test_other_shapes();
    for (int change = 0; change < 4; change += 1) test_other_data(change);
    test_other_parts();
    test_damaged(&linear, SHORT, 1);
    test_damaged(&network, SHORT BATCHES, 7);
    test_other_files();
    test_replaced();
    remove_test_directory();
    return check_end();
}
