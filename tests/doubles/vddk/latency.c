#include "latency.h"

#include "clock.h"

#include <stdatomic.h>

static uint64_t fixed, jitter;
static _Atomic uint64_t state;

void latency_set(const struct settings *settings)
{
    fixed = settings->latency_us * MICROSECOND;
    jitter = settings->jitter_us * MICROSECOND;
    state = settings->seed;
}

/* splitmix64 (Steele, Lea, Flood 2014): its state is a counter, so threads draw without a lock. */
static uint64_t random_bits(void)
{
    static const uint64_t step = 0x9e3779b97f4a7c15;
    uint64_t z = atomic_fetch_add(&state, step) + step;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

uint64_t latency_draw(void)
{
    return jitter ? fixed + random_bits() % (jitter + 1) : fixed;
}
