// Small tools for text as bytes: blanks, digits, quoting for messages. They exist because the module has no
// Foundation, and because a file's bytes are compared as bytes, never as Unicode.

/// Whether C's isspace calls the byte a blank.
func isBlank(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }

/// Whether the byte is 0 to 9.
func isDecimalDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

/// The value of a digit in a radix up to 16, or nil.
func digitValue(_ byte: UInt8, radix: Int) -> Int? {
    let value: Int
    switch byte {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): value = Int(byte) - 0x30
    case UInt8(ascii: "a")...UInt8(ascii: "f"): value = Int(byte) - 0x61 + 10
    case UInt8(ascii: "A")...UInt8(ascii: "F"): value = Int(byte) - 0x41 + 10
    default: return nil
    }
    return value < radix ? value : nil
}

/// The bytes without blanks at both ends.
func trimmed<Bytes: BidirectionalCollection<UInt8>>(_ bytes: Bytes) -> Bytes.SubSequence
where Bytes.SubSequence: BidirectionalCollection<UInt8> {
    var rest = bytes.drop(while: isBlank)
    while let last = rest.last, isBlank(last) { rest = rest.dropLast() }
    return rest
}

/// The text in double quotes for a message: control characters are escaped, a long text is cut.
func quoted(_ text: String) -> String {
    var result = "\""
    for (count, scalar) in text.unicodeScalars.enumerated() {
        if count == 64 {
            result += "…"
            break
        }
        switch scalar {
        case "\"": result += "\\\""
        case "\\": result += "\\\\"
        case "\n": result += "\\n"
        case "\t": result += "\\t"
        case _ where scalar.value < 0x20 || (0x7f...0x9f).contains(scalar.value):
            result += "\\u{" + String(scalar.value, radix: 16) + "}"
        default: result.unicodeScalars.append(scalar)
        }
    }
    return result + "\""
}

/// A name as it is if it is made of letters, digits and `_ . * -`, else quoted.
func quotedIfOdd(_ name: String) -> String {
    !name.isEmpty && name.utf8.count <= 64 && name.utf8.allSatisfy(isBareKeyByte) ? name : quoted(name)
}

/// Whether a key of the file may contain the byte without being quoted.
func isBareKeyByte(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
        UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "_"), UInt8(ascii: "."), UInt8(ascii: "*"),
        UInt8(ascii: "-"):
        true
    default: false
    }
}

/// "a", "a or b", "a, b or c".
func joinedWithOr(_ words: [String]) -> String {
    guard let last = words.last, words.count > 1 else { return words.first ?? "" }
    return words.dropLast().joined(separator: ", ") + " or " + last
}

extension String {
    /// The text without blanks at both ends.
    var trimmedBlanks: String { String(decoding: trimmed(utf8), as: UTF8.self) }

    /// The text with A to Z made small, and nothing else changed.
    var lowercasedASCII: String {
        let bytes = utf8.map { (0x41...0x5a).contains($0) ? $0 | 0x20 : $0 }
        return String(decoding: bytes, as: UTF8.self)
    }
}

/// Breaks words into lines of at most `columns`, each opened by `prefix`.
func wrapped(_ text: String, columns: Int, prefix: String) -> String {
    var lines: [String] = []
    var line = ""
    for word in text.split(whereSeparator: \.isWhitespace) {
        if !line.isEmpty, prefix.count + line.count + 1 + word.count > columns {
            lines.append(prefix + line)
            line = ""
        }
        line += line.isEmpty ? String(word) : " " + word
    }
    if !line.isEmpty { lines.append(prefix + line) }
    return lines.joined(separator: "\n")
}
