#include "synthetic_load.h"

#include <math.h>

#include "calendar.h"
#include "support.h"

static const double two_pi = 6.283185307179586;

static double normal(generator *random)
{
    double radius = sqrt(-2 * log(1 - uniform(random, 0, 1)));
    return radius * cos(two_pi * uniform(random, 0, 1));
}

/* max(z, 0) with a bend about `width` wide in place of the corner. */
static double bent(double z, double width) { return z > 30 * width ? z : width * log1p(exp(z / width)); }

/* ------------------------------------------------------------------------------------------------------------------ */
/* Weather                                                                                                           */

typedef struct weather {
    double front, next_front; /* how much warmer than the season is yesterday's, and today's, air, in F */
    double sunshine;          /* today's part of a clear day's wave */
    double gust;              /* what changes from hour to hour */
} weather;

/* -1 in the middle of January, 1 in the middle of July. */
static double season(int64_t day) { return -cos(two_pi * (double)(day_of_year(day) - 18) / 365.25); }

static void next_day(weather *w, int64_t day, generator *random)
{
    const double persistence = 0.65;
    double spread = 8 - 2.5 * season(day); /* winters change more than summers */
    w->front = w->next_front;
    w->next_front = persistence * w->front + sqrt(1 - persistence * persistence) * spread * normal(random);
    w->sunshine = uniform(random, 0.3, 1.3);
}

static double temperature_at(weather *w, int64_t day, int64_t hour, generator *random)
{
    double part = ((double)hour + 0.5) / HOURS;
    double wave = -(5.5 + 1.5 * season(day)) * w->sunshine * cos(two_pi * ((double)hour - 4) / HOURS);
    w->gust = 0.8 * w->gust + 0.6 * normal(random);
    return 51 + 23 * season(day) + (1 - part) * w->front + part * w->next_front + wave + w->gust;
}

/* ------------------------------------------------------------------------------------------------------------------ */
/* Load                                                                                                              */

typedef struct demand {
    double building; /* the temperature that buildings have taken on, in F */
    double economy;  /* a slow drift, relative */
    double surprise; /* the noise of this hour, in its own unit: a correlated series of mean 0 */
} demand;

/* 10^5 MW on a working day without heating or cooling. */
static const double working_day[HOURS] = {1.22, 1.16, 1.13, 1.11, 1.13, 1.19, 1.31, 1.42, 1.46, 1.47, 1.48, 1.48,
                                          1.47, 1.47, 1.46, 1.45, 1.46, 1.48, 1.50, 1.52, 1.51, 1.46, 1.37, 1.28};

/* On a free day everything is less, and the morning later. */
static double pattern(int64_t day, int64_t hour)
{
    if (weekday(day) < 5) return working_day[hour];
    return 0.92 * (hour >= 5 && hour < 11 ? working_day[hour - 1] : working_day[hour]);
}

static double load_at(demand *d, double temperature, int64_t day, int64_t hour, double years, generator *random)
{
    const double memory = 0.9;
    double awake = 0.75 + 0.25 * pattern(day, hour) / 1.5; /* coolers run harder when people are there */

    d->building = memory * d->building + (1 - memory) * temperature;
    double heat = bent(d->building - 66, 2), cold = bent(52 - d->building, 3);

    /* The series leans upwards: large shocks are larger that way. */
    double shock = normal(random);
    d->surprise = 0.93 * d->surprise + 0.3 * shock + (shock > 1.5 ? 0.25 * (shock - 1.5) : 0) - 0.01;
    d->economy = 0.9995 * d->economy + 0.0002 * normal(random);

    double spread = 0.02 + 0.005 * heat + 0.001 * cold;
    return pattern(day, hour) * (1 + 0.002 * years + d->economy) + awake * (0.036 * heat + 0.0105 * cold) +
           spread * d->surprise;
}

void synthetic_load_write(FILE *file, uint64_t seed)
{
    const int64_t first_day = days_from_date(2016, 1, 1), end_day = days_from_date(2020, 1, 1);
    generator random = {seed};
    weather w = {0, 0, 1, 0};
    demand d = {30, 0, 0};
    int64_t day = first_day - 1, time = first_day * SECONDS_PER_DAY;

    for (time -= new_york_offset(time);; time += SECONDS_PER_HOUR) { /* from midnight in New York */
        int64_t local = time + new_york_offset(time), hour = local % SECONDS_PER_DAY / SECONDS_PER_HOUR;
        if (local / SECONDS_PER_DAY >= end_day) return;
        if (local / SECONDS_PER_DAY > day) next_day(&w, day = local / SECONDS_PER_DAY, &random);

        double temperature = temperature_at(&w, day, hour, &random);
        double load = load_at(&d, temperature, day, hour, (double)(day - first_day) / 365.25, &random);
        fprintf(file, "%lld %.6f %.2f\n", (long long)time, load, temperature);
    }
}
