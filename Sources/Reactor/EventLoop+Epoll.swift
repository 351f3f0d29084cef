// The epoll back end. A socket stays registered for input as long as input is wanted, and for output only while a
// write is blocked. Interest that is no longer wanted is taken back only when it fires, so that pausing and resuming
// a source costs no system call unless data arrives in between.
//
// Connections are edge-triggered: the kernel tells once of what has arrived and does not look at the socket again on
// the next wait. So what was told is read until a read comes back short, or to the end of the stream if that was told
// too; who stops earlier registers the socket anew, which makes the kernel look again.

import CLinux

extension EventLoop {
    mutating func waitOnPoll(until deadline: Int64) {
        while let index = sockets.takeDirty() { flushOnPoll(index) }
        guard poll.position >= poll.eventCount else { return }
        if poll.expectantCount > 0 {
            poll.eventCount = poll.expectantCount
            poll.expectantCount = 0
            poll.position = 0
            poll.repeats = 0
            return
        }
        let nanoseconds = sockets.ready.isEmpty ? nanoseconds(until: deadline) : 0
        let milliseconds = nanoseconds < 0 ? -1 : min((nanoseconds + 999_999) / 1_000_000, 86_400_000)
        let count = linux_epoll_wait(poll.fd, poll.events, Int32(Poll.eventsMax), Int32(milliseconds))
        precondition(count >= 0 || count == -EINTR, "epoll_wait")
        poll.eventCount = max(0, Int(count))
        poll.position = 0
        poll.repeats = 0
    }

    // MARK: At the end of a turn

    private mutating func flushOnPoll(_ index: UInt32) {
        let slot = sockets.slot(index)
        if slot.pointee.flags.has(.isClosing) { return closeOnPoll(index, slot) }
        if slot.pointee.flags.has(.isDetaching) {
            unregister(slot)
            slot.pointee.flags.clear(.isReceiving)
            return sockets.tell(.tellsDetached, index, slot)
        }
        if slot.pointee.flags.has(.wantsReceive) {
            if slot.pointee.flags.has(.isReceiving) || slot.pointee.flags.has(.isListener) || pool.available > 0 {
                slot.pointee.flags.set(.isReceiving)
            } else {
                sockets.markStarved(index, slot)
            }
        } else {
            slot.pointee.flags.clear(.isReceiving)
        }
        if !slot.pointee.queue.isEmpty, !slot.pointee.flags.has([.isBlocked, .isConnecting, .hasFailed]) {
            writeOnPoll(index, slot)
        }
        let wanted = interest(of: slot)
        if wanted & ~UInt32(slot.pointee.interest) != 0 {
            register(index, slot, wanted)
            if slot.pointee.flags.has(.expectsBytes) { expectBytes(index, slot) }
        }
    }

    /// Puts a socket among the events of the next turn as if the kernel had said that it can be read.
    private mutating func expectBytes(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        slot.pointee.flags.clear(.expectsBytes)
        guard poll.position >= poll.eventCount, poll.expectantCount < Poll.eventsMax,
            slot.pointee.flags.has(.isReceiving)
        else { return }
        linux_epoll_set_event(
            poll.events + poll.expectantCount, LINUX_EPOLL_IN, UInt64(slot.pointee.generation) << 32 | UInt64(index))
        poll.expectantCount += 1
    }

    private mutating func closeOnPoll(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        if slot.pointee.flags.has(.flushesBeforeClose), !slot.pointee.flags.has(.isBlocked) { writeOnPoll(index, slot) }
        chunks.discard(&slot.pointee.queue, pool: &pool)
        if slot.pointee.fd >= 0 {
            // A closed descriptor leaves the set by itself.
            slot.pointee.interest = 0
            _ = linux_close(slot.pointee.fd)
            slot.pointee.fd = -1
        }
        // A failed write has marked it dirty again; its turn in the chain frees it then.
        sockets.freeIfIdle(index)
    }

    /// Writes until everything is taken or the peer blocks.
    private mutating func writeOnPoll(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        while !slot.pointee.queue.isEmpty {
            let (count, bytes) = chunks.gather(slot.pointee.queue, into: poll.pieces, pool: pool)
            let sent = linux_send(slot.pointee.fd, poll.pieces, count)
            if sent == -EINTR { continue }
            if sent == bytes {
                chunks.consume(bytes, from: &slot.pointee.queue, pool: &pool)
            } else if sent >= 0 || sent == -EAGAIN {
                return blockWrite(index, slot, bytesTaken: max(0, sent))
            } else {
                return failWrite(index, slot, errorNumber: Int32(truncatingIfNeeded: -sent))
            }
        }
        finishWrite(index, slot, bytes: 0)
    }

    // MARK: Interest

    private func interest(of slot: UnsafeMutablePointer<SocketSlot>) -> UInt32 {
        let flags = slot.pointee.flags
        let input = flags.has(.isReceiving) ? LINUX_EPOLL_IN : 0
        return flags.has([.isBlocked, .isConnecting]) ? input | LINUX_EPOLL_OUT : input
    }

