// The admin console's connections: the database `weir`, alias `pgbouncer`, on every listener. The protocol is
// ConsoleSession's; here its commands are carried out, most of them by asking every worker.

import Configuration
import Console
import Glibc
import Pooling
import Reactor
import Synchronization
import Wire

/// A console connection's session, the bytes of a message that is not there whole, and the job that it waits for.
final class ConsoleLink {
    /// The largest console message.
    static var messageBytesMax: Int { 16_384 }

    var session: ConsoleSession
    var received: [UInt8] = []
    var command: ConsoleCommand?
    /// Numbers its commands: one that was cancelled may still be at work when the next one is.
    var commandNumber: UInt64 = 0

    init(role: ConsoleRole) { session = ConsoleSession(role: role) }
}

extension Worker {
    // MARK: Login

    /// A client wants the console: the process's own user may come over the Unix socket without a password.
    mutating func consoleLogin(_ index: UInt32, _ login: ClientLogin) {
        let client = clients[index]
        login.isConsole = true
        if client.pointee.isUnixSocket, login.user == "pgbouncer" || login.user == "weir",
            let peer = SocketOptions.peerCredentials(loop.fileDescriptor(client.pointee.socket)),
            peer.userID == getuid()
        {
            if settings.logConnections { log(.log, "pgbouncer access from unix socket") }
            return openConsole(index, .admin)
        }
        guard consoleRole(of: login.user) != nil else {
            return closeClient(index, .refused(fatalFields(SQLState.invalidAuthorization, "not allowed")))
        }
        beginAuthentication(index, login)
    }

    private func consoleRole(of user: String) -> ConsoleRole? {
        if settings.adminUsers.contains(user) { return .admin }
        return settings.statsUsers.contains(user) ? .stats : nil
    }

    mutating func consoleAuthenticated(_ index: UInt32, _ login: ClientLogin) {
        guard let role = consoleRole(of: login.user) else {
            return closeClient(index, .refused(fatalFields(SQLState.invalidAuthorization, "not allowed")))
        }
        openConsole(index, role)
    }

    private mutating func openConsole(_ index: UInt32, _ role: ConsoleRole) {
        let client = clients[index]
        client.pointee.state = .console
        client.pointee.console = ConsoleLink(role: role)
        client.pointee.cancelKey = makeCancelKey(index)
        var writer = MessageWriter()
        writer.authenticationOk()
        writeConsoleWelcome(into: &writer)
        writer.backendKeyData(
            processID: client.pointee.cancelKey.processID, secret: client.pointee.cancelKey.secretBytes)
        writer.readyForQuery(TransactionStatus.idle)
        sendToClient(index, writer)
    }

    // MARK: Messages

