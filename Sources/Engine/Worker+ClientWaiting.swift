// Bytes of a client that cannot go on yet: because the client waits for a server, for its settings or for earlier
// answers, or because a message is larger than a buffer and needed whole.
//
//     received → held ……… the wait is over → looked at as if it came just now

import Configuration
import Pooling
import Reactor
import Wire

extension Worker {
    // MARK: Bytes that wait

    /// Buffers in use beyond which held bytes are copied to smaller memory, so that clients that wait cannot take all
    /// buffers from those that are served.
    static var heldBuffersMax: Int { 256 }

    /// Keeps bytes of a client that waits. Takes the caller's reference of the buffer.
    mutating func hold(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) {
        let client = clients[index]
        var held = HeldBytes(buffer: buffer, from: Int32(from), end: Int32(end), memory: nil)
        if loop.buffersInUse > Self.heldBuffersMax {
            let memory = UnsafeMutableRawPointer.allocate(byteCount: end - from, alignment: 1)
            memory.copyMemory(from: loop.memory(of: buffer) + from, byteCount: end - from)
            loop.release(buffer)
            held = HeldBytes(buffer: .max, from: 0, end: Int32(end - from), memory: memory)
        }
        if client.pointee.held.isNone {
            client.pointee.held = held
        } else {
            client.pointee.heldMore.append(held)
            // One piece is the query that waits; a client that sends on is not read until it has its server.
            stopReceiving(client: index)
        }
    }

    /// While a client waits, or has not sent its message whole, its server may serve others, if nothing binds the two.
    mutating func lendServer(of index: UInt32) {
        guard clients[index].pointee.server >= 0 else { return }
        let serverIndex = UInt32(clients[index].pointee.server)
        let server = servers[serverIndex]
        guard pools[UInt32(server.pointee.pool)].pointee.mode != .session, server.pointee.owed.isEmpty,
            server.pointee.transactionStatus == TransactionStatus.idle
        else { return }
        transactionEnded(index, serverIndex)
    }

    mutating func stopReceiving(client index: UInt32) {
        let client = clients[index]
        guard !client.pointee.isReceivingStopped else { return }
        client.pointee.isReceivingStopped = true
        loop.stopReceiving(client.pointee.socket)
    }

    /// Receives again what a client sends, unless something still speaks against it: the client waits, or it or its
    /// server does not take what is sent to it.
    mutating func resumeReceiving(client index: UInt32) {
        let client = clients[index]
        guard client.pointee.isReceivingStopped, client.pointee.wait == .none, !loop.isBlocked(client.pointee.socket)
        else { return }
        let server = client.pointee.server
        if server >= 0, loop.isBlocked(servers[UInt32(server)].pointee.socket) { return }
        client.pointee.isReceivingStopped = false
        loop.startReceiving(client.pointee.socket)
    }

    /// Looks at what was held, now that the wait is over.
    mutating func resumeHeld(_ index: UInt32) {
        let client = clients[index]
        let generation = client.pointee.generation
        let first = client.pointee.held
        client.pointee.held = .none
        if client.pointee.heldMore.isEmpty {
            if !first.isNone { resume(index, generation, first) }
        } else {
            let more = client.pointee.heldMore
            client.pointee.heldMore = []
            resume(index, generation, first)
            for piece in more { resume(index, generation, piece) }
        }
        if clients.isLive(index, generation: generation) { resumeReceiving(client: index) }
    }

    private mutating func resume(_ index: UInt32, _ generation: UInt32, _ piece: HeldBytes) {
        guard clients.isLive(index, generation: generation) else { return release(piece) }
        var piece = piece
        if let memory = piece.memory {
            guard let buffer = loop.allocateBuffer() else {
                memory.deallocate()
                return closeClient(index, .fatal(outOfBuffers))
            }
            loop.memory(of: buffer).copyMemory(from: memory, byteCount: Int(piece.end))
            memory.deallocate()
            piece = HeldBytes(buffer: buffer, from: 0, end: piece.end, memory: nil)
        }
        if clients[index].pointee.wait != .none {
            hold(index, piece.buffer, from: Int(piece.from), end: Int(piece.end))
        } else {
            clientProcess(index, piece.buffer, from: Int(piece.from), end: Int(piece.end))
            loop.release(piece.buffer)
        }
    }

    /// Sends a batch once more.
    mutating func processAgain(_ index: UInt32, _ batch: HeldBytes) {
        clientProcess(index, batch.buffer, from: Int(batch.from), end: Int(batch.end))
        loop.release(batch.buffer)
    }

    private mutating func release(_ piece: HeldBytes) {
        if piece.isNone { return }
        if let memory = piece.memory { memory.deallocate() } else { loop.release(piece.buffer) }
    }

    /// Gives the memory of a client back that is going away.
    mutating func dropHeld(_ index: UInt32) {
        let client = clients[index]
        release(client.pointee.held)
        for piece in client.pointee.heldMore { release(piece) }
        if !client.pointee.gather.isEmpty { loop.release(client.pointee.gather.buffer) }
        client.pointee.held = .none
        client.pointee.heldMore = []
        client.pointee.gather = Gather()
        client.pointee.largeMessage = []
    }

    /// The answers have come that a client had to wait for: its next message means what it says.
    mutating func resumeAfterAnswers(_ index: UInt32) {
        clients[index].pointee.wait = .none
        resumeHeld(index)
    }

    // MARK: A Parse that is larger than a buffer

    /// Adds bytes to a Parse that is larger than a buffer; returns how far they were taken. It lies in memory of its
    /// own until it is whole, since the statement's text is kept.
    mutating func completeLargeParse(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) -> Int {
        let client = clients[index]
        let wanted = Int(client.pointee.gatherWanted)
        if client.pointee.largeMessage.isEmpty {
            let gather = client.pointee.gather
            // SAFETY: what was gathered fits its buffer.
            client.pointee.largeMessage.append(
                contentsOf: UnsafeRawBufferPointer(start: loop.memory(of: gather.buffer), count: Int(gather.count)))
        }
        let take = min(wanted - client.pointee.largeMessage.count, end - from)
        // SAFETY: `take` is within what was received.
        client.pointee.largeMessage.append(
            contentsOf: UnsafeRawBufferPointer(start: loop.memory(of: buffer) + from, count: take))
        guard client.pointee.largeMessage.count == wanted else { return from + take }
        let message = client.pointee.largeMessage
        client.pointee.largeMessage = []
        loop.release(client.pointee.gather.buffer)
        client.pointee.gather = Gather()
        // SAFETY: the byte is one of those that were received.
        let next = from + take < end ? loop.memory(of: buffer).load(fromByteOffset: from + take, as: UInt8.self) : nil
        message.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress else { return }
            if client.pointee.server >= 0 {
                largeParse(index, bytes, buffer, next: next)
            } else {
                // Its server was lost; a batch had begun, so that this is answered without one.
                answerLocally(index, start, from: 0, end: wanted)
            }
        }
        return from + take
    }
}
