/* A login on the vCenter double for one VM, and what it may open.
 *
 * It holds no descriptor: like VDDK's, it reaches the host only when a disk is opened, so power state and
 * snapshots are looked up then.
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include "vixdisklib.h"

#include <stdbool.h>

struct connection {
    const char *registry;
    char *vm;
    char *snapshot; /* NULL: the VM's own disks */
    char *transport;
    bool read_only;
    bool trusted; /* the thumbprint was right */
};

VixError connection_make(const char *registry, const struct connect_params *params, bool read_only,
                         const char *snapshot, const char *transport_modes, struct connection **result);
void connection_free(struct connection *connection);

/* Opens the file behind the disk at a datastore path. */
VixError connection_open(const struct connection *connection, const char *path, uint32_t flags, int *fd);

#endif
