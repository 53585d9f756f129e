#include "window.h"

#include "clock.h"
#include "errors.h"
#include "latency.h"

#include <stdlib.h>

#define BUFFER_UNIT (64 * 1024)

VixError window_open(struct window *window, const struct settings *settings)
{
    *window = (struct window){ 0 };
    if (!settings->window)
        return VIX_OK;
    if (settings->buffer_64k == 0 || settings->buffers == 0)
        return VIX_E_INVALID_ARG;
    window->size = settings->buffer_64k * BUFFER_UNIT;
    window->buffers = settings->buffers;
    window->free = calloc(window->buffers, sizeof *window->free);
    return window->free ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

void window_close(struct window *window)
{
    free(window->free);
}

static uint64_t *first_free(const struct window *window)
{
    uint64_t *first = window->free;
    for (uint64_t i = 1; i < window->buffers; i++)
        if (window->free[i] < *first)
            first = &window->free[i];
    return first;
}

uint64_t window_pass(struct window *window, uint64_t start, uint64_t bytes)
{
    if (!window->size)
        return start + latency_draw();
    uint64_t done = start;
    for (uint64_t sent = 0; sent < bytes; sent += window->size) {
        uint64_t *buffer = first_free(window);
        *buffer = later(start, *buffer) + latency_draw();
        done = later(done, *buffer);
    }
    return done;
}
