/*
 * test_program_tasks.c - the portfolio, quadratic program and linear program tasks: bad arguments, decisions, gradients,
 * decision quality, and contexts that do not fit.
 */
#include "arguments.h"

enum { STOCKS = 8, DAYS = 5, INSTANCE_COUNT = 4, ALL = STOCKS * INSTANCE_COUNT };

typedef struct market {
    double y[ALL], predictions[ALL], q[INSTANCE_COUNT * STOCKS * STOCKS];
    int64_t offsets[INSTANCE_COUNT + 1], context[INSTANCE_COUNT + 1];
    taskmet_dataset *data;
} market;

/* Random factors times themselves, and a tenth of the identity. */
static void random_matrix(uint64_t *seed, double *q) {
    double factors[STOCKS * DAYS];
    for (int k = 0; k < STOCKS * DAYS; k += 1) factors[k] = random_next(seed);
    for (int i = 0; i < STOCKS; i += 1) {
        for (int j = 0; j < STOCKS; j += 1) {
            double sum = i == j ? 0.1 : 0;
            for (int d = 0; d < DAYS; d += 1) sum += factors[i * DAYS + d] * factors[j * DAYS + d];
            q[i * STOCKS + j] = sum;
        }
    }
}

static void make_market(market *m) {
    uint64_t seed = 5;
    random_fill(6, m->y, ALL);
    random_fill(7, m->predictions, ALL);
    for (int k = 0; k <= INSTANCE_COUNT; k += 1) {
        m->offsets[k] = k * STOCKS;
        m->context[k] = k * STOCKS * STOCKS;
        if (k < INSTANCE_COUNT) random_matrix(&seed, m->q + k * STOCKS * STOCKS);
    }
    NEED(taskmet_dataset_create(ALL, 1, m->y, 1, 1, m->y, 1, &m->data));
    NEED(taskmet_dataset_set_instances(m->data, INSTANCE_COUNT, m->offsets));
    NEED(taskmet_dataset_set_context(m->data, m->q, INSTANCE_COUNT, m->context));
}

