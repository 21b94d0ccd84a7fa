/*
 * host_loading.c - the library loaded at run time: by a thread that then ends; opened, used and closed ten times;
 * beside a second copy of itself, each with handles of its own.
 *
 * usage: host_loading LIBRARY COPY [quick]
 */
#define _GNU_SOURCE
#include "taskmet.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int passed, failed;
static void check(int good, const char *what) {
    passed += good != 0;
    failed += good == 0;
    if (!good) printf("FAILED: %s\n", what);
}

/* What is used of it; typeof keeps each pointer's type that of the header's function. */
#define FUNCTIONS(X)                                                                                                 \
    X(version) X(last_error) X(dataset_create) X(dataset_destroy) X(predictor_create_mlp) X(predictor_destroy)       \
    X(predictor_get_parameters) X(predictor_parameter_count) X(metric_create_constant) X(metric_destroy)             \
    X(loss_minimize) X(inner_options_init) X(workspace_create) X(workspace_destroy)

typedef struct library {
    void *handle;
#define POINTER(name) __typeof__(&taskmet_##name) name;
    FUNCTIONS(POINTER)
} library;

static library load(const char *path) {
    library l;
    memset(&l, 0, sizeof l);
    l.handle = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (l.handle == NULL) {
        printf("%s\n", dlerror());
        exit(1);
    }
#define LOOK_UP(name) *(void **)&l.name = dlsym(l.handle, "taskmet_" #name);
    FUNCTIONS(LOOK_UP)
    return l;
}

enum { ROWS = 900, COUNT = 8 * 3 + 8 + 8 + 1 };

/* Some training on two threads; its result. */
static int train(const library *l, double theta[COUNT], taskmet_predictor **keep) {
    static double x[ROWS * 3], y[ROWS];
    const int64_t hidden[] = {8};
    const taskmet_activation tanh = TASKMET_ACTIVATION_TANH, none = TASKMET_ACTIVATION_IDENTITY;
    taskmet_dataset *data = NULL;
    taskmet_predictor *p = NULL;
    taskmet_metric *m = NULL;
    taskmet_workspace *w = NULL;
    taskmet_inner_options options;
    for (int i = 0; i < ROWS * 3; i += 1) x[i] = (i * 37 % 101) / 50.0 - 1;
    for (int i = 0; i < ROWS; i += 1) y[i] = x[3 * i] * x[3 * i] - x[3 * i + 2];
    l->inner_options_init(&options);
    options.max_iterations = 5;
    const int good =
        l->dataset_create(ROWS, 3, x, 3, 1, y, 1, &data) == TASKMET_OK &&
        l->predictor_create_mlp(3, 1, 1, hidden, tanh, none, 3, &p) == TASKMET_OK &&
        l->metric_create_constant(1, TASKMET_STRUCTURE_SCALAR, 1, 1, &m) == TASKMET_OK &&
        l->workspace_create(2, 0, &w) == TASKMET_OK &&
        l->loss_minimize(p, m, data, 1e-3, &options, w, NULL) == TASKMET_OK &&
        l->predictor_get_parameters(p, theta, COUNT) == TASKMET_OK;
    if (!good) printf("%s\n", l->last_error());
    l->workspace_destroy(w), l->metric_destroy(m), l->dataset_destroy(data);
    if (keep != NULL) *keep = p;
    else l->predictor_destroy(p);
    return good;
}

static const char *path;
static double first[COUNT];

/* Loads and uses it, leaves a message behind, and ends. */
static void *load_and_end(void *argument) {
    library *l = argument;
    taskmet_dataset *data = NULL;
    *l = load(path);
    check(train(l, first, NULL), "training on the thread that loads");
    check(l->dataset_create(0, 1, NULL, 1, 1, NULL, 1, &data) != TASKMET_OK, "a refusal on that thread");
    return NULL;
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    path = argv[1];
    double theta[COUNT];
    library l;
    pthread_t thread;
    if (pthread_create(&thread, NULL, load_and_end, &l) != 0) abort();
    pthread_join(thread, NULL);
    check(strcmp(l.last_error(), "") == 0, "the message of another thread");
    check(train(&l, theta, NULL) && memcmp(theta, first, sizeof theta) == 0, "the same bits on another thread");
    dlclose(l.handle);
    for (int k = 0; k < 10; k += 1) {
        l = load(path);
        check(train(&l, theta, NULL) && memcmp(theta, first, sizeof theta) == 0, "opened again");
        dlclose(l.handle);
    }
    /* It stays where it is: what it had given out is still good. */
    check(strcmp(l.version(), "") != 0 && l.last_error() != NULL, "still there after dlclose");

    library one = load(path), two = load(argv[2]);
    taskmet_predictor *of_one = NULL, *of_two = NULL;
    check(one.version != two.version, "two copies");
    check(train(&one, theta, &of_one) && memcmp(theta, first, sizeof theta) == 0, "the first of two copies");
    check(train(&two, theta, &of_two) && memcmp(theta, first, sizeof theta) == 0, "the second of two copies");
    taskmet_dataset *none = NULL;
    two.dataset_create(0, 1, NULL, 1, 1, NULL, 1, &none);
    check(strstr(two.last_error(), "rows") != NULL && strcmp(one.last_error(), two.last_error()) != 0,
          "each copy has its own messages");
    two.predictor_destroy(of_two);
    dlclose(two.handle);
    check(one.predictor_get_parameters(of_one, theta, COUNT) == TASKMET_OK,
          "the first copy after the second was closed");
    one.predictor_destroy(of_one);
    printf("%d passed, %d failed\n", passed, failed);
    return failed > 0;
}
