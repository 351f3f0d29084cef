// PostgreSQL's lexer over raw bytes: no String, no allocation, linear in the text, at ease with any bytes.
//
//     blanks and comments  →  first byte decides  →  token (kind, start, end)
//
// Invariant: 0 ≤ position ≤ count, and every token but `end` is at least one byte long, so a caller that reads
// until `end` stops. What is cut off by the text's end becomes `unterminated` and takes all the rest: PostgreSQL
// refuses such a text before it runs anything. All parts of a text are read with one value of
// standard_conforming_strings, because the server lexes a text whole before it runs its first statement.
// Multibyte encodings only a client may use (SJIS, BIG5, GBK, UHC, GB18030) have ASCII letters and signs as second
// bytes, but never a quote, a dollar or a semicolon; a backslash there can be mistaken only in an escape string.

/// Reads the tokens of a text one after the other. Valid as long as the bytes it was given.
public struct Lexer {
    /// The text.
    public let sql: UnsafeRawBufferPointer
    /// Whether a backslash in a plain `'…'` is an ordinary character (the server's setting of that name).
    public let standardConformingStrings: Bool
    /// Where the next token is looked for.
    public private(set) var position: Int

    /// A lexer at the start of a text.
    public init(_ sql: UnsafeRawBufferPointer, standardConformingStrings: Bool) {
        self.sql = sql
        self.standardConformingStrings = standardConformingStrings
        position = 0
    }

    /// Goes on from another offset of the text.
    mutating func move(to offset: Int) {
        precondition(0 <= offset && offset <= sql.count)
        position = offset
    }

    /// The text's length in bytes.
    @inline(__always)
    var count: Int { sql.count }

    /// The byte at an offset, 0 past the end: a NUL is part of no token, so looking ahead needs no length.
    @inline(__always)
    func byte(at offset: Int) -> UInt8 {
        // SAFETY: the offset is checked against the count right here and is never negative.
        offset < sql.count ? sql[offset] : 0
    }

    /// The next token; `end` when there is none, however often it is asked for.
    public mutating func next() -> Token {
        position = skipBlanks(from: position)
        let start = position
        guard start < count else { return Token(.end, start, start) }
        let token = token(at: start, first: byte(at: start))
        position = token.end
        return token
    }

    private func token(at start: Int, first: UInt8) -> Token {
        switch first {
        case 0x41...0x5A, 0x61...0x7A, 0x5F, 0x80...0xFF: wordOrPrefixed(at: start, first: first)
        case 0x30...0x39: Token(.number, start, numberEnd(from: start))
        case 0x27: string(standardConformingStrings ? .string : .escapeString, start: start, quote: start)
        case 0x22: quotedIdentifier(.quotedIdentifier, start: start, quote: start)
        case 0x24: dollar(at: start)
        case 0x28: Token(.openParenthesis, start, start + 1)
        case 0x29: Token(.closeParenthesis, start, start + 1)
        case 0x2C: Token(.comma, start, start + 1)
        case 0x3B: Token(.semicolon, start, start + 1)
        case 0x2E:
            switch byte(at: start + 1) {
            case 0x30...0x39: Token(.number, start, numberEnd(from: start))
            case 0x2E: Token(.other, start, start + 2)
            default: Token(.dot, start, start + 1)
            }
        case 0x3A:
            byte(at: start + 1) == 0x3A ? Token(.typeCast, start, start + 2) : Token(.other, start, start + 1)
        default:
            ByteClass.isOperator(first) ? operatorRun(at: start, first: first) : Token(.other, start, start + 1)
        }
    }

    // MARK: - Blanks

    /// The offset of the first byte that is neither white space nor part of a comment.
    func skipBlanks(from start: Int) -> Int {
        var offset = start
        while true {
            let byte = byte(at: offset)
            if ByteClass.isSpace(byte) {
                offset += 1
            } else if byte == 0x2D, self.byte(at: offset + 1) == 0x2D {
                offset = lineEnd(from: offset + 2)
            } else if byte == 0x2F, self.byte(at: offset + 1) == 0x2A {
                offset = commentEnd(from: offset + 2)
            } else {
                return offset
            }
        }
    }

    /// The offset of the newline that ends a `--` comment, or the text's end.
    func lineEnd(from start: Int) -> Int {
        var offset = start
        while offset < count, !ByteClass.isNewline(byte(at: offset)) { offset += 1 }
        return offset
    }

