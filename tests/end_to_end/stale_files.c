/* A stand-in for a slow network file system, whose clients see the files of others late.
 *
 * Loaded by LD_PRELOAD. Below STALE_ROOT, a file that another client has written, replaced, or
 * given its name within the last STALE_SECONDS is not there (ENOENT), or is what it was before it
 * was replaced; listings of folders lack it. Every operation takes STALE_DELAY milliseconds. Each
 * process is a client of its own, unless STALE_CLIENT names one for several processes. As on NFS, an
 * operation of the server is never out of date: files are created exclusively, and who fails to
 * create one because it exists sees it from then on. STALE_MARKS is a folder for what clients know.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define LONG_PATH (2 * PATH_MAX)

static char root[PATH_MAX], marks[PATH_MAX], client[64];
static double seconds;
static struct timespec delay;

static void read_text(const char *name, char *text, size_t size) {
    const char *value = getenv(name);
    snprintf(text, size, "%s", value == NULL ? "" : value);
}

/* The environment is read once: Python changes it, and other threads must not read it then. */
__attribute__((constructor)) static void read_settings(void) {
    char number[64];
    read_text("STALE_ROOT", root, sizeof root);
    read_text("STALE_MARKS", marks, sizeof marks);
    read_text("STALE_CLIENT", client, sizeof client);
    read_text("STALE_SECONDS", number, sizeof number);
    seconds = atof(number);
    read_text("STALE_DELAY", number, sizeof number);
    delay = (struct timespec){atol(number) / 1000, atol(number) % 1000 * 1000000L};
}

static long raw_open(int folder, const char *path, int flags, mode_t mode) {
    return syscall(SYS_openat, folder, path, flags, mode);
}

static long raw_stat(int folder, const char *path, struct stat *status, int flags) {
    return syscall(SYS_newfstatat, folder, path, status, flags);
}

/* Write the absolute path into a buffer; return whether it lies below the root. */
static int is_watched(int folder, const char *path, char *absolute) {
    char link[64], base[PATH_MAX] = "";
    if (root[0] == '\0' || path == NULL) return 0;
    if (path[0] != '/' && folder == AT_FDCWD) {
        if (syscall(SYS_getcwd, base, sizeof base) < 0) return 0;
    } else if (path[0] != '/') {
        snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
        long length = syscall(SYS_readlinkat, AT_FDCWD, link, base, sizeof base - 1);
        if (length < 0) return 0;
        base[length] = '\0';
    }
    snprintf(absolute, LONG_PATH, path[0] == '/' ? "%s%s" : "%s/%s", base, path);
    size_t length = strlen(absolute);
    if (length > 2 && strcmp(absolute + length - 2, "/.") == 0) absolute[length - 2] = '\0';
    length = strlen(root);
    return strncmp(absolute, root, length) == 0 && absolute[length] == '/';
}

static void wait_for_server(void) {
    nanosleep(&delay, NULL);
}

/* Write the path of the mark by which this client knows a file; an inode may be used again. */
static void name_mark(const struct statx *status, char *path) {
    char name[32];
    snprintf(name, sizeof name, "%d", getpid());
    snprintf(path, LONG_PATH, "%s/%s-%llu-%lld-%u", marks, client[0] ? client : name,
             (unsigned long long)status->stx_ino, (long long)status->stx_btime.tv_sec,
             status->stx_btime.tv_nsec);
}

/* Let this client know a file, as it has written it or was told by the server that it exists. */
static void mark(const char *absolute) {
    char path[LONG_PATH];
    struct statx status;
    int before = errno;
    if (syscall(SYS_statx, AT_FDCWD, absolute, AT_SYMLINK_NOFOLLOW, STATX_ALL, &status) == 0) {
        name_mark(&status, path);
        long mark = raw_open(AT_FDCWD, path, O_CREAT | O_WRONLY, 0600);
        if (mark >= 0) syscall(SYS_close, mark);
    }
    errno = before;
}

