// The first packet of a client has no tag: four bytes of length, four of a code, then what the code says.
//
//     | length | 80877103                               SSLRequest
//     | length | 80877104                               GSSENCRequest
//     | length | 80877102 | process ID | secret         CancelRequest
//     | length | 3 << 16 | name NUL value NUL ... NUL   StartupMessage
//
// It comes from somebody unknown, so its size has a hard limit and its layout is checked to the last byte.

/// What a client wants with its first packet (PostgreSQL manual, 55.7).
public enum StartupRequest: Sendable {
    /// The client asks whether it may start TLS; answered with one byte, `S` or `N`.
    case sslRequest
    /// The client asks whether it may start GSSAPI encryption; answered with one byte, `G` or `N`.
    case gssEncryptionRequest
    /// The client of another connection wants its query stopped; the connection is closed without an answer.
    case cancel(processID: Int32, secret: [UInt8])
    /// The client wants a session.
    case startup(StartupMessage)
}

/// A client's wish for a session, protocol 3.
public struct StartupMessage: Sendable {
    /// The minor version asked for: 0 for protocol 3.0, 2 for 3.2. At most 65535; see `spokenMinorVersion`.
    public var minorVersion: Int
    /// The parameters in the client's order, repeated ones included.
    public var parameters: [(name: String, value: String)]

    /// A message with the given version and parameters.
    public init(minorVersion: Int, parameters: [(name: String, value: String)]) {
        self.minorVersion = minorVersion
        self.parameters = parameters
    }

    /// The value of the parameter `name`, or nil. Of a repeated parameter the last one counts, as in PostgreSQL.
    public func value(_ name: String) -> String? {
        parameters.last { $0.name == name }?.value
    }
}

/// Why a first packet is refused.
public enum StartupError: Error, Equatable, Sendable {
    /// Fewer bytes than the packet's length says.
    case incomplete
    /// The packet says it is longer than `startupPacketBytesMax`.
    case tooLong
    /// The length does not fit the kind of packet.
    case badLength
    /// Neither protocol 3 nor one of the special requests.
    case unsupportedProtocol(major: Int, minor: Int)
    /// The parameters are not laid out as they must be; the text says how.
    case badLayout(String)

    /// The text for the client and the log.
    public var message: String {
        switch self {
        case .incomplete: "incomplete startup packet"
        case .tooLong, .badLength: "invalid length of startup packet"
        case .unsupportedProtocol(let major, let minor):
            "unsupported frontend protocol \(major).\(minor): server supports 3.0 to 3.2"
        case .badLayout(let text): text
        }
    }
}

/// The longest first packet that is read, in bytes, its length field included.
public var startupPacketBytesMax: Int { 10_000 }

/// The shortest cancel secret, in bytes; protocol 3.0 knows only this length.
public var cancelSecretBytesMin: Int { 4 }

/// The longest cancel secret of protocol 3.2, in bytes.
public var cancelSecretBytesMax: Int { 256 }

/// The first minor version whose cancel secrets may be longer than four bytes, and the newest that is spoken.
public var longKeysMinorVersion: Int { 2 }

/// The minor version of protocol 3 that is spoken with a client: the newest known one that it may understand. When it
/// is not the one asked for, a NegotiateProtocolVersion says so.
///
/// 3.1 is reserved and was never used, because some servers claimed to speak it (PostgreSQL manual, "Protocol
/// Versions"): it counts as 3.0. To say more than was asked for would break libpq, which takes it for an error.
public func spokenMinorVersion(askedFor minorVersion: Int) -> Int {
    minorVersion >= longKeysMinorVersion ? longKeysMinorVersion : 0
}

/// The special codes that stand where a protocol version is expected, and the major version that is spoken.
enum StartupCode {
    static var cancelRequest: Int32 { 80_877_102 }
    static var sslRequest: Int32 { 80_877_103 }
    static var gssEncryptionRequest: Int32 { 80_877_104 }
    static var majorVersion: Int32 { 3 }
}

/// The total length in bytes, with the four bytes of the length itself, of the first packet that starts at `bytes`.
/// Nil when fewer than four bytes are there so far. Errors: `tooLong`, `badLength`.
public func startupPacketLength(_ bytes: UnsafeRawBufferPointer) throws(StartupError) -> Int? {
    var reader = ByteReader(bytes)
    guard let field = reader.int32() else { return nil }
    let length = Int(field)
    guard length >= 8 else { throw .badLength }
    guard length <= startupPacketBytesMax else { throw .tooLong }
    return length
}

/// The meaning of exactly one first packet (PostgreSQL manual, 55.7).
/// Names and the values of `user` and `database` must be UTF-8; in other values what is not UTF-8 is repaired.
public func parseStartupPacket(_ bytes: UnsafeRawBufferPointer) throws(StartupError) -> StartupRequest {
    guard let length = try startupPacketLength(bytes), bytes.count >= length else { throw .incomplete }
    guard bytes.count == length else { throw .badLength }
    var reader = ByteReader(bytes)
    guard reader.int32() != nil, let code = reader.int32() else { throw .incomplete }

    switch code {
    case StartupCode.sslRequest:
        guard reader.remaining == 0 else { throw .badLength }
        return .sslRequest
    case StartupCode.gssEncryptionRequest:
        guard reader.remaining == 0 else { throw .badLength }
        return .gssEncryptionRequest
    case StartupCode.cancelRequest:
        guard let processID = reader.int32() else { throw .badLength }
        let secret = [UInt8](reader.rest())
        guard secret.count >= cancelSecretBytesMin, secret.count <= cancelSecretBytesMax else { throw .badLength }
        return .cancel(processID: processID, secret: secret)
    case _ where code >> 16 == StartupCode.majorVersion:
        let parameters = try parseStartupParameters(&reader)
        return .startup(StartupMessage(minorVersion: Int(code & 0xffff), parameters: parameters))
    case _:
        let version = UInt32(bitPattern: code)
        throw .unsupportedProtocol(major: Int(version >> 16), minor: Int(version & 0xffff))
    }
}

/// Pairs of name and value up to an empty name, which must be the packet's last byte.
private func parseStartupParameters(
    _ reader: inout ByteReader
) throws(StartupError) -> [(name: String, value: String)] {
    var parameters: [(name: String, value: String)] = []
    while true {
        guard let nameField = reader.cString() else { throw .missingTerminator }
        if nameField.isEmpty {
            guard reader.remaining == 0 else { throw .missingTerminator }
            return parameters
        }
        guard let name = validText(nameField) else {
            throw .badLayout("invalid startup packet layout: parameter name is not valid UTF-8")
        }
        guard let valueField = reader.cString() else { throw .missingTerminator }
        if let value = validText(valueField) {
            parameters.append((name, value))
        } else if name == "user" || name == "database" {
            // A repaired name could be another one's name.
            throw .badLayout("invalid startup packet layout: \"\(name)\" is not valid UTF-8")
        } else {
            parameters.append((name, String(decoding: valueField, as: UTF8.self)))
        }
    }
}

extension StartupError {
    fileprivate static var missingTerminator: StartupError {
        .badLayout("invalid startup packet layout: expected terminator as last byte")
    }
}
