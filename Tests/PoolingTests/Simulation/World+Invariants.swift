// What must hold after every step, whatever has happened.

import Pooling
import Synchronization

/// What the checks remember from one step to the next.
struct Watch {
    /// How many servers were open in each pool, and how many connects under way, at the last step.
    var taken: [Int]
    var connecting: [Int]
    var databaseTaken: [Int]
    var userTaken: [Int]
    /// Since when a pool could have opened a server for a client that waits.
    var couldGrowSince: [Int64]

    init(pools: Int, workers: Int) {
        taken = Array(repeating: 0, count: pools)
        connecting = taken
        databaseTaken = taken
        userTaken = taken
        couldGrowSince = Array(repeating: .max, count: pools * workers)
    }
}

extension World {
    /// No client waits longer once faults are over. Four times what the busiest scenario needs.
    static var waitMaxMicroseconds: Int64 { 1_000_000 }
    /// A free server or permit finds a client that waits within a tick and two messages.
    static var wakeMaxMicroseconds: Int64 { 120_000 }
    /// The same where no message can be missed: no tick is needed.
    static var promptWakeMaxMicroseconds: Int64 { 8_000 }

    private static let states = ServerState.allCases

    func checkInvariants() {
        for worker in workers where touched == nil || touched == worker.number {
            var live = Array(repeating: 0, count: bounds.count)
            for case .some(let server) in worker.servers {
                live[server.pool] += 1
                checkLink(server)
            }
            for pool in bounds.indices { check(worker, pool, live: live[pool]) }
        }
        for pool in bounds.indices { checkPool(pool) }
        for index in databases.indices {
            checkShared(databases[index], databasePools[index], before: watch.databaseTaken[index])
            watch.databaseTaken[index] = databases[index].taken
        }
        for index in users.indices {
            checkShared(users[index], userPools[index], before: watch.userTaken[index])
            watch.userTaken[index] = users[index].taken
        }
    }

    // MARK: One worker's part of a pool

    private func check(_ worker: SimulatedWorker, _ pool: Int, live: Int) {
        let part = worker.parts[pool]
        var listed = 0
        for state in Self.states {
            let list = part.pool.list(state)
            var next = list.first
            var count: Int32 = 0
            while next >= 0, count <= list.count {
                guard let server = worker.servers[Int(next)], server.pool == pool, server.state == state else {
                    return fail("a server in the list \(state) of pool \(pool) does not belong there")
                }
                count += 1
                next = worker.serverLinks.next(after: next)
            }
            if count != list.count {
                fail("pool \(pool): \(list.count) servers are \(state), but \(count) in the list")
            }
            listed += Int(count)
        }
        if listed != live || part.pool.serverCount != live {
            fail("worker \(worker.number), pool \(pool): \(live) servers, \(listed) in lists")
        }
        checkLine(worker, part)
        checkPublished(worker, part)
    }

    private func checkLine(_ worker: SimulatedWorker, _ part: PoolPart) {
        var next = part.pool.waiting.first
        var since = Int64.min
        for client in part.line {
            guard next == Int32(client.slot), client.isWaiting else { return fail("the line is out of order") }
            let own = worker.clientLinks.since(client.slot)
            if own < since || own != client.waitsSince { fail("the line is not ordered by time") }
            since = own
            next = worker.clientLinks.next(after: next)
            if isCalm, now - max(own, scenario.calmAt) > Self.waitMaxMicroseconds {
                fail("\(client) of pool \(client.pool) starves in worker \(worker.number), since \(own)")
            }
        }
        if next >= 0 || Int(part.pool.waiting.count) != part.line.count { fail("somebody else is in line") }
        if !part.line.isEmpty, part.pool.count(.idle) > 0 {
            fail("worker \(worker.number): \(part.line[0]) waits although a server is idle")
        }
    }

    private func checkPublished(_ worker: SimulatedWorker, _ part: PoolPart) {
        guard scenario.workers > 1 else { return }
        let share = part.pool.bounds.shares[worker.number]
        let oldest = part.pool.isPaused ? nil : part.line.first?.waitsSince
        if share.oldestWaiter.load(ordering: .relaxed) != oldest ?? .max {
            fail("worker \(worker.number) publishes a wrong waiter")
        }
        if share.idle.load(ordering: .relaxed) != part.pool.count(.idle) + part.pool.count(.used) {
            fail("worker \(worker.number) publishes a wrong number of idle servers")
        }
    }

