// What a socket still has to send: a chain of chunks, each a stretch of a buffer. Bytes are not copied;
// a chunk holds one reference of its buffer until its last byte has been taken by the kernel.
//
//     queue:  first -> [buffer 7, 0..<512] -> [buffer 9, 100..<164] <- last        unsentBytes = 576
//
// The chunks of all sockets of a loop lie in one slab, so that queueing allocates nothing.

import CLinux
import Glibc

/// The index that ends a chain.
let noIndex = UInt32.max

/// One socket's chain of chunks.
struct SendQueue {
    var first = noIndex
    var last = noIndex
    var unsentBytes = 0

    var isEmpty: Bool { first == noIndex }
}

struct ChunkSlab: ~Copyable {
    struct Chunk {
        var buffer: BufferID
        var next: UInt32
        var offset: UInt16
        var count: UInt16
        /// The buffer was filled by `appendCopy`: nobody else knows it, so its tail may be filled further.
        var isCopy: Bool
    }

    /// How many pieces one system call sends at most.
    static var piecesMax: Int { 16 }

    private let chunks: UnsafeMutablePointer<Chunk>
    private let chunksMax: Int
    private var firstFree = noIndex
    private var touchedCount: UInt32 = 0

    init(chunksMax: Int) throws(ReactorError) {
        let bytes = chunksMax * MemoryLayout<Chunk>.stride
        guard let memory = linux_reserve_memory(bytes) else {
            throw .unsupported("cannot reserve \(bytes) bytes of address space for send queues")
        }
        self.chunksMax = chunksMax
        // SAFETY: the memory is page aligned, zeroed and large enough; a Chunk is trivial.
        chunks = memory.bindMemory(to: Chunk.self, capacity: chunksMax)
    }

    deinit { linux_release_memory(chunks, chunksMax * MemoryLayout<Chunk>.stride) }

    /// Puts a stretch of a buffer at the end of the queue and takes one reference of the buffer, unless the
    /// stretch only prolongs the last chunk. False when the slab is full.
    @inline(__always)
    mutating func append(
        _ buffer: BufferID, offset: Int, count: Int, to queue: inout SendQueue, pool: inout BufferPool
    ) -> Bool {
        if queue.last != noIndex {
            // SAFETY: indices in a queue name chunks of this slab.
            let last = chunks + Int(queue.last)
            if last.pointee.buffer == buffer, Int(last.pointee.offset) &+ Int(last.pointee.count) == offset {
                last.pointee.count = UInt16(truncatingIfNeeded: Int(last.pointee.count) &+ count)
                queue.unsentBytes &+= count
                return true
            }
        }
        guard link(buffer, offset: offset, count: count, isCopy: false, to: &queue) else { return false }
        pool.retain(buffer)
        return true
    }

    /// Copies bytes to the end of the queue: into the rest of its last buffer if that is a copy too, then
    /// into new ones. False when the slab or the pool is exhausted; what was copied until then stays queued.
    mutating func appendCopy(
        of bytes: UnsafeRawBufferPointer, to queue: inout SendQueue, pool: inout BufferPool
    ) -> Bool {
        var copied = 0
        if queue.last != noIndex {
            // SAFETY: indices in a queue name chunks of this slab.
            let last = chunks + Int(queue.last)
            if last.pointee.isCopy {
                let end = Int(last.pointee.offset) + Int(last.pointee.count)
                copied = min(bytes.count, BufferPool.bufferBytes - end)
                copy(bytes, from: 0, count: copied, to: pool.address(of: last.pointee.buffer) + end)
                last.pointee.count += UInt16(copied)
                queue.unsentBytes += copied
            }
        }
        while copied < bytes.count {
            guard let buffer = pool.allocate() else { return false }
            let count = min(bytes.count - copied, BufferPool.bufferBytes)
            guard link(buffer, offset: 0, count: count, isCopy: true, to: &queue) else {
                pool.release(buffer)
                return false
            }
            copy(bytes, from: copied, count: count, to: pool.address(of: buffer))
            copied += count
        }
        return true
    }

