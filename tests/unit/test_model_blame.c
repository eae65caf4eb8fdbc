/* SPDX-License-Identifier: MIT */
/* Blame: who is charged for a wait, and that the charges add up to the waits to the nanosecond. */
#include "check.h"
#include "model_trace.h"

struct scene {
    struct model_trace trace;
    uint64_t process, main, a, b, c; /* threads */
    uint64_t lock;
    uint64_t waiting, first, second, third; /* stacks */
    uint64_t owner_site;
};

static void scene_begin(struct scene *scene, enum lock_class cls) {
    struct model_trace *trace = &scene->trace;
    model_trace_begin(trace);
    scene->process = model_trace_process(trace, 10, 1000, 0, "prog");
    uint64_t module = model_trace_module(trace, scene->process, "/bin/prog");
    const char *names[] = {"waiting", "first", "second", "third", "deep1", "deep2", "deep3"};
    uint64_t at[7];
    for (size_t i = 0; i < 7; i++)
        at[i] = model_trace_location(trace, scene->process, module, names[i], "prog.c", 10 + i);
    /* Deep enough never to be idle. */
    scene->waiting = MODEL_TRACE_STACK(trace, at[0], at[4], at[5], at[6]);
    scene->first = MODEL_TRACE_STACK(trace, at[1], at[4]);
    scene->second = MODEL_TRACE_STACK(trace, at[2], at[4]);
    scene->third = MODEL_TRACE_STACK(trace, at[3], at[4]);
    scene->owner_site = model_trace_location(trace, scene->process, module, "take", "prog.c", 99);
    scene->main = model_trace_thread(trace, scene->process, 10, 1000, 0, "main");
    scene->a = model_trace_thread(trace, scene->process, 11, 1000, 0, "a");
    scene->b = model_trace_thread(trace, scene->process, 12, 1000, 0, "b");
    scene->c = model_trace_thread(trace, scene->process, 13, 1000, 0, "c");
    scene->lock = model_trace_lock(trace, scene->process, cls, "lock", "prog.c", 3);
}

static uint64_t sum_of_sites(const struct model_site *sites, uint32_t count, uint64_t *ret_count) {
    uint64_t ns = 0;
    *ret_count = 0;
    for (uint32_t i = 0; i < count; i++) {
        ns += sites[i].ns;
        *ret_count += sites[i].count;
    }
    return ns;
}

static uint64_t blamed(const struct model *model, const struct model_lock *lock, const char *function) {
    for (uint32_t i = 0; i < lock->holder_count; i++)
        if (strcmp(model_site_function(model, &lock->holders[i]), function) == 0)
            return lock->holders[i].ns;
    return 0;
}

/* Opens the scene, checks the sums, and returns the model; ret_lock: the scene's lock. */
static struct model *scene_open(struct scene *scene, const struct model_lock **ret_lock) {
    model_trace_end(&scene->trace, 1000 * MS);
    struct model *model = model_trace_open(&scene->trace);
    uint64_t count;
    *ret_lock = model ? model_lock_named(model, "lock") : NULL;
    if (!CHECK(*ret_lock != NULL))
        exit(1);
    CHECK_EQ_U64(sum_of_sites((*ret_lock)->holders, (*ret_lock)->holder_count, &count),
                 (*ret_lock)->wait_total);
    CHECK_EQ_U64(count, (*ret_lock)->wait_count);
    CHECK_EQ_U64(sum_of_sites((*ret_lock)->waiters, (*ret_lock)->waiter_count, &count),
                 (*ret_lock)->wait_total);
    return model;
}

static void test_split(void) {
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_MUTEX);
    MODEL_TRACE_WAIT(&scene.trace, scene.main, .begin = 10 * MS, .duration = 10 * MS + 500,
                     .lock = scene.lock, .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 13 * MS, .lock = scene.lock, .stack = scene.first);
    MODEL_TRACE_RELEASE(&scene.trace, scene.b, .time = 18 * MS, .lock = scene.lock, .stack = scene.second);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 20 * MS, .lock = scene.lock, .stack = scene.third);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "first"), 3 * MS);
    CHECK_EQ_U64(blamed(model, lock, "second"), 5 * MS);
    CHECK_EQ_U64(blamed(model, lock, "third"), 2 * MS + 500);
    CHECK_STR(model_site_function(model, &lock->holders[0]), "second");
    model_free(model);
}

/* The holder had waited itself and is preempted between the unlock and its stamp: the next one's acquisition
 * says when it let go, for the third one's wait as well. */
