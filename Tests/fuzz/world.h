/*
 * world.h - one random program: its objects, its choices, the arguments that it hands to the library, and what is
 * checked around each of its calls.
 *
 * Everything a program does follows from its seed. A call draws its arguments (argument, size_argument, real_argument,
 * input, output, ...), which are mostly right and now and then wrong in every way that the header excludes; then
 * perform() judges what came back:
 *   the status is one of the enumeration;
 *   a failure has a message that begins with the function's name, and names one of its parameters where an argument is
 *     at fault; no output was written, and the contents of all objects (data, parameters, options, history) are as
 *     they were;
 *   after a success only the objects that the call may change have changed, and real outputs are finite;
 *   callers' pointers are released exactly once where the call that took them succeeded, else never (end_world).
 */
#ifndef WORLD_H
#define WORLD_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE /* memfd_create, and POSIX under -std=c99 */
#endif

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#include "taskmet.h"

typedef enum kind { DATASET, PREDICTOR, METRIC, WORKSPACE, LINEARIZATION, OPTIMIZER, TASK, TRAINER, KINDS } kind;

enum { MOST_OBJECTS = 6, MOST_DESTROYED = 6, MOST_OUTPUTS = 8, MOST_DEPTH = 2 };
enum { MOST_STATUS = TASKMET_ERROR_UNSUPPORTED };

/* A streamed dataset's rows, the same at each reading. Readings of bad_row (-1: none) fail. */
typedef struct stream {
    int64_t rows, features, targets, bad_row;
    uint64_t seed;
} stream;

/* A pointer that the caller hands over with a function that gives it back. */
typedef struct owned {
    struct world *world;
    int taken, released;
    double *x, *y; /* a borrowed dataset's data, which end when they are given back */
    stream stream;
    struct owned *next;
} owned;

typedef struct object {
    void *handle; /* NULL: no object here */
    int64_t inputs, outputs, rows, instances, count; /* count: parameters */
    uint64_t contents;
    int disturbed; /* may have been changed by the call that is going on */
} object;

/* What a call may write to, and what was there before. */
typedef struct output_region {
    unsigned char *bytes, *before;
    size_t size;
    int reals; /* finite after a success */
} output_region;

typedef struct block {
    struct block *next;
} block;

/* A call that is going on. */
typedef struct frame {
    struct frame *outer;
    int depth;
    block *blocks;
    output_region outputs[MOST_OUTPUTS];
    int output_count;
} frame;

typedef struct world {
    uint64_t random;
    int badness, mischief; /* per cent of arguments that are wrong, of callbacks that misbehave */
    int64_t inputs, outputs, rows, group; /* sizes that most objects have; rows of an instance */
    taskmet_precision precision;          /* that most objects have */
    object objects[KINDS][MOST_OBJECTS];
    void *destroyed[KINDS][MOST_DESTROYED];
    owned *owners;
    frame *frame;
    int nested; /* calls made by the callbacks of the present call */
    int split;  /* which thread calls back is left to chance in it: callbacks misbehave by their numbers alone */
    pthread_t thread;
    const char *directory; /* for the program's files */
    taskmet_predictor *probe_predictor;
    taskmet_metric *probe_metric;
    taskmet_task *probe_task;
} world;

/* ---------------------------------------------------------------------------------------------------------------- */
/* The functions of the header                                                                                      */

typedef struct call {
    const char *name;              /* without taskmet_ */
    int weight;                    /* how often, beside the others */
    taskmet_status (*run)(world *); /* draws arguments and calls; TASKMET_OK for a function without a status */
} call;

extern const call data_calls[], stream_calls[], predictor_calls[], metric_calls[], learning_calls[], task_calls[],
    trainer_calls[];

/* All of them, in one table, and what the header says of each; ends the process where the two differ. */
void collect_calls(void);
int call_count(void);
const char *call_name(int index);

/* ---------------------------------------------------------------------------------------------------------------- */
/* A program                                                                                                        */

/* With some objects that fit each other, so that the calls that follow have something to go wrong with. */
void begin_world(world *, uint64_t seed, const char *directory);
/* Destroys everything, and checks that what was handed over was given back once. */
void end_world(world *);

/* A call, and its judgement: of a random function, of the named one, of number `index` of the table. */
taskmet_status perform_any(world *);
taskmet_status perform_named(world *, const char *name);
taskmet_status perform(world *, int index, taskmet_status (*run)(world *)); /* world.c */
taskmet_status judge_status(int index, taskmet_status);                     /* calls.c */

