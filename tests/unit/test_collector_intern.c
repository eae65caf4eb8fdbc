/* SPDX-License-Identifier: MIT */
/* Ids: the hash table, lock generations, modules that take one another's place. */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "check.h"
#include "collector/recording.h"

static struct recording recording;
static struct image image;

static void table_random(void) {
    enum { KEYS = 50000 };
    struct table table = {0};
    static uint32_t truth[KEYS];
    uint64_t state = 88172645463325252ULL;
    bool right = true;
    for (int i = 0; i < 400000; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        uint32_t at = (uint32_t)(state >> 20) % KEYS;
        uint64_t key = (uint64_t)at * 64 + 0x7f0000000000ULL;
        if (state % 4 == 0) {
            truth[at] = 0;
            table_set(&table, key, 0);
        } else {
            truth[at] = (uint32_t)(state >> 40) + 1;
            table_set(&table, key, truth[at]);
        }
        right = right && table_get(&table, key) == truth[at];
    }
    for (uint32_t at = 0; at < KEYS; at++)
        right = right && table_get(&table, (uint64_t)at * 64 + 0x7f0000000000ULL) == truth[at];
    CHECK(right);
    CHECK(table.capacity <= 131072);
    CHECK_EQ_INT((int)table_get(&table, 1), 0);
    table_clear(&table);
    CHECK_EQ_INT((int)table_get(&table, 1), 0);
}

static uint64_t key(uint64_t address, uint32_t generation) {
    return lock_key_make(address, generation, LOCK_CLASS_MUTEX);
}

static uint32_t use(uint64_t lock_key) {
    return intern_lock(&recording, &image, lock_key, 0);
}

static uint32_t init(uint64_t lock_key) {
    struct record_lock_init record = {.key = lock_key};
    return intern_lock_init(&recording, &image, &record, 1000);
}

static void lock_generations(void) {
    /* Static: never initialised by a call. Others' initialisations raise its generation. */
    uint32_t still = use(key(0x1000, 5));
    CHECK(still != 0);
    CHECK_EQ_INT((int)use(key(0x1000, 5)), (int)still);
    CHECK_EQ_INT((int)use(key(0x1000, 9)), (int)still);
    /* A late count of another thread, from before. */
    CHECK_EQ_INT((int)use(key(0x1000, 3)), (int)still);

    /* An address that is used again. */
    uint32_t first = init(key(0x2000, 10)), second, third;
    CHECK(first != still);
    CHECK_EQ_INT((int)use(key(0x2000, 10)), (int)first);
    CHECK_EQ_INT((int)use(key(0x2000, 12)), (int)first);
    second = init(key(0x2000, 13));
    CHECK(second != first);
    CHECK_EQ_INT((int)use(key(0x2000, 13)), (int)second);
    CHECK_EQ_INT((int)use(key(0x2000, 15)), (int)second);
    CHECK_EQ_INT((int)use(key(0x2000, 12)), (int)first);
    CHECK_EQ_INT((int)use(key(0x2000, 10)), (int)first);
    /* The counter wraps. */
    third = init(key(0x2000, 2047));
    CHECK_EQ_INT((int)use(key(0x2000, 1)), (int)third);
    CHECK_EQ_INT((int)use(key(0x2000, 2046)), (int)second);

    /* Seen in use first, initialised later: two lives. */
    uint32_t inferred = use(key(0x3000, 20)), made = init(key(0x3000, 21));
    CHECK(inferred != made);
    CHECK_EQ_INT((int)use(key(0x3000, 21)), (int)made);
    CHECK_EQ_INT((int)use(key(0x3000, 20)), (int)inferred);
    CHECK_EQ_INT((int)use(key(0x3000, 19)), (int)inferred);

    /* Classes are apart, but reading and writing are one rwlock. */
    uint32_t reading = use(lock_key_make(0x4000, 1, LOCK_CLASS_RWLOCK_READ));
    CHECK_EQ_INT((int)use(lock_key_make(0x4000, 1, LOCK_CLASS_RWLOCK_WRITE)), (int)reading);
    CHECK(use(key(0x4000, 1)) != reading);
    CHECK_EQ_INT((int)lock_key_class(recording.catalogue.locks[reading].key), LOCK_CLASS_RWLOCK_WRITE);

    /* A million uses of an address: the chain is not walked to its end. */
    for (int i = 0; i < 100000; i++)
        init(key(0x5000, (uint32_t)i));
    CHECK_EQ_INT((int)use(key(0x5000, 99999)), (int)recording.catalogue.lock_count);

    CHECK(!intern_key_is_lock(0));
    CHECK(!intern_key_is_lock(lock_key_make(0x1000, 0, LOCK_CLASS_COUNT)));
    CHECK(!intern_key_is_lock(UINT64_MAX));
}

static uint32_t name_text(const char *text) {
    return (uint32_t)trace_writer_string(recording.writer, text, strlen(text));
}

static void name(uint64_t address, uint32_t generation, const char *text) {
    uint64_t place = lock_key_make(address, generation, LOCK_CLASS_NONE);
    CHECK_EQ_INT(naming_add(&recording, &image, place, text ? name_text(text) : 0), 0);
}

