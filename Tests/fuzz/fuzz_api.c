/*
 * fuzz_api.c - runs random API programs, and reports those that the library did not survive or lied to.
 *
 *     fuzz_api [--seed S] [--programs N] [--seconds T] [--state FILE] [--memory MB] [--trace] [--list]
 *
 * A program is a function of its seed (and of the compiler, to which C leaves the order of arguments; build.sh takes
 * the same one for all builds; and of the clock, where a trainer asks its interrupt callback); seeds are counted up
 * from S (1). It stops after N programs or T seconds (without both: after 1000 programs). With --state the next seed
 * and the totals are read from the file, if it is there, and written to it every 200 programs, so that runs add up.
 * --trace runs in this process, and tells every call: what to do with a reported seed (fuzz_api --seed S --programs 1
 * --trace). --list names the functions that are called.
 *
 * Programs run in a child process, which keeps its place in shared memory: the parent tells it when the child has died
 * of a signal, or has been in one call for too long, and goes on behind that program. What the child writes to stdout
 * or stderr is a finding too. Its address space is limited (--memory, 4096; 0: no limit), so that sizes no machine
 * holds are refused by the system without being touched.
 *
 * The exit status is 0 where there are no findings, 1 where there are some, 2 for wrong arguments.
 */
#include "world.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 200, MOST_FUNCTIONS = 512, MOST_KINDS = 1024, TOLD = 2, PATIENCE = 120 };

/* What the child and its parent share, and what a state file keeps. */
typedef struct progress {
    uint64_t seed; /* of the present program */
    uint64_t step; /* calls of the present program, nested ones included */
    int32_t call, depth, running;
    int64_t programs, calls, nested, findings, seconds;
    int64_t statuses[MOST_STATUS + 1], called[MOST_FUNCTIONS], succeeded[MOST_FUNCTIONS];
    uint64_t kinds[MOST_KINDS]; /* findings by their text without numbers, and how often */
    int64_t kind_counts[MOST_KINDS];
} progress;

typedef struct settings {
    uint64_t seed;
    int64_t programs, seconds, memory;
    const char *state;
    int trace;
} settings;

static progress *now;
static int trace;
static FILE *report; /* the parent's stderr */
static char directory[64];

static double seconds_now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* What the program tells (world.h)                                                                                 */

/* Whether one like it has been told often enough. */
static int is_known(const char *text) {
    uint64_t hash = 1;
    for (const char *at = text; *at != 0; at += 1)
        if ((*at < '0' || *at > '9') && *at != '-') hash = (hash ^ (unsigned char)*at) * UINT64_C(0x100000001B3);
    for (int k = 0; k < MOST_KINDS; k += 1) {
        const int place = (int)((hash + (uint64_t)k) % MOST_KINDS);
        if (now->kinds[place] != 0 && now->kinds[place] != hash) continue;
        now->kinds[place] = hash;
        now->kind_counts[place] += 1;
        return now->kind_counts[place] > TOLD;
    }
    return 0;
}

void report_finding(const char *format, ...) {
    char text[1024];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    now->findings += 1;
    if (is_known(text)) return;
    fprintf(report, "FINDING seed %" PRIu64 " step %" PRIu64 ": %s\n", now->seed, now->step, text);
    fflush(report);
}

void report_place(int call, int depth) {
    now->call = call;
    now->depth = depth;
    now->step += 1;
    now->calls += 1;
    now->nested += depth > 0;
    now->called[call] += 1;
    if (trace) fprintf(report, "%4" PRIu64 " %*s%s\n", now->step, 2 * depth, "", call_name(call));
}

