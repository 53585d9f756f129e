/* Points in time: nanoseconds of CLOCK_MONOTONIC, which is the same for all processes of a machine. */
#ifndef CLOCK_H
#define CLOCK_H

#include <errno.h>
#include <stdint.h>
#include <time.h>

#define SECOND UINT64_C(1000000000)
#define MICROSECOND UINT64_C(1000)

static inline uint64_t now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * SECOND + time.tv_nsec;
}

static inline struct timespec as_timespec(uint64_t point)
{
    return (struct timespec){ .tv_sec = point / SECOND, .tv_nsec = point % SECOND };
}

static inline void sleep_until(uint64_t point)
{
    struct timespec time = as_timespec(point);
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &time, NULL) == EINTR)
        ;
}

static inline uint64_t later(uint64_t one, uint64_t other)
{
    return one > other ? one : other;
}

#endif
