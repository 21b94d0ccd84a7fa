/*
 * test_memory.c - training on a million rows, tasks of many instances and predictors of many outputs where memory ends
 * somewhere on the way: every call says OK or OUT_OF_MEMORY, and nothing dies. Each limit is tried in a process of its
 * own.
 *
 * Small allocations always succeed here: the heap has grown before, and keeps what it has, in pieces of some 250 kB. What
 * scales with the rows does not fit there, and is what the limit of the address space refuses. OpenBLAS has its own memory
 * before the limit, since it waits for it for ever. (Built without sanitizers: they need that space.)
 */
#include "check.h"

#include <malloc.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROWS = 1000000, INSTANCES = 400000, OUTPUTS = 150000, LARGE = 1 << 20, HEAP = 64 << 20 };

static taskmet_dataset *data;
static taskmet_predictor *predictor;
static taskmet_metric *metric;
static taskmet_task *task, *choice;
static taskmet_dataset *small, *wide;
static double *numbers;
static char path[64];

static int32_t mean_square(void *user, const taskmet_task_batch *batch, double *loss, double *gradient) {
    const int64_t count = batch->rows * batch->outputs;
    const double share = 1 / (double)count;
    double sum = 0;
    (void)user;
    for (int64_t k = 0; k < count; k += 1) {
        const double error = batch->predictions[k] - batch->targets[k];
        sum += error * error;
        if (gradient != NULL) gradient[k] = 2 * share * error;
    }
    *loss = share * sum;
    return TASKMET_CALLBACK_OK;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* What is done under a limit                                                                                        */

enum { ALL_WELL, SHORT_OF_MEMORY, WRONG };

static void note(int *outcome, taskmet_status status, int line) {
    if (status == TASKMET_OK) return;
    if (status == TASKMET_ERROR_OUT_OF_MEMORY && *outcome != WRONG) *outcome = SHORT_OF_MEMORY;
    if (status == TASKMET_ERROR_OUT_OF_MEMORY) return;
    printf("%s:%d: %s (\"%s\")\n", __FILE__, line, taskmet_status_name(status), taskmet_last_error());
    fflush(stdout);
    *outcome = WRONG;
}

#define NOTE(call) note(&outcome, call, __LINE__)

static int set_up(taskmet_trainer **trainer, int batches) {
    int outcome = ALL_WELL;
    *trainer = NULL;
    NOTE(taskmet_trainer_create(predictor, metric, data, trainer));
    if (*trainer == NULL) return outcome;
    NOTE(taskmet_trainer_add_task(*trainer, task, 1));
    NOTE(taskmet_trainer_set_validation(*trainer, data));
    NOTE(taskmet_trainer_set_string(*trainer, "inner_solver", "adam"));
    NOTE(taskmet_trainer_set_string(*trainer, "solver", "identity"));
    NOTE(taskmet_trainer_set_int(*trainer, "warmup_iterations", 1));
    NOTE(taskmet_trainer_set_int(*trainer, "inner_iterations", 1));
    NOTE(taskmet_trainer_set_int(*trainer, "agreement_interval", 1));
    NOTE(taskmet_trainer_set_int(*trainer, "inner_batch", batches ? ROWS / 2 : 0));
    NOTE(taskmet_trainer_set_int(*trainer, "outer_batch", batches ? ROWS - 1 : 0));
    NOTE(taskmet_trainer_set_int(*trainer, "hypergradient_batch", batches ? ROWS / 2 : 0));
    return outcome;
}

static int train_on(int batches) {
    taskmet_trainer *trainer = NULL;
    int outcome = set_up(&trainer, batches);
    if (trainer == NULL) return outcome;
    NOTE(taskmet_trainer_step(trainer, NULL));
    int64_t count = 0;
    NOTE(taskmet_trainer_history_count(trainer, &count));
    if (count > 0) {
        taskmet_trainer *resumed = NULL;
        NOTE(taskmet_trainer_save(trainer, path));
        note(&outcome, set_up(&resumed, batches) == WRONG ? TASKMET_ERROR_STATE : TASKMET_OK, __LINE__);
        if (resumed != NULL && access(path, F_OK) == 0) NOTE(taskmet_trainer_load(resumed, path));
        taskmet_trainer_destroy(resumed);
    }
    taskmet_trainer_destroy(trainer);
    return outcome;
}

static int train(void) { return train_on(0); }
static int train_on_batches(void) { return train_on(1); }

/* Each row is an instance. */
static int judge(void) {
    int outcome = ALL_WELL;
    taskmet_decision_report report;
    double loss = 0;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    NOTE(taskmet_task_gradient(choice, data, TASKMET_PHASE_TRAINING, numbers, 1, &loss, numbers + ROWS, 1));
    NOTE(taskmet_task_evaluate(choice, predictor, data, &loss, numbers + ROWS, ROWS, numbers + ROWS, ROWS));
    NOTE(taskmet_task_decision_quality(choice, data, numbers, 1, 1, 2, 0.9, 1, &report));
    return outcome;
}

/* A loss fitted to each instance, and training on it. */
static int learn_losses(void) {
    int outcome = ALL_WELL;
    taskmet_lodl_options options;
    taskmet_task *lodl = NULL;
    double loss = 0;
    taskmet_lodl_options_init(&options);
    options.samples = 4;
    options.iterations = 1;
    NOTE(taskmet_task_create_lodl(choice, small, &options, &lodl));
    if (lodl != NULL)
        NOTE(taskmet_task_gradient(lodl, small, TASKMET_PHASE_TRAINING, numbers, 1, &loss, numbers + ROWS, 1));
    taskmet_task_destroy(lodl);
    return outcome;
}

/* The instances' weights follow what they cost the task. */
static int weigh(void) {
    taskmet_trainer *trainer = NULL;
    int outcome = ALL_WELL;
    NOTE(taskmet_trainer_create(predictor, metric, small, &trainer));
    if (trainer == NULL) return outcome;
    NOTE(taskmet_trainer_add_task(trainer, choice, 1));
    NOTE(taskmet_trainer_set_string(trainer, "method", "weighted_mse"));
    NOTE(taskmet_trainer_step(trainer, NULL));
    taskmet_trainer_destroy(trainer);
    return outcome;
}

/* A linear predictor of many outputs under a diagonal metric: one small system for each. */
static int solve_many_outputs(void) {
    static char text[20000];
    int outcome = ALL_WELL;
    taskmet_predictor *linear = NULL;
    taskmet_metric *diagonal = NULL;
    taskmet_trainer *trainer = NULL;
    taskmet_inner_options options;
    taskmet_inner_options_init(&options);
    options.solver = TASKMET_INNER_EXACT;
    NOTE(taskmet_predictor_create_linear(1, OUTPUTS, 1, &linear));
    NOTE(taskmet_metric_create_constant(OUTPUTS, TASKMET_STRUCTURE_DIAGONAL, 1, 1, &diagonal));
    if (linear != NULL && diagonal != NULL) {
        NOTE(taskmet_loss_minimize(linear, diagonal, wide, 0, &options, NULL, NULL));
        NOTE(taskmet_trainer_create(linear, diagonal, wide, &trainer));
    }
    if (trainer != NULL) {
        NOTE(taskmet_trainer_add_task(trainer, task, 1));
        NOTE(taskmet_trainer_set_double(trainer, "rho", 0.1));
        const taskmet_status got = taskmet_trainer_step(trainer, NULL);
        note(&outcome, got, __LINE__);
        if (got == TASKMET_OK) NOTE(taskmet_trainer_explain(trainer, text, sizeof text, NULL));
    }
    taskmet_trainer_destroy(trainer);
    taskmet_metric_destroy(diagonal);
    taskmet_predictor_destroy(linear);
    return outcome;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Limits                                                                                                            */

static size_t address_space(void) {
    unsigned long pages = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1) abort();
    fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

/* How a process fares that may have so much more; a signal counts as WRONG. */
static int try_limit(size_t more, int (*what)(void)) {
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0) abort();
    if (child == 0) {
        struct rlimit limit;
        getrlimit(RLIMIT_AS, &limit);
        limit.rlim_cur = address_space() + more;
        if (setrlimit(RLIMIT_AS, &limit) != 0) _exit(WRONG);
        alarm(60);
        _exit(what());
    }
    int status = 0;
    waitpid(child, &status, 0);
    unlink(path);
    if (!CHECK(WIFEXITED(status))) printf("  died of signal %d with %zu MiB\n", WTERMSIG(status), more >> 20);
    return WIFEXITED(status) ? WEXITSTATUS(status) : WRONG;
}

/* With `step` bytes more each time, until it succeeds. */
static void test_limits(const char *name, int (*what)(void), size_t step) {
    int outcome = SHORT_OF_MEMORY, limits = 0;
    CHECK(what() == ALL_WELL);
    for (size_t more = 0; outcome == SHORT_OF_MEMORY && limits < 200; more += step) {
        outcome = try_limit(more, what);
        limits += 1;
    }
    check_that(outcome == ALL_WELL && limits > 5, __FILE__, __LINE__, "%s: %s after %d limits", name,
               outcome == WRONG ? "wrong" : outcome == ALL_WELL ? "well" : "short of memory", limits);
}

static void grow_heap(void) {
    static void *blocks[HEAP / 4096];
    mallopt(M_MMAP_THRESHOLD, LARGE);
    for (size_t k = 0; k < HEAP / 4096; k += 1) blocks[k] = need_memory(4000);
    for (size_t k = 0; k < HEAP / 4096; k += 1)
        if (k % 64 != 63) free(blocks[k]);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    grow_heap();
    snprintf(path, sizeof path, "/tmp/taskmet-memory-%ld", (long)getpid());
    data = make_dataset(1, ROWS, 1, 1);
    predictor = make_linear(2, 1, 1);
    metric = make_conditional(3, 1, 1, TASKMET_STRUCTURE_SCALAR, 1, 2);
    NEED(taskmet_task_create_callback(mean_square, NULL, NULL, &task));
    NEED(taskmet_task_create_topk(1, 0.1, 0, &choice));
    small = make_dataset(5, INSTANCES, 1, 1);
    wide = make_dataset(6, 3, 1, OUTPUTS);
    numbers = random_array(7, 2 * ROWS);
    test_limits("training", train, (size_t)16 << 20);
    test_limits("training on batches", train_on_batches, (size_t)16 << 20);
    test_limits("tasks", judge, (size_t)8 << 20);
    test_limits("learned losses", learn_losses, (size_t)3 << 20);
    test_limits("weighted training", weigh, (size_t)6 << 20);
    test_limits("many outputs", solve_many_outputs, (size_t)2 << 20);
    free(numbers);
    taskmet_dataset_destroy(small);
    taskmet_dataset_destroy(wide);
    taskmet_task_destroy(choice);
    taskmet_task_destroy(task);
    taskmet_metric_destroy(metric);
    taskmet_predictor_destroy(predictor);
    taskmet_dataset_destroy(data);
    return check_end();
}
