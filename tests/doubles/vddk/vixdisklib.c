/* A stand-in for VMware's libvixDiskLib, loaded by nbdkit's real vddk plugin in tests.
 *
 * It plays vCenter's and ESXi's side of a disk connection against the files of the vCenter double
 * (tests/doubles/vcenter): the same accounts, certificate, VMs, disks and snapshots, so the same refusals.
 * Two keys of VDDK's own configuration file (nbdkit's config=FILE) steer it; all others are ignored, as VDDK
 * ignores what it does not know:
 *
 *   transferd.double.state = FOLDER      the vCenter double's registry; required
 *   transferd.double.latency_us = N      how long a read takes, in microseconds; default 0
 *
 * Every refusal returns the code that VDDK returns and says why in VDDK's debug log (nbdkit -v).
 */
#include "vixdisklib.h"

#include "blocks.h"
#include "connection.h"
#include "errors.h"
#include "log.h"
#include "reader.h"
#include "registry.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *registry;

/* --- library ------------------------------------------------------------------------------------------- */

API VixError VixDiskLib_InitEx(uint32_t major, uint32_t minor, LogFunction *log, LogFunction *warn,
                               LogFunction *panic, const char *libdir, const char *config)
{
    (void)warn, (void)panic, (void)libdir;
    log_to(log);
    say("VixDiskLib: transferd's stand-in, asked for version %" PRIu32 ".%" PRIu32, major, minor);
    registry = config ? config_value(config, "transferd.double.state") : NULL;
    if (!registry) {
        say("VixDiskLib: transferd.double.state is not set in the configuration file");
        return VIX_E_INVALID_ARG;
    }
    char *latency = config_value(config, "transferd.double.latency_us");
    uint64_t latency_us = latency ? strtoull(latency, NULL, 10) : 0;
    free(latency);
    return reader_start(latency_us);
}

API void VixDiskLib_Exit(void)
{
    reader_stop();
    free(registry);
    registry = NULL;
}

API const char *VixDiskLib_ListTransportModes(void)
{
    return "nbdssl:nbd";
}

API char *VixDiskLib_GetErrorText(VixError error, const char *locale)
{
    (void)locale;
    return strdup(error_text(error));
}

API void VixDiskLib_FreeErrorText(char *text)
{
    free(text);
}

/* --- connection ---------------------------------------------------------------------------------------- */

API struct connect_params *VixDiskLib_AllocateConnectParams(void)
{
    return calloc(1, sizeof(struct connect_params));
}

/* The strings in it are the caller's. */
API void VixDiskLib_FreeConnectParams(struct connect_params *params)
{
    free(params);
}

API VixError VixDiskLib_ConnectEx(const struct connect_params *params, char read_only, const char *snapshot,
                                  const char *transport_modes, struct connection **result)
{
    return connection_make(registry, params, read_only, snapshot, transport_modes, result);
}

API VixError VixDiskLib_Disconnect(struct connection *connection)
{
    connection_free(connection);
    return VIX_OK;
}

/* --- disk ---------------------------------------------------------------------------------------------- */

API VixError VixDiskLib_Open(struct connection *connection, const char *path, uint32_t flags,
                             struct disk **result)
{
    int fd = -1;
    VixError error = connection_open(connection, path, flags, &fd);
    if (error) {
        say("VixDiskLib: VixDiskLib_OpenEx: Cannot open disk %s. Error %" PRIu64 " (%s)", path, error,
            error_text(error));
        return error;
    }
    struct stat status;
    struct disk *disk = calloc(1, sizeof *disk);
    if (!disk || fstat(fd, &status) < 0) {
        close(fd);
        free(disk);
        return VIX_E_OUT_OF_MEMORY;
    }
    disk->fd = fd;
    disk->capacity = status.st_size / SECTOR;
    disk->transport = connection->transport; /* the connection outlives its disks */
    pthread_mutex_init(&disk->lock, NULL);
    pthread_cond_init(&disk->idle, NULL);
    *result = disk;
    return VIX_OK;
}

API VixError VixDiskLib_Close(struct disk *disk)
{
    reader_wait(disk);
    close(disk->fd);
    pthread_cond_destroy(&disk->idle);
    pthread_mutex_destroy(&disk->lock);
    free(disk);
    return VIX_OK;
}

API const char *VixDiskLib_GetTransportMode(struct disk *disk)
{
    return disk->transport;
}

API VixError VixDiskLib_GetInfo(struct disk *disk, struct disk_info **result)
{
    struct disk_info *info = calloc(1, sizeof *info);
    if (!info)
        return VIX_E_OUT_OF_MEMORY;
    info->capacity = disk->capacity;
    info->adapter = ADAPTER_LSILOGIC;
    info->links = 1;
    info->logical_sector = info->physical_sector = SECTOR;
    *result = info;
    return VIX_OK;
}

API void VixDiskLib_FreeInfo(struct disk_info *info)
{
    free(info);
}

/* --- data ---------------------------------------------------------------------------------------------- */

API VixError VixDiskLib_Read(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer)
{
    return reader_read(disk, start, count, buffer);
}

API VixError VixDiskLib_ReadAsync(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer,
                                  CompletionFunction *done, void *data)
{
    return reader_submit(disk, start, count, buffer, done, data);
}

API VixError VixDiskLib_Wait(struct disk *disk)
{
    reader_wait(disk);
    return VIX_OK;
}

API VixError VixDiskLib_QueryAllocatedBlocks(struct disk *disk, uint64_t start, uint64_t count,
                                             uint64_t chunk, struct block_list **list)
{
    return blocks_allocated(disk->fd, disk->capacity, start, count, chunk, list);
}

API VixError VixDiskLib_FreeBlockList(struct block_list *list)
{
    free(list);
    return VIX_OK;
}

/* Sources are read-only: these exist because the plugin will not load without them. */

API VixError VixDiskLib_Flush(struct disk *disk)
{
    (void)disk;
    return VIX_OK;
}

API VixError VixDiskLib_Write(struct disk *disk, uint64_t start, uint64_t count, const unsigned char *buffer)
{
    (void)disk, (void)start, (void)count, (void)buffer;
    return VIX_E_NOT_SUPPORTED;
}

API VixError VixDiskLib_WriteAsync(struct disk *disk, uint64_t start, uint64_t count,
                                   const unsigned char *buffer, CompletionFunction *done, void *data)
{
    (void)disk, (void)start, (void)count, (void)buffer, (void)done, (void)data;
    return VIX_E_NOT_SUPPORTED;
}

API VixError VixDiskLib_Create(struct connection *connection, const char *path, const void *params,
                               void *progress, void *data)
{
    (void)connection, (void)path, (void)params, (void)progress, (void)data;
    return VIX_E_NOT_SUPPORTED;
}
