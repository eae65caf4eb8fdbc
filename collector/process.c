/* SPDX-License-Identifier: MIT */
/* The table of process images: begin, slabs, end. */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/kernel.h"
#include "collector/recording.h"

#define BEFORE_RECORDING_NS 60000000000ULL /* a start is not believed to be earlier than this */
#define END_ROUNDS 8                       /* for what an ended process has left behind */

uint64_t image_time(const struct recording *recording, const struct image *image, uint64_t ticks,
                    struct clock_guard *guard) {
    uint64_t ns;
    if (image->clock_kind == CLOCK_KIND_TSC)
        ns = clock_convert(&recording->clock, ticks, recording->now, guard);
    else
        ns = ticks < recording->now ? ticks : recording->now;
    return ns > image->floor_ns ? ns : image->floor_ns;
}

uint64_t image_length(const struct recording *recording, const struct image *image, uint64_t ticks) {
    if (image->clock_kind == CLOCK_KIND_TSC)
        return clock_length(&recording->clock, ticks);
    return ticks < UINT64_MAX / 2 ? ticks : UINT64_MAX / 2;
}

static uint64_t command_string(struct recording *recording, const struct slab_header *header) {
    char command[sizeof(header->command)];
    size_t size = header->command_size;
    memcpy(command, header->command, size);
    while (size > 0 && command[size - 1] == '\0')
        size--;
    for (size_t i = 0; i < size; i++) {
        if (command[i] == '\0')
            command[i] = ' ';
    }
    return trace_writer_string(recording->writer, command, size);
}

void image_describe(struct recording *recording, struct image *image) {
    if (image->described || image->slab_count == 0)
        return;
    image->described = true;
    const struct slab_header *header = &image->slabs[0]->header;
    /* What setting up cost is known to the agent only after its hello. */
    const struct slab_header *shared = image->slabs[0]->memory;
    uint64_t setup_ns = *(const volatile uint64_t *)&shared->setup_ns, how = 2;
    if (image->real_pid == recording->child && !(header->agent_flags & AGENT_FLAG_FORKED) &&
        !recording->child_seen)
        how = 0;
    else if (header->agent_flags & AGENT_FLAG_FORKED)
        how = 1;
    if (image->real_pid == recording->child)
        recording->child_seen = true;
    recording->agents_seen = true;
    uint64_t begin = kernel_image_begin(recording->kernel, image);
    struct trace_process row = {
        .id = image->process,
        .pid = (uint32_t)image->pid,
        .parent_pid = header->ppid > 0 ? (uint32_t)header->ppid : 0,
        .start = begin && begin < image->start_ns ? begin : image->start_ns,
        .command = command_string(recording, header),
        .exe = trace_writer_string(recording->writer, header->exe, strnlen(header->exe, header->exe_size)),
        .how = how,
        .setup_ns = setup_ns < recording->now - image->start_ns ? setup_ns : 0,
    };
    trace_writer_row(recording->writer, TRACE_PROCESS, 0, &row);
    if (image->pid != image->real_pid) {
        char key[48], value[16];
        snprintf(key, sizeof(key), "process.%u.outer_pid", image->process);
        snprintf(value, sizeof(value), "%d", image->real_pid);
        environment_add(recording, key, value);
    }
}

static bool image_id_equal(const struct image_id *a, const struct image_id *b) {
    return a->high == b->high && a->low == b->low;
}

static struct image *image_find(const struct recording *recording, const struct image_id *id) {
    for (uint32_t i = 0; i < recording->image_count; i++) {
        if (image_id_equal(&recording->images[i]->id, id))
            return recording->images[i];
    }
    return NULL;
}

static bool image_has_ended(const struct recording *recording, const struct image_id *id) {
    for (uint32_t i = 0; i < ENDED_IMAGES; i++) {
        if (image_id_equal(&recording->ended_images[i], id))
            return true;
    }
    return false;
}

static bool image_room(struct recording *recording) {
    if (recording->image_count < recording->image_room)
        return true;
    uint32_t room = recording->image_room ? recording->image_room * 2 : 16;
    struct image **grown = realloc(recording->images, room * sizeof(struct image *));
    if (!grown)
        return false;
    recording->images = grown;
    recording->image_room = room;
    return true;
}

