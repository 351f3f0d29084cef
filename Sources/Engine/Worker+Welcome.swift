// The end of a client's login: its limits, its pool, and what it is told of the server. What a server reports is
// learnt once a pool, from its first login; later clients are answered without a server.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

/// The parameters whose value every server reports and clients commonly set (PostgreSQL manual, 55.2.7).
private let commonParameters: Set<String> = [
    "client_encoding", "datestyle", "timezone", "standard_conforming_strings", "application_name", "intervalstyle",
]

extension Worker {
    /// A client has proven who it is.
    mutating func authenticated(_ index: UInt32, _ login: ClientLogin) {
        if login.isConsole { return consoleAuthenticated(index, login) }
        guard let options = login.options else {
            return closeClient(
                index, .refused(fatalFields(SQLState.invalidCatalogName, "no such database: \(login.database)")))
        }
        let key = PoolKey(database: options.name, user: options.user ?? login.user)
        // A pool that is there knows its database's state and its user's.
        let known = poolIndices[key]
        let database = known.map { pools[$0].pointee.database } ?? shared.database(options, configuration)
        if database.isDisabled.load(ordering: .relaxed) {
            return closeClient(
                index,
                .refused(
                    fatalFields(SQLState.objectNotInPrerequisiteState, "database \"\(login.database)\" is disabled")))
        }
        let poolUser = options.user == nil ? known.map { pools[$0].pointee.user } : nil
        guard takeClientPermits(index, poolUser ?? shared.user(login.user, configuration), database) else { return }
        let poolIndex = known ?? pool(for: key, options)
        clients[index].pointee.pool = Int32(poolIndex)
        pools[poolIndex].pointee.clientCount += 1
        var writer = MessageWriter()
        writer.reserve(Self.welcomeBytes)
        writer.authenticationOk()
        if login.replication == .none, knowsWelcome(poolIndex) { return welcome(index, behind: writer) }
        sendToClient(index, writer)
        if login.replication != .none { return beginReplication(index, login) }
        if let error = failureOfUnreachablePool(poolIndex) { return closeClient(index, .refused(error)) }
        clients[index].pointee.state = .welcoming
        pools[poolIndex].pointee.welcoming.append(index)
        pools[poolIndex].pointee.pool.welcomeWanted(now: now)
        grow(poolIndex)
    }

    /// Counts the client in its database's and its user's limits.
    private mutating func takeClientPermits(
        _ index: UInt32, _ user: UserState, _ database: DatabaseState
    ) -> Bool {
        guard database.clients.take() else {
            closeClient(
                index,
                .refused(
                    fatalFields(
                        SQLState.tooManyConnections, "client connections exceeded (max_db_client_connections)")))
            return false
        }
        guard user.clients.take() else {
            database.clients.giveBack()
            closeClient(
                index,
                .refused(
                    fatalFields(
                        SQLState.tooManyConnections, "client connections exceeded (max_user_client_connections)")))
            return false
        }
        clients[index].pointee.user = user
        return true
    }

    /// The pool of a database and user, made when it is not there yet.
    mutating func pool(for key: PoolKey, _ options: DatabaseOptions) -> UInt32 {
        if let found = poolIndices[key] { return found }
        let database = shared.database(options, configuration)
        let user = shared.user(key.user, configuration)
        let bounds = shared.bounds(key, database: database, user: user)
        let (number, now) = (number, now)
        let made = pools.insert { _, _ in
            PoolState(
                key: key, bounds: bounds, worker: number, database: database, user: user, options: options,
                configuration: configuration.value, now: now)
        }
        guard let made else { preconditionFailure("more pools than users and databases can make") }
        bounds.workersUsing.add(1, ordering: .relaxed)
        poolIndices[key] = made
        pools[made].pointee.pool.setPaused(isPaused(database), clients: clientLinks)
        return made
    }

    func isPaused(_ database: DatabaseState) -> Bool {
        shared.isPaused.load(ordering: .relaxed) || database.isPaused.load(ordering: .relaxed)
    }

    /// Whether it is known what the pool's servers report, to this worker or to another one.
    private mutating func knowsWelcome(_ poolIndex: UInt32) -> Bool {
        pools[poolIndex].pointee.isWelcomeKnown || takeWelcome(poolIndex)
    }

