// A server connection from its permit to its first use: find an address, connect, log in, learn its parameters,
// run the connect query. Every address of every host is tried before the attempt counts as failed.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

/// What is needed only while a server connection is made.
final class ServerLogin {
    var hosts: [HostAddress] = []
    var nextHost = 0
    var addresses: [SocketAddress] = []
    /// Why the last address or host could not be used.
    var failure = ServerCloseReason.connectFailed("no host to connect to")
    var scram: SCRAMClient?
    var hasVerifiedServer = false
    /// The minor version of protocol 3 that was asked for.
    var minorVersion = 0
    /// The address did not take a newer version, perhaps for being newer: it is asked for 3.0.
    var asksForOldest = false
    /// It has begun to log us in.
    var isAnswered = false
    /// The server has said AuthenticationOk.
    var isAccepted = false
    var fixedParameters: [(name: String, value: String)] = []
    /// What a server outside the pool is asked for besides user and database.
    var startupParameters: [(name: String, value: String)] = []
}

extension Worker {
    // MARK: Finding an address

    /// Opens a server connection; the permit has been taken.
    mutating func openServer(_ poolIndex: UInt32) {
        let pool = pools[poolIndex]
        let identifier = shared.nextIdentifier()
        let now = now
        let index = servers.insert { _, generation in
            Server(generation: generation, identifier: identifier, pool: Int32(poolIndex), now: now)
        }
        guard let index else {
            pool.pointee.pool.bounds.giveBackPermit()
            return log(.error, "no more server slots")
        }
        serverLinks.prepare(index)
        pool.pointee.pool.opened(index, now: now, servers: &serverLinks)
        servers[index].pointee.tracksStatements = pool.pointee.tracksStatements
        startLogin(index, ServerLogin())
    }

    /// Begins to connect a server that has just been made.
    mutating func startLogin(_ index: UInt32, _ login: ServerLogin) {
        let pool = pools[UInt32(servers[index].pointee.pool)]
        let hosts = configuration.value.hosts(database: pool.pointee.options)
        if configuration.value.loadBalanceHosts(database: pool.pointee.options) == .roundRobin, hosts.count > 1 {
            let first = pool.pointee.nextHost % hosts.count
            login.hosts = Array(hosts[first...] + hosts[..<first])
            pool.pointee.nextHost += 1
        } else {
            login.hosts = hosts
        }
        servers[index].pointee.login = login
        connectNext(index)
    }

    /// Connects to the next address; gives up when all have been tried.
    private mutating func connectNext(_ index: UInt32) {
        let server = servers[index]
        guard let login = server.pointee.login else { return }
        let port = UInt16(pools[UInt32(server.pointee.pool)].pointee.options.port)
        login.asksForOldest = false
        while true {
            if !login.addresses.isEmpty {
                if connect(index, login.addresses.removeFirst(), login) { return }
                continue
            }
            guard login.nextHost < login.hosts.count else {
                return closeServer(index, login.failure)
            }
            let host = login.hosts[login.nextHost]
            switch find(host, port, index) {
            case .found(let addresses): login.addresses = addresses
            case .failed(let cause): login.failure = .dnsFailed(cause)
            case .pending:
                server.pointee.phase = .resolving
                return
            }
            login.nextHost += 1
        }
    }

    private enum Found {
        case found([SocketAddress])
        case pending
        case failed(String)
    }

    private mutating func find(_ host: HostAddress, _ port: UInt16, _ index: UInt32) -> Found {
        switch host {
        case .unix(let folder):
            let path = "\(folder)/.s.PGSQL.\(port)"
            guard let address = SocketAddress(unixPath: path) else { return .failed("socket path too long: \(path)") }
            return .found([address])
        case .tcp(let name):
            if let address = SocketAddress(literal: name, port: port) { return .found([address]) }
            let workerPort = shared.ports[number]
            let answer = shared.resolver.resolve(name: name, port: port, now: now) { name in
                workerPort.post(.resolved(name: name))
            }
            switch answer {
            case .pending: return .pending
            case .failed(let cause): return .failed("\(name): \(cause)")
            case .cached(let raw):
                return .found(raw.compactMap { bytes in bytes.withUnsafeBytes { SocketAddress($0) } })
            }
        }
    }

