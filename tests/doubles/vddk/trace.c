#include "trace.h"

#include "errors.h"
#include "log.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

static int file = -1;

VixError trace_start(const char *path)
{
    file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600) : -1;
    if (path && file < 0) {
        complain("VixDiskLib: cannot write the trace %s: %m", path);
        return VIX_E_FILE_ERROR;
    }
    return VIX_OK;
}

void trace_stop(void)
{
    if (file >= 0)
        close(file);
    file = -1;
}

void trace_read(uint64_t start, uint64_t length, unsigned in_flight)
{
    if (file < 0)
        return;
    char line[64];
    int size = snprintf(line, sizeof line, "%" PRIu64 " %" PRIu64 " %u\n", start, length, in_flight);
    if (write(file, line, size) != size)
        complain("VixDiskLib: the trace misses a read: %m");
}
