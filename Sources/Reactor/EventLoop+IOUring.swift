// The io_uring back end, towards the kernel: what a turn asks of it, and which writes it took.
//
// A write is submitted so that it is finished, in part or not at all, when submission returns (MSG_DONTWAIT),
// and posts a completion only if it was not taken whole (MSG_WAITALL, IOSQE_CQE_SKIP_SUCCESS: a short write
// counts as failed). So a turn's writes cost no completion and do not end the wait of the same system call:
//
//     enter( send, send, send + wait )      -> completions: [send 2 failed] [received] [received]
//     search the completions for failures   -> send 2 is blocked; its rest is submitted as a write that waits
//     all other sends are done              -> their buffers are free
//
// The flush of a socket: receive on or off as wanted, one write; or cancel, last write, close.

import CLinux

extension EventLoop {
    /// Requests that one socket may prepare in one flush: write, cancel of receive, cancel of write, close.
    private static var requestsPerFlush: Int { 4 }

    mutating func waitOnRing(until deadline: Int64) {
        ring.lendBuffers(pool: &pool)
        if !ring.isWakeupArmed { armWakeup() }
        while flushOnRing() { submitOnRing(waitCount: 0, timeoutNanoseconds: 0) }
        let mayWait =
            sockets.ready.isEmpty && !ring.hasCompletions && (sockets.starved.isEmpty || ring.writtenCount == 0)
        let nanoseconds = mayWait ? nanoseconds(until: deadline) : 0
        submitOnRing(waitCount: nanoseconds == 0 ? 0 : 1, timeoutNanoseconds: nanoseconds)
    }

    /// Prepares what the dirty sockets want. True when some have more queued than one write takes.
    private mutating func flushOnRing() -> Bool {
        var hasMore = false
        while let index = sockets.takeDirty() {
            if ring.room < Self.requestsPerFlush { submitOnRing(waitCount: 0, timeoutNanoseconds: 0) }
            let slot = sockets.slot(index)
            if slot.pointee.flags.has(.isClosing) {
                if closeOnRing(index, slot) { hasMore = true }
                continue
            }
            if !slot.pointee.queue.isEmpty, !slot.pointee.flags.has([.isWriting, .isWaitingToWrite, .isConnecting]) {
                if writeOnRing(index, slot) { hasMore = true }
            }
            if slot.pointee.flags.has([.isConnecting, .isDetaching]) || isReceivingWrongly(slot) {
                adjustOnRing(index, slot)
            }
        }
        return hasMore
    }

    @inline(__always)
    private func isReceivingWrongly(_ slot: UnsafeMutablePointer<SocketSlot>) -> Bool {
        slot.pointee.flags.has(.wantsReceive) != slot.pointee.flags.has(.isReceiving)
    }

    /// Prepares one write. True when the queue has more than that.
    @inline(__always)
    private mutating func writeOnRing(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) -> Bool {
        precondition(ring.writtenCount < ring.writtenMax)
        let position = ring.writtenCount
        // SAFETY: position < writtenMax, for which both arrays have room.
        let pieces = ring.pieces + position &* ChunkSlab.piecesMax
        let (count, bytes) = chunks.gather(slot.pointee.queue, into: pieces, pool: pool)
        let waits = slot.pointee.flags.has(.isBlocked)
        let request = waits ? RingRequest.waitingWrite : RingRequest.write
        slot.pointee.writingBytes = UInt32(truncatingIfNeeded: bytes)
        linux_prepare_send(
            ring.prepare(), slot.pointee.fd, ring.messages + position, pieces, UInt32(count), waits ? 0 : 1,
            request.userData(index, slot.pointee.generation))
        ring.written[position] = index
        ring.writtenCount = position &+ 1
        if waits {
            slot.pointee.flags.set(.isWaitingToWrite)
            slot.pointee.requestCount &+= 1
            return false
        }
        slot.pointee.flags.set(.isWriting)
        return bytes < slot.pointee.queue.unsentBytes
    }

    /// Turns receiving (or accepting, or waiting for a connection) on or off, as wanted.
    private mutating func adjustOnRing(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        let flags = slot.pointee.flags
        let generation = slot.pointee.generation
        if flags.has(.isConnecting) {
            guard slot.pointee.requestCount == 0 else { return }
            linux_prepare_poll_out(ring.prepare(), slot.pointee.fd, RingRequest.connect.userData(index, generation))
            slot.pointee.requestCount &+= 1
        } else if flags.has(.wantsReceive) {
            guard !flags.has(.isReceiving) else { return }
            let isListener = flags.has(.isListener)
            if !isListener {
                ring.lendBuffers(pool: &pool)
                guard pool.lent > 0 else { return sockets.markStarved(index, slot) }
            }
            if isListener {
                linux_prepare_accept(ring.prepare(), slot.pointee.fd, RingRequest.accept.userData(index, generation))
            } else {
                linux_prepare_receive(ring.prepare(), slot.pointee.fd, RingRequest.receive.userData(index, generation))
            }
            slot.pointee.flags.set(.isReceiving)
            slot.pointee.requestCount &+= 1
        } else if flags.has(.isReceiving) {
            cancelReceive(index, slot, generation: generation)
        } else if flags.has(.isDetaching) {
            sockets.tell(.tellsDetached, index, slot)
        }
    }

