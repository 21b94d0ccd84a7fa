#include "load_data.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "calendar.h"

/* ------------------------------------------------------------------------------------------------------------------ */
/* The file                                                                                                          */

typedef struct hour {
    int64_t day, hour; /* of New York's clocks */
    double load, temperature;
} hour;

typedef struct hours {
    hour *at;
    int64_t count, room;
} hours;

/* The next number of a line. */
static double number(char **rest, const char *path, long line)
{
    char *end;
    double value = strtod(*rest, &end);
    if (end == *rest) fail("%s:%ld: expected three numbers: unix time, load, temperature", path, line);
    if (!isfinite(value)) fail("%s:%ld: a number is not finite", path, line);
    *rest = end;
    return value;
}

static hour parse_hour(char *text, const char *path, long line)
{
    hour h;
    double time = number(&text, path, line);
    h.load = number(&text, path, line);
    h.temperature = number(&text, path, line);
    while (isspace((unsigned char)*text)) text++;
    if (*text != '\0') fail("%s:%ld: more than three numbers, or something that is no number", path, line);
    /* The daylight saving rule does not hold before 2007, and what is after 2200 was not measured. */
    if (!(time >= (double)(days_from_date(2007, 1, 1) * SECONDS_PER_DAY) &&
          time < (double)(days_from_date(2200, 1, 1) * SECONDS_PER_DAY)))
        fail("%s:%ld: %.17g is not a unix time from 2007 on", path, line, time);

    int64_t local = (int64_t)time + new_york_offset((int64_t)time);
    h.day = local / SECONDS_PER_DAY;
    h.hour = local % SECONDS_PER_DAY / SECONDS_PER_HOUR;
    return h;
}

static void append(hours *list, hour h)
{
    if (list->count == list->room) {
        list->room = list->room > 0 ? 2 * list->room : 4096;
        list->at = realloc(list->at, (size_t)list->room * sizeof *list->at);
        if (list->at == NULL) fail("out of memory (%lld hours)", (long long)list->room);
    }
    list->at[list->count++] = h;
}

