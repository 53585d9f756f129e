/* A session's AIO buffers, which bound its requests on the wire.
 *
 * A read is cut into wire requests of one buffer each; a request waits for a free buffer and holds it for its
 * latency. So a session moves at most buffers x size bytes per latency, however deep its queue.
 */
#ifndef WINDOW_H
#define WINDOW_H

#include "settings.h"
#include "vixdisklib.h"

#include <stdint.h>

struct window {
    uint64_t size;    /* bytes of a buffer; 0: no window, a read is one request and never waits */
    uint64_t buffers;
    uint64_t *free;   /* when each buffer is free */
};

VixError window_open(struct window *window, const struct settings *settings);
void window_close(struct window *window);

/* When the last request of a read of so many bytes, which may start at `start`, completes. The requests of a
 * session must come one read at a time: the caller holds the session's lock. */
uint64_t window_pass(struct window *window, uint64_t start, uint64_t bytes);

#endif
