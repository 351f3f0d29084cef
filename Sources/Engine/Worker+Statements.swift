// Prepared statements that follow their client. A client's names mean statements of the worker's table; on servers they
// have names of ours (`WEIR_…`), and any server will do:
//
//     client sends           goes to a server that has it      … that has it not
//     Parse "q" SELECT …     nothing; ParseComplete invented   Parse "WEIR_0_7" SELECT …
//     Bind "q"               Bind "WEIR_0_7"                   Parse "WEIR_0_7" (swallowed), Bind "WEIR_0_7"
//     Close "q"              nothing; CloseComplete invented
//
// Only names are exchanged: what follows a name goes on from the buffer in which it came. A batch stays one write.
// Where PostgreSQL would report an error (a name that is taken, or unknown) it is PostgreSQL that reports it, at its
// right place and with its consequences for the transaction.

import Configuration
import Console
import Pooling
import Reactor
import Wire

/// What becomes of a message of a batch.
enum BatchOutcome {
    /// It is passed on as it is.
    case pass
    /// What comes before `next` has been sent or dropped; the run goes on there.
    case rewritten(next: Int)
    /// So many of its bytes are needed first.
    case needs(Int)
    /// Something else must have come first.
    case waits(ClientWait)
    /// The client is gone.
    case closed
}

extension Worker {
    /// The largest message that is gathered to be renamed, and the largest Parse, which gets memory of its own.
    static var statementMessageBytesMax: Int { EventLoop.bufferBytes }
    static var parseBytesMax: Int { 1 << 20 }

    /// Looks at a message of the extended protocol. `bytes` is the buffer's memory; the message begins at `offset`, and
    /// what precedes it from `run` on has not been sent yet.
    mutating func batchMessage(
        _ index: UInt32, _ frame: Frame, _ buffer: BufferID, _ bytes: UnsafeRawPointer, run: Int, offset: Int,
        end: Int
    ) -> BatchOutcome {
        let client = clients[index]
        let serverIndex = UInt32(client.pointee.server)
        let server = servers[serverIndex]
        // What the server skips anyway needs no renaming, and must not change what is known.
        if server.pointee.owed.isSkipping { return .pass }
        let payload = UnsafeRawBufferPointer(
            start: bytes + offset + MessageFramer.headerBytes, count: frame.end - offset - MessageFramer.headerBytes)
        let isWhole = frame.end - offset == frame.length
        switch frame.tag {
        case FrontendTag.execute:
            if server.pointee.closesAtExecute {
                // An error of an earlier request says nothing of this one.
                if server.pointee.owed.awaitsClientReady { return .waits(.answers) }
                setStatementsAside(index, serverIndex)
            }
            server.pointee.owed.sent(.execute, .client)
            return .pass
        case FrontendTag.parse:
            guard !payload.isEmpty || isWhole else { return .needs(MessageFramer.headerBytes + 1) }
            guard payload.first != 0 else {
                let next = frame.length < end - offset ? bytes.load(fromByteOffset: frame.end, as: UInt8.self) : nil
                return unnamedParse(
                    index, serverIndex, frame, buffer, bytes, payload, isWhole, next: next, run: run, offset: offset)
            }
            // Whether a transaction has failed decides whether anything may be prepared.
            if server.pointee.owed.awaitsClientReady { return .waits(.answers) }
            guard isWhole else {
                guard frame.length > Self.parseBytesMax else { return needs(index, frame) }
                pools[UInt32(client.pointee.pool)].pointee.totals.clientParses &+= 1
                flush(serverIndex, buffer, run: run, offset: offset)
                client.pointee.dropsMessage = true
                return refuse(serverIndex, frame, tooLarge)
            }
            return parse(index, serverIndex, frame, buffer, payload, run: run, offset: offset)
        case FrontendTag.bind:
            pools[UInt32(client.pointee.pool)].pointee.totals.binds &+= 1
            return bind(index, serverIndex, frame, buffer, payload, isWhole, run: run, offset: offset)
        default:
            guard payload.count > 1 || isWhole else { return needs(index, frame) }
            guard payload.first == UInt8(ascii: "S"), payload.count > 1 else {
                server.pointee.owed.sent(frame.tag == FrontendTag.describe ? .describe : .close, .client)
                return .pass
            }
            if payload[1] == 0, !knowsCached(index) {
                guard frame.tag == FrontendTag.close else {
                    return useUnnamed(index, serverIndex, frame, .describe, buffer, isWhole, run: run, offset: offset)
                }
                closeUnnamed(index, serverIndex)
                return .pass
            }
            if server.pointee.owed.hasUnsettledStatements || mayChangeStatements(server) { return .waits(.answers) }
            guard isWhole else { return needs(index, frame) }
            if frame.tag == FrontendTag.close, payload[1] == 0 {
                forgetCached(index)
                closeUnnamed(index, serverIndex)
                return .pass
            }
            return frame.tag == FrontendTag.describe
                ? describe(index, serverIndex, frame, buffer, payload, run: run, offset: offset)
                : close(index, serverIndex, frame, buffer, payload, run: run, offset: offset)
        }
    }

