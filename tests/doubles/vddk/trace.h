/* A line per read, `start length inflight`: bytes, and the reads of its session in flight with it.
 *
 * Lines are appended whole, in the order of submission, so several processes may share a file.
 */
#ifndef TRACE_H
#define TRACE_H

#include "vixdisklib.h"

VixError trace_start(const char *path); /* NULL: no trace */
void trace_stop(void);
void trace_read(uint64_t start, uint64_t length, unsigned in_flight);

#endif
