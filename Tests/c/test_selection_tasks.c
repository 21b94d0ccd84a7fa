/*
 * test_selection_tasks.c - the tasks that choose, top-k and budget allocation: bad arguments, decisions, decision quality, checked
 * gradients, a short training.
 */
#include "arguments.h"

static void test_topk_arguments(void) {
    REFUSE(SMALL, "k", "0", taskmet_task_create_topk(0, 1, 0, &O.made.task));
    REFUSE(SMALL, "k", "-1", taskmet_task_create_topk(-1, 1, 0, &O.made.task));
    REFUSE(SMALL, "k", number_text(INT64_MIN), taskmet_task_create_topk(INT64_MIN, 1, 0, &O.made.task));
    REFUSE(INVALID, "temperature", "0", taskmet_task_create_topk(1, 0, 0, &O.made.task));
    REFUSE(INVALID, "temperature", "-0.5", taskmet_task_create_topk(1, -0.5, 0, &O.made.task));
    REFUSE_REAL("temperature", taskmet_task_create_topk(1, bad, 0, &O.made.task));
    REFUSE(INVALID, "legacy", "2", taskmet_task_create_topk(1, 1, 2, &O.made.task));
    REFUSE_NULL("task", taskmet_task_create_topk(1, 1, 0, NULL));
}

static void test_budget_arguments(void) {
    REFUSE(SMALL, "budget", "0", taskmet_task_create_budget_allocation(0, 1, 0, &O.made.task));
    REFUSE(SMALL, "budget", "-1", taskmet_task_create_budget_allocation(-1, 1, 0, &O.made.task));
    REFUSE(INVALID, "gamma", "-0.5", taskmet_task_create_budget_allocation(1, -0.5, 0, &O.made.task));
    REFUSE_REAL("gamma", taskmet_task_create_budget_allocation(1, bad, 0, &O.made.task));
    REFUSE(INVALID, "gamma", "0.5", taskmet_task_create_budget_allocation(1, 0.5, 1, &O.made.task));
    REFUSE(INVALID, "legacy", "-1", taskmet_task_create_budget_allocation(1, 0, -1, &O.made.task));
    REFUSE_NULL("task", taskmet_task_create_budget_allocation(1, 0, 0, NULL));
}

