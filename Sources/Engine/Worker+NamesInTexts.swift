// SQL in a simple query that names statements of the protocol, which have other names on servers:
//
//     EXECUTE q (1)        →  what is missing is prepared first; EXECUTE "WEIR_0_7" (1)
//     DEALLOCATE q; …      →  what stands for it is prepared first; DEALLOCATE "WEIR_DEALLOCATED_8"; …
//
// Other clients may share what DEALLOCATE names, so PostgreSQL is given a statement that was made for this: its answers,
// and those to the rest of the text, are its own. The client's name is gone when PostgreSQL has answered that it is.
// Only the place that an error behind such a name has in the text is that in the text with the other name.

import Pooling
import Reactor
import SQLText
import Wire

/// The DEALLOCATEs of a text that is being executed, in their order.
final class TextDeallocations {
    /// What stands for a statement of the client's; without a name, the statement is SQL's own.
    struct One {
        var name: [UInt8]?
        var standIn = ""
    }

    var pending: [One]
    init(_ pending: [One]) { self.pending = pending }
}

/// A name that stands in a text.
private struct NameInText {
    var range: ByteRange
    var name: [UInt8]
    var isExecute: Bool
    /// The client gave it to a statement.
    var isKnown = false
}

extension Worker {
    /// How many names of one text are replaced.
    private static var namesInTextMax: Int { 100 }

    /// Passes a Query on with other names in the place of the client's; nil when it has none of them.
    mutating func rewriteNames(
        _ text: UnsafeRawBufferPointer, _ effects: SessionEffects, _ index: UInt32, _ frame: Frame, _ buffer: BufferID,
        _ message: UnsafeRawPointer, run: Int, offset: Int
    ) -> BatchOutcome? {
        let client = clients[index]
        let serverIndex = UInt32(client.pointee.server)
        let server = servers[serverIndex]
        guard pools[UInt32(server.pointee.pool)].pointee.tracksStatements,
            client.pointee.statements.count > 0 || server.pointee.owed.awaitsClientReady
        else { return nil }
        var names = names(in: text, serverIndex)
        guard !names.isEmpty, names.count <= Self.namesInTextMax, !server.pointee.owed.isBatchOpen else { return nil }
        // Whether there are such statements, and whether the transaction has failed, earlier answers tell.
        if server.pointee.owed.awaitsClientReady { return .waits(.answers) }
        findKnown(&names, index)
        guard names.contains(where: \.isKnown), server.pointee.transactionStatus != TransactionStatus.failed,
            !isQueryProtocolForbidden
        else { return nil }
        if names.allSatisfy({ $0.isKnown || !$0.isExecute }) { effects.forgetExecutes() }
        for name in names where name.isKnown && name.isExecute { addEffects(of: name.name, to: effects, index) }
        let verdict = noteEffects(effects, index, serverIndex)
        if case .waits = verdict { return .waits(.listener) }
        flush(serverIndex, buffer, run: run, offset: offset)
        if case .refused(let error) = verdict {
            refuseQuery(serverIndex, frame, error)
            return .rewritten(next: frame.end)
        }
        let replacements = prepareNames(names, index, serverIndex)
        guard note(frame, message, available: frame.length, client, server) else {
            preconditionFailure("nothing of the client's is owed")
        }
        sendQuery(text, names, replacements, serverIndex)
        return .rewritten(next: frame.end)
    }

    /// The names that EXECUTE and DEALLOCATE have in a text. Behind the end of all statements no client's statement
    /// is meant.
    private func names(in text: UnsafeRawBufferPointer, _ serverIndex: UInt32) -> [NameInText] {
        let isStandard =
            parameterSets.value(servers[serverIndex].pointee.settings, "standard_conforming_strings") != "off"
        let reader = NameReader(text, standardConformingStrings: isStandard)
        var found: [NameInText] = []
        var isOver = false
        scanStatements(text, standardConformingStrings: isStandard) { kind, _ in
            let (range, isExecute): (ByteRange, Bool)
            switch kind {
            case .execute(let name, _): (range, isExecute) = (name, true)
            case .deallocate(let name): (range, isExecute) = (name, false)
            case .deallocateAll, .discardAll:
                isOver = true
                return
            default: return
            }
            let name = withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { room in
                reader.read(range, into: room).map { Array(room[..<$0]) }
            }
            // One that is too long to be read is none of the client's, and counts among the others.
            if !isOver { found.append(NameInText(range: range, name: name ?? [], isExecute: isExecute)) }
        }
        return found
    }

