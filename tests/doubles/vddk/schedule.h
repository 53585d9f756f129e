/* Tasks that run when they are due, each on one of a few threads. Waiting costs no thread, so any number of
 * tasks can wait at once.
 *
 * One idle thread at a time, the leader, waits for the earliest task; when it takes that task it wakes the
 * next leader. The others sleep until there is something for them.
 */
#ifndef SCHEDULE_H
#define SCHEDULE_H

#include "vixdisklib.h"

struct task {
    uint64_t due;
    void (*run)(struct task *task);
};

/* VIX_OK, or VIX_E_OUT_OF_MEMORY when the threads cannot be started. */
VixError schedule_start(void);
void schedule_stop(void); /* tasks that are not due yet never run */

/* VIX_E_OUT_OF_MEMORY, or VIX_OK: then `run` is called once, on another thread. */
VixError schedule_add(struct task *task);

#endif
