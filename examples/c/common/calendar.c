#include "calendar.h"

/* Counts years from March, so that the leap day is a year's last. */
int64_t days_from_date(int64_t year, int64_t month, int64_t day)
{
    int64_t y = month > 2 ? year : year - 1;
    int64_t day_since_march = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    return 365 * y + y / 4 - y / 100 + y / 400 + day_since_march - 719468;
}

int64_t year_of_day(int64_t day)
{
    int64_t year = 1970 + day / 366; /* never too late, and for some centuries at most one too early */
    while (days_from_date(year + 1, 1, 1) <= day) year++;
    return year;
}

int64_t day_of_year(int64_t day) { return day - days_from_date(year_of_day(day), 1, 1) + 1; }

int64_t weekday(int64_t day) { return (day + 3) % 7; }

static int64_t sunday_on_or_after(int64_t day) { return day + 6 - weekday(day); }

/* Since 2007 daylight saving time runs from 2:00 on the second Sunday of March (7:00 UTC) to 2:00 on the first Sunday of
 * November (6:00 UTC). */
int64_t new_york_offset(int64_t time)
{
    int64_t year = year_of_day(time / SECONDS_PER_DAY);
    int64_t begin = sunday_on_or_after(days_from_date(year, 3, 8)) * SECONDS_PER_DAY + 7 * SECONDS_PER_HOUR;
    int64_t end = sunday_on_or_after(days_from_date(year, 11, 1)) * SECONDS_PER_DAY + 6 * SECONDS_PER_HOUR;
    return (time >= begin && time < end ? -4 : -5) * SECONDS_PER_HOUR;
}
