// Turns a name or a string constant as it is written into the bytes that the server understands by it.
//
//     Foo → foo      "Foo ""x""" → Foo "x"      'it''s' → it's      E'a\n' → a, newline      U&"d\0061t" → dat
//
// The result goes into the caller's buffer, so that a look-up allocates nothing. Bare names are folded for ASCII
// letters only, as the server does in every multibyte encoding; identifiers are cut at 63 bytes as NAMEDATALEN
// demands. PostgreSQL manual, sections 4.1.1 and 4.1.2.

/// Reads names and string constants of one text.
public struct NameReader {
    /// The longest identifier in bytes; the server cuts what is longer (NAMEDATALEN - 1).
    public static var identifierBytesMax: Int { 63 }

    let lexer: Lexer

    /// A reader of the text that a scan reported ranges of, with the same setting.
    public init(_ sql: UnsafeRawBufferPointer, standardConformingStrings: Bool) {
        lexer = Lexer(sql, standardConformingStrings: standardConformingStrings)
    }

    init(lexer: Lexer) {
        self.lexer = lexer
    }

    /// Writes the one identifier or string constant of a range into a buffer.
    ///
    /// - Returns: how many bytes were written; nil if the range is no such token, if an escape in it cannot be read,
    ///   or if the buffer is too small.
    public func read(_ range: ByteRange, into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        guard let token = token(in: range) else { return nil }
        var output = NameOutput(buffer)
        append(token, to: &output)
        guard output.isComplete else { return nil }
        return token.isName ? output.clippedCount(Self.identifierBytesMax) : output.count
    }

    /// Writes the name of a setting into a buffer, in lower case since settings' names have no case:
    /// `TimeZone` and `SET TIME ZONE` both give `timezone`, `app . "User"` gives `app.user`.
    ///
    /// - Returns: how many bytes were written; nil as for `read`.
    public func read(_ name: SettingName, into buffer: UnsafeMutableRawBufferPointer) -> Int? {
        var output = NameOutput(buffer)
        switch name.spelling {
        case .written:
            var ahead = lexer
            guard name.range.upperBound <= lexer.count else { return nil }
            ahead.move(to: name.range.lowerBound)
            while true {
                let token = ahead.next()
                guard token.kind != .end, token.end <= name.range.upperBound else { break }
                if token.kind == .dot { output.append(0x2E) } else { append(token, to: &output) }
            }
        case .timeZone: output.append("timezone")
        case .schema: output.append("search_path")
        case .names: output.append("client_encoding")
        case .xmlOption: output.append("xmloption")
        }
        guard output.isComplete else { return nil }
        output.fold()
        return output.count
    }

    /// The only token of a range; nil if there are none or several.
    private func token(in range: ByteRange) -> Token? {
        guard range.upperBound <= lexer.count else { return nil }
        var ahead = lexer
        ahead.move(to: range.lowerBound)
        let token = ahead.next()
        return token.end == range.upperBound ? token : nil
    }

    private func append(_ token: Token, to output: inout NameOutput) {
        switch token.kind {
        case .word:
            for offset in token.range { output.append(ByteClass.fold(lexer.byte(at: offset))) }
        case .quotedIdentifier: appendQuoted(token.range, quote: 0x22, escape: nil, to: &output)
        case .string: appendQuoted(openingQuote(token)..<token.end, quote: 0x27, escape: nil, to: &output)
        case .escapeString:
            appendQuoted(openingQuote(token)..<token.end, quote: 0x27, escape: .backslash, to: &output)
        case .unicodeIdentifier:
            let quoted = lexer.quotedIdentifier(token.kind, start: token.start + 2, quote: token.start + 2)
            appendUnicodeForm(token, quoted.range, quote: 0x22, to: &output)
        case .unicodeString:
            let quoted = lexer.string(token.kind, start: token.start + 2, quote: token.start + 2)
            appendUnicodeForm(token, quoted.range, quote: 0x27, to: &output)
        case .dollarString:
            var delimiterBytes = 1
            while lexer.byte(at: token.start + delimiterBytes) != 0x24 { delimiterBytes += 1 }
            delimiterBytes += 1
            for offset in token.start + delimiterBytes..<token.end - delimiterBytes {
                output.append(lexer.byte(at: offset))
            }
        case .end, .bitString, .number, .parameter, .semicolon, .openParenthesis, .closeParenthesis, .comma, .dot,
            .equals, .typeCast, .operator, .other, .unterminated:
            output.fail()
        }
    }

    private func openingQuote(_ token: Token) -> Int {
        lexer.byte(at: token.start) == 0x27 ? token.start : token.start + 1
    }

    private enum Escape {
        case backslash
        case unicode(UInt8)

        /// The byte that introduces an escape.
        var byte: UInt8 {
            switch self {
            case .backslash: 0x5C
            case .unicode(let byte): byte
            }
        }
    }

    /// Copies a U& form, whose escape character the clause after the quoted part may name.
    private func appendUnicodeForm(_ token: Token, _ quoted: ByteRange, quote: UInt8, to output: inout NameOutput) {
        guard quoted.upperBound < token.end else {
            return appendQuoted(quoted, quote: quote, escape: .unicode(0x5C), to: &output)
        }
        // The clause ends with the character in quotes; any other length the server refuses.
        let escape = lexer.byte(at: token.end - 2)
        guard lexer.byte(at: token.end - 3) == 0x27, escape != 0x27, escape != 0x22, escape != 0x2B,
            !ByteClass.isSpace(escape), ByteClass.hexadecimalValue(escape) == nil
        else { return output.fail() }
        appendQuoted(quoted, quote: quote, escape: .unicode(escape), to: &output)
    }

