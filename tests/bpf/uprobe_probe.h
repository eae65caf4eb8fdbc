/* SPDX-License-Identifier: MIT */
/* What test_uprobe_bpf.c, its target and its program in the kernel agree on. */
#ifndef WAITSCOPE_TESTS_BPF_UPROBE_PROBE_H
#define WAITSCOPE_TESTS_BPF_UPROBE_PROBE_H

#define UPROBE_PROBE_IDS 16U

/* Functions of target_uprobe, by what they begin with; the versioned ones are its library's. */
enum uprobe_target_function {
    UPROBE_TARGET_PUSH,
    UPROBE_TARGET_PUSH_R12,
    UPROBE_TARGET_NOP,
    UPROBE_TARGET_ENDBR64,
    UPROBE_TARGET_LEA,
    UPROBE_TARGET_VERSION_1,
    UPROBE_TARGET_VERSION_2,
    UPROBE_TARGET_FUNCTIONS,
};

enum uprobe_target_who { UPROBE_TARGET_ITSELF, UPROBE_TARGET_THREADS, UPROBE_TARGET_CHILD };
#define UPROBE_TARGET_THREAD_COUNT 4U

/* On its standard input; it answers with a struct uprobe_target_answer when that is done. */
struct uprobe_target_order {
    unsigned function, who;
    unsigned long times; /* each thread */
};
struct uprobe_target_answer {
    unsigned long done;
    unsigned long addresses[UPROBE_TARGET_FUNCTIONS];
};

#endif
