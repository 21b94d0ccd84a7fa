/* Hourly load and temperature from a text file, made into days. */
#ifndef EXAMPLES_LOAD_DATA_H
#define EXAMPLES_LOAD_DATA_H

#include <stdio.h>

#include "calendar.h"
#include "problem.h"

enum {
    LOAD_FEATURES = 4 * HOURS + 3 /* yesterday's loads and temperatures, today's temperatures and their squares,
                                     weekend, cosine and sine of the day of the year */
};

/*
 * Reads `path`: one hour per line, three numbers apart by white space: unix time in seconds, load in 10^5 MW, temperature
 * in degrees Fahrenheit. Hours are those of New York's clocks, so one day in March lacks an hour and one in November has
 * one twice: an hour met before is dropped, a missing one gets the value of the next hour of that day, or of the one before
 * where there is none after it.
 *
 * A row is a day whose previous day is in the file too; its targets are its 24 loads. The first 60 % of the days are for
 * training, the next 20 % for validation, the last 20 % for the test, and features are standardised by the training days'
 * mean and standard deviation. The task is left to the caller. Ends the program, with a message, if the file is not so.
 */
problem load_data_read(const char *path);

/* The same from an open file; `path` is what its messages call it. */
problem load_data_read_stream(FILE *file, const char *path);

#endif
