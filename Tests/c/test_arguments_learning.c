/*
 * test_arguments_learning.c - bad arguments of the loss, its minimisation and the hypergradient, with their options.
 */
#include "arguments.h"

/* The objects that do not fit: `call` uses p, m and d. All of them must be SHAPE, and name one of the two. */
typedef struct misfit {
    const taskmet_predictor *p;
    const taskmet_metric *m;
    const taskmet_dataset *d;
    const char *names;
} misfit;

enum { MISFITS = 5 };

static misfit get_misfit(int k) {
    const misfit all[MISFITS] = {
        {W.linear, W.constant, W.wide, "predictor|dataset|features|inputs"},
        {W.linear, W.constant, W.tall, "predictor|metric|dataset|targets|outputs"},
        {W.linear, W.metric_tall, W.data, "metric|predictor|dataset|targets|outputs"},
        {W.linear, W.metric_wide, W.data, "metric|predictor|dataset|features|inputs"},
        {W.linear, W.metric_tall, W.tall, "predictor|metric|dataset|targets|outputs"},
    };
    return all[k];
}

#define REFUSE_MISFITS(call)                                                                                         \
    for (int misfit_k = 0; misfit_k < MISFITS; misfit_k += 1) {                                                      \
        const taskmet_predictor *const p = get_misfit(misfit_k).p;                                                   \
        const taskmet_metric *const m = get_misfit(misfit_k).m;                                                      \
        const taskmet_dataset *const d = get_misfit(misfit_k).d;                                                     \
        REFUSE(SHAPE, get_misfit(misfit_k).names, NULL, call);                                                       \
    }

/* What every function of a predictor, a metric, a dataset and rho refuses. make(p, m, d, rho) is the call. */
#define REFUSE_COMMON(make)                                                                                          \
    do {                                                                                                             \
        REFUSE_HANDLE(predictor, "predictor", make(bad, W.constant, W.data, 0.1));                                   \
        REFUSE_HANDLE(metric, "metric", make(W.linear, bad, W.data, 0.1));                                           \
        REFUSE_HANDLE(dataset, "dataset", make(W.linear, W.constant, bad, 0.1));                                     \
        REFUSE_MISFITS(make(p, m, d, 0.1));                                                                          \
        REFUSE_REAL("rho", make(W.linear, W.constant, W.data, bad));                                                 \
        REFUSE(INVALID, "rho", "-1", make(W.linear, W.constant, W.data, -1));                                        \
    } while (0)

#define VALUE(p, m, d, rho) taskmet_loss_value(p, m, d, rho, &O.value)
#define GRADIENT(p, m, d, rho) taskmet_loss_gradient(p, m, d, rho, O.real, LINEAR_COUNT)
#define VALUE_GRADIENT(p, m, d, rho)                                                                                 \
    taskmet_loss_value_gradient(p, m, d, rho, NULL, &O.value, O.real, LINEAR_COUNT)
#define HVP(p, m, d, rho) taskmet_loss_hvp(p, m, d, rho, W.numbers, LINEAR_COUNT, O.real, LINEAR_COUNT)
#define GNVP(p, m, d, rho) taskmet_loss_gnvp(p, m, d, rho, W.numbers, LINEAR_COUNT, O.real, LINEAR_COUNT)

static void test_value_and_gradient(void) {
    const int64_t n = LINEAR_COUNT;
    const taskmet_predictor *const p = W.linear;
    const taskmet_metric *const m = W.constant;
    REFUSE_COMMON(VALUE);
    REFUSE_NULL("value", taskmet_loss_value(p, m, W.data, 0.1, NULL));
    REFUSE_COMMON(GRADIENT);
    REFUSE_NULL("out", taskmet_loss_gradient(p, m, W.data, 0.1, NULL, n));
    REFUSE_COUNT("count", n, taskmet_loss_gradient(p, m, W.data, 0.1, O.real, bad));
    REFUSE_COMMON(VALUE_GRADIENT);
    REFUSE_HANDLE_FROM(BAD_DESTROYED, workspace, "workspace",
                       taskmet_loss_value_gradient(p, m, W.data, 0.1, bad, &O.value, O.real, n));
    REFUSE_NULL("value", taskmet_loss_value_gradient(p, m, W.data, 0.1, W.workspace, NULL, O.real, n));
    REFUSE_NULL("out", taskmet_loss_value_gradient(p, m, W.data, 0.1, W.workspace, &O.value, NULL, n));
    REFUSE_COUNT("count", n, taskmet_loss_value_gradient(p, m, W.data, 0.1, W.workspace, &O.value, O.real, bad));
}

