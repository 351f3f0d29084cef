// client → server. Bytes are looked at where they lie, and sent from there:
//
//     buffer    |  Q … | P … | B … | E … | S | D…      part of a message
//               └──── one send to the server ─────┘
//
// While the client has no server its next message decides: a request needs one; while none is free the bytes are
// held as they are. Nothing here allocates, logs or calls out for a message of a client that has its server.

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    // MARK: Bytes arrive

    mutating func clientReceived(_ index: UInt32, _ buffer: BufferID, _ count: Int) {
        let client = clients[index]
        guard client.pointee.state == .ready else {
            return receivedOutsideTraffic(index, buffer, count)
        }
        if client.pointee.pool >= 0 {
            pools[UInt32(client.pointee.pool)].pointee.totals.receivedBytes &+= UInt64(count)
        }
        if client.pointee.wait != .none {
            return hold(index, buffer, from: 0, end: count)
        }
        clientProcess(index, buffer, from: 0, end: count)
        loop.release(buffer)
    }

    private mutating func receivedOutsideTraffic(_ index: UInt32, _ buffer: BufferID, _ count: Int) {
        let bytes = UnsafeRawBufferPointer(start: loop.memory(of: buffer), count: count)
        switch clients[index].pointee.state {
        case .startup, .authenticating, .hashing, .welcoming: loginReceived(index, bytes)
        case .console: consoleReceived(index, bytes)
        case .canceling, .ready: break
        }
        loop.release(buffer)
    }

    /// Processes received bytes, together with what was gathered before. The caller keeps its reference of the buffer.
    mutating func clientProcess(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) {
        let client = clients[index]
        let generation = client.pointee.generation
        var from = from
        while !client.pointee.gather.isEmpty && from < end {
            from = completeHeader(index, buffer, from: from, end: end)
            guard clients.isLive(index, generation: generation) else { return }
            if client.pointee.wait != .none {
                if from < end {
                    loop.retain(buffer)
                    hold(index, buffer, from: from, end: end)
                }
                return
            }
        }
        guard from < end else { return }
        let consumed = forward(index, buffer, from: from, end: end)
        guard consumed < end, clients.isLive(index, generation: generation) else { return }
        gatherHeader(index, buffer, from: consumed, end: end)
    }

    /// Keeps bytes that cannot be looked at before more of them have come.
    private mutating func gatherHeader(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) {
        guard let kept = loop.allocateBuffer() else { return closeClient(index, .fatal(outOfBuffers)) }
        loop.memory(of: kept).copyMemory(from: loop.memory(of: buffer) + from, byteCount: end - from)
        clients[index].pointee.gather = Gather(buffer: kept, count: Int32(end - from))
    }

    /// Adds bytes to what was gathered; once there are enough they are processed like any other buffer.
    private mutating func completeHeader(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) -> Int {
        let client = clients[index]
        let generation = client.pointee.generation
        let gather = client.pointee.gather
        let have = Int(gather.count)
        let wanted = Int(client.pointee.gatherWanted)
        if wanted > EventLoop.bufferBytes { return completeLargeParse(index, buffer, from: from, end: end) }
        let take = min(wanted - have, end - from)
        // SAFETY: what is wanted fits a buffer; `take` is within what was received.
        (loop.memory(of: gather.buffer) + have).copyMemory(from: loop.memory(of: buffer) + from, byteCount: take)
        client.pointee.gather.count += Int32(take)
        guard have + take == wanted else { return from + take }
        client.pointee.gather = Gather()
        let consumed = forward(index, gather.buffer, from: 0, end: wanted)
        if consumed == 0, clients.isLive(index, generation: generation) {
            // The header tells that more of the message is needed.
            client.pointee.gather = Gather(buffer: gather.buffer, count: Int32(wanted))
            return from + take
        }
        if consumed < wanted, clients.isLive(index, generation: generation) {
            // So does the header of the next message; this buffer is being sent.
            gatherHeader(index, gather.buffer, from: consumed, end: wanted)
        }
        loop.release(gather.buffer)
        return from + take
    }

    var outOfBuffers: ErrorFields { fatalFields(SQLState.insufficientResources, "out of buffers") }

    // MARK: The hot path

    /// Passes whole messages and parts of messages on; returns how far it came. What is left is a cut header, or
    /// nothing because the bytes were held or the client is gone.
    private mutating func forward(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) -> Int {
        let client = clients[index]
        if client.pointee.replication != .none { return passToServer(index, buffer, from: from, end: end) }
        let bytes = UnsafeRawPointer(loop.memory(of: buffer))
        let follows =
            pools[UInt32(client.pointee.pool)].pointee.followsSession
            || client.pointee.loginExtras != ParameterSets.empty
        let isFirst = client.pointee.server < 0
        client.pointee.statementUse = .none
        // What begins with the rest of a message may be what the server was kept for.
        let endsMessage = !client.pointee.framer.isAtBoundary
        var offset = from
        var run = from
        var served = from
        while offset < end {
            if client.pointee.server < 0 {
                switch beginMessage(index, buffer, bytes, from: offset, end: end) {
                case .attached:
                    run = offset
                    served = offset
                case .answered(let next):
                    offset = next
                    run = next
                    continue
                case .cut: return offset
                case .stopped: return end
                }
            }
            let server = servers[UInt32(client.pointee.server)]
            let before = client.pointee.framer
            let frame = client.pointee.framer.next(
                bytes, from: offset, count: end, whole: .none, lengthMax: packetBytesMax)
            switch frame.kind {
            case .continuation:
                if client.pointee.dropsMessage { run = frame.end }
                if client.pointee.watchesRest {
                    watchRest(index, UnsafeRawBufferPointer(start: bytes + offset, count: frame.end - offset))
                }
            case .message:
                client.pointee.dropsMessage = false
                client.pointee.watchesRest = false
                let isBatch = server.pointee.tracksStatements && Self.isBatchMessage(frame.tag)
                if isBatch || (follows && Self.hasText(frame.tag)) {
                    if server.pointee.owed.isFull {
                        refuseMessage(index, frame.tag)
                        return end
                    }
                    let outcome =
                        isBatch
                        ? batchMessage(index, frame, buffer, bytes, run: run, offset: offset, end: end)
                        : lookAtText(index, frame, buffer, bytes, run: run, offset: offset)
                    switch outcome {
                    case .pass:
                        if !isBatch, !note(frame, bytes + offset, available: end - offset, client, server) {
                            flush(UInt32(client.pointee.server), buffer, run: run, offset: offset)
                            refuseMessage(index, frame.tag)
                            return end
                        }
                    case .rewritten(let next): run = next
                    case .closed: return end
                    case .waits(let reason):
                        flush(UInt32(client.pointee.server), buffer, run: run, offset: offset)
                        client.pointee.framer = before
                        client.pointee.wait = reason
                        loop.retain(buffer)
                        hold(index, buffer, from: offset, end: end)
                        if reason == .listener { lendServer(of: index) }
                        return end
                    case .needs(let count):
                        flush(UInt32(client.pointee.server), buffer, run: run, offset: offset)
                        client.pointee.framer = before
                        client.pointee.gatherWanted = Int32(count)
                        restOfMessageIsToCome(index)
                        return offset
                    }
                    noteQueryBegins(client, server)
                } else if !note(frame, bytes + offset, available: end - offset, client, server) {
                    flush(UInt32(client.pointee.server), buffer, run: run, offset: offset)
                    refuseMessage(index, frame.tag)
                    return end
                }
                if client.pointee.mayReset, waitsForReset(frame, client, server) {
                    flush(UInt32(client.pointee.server), buffer, run: run, offset: frame.end)
                    guard frame.end < end else { return end }
                    loop.retain(buffer)
                    hold(index, buffer, from: frame.end, end: end)
                    return end
                }
            case .incomplete:
                flush(UInt32(client.pointee.server), buffer, run: run, offset: offset)
                client.pointee.gatherWanted = Int32(MessageFramer.headerBytes)
                restOfMessageIsToCome(index)
                return offset
            case .invalid:
                closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "bad packet header")))
                return end
            }
            offset = frame.end
        }
        if offset > run { flush(UInt32(client.pointee.server), buffer, run: run, offset: offset) }
        if endsMessage { lendServer(of: index) }
        if isFirst, client.pointee.statementUse == .uses { keepForRetry(index, buffer, from: served, end: end) }
        return end
    }

    /// A message is needed whole, or its header is cut. A client may be slow to send the rest, or never do so.
    private mutating func restOfMessageIsToCome(_ index: UInt32) {
        let client = clients[index]
        let server = servers[UInt32(client.pointee.server)]
        if server.pointee.owed.isEmpty { return lendServer(of: index) }
        if server.pointee.owed.isBatchOpen { noteQueryBegins(client, server) }
    }

    // MARK: A message while the client has no server

    enum Beginning {
        /// The client has its server now.
        case attached
        /// The message was answered or dropped here; the next one starts at the offset.
        case answered(Int)
        /// Its header is cut.
        case cut
        /// The bytes are held, or the client is gone.
        case stopped
    }

    private mutating func beginMessage(
        _ index: UInt32, _ buffer: BufferID, _ bytes: UnsafeRawPointer, from: Int, end: Int
    ) -> Beginning {
        let client = clients[index]
        guard client.pointee.framer.isAtBoundary else {
            // The rest of a message that was begun before the server was lost.
            let frame = client.pointee.framer.next(
                bytes, from: from, count: end, whole: .none, lengthMax: packetBytesMax)
            return .answered(frame.end)
        }
        guard end - from >= MessageFramer.headerBytes else {
            client.pointee.gatherWanted = Int32(MessageFramer.headerBytes)
            return .cut
        }
        let tag = bytes.load(fromByteOffset: from, as: UInt8.self)
        switch tag {
        case FrontendTag.terminate:
            closeClient(index, .closeRequest)
            return .stopped
        case FrontendTag.query, FrontendTag.parse, FrontendTag.bind, FrontendTag.describe, FrontendTag.execute,
            FrontendTag.close, FrontendTag.functionCall:
            if client.pointee.responder.isFinished && client.pointee.refusal == nil {
                switch requestServer(index) {
                case .ready: return .attached
                case .waiting:
                    loop.retain(buffer)
                    hold(index, buffer, from: from, end: end)
                    return .stopped
                case .refused(let refusal): client.pointee.refusal = refusal
                }
            }
        case FrontendTag.sync, FrontendTag.flush, FrontendTag.copyData, FrontendTag.copyDone, FrontendTag.copyFail:
            break
        default:
            refuseMessage(index, tag)
            return .stopped
        }
        return answerLocally(index, bytes, from: from, end: end)
    }

    /// Answers a message without a server: after a loss, or because it needs none.
    @discardableResult
    mutating func answerLocally(
        _ index: UInt32, _ bytes: UnsafeRawPointer, from: Int, end: Int
    ) -> Beginning {
        let client = clients[index]
        // A LISTEN that waited for its channel, and then for a server in vain, is not passed on.
        giveUpListens(index)
        let frame = client.pointee.framer.next(
            bytes, from: from, count: end, whole: .none, lengthMax: packetBytesMax)
        guard frame.kind == .message else {
            closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "bad packet header")))
            return .stopped
        }
        let payload = UnsafeRawBufferPointer(
            start: bytes + from + MessageFramer.headerBytes, count: frame.end - from - MessageFramer.headerBytes)
        var refusal = client.pointee.refusal?.error
        // Who rolls back a transaction that was lost gets what was asked for.
        if client.pointee.responder.status == .failed, isRollback(frame.tag, payload) { refusal = nil }
        if frame.tag != FrontendTag.flush && frame.tag != FrontendTag.copyData { client.pointee.refusal = nil }
        var writer = MessageWriter()
        client.pointee.responder.received(tag: frame.tag, payload: payload, refusal: refusal, into: &writer)
        if !writer.bytes.isEmpty { sendToClient(index, writer) }
        answeredWithoutServer(index)
        client.pointee.activeAt = now
        return .answered(frame.end)
    }

    /// Whether a message asks for nothing but the end of the transaction.
    private func isRollback(_ tag: UInt8, _ payload: UnsafeRawBufferPointer) -> Bool {
        var text = payload
        if tag == FrontendTag.parse, let name = payload.firstIndex(of: 0) {
            text = UnsafeRawBufferPointer(rebasing: payload[(name + 1)...])
        } else if tag != FrontendTag.query {
            return false
        }
        guard let end = text.firstIndex(of: 0) else { return false }
        return loneKeyword(UnsafeRawBufferPointer(rebasing: text[..<end])) == .rollback
    }

    // MARK: Back-pressure

    /// The client does not take what is sent to it: its server is not read until it does.
    mutating func clientBlocked(_ index: UInt32) {
        let server = clients[index].pointee.server
        if server >= 0 { loop.stopReceiving(servers[UInt32(server)].pointee.socket) }
    }

    /// A reply of ours was sent to a client. One that takes none is not read until it does: no server that is not read
    /// holds it up, and its replies would fill all buffers.
    @inline(__always)
    mutating func answeredWithoutServer(_ index: UInt32) {
        if loop.isBlocked(clients[index].pointee.socket) { stopReceiving(client: index) }
    }

    mutating func clientDrained(_ index: UInt32) {
        let server = clients[index].pointee.server
        if server >= 0 { loop.startReceiving(servers[UInt32(server)].pointee.socket) }
        resumeReceiving(client: index)
        if clients[index].pointee.notifications != nil { deliverNotifications(index) }
    }
}
