// The parameters of a start-up packet, a pure decision: which become settings of the session, and which cannot.
//
//     user, database, replication, _pq_.*       what the protocol itself is about
//     options = "-c name=value …", name=value   settings, each name once: the last counts, as in PostgreSQL, where
//                                               options come before the packet's other parameters
//
// Whether a server reports a setting is not known here, nor need it be; nor whether it knows the setting at all. What is
// decided here is what can be said without a server.

import Configuration
import Pooling
import Wire

/// Reads a start-up packet's parameters, or says why they cannot be taken (reference: 4.2).
///
/// - Parameter ignored: the names in `ignore_startup_parameters`, in lower case.
func readStartupParameters(_ message: StartupMessage, ignored: Set<String>) throws(LoginRefusal) -> LoginRequest {
    var request = LoginRequest()
    request.replication = try replicationKind(message)
    var options = ""
    var settings: [(name: String, value: String)] = []
    for (name, value) in message.parameters {
        switch name {
        case "user": request.user = value
        case "database": request.database = value
        case "replication": continue
        case _ where name.hasPrefix("_pq_."): request.unknownOptions.append(name)
        // It has a server of its own, which is told as it asked.
        case _ where request.replication != .none: request.settings.append((name, value))
        case _ where ignored.contains(name.lowercased()): continue
        case "options": options = value
        default: settings.append((name, value))
        }
    }
    if request.replication == .none {
        let inOptions = try settingsInOptions(options).filter { !ignored.contains($0.name.lowercased()) }
        request.settings = try settingsOfSession(inOptions + settings)
    }
    guard !request.user.isEmpty else { throw LoginRefusal(SQLState.invalidAuthorization, "no username supplied") }
    if request.database.isEmpty { request.database = request.user }
    guard request.user.utf8.count < 128 else { throw LoginRefusal(SQLState.invalidAuthorization, "username too long") }
    guard request.database.utf8.count < 64 else {
        throw LoginRefusal(SQLState.invalidCatalogName, "database name too long")
    }
    return request
}

private func replicationKind(_ message: StartupMessage) throws(LoginRefusal) -> ReplicationKind {
    guard let value = message.value("replication") else { return .none }
    guard let kind = ReplicationKind(parameter: value) else {
        throw LoginRefusal(
            SQLState.invalidParameterValue, "invalid value for parameter \"replication\": \"\(value)\"",
            hint: "Valid values are: \"false\", 0, \"true\", 1, \"database\".")
    }
    return kind
}

private func settingsInOptions(_ text: String) throws(LoginRefusal) -> [(name: String, value: String)] {
    do {
        return try parseOptions(text)
    } catch {
        throw LoginRefusal(SQLState.featureNotSupported, error.message)
    }
}

/// Each setting once, with its last value, if it can follow a client at all.
private func settingsOfSession(
    _ asked: [(name: String, value: String)]
) throws(LoginRefusal) -> [(name: String, value: String)] {
    var places: [String: Int] = [:]
    var settings: [(name: String, value: String)] = []
    for (name, value) in asked {
        let key = name.lowercased()
        // Every transaction begins them anew; PostgreSQL takes them for the login's own.
        if SessionQuestion.ofTransaction.contains(key) || key == "seed" { continue }
        if let place = places[key] {
            settings[place] = (name, value)
        } else {
            places[key] = settings.count
            settings.append((name, value))
        }
    }
    guard settings.count <= ParameterSets.namesMax else {
        throw LoginRefusal(
            SQLState.programLimitExceeded, "too many startup parameters",
            detail: "There are \(settings.count); a session may begin with \(ParameterSets.namesMax).")
    }
    for (name, value) in settings { try check(name, value) }
    return settings
}

/// Libraries are loaded when a server process starts, and never for one of its clients.
private let settingsOfProcesses: Set<String> = ["local_preload_libraries", "session_preload_libraries"]

private func check(_ name: String, _ value: String) throws(LoginRefusal) {
    guard isSettingName(name) else {
        guard name.utf8.contains(UInt8(ascii: ".")) else {
            throw LoginRefusal(SQLState.undefinedObject, "unrecognized configuration parameter \"\(name)\"")
        }
        throw LoginRefusal(
            SQLState.invalidName, "invalid configuration parameter name \"\(name)\"",
            detail: "Custom parameter names must be two or more simple identifiers separated by dots.")
    }
    guard !settingsOfProcesses.contains(name.lowercased()) else {
        throw LoginRefusal(
            SQLState.featureNotSupported, "unsupported startup parameter: \(name)",
            detail: "Libraries are loaded when a server process starts, and servers are shared.",
            hint: "Set it for the role or the database (ALTER ROLE, ALTER DATABASE), or ignore_startup_parameters.")
    }
    // PostgreSQL shortens this one.
    if name.lowercased() == "application_name" { return }
    guard ParameterSets.accepts(name: name, value: value) else {
        throw LoginRefusal(
            SQLState.programLimitExceeded, "unsupported startup parameter: \(name)",
            detail: "Its name may have \(ParameterSets.nameBytesMax) bytes, its value \(ParameterSets.valueBytesMax).")
    }
    // What was not UTF-8 could not be given to a server as it was.
    guard !value.unicodeScalars.contains("\u{FFFD}") else {
        throw LoginRefusal(
            SQLState.characterNotInRepertoire, "unsupported startup parameter: \(name)",
            detail: "Its value is not UTF-8.")
    }
}

/// Whether a text is one or more identifiers, between dots, that mean the same in every encoding.
private func isSettingName(_ name: String) -> Bool {
    name.utf8.split(separator: UInt8(ascii: "."), omittingEmptySubsequences: false).allSatisfy { part in
        guard let first = part.first, isLetter(first) else { return false }
        return part.allSatisfy { isLetter($0) || (0x30...0x39).contains($0) || $0 == UInt8(ascii: "$") }
    }
}

private func isLetter(_ byte: UInt8) -> Bool {
    (0x61...0x7A).contains(byte | 0x20) || byte == UInt8(ascii: "_")
}
