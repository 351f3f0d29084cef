// What is known of a client only while it logs in, and the pure decisions of that phase: which start-up parameters
// are taken, and how the client has to prove who it is.

import Configuration
import Wire

/// The login of one client; dropped when it is over.
final class ClientLogin {
    /// The most bytes that may wait to be understood: a password message at its largest.
    static var receivedBytesMax: Int { 65_536 }

    /// How the client proves who it is.
    enum Exchange {
        case none
        case cleartext
        case md5(salt: [UInt8])
        case scram(SCRAMServer)
    }

    var received: [UInt8] = []
    var hasAskedForTLS = false
    var hasAskedForGSS = false
    /// The minor version of protocol 3 that is spoken.
    var minorVersion = 0
    var user = ""
    var database = ""
    /// Settings from the start-up packet, as the client spelt them.
    var settings: [(name: String, value: String)] = []
    var replication = ReplicationKind.none
    var isConsole = false
    var exchange = Exchange.none
    /// The secret that the client is checked against; nil when nobody of that name exists.
    var secret: Secret?
    /// The parsed or derived SCRAM secret.
    var scramSecret: SCRAMSecret?
    /// It can only fail, but must not learn so before it has tried.
    var isMock = false
    var options: DatabaseOptions?
    /// The first message of a SCRAM exchange has been answered.
    var isChallenged = false
}

/// What a start-up packet asks for.
struct LoginRequest {
    var user = ""
    var database = ""
    var settings: [(name: String, value: String)] = []
    var unknownOptions: [String] = []
    var replication = ReplicationKind.none
}

/// What kind of replication a client wants (PostgreSQL manual, 55.4).
enum ReplicationKind: UInt8 {
    case none
    case physical
    case logical

    /// The meaning of the start-up parameter `replication`; nil for what PostgreSQL does not know either.
    init?(parameter: String) {
        switch parameter.lowercased() {
        case "true", "on", "yes", "1": self = .physical
        case "false", "off", "no", "0", "": self = .none
        case "database": self = .logical
        default: return nil
        }
    }

    /// The value of the parameter for a server.
    var parameter: String { self == .logical ? "database" : "true" }

    /// As the console shows it.
    var text: String {
        switch self {
        case .none: "none"
        case .physical: "physical"
        case .logical: "logical"
        }
    }
}

/// The names of start-up parameters that the configuration speaks of, in lower case.
struct StartupNames {
    let ignored: Set<String>
    let tracked: Set<String>

    init(_ settings: Settings) {
        ignored = Set(settings.ignoreStartupParameters.map { $0.lowercased() })
        tracked = commonParameters.union(settings.trackExtraParameters.map { $0.lowercased() })
    }
}

/// The parameters whose value every server reports and clients commonly set (PostgreSQL manual, 55.2.7).
private let commonParameters: Set<String> = [
    "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name", "intervalstyle",
]

/// Reads a start-up packet's parameters, or says why they cannot be taken (reference: 4.2).
///
/// - Parameter reported: the names of what servers report, in lower case: these follow the client.
func readStartupParameters(
    _ message: StartupMessage, names: StartupNames, reported: Set<String>
) throws(LoginRefusal) -> LoginRequest {
    var request = LoginRequest()
    request.replication = try replicationKind(message)
    let ignored = names.ignored
    func isTracked(_ name: String) -> Bool { names.tracked.contains(name) || reported.contains(name) }
    for (name, value) in message.parameters {
        let key = name.lowercased()
        switch key {
        case "user": request.user = value
        case "database": request.database = value
        case "replication": continue
        case _ where key.hasPrefix("_pq_."): request.unknownOptions.append(name)
        // It has a server of its own, which is told as it asked.
        case _ where request.replication != .none: request.settings.append((name, value))
        case "options":
            if ignored.contains("options") { continue }
            for (option, value) in try options(value) {
                let key = option.lowercased()
                if isTracked(key) {
                    request.settings.append((option, value))
                } else if !ignored.contains(key) {
                    throw LoginRefusal(
                        SQLState.featureNotSupported, "unsupported startup parameter in options: \(option)",
                        hint: "Add it to ignore_startup_parameters, or set it after login.")
                }
            }
        case _ where isTracked(key): request.settings.append((name, value))
        case _ where ignored.contains(key): continue
        default:
            throw LoginRefusal(
                SQLState.featureNotSupported, "unsupported startup parameter: \(name)",
                hint: "Add it to ignore_startup_parameters, or set it after login.")
        }
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

private func options(_ text: String) throws(LoginRefusal) -> [(name: String, value: String)] {
    do {
        return try parseOptions(text)
    } catch {
        throw LoginRefusal(SQLState.featureNotSupported, error.message)
    }
}

/// Why a login is refused.
struct LoginRefusal: Error {
    var error: ErrorFields

    init(_ code: String, _ message: String, hint: String? = nil) {
        error = fatalFields(code, message, hint: hint)
    }
}

/// How a client must prove who it is.
enum AuthenticationMethod: Equatable {
    /// Nothing to prove.
    case accept
    case cleartext
    case md5
    case scram
    /// Nothing can succeed; said at once because nothing is asked with this method.
    case refuse
}

/// The method for a user with this secret; nil = nobody of that name (reference: 2.2, auth_type).
func authenticationMethod(_ type: AuthType, secret: Secret?, hasForcedUser: Bool) -> AuthenticationMethod {
    switch type {
    case .any: hasForcedUser ? .accept : .refuse
    case .trust: secret != nil || hasForcedUser ? .accept : .refuse
    case .plain: .cleartext
    case .md5:
        if case .scram = secret { .scram } else { .md5 }
    case .scramSHA256: .scram
    case .cert, .hba, .ldap, .pam: .refuse
    }
}
