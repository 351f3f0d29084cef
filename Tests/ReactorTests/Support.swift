// What the tests of the event loop share: running turns until something has happened, and the far end of a
// socket, played with plain system calls so that no test relies on the loop to check the loop.

import Glibc
import Testing

@testable import Reactor

/// Every test runs on both back ends.
let backends: [EventLoop.BackendChoice] = [.epoll, .ioUring]

/// Runs turns, handing every event to `handle`, until `isDone`; false when ten seconds pass first.
func run(
    _ loop: inout EventLoop, until isDone: () -> Bool, _ handle: (inout EventLoop, Event) -> Void
) -> Bool {
    let deadline = loop.now + 10_000_000
    while true {
        while let event = loop.nextEvent() { handle(&loop, event) }
        if isDone() { return true }
        if loop.now >= deadline { return false }
        loop.wait(until: min(deadline, loop.now + 2_000))
    }
}

/// Runs a few turns that do not wait, and returns what they told; buffers received are released.
func turns(_ count: Int, _ loop: inout EventLoop) -> [Event] {
    var events: [Event] = []
    for _ in 0..<count {
        loop.wait(until: 0)
        while let event = loop.nextEvent() {
            if event.kind == .received { loop.release(event.buffer) }
            events.append(event)
        }
    }
    return events
}

/// The bytes of a `received` event; releases its buffer.
func take(_ event: Event, _ loop: inout EventLoop) -> [UInt8] {
    let bytes = Array(UnsafeRawBufferPointer(start: loop.memory(of: event.buffer), count: Int(event.value)))
    loop.release(event.buffer)
    return bytes
}

/// Sends bytes through pool buffers, as a session forwards them.
func send(_ bytes: [UInt8], to socket: SocketID, _ loop: inout EventLoop) {
    var start = 0
    while start < bytes.count {
        guard let buffer = loop.allocateBuffer() else {
            Issue.record("no buffer")
            return
        }
        let count = min(EventLoop.bufferBytes, bytes.count - start)
        bytes[start..<start + count].withUnsafeBytes {
            loop.memory(of: buffer).copyMemory(from: $0.baseAddress!, byteCount: count)
        }
        loop.send(socket, buffer: buffer, offset: 0, count: count)
        loop.release(buffer)
        start += count
    }
}

func sendCopy(_ bytes: [UInt8], to socket: SocketID, _ loop: inout EventLoop) {
    bytes.withUnsafeBytes { loop.send(socket, copying: $0) }
}

/// Bytes of which no stretch equals its neighbour: an error in order or number shows.
func pattern(_ count: Int, seed: UInt64 = 1) -> [UInt8] {
    var random = Random(seed: seed)
    return [UInt8](unsafeUninitializedCapacity: count + 8) { bytes, initialized in
        let raw = UnsafeMutableRawBufferPointer(bytes)
        for offset in stride(from: 0, to: count, by: 8) {
            raw.storeBytes(of: random.next(), toByteOffset: offset, as: UInt64.self)
        }
        initialized = count
    }
}

/// SplitMix64: small, seeded and the same everywhere.
struct Random: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }
}

/// The far end of a socket: a plain non-blocking descriptor.
final class Peer {
    let fd: Int32

    init(fd: Int32) { self.fd = fd }

    deinit { _ = Glibc.close(fd) }

    /// Writes what the kernel takes at once; returns how much.
    @discardableResult
    func write(_ bytes: [UInt8]) -> Int {
        bytes.withUnsafeBytes { max(0, Glibc.send(fd, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL))) }
    }

    /// Reads what is there, at most `max` bytes; nil at the end of the stream.
    func read(max: Int = 65_536) -> [UInt8]? {
        var bytes = [UInt8](repeating: 0, count: max)
        let count = bytes.withUnsafeMutableBytes { Glibc.read(fd, $0.baseAddress, $0.count) }
        if count == 0 { return nil }
        return count < 0 ? [] : Array(bytes[0..<count])
    }

    func endWriting() { _ = Glibc.shutdown(fd, Int32(SHUT_WR)) }
}

/// A loop's end and a far end.
func makePair(_ loop: inout EventLoop, token: UInt64 = 7) throws -> (SocketID, Peer) {
    let (near, far) = try SocketOptions.makePair()
    return (loop.open(fd: near, token: token), Peer(fd: far))
}

/// What a test leaves behind: nothing.
func expectNothingLeft(_ loop: inout EventLoop, _ location: SourceLocation = #_sourceLocation) {
    _ = turns(4, &loop)
    let buffers = loop.buffersInUse
    let sockets = loop.socketsOpen
    #expect(buffers == 0, "buffers left", sourceLocation: location)
    #expect(sockets == 0, "sockets left", sourceLocation: location)
}
