/*
 * Small pieces of the library's work, each for operation_counts.py to count: what a run costs without a clock.
 *
 *     operation_counts            lists the cases
 *     operation_counts CASE       does one, between entering and leaving measured_work(), where a profiler counts
 *                                 instructions, and prints what the library and BLAS counted as one line of JSON
 *
 * cblas_dgemm is defined here too, in front of OpenBLAS's: it counts and passes on. Link with -rdynamic.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <taskmet.h>

#define CHECK(call) check((call), #call)

static void check(taskmet_status status, const char *call) {
    if (status == TASKMET_OK) return;
    fprintf(stderr, "%s: %s\n", call, taskmet_last_error());
    exit(1);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Counting matrix products                                                                                            */

typedef void (*gemm_function)(int, int, int, int, int, int, double, const double *, int, const double *, int, double,
                              double *, int);
static long long gemm_calls, gemm_flops;
static int counting;

void cblas_dgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, double alpha, const double *a, int lda,
                 const double *b, int ldb, double beta, double *c, int ldc);

void cblas_dgemm(int order, int transpose_a, int transpose_b, int m, int n, int k, double alpha, const double *a, int lda,
                 const double *b, int ldb, double beta, double *c, int ldc) {
    static gemm_function next;
    if (next == NULL) {
        void *found = dlsym(RTLD_NEXT, "cblas_dgemm");
        memcpy(&next, &found, sizeof next); /* ISO C has no cast between the two kinds of pointers */
    }
    if (counting) gemm_calls += 1, gemm_flops += 2LL * m * n * k;
    next(order, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Problems                                                                                                            */

static uint64_t state = 1;

/* Uniform in [-1, 1): splitmix64. */
static double uniform(void) {
    uint64_t z = (state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) / 4503599627370496.0 - 1;
}

static double *random_reals(int64_t count, double low, double high) {
    double *values = malloc((size_t)count * sizeof *values);
    if (values == NULL) exit(1);
    for (int64_t k = 0; k < count; k += 1) values[k] = low + (high - low) * (uniform() + 1) / 2;
    return values;
}

typedef struct shape {
    int64_t rows, inputs, outputs;
    int64_t hidden[2]; /* 0: no such layer; none: linear */
    taskmet_activation output_activation;
    taskmet_structure structure;
    int64_t metric_hidden; /* 0: a constant metric */
} shape;

/* benchmarks/sidebyside/problems.py's sizes; the two largest with fewer rows. */
static const shape small = {50, 1, 1, {0, 0}, TASKMET_ACTIVATION_IDENTITY, TASKMET_STRUCTURE_SCALAR, 200};
static const shape budget = {500, 10, 10, {500, 0}, TASKMET_ACTIVATION_RELU, TASKMET_STRUCTURE_FULL, 200};
static const shape portfolio = {500, 28, 1, {500, 0}, TASKMET_ACTIVATION_TANH, TASKMET_STRUCTURE_SCALAR, 200};
static const shape dynamics = {256, 6, 4, {32, 32}, TASKMET_ACTIVATION_IDENTITY, TASKMET_STRUCTURE_DIAGONAL, 0};
static const shape large = {256, 64, 16, {512, 0}, TASKMET_ACTIVATION_IDENTITY, TASKMET_STRUCTURE_FULL, 256};

/* What a case works on; `instances` with the sizes of a task's. */
static struct {
    shape s;
    double *x, *y, *predictions, *vector, *out;
    int64_t parameters, metric_parameters, repeats;
    taskmet_dataset *dataset;
    taskmet_predictor *predictor;
    taskmet_metric *metric;
    taskmet_workspace *workspace;
    taskmet_task *task;
    taskmet_trainer *trainer;
} w;

/* What the library reports of a case. */
static struct {
    long long evaluations, iterations, products;
} counted;

static void make_models(const shape *s) {
    int64_t layers = (s->hidden[0] > 0) + (s->hidden[1] > 0);
    w.s = *s;
    w.x = random_reals(s->rows * s->inputs, -1, 1);
    w.y = random_reals(s->rows * s->outputs, 0, 1);
    CHECK(taskmet_dataset_create(s->rows, s->inputs, w.x, s->inputs, s->outputs, w.y, s->outputs, &w.dataset));
    if (layers == 0) CHECK(taskmet_predictor_create_linear(s->inputs, s->outputs, 1, &w.predictor));
    else
        CHECK(taskmet_predictor_create_mlp(s->inputs, s->outputs, layers, s->hidden, TASKMET_ACTIVATION_RELU,
                                           s->output_activation, 1, &w.predictor));
    if (s->metric_hidden == 0) CHECK(taskmet_metric_create_constant(s->outputs, s->structure, 1, 1, &w.metric));
    else
        CHECK(taskmet_metric_create_conditional(s->inputs, s->outputs, s->structure, 1, 1, &s->metric_hidden,
                                                TASKMET_ACTIVATION_RELU, 1, &w.metric));
    CHECK(taskmet_workspace_create(1, 0, &w.workspace));
    CHECK(taskmet_predictor_parameter_count(w.predictor, &w.parameters));
    CHECK(taskmet_metric_parameter_count(w.metric, &w.metric_parameters));
    w.vector = random_reals(w.parameters, -0.01, 0.01);
}

/* `instances` problems of rows x outputs entries, the predictions and the targets between low and high. */
static void make_instances(int64_t instances, int64_t rows, int64_t outputs, double low, double high) {
    int64_t *offsets = malloc((size_t)(instances + 1) * sizeof *offsets);
    if (offsets == NULL) exit(1);
    for (int64_t k = 0; k <= instances; k += 1) offsets[k] = k * rows;
    w.s.rows = instances * rows, w.s.outputs = outputs;
    w.x = random_reals(w.s.rows, -1, 1);
    w.y = random_reals(w.s.rows * outputs, low, high);
    w.predictions = random_reals(w.s.rows * outputs, low, high);
    w.out = random_reals(w.s.rows * outputs, 0, 0);
    CHECK(taskmet_dataset_create(w.s.rows, 1, w.x, 1, outputs, w.y, outputs, &w.dataset));
    CHECK(taskmet_dataset_set_instances(w.dataset, instances, offsets));
    free(offsets);
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Kinds of work                                                                                                       */

static void do_steps(void) {
    taskmet_inner_options options;
    taskmet_inner_report report = {.struct_size = sizeof report};
    taskmet_inner_options_init(&options);
    options.solver = TASKMET_INNER_ADAM;
    options.max_iterations = w.repeats;
    options.gradient_tolerance = 0;
    options.learning_rate = 1e-4;
    CHECK(taskmet_loss_minimize(w.predictor, w.metric, w.dataset, 0, &options, w.workspace, &report));
    counted.evaluations = report.evaluations, counted.iterations = report.iterations;
}

static void do_hessian_product(void) {
    CHECK(taskmet_loss_hvp(w.predictor, w.metric, w.dataset, 0, w.vector, w.parameters, w.out, w.parameters));
}

static void do_hypergradient(void) {
    taskmet_solver_options options;
    taskmet_solver_report report = {.struct_size = sizeof report};
    taskmet_solver_options_init(&options);
    options.ridge = 1;
    options.tolerance = 1e-6;
    CHECK(taskmet_hypergradient_from_gradient(w.predictor, w.metric, w.dataset, 0, w.vector, w.parameters, &options,
                                              w.workspace, NULL, 0, w.out, w.metric_parameters, &report));
    counted.products = report.operator_products, counted.iterations = report.iterations;
}

static void do_metric(void) {
    int64_t count = w.s.rows * w.s.outputs * w.s.outputs;
    CHECK(taskmet_metric_evaluate(w.metric, w.s.rows, w.x, w.s.inputs, w.predictions, count));
    CHECK(taskmet_metric_vjp(w.metric, w.s.rows, w.x, w.s.inputs, w.predictions, count, w.out, w.metric_parameters));
}

static void do_task(void) {
    double loss;
    CHECK(taskmet_task_gradient(w.task, w.dataset, TASKMET_PHASE_TRAINING, w.predictions, w.s.outputs, &loss, w.out,
                                w.s.outputs));
}

static void do_training(void) {
    for (int64_t k = 0; k < w.repeats; k += 1) CHECK(taskmet_trainer_step(w.trainer, NULL));
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Cases                                                                                                               */

static void prepare_steps(const shape *s, int64_t steps) {
    make_models(s);
    w.repeats = steps;
    do_steps(); /* workspaces are made, pages touched */
}

static void step_small(void) { prepare_steps(&small, 500); }
static void step_budget(void) { prepare_steps(&budget, 3); }
static void step_portfolio(void) { prepare_steps(&portfolio, 3); }
static void step_dynamics(void) { prepare_steps(&dynamics, 20); }
static void step_large(void) { prepare_steps(&large, 2); }

static void prepare_product(const shape *s) {
    make_models(s);
    w.out = random_reals(w.parameters + w.metric_parameters, 0, 0);
}

static void hessian_budget(void) { prepare_product(&budget); }
static void hessian_portfolio(void) { prepare_product(&portfolio); }
static void hypergradient_portfolio(void) { prepare_product(&portfolio); }
static void hypergradient_dynamics(void) { prepare_product(&dynamics); }

static void prepare_metric(int64_t outputs, int64_t hidden) {
    const shape s = {100, 28, outputs, {0, 0}, TASKMET_ACTIVATION_IDENTITY, TASKMET_STRUCTURE_FULL, hidden};
    make_models(&s);
    w.predictions = random_reals(s.rows * outputs * outputs, 0, 1);
    w.out = random_reals(w.metric_parameters, 0, 0);
}

static void metric_constant(void) { prepare_metric(24, 0); }
static void metric_conditional(void) { prepare_metric(24, 200); }

static void task_topk(void) {
    make_instances(50, 50, 1, 0, 1);
    CHECK(taskmet_task_create_topk(1, 0.01, 0, &w.task));
}

static void task_budget(void) {
    make_instances(20, 5, 10, 0, 0.4);
    CHECK(taskmet_task_create_budget_allocation(2, 0, 0, &w.task));
}

static void task_portfolio(void) {
    enum { STOCKS = 50, DAYS = 10 };
    double *q = malloc(sizeof(double) * DAYS * STOCKS * STOCKS);
    int64_t offsets[DAYS + 1];
    if (q == NULL) exit(1);
    make_instances(DAYS, STOCKS, 1, -0.05, 0.05);
    for (int k = 0; k <= DAYS; k += 1) offsets[k] = (int64_t)k * STOCKS * STOCKS;
    for (int k = 0; k < DAYS; k += 1)
        for (int i = 0; i < STOCKS; i += 1)
            for (int j = 0; j < STOCKS; j += 1)
                q[offsets[k] + i * STOCKS + j] = i == j ? 1.1 : 0.5 / (1 + (i > j ? i - j : j - i));
    CHECK(taskmet_dataset_set_context(w.dataset, q, DAYS, offsets));
    CHECK(taskmet_task_create_portfolio(0.1, 0, 1, 0, &w.task));
    free(q);
}

static void task_linear_program(void) {
    enum { D = 20 };
    double matrix[2 * D * D] = {0}, values[2 * D];
    for (int i = 0; i < D; i += 1) matrix[i * D + i] = 1, matrix[(D + i) * D + i] = -1, values[i] = values[D + i] = 1;
    make_instances(4, D, 1, -1, 1);
    CHECK(taskmet_task_create_linear_program(2 * D, D, matrix, values, TASKMET_SENSE_MINIMIZE, 0.5, &w.task));
}

/* The cubic problem by the paper's recipe, after its warm-up. */
static void training_cubic(void) {
    const int64_t hidden = 200;
    make_instances(200, 50, 1, -1, 1);
    for (int64_t i = 0; i < w.s.rows; i += 1) w.y[i] = 10 * w.x[i] * w.x[i] * w.x[i] - 6.5 * w.x[i];
    taskmet_dataset_destroy(w.dataset);
    int64_t offsets[201];
    for (int64_t k = 0; k <= 200; k += 1) offsets[k] = k * 50;
    CHECK(taskmet_dataset_create(w.s.rows, 1, w.x, 1, 1, w.y, 1, &w.dataset));
    CHECK(taskmet_dataset_set_instances(w.dataset, 200, offsets));
    CHECK(taskmet_task_create_topk(1, 0.01, 1, &w.task));
    CHECK(taskmet_predictor_create_linear(1, 1, 1, &w.predictor));
    CHECK(taskmet_metric_create_conditional(1, 1, TASKMET_STRUCTURE_SCALAR, 1, 1, &hidden, TASKMET_ACTIVATION_RELU, 1,
                                            &w.metric));
    CHECK(taskmet_trainer_create(w.predictor, w.metric, w.dataset, &w.trainer));
    CHECK(taskmet_trainer_add_task(w.trainer, w.task, 1));
    CHECK(taskmet_trainer_set_string(w.trainer, "preset", "paper"));
    CHECK(taskmet_trainer_set_double(w.trainer, "inner_rate", 0.1));
    CHECK(taskmet_trainer_set_int(w.trainer, "outer_batch", 50));
    CHECK(taskmet_trainer_step(w.trainer, NULL));
    w.repeats = 5;
}

static const struct {
    const char *name;
    void (*prepare)(void);
    void (*work)(void);
} cases[] = {
    {"step/small", step_small, do_steps},
    {"step/budget", step_budget, do_steps},
    {"step/portfolio", step_portfolio, do_steps},
    {"step/dynamics", step_dynamics, do_steps},
    {"step/large", step_large, do_steps},
    {"hessian/budget", hessian_budget, do_hessian_product},
    {"hessian/portfolio", hessian_portfolio, do_hessian_product},
    {"hypergradient/portfolio", hypergradient_portfolio, do_hypergradient},
    {"hypergradient/dynamics", hypergradient_dynamics, do_hypergradient},
    {"metric/constant", metric_constant, do_metric},
    {"metric/conditional", metric_conditional, do_metric},
    {"task/topk", task_topk, do_task},
    {"task/budget", task_budget, do_task},
    {"task/portfolio", task_portfolio, do_task},
    {"task/linear program", task_linear_program, do_task},
    {"training/cubic", training_cubic, do_training},
};

/* The function that a profiler is told to count in: not inlined, and called through a pointer that is not known before. */
void measured_work(void (*work)(void));
__attribute__((noinline)) void measured_work(void (*work)(void)) {
    counting = 1;
    work();
    counting = 0;
}

int main(int count, char **arguments) {
    const size_t all = sizeof cases / sizeof *cases;
    for (size_t k = 0; k < all; k += 1) {
        if (count < 2) puts(cases[k].name);
        if (count < 2 || strcmp(arguments[1], cases[k].name) != 0) continue;
        cases[k].prepare();
        memset(&counted, 0, sizeof counted);
        measured_work(cases[k].work);
        printf("{\"gemm_calls\": %lld, \"gemm_flops\": %lld, \"evaluations\": %lld, \"iterations\": %lld, "
               "\"hessian_products\": %lld}\n",
               gemm_calls, gemm_flops, counted.evaluations, counted.iterations, counted.products);
        return 0;
    }
    return count < 2 ? 0 : 2;
}
