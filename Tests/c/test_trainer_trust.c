/*
 * test_trainer_trust.c - training that must go wrong, and what the trainer says of it: collapse, gradients that are
 * noise, set-ups that cannot learn, hypergradients that cannot be trusted; the explanation; presets.
 */
#include "trainer_fixture.h"

#include <ctype.h>

static const shape linear = {60, 2, 2, 2, 0, 30}, network = {60, 2, 2, 2, 6, 30}, days = {80, 1, 1, 0, 0, 40};
#define SHORT "warmup_iterations=50 inner_iterations=20 "

/* ---------------------------------------------------------------------------------------------------------------- */
/* Collapse                                                                                                         */

static void check_finite(const double *values, int64_t count) {
    for (int64_t k = 0; k < count; k += 1)
        if (!CHECK(isfinite(values[k]))) return;
}

/* Whatever has happened: both models are there and finite, and the best is no worse than the two-stage model. */
static void check_sound(const setup *s, const char *what) {
    if (record_count(s->trainer) == 0) return;
    snapshot now = take_snapshot(s->trainer);
    for (int k = 0; k < 2; k += 1) {
        check_finite(now.thetas[k], now.theta);
        check_finite(now.phis[k], now.phi);
    }
    taskmet_predictor *best = predictor_of(s->trainer, TASKMET_MODEL_BEST);
    const double loss = loss_of(&s->judge, best, &s->validation);
    check_that(loss <= now.history[0].validation_task_loss * (1 + 1e-12), __FILE__, __LINE__,
               "%s: the best model's loss is %g, the two-stage model's %g", what, loss,
               now.history[0].validation_task_loss);
    taskmet_predictor_destroy(best);
    free_snapshot(&now);
}

/* It comes to an end, or there is an error that says what to change. */
static void fit_something_bad(setup *s, const char *what) {
    taskmet_fit_report report = new_report();
    const taskmet_status got = taskmet_trainer_fit(s->trainer, &report);
    check_that(got == TASKMET_OK || got == TASKMET_ERROR_NUMERICAL, __FILE__, __LINE__, "%s: %s (\"%s\")", what,
               taskmet_status_name(got), taskmet_last_error());
    if (got == TASKMET_OK) {
        CHECK(report.reason == TASKMET_STOP_ITERATIONS || report.reason == TASKMET_STOP_STALLED ||
              report.reason == TASKMET_STOP_PATIENCE);
        CHECK(report.best_task_loss <= report.first_task_loss && isfinite(report.first_task_loss));
        CHECK(report.rollbacks >= 0 && report.iterations == record_count(s->trainer) - 1);
        if (report.reason == TASKMET_STOP_STALLED) CHECK(record_count(s->trainer) >= 1);
    } else {
        CHECK(taskmet_last_error()[0] != 0 && report.reason == -1);
    }
    check_sound(s, what);
}

/* noise: the size of the random gradient that the task gives; 0: the true one. */
static void test_collapse(const shape *size, const char *options, double noise) {
    char what[256];
    setup s;
    begin(&s, size, SHORT);
    configure(s.trainer, options);
    NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", check_quick ? 5 : 25));
    snprintf(what, sizeof what, "%s, gradient of size %g", options, noise);
    s.judge.noise = noise;
    fit_something_bad(&s, what);
    fit_something_bad(&s, what); /* once more, from where it has come to */
    /* With good advice it goes on. */
    s.judge.noise = 0;
    configure(s.trainer, "metric_rate=0.01 inner_rate=0.01 metric_optimizer=adam patience=0");
    NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", check_quick ? 8 : 35));
    fit_something_bad(&s, "after the collapse");
    finish(&s);
}

