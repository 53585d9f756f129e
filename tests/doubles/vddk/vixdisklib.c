/* A stand-in for VMware's libvixDiskLib, loaded by nbdkit's real vddk plugin in tests.
 *
 * It plays vCenter's and ESXi's side of a disk connection against the files of the vCenter double
 * (tests/doubles/vcenter): the same accounts, certificate, VMs, disks and snapshots, so the same refusals.
 * Keys of VDDK's own configuration file (nbdkit's config=FILE) steer it, `key = value` or `key = "value"`;
 * all others are ignored, as VDDK ignores what it does not know. Ours begin with transferd.double:
 *
 *   .state = FOLDER      the vCenter double's registry; required
 *
 *   Time (latency.h, window.h)
 *   .latency_us = N      how long the host takes for a request, in microseconds; default 0
 *   .jitter_us = N       and up to so much more, uniformly
 *   .seed = N            of the jitter; default 1
 *   .query_us = N        how long QueryAllocatedBlocks takes; the plugin submits no reads meanwhile
 *   .window = on|off     whether a session has only so many AIO buffers; default off. How many, and how
 *                        large, VDDK's own keys say: vixDiskLib.nfcAio.Session.BufSizeIn64KB (default 1)
 *                        and vixDiskLib.nfcAio.Session.BufCount (default 4)
 *
 *   The host (host.h); 0 or absent is no limit
 *   .host = FILE         shared by all processes that name this file; absent: this process alone
 *   .bandwidth = N       bytes per second over all sessions
 *   .nfc_memory = N      bytes in flight over all sessions; a read that would exceed it fails
 *   .sessions = N        open disks over all processes; opening one more fails
 *
 *   Faults (faults.h, blocks.h)
 *   .fault.read = SPEC[;SPEC...]               such as at=65536,length=512,error=EIO,times=2;number=9,hang
 *   .fault.blocks = hide:OFFSET:LENGTH[;...]   QueryAllocatedBlocks says that nothing is there
 *   .faults = FILE       keeps the counts of fault.read over restarts
 *
 *   .trace = FILE        a line per read: start, length, reads in flight (trace.h)
 *
 * Every refusal returns the code that VDDK returns and says why in VDDK's debug log (nbdkit -v).
 */
#include "vixdisklib.h"

#include "blocks.h"
#include "clock.h"
#include "connection.h"
#include "disk.h"
#include "errors.h"
#include "faults.h"
#include "host.h"
#include "latency.h"
#include "log.h"
#include "reader.h"
#include "schedule.h"
#include "settings.h"
#include "trace.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

static struct settings settings;

/* --- library ------------------------------------------------------------------------------------------- */

static VixError start(void)
{
    latency_set(&settings);
    VixError error = blocks_hide(settings.fault_blocks);
    if (!error)
        error = faults_start(&settings);
    if (!error)
        error = trace_start(settings.trace);
    if (!error)
        error = host_join(&settings);
    return error ? error : schedule_start();
}

API VixError VixDiskLib_InitEx(uint32_t major, uint32_t minor, LogFunction *log, LogFunction *warn,
                               LogFunction *panic, const char *libdir, const char *config)
{
    (void)panic, (void)libdir;
    log_to(log, warn);
    say("VixDiskLib: transferd's stand-in, asked for version %" PRIu32 ".%" PRIu32, major, minor);
    VixError error = settings_read(&settings, config);
    return error ? error : start();
}

/* No disk is open any more. */
API void VixDiskLib_Exit(void)
{
    schedule_stop();
    host_leave();
    trace_stop();
    faults_stop();
    settings_free(&settings);
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
    return connection_make(settings.state, params, read_only, snapshot, transport_modes, result);
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
    if (!error) /* the connection outlives its disks, and so does the name of its transport */
        error = disk_open(fd, connection->transport, &settings, result);
    if (error)
        say("VixDiskLib: VixDiskLib_OpenEx: Cannot open disk %s. Error %" PRIu64 " (%s)", path, error,
            error_text(error));
    return error;
}

API VixError VixDiskLib_Close(struct disk *disk)
{
    reader_wait(disk);
    disk_close(disk);
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
    sleep_until(now() + settings.query_us * MICROSECOND);
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
