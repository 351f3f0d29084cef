// The quoted pieces of a text: where a string constant, a quoted identifier or a dollar-quoted string ends.
//
// All the difficulty of finding statements in a text lies here: a semicolon, a comment or a function's name counts
// only outside of quotes. PostgreSQL manual, sections 4.1.2.1 to 4.1.2.4.

extension Lexer {
    /// A string constant whose opening quote stands at `quote`, with the parts that continue it on later lines.
    func string(_ kind: TokenKind, start: Int, quote: Int) -> Token {
        var opening = quote
        while let end = stringEnd(from: opening + 1, hasEscapes: kind == .escapeString) {
            // A part that continues an E'' string is read with escapes as well, so it cannot be a token of its own.
            guard let next = continuationQuote(from: end) else { return Token(kind, start, end) }
            opening = next
        }
        return Token(.unterminated, start, count)
    }

    /// The offset one past the closing quote; nil when the text ends first.
    private func stringEnd(from start: Int, hasEscapes: Bool) -> Int? {
        var offset = start
        while offset < count {
            let byte = byte(at: offset)
            if byte == 0x27 {
                guard self.byte(at: offset + 1) == 0x27 else { return offset + 1 }
                offset += 2
            } else if byte == 0x5C, hasEscapes {
                offset += 2
            } else {
                offset += 1
            }
        }
        return nil
    }

    /// The quote that continues a string: only white space with a newline and `--` comments may stand between.
    func continuationQuote(from start: Int) -> Int? {
        var offset = start
        var sawNewline = false
        while true {
            let byte = byte(at: offset)
            if ByteClass.isSpace(byte) {
                sawNewline = sawNewline || ByteClass.isNewline(byte)
                offset += 1
            } else if byte == 0x2D, self.byte(at: offset + 1) == 0x2D {
                offset = lineEnd(from: offset + 2)
            } else {
                return byte == 0x27 && sawNewline ? offset : nil
            }
        }
    }

    /// A quoted identifier whose opening quote stands at `quote`; a doubled quote is part of the name.
    func quotedIdentifier(_ kind: TokenKind, start: Int, quote: Int) -> Token {
        var offset = quote + 1
        while offset < count {
            if byte(at: offset) == 0x22 {
                guard byte(at: offset + 1) == 0x22 else { return Token(kind, start, offset + 1) }
                offset += 2
            } else {
                offset += 1
            }
        }
        return Token(.unterminated, start, count)
    }

    /// The token of a U& form, longer by the `UESCAPE 'c'` that belongs to it.
    func withEscapeClause(_ token: Token) -> Token {
        guard token.kind != .unterminated else { return token }
        // Read by hand rather than with `next`, which would call itself once for each of a row of such tokens.
        let keyword = skipBlanks(from: token.end)
        let keywordEnd = keyword + 7
        guard keywordEnd < count, matches(keyword..<keywordEnd, "uescape"),
            !ByteClass.continuesWord(byte(at: keywordEnd))
        else { return token }
        let quote = skipBlanks(from: keywordEnd)
        guard byte(at: quote) == 0x27 else { return token }
        let escape = string(.string, start: quote, quote: quote)
        guard escape.kind == .string else { return token }
        return Token(token.kind, token.start, escape.end)
    }

    /// What a dollar introduces: a parameter, a dollar-quoted string, or nothing.
    func dollar(at start: Int) -> Token {
        var offset = start + 1
        if ByteClass.isDigit(byte(at: offset)) {
            while ByteClass.isDigit(byte(at: offset)) { offset += 1 }
            return Token(.parameter, start, offset)
        }
        while ByteClass.startsWord(byte(at: offset)) || ByteClass.isDigit(byte(at: offset)) { offset += 1 }
        guard byte(at: offset) == 0x24 else { return Token(.other, start, start + 1) }
        let delimiterBytes = offset + 1 - start
        guard let end = dollarStringEnd(from: offset + 1, delimiter: start, delimiterBytes: delimiterBytes) else {
            return Token(.unterminated, start, count)
        }
        return Token(.dollarString, start, end)
    }

    /// The offset one past the closing delimiter. Linear: a tag holds no dollar, so no byte is compared twice.
    private func dollarStringEnd(from start: Int, delimiter: Int, delimiterBytes: Int) -> Int? {
        var offset = start
        while offset < count {
            guard byte(at: offset) == 0x24 else {
                offset += 1
                continue
            }
            var matched = 1
            while matched < delimiterBytes, offset + matched < count,
                byte(at: offset + matched) == byte(at: delimiter + matched)
            {
                matched += 1
            }
            if matched == delimiterBytes { return offset + matched }
            offset += matched
        }
        return nil
    }
}

// MARK: - Going inside

extension Lexer {
    /// A lexer of what a string constant holds, as it is written there; its offsets are those of the whole text.
    func inside(_ literal: ByteRange) -> Lexer {
        var opening = literal.lowerBound
        while opening < literal.upperBound, byte(at: opening) != 0x27, byte(at: opening) != 0x24 { opening += 1 }
        var start = opening + 1
        var end = literal.upperBound - 1
        if byte(at: opening) == 0x24 {
            while start < end, byte(at: start) != 0x24 { start += 1 }
            end -= start - opening
            start += 1
        }
        // A piece that the contents leave open must not run on into the text around them.
        let upTo = UnsafeRawBufferPointer(rebasing: sql[..<max(0, min(end, count))])
        var contents = Lexer(upTo, standardConformingStrings: standardConformingStrings)
        contents.move(to: min(start, upTo.count))
        return contents
    }
}

// MARK: - Comparing

extension Lexer {
    /// Whether a token's bytes are this word, letters of either case; `lower` is written in lower case.
    @inline(__always)
    func matches(_ token: Token, _ lower: StaticString) -> Bool {
        matches(token.range, lower)
    }

    /// Whether these bytes are this word, letters of either case; `lower` is written in lower case.
    @inline(__always)
    func matches(_ range: ByteRange, _ lower: StaticString) -> Bool {
        range.count == lower.utf8CodeUnitCount && compare(range, lower, isFolded: true)
    }

    /// Whether a name is this one as the server reads it: folded when bare, exact when quoted.
    func names(_ token: Token, _ lower: StaticString) -> Bool {
        switch token.kind {
        case .word: matches(token, lower)
        case .quotedIdentifier:
            token.range.count == lower.utf8CodeUnitCount + 2
                && compare(token.start + 1..<token.end - 1, lower, isFolded: false)
        case .unicodeIdentifier: unicodeNames(token, lower)
        default: false
        }
    }

    /// A name written with Unicode escapes, however few people write one: decoded on the stack and compared.
    @inline(never)
    private func unicodeNames(_ token: Token, _ lower: StaticString) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: NameReader.identifierBytesMax, alignment: 1) { buffer in
            guard let count = NameReader(lexer: self).read(token.range, into: buffer),
                count == lower.utf8CodeUnitCount
            else { return false }
            // SAFETY: both hold `count` bytes: the buffer was filled so far, the literal's length was compared.
            return (0..<count).allSatisfy { buffer[$0] == lower.utf8Start[$0] }
        }
    }

    private func compare(_ range: ByteRange, _ lower: StaticString, isFolded: Bool) -> Bool {
        var index = 0
        while index < range.count {
            let byte = byte(at: range.lowerBound + index)
            // SAFETY: both callers compared the range's length with the literal's.
            guard (isFolded ? ByteClass.fold(byte) : byte) == lower.utf8Start[index] else { return false }
            index += 1
        }
        return true
    }
}