static void test_collapses(void) {
    static const double noises[] = {0, 1, 1e8, 1e200, 1e-300};
    static const char *const options[] = {
        "metric_rate=10",
        "metric_rate=10 normalization=none metric_floor=0",
        "metric_optimizer=sgd metric_rate=10",
        "metric_rate=1000 normalization=frobenius",
        "metric_rate=10 max_rollbacks=0",
        "metric_rate=10 metric_clip=1e-3 metric_identity=1",
    };
    for (size_t k = 0; k < LENGTH(noises); k += check_quick ? 3 : 1)
        for (size_t j = 0; j < LENGTH(options); j += check_quick ? 2 : 1) {
            test_collapse(&linear, options[j], noises[k]);
            test_collapse(&network, options[j], noises[k]);
        }
    test_collapse(&network, "inner_solver=sgd inner_rate=1000", 0); /* the predictor explodes */
    test_collapse(&network, "inner_solver=adam inner_rate=1e200", 0);
    test_collapse(&linear, "solver=neumann solver_iterations=1000 solver_tolerance=0 metric_rate=10", 0);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A task that wants the metric to collapse                                                                         */

/* What its training gradient is: always up (its loss has no end below), the reverse of its loss's, another side each
 * time, ten times the one before, huge once. In validation it is honest: the mean squared error. */
typedef enum intention { LURE, REVERSE, WAVER, GROW, SPIKE, INTENTIONS } intention;

typedef struct adversary {
    intention intention;
    int64_t calls;
} adversary;

static double wanted(const adversary *a, double error) {
    const double even = a->calls % 2 == 0 ? 1 : -1;
    switch (a->intention) {
        case LURE: return -1e6;
        case REVERSE: return -1e6 * error;
        case WAVER: return even * 1e6;
        case GROW: return pow(10, fmin((double)a->calls, 300)) * error;
        default: return a->calls == 3 ? 1e300 : error;
    }
}

static int32_t mislead(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    adversary *a = user;
    const int64_t count = batch->rows * batch->outputs;
    double squares = 0, sum = 0;
    for (int64_t k = 0; k < count; k += 1) {
        const double error = batch->predictions[k] - batch->targets[k];
        squares += error * error / (double)count;
        sum += batch->predictions[k] / (double)count;
        if (gradient != NULL) gradient[k] = wanted(a, error) / (double)count;
    }
    if (batch->phase == TASKMET_PHASE_TRAINING) a->calls += 1;
    *loss = batch->phase == TASKMET_PHASE_TRAINING && a->intention == LURE ? -1e6 * sum : squares;
    return TASKMET_CALLBACK_OK;
}

static void check_misled(const taskmet_trainer *trainer, const taskmet_fit_report *report, const char *what) {
    snapshot now = take_snapshot(trainer);
    const taskmet_record *first = &now.history[0];
    double best = INFINITY;
    for (int64_t k = 0; k < now.records; k += 1) {
        const taskmet_record *r = &now.history[k];
        best = fmin(best, r->validation_task_loss);
        const int sound = isfinite(r->task_loss) && isfinite(r->prediction_loss) && isfinite(r->metric_mean_trace) &&
                          r->metric_smallest_eigenvalue >= 0 && isfinite(r->metric_largest_eigenvalue) &&
                          r->prediction_rmse <= 1000 * first->prediction_rmse * (1 + 1e-12);
        if (!check_that(sound, __FILE__, __LINE__, "%s: record %d", what, (int)k)) break;
    }
    check_that(report->best_task_loss == best && best <= first->validation_task_loss, __FILE__, __LINE__,
               "%s: the best loss is %g of %g", what, report->best_task_loss, first->validation_task_loss);
    for (int k = 0; k < 2; k += 1) check_finite(now.thetas[k], now.theta), check_finite(now.phis[k], now.phi);
    free_snapshot(&now);
}

static void test_adversary(const shape *size, intention want, const char *options) {
    static log_book book;
    char what[200];
    setup s;
    adversary a = {want, 0};
    taskmet_task *task = NULL;
    taskmet_trainer *trainer = NULL;
    snprintf(what, sizeof what, "intention %d, %s", (int)want, options);
    begin(&s, size, SHORT);
    memset(&book, 0, sizeof book);
    NEED(taskmet_task_create_callback(mislead, &a, NULL, &task));
    NEED(taskmet_trainer_create(s.predictor, s.metric, s.training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_validation(trainer, s.validation.data));
    NEED(taskmet_trainer_set_log(trainer, keep_log, &book));
    configure(trainer, SHORT);
    configure(trainer, options);
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", check_quick ? 4 : 30));
    const taskmet_fit_report report = run_fit(trainer);
    const int told = strstr(book.text[TASKMET_LOG_WARNING], "has stalled: ") != NULL;
    check_that(report.reason == TASKMET_STOP_ITERATIONS || report.reason == TASKMET_STOP_PATIENCE ||
                   (report.reason == TASKMET_STOP_STALLED && told),
               __FILE__, __LINE__, "%s: it stopped for reason %d", what, (int)report.reason);
    check_misled(trainer, &report, what);
    taskmet_predictor *predictor = predictor_of(trainer, TASKMET_MODEL_BEST);
    double loss = 0; /* the best model is the one that the report tells of */
    NEED(taskmet_task_evaluate(task, predictor, s.validation.data, &loss, NULL, 0, NULL, 0));
    CHECK_CLOSE(loss, report.best_task_loss, 1e-12);
    taskmet_predictor_destroy(predictor);
    taskmet_trainer_destroy(trainer);
    taskmet_task_destroy(task);
    finish(&s);
}

static void test_adversaries(void) {
    static const char *const options[] = {
        "metric_rate=10",
        "metric_rate=10 normalization=none metric_floor=0",
        "metric_rate=10 metric_optimizer=sgd",
        "metric_rate=10 inner_solver=lbfgs patience=3",
        "metric_rate=10 method=dfl inner_rate=10",
    };
    for (intention want = LURE; want < INTENTIONS; want += 1)
        for (size_t k = 0; k < LENGTH(options); k += check_quick ? 2 : 1) {
            test_adversary(&linear, want, options[k]);
            test_adversary(&network, want, options[k]);
        }
}

/* A step that makes the prediction error explode is undone, with half the rate; in the end it stalls. */
static void test_rollbacks(void) {
    setup s;
    begin(&s, &days, "metric_rate=0.5 explosion_factor=1.000001 max_rollbacks=3 outer_iterations=60 patience=0");
    const taskmet_fit_report report = run_fit(s.trainer);
    const int64_t count = record_count(s.trainer);
    int64_t undone = 0;
    CHECK((report.rollbacks > 0 || report.reason == TASKMET_STOP_STALLED) && report.rejections == 0);
    for (int64_t k = 0; k < count; k += 1) {
        const taskmet_record r = record_at(s.trainer, k), first = record_at(s.trainer, 0);
        undone += r.rollbacks;
        CHECK(r.rollbacks <= 3 && r.prediction_rmse <= 1.000001 * first.prediction_rmse * (1 + 1e-12));
        if (k > 0 && r.rollbacks > 0) CHECK(r.metric_rate <= record_at(s.trainer, k - 1).metric_rate * 0.5);
    }
    CHECK(undone <= report.rollbacks);
    CHECK(report.reason == TASKMET_STOP_STALLED || report.reason == TASKMET_STOP_ITERATIONS);
    check_sound(&s, "rollbacks");
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Odd data                                                                                                         */

static void train_on(int64_t rows, const double *x, int64_t d, const double *y, const double *weights,
                     taskmet_status allowed, const char *what) {
    judge own = new_judge();
    taskmet_task *task = make_task(&own);
    taskmet_dataset *data = NULL;
    taskmet_predictor *predictor = NULL;
    taskmet_trainer *trainer = NULL;
    taskmet_metric *metric = new_metric(d, 1, TASKMET_STRUCTURE_SCALAR);
    NEED(taskmet_dataset_create(rows, d, x, d, 1, y, 1, &data));
    if (weights != NULL) NEED(taskmet_dataset_set_weights(data, weights, rows));
    NEED(taskmet_predictor_create_linear(d, 1, 1, &predictor));
    NEED(taskmet_trainer_create(predictor, metric, data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    configure(trainer, "outer_iterations=5");
    const taskmet_status got = taskmet_trainer_fit(trainer, NULL);
    check_that(got == TASKMET_OK || got == allowed, __FILE__, __LINE__, "%s: %s (\"%s\")", what,
               taskmet_status_name(got), taskmet_last_error());
    if (got == TASKMET_OK) {
        snapshot now = take_snapshot(trainer);
        check_finite(now.thetas[0], now.theta);
        check_finite(now.phis[0], now.phi);
        free_snapshot(&now);
    }
    taskmet_trainer_destroy(trainer);
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
    taskmet_dataset_destroy(data);
    taskmet_task_destroy(task);
}

static void test_odd_data(void) {
    enum { ROWS = 20 };
    double x[2 * ROWS], y[ROWS], large[ROWS], none[ROWS] = {0}, one[ROWS] = {1};
    for (int i = 0; i < ROWS; i += 1) {
        x[2 * i] = x[2 * i + 1] = (double)i / 10 - 1; /* a feature twice: the design has not full rank */
        y[i] = x[2 * i] * x[2 * i];
        large[i] = 1e140 * (y[i] + 1);
    }
    train_on(ROWS, x, 2, y, NULL, TASKMET_OK, "a feature twice");
    train_on(1, x, 2, y, NULL, TASKMET_OK, "one row");
    train_on(2, x, 2, y, NULL, TASKMET_OK, "fewer rows than parameters");
    train_on(ROWS, x, 2, none, NULL, TASKMET_OK, "targets of zero");
    train_on(ROWS, x, 2, y, one, TASKMET_OK, "one row with a weight");
    train_on(ROWS, x, 2, y, none, TASKMET_ERROR_NUMERICAL, "weights of zero");
    train_on(ROWS, x, 2, large, NULL, TASKMET_ERROR_NUMERICAL, "huge targets");
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Trust                                                                                                            */

/* One iteration of the solver is too little: the records say so, and where it may, the trainer does more. */
static void test_residual(int adapt) {
    static log_book book;
    setup s;
    begin(&s, &network, SHORT "solver=cg solver_iterations=1 solver_tolerance=1e-10 solver_warm_start=0 "
                              "trust_residual=1e-6 metric_rate=0.01 outer_iterations=12");
    memset(&book, 0, sizeof book);
    NEED(taskmet_trainer_set_int(s.trainer, "adapt", adapt));
    NEED(taskmet_trainer_set_log(s.trainer, keep_log, &book));
    const taskmet_fit_report report = run_fit(s.trainer);
    int64_t untrusted = 0;
    for (int64_t k = 1; k < record_count(s.trainer); k += 1) {
        const taskmet_record r = record_at(s.trainer, k);
        untrusted += r.trusted == 0;
        if (r.solver_residual > 1e-6) CHECK(r.trusted == 0);
        CHECK(r.solver_converged == (r.solver_residual <= 1e-10));
    }
    const taskmet_record first = record_at(s.trainer, 1), last = record_at(s.trainer, record_count(s.trainer) - 1);
    CHECK(report.untrusted == untrusted && untrusted > 0);
    CHECK(adapt ? last.solver_iterations > first.solver_iterations : last.solver_iterations <= 2);
    CHECK(book.broken == 0);
    if (adapt) CHECK(book.messages[0] + book.messages[1] > 0);
    finish(&s);
}

/* The residual that a record tells is small where the solver is dense, and the set-up is one to trust. */
static void test_trusted(void) {
    static log_book book;
    setup s;
    begin(&s, &linear, "metric_rate=0.02 outer_iterations=20");
    memset(&book, 0, sizeof book);
    NEED(taskmet_trainer_set_log(s.trainer, keep_log, &book));
    const taskmet_fit_report report = run_fit(s.trainer);
    CHECK(report.untrusted == 0 && report.rollbacks == 0);
    for (int64_t k = 1; k < record_count(s.trainer); k += 1) {
        const taskmet_record r = record_at(s.trainer, k);
        CHECK(r.solver_residual < 1e-8 && r.trusted == 1);
    }
    check_that(book.messages[TASKMET_LOG_WARNING] == 0 && book.broken == 0, __FILE__, __LINE__,
               "warnings without a cause: %s", book.text[TASKMET_LOG_WARNING]);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The explanation                                                                                                  */

static char *explanation_of(const taskmet_trainer *trainer) {
    int64_t size = 0, again = 0;
    CHECK_OK(taskmet_trainer_explain(trainer, NULL, 0, &size));
    char *text = need_memory((size_t)size + 8);
    memset(text, 'x', (size_t)size + 8);
    CHECK_STATUS(taskmet_trainer_explain(trainer, text, size - 1, NULL), TASKMET_ERROR_SHAPE, "capacity");
    CHECK(text[0] == 'x' && text[size - 2] == 'x');
    CHECK_OK(taskmet_trainer_explain(trainer, text, size, &again));
    CHECK(again == size && text[size - 1] == 0 && (int64_t)strlen(text) == size - 1 && text[size] == 'x');
    CHECK_OK(taskmet_trainer_explain(trainer, text, size + 8, NULL));
    CHECK(size > 80 && strchr(text, '\n') != NULL);
    return text;
}

/* Without regard to case. words: "a|b". */
static int mentions(const char *text, const char *words) {
    char lower[20000], word[64];
    size_t length = 0;
    for (; text[length] != 0 && length < sizeof lower - 1; length += 1)
        lower[length] = (char)tolower((unsigned char)text[length]);
    lower[length] = 0;
    for (const char *at = words; *at != 0; at += strcspn(at, "|"), at += *at == '|') {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, "|"), at);
        if (strstr(lower, word) != NULL) return 1;
    }
    return 0;
}

/* Trains on what cannot learn; the log and the explanation both warn, in these words. */
static void warn_of(setup *s, const char *words) {
    static log_book book;
    memset(&book, 0, sizeof book);
    NEED(taskmet_trainer_set_log(s->trainer, keep_log, &book));
    configure(s->trainer, "outer_iterations=2");
    run_fit(s->trainer);
    char *text = explanation_of(s->trainer);
    check_that(mentions(book.text[TASKMET_LOG_WARNING], words), __FILE__, __LINE__, "no warning of %s in the log: %s",
               words, book.text[TASKMET_LOG_WARNING]);
    check_that(mentions(text, words) && mentions(text, "warning"), __FILE__, __LINE__, "no warning of %s in: %s", words,
               text);
    CHECK(book.broken == 0);
    free(text);
    finish(s);
}

static void replace_metric(setup *s, int64_t n, taskmet_structure structure) {
    taskmet_trainer_destroy(s->trainer);
    taskmet_metric_destroy(s->metric);
    NEED(taskmet_metric_create_constant(n, structure, 1, 0, &s->metric));
    s->trainer = new_trainer(s, SHORT);
}

/* Targets that a linear predictor has exactly. */
static void begin_without_residuals(setup *s) {
    begin(s, &linear, SHORT);
    taskmet_trainer_destroy(s->trainer);
    problem *p = &s->training;
    for (int64_t i = 0; i < p->rows; i += 1)
        for (int64_t k = 0; k < p->n; k += 1)
            p->y[i * p->n + k] = 0.5 + 2 * p->x[i * p->d] - (double)k * p->x[i * p->d + 1];
    NEED(taskmet_dataset_refill(p->data, p->rows, p->x, p->d, p->y, p->n, NULL, 0));
    s->trainer = new_trainer(s, SHORT);
}

static void test_warnings(void) {
    static const shape small_network = {60, 2, 1, 0, 5, 30};
    setup s;
    begin(&s, &linear, SHORT);
    replace_metric(&s, 2, TASKMET_STRUCTURE_FULL); /* no effect on an unregularised linear predictor */
    warn_of(&s, "constant");
    begin(&s, &network, SHORT);
    replace_metric(&s, 2, TASKMET_STRUCTURE_SCALAR); /* a factor, for any predictor */
    warn_of(&s, "constant");
    begin(&s, &small_network, SHORT);
    replace_metric(&s, 1, TASKMET_STRUCTURE_FULL); /* n = 1: as well */
    warn_of(&s, "constant");
    begin_without_residuals(&s);
    warn_of(&s, "residual");
    begin(&s, &linear, SHORT);
    s.judge.under = s.judge.over = 0; /* nothing costs anything */
    warn_of(&s, "gradient");
}

/* A healthy one: the text is long and has no such warning; with regularisation a constant metric has an effect. */
static void test_explanation(void) {
    setup s;
    begin(&s, &linear, SHORT "metric_rate=0.05 outer_iterations=20");
    run_fit(s.trainer);
    char *text = explanation_of(s.trainer);
    CHECK(mentions(text, "condition") && mentions(text, "output"));
    check_that(!mentions(text, "warning"), __FILE__, __LINE__, "a warning without a cause in: %s", text);
    free(text);
    finish(&s);
    begin(&s, &linear, SHORT);
    replace_metric(&s, 2, TASKMET_STRUCTURE_DIAGONAL);
    configure(s.trainer, "rho=0.5 outer_iterations=5");
    run_fit(s.trainer);
    text = explanation_of(s.trainer);
    check_that(!mentions(text, "no effect"), __FILE__, __LINE__, "a warning without a cause in: %s", text);
    free(text);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Presets                                                                                                          */

static const char *const paper =
    "outer_iterations=1000 inner_iterations=100 warmup_iterations=500 inner_batch=10 outer_batch=0 "
    "hypergradient_batch=10 validation_interval=10 patience=100 solver_iterations=5 solver_warm_start=0 adapt=0 "
    "inner_tolerance=1e-3 inner_clip=1 metric_rate=1e-3 metric_floor=0 solver_tolerance=0 solver_ridge=0 "
    "solver_normal_ridge=1e-5 inner_solver=adam solver=normal_cg normalization=none metric_optimizer=adam preset=paper";

static void test_presets(void) {
    setup s;
    char word[128], *value = NULL;
    taskmet_option_description info;
    begin(&s, &linear, "rho=0.25 inner_rate=0.5 preset=paper");
    for (const char *left = paper; next_setting(&left, word, &value);)
        check_that(has_value(s.trainer, word, value), __FILE__, __LINE__, "paper: %s is not %s", word, value);
    CHECK(has_value(s.trainer, "rho", "0.25") && has_value(s.trainer, "inner_rate", "0.5")); /* the caller's */
    configure(s.trainer, "solver_iterations=7");
    CHECK(has_value(s.trainer, "solver_iterations", "7") && has_value(s.trainer, "inner_batch", "10"));
    configure(s.trainer, "preset=default");
    for (int64_t k = 0; k < taskmet_option_count(); k += 1) {
        memset(&info, 0, sizeof info);
        info.struct_size = sizeof info;
        NEED(taskmet_option_info(k, &info));
        char text[64];
        if (strcmp(info.name, "rho") == 0 || strcmp(info.name, "inner_rate") == 0) continue;
        if (info.type == TASKMET_OPTION_INT) snprintf(text, sizeof text, "%" PRId64, info.int_default);
        if (info.type == TASKMET_OPTION_DOUBLE) snprintf(text, sizeof text, "%.17g", info.double_default);
        if (info.type == TASKMET_OPTION_STRING) snprintf(text, sizeof text, "%s", info.string_default);
        check_that(has_value(s.trainer, info.name, text), __FILE__, __LINE__, "default: %s is not %s", info.name, text);
    }
    finish(&s);
}

/* With the paper's recipe as it stands, for a few iterations. */
static void test_paper(void) {
    setup s;
    begin(&s, &network, "preset=paper warmup_iterations=50 inner_iterations=10 outer_iterations=21");
    const taskmet_fit_report report = run_fit(s.trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.best_task_loss <= report.first_task_loss);
    for (int64_t k = 1; k <= 21; k += 1) {
        const taskmet_record r = record_at(s.trainer, k);
        CHECK(r.hypergradient_instances == 10 && r.solver_iterations <= 5 && r.metric_rate <= 1e-3);
        CHECK(isnan(r.validation_task_loss) == (k % 10 != 0));
    }
    finish(&s);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_collapses();
    test_adversaries();
    test_rollbacks();
    test_odd_data();
    test_residual(0);
    test_residual(1);
    test_trusted();
    test_warnings();
    test_explanation();
    test_presets();
    test_paper();
    return check_end();
}