    /// Copies what stands between quotes, the parts of a continued string one after the other.
    private func appendQuoted(_ quoted: ByteRange, quote: UInt8, escape: Escape?, to output: inout NameOutput) {
        var offset = quoted.lowerBound + 1
        while offset < quoted.upperBound {
            let byte = lexer.byte(at: offset)
            if byte == quote {
                if lexer.byte(at: offset + 1) == quote {
                    output.append(quote)
                    offset += 2
                } else if offset + 1 == quoted.upperBound {
                    return
                } else if quote == 0x27, let next = lexer.continuationQuote(from: offset + 1), next < quoted.upperBound
                {
                    offset = next + 1
                } else {
                    return output.fail()
                }
            } else if let escape, byte == escape.byte {
                switch escape {
                case .backslash: offset = appendBackslash(at: offset, to: &output)
                case .unicode: offset = appendUnicode(at: offset, escape: byte, to: &output)
                }
            } else {
                output.append(byte)
                offset += 1
            }
        }
        output.fail()
    }

    /// An escape of an E'' string; returns where reading goes on. Section 4.1.2.2.
    private func appendBackslash(at offset: Int, to output: inout NameOutput) -> Int {
        let letter = lexer.byte(at: offset + 1)
        switch letter {
        case 0x62: output.append(0x08)
        case 0x66: output.append(0x0C)
        case 0x6E: output.append(0x0A)
        case 0x72: output.append(0x0D)
        case 0x74: output.append(0x09)
        case 0x76: output.append(0x0B)
        case 0x75: return appendCodePoint(from: offset + 2, digits: 4, to: &output)
        case 0x55: return appendCodePoint(from: offset + 2, digits: 8, to: &output)
        case 0x78: return appendByte(from: offset + 2, digitsMax: 2, radix: 16, otherwise: letter, to: &output)
        case 0x30...0x37: return appendByte(from: offset + 1, digitsMax: 3, radix: 8, otherwise: letter, to: &output)
        default: output.append(letter)
        }
        return offset + 2
    }

    /// `\101` or `\x41`; an x without digits stands for itself.
    private func appendByte(
        from start: Int, digitsMax: Int, radix: UInt32, otherwise letter: UInt8, to output: inout NameOutput
    ) -> Int {
        var value: UInt32 = 0
        var offset = start
        while offset - start < digitsMax, let digit = ByteClass.hexadecimalValue(lexer.byte(at: offset)),
            digit < radix
        {
            value = value * radix + digit
            offset += 1
        }
        output.append(offset == start ? letter : UInt8(truncatingIfNeeded: value))
        return offset
    }

    /// `\0061` or `\+000061` of a U& form; a doubled escape character is one.
    private func appendUnicode(at offset: Int, escape: UInt8, to output: inout NameOutput) -> Int {
        switch lexer.byte(at: offset + 1) {
        case escape:
            output.append(escape)
            return offset + 2
        case 0x2B: return appendCodePoint(from: offset + 2, digits: 6, to: &output)
        default: return appendCodePoint(from: offset + 1, digits: 4, to: &output)
        }
    }

    /// Exactly so many hexadecimal digits, written as UTF-8. Halves of surrogate pairs are not put together.
    private func appendCodePoint(from start: Int, digits: Int, to output: inout NameOutput) -> Int {
        var value: UInt32 = 0
        for offset in start..<start + digits {
            guard let digit = ByteClass.hexadecimalValue(lexer.byte(at: offset)), value < 0x1000_0000 else {
                output.fail()
                return start
            }
            value = value << 4 | digit
        }
        guard let scalar = Unicode.Scalar(value), value != 0 else {
            output.fail()
            return start + digits
        }
        for unit in UTF8.encode(scalar) ?? UTF8.EncodedScalar() { output.append(unit) }
        return start + digits
    }
}

/// Fills a caller's buffer and remembers whether everything found room.
private struct NameOutput {
    private let buffer: UnsafeMutableRawBufferPointer
    private(set) var count = 0
    private(set) var isComplete = true

    init(_ buffer: UnsafeMutableRawBufferPointer) {
        self.buffer = buffer
    }

    mutating func append(_ byte: UInt8) {
        guard count < buffer.count else { return fail() }
        // SAFETY: the guard above says that there is room.
        buffer[count] = byte
        count += 1
    }

    mutating func append(_ text: StaticString) {
        // SAFETY: the literal holds exactly as many bytes as it says.
        for index in 0..<text.utf8CodeUnitCount { append(text.utf8Start[index]) }
    }

    mutating func fail() {
        isComplete = false
    }

    func fold() {
        // SAFETY: `append` wrote `count` bytes and keeps it at or below the buffer's length.
        for index in 0..<count { buffer[index] = ByteClass.fold(buffer[index]) }
    }

    /// The count after cutting at `bytesMax`, never inside a UTF-8 character.
    func clippedCount(_ bytesMax: Int) -> Int {
        guard count > bytesMax else { return count }
        var clipped = bytesMax
        // SAFETY: `clipped` stays below `count`, which is at most the buffer's length.
        while clipped > 0, buffer[clipped] & 0xC0 == 0x80 { clipped -= 1 }
        return clipped
    }
}
