#include "reader.h"

#include "errors.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

/* Reads served at once: the greatest depth that transferd uses. */
#define THREADS 64

struct job {
    struct disk *disk;
    uint64_t start, count;
    unsigned char *buffer;
    CompletionFunction *done;
    void *data;
    struct timespec due;
    struct job *next;
};

static struct {
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct job *first, **last; /* in order of submission, which with one latency is the order of due times */
    bool stopping;
    uint64_t latency_us;
    unsigned threads;
    pthread_t thread[THREADS];
} pool = { .lock = PTHREAD_MUTEX_INITIALIZER, .work = PTHREAD_COND_INITIALIZER, .last = &pool.first };

static struct timespec due_time(void)
{
    struct timespec due;
    clock_gettime(CLOCK_MONOTONIC, &due);
    uint64_t nanoseconds = due.tv_nsec + pool.latency_us * 1000;
    due.tv_sec += nanoseconds / 1000000000;
    due.tv_nsec = nanoseconds % 1000000000;
    return due;
}

static void sleep_until(const struct timespec *due)
{
    while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, due, NULL) == EINTR)
        ;
}

static bool within(const struct disk *disk, uint64_t start, uint64_t count)
{
    return start <= disk->capacity && count <= disk->capacity - start;
}

static VixError transfer(const struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer)
{
    uint64_t offset = start * SECTOR, left = count * SECTOR;
    while (left > 0) {
        ssize_t got = pread(disk->fd, buffer, left, offset);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* 0: the file has become shorter than the disk */
            return VIX_E_FILE_ERROR;
        buffer += got;
        offset += got;
        left -= got;
    }
    return VIX_OK;
}

static void complete(struct job *job)
{
    struct disk *disk = job->disk;
    job->done(job->data, transfer(disk, job->start, job->count, job->buffer));
    free(job);
    pthread_mutex_lock(&disk->lock);
    if (--disk->pending == 0)
        pthread_cond_broadcast(&disk->idle);
    pthread_mutex_unlock(&disk->lock);
}

static struct job *next_job(void)
{
    pthread_mutex_lock(&pool.lock);
    while (!pool.first && !pool.stopping)
        pthread_cond_wait(&pool.work, &pool.lock);
    struct job *job = pool.first;
    if (job && !(pool.first = job->next))
        pool.last = &pool.first;
    pthread_mutex_unlock(&pool.lock);
    return job;
}

static void *serve(void *unused)
{
    (void)unused;
    for (struct job *job; (job = next_job());) {
        sleep_until(&job->due);
        complete(job);
    }
    return NULL;
}

VixError reader_start(uint64_t latency_us)
{
    pool.latency_us = latency_us;
    pool.stopping = false;
    for (pool.threads = 0; pool.threads < THREADS; pool.threads++)
        if (pthread_create(&pool.thread[pool.threads], NULL, serve, NULL) != 0) {
            reader_stop();
            return VIX_E_OUT_OF_MEMORY;
        }
    return VIX_OK;
}

void reader_stop(void)
{
    pthread_mutex_lock(&pool.lock);
    pool.stopping = true;
    pthread_cond_broadcast(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    while (pool.threads > 0)
        pthread_join(pool.thread[--pool.threads], NULL);
}

VixError reader_submit(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer,
                       CompletionFunction *done, void *data)
{
    if (!within(disk, start, count))
        return VIX_E_DISK_OUTOFRANGE;
    struct job *job = malloc(sizeof *job);
    if (!job)
        return VIX_E_OUT_OF_MEMORY;
    *job = (struct job){ disk, start, count, buffer, done, data, due_time(), NULL };

    pthread_mutex_lock(&disk->lock);
    disk->pending++;
    pthread_mutex_unlock(&disk->lock);

    pthread_mutex_lock(&pool.lock);
    *pool.last = job;
    pool.last = &job->next;
    pthread_cond_signal(&pool.work);
    pthread_mutex_unlock(&pool.lock);
    return VIX_ASYNC;
}

VixError reader_read(struct disk *disk, uint64_t start, uint64_t count, unsigned char *buffer)
{
    if (!within(disk, start, count))
        return VIX_E_DISK_OUTOFRANGE;
    struct timespec due = due_time();
    sleep_until(&due);
    return transfer(disk, start, count, buffer);
}

void reader_wait(struct disk *disk)
{
    pthread_mutex_lock(&disk->lock);
    while (disk->pending > 0)
        pthread_cond_wait(&disk->idle, &disk->lock);
    pthread_mutex_unlock(&disk->lock);
}
