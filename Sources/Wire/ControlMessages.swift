// The content of the few messages that Weir must understand. Every function gets the payload, the bytes behind
// the tag and the length, and answers nil when they are not laid out as the manual says (55.7): the caller then
// closes the connection with a protocol violation. No function keeps the bytes it was lent.

/// What a server asks for while its client logs in.
public enum AuthenticationRequest: Equatable, Sendable {
    /// AuthenticationOk: the log-in is done.
    case ok
    /// The password as it is.
    case cleartextPassword
    /// The password hashed with this salt of four bytes.
    case md5Password(salt: [UInt8])
    /// SASL with one of these mechanisms.
    case sasl(mechanisms: [String])
    /// A SASL challenge.
    case saslContinue([UInt8])
    /// The SASL outcome.
    case saslFinal([UInt8])
    /// A method that Weir does not speak (Kerberos, GSSAPI, SSPI, …).
    case unsupported(Int32)
}

/// The content of a Parse message.
public struct ParseMessage: Equatable, Sendable {
    /// The prepared statement's name; empty for the unnamed one.
    public var statement: String
    /// The SQL text. What is not UTF-8 is repaired, so two texts may become one here: for reading, not for comparing.
    public var query: String
    /// Where in the payload the bytes of the SQL text stand, without the NUL behind them.
    public var queryRange: Range<Int>
    /// How many parameter types are given.
    public var parameterCount: Int
}

/// The name and the new value in a ParameterStatus.
public func parseParameterStatus(_ payload: UnsafeRawBufferPointer) -> (name: String, value: String)? {
    var reader = ByteReader(payload)
    guard let name = reader.name(), let value = reader.text(), reader.remaining == 0 else { return nil }
    return (name, value)
}

/// The cancel key in a BackendKeyData; the secret has 4 to 256 bytes.
public func parseBackendKeyData(_ payload: UnsafeRawBufferPointer) -> (processID: Int32, secret: [UInt8])? {
    var reader = ByteReader(payload)
    guard let processID = reader.int32() else { return nil }
    guard reader.remaining >= cancelSecretBytesMin, reader.remaining <= cancelSecretBytesMax else { return nil }
    return (processID, [UInt8](reader.rest()))
}

/// The minor version in a NegotiateProtocolVersion, and how many protocol options the server does not know.
///
/// PostgreSQL sends the whole version number, the manual speaks of the minor version alone: both are understood.
public func parseNegotiateProtocolVersion(
    _ payload: UnsafeRawBufferPointer
) -> (minorVersion: Int, unknownOptions: Int)? {
    var reader = ByteReader(payload)
    guard let version = reader.int32(), let count = reader.int32(), count >= 0 else { return nil }
    let major = version >> 16
    guard major == 0 || major == StartupCode.majorVersion else { return nil }
    for _ in 0..<count where reader.cString() == nil { return nil }
    guard reader.remaining == 0 else { return nil }
    return (Int(version & 0xffff), Int(count))
}

/// The transaction status in a ReadyForQuery: one of `TransactionStatus`.
public func parseReadyForQuery(_ payload: UnsafeRawBufferPointer) -> UInt8? {
    var reader = ByteReader(payload)
    guard let status = reader.byte(), reader.remaining == 0 else { return nil }
    switch status {
    case TransactionStatus.idle, TransactionStatus.inTransaction, TransactionStatus.failed: return status
    case _: return nil
    }
}

/// What an Authentication message asks for.
public func parseAuthentication(_ payload: UnsafeRawBufferPointer) -> AuthenticationRequest? {
    var reader = ByteReader(payload)
    guard let code = reader.int32() else { return nil }
    switch code {
    case AuthenticationCode.ok:
        return reader.remaining == 0 ? .ok : nil
    case AuthenticationCode.cleartextPassword:
        return reader.remaining == 0 ? .cleartextPassword : nil
    case AuthenticationCode.md5Password:
        return reader.remaining == 4 ? .md5Password(salt: [UInt8](reader.rest())) : nil
    case AuthenticationCode.sasl:
        var mechanisms: [String] = []
        while let mechanism = reader.text() {
            guard !mechanism.isEmpty else { return reader.remaining == 0 ? .sasl(mechanisms: mechanisms) : nil }
            mechanisms.append(mechanism)
        }
        return nil
    case AuthenticationCode.saslContinue:
        return .saslContinue([UInt8](reader.rest()))
    case AuthenticationCode.saslFinal:
        return .saslFinal([UInt8](reader.rest()))
    case _:
        return .unsupported(code)
    }
}

/// The mechanism a client chose and its first response, which is nil when the client sent none.
public func parseSASLInitialResponse(
    _ payload: UnsafeRawBufferPointer
) -> (mechanism: String, response: [UInt8]?)? {
    var reader = ByteReader(payload)
    guard let mechanism = reader.text(), let length = reader.int32() else { return nil }
    if length == -1 { return reader.remaining == 0 ? (mechanism, nil) : nil }
    guard length >= 0, let response = reader.take(Int(length)), reader.remaining == 0 else { return nil }
    return (mechanism, [UInt8](response))
}

/// The SQL text of a Query; what is not UTF-8 is repaired.
public func parseQueryText(_ payload: UnsafeRawBufferPointer) -> String? {
    var reader = ByteReader(payload)
    guard let text = reader.text(), reader.remaining == 0 else { return nil }
    return text
}

/// The bytes of the password in a PasswordMessage, without the NUL behind them; not necessarily UTF-8.
public func parsePasswordMessage(_ payload: UnsafeRawBufferPointer) -> [UInt8]? {
    var reader = ByteReader(payload)
    guard let password = reader.cString(), reader.remaining == 0 else { return nil }
    return [UInt8](password)
}

/// The content of a Parse; the whole payload must be there.
public func parseParse(_ payload: UnsafeRawBufferPointer) -> ParseMessage? {
    var reader = ByteReader(payload)
    guard let statement = reader.name() else { return nil }
    let queryStart = reader.offset
    guard let query = reader.cString(), let count = reader.uint16() else { return nil }
    guard reader.remaining == Int(count) * 4 else { return nil }
    return ParseMessage(
        statement: statement, query: String(decoding: query, as: UTF8.self),
        queryRange: queryStart..<(queryStart + query.count), parameterCount: Int(count))
}

/// The two names a Bind starts with. A prefix of the payload that holds both is enough; nil while it does not.
public func parseBind(_ payload: UnsafeRawBufferPointer) -> (portal: String, statement: String)? {
    var reader = ByteReader(payload)
    guard let portal = reader.name(), let statement = reader.name() else { return nil }
    return (portal, statement)
}

/// What a Describe or Close names: kind `S`, a prepared statement, or `P`, a portal.
public func parseDescribeOrClose(_ payload: UnsafeRawBufferPointer) -> (kind: UInt8, name: String)? {
    var reader = ByteReader(payload)
    guard let kind = reader.byte(), kind == UInt8(ascii: "S") || kind == UInt8(ascii: "P") else { return nil }
    guard let name = reader.name(), reader.remaining == 0 else { return nil }
    return (kind, name)
}

/// The portal of an Execute and the most rows it may return; 0 or less means no limit.
public func parseExecute(_ payload: UnsafeRawBufferPointer) -> (portal: String, rowsMax: Int32)? {
    var reader = ByteReader(payload)
    guard let portal = reader.name(), let rowsMax = reader.int32(), reader.remaining == 0 else { return nil }
    return (portal, rowsMax)
}