    private mutating func cancelReceive(
        _ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, generation: UInt32
    ) {
        guard !slot.pointee.flags.has(.isCancelling) else { return }
        let request = slot.pointee.flags.has(.isListener) ? RingRequest.accept : .receive
        linux_prepare_cancel(
            ring.prepare(), request.userData(index, generation), RingRequest.silent.userData(index, generation))
        slot.pointee.flags.set(.isCancelling)
    }

    /// Writes once if that is wanted, cancels what is under way and closes. True when it must come again
    /// because more is queued than one write takes.
    private mutating func closeOnRing(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) -> Bool {
        guard slot.pointee.fd >= 0 else {
            sockets.freeIfIdle(index)
            return false
        }
        // The requests under way carry the generation that the caller knew.
        let generation = (slot.pointee.generation &- 1) & SocketTable.generationMask
        let flags = slot.pointee.flags
        if !flags.has(.isSending) {
            if flags.has(.flushesBeforeClose), !flags.has([.isBlocked, .hasFailed]), !slot.pointee.queue.isEmpty {
                if writeOnRing(index, slot) { return true }
            } else {
                chunks.discard(&slot.pointee.queue, pool: &pool)
            }
        }
        if flags.has(.isReceiving) { cancelReceive(index, slot, generation: generation) }
        if flags.has(.isWaitingToWrite) {
            linux_prepare_cancel(ring.prepare(), RingRequest.waitingWrite.userData(index, generation), 0)
        }
        if flags.has(.isConnecting), slot.pointee.requestCount > 0 {
            linux_prepare_cancel(ring.prepare(), RingRequest.connect.userData(index, generation), 0)
        }
        linux_prepare_close(ring.prepare(), slot.pointee.fd, 0)
        slot.pointee.fd = -1
        sockets.freeIfIdle(index)
        return false
    }

    private mutating func armWakeup() {
        if ring.room < 1 { submitOnRing(waitCount: 0, timeoutNanoseconds: 0) }
        linux_prepare_read(ring.prepare(), wakeup.fd, ring.wakeupCount, 8, RingRequest.wakeup.userData(0, 0))
        ring.isWakeupArmed = true
    }

    // MARK: Submission

    /// Enters the kernel until it has taken every prepared request, and then settles the writes among them.
    private mutating func submitOnRing(waitCount: UInt32, timeoutNanoseconds: Int64) {
        var result = ring.enter(waitCount: waitCount, timeoutNanoseconds: timeoutNanoseconds)
        while linux_ring_unsubmitted(ring.queues) > 0 {
            // The kernel stopped half way: short of memory, or of room for completions. Make room and go on.
            precondition(
                result >= 0 || result == -EINTR || result == -EAGAIN || result == -EBUSY || result == -ETIME
                    || result == -ENOMEM || result == -EBADR, "io_uring_enter")
            searchFailedWrites()
            ring.moveCompletions()
            result = ring.enter(waitCount: 0, timeoutNanoseconds: 0)
        }
        searchFailedWrites()
        while ring.relieveOverflow() { searchFailedWrites() }
        settleWrites()
    }

    /// Looks through the completions that have come in for writes that were not taken whole.
    @inline(__always)
    private mutating func searchFailedWrites() {
        let tail = linux_ring_completions_tail(ring.queues)
        if ring.writtenCount > 0 {
            while ring.searched != tail {
                let completion = linux_ring_completion(ring.queues, ring.searched)
                if completion.user_data >> 56 == UInt64(RingRequest.write.rawValue) { writeFailed(completion) }
                ring.searched &+= 1
            }
        }
        ring.searched = tail
    }

    @inline(never)
    private mutating func writeFailed(_ completion: linux_completion) {
        let index = UInt32(truncatingIfNeeded: completion.user_data)
        let slot = sockets.slot(index)
        guard slot.pointee.flags.has(.isWriting) else { return }
        slot.pointee.flags.clear(.isWriting)
        let taken = min(max(0, Int(completion.result)), Int(slot.pointee.writingBytes))
        if completion.result >= 0 || completion.result == -EAGAIN || completion.result == -EINTR {
            blockWrite(index, slot, bytesTaken: taken)
        } else {
            failWrite(index, slot, errorNumber: -completion.result)
        }
        guard slot.pointee.flags.has(.isClosing) else { return }
        chunks.discard(&slot.pointee.queue, pool: &pool)
        if slot.pointee.fd >= 0 { sockets.markDirty(index, slot) }
    }

    /// Every write of the submission that did not fail is done.
    @inline(__always)
    private mutating func settleWrites() {
        var position = 0
        while position < ring.writtenCount {
            // SAFETY: position < writtenCount <= writtenMax.
            let index = ring.written[position]
            position &+= 1
            let slot = sockets.slot(index)
            if slot.pointee.flags.has(.isWriting) {
                slot.pointee.flags.clear(.isWriting)
                finishWrite(index, slot, bytes: Int(slot.pointee.writingBytes))
            }
            if slot.pointee.flags.has(.isClosing) { sockets.freeIfIdle(index) }
        }
        ring.writtenCount = 0
    }
}
