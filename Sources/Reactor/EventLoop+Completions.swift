// The io_uring back end, from the kernel: what its completions mean. A completion of a socket that has been
// closed meanwhile is never told: its buffer goes back to the pool, its descriptor is closed, and the last one
// frees the slot.

import CLinux

extension EventLoop {
    @inline(__always)
    mutating func nextRingEvent() -> Event? {
        while true {
            if let event = nextOwnEvent() { return event }
            guard let completion = ring.nextCompletion() else { return nil }
            let index = UInt32(truncatingIfNeeded: completion.user_data)
            guard let request = RingRequest(rawValue: UInt8(truncatingIfNeeded: completion.user_data >> 56)) else {
                continue
            }
            switch request {
            case .receive:
                if let event = received(index, completion) { return event }
            case .silent, .write:
                // Failed writes have been found when they were submitted.
                continue
            case .accept:
                if let event = accepted(index, completion) { return event }
            case .connect:
                if let event = connected(index, completion) { return event }
            case .waitingWrite:
                waitingWriteEnded(index, completion)
            case .wakeup:
                ring.isWakeupArmed = false
                wakeup.acknowledge()
                return Event(.woken)
            }
        }
    }

    /// Whether the completion is of a socket that the caller still has.
    @inline(__always)
    private func isLive(_ slot: UnsafeMutablePointer<SocketSlot>, _ completion: linux_completion) -> Bool {
        let generation = UInt32(truncatingIfNeeded: completion.user_data >> 32) & SocketTable.generationMask
        return slot.pointee.generation == generation && slot.pointee.flags.has(.isOpen)
    }

    @inline(__always)
    private mutating func received(_ index: UInt32, _ completion: linux_completion) -> Event? {
        let slot = sockets.slot(index)
        let hasBuffer = completion.flags & LINUX_COMPLETION_BUFFER != 0
        let buffer = BufferID(completion.flags >> 16)
        if hasBuffer { pool.takeBack(buffer) }
        if completion.flags & LINUX_COMPLETION_MORE == 0 { receiveEnded(index, slot) }
        if hasBuffer {
            if completion.result > 0, isLive(slot, completion), !slot.pointee.flags.has(.hasEnded) {
                if !slot.pointee.flags.has(.isReceiving) { afterReceive(index, slot) }
                return event(.received, index, slot, buffer: buffer, value: completion.result)
            }
            pool.release(buffer)
        }
        guard isLive(slot, completion), !slot.pointee.flags.has(.hasEnded) else {
            sockets.freeIfIdle(index)
            return nil
        }
        return receiveStopped(index, slot, completion.result)
    }

    @inline(__always)
    private func receiveEnded(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        slot.pointee.requestCount &-= 1
        slot.pointee.flags.clear([.isReceiving, .isCancelling])
    }

    /// The receive request ended with bytes, or without a reason that concerns the stream.
    @inline(never)
    private mutating func afterReceive(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        if slot.pointee.flags.has(.isDetaching) {
            sockets.tell(.tellsDetached, index, slot)
        } else if slot.pointee.flags.has(.wantsReceive) {
            sockets.markDirty(index, slot)
        } else if slot.pointee.flags.has(.hasFailed) {
            sockets.tell(.tellsClosed, index, slot)
        }
    }

    /// The receive request ended without bytes.
    private mutating func receiveStopped(
        _ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, _ result: Int32
    ) -> Event? {
        if slot.pointee.flags.has(.isDetaching) { return detached(index, slot) }
        switch result {
        case -ENOBUFS:
            ring.raiseBuffersTarget(pool: pool)
            afterReceive(index, slot)
            return nil
        case -ECANCELED, -EINTR, -EAGAIN:
            afterReceive(index, slot)
            return nil
        case 0...:
            return ended(index, slot, errorNumber: 0)
        case _:
            return ended(index, slot, errorNumber: -result)
        }
    }

    private mutating func accepted(_ index: UInt32, _ completion: linux_completion) -> Event? {
        let slot = sockets.slot(index)
        if completion.flags & LINUX_COMPLETION_MORE == 0 { receiveEnded(index, slot) }
        guard isLive(slot, completion) else {
            if completion.result >= 0 { _ = linux_close(completion.result) }
            sockets.freeIfIdle(index)
            return nil
        }
        if !slot.pointee.flags.has(.isReceiving) { afterReceive(index, slot) }
        switch completion.result {
        case -ECANCELED, -EINTR, -EAGAIN, -ECONNABORTED: return nil
        case _: return event(.accepted, index, slot, value: completion.result)
        }
    }

    private mutating func connected(_ index: UInt32, _ completion: linux_completion) -> Event? {
        let slot = sockets.slot(index)
        slot.pointee.requestCount &-= 1
        guard isLive(slot, completion) else {
            sockets.freeIfIdle(index)
            return nil
        }
        return finishConnect(index, slot)
    }

    /// A write that waited for the peer is over: done, cancelled, or failed.
    private mutating func waitingWriteEnded(_ index: UInt32, _ completion: linux_completion) {
        let slot = sockets.slot(index)
        slot.pointee.requestCount &-= 1
        slot.pointee.flags.clear(.isWaitingToWrite)
        if slot.pointee.flags.has([.isClosing, .hasFailed]) {
            chunks.discard(&slot.pointee.queue, pool: &pool)
            return sockets.freeIfIdle(index)
        }
        switch completion.result {
        case 0...:
            finishWrite(index, slot, bytes: min(Int(completion.result), Int(slot.pointee.writingBytes)))
        case -EAGAIN, -EINTR, -ECANCELED:
            sockets.markDirty(index, slot)
        case _:
            failWrite(index, slot, errorNumber: -completion.result)
        }
    }
}
