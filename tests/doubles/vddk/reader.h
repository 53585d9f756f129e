/* Reads as NFC's asynchronous I/O serves them.
 *
 * All that delays a read is settled when it is submitted, as one point in time: its turn on the host's link,
 * the session's buffers, the latency. Throughput therefore grows with depth until link or buffers are full,
 * and no thread is held meanwhile. A read that the host has no memory for fails after the latency.
 */
#ifndef READER_H
#define READER_H

#include "disk.h"
#include "vixdisklib.h"

/* VIX_ASYNC, and then exactly one call of `done` from another thread (none for a read that hangs); anything
 * else, and no call. */
VixError reader_submit(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer,
                       CompletionFunction *done, void *data);

/* The same read, waited for. */
VixError reader_read(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer);

/* Returns when no read of this disk is in flight: never, once one hangs. */
void reader_wait(struct disk *disk);

#endif
