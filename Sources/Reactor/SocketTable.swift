// The sockets of one event loop: fixed slots in one stretch of reserved address space, so that a limit of a
// million sockets costs nothing until they are there, and so that a slot never moves. Two chains run through
// the slots: sockets that want something from the kernel (dirty), and sockets with something to tell (ready).
//
//     free -> open -> (ended) -> closing -> free
//
// A closing slot is out of the caller's reach (its generation has changed) and is reused only when the kernel
// holds no request of it any more and neither chain names it.

import CLinux

/// What is true of a socket. The last six are events that wait to be told.
struct SocketFlags: OptionSet {
    var rawValue: UInt32

    static var isOpen: Self { Self(rawValue: 1 << 0) }
    static var isListener: Self { Self(rawValue: 1 << 1) }
    static var isConnecting: Self { Self(rawValue: 1 << 2) }
    /// The caller wants bytes (or connections).
    static var wantsReceive: Self { Self(rawValue: 1 << 3) }
    /// The kernel has been asked for bytes (or connections), and has not said that it stopped.
    static var isReceiving: Self { Self(rawValue: 1 << 4) }
    /// io_uring: the receive request is being cancelled.
    static var isCancelling: Self { Self(rawValue: 1 << 5) }
    static var isDirty: Self { Self(rawValue: 1 << 6) }
    static var isReady: Self { Self(rawValue: 1 << 7) }
    static var isBlocked: Self { Self(rawValue: 1 << 8) }
    /// io_uring: a write of this turn is under way, which the end of submission decides.
    static var isWriting: Self { Self(rawValue: 1 << 9) }
    /// io_uring: a write is under way that waits for the peer.
    static var isWaitingToWrite: Self { Self(rawValue: 1 << 10) }
    static var isClosing: Self { Self(rawValue: 1 << 11) }
    static var flushesBeforeClose: Self { Self(rawValue: 1 << 12) }
    static var isDetaching: Self { Self(rawValue: 1 << 13) }
    /// A write failed: nothing more is sent.
    static var hasFailed: Self { Self(rawValue: 1 << 14) }
    /// `closed` has been told: nothing more is told.
    static var hasEnded: Self { Self(rawValue: 1 << 15) }
    static var tellsBlocked: Self { Self(rawValue: 1 << 16) }
    static var tellsDrained: Self { Self(rawValue: 1 << 17) }
    static var tellsConnected: Self { Self(rawValue: 1 << 18) }
    static var tellsClosed: Self { Self(rawValue: 1 << 19) }
    static var tellsDetached: Self { Self(rawValue: 1 << 20) }
    /// epoll: bytes are expected to be there already.
    static var expectsBytes: Self { Self(rawValue: 1 << 21) }

    static var toTell: Self { [.tellsBlocked, .tellsDrained, .tellsConnected, .tellsClosed, .tellsDetached] }
    static var isSending: Self { [.isWriting, .isWaitingToWrite] }

    @inline(__always)
    func has(_ other: Self) -> Bool { rawValue & other.rawValue != 0 }
    @inline(__always)
    mutating func set(_ other: Self) { rawValue |= other.rawValue }
    @inline(__always)
    mutating func clear(_ other: Self) { rawValue &= ~other.rawValue }
}

/// One socket's state. 56 bytes.
struct SocketSlot {
    var token: UInt64
    var fd: Int32
    var generation: UInt32
    var flags: SocketFlags
    var queue: SendQueue
    /// The next slot of the dirty chain, or of the free chain.
    var nextDirty: UInt32
    var nextReady: UInt32
    /// io_uring: requests whose last completion is still to come.
    var requestCount: UInt16
    /// epoll: what is registered; 0 when the descriptor is not in the set.
    var interest: UInt16
    /// io_uring: bytes of the write under way.
    var writingBytes: UInt32
    /// Why a write failed, or what a `closed` that waits will say.
    var errorNumber: Int32
}

struct SocketTable: ~Copyable {
    /// Closing sockets may linger this much beyond the limit of open ones.
    private static var closingSlotsMax: Int { 4_096 }
    static var generationMask: UInt32 { 0xff_ffff }

    let socketsMax: Int
    private let slotsMax: Int
    private let slots: UnsafeMutablePointer<SocketSlot>
    private var firstFree = noIndex
    private(set) var touchedCount: UInt32 = 0
    private(set) var openCount = 0
    private(set) var dirty = SlotChain()
    private(set) var starved = SlotChain()
    private(set) var ready = SlotChain()

    init(socketsMax: Int) throws(ReactorError) {
        guard socketsMax > 0, socketsMax <= 16_000_000 else {
            throw .unsupported("a loop has between 1 and 16000000 sockets, not \(socketsMax)")
        }
        let slotsMax = socketsMax + Self.closingSlotsMax
        let bytes = slotsMax * MemoryLayout<SocketSlot>.stride
        guard let memory = linux_reserve_memory(bytes) else {
            throw .unsupported("cannot reserve \(bytes) bytes of address space for sockets")
        }
        self.socketsMax = socketsMax
        self.slotsMax = slotsMax
        // SAFETY: the memory is page aligned, zeroed and large enough; a SocketSlot is trivial.
        slots = memory.bindMemory(to: SocketSlot.self, capacity: slotsMax)
    }

