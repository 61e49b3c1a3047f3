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

/* Reading a mapped file beyond its end, where it shrank, or where the disk fails, raises SIGBUS: there is no other way to
   learn of it. From now on such a signal at an address of a watched mapping writes that mapping's message to standard
   error and leaves with `status`; any other does what it did before. */
void linux_report_mapping_faults(int status);

/* Watches a mapping; `message`, a whole line, is copied. Returns a number for `linux_forget_mapping`, or -1 where there
   are too many to watch. */
int linux_watch_mapping(const void *start, size_t length, const char *message);
void linux_forget_mapping(int number);
