// SCRAM-SHA-256 against the exchange printed in RFC 7677, and against itself for everything that must be refused.

import Testing

@testable import Wire

/// The example of RFC 7677, section 3.
enum SCRAMVector {
    static let clientNonce = "rOprNGfwEbeRWgbNEkqO"
    static let serverNonce = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    static let clientFirst = "n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    static let serverFirst =
        "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    static let clientFinal =
        "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    static let serverFinal = "v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="
    static let secretText =
        "SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="
        + ":wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
    static let salt = base64Decode(ascii("W22ZaJ0SNY7soEsUEjb6gQ==")) ?? []
    static let keys = SCRAMKeys.derive(password: "pencil", salt: salt, iterations: 4096)

    static func client(_ credential: SCRAMClientCredential) -> SCRAMClient {
        SCRAMClient(user: "user", credential: credential, nonceText: ascii(clientNonce))
    }

    static func server(isMock: Bool) -> SCRAMServer {
        let secret = SCRAMSecret(keys: keys, salt: salt, iterations: 4096)
        return SCRAMServer(secret: secret, nonceText: ascii(serverNonce), isMock: isMock)
    }
}

@Suite struct SCRAMSecretTests {
    @Test("a password's secret is the one PostgreSQL would store")
    func derive() {
        let secret = SCRAMSecret.derive(password: "pencil", salt: SCRAMVector.salt, iterations: 4096)
        #expect(secret.text == SCRAMVector.secretText)
        #expect(SCRAMSecret(parsing: SCRAMVector.secretText) == secret)
        let other = SCRAMSecret.derive(password: "pässwörd", salt: ascii("0123456789abcdef"), iterations: 1)
        #expect(
            other.text
                == "SCRAM-SHA-256$1:MDEyMzQ1Njc4OWFiY2RlZg==$ZnAkl86czSRL7XfOVzEMqjhWn3dQDIaqnYjypNbO6Fs="
                + ":0QgVrs5S7onQ7NFegQI7IgkuwwwMIjvW1dhsA0CA6KU=")
        let empty = SCRAMSecret.derive(password: "", salt: ascii("x"), iterations: 3)
        #expect(
            empty.text
                == "SCRAM-SHA-256$3:eA==$LI51wL5G/oLr/ikBB51wt840qLB5lXIbXecXqslN6KU="
                + ":scbhMi5rxlVscs7Nrrtv1G5lZtf4P2sSZgIX4sAgK3A=")
    }

    @Test("a secret knows its password")
    func passwordCheck() {
        let secret = SCRAMSecret.derive(password: "right", salt: [1], iterations: 2)
        #expect(secret.keys(ifPassword: ascii("wrong")) == nil)
        #expect(secret.keys(ifPassword: ascii("right"))?.serverKey == secret.serverKey)
    }

    private static let keyText = "WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY="

    @Test(
        "a text that is not a secret is refused",
        arguments: [
            "", "SCRAM-SHA-256", "SCRAM-SHA-256$", "SCRAM-SHA-256$4096:eA==", "md5abc",
            "SCRAM-SHA-1$4096:eA==$\(keyText):\(keyText)",
            "scram-sha-256$4096:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$0:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$-1:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$+1:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$10000001:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$99999999999999999999999:eA==$\(keyText):\(keyText)",
            "SCRAM-SHA-256$4096:$\(keyText):\(keyText)",
            "SCRAM-SHA-256$4096:e$\(keyText):\(keyText)",
            "SCRAM-SHA-256$4096:eA==$\(keyText):eA==",
            "SCRAM-SHA-256$4096:eA==$eA==:\(keyText)",
            "SCRAM-SHA-256$4096:eA==$\(keyText)",
            "SCRAM-SHA-256$4096:eA==$\(keyText):\(keyText):",
            "SCRAM-SHA-256$4096:eA==$\(keyText):\(keyText)$",
        ])
    func notSecrets(text: String) {
        #expect(SCRAMSecret(parsing: text) == nil)
    }

    @Test("a mock secret stays the same for its user and differs for every other user and process")
    func mock() {
        let nonce = [UInt8](repeating: 3, count: 32)
        let alice = SCRAMSecret.mock(user: "alice", nonce: nonce)
        #expect(alice == SCRAMSecret.mock(user: "alice", nonce: nonce))
        #expect(alice.salt != SCRAMSecret.mock(user: "bob", nonce: nonce).salt)
        #expect(alice.salt != SCRAMSecret.mock(user: "alice", nonce: [4] + nonce.dropFirst()).salt)
        #expect(alice.salt == SCRAMSecret.mockSalt(user: "alice", nonce: nonce))
        #expect(alice.salt.count == 16)
        #expect(alice.iterations == 4096)
        #expect(SCRAMSecret(parsing: alice.text) == alice)
    }

    @Test("neither secrets nor keys show themselves")
    func redacted() {
        let secret = SCRAMSecret.derive(password: "p", salt: [7], iterations: 1)
        #expect("\(secret)" == "SCRAMSecret(iterations: 1, redacted)")
        #expect(String(reflecting: SCRAMVector.keys) == "SCRAMKeys(redacted)")
    }
}

