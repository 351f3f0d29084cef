// An error may speak of a statement by the name that it has on the server, which no client knows. In what the client
// gets stands the name that it gave:
//
//     prepared statement "WEIR_0_7" …   →   prepared statement "q" …
//
// If the client gave several names to one statement, one of them.

import Pooling
import Wire

extension Worker {
    /// The error with the client's names in the place of ours; nil when it has none of ours, and goes on as it is.
    mutating func errorWithClientsNames(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) -> [UInt8]? {
        let server = servers[index]
        // In an error of unusual size nobody looks.
        guard server.pointee.framer.isAtBoundary, server.pointee.client >= 0 else { return nil }
        let text = UnsafeRawBufferPointer(start: bytes, count: frame.length)
        guard var at = placeOfServerName(text, from: MessageFramer.headerBytes) else { return nil }
        var renamed: [UInt8] = []
        var copied = MessageFramer.headerBytes
        while true {
            let end = text[at...].firstIndex { !Self.isPartOfServerName($0) } ?? text.count
            if let name = clientsName(server, for: text[at..<end]) {
                renamed.append(contentsOf: text[copied..<at])
                renamed.append(contentsOf: name)
                copied = end
            }
            guard let next = placeOfServerName(text, from: end) else { break }
            at = next
        }
        renamed.append(contentsOf: text[copied...])
        let length = UInt32(truncatingIfNeeded: renamed.count + 4)
        let header = [frame.tag] + [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) }
        return header + renamed
    }

    private static func isPartOfServerName(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: "_") || (byte >= UInt8(ascii: "0") && byte <= UInt8(ascii: "9"))
            || (byte >= UInt8(ascii: "A") && byte <= UInt8(ascii: "Z"))
    }

    private func placeOfServerName(_ text: UnsafeRawBufferPointer, from: Int) -> Int? {
        var at = from
        while at < text.count, let next = text[at...].firstIndex(of: UInt8(ascii: "W")) {
            if text[next...].starts(with: "WEIR_".utf8) { return next }
            at = next + 1
        }
        return nil
    }

    /// The name that the client knows a statement by, or knew it by before a Close that is still under way.
    private func clientsName(
        _ server: UnsafeMutablePointer<Server>, for serverName: Slice<UnsafeRawBufferPointer>
    ) -> [UInt8]? {
        let parts = serverName.split(separator: UInt8(ascii: "_"))
        guard parts.count == 3, let number = UInt64(String(decoding: parts[2], as: UTF8.self)) else { return nil }
        for name in server.pointee.namesUnderWay.names {
            if let id = name.statement, statements.number(id) == number { return name.name }
        }
        return clients[UInt32(server.pointee.client)].pointee.statements.name { statements.number($0) == number }
    }

    // MARK: Errors at their right place

    /// What the server gets in the place of a message that is refused: no SQL, so that its error names this.
    static var refusedText: String { "WEIR_REFUSED" }

    /// A message that PostgreSQL would refuse: one goes to the server that it refuses at the same place, and its error
    /// is replaced by this one.
    mutating func refuse(_ serverIndex: UInt32, _ frame: Frame, _ error: ErrorFields) -> BatchOutcome {
        let server = servers[serverIndex]
        server.pointee.owed.sent(.parse, .refusal)
        server.pointee.refusals.append(Refusal(error))
        var writer = MessageWriter()
        writer.parse(Self.refusedText, name: Self.refusedText)
        sendToServer(serverIndex, writer)
        return .rewritten(next: frame.end)
    }

    var tooLarge: ErrorFields {
        ErrorFields(
            code: SQLState.programLimitExceeded, message: "prepared statement is too large",
            detail: "A named statement may have at most \(Self.parseBytesMax) bytes.")
    }

    func tooMany(_ limit: Int) -> ErrorFields {
        ErrorFields(
            code: SQLState.configurationLimitExceeded, message: "too many prepared statements",
            detail: "This client has \(limit) of them, which is max_client_prepared_statements.",
            hint: "Close statements that are no longer used, or raise max_client_prepared_statements.")
    }

    var outOfStatementMemory: ErrorFields {
        ErrorFields(
            code: SQLState.insufficientResources, message: "out of memory for prepared statements",
            detail: "All prepared statements together take \(statements.bytes) bytes.")
    }
}