    /// A name that servers here wait for has been looked up.
    mutating func nameResolved(_ name: String) {
        for index in 0..<servers.indexEnd where servers.isLive(index) {
            if servers[index].pointee.phase == .resolving { connectNext(index) }
        }
    }

    private mutating func connect(_ index: UInt32, _ address: SocketAddress, _ login: ServerLogin) -> Bool {
        let server = servers[index]
        do {
            let fd = try SocketOptions.makeStreamSocket(for: address)
            if address.family != .unix { tune(fd) }
            server.pointee.address = address
            server.pointee.addressText = address.description
            server.pointee.phase = .connecting
            server.pointee.socket = loop.connect(fd: fd, address: address, token: Token.make(.server, index))
            return true
        } catch {
            login.failure = .connectFailed("\(address): \(error)")
            return false
        }
    }

    /// The connect to one address failed: the next one is tried.
    mutating func connectFailed(_ index: UInt32, _ cause: String) {
        let server = servers[index]
        loop.close(server.pointee.socket, flushing: false)
        server.pointee.socket = .none
        server.pointee.login?.failure = .connectFailed("\(server.pointee.addressText): \(cause)")
        connectNext(index)
    }

    // MARK: Logging in

    mutating func serverConnected(_ index: UInt32) {
        let server = servers[index]
        let pool = pools[UInt32(server.pointee.pool)]
        server.pointee.phase = .loggingIn
        let options = pool.pointee.options
        var parameters = [("user", pool.pointee.key.user), ("database", options.serverDatabase)]
        if let value = options.clientEncoding { parameters.append(("client_encoding", value)) }
        if let value = options.datestyle { parameters.append(("datestyle", value)) }
        if let value = options.timezone { parameters.append(("timezone", value)) }
        if let value = options.applicationName { parameters.append(("application_name", value)) }
        for (name, value) in server.pointee.login?.startupParameters ?? [] {
            parameters.removeAll { $0.0 == name }
            parameters.append((name, value))
        }
        let minorVersion =
            server.pointee.login?.asksForOldest == true ? 0 : pool.pointee.serverMinorVersion ?? longKeysMinorVersion
        server.pointee.login?.minorVersion = minorVersion
        var writer = MessageWriter()
        writer.startup(minorVersion: minorVersion, parameters: parameters.map { (name: $0.0, value: $0.1) })
        sendToServer(index, writer)
        loop.startReceiving(server.pointee.socket)
    }

    /// Processes a login's messages; returns how far it came.
    mutating func loginMessages(
        _ index: UInt32, _ generation: UInt32, _ buffer: BufferID, from: Int, end: Int
    ) -> Int {
        let server = servers[index]
        // What is left of a connection that was given up for another one.
        if server.pointee.phase == .connecting { return end }
        let bytes = UnsafeRawPointer(loop.memory(of: buffer))
        var offset = from
        while offset < end {
            let frame = server.pointee.framer.next(
                bytes, from: offset, count: end, whole: serverTags.login,
                lengthMax: UInt32(EventLoop.bufferBytes - 1))
            switch frame.kind {
            case .incomplete: return offset
            case .message where serverTags.login.contains(frame.tag):
                let payload = UnsafeRawBufferPointer(
                    start: bytes + offset + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes)
                loginMessage(index, frame.tag, payload)
            case .message, .continuation, .invalid:
                closeServer(index, .protocolViolation("unknown pkt from server during login"))
            }
            guard servers.isLive(index, generation: generation), server.pointee.phase != .connecting else { return end }
            offset = frame.end
            if server.pointee.phase == .ready { return offset }
        }
        return offset
    }

