/*
 * world.c - see world.h: choices, arguments, objects and their contents, and the judgement of a call.
 */
#include "world.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { CANARY = 16, SENTINEL = 0xA5, SANE = 1 << 12, KEPT_PARAMETERS = 4096 };

/* ---------------------------------------------------------------------------------------------------------------- */
/* Choices                                                                                                          */

uint64_t scrambled(uint64_t z) {
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}

uint64_t next_random(world *w) { return scrambled(w->random += UINT64_C(0x9E3779B97F4A7C15)); }

int64_t below(world *w, int64_t bound) { return (int64_t)(next_random(w) % (uint64_t)bound); }

int chance(world *w, int percent) { return below(w, 100) < percent; }

double uniform(world *w) { return 2.0 * ((double)(next_random(w) >> 11) / 9007199254740992.0) - 1.0; }

int wrong(world *w) { return below(w, 1000) < 5 * w->badness; }

/* ---------------------------------------------------------------------------------------------------------------- */
/* Numbers                                                                                                          */

/* A size may be the wrong one of another argument, and the largest there is. */
static int64_t plus(int64_t size, int64_t more) { return (int64_t)((uint64_t)size + (uint64_t)more); }

int64_t size_argument(world *w, int64_t right) {
    if (!wrong(w)) return right;
    const int64_t sizes[] = {plus(right, -1),  plus(right, 1),   0,         -1,       plus(right, 7), INT64_C(1) << 31,
                             INT64_C(1) << 32, INT64_C(1) << 62, INT64_MAX, INT64_MIN};
    return sizes[below(w, 10)];
}

int64_t dimension_argument(world *w, int64_t right) {
    if (chance(w, 10)) return 1 + below(w, 5);
    if (chance(w, w->badness) && chance(w, 5)) {
        const int64_t sizes[] = {INT32_MAX, INT32_MAX - 1, INT64_C(1) << 20, INT64_C(1) << 16};
        return sizes[below(w, 4)];
    }
    return size_argument(w, right);
}

int64_t stride_argument(world *w, int64_t columns) {
    if (chance(w, 20)) return plus(columns, 1 + below(w, 3));
    if (!wrong(w)) return columns;
    const int64_t opposite = plus(~columns, 1);
    const int64_t strides[] = {plus(columns, -1), 0,         -1,       opposite, INT64_C(1) << 45,
                               INT64_C(1) << 62,  INT64_MAX, INT64_MIN};
    return strides[below(w, 8)];
}

int32_t case_argument(world *w, int32_t cases) {
    static const int32_t numbers[] = {-1, 100, INT32_MIN, INT32_MAX};
    if (!wrong(w)) return (int32_t)below(w, cases);
    return chance(w, 50) ? cases : numbers[below(w, 4)];
}

taskmet_precision precision_argument(world *w) {
    if (wrong(w)) return (taskmet_precision)(below(w, 5) - 2);
    return chance(w, 75) ? w->precision : (taskmet_precision)below(w, 2);
}

double real_argument(world *w, double right) {
    static const double numbers[] = {NAN, INFINITY, -INFINITY, 0, -0.0, -1, 1, 1e300, -1e300, 1e-300, 5e-324, 1e308};
    return wrong(w) ? numbers[below(w, 12)] : right;
}

double positive_argument(world *w) { return real_argument(w, exp(2 * uniform(w))); }

double share_argument(world *w) { return real_argument(w, 0.5 + 0.49 * uniform(w)); }

const char *path_argument(world *w, kind k) {
    const int name = chance(w, 15) ? 'a' + (int)below(w, 4) : k == PREDICTOR ? 'a' : k == METRIC ? 'b' : 'c';
    char *path = memory(w, 8192);
    if (!wrong(w)) {
        snprintf(path, 8192, "%s/%c", w->directory, name);
        return path;
    }
    switch (below(w, 7)) {
    case 0: return NULL;
    case 1: path[0] = 0; return path;
    case 2: snprintf(path, 8192, "%s", w->directory); return path;
    case 3: snprintf(path, 8192, "%s/none/a", w->directory); return path;
    case 4: snprintf(path, 8192, "%s/\xff\xfe", w->directory); return path;
    case 5: snprintf(path, 8192, "%s/a/b", w->directory); return path;
    default:
        snprintf(path, 8192, "%s/", w->directory);
        memset(path + strlen(path), 'x', 5000); /* longer than a name may be */
        return path;
    }
}