    /// Takes over what a server of the pool has told another worker.
    private mutating func takeWelcome(_ poolIndex: UInt32) -> Bool {
        let pool = pools[poolIndex]
        guard shared.workerCount > 1, let known = shared.welcome(pool.pointee.key) else { return false }
        var settings = ParameterSets.empty
        for (name, value) in known.settings { settings = parameterSets.set(settings, name: name, value: value) }
        parameterSets.release(pool.pointee.defaults)
        pool.pointee.defaults = settings
        pool.pointee.fixedParameters = known.fixedParameters
        dropWelcomes(pool)
        pool.pointee.isWelcomeKnown = true
        return true
    }

    /// Another worker's server of the pool has logged in, or has told something new.
    mutating func welcomeLearnt(identity: Int) {
        guard let key = shared.poolKey(identity: identity), let poolIndex = poolIndices[key],
            takeWelcome(poolIndex)
        else { return }
        welcomeAll(poolIndex)
    }

    /// Tells the other workers what the pool's servers report.
    func publishWelcome(_ poolIndex: UInt32) {
        guard shared.workerCount > 1 else { return }
        let pool = pools[poolIndex]
        var settings: [(name: String, value: String)] = []
        parameterSets.forEach(pool.pointee.defaults) { settings.append(($0, $1)) }
        shared.learn(
            pool.pointee.key, PoolWelcome(settings: settings, fixedParameters: pool.pointee.fixedParameters))
        shared.broadcast(.welcomeKnown(pool: pool.pointee.pool.bounds.identity), except: number)
    }

    /// A server reports that it has become, or ceased to be, a standby: clients that log in later are told. The client
    /// that it serves hears of it from the server itself. The other facts belong to a session, not to the server.
    mutating func learnFact(_ poolIndex: UInt32, _ name: String, _ value: String) {
        let pool = pools[poolIndex]
        guard name == "in_hot_standby", pool.pointee.isWelcomeKnown,
            let place = pool.pointee.fixedParameters.firstIndex(where: { $0.name == name }),
            pool.pointee.fixedParameters[place].value != value
        else { return }
        pool.pointee.fixedParameters[place].value = value
        dropWelcomes(pool)
        publishWelcome(poolIndex)
    }

    /// A pool's first server has logged in: everybody who waited for that is welcomed.
    mutating func welcomeAll(_ poolIndex: UInt32) {
        let waiting = pools[poolIndex].pointee.welcoming
        pools[poolIndex].pointee.welcoming = []
        for index in waiting {
            pools[poolIndex].pointee.pool.welcomeEnded()
            welcome(index, behind: MessageWriter())
        }
    }

    /// Forgets a client that waited for the pool's first login.
    mutating func leaveWelcoming(_ index: UInt32, _ poolIndex: UInt32) {
        let pool = pools[poolIndex]
        guard let position = pool.pointee.welcoming.firstIndex(of: index) else { return }
        pool.pointee.welcoming.remove(at: position)
        pool.pointee.pool.welcomeEnded()
    }

    /// Tells the client about the server and that it may begin, behind what is still to be sent.
    private mutating func welcome(_ index: UInt32, behind writer: MessageWriter) {
        let client = clients[index]
        let pool = pools[UInt32(client.pointee.pool)]
        let welcome = welcomeFor(index)
        var writer = writer
        writer.reserve(welcome.messages.count + Self.welcomeEndBytes)
        writer.rawBytes(welcome.messages)
        parameterSets.retain(welcome.settings)
        parameterSets.release(client.pointee.settings)
        client.pointee.settings = welcome.settings
        parameterSets.retain(welcome.settings)
        client.pointee.loginSettings = welcome.settings
        parameterSets.retain(welcome.extras)
        client.pointee.extras = welcome.extras
        parameterSets.retain(welcome.extras)
        client.pointee.loginExtras = welcome.extras
        client.pointee.hasConfirmedSettings = welcome.isConfirmed
        client.pointee.cancelKey = makeCancelKey(index)
        writer.backendKeyData(
            processID: client.pointee.cancelKey.processID, secret: client.pointee.cancelKey.secretBytes)
        if !settings.loginNotifyMessage.isEmpty {
            writer.noticeResponse(
                ErrorFields(
                    severity: "NOTICE", code: SQLState.successfulCompletion, message: settings.loginNotifyMessage))
        }
        writer.readyForQuery(TransactionStatus.idle)
        sendToClient(index, writer)
        client.pointee.state = .ready
        client.pointee.login = nil
        client.pointee.activeAt = now
        pool.pointee.usedAt = now
    }

