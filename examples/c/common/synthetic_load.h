/* Hourly load and temperature that nobody measured, for those who have no file of their own. */
#ifndef EXAMPLES_SYNTHETIC_LOAD_H
#define EXAMPLES_SYNTHETIC_LOAD_H

#include <stdint.h>
#include <stdio.h>

/*
 * Writes four years (2016 to 2019) in the format that load_data.h describes: every hour once, by the unix time of its
 * beginning, so that New York's clocks skip one hour each March and show one twice each November.
 *
 * The weather is a yearly and a daily wave with fronts that pass in some days. The load has the pattern of the day and of
 * the week, grows a little, and heats and cools buildings that follow the temperature slowly. What remains is noise: small on
 * mild days, larger on cold and much larger on hot ones, and leaning upwards.
 */
void synthetic_load_write(FILE *file, uint64_t seed);

#endif
