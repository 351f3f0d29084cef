// One line of an ini file, by the rules of PgBouncer's files:
//
//     ; comment   # comment         first character that is not a blank; no comments after a value
//     [section]
//     key = value to the end of the line, without the blanks around it
//     "quoted key" = value          or 'quoted key'; a doubled quote stands for itself
//     %include path
//
// A bare key is made of letters, digits and _ . * -

/// What a line says.
enum IniLine: Equatable {
    case nothing
    case section(String)
    case entry(key: String, value: String)
    case include(path: String)
    /// The line is none of these; `expected` says what was missing. The line is not kept: it may hold a password.
    case malformed(expected: String)
}

/// Reads one line, given without its line feed.
func parseIniLine(_ bytes: ArraySlice<UInt8>) -> IniLine {
    let line = trimmed(bytes)
    switch line.first {
    case nil, UInt8(ascii: ";"), UInt8(ascii: "#"): return .nothing
    case UInt8(ascii: "["): return parseSection(line)
    case UInt8(ascii: "%"): return parseDirective(line)
    default: return parseEntry(line)
    }
}

private func parseSection(_ line: ArraySlice<UInt8>) -> IniLine {
    guard line.count > 2, line.last == UInt8(ascii: "]") else { return .malformed(expected: "[section]") }
    return .section(String(decoding: trimmed(line.dropFirst().dropLast()), as: UTF8.self))
}

private func parseDirective(_ line: ArraySlice<UInt8>) -> IniLine {
    let word = line.prefix { !isBlank($0) }
    let path = trimmed(line.dropFirst(word.count))
    guard word.elementsEqual("%include".utf8), !path.isEmpty else { return .malformed(expected: "%include path") }
    return .include(path: String(decoding: path, as: UTF8.self))
}

private func parseEntry(_ line: ArraySlice<UInt8>) -> IniLine {
    var rest = line
    let key: [UInt8]
    if rest.first == UInt8(ascii: "\"") || rest.first == UInt8(ascii: "'") {
        guard let unquoted = takeQuoted(&rest) else { return .malformed(expected: "a closing quote") }
        key = unquoted
    } else {
        key = Array(rest.prefix(while: isBareKeyByte))
        rest = rest.dropFirst(key.count)
    }
    rest = rest.drop(while: isBlank)
    guard !key.isEmpty, rest.popFirst() == UInt8(ascii: "=") else { return .malformed(expected: "key = value") }
    return .entry(
        key: String(decoding: key, as: UTF8.self), value: String(decoding: trimmed(rest), as: UTF8.self))
}

/// The lines of a file, without line feeds; a byte order mark at the start is dropped.
func lines(of text: String) -> [ArraySlice<UInt8>] {
    var bytes = Array(text.utf8)[...]
    if bytes.starts(with: [0xef, 0xbb, 0xbf]) { bytes = bytes.dropFirst(3) }
    return bytes.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false)
}
