// Passwords and stored secrets, in types that never show what they hold.
//
// Databases' options and whole configurations are printed in tests, in logs and by debuggers; wrapping the
// secret part once means that no place that prints has to think of it.

/// A password in clear text, as `password=` of a connection string gives it.
public struct Password: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible,
    CustomReflectable
{
    /// The password itself. Equality of passwords is not constant-time: authentication must not use it.
    public let text: String

    /// Wraps a password.
    public init(_ text: String) { self.text = text }

    /// A fixed text.
    public var description: String { "<redacted>" }
    /// A fixed text.
    public var debugDescription: String { "<redacted>" }
    /// Nothing.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

/// What auth_file knows of a user.
public enum Secret: Sendable, Equatable, CustomStringConvertible, CustomDebugStringConvertible, CustomReflectable {
    /// The password in clear text. Empty: the user can log in by no password.
    case plain(String)
    /// `md5` and 32 hexadecimal digits: the hash of password and user name (PostgreSQL manual, pg_authid).
    case md5(String)
    /// A verifier `SCRAM-SHA-256$iterations:salt$StoredKey:ServerKey` (PostgreSQL manual, pg_authid).
    case scram(String)

    /// Tells the kinds apart by their form; what is neither a hash nor a verifier is a password.
    public init(stored text: String) {
        if isMD5Hash(text) {
            self = .md5(text)
        } else if isScramVerifier(text) {
            self = .scram(text)
        } else {
            self = .plain(text)
        }
    }

    /// The kind alone.
    public var description: String {
        switch self {
        case .plain: "plain <redacted>"
        case .md5: "md5 <redacted>"
        case .scram: "scram <redacted>"
        }
    }
    /// The kind alone.
    public var debugDescription: String { description }
    /// Nothing.
    public var customMirror: Mirror { Mirror(self, children: []) }
}

private func isMD5Hash(_ text: String) -> Bool {
    let bytes = text.utf8
    return bytes.count == 35 && bytes.starts(with: "md5".utf8)
        && bytes.dropFirst(3).allSatisfy { isDecimalDigit($0) || (0x61...0x66).contains($0) }
}

private func isScramVerifier(_ text: String) -> Bool {
    let parts = text.utf8.split(separator: UInt8(ascii: "$"), omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0].elementsEqual("SCRAM-SHA-256".utf8) else { return false }
    let parameters = parts[1].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    let keys = parts[2].split(separator: UInt8(ascii: ":"), omittingEmptySubsequences: false)
    guard parameters.count == 2, keys.count == 2 else { return false }
    guard parameters[0].allSatisfy(isDecimalDigit), let iterations = Int32(Substring(parameters[0])), iterations > 0,
        let saltBytes = base64DecodedCount(parameters[1]), saltBytes > 0
    else { return false }
    return keys.allSatisfy { base64DecodedCount($0) == 32 }
}

/// How many bytes a padded Base64 text stands for, or nil if it is none (RFC 4648, section 4).
private func base64DecodedCount(_ bytes: Substring.UTF8View) -> Int? {
    guard bytes.count % 4 == 0 else { return nil }
    let padding = bytes.reversed().prefix { $0 == UInt8(ascii: "=") }.count
    guard padding <= 2 else { return nil }
    let isBase64 = bytes.dropLast(padding).allSatisfy { byte in
        switch byte {
        case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
            UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"):
            true
        default: false
        }
    }
    return isBase64 ? bytes.count / 4 * 3 - padding : nil
}