void report_status(int call, taskmet_status status) {
    now->statuses[status] += 1;
    now->succeeded[call] += status == TASKMET_OK;
    if (!trace) return;
    const char *message = status == TASKMET_OK ? "" : taskmet_last_error();
    fprintf(report, "     %s: %s  %s\n", call_name(call), taskmet_status_name(status), message);
    fflush(report);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Programs                                                                                                         */

static void remove_files(void) {
    char path[96];
    for (const char *name = "abcdxy"; *name != 0; name += 1) {
        snprintf(path, sizeof path, "%s/%c", directory, *name);
        unlink(path);
    }
}

static void run_program(uint64_t seed) {
    world w;
    now->seed = seed;
    now->step = 0;
    remove_files();
    begin_world(&w, seed, directory);
    for (int64_t left = 30 + below(&w, 90); left > 0; left -= 1) perform_any(&w);
    end_world(&w);
    now->programs += 1;
}

/* What was printed since the last look. */
static void check_silence(int descriptor) {
    char text[2048];
    const off_t length = lseek(descriptor, 0, SEEK_END);
    if (length <= 0) return;
    const ssize_t got = pread(descriptor, text, sizeof text - 1, 0);
    text[got < 0 ? 0 : got] = 0;
    if (strstr(text, "AddressSanitizer failed to allocate") == NULL) /* which is not the library's word */
        report_finding("the library printed:\n%s", text);
    if (ftruncate(descriptor, 0) != 0 || lseek(descriptor, 0, SEEK_SET) != 0) _exit(3);
}

static _Noreturn void run_child(const settings *s, uint64_t first, int64_t programs, double end, int output) {
    const struct rlimit none = {0, 0}, memory = {(rlim_t)s->memory << 20, (rlim_t)s->memory << 20};
    setrlimit(RLIMIT_CORE, &none);
    if (s->memory > 0) setrlimit(RLIMIT_AS, &memory);
    dup2(output, STDOUT_FILENO);
    dup2(output, STDERR_FILENO);
    for (int64_t k = 0; k < programs && seconds_now() < end; k += 1) {
        run_program(first + (uint64_t)k);
        check_silence(output);
    }
    now->running = 0;
    _exit(0);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The parent                                                                                                       */

static void tell_end(int status, int hung, int output) {
    char text[16384];
    now->findings += 1;
    fprintf(report, "FINDING seed %" PRIu64 " step %" PRIu64 ": %s %s", now->seed, now->step,
            now->depth > 0 ? "in a callback," : "in", call_name(now->call));
    if (hung)
        fprintf(report, " for more than %d s", PATIENCE);
    else if (WIFSIGNALED(status))
        fprintf(report, " died of signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        fprintf(report, " exited with status %d", WEXITSTATUS(status));
    const ssize_t got = pread(output, text, sizeof text - 1, 0);
    if (got > 0) fprintf(report, "\n%.*s", (int)got, text);
    fprintf(report, "\n");
    fflush(report);
}

/* Waits for the child, but not for one that makes no step. */
static int watch(pid_t child, int *hung) {
    uint64_t seed = 0, step = 0;
    double since = seconds_now();
    int status = 0;
    *hung = 0;
    while (waitpid(child, &status, WNOHANG) == 0) {
        if (now->seed != seed || now->step != step) seed = now->seed, step = now->step, since = seconds_now();
        if (!*hung && seconds_now() - since > PATIENCE) *hung = 1, kill(child, SIGABRT);
        const struct timespec pause = {0, 5000000};
        nanosleep(&pause, NULL);
    }
    return status;
}

static void print_totals(FILE *file) {
    fprintf(file, "next_seed %" PRIu64 "\nprograms %" PRId64 "\ncalls %" PRId64 "\nnested %" PRId64, now->seed,
            now->programs, now->calls, now->nested);
    fprintf(file, "\nfindings %" PRId64 "\nseconds %" PRId64 "\n", now->findings, now->seconds);
    for (int k = 0; k <= MOST_STATUS; k += 1)
        fprintf(file, "%s %" PRId64 "\n", taskmet_status_name(k), now->statuses[k]);
    for (int k = 0; k < call_count(); k += 1)
        fprintf(file, "taskmet_%s %" PRId64 " %" PRId64 "\n", call_name(k), now->called[k], now->succeeded[k]);
}

static void read_totals(settings *s) {
    FILE *file = s->state == NULL ? NULL : fopen(s->state, "r");
    char name[128];
    int64_t value, more;
    if (file == NULL) return;
    char line[256];
    while (fgets(line, sizeof line, file) != NULL) {
        const int fields = sscanf(line, "%127s %" SCNd64 " %" SCNd64, name, &value, &more);
        if (fields < 2) continue;
        if (strcmp(name, "next_seed") == 0) s->seed = (uint64_t)value;
        if (strcmp(name, "programs") == 0) now->programs = value;
        if (strcmp(name, "calls") == 0) now->calls = value;
        if (strcmp(name, "nested") == 0) now->nested = value;
        if (strcmp(name, "findings") == 0) now->findings = value;
        if (strcmp(name, "seconds") == 0) now->seconds = value;
        for (int k = 0; k <= MOST_STATUS; k += 1)
            if (strcmp(name, taskmet_status_name(k)) == 0) now->statuses[k] = value;
        for (int k = 0; k < call_count() && fields == 3; k += 1)
            if (strcmp(name + strlen("taskmet_"), call_name(k)) == 0) now->called[k] = value, now->succeeded[k] = more;
    }
    fclose(file);
}

static void write_totals(const settings *s) {
    char path[4096];
    if (s->state == NULL) return;
    snprintf(path, sizeof path, "%s.new", s->state);
    FILE *file = fopen(path, "w");
    if (file == NULL) {
        fprintf(report, "fuzz_api: cannot write %s: %s\n", path, strerror(errno));
        exit(2);
    }
    print_totals(file);
    if (fclose(file) != 0 || rename(path, s->state) != 0) exit(2);
}

static void run_batches(const settings *s) {
    const double start = seconds_now(), end = s->seconds > 0 ? start + (double)s->seconds : INFINITY;
    const int64_t before = now->seconds;
    uint64_t seed = s->seed;
    const uint64_t last = s->seed + (uint64_t)s->programs;
    while ((s->programs == 0 || seed < last) && seconds_now() < end) {
        const int output = memfd_create("output", MFD_CLOEXEC);
        int64_t programs = BATCH;
        if (s->programs > 0 && (uint64_t)programs > last - seed) programs = (int64_t)(last - seed);
        now->running = 1;
        now->seed = seed - 1;
        const pid_t child = fork();
        if (child < 0 || output < 0) break;
        if (child == 0) run_child(s, seed, programs, end, output);
        int hung;
        const int status = watch(child, &hung);
        if (now->running || status != 0) tell_end(status, hung, output);
        close(output);
        seed = now->seed + 1;
        now->seconds = before + (int64_t)(seconds_now() - start);
        now->seed = seed;
        write_totals(s);
    }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* The command line                                                                                                 */

static _Noreturn void usage(void) {
    fprintf(stderr, "usage: fuzz_api [--seed S] [--programs N] [--seconds T] [--state FILE] [--memory MB] [--trace] "
                    "[--list]\n");
    exit(2);
}

static settings parse(int argc, char **argv) {
    settings s = {1, 0, 0, 4096, NULL, 0};
    for (int k = 1; k < argc; k += 1) {
        const char *value = k + 1 < argc ? argv[k + 1] : NULL;
        if (strcmp(argv[k], "--trace") == 0) {
            s.trace = 1;
        } else if (strcmp(argv[k], "--list") == 0) {
            for (int c = 0; c < call_count(); c += 1) printf("taskmet_%s\n", call_name(c));
            exit(0);
        } else {
            if (value == NULL) usage();
            if (strcmp(argv[k], "--state") == 0) s.state = value;
            else if (strcmp(argv[k], "--seed") == 0) s.seed = strtoull(value, NULL, 10);
            else if (strcmp(argv[k], "--programs") == 0) s.programs = strtoll(value, NULL, 10);
            else if (strcmp(argv[k], "--seconds") == 0) s.seconds = strtoll(value, NULL, 10);
            else if (strcmp(argv[k], "--memory") == 0) s.memory = strtoll(value, NULL, 10);
            else usage();
            k += 1;
        }
    }
    if (s.programs == 0 && s.seconds == 0) s.programs = 1000;
    return s;
}

/* Memory that is faster than a disk, where there is some. */
static void make_directory(void) {
    const char *parent = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";
    snprintf(directory, sizeof directory, "%s/fuzz_api-XXXXXX", parent);
    if (mkdtemp(directory) == NULL) {
        fprintf(stderr, "fuzz_api: cannot make %s: %s\n", directory, strerror(errno));
        exit(2);
    }
}

/* The child's stdout and stderr are taken away; this one is not. */
static FILE *open_report(void) {
    const int copy = dup(STDERR_FILENO);
    FILE *file = copy < 0 ? NULL : fdopen(copy, "w");
    if (file == NULL) exit(2);
    return file;
}

int main(int argc, char **argv) {
    collect_calls();
    settings s = parse(argc, argv);
    now = mmap(NULL, sizeof *now, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (now == MAP_FAILED) exit(2);
    report = open_report();
    make_directory();
    read_totals(&s);
    const int64_t before = now->findings;
    if (s.trace) {
        trace = 1;
        for (int64_t k = 0; k < s.programs; k += 1) run_program(s.seed + (uint64_t)k);
    } else {
        now->seed = s.seed;
        run_batches(&s);
        print_totals(stdout);
    }
    remove_files();
    rmdir(directory);
    printf("fuzz_api: %" PRId64 " calls in %" PRId64 " programs, %" PRId64 " findings\n", now->calls, now->programs,
           now->findings);
    return now->findings > before;
}
