// Server connections outside the pools. Each is opened for one purpose, is never given to another client, and closes
// when its owner goes. It logs in like any server (Worker+ServerLogin), without the connect query, and ends like any
// (Worker+Losses); it stands in none of its pool's lists, so that nothing that walks these touches it.
//
//     makeDedicatedServer ──▶ the owner notes it ──▶ connectDedicatedServer ──▶ logged in ──▶ bytes … ──▶ ended
//
//     purpose        owner          what it hears                            its bytes
//     replication    one client     Worker+Replication                       passed on as they are, both ways
//     listener       the worker     `listenerEvent`, one call for each       whole messages
//
// `max_db_connections` and `max_user_connections` count it; `pool_size` does not.

import Configuration
import Pooling
import Reactor
import Wire

/// What came of the wish for a server outside the pool.
enum DedicatedOpening {
    /// It exists, and connects when `connectDedicatedServer` is called: its owner may note its index first.
    case made(UInt32)
    /// No server may be opened now (`PAUSE`).
    case paused
    /// `max_db_connections` or `max_user_connections` is reached.
    case full(ErrorFields)
}

extension Worker {
    // MARK: Opening

    /// Makes a server for one purpose in the place of a pool's.
    ///
    /// - Parameter parameters: what its start-up packet says besides user and database; it goes before what the
    ///   configuration says.
    mutating func makeDedicatedServer(
        _ poolIndex: UInt32, for purpose: ServerPurpose, parameters: [(name: String, value: String)]
    ) -> DedicatedOpening {
        precondition(purpose != .pooled)
        let pool = pools[poolIndex]
        if pool.pointee.pool.isPaused { return .paused }
        if let error = takeDedicatedPermit(pool.pointee.pool.bounds) { return .full(error) }
        let (identifier, now) = (shared.nextIdentifier(), now)
        let index = servers.insert { _, generation in
            Server(
                generation: generation, identifier: identifier, pool: Int32(poolIndex), now: now, purpose: purpose)
        }
        guard let index else {
            pool.pointee.pool.bounds.giveBackDedicatedPermit()
            return .full(fatalFields(SQLState.insufficientResources, "no more server slots"))
        }
        serverLinks.prepare(index)
        let server = servers[index]
        server.pointee.countsAsConnecting = false
        server.pointee.login = ServerLogin()
        server.pointee.login?.startupParameters = parameters
        pool.pointee.dedicated.append(index)
        return .made(index)
    }

    /// Begins to connect; the owner may hear of its end before this returns.
    mutating func connectDedicatedServer(_ index: UInt32) {
        guard let login = servers[index].pointee.login else { return }
        startLogin(index, login)
    }

    /// Takes a permit of the database's and the user's bounds, closing idle servers for it; or says which is full.
    private mutating func takeDedicatedPermit(_ bounds: PoolBounds) -> ErrorFields? {
        while let full = bounds.takeDedicatedPermit() {
            guard evict(for: full, except: nil) else {
                let name = full === bounds.database ? "max_db_connections" : "max_user_connections"
                return fatalFields(
                    SQLState.tooManyConnections, "no more server connections allowed (\(name))",
                    detail: "A server connection of its own is needed; \(full.taken) are open, and none is idle.",
                    hint: "Raise \(name).")
            }
        }
        return nil
    }

    /// It is logged in: its owner begins.
    mutating func dedicatedServerLoggedIn(_ index: UInt32) {
        let server = servers[index]
        guard let login = server.pointee.login else { return }
        server.pointee.phase = .ready
        server.pointee.state = .active
        server.pointee.connectedAt = now
        server.pointee.login = nil
        logNewServer(index)
        switch server.pointee.purpose {
        case .pooled: break
        case .replication: replicationServerLoggedIn(index, login)
        case .listener: listenerEvent(UInt32(server.pointee.pool), index, .loggedIn)
        }
    }

    // MARK: Bytes

    /// Bytes of a server that is logged in; returns how far they were looked at.
    @inline(never)
    mutating func dedicatedReceived(
        _ index: UInt32, _ generation: UInt32, _ buffer: BufferID, from: Int, end: Int
    ) -> Int {
        servers[index].pointee.activeAt = now
        switch servers[index].pointee.purpose {
        case .pooled: return end
        case .replication: return passToClient(index, buffer, from: from, end: end)
        case .listener: return listenerReceived(index, generation, buffer, from: from, end: end)
        }
    }

    // MARK: The end

    /// The part of `closeServer` for servers outside the pool.
    mutating func endDedicatedServer(_ index: UInt32, _ reason: ServerCloseReason) {
        let server = servers[index]
        let poolIndex = UInt32(server.pointee.pool)
        let purpose = server.pointee.purpose
        if server.pointee.client >= 0 { loseReplicationServer(UInt32(server.pointee.client), index, reason) }
        endConnection(index, reason)
        servers.remove(index)
        let pool = pools[poolIndex]
        pool.pointee.dedicated.removeAll { $0 == index }
        pool.pointee.usedAt = now
        pool.pointee.pool.bounds.giveBackDedicatedPermit()
        if purpose == .listener { listenerEvent(poolIndex, index, .ended(reason)) }
        permitGivenBack(poolIndex)
        checkWaitingJobs()
    }

    // MARK: Time, PAUSE, RECONNECT

    /// Gives up logins that take too long, and tries again for the clients that could not have a server yet.
    mutating func checkDedicatedServers(_ poolIndex: UInt32) {
        let limit = pools[poolIndex].pointee.timeouts.serverConnect
        if limit > 0 {
            for server in pools[poolIndex].pointee.dedicated where servers.isLive(server) {
                if servers[server].pointee.login != nil, now - servers[server].pointee.connectedAt > limit {
                    closeServer(server, .connectTimeout)
                }
            }
        }
        if !pools[poolIndex].pointee.replicationWaiting.isEmpty { openWaitingReplication(poolIndex) }
    }

    /// `PAUSE`: who has a server keeps it, as in session mode, unless `server_fast_close` says otherwise.
    mutating func pauseDedicatedServers(_ poolIndex: UInt32) {
        for server in pools[poolIndex].pointee.dedicated where servers.isLive(server) {
            if isOwnersToKeep(server) { continue }
            closeServer(server, .pauseMode)
        }
    }

    /// `RECONNECT`, or a changed configuration: the same, for the server that is to be replaced.
    mutating func recycleDedicatedServers(_ poolIndex: UInt32) {
        for server in pools[poolIndex].pointee.dedicated where servers.isLive(server) {
            servers[server].pointee.closeNeeded = true
            if isOwnersToKeep(server) { continue }
            closeServer(server, .closeNeeded)
        }
    }

    private func isOwnersToKeep(_ server: UInt32) -> Bool {
        servers[server].pointee.purpose == .replication && servers[server].pointee.phase == .ready
            && !settings.serverFastClose
    }
}
