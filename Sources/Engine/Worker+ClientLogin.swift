// A client from its first byte to ReadyForQuery. Nothing said on the way tells which users or databases exist:
// unknown ones go through the same exchange and fail at its end.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

extension Worker {
    // MARK: Arrival

    /// A connection was accepted here: it is dealt to the worker that has the fewest clients.
    mutating func accepted(_ event: Event, listener: Int) {
        let fd = event.value
        guard fd >= 0 else {
            log(.warning, "accept() failed: \(describeErrno(-fd))")
            pauseListener(listener)
            return
        }
        let isUnix = listeners[listener].isUnix
        guard shared.workerCount > 1 else { return adoptClient(fd, isUnix: isUnix) }
        var chosen = number
        var fewest = Int.max
        for (index, port) in shared.ports.enumerated() {
            let count = port.clientCount.load(ordering: .relaxed)
            if count < fewest { (chosen, fewest) = (index, count) }
        }
        shared.ports[chosen].clientCount.add(1, ordering: .relaxed)
        if chosen == number {
            adoptClient(fd, isUnix: isUnix)
        } else {
            shared.ports[chosen].post(.adoptClient(fd: fd, isUnix: isUnix))
        }
    }

    mutating func adoptClient(_ fd: Int32, isUnix: Bool) {
        if !isUnix { tune(fd) }
        let now = now
        let identifier = shared.nextIdentifier()
        let index = clients.insert { _, generation in
            Client(
                generation: generation, identifier: identifier, socket: .none, now: now)
        }
        guard let index else {
            log(.warning, "no more client slots")
            closeDescriptor(fd)
            clientWasDealt(-1)
            return
        }
        clientLinks.prepare(index)
        let client = clients[index]
        client.pointee.isUnixSocket = isUnix
        client.pointee.login = ClientLogin()
        client.pointee.socket = loop.open(fd: fd, token: Token.make(.client, index), expectsBytes: true)
        guard client.pointee.socket != .none else {
            closeDescriptor(fd)
            return closeClient(index, .refused(outOfBuffers))
        }
        loop.startReceiving(client.pointee.socket)
    }

    func clientWasDealt(_ change: Int) {
        if shared.workerCount > 1 { shared.ports[number].clientCount.add(change, ordering: .relaxed) }
    }

    /// Sets a TCP connection's options, on either side.
    func tune(_ fd: Int32) {
        func orKernel(_ value: Int) -> Int32? { value > 0 ? Int32(clamping: value) : nil }
        SocketOptions.setNoDelay(fd)
        if settings.tcpKeepalive {
            SocketOptions.setKeepalive(
                fd, idle: orKernel(settings.tcpKeepidle), interval: orKernel(settings.tcpKeepintvl),
                count: orKernel(settings.tcpKeepcnt))
        }
        if settings.tcpUserTimeoutMicroseconds > 0 {
            SocketOptions.setUserTimeout(fd, milliseconds: Int32(clamping: settings.tcpUserTimeoutMicroseconds / 1000))
        }
        if let bytes = orKernel(settings.tcpSocketBuffer) { SocketOptions.setBuffer(fd, bytes: bytes) }
    }

    // MARK: Messages

