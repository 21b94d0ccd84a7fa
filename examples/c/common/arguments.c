#include "arguments.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void refuse(const command *c, const char *what, const char *argument)
{
    fprintf(stderr, "%s: %s: %s\n\n%s", c->name, what, argument, c->usage);
    exit(2);
}

const char *option_value(const command *c, int argc, char **argv, int *k)
{
    const char *option = argv[*k];
    if (strcmp(option, "--help") == 0) {
        fputs(c->usage, stdout);
        exit(0);
    }
    if (strncmp(option, "--", 2) != 0) refuse(c, "unknown argument", option);
    if (*k + 1 >= argc) refuse(c, "unknown option, or one without its value", option);
    return argv[++*k];
}

double positive_number(const command *c, const char *option, const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end != '\0' || !(value > 0) || !isfinite(value)) refuse(c, "not a positive number", option);
    return value;
}

uint64_t whole_number(const command *c, const char *option, const char *text, uint64_t lowest, uint64_t highest)
{
    char *end;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || value < lowest || value > highest)
        refuse(c, "not a whole number in range", option);
    return value;
}