static void test_products(void) {
    const int64_t n = LINEAR_COUNT;
    const taskmet_predictor *const p = W.linear;
    const taskmet_metric *const m = W.constant;
    const double *const w = W.numbers;
    REFUSE_COMMON(HVP);
    REFUSE_NULL("w", taskmet_loss_hvp(p, m, W.data, 0.1, NULL, n, O.real, n));
    REFUSE_COUNT("w_count", n, taskmet_loss_hvp(p, m, W.data, 0.1, w, bad, O.real, n));
    REFUSE_ARRAY("w", W.numbers, n, taskmet_loss_hvp(p, m, W.data, 0.1, bad, n, O.real, n));
    REFUSE_NULL("out", taskmet_loss_hvp(p, m, W.data, 0.1, w, n, NULL, n));
    REFUSE_COUNT("count", n, taskmet_loss_hvp(p, m, W.data, 0.1, w, n, O.real, bad));
    REFUSE_COMMON(GNVP);
    REFUSE_NULL("w", taskmet_loss_gnvp(p, m, W.data, 0.1, NULL, n, O.real, n));
    REFUSE_COUNT("w_count", n, taskmet_loss_gnvp(p, m, W.data, 0.1, w, bad, O.real, n));
    REFUSE_ARRAY("w", W.numbers, n, taskmet_loss_gnvp(p, m, W.data, 0.1, bad, n, O.real, n));
    REFUSE_NULL("out", taskmet_loss_gnvp(p, m, W.data, 0.1, w, n, NULL, n));
    REFUSE_COUNT("count", n, taskmet_loss_gnvp(p, m, W.data, 0.1, w, n, O.real, bad));
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options: a table of one bad field each                                                                           */

typedef struct bad_field {
    const char *name; /* as in the header */
    size_t offset;    /* in the struct */
    int kind;         /* FIELD_... */
    double value;     /* whole and small where the field is an integer */
    const char *text; /* of the value, in the message */
    unsigned allowed;
} bad_field;

enum { FIELD_INT32, FIELD_INT64, FIELD_SIZE, FIELD_REAL };

static void spoil(void *options, const bad_field *field) {
    unsigned char *at = (unsigned char *)options + field->offset;
    const int32_t narrow = (int32_t)(isfinite(field->value) ? field->value : 0);
    const int64_t wide = narrow;
    const size_t size = (size_t)wide;
    if (field->kind == FIELD_REAL) memcpy(at, &field->value, sizeof field->value);
    if (field->kind == FIELD_INT32) memcpy(at, &narrow, sizeof narrow);
    if (field->kind == FIELD_INT64) memcpy(at, &wide, sizeof wide);
    if (field->kind == FIELD_SIZE) memcpy(at, &size, sizeof size);
}

#define INNER(field) #field, offsetof(taskmet_inner_options, field)
#define SOLVER(field) #field, offsetof(taskmet_solver_options, field)

static const bad_field inner_fields[] = {
    {INNER(struct_size), FIELD_SIZE, 0, "0", BAD_STRUCT},
    {INNER(struct_size), FIELD_SIZE, 3, "3", BAD_STRUCT},
    {INNER(struct_size), FIELD_SIZE, 20, "20", BAD_STRUCT},
    {INNER(solver), FIELD_INT32, -1, "-1", INVALID},
    {INNER(solver), FIELD_INT32, 4, "4", INVALID},
    {INNER(solver), FIELD_INT32, 99, "99", INVALID},
    {INNER(reserved), FIELD_INT32, 7, "7", BAD_STRUCT},
    {INNER(max_iterations), FIELD_INT64, -1, "-1", INVALID},
    {INNER(gradient_tolerance), FIELD_REAL, -0.5, "-0.5", INVALID},
    {INNER(gradient_tolerance), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {INNER(gradient_tolerance), FIELD_REAL, (double)INFINITY, REAL_TEXT, INVALID},
    {INNER(learning_rate), FIELD_REAL, -0.5, "-0.5", INVALID},
    {INNER(learning_rate), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {INNER(learning_rate), FIELD_REAL, (double)INFINITY, REAL_TEXT, INVALID},
    {INNER(momentum), FIELD_REAL, -0.5, "-0.5", INVALID},
    {INNER(momentum), FIELD_REAL, 1, "1", INVALID},
    {INNER(momentum), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {INNER(memory), FIELD_INT64, -1, "-1", INVALID},
};
enum { INNER_FIELDS = sizeof inner_fields / sizeof inner_fields[0] };

static const bad_field solver_fields[] = {
    {SOLVER(struct_size), FIELD_SIZE, 0, "0", BAD_STRUCT},
    {SOLVER(struct_size), FIELD_SIZE, 3, "3", BAD_STRUCT},
    {SOLVER(struct_size), FIELD_SIZE, 44, "44", BAD_STRUCT},
    {SOLVER(solver), FIELD_INT32, -1, "-1", INVALID},
    {SOLVER(solver), FIELD_INT32, 7, "7", INVALID},
    {SOLVER(solver), FIELD_INT32, 99, "99", INVALID},
    {SOLVER(reserved), FIELD_INT32, 7, "7", BAD_STRUCT},
    {SOLVER(max_iterations), FIELD_INT64, -1, "-1", INVALID},
    {SOLVER(tolerance), FIELD_REAL, -0.5, "-0.5", INVALID},
    {SOLVER(tolerance), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {SOLVER(tolerance), FIELD_REAL, (double)INFINITY, REAL_TEXT, INVALID},
    {SOLVER(ridge), FIELD_REAL, -0.5, "-0.5", INVALID},
    {SOLVER(ridge), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {SOLVER(ridge), FIELD_REAL, (double)INFINITY, REAL_TEXT, INVALID},
    {SOLVER(normal_ridge), FIELD_REAL, -0.5, "-0.5", INVALID},
    {SOLVER(normal_ridge), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {SOLVER(neumann_step), FIELD_REAL, -0.5, "-0.5", INVALID},
    {SOLVER(neumann_step), FIELD_REAL, (double)NAN, REAL_TEXT, INVALID},
    {SOLVER(neumann_step), FIELD_REAL, (double)INFINITY, REAL_TEXT, INVALID},
};
enum { SOLVER_FIELDS = sizeof solver_fields / sizeof solver_fields[0] };

#define REFUSE_INNER_OPTIONS(call)                                                                                   \
    for (int field_k = 0; field_k < INNER_FIELDS; field_k += 1) {                                                    \
        const bad_field *const field = &inner_fields[field_k];                                                       \
        taskmet_inner_options bad;                                                                                   \
        taskmet_inner_options_init(&bad);                                                                            \
        spoil(&bad, field);                                                                                          \
        REFUSE(field->allowed, field->name, field->text, call);                                                      \
    }

#define REFUSE_SOLVER_OPTIONS(call)                                                                                  \
    for (int field_k = 0; field_k < SOLVER_FIELDS; field_k += 1) {                                                   \
        const bad_field *const field = &solver_fields[field_k];                                                      \
        taskmet_solver_options bad;                                                                                  \
        taskmet_solver_options_init(&bad);                                                                           \
        spoil(&bad, field);                                                                                          \
        REFUSE(field->allowed, field->name, field->text, call);                                                      \
    }

/* A report whose struct_size cannot be: refused before any work, and not written. */
#define REFUSE_REPORT(type, call)                                                                                    \
    for (size_t size_k = 0; size_k < 4; size_k += 3) {                                                               \
        taskmet_##type bad, before;                                                                                  \
        memset(&bad, 0xA5, sizeof bad);                                                                              \
        bad.struct_size = size_k;                                                                                    \
        memcpy(&before, &bad, sizeof bad);                                                                           \
        REFUSE(BAD_STRUCT, "struct_size", size_k == 0 ? "0" : "3", call);                                            \
        CHECK(memcmp(&before, &bad, sizeof bad) == 0);                                                               \
    }

/* ---------------------------------------------------------------------------------------------------------------- */

#define MINIMIZE(p, m, d, rho)                                                                                       \
    taskmet_loss_minimize((taskmet_predictor *)(uintptr_t)(p), m, d, rho, NULL, W.workspace, &O.inner)

static void test_minimize(void) {
    REFUSE_COMMON(MINIMIZE);
    REFUSE_INNER_OPTIONS(taskmet_loss_minimize(W.linear, W.constant, W.data, 0.1, &bad, NULL, &O.inner));
    REFUSE_HANDLE_FROM(BAD_DESTROYED, workspace, "workspace",
                       taskmet_loss_minimize(W.linear, W.constant, W.data, 0.1, NULL, bad, &O.inner));
    REFUSE_REPORT(inner_report, taskmet_loss_minimize(W.linear, W.constant, W.data, 0.1, NULL, NULL, &bad));
    taskmet_inner_options exact;
    taskmet_inner_options_init(&exact);
    exact.solver = TASKMET_INNER_EXACT;
    REFUSE(UNSUPPORTED, "solver|options|predictor|EXACT|exact", NULL,
           taskmet_loss_minimize(W.mlp, W.constant, W.data, 0.1, &exact, NULL, &O.inner));
    REFUSE(UNSUPPORTED, "solver|options|predictor|EXACT|exact", NULL,
           taskmet_loss_minimize(W.callback, W.constant, W.data, 0.1, &exact, NULL, &O.inner));
}

#define HYPER(p, m, d, rho)                                                                                          \
    taskmet_hypergradient(p, m, d, rho, W.numbers, TARGETS, NULL, O.real, W.constant_count, &O.solver)

static void test_hypergradient(void) {
    const taskmet_predictor *const p = W.linear;
    const taskmet_metric *const m = W.constant;
    const double *const c = W.numbers;
    const int64_t s = TARGETS, n = W.constant_count;
    REFUSE_COMMON(HYPER);
    REFUSE_NULL("c", taskmet_hypergradient(p, m, W.data, 0.1, NULL, s, NULL, O.real, n, &O.solver));
    REFUSE_STRIDE("c_stride", s, taskmet_hypergradient(p, m, W.data, 0.1, c, bad, NULL, O.real, n, &O.solver));
    REFUSE_ARRAY("c", W.numbers, ROWS *TARGETS,
                 taskmet_hypergradient(p, m, W.data, 0.1, bad, s, NULL, O.real, n, &O.solver));
    REFUSE_SOLVER_OPTIONS(taskmet_hypergradient(p, m, W.data, 0.1, c, s, &bad, O.real, n, &O.solver));
    REFUSE_NULL("out", taskmet_hypergradient(p, m, W.data, 0.1, c, s, NULL, NULL, n, &O.solver));
    REFUSE_COUNT("count", n, taskmet_hypergradient(p, m, W.data, 0.1, c, s, NULL, O.real, bad, &O.solver));
    REFUSE_REPORT(solver_report, taskmet_hypergradient(p, m, W.data, 0.1, c, s, NULL, O.real, n, &bad));
}

#define FROM_GRADIENT(p, m, d, rho)                                                                                  \
    taskmet_hypergradient_from_gradient(p, m, d, rho, W.numbers, LINEAR_COUNT, NULL, NULL, O.more, LINEAR_COUNT,     \
                                        O.real, W.constant_count, &O.solver)
/* The same with good objects: what varies is g, the options, v, out and the report. */
#define FROM(g, g_count, options, workspace, v, v_count, out, count, report)                                         \
    taskmet_hypergradient_from_gradient(W.linear, W.constant, W.data, 0.1, g, g_count, options, workspace, v,        \
                                        v_count, out, count, report)

static void test_from_gradient(void) {
    const double *const g = W.numbers;
    const int64_t k = LINEAR_COUNT, n = W.constant_count;
    REFUSE_COMMON(FROM_GRADIENT);
    REFUSE_NULL("g", FROM(NULL, k, NULL, NULL, NULL, 0, O.real, n, &O.solver));
    REFUSE_COUNT("g_count", k, FROM(g, bad, NULL, NULL, NULL, 0, O.real, n, &O.solver));
    REFUSE_ARRAY("g", W.numbers, k, FROM(bad, k, NULL, NULL, NULL, 0, O.real, n, &O.solver));
    REFUSE_SOLVER_OPTIONS(FROM(g, k, &bad, NULL, NULL, 0, O.real, n, &O.solver));
    REFUSE_HANDLE_FROM(BAD_DESTROYED, workspace, "workspace",
                       FROM(g, k, NULL, bad, NULL, 0, O.real, n, &O.solver));
    REFUSE_COUNT("v_count", k, FROM(g, k, NULL, NULL, O.more, bad, O.real, n, &O.solver));
    REFUSE(SMALL, "v|v_count", NULL, FROM(g, k, NULL, NULL, NULL, k, O.real, n, &O.solver));
    REFUSE_NULL("out", FROM(g, k, NULL, NULL, NULL, 0, NULL, n, &O.solver));
    REFUSE_COUNT("count", n, FROM(g, k, NULL, NULL, NULL, 0, O.real, bad, &O.solver));
    REFUSE_REPORT(solver_report, FROM(g, k, NULL, NULL, NULL, 0, O.real, n, &bad));
    double v[LINEAR_COUNT], before[LINEAR_COUNT];
    for (int bad = 0; bad < 6; bad += 1) {
        memcpy(v, poisoned(W.numbers, k, bad), sizeof v);
        memcpy(before, v, sizeof v);
        REFUSE(INVALID, "v", "[|" REAL_TEXT, FROM(g, k, NULL, NULL, v, k, O.real, n, &O.solver));
        CHECK_SAME_BITS(v, before, k);
    }
}

/* Finite numbers whose loss is not: an error that says so. */
static void test_overflow(void) {
    double vast[LINEAR_COUNT];
    for (int k = 0; k < LINEAR_COUNT; k += 1) vast[k] = k % 2 == 0 ? 1e200 : -1.5e200;
    taskmet_predictor *p = make_linear(3, FEATURES, TARGETS);
    CHECK_OK(taskmet_predictor_set_parameters(p, vast, LINEAR_COUNT));
    REFUSE(NUMERICAL, NULL, NULL, taskmet_loss_value(p, W.constant, W.data, 0, &O.value));
    REFUSE(NUMERICAL, NULL, NULL,
           taskmet_loss_value_gradient(p, W.constant, W.data, 0, NULL, &O.value, O.real, LINEAR_COUNT));
    for (int k = 0; k < LINEAR_COUNT; k += 1) vast[k] = 1.7e308;
    CHECK_OK(taskmet_predictor_set_parameters(p, vast, LINEAR_COUNT));
    REFUSE(NUMERICAL, NULL, NULL, taskmet_loss_gradient(p, W.constant, W.data, 1000, O.real, LINEAR_COUNT));
    taskmet_inner_options adam;
    taskmet_inner_options_init(&adam);
    adam.solver = TASKMET_INNER_ADAM;
    REFUSE(NUMERICAL, NULL, NULL, taskmet_loss_minimize(p, W.constant, W.data, 1000, &adam, NULL, &O.inner));
    double after[LINEAR_COUNT] = {0};
    CHECK_OK(taskmet_predictor_get_parameters(p, after, LINEAR_COUNT));
    CHECK_SAME_BITS(after, vast, LINEAR_COUNT);
    taskmet_predictor_destroy(p);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Structs of other versions                                                                                        */

static void test_option_sizes(void) {
    struct {
        taskmet_solver_options known;
        double later[4];
    } larger, smaller;
    double expected[BUFFER], got[BUFFER];
    const int64_t n = W.constant_count;
#define SOLVE(options, out)                                                                                          \
    taskmet_hypergradient(W.linear, W.constant, W.data, 0.1, W.numbers, TARGETS, options, out, n, NULL)
    memset(&larger, 0, sizeof larger);
    taskmet_solver_options_init(&larger.known);
    CHECK(larger.known.struct_size == sizeof(taskmet_solver_options));
    CHECK(larger.known.solver == TASKMET_SOLVER_CG && larger.known.reserved == 0);
    CHECK(larger.known.tolerance == 1e-8 && larger.known.ridge == 0 && larger.known.normal_ridge == 0);
    CHECK_OK(SOLVE(NULL, expected));
    CHECK_OK(SOLVE(&larger.known, got));
    CHECK_SAME_BITS(got, expected, n);
    larger.known.struct_size = sizeof larger;
    CHECK_OK(SOLVE(&larger.known, got));
    CHECK_SAME_BITS(got, expected, n);
    /* Fields beyond struct_size are not read. */
    memset(&smaller, 0xA5, sizeof smaller);
    taskmet_solver_options_init(&smaller.known);
    smaller.known.struct_size = offsetof(taskmet_solver_options, ridge);
    smaller.known.ridge = (double)NAN, smaller.known.normal_ridge = -1, smaller.known.neumann_step = (double)NAN;
    CHECK_OK(SOLVE(&smaller.known, got));
    CHECK_SAME_BITS(got, expected, n);
#undef SOLVE
    taskmet_inner_options inner;
    memset(&inner, 0xA5, sizeof inner);
    taskmet_inner_options_init(&inner);
    CHECK(inner.struct_size == sizeof inner && inner.solver == TASKMET_INNER_LBFGS && inner.reserved == 0);
    CHECK(inner.gradient_tolerance == 1e-8 && inner.momentum == 0);
    taskmet_inner_options_init(NULL);
    taskmet_solver_options_init(NULL);
}

/* Reports: the part both sides know is written, and nothing beyond. */
static void test_report_sizes(void) {
    struct {
        taskmet_solver_report known;
        double later[4];
    } larger, smaller;
    double out[BUFFER];
    const int64_t n = W.constant_count;
    memset(&larger, 0xA5, sizeof larger);
    memset(&smaller, 0xA5, sizeof smaller);
    larger.known.struct_size = sizeof larger;
    smaller.known.struct_size = offsetof(taskmet_solver_report, operator_products);
    const int64_t untouched = smaller.known.operator_products;
    CHECK_OK(taskmet_hypergradient(W.linear, W.constant, W.data, 0.1, W.numbers, TARGETS, NULL, out, n, &larger.known));
    CHECK(larger.known.converged == 1 && larger.known.residual <= 1e-8 && larger.known.gradient_norm > 0);
    const unsigned char *later = (const unsigned char *)larger.later;
    for (size_t k = 0; k < sizeof larger.later; k += 1) CHECK(later[k] == 0xA5);
    CHECK_OK(taskmet_hypergradient(W.linear, W.constant, W.data, 0.1, W.numbers, TARGETS, NULL, out, n, &smaller.known));
    CHECK(smaller.known.iterations == larger.known.iterations && smaller.known.residual == larger.known.residual);
    CHECK(smaller.known.operator_products == untouched && smaller.known.solver == (int32_t)UINT32_C(0xA5A5A5A5));
    taskmet_predictor *p = NULL;
    NEED(taskmet_predictor_copy(W.linear, &p));
    taskmet_inner_report inner;
    memset(&inner, 0xA5, sizeof inner);
    inner.struct_size = offsetof(taskmet_inner_report, gradient_norm);
    const double before = inner.gradient_norm;
    CHECK_OK(taskmet_loss_minimize(p, W.constant, W.data, 0.1, NULL, NULL, &inner));
    CHECK(isfinite(inner.value) && memcmp(&before, &inner.gradient_norm, sizeof before) == 0);
    taskmet_predictor_destroy(p);
}

/* Sizes that are absurd, and yet may be cut down to what is needed. */
static void test_absurd_memory(void) {
    taskmet_inner_options options;
    taskmet_inner_options_init(&options);
    options.max_iterations = 2;
    options.memory = INT64_MAX;
    taskmet_predictor *p = NULL;
    NEED(taskmet_predictor_copy(W.mlp, &p));
    const taskmet_status got = taskmet_loss_minimize(p, W.conditional, W.data, 0.1, &options, NULL, NULL);
    CHECK(got == TASKMET_OK || (ALLOW(got) & HUGE_SIZE) != 0);
    taskmet_predictor_destroy(p);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_world();
    test_value_and_gradient();
    test_products();
    test_minimize();
    test_hypergradient();
    test_from_gradient();
    test_overflow();
    test_option_sizes();
    test_report_sizes();
    test_absurd_memory();
    destroy_world();
    return check_end();
}
