// From the text of a query to console commands, with PgBouncer's grammar, limits and error texts.
//
// CMD [WORD] [;] and SET key {=|to} {word|'string'}, case-insensitive, one statement. `SELECT x` means SHOW x.
// Two things are wider than in PgBouncer, where they are errors: a bare value of SET may contain `.`, `+` and `-`
// (`SET query_timeout = 1.5`), and the statements that drivers send for their own set-up are understood, also
// several in one query (see ConsoleDriverStatements.swift).

import Wire

/// Limits of the console.
public enum ConsoleLimits {
    /// The longest command word.
    public static var commandBytesMax: Int { 15 }
    /// The longest argument, also the key of SET.
    public static var argumentBytesMax: Int { 63 }
    /// The longest value of SET.
    public static var valueBytesMax: Int { 255 }
    /// The longest query.
    public static var queryBytesMax: Int { 65_536 }
    /// The longest message that is gathered for the console, in bytes without its header.
    public static var messageBytesMax: Int { 131_072 }
    /// The most that is kept of messages which arrive while a command is running.
    public static var queuedBytesMax: Int { 262_144 }
    /// Prepared statements of one session.
    public static var statementsMax: Int { 1_000 }
    /// Open portals of one session.
    public static var portalsMax: Int { 16 }
    /// The longest name of a prepared statement or portal.
    public static var nameBytesMax: Int { 255 }
    /// How much of a query an error message repeats.
    public static var quotedQueryBytesMax: Int { 256 }
}

/// Parses exactly one statement.
public func parseConsoleCommand(_ text: String) -> Result<ConsoleCommand, ErrorFields> {
    parseConsoleQuery(text).flatMap { commands in
        switch commands.count {
        case 0: .success(.empty)
        case 1: .success(commands[0])
        default:
            .failure(consoleError(SQLState.syntaxError, "cannot insert multiple commands into a prepared statement"))
        }
    }
}

/// Parses a query of the simple protocol: no statement, one, or several of those that drivers send for their own
/// set-up. Several others are an error, as in PgBouncer.
public func parseConsoleQuery(_ text: String) -> Result<[ConsoleCommand], ErrorFields> {
    guard text.utf8.count <= ConsoleLimits.queryBytesMax else {
        return .failure(badArguments("a query of the console has at most \(ConsoleLimits.queryBytesMax) bytes"))
    }
    guard let statements = consoleStatements(in: text) else { return .failure(invalidCommand(text)) }
    var commands: [ConsoleCommand] = []
    for tokens in statements {
        switch parseStatement(tokens, text: text) {
        case .success(let command): commands.append(command)
        case .failure(let error): return .failure(error)
        }
    }
    guard commands.count <= 1 || commands.allSatisfy(\.isHarmless) else { return .failure(invalidCommand(text)) }
    return .success(commands)
}

/// One statement, never empty.
private func parseStatement(_ tokens: [ConsoleToken], text: String) -> Result<ConsoleCommand, ErrorFields> {
    guard let first = tokens.first?.keyword else { return .failure(invalidCommand(text)) }
    if let command = parseDriverStatement(first, Array(tokens.dropFirst())) { return .success(command) }
    if first == "set", tokens.count > 2 { return parseSet(tokens, text: text) }
    guard tokens.count <= 2 else { return .failure(invalidCommand(text)) }
    var argument: String?
    if tokens.count == 2 {
        guard let name = tokens[1].name else { return .failure(invalidCommand(text)) }
        argument = name
    }
    guard first.utf8.count <= ConsoleLimits.commandBytesMax else {
        return .failure(badArguments("a command has at most \(ConsoleLimits.commandBytesMax) bytes"))
    }
    guard (argument?.utf8.count ?? 0) <= ConsoleLimits.argumentBytesMax else {
        return .failure(badArguments("an argument has at most \(ConsoleLimits.argumentBytesMax) bytes"))
    }
    return command(named: first, argument: argument, text: text)
}

