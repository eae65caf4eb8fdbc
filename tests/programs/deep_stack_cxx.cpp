/* SPDX-License-Identifier: MIT */
/* C++ stacks: templates, lambdas, inlined frames, a wait in a catch handler and one in a destructor
 * that runs while an exception unwinds. */
#include <functional>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>

#include "truth.h"

namespace {

constexpr uint32_t rounds = 20;
std::mutex deep_mutex;
truth_lock *truth;
truth_turns turns;
volatile int sink;

int lock_now() {
    deep_mutex.lock();
    return 0;
}

} // namespace

namespace deep {

TRUTH_FUNCTION void wait_here() {
    TRUTH_OK(TRUTH_WAIT(truth, lock_now()));
    deep_mutex.unlock();
    sink = 1;
}

struct Waiter {
    ~Waiter() {
        wait_here();
        sink = 2;
    }
};

inline __attribute__((always_inline)) void folded_in() {
    wait_here();
    sink = 3;
}

template <int depth> struct Level {
    TRUTH_FUNCTION static void descend(const std::function<void()> &bottom) {
        Level<depth - 1>::descend(bottom);
        sink = depth;
    }
};
template <> struct Level<0> {
    TRUTH_FUNCTION static void descend(const std::function<void()> &bottom) {
        bottom();
        sink = 0;
    }
};

TRUTH_FUNCTION void in_catch() {
    try {
        throw std::runtime_error("planned");
    } catch (const std::exception &error) {
        wait_here();
        sink = error.what()[0];
    }
}

TRUTH_FUNCTION void in_unwinding() {
    try {
        Waiter waiter;
        throw std::string("planned");
    } catch (const std::string &) {
        sink = 4;
    }
}

TRUTH_FUNCTION void in_inlined() {
    folded_in();
    sink = 5;
}

TRUTH_FUNCTION void hold(uint32_t turn) {
    TRUTH_TAKE(truth, lock_now());
    truth_turn_open(&turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(truth, (deep_mutex.unlock(), 0));
}

TRUTH_FUNCTION void dive() {
    for (uint32_t turn = 1; turn <= rounds; turn++) {
        truth_turn_come(&turns, turn, 0);
        switch (turn % 3) {
        case 0:
            Level<8>::descend([] { in_catch(); });
            break;
        case 1:
            Level<8>::descend([] { in_unwinding(); });
            break;
        default:
            Level<8>::descend([] { in_inlined(); });
        }
        truth_turn_done(&turns);
    }
}

} // namespace deep

int main() {
    truth = truth_lock_add("(anonymous namespace)::deep_mutex", "mutex", TRUTH_BY_HOLDER);
    std::thread diver(deep::dive);
    truth_thread();
    for (uint32_t turn = 1; turn <= rounds; turn++) {
        deep::hold(turn);
        truth_turn_close(&turns, turn, 1);
    }
    diver.join();
    truth_extra(
        "\"functions\":[\"deep::wait_here\",\"deep::in_catch\",\"deep::in_unwinding\",\"deep::in_inlined\","
        "\"deep::folded_in\",\"deep::Waiter::~Waiter\",\"deep::Level<8>::descend\",\"deep::Level<0>::"
        "descend\","
        "\"deep::dive\"]");
    truth_print();
    return 0;
}
