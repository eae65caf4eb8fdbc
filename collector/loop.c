/* SPDX-License-Identifier: MIT */
/*
 * Rings are polled: an agent never makes a system call to wake anybody. The pause between two
 * rounds follows how full the fullest ring was found, so that a ring is met well before it is full,
 * and what a round costs, so that many idle threads do not keep a core busy.
 */
#include "collector/loop.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "collector/kernel.h"
#include "collector/recording.h"

#define PAUSE_SHORTEST_NS 50000ULL
#define PAUSE_BUSY_NS 500000ULL  /* longest while data flows, and for a while after */
#define PAUSE_IDLE_NS 2000000ULL /* longest otherwise, if a round is cheap */
#define BUSY_LASTS_NS 1000000000ULL
#define PAUSE_LONGEST_NS 20000000ULL
#define IDLE_SHARE 128ULL /* an idle round costs at most one part in this of a core */
#define FILL_GOAL 32U     /* of 256: how full a ring is to be found */
#define FILL_URGENT 96U   /* no pause at all */
#define SNAPSHOT_NS 100000000ULL
#define PROCESS_NS 5000000ULL /* then signals and new processes are looked at again */
#define SECOND_NS 1000000000ULL
#define LINGER_NS 5000000ULL /* after the last process: a child it forked may be about to report */
#define SLICE_NS 100000ULL
#define NICE_RECORDING (-10)
#define SETTLE_TRIES 100

struct loop {
    struct recording *recording;
    const struct loop_options *options;
    int timer;
    uint64_t cost; /* of an idle round, ns */
    uint64_t busy_until;
    uint64_t pause, snapshot_next, second_next, deadline, quiet_since;
    bool target_ended, interrupted;
};

int loop_signals_forward(int signals, int pid) {
    struct signalfd_siginfo info;
    int ending = 0;
    while (read(signals, &info, sizeof(info)) == (ssize_t)sizeof(info)) {
        int number = (int)info.ssi_signo;
        if (number == SIGINT || number == SIGTERM || number == SIGHUP)
            ending++;
        /* The terminal signals its whole foreground group; only what a process sent is for us to pass on. */
        if ((number == SIGTERM || number == SIGHUP) && info.ssi_code <= 0 && pid > 0)
            kill(pid, number);
    }
    return ending;
}

static void child_reap(struct recording *recording) {
    struct rusage used;
    int status;
    if (!recording->child || recording->child_ended)
        return;
    pid_t got = wait4(recording->child, &status, WNOHANG, &used);
    if (got == 0 || (got < 0 && errno != ECHILD))
        return;
    recording->child_ended = true;
    if (got < 0)
        return;
    recording->child_status = status;
    recording->child_cpu_ns = (uint64_t)(used.ru_utime.tv_sec + used.ru_stime.tv_sec) * SECOND_NS +
                              (uint64_t)(used.ru_utime.tv_usec + used.ru_stime.tv_usec) * 1000ULL;
}

static bool target_has_ended(const struct loop_options *options) {
    struct pollfd ended = {.fd = options->target, .events = POLLIN};
    if (options->target < 0)
        return kill(options->target_pid, 0) != 0 && errno == ESRCH;
    return poll(&ended, 1, 0) == 1 && ended.revents != 0;
}

static void loop_watch(const struct loop *loop, int fd) {
    struct epoll_event event = {.events = EPOLLIN, .data.fd = fd};
    if (fd >= 0)
        epoll_ctl(loop->recording->epoll, EPOLL_CTL_ADD, fd, &event);
}

/* Sleeps, unless something happens. Returns whether something other than time did. */
static bool loop_sleep(struct loop *loop) {
    struct epoll_event events[16];
    if (loop->pause > 0) {
        struct itimerspec when = {.it_value = {.tv_sec = 0, .tv_nsec = (long)loop->pause}};
        timerfd_settime(loop->timer, 0, &when, NULL);
    }
    int count = epoll_wait(loop->recording->epoll, events, 16, loop->pause > 0 ? 100 : 0);
    bool happened = false;
    for (int i = 0; i < count; i++) {
        uint64_t expirations;
        if (events[i].data.fd == loop->timer)
            (void)!read(loop->timer, &expirations, sizeof(expirations));
        else
            happened = true;
    }
    return happened;
}

static void pause_choose(struct loop *loop, struct drain_work work, uint64_t cost) {
    /* Slots that threads left are to be found in time as well, a few at once, not a few hundred. */
    if (work.ended > work.fullest)
        work.fullest = work.ended;
    if (work.bytes > 0)
        loop->busy_until = loop->recording->now + BUSY_LASTS_NS;
    if (work.fullest >= FILL_URGENT) {
        loop->pause = 0;
    } else if (work.bytes > 0) {
        uint64_t pause = loop->pause > PAUSE_SHORTEST_NS ? loop->pause : PAUSE_SHORTEST_NS;
        pause = work.fullest ? pause * FILL_GOAL / work.fullest : pause * 2;
        loop->pause = pause > PAUSE_BUSY_NS ? PAUSE_BUSY_NS : pause;
    } else {
        /* A round that was preempted says little: take the cheapest of late. */
        uint64_t slower = loop->cost + loop->cost / 8 + 100;
        loop->cost = cost < slower ? cost : slower;
        uint64_t longest = loop->cost * IDLE_SHARE;
        uint64_t least = loop->recording->now < loop->busy_until ? PAUSE_BUSY_NS : PAUSE_IDLE_NS;
        if (longest < least)
            longest = least;
        if (longest > PAUSE_LONGEST_NS)
            longest = PAUSE_LONGEST_NS;
        loop->pause = loop->pause * 2 + PAUSE_SHORTEST_NS;
        if (loop->pause > longest)
            loop->pause = longest;
    }
}

