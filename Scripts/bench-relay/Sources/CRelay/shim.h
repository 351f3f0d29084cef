// What Swift cannot reach through the Glibc module alone: epoll, accept4 (a GNU extension) and liburing, whose calls
// are mostly `static inline` and so exist only as a header.
#ifndef BENCH_RELAY_SHIM_H
#define BENCH_RELAY_SHIM_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <errno.h>
#include <liburing.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>

/// The next waiting client as a non-blocking socket, or -errno.
static inline int relay_accept(int listener) {
    int descriptor = accept4(listener, 0, 0, SOCK_NONBLOCK | SOCK_CLOEXEC);
    return descriptor < 0 ? -errno : descriptor;
}

/// Ring set-up flags: one thread submits (SINGLE_ISSUER), and completions are worked off only when it waits for them
/// (DEFER_TASKRUN), which is what makes io_uring cheap. Linux 6.1 or newer.
static inline unsigned relay_ring_flags(void) {
    return IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE;
}

/// Makes `sqe` a multishot receive that takes its buffers from group 0.
static inline void relay_prepare_receive(struct io_uring_sqe *sqe, int descriptor) {
    io_uring_prep_recv_multishot(sqe, descriptor, 0, 0, 0);
    sqe->flags |= IOSQE_BUFFER_SELECT;
    sqe->buf_group = 0;
}

/// Whether more completions of the same request follow this one.
static inline int relay_has_more(const struct io_uring_cqe *cqe) {
    return (cqe->flags & IORING_CQE_F_MORE) != 0;
}

/// The buffer that the kernel chose for this completion, or -1 when it used none.
static inline int relay_buffer_id(const struct io_uring_cqe *cqe) {
    return (cqe->flags & IORING_CQE_F_BUFFER) ? (int)(cqe->flags >> IORING_CQE_BUFFER_SHIFT) : -1;
}

#endif
