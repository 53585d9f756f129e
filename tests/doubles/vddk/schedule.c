#include "schedule.h"

#include "clock.h"
#include "errors.h"

#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>

/* They only copy, mostly from the page cache; more would help a cold image on slow storage alone. */
#define THREADS 16

static struct {
    pthread_mutex_t lock;
    pthread_cond_t lead, work;
    bool led, stopping;
    struct task **heap; /* by due time: none earlier than its parent, (i - 1) / 2 */
    size_t count, room;
    unsigned threads;
    pthread_t thread[THREADS];
} schedule = {
    .lock = PTHREAD_MUTEX_INITIALIZER,
    .lead = PTHREAD_COND_INITIALIZER,
    .work = PTHREAD_COND_INITIALIZER,
};

/* --- heap ---------------------------------------------------------------------------------------------- */

static void rise(struct task *task, size_t i)
{
    for (; i > 0 && task->due < schedule.heap[(i - 1) / 2]->due; i = (i - 1) / 2)
        schedule.heap[i] = schedule.heap[(i - 1) / 2];
    schedule.heap[i] = task;
}

static void sink(struct task *task)
{
    size_t i = 0;
    for (size_t child; (child = 2 * i + 1) < schedule.count; i = child) {
        if (child + 1 < schedule.count && schedule.heap[child + 1]->due < schedule.heap[child]->due)
            child++;
        if (task->due <= schedule.heap[child]->due)
            break;
        schedule.heap[i] = schedule.heap[child];
    }
    schedule.heap[i] = task;
}

static bool push(struct task *task)
{
    if (schedule.count == schedule.room) {
        size_t room = schedule.room ? 2 * schedule.room : 64;
        struct task **heap = realloc(schedule.heap, room * sizeof *heap);
        if (!heap)
            return false;
        schedule.heap = heap;
        schedule.room = room;
    }
    rise(task, schedule.count++);
    return true;
}

static struct task *pop(void)
{
    struct task *first = schedule.heap[0], *last = schedule.heap[--schedule.count];
    if (schedule.count > 0)
        sink(last);
    return first;
}

/* --- threads ------------------------------------------------------------------------------------------- */

/* The next task that is due, or NULL when it is time to stop. Called with the lock held. */
static struct task *wait_for_task(void)
{
    while (!schedule.stopping) {
        if (schedule.count == 0 || schedule.led) {
            pthread_cond_wait(&schedule.work, &schedule.lock);
        } else if (schedule.heap[0]->due <= now()) {
            return pop();
        } else {
            struct timespec due = as_timespec(schedule.heap[0]->due);
            schedule.led = true;
            pthread_cond_clockwait(&schedule.lead, &schedule.lock, CLOCK_MONOTONIC, &due);
            schedule.led = false;
        }
    }
    return NULL;
}

static void *work(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&schedule.lock);
    for (struct task *task; (task = wait_for_task());) {
        if (schedule.count > 0)
            pthread_cond_signal(&schedule.work);
        pthread_mutex_unlock(&schedule.lock);
        task->run(task);
        pthread_mutex_lock(&schedule.lock);
    }
    pthread_mutex_unlock(&schedule.lock);
    return NULL;
}

VixError schedule_start(void)
{
    schedule.stopping = false;
    for (; schedule.threads < THREADS; schedule.threads++)
        if (pthread_create(&schedule.thread[schedule.threads], NULL, work, NULL) != 0) {
            schedule_stop();
            return VIX_E_OUT_OF_MEMORY;
        }
    return VIX_OK;
}

void schedule_stop(void)
{
    pthread_mutex_lock(&schedule.lock);
    schedule.stopping = true;
    pthread_cond_broadcast(&schedule.work);
    pthread_cond_broadcast(&schedule.lead);
    pthread_mutex_unlock(&schedule.lock);
    while (schedule.threads > 0)
        pthread_join(schedule.thread[--schedule.threads], NULL);
    free(schedule.heap);
    schedule.heap = NULL;
    schedule.count = schedule.room = 0;
}

VixError schedule_add(struct task *task)
{
    pthread_mutex_lock(&schedule.lock);
    bool added = push(task);
    if (added && !schedule.led)
        pthread_cond_signal(&schedule.work);
    else if (added && schedule.heap[0] == task)
        pthread_cond_signal(&schedule.lead);
    pthread_mutex_unlock(&schedule.lock);
    return added ? VIX_OK : VIX_E_OUT_OF_MEMORY;
}