static hours read_hours(FILE *file, const char *path)
{
    hours list = {NULL, 0, 0};
    char text[256];

    for (long line = 1; fgets(text, sizeof text, file) != NULL; line++) {
        if (strchr(text, '\n') == NULL && strlen(text) + 1 == sizeof text)
            fail("%s:%ld: the line is longer than %d characters", path, line, (int)sizeof text - 2);
        if (strspn(text, " \t\r\n\v\f") == strlen(text)) continue;
        append(&list, parse_hour(text, path, line));
    }
    if (ferror(file)) fail("cannot read %s: %s", path, strerror(errno));
    if (list.count == 0) fail("%s holds no hours", path);
    return list;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Days                                                                                                              */

/* NaN where nothing was measured. */
typedef struct day {
    double load[HOURS], temperature[HOURS];
} day;

static int is_empty(const day *d)
{
    for (int h = 0; h < HOURS; h++)
        if (!isnan(d->load[h])) return 0;
    return 1;
}

/* Missing hours get the next one's value; those at the end of the day the one before. */
static void fill_gaps(double *values)
{
    for (int h = HOURS - 2; h >= 0; h--)
        if (isnan(values[h])) values[h] = values[h + 1];
    for (int h = 1; h < HOURS; h++)
        if (isnan(values[h])) values[h] = values[h - 1];
}

/* Every day from the first to the last, those that are not in the file included. */
static day *sort_into_days(const hours *list, int64_t *first_day, int64_t *count)
{
    int64_t first = list->at[0].day, last = first;
    for (int64_t i = 1; i < list->count; i++) {
        if (list->at[i].day < first) first = list->at[i].day;
        if (list->at[i].day > last) last = list->at[i].day;
    }
    *first_day = first;
    *count = last - first + 1;

    day *days = malloc((size_t)*count * sizeof *days);
    if (days == NULL) fail("out of memory (%lld days)", (long long)*count);
    for (int64_t k = 0; k < *count; k++)
        for (int h = 0; h < HOURS; h++) days[k].load[h] = days[k].temperature[h] = NAN;
    for (int64_t i = 0; i < list->count; i++) {
        day *d = &days[list->at[i].day - first];
        if (!isnan(d->load[list->at[i].hour])) continue; /* the hour that is there twice in November */
        d->load[list->at[i].hour] = list->at[i].load;
        d->temperature[list->at[i].hour] = list->at[i].temperature;
    }
    for (int64_t k = 0; k < *count; k++) {
        fill_gaps(days[k].load);
        fill_gaps(days[k].temperature);
    }
    return days;
}

static void write_features(const day *yesterday, const day *today, int64_t day_number, double *x)
{
    double angle = 6.283185307179586 * (double)day_of_year(day_number) / 365;
    for (int h = 0; h < HOURS; h++) {
        x[h] = yesterday->load[h];
        x[HOURS + h] = yesterday->temperature[h];
        x[2 * HOURS + h] = today->temperature[h];
        x[3 * HOURS + h] = today->temperature[h] * today->temperature[h];
    }
    x[4 * HOURS] = weekday(day_number) >= 5;
    x[4 * HOURS + 1] = cos(angle);
    x[4 * HOURS + 2] = sin(angle);
}

/* All rows in one table, in the order of time. */
static table make_rows(const day *days, int64_t first_day, int64_t count)
{
    int64_t rows = 0;
    table all = table_create(count, LOAD_FEATURES, HOURS);
    for (int64_t k = 1; k < count; k++) {
        if (is_empty(&days[k]) || is_empty(&days[k - 1])) continue;
        write_features(&days[k - 1], &days[k], first_day + k, all.x + rows * LOAD_FEATURES);
        memcpy(all.y + rows * HOURS, days[k].load, sizeof days[k].load);
        rows++;
    }
    all.rows = rows;
    return all;
}

/* Standardises all rows by the mean and the standard deviation of the first `fitted` ones. */
static void standardize(table *all, int64_t fitted)
{
    for (int64_t j = 0; j < all->features; j++) {
        double mean = 0, variance = 0, scale;
        for (int64_t i = 0; i < fitted; i++) mean += all->x[i * all->features + j] / (double)fitted;
        for (int64_t i = 0; i < fitted; i++) {
            double deviation = all->x[i * all->features + j] - mean;
            variance += deviation * deviation / (double)fitted;
        }
        scale = variance > 0 ? sqrt(variance) : 1; /* a column that does not vary */
        for (int64_t i = 0; i < all->rows; i++)
            all->x[i * all->features + j] = (all->x[i * all->features + j] - mean) / scale;
    }
}

static table part_of(const table *all, int64_t begin, int64_t end)
{
    table part = table_create(end - begin, all->features, all->outputs);
    memcpy(part.x, all->x + begin * all->features, (size_t)(part.rows * part.features) * sizeof(double));
    memcpy(part.y, all->y + begin * all->outputs, (size_t)(part.rows * part.outputs) * sizeof(double));
    table_finish(&part, 1);
    return part;
}

problem load_data_read_stream(FILE *file, const char *path)
{
    problem p = {0};
    int64_t first_day, count, training_end, validation_end;
    hours list = read_hours(file, path);
    day *days = sort_into_days(&list, &first_day, &count);
    table all = make_rows(days, first_day, count);

    if (all.rows < 10) fail("%s: %lld days that follow a day, 10 are needed", path, (long long)all.rows);
    training_end = all.rows * 6 / 10;
    validation_end = all.rows * 8 / 10;
    standardize(&all, training_end);
    p.training = part_of(&all, 0, training_end);
    p.validation = part_of(&all, training_end, validation_end);
    p.test = part_of(&all, validation_end, all.rows);

    table_destroy(&all);
    free(days);
    free(list.at);
    return p;
}

problem load_data_read(const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL) fail("cannot open %s: %s", path, strerror(errno));
    problem p = load_data_read_stream(file, path);
    fclose(file);
    return p;
}
