// Puts a new ring to the test: whether this kernel does what the back end relies on, beyond what it promises.
//
//     multishot receive delivers into a lent buffer and stays armed
//     a write that succeeds at once posts no completion
//     a write that fails has posted its completion when submission returns
//
// Anything else (a kernel that is too old, a filter that forbids a request) is a reason to take epoll.

import CLinux

extension Ring {
    mutating func test(pool: inout BufferPool) throws(ReactorError) {
        var fds: (Int32, Int32) = (-1, -1)
        let paired = withUnsafeMutableBytes(of: &fds) { bytes -> Int32 in
            // SAFETY: the tuple is two Int32, which is what socketpair fills.
            guard let first = bytes.bindMemory(to: Int32.self).baseAddress else { return -EINVAL }
            return linux_stream_pair(first)
        }
        guard paired == 0 else { throw .systemCall(name: "socketpair", errno: -paired) }
        defer {
            _ = linux_close(fds.0)
            _ = linux_close(fds.1)
        }
        try testReceive(from: fds.0, by: fds.1, pool: &pool)
        try testFailingWrite(to: fds.0, pool: &pool)
        searched = linux_ring_completions_tail(queues)
    }

    /// Prepares one write, that does not wait, of the first `count` pieces.
    func prepareWrite(to fd: Int32, pieces count: UInt32) {
        linux_prepare_send(prepare(), fd, messages, pieces, count, 1, RingRequest.write.userData(0, 0))
    }

    /// The result of the next completion.
    mutating func nextResult() -> Int32? { nextCompletion()?.result }

    private mutating func testReceive(from sender: Int32, by receiver: Int32, pool: inout BufferPool)
        throws(ReactorError)
    {
        let receive = RingRequest.receive.userData(0, 0)
        linux_prepare_receive(prepare(), receiver, receive)
        let buffer = try scratch(pool: &pool)
        defer { pool.release(buffer) }
        pieces[0] = iovec(iov_base: pool.address(of: buffer), iov_len: 1)
        prepareWrite(to: sender, pieces: 1)
        let entered = enter(waitCount: 1, timeoutNanoseconds: 1_000_000_000)
        guard entered >= 0 else { throw .systemCall(name: "io_uring_enter", errno: -entered) }
        guard let arrived = nextCompletion(), arrived.user_data == receive, arrived.result == 1,
            arrived.flags & LINUX_COMPLETION_BUFFER != 0, arrived.flags & LINUX_COMPLETION_MORE != 0
        else { throw .unsupported("io_uring: multishot receive into provided buffers does not work here") }
        takeBack(arrived, pool: &pool)
        guard nextCompletion() == nil else { throw .unsupported("io_uring: silent completions do not work here") }

        linux_prepare_cancel(prepare(), receive, 0)
        _ = enter(waitCount: 1, timeoutNanoseconds: 1_000_000_000)
        guard let cancelled = nextCompletion(), cancelled.user_data == receive, cancelled.result == -ECANCELED,
            cancelled.flags & LINUX_COMPLETION_MORE == 0
        else { throw .unsupported("io_uring: cancelling a receive does not work here") }
        takeBack(cancelled, pool: &pool)
    }

    private mutating func testFailingWrite(to sender: Int32, pool: inout BufferPool) throws(ReactorError) {
        let buffer = try scratch(pool: &pool)
        defer { pool.release(buffer) }
        var piece = iovec(iov_base: pool.address(of: buffer), iov_len: BufferPool.bufferBytes)
        while linux_send(sender, &piece, 1) > 0 {}
        pieces[0] = iovec(iov_base: pool.address(of: buffer), iov_len: 1)
        prepareWrite(to: sender, pieces: 1)
        _ = enter(waitCount: 0, timeoutNanoseconds: 0)
        guard nextResult() == -EAGAIN else {
            throw .unsupported("io_uring: a failing write is not reported when it is submitted")
        }
    }

    private func takeBack(_ completion: linux_completion, pool: inout BufferPool) {
        guard completion.flags & LINUX_COMPLETION_BUFFER != 0 else { return }
        let buffer = BufferID(completion.flags >> 16)
        pool.takeBack(buffer)
        pool.release(buffer)
    }

    private func scratch(pool: inout BufferPool) throws(ReactorError) -> BufferID {
        guard let buffer = pool.allocate() else { throw .unsupported("io_uring: no buffer for the test of the ring") }
        return buffer
    }
}
