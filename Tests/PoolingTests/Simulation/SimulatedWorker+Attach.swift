// Clients meet servers: the steps of Sources/Engine/Worker+Attach.swift and Worker+HandOver.swift.

import Pooling
import Synchronization

enum SimulatedRequestOutcome { case ready, waiting, refused }

extension SimulatedWorker {
    func requestServer(_ client: SimulatedClient) -> SimulatedRequestOutcome {
        let part = parts[client.pool]
        if part.hasFailed, part.pool.bounds.servers.taken == 0, now < part.pool.retryAt { return .refused }
        if let slot = part.pool.request(
            client: client.slot, now: now, clients: &clientLinks, servers: &serverLinks)
        {
            link(client, server(slot))
            return .ready
        }
        client.isWaiting = true
        client.waitsSince = now
        part.line.append(client)
        lookForServer(client.pool)
        return .waiting
    }

    /// A client of this pool waits: opens a server, or asks a worker that holds an idle one.
    func lookForServer(_ pool: Int) {
        let part = parts[pool]
        if let worker = part.pool.workerWithIdleServer {
            world.post(.wantServer(pool: pool, worker: number), to: worker)
        }
        if part.pool.count(.used) > 0 { checkUsedServer(pool) }
        grow(pool)
    }

    func link(_ client: SimulatedClient, _ server: SimulatedServer) {
        world.linked(client, server)
        server.state = .active
        server.hasServed = true
        server.client = client
        client.server = server
        client.isWaiting = false
        if world.chance.happens(perMille: world.scenario.settingsPerMille) { sendOwn(server, .settings) }
    }

    func unlink(_ client: SimulatedClient, _ server: SimulatedServer) {
        client.server = nil
        server.client = nil
    }

    /// A server owes nothing and has no client: the next one gets it, unless it has to be closed or cleaned.
    func release(_ server: SimulatedServer) {
        let part = parts[server.pool]
        if server.cancelsUnderWay > 0 { return move(server, to: .beingCanceled) }
        if server.closeNeeded { return closeServer(server, .closeNeeded) }
        if server.needsReset {
            server.needsReset = false
            move(server, to: .tested)
            return sendOwn(server, .reset)
        }
        if isLifetimeOver(server) { return closeServer(server, .lifetimeOver) }
        if part.pool.hasTooMany { return closeServer(server, .tooMany) }
        assign(server)
    }

    /// Carries out the pool's decision about a free server.
    func assign(_ server: SimulatedServer) {
        let part = parts[server.pool]
        let assignment = part.pool.assign(
            server.slot, from: server.state, mayEvict: server.hasServed, now: now, clients: &clientLinks,
            servers: &serverLinks)
        world.note("  worker \(number) pool \(server.pool) server \(server.slot): \(assignment)")
        switch assignment {
        case .serve(let slot): serve(slot, server, part)
        case .handOver(let worker):
            handOver(server, to: worker)
            // It may have been opened or tested for a client here.
            grow(server.pool)
        case .idle:
            server.state = .idle
            server.activeAt = now
            if part.pool.workerThatWaits != nil { assign(server) }
        case .closePaused: closeServer(server, .pauseMode)
        case .closeEvicted: closeServer(server, .evicted)
        }
    }

    private func serve(_ slot: UInt32, _ server: SimulatedServer, _ part: PoolPart) {
        guard let client = clients[Int(slot)], part.line.first === client else {
            return world.fail("the client that was served was not the first in line")
        }
        part.line.removeFirst()
        world.served(client)
        link(client, server)
        resumeHeld(client)
    }

    func move(_ server: SimulatedServer, to state: ServerState) {
        guard server.state != state else { return }
        parts[server.pool].pool.move(
            server.slot, from: server.state, to: state, now: now, servers: &serverLinks)
        server.state = state
    }

    func isLifetimeOver(_ server: SimulatedServer) -> Bool {
        let part = parts[server.pool]
        let lifetime = world.scenario.serverLifetime
        if lifetime <= 0 { return lifetime == 0 && server.hasServed }
        guard now - server.connectedAt > lifetime else { return false }
        let spread = lifetime / Int64(max(1, part.pool.bounds.servers.taken))
        if now - part.lifetimeClosedAt < min(spread, 1_000_000) { return false }
        part.lifetimeClosedAt = now
        return true
    }

    func checkUsedServer(_ pool: Int) {
        let part = parts[pool]
        let used = part.pool.list(.used)
        guard used.last >= 0, Int(part.pool.waiting.count) > part.pool.count(.tested) else { return }
        let server = server(UInt32(used.last))
        move(server, to: .tested)
        sendOwn(server, .check)
    }

    // MARK: Growth

