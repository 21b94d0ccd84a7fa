/*
 * host_resources.c - what many objects and small threads cost: a thousand trainers made, used and destroyed leave
 * no memory, descriptor or thread behind; everything runs on a thread with a stack of 256 KiB; a thread that ends
 * takes its message with it and nothing else.
 */
#define _GNU_SOURCE
#include "../c/trainer_fixture.h"
#include "directory.h"

#include <malloc.h>
#include <pthread.h>

static const shape network = {60, 2, 2, 2, 8, 20}, linear = {60, 2, 2, 2, 0, 20}, many = {900, 3, 2, 2, 40, 60};
#define SHORT "warmup_iterations=3 inner_iterations=2 "

static void use(const shape *size, const char *options) {
    setup s;
    char text[8192];
    begin(&s, size, options);
    steps(s.trainer, 1);
    NEED(taskmet_trainer_explain(s.trainer, text, sizeof text, NULL));
    CHECK(taskmet_trainer_set_int(s.trainer, "no such option", 1) != TASKMET_OK);
    finish(&s);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A thousand trainers                                                                                               */

static size_t allocated(void) {
    const struct mallinfo2 information = mallinfo2();
    return information.uordblks + information.hblkhd;
}

static void test_many_trainers(void) {
    const int rounds = check_quick ? 100 : 1000;
    for (int k = 0; k < 20; k += 1) use(&network, SHORT "threads=2"), use(&linear, SHORT);
    const size_t before = allocated();
    const int descriptors = entries_of("/proc/self/fd"), threads = entries_of("/proc/self/task");
    for (int k = 0; k < rounds; k += 1) use(k % 2 ? &network : &linear, k % 4 == 1 ? SHORT "threads=2" : SHORT);
    const long growth = (long)allocated() - (long)before;
    /* The allocator's caches grow to some 25 KB, whether it is a thousand trainers or ten thousand. */
    check_that(growth < 64 << 10, __FILE__, __LINE__, "%d trainers left %ld bytes", rounds, growth);
    CHECK(entries_of("/proc/self/fd") == descriptors && entries_of("/proc/self/task") == threads);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Small threads                                                                                                     */

static void *use_everything(void *argument) {
    (void)argument;
    use(&many, SHORT "inner_solver=adam inner_batch=100 threads=2");
    use(&many, SHORT "inner_solver=lbfgs solver=minres");
    use(&linear, SHORT);
    use(&linear, SHORT "method=weighted_mse");
    use(&network, SHORT "preset=paper inner_iterations=2 warmup_iterations=3");
    setup s;
    begin(&s, &network, SHORT);
    steps(s.trainer, 1);
    NEED(taskmet_trainer_save(s.trainer, test_path));
    NEED(taskmet_trainer_load(s.trainer, test_path));
    double worst = 0;
    taskmet_check_report report;
    memset(&report, 0, sizeof report);
    report.struct_size = sizeof report;
    double *predictions = zeros(s.training.rows * 2);
    NEED(taskmet_task_check_gradient(s.task, s.training.data, predictions, 2, 2, 1, 0, &worst, &report));
    free(predictions);
    finish(&s);
    return NULL;
}

static void run_on_small_thread(void *(*body)(void *)) {
    pthread_attr_t attributes;
    pthread_t thread;
    pthread_attr_init(&attributes);
    CHECK(pthread_attr_setstacksize(&attributes, 256 << 10) == 0);
    if (pthread_create(&thread, &attributes, body, NULL) != 0) abort();
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

/* The message is the thread's own, and goes with it. */
static void *fail_once(void *argument) {
    taskmet_predictor *p = NULL;
    (void)argument;
    CHECK(strcmp(taskmet_last_error(), "") == 0);
    CHECK(taskmet_predictor_create_linear(-5, 1, 1, &p) != TASKMET_OK && strstr(taskmet_last_error(), "-5") != NULL);
    return NULL;
}

static void test_ending_threads(void) {
    taskmet_predictor *p = NULL;
    CHECK(taskmet_predictor_create_linear(-7, 1, 1, &p) != TASKMET_OK);
    for (int k = 0; k < 50; k += 1) run_on_small_thread(fail_once);
    const size_t before = allocated();
    for (int k = 0; k < 200; k += 1) run_on_small_thread(fail_once);
    check_that((long)allocated() - (long)before < 200 * 8, __FILE__, __LINE__, "200 threads left %ld bytes",
               (long)allocated() - (long)before);
    CHECK(strstr(taskmet_last_error(), "-7") != NULL);
}

int main(int argc, char **argv) {
    check_begin(argc, argv);
    make_test_directory();
    run_on_small_thread(use_everything);
    test_many_trainers();
    test_ending_threads();
    remove_test_directory();
    return check_end();
}
