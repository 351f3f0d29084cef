// One turn of the loop: write what was queued, wait, and hand out what happened. Events that the loop makes
// itself (blocked, drained, a failed write, a finished detach) come before those that the kernel brought.

import CLinux

extension EventLoop {
    /// Ends the turn: writes what is queued, waits until something happens or the clock (CLOCK_MONOTONIC in
    /// microseconds) reaches `deadline`, and reads the clock. A deadline that has passed means: do not wait;
    /// `Int64.max`: for ever. May return early with nothing to tell.
    public mutating func wait(until deadline: Int64) {
        sockets.retryStarved()
        switch backend {
        case .ioUring: waitOnRing(until: deadline)
        case .epoll: waitOnPoll(until: deadline)
        }
        now = linux_monotonic_microseconds()
    }

    /// The next thing that happened; nil when all has been told and it is time to `wait`.
    @inline(__always)
    public mutating func nextEvent() -> Event? {
        switch backend {
        case .ioUring: nextRingEvent()
        case .epoll: nextPollEvent()
        }
    }

    /// The next event that the loop made itself.
    @inline(__always)
    mutating func nextOwnEvent() -> Event? {
        sockets.ready.isEmpty ? nil : takeOwnEvent()
    }

    @inline(never)
    private mutating func takeOwnEvent() -> Event? {
        while !sockets.ready.isEmpty {
            let index = sockets.ready.first
            let slot = sockets.slot(index)
            let flags = slot.pointee.flags
            if flags.has(.tellsConnected) {
                slot.pointee.flags.clear(.tellsConnected)
                return event(.connected, index, slot, value: 0)
            }
            if flags.has(.tellsBlocked) {
                slot.pointee.flags.clear(.tellsBlocked)
                return event(.blocked, index, slot, value: 0)
            }
            if flags.has(.tellsDrained) {
                slot.pointee.flags.clear(.tellsDrained)
                return event(.drained, index, slot, value: 0)
            }
            if flags.has(.tellsClosed) { return ended(index, slot, errorNumber: 0) }
            if flags.has(.tellsDetached) { return detached(index, slot) }
            sockets.dropFirstReady()
            sockets.freeIfIdle(index)
        }
        return nil
    }

    /// The event that gives a descriptor back. The slot is freed when its turn in the ready chain is over.
    mutating func detached(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) -> Event {
        let event = event(.detached, index, slot, value: slot.pointee.fd)
        slot.pointee.fd = -1
        sockets.retire(slot)
        sockets.freeIfIdle(index)
        return event
    }

    /// A connection attempt has come to its end; the kernel knows which.
    mutating func finishConnect(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) -> Event {
        var errorNumber: Int32 = 0
        let result = linux_get_option(slot.pointee.fd, SOL_SOCKET, SO_ERROR, &errorNumber)
        slot.pointee.flags.clear(.isConnecting)
        if result < 0 { errorNumber = -result }
        guard errorNumber == 0 else { return ended(index, slot, errorNumber: errorNumber) }
        sockets.markDirty(index, slot)
        return event(.connected, index, slot, value: 0)
    }

    /// The timeout that reaches a deadline, in nanoseconds; -1 for ever, 0 for a deadline that has passed.
    func nanoseconds(until deadline: Int64) -> Int64 {
        if deadline == .max { return -1 }
        let (microseconds, overflow) = deadline.subtractingReportingOverflow(now)
        if overflow { return deadline > now ? -1 : 0 }
        if microseconds <= 0 { return 0 }
        let (nanoseconds, tooLong) = microseconds.multipliedReportingOverflow(by: 1_000)
        return tooLong ? -1 : nanoseconds
    }
}
