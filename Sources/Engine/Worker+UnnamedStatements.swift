// The unnamed statement follows its client too. It lives until the next Parse without a name or the next simple query,
// and many drivers use it in two exchanges:
//
//     Parse "" SELECT …, Describe, Sync   ──▶   what it expects and returns
//     Bind "", Execute, Sync              ──▶   its rows
//
// In between the server may serve others and get their unnamed statements. So it is known whose a server's unnamed
// statement is, and a client's that its server does not have is prepared there in the same write, under no name: the
// plan is what it would be without Weir. A server's unnamed statement is never used for a client that did not prepare it.
//
// What a statement does to the session is noted with its Parse, and with every Bind but one right behind that. To know
// it, the header of the message behind a Parse must have come.

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    /// A Parse without a name: it is passed on as it is. `next` is the tag of the message behind it, if that has come.
    mutating func unnamedParse(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ bytes: UnsafeRawPointer,
        _ payload: UnsafeRawBufferPointer, _ isWhole: Bool, next: UInt8?, run: Int, offset: Int
    ) -> BatchOutcome {
        if next == nil {
            let withHeader = frame.length + MessageFramer.headerBytes
            let wanted = withHeader <= EventLoop.bufferBytes ? withHeader : frame.length
            if wanted > payload.count + MessageFramer.headerBytes, frame.length <= Self.parseBytesMax {
                // The batch has begun: the server stays with the client.
                servers[serverIndex].pointee.owed.batchBegins()
                return .needs(wanted)
            }
        }
        if cachesUnnamed, isWhole, Self.isPlain(payload) {
            if servers[serverIndex].pointee.owed.awaitsClientReady { return .waits(.answers) }
            forgetUnnamed(index)
            forgetCached(index)
            servers[serverIndex].pointee.unnamedNumber = 0
            return parse(index, serverIndex, frame, buffer, payload, run: run, offset: offset)
        }
        let outcome = lookAtText(index, frame, buffer, bytes, run: run, offset: offset)
        guard case .pass = outcome else { return outcome }
        forgetCached(index)
        noteUnnamedParse(index, serverIndex, isWhole ? payload : nil, next: next)
        return .pass
    }

    /// Why a Parse without a name that is larger than a buffer may not be passed on, if so.
    mutating func refusal(
        ofLargeParse payload: UnsafeRawBufferPointer, _ index: UInt32, _ serverIndex: UInt32
    ) -> ErrorFields? {
        let text = UnsafeRawBufferPointer(rebasing: payload.dropFirst().prefix { $0 != 0 })
        guard let effects = effects(of: text, on: serverIndex) else { return nil }
        switch noteEffects(effects, index, serverIndex) {
        case .pass: return nil
        case .refused(let error): return error
        case .waits:
            clients[index].pointee.wait = .none
            return ErrorFields(code: SQLState.programLimitExceeded, message: "the text of a LISTEN is too large")
        }
    }

    /// The server gets the client's new unnamed statement; `payload` is that of its Parse, nil when it is too large to
    /// be kept.
    mutating func noteUnnamedParse(
        _ index: UInt32, _ serverIndex: UInt32, _ payload: UnsafeRawBufferPointer?, next: UInt8?
    ) {
        let client = clients[index]
        let server = servers[serverIndex]
        pools[UInt32(client.pointee.pool)].pointee.totals.clientParses &+= 1
        server.pointee.owed.sent(.parse, .client)
        newUnnamed(index, serverIndex)
        if next != FrontendTag.bind { server.pointee.effects?.mayNotBeExecuted() }
        guard let payload else { return }
        keepUnnamed(index, payload, isFresh: next == FrontendTag.bind && server.pointee.effects == nil)
    }

    /// Keeps the client's new unnamed statement; `payload` is that of its Parse.
    mutating func keepUnnamed(_ index: UInt32, _ payload: UnsafeRawBufferPointer, isFresh: Bool) {
        let client = clients[index]
        let before = client.pointee.unnamedStatement.bytes
        client.pointee.unnamedStatement.keep(
            UnsafeRawBufferPointer(rebasing: payload.dropFirst()), isFresh: isFresh,
            bytesMax: Self.statementBytesMax - statements.bytes - unnamedBytes + before)
        unnamedBytes += client.pointee.unnamedStatement.bytes - before
    }

    /// A Bind or Describe of the unnamed statement.
    mutating func useUnnamed(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ message: BatchMessage, _ buffer: BufferID,
        _ isWhole: Bool, run: Int, offset: Int
    ) -> BatchOutcome {
        let client = clients[index]
        let server = servers[serverIndex]
        if message == .bind,
            let outcome = noteUnnamedUse(index, serverIndex, frame, buffer, isWhole, run: run, offset: offset)
        {
            return outcome
        }
        let number = client.pointee.unnamedNumber
        if number != 0, server.pointee.unnamedNumber == number {
            server.pointee.owed.sent(message, .client)
            return .pass
        }
        flush(serverIndex, buffer, run: run, offset: offset)
        guard number != 0, let body = client.pointee.unnamedStatement.body else {
            client.pointee.dropsMessage = !isWhole
            return refuse(serverIndex, frame, noUnnamedStatement)
        }
        server.pointee.unnamedNumber = number
        server.pointee.requestsBeforeUnnamed = server.pointee.owed.clientRequestsAhead
        sendUnnamed(serverIndex, body)
        server.pointee.owed.sent(message, .client)
        return .rewritten(next: offset)
    }

    /// Notes what the unnamed statement does to the session when it is executed; nil when it may be.
    @inline(__always)
    private mutating func noteUnnamedUse(
        _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ isWhole: Bool, run: Int,
        offset: Int
    ) -> BatchOutcome? {
        let client = clients[index]
        if client.pointee.unnamedStatement.isFresh {
            client.pointee.unnamedStatement.isFresh = false
            if client.pointee.unnamedNumber == servers[serverIndex].pointee.unnamedNumber { return nil }
        }
        guard let body = client.pointee.unnamedStatement.body else { return nil }
        if mayBeInTransaction(servers[serverIndex]) { Self.noteCommit(body, servers[serverIndex]) }
        guard client.pointee.unnamedStatement.effect != .none else { return nil }
        let (effect, verdict) = noteEffects(ofBody: body, index, serverIndex)
        client.pointee.unnamedStatement.effect = effect
        if effect != .none, case .pass = verdict,
            let outcome = bindDeallocate(index, serverIndex, body, buffer, run: run, offset: offset)
        {
            return outcome
        }
        return outcomeOfUse(verdict, index, serverIndex, frame, buffer, isWhole, run: run, offset: offset)
    }

    /// A Close of the unnamed statement leaves the server without one, whosever it was.
    mutating func closeUnnamed(_ index: UInt32, _ serverIndex: UInt32) {
        let server = servers[serverIndex]
        server.pointee.owed.sent(.close, .client)
        server.pointee.unnamedNumber = 0
        forgetUnnamed(index)
    }

    /// The client has a new unnamed statement, which is the server's. Each has a number of its own: a server may still
    /// have one that the client has replaced on another server.
    mutating func newUnnamed(_ index: UInt32, _ serverIndex: UInt32) {
        forgetUnnamed(index)
        lastUnnamedNumber &+= 1
        clients[index].pointee.unnamedNumber = lastUnnamedNumber
        servers[serverIndex].pointee.unnamedNumber = lastUnnamedNumber
        servers[serverIndex].pointee.requestsBeforeUnnamed = servers[serverIndex].pointee.owed.clientRequestsAhead
    }

    /// The client has no unnamed statement any more.
    mutating func forgetUnnamed(_ index: UInt32) {
        let client = clients[index]
        client.pointee.unnamedNumber = 0
        let before = client.pointee.unnamedStatement.bytes
        client.pointee.unnamedStatement.forget()
        unnamedBytes += client.pointee.unnamedStatement.bytes - before
    }

    mutating func sendUnnamed(_ serverIndex: UInt32, _ body: UnsafeRawBufferPointer) {
        let server = servers[serverIndex]
        server.pointee.owed.sent(.parse, .statement)
        pools[UInt32(server.pointee.pool)].pointee.totals.serverParses &+= 1
        // The length counts itself and the NUL of the empty name.
        let length = UInt32(truncatingIfNeeded: 4 + 1 + body.count)
        let start = (
            FrontendTag.parse, UInt8(truncatingIfNeeded: length >> 24), UInt8(truncatingIfNeeded: length >> 16),
            UInt8(truncatingIfNeeded: length >> 8), UInt8(truncatingIfNeeded: length), UInt8(0)
        )
        withUnsafeBytes(of: start) { loop.send(server.pointee.socket, copying: $0) }
        loop.send(server.pointee.socket, copying: body)
    }

    private var noUnnamedStatement: ErrorFields {
        ErrorFields(code: SQLState.invalidStatementName, message: "unnamed prepared statement does not exist")
    }
}
