/* SPDX-License-Identifier: MIT */
#ifndef WAITSCOPE_AGENT_THREAD_H
#define WAITSCOPE_AGENT_THREAD_H

#include "agent/agent.h"

/* The calling thread ends: what it still has to say is written, its slot becomes ENDING. Once only. */
void agent_thread_end(struct thread_slot *slot);

#endif
