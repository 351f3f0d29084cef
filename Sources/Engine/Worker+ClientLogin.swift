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

    mutating func clientWasDealt(_ change: Int) {
        if shared.workerCount > 1 { shared.ports[number].clientCount.add(change, ordering: .relaxed) }
    }

    /// Sets a TCP connection's options, on either side.
    mutating func tune(_ fd: Int32) {
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

    mutating func refuseEarlyBytes(_ index: UInt32) {
        closeClient(
            index,
            .fatal(fatalFields(SQLState.protocolViolation, "client sent data before authentication was complete")))
    }

    private mutating func startupReceived(_ index: UInt32, _ login: ClientLogin) {
        if let known = knownStartups.find(login.received) {
            login.received = []
            return startupTaken(index, login, known.request, minorVersion: known.minorVersion)
        }
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
        let packet = login.received
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
            startupMessageReceived(index, login, message, packet)
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

    private mutating func startupMessageReceived(
        _ index: UInt32, _ login: ClientLogin, _ message: StartupMessage, _ packet: [UInt8]
    ) {
        let request: LoginRequest
        do {
            request = try readStartupParameters(message, ignored: ignoredStartupParameters)
        } catch {
            return closeClient(index, .fatal(error.error))
        }
        knownStartups.keep(packet, request, minorVersion: message.minorVersion)
        startupTaken(index, login, request, minorVersion: message.minorVersion)
    }

    /// A client asks for a session that it may have once it has proven who it is.
    private mutating func startupTaken(
        _ index: UInt32, _ login: ClientLogin, _ request: LoginRequest, minorVersion: Int
    ) {
        let client = clients[index]
        login.user = request.user
        login.database = request.database
        login.settings = request.settings
        login.replication = request.replication
        login.minorVersion = spokenMinorVersion(askedFor: minorVersion)
        if minorVersion != login.minorVersion || !request.unknownOptions.isEmpty {
            var writer = MessageWriter()
            writer.negotiateProtocolVersion(minor: login.minorVersion, unknownOptions: request.unknownOptions)
            sendToClient(index, writer)
        }
        if settings.logConnections {
            log(
                .log,
                "\(name(ofClient: index)) login attempt: db=\(login.database) user=\(login.user) tls=no replication="
                    + request.replication.text)
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

    private mutating func refusalBeforeAuthentication(_ request: LoginRequest) -> ErrorFields? {
        if shared.shutdown.load(ordering: .relaxed) != 0 {
            return fatalFields(SQLState.adminShutdown, "pooler is shutting down")
        }
        return nil
    }
}