/* A task that wants more than an instance has; rates that are none. */
static void test_misfits(void) {
    taskmet_task *topk = NULL, *budget = NULL;
    NEED(taskmet_task_create_topk(INT64_MAX, 1, 0, &topk));
    NEED(taskmet_task_create_budget_allocation(2, 0, 0, &budget));
    const double *const f = W.numbers;
    for (taskmet_phase phase = 0; phase < 2; phase += 1) {
        REFUSE(SHAPE, "k", number_text(INT64_MAX),
               taskmet_task_gradient(topk, W.data, phase, f, TARGETS, &O.value, NULL, 0));
        REFUSE(SHAPE, "budget", "2", taskmet_task_gradient(budget, W.data, phase, f, TARGETS, &O.value, NULL, 0));
    }
    taskmet_task_destroy(topk);
    taskmet_task_destroy(budget);
    NEED(taskmet_task_create_budget_allocation(1, 0, 0, &budget));
    REFUSE(INVALID, "targets", NULL,
           taskmet_task_gradient(budget, W.data, TASKMET_PHASE_TRAINING, f, TARGETS, &O.value, O.real, TARGETS));
    REFUSE(UNSUPPORTED, "gradient", NULL,
           taskmet_task_gradient(budget, W.data, TASKMET_PHASE_VALIDATION, f, TARGETS, &O.value, O.real, TARGETS));
    taskmet_task_destroy(budget);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Choices among the rows of instances: y = 10 x^3 - 6.5 x for top-k, rates for budget allocation                      */

enum { INSTANCES = 20, ITEMS = 25, USERS = 4, ALL = INSTANCES * ITEMS };

typedef struct market {
    double x[ALL], y[ALL * USERS];
    int64_t users;
    taskmet_dataset *data;
    taskmet_predictor *predictor;
} market;

static market *make_market(int64_t users) {
    market *m = need_memory(sizeof *m);
    int64_t offsets[INSTANCES + 1];
    random_fill(5, m->x, ALL);
    random_fill(6, m->y, ALL * users);
    m->users = users;
    for (int k = 0; k <= INSTANCES; k += 1) offsets[k] = k * ITEMS;
    for (int i = 0; i < ALL; i += 1) {
        const double x = m->x[i];
        for (int64_t j = 0; j < users; j += 1) {
            double *const y = &m->y[i * users + j];
            *y = users == 1 ? 10 * x * x * x - 6.5 * x : 0.3 * fabs(*y) * x * x;
        }
    }
    NEED(taskmet_dataset_create(ALL, 1, m->x, 1, users, m->y, users, &m->data));
    NEED(taskmet_dataset_set_instances(m->data, INSTANCES, offsets));
    NEED(taskmet_predictor_create_linear(1, users, 1, &m->predictor));
    shake_predictor(m->predictor, 3, 0.1);
    return m;
}

static void destroy_market(market *m) {
    taskmet_dataset_destroy(m->data);
    taskmet_predictor_destroy(m->predictor);
    free(m);
}

/* Evaluation: the losses are minus what the decisions bring; their means agree; random decisions are worse, true ones best. */
static void check_evaluation(const market *m, const taskmet_task *task, const double *decisions,
                             double (*brings)(const market *m, const double *z, int k)) {
    double loss = 0, losses[INSTANCES], mean = 0;
    CHECK_OK(taskmet_task_evaluate(task, m->predictor, m->data, &loss, losses, INSTANCES, NULL, 0));
    for (int k = 0; k < INSTANCES; k += 1) {
        CHECK_CLOSE(losses[k], -brings(m, decisions + k * ITEMS, k), 1e-12);
        mean += losses[k] / INSTANCES;
    }
    CHECK_CLOSE(loss, mean, 1e-12);
    taskmet_decision_report report;
    report.struct_size = sizeof report;
    double *f = zeros(ALL * m->users);
    NEED(taskmet_predictor_predict(m->predictor, ALL, m->x, 1, f, m->users));
    CHECK_OK(taskmet_task_decision_quality(task, m->data, f, m->users, 0, 0, 0, 1, &report));
    CHECK_CLOSE(report.objective, -loss, 1e-12);
    CHECK(report.regret >= 0 && report.decision_quality < 1 && report.optimal_objective > report.random_objective);
    CHECK_OK(taskmet_task_decision_quality(task, m->data, m->y, m->users, 0, 0, 0, 1, &report));
    CHECK(report.regret == 0 && report.decision_quality == 1);
    taskmet_sense sense = -1;
    CHECK_OK(taskmet_task_get_sense(task, &sense));
    CHECK(sense == TASKMET_SENSE_MAXIMIZE);
    free(f);
}

static void check_gradient(const market *m, const taskmet_task *task, taskmet_verdict expected) {
    double *f = random_array(9, ALL * m->users), worst = -1;
    /* Inside [0, 1], where rates are not clipped. */
    for (int64_t k = 0; k < ALL * m->users; k += 1) f[k] = 0.2 + 0.1 * f[k];
    taskmet_check_report report;
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_task_check_gradient(task, m->data, f, m->users, 4, 1, 0, &worst, &report));
    check_that(report.verdict == expected, __FILE__, __LINE__, "verdict %d, worst %.3g", (int)report.verdict, worst);
    free(f);
}

static double sum_of_chosen(const market *m, const double *z, int k) {
    double sum = 0;
    for (int i = 0; i < ITEMS; i += 1) sum += z[i] * m->y[k * ITEMS + i];
    return sum;
}

static void test_topk(void) {
    market *m = make_market(1);
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_topk(2, 0.05, 0, &task));
    int64_t count = 0;
    CHECK_OK(taskmet_task_decision_count(task, m->data, &count));
    CHECK(count == ALL);
    double z[ALL], f[ALL];
    CHECK_OK(taskmet_task_evaluate(task, m->predictor, m->data, NULL, NULL, 0, z, ALL));
    NEED(taskmet_predictor_predict(m->predictor, ALL, m->x, 1, f, 1));
    for (int i = 0; i < ALL; i += 1) {
        int better = 0;
        for (int j = i / ITEMS * ITEMS; j < (i / ITEMS + 1) * ITEMS; j += 1) better += f[j] > f[i];
        CHECK(z[i] == (better < 2 ? 1 : 0));
    }
    check_evaluation(m, task, z, sum_of_chosen);
    check_gradient(m, task, TASKMET_VERDICT_CORRECT);
    taskmet_task_destroy(task);
    NEED(taskmet_task_create_topk(2, 0.1, 1, &task));
    check_gradient(m, task, TASKMET_VERDICT_WRONG); /* the published recipe holds its scale fixed */
    taskmet_task_destroy(task);
    destroy_market(m);
}

