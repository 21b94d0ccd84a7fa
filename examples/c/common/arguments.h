/* The command lines of the examples: options of the form --name value, and --help. */
#ifndef EXAMPLES_ARGUMENTS_H
#define EXAMPLES_ARGUMENTS_H

#include <stdint.h>

typedef struct command {
    const char *name;
    const char *usage; /* the whole text, with line ends */
} command;

/* Each of these ends the program with status 2, a message and the usage where the argument is not what it should be. */

void refuse(const command *c, const char *what, const char *argument);

/* What follows the option argv[*k]; *k moves on to it. --help prints the usage and ends the program with status 0. */
const char *option_value(const command *c, int argc, char **argv, int *k);

double positive_number(const command *c, const char *option, const char *text);
uint64_t whole_number(const command *c, const char *option, const char *text, uint64_t lowest, uint64_t highest);

#endif
