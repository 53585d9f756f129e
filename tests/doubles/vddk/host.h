/* The ESXi host whose disks are read: what all its sessions share, over all processes that name it.
 *
 * Each process has a slot in the host's file and holds a lock on one byte of it. The kernel drops the lock
 * when the process ends, however it ends, so a slot without a lock is a dead session's, and its share comes
 * back. All processes that name a host must be given the same limits.
 */
#ifndef HOST_H
#define HOST_H

#include "settings.h"
#include "vixdisklib.h"

VixError host_join(const struct settings *settings);
void host_leave(void);

/* One more open disk; VIX_E_SERVER_REFUSED when the host has as many as it can. */
VixError host_open(void);
void host_close(void);

/* Takes so much of the NFC server's memory; VIX_E_OUT_OF_MEMORY when it would be too much. */
VixError host_allocate(uint64_t bytes);
void host_free(uint64_t bytes);

/* When the host's link, which carries everybody's bytes in the order of these calls, is done with these. */
uint64_t host_transmit(uint64_t now, uint64_t bytes);

#endif