    func grow(_ pool: Int) {
        let part = parts[pool]
        while true {
            switch part.pool.grow(now: now, clients: clientLinks) {
            case .none: return
            case .open(let fromReserve):
                world.opened(part, fromReserve: fromReserve)
                openServer(pool)
            case .evict(let bound):
                guard evict(for: bound, except: pool) else {
                    world.broadcast(.evictIdle(pool: pool), except: number)
                    return
                }
            }
        }
    }

    func openServer(_ pool: Int) {
        let server = insert(Backend(number: world.nextBackend(), pool: pool))
        parts[pool].pool.opened(server.slot, now: now, servers: &serverLinks)
        world.connect(server.backend)
    }

    /// Closes the longest-idle server of another pool that counts in the same bound.
    private func evict(for bound: BoundCount, except own: Int) -> Bool {
        var oldest: SimulatedServer?
        for (pool, part) in parts.enumerated() where pool != own {
            guard part.pool.bounds.database === bound || part.pool.bounds.user === bound else { continue }
            for state in [ServerState.idle, .used] {
                let first = part.pool.list(state).first
                guard first >= 0 else { continue }
                let found = server(UInt32(first))
                if oldest.map({ serverLinks.since(found.slot) < serverLinks.since($0.slot) }) ?? true { oldest = found }
            }
        }
        guard let oldest else { return false }
        closeServer(oldest, .evicted)
        return true
    }

    /// Another worker's pool waits for a bound that idle servers here may hold.
    func evictIdle(_ pool: Int) {
        let bounds = parts[pool].pool.bounds
        if evict(for: bounds.database, except: pool) || evict(for: bounds.user, except: pool) {
            world.broadcast(.mayGrow(pool: pool), except: number)
        }
    }

    /// A permit was given back: pools that wait for one may grow, here and in other workers.
    func permitGivenBack(_ pool: Int) {
        let bounds = parts[pool].pool.bounds
        for starved in [bounds.database.starved, bounds.user.starved] {
            guard let starved, starved.pool != bounds.identity else { continue }
            grow(starved.pool)
            world.broadcast(.mayGrow(pool: starved.pool), except: number)
        }
        growEverywhere(pool)
    }

    /// Those who wait in a pool may open servers, here and in other workers.
    func growEverywhere(_ pool: Int) {
        let bounds = parts[pool].pool.bounds
        for (worker, share) in bounds.shares.enumerated() where worker != number {
            if share.oldestWaiter.load(ordering: .relaxed) != .max {
                world.post(.mayGrow(pool: bounds.identity), to: worker)
            }
        }
        grow(pool)
    }

    // MARK: Hand-over

    func handOver(_ server: SimulatedServer, to worker: Int) {
        server.state = .leaving
        server.destination = worker
        world.handOvers += 1
        world.schedule(after: world.chance.between(10, 500), .detached(server.backend))
    }

    func serverDetached(_ server: SimulatedServer) {
        guard server.state == .leaving else { return world.fail("a server was detached that was not leaving") }
        parts[server.pool].pool.departed(server.slot, from: .leaving, servers: &serverLinks)
        remove(server)
        world.inFlight[server.pool] += 1
        world.post(
            .adoptServer(
                server.backend, connectedAt: server.connectedAt, closeNeeded: server.closeNeeded,
                needsCheck: server.needsCheck, hasServed: server.hasServed),
            to: server.destination)
    }

    func adoptServer(_ backend: Backend, connectedAt: Int64, closeNeeded: Bool, needsCheck: Bool, hasServed: Bool) {
        world.inFlight[backend.pool] -= 1
        let server = insert(backend)
        parts[backend.pool].pool.arrived(server.slot, now: now, servers: &serverLinks)
        server.state = .leaving
        server.isLoggedIn = true
        server.countsAsConnecting = false
        server.hasServed = hasServed
        server.connectedAt = connectedAt
        server.closeNeeded = closeNeeded
        if backend.isDead { world.schedule(after: 20, .backendDisconnects(backend)) }
        guard needsCheck else { return release(server) }
        move(server, to: .tested)
        sendOwn(server, .check)
    }

    /// Another worker's client waits and this worker was seen to hold an idle server.
    func lendServer(_ pool: Int, to worker: Int) {
        let part = parts[pool]
        let idle = part.pool.list(part.pool.count(.idle) > 0 ? .idle : .used)
        guard idle.first >= 0,
            part.pool.bounds.shares[worker].oldestWaiter.load(ordering: .sequentiallyConsistent) != .max
        else { return }
        let server = server(UInt32(idle.first))
        server.needsCheck = server.state == .used
        move(server, to: .leaving)
        handOver(server, to: worker)
    }
}
