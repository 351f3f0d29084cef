// What must hold after every step, whatever has happened.

import Pooling
import Synchronization

/// What the checks remember from one step to the next.
struct Watch {
    /// How many servers were open in each pool, and how many connects under way, at the last step.
    var taken: [Int]
    var connecting: [Int]
    var databaseTaken: [Int: Int] = [:]
    var userTaken: [Int: Int] = [:]
    /// Since when a pool could have opened a server for a client that waits.
    var couldGrowSince: [Int64]

    init(pools: Int, workers: Int) {
        taken = Array(repeating: 0, count: pools)
        connecting = taken
        couldGrowSince = Array(repeating: .max, count: pools * workers)
    }
}

extension World {
    /// No client waits longer once faults are over. Ten times what the busiest scenario needs.
    static var waitMaxMicroseconds: Int64 { 3_000_000 }
    /// A free server or permit finds a client that waits within a tick and two messages.
    static var wakeMaxMicroseconds: Int64 { 120_000 }
    /// The same where no message can be missed: no tick is needed.
    static var promptWakeMaxMicroseconds: Int64 { 8_000 }

    func checkInvariants() {
        for worker in workers {
            for pool in worker.parts.indices { check(worker, pool) }
            checkLinks(worker)
        }
        for pool in bounds.indices { checkPool(pool) }
        for (index, bound) in databases.enumerated() {
            let pools = bounds.filter { $0.database === bound }
            checkShared(bound, pools, before: watch.databaseTaken[index, default: 0], "database \(index)")
            watch.databaseTaken[index] = bound.taken
        }
        for (index, bound) in users.enumerated() {
            let pools = bounds.filter { $0.user === bound }
            checkShared(bound, pools, before: watch.userTaken[index, default: 0], "user \(index)")
            watch.userTaken[index] = bound.taken
        }
    }

    // MARK: One worker's part of a pool

    private func check(_ worker: SimulatedWorker, _ pool: Int) {
        let part = worker.parts[pool]
        let place = "worker \(worker.number), pool \(pool)"
        var listed = 0
        for state in ServerState.allCases {
            let list = part.pool.list(state)
            var next = list.first
            var count = 0
            while next >= 0 {
                guard let server = worker.servers[Int(next)], server.pool == pool, server.state == state else {
                    return fail("\(place): a server in the list \(state) does not belong there")
                }
                count += 1
                guard count <= Int(list.count) else { break }
                next = worker.serverLinks.next(after: next)
            }
            if count != Int(list.count) { fail("\(place): the list \(state) has \(list.count) servers, not \(count)") }
            listed += count
        }
        let live = worker.servers.count { $0?.pool == pool }
        if listed != live || part.pool.serverCount != live { fail("\(place): \(live) servers, \(listed) in lists") }
        checkLine(worker, part, place)
        checkPublished(worker, part, place)
    }

    private func checkLine(_ worker: SimulatedWorker, _ part: PoolPart, _ place: String) {
        var next = part.pool.waiting.first
        var since = Int64.min
        for client in part.line {
            guard next == Int32(client.slot) else { return fail("\(place): the line is out of order") }
            let own = worker.clientLinks.since(client.slot)
            if own < since || own != client.waitsSince { fail("\(place): the line is not ordered by time") }
            since = own
            next = worker.clientLinks.next(after: next)
            if !client.isWaiting { fail("\(place): a client stands in line that does not wait") }
            if isCalm, now - max(own, scenario.calmAt) > Self.waitMaxMicroseconds {
                fail("client \(client.identity) starves: \(place), since \(own)")
            }
        }
        if next >= 0 || Int(part.pool.waiting.count) != part.line.count { fail("\(place): somebody else is in line") }
        if !part.line.isEmpty, part.pool.count(.idle) > 0 {
            fail("\(place): a client waits although a server is idle")
        }
    }

