/* SPDX-License-Identifier: MIT */
/* For another C library than glibc (musl-gcc builds it): the agent cannot work there, and must not be in the
 * way. Argument exec: runs a shell that runs it once more, where the agent works in between. */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static sem_t slots;
static int turn, taken;

static void use(int side) {
    for (int i = 0; i < 100; i++) {
        pthread_mutex_lock(&lock);
        while (turn != side)
            pthread_cond_wait(&changed, &lock);
        turn = !side;
        taken++;
        pthread_cond_signal(&changed);
        pthread_mutex_unlock(&lock);
    }
}

static void *side_run(void *argument) {
    use(1);
    sem_post(&slots);
    return argument;
}

int main(int argc, char **argv) {
    pthread_t thread;
    int status = 0;
    sem_init(&slots, 0, 0);
    pthread_create(&thread, NULL, side_run, NULL);
    use(0);
    sem_wait(&slots);
    pthread_join(thread, NULL);
    pid_t pid = fork();
    if (pid == 0) {
        pthread_mutex_lock(&lock);
        pthread_mutex_unlock(&lock);
        _exit(8);
    }
    if (waitpid(pid, &status, 0) != pid || WEXITSTATUS(status) != 8)
        return 1;
    printf("taken %d\n", taken);
    fflush(stdout);
    if (argc > 1 && strcmp(argv[1], "exec") == 0)
        execl("/bin/sh", "sh", "-c", "\"$0\"; echo \"ended with $?\"", argv[0], (char *)NULL);
    return 4;
}
