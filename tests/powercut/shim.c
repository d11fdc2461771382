/*
 * A disk that can lose its power: preloaded into the gateway, it notes before every change of a
 * file below $POWERCUT_DIR what is needed to undo the change, and after every sync what the sync
 * made durable. The harness (tests/system/harness/powercut.rs) reads the notes after a SIGKILL
 * and undoes what was never synced.
 *
 * Undoing afterwards has the effect of holding writes back, and lets everything else be as it
 * is: reads, mapped files and locks work on the real files.
 *
 *   POWERCUT_DIR        absolute path; what lies elsewhere is passed through
 *   POWERCUT_JOURNAL    the notes; <journal>.kept/ holds links to removed files, on the same volume
 *   POWERCUT_BOOT_ID    a file that is read in place of the kernel's name of this boot
 *   POWERCUT_STUB_SYNC  1: syncs do nothing and are not noted (the control: all is lost)
 *
 * Without the first two everything is passed through. Every call goes to the kernel by number:
 * nothing has to be looked up first, so calls made before the constructor ran are safe.
 *
 * Not seen: system calls that do not come through libc (reserving space in a new segment does
 * not), and paths that are relative to anything but the root (the gateway gets absolute ones).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

/* One note. Numbers are little-endian, as on the machines this runs on. */
struct note {
  uint32_t magic;
  uint32_t kind;
  uint64_t file;    /* inode */
  uint64_t at;      /* offset written at, new length, or journal position that is durable */
  uint64_t span;    /* bytes written */
  uint64_t old_len; /* length of the file before */
  uint32_t a_len;   /* old bytes, or a path */
  uint32_t b_len;   /* second path */
};

enum {
  MAGIC = 0x54554350, /* "PCUT" */
  WROTE = 1,          /* a: the bytes that were there */
  RESIZED,            /* a: the bytes that were cut off */
  CREATED,            /* a: path */
  RENAMED,            /* a: from, b: to */
  REMOVED,            /* a: path */
  MADE_DIR,           /* a: path */
  SYNCED,             /* file, at: all notes about it before this position */
  SYNCED_DIR,         /* a: path, at: all names in it noted before this position */
};

enum { UNKNOWN, FOREIGN, OURS, OUR_DIR, FDS = 65536 };

static const char *dir, *boot_id, *journal_path;
static size_t dir_len;
static int journal = -1, is_stub;
static uint64_t position; /* end of the journal */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_uchar kinds[FDS]; /* what a descriptor is, found out at its first use */

__attribute__((constructor)) static void start(void) {
  const char *stub = getenv("POWERCUT_STUB_SYNC");
  dir = getenv("POWERCUT_DIR");
  journal_path = getenv("POWERCUT_JOURNAL");
  boot_id = getenv("POWERCUT_BOOT_ID");
  is_stub = stub && *stub == '1';
  if (!dir || !journal_path || *dir != '/') return;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, journal_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) abort(); /* a test without its notes would pass for nothing */
  position = (uint64_t)lseek(fd, 0, SEEK_END);
  dir_len = strlen(dir);
  journal = fd;
}

static int is_below(const char *path) {
  return journal >= 0 && strncmp(path, dir, dir_len) == 0 && (path[dir_len] == '/' || path[dir_len] == 0);
}

/* Syncing the directory in which $POWERCUT_DIR lies is what makes its own name durable. */
static int is_above(const char *path) {
  const char *last = strrchr(dir, '/');
  return (size_t)(last - dir) == strlen(path) && strncmp(path, dir, strlen(path)) == 0;
}

static ssize_t path_of(int fd, char *path, size_t size) {
  char link[64];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t len = syscall(SYS_readlinkat, AT_FDCWD, link, path, size - 1);
  if (len >= 0) path[len] = 0;
  return len;
}

static int kind_of(int fd) {
  if (journal < 0 || fd < 0 || fd >= FDS || fd == journal) return FOREIGN;
  int kind = atomic_load(&kinds[fd]);
  if (kind != UNKNOWN) return kind;
  struct stat stat;
  char path[4096];
  int saved = errno;
  kind = FOREIGN;
  if (fstat(fd, &stat) == 0 && (S_ISREG(stat.st_mode) || S_ISDIR(stat.st_mode)) &&
      path_of(fd, path, sizeof path) > 0 && (is_below(path) || is_above(path)))
    kind = S_ISDIR(stat.st_mode) ? OUR_DIR : OURS;
  atomic_store(&kinds[fd], (unsigned char)kind);
  errno = saved;
  return kind;
}

/* The lock is held over a note and the change it is about, so that a position taken under the
 * lock has all earlier changes before it. */
