/* SPDX-License-Identifier: MIT */
/* The collector's hash table against an array, with growth and removal, and its backlog of entries. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "collector/recording.h"

#define KEYS 50000U

static uint64_t random_state = 88172645463325252ULL;

static uint32_t random_next(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 7;
    random_state ^= random_state << 17;
    return (uint32_t)(random_state >> 16);
}

static void check_table(uint32_t keys, uint32_t steps, uint32_t removals) {
    static uint32_t expected[KEYS];
    struct table table = {0};
    uint64_t wrong = 0;
    memset(expected, 0, sizeof(expected));
    for (uint32_t n = 0; n < steps; n++) {
        uint32_t key = random_next() % keys;
        uint32_t value = random_next() % 100 < removals ? 0 : 1 + random_next() % 1000000;
        wrong += table_set(&table, key * 64ULL + 7, value) != 0;
        expected[key] = value;
        key = random_next() % keys;
        wrong += table_get(&table, key * 64ULL + 7) != expected[key];
        if (n % 5000 == 0) {
            for (uint32_t i = 0; i < keys; i++)
                wrong += table_get(&table, i * 64ULL + 7) != expected[i];
        }
    }
    CHECK_EQ_U64(wrong, 0);
    CHECK(table.capacity <= 16 * keys + 64);
    table_clear(&table);
    CHECK_EQ_U64(table_get(&table, 7), 0);
}

/* Keys that are never used again must not make it grow. */
static void check_table_churn(void) {
    struct table table = {0};
    for (uint64_t n = 1; n <= 300000; n++) {
        CHECK(table_set(&table, n, (uint32_t)n) == 0);
        if (n > 100)
            table_set(&table, n - 100, 0);
    }
    CHECK_EQ_U64(table_get(&table, 300000), 300000);
    CHECK_EQ_U64(table_get(&table, 299000), 0);
    CHECK(table.capacity <= 1024);
    table_clear(&table);
}

/* Two cursors see every entry once, in order; memory is bounded and comes back. */
static void check_backlog(void) {
    struct backlog *backlog;
    if (!CHECK_EQ_INT(backlog_new(&backlog), 0))
        return;
    struct backlog_cursor first = backlog_begin(backlog), last = first;
    uint64_t put = 0, seen = 0, gone = 0, wrong = 0;
    for (int round = 0; round < 3; round++) {
        struct backlog_entry *entry;
        uint32_t bytes = 8;
        while ((entry = backlog_reserve(backlog, BACKLOG_CHUNK_BYTES))) {
            *entry = (struct backlog_entry){.sweep = ++put, .bytes = bytes};
            memset(entry->records, (int)put, bytes);
            backlog_commit(backlog, entry);
            bytes = random_next() % (BACKLOG_CHUNK_BYTES / 8 + 1) * 8;
        }
        CHECK(backlog_used(backlog) <= BACKLOG_BYTES && backlog_used(backlog) > BACKLOG_BYTES / 2);
        while ((entry = backlog_at(&first))) {
            wrong += entry->sweep != ++seen;
            backlog_step(&first, entry);
            if (seen % 3 != 0)
                continue;
            while (gone < seen && (entry = backlog_at(&last))) {
                wrong += entry->sweep != ++gone ||
                         (entry->bytes && entry->records[entry->bytes - 1] != (char)gone);
                backlog_release(backlog, &last, entry);
            }
        }
        while ((entry = backlog_at(&last))) {
            wrong += entry->sweep != ++gone;
            backlog_release(backlog, &last, entry);
        }
        CHECK_EQ_U64(seen, put);
        CHECK_EQ_U64(gone, put);
        CHECK_EQ_U64(backlog_used(backlog), 0);
    }
    CHECK_EQ_U64(wrong, 0);
    CHECK(backlog_reserve(backlog, BACKLOG_CHUNK_BYTES + 8) == NULL);
    backlog_free(backlog);
    backlog_free(NULL);
}

/* A directory as a collector has it, an hour old. */
static int directory_old(const char *root, const char *name, bool listening) {
    char path[96], link[112];
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    snprintf(path, sizeof(path), "%s/%s", root, name);
    snprintf(link, sizeof(link), "%s/%s", path, LISTENER_AGENT_LINK);
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", path, LISTENER_SOCKET_NAME);
    int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    CHECK(mkdir(path, 0700) == 0 && symlink("/nowhere", link) == 0 && fd >= 0);
    CHECK(bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, 1) == 0);
    if (!listening) {
        close(fd);
        fd = -1;
    }
    struct timespec times[2] = {{time(NULL) - 3600, 0}, {time(NULL) - 3600, 0}};
    CHECK_EQ_INT(utimensat(AT_FDCWD, path, times, 0), 0);
    return fd;
}

static void directory_gone(const char *root, const char *name, bool gone) {
    char path[96], command[256];
    snprintf(path, sizeof(path), "%s/%s", root, name);
    if (!CHECK_EQ_INT(access(path, F_OK) != 0, gone))
        printf("%s\n", name);
    snprintf(command, sizeof(command), "rm -rf '%s'", path);
    if (!gone)
        CHECK_EQ_INT(system(command), 0);
}

static void check_stale(void) {
    char root[] = "/tmp/waitscope-stale.XXXXXX", path[128];
    if (!CHECK(mkdtemp(root) != NULL))
        return;
    directory_old(root, "waitscope.dead00", false);
    int fd = directory_old(root, "waitscope.alive0", true);
    directory_old(root, "waitscope.files0", false);
    snprintf(path, sizeof(path), "%s/waitscope.files0/mine", root);
    CHECK_EQ_INT(mkdir(path, 0700), 0);
    struct timespec times[2] = {{time(NULL) - 3600, 0}, {time(NULL) - 3600, 0}};
    path[strlen(path) - 5] = '\0';
    CHECK_EQ_INT(utimensat(AT_FDCWD, path, times, 0), 0);
    directory_old(root, "waitscope-dead00", false);
    directory_old(root, "waitscope.young0", false);
    snprintf(path, sizeof(path), "%s/waitscope.young0", root);
    CHECK_EQ_INT(utimensat(AT_FDCWD, path, NULL, 0), 0);
    snprintf(path, sizeof(path), "%s/waitscope.link00", root);
    CHECK_EQ_INT(symlink("waitscope-dead00", path), 0);
    stale_remove(root);
    stale_remove("/nowhere");
    directory_gone(root, "waitscope.dead00", true);
    directory_gone(root, "waitscope.alive0", false);
    directory_gone(root, "waitscope.files0", false);
    directory_gone(root, "waitscope.link00", false);
    directory_gone(root, "waitscope-dead00", false);
    directory_gone(root, "waitscope.young0", false);
    close(fd);
    CHECK_EQ_INT(rmdir(root), 0);
}

int main(void) {
    check_table(10, 20000, 50);
    check_table(KEYS, 300000, 0);
    check_table(KEYS, 300000, 40);
    check_table_churn();
    check_backlog();
    check_stale();
    return check_summary();
}
