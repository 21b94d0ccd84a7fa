/*
 * test_trainer_training.c - what the trainer learns, and whether its records are true: everything that they say is
 * computed again from the models, with the step-level functions.
 */
#include "trainer_fixture.h"

/* days: as the quick start's, one feature and one output. pairs: two outputs, instances of two and three rows. */
static const shape days = {200, 1, 1, 0, 0, 120}, pairs = {60, 2, 2, 2, 0, 40}, network = {60, 2, 2, 2, 6, 40};
#define EXACT "warmup_iterations=20 inner_iterations=20 metric_rate=0.05 "

static int64_t iterations(void) { return check_quick ? 12 : 100; }

static double norm_of(const double *values, int64_t count) {
    double sum = 0;
    for (int64_t k = 0; k < count; k += 1) sum += values[k] * values[k];
    return sqrt(sum);
}

/* The warm-up alone: the two-stage model. */
static void warm_up(taskmet_trainer *trainer) {
    int64_t planned = 0;
    NEED(taskmet_trainer_get_int(trainer, "outer_iterations", &planned));
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", 0));
    const taskmet_fit_report report = run_fit(trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 0 && report.best_iteration == 0);
    CHECK(record_count(trainer) == 1);
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", planned));
}

static double loss_of_model(const setup *s, const taskmet_trainer *trainer, taskmet_model model, const problem *p) {
    taskmet_predictor *predictor = predictor_of(trainer, model);
    const double loss = loss_of(&s->judge, predictor, p);
    taskmet_predictor_destroy(predictor);
    return loss;
}

