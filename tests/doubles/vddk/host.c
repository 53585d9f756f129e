#include "host.h"

#include "clock.h"
#include "errors.h"
#include "log.h"
#include "shared.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/file.h>

#define SLOTS 256 /* processes on one host */

struct slot {
    _Atomic uint64_t bytes, sessions;
};

struct board {
    _Atomic uint64_t link_free; /* when the link has carried all that was promised */
    struct slot slots[SLOTS];   /* byte i of the file is locked by the owner of slot i */
};

static struct {
    struct shared shared;
    struct board *board;
    struct slot *mine;
    uint64_t bandwidth, nfc_memory, sessions;
    pthread_mutex_t lock; /* between the threads of this process; flock is between processes */
} host = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* --- locks --------------------------------------------------------------------------------------------- */

static void enter(void)
{
    pthread_mutex_lock(&host.lock);
    if (host.shared.fd >= 0)
        while (flock(host.shared.fd, LOCK_EX) < 0 && errno == EINTR)
            ;
}

static void leave(void)
{
    if (host.shared.fd >= 0)
        flock(host.shared.fd, LOCK_UN);
    pthread_mutex_unlock(&host.lock);
}

static struct flock byte_of(unsigned slot)
{
    return (struct flock){ .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = slot, .l_len = 1 };
}

static bool alive(unsigned slot)
{
    struct flock lock = byte_of(slot);
    return fcntl(host.shared.fd, F_OFD_GETLK, &lock) < 0 || lock.l_type != F_UNLCK;
}

static bool claim(unsigned slot)
{
    struct flock lock = byte_of(slot);
    return host.shared.fd < 0 || fcntl(host.shared.fd, F_OFD_SETLK, &lock) == 0;
}

static void bury_the_dead(void)
{
    for (unsigned i = 0; i < SLOTS && host.shared.fd >= 0; i++) {
        struct slot *slot = &host.board->slots[i];
        if (slot != host.mine && (slot->bytes || slot->sessions) && !alive(i))
            slot->bytes = slot->sessions = 0;
    }
}

/* --- lifetime ------------------------------------------------------------------------------------------ */

static bool find_slot(void)
{
    bool alone = true;
    for (unsigned i = 0; i < SLOTS && host.shared.fd >= 0; i++)
        alone = alone && !alive(i);
    if (alone) /* what the link promised to the dead, perhaps before a reboot, binds nobody */
        host.board->link_free = 0;
    for (unsigned i = 0; i < SLOTS && !host.mine; i++)
        if (claim(i))
            host.mine = &host.board->slots[i];
    if (host.mine)
        host.mine->bytes = host.mine->sessions = 0;
    return host.mine;
}

VixError host_join(const struct settings *settings)
{
    VixError error = shared_open(&host.shared, settings->host, sizeof *host.board);
    if (error)
        return error;
    host.board = host.shared.memory;
    host.bandwidth = settings->bandwidth;
    host.nfc_memory = settings->nfc_memory;
    host.sessions = settings->sessions;
    enter();
    bool joined = find_slot();
    leave();
    if (joined)
        return VIX_OK;
    complain("VixDiskLib: the host's file has no room for another process");
    host_leave();
    return VIX_E_OUT_OF_MEMORY;
}

void host_leave(void)
{
    if (host.mine)
        host.mine->bytes = host.mine->sessions = 0;
    host.mine = NULL;
    host.board = NULL;
    shared_close(&host.shared); /* and with it the slot's lock */
}

/* --- limits -------------------------------------------------------------------------------------------- */

enum share { BYTES, SESSIONS };

static _Atomic uint64_t *share_of(struct slot *slot, enum share share)
{
    return share == BYTES ? &slot->bytes : &slot->sessions;
}

static uint64_t total(enum share share)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < SLOTS; i++)
        sum += *share_of(&host.board->slots[i], share);
    return sum;
}

/* Adds to our share unless all shares would exceed the limit. */
static bool take(enum share share, uint64_t amount, uint64_t limit)
{
    if (limit == 0)
        return true;
    enter();
    if (total(share) + amount > limit)
        bury_the_dead();
    bool fits = total(share) + amount <= limit;
    if (fits)
        *share_of(host.mine, share) += amount;
    leave();
    return fits;
}

VixError host_open(void)
{
    if (take(SESSIONS, 1, host.sessions))
        return VIX_OK;
    complain("[NFC ERROR] the host has all %" PRIu64 " sessions that it can serve", host.sessions);
    return VIX_E_SERVER_REFUSED;
}

void host_close(void)
{
    if (host.sessions)
        host.mine->sessions--;
}

VixError host_allocate(uint64_t bytes)
{
    return take(BYTES, bytes, host.nfc_memory) ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}

void host_free(uint64_t bytes)
{
    if (host.nfc_memory)
        host.mine->bytes -= bytes;
}

uint64_t host_transmit(uint64_t now, uint64_t bytes)
{
    if (host.bandwidth == 0)
        return now;
    uint64_t busy = (double)bytes * SECOND / host.bandwidth;
    uint64_t before = host.board->link_free, after;
    do
        after = later(before, now) + busy;
    while (!atomic_compare_exchange_weak(&host.board->link_free, &before, after));
    return after;
}
