// The client's side of SCRAM-SHA-256 (RFC 5802, RFC 7677): Weir towards its servers.
//
//     sentFirst ──server-first, keys known──▶ sentFinal ──server-final──▶ finished
//     sentFirst ──server-first, password──▶ waitingForKeys ──clientFinal(keys:)──▶ sentFinal
//     any state ──anything wrong──▶ finished
//
// Deriving keys from a password takes a millisecond or, if the server says so, seconds. It is not done here: the
// machine reports what to derive them from and goes on when it gets them, so that the work can be done elsewhere.

/// What is known about the user.
public enum SCRAMClientCredential: Equatable, Sendable {
    /// The password; keys will be derived from it when the server has named salt and iterations.
    case password
    /// Keys that were learnt; they fit a server only if it stores the very secret they belong to.
    case keys(SCRAMKeys)
}

/// One log-in to one server.
public struct SCRAMClient: Sendable {
    private enum State: Sendable {
        case sentFirst
        case waitingForKeys(Challenge)
        case sentFinal(serverSignature: [UInt8])
        case finished
    }

    private struct Challenge: Sendable {
        let serverFirst: [UInt8]
        let nonce: [UInt8]
        let salt: [UInt8]
        let iterations: Int
    }

    /// What to do about the server's challenge.
    public enum ServerFirstAction: Equatable, Sendable {
        /// Derive `SCRAMKeys` from the password, this salt and these iterations (1 to `scramIterationsMax`), then call
        /// `clientFinal(keys:)`.
        case deriveKeys(salt: [UInt8], iterations: Int)
        /// Send this as SASLResponse.
        case send([UInt8])
        /// Give up.
        case refuse(SCRAMError)
    }

    private let credential: SCRAMClientCredential
    private let firstBare: [UInt8]
    private let clientNonce: [UInt8]
    private var state = State.sentFirst

    /// An exchange with fresh random bytes, at least 16, as `clientNonce`. PostgreSQL takes the user from the start-up
    /// packet and ignores `user`, so it may stay empty.
    public init(user: String = "", credential: SCRAMClientCredential, clientNonce: [UInt8]) {
        precondition(clientNonce.count >= scramNonceRandomBytesMin, "the nonce needs at least 16 random bytes")
        self.init(user: user, credential: credential, nonceText: base64Encode(clientNonce))
    }

    /// An exchange with a nonce that is already text.
    init(user: String, credential: SCRAMClientCredential, nonceText: [UInt8]) {
        self.credential = credential
        self.clientNonce = nonceText
        // A comma or an equals sign in the name is written in a way of its own.
        let name = user.utf8.flatMap { byte in
            switch byte {
            case UInt8(ascii: ","): [UInt8]("=2C".utf8)
            case UInt8(ascii: "="): [UInt8]("=3D".utf8)
            case _: [byte]
            }
        }
        self.firstBare = [UInt8]("n=".utf8) + name + [UInt8](",r=".utf8) + clientNonce
    }

    /// The initial response, to be sent in SASLInitialResponse. The flag says that channel binding is not supported.
    public var clientFirst: [UInt8] { [UInt8]("n,,".utf8) + firstBare }

    /// The server's challenge (AuthenticationSASLContinue).
    public mutating func receivedServerFirst(_ bytes: [UInt8]) -> ServerFirstAction {
        guard case .sentFirst = state else {
            state = .finished
            return .refuse(.unexpectedMessage)
        }
        do {
            let challenge = try parseServerFirst(bytes)
            switch credential {
            case .password:
                state = .waitingForKeys(challenge)
                return .deriveKeys(salt: challenge.salt, iterations: challenge.iterations)
            case .keys(let keys):
                return .send(answer(challenge, keys))
            }
        } catch {
            state = .finished
            return .refuse(error)
        }
    }

    /// The answer to the challenge, made with the keys that `deriveKeys` asked for. Nil when no keys are waited for
    /// (any more): the exchange was refused in between.
    public mutating func clientFinal(keys: SCRAMKeys) -> [UInt8]? {
        guard case .waitingForKeys(let challenge) = state else { return nil }
        return answer(challenge, keys)
    }

    /// The server's outcome (AuthenticationSASLFinal): success only if the server proved that it knows the password.
    /// AuthenticationOk must not be believed before.
    public mutating func receivedServerFinal(_ bytes: [UInt8]) -> Result<Void, SCRAMError> {
        guard case .sentFinal(let expected) = state else {
            state = .finished
            return .failure(.unexpectedMessage)
        }
        state = .finished
        do {
            let attributes = try parseSCRAMAttributes(bytes[...])
            try Self.refuseError(attributes)
            guard attributes[0].isNamed("v"), let signature = base64Decode(attributes[0].value) else {
                return .failure(.malformedMessage("server signature expected"))
            }
            return constantTimeEquals(signature, expected) ? .success(()) : .failure(.invalidServerSignature)
        } catch {
            return .failure(error)
        }
    }

    /// Whether the server has proved itself or failed to: no message of the exchange is due any more.
    public var isFinished: Bool {
        if case .finished = state { true } else { false }
    }

    private mutating func answer(_ challenge: Challenge, _ keys: SCRAMKeys) -> [UInt8] {
        let comma = [UInt8(ascii: ",")]
        // `biws` is the header `n,,` in Base64.
        let withoutProof = [UInt8]("c=biws,r=".utf8) + challenge.nonce
        let signed = firstBare + comma + challenge.serverFirst + comma + withoutProof
        let signature = hmacSHA256(key: sha256(keys.clientKey), signed)
        state = .sentFinal(serverSignature: hmacSHA256(key: keys.serverKey, signed))
        return withoutProof + [UInt8](",p=".utf8) + base64Encode(exclusiveOr(keys.clientKey, signature))
    }

    private func parseServerFirst(_ bytes: [UInt8]) throws(SCRAMError) -> Challenge {
        let attributes = try parseSCRAMAttributes(bytes[...])
        try Self.refuseError(attributes)
        guard attributes.count >= 3, attributes[0].isNamed("r"), attributes[1].isNamed("s"),
            attributes[2].isNamed("i")
        else { throw .malformedMessage("nonce, salt and iterations expected") }
        let nonce = attributes[0].value
        guard isSCRAMNonce(nonce) else { throw .malformedMessage("nonce") }
        guard nonce.starts(with: clientNonce), nonce.count > clientNonce.count else { throw .nonceMismatch }
        guard let salt = base64Decode(attributes[1].value), !salt.isEmpty, salt.count <= SCRAMSecret.saltBytesMax
        else { throw .malformedMessage("salt") }
        guard let iterations = parseSCRAMIterations(attributes[2].value) else { throw .iterationsOutOfRange }
        return Challenge(serverFirst: bytes, nonce: [UInt8](nonce), salt: salt, iterations: iterations)
    }

    private static func refuseError(_ attributes: [SCRAMAttribute]) throws(SCRAMError) {
        guard let first = attributes.first, first.isNamed("e") else { return }
        throw .serverError(String(decoding: first.value, as: UTF8.self))
    }
}
