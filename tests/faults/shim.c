/* Preloaded into a process, makes the file system below FAULT_ROOT fail at a chosen operation.
 *
 * FAULT_KIND   count   append a line to FAULT_FIRED for each operation that changes files
 *              kill    at operation FAULT_AT write half of what was to be written, and die of SIGKILL
 *              enospc  from operation FAULT_AT on the disk is full
 *              eio     reading the files whose path ends in FAULT_PATH fails
 *              killread  at the FAULT_ATth reading of whatever die of SIGKILL
 * FAULT_IN     only in processes whose command line holds this
 * FAULT_CHILD  1: only in processes that were forked without exec, such as a data loader's workers
 * FAULT_MAIN   the process whose forks are meant, if it was itself forked
 * FAULT_FIRED  file that gets a line, the process, when the fault happens
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, COUNT, KILL, ENOSPACE, EREAD, KILLREAD };
static pid_t seen_pid, first_pid;
static int kind;
static long at, operations;
static const char *root, *only, *fired;

static const char *get(const char *name) {
  const char *value = getenv(name);
  return value ? value : "";
}

static int is_meant(void) {
  char line[8192];
  int fd = syscall(SYS_openat, AT_FDCWD, "/proc/self/cmdline", O_RDONLY);
  long size = syscall(SYS_read, fd, line, sizeof line - 1);
  syscall(SYS_close, fd);
  for (long i = 0; i < size; i++)
    if (!line[i]) line[i] = ' ';
  line[size > 0 ? size : 0] = 0;
  const char *main_pid = get("FAULT_MAIN");
  pid_t parent = *main_pid ? atoi(main_pid) : first_pid;
  if (*get("FAULT_CHILD") && (getpid() == parent || getpid() == first_pid)) return 0;
  return strstr(line, get("FAULT_IN")) != NULL;
}

static int active(void) {
  if (!first_pid) first_pid = getpid();
  if (seen_pid == getpid()) return kind;
  seen_pid = getpid(), operations = 0;
  const char *name = get("FAULT_KIND");
  kind = !strcmp(name, "count") ? COUNT : !strcmp(name, "kill") ? KILL : !strcmp(name, "enospc") ? ENOSPACE
       : !strcmp(name, "eio") ? EREAD : !strcmp(name, "killread") ? KILLREAD : NONE;
  at = atol(get("FAULT_AT")), root = get("FAULT_ROOT"), only = get("FAULT_PATH"), fired = get("FAULT_FIRED");
  if (kind && (!*root || !is_meant())) kind = NONE;
  return kind;
}

__attribute__((constructor)) static void begin(void) { first_pid = getpid(); }

static void tell(void) {
  char line[16];
  int fd = syscall(SYS_openat, AT_FDCWD, fired, O_WRONLY | O_CREAT | O_APPEND, 0644);
  syscall(SYS_write, fd, line, snprintf(line, sizeof line, "%d\n", getpid()));
  syscall(SYS_close, fd);
}

static int below_root(const char *path) { return !strncmp(path, root, strlen(root)); }

static int in_root(int dir, const char *path) {
  char full[PATH_MAX * 2], base[PATH_MAX], link[64];
  if (path && path[0] == '/') return below_root(path);
  snprintf(link, sizeof link, dir == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir);
  long size = readlink(link, base, sizeof base - 1);
  if (size < 0) return 0;
  base[size] = 0;
  snprintf(full, sizeof full, "%s/%s", base, path ? path : "");
  return below_root(full);
}

/* Whether an operation that changes files must fail; needs: whether it needs room on the disk. */
static int disturbed(int dir, const char *path, int needs) {
  if (!active() || kind == EREAD || kind == KILLREAD || !in_root(dir, path)) return 0;
  operations++;
  if (kind == COUNT) tell();
  if (kind == ENOSPACE && operations >= at && needs) {
    tell();
    errno = ENOSPC;
    return 1;
  }
  return kind == KILL && operations == at ? 2 : 0;
}

static void die(void) {
  tell();
  syscall(SYS_kill, getpid(), SIGKILL);
  pause();
}

static int unreadable(int fd) {
  char path[PATH_MAX], link[64];
  if (!active() || (kind != EREAD && kind != KILLREAD)) return 0;
  if (kind == KILLREAD) {
    if (++operations >= at) die();
    return 0;
  }
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  long size = readlink(link, path, sizeof path - 1);
  if (size < 0) return 0;
  path[size] = 0;
  size_t tail = strlen(only);
  if (!below_root(path) || (size_t)size < tail || strcmp(path + size - tail, only)) return 0;
  tell();
  errno = EIO;
  return 1;
}

#define REAL(result, name, ...) \
  static result (*real)(__VA_ARGS__); \
  if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

#define OPEN(name, ...) \
  int name(const char *path, int flags, ...) { \
    REAL(int, name, const char *, int, ...); \
    va_list list; \
    va_start(list, flags); \
    mode_t mode = va_arg(list, int); \
    va_end(list); \
    int hit = flags & (O_CREAT | O_TRUNC) ? disturbed(AT_FDCWD, path, 1) : 0; \
    if (hit == 2) die(); \
    return hit ? -1 : real(path, flags, mode); \
  }
