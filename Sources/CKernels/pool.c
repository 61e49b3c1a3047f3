#define _GNU_SOURCE
#include "pool.h"

#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

// A worker looks for the next job this often before it sleeps: some 20 µs, longer than the pause between operations.
enum { spin_limit = 8000 };

struct ek_pool {
    int threads;
    int stopping;
    pthread_t *handles;
    ek_task task;
    void *context;
    ptrdiff_t count;
    _Alignas(64) atomic_int generation;
    atomic_int sleepers;
    _Alignas(64) atomic_long next;
    _Alignas(64) atomic_int running;
    atomic_int caller_waits;
};

typedef struct {
    ek_pool *pool;
    int worker;
} worker_start;

static void cpu_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
}

static void futex_wait(atomic_int *word, int value) { syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, 0, 0, 0); }
static void futex_wake(atomic_int *word, int count) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, count, 0, 0, 0); }

static void take_tasks(ek_pool *pool, int worker) {
    for (;;) {
        ptrdiff_t index = atomic_fetch_add_explicit(&pool->next, 1, memory_order_relaxed);
        if (index >= pool->count) return;
        pool->task(pool->context, index, worker);
    }
}

static void *work(void *argument) {
    worker_start start = *(worker_start *)argument;
    free(argument);
    ek_pool *pool = start.pool;
    int seen = 0;
    for (;;) {
        int spins = 0;
        int current;
        while ((current = atomic_load_explicit(&pool->generation, memory_order_acquire)) == seen) {
            if (spins++ < spin_limit) {
                cpu_relax();
                continue;
            }
            atomic_fetch_add(&pool->sleepers, 1);
            if (atomic_load(&pool->generation) == seen) futex_wait(&pool->generation, seen);
            atomic_fetch_sub(&pool->sleepers, 1);
        }
        seen = current;
        if (pool->stopping) return NULL;
        take_tasks(pool, start.worker);
        int left = atomic_fetch_sub_explicit(&pool->running, 1, memory_order_acq_rel) - 1;
        if (left == 0 && atomic_load(&pool->caller_waits)) futex_wake(&pool->running, 1);
    }
}

ek_pool *ek_pool_create(int threads) {
    size_t size = (sizeof(ek_pool) + 63) / 64 * 64;
    ek_pool *pool = aligned_alloc(64, size);
    if (!pool) return NULL;
    *pool = (ek_pool){.threads = 1};
    pool->handles = calloc((size_t)threads, sizeof *pool->handles);
    for (int worker = 1; pool->handles && worker < threads; worker++) {
        worker_start *start = malloc(sizeof *start);
        if (!start) break;
        *start = (worker_start){pool, worker};
        if (pthread_create(&pool->handles[worker], NULL, work, start) != 0) {
            free(start);
            break;
        }
        pool->threads = worker + 1;
    }
    if (pool->threads == threads) return pool;
    ek_pool_destroy(pool);
    return NULL;
}

void ek_pool_destroy(ek_pool *pool) {
    if (!pool) return;
    pool->stopping = 1;
    atomic_fetch_add(&pool->generation, 1);
    futex_wake(&pool->generation, INT_MAX);
    for (int worker = 1; worker < pool->threads; worker++) pthread_join(pool->handles[worker], NULL);
    free(pool->handles);
    free(pool);
}

int ek_pool_threads(const ek_pool *pool) { return pool->threads; }

void ek_pool_run(ek_pool *pool, ptrdiff_t count, ek_task task, void *context) {
    if (pool->threads == 1 || count <= 1) {
        for (ptrdiff_t index = 0; index < count; index++) task(context, index, 0);
        return;
    }
    pool->task = task;
    pool->context = context;
    pool->count = count;
    atomic_store_explicit(&pool->next, 0, memory_order_relaxed);
    atomic_store_explicit(&pool->running, pool->threads - 1, memory_order_relaxed);
    atomic_fetch_add(&pool->generation, 1);
    if (atomic_load(&pool->sleepers)) futex_wake(&pool->generation, INT_MAX);
    take_tasks(pool, 0);
    int spins = 0;
    int left;
    while ((left = atomic_load_explicit(&pool->running, memory_order_acquire)) > 0) {
        if (spins++ < spin_limit) {
            cpu_relax();
            continue;
        }
        atomic_store(&pool->caller_waits, 1);
        left = atomic_load(&pool->running);
        if (left > 0) futex_wait(&pool->running, left);
        atomic_store(&pool->caller_waits, 0);
    }
}
