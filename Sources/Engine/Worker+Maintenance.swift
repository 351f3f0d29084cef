// What time does: ten times a second every pool's timeouts are looked at. Lists are ordered by how long their members
// have stood there, so that mostly only their heads are asked; clients are walked once a second.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

extension Worker {
    mutating func tick() {
        serial &+= 1
        if clients.count <= 1_000 || serial % 10 == 0 { checkClients() }
        for index in 0..<pools.indexEnd where pools.isLive(index) { maintain(index) }
        checkListeners()
        checkCancels()
        checkWaitingJobs()
        resumeListeners()
        averageStatistics()
        if serial % 10 == 0 { forgetUnusedPools() }
        checkDrained()
    }

    // MARK: Clients

    private mutating func checkClients() {
        let loginMax = settings.clientLoginTimeoutMicroseconds
        for index in 0..<clients.indexEnd where clients.isLive(index) {
            let client = clients[index]
            let age = now - client.pointee.connectedAt
            switch client.pointee.state {
            case .startup, .authenticating, .hashing:
                if loginMax > 0, age > loginMax { closeClient(index, .loginTimeout) }
            case .welcoming:
                if loginMax > 0, age > loginMax { closeClient(index, .loginTimeoutServerDown) }
            case .ready:
                let idleMax = pools[UInt32(client.pointee.pool)].pointee.timeouts.clientIdle
                if idleMax > 0, now - client.pointee.activeAt > idleMax, isIdle(client),
                    client.pointee.replication == .none
                {
                    closeClient(index, .idleTimeout)
                }
            case .console, .canceling: break
            }
        }
    }

    /// Whether a client is outside a transaction and waits for nothing.
    func isIdle(_ client: UnsafeMutablePointer<Client>) -> Bool {
        guard client.pointee.wait == .none, client.pointee.queryAt == 0 else { return false }
        guard client.pointee.server >= 0 else { return true }
        let server = servers[UInt32(client.pointee.server)]
        return server.pointee.owed.isEmpty && server.pointee.transactionStatus == TransactionStatus.idle
    }

    // MARK: Pools

    private mutating func maintain(_ index: UInt32) {
        checkWaiters(index)
        checkBusyServers(index)
        checkIdleServers(index)
        checkDedicatedServers(index)
        lookForServers(index)
        keepMinimum(index)
    }

    private mutating func checkWaiters(_ index: UInt32) {
        let pool = pools[index]
        let limit = pool.pointee.timeouts.queryWait
        if limit > 0, !pool.pointee.pool.isPaused || shared.shutdown.load(ordering: .relaxed) != 0 {
            for _ in 0..<pool.pointee.pool.waiting.count {
                let first = pool.pointee.pool.waiting.first
                guard first >= 0, now - clientLinks.since(UInt32(first)) > limit else { break }
                refuseWaiting(UInt32(first), waitTimeout(index))
            }
        }
        let notify = pool.pointee.timeouts.queryWaitNotify
        guard notify > 0 else { return }
        var next = pool.pointee.pool.waiting.first
        while next >= 0, now - clientLinks.since(UInt32(next)) > notify {
            notifyWaiter(UInt32(next))
            next = clientLinks.next(after: next)
        }
    }

    private func waitTimeout(_ index: UInt32) -> ErrorFields {
        let pool = pools[index]
        return ErrorFields(
            code: SQLState.tooManyConnections, message: "query_wait_timeout",
            detail: "No server connection of pool \(poolName(index)) became free in time; "
                + "\(pool.pointee.pool.bounds.servers.taken) are open, \(pool.pointee.pool.waiting.count) clients wait.",
            hint: "Raise pool_size or query_wait_timeout, or look for long transactions.")
    }

    private mutating func notifyWaiter(_ index: UInt32) {
        guard !clients[index].pointee.wasNotified else { return }
        clients[index].pointee.wasNotified = true
        var writer = MessageWriter()
        writer.noticeResponse(
            ErrorFields(
                severity: "NOTICE", code: SQLState.successfulCompletion,
                message: "No server connection available in postgres backend, client being queued"))
        sendToClient(index, writer)
    }

    private mutating func checkBusyServers(_ index: UInt32) {
        let timeouts = pools[index].pointee.timeouts
        for server in members(index, .active) where servers.isLive(server) {
            switch overdue(server, timeouts) {
            case nil: continue
            case .some(let reason) where reason == .queryTimeout || reason == .transactionTimeout:
                endQuery(ofServer: server, reason)
            case .some(let reason): closeServer(server, reason)
            }
        }
        guard timeouts.serverConnect > 0 else { return }
        for server in members(index, .new) + members(index, .tested) where servers.isLive(server) {
            let since =
                servers[server].pointee.phase == .ready
                ? servers[server].pointee.activeAt : servers[server].pointee.connectedAt
            if now - since > timeouts.serverConnect {
                closeServer(server, servers[server].pointee.login == nil ? .testFailed : .connectTimeout)
            }
        }
    }

