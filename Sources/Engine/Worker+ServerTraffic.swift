// server → client. Only headers are looked at, and of a few messages the content:
//
//     buffer    |  T … | D … | D … | C … | Z I |
//               └────── one send to the client ┘ then, if nothing is owed: the next client
//
// Whether a message is passed on is decided by who asked (OwedReplies.origin): replies to requests of ours are
// swallowed. A server without a client that says something of its own accord is closed, unless it is harmless.

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    mutating func serverReceived(_ index: UInt32, _ buffer: BufferID, _ count: Int) {
        let server = servers[index]
        let pool = UInt32(server.pointee.pool)
        pools[pool].pointee.totals.sentBytes &+= UInt64(count)
        let generation = server.pointee.generation
        var from = 0
        if !server.pointee.gather.isEmpty { from = completeGathered(index, generation, buffer, count) }
        if from < count, servers.isLive(index, generation: generation) {
            process(index, generation, buffer, from: from, end: count)
        }
        loop.release(buffer)
    }

    /// Processes bytes and keeps what is left over, a header or a message that is not there whole.
    private mutating func process(_ index: UInt32, _ generation: UInt32, _ buffer: BufferID, from: Int, end: Int) {
        let server = servers[index]
        let isTraffic = server.pointee.phase == .ready
        let consumed =
            isTraffic
            ? forwardFromServer(index, generation, buffer, from: from, end: end)
            : loginMessages(index, generation, buffer, from: from, end: end)
        guard consumed < end, servers.isLive(index, generation: generation) else { return }
        if !isTraffic && server.pointee.phase == .ready {
            // The login ended within these bytes.
            return process(index, generation, buffer, from: consumed, end: end)
        }
        guard let kept = loop.allocateBuffer() else {
            return closeServer(index, .protocolViolation("out of buffers"))
        }
        loop.memory(of: kept).copyMemory(from: loop.memory(of: buffer) + consumed, byteCount: end - consumed)
        servers[index].pointee.gather = Gather(buffer: kept, count: Int32(end - consumed))
    }

    /// Adds received bytes to what was gathered until that is a whole message; returns how many were taken.
    private mutating func completeGathered(
        _ index: UInt32, _ generation: UInt32, _ buffer: BufferID, _ count: Int
    ) -> Int {
        let server = servers[index]
        var from = 0
        while from < count, servers.isLive(index, generation: generation), !server.pointee.gather.isEmpty {
            let gather = server.pointee.gather
            let have = Int(gather.count)
            let wanted = wantedBytes(index, gather)
            guard wanted <= EventLoop.bufferBytes else {
                closeServer(index, .protocolViolation("packet too large: \(wanted) bytes"))
                return count
            }
            let take = min(wanted - have, count - from)
            // SAFETY: `wanted` fits the buffer by the guard above, and `take` is within what was received.
            (loop.memory(of: gather.buffer) + have).copyMemory(from: loop.memory(of: buffer) + from, byteCount: take)
            from += take
            server.pointee.gather.count += Int32(take)
            guard have + take == wanted else { continue }
            guard wantedBytes(index, server.pointee.gather) == wanted else { continue }
            server.pointee.gather = Gather()
            process(index, generation, gather.buffer, from: 0, end: wanted)
            loop.release(gather.buffer)
        }
        return from
    }

    /// How many bytes the gathered message needs before it can be looked at.
    private func wantedBytes(_ index: UInt32, _ gather: Gather) -> Int {
        let have = Int(gather.count)
        guard have >= MessageFramer.headerBytes else { return MessageFramer.headerBytes }
        let bytes = UnsafeRawPointer(loop.memory(of: gather.buffer))
        // SAFETY: five bytes are there by the guard above.
        let tag = bytes.load(as: UInt8.self)
        let length = Int(UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: 1, as: UInt32.self))) + 1
        let tracks = servers[index].pointee.tracksStatements
        let isListener = servers[index].pointee.purpose == .listener
        let whole = isListener ? serverTags.listener : wholeTags(servers[index], tracks)
        let streams = !isListener && streams(tag, length)
        let isWhole = servers[index].pointee.phase != .ready || (whole.contains(tag) && !streams)
        return isWhole ? max(length, have) : have
    }

    /// Whether a message that is wanted whole is passed on in pieces all the same: an error that fits no buffer.
    private func streams(_ tag: UInt8, _ length: Int) -> Bool {
        tag == BackendTag.errorResponse && length > EventLoop.bufferBytes
    }

    @inline(__always)
    private func nextFrame(
        _ server: UnsafeMutablePointer<Server>, _ bytes: UnsafeRawPointer, from: Int, end: Int, whole: TagSet
    ) -> Frame {
        let frame = server.pointee.framer.next(bytes, from: from, count: end, whole: whole, lengthMax: 0x7FFF_FFFF)
        guard frame.kind == .incomplete, streams(frame.tag, frame.length) else { return frame }
        return server.pointee.framer.next(bytes, from: from, count: end, whole: .none, lengthMax: 0x7FFF_FFFF)
    }

    // MARK: The hot path

    private mutating func forwardFromServer(
        _ index: UInt32, _ generation: UInt32, _ buffer: BufferID, from: Int, end: Int
    ) -> Int {
        let server = servers[index]
        guard server.pointee.purpose == .pooled else {
            return dedicatedReceived(index, generation, buffer, from: from, end: end)
        }
        let bytes = UnsafeRawPointer(loop.memory(of: buffer))
        var offset = from
        var run = from
        var passes = server.pointee.client >= 0 && server.pointee.owed.isForClient
        let tracks = server.pointee.tracksStatements
        var watched = watchedTags(server)
        var whole = wholeTags(server, tracks)
        while offset < end {
            let frame = nextFrame(server, bytes, from: offset, end: end, whole: whole)
            switch frame.kind {
            case .continuation:
                if !server.pointee.isPassing { run = frame.end }
                if server.pointee.endingTag != 0, server.pointee.framer.isAtBoundary {
                    run = endReply(index, server.pointee.endingTag, buffer, run: run, end: frame.end)
                    server.pointee.endingTag = 0
                    passes = server.pointee.client >= 0 && server.pointee.owed.isForClient
                } else if tracks, server.pointee.framer.isAtBoundary, server.pointee.owed.hasInvention {
                    // A reply of ours has waited for the end of a message that nobody had asked for.
                    if server.pointee.client >= 0 { pass(server, buffer, run: run, end: frame.end) }
                    run = frame.end
                    invent(index)
                    passes = server.pointee.client >= 0 && server.pointee.owed.isForClient
                }
            case .message:
                server.pointee.isPassing = passes
                if !watched.contains(frame.tag) {
                    if !passes { run = frame.end }
                } else if serverTags.replyEnds.contains(frame.tag) {
                    // How a COMMIT is answered decides what the client listens to.
                    if tracks || server.pointee.effects != nil, frame.tag == BackendTag.commandComplete {
                        noteCommandComplete(index, frame, bytes + offset)
                    }
                    if !passes { run = frame.end }
                    if server.pointee.framer.isAtBoundary {
                        run = endReply(index, frame.tag, buffer, run: run, end: frame.end)
                        passes = server.pointee.client >= 0 && server.pointee.owed.isForClient
                    } else {
                        server.pointee.endingTag = frame.tag
                    }
                } else if frame.tag == BackendTag.readyForQuery {
                    guard frame.length == 6 else {
                        closeServer(index, .protocolViolation("bad ReadyForQuery"))
                        return end
                    }
                    let status = bytes.load(fromByteOffset: offset + 5, as: UInt8.self)
                    // In statement mode a transaction block ends the connection instead of becoming ready.
                    let isRefused =
                        (status != TransactionStatus.idle && isStatementMode(server)) || server.pointee.isRetrying
                    if passes { pass(server, buffer, run: run, end: isRefused ? offset : frame.end) }
                    run = frame.end
                    receivedReadyForQuery(index, status)
                    if servers.isLive(index, generation: generation), tracks { invent(index) }
                    guard servers.isLive(index, generation: generation) else { return end }
                    passes = server.pointee.client >= 0 && server.pointee.owed.isForClient
                    watched = watchedTags(server)
                    whole = wholeTags(server, tracks)
                } else {
                    if frame.tag == BackendTag.errorResponse, passes {
                        // Another may take its place.
                        pass(server, buffer, run: run, end: offset)
                        run = offset
                    }
                    let isPassed = watchedMessage(index, frame, bytes + offset, passes)
                    guard servers.isLive(index, generation: generation) else { return end }
                    server.pointee.isPassing = isPassed
                    if !isPassed {
                        if passes, server.pointee.client >= 0 { pass(server, buffer, run: run, end: offset) }
                        run = frame.end
                    }
                    passes = server.pointee.client >= 0 && server.pointee.owed.isForClient
                }
            case .incomplete:
                if passes { pass(server, buffer, run: run, end: offset) }
                return offset
            case .invalid:
                if passes { pass(server, buffer, run: run, end: offset) }
                closeServer(index, .protocolViolation("bad packet header"))
                return end
            }
            offset = frame.end
        }
        if run < end, server.pointee.client >= 0 { pass(server, buffer, run: run, end: end) }
        return end
    }

    /// Rows are looked at only where they answer a question of ours.
    @inline(__always)
    private func watchedTags(_ server: UnsafeMutablePointer<Server>) -> TagSet {
        server.pointee.owed.origin == .state ? serverTags.watchedInAnswer : serverTags.watched
    }

    @inline(__always)
    private func wholeTags(_ server: UnsafeMutablePointer<Server>, _ tracks: Bool) -> TagSet {
        if server.pointee.owed.origin == .state { return serverTags.wholeInAnswer }
        return tracks || server.pointee.effects != nil ? serverTags.wholeWithStatements : serverTags.whole
    }

    /// A reply within a batch has ended at `end`; returns where the run goes on. It is cut where a reply is due that
    /// the server does not send, or where the next reply is not for the client.
    @inline(__always)
    private mutating func endReply(_ index: UInt32, _ tag: UInt8, _ buffer: BufferID, run: Int, end: Int) -> Int {
        let server = servers[index]
        replyEnded(index, tag)
        if server.pointee.owed.isForClient, !server.pointee.owed.hasInvention { return run }
        if server.pointee.client >= 0 { pass(server, buffer, run: run, end: end) }
        invent(index)
        return end
    }

    private func isStatementMode(_ server: UnsafeMutablePointer<Server>) -> Bool {
        pools[UInt32(server.pointee.pool)].pointee.mode == .statement
    }

    @inline(__always)
    private mutating func pass(_ server: UnsafeMutablePointer<Server>, _ buffer: BufferID, run: Int, end: Int) {
        guard end > run else { return }
        let client = clients[UInt32(server.pointee.client)]
        // A ParameterStatus behind the error that is kept back is no part of the reply.
        if !client.pointee.retry.isNone, !server.pointee.isRetrying { dropRetry(client) }
        let socket = client.pointee.socket
        loop.send(socket, buffer: buffer, offset: run, count: end - run)
    }

    /// A request has been answered.
    private mutating func receivedReadyForQuery(_ index: UInt32, _ status: UInt8) {
        let server = servers[index]
        guard let origin = server.pointee.owed.receivedReadyForQuery() else {
            return closeServer(index, .protocolViolation("unexpected ReadyForQuery"))
        }
        guard
            status == TransactionStatus.idle || status == TransactionStatus.inTransaction
                || status == TransactionStatus.failed
        else { return closeServer(index, .protocolViolation("bad ReadyForQuery")) }
        server.pointee.transactionStatus = status
        if !server.pointee.closing.isEmpty, origin == .client { putStatementsBack(index) }
        guard origin == .client else { return ownRequestAnswered(index, origin, status) }
        if server.pointee.deallocations != nil { forgetDeallocations(server) }
        guard server.pointee.client >= 0 else { return orphanAnswered(index) }
        if server.pointee.isRetrying { return retryBatch(index) }
        countQuery(server, status)
        server.pointee.requestsBeforeUnnamed &-= 1
        if server.pointee.requestsBeforeCommit >= 0 { server.pointee.requestsBeforeCommit -= 1 }
        let pool = pools[UInt32(server.pointee.pool)]
        if pool.pointee.mode == .statement, status != TransactionStatus.idle {
            return closeServer(index, .statementModeTransaction)
        }
        let client = UInt32(server.pointee.client)
        let generation = clients[client].pointee.generation
        let waits = clients[client].pointee.wait == .answers && !server.pointee.owed.awaitsClientReady
        if server.pointee.effects != nil { settleUnlistens(client, index, status) }
        guard server.pointee.owed.isEmpty else {
            if waits { resumeAfterAnswers(client) }
            return
        }
        server.pointee.statements.settled()
        server.pointee.requestsBeforeCommit = -1
        switch pool.pointee.mode {
        case .session:
            let isIdle = status == TransactionStatus.idle
            if isIdle, pool.pointee.closesFast, server.pointee.closeNeeded || pool.pointee.pool.isPaused {
                return closeServer(index, server.pointee.closeNeeded ? .closeNeeded : .pauseMode)
            }
            if isIdle, server.pointee.effects != nil { settleResets(client, index) }
            return resumeAfterReset(client, generation)
        case .transaction, .statement:
            if status != TransactionStatus.idle {
                if waits { resumeAfterAnswers(client) }
                return resumeAfterReset(client, generation)
            }
        }
        server.pointee.mayHaveLocalMeaning = false
        transactionEnded(client, index)
        if waits, clients.isLive(client, generation: generation), clients[client].pointee.wait == .answers {
            resumeAfterAnswers(client)
        }
        resumeAfterReset(client, generation)
    }

    /// A transaction is over, and the server owes nothing: it is free, unless something of the client's holds it.
    mutating func transactionEnded(_ client: UInt32, _ index: UInt32) {
        // Of a message of the client's, as copy data after an error, the server has only a part: the next client's
        // bytes would be taken for the rest.
        guard clients[client].pointee.framer.isAtBoundary else { return }
        if servers[index].pointee.hasSessionState, settleSession(client, index) {
            if clients[client].pointee.notifications != nil { deliverNotifications(client) }
            return
        }
        finishTransaction(client, index)
    }

    /// A transaction is over, and nothing holds its server: it is free.
    mutating func finishTransaction(_ client: UInt32, _ index: UInt32) {
        let resetsAlways = pools[UInt32(servers[index].pointee.pool)].pointee.resetsAlways
        unlink(client, index)
        if clients[client].pointee.notifications != nil { deliverNotifications(client) }
        if resetsAlways { servers[index].pointee.needsReset = true }
        release(index)
    }

    @inline(__always)
    private mutating func countQuery(_ server: UnsafeMutablePointer<Server>, _ status: UInt8) {
        let client = clients[UInt32(server.pointee.client)]
        let pool = pools[UInt32(server.pointee.pool)]
        let now = now
        pool.pointee.totals.queries &+= 1
        if client.pointee.queryAt != 0 {
            pool.pointee.totals.queryMicroseconds &+= UInt64(max(0, now - client.pointee.queryAt))
        }
        client.pointee.activeAt = now
        if server.pointee.owed.isEmpty {
            client.pointee.queryAt = 0
            server.pointee.queryAt = 0
        } else {
            client.pointee.queryAt = now
            server.pointee.queryAt = now
        }
        if status == TransactionStatus.idle {
            pool.pointee.totals.transactions &+= 1
            if client.pointee.transactionAt != 0 {
                pool.pointee.totals.transactionMicroseconds &+= UInt64(max(0, now - client.pointee.transactionAt))
            }
            client.pointee.transactionAt = server.pointee.owed.isEmpty ? 0 : now
            server.pointee.transactionAt = now
        }
    }

    // MARK: Back-pressure

    /// The server does not take what is sent to it: its client is not read until it does.
    mutating func serverBlocked(_ index: UInt32) {
        let client = servers[index].pointee.client
        if client >= 0 { stopReceiving(client: UInt32(client)) }
    }

    mutating func serverDrained(_ index: UInt32) {
        let client = servers[index].pointee.client
        if client >= 0 { resumeReceiving(client: UInt32(client)) }
    }
}