    /// Bytes of a client that is not logged in yet.
    mutating func loginReceived(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) {
        let client = clients[index]
        guard let login = client.pointee.login else { return }
        guard login.received.count + bytes.count <= ClientLogin.receivedBytesMax else {
            return closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "bad packet header")))
        }
        login.received.append(contentsOf: bytes)
        switch client.pointee.state {
        case .startup: startupReceived(index, login)
        case .authenticating: passwordReceived(index, login)
        case .hashing, .welcoming:
            if login.received.first == FrontendTag.terminate { return closeClient(index, .closeRequest) }
            refuseEarlyBytes(index)
        case .ready, .console, .canceling: break
        }
    }

    private mutating func refuseEarlyBytes(_ index: UInt32) {
        closeClient(
            index, .fatal(fatalFields(SQLState.protocolViolation, "client sent data before authentication was complete")))
    }

    private mutating func startupReceived(_ index: UInt32, _ login: ClientLogin) {
        let request: StartupRequest
        let isFollowed: Bool
        do throws(StartupError) {
            guard let found = try firstPacket(login.received) else { return }
            (request, isFollowed) = found
        } catch {
            // Nothing is ever said to a cancel request (manual, 55.2.8), not even that it is malformed.
            if isCancelRequest(login.received) { return closeClient(index, .cancelDone) }
            return closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, error.message)))
        }
        login.received = []
        switch request {
        case .sslRequest:
            answerEncryptionRequest(index, &login.hasAskedForTLS, isFollowed, "SSL request")
        case .gssEncryptionRequest:
            answerEncryptionRequest(index, &login.hasAskedForGSS, isFollowed, "GSSAPI encryption request")
        case .cancel(let processID, let secret):
            cancelRequested(index, processID, secret)
        case .startup(let message):
            guard !isFollowed else { return refuseEarlyBytes(index) }
            startupMessageReceived(index, login, message)
        }
    }

    private func isCancelRequest(_ packet: [UInt8]) -> Bool {
        packet.count >= 8 && packet[4..<8].elementsEqual([0x04, 0xD2, 0x16, 0x2E])
    }

    /// The start-up packet, when it has arrived whole, and whether more bytes follow it.
    private func firstPacket(_ received: [UInt8]) throws(StartupError) -> (StartupRequest, Bool)? {
        let result = received.withUnsafeBytes { bytes -> Result<(StartupRequest, Bool)?, StartupError> in
            do throws(StartupError) {
                guard let length = try startupPacketLength(bytes), bytes.count >= length else { return .success(nil) }
                let request = try parseStartupPacket(UnsafeRawBufferPointer(rebasing: bytes[..<length]))
                return .success((request, bytes.count > length))
            } catch {
                return .failure(error)
            }
        }
        return try result.get()
    }

    private mutating func answerEncryptionRequest(
        _ index: UInt32, _ hasAsked: inout Bool, _ isFollowed: Bool, _ what: String
    ) {
        guard !isFollowed, !hasAsked else {
            return closeClient(
                index, .fatal(fatalFields(SQLState.protocolViolation, "received unencrypted data after \(what)")))
        }
        hasAsked = true
        let no: [UInt8] = [UInt8(ascii: "N")]
        no.withUnsafeBytes { loop.send(clients[index].pointee.socket, copying: $0) }
    }

    private mutating func startupMessageReceived(_ index: UInt32, _ login: ClientLogin, _ message: StartupMessage) {
        let client = clients[index]
        let request: LoginRequest
        do {
            request = try readStartup(message)
        } catch {
            return closeClient(index, .fatal(error.error))
        }
        login.user = request.user
        login.database = request.database
        login.settings = request.settings
        if message.minorVersion > 0 || !request.unknownOptions.isEmpty {
            var writer = MessageWriter()
            writer.negotiateProtocolVersion(minor: 0, unknownOptions: request.unknownOptions)
            sendToClient(index, writer)
        }
        if settings.logConnections {
            log(
                .log,
                "\(name(ofClient: index)) login attempt: db=\(login.database) user=\(login.user) tls=no replication="
                    + (request.isReplication ? "yes" : "no"))
        }
        client.pointee.state = .authenticating
        if isConsoleDatabase(login.database) { return consoleLogin(index, login) }
        if let refusal = refusalBeforeAuthentication(request) { return closeClient(index, .refused(refusal)) }
        guard shared.clients.take() else {
            return closeClient(
                index,
                .refused(fatalFields(SQLState.tooManyConnections, "no more connections allowed (max_client_conn)")))
        }
        client.pointee.isCounted = true
        beginAuthentication(index, login)
    }

    private func refusalBeforeAuthentication(_ request: LoginRequest) -> ErrorFields? {
        if shared.shutdown.load(ordering: .relaxed) != 0 {
            return fatalFields(SQLState.adminShutdown, "pooler is shutting down")
        }
        if request.isReplication {
            return fatalFields(SQLState.featureNotSupported, "replication connections are not supported")
        }
        return nil
    }

    /// Reads the parameters; what servers have reported is looked up only if one is not known otherwise.
    private func readStartup(_ message: StartupMessage) throws(LoginRefusal) -> LoginRequest {
        do throws(LoginRefusal) {
            return try readStartupParameters(message, names: startupNames, reported: [])
        } catch {
            return try readStartupParameters(message, names: startupNames, reported: reportedParameters)
        }
    }

    /// The names, in lower case, of what servers have reported, so that it can follow a client.
    private var reportedParameters: Set<String> {
        var names: Set<String> = []
        for index in 0..<pools.indexEnd where pools.isLive(index) {
            parameterSets.forEach(pools[index].pointee.defaults) { name, _ in names.insert(name.lowercased()) }
        }
        return names
    }

    // MARK: Authentication

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

    private mutating func passwordReceived(_ index: UInt32, _ login: ClientLogin) {
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
