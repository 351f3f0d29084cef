// auth_file: users and their secrets, one line each, `"user" "secret"`. What follows on the line is ignored
// (older files have a third field); `""` inside quotes is a quote; a line that starts with `;` is a comment.
//
// PgBouncer keeps what it read before a broken line and calls it success, which locks out the users after it
// without a word; here a broken line is an error like any other.

/// Reads an auth_file; `name` is the file's name for error lines. Of two lines for one user the later counts.
func parseAuthFile(_ text: String, name: String) -> (secrets: [String: Secret], errors: [ConfigurationError]) {
    var secrets: [String: Secret] = [:]
    var errors: [ConfigurationError] = []
    for (index, line) in lines(of: text).enumerated() {
        var rest = trimmed(line)
        if rest.isEmpty || rest.first == UInt8(ascii: ";") { continue }
        guard let user = takeDoubleQuoted(&rest), !user.isEmpty, let secret = takeDoubleQuoted(&rest) else {
            let message = "broken auth file, expected \"user\" \"secret\""
            errors.append(ConfigurationError(file: name, line: index + 1, key: "", message: message))
            continue
        }
        secrets[user] = Secret(stored: secret)
    }
    return (secrets, errors)
}

private func takeDoubleQuoted(_ rest: inout ArraySlice<UInt8>) -> String? {
    rest = rest.drop(while: isBlank)
    guard rest.first == UInt8(ascii: "\""), let unquoted = takeQuoted(&rest) else { return nil }
    return String(decoding: unquoted, as: UTF8.self)
}
