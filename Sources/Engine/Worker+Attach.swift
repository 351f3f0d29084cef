// Clients meet servers: a client takes an idle one or waits in line; a server that owes nothing goes to whoever has
// waited longest. A client's settings are put in place on its server in the same write as its first bytes.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

/// What a client that needs a server gets.
enum ServerRequestOutcome {
    /// It has one: its bytes can be passed on.
    case ready
    /// It waits, for a server or for its settings.
    case waiting
    /// It gets this error instead.
    case refused(Refusal)
}

extension Worker {
    // MARK: Client → server

    /// A client has something for a server.
    mutating func requestServer(_ index: UInt32) -> ServerRequestOutcome {
        let client = clients[index]
        let poolIndex = UInt32(client.pointee.pool)
        let pool = pools[poolIndex]
        if pool.pointee.lastFailure != nil, let refusal = refusalOfUnreachablePool(poolIndex) {
            return .refused(refusal)
        }
        client.pointee.activeAt = now
        guard
            let server = pool.pointee.pool.request(
                client: index, now: now, clients: &clientLinks, servers: &serverLinks)
        else {
            client.pointee.wait = .server
            client.pointee.wasNotified = false
            lookForServers(poolIndex)
            // Where nothing could even be tried, as with a name that is known not to exist, the wait is over already.
            if client.pointee.wait == .none, let refusal = client.pointee.refusal { return .refused(refusal) }
            return .waiting
        }
        return link(index, server) ? .ready : .waiting
    }

    @inline(never)
    private mutating func refusalOfUnreachablePool(_ poolIndex: UInt32) -> Refusal? {
        guard var error = failureOfUnreachablePool(poolIndex) else { return nil }
        error.severity = "ERROR"
        return Refusal(error)
    }

    /// A client of this pool waits: opens a server, or asks a worker that holds an idle one.
    mutating func lookForServers(_ poolIndex: UInt32) {
        let pool = pools[poolIndex]
        guard !pool.pointee.pool.waiting.isEmpty else { return grow(poolIndex) }
        if let worker = pool.pointee.pool.workerWithIdleServer {
            // It sends one, or says that it has none left: then, and on each tick, this pool may grow.
            return shared.ports[worker].post(
                .wantServer(pool: pool.pointee.pool.bounds.identity, worker: number))
        }
        if pool.pointee.pool.count(.used) > 0 { checkUsedServer(poolIndex) }
        grow(poolIndex)
    }

    /// Links a client to a server that the pool has given to it; false while its settings are put in place first.
    mutating func link(_ clientIndex: UInt32, _ serverIndex: UInt32) -> Bool {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        let pool = pools[UInt32(client.pointee.pool)]
        server.pointee.state = .active
        server.pointee.hasServed = true
        server.pointee.client = Int32(clientIndex)
        server.pointee.transactionAt = now
        server.pointee.queryAt = 0
        client.pointee.server = Int32(serverIndex)
        client.pointee.wait = .none
        client.pointee.queryAt = 0
        client.pointee.transactionAt = 0
        pool.pointee.totals.serverAssignments &+= 1
        if loop.isBlocked(client.pointee.socket) { loop.stopReceiving(server.pointee.socket) }
        if client.pointee.settings != server.pointee.settings || client.pointee.extras != server.pointee.extras {
            return putSettings(clientIndex, serverIndex)
        }
        return true
    }

    /// Sends what differs between the client's settings and the server's.
    mutating func putSettings(_ clientIndex: UInt32, _ serverIndex: UInt32) -> Bool {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        let change = SettingsMessages.Change(
            serverSettings: server.pointee.settings, serverExtras: server.pointee.extras,
            clientSettings: client.pointee.settings, clientExtras: client.pointee.extras)
        let message = settingsMessages.message(for: change, &parameterSets)
        guard !message.isEmpty else {
            adoptServerSettings(clientIndex, serverIndex)
            return true
        }
        parameterSets.retain(client.pointee.extras)
        parameterSets.release(server.pointee.extras)
        server.pointee.extras = client.pointee.extras
        message.withUnsafeBytes { loop.send(server.pointee.socket, copying: $0) }
        server.pointee.owed.sentQuery(.settings)
        server.pointee.unnamedNumber = 0
        server.pointee.hasOwnError = false
        // Behind a role that is refused the client's statements would run with the rights of the login.
        if client.pointee.hasConfirmedSettings, !parameterSets.hasIdentity(client.pointee.extras) { return true }
        client.pointee.wait = .settings
        return false
    }

