// Bytes through the loop, in order and complete, whatever the peer does.

import Glibc
import Testing

@testable import Reactor

@Suite("Bytes arrive whole and in order", .serialized)
struct StreamTests {
    @Test("what a peer writes comes back over a socket pair", arguments: backends)
    func echoOverPair(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop)
        loop.startReceiving(socket)
        var echoed: [UInt8] = []
        for round in 1...20 {
            let message = pattern(100 * round, seed: UInt64(round))
            peer.write(message)
            echoed = []
            let isDone = run(
                &loop,
                until: {
                    echoed += peer.read() ?? []; return echoed.count >= message.count
                }
            ) {
                guard $1.kind == .received else { return }
                $0.send($1.socket, buffer: $1.buffer, offset: 0, count: Int($1.value))
                $0.release($1.buffer)
            }
            #expect(isDone && echoed == message)
        }
        loop.close(socket, flushing: false)
        expectNothingLeft(&loop)
    }

    @Test("an accepted TCP connection echoes to one that was connected", arguments: backends)
    func echoOverTCP(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let any = try #require(SocketAddress(literal: "127.0.0.1", port: 0))
        let listenerFD = try SocketOptions.makeListener(address: any, backlog: 8)
        let address = try #require(SocketAddress.ofLocal(listenerFD))
        let listener = loop.listen(fd: listenerFD, token: 1)
        let client = loop.connect(fd: try SocketOptions.makeTCPSocket(.ipv4), address: address, token: 2)
        let message = pattern(200_000)
        var server = SocketID.none
        var reply: [UInt8] = []
        let isDone = run(&loop, until: { reply.count >= message.count }) { loop, event in
            switch (event.kind, event.token) {
            case (.accepted, 1):
                SocketOptions.setNoDelay(event.value)
                server = loop.open(fd: event.value, token: 3)
                loop.startReceiving(server)
            case (.connected, 2):
                loop.startReceiving(event.socket)
                send(message, to: event.socket, &loop)
            case (.received, 3):
                loop.send(event.socket, buffer: event.buffer, offset: 0, count: Int(event.value))
                loop.release(event.buffer)
            case (.received, 2): reply += take(event, &loop)
            case (.blocked, _), (.drained, _): break
            case _: Issue.record("unexpected \(event)")
            }
        }
        #expect(isDone && reply == message)
        for socket in [listener, client, server] { loop.close(socket, flushing: false) }
        expectNothingLeft(&loop)
    }

    @Test("a megabyte reaches a slow reader: blocked, then drained, every byte in order", arguments: backends)
    func slowReader(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop)
        let message = pattern(1 << 20)
        send(message, to: socket, &loop)
        #expect(loop.unsentBytes(socket) == 1 << 20)
        var told: [Event.Kind] = []
        var read: [UInt8] = []
        let isDone = run(
            &loop,
            until: {
                read += peer.read(max: 10_000) ?? []; return read.count >= message.count && told.count > 1
            }
        ) {
            told.append($1.kind)
            #expect($0.isBlocked($1.socket) == ($1.kind == .blocked))
        }
        #expect(isDone && read == message)
        #expect(told == [.blocked, .drained])
        #expect(loop.unsentBytes(socket) == 0)
        #expect(loop.buffersInUse == 0)
        loop.close(socket, flushing: false)
        expectNothingLeft(&loop)
    }

    @Test("both directions may be blocked at once and still come to an end", arguments: backends)
    func bothDirectionsBlocked(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (left, right) = try SocketOptions.makePair()
        let sockets = [loop.open(fd: left, token: 0), loop.open(fd: right, token: 1)]
        let messages = [pattern(1 << 20, seed: 3), pattern(1 << 20, seed: 4)]
        for side in 0...1 { send(messages[side], to: sockets[side], &loop) }
        var told = [[Event.Kind]](repeating: [], count: 2)
        #expect(run(&loop, until: { told == [[.blocked], [.blocked]] }) { told[Int($1.token)].append($1.kind) })

        for socket in sockets { loop.startReceiving(socket) }
        var read = [[UInt8]](repeating: [], count: 2)
        let isDone = run(
            &loop, until: { read[0].count + read[1].count >= 2 << 20 && told[0].count + told[1].count >= 4 }
        ) {
            if $1.kind == .received {
                read[Int($1.token)] += take($1, &$0)
            } else {
                told[Int($1.token)].append($1.kind)
            }
        }
        #expect(isDone && read[0] == messages[1] && read[1] == messages[0])
        #expect(told == [[.blocked, .drained], [.blocked, .drained]])
        for socket in sockets { loop.close(socket, flushing: false) }
        expectNothingLeft(&loop)
    }

    @Test("fifty separate pieces leave in order, and so do copies, which share buffers", arguments: backends)
    func manyPieces(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop)
        var expected: [UInt8] = []
        for piece in 0..<50 {
            let bytes = pattern(30 + piece, seed: UInt64(piece))
            send(bytes, to: socket, &loop)
            expected += bytes
        }
        #expect(loop.buffersInUse == 50)
        for piece in 0..<100 {
            let bytes = pattern(10, seed: UInt64(piece))
            sendCopy(bytes, to: socket, &loop)
            expected += bytes
        }
        #expect(loop.buffersInUse == 51, "copies fill the tail of one buffer")
        loop.wait(until: 0)
        #expect(peer.read() == expected, "one wait sends everything")
        #expect(loop.buffersInUse == 0)
        loop.close(socket, flushing: false)
        expectNothingLeft(&loop)
    }

    @Test("neighbouring stretches of one buffer leave as one, and the buffer is freed once", arguments: backends)
    func contiguousStretches(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop)
        let bytes = pattern(3_000)
        let allocated = loop.allocateBuffer()
        let buffer = try #require(allocated)
        bytes.withUnsafeBytes { loop.memory(of: buffer).copyMemory(from: $0.baseAddress!, byteCount: 3_000) }
        for (offset, count) in [(0, 1_000), (1_000, 500), (1_500, 500), (2_500, 500), (0, 0)] {
            loop.send(socket, buffer: buffer, offset: offset, count: count)
        }
        loop.release(buffer)
        #expect(loop.buffersInUse == 1 && loop.unsentBytes(socket) == 2_500)
        loop.wait(until: 0)
        #expect(peer.read() == Array(bytes[0..<2_000] + bytes[2_500..<3_000]))
        loop.close(socket, flushing: false)
        expectNothingLeft(&loop)
    }

    @Test(
        "any mixture of sending, pausing, resuming and blocking keeps every stream in order",
        arguments: backends, [1, 2, 3, 4] as [UInt64])
    func randomMixture(backend: EventLoop.BackendChoice, seed: UInt64) throws {
        print("seed \(seed)")
        var loop = try EventLoop(backend: backend, socketsMax: 100)
        var random = Random(seed: seed)
        let count = 12
        var sockets: [SocketID] = []
        for pair in 0..<count / 2 {
            let (left, right) = try SocketOptions.makePair()
            if random.next() % 2 == 0 { SocketOptions.setBuffer(left, bytes: 8_192) }
            sockets.append(loop.open(fd: left, token: UInt64(2 * pair)))
            sockets.append(loop.open(fd: right, token: UInt64(2 * pair + 1)))
        }
        var sent = [[UInt8]](repeating: [], count: count)
        var read = [[UInt8]](repeating: [], count: count)
        for _ in 0..<600 {
            let side = Int(random.next() % UInt64(count))
            let bytes = pattern(Int(random.next() % 40_000), seed: random.next())
            switch random.next() % 6 {
            case 0, 1: loop.startReceiving(sockets[side])
            case 2: loop.stopReceiving(sockets[side])
            case 3 where loop.unsentBytes(sockets[side]) < 200_000:
                send(bytes, to: sockets[side], &loop)
                sent[side ^ 1] += bytes
            case 4 where loop.unsentBytes(sockets[side]) < 200_000:
                sendCopy(bytes, to: sockets[side], &loop)
                sent[side ^ 1] += bytes
            case _: loop.wait(until: 0)
            }
            while let event = loop.nextEvent() {
                if event.kind == .received { read[Int(event.token)] += take(event, &loop) }
            }
        }
        for socket in sockets { loop.startReceiving(socket) }
        let isDone = run(&loop, until: { zip(sent, read).allSatisfy { $0.count <= $1.count } }) {
            if $1.kind == .received { read[Int($1.token)] += take($1, &$0) }
        }
        #expect(isDone && sent == read)
        for socket in sockets { loop.close(socket, flushing: false) }
        expectNothingLeft(&loop)
    }
}