static int is_hidden(const char *absolute) {
    char path[LONG_PATH];
    struct statx status;
    struct timespec now;
    if (syscall(SYS_statx, AT_FDCWD, absolute, AT_SYMLINK_NOFOLLOW, STATX_ALL, &status) != 0)
        return 0;
    /* Folders change with every entry; their other times are those of their creation. */
    struct statx_timestamp since = S_ISDIR(status.stx_mode) ? status.stx_btime : status.stx_ctime;
    clock_gettime(CLOCK_REALTIME, &now);
    double age = now.tv_sec - since.tv_sec + 1e-9 * ((double)now.tv_nsec - since.tv_nsec);
    if (age > seconds) return 0;
    name_mark(&status, path);
    return syscall(SYS_faccessat, AT_FDCWD, path, F_OK) != 0;
}

/* Write the path of the link to what a file was before it was replaced. */
static void name_old(const char *absolute, char *old) {
    unsigned long long hash = 14695981039346656037ULL; /* FNV-1a */
    for (const char *c = absolute; *c; c++) hash = (hash ^ (unsigned char)*c) * 1099511628211ULL;
    snprintf(old, LONG_PATH, "%s/old-%llx", marks, hash);
}

static void keep_old(const char *absolute) {
    char old[LONG_PATH];
    struct stat status;
    int before = errno;
    name_old(absolute, old);
    if (raw_stat(AT_FDCWD, absolute, &status, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(status.st_mode)) {
        syscall(SYS_unlinkat, AT_FDCWD, old, 0);
        syscall(SYS_linkat, AT_FDCWD, absolute, AT_FDCWD, old, 0);
    }
    errno = before;
}

/* Write the path that this client sees in place of another; return 0 if it sees none. */
static int find_seen(int folder, const char *path, char *seen) {
    char absolute[LONG_PATH];
    struct stat status;
    snprintf(seen, LONG_PATH, "%s", path);
    if (!is_watched(folder, path, absolute)) return 1;
    wait_for_server();
    if (!is_hidden(absolute)) return 1;
    name_old(absolute, seen);
    if (raw_stat(AT_FDCWD, seen, &status, 0) == 0) return 1;
    errno = ENOENT;
    return 0;
}

static int stale_open(int folder, const char *path, int flags, mode_t mode) {
    char seen[LONG_PATH], absolute[LONG_PATH];
    if (!(flags & O_CREAT)) {
        if (path == NULL || !find_seen(folder, path, seen)) return -1;
        return raw_open(folder, seen, flags, mode);
    }
    long opened = raw_open(folder, path, flags, mode);
    if ((opened >= 0 || errno == EEXIST) && is_watched(folder, path, absolute)) mark(absolute);
    return opened;
}

static mode_t read_mode(int flags, va_list words) {
    return flags & (O_CREAT | O_TMPFILE) ? va_arg(words, mode_t) : 0;
}

#define OPEN(name)                                                                                \
    int name(const char *path, int flags, ...) {                                                  \
        va_list words;                                                                            \
        va_start(words, flags);                                                                   \
        mode_t mode = read_mode(flags, words);                                                    \
        va_end(words);                                                                            \
        return stale_open(AT_FDCWD, path, flags, mode);                                           \
    }
OPEN(open)
OPEN(open64)

#define OPENAT(name)                                                                              \
    int name(int folder, const char *path, int flags, ...) {                                      \
        va_list words;                                                                            \
        va_start(words, flags);                                                                   \
        mode_t mode = read_mode(flags, words);                                                    \
        va_end(words);                                                                            \
        return stale_open(folder, path, flags, mode);                                             \
    }
OPENAT(openat)
OPENAT(openat64)

static int stale_stat(int folder, const char *path, void *status, int flags) {
    char seen[LONG_PATH];
    if (path == NULL || path[0] == '\0') return raw_stat(folder, path, status, flags);
    if (!find_seen(folder, path, seen)) return -1;
    return raw_stat(folder, seen, status, flags);
}

int stat(const char *path, struct stat *status) { return stale_stat(AT_FDCWD, path, status, 0); }
int stat64(const char *path, struct stat64 *status) {
    return stale_stat(AT_FDCWD, path, status, 0);
}
int lstat(const char *path, struct stat *status) {
    return stale_stat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}
int lstat64(const char *path, struct stat64 *status) {
    return stale_stat(AT_FDCWD, path, status, AT_SYMLINK_NOFOLLOW);
}
int fstatat(int folder, const char *path, struct stat *status, int flags) {
    return stale_stat(folder, path, status, flags);
}
int fstatat64(int folder, const char *path, struct stat64 *status, int flags) {
    return stale_stat(folder, path, status, flags);
}

int faccessat(int folder, const char *path, int mode, int flags) {
    char seen[LONG_PATH];
    if (!find_seen(folder, path, seen)) return -1;
    return syscall(SYS_faccessat, folder, seen, mode, flags);
}
int access(const char *path, int mode) { return faccessat(AT_FDCWD, path, mode, 0); }

/* A folder whose creation is hidden cannot be listed; entries that are hidden are left out. */
DIR *opendir(const char *path) {
    char seen[LONG_PATH];
    DIR *(*next)(const char *) = dlsym(RTLD_NEXT, "opendir");
    return find_seen(AT_FDCWD, path, seen) ? next(path) : NULL;
}

static int is_listed(DIR *folder, const char *name) {
    char absolute[LONG_PATH], old[LONG_PATH];
    struct stat status;
    int before = errno; /* which tells the end of a listing from an error */
    int listed = !is_watched(dirfd(folder), name, absolute) || !is_hidden(absolute);
    if (!listed) {
        name_old(absolute, old);
        listed = raw_stat(AT_FDCWD, old, &status, 0) == 0;
    }
    errno = before;
    return listed;
}

struct dirent *readdir(DIR *folder) {
    struct dirent *(*next)(DIR *) = dlsym(RTLD_NEXT, "readdir");
    struct dirent *entry;
    while ((entry = next(folder)) != NULL && !is_listed(folder, entry->d_name)) continue;
    return entry;
}
struct dirent64 *readdir64(DIR *folder) {
    struct dirent64 *(*next)(DIR *) = dlsym(RTLD_NEXT, "readdir64");
    struct dirent64 *entry;
    while ((entry = next(folder)) != NULL && !is_listed(folder, entry->d_name)) continue;
    return entry;
}

/* What the server does: never out of date, and the client knows the outcome. */
int renameat(int from, const char *source, int to, const char *target) {
    char absolute[LONG_PATH];
    int watched = is_watched(to, target, absolute);
    if (watched) {
        wait_for_server();
        keep_old(absolute);
    }
    int code = syscall(SYS_renameat2, from, source, to, target, 0);
    if (code == 0 && watched) mark(absolute);
    return code;
}
int rename(const char *source, const char *target) {
    return renameat(AT_FDCWD, source, AT_FDCWD, target);
}

int linkat(int from, const char *source, int to, const char *target, int flags) {
    char absolute[LONG_PATH];
    int code = syscall(SYS_linkat, from, source, to, target, flags);
    if ((code == 0 || errno == EEXIST) && is_watched(to, target, absolute)) mark(absolute);
    return code;
}
int link(const char *source, const char *target) {
    return linkat(AT_FDCWD, source, AT_FDCWD, target, 0);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    char absolute[LONG_PATH];
    int code = syscall(SYS_mkdirat, folder, path, mode);
    if ((code == 0 || errno == EEXIST) && is_watched(folder, path, absolute)) mark(absolute);
    return code;
}
int mkdir(const char *path, mode_t mode) { return mkdirat(AT_FDCWD, path, mode); }

int unlinkat(int folder, const char *path, int flags) {
    char absolute[LONG_PATH], old[LONG_PATH];
    int code = syscall(SYS_unlinkat, folder, path, flags);
    if (code == 0 && is_watched(folder, path, absolute)) {
        name_old(absolute, old);
        syscall(SYS_unlinkat, AT_FDCWD, old, 0);
    }
    return code;
}
int unlink(const char *path) { return unlinkat(AT_FDCWD, path, 0); }
int rmdir(const char *path) { return unlinkat(AT_FDCWD, path, AT_REMOVEDIR); }