struct image *image_obtain(struct recording *recording, const struct slab_header *header, int real_pid,
                           unsigned uid, int pidfd) {
    struct image *image = image_find(recording, &header->image);
    if (image) {
        if (pidfd >= 0)
            close(pidfd);
        /* An id is random: another process that names it is not telling the truth. */
        return image->real_pid == real_pid ? image : NULL;
    }
    if (image_has_ended(recording, &header->image) ||
        (recording->no_follow && real_pid != recording->child) || !image_room(recording))
        goto refuse;
    image = calloc(1, sizeof(*image));
    if (!image)
        goto refuse;
    for (uint32_t i = recording->image_count; i-- > 0;) {
        if (recording->images[i]->real_pid == real_pid)
            image_end(recording, recording->images[i], TRACE_EXIT_EXEC, 0);
    }
    recording->now = clock_now_ns();
    struct catalogue_process process = {header->pid, real_pid, uid};
    image->process = catalogue_process_add(&recording->catalogue, &process);
    if (!image->process) {
        free(image);
        goto refuse;
    }
    image->id = header->image;
    image->pid = header->pid;
    image->real_pid = real_pid;
    image->pidfd = pidfd;
    image->clock_kind = header->clock_kind;
    image->start_ns = header->start_ns < recording->now ? header->start_ns : recording->now;
    uint64_t earliest =
        recording->begin_ns > BEFORE_RECORDING_NS ? recording->begin_ns - BEFORE_RECORDING_NS : 0;
    if (image->start_ns < earliest)
        image->start_ns = earliest;
    image->floor_ns = image->start_ns > CLAMP_BEFORE_NS ? image->start_ns - CLAMP_BEFORE_NS : 0;
    recording->images[recording->image_count++] = image;
    if (pidfd >= 0) {
        /* Wakes the loop; the pid's end is looked up in images_reap(). */
        struct epoll_event event = {.events = EPOLLIN, .data.fd = pidfd};
        epoll_ctl(recording->epoll, EPOLL_CTL_ADD, pidfd, &event);
    }
    return image;

refuse:
    if (pidfd >= 0)
        close(pidfd);
    return NULL;
}

static void slab_free(struct recording *recording, struct slab *slab) {
    munmap(slab->memory, slab->header.slab_bytes);
    close(slab->fd);
    recording->slab_count--;
    recording->slabs_mapped -= slab->header.slab_bytes;
    free(slab->views);
    free(slab);
}

int image_slab_add(struct recording *recording, struct image *image, const struct slab_header *header, int fd,
                   void *memory) {
    int error = -ENOSPC;
    struct slab *slab = NULL;
    for (uint32_t i = 0; i < image->slab_count; i++) {
        if (image->slabs[i]->header.slab_index == header->slab_index) {
            error = -EEXIST;
            goto cleanup;
        }
    }
    if (image->slab_count >= SLABS_MAX || recording->slab_count >= RECORDING_SLABS_MAX ||
        recording->slabs_mapped + header->slab_bytes > RECORDING_MAPPED_MAX)
        goto cleanup;
    error = -ENOMEM;
    if (image->slab_count == image->slab_room) {
        uint32_t room = image->slab_room ? image->slab_room * 2 : 4;
        struct slab **grown = realloc(image->slabs, room * sizeof(struct slab *));
        if (!grown)
            goto cleanup;
        image->slabs = grown;
        image->slab_room = room;
    }
    slab = calloc(1, sizeof(*slab));
    if (!slab)
        goto cleanup;
    slab->views = calloc(header->slot_count, sizeof(struct slot_view *));
    if (!slab->views)
        goto cleanup;
    slab->header = *header;
    slab->memory = memory;
    slab->fd = fd;
    image->slabs[image->slab_count++] = slab;
    recording->slab_count++;
    recording->slabs_mapped += header->slab_bytes;
    if (recording->stopping)
        atomic_store_explicit(&((struct slab_header *)memory)->recording, 0, memory_order_relaxed);
    return 0;

cleanup:
    free(slab);
    munmap(memory, header->slab_bytes);
    close(fd);
    return error;
}

static bool image_is_drained(const struct image *image) {
    for (uint32_t s = 0; s < image->slab_count; s++) {
        const struct slab *slab = image->slabs[s];
        for (uint32_t i = 0; i < slab->slots_seen; i++) {
            const struct slot_view *view = slab->views[i];
            if (view && atomic_load_explicit(&view_slot(slab, view)->ring.head, memory_order_acquire) !=
                            view->tail) /* [RING-PUBLISH] */
                return false;
        }
    }
    return true;
}