    private func checkLink(_ server: SimulatedServer) {
        if let client = server.client {
            if client.server !== server || server.state != .active { fail("\(server) is linked by half to \(client)") }
            return
        }
        switch server.state {
        case .idle, .used, .leaving:
            if !server.owed.isEmpty || !server.backend.isClean { fail("\(server) is free and not clean") }
        case .new, .tested, .active, .beingCanceled: break
        }
    }

    // MARK: Over all workers

    private func checkPool(_ pool: Int) {
        let own = bounds[pool]
        var open = inFlight[pool]
        var serversMax = 0
        var connectsMax = 0
        for worker in workers {
            let part = worker.parts[pool]
            open += part.pool.serverCount
            serversMax = max(serversMax, part.pool.limits.serversMax)
            connectsMax = max(connectsMax, part.pool.limits.connectParallel)
            checkWoken(part, worker.number)
        }
        let taken = own.servers.taken
        if taken != open { fail("pool \(pool): \(taken) permits for \(open) servers") }
        // A lowered limit closes nothing at once; it must not be passed again.
        if taken > watch.taken[pool], taken > serversMax {
            fail("pool \(pool): \(taken) servers, at most \(serversMax) allowed")
        }
        watch.taken[pool] = taken
        let connecting = own.connecting.load(ordering: .relaxed)
        if connecting > watch.connecting[pool], connecting > connectsMax {
            fail("pool \(pool): \(connecting) connects at once")
        }
        watch.connecting[pool] = connecting
        if touched == nil { checkConnecting(pool, connecting) }
    }

    private func checkConnecting(_ pool: Int, _ connecting: Int) {
        let counted = workers.reduce(0) { sum, worker in
            sum + worker.servers.count { $0?.pool == pool && $0?.countsAsConnecting == true }
        }
        if connecting != counted { fail("pool \(pool): \(connecting) connects counted, \(counted) under way") }
    }

    private func checkShared(_ bound: BoundCount, _ pools: [PoolBounds], before: Int) {
        let taken = bound.taken
        var open = 0
        for pool in pools { open += pool.servers.taken }
        if taken != open { fail("\(taken) permits of a shared bound for \(open) servers") }
        if let starved = bound.starved {
            let waits = workers.contains {
                !$0.parts[starved.pool].pool.isPaused && !$0.parts[starved.pool].line.isEmpty
            }
            if !waits { fail("pool \(starved.pool) is called starved, but nobody waits in it") }
        }
        if taken > before, bound.limit > 0, taken > bound.limit {
            fail("\(taken) servers in a shared bound, at most \(bound.limit) allowed")
        }
    }

    /// A client that waits is not overlooked: neither a free server of its pool in another worker, nor a permit.
    private func checkWoken(_ part: PoolPart, _ number: Int) {
        let pool = part.pool.bounds.identity
        let index = pool * scenario.workers + number
        guard let first = part.line.first, !part.pool.isPaused else {
            watch.couldGrowSince[index] = .max
            return
        }
        for worker in workers where worker.number != number && !worker.parts[pool].pool.isPaused {
            for state in [ServerState.idle, .used] {
                let free = worker.parts[pool].pool.list(state).first
                guard free >= 0 else { continue }
                let since = max(first.waitsSince, worker.serverLinks.since(UInt32(free)))
                if now - since > Self.wakeMaxMicroseconds {
                    fail("pool \(pool): a client waits in worker \(number), a server is \(state) in \(worker.number)")
                }
            }
        }
        let own = part.pool.bounds
        let limits = part.pool.limits
        let hasPermit =
            (limits.size == 0 || own.servers.taken < limits.size + limits.overflow) && own.database.hasRoom
            && own.user.hasRoom && own.connecting.load(ordering: .relaxed) < limits.connectParallel
            && now >= part.pool.retryAt && part.line.count > part.pool.count(.new) + part.pool.count(.tested)
        guard hasPermit, !isReserved(own.database, first), !isReserved(own.user, first) else {
            watch.couldGrowSince[index] = .max
            return
        }
        let since = min(watch.couldGrowSince[index], now)
        watch.couldGrowSince[index] = since
        let max = scenario.hasSharedBounds || part.hasFailed ? Self.wakeMaxMicroseconds : Self.promptWakeMaxMicroseconds
        guard now - since > max else { return }
        let starved = [own.database, own.user].compactMap { $0.starved }
        fail("\(first) of pool \(pool) waits in worker \(number) although a server may be opened; starved: \(starved)")
    }