static void test_preempted_before_stamp(void) {
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_MUTEX);
    MODEL_TRACE_WAIT(&scene.trace, scene.a, .begin = 9 * MS, .duration = 1 * MS, .lock = scene.lock,
                     .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    MODEL_TRACE_RELEASE(&scene.trace, scene.c, .time = 10 * MS, .lock = scene.lock, .stack = scene.third);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 60 * MS, .held = 50 * MS, .lock = scene.lock,
                        .stack = scene.first);
    MODEL_TRACE_WAIT(&scene.trace, scene.b, .begin = 11 * MS, .duration = 10 * MS, .lock = scene.lock,
                     .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    MODEL_TRACE_RELEASE(&scene.trace, scene.b, .time = 39 * MS, .held = 18 * MS, .lock = scene.lock,
                        .stack = scene.second);
    MODEL_TRACE_WAIT(&scene.trace, scene.main, .begin = 12 * MS, .duration = 28 * MS, .lock = scene.lock,
                     .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "third"), 1 * MS);
    CHECK_EQ_U64(blamed(model, lock, "first"), 10 * MS + 9 * MS);
    CHECK_EQ_U64(blamed(model, lock, "second"), 19 * MS);
    model_free(model);
}

/* A wait through many hands is counted at the one that held longest in one piece. */
static void test_counts(void) {
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_MUTEX);
    MODEL_TRACE_WAIT(&scene.trace, scene.main, .begin = 10 * MS, .duration = 60 * MS, .lock = scene.lock,
                     .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    for (uint64_t i = 1; i <= 50; i++)
        MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 10 * MS + i * MS + (i >= 33 ? 5 * MS : 0),
                            .lock = scene.lock, .stack = i == 33 ? scene.second : scene.first);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "first"), 54 * MS);
    CHECK_EQ_U64(blamed(model, lock, "second"), 6 * MS);
    CHECK_EQ_U64(lock->holders[0].count, 0);
    CHECK_EQ_U64(lock->holders[1].count, 1);
    model_free(model);
}

/* The releaser's stamp comes after the waiter's end. */
static void test_late_stamp(void) {
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_MUTEX);
    struct trace_wait wait = {.lock = scene.lock, .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting};
    wait.begin = 10 * MS;
    wait.duration = 10 * MS;
    model_trace_wait(&scene.trace, scene.main, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.main, .time = 20 * MS + 200, .lock = scene.lock,
                        .stack = scene.third);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 20 * MS + 700, .lock = scene.lock,
                        .stack = scene.first);
    /* With a release inside: the tail is b's hold, which is known to have begun before the end. */
    wait.begin = 40 * MS;
    model_trace_wait(&scene.trace, scene.main, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 43 * MS, .lock = scene.lock, .stack = scene.first);
    MODEL_TRACE_RELEASE(&scene.trace, scene.b, .time = 50 * MS + 900, .held = 7 * MS, .lock = scene.lock,
                        .stack = scene.second);
    /* The next release began after the end: it is not to blame, and who is, is known by the owner. */
    wait.begin = 70 * MS;
    wait.owner = scene.b;
    wait.owner_site = scene.owner_site;
    model_trace_wait(&scene.trace, scene.main, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 80 * MS + 900, .held = 800, .lock = scene.lock,
                        .stack = scene.third);
    /* Two releases soon after: the owner's is taken. */
    wait.begin = 100 * MS;
    model_trace_wait(&scene.trace, scene.main, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 110 * MS + 100, .lock = scene.lock,
                        .stack = scene.third);
    MODEL_TRACE_RELEASE(&scene.trace, scene.b, .time = 110 * MS + 300, .lock = scene.lock,
                        .stack = scene.second);
    /* Nothing at all. */
    wait.begin = 200 * MS;
    wait.owner = wait.owner_site = 0;
    model_trace_wait(&scene.trace, scene.main, &wait);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "first"), 10 * MS + 3 * MS);
    CHECK_EQ_U64(blamed(model, lock, "second"), 7 * MS + 10 * MS);
    CHECK_EQ_U64(blamed(model, lock, "take"), 10 * MS);
    CHECK_EQ_U64(blamed(model, lock, "[holder unknown]"), 10 * MS);
    CHECK_EQ_U64(blamed(model, lock, "third"), 0);
    model_free(model);
}

