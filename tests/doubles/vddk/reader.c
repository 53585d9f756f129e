#include "reader.h"

#include "clock.h"
#include "errors.h"
#include "faults.h"
#include "host.h"
#include "latency.h"
#include "log.h"
#include "schedule.h"
#include "trace.h"

#include <errno.h>
#include <inttypes.h>
#include <semaphore.h>
#include <stdlib.h>
#include <unistd.h>

/* An NFC message's own bytes: a read of 2 MiB fails with "Failed to allocate the requested 2097176 bytes". */
#define NFC_HEADER 24

struct read {
    struct task task; /* first: the schedule knows a read by it */
    struct disk *disk;
    uint64_t offset, length; /* bytes */
    unsigned char *buffer;
    CompletionFunction *done;
    void *data;
    Struck struck;
    bool refused; /* the host had no memory */
};

/* --- data ---------------------------------------------------------------------------------------------- */

static bool within(const struct disk *disk, uint64_t start, uint64_t count)
{
    return start <= disk->capacity && count <= disk->capacity - start;
}

static VixError transfer(int fd, uint64_t offset, uint64_t length, unsigned char *buffer)
{
    while (length > 0) {
        ssize_t got = pread(fd, buffer, length, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* 0: the file has become shorter than the disk */
            return VIX_E_FILE_ERROR;
        buffer += got;
        offset += got;
        length -= got;
    }
    return VIX_OK;
}

static VixError answer(const struct read *read)
{
    if (read->refused) {
        complain("[NFC ERROR] NfcFssrvrProcessErrorMsg: received NFC error 5 from server: "
                 "Failed to allocate the requested %" PRIu64 " bytes", read->length + NFC_HEADER);
        return VIX_E_OUT_OF_MEMORY;
    }
    VixError error = faults_error(read->struck);
    if (!error)
        error = transfer(read->disk->fd, read->offset, read->length, read->buffer);
    faults_spoil(read->struck, read->offset, read->length, read->buffer);
    return error;
}

/* --- the session's share of the host ------------------------------------------------------------------- */

/* What the host holds in memory for so many outstanding bytes: no more than the session's buffers. */
static uint64_t held(const struct window *window, uint64_t outstanding)
{
    uint64_t most = window->size * window->buffers;
    return most && outstanding > most ? most : outstanding;
}

static bool admit(struct disk *disk, uint64_t length)
{
    uint64_t before = held(&disk->window, disk->outstanding);
    if (host_allocate(held(&disk->window, disk->outstanding + length) - before) != VIX_OK)
        return false;
    disk->outstanding += length;
    return true;
}

static void dismiss(struct disk *disk, uint64_t length)
{
    uint64_t before = held(&disk->window, disk->outstanding);
    disk->outstanding -= length;
    host_free(before - held(&disk->window, disk->outstanding));
}

/* --- a read's life ------------------------------------------------------------------------------------- */

/* The read is on its way: everything that delays it is known. */
static void send(struct read *read)
{
    struct disk *disk = read->disk;
    pthread_mutex_lock(&disk->lock);
    disk->pending++;
    trace_read(read->offset, read->length, ++disk->in_flight);
    read->refused = !admit(disk, read->length);
    uint64_t moment = now();
    if (read->refused)
        read->task.due = moment + latency_draw();
    else
        read->task.due = window_pass(&disk->window, host_transmit(moment, read->length), read->length);
    pthread_mutex_unlock(&disk->lock);
}

/* The host is done with it. */
static void receive(struct read *read)
{
    struct disk *disk = read->disk;
    pthread_mutex_lock(&disk->lock);
    disk->in_flight--;
    if (!read->refused)
        dismiss(disk, read->length);
    pthread_mutex_unlock(&disk->lock);
}

/* The caller knows; the disk may close. */
static void finish(struct read *read)
{
    struct disk *disk = read->disk;
    pthread_mutex_lock(&disk->lock);
    if (--disk->pending == 0)
        pthread_cond_broadcast(&disk->idle);
    pthread_mutex_unlock(&disk->lock);
    free(read);
}

static void complete(struct task *task)
{
    struct read *read = (struct read *)task;
    VixError error = answer(read);
    receive(read); /* first, or the caller's next read could find this one still in its way */
    read->done(read->data, error);
    finish(read);
}

VixError reader_submit(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer,
                       CompletionFunction *done, void *data)
{
    if (!within(disk, start, count))
        return VIX_E_DISK_OUTOFRANGE;
    struct read *read = malloc(sizeof *read);
    if (!read)
        return VIX_E_OUT_OF_MEMORY;
    uint64_t offset = start * SECTOR, length = count * SECTOR;
    *read = (struct read){ { 0, complete }, disk, offset, length, buffer, done, data, 0, false };
    read->struck = faults_strike(offset, length);
    send(read);
    if (faults_hang(read->struck)) {
        free(read); /* nobody will ever ask for it; the session keeps what it holds */
        return VIX_ASYNC;
    }
    if (schedule_add(&read->task) != VIX_OK) {
        receive(read);
        finish(read);
        return VIX_E_OUT_OF_MEMORY;
    }
    return VIX_ASYNC;
}

struct answer {
    sem_t here;
    VixError error;
};

static void arrive(void *data, VixError error)
{
    struct answer *answer = data;
    answer->error = error;
    sem_post(&answer->here);
}

VixError reader_read(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer)
{
    struct answer answer;
    sem_init(&answer.here, 0, 0);
    VixError error = reader_submit(disk, start, count, buffer, arrive, &answer);
    if (error == VIX_ASYNC) {
        while (sem_wait(&answer.here) < 0 && errno == EINTR)
            ;
        error = answer.error;
    }
    sem_destroy(&answer.here);
    return error;
}

void reader_wait(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    while (disk->pending > 0)
        pthread_cond_wait(&disk->idle, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
}
