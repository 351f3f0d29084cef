// How connections end, what time does and what the console asks for: the steps of Sources/Engine/Worker+Losses.swift,
// Worker+ServerLogin.swift, Worker+Maintenance.swift and Worker+Control.swift.

import Pooling
import Synchronization

extension SimulatedWorker {
    // MARK: Clients

    func closeClient(_ client: SimulatedClient) {
        client.isGone = true
        let part = parts[client.pool]
        if client.isWaiting {
            part.line.removeAll { $0 === client }
            part.pool.gaveUp(client: client.slot, clients: &clientLinks)
        }
        if let server = client.server { abandonServer(client, server) }
        clients[Int(client.slot)] = nil
        world.left(client)
    }

    /// A client leaves while it has a server: the server goes back clean, or its query is cancelled, or it is closed.
    private func abandonServer(_ client: SimulatedClient, _ server: SimulatedServer) {
        let isHalfSent = world.chance.happens(perMille: 100)
        unlink(client, server)
        if server.owed.isEmpty && !isHalfSent {
            guard server.status == .idle else { return closeServer(server, .clientLeft) }
            return release(server)
        }
        guard world.scenario.cancelsOnDisconnect else { return closeServer(server, .clientLeft) }
        cancelOrphan(client, server, isHalfSent: isHalfSent)
    }

    /// Ends a query that takes too long.
    func endQuery(_ client: SimulatedClient, _ server: SimulatedServer) {
        loseServer(client, server)
        cancelOrphan(client, server, isHalfSent: false)
    }

    /// A server without a client still works on a query: it is cancelled.
    private func cancelOrphan(_ client: SimulatedClient, _ server: SimulatedServer, isHalfSent: Bool) {
        let canEnd = !isHalfSent && !server.owed.waitsForClient
        server.isOrphan = canEnd
        server.cancelsUnderWay += 1
        world.schedule(after: world.chance.between(200, 4_000), .cancelArrives(server, client: client.identity))
        if !canEnd { server.closeNeeded = true }
    }

    func endCancel(_ server: SimulatedServer) {
        guard !server.isClosed else { return }
        server.cancelsUnderWay -= 1
        guard server.cancelsUnderWay == 0 else { return }
        if server.state == .beingCanceled { return release(server) }
        if server.client == nil, server.closeNeeded, server.state == .active { closeServer(server, .clientLeft) }
    }

    /// Takes a client out of the line and ends its wait with an error.
    func refuseWaiting(_ client: SimulatedClient) {
        let part = parts[client.pool]
        part.line.removeAll { $0 === client }
        part.pool.gaveUp(client: client.slot, clients: &clientLinks)
        client.isWaiting = false
        world.tell(client)
    }

    // MARK: Servers

    /// The one way out for a server.
    func closeServer(_ server: SimulatedServer, _ reason: SimulatedCloseReason) {
        let part = parts[server.pool]
        world.note("  worker \(number) pool \(server.pool) server \(server.slot) closes: \(reason)")
        if let client = server.client { loseServer(client, server) }
        let isLogin = !server.isLoggedIn
        server.isClosed = true
        server.backend.isClosed = true
        server.backend.isDead = true
        world.backends.removeAll { $0 === server.backend }
        connectEnded(server)
        part.pool.closed(server.slot, from: server.state, servers: &serverLinks)
        remove(server)
        if reason == .evicted { world.evictions += 1 }
        if isLogin { loginFailed(server.pool, reason) }
        permitGivenBack(server.pool)
    }

    private func connectEnded(_ server: SimulatedServer) {
        guard server.countsAsConnecting else { return }
        server.countsAsConnecting = false
        parts[server.pool].pool.connectEnded()
    }

    private func loseServer(_ client: SimulatedClient, _ server: SimulatedServer) {
        let requests = server.owed.clientRequestCount + (server.owed.isBatchOpen ? 1 : 0)
        unlink(client, server)
        let isExact = !client.expected.contains { $0.isSkippable }
        if isExact, requests != client.expected.count {
            world.fail("client \(client.identity) waits for \(client.expected.count) answers, \(requests) are owed")
        }
        if requests == 0 {
            client.hasRefusal = true
        } else {
            world.tell(client)
        }
    }