/* The gradient is right, the best decisions are made from the targets, regret is not negative. */
static void test_task(const taskmet_task *task, const market *m, taskmet_sense expected_sense, int64_t variables) {
    taskmet_sense sense = -1;
    CHECK_OK(taskmet_task_get_sense(task, &sense));
    CHECK(sense == expected_sense);
    int64_t count = 0;
    CHECK_OK(taskmet_task_decision_count(task, m->data, &count));
    CHECK(count == variables * INSTANCE_COUNT);
    double worst = -1;
    taskmet_check_report check;
    memset(&check, 0, sizeof check);
    check.struct_size = sizeof check;
    CHECK_OK(taskmet_task_check_gradient(task, m->data, m->predictions, 1, 6, 1, 0, &worst, &check));
    CHECK(check.verdict == TASKMET_VERDICT_CORRECT);
    CHECK(check.scale > 0);
    taskmet_decision_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    CHECK_OK(taskmet_task_decision_quality(task, m->data, m->predictions, 1, 3, 50, 0, 1, &report));
    CHECK(report.regret > 0 && report.decision_quality < 1);
    CHECK_OK(taskmet_task_decision_quality(task, m->data, m->y, 1, 3, 50, 0, 1, &report));
    CHECK(report.regret == 0 && report.decision_quality == 1);
    double loss = 0;
    CHECK_STATUS(taskmet_task_gradient(task, m->data, TASKMET_PHASE_VALIDATION, m->y, 1, &loss, O.real, 1),
                 TASKMET_ERROR_UNSUPPORTED, "gradient");
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Portfolio                                                                                                        */

static void test_portfolio(const market *m) {
    static const double limits[][2] = {{0, 1}, {-0.2, 0.4}};
    for (int k = 0; k < 2; k += 1) {
        taskmet_task *task = NULL;
        NEED(taskmet_task_create_portfolio(0.5, limits[k][0], limits[k][1], 0, &task));
        test_task(task, m, TASKMET_SENSE_MAXIMIZE, STOCKS);
        taskmet_task_destroy(task);
    }
    /* Two stocks, Q = I, lambda = 1: z = (1/2 + (y0 - y1)/4, 1/2 - (y0 - y1)/4). */
    static const double x[2] = {0.5, -0.5}, q[4] = {1, 0, 0, 1};
    static const int64_t rows[2] = {0, 2}, context[2] = {0, 4};
    taskmet_dataset *data = NULL;
    taskmet_predictor *identity = NULL;
    taskmet_task *task = NULL;
    const double one = 1;
    double decisions[2] = {0}, loss = 0;
    NEED(taskmet_dataset_create(2, 1, x, 1, 1, x, 1, &data));
    NEED(taskmet_dataset_set_instances(data, 1, rows));
    NEED(taskmet_dataset_set_context(data, q, 1, context));
    NEED(taskmet_predictor_create_linear(1, 1, 0, &identity));
    NEED(taskmet_predictor_set_parameters(identity, &one, 1));
    NEED(taskmet_task_create_portfolio(1, 0, 1, 0, &task));
    CHECK_OK(taskmet_task_evaluate(task, identity, data, &loss, NULL, 0, decisions, 2));
    CHECK_CLOSE(decisions[0], 0.75, 1e-14);
    CHECK_CLOSE(decisions[1], 0.25, 1e-14);
    CHECK_CLOSE(loss, -(0.5 * 0.75 - 0.5 * 0.25 - 0.75 * 0.75 - 0.25 * 0.25), 1e-14);
    taskmet_task_destroy(task);
    taskmet_predictor_destroy(identity);
    taskmet_dataset_destroy(data);
}

/* What the dataset must know: nothing, the wrong size, a matrix that is none. */
static void test_contexts(const market *m) {
    taskmet_task *task = NULL, *program = NULL;
    double loss = -5, asymmetric[INSTANCE_COUNT * STOCKS * STOCKS], indefinite[INSTANCE_COUNT * STOCKS * STOCKS];
    const int64_t empty[INSTANCE_COUNT + 1] = {0, 0, 0, 0, 0};
    memcpy(asymmetric, m->q, sizeof asymmetric);
    memcpy(indefinite, m->q, sizeof indefinite);
    asymmetric[2 * STOCKS * STOCKS + 1] += 0.01;
    for (int i = 0; i < STOCKS; i += 1) indefinite[3 * STOCKS * STOCKS + i * (STOCKS + 1)] -= 2;
    taskmet_quadratic_program each;
    memset(&each, 0, sizeof each);
    each.struct_size = sizeof each;
    each.variables = each.entries = STOCKS;
    NEED(taskmet_task_create_portfolio(1, 0, 1, 0, &task));
    NEED(taskmet_task_create_quadratic_program(&each, TASKMET_SENSE_MINIMIZE, &program));
    for (int k = 0; k < 2; k += 1) {
        const taskmet_task *const t = k == 0 ? task : program;
#define EVALUATE taskmet_task_gradient(t, m->data, TASKMET_PHASE_TRAINING, m->predictions, 1, &loss, NULL, 0)
        NEED(taskmet_dataset_set_context(m->data, asymmetric, INSTANCE_COUNT, m->context));
        CHECK_STATUS(EVALUATE, TASKMET_ERROR_NUMERICAL, "instance 2 is not symmetric");
        NEED(taskmet_dataset_set_context(m->data, indefinite, INSTANCE_COUNT, m->context));
        CHECK_STATUS(EVALUATE, TASKMET_ERROR_NUMERICAL, "instance 3 is not positive");
        NEED(taskmet_dataset_set_context(m->data, m->q, INSTANCE_COUNT, empty));
        CHECK_STATUS(EVALUATE, TASKMET_ERROR_SHAPE, "8 x 8 reals, got 0");
        NEED(taskmet_dataset_set_context(m->data, NULL, 0, NULL));
        CHECK_STATUS(EVALUATE, TASKMET_ERROR_SHAPE, "8 x 8 reals, got 0");
        NEED(taskmet_dataset_set_context(m->data, m->q, INSTANCE_COUNT, m->context));
        CHECK(loss == -5);
        CHECK_OK(EVALUATE);
        loss = -5;
    }
    taskmet_task_destroy(task);
    NEED(taskmet_task_create_portfolio(1, 0.2, 1, 0, &task));
    CHECK_STATUS(taskmet_task_gradient(task, m->data, TASKMET_PHASE_TRAINING, m->y, 1, &loss, NULL, 0),
                 TASKMET_ERROR_SHAPE, "instance 0");
    taskmet_task_destroy(task);
    taskmet_task_destroy(program);
}

static void test_portfolio_arguments(void) {
    taskmet_task **const out = &O.made.task;
    REFUSE_REAL("risk_aversion", taskmet_task_create_portfolio(bad, 0, 1, 0, out));
    REFUSE(INVALID, "risk_aversion", "0", taskmet_task_create_portfolio(0, 0, 1, 0, out));
    REFUSE(INVALID, "risk_aversion", "-1", taskmet_task_create_portfolio(-1, 0, 1, 0, out));
    REFUSE_REAL("lower", taskmet_task_create_portfolio(1, bad, 1, 0, out));
    REFUSE_REAL("upper", taskmet_task_create_portfolio(1, 0, bad, 0, out));
    REFUSE(INVALID, "upper", "-0.5", taskmet_task_create_portfolio(1, 0, -0.5, 0, out));
    REFUSE(INVALID, "legacy", "2", taskmet_task_create_portfolio(1, 0, 1, 2, out));
    REFUSE_NULL("task", taskmet_task_create_portfolio(1, 0, 1, 0, NULL));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Quadratic program                                                                                                */

/* Minimum of 1/2 z'Qz + (c0 + P y)'z, z in the plane x + y + z = 1, 0 <= z <= 0.8; P takes eight entries to three costs. */
typedef struct small_program {
    double q[9], c0[3], p[3 * STOCKS], a[3], b[1], g[18], h[6];
    taskmet_quadratic_program program;
} small_program;

static void make_program(small_program *s) {
    memset(s, 0, sizeof *s);
    random_fill(8, s->p, 3 * STOCKS);
    random_fill(9, s->c0, 3);
    for (int k = 0; k < 3; k += 1) {
        s->q[4 * k] = 1 + k;
        s->a[k] = 1;
        s->g[3 * k + k] = -1;
        s->g[9 + 3 * k + k] = 1;
        s->h[3 + k] = 0.8;
    }
    s->q[1] = s->q[3] = 0.5;
    s->b[0] = 1;
    s->program.struct_size = sizeof s->program;
    s->program.variables = 3;
    s->program.equalities = 1;
    s->program.inequalities = 6;
    s->program.entries = STOCKS;
    s->program.quadratic = s->q;
    s->program.linear = s->c0;
    s->program.prediction = s->p;
    s->program.equality_matrix = s->a;
    s->program.equality_values = s->b;
    s->program.inequality_matrix = s->g;
    s->program.inequality_values = s->h;
}

static void test_quadratic_program(const market *m) {
    small_program s;
    make_program(&s);
    for (taskmet_sense sense = 0; sense < 2; sense += 1) {
        taskmet_task *task = NULL;
        NEED(taskmet_task_create_quadratic_program(&s.program, sense, &task));
        test_task(task, m, sense, 3);
        taskmet_task_destroy(task);
    }
    /* Each instance's own matrix. */
    s.program.variables = STOCKS;
    s.program.quadratic = s.program.linear = s.program.prediction = NULL;
    s.program.equalities = s.program.inequalities = 0;
    taskmet_task *task = NULL;
    NEED(taskmet_task_create_quadratic_program(&s.program, TASKMET_SENSE_MAXIMIZE, &task));
    test_task(task, m, TASKMET_SENSE_MAXIMIZE, STOCKS);
    taskmet_task_destroy(task);
}

#define CREATE taskmet_task_create_quadratic_program(&s.program, TASKMET_SENSE_MINIMIZE, &O.made.task)
/* The program with one field changed is refused. */
#define REFUSE_FIELD(allowed, names, values, change) \
    do {                                             \
        small_program s;                             \
        make_program(&s);                            \
        change;                                      \
        REFUSE(allowed, names, values, CREATE);      \
    } while (0)

static void test_quadratic_program_arguments(void) {
    small_program s;
    make_program(&s);
    REFUSE_NULL("program", taskmet_task_create_quadratic_program(NULL, 0, &O.made.task));
    REFUSE_NULL("task", taskmet_task_create_quadratic_program(&s.program, 0, NULL));
    REFUSE_ENUM("sense", taskmet_task_create_quadratic_program(&s.program, bad, &O.made.task));
    REFUSE_FIELD(BAD_STRUCT, "struct_size", "3", s.program.struct_size = 3);
    REFUSE_FIELD(INVALID, "variables", "0", s.program.variables = 0);
    REFUSE_FIELD(INVALID, "variables", NULL, s.program.variables = INT64_MAX);
    REFUSE_FIELD(INVALID, "entries", "-1", s.program.entries = -1);
    REFUSE_FIELD(SHAPE, "entries", "8", s.program.prediction = NULL);
    REFUSE_FIELD(INVALID, "equalities", "-1", s.program.equalities = -1);
    REFUSE_FIELD(INVALID, "inequalities", "-1", s.program.inequalities = -1);
    REFUSE_FIELD(INVALID, "inequalities", NULL, s.program.inequalities = INT64_MAX);
    REFUSE_FIELD(INVALID, "equality_matrix", "NULL", s.program.equality_matrix = NULL);
    REFUSE_FIELD(INVALID, "equality_values", "NULL", s.program.equality_values = NULL);
    REFUSE_FIELD(INVALID, "inequality_matrix", "NULL", s.program.inequality_matrix = NULL);
    REFUSE_FIELD(INVALID, "inequality_values", "NULL", s.program.inequality_values = NULL);
    REFUSE_FIELD(INVALID, "quadratic", "nan", s.q[4] = (double)NAN);
    REFUSE_FIELD(INVALID, "linear", "inf", s.c0[2] = (double)INFINITY);
    REFUSE_FIELD(INVALID, "prediction", "nan", s.p[5] = (double)NAN);
    REFUSE_FIELD(INVALID, "equality_matrix", "nan", s.a[1] = (double)NAN);
    REFUSE_FIELD(INVALID, "equality_values", "nan", s.b[0] = (double)NAN);
    REFUSE_FIELD(INVALID, "inequality_matrix", "nan", s.g[17] = (double)NAN);
    REFUSE_FIELD(INVALID, "inequality_values", "-inf", s.h[5] = -(double)INFINITY);
    REFUSE_FIELD(INVALID, "quadratic", "0.5", s.q[1] = 0.25);
    REFUSE_FIELD(INVALID, "quadratic", "-1", s.q[8] = -1);
    REFUSE_FIELD(NUMERICAL, "infeasible", NULL, s.b[0] = 2.5);
    REFUSE_FIELD(NUMERICAL, "infeasible", NULL, s.b[0] = -0.5);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Linear program                                                                                                   */

/* z >= 0, z <= 1, sum z <= 3. */
static int make_box(double *matrix, double *values) {
    memset(matrix, 0, (2 * STOCKS + 1) * STOCKS * sizeof *matrix);
    for (int k = 0; k < STOCKS; k += 1) {
        matrix[k * STOCKS + k] = -1;
        values[k] = 0;
        matrix[(STOCKS + k) * STOCKS + k] = 1;
        values[STOCKS + k] = 1;
        matrix[2 * STOCKS * STOCKS + k] = 1;
    }
    values[2 * STOCKS] = 3;
    return 2 * STOCKS + 1;
}

static void test_linear_program(const market *m) {
    double matrix[(2 * STOCKS + 1) * STOCKS], values[2 * STOCKS + 1];
    const int rows = make_box(matrix, values);
    for (taskmet_sense sense = 0; sense < 2; sense += 1) {
        taskmet_task *task = NULL;
        NEED(taskmet_task_create_linear_program(rows, STOCKS, matrix, values, sense, 0.7, &task));
        test_task(task, m, sense, STOCKS);
        taskmet_task_destroy(task);
    }
    taskmet_task *task = NULL;
    double loss = -5;
    NEED(taskmet_task_create_linear_program(STOCKS, STOCKS, matrix, values, TASKMET_SENSE_MAXIMIZE, 1, &task));
    CHECK_OK(taskmet_task_gradient(task, m->data, TASKMET_PHASE_TRAINING, m->y, 1, &loss, NULL, 0));
    loss = -5;
    CHECK_STATUS(taskmet_task_gradient(task, m->data, TASKMET_PHASE_VALIDATION, m->y, 1, &loss, NULL, 0),
                 TASKMET_ERROR_NUMERICAL, "unbounded");
    CHECK(loss == -5);
    taskmet_task_destroy(task);
    NEED(taskmet_task_create_linear_program(1, 2, matrix, values, TASKMET_SENSE_MAXIMIZE, 1, &task));
    CHECK_STATUS(taskmet_task_gradient(task, m->data, TASKMET_PHASE_TRAINING, m->y, 1, &loss, NULL, 0),
                 TASKMET_ERROR_SHAPE, "8 entries");
    taskmet_task_destroy(task);
}

static void test_linear_program_arguments(void) {
    double matrix[(2 * STOCKS + 1) * STOCKS], values[2 * STOCKS + 1];
    const int rows = make_box(matrix, values);
    taskmet_task **const out = &O.made.task;
    REFUSE_SIZE("constraints", taskmet_task_create_linear_program(bad, STOCKS, matrix, values, 0, 1, out));
    REFUSE_SIZE("variables", taskmet_task_create_linear_program(rows, bad, matrix, values, 0, 1, out));
    REFUSE_NULL("matrix", taskmet_task_create_linear_program(rows, STOCKS, NULL, values, 0, 1, out));
    REFUSE_NULL("values", taskmet_task_create_linear_program(rows, STOCKS, matrix, NULL, 0, 1, out));
    REFUSE_ENUM("sense", taskmet_task_create_linear_program(rows, STOCKS, matrix, values, bad, 1, out));
    REFUSE_REAL("smoothing", taskmet_task_create_linear_program(rows, STOCKS, matrix, values, 0, bad, out));
    REFUSE(INVALID, "smoothing", "0", taskmet_task_create_linear_program(rows, STOCKS, matrix, values, 0, 0, out));
    REFUSE_NULL("task", taskmet_task_create_linear_program(rows, STOCKS, matrix, values, 0, 1, NULL));
    REFUSE_ARRAY("matrix", matrix, STOCKS *STOCKS,
                 taskmet_task_create_linear_program(STOCKS, STOCKS, bad, values, 0, 1, out));
    REFUSE_ARRAY("values", values, rows, taskmet_task_create_linear_program(rows, STOCKS, matrix, bad, 0, 1, out));
    values[2 * STOCKS] = -1;
    REFUSE(NUMERICAL, "infeasible", NULL, taskmet_task_create_linear_program(rows, STOCKS, matrix, values, 0, 1, out));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    market m;
    make_market(&m);
    test_portfolio(&m);
    test_contexts(&m);
    test_portfolio_arguments();
    test_quadratic_program(&m);
    test_quadratic_program_arguments();
    test_linear_program(&m);
    test_linear_program_arguments();
    taskmet_dataset_destroy(m.data);
    destroy_world();
    return check_end();
}
