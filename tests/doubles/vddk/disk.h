/* An open disk: one session on the host. */
#ifndef DISK_H
#define DISK_H

#include "settings.h"
#include "vixdisklib.h"
#include "window.h"

#include <pthread.h>

struct disk {
    int fd;
    uint64_t capacity; /* sectors */
    const char *transport;
    pthread_mutex_t lock;
    pthread_cond_t idle;
    unsigned pending;     /* reads whose caller has not been called back */
    unsigned in_flight;   /* reads that the host has not answered */
    uint64_t outstanding; /* bytes of those, without the refused ones */
    struct window window;
};

/* Owns `fd` from now on, also when it fails. */
VixError disk_open(int fd, const char *transport, const struct settings *settings, struct disk **result);

/* No read may be in flight. */
void disk_close(struct disk *disk);

#endif
