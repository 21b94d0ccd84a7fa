/*
 * test_decision_quality.c - contexts of instances, as callbacks get them; decision quality and regret against sums by hand;
 * bad arguments of both.
 */
#include "arguments.h"

enum { ITEMS = 4, CHOICES = 30, OPTIONS = ITEMS * CHOICES };

/* Instance k has a price in its context; the one item with the highest prediction is bought: loss = price - target. */
static int32_t buy(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    *(int *)user += 1;
    CHECK(gradient == NULL && batch->context != NULL && batch->context_counts != NULL);
    *loss = 0;
    for (int64_t k = 0; k < batch->instance_count; k += 1) {
        int64_t best = batch->offsets[k];
        for (int64_t i = best + 1; i < batch->offsets[k + 1]; i += 1)
            if (batch->predictions[i] > batch->predictions[best]) best = i;
        CHECK(batch->context_counts[k] == (batch->instances[k] % 2 == 0 ? 1 : 2));
        *loss += batch->context[k][0] - batch->targets[best];
    }
    *loss /= (double)batch->instance_count;
    return TASKMET_CALLBACK_OK;
}

typedef struct market {
    double y[OPTIONS], f[OPTIONS], prices[2 * CHOICES];
    int64_t context_offsets[CHOICES + 1];
    taskmet_dataset *data;
    taskmet_task *task;
    int calls;
} market;

static market make_market(void) {
    market m;
    memset(&m, 0, sizeof m);
    int64_t offsets[CHOICES + 1];
    random_fill(11, m.y, OPTIONS);
    random_fill(12, m.f, OPTIONS);
    offsets[0] = m.context_offsets[0] = 0;
    for (int k = 0; k < CHOICES; k += 1) {
        offsets[k + 1] = offsets[k] + ITEMS;
        m.context_offsets[k + 1] = m.context_offsets[k] + 1 + k % 2;
        m.prices[m.context_offsets[k]] = k;
        m.prices[m.context_offsets[k + 1] - 1] = k;
    }
    NEED(taskmet_dataset_create(OPTIONS, 1, m.y, 1, 1, m.y, 1, &m.data));
    NEED(taskmet_dataset_set_instances(m.data, CHOICES, offsets));
    NEED(taskmet_dataset_set_context(m.data, m.prices, CHOICES, m.context_offsets));
    return m;
}

static double best_target(const market *m, const double *predictions, int k) {
    int best = 0;
    for (int i = 1; i < ITEMS; i += 1)
        if (predictions[k * ITEMS + i] > predictions[k * ITEMS + best]) best = i;
    return m->y[k * ITEMS + best];
}

static taskmet_decision_report quality_of(const market *m, const double *f, double confidence, uint64_t seed) {
    taskmet_decision_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    NEED(taskmet_task_decision_quality(m->task, m->data, f, 1, 0, 0, confidence, seed, &report));
    return report;
}

static void test_figures(void) {
    market m = make_market();
    NEED(taskmet_task_create_callback(buy, &m.calls, NULL, &m.task));
    taskmet_decision_report r = quality_of(&m, m.f, 0, 3);
    CHECK(m.calls == (2 + 10) * CHOICES);
    double loss = 0, optimal = 0, error = 0;
    for (int k = 0; k < CHOICES; k += 1) {
        loss += (k - best_target(&m, m.f, k)) / CHOICES;
        optimal += (k - best_target(&m, m.y, k)) / CHOICES;
    }
    for (int i = 0; i < OPTIONS; i += 1) error += (m.f[i] - m.y[i]) * (m.f[i] - m.y[i]) / OPTIONS;
    CHECK(r.instances == CHOICES);
    CHECK_CLOSE(r.objective, loss, 1e-13);
    CHECK_CLOSE(r.optimal_objective, optimal, 1e-13);
    CHECK_CLOSE(r.regret, loss - optimal, 1e-12);
    CHECK_CLOSE(r.mean_squared_error, error, 1e-13);
    CHECK_CLOSE(r.decision_quality, (r.random_objective - loss) / (r.random_objective - optimal), 1e-12);
    /* By chance an item is worth its mean. */
    double chance = 0;
    for (int k = 0; k < CHOICES; k += 1)
        for (int i = 0; i < ITEMS; i += 1) chance += (k - m.y[k * ITEMS + i]) / OPTIONS;
    CHECK(fabs(r.random_objective - chance) < 0.2);

    /* The interval surrounds the figure, and grows with the confidence asked for; the same seed gives the same bits. */
    CHECK(r.regret_lower < r.regret && r.regret < r.regret_upper && r.regret_lower >= 0);
    CHECK(r.objective_lower < r.objective && r.objective < r.objective_upper);
    CHECK(r.decision_quality_lower < r.decision_quality && r.decision_quality < r.decision_quality_upper);
    taskmet_decision_report again = quality_of(&m, m.f, 0.95, 3), narrow = quality_of(&m, m.f, 0.5, 3);
    CHECK_SAME_BITS((const double *)(const void *)&r + 2, (const double *)(const void *)&again + 2, 12);
    CHECK(narrow.regret_upper - narrow.regret_lower < r.regret_upper - r.regret_lower);
    /* Two standard errors either way. */
    double variance = 0;
    for (int k = 0; k < CHOICES; k += 1) {
        double d = best_target(&m, m.y, k) - best_target(&m, m.f, k) - r.regret;
        variance += d * d / CHOICES;
    }
    double width = 2 * 1.96 * sqrt(variance / CHOICES);
    CHECK_CLOSE(r.regret_upper - r.regret_lower, width, 0.15);

    taskmet_decision_report perfect = quality_of(&m, m.y, 0, 3);
    CHECK(perfect.regret == 0 && perfect.decision_quality == 1 && perfect.regret_upper == 0);
    taskmet_sense sense = 7;
    CHECK_OK(taskmet_task_get_sense(m.task, &sense));
    CHECK(sense == TASKMET_SENSE_MINIMIZE);
    int64_t count = 7;
    CHECK_OK(taskmet_task_decision_count(m.task, m.data, &count));
    CHECK(count == 0);
    taskmet_task_destroy(m.task);
    taskmet_dataset_destroy(m.data);
}