@Suite struct SCRAMExchangeTests {
    @Test("the exchange is the one in RFC 7677, on both sides")
    func vector() throws {
        var client = SCRAMVector.client(.password)
        var server = SCRAMVector.server(isMock: false)
        #expect(client.clientFirst == ascii(SCRAMVector.clientFirst))
        let challenge = try server.receivedClientFirst(client.clientFirst).get()
        #expect(challenge == ascii(SCRAMVector.serverFirst))
        #expect(client.receivedServerFirst(challenge) == .deriveKeys(salt: SCRAMVector.salt, iterations: 4096))
        let keys = SCRAMKeys.derive(password: "pencil", salt: SCRAMVector.salt, iterations: 4096)
        let clientFinal = client.clientFinal(keys: keys)
        #expect(clientFinal == ascii(SCRAMVector.clientFinal))
        #expect(
            server.receivedClientFinal(clientFinal ?? [])
                == .success(serverFinal: ascii(SCRAMVector.serverFinal), clientKey: keys.clientKey))
        #expect(throws: Never.self) { try client.receivedServerFinal(ascii(SCRAMVector.serverFinal)).get() }
        #expect(client.isFinished)
    }

    @Test("keys learnt from one log-in open the next")
    func learntKeys() throws {
        var server = SCRAMVector.server(isMock: false)
        _ = server.receivedClientFirst(ascii(SCRAMVector.clientFirst))
        guard case .success(_, let clientKey) = server.receivedClientFinal(ascii(SCRAMVector.clientFinal)),
            let secret = SCRAMSecret(parsing: SCRAMVector.secretText)
        else {
            Issue.record("the log-in failed")
            return
        }
        let learnt = SCRAMKeys(clientKey: clientKey, serverKey: secret.serverKey)
        var client = SCRAMClient(credential: .keys(learnt), clientNonce: [UInt8](repeating: 1, count: 18))
        var next = SCRAMServer(secret: secret, serverNonce: [UInt8](repeating: 2, count: 18), isMock: false)
        let challenge = try next.receivedClientFirst(client.clientFirst).get()
        guard case .send(let clientFinal) = client.receivedServerFirst(challenge),
            case .success(let serverFinal, _) = next.receivedClientFinal(clientFinal)
        else {
            Issue.record("the learnt keys do not open")
            return
        }
        #expect(throws: Never.self) { try client.receivedServerFinal(serverFinal).get() }
    }

    @Test("a client that knows that channel binding was not offered may say so")
    func flagY() throws {
        var server = SCRAMVector.server(isMock: false)
        let challenge = try server.receivedClientFirst(ascii("y,,n=,r=abc")).get()
        #expect(challenge.starts(with: ascii("r=abc%hv")))
        // `biws` would be the header of a client with flag n.
        let nonce = "abc" + SCRAMVector.serverNonce
        let proof = String(repeating: "A", count: 43) + "="
        var copy = server
        #expect(
            server.receivedClientFinal(ascii("c=biws,r=\(nonce),p=\(proof)"))
                == .failure(.malformedMessage("channel binding differs from the first message")))
        #expect(copy.receivedClientFinal(ascii("c=eSws,r=\(nonce),p=\(proof)")) == .failure(.invalidProof))
    }

    @Test("a wrong password and a mock user fail alike")
    func wrongPassword() throws {
        let wrong = SCRAMKeys.derive(password: "pen", salt: SCRAMVector.salt, iterations: 4096)
        for (keys, isMock) in [(wrong, false), (wrong, true), (SCRAMVector.keys, true)] {
            var client = SCRAMVector.client(.keys(keys))
            var server = SCRAMVector.server(isMock: isMock)
            guard
                case .send(let clientFinal) = client.receivedServerFirst(
                    try server.receivedClientFirst(client.clientFirst).get())
            else {
                Issue.record("no answer")
                return
            }
            #expect(server.receivedClientFinal(clientFinal) == .failure(.invalidProof))
        }
    }

    private static let badClientFirsts: [(text: String, error: SCRAMError)] = [
        ("", .malformedMessage("channel-binding flag expected")),
        ("x,,n=,r=abc", .malformedMessage("channel-binding flag expected")),
        ("p=tls-server-end-point,,n=,r=abc", .channelBindingNotSupported),
        ("n", .malformedMessage("comma expected")),
        ("n,", .malformedMessage("comma expected")),
        ("nn,n=,r=abc", .malformedMessage("comma expected")),
        ("n,a=admin,n=,r=abc", .authorizationIdentityNotSupported),
        ("n,,", .malformedMessage("attribute expected")),
        ("n,,m=x,n=,r=abc", .extensionNotSupported),
        ("n,,n=,m=x,r=abc", .extensionNotSupported),
        ("n,,n=", .malformedMessage("user name and nonce expected")),
        ("n,,r=abc,n=", .malformedMessage("user name and nonce expected")),
        ("n,,n=,r=", .malformedMessage("nonce")),
        ("n,,n=,r=a b", .malformedMessage("nonce")),
        ("n,,n=,r=é", .malformedMessage("nonce")),
        ("n,,n=,r=abc,", .malformedMessage("attribute expected")),
        ("n,,n=,r=abc,1=x", .malformedMessage("attribute name expected")),
        ("n,,n=,r=" + String(repeating: "x", count: 1025), .malformedMessage("nonce")),
        ("n,,n=,r=" + String(repeating: "x", count: 5000), .malformedMessage("too long")),
    ]

    @Test("a bad first message of a client is refused, and nothing may follow", arguments: badClientFirsts)
    func badClientFirst(text: String, error: SCRAMError) {
        var server = SCRAMVector.server(isMock: false)
        #expect(server.receivedClientFirst(ascii(text)) == .failure(error))
        #expect(server.receivedClientFirst(ascii(SCRAMVector.clientFirst)) == .failure(.unexpectedMessage))
    }

    private static let nonce = SCRAMVector.clientNonce + SCRAMVector.serverNonce
    private static let proof = "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    private static let badClientFinals: [(text: String, error: SCRAMError)] = [
        ("", .malformedMessage("attribute expected")),
        ("c=biws,r=\(nonce)", .malformedMessage("channel binding, nonce and proof expected")),
        ("r=\(nonce),c=biws,p=\(proof)", .malformedMessage("channel binding, nonce and proof expected")),
        ("c=biws,r=\(nonce),p=\(proof),x=y", .malformedMessage("channel binding, nonce and proof expected")),
        ("c=,r=\(nonce),p=\(proof)", .malformedMessage("channel binding differs from the first message")),
        ("c=biws,r=\(nonce)x,p=\(proof)", .nonceMismatch),
        ("c=biws,r=\(SCRAMVector.clientNonce),p=\(proof)", .nonceMismatch),
        ("c=biws,r=\(nonce),p=", .malformedMessage("proof")),
        ("c=biws,r=\(nonce),p=AAAA", .malformedMessage("proof")),
        ("c=biws,r=\(nonce),p=\(proof)=", .malformedMessage("proof")),
        ("c=biws,r=\(nonce),m=x,p=\(proof)", .extensionNotSupported),
        // The extension is signed, so the proof of the plain message does not fit.
        ("c=biws,r=\(nonce),x=y,p=\(proof)", .invalidProof),
    ]

    @Test("a bad second message of a client is refused, and no second try is allowed", arguments: badClientFinals)
    func badClientFinal(text: String, error: SCRAMError) {
        var server = SCRAMVector.server(isMock: false)
        _ = server.receivedClientFirst(ascii(SCRAMVector.clientFirst))
        #expect(server.receivedClientFinal(ascii(text)) == .failure(error))
        #expect(server.receivedClientFinal(ascii(SCRAMVector.clientFinal)) == .failure(.unexpectedMessage))
    }

    @Test("a zero byte has no place in a message")
    func zeroByte() {
        var server = SCRAMVector.server(isMock: false)
        #expect(server.receivedClientFirst(ascii("n,,n=a\0b,r=abc")) == .failure(.malformedMessage("zero byte")))
    }

    @Test("a client's second message cannot come first")
    func wrongOrder() {
        var server = SCRAMVector.server(isMock: false)
        #expect(server.receivedClientFinal(ascii(SCRAMVector.clientFinal)) == .failure(.unexpectedMessage))
        #expect(server.receivedClientFirst(ascii(SCRAMVector.clientFirst)) == .failure(.unexpectedMessage))
    }
}

