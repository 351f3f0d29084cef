// Sending, up to where the back ends differ: `send` only queues, `wait` writes. One write per socket is under
// way at most, so that bytes cannot overtake each other, and everything queued in a turn leaves in one write.

import CLinux

extension EventLoop {
    /// Sends `count` bytes of a buffer, from `offset` on, without copying them: the queue takes its own
    /// reference of the buffer. They leave when the turn ends. Ignored when the socket has failed.
    @inline(__always)
    public mutating func send(_ socket: SocketID, buffer: BufferID, offset: Int, count: Int) {
        precondition(offset >= 0 && count >= 0 && offset <= Self.bufferBytes && count <= Self.bufferBytes &- offset)
        guard count > 0, let slot = sockets.live(socket), !slot.pointee.flags.has(.hasFailed) else { return }
        guard chunks.append(buffer, offset: offset, count: count, to: &slot.pointee.queue, pool: &pool) else {
            return failWrite(socket.index, slot, errorNumber: ENOBUFS)
        }
        sockets.markDirty(socket.index, slot)
    }

    /// Sends a copy of `bytes`. When buffers run out the socket fails with ENOBUFS.
    public mutating func send(_ socket: SocketID, copying bytes: UnsafeRawBufferPointer) {
        guard bytes.count > 0, let slot = sockets.live(socket), !slot.pointee.flags.has(.hasFailed) else { return }
        guard chunks.appendCopy(of: bytes, to: &slot.pointee.queue, pool: &pool) else {
            return failWrite(socket.index, slot, errorNumber: ENOBUFS)
        }
        sockets.markDirty(socket.index, slot)
    }

    /// Whether `blocked` was told and `drained` was not.
    public func isBlocked(_ socket: SocketID) -> Bool { sockets.live(socket)?.pointee.flags.has(.isBlocked) ?? false }

    /// How many bytes the kernel has not taken yet.
    public func unsentBytes(_ socket: SocketID) -> Int { sockets.live(socket)?.pointee.queue.unsentBytes ?? 0 }

    /// The kernel took everything that a write offered it.
    @inline(__always)
    mutating func finishWrite(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, bytes: Int) {
        chunks.consume(bytes, from: &slot.pointee.queue, pool: &pool)
        guard slot.pointee.queue.isEmpty else { return sockets.markDirty(index, slot) }
        guard slot.pointee.flags.has(.isBlocked) else { return }
        slot.pointee.flags.clear(.isBlocked)
        if slot.pointee.flags.has(.isOpen), !slot.pointee.flags.has(.hasEnded) {
            sockets.tell(.tellsDrained, index, slot)
        }
    }

    /// The kernel took only some of what a write offered it, or nothing.
    mutating func blockWrite(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, bytesTaken: Int) {
        chunks.consume(bytesTaken, from: &slot.pointee.queue, pool: &pool)
        sockets.markDirty(index, slot)
        guard !slot.pointee.flags.has(.isBlocked) else { return }
        slot.pointee.flags.set(.isBlocked)
        if slot.pointee.flags.has(.isOpen), !slot.pointee.flags.has(.hasEnded) {
            sockets.tell(.tellsBlocked, index, slot)
        }
    }

    /// A write failed for good. What the peer sent before still comes, if it is wanted, and then `closed`:
    /// a server's last words are often why the write failed.
    mutating func failWrite(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, errorNumber: Int32) {
        slot.pointee.flags.set(.hasFailed)
        slot.pointee.flags.clear([.isBlocked, .tellsBlocked, .tellsDrained])
        if !slot.pointee.flags.has(.isSending) { chunks.discard(&slot.pointee.queue, pool: &pool) }
        guard slot.pointee.flags.has(.isOpen), !slot.pointee.flags.has([.hasEnded, .isDetaching]) else { return }
        if slot.pointee.errorNumber == 0 { slot.pointee.errorNumber = errorNumber }
        if slot.pointee.flags.has(.isReceiving) {
            // Makes the receive side end once it has told everything, whatever the failure was.
            _ = linux_shutdown_both(slot.pointee.fd)
        } else {
            slot.pointee.flags.clear(.wantsReceive)
            sockets.tell(.tellsClosed, index, slot)
        }
    }

    /// The event that ends a socket. A write's failure says more than the end of the stream that follows it.
    mutating func ended(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, errorNumber: Int32) -> Event {
        let reason = errorNumber != 0 ? errorNumber : slot.pointee.errorNumber
        slot.pointee.flags.set(.hasEnded)
        slot.pointee.flags.clear(SocketFlags.toTell.union(.wantsReceive))
        if reason != 0 {
            slot.pointee.flags.set(.hasFailed)
            if !slot.pointee.flags.has(.isSending) { chunks.discard(&slot.pointee.queue, pool: &pool) }
        }
        return event(.closed, index, slot, value: reason)
    }

    @inline(__always)
    func event(
        _ kind: Event.Kind, _ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, buffer: BufferID = 0,
        value: Int32
    ) -> Event {
        Event(
            kind, token: slot.pointee.token, socket: SocketID(index: index, generation: slot.pointee.generation),
            buffer: buffer, value: value)
    }
}
