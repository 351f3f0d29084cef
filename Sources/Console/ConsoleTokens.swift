// Cuts the text of a console query into tokens, and the tokens into statements.
//
// The grammar is PgBouncer's: words of [0-9a-z_], "quoted names", 'strings', and a few signs. Comments (`--`, nested
// `/* */`) count as white space, since psql and JDBC may send them. What no token can start with ends the query as an
// invalid command; nothing here can trap, whatever the text is.

/// One token of a console statement.
enum ConsoleToken: Equatable {
    /// Letters of ASCII, digits and underscores, as written.
    case word(String)
    /// A name in double quotes, without them.
    case quoted(String)
    /// A string in single quotes, without them.
    case string(String)
    /// Any other printable sign but the semicolon.
    case symbol(UInt8)

    /// The word in lower case, when it is a bare word.
    var keyword: String? {
        if case .word(let word) = self { return word.lowercased() }
        return nil
    }

    /// The text of a WORD of the grammar: bare or in double quotes.
    var name: String? {
        switch self {
        case .word(let name), .quoted(let name): name
        case .string, .symbol: nil
        }
    }
}

/// The statements of a query, each as its tokens; empty statements are left out. nil when a quote or comment is not
/// closed or a byte cannot stand in a statement.
func consoleStatements(in text: String) -> [[ConsoleToken]]? {
    var scanner = ConsoleScanner(text)
    var statements: [[ConsoleToken]] = []
    var current: [ConsoleToken] = []
    while scanner.skipBlanks() {
        guard let byte = scanner.peek else {
            if !current.isEmpty { statements.append(current) }
            return statements
        }
        switch byte {
        case UInt8(ascii: ";"):
            scanner.advance()
            if !current.isEmpty { statements.append(current) }
            current = []
        case UInt8(ascii: "\""):
            guard let name = scanner.quotedText() else { return nil }
            current.append(.quoted(name))
        case UInt8(ascii: "'"):
            guard let string = scanner.quotedText() else { return nil }
            current.append(.string(string))
        case _ where isWordByte(byte):
            current.append(.word(scanner.word()))
        case 0x21...0x7E:
            scanner.advance()
            current.append(.symbol(byte))
        default:
            return nil
        }
    }
    return nil
}

private func isWordByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "a")...UInt8(ascii: "z"),
        UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "_"):
        true
    default: false
    }
}

/// A position in the query's bytes.
private struct ConsoleScanner {
    private let bytes: [UInt8]
    private var position = 0

    init(_ text: String) { bytes = Array(text.utf8) }

    var peek: UInt8? { position < bytes.count ? bytes[position] : nil }
    private var peekNext: UInt8? { position + 1 < bytes.count ? bytes[position + 1] : nil }

    mutating func advance() { position += 1 }

    /// Skips white space and comments; false when a block comment is not closed.
    mutating func skipBlanks() -> Bool {
        while let byte = peek {
            switch (byte, peekNext) {
            case (0x20, _), (0x09...0x0D, _):
                position += 1
            case (UInt8(ascii: "-"), UInt8(ascii: "-")):
                while let next = peek, next != 0x0A, next != 0x0D { position += 1 }
            case (UInt8(ascii: "/"), UInt8(ascii: "*")):
                if !skipBlockComment() { return false }
            default:
                return true
            }
        }
        return true
    }

    private mutating func skipBlockComment() -> Bool {
        var depth = 0
        while let byte = peek {
            if byte == UInt8(ascii: "/"), peekNext == UInt8(ascii: "*") {
                depth += 1
                position += 2
            } else if byte == UInt8(ascii: "*"), peekNext == UInt8(ascii: "/") {
                depth -= 1
                position += 2
                if depth == 0 { return true }
            } else {
                position += 1
            }
        }
        return false
    }

    mutating func word() -> String {
        let start = position
        while let byte = peek, isWordByte(byte) { position += 1 }
        return String(decoding: bytes[start..<position], as: UTF8.self)
    }

    /// The text between the quote here and its partner, a doubled quote standing for one; nil when it is not closed.
    mutating func quotedText() -> String? {
        guard let quote = peek else { return nil }
        position += 1
        var content: [UInt8] = []
        while let byte = peek {
            if byte == quote {
                if peekNext != quote {
                    position += 1
                    return String(decoding: content, as: UTF8.self)
                }
                position += 1
            }
            content.append(byte)
            position += 1
        }
        return nil
    }
}