/* Who signals last gets it all; a wait that timed out was ended by nobody. */
static void test_events(void) {
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_CONDITION);
    struct trace_wait wait = {.lock = scene.lock, .mode = LOCK_CLASS_CONDITION, .stack = scene.waiting};
    wait.begin = 10 * MS;
    wait.duration = 10 * MS;
    model_trace_wait(&scene.trace, scene.main, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 13 * MS, .lock = scene.lock, .stack = scene.first);
    MODEL_TRACE_RELEASE(&scene.trace, scene.b, .time = 19 * MS, .lock = scene.lock, .stack = scene.second);
    MODEL_TRACE_RELEASE(&scene.trace, scene.c, .time = 20 * MS + 10, .lock = scene.lock,
                        .stack = scene.third);
    wait.begin = 40 * MS;
    wait.flags = WAIT_TIMED | WAIT_TIMED_OUT;
    model_trace_wait(&scene.trace, scene.main, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 43 * MS, .lock = scene.lock, .stack = scene.first);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "second"), 10 * MS);
    CHECK_EQ_U64(blamed(model, lock, "[timed out]"), 10 * MS);
    CHECK_EQ_U64(lock->holder_count, 2);
    model_free(model);

    scene_begin(&scene, LOCK_CLASS_BARRIER);
    wait = (struct trace_wait){.begin = 10 * MS,
                               .duration = 10 * MS,
                               .lock = scene.lock,
                               .mode = LOCK_CLASS_BARRIER,
                               .stack = scene.waiting};
    model_trace_wait(&scene.trace, scene.main, &wait);
    /* The round before, stamped late, and the one that counts. */
    MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 10 * MS + 50, .lock = scene.lock,
                        .stack = scene.first);
    MODEL_TRACE_RELEASE(&scene.trace, scene.b, .time = 20 * MS + 60, .lock = scene.lock,
                        .stack = scene.second);
    /* The last to arrive lets the others go as it comes. */
    wait.begin = 40 * MS;
    model_trace_wait(&scene.trace, scene.c, &wait);
    MODEL_TRACE_RELEASE(&scene.trace, scene.c, .time = 40 * MS, .lock = scene.lock, .stack = scene.third);
    model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "second"), 10 * MS);
    CHECK_EQ_U64(blamed(model, lock, "third"), 10 * MS);
    model_free(model);
}

/* A reader waits for writers only; a writer for either. */
static void test_readers(void) {
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_RWLOCK_WRITE);
    struct trace_release release = {.lock = scene.lock, .held = 1 * MS};
    static const struct {
        uint64_t time;
        enum lock_class mode;
        unsigned stack; /* 0 first, 1 second */
    } RELEASES[] = {
        {13, LOCK_CLASS_RWLOCK_WRITE, 0}, {14, LOCK_CLASS_RWLOCK_READ, 1}, {19, LOCK_CLASS_RWLOCK_READ, 1}};
    for (size_t i = 0; i < sizeof(RELEASES) / sizeof(RELEASES[0]); i++) {
        release.time = RELEASES[i].time * MS;
        release.mode = RELEASES[i].mode;
        release.stack = RELEASES[i].stack ? scene.second : scene.first;
        model_trace_release(&scene.trace, RELEASES[i].stack ? scene.b : scene.a, &release);
    }
    struct trace_wait wait = {
        .begin = 10 * MS, .duration = 5 * MS, .lock = scene.lock, .stack = scene.waiting};
    wait.mode = LOCK_CLASS_RWLOCK_READ;
    model_trace_wait(&scene.trace, scene.main, &wait);
    wait.mode = LOCK_CLASS_RWLOCK_WRITE;
    wait.duration = 9 * MS;
    model_trace_wait(&scene.trace, scene.c, &wait);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "first"), 5 * MS + 3 * MS);
    CHECK_EQ_U64(blamed(model, lock, "second"), 6 * MS);
    model_free(model);

    /* No writer was seen to release: then a reader's release has to do where it fits. */
    scene_begin(&scene, LOCK_CLASS_RWLOCK_WRITE);
    wait.mode = LOCK_CLASS_RWLOCK_READ;
    model_trace_wait(&scene.trace, scene.main, &wait);
    release.time = 12 * MS;
    release.mode = LOCK_CLASS_RWLOCK_READ;
    release.stack = scene.second;
    model_trace_release(&scene.trace, scene.b, &release);
    model = scene_open(&scene, &lock);
    CHECK_EQ_U64(blamed(model, lock, "second"), 9 * MS);
    model_free(model);
}

static uint64_t random_state = 88172645463325252ULL;
static uint64_t random_below(uint64_t limit) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return random_state % limit;
}

