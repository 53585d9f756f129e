#include "shared.h"

#include "errors.h"
#include "log.h"

#include <fcntl.h>
#include <stdbool.h>
#include <sys/mman.h>
#include <unistd.h>

VixError shared_open(struct shared *shared, const char *path, size_t size)
{
    *shared = (struct shared){ .size = size, .fd = -1 };
    int flags = path ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    if (path)
        shared->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    /* All who share a file call it the same size, so who truncates last changes nothing. */
    bool ready = !path || (shared->fd >= 0 && ftruncate(shared->fd, size) == 0);
    void *memory = ready ? mmap(NULL, size, PROT_READ | PROT_WRITE, flags, shared->fd, 0) : MAP_FAILED;
    if (memory == MAP_FAILED) {
        complain("VixDiskLib: cannot share %s: %m", path ? path : "memory");
        shared_close(shared);
        return VIX_E_FILE_ERROR;
    }
    shared->memory = memory;
    return VIX_OK;
}

void shared_close(struct shared *shared)
{
    if (shared->memory)
        munmap(shared->memory, shared->size);
    if (shared->fd >= 0)
        close(shared->fd);
    *shared = (struct shared){ .fd = -1 };
}