    private mutating func needs(_ index: UInt32, _ frame: Frame) -> BatchOutcome {
        if frame.tag == FrontendTag.parse, frame.length <= Self.parseBytesMax {
            // The batch has begun: the server stays with the client until the message is whole.
            servers[UInt32(clients[index].pointee.server)].pointee.owed.batchBegins()
            return .needs(frame.length)
        }
        return frame.length <= Self.statementMessageBytesMax ? .needs(frame.length) : malformed(index)
    }

    // MARK: The four messages that name a statement

    mutating func parse(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ payload: UnsafeRawBufferPointer,
        run: Int, offset: Int
    ) -> BatchOutcome {
        let client = clients[index]
        let server = servers[serverIndex]
        pools[UInt32(client.pointee.pool)].pointee.totals.clientParses &+= 1
        guard let nameEnd = payload.firstIndex(of: 0) else { return malformed(index) }
        let name = identifier(payload[..<nameEnd])
        client.pointee.statementUse = .changes
        let body = UnsafeRawBufferPointer(rebasing: payload[(nameEnd + 1)...])
        flush(serverIndex, buffer, run: run, offset: offset)
        guard let id = statements.intern(body, meaning: meaningOfTexts(index)) else {
            return refuse(serverIndex, frame, outOfStatementMemory)
        }
        switch client.pointee.statements.define(name, as: id, limit: clientStatementsMax) {
        case .defined: break
        case .alreadyDefined:
            statements.release(id)
            // PostgreSQL is given a name that is taken too: it may find something else wrong before that.
            guard let taken = ensure(serverIndex, name, index) else { preconditionFailure("the name is defined") }
            server.pointee.owed.sent(.parse, .client)
            sendHeader(
                serverIndex, FrontendTag.parse, before: UnsafeRawBufferPointer(start: nil, count: 0), taken,
                rest: body.count)
            return .rewritten(next: offset + MessageFramer.headerBytes + nameEnd + 1)
        case .tooMany(let limit):
            statements.release(id)
            return refuse(serverIndex, frame, tooMany(limit))
        }
        if server.pointee.statements.touch(id) {
            guard server.pointee.transactionStatus == TransactionStatus.failed else {
                if server.pointee.owed.invented(
                    .parseComplete, statement: id.rawValue, isBetweenMessages: !isReplyCut(server))
                {
                    send(index, .parseComplete)
                } else {
                    server.pointee.namesUnderWay.append(name, id, isClose: false)
                }
                return .rewritten(next: frame.end)
            }
            // In a failed transaction only the server knows whether the statement may be prepared.
            _ = server.pointee.statements.remove(id)
            sendClose(serverIndex, id)
        }
        makeRoom(serverIndex, for: id)
        server.pointee.owed.sent(.parse, .client, statement: id.rawValue)
        server.pointee.namesUnderWay.append(name, id, isClose: false)
        pools[UInt32(client.pointee.pool)].pointee.totals.serverParses &+= 1
        sendHeader(
            serverIndex, FrontendTag.parse, before: UnsafeRawBufferPointer(start: nil, count: 0), id, rest: body.count)
        return .rewritten(next: offset + MessageFramer.headerBytes + nameEnd + 1)
    }

    private mutating func bind(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ payload: UnsafeRawBufferPointer,
        _ isWhole: Bool, run: Int, offset: Int
    ) -> BatchOutcome {
        let server = servers[serverIndex]
        guard let portalEnd = payload.firstIndex(of: 0),
            let nameEnd = payload[(portalEnd + 1)...].firstIndex(of: 0)
        else { return isWhole ? malformed(index) : needsNames(index, frame, available: frame.end - offset) }
        let name = identifier(payload[(portalEnd + 1)..<nameEnd])
        guard !name.isEmpty || knowsCached(index) else {
            return useUnnamed(index, serverIndex, frame, .bind, buffer, isWhole, run: run, offset: offset)
        }
        if server.pointee.owed.hasUnsettledStatements || mayChangeStatements(server) { return .waits(.answers) }
        guard let known = clients[index].pointee.statements.find(name) else {
            // A name that nobody gave: PostgreSQL knows what to say.
            server.pointee.owed.sent(.bind, .client)
            return .pass
        }
        if let outcome = noteUse(known, index, serverIndex, frame, buffer, isWhole, run: run, offset: offset) {
            return outcome
        }
        if mayBeInTransaction(server) { Self.noteCommit(statements.body(known), server) }
        flush(serverIndex, buffer, run: run, offset: offset)
        let id = ensure(serverIndex, name, index) ?? known
        if clients[index].pointee.statementUse == .none { clients[index].pointee.statementUse = .uses }
        server.pointee.owed.sent(.bind, .client)
        let portal = UnsafeRawBufferPointer(rebasing: payload[...portalEnd])
        let consumed = MessageFramer.headerBytes + nameEnd + 1
        sendHeader(serverIndex, FrontendTag.bind, before: portal, id, rest: frame.length - consumed)
        return .rewritten(next: offset + consumed)
    }

