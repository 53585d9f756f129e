#include "disk.h"

#include "errors.h"
#include "host.h"

#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static VixError fill(struct disk *disk, int fd, const struct settings *settings)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        return VIX_E_FILE_ERROR;
    disk->capacity = status.st_size / SECTOR;
    VixError error = window_open(&disk->window, settings);
    return error ? error : host_open();
}

VixError disk_open(int fd, const char *transport, const struct settings *settings, struct disk **result)
{
    struct disk *disk = calloc(1, sizeof *disk);
    VixError error = disk ? fill(disk, fd, settings) : VIX_E_OUT_OF_MEMORY;
    if (error) {
        if (disk)
            window_close(&disk->window);
        free(disk);
        close(fd);
        return error;
    }
    disk->fd = fd;
    disk->transport = transport;
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->idle, NULL);
    *result = disk;
    return VIX_OK;
}

void disk_close(struct disk *disk)
{
    host_close();
    window_close(&disk->window);
    close(disk->fd);
    pthread_cond_destroy(&disk->idle);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
}
