/* SPDX-License-Identifier: MIT */
/* What the kernel knows of targets: their CPU time, and whether a thread is still there. */
#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "collector/recording.h"

#define CPU_SAMPLES 256 /* threads whose CPU time is read at one tick */

void image_sample_cpu(struct image *image) {
    struct timespec used;
    /* The kernel's CLOCK_PROCESS_CPUTIME_ID of another process: see clock_getcpuclockid(3). */
    clockid_t clock = (clockid_t)(~(unsigned)image->real_pid << 3 | 2U);
    if (clock_gettime(clock, &used) == 0)
        image->cpu_ns = (uint64_t)used.tv_sec * 1000000000ULL + (uint64_t)used.tv_nsec;
}

bool image_thread_is_gone(const struct image *image, uint32_t tid) {
    char path[96];
    if (image->pid == image->real_pid)
        return syscall(SYS_tgkill, image->real_pid, (int)tid, 0) != 0 && errno != EPERM;
    /* Another pid namespace: its own /proc, if it has mounted one, knows its tids. */
    struct stat ours, theirs;
    snprintf(path, sizeof(path), "/proc/%d/root/proc", image->real_pid);
    if (stat("/proc", &ours) != 0 || stat(path, &theirs) != 0 || ours.st_dev == theirs.st_dev)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/root/proc/%d/task", image->real_pid, image->pid);
    if (access(path, F_OK) != 0)
        return false;
    snprintf(path, sizeof(path), "/proc/%d/root/proc/%d/task/%u", image->real_pid, image->pid, tid);
    return access(path, F_OK) != 0 && errno == ENOENT;
}

/* CPU time of a thread that cannot tell it itself, from /proc; false if the thread is no more. */
static bool view_sample_cpu(const struct image *image, struct slot_view *view) {
    char path[64];
    snprintf(path, sizeof(path), "/proc/%d/task/%u/schedstat", image->real_pid, view->tid);
    FILE *file = fopen(path, "re");
    if (!file)
        return errno != ENOENT;
    unsigned long long ns;
    if (fscanf(file, "%llu", &ns) == 1)
        view->cpu_ns = ns;
    fclose(file);
    return true;
}

static void slab_sample_cpu(struct recording *recording, struct image *image, struct slab *slab,
                            uint32_t *budget) {
    for (uint32_t n = 0; n<slab->slots_seen && * budget> 0; n++) {
        uint32_t i = slab->sample_next++ % slab->slots_seen;
        struct slot_view *view = slab->views[i];
        if (!view)
            continue;
        --*budget;
        if (view_sample_cpu(image, view) || image->gone || image_is_gone(image))
            continue;
        /* Gone without a word: its slot would be ENDING, and drained in the next round. */
        struct thread_slot *slot = view_slot(slab, view);
        if (view->pending > 0 || atomic_load_explicit(&slot->state, memory_order_acquire) != SLOT_LIVE ||
            atomic_load_explicit(&slot->ring.head, memory_order_acquire) != view->tail)
            continue;
        struct thread_last last;
        thread_last_read(slab, view, &last);
        slot_reclaim(image, slab, view);
        thread_end(recording, image, view, &last, recording->now);
    }
}

void images_sample_cpu(struct recording *recording) {
    uint32_t budget = CPU_SAMPLES;
    for (uint32_t i = 0; i < recording->image_count; i++) {
        struct image *image = recording->images[i];
        image_sample_cpu(image);
        if (image->pid != image->real_pid)
            continue; /* its tids are those of another namespace */
        for (uint32_t s = 0; s < image->slab_count; s++)
            slab_sample_cpu(recording, image, image->slabs[s], &budget);
    }
}
