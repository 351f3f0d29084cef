// Counts what the data path must not do: calls of the allocator, and of Swift's retain and release. Preloaded into Weir
// (LD_PRELOAD) by callcounter.py, which reads the counters, while Weir runs, from the file that both have mapped.
//
// The allocator's functions are found before those of the C library, as in any preloaded library. Swift's run-time is
// linked into Weir, but it calls retain and release through variables, once it is told that somebody has changed them;
// where they lie is in Weir's symbol table, and the test says it in the environment.
//
// While `is_armed` is set, the first calls leave behind where they came from, so that a failed test can tell.
#define _GNU_SOURCE
#include <execinfo.h>
#include <fcntl.h>
#include <link.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { MALLOC, CALLOC, REALLOC, ALIGNED, FREE, RETAIN, RELEASE, KINDS };
enum { STACKS_MAX = 512, DEPTH = 14 };

// callcounter.py knows this layout.
struct shared {
    _Atomic uint64_t counts[KINDS];
    _Atomic uint64_t is_armed;
    // Where the program lies in memory.
    uint64_t base;
    _Atomic uint64_t stacks;
    // The kind of call, how deep the stack is, and the return addresses, innermost first.
    uint64_t stack[STACKS_MAX][2 + DEPTH];
};

static struct shared before_start;
static struct shared *shared = &before_start;
static _Thread_local int is_looking __attribute__((tls_model("initial-exec")));

static inline void count(int kind) {
    atomic_fetch_add_explicit(&shared->counts[kind], 1, memory_order_relaxed);
    if (!atomic_load_explicit(&shared->is_armed, memory_order_relaxed) || is_looking) return;
    uint64_t place = atomic_fetch_add_explicit(&shared->stacks, 1, memory_order_relaxed);
    if (place >= STACKS_MAX) return;
    is_looking = 1;
    void *addresses[DEPTH];
    int depth = backtrace(addresses, DEPTH);
    for (int level = 0; level < depth; level++) shared->stack[place][2 + level] = (uintptr_t)addresses[level];
    shared->stack[place][1] = depth;
    shared->stack[place][0] = kind;
    is_looking = 0;
}

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void *__libc_memalign(size_t, size_t);
extern void __libc_free(void *);

void *malloc(size_t size) {
    count(MALLOC);
    return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
    count(CALLOC);
    return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
    count(REALLOC);
    return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
    count(ALIGNED);
    return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **memory, size_t alignment, size_t size) {
    void *made = memalign(alignment, size);
    if (made == NULL) return 12;  // ENOMEM
    *memory = made;
    return 0;
}

void free(void *memory) {
    if (memory == NULL) return;
    count(FREE);
    __libc_free(memory);
}

typedef void *(*retain_function)(void *);
typedef void (*release_function)(void *);
typedef void *(*retain_n_function)(void *, uint32_t);
typedef void (*release_n_function)(void *, uint32_t);

static retain_function own_retain;
static release_function own_release;
static retain_n_function own_retain_n;
static release_n_function own_release_n;

// What has the highest bit set is no object that is counted (a literal's text, a short string), and neither is null:
// the run-time returns at once.
static int is_counted(void *object) { return (intptr_t)object > 0; }

static void *counted_retain(void *object) {
    if (!is_counted(object)) return object;
    count(RETAIN);
    return own_retain(object);
}

static void counted_release(void *object) {
    if (!is_counted(object)) return;
    count(RELEASE);
    own_release(object);
}

static void *counted_retain_n(void *object, uint32_t number) {
    if (!is_counted(object)) return object;
    count(RETAIN);
    return own_retain_n(object, number);
}

static void counted_release_n(void *object, uint32_t number) {
    if (!is_counted(object)) return;
    count(RELEASE);
    own_release_n(object, number);
}

// The first object is the program itself.
static int note_base(struct dl_phdr_info *info, size_t size, void *base) {
    (void)size;
    *(uint64_t *)base = info->dlpi_addr;
    return 1;
}

// Where a variable of the program lies whose offset the environment tells.
static void *variable(const char *name, uint64_t base) {
    const char *offset = getenv(name);
    return offset == NULL ? NULL : (void *)(uintptr_t)(base + strtoull(offset, NULL, 16));
}

static void exchange(const char *name, uint64_t base, void *own, void *counted) {
    void **place = variable(name, base);
    if (place == NULL) return;
    *(void **)own = *place;
    *place = counted;
}

__attribute__((constructor)) static void start(void) {
    const char *path = getenv("CALLCOUNTER_FILE");
    int file = path == NULL ? -1 : open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) return;
    void *memory = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (memory == MAP_FAILED) return;
    // The first call loads what it needs; the later ones allocate nothing.
    void *addresses[DEPTH];
    backtrace(addresses, DEPTH);
    struct shared *mapped = memory;
    dl_iterate_phdr(note_base, &mapped->base);
    exchange("CALLCOUNTER_RETAIN", mapped->base, &own_retain, counted_retain);
    exchange("CALLCOUNTER_RELEASE", mapped->base, &own_release, counted_release);
    exchange("CALLCOUNTER_RETAIN_N", mapped->base, &own_retain_n, counted_retain_n);
    exchange("CALLCOUNTER_RELEASE_N", mapped->base, &own_release_n, counted_release_n);
    char *are_exchanged = variable("CALLCOUNTER_SWITCH", mapped->base);
    if (are_exchanged != NULL) *are_exchanged = 1;
    shared = mapped;
}