static void test_context_arguments(void) {
    double values[ROWS] = {0};
    int64_t offsets[ROWS + 1];
    for (int k = 0; k <= ROWS; k += 1) offsets[k] = k;
    REFUSE_HANDLE(dataset, "dataset", taskmet_dataset_set_context(bad, values, ROWS, offsets));
    REFUSE_NULL("offsets", taskmet_dataset_set_context(W.data, values, ROWS, NULL));
    REFUSE(SHAPE, "instance_count", "5", taskmet_dataset_set_context(W.data, values, ROWS - 1, offsets));
    REFUSE(SHAPE, "instance_count", "6", taskmet_dataset_set_context(W.data, NULL, ROWS, offsets));
    offsets[2] = 0;
    REFUSE(INVALID, "offsets", "0", taskmet_dataset_set_context(W.data, values, ROWS, offsets));
    offsets[0] = 1;
    REFUSE(INVALID, "offsets", "1", taskmet_dataset_set_context(W.data, values, ROWS, offsets));
    for (int k = 0; k <= ROWS; k += 1) offsets[k] = k;
    offsets[ROWS] = INT64_MAX;
    REFUSE(INVALID, "offsets", NULL, taskmet_dataset_set_context(W.data, values, ROWS, offsets));
    offsets[ROWS] = ROWS;
    values[3] = (double)NAN;
    REFUSE(INVALID, "values", "nan", taskmet_dataset_set_context(W.data, values, ROWS, offsets));
}

#define QUALITY(task, data, f, stride, draws, samples, confidence, report)                                           \
    taskmet_task_decision_quality(task, data, f, stride, draws, samples, confidence, 1, report)

static void test_quality_arguments(void) {
    taskmet_decision_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    const double *const f = W.numbers;
    const int64_t n = TARGETS;
    REFUSE_HANDLE(task, "task", QUALITY(bad, W.data, f, n, 1, 1, 0, &report));
    REFUSE_HANDLE(dataset, "dataset", QUALITY(W.task, bad, f, n, 1, 1, 0, &report));
    REFUSE_NULL("predictions", QUALITY(W.task, W.data, NULL, n, 1, 1, 0, &report));
    REFUSE_STRIDE("predictions_stride", n, QUALITY(W.task, W.data, f, bad, 1, 1, 0, &report));
    REFUSE_ARRAY("predictions", W.numbers, ROWS *TARGETS, QUALITY(W.task, W.data, bad, n, 1, 1, 0, &report));
    REFUSE(SMALL, "random_draws", "-1", QUALITY(W.task, W.data, f, n, -1, 1, 0, &report));
    REFUSE(SMALL, "bootstrap_samples", "-1", QUALITY(W.task, W.data, f, n, 1, -1, 0, &report));
    REFUSE(INVALID, "confidence", "1", QUALITY(W.task, W.data, f, n, 1, 1, 1, &report));
    REFUSE_REAL("confidence", QUALITY(W.task, W.data, f, n, 1, 1, bad, &report));
    REFUSE_NULL("report", QUALITY(W.task, W.data, f, n, 1, 1, 0, NULL));
    REFUSE_HANDLE(task, "task", taskmet_task_decision_count(bad, W.data, &O.integer[0]));
    REFUSE_NULL("count", taskmet_task_decision_count(W.task, W.data, NULL));
    REFUSE_NULL("sense", taskmet_task_get_sense(W.task, NULL));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_figures();
    test_context_arguments();
    test_quality_arguments();
    destroy_world();
    return check_end();
}