    func serverLoggedIn(_ server: SimulatedServer) {
        let part = parts[server.pool]
        server.isLoggedIn = true
        server.connectedAt = now
        connectEnded(server)
        part.backoff.succeeded()
        part.pool.loginSucceeded()
        part.hasFailed = false
        release(server)
        // A connect less is under way: the next one may begin.
        growEverywhere(server.pool)
    }

    private func loginFailed(_ pool: Int, _ reason: SimulatedCloseReason) {
        guard reason == .connectFailed || reason == .connectTimeout else { return }
        let part = parts[pool]
        part.pool.connectFailed(
            retryAt: part.backoff.failed(
                nowMicroseconds: now, retryMaxMicroseconds: 200_000, random: world.chance.next()))
        part.hasFailed = true
        let bounds = part.pool.bounds
        guard bounds.servers.taken <= bounds.connecting.load(ordering: .relaxed) else { return }
        for client in part.line { refuseWaiting(client) }
    }

    // MARK: Time

    func tick() {
        for pool in parts.indices {
            checkWaiters(pool)
            for server in members(pool, .new) + members(pool, .tested) where !server.isClosed {
                if now - (server.isLoggedIn ? server.activeAt : server.connectedAt) > world.scenario.serverConnect {
                    closeServer(server, server.isLoggedIn ? .testFailed : .connectTimeout)
                }
            }
            checkIdleServers(pool)
            grow(pool)
            keepMinimum(pool)
        }
    }

    private func checkWaiters(_ pool: Int) {
        let limit = world.scenario.queryWait
        guard limit > 0, !world.isCalm, !parts[pool].pool.isPaused else { return }
        while let client = parts[pool].line.first, now - clientLinks.since(client.slot) > limit {
            refuseWaiting(client)
        }
    }

    private func checkIdleServers(_ pool: Int) {
        let part = parts[pool]
        while let slot = part.pool.overflowServer(now: now, servers: serverLinks) {
            closeServer(server(slot), .idleTimeout)
        }
        for server in members(pool, .idle) + members(pool, .used) where !server.isClosed {
            let idle = now - server.activeAt
            if server.closeNeeded {
                closeServer(server, .closeNeeded)
            } else if part.pool.hasTooMany {
                closeServer(server, .tooMany)
            } else if world.scenario.serverLifetime > 0, isLifetimeOver(server) {
                closeServer(server, .lifetimeOver)
            } else if world.scenario.serverIdle > 0, idle > world.scenario.serverIdle,
                part.pool.bounds.servers.taken > part.pool.limits.minimum
            {
                closeServer(server, .idleTimeout)
            } else if server.state == .idle, world.scenario.serverCheckDelay > 0,
                idle > world.scenario.serverCheckDelay
            {
                move(server, to: .used)
            }
        }
    }

    private func keepMinimum(_ pool: Int) {
        guard parts[pool].pool.limits.minimum > 0 else { return }
        while case .open = parts[pool].pool.growToMinimum(now: now) {
            world.opened(parts[pool], fromReserve: false, isForMinimum: true)
            openServer(pool)
        }
    }

    // MARK: PAUSE, RESUME, RECONNECT

    func applyPause() {
        for pool in parts.indices {
            let isPaused = world.isPaused[pool / world.scenario.users]
            parts[pool].pool.setPaused(isPaused, clients: clientLinks)
            guard isPaused else {
                grow(pool)
                continue
            }
            for state in [ServerState.idle, .used, .new, .tested] {
                for server in members(pool, state) where !server.isClosed { closeServer(server, .pauseMode) }
            }
        }
    }

    /// Every server of a pool is closed as soon as it is free.
    func recycle(_ pool: Int) {
        for state in ServerState.allCases {
            for server in members(pool, state) where !server.isClosed {
                server.closeNeeded = true
                if state == .idle || state == .used || state == .new { closeServer(server, .closeNeeded) }
            }
        }
    }
}
