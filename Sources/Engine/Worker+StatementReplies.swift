// What a server's replies mean for the statements that are known. A name counts from the moment its Parse is sent; if
// an error skips that Parse, or a Close, what it was to do is undone, the newest first:
//
//     error … Parse "a" … Close "b" … Sync        →  "b" means again what it meant, "a" means nothing
//
// No client's message that names a statement is sent while the fate of a batch before it is open, so that what is to be
// undone is always the newest.

import Pooling
import Reactor
import Wire

extension Worker {
    /// A reply of the server to a message of a batch has ended.
    mutating func replyEnded(_ index: UInt32, _ tag: UInt8) {
        let server = servers[index]
        switch server.pointee.owed.received(tag) {
        case .nothing: return
        case .namedParse:
            if server.pointee.namesUnderWay.beginsImplied { keepOldestNames(server) }
            _ = server.pointee.namesUnderWay.popFirst()
        case .closedStatement(let statement): statements.release(StatementID(rawValue: statement))
        }
    }

    /// Sends the replies that are due now and that the server does not send.
    mutating func invent(_ index: UInt32) {
        let server = servers[index]
        while let reply = server.pointee.owed.nextInvention() {
            if server.pointee.namesUnderWay.beginsImplied { keepOldestNames(server) }
            if let name = server.pointee.namesUnderWay.popFirst(), name.isClose, let closed = name.statement {
                statements.release(closed)
            }
            if server.pointee.client >= 0 { send(UInt32(server.pointee.client), reply) }
        }
    }

    mutating func send(_ index: UInt32, _ reply: InventedReply) {
        let tag = reply == .parseComplete ? BackendTag.parseComplete : BackendTag.closeComplete
        let message: (UInt8, UInt8, UInt8, UInt8, UInt8) = (tag, 0, 0, 0, 4)
        let socket = clients[index].pointee.socket
        withUnsafeBytes(of: message) { loop.send(socket, copying: $0) }
        answeredWithoutServer(index)
    }

    /// The server refused a message of a batch and skips the rest: what was to be prepared is not.
    mutating func forgetDiscarded(_ index: UInt32) {
        let server = servers[index]
        while let discarded = server.pointee.owed.takeDiscarded() {
            switch discarded {
            case .parse(let statement, let isClients):
                if isClients { undoName(server) }
                let id = StatementID(rawValue: statement)
                if server.pointee.statements.remove(id) || forgetClosing(server, id) { statements.release(id) }
            case .inventedParse, .inventedClose: undoName(server)
            case .refusal: if !server.pointee.refusals.isEmpty { server.pointee.refusals.removeFirst() }
            case .unnamedParse:
                // There may be another one by now, which a later batch prepares.
                guard server.pointee.requestsBeforeUnnamed <= 0 else { continue }
                server.pointee.unnamedNumber = 0
                if server.pointee.client >= 0 { forgetUnnamed(UInt32(server.pointee.client)) }
            case .close(let statement): server.pointee.statements.restore(StatementID(rawValue: statement))
            }
        }
        if !server.pointee.closing.isEmpty { putStatementsBack(index) }
    }

    /// The newest message that gave or closed a name was not carried out.
    private mutating func undoName(_ server: UnsafeMutablePointer<Server>) {
        while server.pointee.namesUnderWay.endsImplied {
            if let name = server.pointee.namesUnderWay.popLast() { undo(name, server) }
        }
        if let name = server.pointee.namesUnderWay.popLast() { undo(name, server) }
    }

    mutating func undo(_ name: NameUnderWay, _ server: UnsafeMutablePointer<Server>) {
        guard server.pointee.client >= 0 else {
            if name.isClose, let closed = name.statement { statements.release(closed) }
            return
        }
        let client = clients[UInt32(server.pointee.client)]
        name.name.withUnsafeBytes { bytes in
            if !name.isClose {
                if let known = client.pointee.statements.remove(bytes) { statements.release(known) }
            } else if let closed = name.statement,
                client.pointee.statements.define(bytes, as: closed, limit: .max) != .defined
            {
                statements.release(closed)
            }
        }
    }

    /// The server is lost: what it has not answered gave and closed no names.
    mutating func undoNames(_ index: UInt32) {
        let server = servers[index]
        while !server.pointee.namesUnderWay.isEmpty { undoName(server) }
    }

    /// Whether the error that has just come stands for one of ours, which is sent in its place. It names what the server
    /// was sent: another error is the server's own, of something before it or of its end.
    mutating func replaceError(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) -> Bool {
        let server = servers[index]
        guard server.pointee.owed.origin == .refusal, let refusal = server.pointee.refusals.first else { return false }
        let message = Array(ErrorFields.parse(payloadSoFar(index, frame, bytes)).message.utf8)
        guard message.indices.contains(where: { message[$0...].starts(with: Self.refusedText.utf8) }) else {
            return false
        }
        if server.pointee.client >= 0 {
            var writer = MessageWriter()
            writer.errorResponse(refusal.error)
            sendToClient(UInt32(server.pointee.client), writer)
        }
        return true
    }

    /// A client is going away.
    mutating func dropStatements(ofClient index: UInt32) {
        let client = clients[index]
        client.pointee.statements.removeAll { statements.release($0) }
        unnamedBytes -= client.pointee.unnamedStatement.bytes
        client.pointee.unnamedStatement = UnnamedStatement()
    }

    mutating func dropStatements(ofServer index: UInt32) {
        let server = servers[index]
        server.pointee.statements.removeAll { statements.release($0) }
        while let name = server.pointee.namesUnderWay.popLast() {
            if name.isClose, let closed = name.statement { statements.release(closed) }
        }
        for ids in server.pointee.closing { for id in ids { statements.release(id) } }
        server.pointee.closing = []
        server.pointee.refusals = []
    }
}
