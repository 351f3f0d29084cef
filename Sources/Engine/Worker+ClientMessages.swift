// What is noted of a client's message when it is passed on: what the server will owe for it, when the query began, and
// whether a COMMIT is under way.

import Console
import Pooling
import Reactor
import Wire

extension Worker {
    /// Notes what the server will owe for a message; false when the message may not be passed on.
    @inline(__always)
    mutating func note(
        _ frame: Frame, _ bytes: UnsafeRawPointer, available: Int, _ client: UnsafeMutablePointer<Client>,
        _ server: UnsafeMutablePointer<Server>
    ) -> Bool {
        switch frame.tag {
        case FrontendTag.query:
            if isQueryProtocolForbidden || server.pointee.owed.isFull { return false }
            if server.pointee.owed.isSkipping { break }
            if mayBeInTransaction(server) {
                Self.noteCommit(bytes, available: available, headerBytes: MessageFramer.headerBytes, server)
            }
            server.pointee.owed.sentQuery(.client)
            server.pointee.unnamedNumber = 0
            server.pointee.closesAtExecute = false
            if client.pointee.unnamedNumber != 0 { forgetUnnamed(UInt32(server.pointee.client)) }
            if cachesUnnamed { forgetCached(UInt32(server.pointee.client)) }
        case FrontendTag.sync:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentSync()
            server.pointee.closesAtExecute = false
        case FrontendTag.parse:
            if server.pointee.owed.isFull { return false }
            if mayBeInTransaction(server) { Self.noteCommitInParse(bytes, available: available, server) }
            server.pointee.owed.sentUnlessSkipped(.parse)
            pools[UInt32(client.pointee.pool)].pointee.totals.clientParses &+= 1
        case FrontendTag.bind:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentUnlessSkipped(.bind)
            pools[UInt32(client.pointee.pool)].pointee.totals.binds &+= 1
        case FrontendTag.execute:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentUnlessSkipped(.execute)
        case FrontendTag.describe:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentUnlessSkipped(.describe)
        case FrontendTag.close:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentUnlessSkipped(.close)
        case FrontendTag.functionCall:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentFunctionCall()
            if pools[UInt32(client.pointee.pool)].pointee.followsSession { noteUnseen(UInt32(client.pointee.server)) }
        case FrontendTag.copyDone, FrontendTag.copyFail:
            if server.pointee.owed.isFull { return false }
            server.pointee.owed.sentCopyEnd()
        case FrontendTag.copyData:
            return true
        case FrontendTag.flush:
            // With a body it is an error that the server skips to the next Sync for, though nothing is owed.
            return frame.length == MessageFramer.headerBytes
        default:
            return false
        }
        noteQueryBegins(client, server)
        return true
    }

    @inline(__always)
    func noteQueryBegins(_ client: UnsafeMutablePointer<Client>, _ server: UnsafeMutablePointer<Server>) {
        guard client.pointee.queryAt == 0 else { return }
        client.pointee.queryAt = now
        server.pointee.queryAt = now
        if client.pointee.transactionAt == 0 { client.pointee.transactionAt = now }
    }

    @inline(__always)
    static func isBatchMessage(_ tag: UInt8) -> Bool {
        switch tag {
        case FrontendTag.parse, FrontendTag.bind, FrontendTag.describe, FrontendTag.execute, FrontendTag.close: true
        default: false
        }
    }

    @inline(__always)
    static func hasText(_ tag: UInt8) -> Bool { tag == FrontendTag.query || tag == FrontendTag.parse }

    /// Whether a transaction is open, or may be when the server comes to what is sent now.
    @inline(__always)
    func mayBeInTransaction(_ server: UnsafeMutablePointer<Server>) -> Bool {
        server.pointee.transactionStatus != TransactionStatus.idle || !server.pointee.owed.isEmpty
    }

    /// Remembers that COMMIT is under way: if the server dies now, nobody knows whether it was done.
    @inline(never)
    static func noteCommit(
        _ bytes: UnsafeRawPointer, available: Int, headerBytes: Int, _ server: UnsafeMutablePointer<Server>
    ) {
        guard available > headerBytes else { return }
        noteCommit(UnsafeRawBufferPointer(start: bytes + headerBytes, count: available - headerBytes), server)
    }

    @inline(never)
    static func noteCommit(_ text: UnsafeRawBufferPointer, _ server: UnsafeMutablePointer<Server>) {
        switch leadingKeyword(text) {
        case .commit, .commitAndChain: server.pointee.requestsBeforeCommit = server.pointee.owed.clientRequestsAhead
        default: return
        }
    }

    @inline(never)
    static func noteCommitInParse(
        _ bytes: UnsafeRawPointer, available: Int, _ server: UnsafeMutablePointer<Server>
    ) {
        var text = MessageFramer.headerBytes
        // The statement's name comes first.
        while text < available, bytes.load(fromByteOffset: text, as: UInt8.self) != 0 { text += 1 }
        noteCommit(bytes, available: available, headerBytes: text + 1, server)
    }

    /// A message that no server may see ends the connection.
    mutating func refuseMessage(_ index: UInt32, _ tag: UInt8) {
        switch tag {
        case FrontendTag.terminate: closeClient(index, .closeRequest)
        case FrontendTag.query where isQueryProtocolForbidden:
            closeClient(index, .fatal(fatalFields(SQLState.featureNotSupported, "PQexec disallowed")))
        case FrontendTag.query, FrontendTag.sync, FrontendTag.functionCall, FrontendTag.copyDone, FrontendTag.copyFail,
            FrontendTag.parse, FrontendTag.bind, FrontendTag.describe, FrontendTag.execute, FrontendTag.close:
            closeClient(index, .fatal(fatalFields(SQLState.programLimitExceeded, "too many requests in flight")))
        default:
            closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "unknown pkt")))
        }
    }
}
