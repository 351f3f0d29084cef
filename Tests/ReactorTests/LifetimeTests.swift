// How sockets begin, pause, end and change hands: what is told, and what is not told any more.

import Glibc
import Synchronization
import Testing

@testable import Reactor

@Suite("Sockets begin, pause, end and change hands", .serialized)
struct LifetimeTests {
    @Test("a paused socket tells nothing until it is resumed, and then everything", arguments: backends)
    func pausing(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop)
        peer.write([1])
        #expect(turns(3, &loop).isEmpty, "nothing is received before it is wanted")
        loop.startReceiving(socket)
        var read: [UInt8] = []
        #expect(run(&loop, until: { read == [1] }) { read += take($1, &$0) })
        for round in 2...10 as ClosedRange<UInt8> {
            loop.stopReceiving(socket)
            #expect(turns(2, &loop).isEmpty)
            peer.write([round])
            #expect(turns(3, &loop).isEmpty, "paused")
            loop.startReceiving(socket)
            #expect(run(&loop, until: { read.count == Int(round) }) { read += take($1, &$0) })
        }
        loop.stopReceiving(socket)
        loop.startReceiving(socket)
        peer.write([11])
        #expect(run(&loop, until: { read.count == 11 }) { read += take($1, &$0) })
        #expect(read == Array(1...11))
        loop.close(socket, flushing: false)
        expectNothingLeft(&loop)
    }

    @Test("closing during a batch of events never yields a stale one, nor one to who comes after", arguments: backends)
    func closingDuringABatch(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 200)
        for round in 0..<20 as Range<UInt64> {
            var fars: [Int32] = []
            var sockets: [SocketID] = []
            for _ in 0..<10 {
                let (near, far) = try SocketOptions.makePair()
                sockets.append(loop.open(fd: near, token: round))
                fars.append(far)
                loop.startReceiving(sockets[sockets.count - 1])
            }
            _ = turns(1, &loop)
            for far in fars { _ = Glibc.write(far, "x", 1) }
            var isFirst = true
            var fresh: [SocketID] = []
            let isDone = run(&loop, until: { !isFirst }) { loop, event in
                #expect(isFirst, "an event after its socket was closed")
                isFirst = false
                if event.kind == .received { loop.release(event.buffer) }
                for socket in sockets { loop.close(socket, flushing: false) }
                for far in fars { _ = Glibc.close(far) }
                for index in fars.indices {
                    guard let (near, far) = try? SocketOptions.makePair() else { return }
                    fresh.append(loop.open(fd: near, token: 1_000))
                    fars[index] = far
                    loop.startReceiving(fresh[fresh.count - 1])
                }
            }
            #expect(isDone)
            #expect(turns(5, &loop).isEmpty, "nothing was written to the new ones")
            for socket in sockets {
                #expect(loop.fileDescriptor(socket) == -1)
                loop.close(socket, flushing: true)
                sendCopy([1, 2, 3], to: socket, &loop)
            }
            for socket in fresh { loop.close(socket, flushing: false) }
            for far in fars { _ = Glibc.close(far) }
        }
        expectNothingLeft(&loop)
    }

    @Test("a detached descriptor is alive, loses no byte, and is adopted by another loop", arguments: backends)
    func detaching(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        var other = try EventLoop(backend: backend, socketsMax: 10)
        for isReceiving in [true, false] {
            let (socket, peer) = try makePair(&loop)
            if isReceiving { loop.startReceiving(socket) }
            _ = turns(2, &loop)
            peer.write([1, 2, 3])
            loop.detach(socket)
            loop.startReceiving(socket)
            var fd: Int32 = -1
            var read: [UInt8] = []
            let isDetached = run(&loop, until: { fd >= 0 }) {
                #expect(fd == -1, "detached is the last event")
                if $1.kind == .received { read += take($1, &$0) } else if $1.kind == .detached { fd = $1.value }
            }
            #expect(isDetached && loop.fileDescriptor(socket) == -1 && loop.socketsOpen == 0)
            let adopted = other.open(fd: fd, token: 9)
            other.startReceiving(adopted)
            peer.write([4])
            #expect(run(&other, until: { read.last == 4 }) { read += take($1, &$0) })
            #expect(read == [1, 2, 3, 4])
            sendCopy([5], to: adopted, &other)
            other.wait(until: 0)
            #expect(peer.read() == [5])
            other.close(adopted, flushing: false)
            #expect(turns(3, &loop).isEmpty)
        }
        expectNothingLeft(&loop)
        expectNothingLeft(&other)
    }

    @Test("five hundred connections are accepted; a paused listener accepts none", arguments: backends)
    func accepting(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 2_000)
        let address = try #require(SocketAddress(unixPath: "@weir-test-\(getpid())-\(backend)"))
        let listener = loop.listen(fd: try SocketOptions.makeListener(address: address, backlog: 1_000), token: 1)
        var clients: [SocketID] = []
        for _ in 0..<500 {
            let fd = try SocketOptions.makeStreamSocket(for: address)
            clients.append(loop.connect(fd: fd, address: address, token: 2))
        }
        var connected = 0
        var accepted: [SocketID] = []
        let isDone = run(&loop, until: { connected == 500 && accepted.count == 500 }) {
            if $1.kind == .connected { connected += 1 }
            if $1.kind == .accepted { accepted.append($0.open(fd: $1.value, token: 3)) }
        }
        #expect(isDone)
        #expect(SocketOptions.peerCredentials(loop.fileDescriptor(accepted[0]))?.userID == getuid())
        loop.pauseAccepting(listener)
        _ = turns(2, &loop)
        let late = loop.connect(fd: try SocketOptions.makeStreamSocket(for: address), address: address, token: 4)
        #expect(turns(3, &loop).allSatisfy { $0.kind != .accepted })
        loop.resumeAccepting(listener)
        #expect(run(&loop, until: { accepted.count == 501 }) { accepted.append($0.open(fd: $1.value, token: 3)) })
        for socket in clients + accepted + [listener, late] { loop.close(socket, flushing: false) }
        expectNothingLeft(&loop)
    }

    @Test("a refused connection is closed with its errno", arguments: backends)
    func refusedConnection(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let any = try #require(SocketAddress(literal: "127.0.0.1", port: 0))
        let listener = try SocketOptions.makeListener(address: any, backlog: 1)
        let address = try #require(SocketAddress.ofLocal(listener))
        _ = Glibc.close(listener)
        let socket = loop.connect(fd: try SocketOptions.makeTCPSocket(.ipv4), address: address, token: 5)
        var told: [Event] = []
        #expect(run(&loop, until: { !told.isEmpty }) { told.append($1) })
        #expect(told[0].kind == .closed && told[0].value == ECONNREFUSED && told[0].token == 5)
        #expect(turns(3, &loop).isEmpty)
        loop.close(socket, flushing: true)
        expectNothingLeft(&loop)
    }

    @Test("the end of a stream is told also when it lies behind bytes that were not read yet", arguments: backends)
    func endBehindBytes(backend: EventLoop.BackendChoice) throws {
        let sizes = [1, 5, EventLoop.bufferBytes, 4 * EventLoop.bufferBytes, 7 * EventLoop.bufferBytes + 1]
        for size in sizes {
            for pauses in [false, true] {
                var loop = try EventLoop(backend: backend, socketsMax: 10)
                let (socket, peer) = try makePair(&loop)
                let message = pattern(size)
                peer.write(message)
                peer.endWriting()
                loop.startReceiving(socket)
                var read: [UInt8] = []
                var hasEnded = false
                let isDone = run(&loop, until: { hasEnded }) {
                    if $1.kind == .closed {
                        hasEnded = true
                        return
                    }
                    read += take($1, &$0)
                    guard pauses else { return }
                    $0.stopReceiving(socket)
                    $0.startReceiving(socket)
                }
                #expect(isDone && read == message, "\(size) bytes, \(pauses ? "paused" : "not paused")")
                loop.close(socket, flushing: false)
                expectNothingLeft(&loop)
            }
        }
    }

    @Test("after the end of the stream the other direction still works", arguments: backends)
    func halfClosed(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop)
        loop.startReceiving(socket)
        peer.write([1])
        peer.endWriting()
        var told: [Event.Kind] = []
        var ending: Int32 = -1
        #expect(
            run(&loop, until: { told.last == .closed }) {
                told.append($1.kind)
                if $1.kind == .received { $0.release($1.buffer) }
                if $1.kind == .closed { ending = $1.value }
            })
        #expect(told == [.received, .closed] && ending == 0)
        sendCopy([2], to: socket, &loop)
        #expect(turns(3, &loop).isEmpty, "closed is the last event")
        sendCopy([3], to: socket, &loop)
        loop.close(socket, flushing: true)
        expectNothingLeft(&loop)
        #expect(peer.read() == [2, 3] && peer.read() == nil)
    }

    @Test("a flushing close sends the last words, however many pieces; any other drops them", arguments: backends)
    func flushingClose(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        for isFlushing in [true, false] {
            let (socket, peer) = try makePair(&loop)
            loop.startReceiving(socket)
            _ = turns(1, &loop)
            var words: [UInt8] = []
            for piece in 0..<50 as Range<UInt8> {
                send([piece, piece], to: socket, &loop)
                words += [piece, piece]
            }
            loop.close(socket, flushing: isFlushing)
            _ = turns(3, &loop)
            if isFlushing { #expect(peer.read() == words) }
            #expect(peer.read() == nil)
        }
        expectNothingLeft(&loop)
    }

    @Test("a flushing close does not wait for a peer that takes nothing", arguments: backends)
    func flushingCloseOfABlockedSocket(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        for wasBlocked in [true, false] {
            let (socket, peer) = try makePair(&loop)
            loop.startReceiving(socket)
            send(pattern(1 << 20), to: socket, &loop)
            if wasBlocked { #expect(turns(2, &loop).map(\.kind) == [.blocked]) }
            loop.close(socket, flushing: true)
            expectNothingLeft(&loop)
            var end: [UInt8]? = []
            while end != nil { end = peer.read() }
        }
    }

    @Test("a flushing close to a peer that is gone frees the socket all the same", arguments: backends)
    func flushingCloseToNobody(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (near, far) = try SocketOptions.makePair()
        let socket = loop.open(fd: near, token: 1)
        _ = Glibc.close(far)
        for piece in 0..<50 as Range<UInt8> { send([piece], to: socket, &loop) }
        loop.close(socket, flushing: true)
        expectNothingLeft(&loop)
        let (next, peer) = try makePair(&loop)
        #expect(next.index == socket.index && next.generation != socket.generation, "its slot is free")
        loop.close(next, flushing: false)
        expectNothingLeft(&loop)
        #expect(peer.read() == nil)
    }

    @Test("a peer's last words come before the failure of what is sent to it", arguments: backends)
    func lastWords(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        for isReceiving in [true, false] {
            let (near, far) = try SocketOptions.makePair()
            let socket = loop.open(fd: near, token: 1)
            if isReceiving { loop.startReceiving(socket) }
            _ = turns(1, &loop)
            _ = Glibc.write(far, "bye", 3)
            _ = Glibc.close(far)
            sendCopy([1, 2, 3], to: socket, &loop)
            var told: [Event.Kind] = []
            var ending: Int32 = -1
            #expect(
                run(&loop, until: { told.last == .closed }) {
                    told.append($1.kind)
                    if $1.kind == .received { $0.release($1.buffer) }
                    if $1.kind == .closed { ending = $1.value }
                })
            #expect(told == (isReceiving ? [.received, .closed] : [.closed]))
            #expect(ending == EPIPE)
            sendCopy([4], to: socket, &loop)
            #expect(turns(3, &loop).isEmpty && loop.unsentBytes(socket) == 0)
            loop.close(socket, flushing: true)
        }
        expectNothingLeft(&loop)
    }

    @Test("ten thousand sockets come and go, in the slots of those before them", arguments: backends)
    func tenThousandSockets(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 500)
        for round in 0..<20 as Range<UInt64> {
            var sockets: [SocketID] = []
            for pair in 0..<250 {
                let (left, right) = try SocketOptions.makePair()
                sockets.append(loop.open(fd: left, token: round))
                sockets.append(loop.open(fd: right, token: round))
                loop.startReceiving(sockets[sockets.count - 1])
                sendCopy([UInt8(pair)], to: sockets[sockets.count - 2], &loop)
            }
            #expect(loop.open(fd: 0, token: 0) == .none, "the limit holds")
            var received = 0
            let isDone = run(&loop, until: { received == 250 }) {
                #expect($1.kind == .received && $1.token == round)
                received += 1
                $0.release($1.buffer)
            }
            #expect(isDone)
            for socket in sockets { loop.close(socket, flushing: round % 2 == 0) }
        }
        expectNothingLeft(&loop)
        #expect(loop.sockets.touchedCount <= 1_500, "slots are reused")
    }

    @Test("a token may be changed", arguments: backends)
    func changingTheToken(backend: EventLoop.BackendChoice) throws {
        var loop = try EventLoop(backend: backend, socketsMax: 10)
        let (socket, peer) = try makePair(&loop, token: 1)
        loop.startReceiving(socket)
        loop.setToken(socket, 2)
        peer.write([1])
        var token: UInt64 = 0
        #expect(
            run(&loop, until: { token != 0 }) {
                token = $1.token
                $0.release($1.buffer)
            })
        #expect(token == 2)
        loop.close(socket, flushing: false)
        expectNothingLeft(&loop)
    }
}
