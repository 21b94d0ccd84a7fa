/*
 * calls_trainer.c - calls of the functions of the trainer.
 */
#include "world.h"

#include <stdio.h>
#include <string.h>

static taskmet_status call_trainer_create(world *w) {
    const argument p = read_argument(w, PREDICTOR), m = read_argument(w, METRIC), d = read_argument(w, DATASET);
    taskmet_trainer **made = (taskmet_trainer **)output_handle(w);
    return adopt(w, TRAINER, taskmet_trainer_create(p.handle, m.handle, d.handle, made), (void **)made);
}

static taskmet_status call_trainer_destroy(world *w) {
    const argument a = read_argument(w, TRAINER);
    forget(w, TRAINER, a.handle);
    taskmet_trainer_destroy(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_trainer_add_task(world *w) {
    const argument a = changed_argument(w, TRAINER), t = read_argument(w, TASK);
    return taskmet_trainer_add_task(a.handle, t.handle, positive_argument(w));
}

static taskmet_status call_trainer_set_validation(world *w) {
    const argument a = changed_argument(w, TRAINER), d = read_argument(w, DATASET);
    return taskmet_trainer_set_validation(a.handle, d.handle);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Options                                                                                                          */

/* One option; another type's now and then. A name that is none is told by `name`. */
static taskmet_option_description draw_option(world *w, taskmet_option_type type, const char **name) {
    taskmet_option_description o = {.struct_size = sizeof o};
    do {
        if (taskmet_option_info(below(w, taskmet_option_count()), &o) != TASKMET_OK)
            report_finding("an option has no description: %s", taskmet_last_error());
    } while (o.type != type && !wrong(w));
    static const char *const names[] = {"", "no such option", "SEED", "seed ", "\xff\xfe", "%s%n"};
    *name = wrong(w) ? (chance(w, 20) ? NULL : names[below(w, 6)]) : o.name;
    return o;
}

static int64_t draw_int(world *w, const taskmet_option_description *o) {
    if (wrong(w)) return chance(w, 50) ? o->int_minimum - 1 : chance(w, 50) ? INT64_MAX : INT64_MIN;
    const int64_t near = o->int_minimum + below(w, 6);
    if (chance(w, 10) && o->int_maximum <= 1000) return o->int_maximum;
    return near > o->int_maximum ? o->int_maximum : near;
}

static double draw_double(world *w, const taskmet_option_description *o) {
    if (wrong(w)) return real_argument(w, o->double_minimum - 1);
    if (chance(w, 5)) return o->double_minimum;
    if (chance(w, 2)) return o->double_maximum;
    const double near = o->double_default * (1 + 0.5 * uniform(w)) + (chance(w, 50) ? 0.1 * uniform(w) : 0);
    return near < o->double_minimum ? o->double_minimum : near > o->double_maximum ? o->double_maximum : near;
}

/* One of the choices "a|b|c". */
static const char *draw_choice(world *w, const char *choices) {
    static const char *const wrong_choices[] = {"", "no such choice", "a|b", "\xc3\x28", "%n"};
    if (wrong(w)) return chance(w, 20) ? NULL : wrong_choices[below(w, 5)];
    int64_t count = 1;
    for (const char *at = choices; at != NULL && *at != 0; at += 1) count += *at == '|';
    int64_t skip = below(w, count);
    const char *start = choices == NULL ? "default" : choices;
    for (; skip > 0; skip -= 1) start = strchr(start, '|') + 1;
    const size_t length = strcspn(start, "|");
    char *choice = memory(w, length + 1);
    memcpy(choice, start, length);
    return choice;
}

static taskmet_status call_trainer_set_int(world *w) {
    const argument a = changed_argument(w, TRAINER);
    const char *name;
    const taskmet_option_description o = draw_option(w, TASKMET_OPTION_INT, &name);
    return taskmet_trainer_set_int(a.handle, name, draw_int(w, &o));
}

static taskmet_status call_trainer_set_double(world *w) {
    const argument a = changed_argument(w, TRAINER);
    const char *name;
    const taskmet_option_description o = draw_option(w, TASKMET_OPTION_DOUBLE, &name);
    return taskmet_trainer_set_double(a.handle, name, draw_double(w, &o));
}

static taskmet_status call_trainer_set_string(world *w) {
    const argument a = changed_argument(w, TRAINER);
    const char *name;
    const taskmet_option_description o = draw_option(w, TASKMET_OPTION_STRING, &name);
    return taskmet_trainer_set_string(a.handle, name, draw_choice(w, o.choices));
}

static taskmet_status call_trainer_get_int(world *w) {
    const argument a = read_argument(w, TRAINER);
    const char *name;
    draw_option(w, TASKMET_OPTION_INT, &name);
    return taskmet_trainer_get_int(a.handle, name, output_integer(w));
}

static taskmet_status call_trainer_get_double(world *w) {
    const argument a = read_argument(w, TRAINER);
    const char *name;
    draw_option(w, TASKMET_OPTION_DOUBLE, &name);
    return taskmet_trainer_get_double(a.handle, name, output(w, 1));
}

static taskmet_status call_trainer_get_string(world *w) {
    const argument a = read_argument(w, TRAINER);
    const char *name;
    draw_option(w, TASKMET_OPTION_STRING, &name);
    return taskmet_trainer_get_string(a.handle, name, (const char **)output_handle(w));
}

static taskmet_status call_option_count(world *w) {
    (void)w;
    if (taskmet_option_count() < 1) report_finding("there are no options");
    return TASKMET_OK;
}

static taskmet_status call_option_info(world *w) {
    const int64_t index = size_argument(w, below(w, taskmet_option_count()));
    return taskmet_option_info(index, output_struct(w, sizeof(taskmet_option_description)));
}

static taskmet_status call_trainer_set_progress(world *w) {
    const argument a = changed_argument(w, TRAINER);
    return taskmet_trainer_set_progress(a.handle, chance(w, 20) ? NULL : progress_callback, w);
}

static taskmet_status call_trainer_set_log(world *w) {
    const argument a = changed_argument(w, TRAINER);
    return taskmet_trainer_set_log(a.handle, chance(w, 20) ? NULL : log_callback, w);
}

static taskmet_status call_trainer_set_interrupt(world *w) {
    const argument a = changed_argument(w, TRAINER);
    return taskmet_trainer_set_interrupt(a.handle, chance(w, 20) ? NULL : interrupt_callback, w);
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Training                                                                                                         */

/* Few iterations of everything: what is asked for is done, however long it takes. */
static void limit(world *w, const argument *a) {
    static const struct {
        const char *name;
        int64_t most;
    } limits[] = {{"outer_iterations", 4}, {"inner_iterations", 8}, {"warmup_iterations", 12}, {"lodl_samples", 20},
                  {"solver_iterations", 20}};
    if (a->object == NULL) return;
    for (size_t k = 0; k < sizeof limits / sizeof limits[0]; k += 1)
        taskmet_trainer_set_int(a->handle, limits[k].name, 2 + below(w, limits[k].most));
}

/* Whether its losses are fitted by several threads, which call the task. */
static int is_split(const taskmet_trainer *trainer) {
    int64_t threads = 1;
    const char *method = "";
    if (taskmet_trainer_get_int(trainer, "threads", &threads) != TASKMET_OK) return 0;
    return threads > 1 && taskmet_trainer_get_string(trainer, "method", &method) == TASKMET_OK &&
           strcmp(method, "lodl") == 0;
}

static taskmet_status call_trainer_step(world *w) {
    const argument a = changed_argument(w, TRAINER);
    limit(w, &a);
    disturb(w, &a); /* by limit */
    taskmet_record *record = output_struct(w, sizeof *record);
    w->split = is_split(a.handle);
    const taskmet_status status = taskmet_trainer_step(a.handle, record);
    w->split = 0;
    return status;
}

static taskmet_status call_trainer_fit(world *w) {
    const argument a = changed_argument(w, TRAINER);
    limit(w, &a);
    disturb(w, &a); /* what went well before a failure stays */
    taskmet_fit_report *report = output_struct(w, sizeof *report);
    w->split = is_split(a.handle);
    const taskmet_status status = taskmet_trainer_fit(a.handle, report);
    w->split = 0;
    return status;
}

static taskmet_status call_trainer_stop(world *w) {
    const argument a = read_argument(w, TRAINER);
    taskmet_trainer_stop(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_trainer_clear_stop(world *w) {
    const argument a = read_argument(w, TRAINER);
    taskmet_trainer_clear_stop(a.handle);
    return TASKMET_OK;
}

static taskmet_status call_trainer_copy_predictor(world *w) {
    const argument a = read_argument(w, TRAINER);
    taskmet_predictor **made = (taskmet_predictor **)output_handle(w);
    return adopt(w, PREDICTOR, taskmet_trainer_copy_predictor(a.handle, case_argument(w, 2), made), (void **)made);
}

static taskmet_status call_trainer_copy_metric(world *w) {
    const argument a = read_argument(w, TRAINER);
    taskmet_metric **made = (taskmet_metric **)output_handle(w);
    return adopt(w, METRIC, taskmet_trainer_copy_metric(a.handle, case_argument(w, 2), made), (void **)made);
}

static taskmet_status call_trainer_history_count(world *w) {
    const argument a = read_argument(w, TRAINER);
    return taskmet_trainer_history_count(a.handle, output_integer(w));
}

static taskmet_status call_trainer_history_get(world *w) {
    const argument a = read_argument(w, TRAINER);
    const int64_t count = sizes_of(w, &a).count, index = size_argument(w, count < 1 ? 0 : below(w, count));
    return taskmet_trainer_history_get(a.handle, index, output_struct(w, sizeof(taskmet_record)));
}

static taskmet_status call_trainer_explain(world *w) {
    const argument a = read_argument(w, TRAINER);
    if (chance(w, 20)) return taskmet_trainer_explain(a.handle, NULL, size_argument(w, 0), output_integer(w));
    const int64_t capacity = wrong(w) ? (chance(w, 50) ? below(w, 200) : -1) : 16384;
    char *out = output_bytes(w, capacity < 0 ? 8 : (size_t)capacity);
    int64_t *size = chance(w, 50) ? NULL : output_integer(w);
    return taskmet_trainer_explain(a.handle, out, capacity, size);
}

static taskmet_status call_trainer_save(world *w) {
    const argument a = read_argument(w, TRAINER);
    return taskmet_trainer_save(a.handle, path_argument(w, TRAINER));
}

/* Before it, the file is damaged now and then. */
static taskmet_status call_trainer_load(world *w) {
    const argument a = changed_argument(w, TRAINER);
    const char *path = path_argument(w, TRAINER);
    if (chance(w, 20)) damage_file(w, path, 4000);
    return taskmet_trainer_load(a.handle, path);
}

const call trainer_calls[] = {
    CALLS_OFTEN(trainer_create, 30),
    CALLS_OFTEN(trainer_destroy, 5),
    CALLS_OFTEN(trainer_add_task, 40),
    CALLS_OFTEN(trainer_set_validation, 5),
    CALLS_OFTEN(trainer_set_int, 20),
    CALLS_OFTEN(trainer_set_double, 20),
    CALLS_OFTEN(trainer_set_string, 20),
    CALLS_OFTEN(trainer_get_int, 3),
    CALLS_OFTEN(trainer_get_double, 3),
    CALLS_OFTEN(trainer_get_string, 3),
    CALLS_OFTEN(option_count, 1),
    CALLS_OFTEN(option_info, 3),
    CALLS_OFTEN(trainer_set_progress, 5),
    CALLS_OFTEN(trainer_set_log, 5),
    CALLS_OFTEN(trainer_set_interrupt, 5),
    CALLS_OFTEN(trainer_step, 40),
    CALLS_OFTEN(trainer_fit, 20),
    CALLS_OFTEN(trainer_stop, 3),
    CALLS_OFTEN(trainer_clear_stop, 15),
    CALLS(trainer_copy_predictor),
    CALLS(trainer_copy_metric),
    CALLS_OFTEN(trainer_history_count, 3),
    CALLS_OFTEN(trainer_history_get, 3),
    CALLS(trainer_explain),
    CALLS(trainer_save),
    CALLS(trainer_load),
    CALLS_END,
};
