/* SPDX-License-Identifier: MIT */
/* waitscope.h from C++: objects that name their std::mutex, one after the other in the same place, and
 * regions that end with their scope. */
#include <mutex>
#include <new>
#include <stdexcept>
#include <thread>
#include <waitscope.h>

#include "annotated_library.h"
#include "truth.h"

namespace {

/* A std::mutex is made without a call that could be seen: only its name tells it from the one before. */
class Account {
  public:
    explicit Account(const char *name) {
        if (name)
            waitscope_name_lock(&mutex, name);
    }
    ~Account() {
        waitscope_name_lock(&mutex, nullptr);
    }
    void use(int times) {
        for (int i = 0; i < times; i++)
            std::lock_guard<std::mutex> guard(mutex);
    }

  private:
    std::mutex mutex;
};

alignas(Account) unsigned char place[sizeof(Account)];

void tenant(const char *name, truth_lock *truth, int times) {
    Account *account = new (place) Account(name);
    account->use(times);
    if (truth)
        truth_count(truth, static_cast<uint64_t>(times));
    account->~Account();
}

void post(int number) {
    waitscope::region region("post");
    if (number % 2 == 1)
        throw std::runtime_error("odd");
}

} // namespace

int main() {
    waitscope::region region("whole run");
    truth_lock *first = truth_lock_add("account 1", "mutex", TRUTH_NO_TIME);
    tenant("account 1", first, 300);
    tenant("account 2", truth_lock_add("account 2", "mutex", TRUTH_NO_TIME), 20);
    tenant(nullptr, nullptr, 4000);
    tenant("account 1", first, 1);
    int failed = 0;
    std::thread poster([&failed] {
        waitscope_name_thread("poster");
        for (int i = 0; i < 10; i++) {
            try {
                post(i);
            } catch (const std::runtime_error &) {
                failed++;
            }
        }
    });
    truth_thread();
    poster.join();
    if (failed != 5)
        truth_fail("exceptions went astray");
    annotated_library_work();
    truth_print();
    return 0;
}