static bool is_named(uint32_t lock, const char *text) {
    uint32_t naming = recording.catalogue.locks[lock].naming;
    return (naming ? recording.catalogue.namings[naming].name : 0) == (text ? name_text(text) : 0);
}

/* The lock that a walk over all lives finds: the newest that is not after the key. */
static uint32_t life_find(const uint32_t *ids, const uint32_t *begins, uint32_t count, uint32_t generation) {
    for (uint32_t i = count; i-- > 0;) {
        if (begins[i] <= generation)
            return ids[i];
    }
    return 0;
}

/* Looked for among hundreds of newer ones, as in a program that makes locks faster than it is followed. */
static void lock_lives(void) {
    enum { LIVES = 5000, BACK = 1000 };
    static uint32_t ids[LIVES], begins[LIVES];
    uint32_t generation = BACK, seed = 1, wrong = 0;
    for (uint32_t i = 0; i < LIVES; i++) {
        seed = seed * 1664525 + 1013904223;
        /* Now and then many others' initialisations come between two. */
        generation += seed >> 27 == 0 ? 600 : 1 + (seed >> 30);
        begins[i] = generation;
        ids[i] = init(key(0x6000, generation));
        for (uint32_t back = 0; back < 20; back++) {
            seed = seed * 1664525 + 1013904223;
            uint32_t wanted = generation - (seed >> 8) % BACK;
            uint32_t life = life_find(ids, begins, i + 1, wanted);
            wrong += life && use(key(0x6000, wanted)) != life;
        }
    }
    CHECK_EQ_INT((int)wrong, 0);

    /* One that is found out about later, among those that strides led past. */
    for (uint32_t i = 0; i < 100; i++)
        ids[i] = init(key(0x7000, 4 * i));
    name(0x7000, 201, "first");
    name(0x7000, 202, "second");
    CHECK_EQ_INT((int)use(key(0x7000, 201)), (int)ids[50]);
    uint32_t second = use(key(0x7000, 202));
    CHECK(second != ids[50] && is_named(second, "second"));
    CHECK_EQ_INT((int)use(key(0x7000, 203)), (int)second);
    CHECK_EQ_INT((int)use(key(0x7000, 204)), (int)ids[51]);
    CHECK_EQ_INT((int)use(key(0x7000, 201)), (int)ids[50]);
    CHECK_EQ_INT((int)use(key(0x7000, 396)), (int)ids[99]);
}

static void lock_namings(void) {
    /* Before its first use and after it: the same lock. */
    name(0x10000, 7, "early");
    uint32_t early = use(key(0x10000, 9)), late = use(key(0x11000, 5));
    CHECK(is_named(early, "early"));
    CHECK_EQ_INT((int)use(key(0x10000, 3)), (int)early);
    CHECK(is_named(late, NULL));
    name(0x11000, 6, "late");
    CHECK(is_named(late, "late"));
    CHECK_EQ_INT((int)use(key(0x11000, 5)), (int)late);
    CHECK_EQ_INT((int)use(key(0x11000, 8)), (int)late);
    /* All its uses were before, and are told of afterwards. */
    name(0x12000, 4, "told late");
    CHECK(is_named(use(key(0x12000, 2)), "told late"));

    /* Another name at the same address is another lock, whatever comes first. */
    name(0x10000, 20, "second");
    uint32_t second = use(key(0x10000, 21));
    CHECK(second != early && is_named(second, "second"));
    CHECK_EQ_INT((int)use(key(0x10000, 19)), (int)early);
    name(0x13000, 1, "a");
    name(0x13000, 5, "b");
    name(0x13000, 9, "b"); /* the same again: nothing new */
    uint32_t b = use(key(0x13000, 6)), a = use(key(0x13000, 2));
    CHECK(a != b && is_named(a, "a") && is_named(b, "b"));
    CHECK_EQ_INT((int)use(key(0x13000, 10)), (int)b);
    CHECK_EQ_INT((int)use(key(0x13000, 4)), (int)a);
    CHECK_EQ_INT((int)use(key(0x13000, 7)), (int)b);

    /* Gone: what comes then is another lock, named or not. */
    name(0x13000, 12, NULL);
    uint32_t nameless = use(key(0x13000, 13));
    CHECK(nameless != b && is_named(nameless, NULL));
    CHECK_EQ_INT((int)use(key(0x13000, 11)), (int)b);
    name(0x13000, 14, "c");
    CHECK(is_named(nameless, "c"));
    CHECK_EQ_INT((int)use(key(0x13000, 15)), (int)nameless);
    uint32_t never_named = use(key(0x14000, 1));
    name(0x14000, 2, NULL);
    name(0x14000, 3, "after");
    uint32_t after = use(key(0x14000, 3));
    CHECK(after != never_named && is_named(after, "after") && is_named(never_named, NULL));

    /* An initialisation ends what was before; a naming told of before it is of the lock it made. */
    uint32_t made = init(key(0x13000, 30));
    CHECK_EQ_INT((int)use(key(0x13000, 31)), (int)made);
    CHECK(is_named(made, NULL));
    name(0x13000, 32, "c");
    CHECK(is_named(made, "c"));
    name(0x15000, 11, "made");
    made = init(key(0x15000, 10));
    CHECK_EQ_INT((int)use(key(0x15000, 12)), (int)made);
    CHECK(is_named(made, "made"));

    /* Every class at the address, and a rwlock once. The counter wraps. */
    name(0x16000, 2046, "any");
    uint32_t reading = use(lock_key_make(0x16000, 3, LOCK_CLASS_RWLOCK_READ));
    CHECK_EQ_INT((int)use(lock_key_make(0x16000, 4, LOCK_CLASS_RWLOCK_WRITE)), (int)reading);
    CHECK(is_named(reading, "any") && is_named(use(key(0x16000, 2047)), "any"));
    CHECK(is_named(use(lock_key_make(0x16000, 1, LOCK_CLASS_JOIN)), NULL));

    for (uint32_t i = 0; i < 100000; i++)
        name(0x17000, i, i % 2 ? "odd" : "even");
    CHECK(is_named(use(key(0x17000, 99999)), "odd"));

    /* Texts: once each, what is too much is left out. */
    char bytes[sizeof(struct record_name) + 8] = {0};
    struct record_name *record = (struct record_name *)bytes;
    uint32_t found = 0;
    record->header.value = 5;
    record->hash = 77;
    memcpy(record->text, "hello", 5);
    naming_text_define(&recording, &image, record);
    CHECK_EQ_INT(naming_text(&image, 77, &found), 0);
    CHECK_EQ_INT((int)found, (int)name_text("hello"));
    CHECK_EQ_INT(naming_text(&image, 78, &found), -ENOENT);
    CHECK(naming_text(&image, 0, &found) == 0 && found == 0);
    recording.name_bytes = UINT64_MAX / 2;
    record->hash = 78;
    naming_text_define(&recording, &image, record);
    CHECK_EQ_INT(naming_text(&image, 78, &found), -ENOENT);
    recording.name_bytes = 0;
}