    private mutating func loginMessage(_ index: UInt32, _ tag: UInt8, _ payload: UnsafeRawBufferPointer) {
        let server = servers[index]
        if let login = server.pointee.login, !login.isAccepted,
            [BackendTag.parameterStatus, BackendTag.backendKeyData, BackendTag.readyForQuery].contains(tag)
        {
            return closeServer(index, .protocolViolation("expected authentication request from server"))
        }
        switch tag {
        case BackendTag.authentication:
            noteAnswer(index)
            authenticationRequested(index, payload)
        case BackendTag.negotiateProtocolVersion: versionNegotiated(index, payload)
        case BackendTag.errorResponse:
            let error = ErrorFields.parse(payload)
            if refusesVersion(error), asksAgain(index, wasTold: true) { return }
            closeServer(index, .loginFailed(error))
        case BackendTag.parameterStatus:
            guard let (name, value) = parseParameterStatus(payload) else { return }
            let isTracked = isTrackable(name)
            if isTracked {
                server.pointee.settings = parameterSets.set(server.pointee.settings, name: name, value: value)
            }
            // A replication client is told everything, in the server's order.
            if !isTracked || server.pointee.purpose == .replication {
                server.pointee.login?.fixedParameters.append((name, value))
            }
        case BackendTag.backendKeyData:
            guard let (processID, secret) = parseBackendKeyData(payload) else { return }
            server.pointee.processID = processID
            server.pointee.secret = secret
        case BackendTag.readyForQuery: loginEnded(index)
        default: return
        }
    }

    // MARK: The version

    /// A server knows an older version than it was asked for (manual, 55.2.1).
    private mutating func versionNegotiated(_ index: UInt32, _ payload: UnsafeRawBufferPointer) {
        guard let login = servers[index].pointee.login, !login.isAnswered,
            let (minorVersion, unknownOptions) = parseNegotiateProtocolVersion(payload),
            minorVersion < login.minorVersion, unknownOptions == 0
        else { return closeServer(index, .protocolViolation("bad protocol negotiation")) }
        noteAnswer(index)
    }

    /// The server takes the version, or says which one it takes: its pool's next servers are asked for the same.
    private func noteAnswer(_ index: UInt32) {
        let server = servers[index]
        guard let login = server.pointee.login, !login.isAnswered else { return }
        login.isAnswered = true
        pools[UInt32(server.pointee.pool)].pointee.serverMinorVersion = login.minorVersion
    }

    /// PostgreSQL up to 9.3.20, and poolers before they could negotiate, refuse a newer version as a feature that is
    /// not supported or as a violation of the protocol.
    private func refusesVersion(_ error: ErrorFields) -> Bool {
        error.code.hasPrefix("0A") || error.code.hasPrefix("08")
    }

    /// A server has refused us, or just closed the connection, before anything else. If that may be for the version
    /// that it was asked for, it is asked for 3.0, on a new connection; false when there is no reason to.
    ///
    /// - Parameter wasTold: it has refused the version with an error. A connection that is just closed speaks against
    ///   the version only while no server of the pool has taken it.
    mutating func asksAgain(_ index: UInt32, wasTold: Bool) -> Bool {
        let server = servers[index]
        guard let login = server.pointee.login, let address = server.pointee.address, !login.isAnswered,
            login.minorVersion > 0
        else { return false }
        let isKnown = pools[UInt32(server.pointee.pool)].pointee.serverMinorVersion != nil
        guard wasTold || !isKnown else { return false }
        loop.close(server.pointee.socket, flushing: false)
        server.pointee.socket = .none
        server.pointee.framer = MessageFramer()
        if !server.pointee.gather.isEmpty { loop.release(server.pointee.gather.buffer) }
        server.pointee.gather = Gather()
        login.asksForOldest = true
        return connect(index, address, login)
    }

    // MARK: Logged in

    /// The server is ready for queries: the connect query comes first.
    private mutating func loginEnded(_ index: UInt32) {
        let server = servers[index]
        if server.pointee.purpose != .pooled { return dedicatedServerLoggedIn(index) }
        if let query = pools[UInt32(server.pointee.pool)].pointee.options.connectQuery, !query.isEmpty {
            server.pointee.phase = .ready
            sendOwnQuery(index, query, .connect)
            return
        }
        serverLoggedIn(index)
    }