static void append(struct note note, const void *a, const void *b) {
  note.magic = MAGIC;
  struct iovec parts[3] = {{&note, sizeof note}, {(void *)a, note.a_len}, {(void *)b, note.b_len}};
  ssize_t size = (ssize_t)(sizeof note + note.a_len + note.b_len);
  if (syscall(SYS_writev, journal, parts, 3) != size) abort();
  position += (uint64_t)size;
}

static void note_path(uint32_t kind, const char *a, const char *b) {
  append((struct note){.kind = kind, .a_len = (uint32_t)strlen(a), .b_len = b ? (uint32_t)strlen(b) : 0}, a, b);
}

/* Keeps a file that is about to lose its name; its link is named by the position of the note. */
static void keep(const char *path) {
  char kept[4096];
  snprintf(kept, sizeof kept, "%s.kept/%llu", journal_path, (unsigned long long)position);
  syscall(SYS_linkat, AT_FDCWD, path, AT_FDCWD, kept, 0);
}

/* Notes the bytes in [at, at + len) of a file. */
static void note_bytes(uint32_t kind, int fd, uint64_t at, uint64_t span, uint64_t new_len) {
  static char *old;
  static size_t room;
  struct stat stat;
  if (fstat(fd, &stat) != 0) abort();
  uint64_t len = (uint64_t)stat.st_size;
  uint64_t from = kind == WROTE ? at : new_len;
  uint64_t count = from >= len ? 0 : len - from;
  if (kind == WROTE && count > span) count = span;
  if (count > room) {
    room = count;
    old = realloc(old, room);
    if (!old) abort();
  }
  int readable = fd;
  if ((fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY && count > 0) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    readable = (int)syscall(SYS_openat, AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
    if (readable < 0) abort();
  }
  for (uint64_t done = 0; done < count;) {
    ssize_t got = syscall(SYS_pread64, readable, old + done, count - done, from + done);
    if (got <= 0) abort();
    done += (uint64_t)got;
  }
  if (readable != fd) syscall(SYS_close, readable);
  append((struct note){.kind = kind, .file = stat.st_ino, .at = from, .span = span, .old_len = len,
                       .a_len = (uint32_t)count}, old, 0);
}

static uint64_t end_or_place(int fd) {
  struct stat stat;
  if ((fcntl(fd, F_GETFL) & O_APPEND) && fstat(fd, &stat) == 0) return (uint64_t)stat.st_size;
  return (uint64_t)lseek(fd, 0, SEEK_CUR);
}

static uint64_t total(const struct iovec *parts, int count) {
  uint64_t sum = 0;
  for (int i = 0; i < count; i++) sum += parts[i].iov_len;
  return sum;
}

#define CHANGING(fd, note, call)     \
  if (kind_of(fd) != OURS) return call; \
  pthread_mutex_lock(&lock);         \
  int saved = errno;                 \
  note;                              \
  errno = saved;                     \
  long result = call;                \
  pthread_mutex_unlock(&lock);       \
  return result

ssize_t pwrite(int fd, const void *from, size_t count, off_t at) {
  CHANGING(fd, note_bytes(WROTE, fd, (uint64_t)at, count, 0), syscall(SYS_pwrite64, fd, from, count, at));
}
ssize_t pwrite64(int fd, const void *from, size_t count, off64_t at) { return pwrite(fd, from, count, at); }

ssize_t write(int fd, const void *from, size_t count) {
  CHANGING(fd, note_bytes(WROTE, fd, end_or_place(fd), count, 0), syscall(SYS_write, fd, from, count));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
  CHANGING(fd, note_bytes(WROTE, fd, end_or_place(fd), total(parts, count), 0),
           syscall(SYS_writev, fd, parts, count));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
  CHANGING(fd, note_bytes(WROTE, fd, (uint64_t)at, total(parts, count), 0),
           syscall(SYS_pwritev, fd, parts, count, at, 0));
}
ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) { return pwritev(fd, parts, count, at); }

int ftruncate(int fd, off_t len) {
  CHANGING(fd, note_bytes(RESIZED, fd, 0, 0, (uint64_t)len), (int)syscall(SYS_ftruncate, fd, len));
}
int ftruncate64(int fd, off64_t len) { return ftruncate(fd, len); }

/* Only ever makes a file longer here: nothing that was there changes. */
int fallocate(int fd, int mode, off_t at, off_t len) {
  if (mode != 0 && kind_of(fd) == OURS) abort(); /* punching holes is not undone: say so */
  CHANGING(fd, note_bytes(RESIZED, fd, 0, 0, (uint64_t)(at + len)), (int)syscall(SYS_fallocate, fd, mode, at, len));
}
int fallocate64(int fd, int mode, off64_t at, off64_t len) { return fallocate(fd, mode, at, len); }
int posix_fallocate(int fd, off_t at, off_t len) { return fallocate(fd, 0, at, len) == 0 ? 0 : errno; }
int posix_fallocate64(int fd, off64_t at, off64_t len) { return posix_fallocate(fd, at, len); }