static void module_add(uint64_t start, uint64_t end, const char *path) {
    char bytes[sizeof(struct record_module) + 64] = {0};
    struct record_module *module = (struct record_module *)bytes;
    module->header.value = (uint32_t)strlen(path);
    module->start = start;
    module->end = end;
    memcpy(module->path, path, strlen(path));
    intern_module(&recording, &image, module);
}

static uint32_t stack_add(uint64_t hash, uint64_t pc) {
    uint64_t words[4] = {0, hash, pc, pc + 16};
    struct record_stack *stack = (struct record_stack *)words;
    stack->header.value = 2;
    intern_stack_define(&recording, &image, stack);
    return intern_stack(&image, hash);
}

static const char *path_of(uint32_t location) {
    uint32_t module = recording.catalogue.locations[location].module;
    return module ? recording.catalogue.modules[module].path : NULL;
}

static void modules_and_stacks(void) {
    module_add(0x10000, 0x20000, "/one.so");
    module_add(0x10000, 0x20000, "/one.so");
    CHECK_EQ_INT((int)image.module_count, 1);
    uint32_t before = intern_location(&recording, &image, 0x10100, false);
    CHECK_STR(path_of(before), "/one.so");
    CHECK_EQ_INT((int)intern_location(&recording, &image, 0x10100, false), (int)before);
    /* A return address one past the last byte still belongs to the call before it. */
    CHECK_STR(path_of(intern_location(&recording, &image, 0x20000, false)), "/one.so");
    CHECK_STR(path_of(intern_location(&recording, &image, 0x20000, true)), NULL);
    uint32_t stack = stack_add(77, 0x10200);
    CHECK(stack != 0);
    CHECK_EQ_INT((int)stack_add(77, 0x10200), (int)stack);
    CHECK_EQ_INT((int)intern_stack(&image, 78), 0);

    module_add(0x18000, 0x30000, "/two.so");
    uint32_t after = intern_location(&recording, &image, 0x10100, false);
    CHECK(after != before);
    CHECK_STR(path_of(after), "/one.so");
    CHECK_STR(path_of(intern_location(&recording, &image, 0x19000, false)), "/two.so");
    module_add(0x10000, 0x20000, "/three.so");
    CHECK(stack_add(77, 0x10200) != stack);
}

int main(void) {
    char path[] = "/tmp/waitscope-intern.XXXXXX";
    int fd = mkstemp(path);
    if (!CHECK(fd >= 0))
        return check_summary();
    close(fd);
    struct trace_writer_options options = {.overwrite = true};
    if (!CHECK_EQ_INT(trace_writer_open(path, &options, &recording.writer), 0))
        return check_summary();
    struct catalogue_process process = {1, 1, 0};
    image.process = catalogue_process_add(&recording.catalogue, &process);
    table_random();
    lock_generations();
    lock_lives();
    lock_namings();
    modules_and_stacks();
    intern_clear(&image);
    catalogue_clear(&recording.catalogue);
    trace_writer_free(recording.writer);
    unlink(path);
    return check_summary();
}
