#include "support.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void check_status(taskmet_status status, const char *file, int line)
{
    if (status == TASKMET_OK) return;
    fail("%s (%s, at %s:%d)", taskmet_last_error(), taskmet_status_name(status), file, line);
}

void fail(const char *format, ...)
{
    va_list arguments;
    fflush(stdout);
    fputs("error: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(EXIT_FAILURE);
}

double *new_reals(int64_t count)
{
    double *reals = NULL;
    if (count >= 0 && (uint64_t)count <= SIZE_MAX / sizeof(double))
        reals = calloc(count > 0 ? (size_t)count : 1, sizeof(double));
    if (reals == NULL) fail("out of memory (%lld numbers)", (long long)count);
    return reals;
}

double uniform(generator *random, double low, double high)
{
    uint64_t bits = (random->state += UINT64_C(0x9E3779B97F4A7C15));
    bits = (bits ^ (bits >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    bits = (bits ^ (bits >> 27)) * UINT64_C(0x94D049BB133111EB);
    bits ^= bits >> 31;
    return low + (high - low) * ((double)(bits >> 11) / 9007199254740992.0); /* 2^53 */
}
