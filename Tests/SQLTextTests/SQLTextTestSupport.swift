// Writes findings as short lines, so that a test's table reads like the texts it is about:
//
//     "SET a.b = 1; SELECT 1"  →  ["0 set a.b = 1", "1 other"]

import SQLText

/// The findings about a text, each with its statement's number in front.
func findings(_ text: [UInt8], standardConformingStrings: Bool = true) -> [String] {
    text.withUnsafeBytes { sql in
        var lines: [String] = []
        let describer = Describer(sql: sql, standardConformingStrings: standardConformingStrings)
        scanStatements(sql, standardConformingStrings: standardConformingStrings) { kind, statement in
            lines.append("\(statement) \(describer.describe(kind))")
        }
        return lines
    }
}

/// The findings about a text.
func findings(_ text: String, standardConformingStrings: Bool = true) -> [String] {
    findings(Array(text.utf8), standardConformingStrings: standardConformingStrings)
}

/// The tokens of a text as `kind:bytes`.
func tokens(_ text: [UInt8], standardConformingStrings: Bool = true) -> [String] {
    text.withUnsafeBytes { sql in
        var lexer = Lexer(sql, standardConformingStrings: standardConformingStrings)
        var lines: [String] = []
        while true {
            let token = lexer.next()
            guard token.kind != .end else { return lines }
            lines.append("\(token.kind):\(String(decoding: sql[token.range], as: UTF8.self))")
        }
    }
}

/// What a name or string constant that is the whole text means; nil as from `NameReader`.
func reading(_ text: String, bytesMax: Int = 256, standardConformingStrings: Bool = true) -> String? {
    Array(text.utf8).withUnsafeBytes { sql in
        Describer(sql: sql, standardConformingStrings: standardConformingStrings, bytesMax: bytesMax)
            .read(0..<sql.count)
    }
}

/// Turns ranges back into text.
struct Describer {
    var sql: UnsafeRawBufferPointer
    var standardConformingStrings: Bool
    var bytesMax = 256

    func written(_ range: ByteRange) -> String { String(decoding: sql[range], as: UTF8.self) }

    func read(_ range: ByteRange) -> String? {
        output { NameReader(sql, standardConformingStrings: standardConformingStrings).read(range, into: $0) }
    }

    func read(_ name: SettingName) -> String? {
        output { NameReader(sql, standardConformingStrings: standardConformingStrings).read(name, into: $0) }
    }

    private func output(_ fill: (UnsafeMutableRawBufferPointer) -> Int?) -> String? {
        withUnsafeTemporaryAllocation(byteCount: bytesMax, alignment: 1) { buffer in
            fill(buffer).map { String(decoding: buffer[..<$0], as: UTF8.self) }
        }
    }

    private func name(_ range: ByteRange) -> String { read(range) ?? "?" }

    private func argument(_ argument: SetConfigCall.Argument) -> String {
        switch argument {
        case .constant(let range): name(range)
        case .parameter(let range): written(range)
        case .expression: "?"
        }
    }

    func describe(_ kind: StatementKind) -> String {
        switch kind {
        case .set(let setting, let value, let isLocal):
            "set\(isLocal ? " local" : "") \(read(setting) ?? "?") = \(written(value))"
        case .reset(let setting): "reset \(read(setting) ?? "?")"
        case .setRole(let value, let isLocal): "setRole\(isLocal ? " local" : "") \(written(value))"
        case .setSessionAuthorization(let value, let isLocal):
            "setSessionAuthorization\(isLocal ? " local" : "") \(written(value))"
        case .setSessionCharacteristics(let modes): "setSessionCharacteristics \(written(modes))"
        case .setConfigCall(let call):
            "setConfig\(call.isPlain ? " plain" : "") \(argument(call.name)) = \(argument(call.value)) \(call.locality)"
        case .prepare(let name, let types, let body):
            "prepare \(self.name(name)) (\(written(types))) \(written(body))"
        case .execute(let name, let arguments): "execute \(self.name(name)) (\(written(arguments)))"
        case .deallocate(let name): "deallocate \(self.name(name))"
        case .listen(let channel): "listen \(name(channel))"
        case .unlisten(let channel): "unlisten \(name(channel))"
        case .notify(let channel): "notify \(name(channel))"
        case .createTemporary(let dropsAtCommit): "createTemporary\(dropsAtCommit ? " dropsAtCommit" : "")"
        case .declareCursorWithHold(let name): "declareCursorWithHold \(self.name(name))"
        case .close(let name): "close \(self.name(name))"
        case .commit(let andChain): "commit\(andChain ? " andChain" : "")"
        case .rollback(let andChain): "rollback\(andChain ? " andChain" : "")"
        case .savepoint(let name): "savepoint \(self.name(name))"
        case .releaseSavepoint(let name): "releaseSavepoint \(self.name(name))"
        case .rollbackToSavepoint(let name): "rollbackToSavepoint \(self.name(name))"
        case .resetAll, .resetRole, .resetSessionAuthorization, .setTransaction, .setseed, .deallocateAll, .discardAll,
            .discardPlans, .discardTemp, .discardSequences, .unlistenAll, .dropMaybeTemporary, .closeAll,
            .advisoryLock, .advisoryUnlock, .load, .begin, .prepareTransaction, .copy, .doBlock, .other:
            "\(kind)"
        }
    }
}