    deinit { linux_release_memory(slots, slotsMax * MemoryLayout<SocketSlot>.stride) }

    @inline(__always)
    func slot(_ index: UInt32) -> UnsafeMutablePointer<SocketSlot> {
        precondition(index < touchedCount)
        // SAFETY: the index was checked just above.
        return slots + Int(index)
    }

    /// The slot of a socket that the caller still may speak of.
    @inline(__always)
    func live(_ socket: SocketID) -> UnsafeMutablePointer<SocketSlot>? {
        guard socket.index < touchedCount else { return nil }
        // SAFETY: the index was checked just above.
        let slot = slots + Int(socket.index)
        guard slot.pointee.generation == socket.generation, slot.pointee.flags.has(.isOpen) else { return nil }
        return slot
    }

    /// A slot for a new socket; nil at the limit.
    mutating func open(fd: Int32, token: UInt64, flags: SocketFlags) -> SocketID? {
        guard openCount < socketsMax else { return nil }
        let index: UInt32
        let generation: UInt32
        if firstFree != noIndex {
            index = firstFree
            // SAFETY: the free chain names touched slots only.
            firstFree = slots[Int(index)].nextDirty
            generation = slots[Int(index)].generation
        } else {
            guard Int(touchedCount) < slotsMax else { return nil }
            index = touchedCount
            touchedCount += 1
            generation = 1
        }
        // SAFETY: the index is below touchedCount by either branch.
        slots[Int(index)] = SocketSlot(
            token: token, fd: fd, generation: generation, flags: flags.union(.isOpen), queue: SendQueue(),
            nextDirty: noIndex, nextReady: noIndex, requestCount: 0, interest: 0, writingBytes: 0, errorNumber: 0)
        openCount += 1
        return SocketID(index: index, generation: generation)
    }

    /// Takes an open socket out of the caller's reach; what waited to be told about it is forgotten.
    mutating func retire(_ slot: UnsafeMutablePointer<SocketSlot>) {
        precondition(slot.pointee.flags.has(.isOpen))
        slot.pointee.generation = (slot.pointee.generation &+ 1) & Self.generationMask
        slot.pointee.flags.clear(.toTell.union([.isOpen, .wantsReceive, .isDetaching]))
        slot.pointee.flags.set(.isClosing)
        openCount -= 1
    }

    /// Makes the slot of a closing socket free, if nothing refers to it any more.
    mutating func freeIfIdle(_ index: UInt32) {
        let slot = slot(index)
        guard slot.pointee.flags.has(.isClosing), slot.pointee.requestCount == 0, slot.pointee.fd < 0,
            !slot.pointee.flags.has([.isDirty, .isReady, .isWriting])
        else { return }
        precondition(slot.pointee.queue.isEmpty)
        slot.pointee.flags = []
        slot.pointee.nextDirty = firstFree
        firstFree = index
    }

    @inline(__always)
    mutating func markDirty(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        guard !slot.pointee.flags.has(.isDirty) else { return }
        slot.pointee.flags.set(.isDirty)
        slot.pointee.nextDirty = noIndex
        if dirty.last == noIndex { dirty.first = index } else { self.slot(dirty.last).pointee.nextDirty = index }
        dirty.last = index
    }

    @inline(__always)
    mutating func takeDirty() -> UInt32? {
        guard dirty.first != noIndex else { return nil }
        let index = dirty.first
        let slot = slot(index)
        dirty.first = slot.pointee.nextDirty
        if dirty.first == noIndex { dirty.last = noIndex }
        slot.pointee.flags.clear(.isDirty)
        return index
    }

    /// A dirty socket cannot have what it wants before a buffer is free: it stays dirty, for a later turn.
    mutating func markStarved(_ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        guard !slot.pointee.flags.has(.isDirty) else { return }
        slot.pointee.flags.set(.isDirty)
        slot.pointee.nextDirty = noIndex
        if starved.last == noIndex { starved.first = index } else { self.slot(starved.last).pointee.nextDirty = index }
        starved.last = index
    }

    /// A new turn: what starved is dirty again.
    @inline(__always)
    mutating func retryStarved() {
        guard starved.first != noIndex else { return }
        slot(starved.last).pointee.nextDirty = dirty.first
        if dirty.first == noIndex { dirty.last = starved.last }
        dirty.first = starved.first
        starved = SlotChain()
    }

    /// Something waits to be told about a socket.
    mutating func tell(_ what: SocketFlags, _ index: UInt32, _ slot: UnsafeMutablePointer<SocketSlot>) {
        slot.pointee.flags.set(what)
        guard !slot.pointee.flags.has(.isReady) else { return }
        slot.pointee.flags.set(.isReady)
        slot.pointee.nextReady = noIndex
        if ready.last == noIndex { ready.first = index } else { self.slot(ready.last).pointee.nextReady = index }
        ready.last = index
    }

    /// The first socket with something to tell has told everything.
    mutating func dropFirstReady() {
        let slot = slot(ready.first)
        slot.pointee.flags.clear(.isReady)
        ready.first = slot.pointee.nextReady
        if ready.first == noIndex { ready.last = noIndex }
    }
}

/// A chain through the slots.
struct SlotChain {
    var first = noIndex
    var last = noIndex

    var isEmpty: Bool { first == noIndex }
}
