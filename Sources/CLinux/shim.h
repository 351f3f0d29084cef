// What Swift's Glibc overlay does not offer of Linux: epoll, eventfd, accept4, signalfd, and liburing's
// inline functions and macros. Every function here is `static inline`, so that it costs nothing to call,
// and returns `-errno` instead of setting `errno`, so that nothing between the call and the check can
// overwrite it. Nothing here keeps state.
#ifndef WEIR_CLINUX_SHIM_H
#define WEIR_CLINUX_SHIM_H

// What Glibc's own module has declared must not be declared a second time: the importer would give those names
// to this module, and files that import Glibc alone would not see them. For the same reason _GNU_SOURCE is not
// defined: it renames members of types that are compiled already. What it would show is called by number.
#pragma clang module import SwiftGlibc

#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

// Time ------------------------------------------------------------------------------------------------

// CLOCK_MONOTONIC in microseconds. Answered by the vDSO: no system call.
static inline int64_t linux_monotonic_microseconds(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

// Memory ----------------------------------------------------------------------------------------------

// Private zeroed memory that costs address space only until it is touched; NULL when refused.
static inline void *linux_reserve_memory(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

static inline void linux_release_memory(void *memory, size_t bytes) { munmap(memory, bytes); }

// Gives the pages back to the kernel; they read as zeroes when touched again.
static inline void linux_discard_pages(void *memory, size_t bytes) { madvise(memory, bytes, MADV_DONTNEED); }

// Sockets ---------------------------------------------------------------------------------------------

static inline int linux_socket(int family, int type)
{
    int fd = socket(family, type | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    return fd < 0 ? -errno : fd;
}

static inline int linux_stream_pair(int *fds)
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0 ? -errno : 0;
}

static inline int linux_accept(int fd)
{
    int accepted = (int)syscall(__NR_accept4, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return accepted < 0 ? -errno : accepted;
}

static inline int linux_connect(int fd, const void *address, socklen_t length)
{
    return connect(fd, (const struct sockaddr *)address, length) < 0 ? -errno : 0;
}

static inline int linux_bind(int fd, const void *address, socklen_t length)
{
    return bind(fd, (const struct sockaddr *)address, length) < 0 ? -errno : 0;
}

static inline int linux_listen(int fd, int backlog) { return listen(fd, backlog) < 0 ? -errno : 0; }

static inline int linux_local_name(int fd, void *address, socklen_t *length)
{
    return getsockname(fd, (struct sockaddr *)address, length) < 0 ? -errno : 0;
}

static inline int linux_peer_name(int fd, void *address, socklen_t *length)
{
    return getpeername(fd, (struct sockaddr *)address, length) < 0 ? -errno : 0;
}

static inline int linux_set_option(int fd, int level, int name, int value)
{
    return setsockopt(fd, level, name, &value, sizeof value) < 0 ? -errno : 0;
}

static inline int linux_get_option(int fd, int level, int name, int *value)
{
    socklen_t length = sizeof *value;
    return getsockopt(fd, level, name, value, &length) < 0 ? -errno : 0;
}

// The credentials of a Unix-socket peer, as they were when it connected.
static inline int linux_peer_credentials(int fd, pid_t *pid, uid_t *uid, gid_t *gid)
{
    struct { pid_t pid; uid_t uid; gid_t gid; } credentials;
    socklen_t length = sizeof credentials;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) < 0) return -errno;
    *pid = credentials.pid;
    *uid = credentials.uid;
    *gid = credentials.gid;
    return 0;
}

static inline int linux_shutdown_both(int fd) { return shutdown(fd, SHUT_RDWR) < 0 ? -errno : 0; }

// Swift hides fork(); it is used once, before any thread exists.
static inline pid_t linux_fork(void)
{
    pid_t child = fork();
    return child < 0 ? -errno : child;
}

static inline int linux_close(int fd) { return close(fd) < 0 ? -errno : 0; }

static inline ssize_t linux_receive(int fd, void *memory, size_t bytes)
{
    ssize_t count = recv(fd, memory, bytes, MSG_DONTWAIT);
    return count < 0 ? -errno : count;
}

// One write of everything in `pieces`; never waits and never raises SIGPIPE.
static inline ssize_t linux_send(int fd, struct iovec *pieces, size_t count)
{
    ssize_t sent;
    if (count == 1) {
        sent = send(fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } else {
        struct msghdr message = {.msg_iov = pieces, .msg_iovlen = count};
        sent = sendmsg(fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    }
    return sent < 0 ? -errno : sent;
}

// eventfd ---------------------------------------------------------------------------------------------

// Blocking on purpose: io_uring refuses to wait on an O_NONBLOCK eventfd.
static inline int linux_eventfd(void)
{
    int fd = eventfd(0, EFD_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static inline int linux_eventfd_signal(int fd)
{
    uint64_t one = 1;
    return write(fd, &one, sizeof one) < 0 ? -errno : 0;
}

static inline int linux_eventfd_take(int fd)
{
    uint64_t count;
    return read(fd, &count, sizeof count) < 0 ? -errno : 0;
}

// epoll -----------------------------------------------------------------------------------------------

static inline int linux_epoll_create(void)
{
    int fd = epoll_create1(EPOLL_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static inline int linux_epoll_control(int epoll, int operation, int fd, uint32_t interest, uint64_t data)
{
    struct epoll_event event = {.events = interest, .data = {.u64 = data}};
    return epoll_ctl(epoll, operation, fd, &event) < 0 ? -errno : 0;
}

static inline int linux_epoll_wait(int epoll, struct epoll_event *events, int events_max, int timeout_milliseconds)
{
    int count = epoll_wait(epoll, events, events_max, timeout_milliseconds);
    return count < 0 ? -errno : count;
}

static inline uint64_t linux_epoll_data(const struct epoll_event *event) { return event->data.u64; }
static inline void linux_epoll_set_event(struct epoll_event *event, uint32_t ready, uint64_t data)
{
    event->events = ready;
    event->data.u64 = data;
}

static inline uint32_t linux_epoll_ready(const struct epoll_event *event) { return event->events; }

static const uint32_t LINUX_EPOLL_IN = EPOLLIN;
static const uint32_t LINUX_EPOLL_OUT = EPOLLOUT;
static const uint32_t LINUX_EPOLL_PEER_CLOSED = EPOLLRDHUP;
static const uint32_t LINUX_EPOLL_FAILED = EPOLLERR | EPOLLHUP;
static const uint32_t LINUX_EPOLL_EXCLUSIVE = 1u << 28;
static const uint32_t LINUX_EPOLL_EDGE_TRIGGERED = 1u << 31;

// io_uring: set-up ------------------------------------------------------------------------------------

// A ring for one thread: completions run only when that thread asks for them (Linux 6.1 or newer).
static inline int linux_ring_create(struct io_uring *ring, unsigned submissions, unsigned completions, unsigned *features)
{
    struct io_uring_params parameters = {
        .flags = IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE |
                 IORING_SETUP_SUBMIT_ALL | IORING_SETUP_CLAMP,
        .cq_entries = completions,
    };
    int result = io_uring_queue_init_params(submissions, ring, &parameters);
    *features = parameters.features;
    return result;
}

static const unsigned LINUX_RING_FEATURES_NEEDED =
    IORING_FEAT_NODROP | IORING_FEAT_SUBMIT_STABLE | IORING_FEAT_FAST_POLL | IORING_FEAT_EXT_ARG | IORING_FEAT_CQE_SKIP;

static inline int linux_ring_register_buffers(struct io_uring *ring, struct io_uring_buf_ring *buffers, unsigned entries)
{
    struct io_uring_buf_reg registration = {
        .ring_addr = (uint64_t)(uintptr_t)buffers, .ring_entries = entries, .bgid = 0};
    return io_uring_register_buf_ring(ring, &registration, 0);
}

// io_uring: entering the kernel -----------------------------------------------------------------------

static inline unsigned linux_ring_unsubmitted(const struct io_uring *ring)
{
    return ring->sq.sqe_tail - io_uring_smp_load_acquire(ring->sq.khead);
}

// Submits everything prepared and waits for `wait_count` completions, at most `timeout_nanoseconds`
// (negative: for ever). Always lets the kernel post what is ready.
static inline int linux_ring_enter(
    struct io_uring *ring, int registered, unsigned wait_count, int64_t timeout_nanoseconds)
{
    struct io_uring_sq *queue = &ring->sq;
    unsigned tail = *queue->ktail;
    while (queue->sqe_head != queue->sqe_tail) {
        queue->array[tail & queue->ring_mask] = queue->sqe_head & queue->ring_mask;
        tail++;
        queue->sqe_head++;
    }
    io_uring_smp_store_release(queue->ktail, tail);
    unsigned count = tail - io_uring_smp_load_acquire(queue->khead);

    unsigned flags = IORING_ENTER_GETEVENTS | (registered ? IORING_ENTER_REGISTERED_RING : 0);
    long result;
    if (wait_count > 0 && timeout_nanoseconds >= 0) {
        struct __kernel_timespec timeout = {
            .tv_sec = timeout_nanoseconds / 1000000000, .tv_nsec = timeout_nanoseconds % 1000000000};
        struct io_uring_getevents_arg argument = {.ts = (uint64_t)(uintptr_t)&timeout};
        result = syscall(__NR_io_uring_enter, ring->enter_ring_fd, count, wait_count, flags | IORING_ENTER_EXT_ARG,
                         &argument, sizeof argument);
    } else {
        result = syscall(__NR_io_uring_enter, ring->enter_ring_fd, count, wait_count, flags, NULL, 0);
    }
    return result < 0 ? -errno : (int)result;
}

// io_uring: completions -------------------------------------------------------------------------------

struct linux_completion {
    uint64_t user_data;
    int32_t result;
    uint32_t flags;
};

static inline unsigned linux_ring_completions_head(const struct io_uring *ring) { return *ring->cq.khead; }

static inline unsigned linux_ring_completions_tail(const struct io_uring *ring)
{
    return io_uring_smp_load_acquire(ring->cq.ktail);
}

static inline struct linux_completion linux_ring_completion(const struct io_uring *ring, unsigned position)
{
    const struct io_uring_cqe *entry = &ring->cq.cqes[position & ring->cq.ring_mask];
    struct linux_completion completion = {entry->user_data, entry->res, entry->flags};
    return completion;
}

static inline void linux_ring_set_completions_head(struct io_uring *ring, unsigned head)
{
    io_uring_smp_store_release(ring->cq.khead, head);
}

static inline int linux_ring_has_overflow(const struct io_uring *ring) { return io_uring_cq_has_overflow(ring); }

static const uint32_t LINUX_COMPLETION_BUFFER = IORING_CQE_F_BUFFER;
static const uint32_t LINUX_COMPLETION_MORE = IORING_CQE_F_MORE;

// io_uring: requests ----------------------------------------------------------------------------------

static inline void linux_prepare_receive(struct io_uring_sqe *entry, int fd, uint64_t user_data)
{
    io_uring_prep_recv_multishot(entry, fd, NULL, 0, 0);
    entry->flags = IOSQE_BUFFER_SELECT;
    entry->buf_group = 0;
    entry->user_data = user_data;
}

static inline void linux_prepare_accept(struct io_uring_sqe *entry, int fd, uint64_t user_data)
{
    io_uring_prep_multishot_accept(entry, fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
    entry->user_data = user_data;
}

static inline void linux_prepare_poll_out(struct io_uring_sqe *entry, int fd, uint64_t user_data)
{
    io_uring_prep_poll_add(entry, fd, POLLOUT);
    entry->user_data = user_data;
}

static inline void linux_prepare_read(struct io_uring_sqe *entry, int fd, void *memory, unsigned bytes, uint64_t user_data)
{
    io_uring_prep_read(entry, fd, memory, bytes, 0);
    entry->user_data = user_data;
}

// A write. `now_or_never`: it is finished, in part or not at all, when submission returns, and posts a
// completion only unless all bytes were taken. Otherwise it ends when all bytes are taken, and says so.
// `message` is used only when there are several pieces; it and `pieces` must live until submission.
static inline void linux_prepare_send(
    struct io_uring_sqe *entry, int fd, struct msghdr *message, struct iovec *pieces, unsigned count, int now_or_never,
    uint64_t user_data)
{
    int flags = MSG_NOSIGNAL | MSG_WAITALL | (now_or_never ? MSG_DONTWAIT : 0);
    if (count == 1) {
        io_uring_prep_send(entry, fd, pieces[0].iov_base, pieces[0].iov_len, flags);
    } else {
        *message = (struct msghdr){.msg_iov = pieces, .msg_iovlen = count};
        io_uring_prep_sendmsg(entry, fd, message, flags);
    }
    entry->flags = now_or_never ? IOSQE_CQE_SKIP_SUCCESS : 0;
    entry->user_data = user_data;
}

// Cancels the request that was given `target` as its user data. Silent when it succeeds.
static inline void linux_prepare_cancel(struct io_uring_sqe *entry, uint64_t target, uint64_t user_data)
{
    io_uring_prep_cancel64(entry, target, 0);
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = user_data;
}

static inline void linux_prepare_close(struct io_uring_sqe *entry, int fd, uint64_t user_data)
{
    io_uring_prep_close(entry, fd);
    entry->flags = IOSQE_CQE_SKIP_SUCCESS;
    entry->user_data = user_data;
}

#endif
