/* The threads that serve reads, as NFC's asynchronous I/O would: each read is due a fixed latency after it
 * was submitted, whatever else is in flight, so throughput grows with depth until the threads are all busy.
 */
#ifndef READER_H
#define READER_H

#include "vixdisklib.h"

#include <pthread.h>

struct disk {
    int fd;
    uint64_t capacity; /* sectors */
    const char *transport;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned pending; /* reads submitted and not completed */
};

/* VIX_OK, or VIX_E_OUT_OF_MEMORY when the threads cannot be started. */
VixError reader_start(uint64_t latency_us);
void reader_stop(void);

/* VIX_ASYNC, and then exactly one call of `done` from another thread; anything else, and no call. */
VixError reader_submit(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer,
                       CompletionFunction *done, void *data);

/* The same read, done by the caller's thread. */
VixError reader_read(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer);

/* Returns when no read of this disk is in flight. */
void reader_wait(struct disk *disk);

#endif
