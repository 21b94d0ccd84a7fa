/*
 * fuzz_options.c - libFuzzer: lines "name=value" as options of a trainer, by each of the three setters. What is
 * accepted reads back, what is refused changes nothing, and a step with the options that came about ends with a status.
 */
#include "target.h"

static void set_int(taskmet_trainer *trainer, const char *name, const char *text) {
    const int64_t value = strtoll(text, NULL, 10);
    int64_t before = 0, after = 0;
    const int known = taskmet_trainer_get_int(trainer, name, &before) == TASKMET_OK;
    const int accepted = loaded(taskmet_trainer_set_int(trainer, name, value));
    PROMISE(known || !accepted);
    if (!known) return;
    PROMISE(taskmet_trainer_get_int(trainer, name, &after) == TASKMET_OK);
    PROMISE(after == (accepted ? value : before));
}

static void set_double(taskmet_trainer *trainer, const char *name, const char *text) {
    const double value = strtod(text, NULL);
    double before = 0, after = 0;
    const int known = taskmet_trainer_get_double(trainer, name, &before) == TASKMET_OK;
    const int accepted = loaded(taskmet_trainer_set_double(trainer, name, value));
    PROMISE(known || !accepted);
    PROMISE(isfinite(value) || !accepted);
    if (!known) return;
    PROMISE(taskmet_trainer_get_double(trainer, name, &after) == TASKMET_OK);
    PROMISE(after == (accepted ? value : before));
}

static void set_string(taskmet_trainer *trainer, const char *name, const char *value) {
    const char *before = NULL, *after = NULL;
    const int known = taskmet_trainer_get_string(trainer, name, &before) == TASKMET_OK;
    const int accepted = loaded(taskmet_trainer_set_string(trainer, name, value));
    PROMISE(known || !accepted);
    if (!known) return;
    PROMISE(taskmet_trainer_get_string(trainer, name, &after) == TASKMET_OK);
    PROMISE(strcmp(after, accepted ? value : before) == 0);
}

/* One line, without its end. */
static void set_option(taskmet_trainer *trainer, char *line) {
    char *value = strchr(line, '=');
    if (value == NULL) return;
    *value++ = 0;
    set_int(trainer, line, value);
    set_double(trainer, line, value);
    set_string(trainer, line, value);
}

/* What no caller would want to wait for. */
static void keep_short(taskmet_trainer *trainer) {
    PROMISE(taskmet_trainer_set_int(trainer, "max_rollbacks", 2) == TASKMET_OK);
    PROMISE(taskmet_trainer_set_int(trainer, "lbfgs_memory", 4) == TASKMET_OK);
    PROMISE(taskmet_trainer_set_int(trainer, "threads", 2) == TASKMET_OK);
    loaded(taskmet_trainer_set_int(trainer, "lodl_samples", 10));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    taskmet_trainer *trainer = make_trainer();
    char *text = malloc(size + 1), *rest = text, *line;
    if (text == NULL) abort();
    memcpy(text, data, size);
    text[size] = 0;
    while ((line = strsep(&rest, "\n")) != NULL) set_option(trainer, line);
    keep_short(trainer);
    for (int k = 0; k < 2; k += 1) loaded(short_step(trainer));
    taskmet_trainer_destroy(trainer);
    free(text);
    return 0;
}
