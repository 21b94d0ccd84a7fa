/* The calendar and New York's clocks, without the host's time zone or locale. */
#ifndef EXAMPLES_CALENDAR_H
#define EXAMPLES_CALENDAR_H

#include <stdint.h>

enum { HOURS = 24, SECONDS_PER_HOUR = 3600, SECONDS_PER_DAY = 86400 };

/* Days are counted from 1970-01-01; month 1..12. */
int64_t days_from_date(int64_t year, int64_t month, int64_t day);
int64_t year_of_day(int64_t day);
int64_t day_of_year(int64_t day); /* 1..366 */
int64_t weekday(int64_t day);     /* 0 is Monday */

/* Seconds to add to a unix time for the time on New York's clocks: valid from 2007 on. */
int64_t new_york_offset(int64_t time);

#endif