    /// The client's settings are now those of the server, in the spelling that the server reports.
    private mutating func adoptServerSettings(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        let client = clients[clientIndex]
        let settings = servers[serverIndex].pointee.settings
        guard client.pointee.settings != settings else { return }
        if client.pointee.loginSettings == client.pointee.settings {
            parameterSets.retain(settings)
            parameterSets.release(client.pointee.loginSettings)
            client.pointee.loginSettings = settings
        }
        parameterSets.retain(settings)
        parameterSets.release(client.pointee.settings)
        client.pointee.settings = settings
    }

    /// The reply to the settings has come whole.
    mutating func settingsAnswered(_ serverIndex: UInt32) {
        let server = servers[serverIndex]
        guard server.pointee.client >= 0 else { return }
        let clientIndex = UInt32(server.pointee.client)
        let client = clients[clientIndex]
        if server.pointee.hasOwnError { return settingsRefused(clientIndex, serverIndex) }
        if !client.pointee.hasConfirmedSettings { noteWelcome(of: clientIndex, isConfirmed: true) }
        keepUnreported(clientIndex, serverIndex)
        adoptServerSettings(clientIndex, serverIndex)
        client.pointee.hasConfirmedSettings = true
        guard client.pointee.wait == .settings else { return lendServer(of: clientIndex) }
        client.pointee.wait = .none
        resumeHeld(clientIndex)
    }

    // MARK: Server → pool

    /// Parts a client from its server.
    mutating func unlink(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        client.pointee.server = -1
        if client.pointee.notifications != nil { partChannels(clientIndex, server.pointee.question?.effects) }
        forgetSession(server)
        if !client.pointee.retry.isNone { dropRetry(client) }
        server.pointee.client = -1
        client.pointee.mayReset = false
        server.pointee.isRetrying = false
        server.pointee.queryAt = 0
        server.pointee.mayHaveLocalMeaning = false
        server.pointee.requestsBeforeCommit = -1
        client.pointee.queryAt = 0
        client.pointee.transactionAt = 0
        client.pointee.activeAt = now
        if loop.isBlocked(client.pointee.socket) { loop.startReceiving(server.pointee.socket) }
        // It was not read if its server did not read, whose socket can no longer tell.
        resumeReceiving(client: clientIndex)
    }

    /// A server owes nothing and has no client: the next one gets it, unless it has to be closed or cleaned.
    mutating func release(_ serverIndex: UInt32) {
        let server = servers[serverIndex]
        let pool = pools[UInt32(server.pointee.pool)]
        if server.pointee.cancelsUnderWay > 0 {
            // Not before the cancel request has been dealt with: it could hit the next client's query.
            return move(serverIndex, to: .beingCanceled)
        }
        if server.pointee.closeNeeded { return closeServer(serverIndex, .closeNeeded) }
        if loop.unsentBytes(server.pointee.socket) > 0 {
            // Its client has sent on what asks for no answer, as copy data after an error: that must be gone first.
            move(serverIndex, to: .tested)
            sendOwnQuery(serverIndex, "", .check)
            return
        }
        if server.pointee.needsCleaning {
            server.pointee.needsCleaning = false
            return cleanServer(serverIndex)
        }
        if server.pointee.needsReset {
            server.pointee.needsReset = false
            if resetServer(serverIndex) { return }
        }
        if isLifetimeOver(serverIndex, pool) { return closeServer(serverIndex, .lifetimeOver) }
        if pool.pointee.pool.hasTooMany { return closeServer(serverIndex, .tooMany) }
        assign(serverIndex)
    }

