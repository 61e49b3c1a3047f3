#include "shim.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAXIMUM_MAPPINGS = 8192 };

/* `start` is 0 for a free entry and 1 for one that is being filled; the other fields are written before the address is.
   A handler reads an entry only where a read of its mapping failed, so the mapping, and with it the entry, still is. */
static struct mapping {
    _Atomic uintptr_t start;
    size_t length;
    const char *message;
} mappings[MAXIMUM_MAPPINGS];

static int exit_status;

static void on_fault(int number, siginfo_t *info, void *context) {
    (void)context;
    uintptr_t address = (uintptr_t)info->si_addr;
    for (int i = 0; i < MAXIMUM_MAPPINGS; i++) {
        uintptr_t start = atomic_load_explicit(&mappings[i].start, memory_order_acquire);
        if (start <= 1 || address < start || address - start >= mappings[i].length) continue;
        size_t left = strlen(mappings[i].message);
        const char *text = mappings[i].message;
        while (left > 0) {
            ssize_t written = write(STDERR_FILENO, text, left);
            if (written <= 0) break;
            text += written;
            left -= (size_t)written;
        }
        _exit(exit_status);
    }
    /* Not ours: the instruction faults again, without a handler. */
    signal(number, SIG_DFL);
}

void linux_report_mapping_faults(int status) {
    exit_status = status;
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO};
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, NULL);
}

int linux_watch_mapping(const void *start, size_t length, const char *message) {
    char *copy = strdup(message);
    if (copy == NULL) return -1;
    for (int i = 0; i < MAXIMUM_MAPPINGS; i++) {
        uintptr_t expected = 0;
        if (!atomic_compare_exchange_strong(&mappings[i].start, &expected, 1)) continue;
        /* The entry's last message is not read any more: its mapping is gone. */
        free((void *)mappings[i].message);
        mappings[i].length = length;
        mappings[i].message = copy;
        atomic_store_explicit(&mappings[i].start, (uintptr_t)start, memory_order_release);
        return i;
    }
    free(copy);
    return -1;
}

void linux_forget_mapping(int number) {
    if (number >= 0) atomic_store_explicit(&mappings[number].start, 0, memory_order_release);
}