OPEN(open)
OPEN(open64)

#define OPENAT(name) \
  int name(int dir, const char *path, int flags, ...) { \
    REAL(int, name, int, const char *, int, ...); \
    va_list list; \
    va_start(list, flags); \
    mode_t mode = va_arg(list, int); \
    va_end(list); \
    int hit = flags & (O_CREAT | O_TRUNC) ? disturbed(dir, path, 1) : 0; \
    if (hit == 2) die(); \
    return hit ? -1 : real(dir, path, flags, mode); \
  }
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int fd, const void *data, size_t size) {
  REAL(ssize_t, write, int, const void *, size_t);
  int hit = disturbed(fd, NULL, 1);
  if (hit == 2) real(fd, data, size / 2), die();
  return hit ? -1 : real(fd, data, size);
}

#define PWRITE(name, offset_type) \
  ssize_t name(int fd, const void *data, size_t size, offset_type offset) { \
    REAL(ssize_t, name, int, const void *, size_t, offset_type); \
    int hit = disturbed(fd, NULL, 1); \
    if (hit == 2) real(fd, data, size / 2, offset), die(); \
    return hit ? -1 : real(fd, data, size, offset); \
  }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

ssize_t writev(int fd, const struct iovec *parts, int count) {
  REAL(ssize_t, writev, int, const struct iovec *, int);
  int hit = disturbed(fd, NULL, 1);
  if (hit == 2) die();
  return hit ? -1 : real(fd, parts, count);
}

#define CHANGE(name, needs, dir, path, declared, passed, types) \
  int name declared { \
    REAL(int, name, types); \
    int hit = disturbed(dir, path, needs); \
    if (hit == 2) die(); \
    return hit ? -1 : real passed; \
  }
#define TYPES(...) __VA_ARGS__
CHANGE(rename, 0, AT_FDCWD, b, (const char *a, const char *b), (a, b), TYPES(const char *, const char *))
CHANGE(renameat, 0, e, b, (int d, const char *a, int e, const char *b), (d, a, e, b),
       TYPES(int, const char *, int, const char *))
CHANGE(unlink, 0, AT_FDCWD, a, (const char *a), (a), TYPES(const char *))
CHANGE(unlinkat, 0, d, a, (int d, const char *a, int f), (d, a, f), TYPES(int, const char *, int))
CHANGE(rmdir, 0, AT_FDCWD, a, (const char *a), (a), TYPES(const char *))
CHANGE(mkdir, 1, AT_FDCWD, a, (const char *a, mode_t m), (a, m), TYPES(const char *, mode_t))
CHANGE(mkdirat, 1, d, a, (int d, const char *a, mode_t m), (d, a, m), TYPES(int, const char *, mode_t))
CHANGE(fsync, 0, fd, NULL, (int fd), (fd), TYPES(int))
CHANGE(ftruncate, 1, fd, NULL, (int fd, off_t n), (fd, n), TYPES(int, off_t))
CHANGE(ftruncate64, 1, fd, NULL, (int fd, off64_t n), (fd, n), TYPES(int, off64_t))

#define READ(name, declared, passed, types) \
  ssize_t name declared { \
    REAL(ssize_t, name, types); \
    return unreadable(fd) ? -1 : real passed; \
  }
READ(read, (int fd, void *data, size_t n), (fd, data, n), TYPES(int, void *, size_t))
READ(readv, (int fd, const struct iovec *v, int n), (fd, v, n), TYPES(int, const struct iovec *, int))
READ(pread, (int fd, void *data, size_t n, off_t o), (fd, data, n, o), TYPES(int, void *, size_t, off_t))
READ(pread64, (int fd, void *data, size_t n, off64_t o), (fd, data, n, o), TYPES(int, void *, size_t, off64_t))
READ(preadv, (int fd, const struct iovec *v, int n, off_t o), (fd, v, n, o),
     TYPES(int, const struct iovec *, int, off_t))
READ(preadv64, (int fd, const struct iovec *v, int n, off64_t o), (fd, v, n, o),
     TYPES(int, const struct iovec *, int, off64_t))
READ(preadv2, (int fd, const struct iovec *v, int n, off_t o, int f), (fd, v, n, o, f),
     TYPES(int, const struct iovec *, int, off_t, int))
READ(preadv64v2, (int fd, const struct iovec *v, int n, off64_t o, int f), (fd, v, n, o, f),
     TYPES(int, const struct iovec *, int, off64_t, int))

#define MMAP(name, offset_type) \
  void *name(void *where, size_t size, int protection, int flags, int fd, offset_type offset) { \
    REAL(void *, name, void *, size_t, int, int, int, offset_type); \
    if (fd >= 0 && unreadable(fd)) return MAP_FAILED; \
    return real(where, size, protection, flags, fd, offset); \
  }
MMAP(mmap, off_t)
MMAP(mmap64, off64_t)
