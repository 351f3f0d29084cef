// Texts that people are shown, in lists and logs, without what may be secret in them.

/// A text without its comments and with `'…'` in the place of each constant in quotes: passwords, names, whatever an
/// application wrote into it. Blanks become single spaces.
///
/// - Parameters:
///   - sql: the text of a Query or Parse message without its NUL.
///   - standardConformingStrings: the server's setting of that name.
///   - bytesMax: about where the text is cut.
public func textWithoutConstants(
    _ sql: UnsafeRawBufferPointer, standardConformingStrings: Bool, bytesMax: Int
) -> String {
    var lexer = Lexer(sql, standardConformingStrings: standardConformingStrings)
    var shown: [UInt8] = []
    var end = 0
    while shown.count < bytesMax {
        let token = lexer.next()
        if token.kind == .end { break }
        if token.start > end, !shown.isEmpty { shown.append(0x20) }
        switch token.kind {
        case .string, .escapeString, .unicodeString, .dollarString, .bitString, .unterminated:
            shown.append(contentsOf: "'…'".utf8)
        default:
            shown.append(contentsOf: sql[token.start..<min(token.end, token.start + bytesMax)])
        }
        end = token.end
    }
    return String(decoding: shown, as: UTF8.self)
}
