/* SPDX-License-Identifier: MIT */
/* What C++ programs really use: std::mutex, std::condition_variable, std::shared_mutex, std::async. */
#include <condition_variable>
#include <future>
#include <mutex>
#include <shared_mutex>
#include <thread>
#include <vector>

#include "truth.h"

namespace bank {

class Ledger {
  public:
    std::mutex mutex;
    std::shared_mutex rates;
    std::timed_mutex audit;
    std::condition_variable changed;
    int value = 0;
};

Ledger ledger;

} // namespace bank

using bank::ledger;

static truth_lock *mutex_truth, *rates_truth, *audit_truth, *changed_truth;
static truth_turns mutex_turns, rates_turns, changed_turns;
static constexpr uint32_t rounds = 25;

namespace bank {

TRUTH_FUNCTION void transfer_slowly(uint32_t turn) {
    TRUTH_TAKE(mutex_truth, (ledger.mutex.lock(), 0));
    truth_turn_open(&mutex_turns, turn, 1);
    truth_sleep_us(3000);
    TRUTH_GIVE(mutex_truth, (ledger.mutex.unlock(), 0));
}

TRUTH_FUNCTION void transfer() {
    TRUTH_OK(TRUTH_WAIT(mutex_truth, (ledger.mutex.lock(), 0)));
    ledger.mutex.unlock();
    TRUTH_STAY();
}

TRUTH_FUNCTION void publish_rates(uint32_t turn) {
    TRUTH_TAKE(rates_truth, (ledger.rates.lock(), 0));
    truth_turn_open(&rates_turns, turn, 2);
    truth_sleep_us(3000);
    TRUTH_GIVE(rates_truth, (ledger.rates.unlock(), 0));
}

TRUTH_FUNCTION void read_rates() {
    TRUTH_OK(TRUTH_WAIT(rates_truth, (ledger.rates.lock_shared(), 0)));
    ledger.rates.unlock_shared();
    TRUTH_STAY();
}

TRUTH_FUNCTION void announce(uint32_t turn) {
    truth_turn_open(&changed_turns, turn, 1);
    truth_sleep_us(3000);
    {
        std::lock_guard<std::mutex> guard(ledger.mutex);
        ledger.value++;
        truth_count(mutex_truth, 1);
    }
    TRUTH_GIVE(changed_truth, (ledger.changed.notify_one(), 0));
}

TRUTH_FUNCTION void await_change(uint32_t turn) {
    std::unique_lock<std::mutex> guard(ledger.mutex);
    truth_count(mutex_truth, 1);
    while (ledger.value < (int)turn) {
        if (turn % 2 == 0)
            TRUTH_OK(TRUTH_WAIT(changed_truth, (ledger.changed.wait(guard), 0)));
        else
            TRUTH_OK(
                TRUTH_WAIT(changed_truth, (ledger.changed.wait_for(guard, std::chrono::seconds(10)), 0)));
        truth_reacquired(mutex_truth, 1);
    }
}

} // namespace bank

template <class Holder, class Waiter>
static void play(truth_turns *turns, uint32_t waiters, Holder holder, Waiter waiter) {
    std::vector<std::thread> threads;
    for (uint32_t index = 0; index < waiters; index++) {
        threads.emplace_back([=] {
            for (uint32_t turn = 1; turn <= rounds; turn++) {
                truth_turn_come(turns, turn, index);
                waiter(turn);
                truth_turn_done(turns);
            }
        });
        truth_thread();
    }
    for (uint32_t turn = 1; turn <= rounds; turn++) {
        holder(turn);
        truth_turn_close(turns, turn, waiters);
    }
    for (std::thread &thread : threads)
        thread.join();
}

int main() {
    mutex_truth = truth_lock_add("bank::ledger.mutex", "mutex", TRUTH_BY_HOLDER);
    rates_truth = truth_lock_add("bank::ledger.rates", "rwlock", TRUTH_BY_READERS);
    truth_crowd(rates_truth);
    audit_truth = truth_lock_add("bank::ledger.audit", "mutex", TRUTH_NO_TIME);
    changed_truth = truth_lock_add("bank::ledger.changed", "condition", TRUTH_BY_RELEASER);
    play(&mutex_turns, 1, bank::transfer_slowly, [](uint32_t) { bank::transfer(); });
    play(&rates_turns, 2, bank::publish_rates, [](uint32_t) { bank::read_rates(); });
    play(&changed_turns, 1, bank::announce, bank::await_change);

    auto audit = [] {
        for (int i = 0; i < 1000; i++) {
            if (!ledger.audit.try_lock_for(std::chrono::seconds(10)))
                truth_fail("a timed mutex timed out");
            ledger.audit.unlock();
        }
        truth_count(audit_truth, 1000);
        return 1;
    };
    std::future<int> first = std::async(std::launch::async, audit),
                     second = std::async(std::launch::async, audit);
    truth_thread();
    truth_thread();
    if (first.get() + second.get() != 2)
        truth_fail("a future lost its value");
    truth_print();
    return 0;
}
