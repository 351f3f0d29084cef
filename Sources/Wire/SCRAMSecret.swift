// What is kept of a password for SCRAM-SHA-256 (RFC 5802, section 3; RFC 7677):
//
//     SaltedPassword = PBKDF2(password, salt, iterations)
//     ClientKey = HMAC(SaltedPassword, "Client Key")     proves the client
//     ServerKey = HMAC(SaltedPassword, "Server Key")     proves the server
//     StoredKey = SHA-256(ClientKey)
//
// The secret that a server stores is (salt, iterations, StoredKey, ServerKey). Who has ClientKey and ServerKey can log
// in without the password: Weir learns the first from a client's log-in and has the second in the stored secret.
//
// Passwords: RFC 5802 wants SASLprep. ASCII is its own SASLprep; other text is taken byte by byte, which is what
// PostgreSQL does when SASLprep fails. A password that normalisation would change must be stored as a SCRAM secret.

/// The keys of a log-in, which stand for the password as long as salt and iterations stay. As secret as it.
public struct SCRAMKeys: Equatable, Sendable {
    /// ClientKey, 32 bytes.
    public let clientKey: [UInt8]
    /// ServerKey, 32 bytes.
    public let serverKey: [UInt8]

    /// Keys that were learnt: `clientKey` from a client's log-in, `serverKey` from the stored secret.
    public init(clientKey: [UInt8], serverKey: [UInt8]) {
        precondition(clientKey.count == sha256Bytes && serverKey.count == sha256Bytes, "keys have 32 bytes")
        self.clientKey = clientKey
        self.serverKey = serverKey
    }

    /// The keys of a password. Slow on purpose: about a millisecond for 4096 iterations, so not for an event loop.
    /// `iterations` must be from 1 to `scramIterationsMax`.
    public static func derive(password: String, salt: [UInt8], iterations: Int) -> SCRAMKeys {
        derive(password: [UInt8](password.utf8), salt: salt, iterations: iterations)
    }

    /// The keys of a password given as bytes, as a client sent it. As slow as the other.
    public static func derive(password: [UInt8], salt: [UInt8], iterations: Int) -> SCRAMKeys {
        let salted = pbkdf2SHA256(password: password, salt: salt, iterations: iterations)
        return SCRAMKeys(
            clientKey: hmacSHA256(key: salted, [UInt8]("Client Key".utf8)),
            serverKey: hmacSHA256(key: salted, [UInt8]("Server Key".utf8)))
    }
}

/// A stored SCRAM-SHA-256 password: enough to check a log-in, not enough to log in.
public struct SCRAMSecret: Equatable, Sendable {
    /// From 1 to `scramIterationsMax`.
    public let iterations: Int
    /// From 1 to 1024 bytes.
    public let salt: [UInt8]
    /// StoredKey, 32 bytes.
    public let storedKey: [UInt8]
    /// ServerKey, 32 bytes.
    public let serverKey: [UInt8]

    /// The longest salt, in bytes: its Base64 text must fit into a SCRAM message.
    public static var saltBytesMax: Int { 1024 }

    private init(iterations: Int, salt: [UInt8], storedKey: [UInt8], serverKey: [UInt8]) {
        self.iterations = iterations
        self.salt = salt
        self.storedKey = storedKey
        self.serverKey = serverKey
    }

    /// Reads the form of `pg_authid.rolpassword`: `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey`, the last three
    /// in Base64. Nil when it is anything else.
    public init?(parsing text: String) {
        let fields = text.utf8.split(separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
        guard fields.count == 3, fields[0].elementsEqual(scramMechanism.utf8) else { return nil }
        let parameters = fields[1].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        let keys = fields[2].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
        guard parameters.count == 2, keys.count == 2,
            let iterations = parseSCRAMIterations(parameters[0]), let salt = base64Decode(parameters[1]),
            let storedKey = base64Decode(keys[0]), let serverKey = base64Decode(keys[1])
        else { return nil }
        guard !salt.isEmpty, salt.count <= Self.saltBytesMax, storedKey.count == sha256Bytes,
            serverKey.count == sha256Bytes
        else { return nil }
        self.init(iterations: iterations, salt: salt, storedKey: storedKey, serverKey: serverKey)
    }

    /// The form of `pg_authid.rolpassword`.
    public var text: String {
        let parts = [salt, storedKey, serverKey].map { String(decoding: base64Encode($0), as: UTF8.self) }
        return "\(scramMechanism)$\(iterations):\(parts[0])$\(parts[1]):\(parts[2])"
    }

    /// The secret of a password, as slow as `SCRAMKeys.derive`. `salt` has 1 to 1024 bytes.
    public static func derive(password: String, salt: [UInt8], iterations: Int) -> SCRAMSecret {
        SCRAMSecret(
            keys: SCRAMKeys.derive(password: password, salt: salt, iterations: iterations), salt: salt,
            iterations: iterations)
    }

    /// The secret that belongs to these keys.
    public init(keys: SCRAMKeys, salt: [UInt8], iterations: Int) {
        precondition(!salt.isEmpty && salt.count <= Self.saltBytesMax, "a salt has 1 to 1024 bytes")
        precondition(iterations >= 1 && iterations <= scramIterationsMax)
        self.init(
            iterations: iterations, salt: salt, storedKey: sha256(keys.clientKey), serverKey: keys.serverKey)
    }

    /// The keys, if `password` is the one; nil otherwise. As slow as `SCRAMKeys.derive`.
    public func keys(ifPassword password: [UInt8]) -> SCRAMKeys? {
        let keys = SCRAMKeys.derive(password: password, salt: salt, iterations: iterations)
        return constantTimeEquals(sha256(keys.clientKey), storedKey) ? keys : nil
    }

    /// The secret that a user who does not exist is asked with, so that nobody learns who exists. `nonce` is random
    /// and secret, and stays the same for the life of the process: so does a user's salt, as if it were stored.
    /// No password fits; the exchange is to be run with `SCRAMServer(isMock: true)` all the same.
    public static func mock(user: String, nonce: [UInt8]) -> SCRAMSecret {
        SCRAMSecret(
            iterations: scramIterationsDefault, salt: mockSalt(user: user, nonce: nonce),
            storedKey: hmacSHA256(key: nonce, [UInt8]("stored key\0".utf8) + user.utf8),
            serverKey: hmacSHA256(key: nonce, [UInt8]("server key\0".utf8) + user.utf8))
    }

    /// The salt of `mock`, 16 bytes. A user whose password is stored as plain text must be asked with this salt too, or
    /// the difference would tell who exists.
    public static func mockSalt(user: String, nonce: [UInt8]) -> [UInt8] {
        [UInt8](hmacSHA256(key: nonce, [UInt8]("salt\0".utf8) + user.utf8).prefix(16))
    }
}

extension SCRAMKeys: CustomStringConvertible, CustomDebugStringConvertible {
    /// Without the keys, so that no log can show them.
    public var description: String { "SCRAMKeys(redacted)" }
    /// Without the keys, so that no log can show them.
    public var debugDescription: String { description }
}

extension SCRAMSecret: CustomStringConvertible, CustomDebugStringConvertible {
    /// Without salt and keys, so that no log can show them.
    public var description: String { "SCRAMSecret(iterations: \(iterations), redacted)" }
    /// Without salt and keys, so that no log can show them.
    public var debugDescription: String { description }
}
