// What the io_uring back end keeps: the two queues shared with the kernel, the ring of buffers from which the
// kernel takes one when bytes arrive, and the writes of this turn.
//
// Requires Linux 6.1. A kernel may know each feature by name and still behave differently, so a ring is put
// to the test when it is made: receive into a lent buffer, a write that succeeds silently, and one that fails.

import CLinux

struct Ring: ~Copyable {
    /// How many buffers the kernel is lent to begin with. Few, so that the same ones come back soon and are
    /// still in the cache; doubled whenever they turn out too few.
    static var lentBuffersMin: Int { 64 }
    static var bufferEntries: Int { 256 }

    let isActive: Bool
    let queues: UnsafeMutablePointer<io_uring>
    private let isRegistered: Int32
    private let buffers: UnsafeMutablePointer<io_uring_buf_ring>
    private var buffersTarget: Int

    /// Descriptions of the writes of a submission: valid until the kernel has read them.
    let messages: UnsafeMutablePointer<msghdr>
    let pieces: UnsafeMutablePointer<iovec>
    /// The sockets written to in this submission, whose writes the end of submission decides.
    let written: UnsafeMutablePointer<UInt32>
    let writtenMax: Int
    var writtenCount = 0

    /// Completions up to here have been searched for failed writes.
    var searched: UInt32 = 0
    /// Completions moved out of the kernel's queue because it overflowed: read first.
    private var overflow: [linux_completion] = []
    private var overflowPosition = 0

    let wakeupCount: UnsafeMutablePointer<UInt64>
    var isWakeupArmed = false

    private init(isActive: Bool, registered: Bool, queues: UnsafeMutablePointer<io_uring>, entries: Int, target: Int) {
        self.isActive = isActive
        self.queues = queues
        isRegistered = registered ? 1 : 0
        buffersTarget = target
        writtenMax = entries
        let bufferBytes = isActive ? Self.bufferEntries * MemoryLayout<io_uring_buf>.stride : 64
        buffers = UnsafeMutableRawPointer.allocate(byteCount: bufferBytes, alignment: 4_096)
            .initializeMemory(as: UInt8.self, repeating: 0, count: bufferBytes)
            .withMemoryRebound(to: io_uring_buf_ring.self, capacity: 1) { $0 }
        messages = .allocate(capacity: entries)
        messages.initialize(repeating: msghdr(), count: entries)
        pieces = .allocate(capacity: entries * ChunkSlab.piecesMax)
        pieces.initialize(repeating: iovec(), count: entries * ChunkSlab.piecesMax)
        written = .allocate(capacity: entries)
        written.initialize(repeating: 0, count: entries)
        wakeupCount = .allocate(capacity: 1)
        wakeupCount.initialize(to: 0)
    }

    static func inactive() -> Ring {
        let queues = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        queues.initialize(to: io_uring())
        return Ring(isActive: false, registered: false, queues: queues, entries: 1, target: 0)
    }

    /// Sets a ring up on the calling thread, which alone may use it from now on, and tests it.
    static func make(limits: EventLoop.Limits, pool: inout BufferPool) throws(ReactorError) -> Ring {
        let queues = UnsafeMutablePointer<io_uring>.allocate(capacity: 1)
        queues.initialize(to: io_uring())
        var features: UInt32 = 0
        let created = linux_ring_create(queues, UInt32(limits.submissions), UInt32(limits.completions), &features)
        guard created == 0 else {
            queues.deallocate()
            throw .systemCall(name: "io_uring_setup (SINGLE_ISSUER, DEFER_TASKRUN)", errno: -created)
        }
        var ring = Ring(
            isActive: true, registered: io_uring_register_ring_fd(queues) == 1, queues: queues,
            entries: Int(queues.pointee.sq.ring_entries), target: min(Self.lentBuffersMin, max(1, pool.buffersMax / 2)))
        let needed = LINUX_RING_FEATURES_NEEDED
        guard features & needed == needed else {
            throw .unsupported("io_uring lacks needed features (has \(features), needs \(needed))")
        }
        let registered = linux_ring_register_buffers(queues, ring.buffers, UInt32(Self.bufferEntries))
        guard registered == 0 else {
            throw .systemCall(name: "io_uring_register (provided buffer ring)", errno: -registered)
        }
        ring.lendBuffers(pool: &pool)
        try ring.test(pool: &pool)
        return ring
    }