private func command(
    named name: String, argument: String?, text: String
) -> Result<ConsoleCommand, ErrorFields> {
    switch (name, argument) {
    case ("show", let topic?), ("select", let topic?):
        guard let topic = ShowTopic(rawValue: topic.lowercased()) else { return .failure(invalidCommand(text)) }
        return .success(.show(topic))
    case ("pause", _): return .success(.pause(database: argument))
    case ("resume", _): return .success(.resume(database: argument))
    case ("kill", _): return .success(.kill(database: argument))
    case ("reconnect", _): return .success(.reconnect(database: argument))
    case ("wait_close", _): return .success(.waitClose(database: argument))
    case ("suspend", nil): return .success(.suspend)
    case ("reload", nil): return .success(.reload)
    case ("disable", let database?): return .success(.disable(database: database))
    case ("enable", let database?): return .success(.enable(database: database))
    case ("disable", nil), ("enable", nil):
        return .failure(consoleError(SQLState.syntaxError, "a database is required"))
    case ("kill_client", _): return killClient(argument)
    case ("shutdown", _):
        guard let mode = shutdownMode(argument) else { return .failure(invalidCommand(text)) }
        return .success(.shutdown(mode))
    default: return .failure(invalidCommand(text))
    }
}

private func shutdownMode(_ argument: String?) -> ShutdownMode? {
    switch argument?.lowercased() {
    case nil: .immediate
    case "wait_for_servers": .waitForServers
    case "wait_for_clients": .waitForClients
    default: nil
    }
}

/// The id is the `id` column in decimal or the `ptr` column in hexadecimal; both name the same number.
private func killClient(_ argument: String?) -> Result<ConsoleCommand, ErrorFields> {
    let text = argument ?? ""
    let id = text.lowercased().hasPrefix("0x") ? UInt64(text.dropFirst(2), radix: 16) : UInt64(text)
    guard let id else {
        return .failure(
            ErrorFields(
                code: SQLState.invalidParameterValue, message: "invalid client pointer supplied",
                hint: "Use the id column of SHOW CLIENTS."))
    }
    return .success(.killClient(id: id))
}

/// SET key {=|to} {word|'string'}.
private func parseSet(_ tokens: [ConsoleToken], text: String) -> Result<ConsoleCommand, ErrorFields> {
    let isAssignment = tokens.count >= 4 && (tokens[2] == .symbol(UInt8(ascii: "=")) || tokens[2].keyword == "to")
    guard isAssignment, let key = tokens[1].name, let value = settingValue(tokens[3...]) else {
        return .failure(invalidCommand(text))
    }
    guard key.utf8.count <= ConsoleLimits.argumentBytesMax, value.utf8.count <= ConsoleLimits.valueBytesMax else {
        return .failure(
            badArguments(
                "a key has at most \(ConsoleLimits.argumentBytesMax) bytes, "
                    + "a value at most \(ConsoleLimits.valueBytesMax)"))
    }
    return .success(.set(key: key, value: value))
}

/// A quoted value, or a bare one of words and the signs that numbers and names have.
private func settingValue(_ tokens: ArraySlice<ConsoleToken>) -> String? {
    if tokens.count == 1, let only = tokens.first {
        switch only {
        case .quoted(let value), .string(let value): return value
        case .word(let value): return value
        case .symbol: return nil
        }
    }
    var value = ""
    var followsWord = false
    for token in tokens {
        switch token {
        case .word(let word):
            if followsWord { return nil }
            value += word
            followsWord = true
            continue
        case .symbol(UInt8(ascii: ".")): value += "."
        case .symbol(UInt8(ascii: "+")): value += "+"
        case .symbol(UInt8(ascii: "-")): value += "-"
        case .symbol, .quoted, .string: return nil
        }
        followsWord = false
    }
    return value
}

/// What the console refuses, it refuses with an error of the protocol.
extension ErrorFields: Error {}

/// An error of the console with severity ERROR.
func consoleError(_ code: String, _ message: String) -> ErrorFields {
    ErrorFields(code: code, message: message)
}

private func badArguments(_ detail: String) -> ErrorFields {
    ErrorFields(code: SQLState.syntaxError, message: "bad arguments", detail: detail + ".")
}

/// The error for anything that is no command. A long text is repeated in part only.
private func invalidCommand(_ text: String) -> ErrorFields {
    var shown = text
    if text.utf8.count > ConsoleLimits.quotedQueryBytesMax {
        shown = String(decoding: text.utf8.prefix(ConsoleLimits.quotedQueryBytesMax), as: UTF8.self) + "…"
    }
    return consoleError(SQLState.syntaxError, "invalid command '\(shown)', use SHOW HELP;")
}