    mutating func consoleReceived(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) {
        let generation = clients[index].pointee.generation
        guard let link = clients[index].pointee.console else { return }
        link.received.append(contentsOf: bytes)
        while clients.isLive(index, generation: generation), link.received.count >= MessageFramer.headerBytes {
            let length = link.received[1...4].reduce(0) { $0 << 8 | Int($1) }
            guard length >= 4, length < ConsoleLink.messageBytesMax else {
                return closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "bad packet header")))
            }
            guard link.received.count > length else { return }
            let tag = link.received[0]
            let payload = Array(link.received[5..<length + 1])
            link.received.removeFirst(length + 1)
            carryOut(index, link, link.session.received(tag: tag, payload: payload))
        }
    }

    private mutating func carryOut(_ index: UInt32, _ link: ConsoleLink, _ step: ConsoleStep) {
        if !step.reply.isEmpty {
            let socket = clients[index].pointee.socket
            step.reply.withUnsafeBytes { loop.send(socket, copying: $0) }
            answeredWithoutServer(index)
        }
        switch step.next {
        case .proceed: return
        case .close: closeClient(index, .closeRequest)
        case .run(let command): run(index, link, command)
        }
    }

    private mutating func finish(_ index: UInt32, _ outcome: Result<ConsoleOutcome, ErrorFields>) {
        guard let link = clients[index].pointee.console else { return }
        link.command = nil
        carryOut(index, link, link.session.finish(with: outcome))
    }

    private func error(_ message: String, code: String = SQLState.protocolViolation) -> ErrorFields {
        ErrorFields(code: code, message: message, includeNonLocalized: false)
    }

    // MARK: Commands

    private mutating func run(_ index: UInt32, _ link: ConsoleLink, _ command: ConsoleCommand) {
        link.command = command
        link.commandNumber += 1
        let requester = CellAddress(
            worker: number, index: index, generation: clients[index].pointee.generation, command: link.commandNumber)
        switch command {
        case .show(let topic): show(index, topic, requester)
        case .pause(let database): pause(index, database, requester)
        case .resume(let database): resume(index, database, requester)
        case .reload: shared.control.post(.reload(requester))
        case .set(let key, let value): shared.control.post(.set(key: key, value: value, requester))
        case .kill(let database):
            guard let states = databaseStates(index, database) else { return }
            for state in states { state.isPaused.store(true, ordering: .relaxed) }
            start(.kill(database: database), requester)
        case .killClient(let id): start(.killClient(id: id), requester)
        case .reconnect(let database):
            guard let states = databaseStates(index, database) else { return }
            for state in states { state.beginEpoch() }
            start(.reconnect(database: database), requester)
        case .waitClose(let database):
            guard databaseStates(index, database) != nil else { return }
            start(.waitClose(database: database), requester)
        case .disable(let database): setDisabled(index, database, true)
        case .enable(let database): setDisabled(index, database, false)
        case .shutdown(let mode):
            shared.control.post(.shutdown(mode))
            if mode != .immediate { finish(index, .success(.completed())) }
        case .empty, .showParameter, .setParameter, .noOperation, .deallocate, .selectConstant, .suspend:
            finish(index, .failure(error("not supported by this version of Weir")))
        }
    }

    private func start(_ action: ControlAction, _ requester: CellAddress) {
        shared.broadcast(.control(ControlJob(action, workers: shared.workerCount, requester: requester)))
    }

    /// The states of one database, or of all; nil after an error was answered.
    private mutating func databaseStates(_ index: UInt32, _ name: String?) -> [DatabaseState]? {
        let configuration = configuration.value
        guard let name else {
            for options in configuration.databases.values { _ = shared.database(options, self.configuration) }
            return shared.databases
        }
        if isConsoleDatabase(name) {
            finish(index, .failure(error("cannot use admin db: \(name)")))
            return nil
        }
        guard let options = configuration.database(named: name) else {
            finish(index, .failure(error("no such database: \(name)", code: SQLState.invalidCatalogName)))
            return nil
        }
        return [shared.database(options, self.configuration)]
    }

    private mutating func pause(_ index: UInt32, _ database: String?, _ requester: CellAddress) {
        guard let database else {
            guard !shared.isPaused.exchange(true, ordering: .relaxed) else {
                return finish(index, .failure(error("already suspended/paused")))
            }
            return start(.pause(database: nil), requester)
        }
        if isConsoleDatabase(database) {
            return finish(index, .failure(error("cannot pause admin db: \(database)")))
        }
        guard let states = databaseStates(index, database) else { return }
        for state in states { state.isPaused.store(true, ordering: .relaxed) }
        start(.pause(database: database), requester)
    }

    private mutating func resume(_ index: UInt32, _ database: String?, _ requester: CellAddress) {
        guard let database else {
            guard shared.shutdown.load(ordering: .relaxed) == 0 else {
                return finish(index, .failure(error("pooler is shutting down")))
            }
            guard shared.isPaused.exchange(false, ordering: .relaxed) else {
                return finish(index, .failure(error("pooler is not paused/suspended")))
            }
            return start(.resume(database: nil), requester)
        }
        guard let states = databaseStates(index, database) else { return }
        for state in states {
            guard state.isPaused.exchange(false, ordering: .relaxed) else {
                return finish(index, .failure(error("database \(database) is not paused")))
            }
        }
        start(.resume(database: database), requester)
    }

    private mutating func setDisabled(_ index: UInt32, _ database: String, _ isDisabled: Bool) {
        if isConsoleDatabase(database) {
            let verb = isDisabled ? "disable" : "enable"
            return finish(index, .failure(error("cannot \(verb) admin db: \(database)")))
        }
        guard let states = databaseStates(index, database) else { return }
        for state in states { state.isDisabled.store(isDisabled, ordering: .relaxed) }
        finish(index, .success(.completed()))
    }

    // MARK: SHOW

    private mutating func show(_ index: UInt32, _ topic: ShowTopic, _ requester: CellAddress) {
        switch topic {
        case .pools, .clients, .servers, .pins, .sockets, .activeSockets, .stats, .statsTotals, .statsAverages,
            .totals, .lists, .mem, .databases, .users:
            start(.snapshot, requester)
        case .config:
            let rows = showConfig(settings).map {
                SettingSnapshot(
                    key: $0.key, value: $0.value, defaultValue: $0.defaultText, isChangeable: $0.isChangeable)
            }
            finish(index, .success(.table(renderConfig(rows))))
        case .state:
            var state = StateSnapshot()
            state.isPaused = shared.isPaused.load(ordering: .relaxed)
            finish(index, .success(.table(renderState(state))))
        case .dnsHosts:
            let hosts = shared.resolver.snapshot(now: now).map {
                DNSHostSnapshot(hostname: $0.name, ttlSeconds: $0.ttlSeconds, addresses: $0.addresses)
            }
            finish(index, .success(.table(renderDNSHosts(hosts))))
        case .dnsZones, .peers, .peerPools, .fds: finish(index, .success(.table(ConsoleTable(topic: topic))))
        case .version: finish(index, .success(.table(renderVersion())))
        case .help: finish(index, .success(.completed()))
        }
    }

    // MARK: Answers

    /// Every worker has done its part of a job that a console client here asked for.
    mutating func controlDone(_ job: ControlJob) {
        guard let requester = job.requester, clients.isLive(requester.index, generation: requester.generation),
            let link = clients[requester.index].pointee.console, link.commandNumber == requester.command,
            let command = link.command
        else { return }
        let report = job.report.withLock { $0 }
        if let failure = report.failure { return finish(requester.index, .failure(failure)) }
        switch job.action {
        case .snapshot:
            guard case .show(let topic) = command else { return }
            finish(requester.index, .success(.table(table(topic, report))))
        case .killClient:
            finish(
                requester.index,
                report.matches > 0 ? .success(.completed()) : .failure(error("client not found")))
        case .reload, .pause, .resume, .reconnect, .waitClose, .kill, .shutdown:
            finish(requester.index, .success(.completed()))
        }
    }

    /// The client of a waiting PAUSE sent a cancel request: everything goes on.
    mutating func consoleCanceled(_ index: UInt32) {
        guard let link = clients[index].pointee.console, case .pause(let database) = link.command else { return }
        let requester = CellAddress(worker: number, index: index, generation: clients[index].pointee.generation)
        undoPause(database, requester)
        finish(index, .failure(error("PAUSE canceled", code: SQLState.queryCanceled)))
    }

    private mutating func undoPause(_ database: String?, _ requester: CellAddress) {
        if let database {
            let configuration = configuration.value
            if let options = configuration.database(named: database) {
                shared.database(options, self.configuration).isPaused.store(false, ordering: .relaxed)
            }
        } else {
            shared.isPaused.store(false, ordering: .relaxed)
        }
        shared.broadcast(
            .control(ControlJob(.resume(database: database), workers: shared.workerCount, requester: nil)))
    }

    /// A console connection is gone; a PAUSE that it still waited for is undone, as PgBouncer does.
    mutating func consoleLeft(_ index: UInt32) {
        guard let link = clients[index].pointee.console, case .pause(let database) = link.command else { return }
        let requester = CellAddress(worker: number, index: index, generation: clients[index].pointee.generation)
        undoPause(database, requester)
    }
}