    /// The offset one past a comment that was opened before `start`; such comments nest.
    private func commentEnd(from start: Int) -> Int {
        var offset = start
        var depth = 1
        while offset < count {
            let pair = (byte(at: offset), byte(at: offset + 1))
            if pair == (0x2F, 0x2A) {
                depth += 1
                offset += 2
            } else if pair == (0x2A, 0x2F) {
                depth -= 1
                offset += 2
                if depth == 0 { return offset }
            } else {
                offset += 1
            }
        }
        return count
    }

    // MARK: - Words, numbers, operators

    /// A word, or one of the quoted forms that a letter introduces: E'', B'', X'', N'', U&'', U&"".
    private func wordOrPrefixed(at start: Int, first: UInt8) -> Token {
        let second = byte(at: start + 1)
        if second == 0x27 {
            switch first {
            case 0x45, 0x65: return string(.escapeString, start: start, quote: start + 1)
            case 0x42, 0x62, 0x58, 0x78: return string(.bitString, start: start, quote: start + 1)
            case 0x4E, 0x6E:
                return string(standardConformingStrings ? .string : .escapeString, start: start, quote: start + 1)
            default: break
            }
        } else if second == 0x26, first | 0x20 == 0x75 {
            switch byte(at: start + 2) {
            case 0x27: return withEscapeClause(string(.unicodeString, start: start, quote: start + 2))
            case 0x22: return withEscapeClause(quotedIdentifier(.unicodeIdentifier, start: start, quote: start + 2))
            default: break
            }
        }
        return Token(.word, start, wordEnd(from: start + 1))
    }

    private func wordEnd(from start: Int) -> Int {
        var offset = start
        while ByteClass.continuesWord(byte(at: offset)) { offset += 1 }
        return offset
    }

    /// `12`, `1_000`, `0x1F`, `1.5`, `.5`, `1e-3`; the first of two dots in `1..2` is not the number's.
    private func numberEnd(from start: Int) -> Int {
        if byte(at: start) == 0x30, let end = radixEnd(from: start + 1) { return end }
        var offset = digitsEnd(from: start)
        if byte(at: offset) == 0x2E, byte(at: offset + 1) != 0x2E {
            offset = digitsEnd(from: offset + 1)
        }
        if byte(at: offset) | 0x20 == 0x65 {
            let sign = byte(at: offset + 1)
            let exponent = offset + (sign == 0x2B || sign == 0x2D ? 2 : 1)
            if ByteClass.isDigit(byte(at: exponent)) { offset = digitsEnd(from: exponent) }
        }
        return offset
    }

    private func digitsEnd(from start: Int) -> Int {
        var offset = start
        while true {
            let byte = byte(at: offset)
            if ByteClass.isDigit(byte) {
                offset += 1
            } else if byte == 0x5F, offset > start, ByteClass.isDigit(self.byte(at: offset + 1)) {
                offset += 2
            } else {
                return offset
            }
        }
    }

    /// The end of a hexadecimal, octal or binary integer whose letter stands at `letter`; nil if it is none.
    private func radixEnd(from letter: Int) -> Int? {
        let radix: UInt32
        switch byte(at: letter) | 0x20 {
        case 0x78: radix = 16
        case 0x6F: radix = 8
        case 0x62: radix = 2
        default: return nil
        }
        var offset = letter + 1
        while true {
            let digit = byte(at: offset) == 0x5F ? offset + 1 : offset
            guard let value = ByteClass.hexadecimalValue(byte(at: digit)), value < radix else { break }
            offset = digit + 1
        }
        return offset > letter + 1 ? offset : nil
    }

    /// A run of operator characters, which a comment's start ends. A `+` or `-` at its end belongs to it only if it
    /// holds one of `~ ! @ # % ^ & | ` ?`: so `a=-1` has an equals sign. Section 4.1.3.
    private func operatorRun(at start: Int, first: UInt8) -> Token {
        var offset = start
        var mayEndInSign = false
        while ByteClass.isOperator(byte(at: offset)) {
            let pair = (byte(at: offset), byte(at: offset + 1))
            // The first pair is no comment: blanks were passed before.
            if pair == (0x2F, 0x2A) || pair == (0x2D, 0x2D) { break }
            mayEndInSign = mayEndInSign || !ByteClass.isPlainOperator(pair.0)
            offset += 1
        }
        if !mayEndInSign {
            while offset > start + 1, ByteClass.isSign(byte(at: offset - 1)) { offset -= 1 }
        }
        return Token(first == 0x3D && offset == start + 1 ? .equals : .operator, start, offset)
    }
}
