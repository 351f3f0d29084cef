// The event loop of one worker: sockets, buffers and the passing of time, behind one interface with two back
// ends (io_uring and epoll). Everything belongs to the thread that made it; only `wakeup` is for others.
//
// One turn:
//
//     wait(until:)   1. each socket with something queued gets ONE write   2. the kernel is entered once, and
//                    waits for events or the deadline                      3. the clock is read
//     nextEvent()    again and again, until nil; what it causes is only noted until the next wait
//
// No call on the way of a byte allocates, locks, or counts references other than a buffer's plain integer.
// The shared parts are in this file and EventLoop+Turn.swift and +Output.swift, each back end in its own.

import CLinux

/// An event loop. Used only by the thread that made it: `init` must run on the thread that will call `wait`.
public struct EventLoop: ~Copyable {
    /// The kernel interface that a loop uses.
    public enum Backend: Sendable { case ioUring, epoll }
    /// The kernel interface that is asked for; `auto` takes io_uring where everything it needs is there.
    public enum BackendChoice: Sendable { case auto, ioUring, epoll }

    /// Sizes that tests make small.
    struct Limits {
        var buffersMax = 32_768
        var chunksMax = 1 << 20
        var submissions = 1_024
        var completions = 8_192
    }

    /// The size of every buffer.
    public static var bufferBytes: Int { BufferPool.bufferBytes }

    /// The kernel interface in use.
    public let backend: Backend
    /// Why `auto` took epoll: a line for the log. Nil otherwise.
    public let fallbackReason: String?
    /// The time of this turn: CLOCK_MONOTONIC in microseconds, read once by `wait`.
    public internal(set) var now: Int64
    /// Wakes this loop from any thread.
    public let wakeup: Wakeup

    var pool: BufferPool
    var chunks: ChunkSlab
    var sockets: SocketTable
    var ring: Ring
    var poll: Poll

    /// Makes a loop for at most `socketsMax` open sockets. Throws when the back end asked for is not to be
    /// had, or when the process may not have the descriptors and address space (about 550 MiB) it needs.
    public init(backend: BackendChoice, socketsMax: Int) throws(ReactorError) {
        try self.init(backend: backend, socketsMax: socketsMax, limits: Limits())
    }

    init(backend choice: BackendChoice, socketsMax: Int, limits: Limits) throws(ReactorError) {
        let wakeup = try Wakeup()
        var pool = try BufferPool(buffersMax: limits.buffersMax)
        let chunks = try ChunkSlab(chunksMax: limits.chunksMax)
        let sockets = try SocketTable(socketsMax: socketsMax)
        var ring = Ring.inactive()
        var reason: String?
        if choice != .epoll {
            do throws(ReactorError) {
                ring = try Ring.make(limits: limits, pool: &pool)
            } catch {
                guard choice == .auto else { throw error }
                reason = error.description
                // The failed ring may still have some of its buffers.
                pool = try BufferPool(buffersMax: limits.buffersMax)
            }
        }
        let poll = ring.isActive ? Poll.inactive() : try Poll(wakeup: wakeup)
        backend = ring.isActive ? .ioUring : .epoll
        fallbackReason = reason
        now = linux_monotonic_microseconds()
        self.wakeup = wakeup
        self.pool = pool
        self.chunks = chunks
        self.sockets = sockets
        self.ring = ring
        self.poll = poll
    }

    deinit {
        // Closes prepared but not yet submitted must not be lost.
        if ring.isActive, linux_ring_unsubmitted(ring.queues) > 0 {
            _ = ring.enter(waitCount: 0, timeoutNanoseconds: 0)
        }
        var index: UInt32 = 0
        while index < sockets.touchedCount {
            let fd = sockets.slot(index).pointee.fd
            let flags = sockets.slot(index).pointee.flags
            if fd >= 0, flags.has([.isOpen, .isClosing]) { _ = linux_close(fd) }
            index += 1
        }
    }

    // MARK: Buffers

    /// The memory of a buffer: `bufferBytes` bytes, valid while the caller holds a reference.
    @inline(__always)
    public func memory(of buffer: BufferID) -> UnsafeMutableRawPointer { pool.address(of: buffer) }

    /// A buffer with one reference, which the caller must release; nil when the hard limit is reached.
    public mutating func allocateBuffer() -> BufferID? { pool.allocate() }

    /// Takes one more reference of a buffer.
    public mutating func retain(_ buffer: BufferID) { pool.retain(buffer) }

    /// Gives back one reference of a buffer; the last one frees it.
    public mutating func release(_ buffer: BufferID) { pool.release(buffer) }

    /// How many buffers have references.
    public var buffersInUse: Int { pool.inUse }

    // MARK: Sockets

    /// How many sockets are open, listeners included.
    public var socketsOpen: Int { sockets.openCount }