static double rmse_of_model(const taskmet_trainer *trainer, taskmet_model model, const problem *p) {
    taskmet_predictor *predictor = predictor_of(trainer, model);
    const double rmse = rmse_of(predictor, p);
    taskmet_predictor_destroy(predictor);
    return rmse;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* It learns                                                                                                        */

static void test_margin(void) {
    setup s;
    begin(&s, &days, "metric_rate=0.05");
    problem other = make_problem(99, 300, 1, 1, 0); /* nobody has seen */
    double *theta = predictor_parameters(s.predictor), *phi = metric_parameters(s.metric);
    warm_up(s.trainer);
    const double two_stage = loss_of_model(&s, s.trainer, TASKMET_MODEL_BEST, &other);
    NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", iterations()));
    const taskmet_fit_report report = run_fit(s.trainer);
    const double taskmet = loss_of_model(&s, s.trainer, TASKMET_MODEL_BEST, &other);
    const double share = check_quick ? 0.9 : 0.2;
    check_that(taskmet < share * two_stage, __FILE__, __LINE__, "unseen loss %g, two-stage %g", taskmet, two_stage);
    CHECK(report.best_task_loss < share * report.first_task_loss);
    CHECK(report.iterations == iterations() || report.reason == TASKMET_STOP_PATIENCE);
    /* The caller's own are as they were. */
    double *theta_after = predictor_parameters(s.predictor), *phi_after = metric_parameters(s.metric), scale = 0;
    CHECK_SAME_BITS(theta_after, theta, predictor_count(s.predictor));
    CHECK_SAME_BITS(phi_after, phi, metric_count(s.metric));
    CHECK_OK(taskmet_metric_get_normalization_scale(s.metric, &scale));
    CHECK(scale == 1);
    free(theta), free(phi), free(theta_after), free(phi_after);
    destroy_problem(&other);
    finish(&s);
}

/* Record 0 is what least squares finds: the metric is close to the identity at first. */
static void test_two_stage_model(void) {
    setup s;
    taskmet_metric *identity = NULL;
    taskmet_inner_options exact;
    begin(&s, &pairs, EXACT);
    warm_up(s.trainer);
    NEED(taskmet_metric_create_constant(2, TASKMET_STRUCTURE_SCALAR, 0, 0, &identity));
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;
    NEED(taskmet_loss_minimize(s.predictor, identity, s.training.data, 0, &exact, NULL, NULL));
    const taskmet_record record = record_at(s.trainer, 0);
    CHECK_CLOSE(record.prediction_rmse, rmse_of(s.predictor, &s.training), 1e-3);
    CHECK_CLOSE(record.task_loss, loss_of(&s.judge, s.predictor, &s.training), 0.1);
    taskmet_metric_destroy(identity);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The records                                                                                                      */

static void check_seconds(const taskmet_record *r) {
    const double parts[] = {r->seconds_inner, r->seconds_task, r->seconds_hypergradient, r->seconds_validation};
    double sum = 0;
    for (size_t k = 0; k < LENGTH(parts); k += 1) {
        CHECK(isnan(parts[k]) || parts[k] >= 0);
        if (parts[k] > 0) sum += parts[k];
    }
    CHECK(r->seconds_total > 0 && sum <= r->seconds_total * 1.01 + 1e-4);
}

static void check_record(const taskmet_record *r, int64_t k, const setup *s) {
    CHECK(r->iteration == k);
    CHECK(isnan(r->hypergradient_norm) == (k == 0));
    CHECK(k == 0 || (r->hypergradient_norm > 0 && isfinite(r->hypergradient_norm)));
    CHECK(k == 0 || r->hypergradient_instances == s->training.instances);
    CHECK(isnan(r->agreement)); /* never asked for */
    CHECK(isfinite(r->task_loss) && r->prediction_loss > 0 && r->prediction_rmse > 0 && r->inner_gradient_norm >= 0);
    CHECK(isfinite(r->validation_task_loss) && r->validation_rmse > 0);
    CHECK(r->inner_steps >= 0 && r->rollbacks == 0 && r->rejections == 0);
    CHECK(r->metric_rate == 0.05);
    CHECK(r->metric_smallest_eigenvalue > 0 && r->metric_smallest_eigenvalue <= r->metric_largest_eigenvalue);
    CHECK_CLOSE(r->metric_mean_trace, 1.0, 1e-9); /* batch_trace, and all rows are looked at */
    check_seconds(r);
}

/* With a dense solver and exact inner solutions everything is as good as it can be. */
static void check_exact_record(const taskmet_record *r) {
    CHECK(r->inner_gradient_norm < 1e-9 && r->trusted == 1);
    if (r->iteration > 0) CHECK(r->solver_residual < 1e-9 && r->solver_converged == 1 && r->negative_curvature == 0);
}

/* The report against the records: the best is the first one with the lowest validation loss. */
static void check_report(const taskmet_trainer *trainer, const taskmet_fit_report *report) {
    const int64_t count = record_count(trainer);
    double lowest = (double)INFINITY;
    int64_t best = -1, untrusted = 0;
    for (int64_t k = 0; k < count; k += 1) {
        const taskmet_record r = record_at(trainer, k);
        CHECK(r.is_best == (r.validation_task_loss < lowest));
        if (r.validation_task_loss < lowest) best = k;
        lowest = fmin(lowest, r.validation_task_loss);
        untrusted += r.trusted == 0;
    }
    const taskmet_record first = record_at(trainer, 0), chosen = record_at(trainer, best);
    CHECK(report->reason == TASKMET_STOP_ITERATIONS && report->reserved == 0 && report->iterations == count - 1);
    CHECK(report->best_iteration == best && report->best_task_loss == lowest);
    CHECK(report->first_task_loss == first.validation_task_loss);
    CHECK_CLOSE(report->best_rmse_ratio, chosen.validation_rmse / first.validation_rmse, 1e-12);
    CHECK(report->rollbacks == 0 && report->rejections == 0 && report->untrusted == untrusted && report->seconds > 0);
}

/* The last record and the best loss, computed again from the copies. */
static void check_models(const setup *s, const taskmet_fit_report *report) {
    const taskmet_record last = record_at(s->trainer, record_count(s->trainer) - 1);
    taskmet_predictor *predictor = predictor_of(s->trainer, TASKMET_MODEL_LAST);
    taskmet_metric *metric = metric_of(s->trainer, TASKMET_MODEL_LAST);
    const int64_t count = predictor_count(predictor);
    double value = 0, *gradient = zeros(count);
    NEED(taskmet_loss_value(predictor, metric, s->training.data, 0, &value));
    NEED(taskmet_loss_gradient(predictor, metric, s->training.data, 0, gradient, count));
    CHECK_CLOSE(last.prediction_loss, value, 1e-10);
    const double norm = norm_of(gradient, count);
    check_that(fabs(last.inner_gradient_norm - norm) < 1e-10 + 1e-8 * norm, __FILE__, __LINE__,
               "the gradient's norm is %g, not %g", norm, last.inner_gradient_norm);
    CHECK_CLOSE(last.prediction_rmse, rmse_of(predictor, &s->training), 1e-12);
    CHECK_CLOSE(last.task_loss, loss_of(&s->judge, predictor, &s->training), 1e-12);
    CHECK_CLOSE(last.validation_task_loss, loss_of(&s->judge, predictor, &s->validation), 1e-12);
    CHECK_CLOSE(last.validation_rmse, rmse_of(predictor, &s->validation), 1e-12);
    CHECK_CLOSE(report->best_task_loss, loss_of_model(s, s->trainer, TASKMET_MODEL_BEST, &s->validation), 1e-12);
    free(gradient);
    taskmet_predictor_destroy(predictor);
    taskmet_metric_destroy(metric);
}

static void test_history(const shape *size, int exact) {
    setup s;
    begin(&s, size, EXACT "outer_iterations=15");
    const taskmet_fit_report report = run_fit(s.trainer);
    CHECK(record_count(s.trainer) == 16);
    for (int64_t k = 0; k < record_count(s.trainer); k += 1) {
        const taskmet_record record = record_at(s.trainer, k);
        check_record(&record, k, &s);
        if (exact) check_exact_record(&record);
    }
    check_report(s.trainer, &report);
    check_models(&s, &report);
    finish(&s);
}

/* The rate is so high that it goes wrong sometimes: the best is kept, the last goes on. */
static void test_best_and_last(void) {
    setup s;
    begin(&s, &days, EXACT "outer_iterations=15");
    NEED(taskmet_trainer_set_double(s.trainer, "metric_rate", 2));
    const taskmet_fit_report report = run_fit(s.trainer);
    const double best = loss_of_model(&s, s.trainer, TASKMET_MODEL_BEST, &s.validation);
    const double last = loss_of_model(&s, s.trainer, TASKMET_MODEL_LAST, &s.validation);
    CHECK_CLOSE(best, report.best_task_loss, 1e-12);
    CHECK_CLOSE(last, record_at(s.trainer, report.iterations).validation_task_loss, 1e-12);
    CHECK(best <= last);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The same by hand                                                                                                 */

typedef struct by_hand {
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_optimizer *adam;
    double *phi, *gradient, *f, *c;
    int64_t count;
} by_hand;

static by_hand begin_by_hand(const setup *s) {
    by_hand h;
    memset(&h, 0, sizeof h);
    h.predictor = predictor_of(s->trainer, TASKMET_MODEL_LAST);
    h.metric = metric_of(s->trainer, TASKMET_MODEL_LAST);
    h.count = metric_count(h.metric);
    h.phi = metric_parameters(h.metric);
    h.gradient = zeros(h.count);
    h.f = zeros(s->training.rows * s->training.n);
    h.c = zeros(s->training.rows * s->training.n);
    NEED(taskmet_optimizer_create_adam(h.count, 0.05, 0.9, 0.999, 1e-8, &h.adam));
    return h;
}

/* One iteration of Algorithm 1, as the quick start does it; returns the hypergradient's norm. */
static double iterate_by_hand(by_hand *h, const setup *s) {
    const problem *p = &s->training;
    judge own = new_judge();
    double loss = 0;
    taskmet_task *task = make_task(&own);
    taskmet_inner_options exact;
    taskmet_solver_options dense;
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;
    taskmet_solver_options_init(&dense);
    dense.solver = TASKMET_SOLVER_DENSE;
    dense.ridge = 1e-3;
    NEED(taskmet_metric_update_normalization(h->metric, p->rows, p->x, p->d));
    NEED(taskmet_predictor_predict(h->predictor, p->rows, p->x, p->d, h->f, p->n));
    NEED(taskmet_task_gradient(task, p->data, TASKMET_PHASE_TRAINING, h->f, p->n, &loss, h->c, p->n));
    NEED(taskmet_hypergradient(h->predictor, h->metric, p->data, 0, h->c, p->n, &dense, h->gradient, h->count, NULL));
    NEED(taskmet_optimizer_step(h->adam, h->gradient, h->count, h->phi, h->count));
    NEED(taskmet_metric_set_parameters(h->metric, h->phi, h->count));
    NEED(taskmet_metric_update_normalization(h->metric, p->rows, p->x, p->d));
    NEED(taskmet_loss_minimize(h->predictor, h->metric, p->data, 0, &exact, NULL, NULL));
    taskmet_task_destroy(task);
    return norm_of(h->gradient, h->count);
}

static void test_by_hand(void) {
    setup s;
    begin(&s, &pairs, EXACT "solver=dense solver_ridge=1e-3");
    warm_up(s.trainer);
    by_hand h = begin_by_hand(&s);
    for (int64_t k = 1; k <= 4; k += 1) {
        const double norm = iterate_by_hand(&h, &s);
        steps(s.trainer, 1);
        CHECK_CLOSE(record_at(s.trainer, k).hypergradient_norm, norm, 1e-7);
        snapshot now = take_snapshot(s.trainer);
        double *theta = predictor_parameters(h.predictor);
        CHECK_CLOSE_ARRAYS(now.phis[TASKMET_MODEL_LAST], h.phi, h.count, 1e-7);
        CHECK_CLOSE_ARRAYS(now.thetas[TASKMET_MODEL_LAST], theta, now.theta, 1e-7);
        free(theta);
        free_snapshot(&now);
    }
    free(h.phi), free(h.gradient), free(h.f), free(h.c);
    taskmet_predictor_destroy(h.predictor);
    taskmet_metric_destroy(h.metric);
    taskmet_optimizer_destroy(h.adam);
    finish(&s);
}

/* Steps, one fit, and two fits are the same. */
static void test_continuing(const shape *size) {
    setup s;
    begin(&s, size, EXACT "outer_iterations=6");
    taskmet_trainer *by_steps = new_trainer(&s, EXACT), *by_parts = new_trainer(&s, EXACT "outer_iterations=2");
    run_fit(s.trainer);
    steps(by_steps, 6);
    for (int k = 0; k < 2; k += 1) { /* the second one has nothing left to do */
        const taskmet_fit_report report = run_fit(by_parts);
        CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 2);
    }
    NEED(taskmet_trainer_set_int(by_parts, "outer_iterations", 6));
    CHECK(run_fit(by_parts).iterations == 6);
    CHECK_SAME_TRAINERS(by_steps, s.trainer, "steps and a fit");
    CHECK_SAME_TRAINERS(by_parts, s.trainer, "two fits and one");
    taskmet_trainer_destroy(by_steps);
    taskmet_trainer_destroy(by_parts);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options that choose the model                                                                                    */

static void test_patience(void) {
    setup s;
    begin(&s, &days, EXACT "method=two_stage patience=3");
    taskmet_fit_report report = run_fit(s.trainer); /* nothing gets better */
    CHECK(report.reason == TASKMET_STOP_PATIENCE && report.iterations == 3 && report.best_iteration == 0);
    configure(s.trainer, "patience=0 outer_iterations=9");
    report = run_fit(s.trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 9);
    finish(&s);
    begin(&s, &days, "metric_rate=2 patience=4 outer_iterations=400");
    report = run_fit(s.trainer);
    if (report.reason == TASKMET_STOP_PATIENCE) CHECK(report.iterations - report.best_iteration == 4);
    CHECK(report.reason != TASKMET_STOP_NONE);
    finish(&s);
}

static void test_validation_interval(void) {
    setup s;
    begin(&s, &pairs, EXACT "validation_interval=3 outer_iterations=7");
    run_fit(s.trainer);
    for (int64_t k = 0; k < 8; k += 1) {
        const taskmet_record record = record_at(s.trainer, k);
        CHECK(isnan(record.validation_task_loss) == (k % 3 != 0) && isnan(record.validation_rmse) == (k % 3 != 0));
        CHECK(k % 3 == 0 || record.is_best == 0);
    }
    finish(&s);
}

/* on: the data that the ratio is measured on: held-out ones if there are any. */
/* Between validations nothing can become better, and patience waits for the next one. */
static void test_patience_between_validations(void) {
    setup s;
    begin(&s, &pairs, EXACT "validation_interval=10 patience=3 outer_iterations=25");
    const taskmet_fit_report report = run_fit(s.trainer);
    CHECK(report.reason == TASKMET_STOP_ITERATIONS && report.iterations == 25 && report.best_iteration == 20);
    finish(&s);
    begin(&s, &pairs, "method=two_stage inner_iterations=1 validation_interval=10 patience=3 outer_iterations=25");
    const taskmet_fit_report idle = run_fit(s.trainer);
    CHECK(idle.reason == TASKMET_STOP_PATIENCE && idle.iterations == 10 && idle.best_iteration == 0);
    finish(&s);
}

static void test_ratio(int64_t held_out) {
    shape size = days;
    size.validation = held_out;
    double ratios[2];
    for (int capped = 0; capped < 2; capped += 1) {
        setup s;
        begin(&s, &size, "metric_rate=0.05");
        const problem *on = held_out > 0 ? &s.validation : &s.training;
        configure(s.trainer, capped ? "max_prediction_loss_ratio=1.05" : "");
        warm_up(s.trainer);
        const double first = rmse_of_model(s.trainer, TASKMET_MODEL_LAST, on);
        NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", check_quick ? 10 : 60));
        const taskmet_fit_report report = run_fit(s.trainer);
        ratios[capped] = rmse_of_model(s.trainer, TASKMET_MODEL_BEST, on) / first;
        CHECK_CLOSE(report.best_rmse_ratio, ratios[capped], 1e-9);
        CHECK(report.best_task_loss <= report.first_task_loss);
        CHECK(!capped || report.best_iteration > 0);
        finish(&s);
    }
    CHECK(ratios[1] <= 1.05 * (1 + 1e-12) && ratios[1] > 1);
    CHECK(check_quick || ratios[0] > 1.05); /* else this test says nothing */
}

static void test_two_stage_method(void) {
    setup s;
    begin(&s, &network, EXACT "method=two_stage outer_iterations=5");
    warm_up(s.trainer);
    snapshot before = take_snapshot(s.trainer);
    const taskmet_fit_report report = run_fit(s.trainer);
    snapshot after = take_snapshot(s.trainer);
    CHECK(report.best_task_loss <= report.first_task_loss);
    CHECK_SAME_BITS(after.phis[TASKMET_MODEL_LAST], before.phis[TASKMET_MODEL_LAST], before.phi);
    CHECK(!check_same_bits(after.thetas[TASKMET_MODEL_LAST], before.thetas[TASKMET_MODEL_LAST], before.theta));
    CHECK(record_at(s.trainer, 5).prediction_loss < record_at(s.trainer, 0).prediction_loss);
    free_snapshot(&before), free_snapshot(&after);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Several tasks                                                                                                    */

/* The hot days; the cold ones, on the other side. */
static judge cold_judge(void) {
    judge j = new_judge();
    j.under = 1;
    j.over = 4;
    j.edge = -0.5;
    j.slope = -10;
    return j;
}

typedef struct both {
    judge hot, cold;
} both;

static int32_t both_task(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    const both *b = user;
    const int64_t count = batch->rows * batch->outputs;
    double other = 0, *more = gradient == NULL ? NULL : zeros(count);
    judge_value(&b->hot, batch, loss, gradient);
    judge_value(&b->cold, batch, &other, more);
    *loss = 2 * *loss + 3 * other;
    for (int64_t k = 0; gradient != NULL && k < count; k += 1) gradient[k] = 2 * gradient[k] + 3 * more[k];
    free(more);
    return TASKMET_CALLBACK_OK;
}

static taskmet_trainer *trainer_of_tasks(const setup *s, taskmet_task *first, double weight, taskmet_task *second,
                                         double other_weight, const char *options) {
    taskmet_trainer *trainer = NULL;
    NEED(taskmet_trainer_create(s->predictor, s->metric, s->training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, first, weight));
    if (second != NULL) NEED(taskmet_trainer_add_task(trainer, second, other_weight));
    configure(trainer, options);
    return trainer;
}

static void test_weighted_sum(void) {
    setup s;
    both b = {new_judge(), cold_judge()};
    taskmet_task *sum = NULL, *cold = make_task(&b.cold);
    begin(&s, &pairs, EXACT);
    NEED(taskmet_task_create_callback(both_task, &b, NULL, &sum));
    taskmet_trainer *two = trainer_of_tasks(&s, s.task, 2, cold, 3, EXACT);
    taskmet_trainer *one = trainer_of_tasks(&s, sum, 1, NULL, 0, EXACT);
    steps(two, 5), steps(one, 5);
    for (int64_t k = 0; k <= 5; k += 1) {
        const taskmet_record a = record_at(two, k), c = record_at(one, k);
        CHECK_CLOSE(a.task_loss, c.task_loss, 1e-10);
        if (k > 0) CHECK_CLOSE(a.hypergradient_norm, c.hypergradient_norm, 1e-8);
    }
    snapshot a = take_snapshot(two), c = take_snapshot(one);
    CHECK_CLOSE_ARRAYS(a.thetas[TASKMET_MODEL_LAST], c.thetas[TASKMET_MODEL_LAST], a.theta, 1e-8);
    CHECK_CLOSE_ARRAYS(a.phis[TASKMET_MODEL_LAST], c.phis[TASKMET_MODEL_LAST], a.phi, 1e-8);
    free_snapshot(&a), free_snapshot(&c);
    taskmet_trainer_destroy(one), taskmet_trainer_destroy(two);
    taskmet_task_destroy(sum), taskmet_task_destroy(cold);
    finish(&s);
}

/* The loss is the larger one of the two, and that is what gets smaller. */
static void test_worst_case(void) {
    setup s;
    judge cold = cold_judge();
    cold.over = 1;
    cold.under = 5;
    taskmet_task *task = make_task(&cold);
    begin(&s, &days, EXACT);
    taskmet_trainer *trainer = trainer_of_tasks(&s, s.task, 1, task, 1, EXACT "task_combination=worst_case");
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", check_quick ? 5 : 150));
    const taskmet_fit_report report = run_fit(trainer);
    taskmet_predictor *best = predictor_of(trainer, TASKMET_MODEL_BEST);
    const double hot_loss = loss_of(&s.judge, best, &s.training), cold_loss = loss_of(&cold, best, &s.training);
    CHECK_CLOSE(report.best_task_loss, fmax(hot_loss, cold_loss), 1e-12);
    CHECK(report.best_task_loss < (check_quick ? 1 : 0.5) * report.first_task_loss);
    taskmet_predictor_destroy(best);
    taskmet_trainer_destroy(trainer);
    taskmet_task_destroy(task);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options of the metric and of the predictor                                                                       */

/* The mean over the rows of |Lambda - I|_F^2, or of the sum of |Lambda_jk|. */
static double size_of_metric(const setup *s, int from_identity) {
    const problem *p = &s->training;
    const int64_t n = p->n, count = p->rows * n * n;
    double sum = 0, *lambda = zeros(count);
    taskmet_metric *metric = metric_of(s->trainer, TASKMET_MODEL_LAST);
    NEED(taskmet_metric_evaluate(metric, p->rows, p->x, p->d, lambda, count));
    for (int64_t k = 0; k < count; k += 1) {
        const double entry = lambda[k] - (from_identity && k % (n * n) % (n + 1) == 0);
        sum += from_identity ? entry * entry : fabs(entry);
    }
    free(lambda);
    taskmet_metric_destroy(metric);
    return sum / (double)p->rows;
}

static double regularised(const char *options, int from_identity) {
    setup s;
    begin(&s, &pairs, EXACT "normalization=none outer_iterations=40");
    configure(s.trainer, options);
    run_fit(s.trainer);
    const double size = size_of_metric(&s, from_identity);
    finish(&s);
    return size;
}

/* Each is finite, and together they are not. */
static void test_overflowing_tasks(int worst_case) {
    setup s;
    taskmet_trainer *trainer = NULL;
    begin(&s, &pairs, EXACT);
    s.judge.under = s.judge.over = 1e3;
    NEED(taskmet_trainer_create(s.predictor, s.metric, s.training.data, &trainer));
    for (int k = 0; k < 2; k += 1) NEED(taskmet_trainer_add_task(trainer, s.task, 1.7e308));
    if (worst_case) NEED(taskmet_trainer_set_string(trainer, "task_combination", "worst_case"));
    CHECK_STATUS(taskmet_trainer_step(trainer, NULL), TASKMET_ERROR_NUMERICAL, "combined");
    CHECK(record_count(trainer) == 0);
    taskmet_trainer_destroy(trainer);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Models that are taken out, and data that they cannot take                                                        */

/* The copy's m is the one of its phi on the training rows, and derivatives know that. */
static void test_copied_metric(void) {
    setup s;
    begin(&s, &network, EXACT);
    steps(s.trainer, 2);
    const problem *p = &s.training;
    double *c = random_array(5, p->rows * p->n);
    for (taskmet_model model = TASKMET_MODEL_BEST; model <= TASKMET_MODEL_LAST; model += 1) {
        taskmet_predictor *predictor = predictor_of(s.trainer, model);
        taskmet_metric *metric = metric_of(s.trainer, model);
        const int64_t count = metric_count(metric);
        double *copied = zeros(count), *updated = zeros(count);
        CHECK_OK(taskmet_hypergradient(predictor, metric, p->data, 0.1, c, p->n, NULL, copied, count, NULL));
        NEED(taskmet_metric_update_normalization(metric, p->rows, p->x, p->d));
        CHECK_OK(taskmet_hypergradient(predictor, metric, p->data, 0.1, c, p->n, NULL, updated, count, NULL));
        CHECK_CLOSE_ARRAYS(copied, updated, count, 1e-9);
        free(copied), free(updated);
        taskmet_predictor_destroy(predictor);
        taskmet_metric_destroy(metric);
    }
    free(c);
    finish(&s);
}

static void need_finite_predictions(judge *self, const taskmet_task_batch *batch) {
    for (int64_t k = 0; k < batch->rows * batch->outputs; k += 1)
        if (!isfinite(batch->predictions[k])) *(int *)self->context += 1;
}

/* Held-out rows so far out that predictions overflow: no task sees them, and no such model is the best. */
static void test_overflowing_predictions(void) {
    double x[] = {1.7e308}, y[] = {0}, loss = -1;
    int seen = 0;
    setup s;
    taskmet_dataset *far = NULL;
    taskmet_trainer *trainer = NULL;
    begin(&s, &days, EXACT);
    for (int64_t k = 0; k < s.training.rows; k += 1) s.training.y[k] = 100 * s.training.x[k];
    taskmet_trainer_destroy(s.trainer);
    s.trainer = NULL;
    NEED(taskmet_dataset_refill(s.training.data, s.training.rows, s.training.x, 1, s.training.y, 1, NULL, 0));
    NEED(taskmet_dataset_create(1, 1, x, 1, 1, y, 1, &far));
    NEED(taskmet_trainer_create(s.predictor, s.metric, s.training.data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, s.task, 1));
    NEED(taskmet_trainer_set_validation(trainer, far));
    configure(trainer, "outer_iterations=3");
    s.judge.inside = need_finite_predictions;
    s.judge.context = &seen;
    CHECK_OK(taskmet_trainer_fit(trainer, NULL));
    CHECK(seen == 0 && record_count(trainer) == 4);
    for (int64_t k = 0; k < record_count(trainer); k += 1)
        CHECK(record_at(trainer, k).validation_task_loss == (double)INFINITY);
    taskmet_predictor *last = predictor_of(trainer, TASKMET_MODEL_LAST);
    CHECK_STATUS(taskmet_task_evaluate(s.task, last, far, &loss, NULL, 0, NULL, 0), TASKMET_ERROR_NUMERICAL,
                 "a prediction is inf");
    CHECK(seen == 0 && loss == -1);
    taskmet_predictor_destroy(last);
    taskmet_trainer_destroy(trainer);
    taskmet_dataset_destroy(far);
    finish(&s);
}

/* An eps that is next to nothing leaves no s of minus infinity behind. */
static void test_tiny_epsilon(double exponent) {
    setup s;
    begin(&s, &pairs, EXACT);
    taskmet_trainer_destroy(s.trainer);
    double *phi = metric_parameters(s.metric);
    const int64_t count = metric_count(s.metric);
    phi[count - 1] = exponent;
    NEED(taskmet_metric_set_parameters(s.metric, phi, count));
    s.trainer = new_trainer(&s, EXACT "metric_floor=0.01");
    steps(s.trainer, 2);
    taskmet_metric *metric = metric_of(s.trainer, TASKMET_MODEL_LAST);
    CHECK_OK(taskmet_metric_get_parameters(metric, phi, count));
    CHECK(isfinite(phi[count - 1]));
    taskmet_metric_destroy(metric);
    free(phi);
    finish(&s);
}

static void test_regularisation(void) {
    CHECK(regularised("metric_identity=10", 1) < 0.3 * regularised("", 1));
    CHECK(regularised("metric_l1=10", 0) < 0.9 * regularised("", 0));
}

/* What the caller has set on the metric stays; rho and penalize_bias are those of the loss. */
static void test_own_settings(void) {
    setup s;
    double scale = 0;
    begin(&s, &pairs, EXACT);
    taskmet_trainer_destroy(s.trainer);
    NEED(taskmet_metric_set_normalization(s.metric, TASKMET_NORMALIZATION_NONE));
    NEED(taskmet_metric_set_floor(s.metric, 0));
    s.trainer = new_trainer(&s, EXACT "rho=0.7 penalize_bias=0");
    warm_up(s.trainer);
    taskmet_inner_options exact;
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;
    NEED(taskmet_predictor_set_penalize_bias(s.predictor, 0));
    NEED(taskmet_loss_minimize(s.predictor, s.metric, s.training.data, 0.7, &exact, NULL, NULL));
    snapshot now = take_snapshot(s.trainer);
    double *theta = predictor_parameters(s.predictor), *phi = metric_parameters(s.metric);
    CHECK_CLOSE_ARRAYS(now.thetas[TASKMET_MODEL_LAST], theta, now.theta, 1e-9);
    CHECK_SAME_BITS(now.phis[TASKMET_MODEL_LAST], phi, now.phi);
    steps(s.trainer, 3);
    taskmet_metric *metric = metric_of(s.trainer, TASKMET_MODEL_LAST);
    CHECK_OK(taskmet_metric_get_normalization_scale(metric, &scale));
    CHECK(scale == 1);
    taskmet_metric_destroy(metric);
    free(theta), free(phi);
    free_snapshot(&now);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Solvers                                                                                                          */

static void test_solver(const shape *size, const char *options) {
    setup s;
    begin(&s, size, "metric_rate=0.05 inner_iterations=50 warmup_iterations=400");
    configure(s.trainer, options);
    NEED(taskmet_trainer_set_int(s.trainer, "outer_iterations", check_quick ? 3 : 40));
    const taskmet_fit_report report = run_fit(s.trainer);
    /* The network is right nearly everywhere without any help. */
    const double share = size->hidden > 0 || check_quick ? 1 : 0.8;
    check_that(report.best_task_loss <= share * report.first_task_loss, __FILE__, __LINE__,
               "%s: loss %g, two-stage %g", options, report.best_task_loss, report.first_task_loss);
    finish(&s);
}

static void test_solvers(void) {
    static const char *const inner[] = {"inner_solver=auto", "inner_solver=adam inner_rate=0.05",
                                        "inner_solver=sgd inner_rate=0.1 inner_momentum=0.5", "inner_solver=lbfgs",
                                        "inner_solver=exact"};
    static const char *const solver[] = {"solver=auto", "solver=cg", "solver=normal_cg", "solver=minres",
                                         "solver=neumann", "solver=dense", "solver=gauss_newton_cg", "solver=identity",
                                         "metric_optimizer=sgd metric_rate=0.2", "preset=paper metric_rate=0.05"};
    for (size_t k = 0; k < LENGTH(inner); k += 1) {
        test_solver(&days, inner[k]);
        if (k < 4) test_solver(&network, inner[k]);
    }
    for (size_t k = 0; k < LENGTH(solver); k += 1) test_solver(&days, solver[k]);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    test_margin();
    test_two_stage_model();
    test_history(&pairs, 1);
    test_history(&network, 0);
    test_best_and_last();
    test_by_hand();
    test_continuing(&pairs);
    test_continuing(&network);
    test_patience();
    test_validation_interval();
    test_ratio(120);
    test_ratio(0);
    test_two_stage_method();
    test_weighted_sum();
    test_worst_case();
    test_regularisation();
    test_own_settings();
    test_solvers();
    test_patience_between_validations();
    for (int worst_case = 0; worst_case < 2; worst_case += 1) test_overflowing_tasks(worst_case);
    test_copied_metric();
    test_overflowing_predictions();
    test_tiny_epsilon(-744);
    test_tiny_epsilon(-1000);
    return check_end();
}
