/* Small things every example needs: checked calls, checked memory, random numbers. */
#ifndef EXAMPLES_SUPPORT_H
#define EXAMPLES_SUPPORT_H

#include <stdint.h>
#include <taskmet.h>

/* Ends the program with the library's message if the call did not return TASKMET_OK. */
#define CHECK(call) check_status((call), __FILE__, __LINE__)
void check_status(taskmet_status status, const char *file, int line);

/* Prints "error: ..." in printf's manner and ends the program. */
void fail(const char *format, ...);

/* count zeros, to be freed with free(); ends the program where there is no memory. */
double *new_reals(int64_t count);

/* A generator of random numbers (splitmix64): any state is a good seed. */
typedef struct generator {
    uint64_t state;
} generator;

/* Uniform in [low, high). */
double uniform(generator *random, double low, double high);

#endif