/* Where a broken promise goes: fuzz_api.c. */
void report_finding(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* Where the program is, for the report of a crash: fuzz_api.c. */
void report_place(int call, int depth);
void report_status(int call, taskmet_status status);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Choices                                                                                                          */

uint64_t scrambled(uint64_t); /* splitmix64 */
uint64_t next_random(world *);
int64_t below(world *, int64_t bound); /* 0 .. bound - 1 */
int chance(world *, int percent);
double uniform(world *); /* [-1, 1) */

/* ---------------------------------------------------------------------------------------------------------------- */
/* Arguments                                                                                                        */

/* A handle; object is NULL where it is none of this kind. */
typedef struct argument {
    void *handle;
    const object *object;
} argument;

argument read_argument(world *, kind);    /* of an object that the call reads */
argument changed_argument(world *, kind); /* that it may change */
void disturb(world *, const argument *);  /* it may change, even in a call that fails */
void disturb_all(world *, kind);

/* Its sizes; the world's where it is none. */
object sizes_of(world *, const argument *);

int wrong(world *); /* whether the next argument is to be wrong */
int64_t size_argument(world *, int64_t right);
/* A size of a new object: also one that memory may not hold. */
int64_t dimension_argument(world *, int64_t right);
int64_t stride_argument(world *, int64_t columns);
int32_t case_argument(world *, int32_t cases); /* 0 .. cases - 1 */
taskmet_precision precision_argument(world *);
double real_argument(world *, double right);
double positive_argument(world *); /* about 1 */
double share_argument(world *);    /* in (0, 1) */
/* Of a file: mostly the one that objects of this kind are saved to. */
const char *path_argument(world *, kind);

/* Changes a byte of a file, or makes it longer by one; nothing where there is no file. */
void damage_file(world *, const char *path, int64_t size);

/* Memory until the call ends. */
void *memory(world *, size_t size);
/* A vector of reals in [-size, size); NULL or with a wrong entry where arguments are wrong. */
double *input(world *, int64_t count, double size);
double *input_matrix(world *, int64_t rows, int64_t stride, double size);
/* How many reals input_matrix makes: a few where the sizes are such that the library looks at none. */
size_t input_size(int64_t rows, int64_t stride);
/* What the call writes: watched. May be NULL. */
double *output(world *, int64_t count);
double *output_matrix(world *, int64_t rows, int64_t stride);
double *output_real(world *); /* need not be finite */
int64_t *output_integer(world *);
void *output_bytes(world *, size_t size);
/* A struct with its struct_size, which may be smaller than it is, or impossible. */
void *output_struct(world *, size_t size);
size_t struct_size_argument(world *, size_t size);
void **output_handle(world *);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Objects                                                                                                          */

/* Keeps what a successful call made; passes the status on. */
taskmet_status adopt(world *, kind, taskmet_status, void **made);
/* The same for one that takes an owner. */
owned *new_owner(world *);
taskmet_status adopt_owned(world *, kind, taskmet_status, void **made, owned *);
/* What a call has found out of an object that has no getters. */
void note_sizes(world *, void *handle, object sizes);
/* The handle is about to be destroyed. */
void forget(world *, kind, void *handle);
void destroy_object(kind, void *handle);

/* ---------------------------------------------------------------------------------------------------------------- */
/* Callbacks of every kind; user is an owned: callbacks.c                                                            */

void release_owned(void *user);
int32_t task_callback(void *user, const taskmet_task_batch *batch, double *loss, double *gradient);
int32_t oracle_callback(void *user, const taskmet_oracle_batch *batch, double *decisions);
int32_t losses_callback(void *user, const taskmet_task_batch *batch, double *losses);
enum { CALLBACK_PARAMETERS = 3 }; /* of a predictor made of these; it has the world's number of outputs */
extern const taskmet_predictor_callbacks predictor_callbacks;
int32_t read_callback(void *user, int64_t first_row, int64_t count, double *x, double *y);
int32_t read_f32_callback(void *user, int64_t first_row, int64_t count, float *x, float *y);
/* user is the world. */
int32_t progress_callback(void *user, const taskmet_record *record);
int32_t interrupt_callback(void *user);
void log_callback(void *user, taskmet_log_level level, const char *message);
/* Never misbehaves: loss is a hash of the batch; user is not used. */
int32_t probe_callback(void *user, const taskmet_task_batch *batch, double *loss, double *gradient);

#define CALLS(function) {#function, 10, call_##function}
#define CALLS_OFTEN(function, weight) {#function, weight, call_##function}
#define CALLS_END {NULL, 0, NULL}

#endif /* WORLD_H */
