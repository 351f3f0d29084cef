// What the two sides of SCRAM share: the shape of a message, the limits, and the reasons for a refusal.
//
// A message is a list of attributes, each a letter, `=` and a value, with commas between them (RFC 5802, section 5.1):
//
//     client-first   n,,n=user,r=clientNonce
//     server-first   r=clientNonce serverNonce,s=salt,i=iterations
//     client-final   c=biws,r=clientNonce serverNonce,p=proof
//     server-final   v=signature   or   e=error
//
// What both sides sign, the AuthMessage, is client-first without its first two fields, server-first, and
// client-final without its proof, with commas between the three.

/// The only mechanism that is spoken; without TLS channel binding, which would need SCRAM-SHA-256-PLUS.
public var scramMechanism: String { "SCRAM-SHA-256" }

/// The most iterations that are accepted, from a stored secret or from a server.
public var scramIterationsMax: Int { 10_000_000 }

/// The iterations that new secrets get: PostgreSQL's default.
public var scramIterationsDefault: Int { 4096 }

/// The longest SCRAM message that is read, in bytes. PostgreSQL's limit is 1024; a server's salt may be long.
public var scramMessageBytesMax: Int { 4096 }

/// The longest nonce that is accepted from the other side, in bytes.
public var scramNonceBytesMax: Int { 1024 }

/// The fewest random bytes that a nonce may be made of.
public var scramNonceRandomBytesMin: Int { 16 }

/// Why a SCRAM exchange is refused.
public enum SCRAMError: Error, Equatable, Sendable {
    /// The message is not what RFC 5802 says; the text names the part.
    case malformedMessage(String)
    /// A message that is not due now.
    case unexpectedMessage
    /// The client insists on channel binding, which is not offered.
    case channelBindingNotSupported
    /// The client wants to act for another user.
    case authorizationIdentityNotSupported
    /// The message demands an extension that is not known.
    case extensionNotSupported
    /// The nonce is not the one of this exchange.
    case nonceMismatch
    /// The server asks for no iteration or for more than `scramIterationsMax`.
    case iterationsOutOfRange
    /// The proof is wrong, or there is no such user: nobody can tell which.
    case invalidProof
    /// The server does not know the password either: it may be an impostor.
    case invalidServerSignature
    /// The server's own reason.
    case serverError(String)

    /// The text for the log.
    public var message: String {
        switch self {
        case .malformedMessage(let part): "malformed SCRAM message (\(part))"
        case .unexpectedMessage: "unexpected SCRAM message"
        case .channelBindingNotSupported: "client requires SCRAM channel binding, but it is not supported"
        case .authorizationIdentityNotSupported: "client uses authorization identity, but it is not supported"
        case .extensionNotSupported: "client requires an unsupported SCRAM extension"
        case .nonceMismatch: "invalid SCRAM response (nonce mismatch)"
        case .iterationsOutOfRange: "invalid SCRAM iteration count"
        case .invalidProof: "SASL authentication failed"
        case .invalidServerSignature: "invalid server signature"
        case .serverError(let reason): "error received from server in SCRAM exchange: \(reason)"
        }
    }
}

/// One attribute of a message.
struct SCRAMAttribute {
    let letter: UInt8
    let value: ArraySlice<UInt8>

    func isNamed(_ letter: Unicode.Scalar) -> Bool {
        self.letter == UInt8(ascii: letter)
    }
}

/// The attributes of a message, at least one. Errors: `malformedMessage`, and `extensionNotSupported` for `m=`.
func parseSCRAMAttributes(_ text: ArraySlice<UInt8>) throws(SCRAMError) -> [SCRAMAttribute] {
    guard text.count <= scramMessageBytesMax else { throw .malformedMessage("too long") }
    guard !text.contains(0) else { throw .malformedMessage("zero byte") }
    var attributes: [SCRAMAttribute] = []
    for field in text.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
        guard let letter = field.first, field.dropFirst().first == UInt8(ascii: "=") else {
            throw .malformedMessage("attribute expected")
        }
        guard (0x41...0x5a).contains(letter) || (0x61...0x7a).contains(letter) else {
            throw .malformedMessage("attribute name expected")
        }
        guard letter != UInt8(ascii: "m") else { throw .extensionNotSupported }
        attributes.append(SCRAMAttribute(letter: letter, value: field.dropFirst(2)))
    }
    return attributes
}

/// Whether `nonce` consists of the characters a nonce may have and is neither empty nor too long.
func isSCRAMNonce(_ nonce: ArraySlice<UInt8>) -> Bool {
    !nonce.isEmpty && nonce.count <= scramNonceBytesMax
        && nonce.allSatisfy { (0x21...0x7e).contains($0) && $0 != UInt8(ascii: ",") }
}

/// An iteration count from 1 to `scramIterationsMax`, in decimal digits only.
func parseSCRAMIterations(_ text: some Collection<UInt8>) -> Int? {
    guard !text.isEmpty, text.count <= 8 else { return nil }
    var iterations = 0
    for digit in text {
        guard (0x30...0x39).contains(digit) else { return nil }
        iterations = iterations * 10 + Int(digit - 0x30)
    }
    return iterations >= 1 && iterations <= scramIterationsMax ? iterations : nil
}

/// The bytes of `left` and `right`, which are equally many, combined by exclusive or.
func exclusiveOr(_ left: [UInt8], _ right: [UInt8]) -> [UInt8] {
    precondition(left.count == right.count)
    return zip(left, right).map { $0 ^ $1 }
}
