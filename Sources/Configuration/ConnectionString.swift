// The value of a line in [databases], [users] and [peers]: `key=value key='quoted value' …`.
//
// The quoting is PgBouncer's, which is not libpq's: a bare value ends only at a space (a tab belongs to it), a
// quoted one doubles its quotes and knows no backslash. Blanks between pairs and around `=` are skipped. A bare
// value cannot be empty.

/// One pair of a connection string.
struct ConnectionPair: Equatable {
    let key: String
    let value: String
}

/// Why a connection string could not be read. It never repeats the text, which may hold a password.
struct ConnectionStringError: Error, Equatable {
    let message: String
}

/// Reads the pairs in their order; a key may stand twice.
func connectionPairs(of text: String) throws(ConnectionStringError) -> [ConnectionPair] {
    var pairs: [ConnectionPair] = []
    var rest = Array(text.utf8)[...]
    rest = rest.drop(while: isBlank)
    while !rest.isEmpty {
        let key = rest.prefix { $0 != UInt8(ascii: "=") && !isBlank($0) }
        rest = rest.dropFirst(key.count).drop(while: isBlank)
        guard !key.isEmpty, rest.popFirst() == UInt8(ascii: "=") else {
            throw syntaxError("key=value", after: pairs)
        }
        rest = rest.drop(while: isBlank)
        let value: [UInt8]
        if rest.first == UInt8(ascii: "'") {
            guard let unquoted = takeQuoted(&rest) else { throw syntaxError("a closing quote", after: pairs) }
            value = unquoted
        } else {
            value = Array(rest.prefix { $0 != UInt8(ascii: " ") })
            rest = rest.dropFirst(value.count)
            guard !value.isEmpty else { throw syntaxError("a value after =", after: pairs) }
        }
        pairs.append(
            ConnectionPair(key: String(decoding: key, as: UTF8.self), value: String(decoding: value, as: UTF8.self)))
        rest = rest.drop(while: isBlank)
    }
    return pairs
}

/// Takes a text in quotes from the front: the first byte is the quote, doubled inside it stands for itself. Nil if
/// the closing quote is missing.
func takeQuoted(_ rest: inout ArraySlice<UInt8>) -> [UInt8]? {
    guard let quote = rest.popFirst() else { return nil }
    var unquoted: [UInt8] = []
    while let byte = rest.popFirst() {
        if byte == quote {
            guard rest.first == quote else { return unquoted }
            rest.removeFirst()
        }
        unquoted.append(byte)
    }
    return nil
}

private func syntaxError(_ expected: String, after pairs: [ConnectionPair]) -> ConnectionStringError {
    let place = pairs.last.map { " after \(quotedIfOdd($0.key))" } ?? ""
    return ConnectionStringError(message: "syntax error in connection string, expected \(expected)\(place)")
}
