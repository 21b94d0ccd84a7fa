/*
 * fault_memory.c - sizes that the process cannot hold (its address space is limited, as by `ulimit -v`): refused
 * with TASKMET_ERROR_OUT_OF_MEMORY before any of that memory is touched. Files that promise more than they hold,
 * or that are large and empty, are refused before memory is made for them.
 */
#define _GNU_SOURCE
#include "../c/trainer_fixture.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/resource.h>

enum { MARGIN = 256 << 20, TOUCHED = 32 << 10 /* KiB */ };

/* 512 MiB of reals: beyond the margin. */
static const int64_t MANY = (int64_t)1 << 26;

/* 3 MANY zeros, which take no memory until they are written to, mapped before there is a limit. */
static double *zeros_of_caller;

static long peak_kilobytes(void) {
    struct rusage usage;
    getrusage(RUSAGE_SELF, &usage);
    return usage.ru_maxrss;
}

static void limit_memory(void) {
    unsigned long pages = 0;
    struct rlimit limit;
    FILE *file = fopen("/proc/self/statm", "r");
    if (file == NULL || fscanf(file, "%lu", &pages) != 1) abort();
    fclose(file);
    getrlimit(RLIMIT_AS, &limit);
    limit.rlim_cur = pages * (size_t)sysconf(_SC_PAGESIZE) + MARGIN;
    if (setrlimit(RLIMIT_AS, &limit) != 0) abort();
}

/* And hardly any memory was used. */
static int check_refused(taskmet_status got, long before, const char *call, int line) {
    const long used = peak_kilobytes() - before;
    check_that(used < TOUCHED, __FILE__, line, "%s touched %ld KiB", call, used);
    return check_that(got == TASKMET_ERROR_OUT_OF_MEMORY, __FILE__, line, "%s: %s (\"%s\")", call,
                      taskmet_status_name(got), got == TASKMET_OK ? "" : taskmet_last_error());
}