void damage_file(world *w, const char *path, int64_t size) {
    FILE *file = path == NULL ? NULL : fopen(path, "r+b");
    if (file == NULL) return;
    fseek(file, (long)below(w, size), SEEK_SET);
    if (chance(w, 80)) fputc((int)below(w, 256), file);
    fclose(file);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Memory                                                                                                           */

void *memory(world *w, size_t size) {
    block *b = calloc(1, sizeof(block) + size + CANARY);
    if (b == NULL) abort();
    b->next = w->frame->blocks;
    w->frame->blocks = b;
    return b + 1;
}

size_t input_size(int64_t rows, int64_t stride) {
    if (rows < 0 || rows > SANE || stride < 0 || stride > SANE) return 8;
    return (size_t)(rows * stride);
}

double *input(world *w, int64_t count, double size) { return input_matrix(w, count, 1, size); }

double *input_matrix(world *w, int64_t rows, int64_t stride, double size) {
    if (wrong(w) && chance(w, 30)) return NULL;
    const size_t count = input_size(rows, stride);
    double *values = memory(w, count * sizeof(double));
    for (size_t k = 0; k < count; k += 1) values[k] = size * uniform(w);
    if (count > 0 && wrong(w)) values[below(w, (int64_t)count)] = real_argument(w, 1e9);
    if (wrong(w) && chance(w, 30)) /* data without variation, or of a size that squares overflow at */
        for (size_t k = 0; k < count; k += 1) values[k] = chance(w, 50) ? 0 : 1e200;
    return values;
}

static void watch(world *w, void *bytes, size_t size, int reals) {
    frame *f = w->frame;
    if (f->output_count == MOST_OUTPUTS) abort();
    output_region region = {bytes, memory(w, size), size, reals};
    memcpy(region.before, bytes, size);
    f->outputs[f->output_count++] = region;
}

static void *watched(world *w, size_t size, int reals) {
    if (wrong(w) && chance(w, 30)) return NULL;
    unsigned char *bytes = memory(w, size);
    memset(bytes, SENTINEL, size);
    watch(w, bytes, size, reals);
    return bytes;
}

double *output(world *w, int64_t count) { return output_matrix(w, count, 1); }

double *output_matrix(world *w, int64_t rows, int64_t stride) {
    const int whole = rows == 1 || stride == 1; /* between rows the sentinel stays */
    return watched(w, input_size(rows, stride) * sizeof(double), whole);
}

double *output_real(world *w) { return watched(w, sizeof(double), 0); }
int64_t *output_integer(world *w) { return watched(w, sizeof(int64_t), 0); }
void *output_bytes(world *w, size_t size) { return watched(w, size, 0); }
void **output_handle(world *w) { return watched(w, sizeof(void *), 0); }

size_t struct_size_argument(world *w, size_t size) {
    if (!wrong(w)) return size;
    const size_t sizes[] = {0, 1, 8, 16, size - 8, size - 4, size + 8, SIZE_MAX, SIZE_MAX - 7, size / 16 * 8};
    return sizes[below(w, 10)];
}

void *output_struct(world *w, size_t size) {
    if (chance(w, 15)) return NULL;
    unsigned char *bytes = memory(w, size);
    memset(bytes, SENTINEL, size);
    const size_t claimed = struct_size_argument(w, size);
    memcpy(bytes, &claimed, sizeof claimed);
    watch(w, bytes, size, 0);
    return bytes;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Objects                                                                                                          */

static object *find(world *w, kind k, const void *handle) {
    for (int i = 0; i < MOST_OBJECTS; i += 1)
        if (handle != NULL && w->objects[k][i].handle == handle) return &w->objects[k][i];
    return NULL;
}

static object *any_object(world *w, kind k) {
    const int64_t start = below(w, MOST_OBJECTS);
    for (int64_t i = 0; i < MOST_OBJECTS; i += 1) {
        object *o = &w->objects[k][(start + i) % MOST_OBJECTS];
        if (o->handle != NULL) return o;
    }
    return NULL;
}

static void *bad_handle(world *w, kind k) {
    const object *other = any_object(w, (kind)((k + 1 + below(w, KINDS - 1)) % KINDS));
    switch (below(w, 4)) {
    case 0: return NULL;
    case 1: return w->destroyed[k][below(w, MOST_DESTROYED)];
    case 2: return other == NULL ? NULL : other->handle;
    default: return (void *)(uintptr_t)(chance(w, 50) ? next_random(w) : (uint64_t)below(w, 4096));
    }
}

argument read_argument(world *w, kind k) {
    const object *o = any_object(w, k);
    if (o != NULL && !wrong(w)) return (argument){o->handle, o};
    void *handle = bad_handle(w, k);
    return (argument){handle, find(w, k, handle)};
}

void disturb(world *w, const argument *a) {
    for (kind k = 0; k < KINDS; k += 1) {
        object *o = find(w, k, a->handle);
        if (o != NULL) o->disturbed = 1;
    }
}

void disturb_all(world *w, kind k) {
    for (int i = 0; i < MOST_OBJECTS; i += 1) w->objects[k][i].disturbed = 1;
}

/* Marks it with 2, which counts only where the call succeeds. */
argument changed_argument(world *w, kind k) {
    const argument a = read_argument(w, k);
    object *o = find(w, k, a.handle);
    if (o != NULL && o->disturbed == 0) o->disturbed = 2;
    return a;
}

void destroy_object(kind k, void *handle) {
    switch (k) {
    case DATASET: taskmet_dataset_destroy(handle); break;
    case PREDICTOR: taskmet_predictor_destroy(handle); break;
    case METRIC: taskmet_metric_destroy(handle); break;
    case WORKSPACE: taskmet_workspace_destroy(handle); break;
    case LINEARIZATION: taskmet_linearization_destroy(handle); break;
    case OPTIMIZER: taskmet_optimizer_destroy(handle); break;
    case TASK: taskmet_task_destroy(handle); break;
    case TRAINER: taskmet_trainer_destroy(handle); break;
    case KINDS: break;
    }
}

void note_sizes(world *w, void *handle, object sizes) {
    for (kind k = 0; k < KINDS; k += 1) {
        object *o = find(w, k, handle);
        if (o == NULL) continue;
        o->inputs = sizes.inputs, o->outputs = sizes.outputs, o->rows = sizes.rows, o->count = sizes.count;
    }
}

void forget(world *w, kind k, void *handle) {
    object *o = find(w, k, handle);
    if (o == NULL) return;
    memset(o, 0, sizeof *o);
    w->destroyed[k][below(w, MOST_DESTROYED)] = handle;
}

/* What its getters say of its sizes; 0 while another call writes to it. */
static void look_at(object *o, kind k) {
    switch (k) {
    case DATASET: taskmet_dataset_shape(o->handle, &o->rows, &o->inputs, &o->outputs, &o->instances); break;
    case PREDICTOR: taskmet_predictor_shape(o->handle, &o->inputs, &o->outputs, &o->count); break;
    case METRIC: taskmet_metric_shape(o->handle, &o->inputs, &o->outputs, &o->count); break;
    case TRAINER: taskmet_trainer_history_count(o->handle, &o->count); break;
    default: break;
    }
}

object sizes_of(world *w, const argument *a) {
    for (kind k = 0; k < KINDS && a->object != NULL; k += 1)
        if (a->object == find(w, k, a->handle)) {
            object now = *a->object;
            look_at(&now, k); /* a callback may have changed them within this call */
            return now;
        }
    return (object){.inputs = w->inputs, .outputs = w->outputs, .rows = w->rows, .instances = w->rows / w->group,
                    .count = w->outputs * (w->inputs + 1)};
}

taskmet_status adopt(world *w, kind k, taskmet_status status, void **made) {
    if (status != TASKMET_OK || made == NULL) return status;
    object *place = NULL;
    for (int i = 0; i < MOST_OBJECTS && place == NULL; i += 1)
        if (w->objects[k][i].handle == NULL) place = &w->objects[k][i];
    if (place == NULL) {
        place = any_object(w, k);
        void *old = place->handle;
        forget(w, k, old);
        destroy_object(k, old);
    }
    object new = {.handle = *made, .disturbed = 1};
    look_at(&new, k);
    const int large = new.count > KEPT_PARAMETERS || new.rows > KEPT_PARAMETERS || new.inputs > SANE ||
                      new.outputs > 64 || new.rows * new.outputs > KEPT_PARAMETERS;
    if (k != TRAINER && large)
        destroy_object(k, *made); /* too slow to go on with */
    else
        *place = new;
    return status;
}

owned *new_owner(world *w) {
    owned *owner = calloc(1, sizeof *owner);
    if (owner == NULL) abort();
    owner->world = w;
    owner->next = w->owners;
    w->owners = owner;
    return owner;
}

taskmet_status adopt_owned(world *w, kind k, taskmet_status status, void **made, owned *owner) {
    if (status == TASKMET_OK) owner->taken = 1;
    return adopt(w, k, status, made);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Contents                                                                                                         */

static uint64_t mix(uint64_t hash, const void *bytes, size_t size) {
    for (size_t k = 0; k < size; k += 1) hash = (hash ^ ((const unsigned char *)bytes)[k]) * UINT64_C(0x100000001B3);
    return hash;
}

static uint64_t mix_reals(uint64_t hash, taskmet_status (*get)(const void *, double *, int64_t), void *handle,
                          int64_t count) {
    static double values[KEPT_PARAMETERS];
    if (count < 0 || count > KEPT_PARAMETERS || get(handle, values, count) != TASKMET_OK) return hash ^ 1;
    return mix(hash, values, (size_t)count * sizeof(double));
}

static taskmet_status predictor_values(const void *p, double *out, int64_t count) {
    return taskmet_predictor_get_parameters(p, out, count);
}

static taskmet_status metric_values(const void *m, double *out, int64_t count) {
    return taskmet_metric_get_parameters(m, out, count);
}

/* Everything a task can see of it, and its weights by a loss where the probes fit. */
static uint64_t dataset_contents(world *w, const object *o) {
    static const double zeros[KEPT_PARAMETERS];
    double seen[2] = {0, 0};
    taskmet_task_gradient(w->probe_task, o->handle, TASKMET_PHASE_TRAINING, zeros, o->outputs, &seen[0], NULL, 0);
    taskmet_loss_value(w->probe_predictor, w->probe_metric, o->handle, 0, &seen[1]);
    return mix(0, seen, sizeof seen);
}

static uint64_t trainer_contents(const object *o) {
    uint64_t hash = (uint64_t)o->count;
    for (int64_t i = 0; i < o->count; i += 1) {
        taskmet_record record = {.struct_size = offsetof(taskmet_record, seconds_inner)};
        if (taskmet_trainer_history_get(o->handle, i, &record) != TASKMET_OK) return 0;
        hash = mix(hash, &record, record.struct_size);
    }
    for (int64_t i = 0; i < taskmet_option_count(); i += 1) {
        taskmet_option_description option = {.struct_size = sizeof option};
        taskmet_option_info(i, &option);
        int64_t integer = 0;
        double real = 0;
        const char *string = "";
        if (option.type == TASKMET_OPTION_INT) taskmet_trainer_get_int(o->handle, option.name, &integer);
        if (option.type == TASKMET_OPTION_DOUBLE) taskmet_trainer_get_double(o->handle, option.name, &real);
        if (option.type == TASKMET_OPTION_STRING) taskmet_trainer_get_string(o->handle, option.name, &string);
        hash = mix(mix(mix(hash, &integer, sizeof integer), &real, sizeof real), string, strlen(string));
    }
    return hash;
}

static uint64_t read_contents(world *w, kind k, const object *o) {
    double scale = 0;
    switch (k) {
    case DATASET: return dataset_contents(w, o);
    case PREDICTOR: return mix_reals(0, predictor_values, o->handle, o->count);
    case METRIC:
        taskmet_metric_get_normalization_scale(o->handle, &scale);
        return mix_reals(mix(0, &scale, sizeof scale), metric_values, o->handle, o->count);
    case TRAINER: return trainer_contents(o);
    default: return 0;
    }
}

/* After a call of the program's own (no other call is going on). */
static void check_contents(world *w, int call, taskmet_status status) {
    static const char *const names[] = {"dataset", "predictor", "metric", "workspace", "linearization", "optimizer",
                                        "task", "trainer"};
    for (kind k = 0; k < KINDS; k += 1)
        for (int i = 0; i < MOST_OBJECTS; i += 1) {
            object *o = &w->objects[k][i];
            if (o->handle == NULL) continue;
            const int may_differ = o->disturbed == 1 || (o->disturbed == 2 && status == TASKMET_OK);
            look_at(o, k);
            const uint64_t contents = read_contents(w, k, o);
            if (contents != o->contents && !may_differ)
                report_finding("%s, which gave %s, changed a %s", call_name(call), taskmet_status_name(status),
                               names[k]);
            o->contents = contents;
            o->disturbed = 0;
        }
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Judgement                                                                                                        */

static void check_outputs(const frame *f, int call, taskmet_status status) {
    for (int i = 0; i < f->output_count; i += 1) {
        const output_region *r = &f->outputs[i];
        for (size_t k = 0; k < CANARY; k += 1)
            if (r->bytes[r->size + k] != 0) {
                report_finding("%s wrote behind an output of %zu bytes", call_name(call), r->size);
                break;
            }
        if (status != TASKMET_OK && memcmp(r->bytes, r->before, r->size) != 0)
            report_finding("%s, which gave %s, wrote to an output", call_name(call), taskmet_status_name(status));
        for (size_t k = 0; status == TASKMET_OK && r->reals && k < r->size / sizeof(double); k += 1) {
            double value;
            memcpy(&value, r->bytes + k * sizeof value, sizeof value);
            if (isfinite(value)) continue;
            report_finding("%s gave %g in an output", call_name(call), value);
            break;
        }
    }
}

static void free_blocks(frame *f) {
    while (f->blocks != NULL) {
        block *b = f->blocks;
        f->blocks = b->next;
        free(b);
    }
}

taskmet_status perform(world *w, int call, taskmet_status (*run)(world *)) {
    frame f = {.outer = w->frame, .depth = w->frame == NULL ? 0 : w->frame->depth + 1};
    w->frame = &f;
    report_place(call, f.depth);
    const taskmet_status status = judge_status(call, run(w));
    check_outputs(&f, call, status);
    free_blocks(&f);
    w->frame = f.outer;
    if (f.depth > 0) {
        /* What it changed is another call's to explain. */
        for (kind k = 0; k < KINDS; k += 1)
            for (int i = 0; i < MOST_OBJECTS; i += 1)
                if (w->objects[k][i].disturbed == 2 && status == TASKMET_OK) w->objects[k][i].disturbed = 1;
    } else {
        w->nested = 0;
        check_contents(w, call, status);
    }
    return status;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* A program                                                                                                        */

static void need(taskmet_status status) {
    if (status != TASKMET_OK) report_finding("the probes: %s", taskmet_last_error());
}

void begin_world(world *w, uint64_t seed, const char *directory) {
    static const int badness[] = {0, 2, 8, 30}, mischief[] = {0, 2, 10, 30};
    static const char *const first[] = {
        "dataset_create", "dataset_create", "dataset_create_from_callback", "dataset_set_instances",
        "dataset_set_instances", "predictor_create_linear", "predictor_create_mlp",
        "metric_create_constant", "metric_create_conditional", "workspace_create", "task_create_callback",
        "trainer_create", "trainer_create", "trainer_add_task", "trainer_add_task", "dataset_create",
        "linearization_create", "optimizer_create_adam"};
    static const char *const first_f32[] = {
        "dataset_create_f32", "dataset_create_f32", "dataset_create_from_callback_f32", "dataset_set_instances",
        "dataset_set_instances", "predictor_create_linear", "predictor_create_mlp", "predictor_convert",
        "predictor_convert", "metric_create_constant", "metric_create_conditional", "metric_convert", "metric_convert",
        "workspace_create", "task_create_callback", "trainer_create", "trainer_create", "trainer_create",
        "trainer_create", "trainer_add_task", "trainer_add_task", "linearization_create", "optimizer_create_adam"};
    memset(w, 0, sizeof *w);
    w->random = seed * UINT64_C(0xD1342543DE82EF95) + 1;
    w->directory = directory;
    w->thread = pthread_self();
    w->precision = chance(w, 30) ? TASKMET_FLOAT32 : TASKMET_FLOAT64;
    w->mischief = mischief[below(w, 4)];
    w->inputs = 1 + below(w, 4);
    w->outputs = 1 + below(w, 3);
    w->group = 1 + below(w, 4);
    w->rows = w->group * (1 + below(w, 5));
    need(taskmet_predictor_create_linear(w->inputs, w->outputs, 1, &w->probe_predictor));
    need(taskmet_metric_create_constant(w->outputs, TASKMET_STRUCTURE_SCALAR, 1, 0, &w->probe_metric));
    need(taskmet_task_create_callback(probe_callback, NULL, NULL, &w->probe_task));
    const int narrow = w->precision == TASKMET_FLOAT32;
    const size_t count = narrow ? sizeof first_f32 / sizeof first_f32[0] : sizeof first / sizeof first[0];
    for (size_t k = 0; k < count; k += 1) perform_named(w, narrow ? first_f32[k] : first[k]);
    w->badness = badness[below(w, 4)];
}

void end_world(world *w) {
    for (kind k = 0; k < KINDS; k += 1)
        for (int i = 0; i < MOST_OBJECTS; i += 1) destroy_object(k, w->objects[k][i].handle);
    taskmet_predictor_destroy(w->probe_predictor);
    taskmet_metric_destroy(w->probe_metric);
    taskmet_task_destroy(w->probe_task);
    while (w->owners != NULL) {
        owned *owner = w->owners;
        w->owners = owner->next;
        if (owner->released != owner->taken)
            report_finding("a caller's pointer was taken %d times and given back %d times", owner->taken,
                           owner->released);
        free(owner->x), free(owner->y), free(owner);
    }
}
