// Loaded before the system's library: makes calls fail as the environment says.
//   FAIL_FULL=/path      statvfs of it, or of what is below it, tells of no room
//   FAIL_FLOCK=1         flock is not supported
//   FAIL_CLOCK_S=3600    the clock of the day is so far ahead
//   SLOW_READ_MS=300     reads of shards take so long, after the first SLOW_READ_AFTER=400
//   SLOW_SYNC_MS=300     fsync does
//   SLOW_SEND_MS=20      every write of several parts does, which MPI over TCP sends with
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/statvfs.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

int statvfs(const char* path, struct statvfs* facts) {
  int (*real)(const char*, struct statvfs*) = dlsym(RTLD_NEXT, "statvfs");
  const int result = real(path, facts);
  const char* full = getenv("FAIL_FULL");
  if (result == 0 && full && strncmp(path, full, strlen(full)) == 0) facts->f_bavail = 0;
  return result;
}

int flock(int descriptor, int operation) {
  if (getenv("FAIL_FLOCK")) {
    errno = ENOLCK;
    return -1;
  }
  int (*real)(int, int) = dlsym(RTLD_NEXT, "flock");
  return real(descriptor, operation);
}

int clock_gettime(clockid_t clock, struct timespec* now) {
  static int (*real)(clockid_t, struct timespec*);
  if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
  const int result = real(clock, now);
  const char* ahead = getenv("FAIL_CLOCK_S");
  if (result == 0 && clock == CLOCK_REALTIME && ahead) now->tv_sec += atol(ahead);
  return result;
}

static void sleep_as(const char* variable) {
  const char* text = getenv(variable);
  if (text) usleep((useconds_t)atol(text) * 1000);
}

static int is_slow_read(int descriptor) {
  static int num_reads;
  if (!getenv("SLOW_READ_MS")) return 0;

  char link[64], path[512];
  snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
  const ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = '\0';
  if (strstr(path, "/shard-") == NULL) return 0;
  const char* after = getenv("SLOW_READ_AFTER");
  return ++num_reads > (after ? atoi(after) : 0);
}

ssize_t pread(int descriptor, void* buffer, size_t count, off_t offset) {
  ssize_t (*real)(int, void*, size_t, off_t) = dlsym(RTLD_NEXT, "pread");
  if (is_slow_read(descriptor)) sleep_as("SLOW_READ_MS");
  return real(descriptor, buffer, count, offset);
}

ssize_t pread64(int descriptor, void* buffer, size_t count, off64_t offset) {
  ssize_t (*real)(int, void*, size_t, off64_t) = dlsym(RTLD_NEXT, "pread64");
  if (is_slow_read(descriptor)) sleep_as("SLOW_READ_MS");
  return real(descriptor, buffer, count, offset);
}

int fsync(int descriptor) {
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  sleep_as("SLOW_SYNC_MS");
  return real(descriptor);
}

ssize_t writev(int descriptor, const struct iovec* parts, int count) {
  ssize_t (*real)(int, const struct iovec*, int) = dlsym(RTLD_NEXT, "writev");
  sleep_as("SLOW_SEND_MS");
  return real(descriptor, parts, count);
}
