/*
 * fault_kill.c - training in processes that are killed (SIGKILL) at random moments, within saves and between them:
 * what is in the files is always the old state or the new one, and the next process goes on to the bits of an
 * undisturbed run.
 *
 * usage: fault_kill [quick] [seed]
 */
#define _GNU_SOURCE
#include "../c/trainer_fixture.h"

#include <dirent.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { ITERATIONS = 24 };

static const shape network = {60, 2, 2, 2, 24, 20};
#define OPTIONS "warmup_iterations=10 inner_iterations=4 metric_rate=0.05 inner_solver=adam inner_batch=4 " \
                "outer_batch=5 hypergradient_batch=6 patience=0"

/* What the worker tells before it dies. */
typedef struct shared {
    volatile int saving; /* 1: within a save */
    volatile int saves;
} shared;

static shared *told;
static char model_path[600];
static snapshot reference[ITERATIONS + 1]; /* after each iteration of the undisturbed run */

/* ---------------------------------------------------------------------------------------------------------------- */
/* The process that is killed                                                                                        */

static void save(const taskmet_trainer *trainer) {
    taskmet_predictor *last = predictor_of(trainer, TASKMET_MODEL_LAST);
    told->saving = 1;
    NEED(taskmet_trainer_save(trainer, test_path));
    NEED(taskmet_predictor_save(last, model_path));
    told->saving = 0;
    told->saves += 1;
    taskmet_predictor_destroy(last);
}

static void work(void) {
    setup s;
    begin(&s, &network, OPTIONS);
    if (access(test_path, F_OK) == 0) NEED(taskmet_trainer_load(s.trainer, test_path));
    while (record_count(s.trainer) - 1 < ITERATIONS) {
        steps(s.trainer, 1);
        save(s.trainer);
    }
    _exit(check_failed == 0 ? 0 : 1);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The process that kills                                                                                            */

typedef struct counts {
    int kills, within, runs, leftovers;
} counts;

static void wait_for(double seconds) {
    const struct timespec time = {0, (long)(1e9 * seconds)};
    nanosleep(&time, NULL);
}

/* Its number stays its own until it is waited for. */
static int lives(pid_t pid) {
    siginfo_t information;
    memset(&information, 0, sizeof information);
    return waitid(P_PID, (id_t)pid, &information, WEXITED | WNOHANG | WNOWAIT) == 0 && information.si_pid == 0;
}

/* Every other time within a save that the worker has begun. Whether it was killed, and when. */
static void run_and_kill(counts *c, uint64_t *random) {
    const int aim = c->kills % 2;
    const double delay = (random_next(random) + 1) / 2;
    memset(told, 0, sizeof *told);
    fflush(stdout);
    const pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) work();
    int status = 0;
    if (aim) {
        const int saves = (int)(8 * (random_next(random) + 1) / 2);
        while (lives(pid) && !(told->saving && told->saves >= saves)) continue;
        wait_for(3e-3 * delay);
    } else {
        wait_for(60e-3 * delay);
    }
    const int saving = told->saving;
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (WIFEXITED(status)) { /* it was done before */
        CHECK(WEXITSTATUS(status) == 0);
        return;
    }
    CHECK(WTERMSIG(status) == SIGKILL);
    c->kills += 1;
    c->within += saving;
}

/* A state that the undisturbed run has been in; its number of iterations, 0 where nothing was saved yet. */
static int64_t check_trainer_file(void) {
    if (access(test_path, F_OK) != 0) return 0;
    setup s;
    begin(&s, &network, "");
    int64_t done = 0;
    if (CHECK_OK(taskmet_trainer_load(s.trainer, test_path))) {
        done = record_count(s.trainer) - 1;
        CHECK_UNCHANGED(&reference[done], s.trainer, "a state that was saved before a kill");
    }
    finish(&s);
    return done;
}

/* The model of an iteration that is done, and never an older one than before: it is saved after the state. */
static int64_t check_model_file(int64_t done, int64_t before) {
    if (access(model_path, F_OK) != 0) {
        CHECK(before == 0);
        return 0;
    }
    taskmet_predictor *model = NULL;
    if (!CHECK_OK(taskmet_predictor_load(model_path, &model))) return before;
    double *theta = predictor_parameters(model);
    const int64_t count = predictor_count(model);
    int64_t found = done;
    while (found > 0 && !check_same_bits(theta, reference[found].thetas[TASKMET_MODEL_LAST], count)) found -= 1;
    check_that(found > 0 && found >= before, __FILE__, __LINE__, "the model is that of iteration %d, was of %d, of %d",
               (int)found, (int)before, (int)done);
    free(theta);
    taskmet_predictor_destroy(model);
    return found;
}

/* A kill between the link and the rename of a whole file leaves one; they are in nobody's way. */
static int remove_leftovers(void) {
    char path[1200];
    int count = 0;
    DIR *stream = opendir(test_directory);
    if (stream == NULL) abort();
    for (struct dirent *entry = readdir(stream); entry != NULL; entry = readdir(stream)) {
        const size_t length = strlen(entry->d_name);
        if (length < 4 || strcmp(entry->d_name + length - 4, ".tmp") != 0) continue;
        snprintf(path, sizeof path, "%s/%s", test_directory, entry->d_name);
        count += unlink(path) == 0;
    }
    closedir(stream);
    return count;
}

static void make_reference(void) {
    setup s;
    begin(&s, &network, OPTIONS);
    for (int64_t k = 1; k <= ITERATIONS; k += 1) {
        steps(s.trainer, 1);
        reference[k] = take_snapshot(s.trainer);
    }
    CHECK(reference[ITERATIONS].records == ITERATIONS + 1);
    finish(&s);
}

int main(int argc, char **argv) {
    counts c = {0, 0, 0, 0};
    check_begin(argc, argv);
    uint64_t random = argc > 1 ? strtoull(argv[argc - 1], NULL, 10) : 1;
    const int kills = check_quick ? 20 : 200;
    told = mmap(NULL, sizeof *told, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (told == MAP_FAILED) abort();
    make_test_directory();
    snprintf(model_path, sizeof model_path, "%s/model.safetensors", test_directory);
    make_reference();
    int64_t model = 0; /* the iteration of the model file */
    while (c.kills < kills && check_failed == 0) {
        run_and_kill(&c, &random);
        const int64_t done = check_trainer_file();
        model = check_model_file(done, model);
        c.leftovers += remove_leftovers();
        if (done < ITERATIONS) continue;
        c.runs += 1, model = 0; /* to the end, through kills: another one */
        unlink(test_path), unlink(model_path);
    }
    CHECK(c.within >= kills / 10);
    printf("%d kills, %d of them within a save, %d runs to the end, %d leftovers\n", c.kills, c.within, c.runs,
           c.leftovers);
    for (int k = 1; k <= ITERATIONS; k += 1) free_snapshot(&reference[k]);
    unlink(model_path);
    remove_test_directory();
    return check_end();
}