    /// A Bind is passed on as it comes; only its names must be there.
    private mutating func needsNames(_ index: UInt32, _ frame: Frame, available: Int) -> BatchOutcome {
        let wanted = min(frame.length, Self.statementMessageBytesMax)
        return wanted > available ? .needs(wanted) : malformed(index)
    }

    private mutating func describe(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ payload: UnsafeRawBufferPointer,
        run: Int, offset: Int
    ) -> BatchOutcome {
        guard let nameEnd = payload.firstIndex(of: 0) else { return malformed(index) }
        let name = identifier(payload[1..<nameEnd])
        let server = servers[serverIndex]
        guard let known = clients[index].pointee.statements.find(name) else {
            server.pointee.owed.sent(.describe, .client)
            return .pass
        }
        flush(serverIndex, buffer, run: run, offset: offset)
        let id = ensure(serverIndex, name, index) ?? known
        server.pointee.owed.sent(.describe, .client)
        let kind = UnsafeRawBufferPointer(rebasing: payload[..<1])
        sendHeader(serverIndex, FrontendTag.describe, before: kind, id, rest: 0)
        return .rewritten(next: frame.end)
    }

    private mutating func close(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ payload: UnsafeRawBufferPointer,
        run: Int, offset: Int
    ) -> BatchOutcome {
        guard let nameEnd = payload.firstIndex(of: 0) else { return malformed(index) }
        let name = identifier(payload[1..<nameEnd])
        clients[index].pointee.statementUse = .changes
        flush(serverIndex, buffer, run: run, offset: offset)
        let closed = clients[index].pointee.statements.remove(name)
        let isBetweenMessages = !isReplyCut(servers[serverIndex])
        if servers[serverIndex].pointee.owed.invented(.closeComplete, isBetweenMessages: isBetweenMessages) {
            if let closed { statements.release(closed) }
            send(index, .closeComplete)
        } else {
            servers[serverIndex].pointee.namesUnderWay.append(name, closed, isClose: true)
        }
        return .rewritten(next: frame.end)
    }

