/* What steers the stand-in: the keys of VDDK's configuration file that it obeys (listed in vixdisklib.c). */
#ifndef SETTINGS_H
#define SETTINGS_H

#include "vixdisklib.h"

#include <stdbool.h>

struct settings {
    char *state; /* the vCenter double's registry */
    uint64_t latency_us, jitter_us, seed, query_us;
    bool window;
    uint64_t buffer_64k, buffers; /* VDDK's own keys: count only with `window` */
    char *host;                   /* NULL: a host of this process alone */
    uint64_t bandwidth, nfc_memory, sessions; /* of the host; 0: no limit */
    char *fault_read, *fault_blocks;
    char *faults; /* where the counters of fault_read live on; NULL: in this process */
    char *trace;
};

/* VIX_E_INVALID_ARG, said in the log, for a missing `state`, a value that is none, or a key of ours that does
 * not exist: a test with a misspelt fault would otherwise pass for the wrong reason. */
VixError settings_read(struct settings *settings, const char *file);
void settings_free(struct settings *settings);

#endif