    /// Carries out the pool's decision about a free server.
    mutating func assign(_ serverIndex: UInt32) {
        let server = servers[serverIndex]
        let poolIndex = UInt32(server.pointee.pool)
        let pool = pools[poolIndex]
        let assignment = pool.pointee.pool.assign(
            serverIndex, from: server.pointee.state, mayEvict: server.pointee.hasServed, now: now,
            clients: &clientLinks, servers: &serverLinks)
        switch assignment {
        case .serve(let client): serve(client, serverIndex, pool)
        case .handOver(let worker):
            handOver(serverIndex, to: worker)
            // It may have been opened for a client here.
            grow(poolIndex)
        case .idle:
            server.pointee.state = .idle
            server.pointee.activeAt = now
            // Without a delay every idle server is checked before use.
            if pool.pointee.checksEveryUse { move(serverIndex, to: .used) }
            if let worker = pool.pointee.pool.workerThatWaits {
                lendServer(identity: pool.pointee.pool.bounds.identity, to: worker)
            }
        case .closePaused: closeServer(serverIndex, .pauseMode)
        case .closeEvicted: closeServer(serverIndex, .evicted)
        }
    }

    private mutating func serve(_ client: UInt32, _ server: UInt32, _ pool: UnsafeMutablePointer<PoolState>) {
        let waited = now - clientLinks.since(client)
        pool.pointee.totals.waitMicroseconds &+= UInt64(max(0, waited))
        if link(client, server) { resumeHeld(client) }
    }

    mutating func move(_ serverIndex: UInt32, to state: ServerState) {
        let server = servers[serverIndex]
        let pool = pools[UInt32(server.pointee.pool)]
        guard server.pointee.state != state else { return }
        pool.pointee.pool.move(serverIndex, from: server.pointee.state, to: state, now: now, servers: &serverLinks)
        server.pointee.state = state
    }

    mutating func isLifetimeOver(_ serverIndex: UInt32, _ pool: UnsafeMutablePointer<PoolState>) -> Bool {
        let lifetime = pool.pointee.timeouts.serverLifetime
        let age = now - servers[serverIndex].pointee.connectedAt
        // 0 means: use it once.
        if lifetime == 0 { return servers[serverIndex].pointee.hasServed }
        guard age > lifetime else { return false }
        let spread = lifetime / Int64(max(1, pool.pointee.pool.bounds.servers.taken))
        if now - pool.pointee.lifetimeClosedAt < min(spread, 1_000_000) { return false }
        pool.pointee.lifetimeClosedAt = now
        return true
    }

    /// Sends the reset query after a session; false when there is none.
    private mutating func resetServer(_ serverIndex: UInt32) -> Bool {
        let server = servers[serverIndex]
        let isSession = pools[UInt32(server.pointee.pool)].pointee.mode == .session
        var query = settings.serverResetQuery
        let text = Array(query.utf8)
        let effects: SessionEffects? = text.withUnsafeBytes { self.effects(of: $0, on: serverIndex) }
        // RESET ALL leaves a role in place.
        let isReset = effects?.resets(everythingOf: parameterSets.names(server.pointee.extras)) ?? false
        if !isReset, isSession || effects?.resetsAll ?? false, server.pointee.extras != ParameterSets.empty {
            let undo = parameterSets.changeStatement(from: server.pointee.extras, to: ParameterSets.empty)
            query += query.isEmpty ? undo : "\n;\(undo)"
        }
        guard !query.isEmpty else { return false }
        if isSession || effects?.resetsAll ?? false { forgetExtras(serverIndex) }
        move(serverIndex, to: .tested)
        return sendOwnQuery(serverIndex, query, .reset)
    }

    @discardableResult
    mutating func sendOwnQuery(_ serverIndex: UInt32, _ query: String, _ origin: RequestOrigin) -> Bool {
        var writer = MessageWriter()
        writer.query(query)
        let server = servers[serverIndex]
        server.pointee.owed.sentQuery(origin)
        server.pointee.unnamedNumber = 0
        server.pointee.hasOwnError = false
        server.pointee.activeAt = now
        sendToServer(serverIndex, writer)
        return true
    }

