// How a client proves who it is. Nothing said on the way tells which users exist: unknown ones go through the same
// exchange and fail at its end. Deriving keys is slow, so it is done on the hashing thread while the loop goes on.

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    mutating func beginAuthentication(_ index: UInt32, _ login: ClientLogin) {
        if !login.isConsole { login.options = configuration.database(named: login.database) }
        login.secret = configuration.secret(of: login.user)
        login.isMock = login.secret == nil
        let hasForcedUser = login.options?.user != nil || login.isConsole
        let method = authenticationMethod(
            configuration.authType, secret: login.secret, hasForcedUser: hasForcedUser)
        var writer = MessageWriter()
        switch method {
        case .accept: return authenticated(index, login)
        case .refuse: return failAuthentication(index, login)
        case .cleartext:
            login.exchange = .cleartext
            writer.authenticationCleartext()
        case .md5:
            let salt = randomBytes(4)
            login.exchange = .md5(salt: salt)
            writer.authenticationMD5(salt: salt)
        case .scram:
            return prepareSCRAM(index, login)
        }
        sendToClient(index, writer)
    }

    /// Finds or derives the secret for a SCRAM exchange, then offers it.
    private mutating func prepareSCRAM(_ index: UInt32, _ login: ClientLogin) {
        let iterations = settings.scramIterations
        switch login.secret {
        case .scram(let text): login.scramSecret = SCRAMSecret(parsing: text)
        case .plain(let password):
            if let secret = shared.hasher.cachedSecret(user: login.user, password: password, iterations: iterations) {
                login.scramSecret = secret
            } else {
                return deriveSecret(index, login.user, password, iterations)
            }
        case .md5, nil: break
        }
        offerSCRAM(index, login)
    }

    private mutating func deriveSecret(_ index: UInt32, _ user: String, _ password: String, _ iterations: Int) {
        clients[index].pointee.state = .hashing
        let port = shared.ports[number]
        let generation = clients[index].pointee.generation
        // A plain password's salt is made as an unknown user's is, so that it does not tell which users exist.
        let salt = SCRAMSecret.mockSalt(user: user, nonce: shared.mockKey)
        shared.hasher.deriveSecret(user: user, password: password, salt: salt, iterations: iterations) { secret in
            port.post(.clientSecret(client: index, generation: generation, secret: secret))
        }
    }

    mutating func clientSecretDerived(_ index: UInt32, _ generation: UInt32, _ secret: SCRAMSecret) {
        guard clients.isLive(index, generation: generation), let login = clients[index].pointee.login else { return }
        login.scramSecret = secret
        clients[index].pointee.state = .authenticating
        offerSCRAM(index, login)
    }

    private mutating func offerSCRAM(_ index: UInt32, _ login: ClientLogin) {
        if login.scramSecret == nil { login.isMock = true }
        let secret = login.scramSecret ?? SCRAMSecret.mock(user: login.user, nonce: shared.mockKey)
        login.exchange = .scram(
            SCRAMServer(secret: secret, serverNonce: randomBytes(18), isMock: login.isMock))
        var writer = MessageWriter()
        writer.authenticationSASL(mechanisms: ["SCRAM-SHA-256"])
        sendToClient(index, writer)
    }

    mutating func passwordReceived(_ index: UInt32, _ login: ClientLogin) {
        guard let payload = takeMessage(index, login) else { return }
        switch login.exchange {
        case .none: refuseEarlyBytes(index)
        case .cleartext:
            let password = payload.withUnsafeBytes { parsePasswordMessage($0) }
            checkCleartext(index, login, password)
        case .md5(let salt):
            let response = payload.withUnsafeBytes { parsePasswordMessage($0) } ?? []
            checkMD5(index, login, response, salt)
        case .scram(let exchange): continueSCRAM(index, login, exchange, payload)
        }
    }

    /// The payload of the one password message that has arrived whole; nil while it has not.
    private mutating func takeMessage(_ index: UInt32, _ login: ClientLogin) -> [UInt8]? {
        let bytes = login.received
        guard let tag = bytes.first else { return nil }
        if tag == FrontendTag.terminate {
            closeClient(index, .closeRequest)
            return nil
        }
        guard tag == FrontendTag.password else {
            closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "unknown pkt")))
            return nil
        }
        guard bytes.count >= MessageFramer.headerBytes else { return nil }
        let length = bytes[1...4].reduce(0) { $0 << 8 | Int($1) }
        guard length >= 4, length < ClientLogin.receivedBytesMax else {
            closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "password too long")))
            return nil
        }
        guard bytes.count >= length + 1 else { return nil }
        guard bytes.count == length + 1 else {
            refuseEarlyBytes(index)
            return nil
        }
        login.received = []
        return Array(bytes[5...])
    }

    private mutating func checkCleartext(_ index: UInt32, _ login: ClientLogin, _ password: [UInt8]?) {
        guard let password, !password.isEmpty else {
            return closeClient(
                index, .fatal(fatalFields(SQLState.invalidPassword, "empty password returned by client")))
        }
        switch login.secret {
        case .plain(let stored): finishCheck(index, login, constantTimeEquals(Array(stored.utf8), password))
        case .md5(let stored):
            let digest = md5Password(user: login.user, password: password) ?? ""
            finishCheck(index, login, constantTimeEquals(Array(stored.utf8), Array(digest.utf8)))
        case .scram(let text):
            guard let secret = SCRAMSecret(parsing: text) else { return failAuthentication(index, login) }
            clients[index].pointee.state = .hashing
            let port = shared.ports[number]
            let generation = clients[index].pointee.generation
            shared.hasher.check(password: password, against: secret) { keys in
                port.post(.passwordChecked(client: index, generation: generation, keys: keys))
            }
        case nil: failAuthentication(index, login)
        }
    }

    mutating func clientPasswordChecked(_ index: UInt32, _ generation: UInt32, _ keys: SCRAMKeys?) {
        guard clients.isLive(index, generation: generation), let login = clients[index].pointee.login else { return }
        clients[index].pointee.state = .authenticating
        if let keys { shared.hasher.learn(user: login.user, keys: keys) }
        finishCheck(index, login, keys != nil)
    }

    private mutating func checkMD5(_ index: UInt32, _ login: ClientLogin, _ response: [UInt8], _ salt: [UInt8]) {
        let stored: String? =
            switch login.secret {
            case .plain(let password): md5Password(user: login.user, password: password)
            case .md5(let digest): digest
            case .scram, nil: nil
            }
        let wanted = stored.flatMap { md5Response(stored: $0, salt: salt) }
        finishCheck(index, login, wanted.map { constantTimeEquals(Array($0.utf8), response) } ?? false)
    }

    private mutating func finishCheck(_ index: UInt32, _ login: ClientLogin, _ isRight: Bool) {
        if isRight && !login.isMock { authenticated(index, login) } else { failAuthentication(index, login) }
    }

    private mutating func continueSCRAM(
        _ index: UInt32, _ login: ClientLogin, _ exchange: SCRAMServer, _ payload: [UInt8]
    ) {
        var exchange = exchange
        var writer = MessageWriter()
        if !login.isChallenged {
            guard let first = payload.withUnsafeBytes({ parseSASLInitialResponse($0) }),
                first.mechanism == "SCRAM-SHA-256", let response = first.response
            else {
                return closeClient(
                    index,
                    .fatal(
                        fatalFields(
                            SQLState.protocolViolation, "client selected an invalid SASL authentication mechanism")))
            }
            guard case .success(let challenge) = exchange.receivedClientFirst(response) else {
                return failAuthentication(index, login)
            }
            login.isChallenged = true
            login.exchange = .scram(exchange)
            writer.authenticationSASLContinue(challenge)
            return sendToClient(index, writer)
        }
        guard case .success(let final, let clientKey) = exchange.receivedClientFinal(payload), !login.isMock,
            let secret = login.scramSecret
        else { return failAuthentication(index, login) }
        shared.hasher.learn(
            user: login.user, keys: SCRAMKeys(clientKey: clientKey, serverKey: secret.serverKey))
        writer.authenticationSASLFinal(final)
        sendToClient(index, writer)
        authenticated(index, login)
    }

    private mutating func failAuthentication(_ index: UInt32, _ login: ClientLogin) {
        let message =
            switch login.exchange {
            case .scram: "SASL authentication failed"
            case .cleartext, .md5: "password authentication failed"
            case .none: "\"\(settings.authType.rawValue)\" authentication failed"
            }
        log(.log, "\(name(ofClient: index)) login failed: db=\(login.database) user=\(login.user)")
        closeClient(index, .refused(fatalFields(SQLState.invalidPassword, message)))
    }
}