static double reached(const market *m, const double *z, int k) {
    double sum = 0;
    for (int j = 0; j < USERS; j += 1) {
        double missed = 1;
        for (int i = 0; i < ITEMS; i += 1) missed *= 1 - z[i] * m->y[(k * ITEMS + i) * USERS + j];
        sum += 1 - missed;
    }
    return sum;
}

static void test_budget(void) {
    market *m = make_market(USERS);
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_budget_allocation(3, 0.05, 0, &task));
    int64_t count = 0;
    CHECK_OK(taskmet_task_decision_count(task, m->data, &count));
    CHECK(count == ALL);
    double z[ALL];
    CHECK_OK(taskmet_task_evaluate(task, m->predictor, m->data, NULL, NULL, 0, z, ALL));
    for (int k = 0; k < INSTANCES; k += 1) {
        double sum = 0;
        for (int i = k * ITEMS; i < (k + 1) * ITEMS; i += 1) {
            CHECK(z[i] == 0 || z[i] == 1);
            sum += z[i];
        }
        CHECK(sum == 3);
    }
    check_evaluation(m, task, z, reached);
    check_gradient(m, task, TASKMET_VERDICT_CORRECT);
    taskmet_task_destroy(task);
    NEED(taskmet_task_create_budget_allocation(3, 0, 1, &task));
    check_gradient(m, task, TASKMET_VERDICT_WRONG);
    taskmet_task_destroy(task);
    destroy_market(m);
}

/* The same bits again, whatever was evaluated in between. */
static void test_same_bits(void) {
    market *m = make_market(USERS);
    double *f = random_array(4, ALL * USERS), *first = zeros(ALL * USERS), *second = zeros(ALL * USERS);
    for (int kind = 0; kind < 4; kind += 1) {
        taskmet_task *task = NULL;
        if (kind < 2) NEED(taskmet_task_create_topk(2, 0.05, kind, &task));
        else NEED(taskmet_task_create_budget_allocation(2, 0, kind - 2, &task));
        double loss = 0, again = 0;
        CHECK_OK(taskmet_task_gradient(task, m->data, TASKMET_PHASE_TRAINING, f, USERS, &loss, first, USERS));
        CHECK_OK(taskmet_task_gradient(task, m->data, TASKMET_PHASE_TRAINING, m->y, USERS, &again, second, USERS));
        CHECK_OK(taskmet_task_gradient(task, m->data, TASKMET_PHASE_TRAINING, f, USERS, &again, second, USERS));
        CHECK_SAME_BITS(&loss, &again, 1);
        CHECK_SAME_BITS(first, second, ALL * USERS);
        taskmet_task_destroy(task);
    }
    free(f), free(first), free(second);
    destroy_market(m);
}

/* A linear predictor of the cubic: least squares has the wrong slope, and chooses the worst items; the learned metric turns it. */
static void test_training(void) {
    market *m = make_market(1);
    taskmet_task *task = NULL;
    taskmet_metric *metric = NULL;
    taskmet_trainer *trainer = NULL;
    const int64_t hidden = 16;
    NEED(taskmet_task_create_topk(1, 0.1, 0, &task));
    NEED(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 0, 1, &hidden, TASKMET_ACTIVATION_TANH, 1,
                                           &metric));
    NEED(taskmet_trainer_create(m->predictor, metric, m->data, &trainer));
    NEED(taskmet_trainer_add_task(trainer, task, 1));
    NEED(taskmet_trainer_set_validation(trainer, m->data)); /* by the real decisions */
    NEED(taskmet_trainer_set_int(trainer, "outer_iterations", check_quick ? 5 : 60));
    NEED(taskmet_trainer_set_double(trainer, "metric_rate", 0.02));
    taskmet_fit_report report;
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_trainer_fit(trainer, &report));
    CHECK(report.first_task_loss > 1);
    if (!check_quick)
        check_that(report.best_task_loss < -1, __FILE__, __LINE__, "task loss %g, from %g", report.best_task_loss,
                   report.first_task_loss);
    taskmet_trainer_destroy(trainer);
    taskmet_metric_destroy(metric);
    taskmet_task_destroy(task);
    destroy_market(m);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_topk_arguments();
    test_budget_arguments();
    test_misfits();
    test_topk();
    test_budget();
    test_same_bits();
    test_training();
    destroy_world();
    return check_end();
}