    /// Room for all that most clients are told at their login, and for what follows the part of it that is kept: the
    /// key and ReadyForQuery.
    private static var welcomeBytes: Int { 1_024 }
    private static var welcomeEndBytes: Int { 64 }
    /// How many welcomes a pool keeps: applications log in again and again with the same settings.
    private static var welcomesKeptMax: Int { 16 }

    /// The welcome of a client, made or found again. The settings' reference stays with the pool.
    private mutating func welcomeFor(_ index: UInt32) -> Welcome {
        let pool = pools[UInt32(clients[index].pointee.pool)]
        var asked = clients[index].pointee.login?.settings ?? []
        if settings.applicationNameAddHost { addHost(index, to: &asked) }
        for known in pool.pointee.welcomes where known.isFor(asked) { return known }
        if pool.pointee.welcomes.count >= Self.welcomesKeptMax { dropWelcomes(pool) }
        let made = startupSettings(asked, pool)
        pool.pointee.welcomes.append(made)
        return made
    }

    /// Forgets the welcomes of a pool, because its servers report something else or there are many.
    mutating func dropWelcomes(_ pool: UnsafeMutablePointer<PoolState>) {
        for welcome in pool.pointee.welcomes {
            parameterSets.release(welcome.settings)
            parameterSets.release(welcome.extras)
        }
        pool.pointee.welcomes = []
    }

    /// The server's settings with those that a client asked for over them; apart from these, what it asked for and the
    /// server does not report.
    private mutating func startupSettings(
        _ asked: [(name: String, value: String)], _ pool: UnsafeMutablePointer<PoolState>
    ) -> Welcome {
        let defaults = pool.pointee.defaults
        parameterSets.retain(defaults)
        var mine = defaults
        var extras = ParameterSets.empty
        var isConfirmed = true
        for (name, value) in asked {
            let key = name.lowercased()
            guard commonParameters.contains(key) || parameterSets.value(defaults, key) != nil else {
                extras = parameterSets.set(extras, name: key, value: value)
                isConfirmed = false
                continue
            }
            let before = mine
            mine = parameterSets.set(mine, name: name, value: value)
            if mine != before && key != "application_name" { isConfirmed = false }
        }
        return Welcome(
            asked: asked, settings: mine, extras: extras, isConfirmed: isConfirmed,
            messages: welcomeMessages(mine, pool))
    }

    /// A server has accepted what this client's login asked for, or refused it: later logins with the same settings
    /// need not wait for the answer, or have to.
    func noteWelcome(of index: UInt32, isConfirmed: Bool) {
        let client = clients[index]
        let pool = pools[UInt32(client.pointee.pool)]
        for place in pool.pointee.welcomes.indices {
            let welcome = pool.pointee.welcomes[place]
            guard welcome.settings == client.pointee.settings, welcome.extras == client.pointee.extras else { continue }
            pool.pointee.welcomes[place].isConfirmed = isConfirmed
        }
    }

    private func addHost(_ index: UInt32, to asked: inout [(name: String, value: String)]) {
        let host = peerText(index)
        let position = asked.firstIndex { $0.name.lowercased() == "application_name" }
        if let position, !asked[position].value.isEmpty {
            asked[position].value += " - \(host)"
        } else {
            asked.append(("application_name", "app - \(host)"))
        }
    }

    private func welcomeMessages(
        _ settings: ParameterSetID, _ pool: UnsafeMutablePointer<PoolState>
    ) -> [UInt8] {
        var writer = MessageWriter()
        for (name, value) in pool.pointee.fixedParameters { writer.parameterStatus(name: name, value: value) }
        parameterSets.forEach(settings) { name, value in writer.parameterStatus(name: name, value: value) }
        return writer.bytes
    }

    /// The error for clients of a pool that has no server and cannot get one now; nil when it may yet.
    func failureOfUnreachablePool(_ poolIndex: UInt32) -> ErrorFields? {
        let pool = pools[poolIndex]
        guard let failure = pool.pointee.lastFailure, pool.pointee.pool.bounds.servers.taken == 0,
            now < pool.pointee.pool.retryAt
        else { return nil }
        var error = failure.error
        error.severity = "FATAL"
        return error
    }
}