    deinit {
        if isActive { io_uring_queue_exit(queues) }
        queues.deallocate()
        buffers.deallocate()
        messages.deallocate()
        pieces.deallocate()
        written.deallocate()
        wakeupCount.deallocate()
    }

    // MARK: Submission

    /// How many more requests can be prepared before the kernel has to be entered.
    @inline(__always)
    var room: Int { writtenMax &- Int(queues.pointee.sq.sqe_tail &- queues.pointee.sq.sqe_head) }

    /// A request to fill in. The caller has made sure that there is `room`.
    @inline(__always)
    func prepare() -> UnsafeMutablePointer<io_uring_sqe> {
        guard let entry = io_uring_get_sqe(queues) else { preconditionFailure("no room in the submission queue") }
        return entry
    }

    /// Submits what is prepared and waits for `waitCount` completions; returns the kernel's answer.
    @inline(__always)
    func enter(waitCount: UInt32, timeoutNanoseconds: Int64) -> Int32 {
        linux_ring_enter(queues, isRegistered, waitCount, timeoutNanoseconds)
    }

    // MARK: Buffers

    /// Lends the kernel buffers up to the target.
    @inline(__always)
    func lendBuffers(pool: inout BufferPool) {
        guard pool.lent < buffersTarget else { return }
        var count: Int32 = 0
        while pool.lent < buffersTarget, let buffer = pool.lend() {
            io_uring_buf_ring_add(
                buffers, pool.address(of: buffer), UInt32(BufferPool.bufferBytes), UInt16(truncatingIfNeeded: buffer),
                Int32(Self.bufferEntries - 1), count)
            count &+= 1
        }
        if count > 0 { io_uring_buf_ring_advance(buffers, count) }
    }

    /// The kernel ran out of lent buffers: lend more from now on.
    mutating func raiseBuffersTarget(pool: borrowing BufferPool) {
        buffersTarget = min(buffersTarget * 2, Self.bufferEntries, max(1, pool.buffersMax / 2))
    }

    // MARK: Completions

    /// The next completion, or nil.
    @inline(__always)
    mutating func nextCompletion() -> linux_completion? {
        if overflowPosition < overflow.count { return nextOverflowed() }
        let head = linux_ring_completions_head(queues)
        guard head != linux_ring_completions_tail(queues) else { return nil }
        let completion = linux_ring_completion(queues, head)
        linux_ring_set_completions_head(queues, head &+ 1)
        return completion
    }

    @inline(never)
    private mutating func nextOverflowed() -> linux_completion {
        let completion = overflow[overflowPosition]
        overflowPosition += 1
        if overflowPosition == overflow.count {
            overflow.removeAll()
            overflowPosition = 0
        }
        return completion
    }

    @inline(__always)
    var hasCompletions: Bool {
        linux_ring_completions_head(queues) != linux_ring_completions_tail(queues) || overflowPosition < overflow.count
    }

    /// Makes room in the kernel's completion queue; true when it had overflowed, in which case more may have
    /// come in. Searched completions must be searched before they are moved.
    @inline(__always)
    mutating func relieveOverflow() -> Bool {
        guard linux_ring_has_overflow(queues) != 0 else { return false }
        moveCompletions()
        _ = enter(waitCount: 0, timeoutNanoseconds: 0)
        return true
    }

    /// Moves everything out of the kernel's completion queue.
    @inline(never)
    mutating func moveCompletions() {
        var head = linux_ring_completions_head(queues)
        let tail = linux_ring_completions_tail(queues)
        while head != tail {
            overflow.append(linux_ring_completion(queues, head))
            head &+= 1
        }
        linux_ring_set_completions_head(queues, head)
    }
}

/// What a request was for: the upper 8 bits of its user data, above 24 of generation and 32 of index.
enum RingRequest: UInt8 {
    /// Its completion, which comes only if it fails, means nothing.
    case silent
    case receive
    case accept
    case connect
    /// A write that does not wait; a completion means that it failed.
    case write
    /// A write that waits for the peer.
    case waitingWrite
    case wakeup

    @inline(__always)
    func userData(_ index: UInt32, _ generation: UInt32) -> UInt64 {
        UInt64(rawValue) << 56 | UInt64(generation & SocketTable.generationMask) << 32 | UInt64(index)
    }
}