    /// Tells which names are the client's: behind a DEALLOCATE a name is not any more.
    private func findKnown(_ names: inout [NameInText], _ index: UInt32) {
        for number in names.indices {
            let name = names[number].name
            guard !names[..<number].contains(where: { !$0.isExecute && $0.name == name }) else { continue }
            guard !name.isEmpty else { continue }
            names[number].isKnown = name.withUnsafeBytes { clients[index].pointee.statements.find($0) != nil }
        }
    }

    private func addEffects(of name: [UInt8], to effects: SessionEffects, _ index: UInt32) {
        guard let id = name.withUnsafeBytes({ clients[index].pointee.statements.find($0) }),
            statements.effect(id) != .none
        else { return }
        let body = statements.body(id)
        guard let end = body.firstIndex(of: 0) else { return }
        let text = UnsafeRawBufferPointer(rebasing: body[..<end])
        if let found = self.effects(of: text, on: UInt32(clients[index].pointee.server)) { effects.add(found) }
    }

    /// Sees to it that the server has what the text will name; returns the names, empty where one stays as it is.
    private mutating func prepareNames(_ names: [NameInText], _ index: UInt32, _ serverIndex: UInt32) -> [String] {
        let server = servers[serverIndex]
        // What stood for statements that were not deallocated after all.
        for standIn in server.pointee.standIns {
            server.pointee.owed.sent(.close, .statement)
            var writer = MessageWriter()
            writer.closeStatement(standIn)
            sendToServer(serverIndex, writer)
        }
        server.pointee.standIns = []
        var replacements: [String] = []
        var deallocations: [TextDeallocations.One] = []
        for name in names {
            if !name.isKnown {
                replacements.append("")
            } else if name.isExecute {
                replacements.append(serverName(of: name.name, index, serverIndex))
            } else {
                replacements.append(makeStandIn(serverIndex))
            }
            guard !name.isExecute, let standIn = replacements.last else { continue }
            deallocations.append(TextDeallocations.One(name: name.isKnown ? name.name : nil, standIn: standIn))
        }
        if !deallocations.isEmpty { server.pointee.deallocations = TextDeallocations(deallocations) }
        guard server.pointee.owed.isBatchOpen else { return replacements }
        server.pointee.owed.sentSync(.statement)
        var writer = MessageWriter()
        writer.sync()
        sendToServer(serverIndex, writer)
        return replacements
    }

    private mutating func makeStandIn(_ serverIndex: UInt32) -> String {
        let standIn = "WEIR_DEALLOCATED_\(shared.nextIdentifier())"
        servers[serverIndex].pointee.owed.sent(.parse, .statement)
        var writer = MessageWriter()
        writer.parse("SELECT 1", name: standIn)
        sendToServer(serverIndex, writer)
        return standIn
    }

    private mutating func serverName(of name: [UInt8], _ index: UInt32, _ serverIndex: UInt32) -> String {
        guard let id = name.withUnsafeBytes({ ensure(serverIndex, $0, index) }) else { return "" }
        return withUnsafeTemporaryAllocation(byteCount: StatementTable.serverNameBytesMax, alignment: 1) { room in
            String(decoding: room[..<statements.serverName(id, into: room)], as: UTF8.self)
        }
    }

    private mutating func sendQuery(
        _ text: UnsafeRawBufferPointer, _ names: [NameInText], _ replacements: [String], _ serverIndex: UInt32
    ) {
        var rewritten: [UInt8] = []
        var copied = 0
        for (name, replacement) in zip(names, replacements) where !replacement.isEmpty {
            rewritten += text[copied..<name.range.lowerBound]
            rewritten += "\"\(replacement)\"".utf8
            copied = name.range.upperBound
        }
        rewritten += text[copied...]
        var writer = MessageWriter()
        writer.query(rewritten)
        sendToServer(serverIndex, writer)
    }

    // MARK: Answers

    /// A DEALLOCATE of the client's has been answered.
    mutating func noteDeallocated(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        let server = servers[index]
        guard let deallocations = server.pointee.deallocations, !deallocations.pending.isEmpty,
            server.pointee.client >= 0, server.pointee.owed.origin == .client
        else { return }
        let text = UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes - 1)
        guard text.elementsEqual("DEALLOCATE".utf8), let name = deallocations.pending.removeFirst().name else { return }
        let client = clients[UInt32(server.pointee.client)]
        if let closed = name.withUnsafeBytes({ client.pointee.statements.remove($0) }) { statements.release(closed) }
    }

    /// The text has been answered: what it did not come to is still there.
    func forgetDeallocations(_ server: UnsafeMutablePointer<Server>) {
        for one in server.pointee.deallocations?.pending ?? [] where !one.standIn.isEmpty {
            server.pointee.standIns.append(one.standIn)
        }
        server.pointee.deallocations = nil
    }
}
