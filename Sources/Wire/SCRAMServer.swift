// The server's side of SCRAM-SHA-256 (RFC 5802, RFC 7677): Weir towards its clients.
//
//     waitingForFirst ──client-first──▶ waitingForFinal ──client-final──▶ finished
//     any state ──anything wrong──▶ finished
//
// Rule 1: every message that is malformed or not due is a refusal, and after a refusal there is nothing more to say.
// Rule 2: a user who does not exist goes the same way with a mock secret and fails at the same point, with the same
// error and after the same work, as a wrong password.

/// One log-in of one client. All of it is quick: a few hashes, no key derivation.
public struct SCRAMServer: Sendable {
    private enum State: Sendable {
        case waitingForFirst
        case waitingForFinal(Challenge)
        case finished
    }

    private struct Challenge: Sendable {
        /// What the client's `c=` must be: its own header in Base64.
        let channelBinding: [UInt8]
        /// The client's nonce followed by ours.
        let nonce: [UInt8]
        /// client-first without its header, a comma, server-first, a comma.
        let signedPrefix: [UInt8]
    }

    /// How the log-in ended.
    public enum FinalResult: Equatable, Sendable {
        /// The client knows the password. `serverFinal` goes to the client in AuthenticationSASLFinal; `clientKey`,
        /// with the ServerKey of the stored secret, logs in to servers that store the same secret.
        case success(serverFinal: [UInt8], clientKey: [UInt8])
        /// The client is refused.
        case failure(SCRAMError)
    }

    private let secret: SCRAMSecret
    private let serverNonce: [UInt8]
    private let isMock: Bool
    private var state = State.waitingForFirst

    /// An exchange for the user with this secret. `serverNonce` are at least 16 fresh random bytes (PostgreSQL takes
    /// 18). With `isMock` nobody gets in.
    public init(secret: SCRAMSecret, serverNonce: [UInt8], isMock: Bool) {
        precondition(serverNonce.count >= scramNonceRandomBytesMin, "the nonce needs at least 16 random bytes")
        self.init(secret: secret, nonceText: base64Encode(serverNonce), isMock: isMock)
    }

    /// An exchange with a nonce that is already text.
    init(secret: SCRAMSecret, nonceText: [UInt8], isMock: Bool) {
        self.secret = secret
        self.serverNonce = nonceText
        self.isMock = isMock
    }

    /// The client's initial response. On success the challenge for AuthenticationSASLContinue. The user name in it is
    /// not looked at: the one in the start-up packet counts, as in PostgreSQL.
    public mutating func receivedClientFirst(_ bytes: [UInt8]) -> Result<[UInt8], SCRAMError> {
        guard case .waitingForFirst = state else {
            state = .finished
            return .failure(.unexpectedMessage)
        }
        do {
            let (header, bare, clientNonce) = try Self.parseClientFirst(bytes)
            let nonce = clientNonce + serverNonce
            var serverFirst = [UInt8]("r=".utf8) + nonce
            serverFirst += [UInt8](",s=".utf8) + base64Encode(secret.salt)
            serverFirst += [UInt8](",i=\(secret.iterations)".utf8)
            let comma = [UInt8(ascii: ",")]
            state = .waitingForFinal(
                Challenge(
                    channelBinding: base64Encode(header), nonce: nonce,
                    signedPrefix: bare + comma + serverFirst + comma))
            return .success(serverFirst)
        } catch {
            state = .finished
            return .failure(error)
        }
    }

    /// The client's second response: whether it knows the password.
    public mutating func receivedClientFinal(_ bytes: [UInt8]) -> FinalResult {
        guard case .waitingForFinal(let challenge) = state else {
            state = .finished
            return .failure(.unexpectedMessage)
        }
        state = .finished
        do {
            let (withoutProof, proof) = try Self.parseClientFinal(bytes, challenge)
            return check(proof, signed: challenge.signedPrefix + withoutProof)
        } catch {
            return .failure(error)
        }
    }

    private func check(_ proof: [UInt8], signed: [UInt8]) -> FinalResult {
        let clientKey = exclusiveOr(proof, hmacSHA256(key: secret.storedKey, signed))
        let serverSignature = hmacSHA256(key: secret.serverKey, signed)
        let isRight = constantTimeEquals(sha256(clientKey), secret.storedKey)
        guard isRight, !isMock else { return .failure(.invalidProof) }
        return .success(serverFinal: [UInt8]("v=".utf8) + base64Encode(serverSignature), clientKey: clientKey)
    }

    /// The header up to its second comma, the rest, and the nonce in it.
    private static func parseClientFirst(
        _ bytes: [UInt8]
    ) throws(SCRAMError) -> (header: [UInt8], bare: [UInt8], nonce: [UInt8]) {
        guard bytes.count <= scramMessageBytesMax else { throw .malformedMessage("too long") }
        switch bytes.first {
        case UInt8(ascii: "n"), UInt8(ascii: "y"): break  // No channel binding; `y`: it was not offered. Both are true.
        case UInt8(ascii: "p"): throw .channelBindingNotSupported
        case _: throw .malformedMessage("channel-binding flag expected")
        }
        guard bytes.dropFirst().first == UInt8(ascii: ",") else { throw .malformedMessage("comma expected") }
        guard bytes.dropFirst(2).first == UInt8(ascii: ",") else {
            let isIdentity = bytes.dropFirst(2).starts(with: "a=".utf8)
            throw isIdentity ? .authorizationIdentityNotSupported : .malformedMessage("comma expected")
        }
        let bare = bytes.dropFirst(3)
        let attributes = try parseSCRAMAttributes(bare)
        guard attributes.count >= 2, attributes[0].isNamed("n"), attributes[1].isNamed("r") else {
            throw .malformedMessage("user name and nonce expected")
        }
        guard isSCRAMNonce(attributes[1].value) else { throw .malformedMessage("nonce") }
        return ([UInt8](bytes.prefix(3)), [UInt8](bare), [UInt8](attributes[1].value))
    }

    /// The message without its proof, and the proof.
    private static func parseClientFinal(
        _ bytes: [UInt8], _ challenge: Challenge
    ) throws(SCRAMError) -> (withoutProof: [UInt8], proof: [UInt8]) {
        let attributes = try parseSCRAMAttributes(bytes[...])
        guard attributes.count >= 3, attributes[0].isNamed("c"), attributes[1].isNamed("r"),
            let last = attributes.last, last.isNamed("p")
        else { throw .malformedMessage("channel binding, nonce and proof expected") }
        guard attributes[0].value.elementsEqual(challenge.channelBinding) else {
            throw .malformedMessage("channel binding differs from the first message")
        }
        guard attributes[1].value.elementsEqual(challenge.nonce) else { throw .nonceMismatch }
        guard let proof = base64Decode(last.value), proof.count == sha256Bytes else {
            throw .malformedMessage("proof")
        }
        // The proof is the last attribute: a comma, a letter and `=` stand before its value.
        return ([UInt8](bytes.dropLast(last.value.count + 3)), proof)
    }
}
