// The loop itself: time, waking, limits, and which back end it takes.

import Glibc
import Testing

@testable import Reactor

@Suite("The loop keeps time and limits", .serialized)
struct LoopTests {
    @Test("both back ends are what was asked for, and auto says why it is not io_uring", arguments: backends)
    func backendChoice(backend: EventLoop.BackendChoice) throws {
        let loop = try EventLoop(backend: backend, socketsMax: 1)
        #expect((loop.backend == .epoll) == (backend == .epoll))
        #expect(loop.fallbackReason == nil)

        let impossible = EventLoop.Limits(submissions: 0)
        let fallen = try EventLoop(backend: .auto, socketsMax: 1, limits: impossible)
        #expect(fallen.backend == .epoll)
        #expect(fallen.fallbackReason?.contains("io_uring_setup") == true)
        #expect(throws: ReactorError.self) {
            _ = try EventLoop(backend: .ioUring, socketsMax: 1, limits: impossible)
        }
    }

    @Test("a wait ends at its deadline, and at once when that has passed", arguments: backends)
    func deadlines(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 1)
        loop.wait(until: 0)
        for milliseconds in [1, 5, 30] as [Int64] {
            let start = loop.now
            var waits = 0
            // A signal may end a wait early, but not again and again.
            while loop.now - start < milliseconds * 1_000, waits < 5 {
                loop.wait(until: start + milliseconds * 1_000)
                waits += 1
            }
            #expect(loop.now - start >= milliseconds * 1_000, "not before")
            #expect(loop.now - start < milliseconds * 1_000 + 2_000_000, "not long after")
        }
        let start = loop.now
        for deadline in [0, .min, start, start - 1] as [Int64] { loop.wait(until: deadline) }
        #expect(loop.now - start < 2_000_000)
        #expect(loop.nextEvent() == nil)
    }

    @Test("signals of other threads wake a loop that waits for ever, once per batch", arguments: backends)
    func wakingUp(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 1)
        for _ in 0..<10 {
            var thread = pthread_t()
            let argument = Unmanaged.passRetained(loop.wakeup).toOpaque()
            let created = pthread_create(
                &thread, nil,
                { argument in
                    guard let argument else { return nil }
                    let wakeup = Unmanaged<Wakeup>.fromOpaque(argument).takeRetainedValue()
                    for _ in 0..<100 { wakeup.signal() }
                    return nil
                }, argument)
            #expect(created == 0)
            var woken = 0
            while woken == 0 {
                loop.wait(until: .max)
                while let event = loop.nextEvent() {
                    #expect(event.kind == .woken && event.socket == .none)
                    woken += 1
                }
            }
            pthread_join(thread, nil)
            woken += turns(2, &loop).count
            #expect(woken >= 1 && woken <= 100)
        }
        for _ in 0..<100 { loop.wakeup.signal() }
        #expect(turns(3, &loop).count == 1, "signals before a turn are one event")
        expectNothingLeft(&loop)
    }

    @Test(
        "without a free buffer a socket waits, without spinning, and goes on when one is released", arguments: backends)
    func bufferLimit(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10, limits: EventLoop.Limits(buffersMax: 8))
        let pairs = [try makePair(&loop, token: 0), try makePair(&loop, token: 1)]
        for (socket, _) in pairs { loop.startReceiving(socket) }
        _ = turns(1, &loop)
        var held: [BufferID] = []
        while let buffer = loop.allocateBuffer() { held.append(buffer) }
        let message = pattern(100_000)
        for (_, peer) in pairs { #expect(peer.write(message) == message.count) }
        // With io_uring the kernel has been lent some buffers already; it fills those.
        var read = [[UInt8]](repeating: [], count: 2)
        for _ in 0..<10 {
            loop.wait(until: 0)
            while let event = loop.nextEvent() {
                #expect(event.kind == .received)
                held.append(event.buffer)
                read[Int(event.token)] += UnsafeRawBufferPointer(
                    start: loop.memory(of: event.buffer), count: Int(event.value))
            }
        }
        #expect(loop.buffersInUse == 8 && read[0].count + read[1].count < 2 * message.count)
        let start = loop.now
        for _ in 0..<5 where loop.now - start < 30_000 { loop.wait(until: start + 30_000) }
        #expect(loop.now - start >= 30_000, "it sleeps until the deadline")

        loop.release(held.removeLast())
        let isDone = run(&loop, until: { read.allSatisfy { $0.count == message.count } }) {
            #expect($1.kind == .received)
            read[Int($1.token)] += take($1, &$0)
        }
        #expect(isDone)
        #expect(read[0] == message && read[1] == message)
        for buffer in held { loop.release(buffer) }
        for (socket, _) in pairs { loop.close(socket, flushing: false) }
        expectNothingLeft(&loop)
    }

    @Test("when buffers for copies run out the socket fails with ENOBUFS", arguments: backends)
    func copiesWithoutBuffers(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10, limits: EventLoop.Limits(buffersMax: 8))
        let (socket, peer) = try makePair(&loop)
        sendCopy(pattern(1 << 20), to: socket, &loop)
        var told: [Event] = []
        #expect(run(&loop, until: { !told.isEmpty }) { told.append($1) })
        #expect(told[0].kind == .closed && told[0].value == ENOBUFS)
        loop.close(socket, flushing: true)
        expectNothingLeft(&loop)
        #expect(peer.read() == nil)
    }

    @Test("when completions overflow nothing is lost", arguments: backends)
    func overflowingCompletions(backend: EventLoop.BackendChoice) throws {
        let limits = EventLoop.Limits(submissions: 8, completions: 16)
        var loop = try EventLoop(backend: backend, socketsMax: 500, limits: limits)
        var sockets: [SocketID] = []
        let message = pattern(1 << 19)
        for pair in 0..<50 {
            let (left, right) = try SocketOptions.makePair()
            sockets.append(loop.open(fd: left, token: UInt64(2 * pair)))
            sockets.append(loop.open(fd: right, token: UInt64(2 * pair + 1)))
        }
        for socket in sockets { send(message, to: socket, &loop) }
        var blocked = 0
        #expect(run(&loop, until: { blocked == 100 }) { if $1.kind == .blocked { blocked += 1 } })
        for socket in sockets { loop.startReceiving(socket) }
        var read = [[UInt8]](repeating: [], count: 100)
        var drained = 0
        #expect(
            run(&loop, until: { drained == 100 && read.allSatisfy { $0.count >= message.count } }) {
                if $1.kind == .received { read[Int($1.token)] += take($1, &$0) }
                if $1.kind == .drained { drained += 1 }
            })
        #expect(read.allSatisfy { $0 == message })
        for socket in sockets { loop.close(socket, flushing: false) }
        expectNothingLeft(&loop)
    }

    @Test("events and slots are small")
    func sizes() {
        #expect(MemoryLayout<Event?>.size <= 40)
        #expect(MemoryLayout<SocketSlot>.stride <= 80)
        #expect(MemoryLayout<ChunkSlab.Chunk>.stride <= 16)
    }

    @Test(
        "out of descriptors, a listener tells the errno until it is paused, and then goes on", arguments: [true, false])
    func outOfDescriptors(isRing: Bool) async {
        // In a process of its own: the limit concerns every test.
        await #expect(processExitsWith: .success) { [isRing] in
            var loop = try EventLoop(backend: isRing ? .ioUring : .epoll, socketsMax: 10)
            let any = try #require(SocketAddress(literal: "127.0.0.1", port: 0))
            let listenerFD = try SocketOptions.makeListener(address: any, backlog: 10)
            let address = try #require(SocketAddress.ofLocal(listenerFD))
            let listener = loop.listen(fd: listenerFD, token: 1)
            let client = Peer(fd: try SocketOptions.makeStreamSocket(for: address))
            var limit = rlimit()
            getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            let enough = limit
            limit.rlim_cur = rlim_t(client.fd) + 1
            setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
            _ = address.withAddress { Glibc.connect(client.fd, $0.assumingMemoryBound(to: sockaddr.self), $1) }
            var values: [Int32] = []
            let hasFailed = run(&loop, until: { values.count == 2 }) { _, event in values.append(event.value) }
            precondition(hasFailed && values[0] == -EMFILE && values[1] == -EMFILE)
            loop.pauseAccepting(listener)
            _ = turns(2, &loop)
            precondition(turns(3, &loop).isEmpty)
            _ = withUnsafePointer(to: enough) { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), $0) }
            loop.resumeAccepting(listener)
            values = []
            let isAccepted = run(&loop, until: { !values.isEmpty }) { _, event in values.append(event.value) }
            precondition(isAccepted && values[0] >= 0)
        }
    }

    @Test("this kernel decides a write that does not wait when it is submitted")
    func kernelBehaviour() throws {
        var pool = try BufferPool(buffersMax: 256)
        var ring = try Ring.make(limits: EventLoop.Limits(), pool: &pool)
        let (near, far) = try SocketOptions.makePair()
        let peer = Peer(fd: far)
        let allocated = pool.allocate()
        let buffer = try #require(allocated)
        for index in 0..<16 {
            ring.pieces[index] = iovec(iov_base: pool.address(of: buffer), iov_len: EventLoop.bufferBytes)
        }
        let results = writeUntilFull(&ring, near)
        #expect(results.first == .some(nil), "a write that is taken whole is silent")
        #expect(
            results.contains { $0 != nil && $0! > 0 && $0! < 16 * 16_384 }, "a short write tells how much was taken")
        #expect(results.last == -EAGAIN, "a write of which nothing is taken says so")
        withExtendedLifetime(peer) { _ = Glibc.close(near) }
    }

    /// The completion, if there is one when submission returns, of each of many large writes.
    private func writeUntilFull(_ ring: inout Ring, _ fd: Int32) -> [Int32?] {
        var results: [Int32?] = []
        for position in 0..<8 {
            let count: UInt32 = position == 0 ? 1 : 16
            ring.prepareWrite(to: fd, pieces: count)
            _ = ring.enter(waitCount: 0, timeoutNanoseconds: 0)
            results.append(ring.nextResult())
        }
        return results
    }
}
