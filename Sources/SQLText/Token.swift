// The pieces that PostgreSQL's lexer cuts a text into, as far as a pooler must tell them apart.
//
// A token is a kind and two offsets: nothing is copied, nothing is allocated. PostgreSQL manual, section 4.1
// "Lexical Structure". The few byte classes of the lexer stand here too.

/// A run of bytes of a text: offsets from its first byte.
public typealias ByteRange = Range<Int>

/// What a token is.
public enum TokenKind: UInt8, Equatable, Sendable {
    /// The text is used up.
    case end
    /// An unquoted identifier or a keyword; which of the two depends on where it stands.
    case word
    /// `"…"`.
    case quotedIdentifier
    /// `U&"…"`, with its UESCAPE clause if there is one.
    case unicodeIdentifier
    /// `'…'` or `N'…'`, with all the parts that continue it on later lines.
    case string
    /// `E'…'`, and `'…'` while standard_conforming_strings is off.
    case escapeString
    /// `U&'…'`, with its UESCAPE clause if there is one.
    case unicodeString
    /// `$tag$…$tag$`.
    case dollarString
    /// `B'…'` or `X'…'`.
    case bitString
    /// An integer or a decimal number, without a sign.
    case number
    /// `$1`.
    case parameter
    /// `;`.
    case semicolon
    /// `(`.
    case openParenthesis
    /// `)`.
    case closeParenthesis
    /// `,`.
    case comma
    /// `.`.
    case dot
    /// `=` alone.
    case equals
    /// `::`.
    case typeCast
    /// Any other run of operator characters.
    case `operator`
    /// A byte that starts nothing known (brackets, a colon, a control character), or `..`.
    case other
    /// A quoted piece that the text's end cut off. PostgreSQL refuses such a text whole.
    case unterminated
}

/// One token of a text.
public struct Token: Equatable, Sendable {
    /// What it is.
    public var kind: TokenKind
    /// The offset of its first byte.
    public var start: Int
    /// The offset one past its last byte; never less than `start`.
    public var end: Int

    /// A token from `start` up to `end`.
    @inline(__always)
    public init(_ kind: TokenKind, _ start: Int, _ end: Int) {
        self.kind = kind
        self.start = start
        self.end = end
    }

    /// The token's bytes.
    @inline(__always)
    public var range: ByteRange { start..<end }

    /// Whether the token can stand where the grammar wants a name (ColId); keywords are not told apart.
    @inline(__always)
    var isName: Bool { kind == .word || kind == .quotedIdentifier || kind == .unicodeIdentifier }
}

/// The classes of bytes in PostgreSQL's scan.l.
enum ByteClass {
    /// Space, tab, newline, carriage return, form feed, vertical tab.
    @inline(__always)
    static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte &- 0x09 < 5 }

    /// Where a `--` comment ends.
    @inline(__always)
    static func isNewline(_ byte: UInt8) -> Bool { byte == 0x0A || byte == 0x0D }

    /// 0 to 9.
    @inline(__always)
    static func isDigit(_ byte: UInt8) -> Bool { byte &- 0x30 < 10 }

    /// Letters, underscore and every byte of a multibyte character.
    @inline(__always)
    static func startsWord(_ byte: UInt8) -> Bool {
        (byte | 0x20) &- 0x61 < 26 || byte == 0x5F || byte >= 0x80
    }

    /// What may follow in an identifier: also digits and `$`.
    @inline(__always)
    static func continuesWord(_ byte: UInt8) -> Bool { startsWord(byte) || isDigit(byte) || byte == 0x24 }

    /// The characters of which operators consist.
    @inline(__always)
    static func isOperator(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x7E, 0x21, 0x40, 0x23, 0x25, 0x5E, 0x26, 0x7C, 0x60, 0x3F: true  // ~ ! @ # % ^ & | ` ?
        default: isPlainOperator(byte)
        }
    }

    /// Those of them that the SQL standard's operators consist of.
    @inline(__always)
    static func isPlainOperator(_ byte: UInt8) -> Bool {
        switch byte {
        case 0x2B, 0x2D, 0x2A, 0x2F, 0x3C, 0x3E, 0x3D: true  // + - * / < > =
        default: false
        }
    }

    /// `+` or `-`.
    @inline(__always)
    static func isSign(_ byte: UInt8) -> Bool { byte == 0x2B || byte == 0x2D }

    /// The lower-case form of an ASCII letter, every other byte as it is: how keywords and names are folded.
    @inline(__always)
    static func fold(_ byte: UInt8) -> UInt8 { byte &- 0x41 < 26 ? byte | 0x20 : byte }

    /// The value of a hexadecimal digit, nil for any other byte.
    static func hexadecimalValue(_ byte: UInt8) -> UInt32? {
        switch byte {
        case 0x30...0x39: UInt32(byte - 0x30)
        case 0x41...0x46: UInt32(byte - 0x41 + 10)
        case 0x61...0x66: UInt32(byte - 0x61 + 10)
        default: nil
        }
    }
}