    /// Describes the queue's first chunks, at most `piecesMax`, to the kernel.
    @inline(__always)
    func gather(
        _ queue: SendQueue, into pieces: UnsafeMutablePointer<iovec>, pool: borrowing BufferPool
    ) -> (pieces: Int, bytes: Int) {
        var index = queue.first
        var count = 0
        var bytes = 0
        while index != noIndex, count < Self.piecesMax {
            // SAFETY: indices in a queue name chunks of this slab; `pieces` has room for piecesMax.
            let chunk = chunks + Int(index)
            pieces[count] = iovec(
                iov_base: pool.address(of: chunk.pointee.buffer) + Int(chunk.pointee.offset),
                iov_len: Int(chunk.pointee.count))
            bytes &+= Int(chunk.pointee.count)
            count &+= 1
            index = chunk.pointee.next
        }
        return (count, bytes)
    }

    /// The kernel has taken the queue's first `bytes` bytes.
    @inline(__always)
    mutating func consume(_ bytes: Int, from queue: inout SendQueue, pool: inout BufferPool) {
        precondition(bytes >= 0 && bytes <= queue.unsentBytes)
        queue.unsentBytes &-= bytes
        var left = bytes
        while left > 0 {
            // SAFETY: the queue holds at least `left` more bytes, so its first index names a chunk.
            let chunk = chunks + Int(queue.first)
            let count = Int(chunk.pointee.count)
            guard count <= left else {
                chunk.pointee.offset &+= UInt16(truncatingIfNeeded: left)
                chunk.pointee.count &-= UInt16(truncatingIfNeeded: left)
                return
            }
            left &-= count
            unlinkFirst(of: &queue, pool: &pool)
        }
    }

    /// Drops everything that is queued.
    mutating func discard(_ queue: inout SendQueue, pool: inout BufferPool) {
        while !queue.isEmpty { unlinkFirst(of: &queue, pool: &pool) }
        queue.unsentBytes = 0
    }

    @inline(__always)
    private mutating func unlinkFirst(of queue: inout SendQueue, pool: inout BufferPool) {
        let index = queue.first
        precondition(index < touchedCount)
        // SAFETY: the index was checked just above.
        let chunk = chunks + Int(index)
        queue.first = chunk.pointee.next
        if queue.first == noIndex { queue.last = noIndex }
        pool.release(chunk.pointee.buffer)
        chunk.pointee.next = firstFree
        firstFree = index
    }

    @inline(__always)
    private mutating func link(
        _ buffer: BufferID, offset: Int, count: Int, isCopy: Bool, to queue: inout SendQueue
    ) -> Bool {
        let index: UInt32
        if firstFree != noIndex {
            index = firstFree
            // SAFETY: the free chain names chunks of this slab only.
            firstFree = chunks[Int(index)].next
        } else {
            guard Int(touchedCount) < chunksMax else { return false }
            index = touchedCount
            touchedCount &+= 1
        }
        // SAFETY: the index is below chunksMax by either branch. Offset and count are at most bufferBytes.
        chunks[Int(index)] = Chunk(
            buffer: buffer, next: noIndex, offset: UInt16(truncatingIfNeeded: offset),
            count: UInt16(truncatingIfNeeded: count), isCopy: isCopy)
        if queue.last == noIndex {
            queue.first = index
        } else {
            chunks[Int(queue.last)].next = index
        }
        queue.last = index
        queue.unsentBytes &+= count
        return true
    }

    private func copy(
        _ bytes: UnsafeRawBufferPointer, from start: Int, count: Int, to target: UnsafeMutableRawPointer
    ) {
        guard count > 0, let source = bytes.baseAddress else { return }
        // SAFETY: callers pass start + count <= bytes.count and a target with room for count bytes.
        target.copyMemory(from: source + start, byteCount: count)
    }
}
