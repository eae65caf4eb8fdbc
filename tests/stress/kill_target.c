/* SPDX-License-Identifier: MIT */
/*
 * Processes killed at random moments: of what they had recorded nothing is lost, and nothing that they had
 * not finished is taken for a record. Each says in shared memory what it has recorded, after it did: the
 * trace may know of one event more of each thread, the one that was under way.
 */
#include "load.h"
#include "victims.h"

#define PROCESSES_MAX 4096U

struct found {
    uint32_t process_of_pid[1U << 22];
    uint32_t process_of_thread[PROCESSES_MAX * 4];
    uint64_t waits[PROCESSES_MAX], dropped[PROCESSES_MAX], corrupt[PROCESSES_MAX];
    uint64_t wrong;
};

static void found_block(void *context, const struct trace_reader_block *block) {
    struct found *found = context;
    for (uint32_t i = 0; i < block->row_count; i++) {
        if (block->kind == TRACE_PROCESS) {
            const struct trace_process *row = (const struct trace_process *)block->rows + i;
            if (row->id < PROCESSES_MAX && row->pid < 1U << 22)
                found->process_of_pid[row->pid] = (uint32_t)row->id;
        } else if (block->kind == TRACE_THREAD) {
            const struct trace_thread *row = (const struct trace_thread *)block->rows + i;
            if (row->id < PROCESSES_MAX * 4 && row->process < PROCESSES_MAX)
                found->process_of_thread[row->id] = (uint32_t)row->process;
        } else if (block->kind == TRACE_LOSS) {
            const struct trace_loss *row = (const struct trace_loss *)block->rows + i;
            uint64_t *sum = row->reason == LOSS_CORRUPT ? found->corrupt : found->dropped;
            if (row->process < PROCESSES_MAX)
                sum[row->process] += row->count;
        } else if (block->kind == TRACE_WAIT && block->thread < PROCESSES_MAX * 4) {
            const struct trace_wait *row = (const struct trace_wait *)block->rows + i;
            found->waits[found->process_of_thread[block->thread]]++;
            found->wrong += row->flags != (WAIT_TIMED_OUT | WAIT_TIMED) || row->stack == 0 ||
                            row->lock == 0 || row->duration > 60000000000ULL;
        }
    }
}

int main(void) {
    static struct found found;
    char count_text[24];
    struct load_run run;
    struct load_trace trace;
    unsigned long count = load_size(100, 1000);
    if (!load_begin())
        return check_summary();
    snprintf(count_text, sizeof(count_text), "%lu", count);
    char trace_path[PATH_MAX + 32], victims_path[PATH_MAX + 32];
    snprintf(trace_path, sizeof(trace_path), "%s", load_file("trace"));
    snprintf(victims_path, sizeof(victims_path), "%s", load_file("victims"));
    if (!load_start(&run, trace_path, NULL, (const char *const[]){"victims", count_text, victims_path, NULL}))
        return load_end();
    load_hear(&run, "done", NULL, 0);
    CHECK_EQ_INT(load_wait(&run), 0);

    struct victim *victims = calloc(count, sizeof(*victims));
    FILE *file = fopen(victims_path, "re");
    CHECK(victims && file && fread(victims, sizeof(*victims), count, file) == count);
    if (file)
        fclose(file);
    if (victims && load_trace_read(trace_path, &trace, found_block, &found)) {
        uint64_t committed = 0, recorded = 0, dropped = 0, in_flight = 0, lost = 0, torn = 0;
        for (unsigned long i = 0; i < count; i++) {
            uint32_t process = found.process_of_pid[victims[i].pid];
            uint64_t events = 0, known = process ? found.waits[process] + found.dropped[process] : 0;
            for (int n = 0; n < VICTIM_THREADS; n++)
                events += victims[i].threads[n].events;
            committed += events;
            recorded += found.waits[process];
            dropped += found.dropped[process];
            in_flight += known > events ? known - events : 0;
            lost += known < events ? events - known : 0;
            torn += known > events + VICTIM_THREADS;
            /* Counted as tried, and not yet published. */
            torn += found.corrupt[process] > VICTIM_THREADS;
        }
        printf("%lu processes killed: %llu events committed, %llu recorded, %llu dropped and counted, %llu "
               "in flight "
               "taken; %llu lost, %llu torn\n",
               count, (unsigned long long)committed, (unsigned long long)recorded,
               (unsigned long long)dropped, (unsigned long long)in_flight, (unsigned long long)lost,
               (unsigned long long)torn);
        CHECK(committed > count * 10);
        CHECK_EQ_U64(lost, 0);
        CHECK_EQ_U64(torn, 0);
        CHECK_EQ_U64(found.wrong, 0);
        CHECK(!trace.damaged && trace.state == TRACE_COMPLETE);
        CHECK_EQ_U64(trace.emitted, trace.stored + trace.loss_total);
    }
    free(victims);
    return load_end();
}
