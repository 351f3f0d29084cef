// DISCARD ALL and DEALLOCATE ALL close every statement of the session. What a client sends behind such a command in the
// same batch comes before its answer, and must find the names free. So what it closes is set aside when it is sent:
//
//     Execute                              the client's names go to NamesUnderWay, the server's statements to `closing`
//     CommandComplete                      they are gone
//     an error, or the end without either  they are back
//
// A command that is not seen on its way, as one in a Query, closes what there is when its CommandComplete comes.

import Pooling
import Reactor
import Wire

extension Worker {
    /// A command that closes all statements is sent: its client has no names, and its server no statements.
    mutating func setStatementsAside(_ index: UInt32, _ serverIndex: UInt32) {
        let server = servers[serverIndex]
        server.pointee.closesAtExecute = false
        clients[index].pointee.statementUse = .changes
        takeNames(ofClient: index) { name, id in
            server.pointee.namesUnderWay.append(name, id, isClose: true, isImplied: true)
        }
        var closing: [StatementID] = []
        server.pointee.statements.removeAll { closing.append($0) }
        server.pointee.closing.append(closing)
    }

    /// The oldest of the commands under way was carried out.
    private mutating func forgetOldestClosing(_ server: UnsafeMutablePointer<Server>) {
        while server.pointee.namesUnderWay.beginsImplied, let name = server.pointee.namesUnderWay.popFirst() {
            if let closed = name.statement { statements.release(closed) }
        }
        for id in server.pointee.closing.removeFirst() { statements.release(id) }
    }

    /// No command under way was carried out: what they were to close is there.
    mutating func putStatementsBack(_ index: UInt32) {
        let server = servers[index]
        while server.pointee.namesUnderWay.endsImplied, let name = server.pointee.namesUnderWay.popLast() {
            undo(name, server)
        }
        while let closing = server.pointee.closing.popLast() {
            for id in closing.reversed() {
                if server.pointee.statements.contains(id) {
                    statements.release(id)
                } else {
                    server.pointee.statements.restore(id)
                }
            }
        }
    }

    /// What comes behind a command is answered, and the command has not been: it was not executed after all.
    mutating func keepOldestNames(_ server: UnsafeMutablePointer<Server>) {
        while server.pointee.namesUnderWay.beginsImplied, let name = server.pointee.namesUnderWay.takeFirst() {
            undo(name, server)
        }
    }

    /// Whether a statement was to be closed by a command under way. It has not been prepared: the caller owns the
    /// reference.
    func forgetClosing(_ server: UnsafeMutablePointer<Server>, _ id: StatementID) -> Bool {
        for place in server.pointee.closing.indices.reversed() {
            guard let found = server.pointee.closing[place].firstIndex(of: id) else { continue }
            server.pointee.closing[place].remove(at: found)
            return true
        }
        return false
    }

    /// `DISCARD ALL` and `DEALLOCATE ALL` close every statement of the session.
    mutating func noteCommandComplete(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        if frame.length == 16 { return noteDeallocated(index, frame, bytes) }
        if frame.length == 12 { return noteCommitAnswered(index, frame, bytes) }
        guard frame.length == 17 || frame.length == 20 else { return }
        let text = UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes - 1)
        guard text.elementsEqual("DISCARD ALL".utf8) || text.elementsEqual("DEALLOCATE ALL".utf8) else { return }
        let server = servers[index]
        // What Weir asked for itself it has taken into account when it asked.
        guard server.pointee.owed.origin != .statement else { return }
        guard server.pointee.closing.isEmpty else { return forgetOldestClosing(server) }
        // What is prepared behind the command may have had no owners but these.
        let underWay = server.pointee.owed.statementsUnderWay().map { StatementID(rawValue: $0) }
        for id in underWay { statements.retain(id) }
        if server.pointee.client >= 0, server.pointee.owed.origin == .client {
            var dropped: [StatementID] = []
            takeNames(ofClient: UInt32(server.pointee.client)) { _, id in dropped.append(id) }
            for id in dropped { statements.release(id) }
            keepNamesUnderWay(server)
        }
        server.pointee.statements.removeAll { statements.release($0) }
        for id in underWay {
            if server.pointee.statements.contains(id) {
                statements.release(id)
            } else {
                _ = server.pointee.statements.insert(id, limit: .max)
            }
        }
    }

    /// What the client prepares behind the command that has just ended stays prepared.
    private mutating func keepNamesUnderWay(_ server: UnsafeMutablePointer<Server>) {
        let client = clients[UInt32(server.pointee.client)]
        for name in server.pointee.namesUnderWay.names {
            name.name.withUnsafeBytes { bytes in
                if name.isClose {
                    if let closed = client.pointee.statements.remove(bytes) { statements.release(closed) }
                } else if let id = name.statement,
                    client.pointee.statements.define(bytes, as: id, limit: .max) == .defined
                {
                    statements.retain(id)
                }
            }
        }
    }

    /// A client's statements have no names any more. The unnamed one stays, as in PostgreSQL.
    ///
    /// - Parameter body: owns the reference of each statement.
    private mutating func takeNames(
        ofClient index: UInt32, _ body: (_ name: UnsafeRawBufferPointer, StatementID) -> Void
    ) {
        let client = clients[index]
        let noName = UnsafeRawBufferPointer(start: nil, count: 0)
        let unnamed = client.pointee.statements.remove(noName)
        client.pointee.statements.removeAll(body)
        if let unnamed { _ = client.pointee.statements.define(noName, as: unnamed, limit: .max) }
    }
}
