/*
 * calls.c - the table of calls: that it has every function of the header, the choice of one, and what every status and
 * message must be.
 */
#include "world.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What the header declares: list_functions.sh makes it. */
static const struct function {
    const char *name;
    const char *parameters; /* " dataset rows ... " */
} functions[] = {
#include "functions.inc"
};

/* A message may also name a field of a struct, an option, or the instance of the dataset that does not fit. */
static const char fields[] =
#include "fields.inc"
    ;

enum { FUNCTIONS = sizeof functions / sizeof functions[0], MOST_CALLS = 512 };

static const call *calls[MOST_CALLS];
static const struct function *declared[MOST_CALLS];
static int count, total_weight;

static const struct function *find_function(const char *name) {
    for (size_t k = 0; k < FUNCTIONS; k += 1)
        if (strcmp(functions[k].name, name) == 0) return &functions[k];
    return NULL;
}

static void collect(const call *table) {
    for (; table->name != NULL; table += 1) {
        if (count == MOST_CALLS) abort();
        calls[count] = table;
        declared[count] = find_function(table->name);
        if (declared[count] == NULL) {
            fprintf(stderr, "fuzz_api: taskmet_%s is not in the header\n", table->name);
            exit(2);
        }
        total_weight += table->weight;
        count += 1;
    }
}

void collect_calls(void) {
    const call *const tables[] = {data_calls,     stream_calls, predictor_calls, metric_calls,
                                  learning_calls, task_calls,   trainer_calls};
    int missing = 0;
    for (size_t k = 0; k < sizeof tables / sizeof tables[0]; k += 1) collect(tables[k]);
    for (size_t k = 0; k < FUNCTIONS; k += 1) {
        int there = 0;
        for (int i = 0; i < count; i += 1) there += strcmp(calls[i]->name, functions[k].name) == 0;
        if (there == 1) continue;
        fprintf(stderr, "fuzz_api: the table of calls has taskmet_%s %d times\n", functions[k].name, there);
        missing += 1;
    }
    if (missing > 0) exit(2);
}

int call_count(void) { return count; }

const char *call_name(int index) { return calls[index]->name; }

/* ---------------------------------------------------------------------------------------------------------------- */
/* Judgement                                                                                                        */

static int is_name(char c) { return isalnum((unsigned char)c) || c == '_'; }

/* Whether a word of the message is one of the words of " a b c ". */
static int names_one_of(const char *message, const char *words) {
    char word[66] = " ";
    for (const char *at = message; *at != 0;) {
        size_t length = 0;
        while (is_name(at[length])) length += 1;
        if (length > 0 && length < 60) {
            memcpy(word + 1, at, length);
            memcpy(word + 1 + length, " ", 2);
            if (strstr(words, word) != NULL) return 1;
        }
        at += length == 0 ? 1 : length;
    }
    return 0;
}

static int names_an_argument(const char *message, const char *parameters) {
    if (names_one_of(message, parameters) || names_one_of(message, fields) || names_one_of(message, " instance "))
        return 1;
    for (int64_t k = 0; k < taskmet_option_count(); k += 1) {
        taskmet_option_description option = {.struct_size = sizeof option};
        char word[66];
        if (taskmet_option_info(k, &option) != TASKMET_OK) continue;
        snprintf(word, sizeof word, " %s ", option.name);
        if (names_one_of(message, word)) return 1;
    }
    return 0;
}

taskmet_status judge_status(int index, taskmet_status status) {
    const char *name = calls[index]->name;
    if (status < TASKMET_OK || status > MOST_STATUS) {
        report_finding("%s gave the status %d", name, (int)status);
        return TASKMET_ERROR_STATE;
    }
    report_status(index, status);
    if (status == TASKMET_OK) return status;
    char message[1024]; /* a copy: the checks call the library too */
    snprintf(message, sizeof message, "%s", taskmet_last_error());
    const size_t length = strlen(name);
    if (strncmp(message, name, length) != 0 || strncmp(message + length, ": ", 2) != 0 || message[length + 2] == 0) {
        report_finding("%s gave %s and the message \"%s\"", name, taskmet_status_name(status), message);
        return status;
    }
    const int blames_argument = status == TASKMET_ERROR_INVALID_ARGUMENT || status == TASKMET_ERROR_SHAPE;
    if (blames_argument && !names_an_argument(message + length + 2, declared[index]->parameters))
        report_finding("%s gave %s, and \"%s\" names no argument", name, taskmet_status_name(status), message);
    return status;
}

/* ---------------------------------------------------------------------------------------------------------------- */
/* Choice                                                                                                           */

taskmet_status perform_any(world *w) {
    int64_t left = below(w, total_weight);
    int index = 0;
    while (left >= calls[index]->weight) left -= calls[index++]->weight;
    return perform(w, index, calls[index]->run);
}

taskmet_status perform_named(world *w, const char *name) {
    for (int index = 0; index < count; index += 1)
        if (strcmp(calls[index]->name, name) == 0) return perform(w, index, calls[index]->run);
    report_finding("there is no call %s", name);
    return TASKMET_ERROR_STATE;
}