    private mutating func register(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, _ wanted: UInt32) {
        let operation = slot.pointee.interest == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD
        let data = UInt64(slot.pointee.generation) << 32 | UInt64(index)
        // Of several loops that share a listener, a connection wakes one. Connections are told of once.
        let mask =
            slot.pointee.flags.has(.isListener)
            ? wanted | LINUX_EPOLL_EXCLUSIVE : wanted | LINUX_EPOLL_PEER_CLOSED | LINUX_EPOLL_EDGE_TRIGGERED
        let result = linux_epoll_control(poll.fd, operation, slot.pointee.fd, mask, data)
        slot.pointee.interest = UInt16(wanted)
        guard result < 0, slot.pointee.flags.has(.isOpen), !slot.pointee.flags.has(.hasEnded) else { return }
        slot.pointee.interest = 0
        slot.pointee.errorNumber = -result
        slot.pointee.flags.clear([.isReceiving, .wantsReceive])
        slot.pointee.flags.set(.hasFailed)
        sockets.tell(.tellsClosed, index, slot)
    }

    private mutating func unregister(_ slot: UnsafeMutablePointer<SocketSlot>) {
        guard slot.pointee.interest != 0 else { return }
        _ = linux_epoll_control(poll.fd, EPOLL_CTL_DEL, slot.pointee.fd, 0, 0)
        slot.pointee.interest = 0
    }

    /// Takes back interest that has fired without being wanted. Errors and hang-ups fire unasked, hence the
    /// removal from the set when nothing at all is wanted.
    private mutating func narrowInterest(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        let wanted = interest(of: slot)
        if wanted == 0 {
            unregister(slot)
        } else if wanted != UInt32(slot.pointee.interest) {
            register(index, slot, wanted)
        }
    }

    // MARK: Events

    mutating func nextPollEvent() -> Event? {
        while true {
            if let event = nextOwnEvent() { return event }
            guard poll.position < poll.eventCount else { return nil }
            // SAFETY: position < eventCount <= eventsMax.
            let data = linux_epoll_data(poll.events + poll.position)
            let ready = linux_epoll_ready(poll.events + poll.position)
            if data == Poll.wakeupData {
                poll.advance()
                _ = linux_eventfd_take(wakeup.fd)
                wakeup.acknowledge()
                return Event(.woken)
            }
            let index = UInt32(truncatingIfNeeded: data)
            let socket = SocketID(index: index, generation: UInt32(truncatingIfNeeded: data >> 32))
            guard let slot = sockets.live(socket) else {
                poll.advance()
                continue
            }
            if let event = serve(index, slot, ready) { return event }
        }
    }

    /// Serves the event at `position` once, and goes on to the next one unless there is more to get from it.
    @inline(__always)
    private mutating func serve(
        _ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, _ ready: UInt32
    ) -> Event? {
        if slot.pointee.flags.has([.isConnecting, .isBlocked]), ready & (LINUX_EPOLL_OUT | LINUX_EPOLL_FAILED) != 0,
            poll.repeats == 0
        {
            if slot.pointee.flags.has(.isConnecting) {
                poll.advance()
                let event = finishConnect(index, slot)
                narrowInterest(index, slot)
                return event
            }
            writeOnPoll(index, slot)
            guard !slot.pointee.flags.has(.hasFailed) else {
                poll.advance()
                return nil
            }
        }
        guard slot.pointee.flags.has(.wantsReceive) else {
            slot.pointee.flags.clear(.isReceiving)
            poll.advance()
            narrowInterest(index, slot)
            return nil
        }
        if UInt32(slot.pointee.interest) & LINUX_EPOLL_OUT != 0, !slot.pointee.flags.has(.isBlocked) {
            narrowInterest(index, slot)
        }
        guard ready & (LINUX_EPOLL_IN | LINUX_EPOLL_PEER_CLOSED | LINUX_EPOLL_FAILED) != 0 else {
            poll.advance()
            return nil
        }
        return slot.pointee.flags.has(.isListener) ? accept(index, slot) : receive(index, slot, ready)
    }

    @inline(__always)
    private mutating func receive(
        _ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>, _ ready: UInt32
    ) -> Event? {
        guard let buffer = pool.allocate() else {
            // Out of the set until a buffer is free: it would fire for ever.
            poll.advance()
            slot.pointee.flags.clear(.isReceiving)
            narrowInterest(index, slot)
            sockets.markStarved(index, slot)
            return nil
        }
        let count = linux_receive(slot.pointee.fd, pool.address(of: buffer), Self.bufferBytes)
        if count > 0 {
            poll.repeats &+= 1
            if count < Self.bufferBytes, ready & (LINUX_EPOLL_PEER_CLOSED | LINUX_EPOLL_FAILED) == 0 {
                poll.advance()
            } else if poll.repeats >= Poll.receivesMax {
                // The others first.
                poll.advance()
                register(index, slot, UInt32(slot.pointee.interest))
            }
            return event(.received, index, slot, buffer: buffer, value: Int32(truncatingIfNeeded: count))
        }
        pool.release(buffer)
        poll.advance()
        if count == -EAGAIN || count == -EINTR { return nil }
        // Mostly it is closed in this turn; if not, it is taken out of the set when it fires again.
        slot.pointee.flags.clear(.isReceiving)
        return ended(index, slot, errorNumber: Int32(truncatingIfNeeded: -count))
    }

    private mutating func accept(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) -> Event? {
        let result = linux_accept(slot.pointee.fd)
        poll.repeats &+= 1
        if result < 0 {
            poll.acceptsLimit = 1
            poll.advance()
        } else if poll.repeats >= poll.acceptsLimit {
            poll.acceptsLimit = min(poll.acceptsLimit * 2, Poll.acceptsMax)
            poll.advance()
        }
        if result == -EAGAIN || result == -EINTR || result == -ECONNABORTED { return nil }
        return event(.accepted, index, slot, value: result)
    }
}