    /// PostgreSQL looks at the first 63 bytes of a name (NAMEDATALEN).
    private func identifier(_ name: Slice<UnsafeRawBufferPointer>) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: name.prefix(63))
    }

    private mutating func malformed(_ index: UInt32) -> BatchOutcome {
        closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "failed to parse packet")))
        return .closed
    }

    /// A Parse that came in more than one buffer, whole; `next` is the tag of the message behind it, if that has come.
    mutating func largeParse(_ index: UInt32, _ bytes: UnsafeRawBufferPointer, _ buffer: BufferID, next: UInt8?) {
        let client = clients[index]
        let serverIndex = UInt32(client.pointee.server)
        guard let start = bytes.baseAddress else { return }
        let frame = client.pointee.framer.next(
            start, from: 0, count: bytes.count, whole: .none, lengthMax: packetBytesMax)
        if servers[serverIndex].pointee.owed.isSkipping { return }
        let payload = UnsafeRawBufferPointer(rebasing: bytes[MessageFramer.headerBytes...])
        var sent = 0
        if payload.first == 0 {
            if let error = refusal(ofLargeParse: payload, index, serverIndex) {
                _ = refuse(serverIndex, frame, error)
                return
            }
            noteUnnamedParse(index, serverIndex, payload, next: next)
        } else {
            // Nothing of the buffer is sent: the run is empty.
            guard case .rewritten(let rest) = parse(index, serverIndex, frame, buffer, payload, run: 0, offset: 0),
                rest < bytes.count
            else { return }
            sent = rest
        }
        loop.send(servers[serverIndex].pointee.socket, copying: UnsafeRawBufferPointer(rebasing: bytes[sent...]))
    }

    // MARK: What goes to the server

    /// Sends what a buffer holds from `run` to `offset`.
    @inline(__always)
    mutating func flush(_ serverIndex: UInt32, _ buffer: BufferID, run: Int, offset: Int) {
        guard offset > run else { return }
        loop.send(servers[serverIndex].pointee.socket, buffer: buffer, offset: run, count: offset - run)
    }

    /// Whether what is under way may change what statements there are, or what a text means when it is prepared.
    @inline(__always)
    private func mayChangeStatements(_ server: UnsafeMutablePointer<Server>) -> Bool {
        server.pointee.effects != nil && server.pointee.owed.awaitsClientReady
    }

    /// On what depends what a client's texts mean when they are prepared. While its settings may be changing, or
    /// are other ones until the transaction is over, nobody knows, and a statement is shared with nobody.
    private mutating func meaningOfTexts(_ index: UInt32) -> UInt64 {
        let client = clients[index]
        let server = servers[UInt32(client.pointee.server)]
        if server.pointee.mayHaveLocalMeaning || server.pointee.effects?.mayChangeSettings ?? false {
            lastUnnamedNumber &+= 1
            return lastUnnamedNumber &* 0x9E37_79B9_7F4A_7C15
        }
        return (parameterSets.meaning(client.pointee.settings) &* 31 &+ parameterSets.meaning(client.pointee.extras))
            &* 31 &+ statementGeneration
    }

    /// Sees to it that a server has a client's statement before a message that uses it; nil for an unknown name.
    ///
    /// A statement that was prepared before the client's settings gave its text another meaning keeps its own where it
    /// is, as in PostgreSQL. Where it has to be prepared anew it is another statement.
    mutating func ensure(
        _ serverIndex: UInt32, _ name: UnsafeRawBufferPointer, _ index: UInt32
    ) -> StatementID? {
        let client = clients[index]
        guard let known = client.pointee.statements.find(name) else { return nil }
        if servers[serverIndex].pointee.statements.touch(known) { return known }
        let meaning = meaningOfTexts(index)
        guard statements.meaning(known) != meaning,
            let renewed = statements.intern(statements.body(known), meaning: meaning)
        else {
            prepare(known, serverIndex)
            return known
        }
        if let old = client.pointee.statements.remove(name) { statements.release(old) }
        _ = client.pointee.statements.define(name, as: renewed, limit: .max)
        if !servers[serverIndex].pointee.statements.touch(renewed) { prepare(renewed, serverIndex) }
        return renewed
    }

    /// Prepares a statement on a server that lacks it.
    private mutating func prepare(_ id: StatementID, _ serverIndex: UInt32) {
        let server = servers[serverIndex]
        makeRoom(serverIndex, for: id)
        server.pointee.owed.sent(.parse, .statement, statement: id.rawValue)
        pools[UInt32(server.pointee.pool)].pointee.totals.serverParses &+= 1
        let body = statements.body(id)
        sendHeader(
            serverIndex, FrontendTag.parse, before: UnsafeRawBufferPointer(start: nil, count: 0), id, rest: body.count)
        loop.send(server.pointee.socket, copying: body)
    }

    /// Notes that a server gets a statement, and closes the one that it has not used for longest if it has too many.
    private mutating func makeRoom(_ serverIndex: UInt32, for id: StatementID) {
        let server = servers[serverIndex]
        statements.retain(id)
        guard let evicted = server.pointee.statements.insert(id, limit: serverStatementsMax) else { return }
        sendClose(serverIndex, evicted)
    }

    /// Closes a statement on a server. It is released when it is really gone.
    private mutating func sendClose(_ serverIndex: UInt32, _ id: StatementID) {
        servers[serverIndex].pointee.owed.sent(.close, .statement, statement: id.rawValue)
        let kind: UInt8 = UInt8(ascii: "S")
        withUnsafeBytes(of: kind) { sendHeader(serverIndex, FrontendTag.close, before: $0, id, rest: 0) }
    }

    /// Sends the start of a message up to and with the name of a statement: tag, length, `before`, name.
    private mutating func sendHeader(
        _ serverIndex: UInt32, _ tag: UInt8, before: UnsafeRawBufferPointer, _ id: StatementID, rest: Int
    ) {
        let socket = servers[serverIndex].pointee.socket
        withUnsafeTemporaryAllocation(byteCount: 64 + StatementTable.serverNameBytesMax, alignment: 1) { scratch in
            let nameBytes = statements.serverName(
                id, into: UnsafeMutableRawBufferPointer(rebasing: scratch[64...]))
            let length = 4 + before.count + nameBytes + 1 + rest
            scratch[0] = tag
            scratch.storeBytes(of: UInt32(truncatingIfNeeded: length).bigEndian, toByteOffset: 1, as: UInt32.self)
            loop.send(socket, copying: UnsafeRawBufferPointer(rebasing: scratch[..<MessageFramer.headerBytes]))
            if !before.isEmpty { loop.send(socket, copying: before) }
            // The name with the NUL that ends it.
            let end = 64 + nameBytes
            guard end < scratch.count else { preconditionFailure("a server name is shorter than its bound") }
            scratch[end] = 0
            loop.send(socket, copying: UnsafeRawBufferPointer(rebasing: scratch[64...end]))
        }
    }
}