    /// Whether a pool that has waited long, longer than a client, keeps the permits of a bound for itself.
    private func isReserved(_ bound: BoundCount, _ first: SimulatedClient) -> Bool {
        guard let starved = bound.starved else { return false }
        return starved.since < first.waitsSince && bounds[starved.pool].servers.taken == 0
            && now - starved.since >= Pool.reservationWaitMicroseconds
    }

    // MARK: At single steps

    /// A permit was taken, for a client that waits unless it is for `min_pool_size`.
    func opened(_ part: PoolPart, fromReserve: Bool, isForMinimum: Bool = false) {
        let limits = part.pool.limits
        if !isForMinimum, part.line.count <= part.pool.count(.new) + part.pool.count(.tested) {
            fail("pool \(part.pool.bounds.identity) opens more servers than clients wait")
        }
        let taken = part.pool.bounds.servers.taken
        note("  pool \(part.pool.bounds.identity) opens server number \(taken)")
        for starved in [part.pool.bounds.database.starved, part.pool.bounds.user.starved] {
            guard let starved, starved.pool != part.pool.bounds.identity else { continue }
            if isForMinimum || starved.since < part.line.first?.waitsSince ?? .max {
                fail("pool \(part.pool.bounds.identity) took a permit for which pool \(starved.pool) has waited longer")
            }
        }
        guard limits.size > 0, taken > limits.size + limits.overflow else { return }
        guard fromReserve, let first = part.line.first, now - first.waitsSince >= limits.reserveWaitMicroseconds else {
            return fail("a server of the reserve was opened too early")
        }
    }

    /// A client leaves the line with a server.
    func served(_ client: SimulatedClient) {
        for worker in workers where worker.number != client.worker {
            let part = worker.parts[client.pool]
            guard !part.pool.isPaused, let other = part.line.first else { continue }
            let slack = workers[client.worker].parts[client.pool].pool.limits.handOverSlackMicroseconds
            if other.waitsSince < client.waitsSince - slack {
                fail("client \(client.identity) was served before \(other.identity) of another worker")
            }
        }
    }

    func linked(_ client: SimulatedClient, _ server: SimulatedServer) {
        if server.pool != client.pool { fail("client \(client.identity) got a server of another pool") }
        if server.closeNeeded { fail("client \(client.identity) got a server that was to be closed") }
        if !server.owed.isEmpty || server.status != .idle || !server.backend.isClean {
            fail("client \(client.identity) got a server that was not clean")
        }
        if server.cancelsUnderWay > 0 { fail("client \(client.identity) got a server that a cancel request may hit") }
        if workers[client.worker].parts[client.pool].pool.isPaused { fail("a server was given out while paused") }
    }

    /// When all is closed.
    func checkEmpty() {
        for (pool, own) in bounds.enumerated() {
            if own.servers.taken != 0 || own.connecting.load(ordering: .relaxed) != 0 {
                let left = workers.flatMap { $0.servers.compactMap { $0 }.filter { $0.pool == pool } }
                fail("pool \(pool): \(own.servers.taken) permits did not come back: \(left.map { ($0, $0.state) })")
            }
        }
        for bound in databases + users {
            if bound.taken != 0 { fail("a permit of a shared bound did not come back") }
            if let starved = bound.starved { fail("pool \(starved.pool) is still called starved") }
        }
    }
}

extension PoolLimits {
    /// Servers that may ever be open.
    var serversMax: Int { size == 0 ? .max : size + overflow + reserve }
}

extension BoundCount {
    var hasRoom: Bool { limit == 0 || taken < limit }
}
