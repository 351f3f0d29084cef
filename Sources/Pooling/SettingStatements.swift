// The SQL that puts a session's settings in place.

/// One simple-query string that puts the settings in place, as one implicit transaction: all of them or none.
///
/// `SET` serves for every reported parameter but search_path: it takes no snapshot, so it neither waits nor fails
/// where a default of serializable transactions would make a SELECT do so, and it returns no rows. search_path is a
/// list of quoted names, and PostgreSQL takes the string of a `SET` for one single name of it; set_config takes the
/// whole list, exactly as the server reported it. (Its one row is swallowed like every reply to this string.)
///
/// The string is ASCII whatever the values are, so it means the same in every client_encoding and for both values of
/// standard_conforming_strings. A name with other characters than `[A-Za-z0-9_.]` is skipped. Empty when there is
/// nothing to set.
public func setStatement(for settings: [(name: String, value: String)]) -> String {
    var statement = ""
    for setting in settings {
        let isPlainName = setting.name.utf8.allSatisfy { byte in
            (0x61...0x7A).contains(folded(byte)) || (0x30...0x39).contains(byte) || byte == 0x5F || byte == 0x2E
        }
        guard isPlainName, !setting.name.isEmpty else { continue }
        if !statement.isEmpty { statement += ";" }
        let literal = sqlLiteral(of: setting.value)
        if foldedOrder(setting.name, "search_path") == 0 {
            statement += "SELECT pg_catalog.set_config('\(setting.name)',\(literal),false)"
        } else {
            statement += "SET \(setting.name)=\(literal)"
        }
    }
    return statement
}

extension ParameterSets {
    /// Whether a set says who the session is: then nothing may run before its settings are known to be in place.
    public func hasIdentity(_ id: ParameterSetID) -> Bool {
        id != Self.empty && (value(id, roleName) != nil || value(id, authorizationName) != nil)
    }

    /// The SQL that turns the settings of a session that the server does not report from one set into another: those
    /// that only `from` has are reset. Empty when nothing differs. ASCII, as `setStatement`.
    ///
    /// Who the session is decides what it may set: its role is given up first and taken last.
    public func changeStatement(from: ParameterSetID, to: ParameterSetID) -> String {
        if from == to { return "" }
        var parts: [String] = []
        if value(from, authorizationName) != nil {
            parts.append("RESET SESSION AUTHORIZATION")
        } else if value(from, roleName) != nil {
            parts.append("RESET ROLE")
        }
        for name in names(of: from, missingIn: to) where !isIdentity(name) {
            parts.append("RESET \(quotedSettingName(name))")
        }
        for (name, value) in difference(from: from, to: to) where !isIdentity(name) {
            parts.append(
                listsOfNames.contains(name)
                    ? "SELECT pg_catalog.set_config('\(name)',\(sqlLiteral(of: value)),false)"
                    : "SET \(quotedSettingName(name))=\(sqlLiteral(of: value))")
        }
        if let user = value(to, authorizationName) {
            parts.append("SET SESSION AUTHORIZATION \(sqlLiteral(of: user))")
        }
        if let role = value(to, roleName) { parts.append("SET ROLE \(sqlLiteral(of: role))") }
        return parts.joined(separator: ";")
    }
}

private let authorizationName = "session_authorization"
private let roleName = "role"

private func isIdentity(_ name: String) -> Bool { name == roleName || name == authorizationName }

/// Settings of which PostgreSQL takes the string of a SET for one single name (GUC_LIST_QUOTE).
private let listsOfNames = [
    "search_path", "temp_tablespaces", "local_preload_libraries", "session_preload_libraries",
]

/// The name of a setting, each part of it as a quoted identifier, since a part may be a keyword.
private func quotedSettingName(_ name: String) -> String {
    name.split(separator: ".", omittingEmptySubsequences: false)
        .map { quotedIdentifier(String($0)) }
        .joined(separator: ".")
}

/// An SQL identifier in double quotes.
func quotedIdentifier(_ name: String) -> String {
    "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
}

/// A value as an SQL string constant of ASCII characters only. Other characters are written as Unicode escapes: the
/// server may be in another client's encoding when it reads them, and in some encodings a raw byte would swallow the
/// backslash or quote that follows it.
func sqlLiteral(of value: String) -> String {
    let needsEscapes = value.utf8.contains { $0 == 0x5C || $0 >= 0x80 }
    var text = needsEscapes ? "E'" : "'"
    for scalar in value.unicodeScalars {
        switch scalar {
        case "'": text += "''"
        case "\\": text += "\\\\"
        case _ where scalar.isASCII: text.unicodeScalars.append(scalar)
        default:
            let digits = String(scalar.value, radix: 16)
            let width = scalar.value > 0xFFFF ? 8 : 4
            text += (width == 8 ? "\\U" : "\\u") + String(repeating: "0", count: width - digits.count) + digits
        }
    }
    return text + "'"
}