    mutating func connectQueryFailed(_ index: UInt32) {
        closeServer(index, .connectQueryFailed)
    }

    /// The login is complete: the server is free for its first client.
    mutating func serverLoggedIn(_ index: UInt32) {
        let server = servers[index]
        let poolIndex = UInt32(server.pointee.pool)
        let pool = pools[poolIndex]
        server.pointee.phase = .ready
        server.pointee.connectedAt = now
        connectEnded(index)
        pool.pointee.backoff.succeeded()
        pool.pointee.pool.loginSucceeded()
        pool.pointee.lastFailure = nil
        let isFirst = !pool.pointee.isWelcomeKnown
        if let login = server.pointee.login { learnParameters(poolIndex, server.pointee.settings, login) }
        server.pointee.login = nil
        logNewServer(index)
        pool.pointee.isWelcomeKnown = true
        if isFirst { welcomeAll(poolIndex) }
        release(index)
        // Clients that `server_connect_parallel` held back get theirs now.
        growEverywhere(poolIndex)
    }

    func logNewServer(_ index: UInt32) {
        guard settings.logConnections else { return }
        let local = SocketAddress.ofLocal(loop.fileDescriptor(servers[index].pointee.socket))
        log(.log, "\(name(ofServer: index)) new connection to server (from \(local?.description ?? "unix"))")
    }

    /// What a server reports at login is what the pool's next clients start from.
    private mutating func learnParameters(_ poolIndex: UInt32, _ settings: ParameterSetID, _ login: ServerLogin) {
        let pool = pools[poolIndex]
        guard
            pool.pointee.defaults != settings || !pool.pointee.isWelcomeKnown
                || !pool.pointee.isTold(login.fixedParameters)
        else { return }
        parameterSets.retain(settings)
        parameterSets.release(pool.pointee.defaults)
        pool.pointee.defaults = settings
        pool.pointee.fixedParameters = login.fixedParameters
        dropWelcomes(pool)
        publishWelcome(poolIndex)
    }

    // MARK: Failures

    /// A connect or login failed: the next try comes later, and if the pool has no server at all its clients are told.
    mutating func loginFailed(_ poolIndex: UInt32, _ reason: ServerCloseReason) {
        let error: ErrorFields
        switch reason {
        case .evicted, .pauseMode, .closeNeeded, .shuttingDown, .databaseRemoved, .configurationChanged: return
        case .loginFailed(let own): error = own
        default:
            error = ErrorFields(
                code: SQLState.unableToEstablishConnection, message: "server cannot be reached (server_login_retry)",
                detail: reason.text)
        }
        let pool = pools[poolIndex]
        log(.warning, "\(poolName(poolIndex)): server login failed: \(error.message) \(error.detail ?? "")")
        let random = randomWord()
        pool.pointee.pool.connectFailed(
            retryAt: pool.pointee.backoff.failed(
                nowMicroseconds: now, retryMaxMicroseconds: pool.pointee.timeouts.loginRetry, random: random))
        // A server that is starting up will be there soon: its clients wait.
        if error.code == SQLState.cannotConnectNow { return }
        pool.pointee.lastFailure = Refusal(error)
        let bounds = pool.pointee.pool.bounds
        guard bounds.servers.taken <= bounds.connecting.load(ordering: .relaxed) else { return }
        refuseAll(poolIndex, error)
    }

    private mutating func refuseAll(_ poolIndex: UInt32, _ error: ErrorFields) {
        let pool = pools[poolIndex]
        var atLogin = error
        atLogin.severity = "FATAL"
        for index in pool.pointee.welcoming { closeClient(index, .refused(atLogin)) }
        var inLine = error
        inLine.severity = "ERROR"
        // Only those who wait now: a refused client's next statement may put it in line again.
        for _ in 0..<pool.pointee.pool.waiting.count {
            guard pool.pointee.pool.waiting.first >= 0 else { break }
            refuseWaiting(UInt32(pool.pointee.pool.waiting.first), inLine)
        }
    }
}
