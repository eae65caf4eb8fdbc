/* SPDX-License-Identifier: MIT */
/* As symbol_c.c, with what only C++ has. */
#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <link.h>
#include <mutex>
#include <shared_mutex>
#include <string>

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE __attribute__((noinline))
#define NOTE(line)                                                                                           \
    do {                                                                                                     \
        (line) = __LINE__;                                                                                   \
        note_site();                                                                                         \
        __asm__ volatile("" ::: "memory");                                                                   \
    } while (0)

static std::uintptr_t site, bias;
static int lines[4];

static NOINLINE void note_site() {
    site = reinterpret_cast<std::uintptr_t>(__builtin_return_address(0)) - 1;
}

static void say_data(int line, const char *name, const volatile void *address) {
    std::printf("data\t%lx\t%d\t%s\n",
                static_cast<unsigned long>(reinterpret_cast<std::uintptr_t>(address) - bias), line, name);
}

static void say_frames(const char *frames) {
    std::printf("frames\t%lx\t%s\n", static_cast<unsigned long>(site - bias), frames);
}

class Registry {
  public:
    static std::mutex instance_lock;
    static inline std::shared_mutex inline_lock;
};
std::mutex Registry::instance_lock;

namespace {
struct Cache {
    std::string name;
    std::mutex mutex_;
    std::condition_variable ready;
} cache;

ALWAYS_INLINE void hidden() {
    NOTE(lines[0]);
}
} // namespace

namespace bank {
struct Empty {};
struct Base {
    std::mutex base_mutex;
};
struct Derived : Empty, Base {
    int x;
    std::recursive_mutex more;
};
struct Locked : std::mutex {};

std::mutex vault;
Derived derived[2];
Locked locked;

struct Account {
    int balance;
    ALWAYS_INLINE void deposit(int amount) {
        balance += amount;
        lines[1] = __LINE__ + 1;
        hidden();
    }
};

template <typename T> ALWAYS_INLINE T twice(T value) {
    Account account = {0};
    lines[2] = __LINE__ + 1;
    account.deposit(value);
    return value;
}

NOINLINE void run(int value) {
    lines[3] = __LINE__ + 1;
    twice<int>(value);
    __asm__ volatile("" ::: "memory");
}

template <typename T> NOINLINE T templated(T value) {
    NOTE(lines[0]);
    return value;
}

NOINLINE void open_account(int) {
    static std::mutex door;
    say_data(__LINE__ - 1, "bank::open_account(int)::door", &door);
}
} // namespace bank

int main() {
    dl_iterate_phdr(
        [](dl_phdr_info *info, std::size_t, void *) {
            bias = info->dlpi_addr;
            return 1;
        },
        nullptr);
    char text[512];
    bank::run(1);
    std::snprintf(
        text, sizeof text,
        "(anonymous namespace)::hidden:%d\tbank::Account::deposit(int):%d\tbank::twice<int>(int):%d\t"
        "bank::run(int):%d",
        lines[0], lines[1], lines[2], lines[3]);
    say_frames(text);
    bank::templated<long>(1);
    std::snprintf(text, sizeof text, "bank::templated<long>(long):%d", lines[0]);
    say_frames(text);

    say_data(0, "Registry::instance_lock", &Registry::instance_lock);
    say_data(0, "Registry::inline_lock", &Registry::inline_lock);
    say_data(0, "(anonymous namespace)::cache.mutex_", &cache.mutex_);
    say_data(0, "(anonymous namespace)::cache.ready", &cache.ready);
    say_data(0, "bank::vault", &bank::vault);
    say_data(0, "bank::derived[1].base_mutex", &bank::derived[1].base_mutex);
    say_data(0, "bank::derived[1].more", &bank::derived[1].more);
    say_data(0, "bank::locked", &bank::locked);
    bank::open_account(1);
    return 0;
}