@Suite struct SCRAMHostileServerTests {
    private static let nonce = SCRAMVector.clientNonce + SCRAMVector.serverNonce
    private static let badServerFirsts: [(text: String, error: SCRAMError)] = [
        ("", .malformedMessage("attribute expected")),
        ("e=no-resources", .serverError("no-resources")),
        ("m=x,r=\(nonce),s=eA==,i=1", .extensionNotSupported),
        ("r=\(nonce)", .malformedMessage("nonce, salt and iterations expected")),
        ("r=\(nonce),i=1,s=eA==", .malformedMessage("nonce, salt and iterations expected")),
        ("r=,s=eA==,i=1", .malformedMessage("nonce")),
        ("r=\(SCRAMVector.clientNonce),s=eA==,i=1", .nonceMismatch),
        ("r=x\(nonce),s=eA==,i=1", .nonceMismatch),
        ("r=\(nonce)\(String(repeating: "x", count: 1024)),s=eA==,i=1", .malformedMessage("nonce")),
        ("r=\(nonce),s=,i=1", .malformedMessage("salt")),
        ("r=\(nonce),s=e,i=1", .malformedMessage("salt")),
        ("r=\(nonce),s=\(String(repeating: "A", count: 1372)),i=1", .malformedMessage("salt")),
        ("r=\(nonce),s=\(String(repeating: "A", count: 100_000)),i=1", .malformedMessage("too long")),
        ("r=\(nonce),s=eA==,i=0", .iterationsOutOfRange),
        ("r=\(nonce),s=eA==,i=-1", .iterationsOutOfRange),
        ("r=\(nonce),s=eA==,i=", .iterationsOutOfRange),
        ("r=\(nonce),s=eA==,i=10000001", .iterationsOutOfRange),
        ("r=\(nonce),s=eA==,i=99999999999999999999", .iterationsOutOfRange),
    ]

