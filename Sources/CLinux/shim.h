#pragma once
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Linux calls that Swift's Glibc module does not have. Each returns -1 and sets errno on failure. */

/* rename(2) that fails with EEXIST where `to` exists. */
static inline int linux_rename_new(const char *from, const char *to) {
    return (int)syscall(SYS_renameat2, -100, from, -100, to, 1u);
}

/* Exchanges two existing names in one step. */
static inline int linux_rename_exchange(const char *a, const char *b) {
    return (int)syscall(SYS_renameat2, -100, a, -100, b, 2u);
}

/* Takes a file's lock for this open file, or fails with EWOULDBLOCK. */
static inline int linux_try_lock(int descriptor) { return flock(descriptor, LOCK_EX | LOCK_NB); }