/* Any data at all: no nanosecond is lost or charged twice, in sums, in trees and by thread. */
static void test_random(unsigned rounds) {
    static const enum lock_class CLASSES[] = {LOCK_CLASS_MUTEX,     LOCK_CLASS_RWLOCK_WRITE,
                                              LOCK_CLASS_SPIN,      LOCK_CLASS_SEMAPHORE,
                                              LOCK_CLASS_CONDITION, LOCK_CLASS_BARRIER};
    for (unsigned round = 0; round < rounds; round++) {
        enum lock_class cls = CLASSES[round % 6];
        struct scene scene;
        const struct model_lock *lock;
        scene_begin(&scene, cls);
        uint64_t stacks[] = {scene.first, scene.second, scene.third, 0};
        uint64_t span = 1 + random_below(100 * MS), sum = 0, waits = random_below(60),
                 releases = random_below(60);
        for (uint64_t i = 0; i < waits; i++) {
            uint64_t thread = scene.main + random_below(4);
            struct trace_wait wait = {
                .begin = 2000 + random_below(span),
                .duration = random_below(span) >> random_below(20),
                .lock = scene.lock,
                .mode = cls == LOCK_CLASS_RWLOCK_WRITE ? LOCK_CLASS_RWLOCK_READ + random_below(2) : cls,
                .flags = random_below(8) == 0 ? WAIT_TIMED_OUT : 0,
                .stack = random_below(5) == 0 ? 0 : scene.waiting,
                .owner = random_below(3) == 0 ? scene.main + random_below(4) : 0,
                .owner_site = random_below(3) == 0 ? scene.owner_site : 0,
            };
            sum += wait.duration;
            model_trace_wait(&scene.trace, thread, &wait);
        }
        for (uint64_t i = 0; i < releases; i++)
            MODEL_TRACE_RELEASE(
                &scene.trace, scene.main + random_below(4), .time = 2000 + random_below(2 * span),
                .held = random_below(2) ? random_below(span) : 0, .lock = scene.lock,
                .mode = cls == LOCK_CLASS_RWLOCK_WRITE ? LOCK_CLASS_RWLOCK_READ + random_below(2) : cls,
                .stack = stacks[random_below(4)]);
        struct model *model = scene_open(&scene, &lock);
        CHECK_EQ_U64(lock->wait_total, sum);

        struct model_tree_filter filter = {true, MODEL_NONE, MODEL_NONE, MODEL_NONE};
        for (unsigned kind = MODEL_TREE_WAIT; kind <= MODEL_TREE_BLAME; kind++) {
            struct model_tree *tree;
            uint32_t count;
            uint64_t self = 0;
            CHECK_EQ_INT(model_tree_build(model, (enum model_tree_kind)kind, &filter, &tree), 0);
            const struct model_tree_node *nodes = model_tree_nodes(tree, &count);
            CHECK_EQ_U64(nodes[0].total_ns, sum);
            CHECK_EQ_U64(nodes[0].count, lock->wait_count);
            CHECK_EQ_U64(nodes[0].subtree, count - 1);
            for (uint32_t i = 0; i < count; i++) {
                self += nodes[i].self_ns;
                if (i > 0)
                    CHECK(nodes[i].parent < i && i <= nodes[i].parent + nodes[nodes[i].parent].subtree &&
                          nodes[i].depth == nodes[nodes[i].parent].depth + 1);
            }
            CHECK_EQ_U64(self, sum);
            model_tree_free(tree);
        }
        /* By thread: the parts make up the whole. */
        uint64_t parts = 0;
        uint32_t threads, count;
        model_threads(model, &threads);
        for (filter.thread = 0; filter.thread < threads; filter.thread++) {
            struct model_tree *tree;
            CHECK_EQ_INT(model_tree_build(model, MODEL_TREE_BLAME, &filter, &tree), 0);
            parts += model_tree_nodes(tree, &count)[0].total_ns;
            model_tree_free(tree);
        }
        CHECK_EQ_U64(parts, sum);
        model_free(model);
    }
}

/* A wait at the end of a list of releases so long that the search's steps would not fit into 32 bits. */
static void test_many_releases(void) {
    enum { RELEASES = 2000000 };
    struct scene scene;
    const struct model_lock *lock;
    scene_begin(&scene, LOCK_CLASS_MUTEX);
    for (uint64_t i = 0; i < RELEASES; i++)
        MODEL_TRACE_RELEASE(&scene.trace, scene.a, .time = 2000 + 10 * i, .held = 5, .lock = scene.lock,
                            .mode = LOCK_CLASS_MUTEX, .stack = scene.first, .waiters = 1);
    uint64_t end = 2000 + 10 * (RELEASES - 1);
    MODEL_TRACE_WAIT(&scene.trace, scene.b, .begin = end - 4, .duration = 6, .lock = scene.lock,
                     .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    MODEL_TRACE_WAIT(&scene.trace, scene.c, .begin = 1500, .duration = end - 1490, .lock = scene.lock,
                     .mode = LOCK_CLASS_MUTEX, .stack = scene.waiting);
    struct model *model = scene_open(&scene, &lock);
    CHECK_EQ_U64(lock->wait_count, 2);
    CHECK_EQ_U64(lock->wait_total, 6 + end - 1490);
    model_free(model);
}

int main(void) {
    test_many_releases();
    test_split();
    test_counts();
    test_preempted_before_stamp();
    test_late_stamp();
    test_events();
    test_readers();
    test_random(300);
    return check_summary();
}