    @Test("a bad challenge is refused, and keys that come later are of no use", arguments: badServerFirsts)
    func badServerFirst(text: String, error: SCRAMError) {
        var client = SCRAMVector.client(.password)
        #expect(client.receivedServerFirst(ascii(text)) == .refuse(error))
        #expect(client.isFinished)
        #expect(client.clientFinal(keys: SCRAMVector.keys) == nil)
    }

    @Test("the most iterations that are accepted are reported, not run")
    func manyIterations() {
        var client = SCRAMVector.client(.password)
        #expect(
            client.receivedServerFirst(ascii("r=\(Self.nonce),s=eA==,i=10000000"))
                == .deriveKeys(salt: ascii("x"), iterations: 10_000_000))
    }

    private static let badServerFinals: [(text: String, error: SCRAMError)] = [
        ("", .malformedMessage("attribute expected")),
        ("e=invalid-proof", .serverError("invalid-proof")),
        ("x=y", .malformedMessage("server signature expected")),
        ("v=", .invalidServerSignature),
        ("v=?", .malformedMessage("server signature expected")),
        ("v=AAAA", .invalidServerSignature),
        ("v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=", .invalidServerSignature),
    ]

    @Test("a server that does not prove itself is refused", arguments: badServerFinals)
    func badServerFinal(text: String, error: SCRAMError) {
        var client = SCRAMVector.client(.keys(SCRAMVector.keys))
        #expect(client.receivedServerFirst(ascii(SCRAMVector.serverFirst)) == .send(ascii(SCRAMVector.clientFinal)))
        #expect(throws: error) { try client.receivedServerFinal(ascii(text)).get() }
        #expect(throws: SCRAMError.unexpectedMessage) {
            try client.receivedServerFinal(ascii(SCRAMVector.serverFinal)).get()
        }
    }

    @Test("a server cannot end the exchange early, nor challenge twice")
    func wrongOrder() {
        var early = SCRAMVector.client(.password)
        #expect(throws: SCRAMError.unexpectedMessage) {
            try early.receivedServerFinal(ascii(SCRAMVector.serverFinal)).get()
        }
        var twice = SCRAMVector.client(.password)
        _ = twice.receivedServerFirst(ascii(SCRAMVector.serverFirst))
        #expect(twice.receivedServerFirst(ascii(SCRAMVector.serverFirst)) == .refuse(.unexpectedMessage))
        #expect(twice.clientFinal(keys: SCRAMVector.keys) == nil)
    }

    @Test("a user name with commas and equals signs stays one attribute")
    func userName() {
        let client = SCRAMClient(user: "a,b=c", credential: .password, nonceText: ascii("n"))
        #expect(client.clientFirst == ascii("n,,n=a=2Cb=3Dc,r=n"))
    }
}
