// Statements without a name of the client's, and SQL that names one of the protocol's.
//
// With `cache_unnamed_statements` the unnamed statement is one more name of the client, the empty one: its text is one
// prepared statement on each server, as with names. A Parse gives it a new meaning, and nothing is asked of the server.
//
// `DEALLOCATE name` of SQL closes a statement that the protocol's Parse has made, which has another name on servers and
// other users. PostgreSQL is given a statement to deallocate that was made for this, so that its answer is its own.

import Configuration
import Pooling
import Reactor
import SQLText
import Wire

extension Worker {
    /// Whether the unnamed statement of a client is one of the table's.
    func knowsCached(_ index: UInt32) -> Bool {
        cachesUnnamed && clients[index].pointee.statements.find(UnsafeRawBufferPointer(start: nil, count: 0)) != nil
    }

    /// Whether the text of an unnamed Parse surely does nothing to its session.
    static func isPlain(_ payload: UnsafeRawBufferPointer) -> Bool {
        let text = UnsafeRawBufferPointer(rebasing: payload[1...])
        guard let end = firstNUL(in: text) else { return false }
        return isSurelyPlainStatement(UnsafeRawBufferPointer(rebasing: text[..<end]))
    }

    /// The client's unnamed statement is no longer one of the table's.
    mutating func forgetCached(_ index: UInt32) {
        guard cachesUnnamed else { return }
        if let known = clients[index].pointee.statements.remove(UnsafeRawBufferPointer(start: nil, count: 0)) {
            statements.release(known)
        }
    }

    // MARK: DEALLOCATE of a protocol-level statement

    /// Whether a client may have statements that a DEALLOCATE names.
    func mayHaveNames(_ index: UInt32, _ serverIndex: UInt32) -> Bool {
        let server = servers[serverIndex]
        guard pools[UInt32(server.pointee.pool)].pointee.tracksStatements else { return false }
        return clients[index].pointee.statements.count > 0 || server.pointee.owed.awaitsClientReady
    }

    /// The name in a text that is one DEALLOCATE.
    func deallocatedName(_ text: UnsafeRawBufferPointer) -> [UInt8]? {
        var found: ByteRange?
        var isAlone = true
        scanStatements(text, standardConformingStrings: true) { kind, statement in
            if case .deallocate(let name) = kind, statement == 0 { found = name } else { isAlone = false }
        }
        guard isAlone, let found else { return nil }
        return withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { room in
            NameReader(text, standardConformingStrings: true).read(found, into: room).map { Array(room[..<$0]) }
        }
    }

    /// Closes the client's statement, and lets PostgreSQL answer.
    mutating func deallocate(
        _ name: [UInt8], _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ payload: UnsafeRawBufferPointer
    ) -> BatchOutcome {
        let standIn = closeStandIn(name, index)
        let server = servers[serverIndex]
        if frame.tag == FrontendTag.query {
            var writer = MessageWriter()
            sendOwnQuery(serverIndex, "PREPARE \"\(standIn)\" AS SELECT 1", .statement)
            server.pointee.owed.sentQuery(.client)
            writer.query("DEALLOCATE \"\(standIn)\"")
            sendToServer(serverIndex, writer)
        } else {
            server.pointee.owed.sent(.parse, .statement)
            server.pointee.owed.sent(.parse, .client)
            newUnnamed(index, serverIndex)
            keepUnnamed(index, payload, isFresh: true)
            forgetCached(index)
            sendToServer(serverIndex, deallocation(of: standIn))
        }
        return .rewritten(next: frame.end)
    }

    /// A Bind of the unnamed statement, if that is one DEALLOCATE and not the one that its Parse has sent just now: what
    /// it names may have changed, and it is prepared anew.
    mutating func bindDeallocate(
        _ index: UInt32, _ serverIndex: UInt32, _ body: UnsafeRawBufferPointer, _ buffer: BufferID, run: Int,
        offset: Int
    ) -> BatchOutcome? {
        guard let end = body.firstIndex(of: 0),
            let name = deallocatedName(UnsafeRawBufferPointer(rebasing: body[..<end]))
        else { return nil }
        let server = servers[serverIndex]
        if server.pointee.owed.awaitsClientReady { return .waits(.answers) }
        flush(serverIndex, buffer, run: run, offset: offset)
        let isKnown = name.withUnsafeBytes { clients[index].pointee.statements.find($0) != nil }
        if isKnown, server.pointee.transactionStatus != TransactionStatus.failed {
            server.pointee.owed.sent(.parse, .statement)
            server.pointee.owed.sent(.parse, .statement)
            sendToServer(serverIndex, deallocation(of: closeStandIn(name, index)))
        } else {
            sendUnnamed(serverIndex, body)
        }
        server.pointee.unnamedNumber = clients[index].pointee.unnamedNumber
        server.pointee.requestsBeforeUnnamed = server.pointee.owed.clientRequestsAhead
        server.pointee.owed.sent(.bind, .client)
        return .rewritten(next: offset)
    }

    /// Closes the client's statement; returns what PostgreSQL is given in its place.
    private mutating func closeStandIn(_ name: [UInt8], _ index: UInt32) -> String {
        if let closed = name.withUnsafeBytes({ clients[index].pointee.statements.remove($0) }) {
            statements.release(closed)
        }
        clients[index].pointee.statementUse = .changes
        return "WEIR_DEALLOCATED_\(shared.nextIdentifier())"
    }

    private func deallocation(of standIn: String) -> MessageWriter {
        var writer = MessageWriter()
        writer.parse("SELECT 1", name: standIn)
        writer.parse("DEALLOCATE \"\(standIn)\"")
        return writer
    }
}