    private func overdue(_ index: UInt32, _ timeouts: PoolState.Timeouts) -> ServerCloseReason? {
        let server = servers[index]
        guard server.pointee.client >= 0 else {
            let limit = timeouts.cancelWait
            return (server.pointee.isOrphan || server.pointee.closeNeeded) && limit > 0
                && now - server.pointee.activeAt > limit ? .cancelTimeout : nil
        }
        let client = clients[UInt32(server.pointee.client)]
        // Nothing of the client's was sent: it tries another server, as if this one had not logged in.
        if client.pointee.wait == .settings, timeouts.serverConnect > 0,
            now - server.pointee.transactionAt > timeouts.serverConnect
        {
            return .settingsTimeout
        }
        if timeouts.transaction > 0, client.pointee.transactionAt != 0,
            now - client.pointee.transactionAt > timeouts.transaction
        {
            return .transactionTimeout
        }
        if server.pointee.owed.isEmpty {
            let isOpen = server.pointee.transactionStatus != TransactionStatus.idle
            // It is kept for the rest of a message that does not come.
            if !isOpen, !client.pointee.framer.isAtBoundary, timeouts.query > 0,
                pools[UInt32(server.pointee.pool)].pointee.mode != .session,
                now - client.pointee.activeAt > timeouts.query
            {
                return .queryTimeout
            }
            return isOpen && timeouts.idleTransaction > 0 && now - client.pointee.activeAt > timeouts.idleTransaction
                ? .idleTransactionTimeout : nil
        }
        return timeouts.query > 0 && server.pointee.queryAt != 0 && now - server.pointee.queryAt > timeouts.query
            ? .queryTimeout : nil
    }

    /// The servers in a state, copied so that they can be closed while they are walked.
    func members(_ pool: UInt32, _ state: ServerState) -> [UInt32] {
        var found: [UInt32] = []
        var next = pools[pool].pointee.pool.list(state).first
        while next >= 0 {
            found.append(UInt32(next))
            next = serverLinks.next(after: next)
        }
        return found
    }

    /// Whether it is this worker's turn to close servers that are more than a shared number: two that did so in the
    /// same moment could close one each where one is too many. Time is dealt out in ticks.
    private var isTurnToShrink: Bool {
        (now / Self.tickMicroseconds) % Int64(shared.workerCount) == Int64(number)
    }

    private mutating func checkIdleServers(_ index: UInt32) {
        let pool = pools[index]
        let mayShrink = isTurnToShrink
        while mayShrink, let server = pool.pointee.pool.overflowServer(now: now, servers: serverLinks) {
            closeServer(server, .overflowIdleTimeout)
        }
        for server in members(index, .idle) + members(index, .used) {
            guard servers.isLive(server) else { continue }
            let idle = now - servers[server].pointee.activeAt
            if servers[server].pointee.closeNeeded {
                closeServer(server, .closeNeeded)
            } else if mayShrink, pool.pointee.pool.hasTooMany {
                closeServer(server, .tooMany)
            } else if isTooOld(server, pool) {
                closeServer(server, .lifetimeOver)
            } else if mayShrink, pool.pointee.timeouts.serverIdle > 0, idle > pool.pointee.timeouts.serverIdle,
                pool.pointee.pool.bounds.servers.taken > pool.pointee.pool.limits.minimum
            {
                closeServer(server, .idleTimeout)
            } else if servers[server].pointee.state == .idle, pool.pointee.checksIdleServers(settings),
                idle > pool.pointee.timeouts.serverCheckDelay
            {
                move(server, to: .used)
            }
        }
    }

    private mutating func isTooOld(_ server: UInt32, _ pool: UnsafeMutablePointer<PoolState>) -> Bool {
        pool.pointee.timeouts.serverLifetime > 0 && isLifetimeOver(server, pool)
    }

    private mutating func keepMinimum(_ index: UInt32) {
        let pool = pools[index]
        guard pool.pointee.pool.limits.minimum > 0, pool.pointee.clientCount > 0 || pool.pointee.options.user != nil
        else { return }
        while case .open = pool.pointee.pool.growToMinimum(now: now) { openServer(index) }
    }

    // MARK: Pools that nobody uses

    /// Opens the pools of databases with a forced user at start, so that `min_pool_size` holds before clients come.
    mutating func openForcedPools() {
        for options in configuration.value.databases.values {
            guard let user = options.user, configuration.value.minPoolSize(database: options) > 0 else { continue }
            _ = pool(for: PoolKey(database: options.name, user: user), options)
        }
    }

    private mutating func forgetUnusedPools() {
        for index in 0..<pools.indexEnd where pools.isLive(index) {
            let pool = pools[index]
            let isListed = configuration.value.databases[pool.pointee.key.database] != nil
            let limit =
                isListed ? settings.poolIdleTimeoutMicroseconds : settings.autodbIdleTimeoutMicroseconds
            guard limit > 0, pool.pointee.clientCount == 0, pool.pointee.pool.serverCount == 0,
                pool.pointee.welcoming.isEmpty, pool.pointee.dedicated.isEmpty, now - pool.pointee.usedAt > limit
            else { continue }
            log(
                .log,
                "cleaning up idle pool for user \(pool.pointee.key.user) on db \(pool.pointee.key.database)"
                    + " because: pool idle timeout (age= \((now - pool.pointee.usedAt) / 1_000_000)s)")
            let key = pool.pointee.key
            poolIndices[key] = nil
            dropWelcomes(pool)
            parameterSets.release(pool.pointee.defaults)
            pool.pointee.pool.bounds.workersUsing.subtract(1, ordering: .relaxed)
            pools.remove(index)
            shared.forgetPool(key)
        }
    }

    // MARK: Statistics

    private mutating func averageStatistics() {
        let period = settings.statsPeriodMicroseconds
        guard period > 0, now - statisticsAt >= period else { return }
        let elapsed = now - statisticsAt
        statisticsAt = now
        for index in 0..<pools.indexEnd where pools.isLive(index) {
            let pool = pools[index]
            pool.pointee.averages = StatsCounters.averages(
                from: pool.pointee.totalsBefore, to: pool.pointee.totals, elapsedMicroseconds: elapsed)
            pool.pointee.totalsBefore = pool.pointee.totals
        }
    }
}