    /// Accepts connections from a listening socket until `pauseAccepting`. Each comes as `accepted`, already
    /// non-blocking and close-on-exec. Where accepting fails (EMFILE, say) the event's value is `-errno`, and
    /// it fails again on the next turn unless the caller pauses. Returns `.none`, and leaves the descriptor to
    /// the caller, when `socketsMax` sockets are open.
    public mutating func listen(fd: Int32, token: UInt64) -> SocketID {
        guard let socket = sockets.open(fd: fd, token: token, flags: [.isListener, .wantsReceive]) else { return .none }
        sockets.markDirty(socket.index, sockets.slot(socket.index))
        return socket
    }

    /// Stops accepting connections; those accepted already still come.
    public mutating func pauseAccepting(_ socket: SocketID) { stopReceiving(socket) }

    /// Accepts connections again.
    public mutating func resumeAccepting(_ socket: SocketID) { startReceiving(socket) }

    /// Takes over a connected, non-blocking socket, which receives nothing until `startReceiving`. Returns
    /// `.none`, and leaves the descriptor to the caller, when `socketsMax` sockets are open.
    ///
    /// - `expectsBytes`: the peer has probably sent something already, as one that was just accepted: it is read
    ///   without waiting to be told.
    public mutating func open(fd: Int32, token: UInt64, expectsBytes: Bool = false) -> SocketID {
        sockets.open(fd: fd, token: token, flags: expectsBytes ? .expectsBytes : []) ?? .none
    }

    /// Takes over a new non-blocking socket and connects it: `connected` or `closed(errno)` follows. Returns
    /// `.none`, and leaves the descriptor to the caller, when `socketsMax` sockets are open. What is sent
    /// before `connected` waits for it.
    public mutating func connect(fd: Int32, address: SocketAddress, token: UInt64) -> SocketID {
        guard let socket = sockets.open(fd: fd, token: token, flags: .isConnecting) else { return .none }
        let slot = sockets.slot(socket.index)
        let result = address.withAddress { linux_connect(fd, $0, $1) }
        if result == 0 {
            slot.pointee.flags.clear(.isConnecting)
            sockets.tell(.tellsConnected, socket.index, slot)
        } else if result == -EINPROGRESS || result == -EINTR {
            sockets.markDirty(socket.index, slot)
        } else {
            slot.pointee.flags.clear(.isConnecting)
            slot.pointee.errorNumber = -result
            sockets.tell(.tellsClosed, socket.index, slot)
        }
        return socket
    }

    /// Wants what the socket receives: each piece comes as `received`.
    @inline(__always)
    public mutating func startReceiving(_ socket: SocketID) {
        guard let slot = sockets.live(socket), !slot.pointee.flags.has([.wantsReceive, .isDetaching, .hasEnded])
        else { return }
        slot.pointee.flags.set(.wantsReceive)
        sockets.markDirty(socket.index, slot)
    }

    /// Wants no more of what the socket receives. What arrived before may still come, on this turn or the next.
    @inline(__always)
    public mutating func stopReceiving(_ socket: SocketID) {
        guard let slot = sockets.live(socket), slot.pointee.flags.has(.wantsReceive) else { return }
        slot.pointee.flags.clear(.wantsReceive)
        sockets.markDirty(socket.index, slot)
    }

    /// Closes a socket: no event follows for it, not even one that lies ready. With `flushing`, what is queued
    /// is offered to the kernel once, when the turn ends; what it does not take is dropped.
    public mutating func close(_ socket: SocketID, flushing: Bool) {
        guard let slot = sockets.live(socket) else { return }
        sockets.retire(slot)
        if flushing, !slot.pointee.flags.has([.hasFailed, .isConnecting]) {
            slot.pointee.flags.set(.flushesBeforeClose)
        }
        sockets.markDirty(socket.index, slot)
    }

    /// Stops receiving and then hands the descriptor back by a `detached` event, after which the socket is
    /// gone from this loop. What was received before comes as `received` first. Only when nothing is unsent.
    public mutating func detach(_ socket: SocketID) {
        guard let slot = sockets.live(socket), !slot.pointee.flags.has([.isDetaching, .hasEnded]) else { return }
        precondition(slot.pointee.queue.isEmpty && !slot.pointee.flags.has([.isSending, .isListener, .isConnecting]))
        slot.pointee.flags.clear([.wantsReceive, .tellsClosed])
        slot.pointee.flags.set(.isDetaching)
        sockets.markDirty(socket.index, slot)
    }

    /// The descriptor of an open socket, still the loop's; -1 for a stale handle.
    public func fileDescriptor(_ socket: SocketID) -> Int32 { sockets.live(socket)?.pointee.fd ?? -1 }

    /// Changes the caller's word for the socket, as given by later events.
    public mutating func setToken(_ socket: SocketID, _ token: UInt64) { sockets.live(socket)?.pointee.token = token }
}
