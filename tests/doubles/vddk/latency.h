/* How long the host takes to answer: a fixed time and a uniform jitter, the same series for the same seed. */
#ifndef LATENCY_H
#define LATENCY_H

#include "settings.h"

#include <stdint.h>

void latency_set(const struct settings *settings);

/* Nanoseconds, for one request. */
uint64_t latency_draw(void);

#endif
