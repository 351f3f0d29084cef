// The start-up parameter `options` carries command-line switches of a PostgreSQL backend. A pooler can honour
// only those that set a parameter, because every other switch belongs to a process that many clients share.

/// The settings in the text of an `options` start-up parameter, in order.
///
/// Words are separated by white space; a backslash takes the next character as it is. Allowed are `-c name=value`,
/// `-cname=value` and `--name=value`; a `-` in a name means `_`, as in PostgreSQL. Anything else is `badLayout`.
public func parseOptions(_ text: String) throws(StartupError) -> [(name: String, value: String)] {
    var settings: [(name: String, value: String)] = []
    var words = splitOptions(text)[...]
    while let word = words.popFirst() {
        let assignment: Substring
        if word == "-c" {
            guard let next = words.popFirst() else { throw .unsupportedOptions }
            assignment = next[...]
        } else if word.hasPrefix("-c") || word.hasPrefix("--") {
            assignment = word.dropFirst(2)
        } else {
            throw .unsupportedOptions
        }
        guard let separator = assignment.firstIndex(of: "="), separator != assignment.startIndex else {
            throw .unsupportedOptions
        }
        let name = String(assignment[..<separator].map { $0 == "-" ? "_" : $0 })
        settings.append((name, String(assignment[assignment.index(after: separator)...])))
    }
    return settings
}

/// The words of an `options` text with their backslashes resolved.
private func splitOptions(_ text: String) -> [String] {
    var words: [String] = []
    var word = String.UnicodeScalarView()
    var isInWord = false
    var isEscaped = false
    for scalar in text.unicodeScalars {
        let isBlank = scalar.value == 0x20 || (0x09...0x0d).contains(scalar.value)
        if isBlank, !isEscaped {
            if isInWord { words.append(String(word)) }
            word.removeAll(keepingCapacity: true)
            isInWord = false
        } else if scalar == "\\", !isEscaped {
            // A word begins here even if nothing follows.
            isInWord = true
            isEscaped = true
        } else {
            word.append(scalar)
            isInWord = true
            isEscaped = false
        }
    }
    if isInWord { words.append(String(word)) }
    return words
}

extension StartupError {
    fileprivate static var unsupportedOptions: StartupError {
        .badLayout(
            "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed")
    }
}
