/* Memory that outlives a process and that several may share: a file mapped into each of them. */
#ifndef SHARED_H
#define SHARED_H

#include "vixdisklib.h"

#include <stddef.h>

struct shared {
    void *memory; /* zero where nobody has written yet; NULL: not open */
    size_t size;
    int fd; /* -1: memory of this process alone */
};

/* A NULL path is private memory. VIX_E_FILE_ERROR, said in the log, where there is none to be had. */
VixError shared_open(struct shared *shared, const char *path, size_t size);
void shared_close(struct shared *shared);

#endif
