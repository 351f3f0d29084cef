// Which statement ends, or begins, a transaction: the least that must be known of an SQL text when a server died
// and the client waits for an answer. Only the first statement's first words are read, at most 64 KiB into the
// text, so that a giant comment costs no more than a small one.
//
//     COMMIT | END      [WORK | TRANSACTION] [AND [NO] CHAIN]
//     ROLLBACK | ABORT  [WORK | TRANSACTION] [AND [NO] CHAIN]
//     ROLLBACK          [WORK | TRANSACTION] TO [SAVEPOINT] name
//     COMMIT PREPARED 'id', ROLLBACK PREPARED 'id'
//     BEGIN [WORK | TRANSACTION] ..., START TRANSACTION ...

/// What the first statement of an SQL text does to the transaction.
public enum StatementKeyword: Equatable, Sendable {
    /// BEGIN or START TRANSACTION.
    case begin
    /// COMMIT or END: the transaction ends.
    case commit
    /// COMMIT AND CHAIN: the transaction ends and another begins.
    case commitAndChain
    /// COMMIT PREPARED: another, prepared transaction ends.
    case commitPrepared
    /// ROLLBACK or ABORT: the transaction ends.
    case rollback
    /// ROLLBACK AND CHAIN: the transaction ends and another begins.
    case rollbackAndChain
    /// ROLLBACK PREPARED: another, prepared transaction ends.
    case rollbackPrepared
    /// ROLLBACK TO: the transaction goes on.
    case rollbackToSavepoint
    /// Nothing but white space, comments and semicolons.
    case empty
    /// Any other statement, or a text whose first words lie too deep to be looked for.
    case other
}

/// The most bytes of an SQL text that are looked at.
public var leadingKeywordBytesMax: Int { 65_536 }

/// What the first statement of `sql` is. The text ends at its first NUL or at the end of the bytes. Further
/// statements are not looked at: see `loneKeyword`.
public func leadingKeyword(_ sql: UnsafeRawBufferPointer) -> StatementKeyword {
    var scanner = KeywordScanner(sql)
    return scanner.statement()
}

/// What the only statement of `sql` is; `other` when a second statement follows, or when that cannot be told within
/// the bytes that are looked at. For answering in a server's place, where nothing of the text may be left undone.
public func loneKeyword(_ sql: UnsafeRawBufferPointer) -> StatementKeyword {
    var scanner = KeywordScanner(sql)
    let keyword = scanner.statement()
    guard keyword != .other, scanner.skipToEndOfText() else { return .other }
    return keyword
}

/// Reads words of SQL, skipping white space and comments. Invariant: 0 <= offset <= count.
private struct KeywordScanner {
    private let bytes: UnsafeRawBufferPointer
    private let count: Int
    /// Whether the text goes on behind what may be looked at.
    private let isCut: Bool
    private var offset = 0

    init(_ sql: UnsafeRawBufferPointer) {
        bytes = sql
        isCut = sql.count > leadingKeywordBytesMax
        count = min(sql.count, leadingKeywordBytesMax)
    }

    /// The byte at offset + distance; 0 behind the end.
    private func peek(_ distance: Int = 0) -> UInt8 {
        let index = offset + distance
        // SAFETY: only an index below count, which is at most bytes.count, is read.
        return index < count ? bytes[index] : 0
    }

    private var isAtEnd: Bool { peek() == 0 }

    /// Whether what is at the offset really ends the text, rather than the part that may be looked at.
    private var isAtEndOfText: Bool { isAtEnd && !(isCut && offset >= count) }

    mutating func statement() -> StatementKeyword {
        while true {
            skipBlank()
            guard peek() == UInt8(ascii: ";") else { break }
            offset += 1
        }
        if isAtEnd { return isAtEndOfText ? .empty : .other }
        // The first letter tells nearly all other statements.
        switch peek() | 0x20 {
        case UInt8(ascii: "b"): return accept("begin") ? .begin : .other
        case UInt8(ascii: "s"): return accept("start") && accept("transaction") ? .begin : .other
        case UInt8(ascii: "c"):
            guard accept("commit") else { return .other }
            return accept("prepared") ? .commitPrepared : transactionEnd(.commit, .commitAndChain)
        case UInt8(ascii: "e"): return accept("end") ? transactionEnd(.commit, .commitAndChain) : .other
        case UInt8(ascii: "a"): return accept("abort") ? transactionEnd(.rollback, .rollbackAndChain) : .other
        case UInt8(ascii: "r"):
            guard accept("rollback") else { return .other }
            if accept("prepared") { return .rollbackPrepared }
            return transactionEnd(.rollback, .rollbackAndChain, savepoint: .rollbackToSavepoint)
        default: return .other
        }
    }

    /// What follows the first word of a statement that ends a transaction.
    private mutating func transactionEnd(
        _ plain: StatementKeyword, _ chained: StatementKeyword, savepoint: StatementKeyword = .other
    ) -> StatementKeyword {
        if !accept("work") { _ = accept("transaction") }
        if accept("to") { return savepoint }
        var keyword = plain
        if accept("and") {
            if !accept("no") { keyword = chained }
            guard accept("chain") else { return .other }
        }
        skipBlank()
        return isAtEndOfText || peek() == UInt8(ascii: ";") ? keyword : .other
    }

    /// Skips the rest of this statement and whatever is empty behind it; false if there is another statement, or
    /// text too odd to be sure (a quote may hide a semicolon).
    mutating func skipToEndOfText() -> Bool {
        var isBehindSemicolon = false
        while true {
            skipBlank()
            if isAtEnd { return isAtEndOfText }
            switch peek() {
            case UInt8(ascii: ";"): isBehindSemicolon = true
            case UInt8(ascii: ","): if isBehindSemicolon { return false }
            case let byte:
                guard !isBehindSemicolon, isWordByte(byte) else { return false }
            }
            offset += 1
        }
    }

    /// Reads the next word if it is `word`, in any case of letters.
    private mutating func accept(_ word: StaticString) -> Bool {
        skipBlank()
        let length = word.utf8CodeUnitCount
        for index in 0..<length {
            // SAFETY: index < utf8CodeUnitCount.
            guard peek(index) | 0x20 == word.utf8Start[index] else { return false }
        }
        guard !isWordByte(peek(length)) else { return false }
        offset += length
        return true
    }

    private func isWordByte(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x80...0xff, UInt8(ascii: "_"), UInt8(ascii: "$"): true
        case _: false
        }
    }

    /// Skips white space and comments. A comment that does not end leaves the offset at the end.
    private mutating func skipBlank() {
        while true {
            switch (peek(), peek(1)) {
            case (0x20, _), (0x09...0x0d, _):
                offset += 1
            case (UInt8(ascii: "-"), UInt8(ascii: "-")):
                while !isAtEnd, peek() != 0x0a, peek() != 0x0d { offset += 1 }
            case (UInt8(ascii: "/"), UInt8(ascii: "*")):
                skipBlockComment()
            case _:
                return
            }
        }
    }

    /// Skips a block comment with the ones nested in it.
    private mutating func skipBlockComment() {
        var depth = 0
        while !isAtEnd {
            switch (peek(), peek(1)) {
            case (UInt8(ascii: "/"), UInt8(ascii: "*")):
                depth += 1
                offset += 2
            case (UInt8(ascii: "*"), UInt8(ascii: "/")):
                depth -= 1
                offset += 2
                if depth == 0 { return }
            case _:
                offset += 1
            }
        }
    }
}
