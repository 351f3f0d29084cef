// The buffers of one event loop: reference counted (not atomically: one thread owns them), handed out last
// in first out so that the ones in use stay in the processor's cache, and reserved as address space once,
// so that a buffer costs memory only from its first use on. After a burst the pages go back to the kernel.
//
//     free stack | never used yet        available
//     lent                               lies in the kernel's receive ring, nobody's
//     in use                             references >= 1
//
// Invariant: available + lent + inUse == buffersMax

import CLinux

struct BufferPool: ~Copyable {
    static var bufferBytes: Int { 16_384 }
    /// Beyond this many in use, a freed buffer's pages are given back.
    static var residentBuffersMax: Int { 512 }

    let buffersMax: Int
    private let memory: UnsafeMutableRawPointer
    private let references: UnsafeMutablePointer<UInt32>
    private let free: UnsafeMutablePointer<BufferID>
    private var freeCount = 0
    private var touchedCount = 0
    private(set) var inUse = 0
    private(set) var lent = 0

    init(buffersMax: Int) throws(ReactorError) {
        precondition(buffersMax > 0 && buffersMax <= 32_768)
        guard let memory = linux_reserve_memory(buffersMax * Self.bufferBytes) else {
            throw .unsupported("cannot reserve \(buffersMax * Self.bufferBytes) bytes of address space for buffers")
        }
        self.buffersMax = buffersMax
        self.memory = memory
        references = .allocate(capacity: buffersMax)
        references.initialize(repeating: 0, count: buffersMax)
        free = .allocate(capacity: buffersMax)
        free.initialize(repeating: 0, count: buffersMax)
    }

    deinit {
        linux_release_memory(memory, buffersMax * Self.bufferBytes)
        references.deallocate()
        free.deallocate()
    }

    var available: Int { buffersMax - inUse - lent }

    @inline(__always)
    func address(of buffer: BufferID) -> UnsafeMutableRawPointer {
        precondition(buffer < UInt32(truncatingIfNeeded: touchedCount))
        // SAFETY: the identifier was checked against the buffers handed out so far.
        return memory + Int(buffer) &* Self.bufferBytes
    }

    /// A buffer with one reference, or nil at the limit.
    @inline(__always)
    mutating func allocate() -> BufferID? {
        guard let buffer = take() else { return nil }
        // SAFETY: `take` yields identifiers below buffersMax only.
        references[Int(buffer)] = 1
        inUse &+= 1
        return buffer
    }

    /// A buffer for the kernel's receive ring, or nil at the limit.
    @inline(__always)
    mutating func lend() -> BufferID? {
        guard let buffer = take() else { return nil }
        lent &+= 1
        return buffer
    }

    /// The kernel gives back a lent buffer, filled; it now has one reference.
    @inline(__always)
    mutating func takeBack(_ buffer: BufferID) {
        precondition(buffer < UInt32(truncatingIfNeeded: touchedCount) && lent > 0)
        // SAFETY: the identifier was checked just above.
        precondition(references[Int(buffer)] == 0)
        references[Int(buffer)] = 1
        lent &-= 1
        inUse &+= 1
    }

    @inline(__always)
    func retain(_ buffer: BufferID) {
        precondition(buffer < UInt32(truncatingIfNeeded: touchedCount))
        // SAFETY: the identifier was checked just above.
        precondition(references[Int(buffer)] > 0)
        references[Int(buffer)] += 1
    }

    @inline(__always)
    mutating func release(_ buffer: BufferID) {
        precondition(buffer < UInt32(truncatingIfNeeded: touchedCount))
        // SAFETY: the identifier was checked just above.
        let count = references[Int(buffer)]
        precondition(count > 0)
        references[Int(buffer)] = count &- 1
        if count == 1 { reclaim(buffer) }
    }

    @inline(__always)
    private mutating func reclaim(_ buffer: BufferID) {
        if inUse > Self.residentBuffersMax { linux_discard_pages(address(of: buffer), Self.bufferBytes) }
        inUse &-= 1
        // SAFETY: freeCount < buffersMax, since this buffer was not among the free ones.
        free[freeCount] = buffer
        freeCount &+= 1
    }

    @inline(__always)
    private mutating func take() -> BufferID? {
        if freeCount > 0 {
            freeCount &-= 1
            // SAFETY: 0 <= freeCount < buffersMax.
            return free[freeCount]
        }
        guard touchedCount < buffersMax else { return nil }
        touchedCount &+= 1
        return BufferID(truncatingIfNeeded: touchedCount &- 1)
    }
}