static void loop_periodic(struct loop *loop) {
    struct recording *recording = loop->recording;
    if (recording->now >= loop->snapshot_next) {
        loop->snapshot_next = recording->now + SNAPSHOT_NS;
        listener_poll(recording); /* silent peers' deadlines */
        snapshot_write(recording);
        kernel_tick(recording->kernel);
    }
    if (recording->now >= loop->second_next) {
        loop->second_next = recording->now + SECOND_NS;
        images_losses(recording);
        images_sample_cpu(recording);
        counts_tick(recording);
        images_trim(recording);
        trace_writer_flush(recording->writer);
        if (!recording->stopping && trace_writer_stats(recording->writer)->state == TRACE_STOPPED)
            images_stop(recording); /* there is nowhere to put it: spare the target */
    }
}

static bool loop_is_over(struct loop *loop) {
    struct recording *recording = loop->recording;
    bool ended = loop->options->target_pid ? loop->target_ended : recording->child_ended;
    if (loop->deadline && recording->now >= loop->deadline)
        return true;
    if (loop->interrupted)
        return true;
    if (!ended || loop->options->standing)
        return false;
    if (recording->image_count > 0) {
        loop->quiet_since = 0;
        return false;
    }
    if (!loop->quiet_since)
        loop->quiet_since = recording->now;
    return recording->now - loop->quiet_since >= LINGER_NS;
}

/* Agents are told to stop; what they had begun is waited for, a thread at a time may be preempted. */
static void loop_settle(struct recording *recording) {
    images_stop(recording);
    for (int try = 0; try < SETTLE_TRIES; try++) {
        if (drain_finish(recording) == 0 && images_settled(recording))
            break;
        usleep(500);
    }
    images_losses(recording);
    images_sample_cpu(recording);
    snapshot_write(recording);
}

/*
 * Asks to be let in soon when it wakes. Since Linux 6.12 a thread that wants the processor often, for
 * little each time, may say so by a short slice (sched_runtime of a normal thread,
 * Documentation/scheduler/sched-eevdf.rst), without privilege; a better nice value needs one. Where
 * neither is had nothing changes. Returns the nice value as it was.
 */
static int priority_raise(void) {
    struct {
        uint32_t size, policy;
        uint64_t flags;
        int32_t nice;
        uint32_t priority;
        uint64_t runtime, deadline, period;
    } attributes = {.size = 48, .policy = SCHED_OTHER, .runtime = SLICE_NS};
    int nice = getpriority(PRIO_PROCESS, 0);
    attributes.nice = nice < NICE_RECORDING ? nice : NICE_RECORDING;
    if (syscall(SYS_sched_setattr, 0, &attributes, 0U) != 0) {
        attributes.nice = nice;
        (void)syscall(SYS_sched_setattr, 0, &attributes, 0U);
    }
    return nice;
}

void loop_run(struct recording *recording, const struct loop_options *options) {
    struct loop loop = {.recording = recording, .options = options, .pause = PAUSE_IDLE_NS};
    int nice = priority_raise();
    loop.timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
    recording->now = clock_now_ns();
    loop.snapshot_next = recording->now + SNAPSHOT_NS;
    loop.second_next = recording->now + SECOND_NS;
    if (options->duration_ns)
        loop.deadline = recording->now + options->duration_ns;
    loop_watch(&loop, options->signals);
    loop_watch(&loop, loop.timer);
    loop_watch(&loop, listener_fd(recording->listener));
    loop_watch(&loop, options->target);
    loop_watch(&loop, kernel_fd(recording->kernel));

    do {
        bool happened = loop_sleep(&loop);
        if (happened) {
            loop.busy_until = clock_now_ns() + BUSY_LASTS_NS; /* a new process, most likely */
            int pid = recording->child_ended || options->target_pid ? 0 : recording->child;
            int ending = loop_signals_forward(options->signals, pid);
            bool ended = options->target_pid ? loop.target_ended : recording->child_ended;
            bool ours = ended || options->target_pid || options->standing; /* the signal is for us */
            loop.interrupted = loop.interrupted || (ending > 0 && ours);
            listener_poll(recording);
        }
        kernel_drain(recording->kernel);
        uint64_t before = clock_now_ns();
        struct drain_work work = drain_sweep(recording);
        recording->now = clock_now_ns();
        clock_tick(&recording->clock, recording->now);
        uint64_t cost = recording->now - before;
        bool left = drain_process(recording, PROCESS_NS, &work);
        pause_choose(&loop, work, cost);
        if (left)
            loop.pause = 0;
        if (happened || recording->now >= loop.snapshot_next || loop.quiet_since) {
            if (options->target_pid)
                loop.target_ended = loop.target_ended || target_has_ended(options);
            else
                child_reap(recording);
            images_reap(recording);
        }
        loop_periodic(&loop);
    } while (!loop_is_over(&loop));

    loop_settle(recording);
    setpriority(PRIO_PROCESS, 0, nice);
    if (loop.timer >= 0)
        close(loop.timer);
}