void image_end(struct recording *recording, struct image *image, enum trace_exit exit, uint64_t value) {
    if (image->ending)
        return;
    image->ending = true;
    for (int round = 0; round < END_ROUNDS; round++) {
        drain_finish(recording);
        if (image_is_drained(image))
            break;
    }
    /* From here on nothing of it may come into the backlog, and nothing may be left there. */
    image->closed = true;
    drain_finish(recording);
    recording->now = clock_now_ns();
    image_describe(recording, image);
    image_sample_cpu(image);
    for (uint32_t s = 0; s < image->slab_count; s++) {
        struct slab *slab = image->slabs[s];
        for (uint32_t i = 0; i < slab->slots_seen; i++) {
            struct slot_view *view = slab->views[i];
            if (!view)
                continue;
            struct thread_last last;
            thread_last_read(slab, view, &last);
            slab->views[i] = NULL;
            thread_end(recording, image, view, &last, recording->now);
        }
        slab_losses(recording, image, slab);
    }
    kernel_image_end(recording->kernel, image);
    counts_write(recording);
    struct trace_process_end row = {.process = image->process,
                                    .time = recording->now,
                                    .exit = exit,
                                    .value = value,
                                    .cpu_ns = image->cpu_ns};
    trace_writer_row(recording->writer, TRACE_PROCESS_END, 0, &row);

    for (uint32_t i = 0; i < recording->image_count; i++) {
        if (recording->images[i] == image) {
            memmove(&recording->images[i], &recording->images[i + 1],
                    (recording->image_count - i - 1) * sizeof(struct image *));
            recording->image_count--;
            break;
        }
    }
    recording->ended_images[recording->ended_next++ % ENDED_IMAGES] = image->id;
    if (image->pidfd >= 0)
        close(image->pidfd);
    for (uint32_t s = 0; s < image->slab_count; s++)
        slab_free(recording, image->slabs[s]);
    free(image->slabs);
    intern_clear(image);
    free(image);
}

bool image_is_gone(const struct image *image) {
    if (image->pidfd < 0)
        return kill(image->real_pid, 0) != 0 && errno == ESRCH;
    struct pollfd ended = {.fd = image->pidfd, .events = POLLIN};
    return poll(&ended, 1, 0) == 1 && ended.revents != 0;
}

bool images_reap(struct recording *recording) {
    bool any = false;
    for (uint32_t i = 0; i < recording->image_count; i++) {
        struct image *image = recording->images[i];
        /* How the child ended is known once it has been waited for. */
        if (image->real_pid == recording->child && !recording->child_ended)
            continue;
        if (image->gone || image_is_gone(image) || image->real_pid == recording->child) {
            image->gone = true;
            any = true;
        }
    }
    if (!any)
        return false;
    /* What it announced before it ended still waits at the socket. */
    listener_poll(recording);
    for (uint32_t i = recording->image_count; i-- > 0;) {
        if (i >= recording->image_count || !recording->images[i]->gone)
            continue;
        struct image *image = recording->images[i];
        if (image->real_pid != recording->child) {
            image_end(recording, image, TRACE_EXIT_UNKNOWN, 0);
            continue;
        }
        if (recording->child_cpu_ns > image->cpu_ns)
            image->cpu_ns = recording->child_cpu_ns;
        if (WIFSIGNALED(recording->child_status))
            image_end(recording, image, TRACE_EXIT_SIGNAL, (uint64_t)WTERMSIG(recording->child_status));
        else
            image_end(recording, image, TRACE_EXIT_CODE, (uint64_t)WEXITSTATUS(recording->child_status));
    }
    return true;
}

void images_stop(struct recording *recording) {
    recording->stopping = true;
    for (uint32_t i = 0; i < recording->image_count; i++) {
        struct image *image = recording->images[i];
        for (uint32_t s = 0; s < image->slab_count; s++) {
            struct slab_header *header = image->slabs[s]->memory;
            atomic_store_explicit(&header->recording, 0, memory_order_relaxed); /* [RECORDING] */
        }
    }
}

void images_losses(struct recording *recording) {
    for (uint32_t i = 0; i < recording->image_count; i++) {
        struct image *image = recording->images[i];
        for (uint32_t s = 0; s < image->slab_count; s++) {
            struct slab *slab = image->slabs[s];
            slab_losses(recording, image, slab);
            for (uint32_t n = 0; n < slab->slots_seen; n++) {
                if (slab->views[n])
                    thread_losses(recording, image, slab, slab->views[n]);
            }
        }
    }
}

static bool view_is_settled(const struct slab *slab, const struct slot_view *view) {
    struct thread_slot *slot = view_slot(slab, view);
    uint64_t told = view->stored + view->corrupt + view->unstored;
    for (int reason = 0; reason < LOSS_REASON_COUNT; reason++)
        told += atomic_load_explicit(&slot->lost[reason], memory_order_relaxed);
    return told == atomic_load_explicit(&slot->emitted, memory_order_relaxed);
}

bool images_settled(const struct recording *recording) {
    for (uint32_t i = 0; i < recording->image_count; i++) {
        const struct image *image = recording->images[i];
        for (uint32_t s = 0; s < image->slab_count; s++) {
            const struct slab *slab = image->slabs[s];
            for (uint32_t n = 0; n < slab->slots_seen; n++) {
                if (slab->views[n] && !view_is_settled(slab, slab->views[n]))
                    return false;
            }
        }
    }
    return true;
}