    private func checkPublished(_ worker: SimulatedWorker, _ part: PoolPart, _ place: String) {
        guard scenario.workers > 1 else { return }
        let share = part.pool.bounds.shares[worker.number]
        let oldest = part.pool.isPaused ? nil : part.line.first.map { $0.waitsSince }
        if share.oldestWaiter.load(ordering: .relaxed) != oldest ?? .max { fail("\(place): a wrong waiter is published") }
        let free = part.pool.count(.idle) + part.pool.count(.used)
        if share.idle.load(ordering: .relaxed) != free { fail("\(place): a wrong number of idle servers is published") }
    }

    private func checkLinks(_ worker: SimulatedWorker) {
        for case .some(let server) in worker.servers {
            if let client = server.client {
                if client.server !== server || server.state != .active { fail("half a link to client \(client.identity)") }
            } else if server.state == .idle || server.state == .used || server.state == .leaving {
                if !server.owed.isEmpty || server.status != .idle || !server.backend.isClean {
                    fail("worker \(worker.number): a free server is not clean")
                }
            }
        }
    }

    // MARK: Over all workers

    private func checkPool(_ pool: Int) {
        let own = bounds[pool]
        let parts = workers.map { $0.parts[pool] }
        let open = parts.reduce(inFlight[pool]) { $0 + $1.pool.serverCount }
        if own.servers.taken != open { fail("pool \(pool): \(own.servers.taken) permits for \(open) servers") }
        // A lowered limit closes nothing at once; it must not be passed again.
        if own.servers.taken > watch.taken[pool], let most = (parts.map { $0.pool.limits.serversMax }.max()) {
            if own.servers.taken > most { fail("pool \(pool): \(own.servers.taken) servers, at most \(most) allowed") }
        }
        watch.taken[pool] = own.servers.taken
        let connecting = own.connecting.load(ordering: .relaxed)
        let counted = workers.reduce(0) { sum, worker in
            sum + worker.servers.count { $0?.pool == pool && $0?.countsAsConnecting == true }
        }
        if connecting != counted { fail("pool \(pool): \(connecting) connects counted, \(counted) under way") }
        if connecting > watch.connecting[pool], let most = (parts.map { $0.pool.limits.connectParallel }.max()) {
            if connecting > most { fail("pool \(pool): \(connecting) connects at once") }
        }
        watch.connecting[pool] = connecting
        for (number, part) in parts.enumerated() { checkWoken(pool, part, number) }
    }

    private func checkShared(_ bound: BoundCount, _ pools: [PoolBounds], before: Int, _ name: String) {
        let open = pools.reduce(0) { $0 + $1.servers.taken }
        if bound.taken != open { fail("\(name): \(bound.taken) permits for \(open) servers") }
        if bound.taken > before, bound.limit > 0, bound.taken > bound.limit {
            fail("\(name): \(bound.taken) servers, at most \(bound.limit) allowed")
        }
    }

    /// A client that waits is not overlooked: neither a free server of its pool in another worker, nor a permit.
    private func checkWoken(_ pool: Int, _ part: PoolPart, _ number: Int) {
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
        guard hasPermit else {
            watch.couldGrowSince[index] = .max
            return
        }
        let since = min(watch.couldGrowSince[index], now)
        watch.couldGrowSince[index] = since
        let max = scenario.hasSharedBounds || part.hasFailed ? Self.wakeMaxMicroseconds : Self.promptWakeMaxMicroseconds
        if now - since > max { fail("pool \(pool), worker \(number): a client waits although a server may be opened") }
    }

    // MARK: At single steps

    /// A permit was taken.
    func opened(_ part: PoolPart, fromReserve: Bool) {
        let limits = part.pool.limits
        let taken = part.pool.bounds.servers.taken
        note("  pool \(part.pool.bounds.identity) opens server number \(taken)")
        guard limits.size > 0, taken > limits.size + limits.overflow else { return }
        guard fromReserve, let first = part.line.first, now - first.waitsSince >= limits.reserveWaitMicroseconds else {
            return fail("a server of the reserve was opened too early")
        }
    }

    /// A client leaves the line with a server.
    func served(_ client: SimulatedClient) {
        waitMax = max(waitMax, now - client.waitsSince)
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
                fail("pool \(pool): \(own.servers.taken) permits did not come back")
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