#define TOO_LARGE(call)                                                                                              \
    do {                                                                                                             \
        const long before_ = peak_kilobytes();                                                                       \
        check_at(__FILE__, __LINE__);                                                                                \
        check_refused((call), before_, #call, __LINE__);                                \
    } while (0)

static void test_objects(void) {
    double *const x = zeros_of_caller;
    const int64_t wide[] = {(int64_t)1 << 20, (int64_t)1 << 20};
    taskmet_dataset *data = NULL;
    taskmet_predictor *p = NULL;
    taskmet_metric *m = NULL;
    taskmet_optimizer *o = NULL;
    taskmet_task *t = NULL;
    TOO_LARGE(taskmet_dataset_create(MANY, 1, x, 1, 1, x, 1, &data));
    TOO_LARGE(taskmet_dataset_create(1, MANY, x, MANY, 1, x, 1, &data));
    TOO_LARGE(taskmet_predictor_create_linear(MANY, 2, 1, &p));
    TOO_LARGE(taskmet_predictor_create_linear(1 << 20, 1 << 20, 1, &p));
    TOO_LARGE(taskmet_predictor_create_mlp(1, 1, 2, wide, TASKMET_ACTIVATION_RELU, TASKMET_ACTIVATION_IDENTITY, 1, &p));
    TOO_LARGE(taskmet_metric_create_constant(1 << 20, TASKMET_STRUCTURE_FULL, 1, 1, &m));
    TOO_LARGE(taskmet_metric_create_constant(1 << 20, TASKMET_STRUCTURE_LOWRANK, 1 << 18, 1, &m));
    TOO_LARGE(taskmet_metric_create_conditional(1, 1 << 16, TASKMET_STRUCTURE_FULL, 1, 0, NULL,
                                                TASKMET_ACTIVATION_TANH, 1, &m));
    TOO_LARGE(taskmet_optimizer_create_adam(MANY, 0.1, 0.9, 0.999, 1e-8, &o));
    TOO_LARGE(taskmet_optimizer_create_sgd(MANY, 0.1, 0.9, &o));
    TOO_LARGE(taskmet_task_create_linear_program(MANY, 2, x, x, TASKMET_SENSE_MINIMIZE, 1, &t));
    CHECK(data == NULL && p == NULL && m == NULL && o == NULL && t == NULL);
}

/* Work on objects that are there. */
static void test_calls(void) {
    double *const x = zeros_of_caller;
    taskmet_dataset *data = make_dataset(1, 30, 3, 2);
    taskmet_predictor *p = make_linear(2, 3, 2), *mlp = NULL;
    taskmet_metric *m = make_constant(3, 2, TASKMET_STRUCTURE_FULL, 1);
    taskmet_linearization *l = NULL;
    const int64_t hidden[] = {3000};
    NEED(taskmet_linearization_create(&l));
    TOO_LARGE(taskmet_linearization_update(l, p, MANY, x, 3, NULL, 0));
    TOO_LARGE(taskmet_predictor_predict(p, MANY, x, 3, x, 2));
    TOO_LARGE(taskmet_predictor_jvp(p, MANY, x, 3, x, 8, x, 2));
    TOO_LARGE(taskmet_metric_evaluate(m, MANY, NULL, 0, x, 4 * MANY));
    /* A dense Hessian of 18 002 unknowns. */
    NEED(taskmet_predictor_create_mlp(3, 2, 1, hidden, TASKMET_ACTIVATION_TANH, TASKMET_ACTIVATION_IDENTITY, 1, &mlp));
    taskmet_solver_options options;
    taskmet_solver_options_init(&options);
    options.solver = TASKMET_SOLVER_DENSE;
    const int64_t theta = predictor_count(mlp), phi = metric_count(m);
    double *g = random_array(5, theta), *out = zeros(phi);
    CHECK(theta == 18002);
    TOO_LARGE(taskmet_hypergradient_from_gradient(mlp, m, data, 0, g, theta, &options, NULL, NULL, 0, out, phi, NULL));
    free(g), free(out);
    taskmet_predictor_destroy(mlp);
    taskmet_linearization_destroy(l);
    taskmet_predictor_destroy(p), taskmet_metric_destroy(m), taskmet_dataset_destroy(data);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Files                                                                                                             */

/* A file of this header, and so many bytes of nothing, which take no room on the disk. */
static void write_sparse(const char *header, uint64_t length, int64_t size) {
    const int file = open(test_path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    if (file < 0 || write(file, &length, 8) != 8 || write(file, header, strlen(header)) != (ssize_t)strlen(header) ||
        ftruncate(file, size) != 0 || close(file) != 0)
        abort();
}

#define TENSOR(count, end) "\"factor\":{\"dtype\":\"F64\",\"shape\":[" count "],\"data_offsets\":[0," end "]}"
#define METRIC "\"__metadata__\":{\"format\":\"taskmet\",\"kind\":\"metric\",\"version\":\"1\"}"

/* Whatever it says, and however long it is. */
static void test_files(void) {
    static const struct {
        const char *header;
        uint64_t length; /* 0: the header's */
        int64_t size;    /* 0: the header's */
    } files[] = {
        {"", 0, (int64_t)1 << 33},                          /* no header, 8 GiB */
        {"{}", 0, (int64_t)1 << 33},                        /* nothing in 8 GiB */
        {"{}", (uint64_t)1 << 33, (int64_t)1 << 34},        /* a header of 8 GiB */
        {"{}", (uint64_t)1 << 63, 0},
        {"{}", 1000000, 0},
        {"{" TENSOR("1073741824", "8589934592") "}", 0, 0},  /* a tensor beyond the end */
        {"{" TENSOR("1073741824", "8") "}", 0, 0},
        {"{" METRIC "," TENSOR("4", "32") "}", 0, (int64_t)1 << 33}, /* more after the last one */
        {"{" TENSOR("1073741816", "8589934528") "}", 0, 56 + 8589934592 + 8}, /* and none that reaches the end */
    };
    for (size_t k = 0; k < LENGTH(files); k += 1) {
        taskmet_predictor *p = NULL;
        taskmet_metric *m = NULL;
        const size_t length = strlen(files[k].header);
        write_sparse(files[k].header, files[k].length > 0 ? files[k].length : length,
                     files[k].size > 0 ? files[k].size : 8 + (int64_t)length);
        for (int load = 0; load < 2; load += 1) {
            const long before = peak_kilobytes();
            const taskmet_status got =
                load ? taskmet_metric_load(test_path, &m) : taskmet_predictor_load(test_path, &p);
            const long used = peak_kilobytes() - before;
            check_that(got == TASKMET_ERROR_FORMAT && used < TOUCHED, __FILE__, __LINE__,
                       "file %zu: %s, %ld KiB (%s)", k, taskmet_status_name(got), used, taskmet_last_error());
        }
        CHECK(p == NULL && m == NULL);
    }
    /* All of it is there, if only as zeros: more than there is memory for. */
    static const char header[] = "{" TENSOR("1073741824", "8589934592") "}";
    write_sparse(header, strlen(header), 8 + (int64_t)strlen(header) + 8589934592);
    taskmet_metric *m = NULL;
    TOO_LARGE(taskmet_metric_load(test_path, &m));
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    { /* OpenBLAS waits for its memory for ever: it gets it now. */
        static const shape small = {40, 2, 2, 2, 5, 20};
        setup s;
        begin(&s, &small, "warmup_iterations=5 inner_iterations=3");
        steps(s.trainer, 1);
        finish(&s);
    }
    zeros_of_caller = mmap(NULL, 3 * sizeof(double) * (size_t)MANY, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (zeros_of_caller == MAP_FAILED) abort();
    limit_memory();
    test_objects();
    test_calls();
    test_files();
    remove_test_directory();
    return check_end();
}
