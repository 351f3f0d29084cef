// How we prove to a server who we are, by the method that it asks for and with what is known of the user: a password,
// its MD5 digest, or the SCRAM keys that a client's own login has shown.

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    mutating func authenticationRequested(_ index: UInt32, _ payload: UnsafeRawBufferPointer) {
        let server = servers[index]
        guard let login = server.pointee.login, let request = parseAuthentication(payload) else {
            return closeServer(index, .protocolViolation("bad authentication request"))
        }
        let pool = pools[UInt32(server.pointee.pool)]
        let user = pool.pointee.key.user
        let secret = pool.pointee.options.password.map { Secret(stored: $0.text) } ?? configuration.value.secrets[user]
        var writer = MessageWriter()
        switch request {
        case .ok:
            if login.scram != nil && !login.hasVerifiedServer {
                return failLogin(index, "server login failed: failed to verify server signature")
            }
            login.isAccepted = true
            return
        case .cleartextPassword:
            guard case .plain(let password) = secret else { return failLogin(index, wrongPasswordType) }
            writer.password(password)
        case .md5Password(let salt):
            guard let response = md5Answer(secret, user: user, salt: salt) else {
                return failLogin(index, wrongPasswordType)
            }
            writer.password(response)
        case .sasl(let mechanisms):
            guard mechanisms.contains("SCRAM-SHA-256") else {
                return failLogin(
                    index, "server login failed: none of the server's SASL authentication mechanisms are supported")
            }
            guard let credential = credential(secret, user: user) else { return failLogin(index, wrongPasswordType) }
            let client = SCRAMClient(user: "", credential: credential, clientNonce: randomBytes(18))
            login.scram = client
            writer.saslInitialResponse(mechanism: "SCRAM-SHA-256", response: client.clientFirst)
        case .saslContinue(let data): return continueSCRAM(index, login, Array(data), secret, user)
        case .saslFinal(let data):
            guard var client = login.scram, case .success = client.receivedServerFinal(Array(data)) else {
                return failLogin(index, "server login failed: invalid server signature")
            }
            login.scram = client
            login.hasVerifiedServer = true
            return
        case .unsupported(let code):
            return failLogin(index, "server login failed: unsupported authentication method \(code)")
        }
        sendToServer(index, writer)
    }

    private var wrongPasswordType: String { "server login failed: wrong password type" }

    private mutating func failLogin(_ index: UInt32, _ message: String) {
        closeServer(
            index, .loginFailed(ErrorFields(severity: "FATAL", code: SQLState.invalidAuthorization, message: message)))
    }

    private func md5Answer(_ secret: Secret?, user: String, salt: [UInt8]) -> String? {
        switch secret {
        case .plain(let password):
            md5Password(user: user, password: password).flatMap { md5Response(stored: $0, salt: salt) }
        case .md5(let stored): md5Response(stored: stored, salt: salt)
        case .scram, nil: nil
        }
    }

    /// What proves us to a server by SCRAM: a password, or the keys that a client's own login has shown.
    private func credential(_ secret: Secret?, user: String) -> SCRAMClientCredential? {
        if case .plain = secret { return .password }
        return shared.hasher.learntKeys(user: user).map { .keys($0) }
    }

    private mutating func continueSCRAM(
        _ index: UInt32, _ login: ServerLogin, _ data: [UInt8], _ secret: Secret?, _ user: String
    ) {
        guard var client = login.scram else {
            return closeServer(index, .protocolViolation("bad authentication request"))
        }
        let action = client.receivedServerFirst(data)
        login.scram = client
        switch action {
        case .send(let bytes):
            var writer = MessageWriter()
            writer.saslResponse(bytes)
            sendToServer(index, writer)
        case .refuse(let error): failLogin(index, "server login failed: \(error)")
        case .deriveKeys(let salt, let iterations):
            guard case .plain(let password) = secret else { return failLogin(index, wrongPasswordType) }
            let key = HashingThread.Key(user: user, password: password, salt: salt, iterations: iterations)
            if let keys = shared.hasher.cachedKeys(key) { return answerSCRAM(index, keys) }
            servers[index].pointee.phase = .hashing
            let generation = servers[index].pointee.generation
            let port = shared.ports[number]
            shared.hasher.deriveKeys(key) { keys in
                port.post(.serverKeys(server: index, generation: generation, keys: keys))
            }
        }
    }

    mutating func serverKeysDerived(_ index: UInt32, _ generation: UInt32, _ keys: SCRAMKeys) {
        guard servers.isLive(index, generation: generation) else { return }
        servers[index].pointee.phase = .loggingIn
        answerSCRAM(index, keys)
    }

    private mutating func answerSCRAM(_ index: UInt32, _ keys: SCRAMKeys) {
        guard let login = servers[index].pointee.login, var client = login.scram else { return }
        guard let final = client.clientFinal(keys: keys) else {
            return failLogin(index, "server login failed: bad SCRAM exchange")
        }
        login.scram = client
        var writer = MessageWriter()
        writer.saslResponse(final)
        sendToServer(index, writer)
    }
}
