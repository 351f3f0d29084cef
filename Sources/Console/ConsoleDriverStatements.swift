// The statements that drivers send on their own: to learn about the server, to set the session up, to open and end
// transactions, to clean a connection before it goes back into their pool.
//
// A console that answers them with errors (PgBouncer's does, but for five parameters) cannot be used by psycopg in its
// default mode, by asyncpg's pool or by JDBC. None of them has any effect: the console has neither transactions nor
// session settings, and says so by ReadyForQuery `I`.

/// The version of Weir.
public let weirVersion = "0.1.0"

/// What SHOW VERSION and `version()` answer.
public let consoleVersionText = "Weir \(weirVersion) (PgBouncer 1.25.2 compatible)"

/// The parameters that the console reports at login, in order (PgBouncer's list and values).
public let consoleWelcomeParameters: [(name: String, value: String)] = [
    ("server_version", "1.25.2/bouncer"),
    ("client_encoding", "UTF8"),
    ("server_encoding", "UTF8"),
    ("DateStyle", "ISO"),
    ("TimeZone", "GMT"),
    ("standard_conforming_strings", "on"),
    ("is_superuser", "on"),
]

/// The value of a parameter that drivers may SHOW, by its name in lower case.
func driverParameterValue(_ name: String) -> String? {
    switch name {
    case "default_transaction_isolation", "transaction_isolation": "read committed"
    case "default_transaction_read_only", "transaction_read_only": "off"
    default: consoleWelcomeParameters.first { $0.name.lowercased() == name }?.value
    }
}

/// Whether drivers may SET the parameter, by its name in lower case. No setting of Weir has one of these names.
private func isDriverParameter(_ name: String) -> Bool {
    switch name {
    case "client_encoding", "default_transaction_isolation", "transaction_isolation", "standard_conforming_strings",
        "datestyle", "timezone", "application_name", "extra_float_digits", "client_min_messages", "search_path",
        "statement_timeout", "lock_timeout", "intervalstyle", "bytea_output", "jit",
        "default_transaction_read_only":
        true
    default: false
    }
}

/// A driver's statement by its first word (in lower case) and what follows; nil when it is none.
func parseDriverStatement(_ first: String, _ rest: [ConsoleToken]) -> ConsoleCommand? {
    switch first {
    case "begin": return .noOperation(tag: "BEGIN")
    case "start": return rest.first?.keyword == "transaction" ? .noOperation(tag: "START TRANSACTION") : nil
    case "commit", "end": return isTransactionEnd(rest) ? .noOperation(tag: "COMMIT") : nil
    case "rollback", "abort": return isTransactionEnd(rest) ? .noOperation(tag: "ROLLBACK") : nil
    case "reset": return rest.count == 1 && rest[0].name != nil ? .noOperation(tag: "RESET") : nil
    case "unlisten": return rest.count == 1 ? .noOperation(tag: "UNLISTEN") : nil
    case "close": return isAll(rest) ? .noOperation(tag: "CLOSE CURSOR ALL") : nil
    case "discard": return isAll(rest) ? .deallocate(statement: nil, tag: "DISCARD ALL") : nil
    case "deallocate": return parseDeallocate(rest)
    case "set": return parseDriverSet(rest)
    case "show": return parseDriverShow(rest)
    case "select": return parseDriverSelect(rest)
    default: return nil
    }
}

private func isAll(_ tokens: [ConsoleToken]) -> Bool { tokens.count == 1 && tokens[0].keyword == "all" }

private func isTransactionEnd(_ tokens: [ConsoleToken]) -> Bool {
    tokens.isEmpty || tokens.count == 1 && ["work", "transaction"].contains(tokens[0].keyword)
}

private func parseDeallocate(_ rest: [ConsoleToken]) -> ConsoleCommand? {
    var tokens = rest[...]
    if tokens.count == 2, tokens.first?.keyword == "prepare" { tokens = tokens.dropFirst() }
    guard tokens.count == 1, let token = tokens.first, let name = token.name else { return nil }
    if token.keyword == "all" { return .deallocate(statement: nil, tag: "DEALLOCATE ALL") }
    return .deallocate(statement: token.keyword ?? name, tag: "DEALLOCATE")
}

/// SET [SESSION | LOCAL] parameter {= | TO} anything, and the spellings of the SQL standard.
private func parseDriverSet(_ rest: [ConsoleToken]) -> ConsoleCommand? {
    var tokens = rest[...]
    switch (rest.first?.keyword, rest.dropFirst().first?.keyword) {
    case ("session", "characteristics"), ("transaction", "isolation"), ("transaction", "read"):
        return .setParameter("transaction_isolation")
    case ("session", _), ("local", _): tokens = tokens.dropFirst()
    default: break
    }
    let words = tokens.prefix(2).map(\.keyword)
    if words == ["time", "zone"], tokens.count > 2 { return .setParameter("timezone") }
    guard tokens.count > 2, let parameter = tokens.first?.name?.lowercased(), isDriverParameter(parameter) else {
        return nil
    }
    let sign = tokens[tokens.startIndex + 1]
    guard sign == .symbol(UInt8(ascii: "=")) || sign.keyword == "to" else { return nil }
    return .setParameter(parameter)
}

private func parseDriverShow(_ rest: [ConsoleToken]) -> ConsoleCommand? {
    switch rest.map(\.keyword) {
    case ["transaction", "isolation", "level"]: return .showParameter("transaction_isolation")
    case ["time", "zone"]: return .showParameter("timezone")
    default: break
    }
    guard rest.count == 1, let parameter = rest[0].name?.lowercased(), driverParameterValue(parameter) != nil else {
        return nil
    }
    return .showParameter(parameter)
}

/// SELECT of a small whole number, or of a function that drivers call: `[pg_catalog.]name()`.
private func parseDriverSelect(_ rest: [ConsoleToken]) -> ConsoleCommand? {
    if rest.count == 1, let word = rest[0].keyword, let number = Int32(word) {
        return .selectConstant(ConsoleColumn("?column?", .int4), "\(number)")
    }
    var tokens = rest[...]
    if tokens.count == 5, tokens[0].keyword == "pg_catalog", tokens[1] == .symbol(UInt8(ascii: ".")) {
        tokens = tokens.dropFirst(2)
    }
    guard tokens.count == 3, let function = tokens.first?.keyword,
        Array(tokens.dropFirst()) == [.symbol(UInt8(ascii: "(")), .symbol(UInt8(ascii: ")"))]
    else { return nil }
    switch function {
    case "version": return .selectConstant(ConsoleColumn("version", .text), consoleVersionText)
    case "current_schema": return .selectConstant(ConsoleColumn("current_schema", .text), "public")
    case "pg_advisory_unlock_all": return .selectConstant(ConsoleColumn("pg_advisory_unlock_all", .text), "")
    default: return nil
    }
}
