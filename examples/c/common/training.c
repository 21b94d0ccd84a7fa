#include "training.h"

#include <stdio.h>
#include <stdlib.h>

taskmet_trainer *new_trainer(const problem *p, const taskmet_predictor *predictor, const taskmet_metric *metric)
{
    taskmet_trainer *trainer;
    CHECK(taskmet_trainer_create(predictor, metric, p->training.dataset, &trainer));
    CHECK(taskmet_trainer_set_validation(trainer, p->validation.dataset));
    CHECK(taskmet_trainer_add_task(trainer, p->task, 1));
    return trainer;
}

void set_int(taskmet_trainer *trainer, const char *name, int64_t value)
{
    CHECK(taskmet_trainer_set_int(trainer, name, value));
}

void set_double(taskmet_trainer *trainer, const char *name, double value)
{
    CHECK(taskmet_trainer_set_double(trainer, name, value));
}

void set_string(taskmet_trainer *trainer, const char *name, const char *value)
{
    CHECK(taskmet_trainer_set_string(trainer, name, value));
}

taskmet_fit_report fit(taskmet_trainer *trainer)
{
    taskmet_fit_report report = {.struct_size = sizeof report};
    CHECK(taskmet_trainer_fit(trainer, &report));
    return report;
}

const char *stop_name(taskmet_stop_reason reason)
{
    static const char *const names[] = {"not finished", "all iterations done", "no better model for a while",
                                        "asked to stop", "the task asked to stop", "the progress callback asked to stop",
                                        "interrupted", "stalled"};
    int known = reason >= 0 && reason < (taskmet_stop_reason)(sizeof names / sizeof *names);
    return known ? names[reason] : "unknown reason";
}

void print_explanation(const taskmet_trainer *trainer)
{
    int64_t size;
    char *text;
    CHECK(taskmet_trainer_explain(trainer, NULL, 0, &size));
    text = malloc((size_t)size);
    if (text == NULL) fail("out of memory (%lld bytes)", (long long)size);
    CHECK(taskmet_trainer_explain(trainer, text, size, NULL));
    fputs(text, stdout);
    free(text);
}
