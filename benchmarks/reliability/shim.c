/* Strikes one rank of a run at one of its own writes: kills it there, or lets its disk be full from there on.

   LD_PRELOAD this.  FAULT_UNDER: only files below this folder.  FAULT_RANK: only the process with this RANK, else each.
   FAULT_AT: the event that strikes, from 1; 0 none.  FAULT_KIND: kill or full.  FAULT_LOG: events go here.
   An event is a write, a flush to the disk or a rename. A write that kills has put half of its bytes on the disk.
*/
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int events;

static int concerns(const char *path) {
    const char *under = getenv("FAULT_UNDER"), *mine = getenv("RANK"), *struck = getenv("FAULT_RANK");
    return under && mine && (!struck || !strcmp(mine, struck)) && !strncmp(path, under, strlen(under));
}

static void note(int number, const char *what, const char *path) {
    const char *file = getenv("FAULT_LOG");
    char line[PATH_MAX + 64];
    int log = file ? open(file, O_WRONLY | O_APPEND | O_CREAT, 0644) : -1;
    if (log < 0) return;
    int size = snprintf(line, sizeof line, "%s %d %s %s\n", getenv("RANK"), number, what, path);
    syscall(SYS_write, log, line, size);
    close(log);
}

/* -1: nothing happens to this call. Else the errno that it returns, or it does not return. */
static int strike(const char *what, const char *path, int fd, const void *bytes, size_t size) {
    const char *at = getenv("FAULT_AT"), *kind = getenv("FAULT_KIND");
    int number = atomic_fetch_add(&events, 1) + 1, target = at ? atoi(at) : 0;
    note(number, what, path);
    if (!target || number < target) return -1;
    if (kind && !strcmp(kind, "full")) return strcmp(what, "write") ? -1 : ENOSPC;
    if (number > target) return -1;
    if (bytes) syscall(SYS_write, fd, bytes, size / 2);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

static int strike_file(const char *what, int fd, const void *bytes, size_t size) {
    char name[64], path[PATH_MAX];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(name, path, sizeof path - 1);
    if (length < 0) return -1;
    path[length] = 0;
    return concerns(path) ? strike(what, path, fd, bytes, size) : -1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define OR_FAIL(error) do { int found = (error); if (found >= 0) { errno = found; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t size) {
    OR_FAIL(strike_file("write", fd, bytes, size));
    return REAL(write)(fd, bytes, size);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    OR_FAIL(strike_file("write", fd, count ? parts->iov_base : NULL, count ? parts->iov_len : 0));
    return REAL(writev)(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t size, off64_t at) {
    OR_FAIL(strike_file("write", fd, NULL, 0));
    return REAL(pwrite64)(fd, bytes, size, at);
}

int fsync(int fd) {
    OR_FAIL(strike_file("flush", fd, NULL, 0));
    return REAL(fsync)(fd);
}

int fdatasync(int fd) {
    OR_FAIL(strike_file("flush", fd, NULL, 0));
    return REAL(fdatasync)(fd);
}

int rename(const char *from, const char *to) {
    OR_FAIL(concerns(to) ? strike("rename", to, -1, NULL, 0) : -1);
    return REAL(rename)(from, to);
}
