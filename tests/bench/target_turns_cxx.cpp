// SPDX-License-Identifier: MIT
// std::thread, std::condition_variable, std::function and the standard library's algorithms between the
// frames.
#include <algorithm>
#include <condition_variable>
#include <cstdlib>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

static constexpr unsigned threads = 4;
static std::mutex lock;
static std::condition_variable changed;
static unsigned turn;

static void take_turns(unsigned mine) {
    std::unique_lock<std::mutex> held(lock);
    for (;;) {
        changed.wait(held, [&] { return turn % threads == mine; });
        std::map<std::string, unsigned> words;
        for (unsigned i = 0; i < 20; i++)
            words[std::to_string(i * turn)] += i;
        turn++;
        changed.notify_all();
    }
}

static void descend(unsigned depth, const std::function<void()> &last) {
    std::vector<unsigned> one{depth};
    std::for_each(one.begin(), one.end(), [&](unsigned left) {
        if (left == 0)
            last();
        else
            descend(left - 1, last);
    });
}

int main(int argc, char **argv) {
    unsigned depth = argc > 1 ? static_cast<unsigned>(std::atoi(argv[1])) : 6;
    std::vector<std::thread> all;
    for (unsigned i = 0; i < threads; i++)
        all.emplace_back([=] { descend(depth, [=] { take_turns(i); }); });
    for (auto &thread : all)
        thread.join();
}