    /// Takes a server that was idle for long and checks it, for a client that waits.
    mutating func checkUsedServer(_ poolIndex: UInt32) {
        let pool = pools[poolIndex]
        let used = pool.pointee.pool.list(.used)
        guard used.last >= 0, Int(pool.pointee.pool.waiting.count) > pool.pointee.pool.count(.tested) else { return }
        let server = UInt32(used.last)
        move(server, to: .tested)
        sendCheck(server)
    }

    /// Sends `server_check_query`; the word `<empty>` means the empty query.
    mutating func sendCheck(_ server: UInt32) {
        sendOwnQuery(server, settings.serverCheckQuery == "<empty>" ? "" : settings.serverCheckQuery, .check)
    }

    // MARK: Growth

    /// Opens servers for those who wait, as many as may be opened.
    mutating func grow(_ poolIndex: UInt32) {
        let pool = pools[poolIndex]
        while true {
            switch pool.pointee.pool.grow(now: now, clients: clientLinks) {
            case .none: return
            case .open(let fromReserve):
                if fromReserve {
                    log(.warning, "\(poolName(poolIndex)): taking connection from reserve_pool")
                }
                openServer(poolIndex)
            case .evict(let bound):
                guard evict(for: bound, except: poolIndex) else {
                    let identity = pool.pointee.pool.bounds.identity
                    shared.broadcast(.evictIdle(pool: identity, sparesOwn: true), except: number)
                    return
                }
            }
        }
    }

    mutating func growPool(identity: Int) {
        guard let key = shared.poolKey(identity: identity), let poolIndex = poolIndices[key] else { return }
        grow(poolIndex)
    }

    /// Closes the longest-idle server of another pool that counts in the same bound.
    mutating func evict(for bound: BoundCount, except own: UInt32?) -> Bool {
        var oldest: UInt32?
        for index in 0..<pools.indexEnd where pools.isLive(index) && index != own {
            let pool = pools[index]
            guard pool.pointee.pool.bounds.database === bound || pool.pointee.pool.bounds.user === bound else {
                continue
            }
            for state in [ServerState.idle, .used] {
                let first = pool.pointee.pool.list(state).first
                guard first >= 0 else { continue }
                let server = UInt32(first)
                if oldest.map({ serverLinks.since(server) < serverLinks.since($0) }) ?? true { oldest = server }
            }
        }
        guard let oldest else { return false }
        closeServer(oldest, .evicted)
        return true
    }

    /// Another worker's pool waits for a bound that idle servers here may hold.
    ///
    /// - Parameter sparesOwn: the pool's own idle servers stay, because a client that waits for one can have it.
    mutating func evictIdle(identity: Int, sparesOwn: Bool) {
        guard let key = shared.poolKey(identity: identity),
            let options = configuration.value.database(named: key.database)
        else { return }
        let own = pool(for: key, options)
        let bounds = pools[own].pointee.pool.bounds
        let spared = sparesOwn ? own : nil
        if evict(for: bounds.database, except: spared) || evict(for: bounds.user, except: spared) {
            shared.broadcast(.mayGrow(pool: identity), except: number)
        }
    }

    /// A permit was given back: pools that wait for one may grow, here and in other workers.
    mutating func permitGivenBack(_ poolIndex: UInt32) {
        let bounds = pools[poolIndex].pointee.pool.bounds
        // First the pool that has waited longest for what was given back, then this one.
        for starved in [bounds.database.starved, bounds.user.starved] {
            guard let starved, starved.pool != bounds.identity else { continue }
            growPool(identity: starved.pool)
            shared.broadcast(.mayGrow(pool: starved.pool), except: number)
        }
        growEverywhere(poolIndex)
    }

    /// The pool may open more servers now, here and in the other workers.
    mutating func growEverywhere(_ poolIndex: UInt32) {
        let bounds = pools[poolIndex].pointee.pool.bounds
        for (worker, share) in bounds.shares.enumerated() where worker != number {
            if share.oldestWaiter.load(ordering: .relaxed) != .max {
                shared.ports[worker].post(.mayGrow(pool: bounds.identity))
            }
        }
        grow(poolIndex)
    }

    func poolName(_ poolIndex: UInt32) -> String {
        let key = pools[poolIndex].pointee.key
        return "\(key.database)/\(key.user)"
    }
}
