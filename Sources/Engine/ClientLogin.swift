// What is known of a client only while it logs in, and how it has to prove who it is.

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
    /// Settings from the start-up packet, as the client spelt them, each name once.
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

/// Why a login is refused.
struct LoginRefusal: Error {
    var error: ErrorFields

    init(_ code: String, _ message: String, detail: String? = nil, hint: String? = nil) {
        error = fatalFields(code, message, detail: detail, hint: hint)
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