static int sync_file(int fd, long call) {
  int kind = kind_of(fd);
  if (kind == FOREIGN) return (int)syscall(call, fd);
  if (is_stub) return 0;
  pthread_mutex_lock(&lock);
  uint64_t before = position;
  pthread_mutex_unlock(&lock);
  int result = (int)syscall(call, fd);
  if (result != 0) return result;
  int saved = errno;
  struct note note = {.kind = SYNCED, .at = before};
  char path[4096] = "";
  struct stat stat;
  if (fstat(fd, &stat) != 0) abort();
  note.file = stat.st_ino;
  if (kind == OUR_DIR) {
    if (path_of(fd, path, sizeof path) <= 0) abort();
    note.kind = SYNCED_DIR;
    note.a_len = (uint32_t)strlen(path);
  }
  pthread_mutex_lock(&lock);
  append(note, path, 0);
  pthread_mutex_unlock(&lock);
  errno = saved;
  return 0;
}
int fsync(int fd) { return sync_file(fd, SYS_fsync); }
int fdatasync(int fd) { return sync_file(fd, SYS_fdatasync); }

/* Before an open that may create or cut a file. */
static void note_open(const char *path, int flags) {
  struct stat stat;
  if (syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0) {
    if (flags & O_CREAT) note_path(CREATED, path, 0);
    return;
  }
  if (!(flags & O_TRUNC)) return;
  int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  if (fstat(fd, &stat) == 0 && S_ISREG(stat.st_mode)) note_bytes(RESIZED, fd, 0, 0, 0);
  syscall(SYS_close, fd);
}

static int open_at(int at, const char *path, int flags, mode_t mode) {
  if (boot_id && strcmp(path, "/proc/sys/kernel/random/boot_id") == 0) path = boot_id;
  if (!is_below(path) || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE)
    return (int)syscall(SYS_openat, at, path, flags, mode);
  pthread_mutex_lock(&lock);
  int saved = errno;
  note_open(path, flags);
  errno = saved;
  int fd = (int)syscall(SYS_openat, at, path, flags, mode);
  pthread_mutex_unlock(&lock);
  return fd;
}

static mode_t mode_of(int flags, va_list rest) {
  return (flags & O_CREAT) || (flags & O_TMPFILE) == O_TMPFILE ? va_arg(rest, mode_t) : 0;
}

#define OPENS(name)                                  \
  int name(const char *path, int flags, ...) {       \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    mode_t mode = mode_of(flags, rest);              \
    va_end(rest);                                    \
    return open_at(AT_FDCWD, path, flags, mode);     \
  }
#define OPENS_AT(name)                               \
  int name(int at, const char *path, int flags, ...) { \
    va_list rest;                                    \
    va_start(rest, flags);                           \
    mode_t mode = mode_of(flags, rest);              \
    va_end(rest);                                    \
    return open_at(at, path, flags, mode);           \
  }
OPENS(open)
OPENS(open64)
OPENS_AT(openat)
OPENS_AT(openat64)

int close(int fd) {
  if (fd >= 0 && fd < FDS) atomic_store(&kinds[fd], UNKNOWN);
  return (int)syscall(SYS_close, fd);
}

#define NAMING(path, note, call)            \
  if (!is_below(path)) return (int)call;    \
  pthread_mutex_lock(&lock);                \
  int saved = errno;                        \
  note;                                     \
  errno = saved;                            \
  int result = (int)call;                   \
  pthread_mutex_unlock(&lock);              \
  return result

int unlinkat(int at, const char *path, int flags) {
  if (flags & AT_REMOVEDIR && is_below(path)) abort(); /* not undone: nothing of ours does it */
  NAMING(path, (keep(path), note_path(REMOVED, path, 0)), syscall(SYS_unlinkat, at, path, flags));
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }

int renameat(int at, const char *from, int to_at, const char *to) {
  NAMING(to, (keep(to), note_path(RENAMED, from, to)), syscall(SYS_renameat, at, from, to_at, to));
}
int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

static int note_new_name(const char *path, uint32_t kind) {
  int is_there = syscall(SYS_faccessat, AT_FDCWD, path, F_OK) == 0;
  if (!is_there) note_path(kind, path, 0);
  return is_there;
}

int linkat(int at, const char *from, int to_at, const char *to, int flags) {
  NAMING(to, note_new_name(to, CREATED), syscall(SYS_linkat, at, from, to_at, to, flags));
}
int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }

int mkdirat(int at, const char *path, mode_t mode) {
  NAMING(path, note_new_name(path, MADE_DIR), syscall(SYS_mkdirat, at, path, mode));
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }
