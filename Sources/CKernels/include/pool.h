#pragma once
#include <stddef.h>

/// A fork-join pool: workers spin for a moment after a job and then sleep.
typedef struct ek_pool ek_pool;

/// Called once for every index; `worker` is below the pool's thread count and names a scratch area of the caller.
typedef void (*ek_task)(void *context, ptrdiff_t index, int worker);

/// A pool of `threads` threads, the calling one included; NULL if the system refuses them.
ek_pool *ek_pool_create(int threads);
void ek_pool_destroy(ek_pool *pool);
int ek_pool_threads(const ek_pool *pool);

/// Runs task(context, i, worker) for i in 0 ..< count and returns when all are done. Which thread takes which index
/// is open, so a task must compute the same whoever runs it. Not reentrant: one caller at a time.
void ek_pool_run(ek_pool *pool, ptrdiff_t count, ek_task __attribute__((swift_attr("@Sendable"))) task, void *context);
