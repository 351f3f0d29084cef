// Who gets a server and when: one worker's part of one pool (a database and a user).
//
//                 ┌────────────── new ◀── permit taken ── grow()
//                 ▼ login done
//     client ──▶ idle ──attach──▶ active ──nothing owed──▶ idle, or the next waiter, or another worker
//                 │ ▲               │
//     check delay ▼ │ passed        ▼ session ended
//                used ──▶ tested ◀──┘ (reset query)
//
// Clients that find no idle server wait in line, first in, first out. A pool grows while more clients wait than
// connections are being opened. Everything here is a decision: the caller passes the time, and performs what is
// returned.
//
// Invariants: every server of the pool stands in one list; a client waits only while no server is idle here
// (unless the pool is paused); servers ≤ the permits taken.

import Synchronization

/// One worker's part of a pool.
public struct Pool: ~Copyable {
    /// By how much a starved pool's client must have waited longer before a server is closed in its favour.
    public static var starvationSlackMicroseconds: Int64 { 50_000 }
    /// How long a client of a pool without servers waits before permits of both shared bounds are kept for it.
    public static var reservationWaitMicroseconds: Int64 { 250_000 }

    /// What the workers share.
    public let bounds: PoolBounds
    /// This worker's number.
    public let worker: Int
    /// Sizes and times; changed by a reload.
    public var limits: PoolLimits
    /// No server is given out (`PAUSE`).
    public private(set) var isPaused = false
    /// Clients that wait for the pool's first login, to learn the server's parameters.
    public private(set) var welcomeWaiters = 0
    /// Since when the first of them waits.
    private var welcomeSince: Int64 = 0
    /// When the next connect may be tried after a failure.
    public private(set) var retryAt: Int64 = 0
    /// The clients that wait for a server, the oldest first.
    public private(set) var waiting = LinkedList()
    private var lists:
        (
            LinkedList, LinkedList, LinkedList, LinkedList, LinkedList, LinkedList, LinkedList
        ) = (.init(), .init(), .init(), .init(), .init(), .init(), .init())

    /// An empty pool.
    public init(bounds: PoolBounds, worker: Int, limits: PoolLimits) {
        self.bounds = bounds
        self.worker = worker
        self.limits = limits
    }

    /// Stops or starts giving out servers.
    public mutating func setPaused(_ paused: Bool, clients: borrowing LinkTable) {
        isPaused = paused
        publishWaiter(clients)
        if paused { clearStarved() }
    }

    /// A connect or login failed: none is tried before `retryAt`, and nobody else has to wait for this pool till then.
    public mutating func connectFailed(retryAt: Int64) {
        self.retryAt = retryAt
        clearStarved()
    }

    // MARK: Servers stand in one list each

    /// The servers in a state, the one that came first at the front.
    public func list(_ state: ServerState) -> LinkedList {
        switch state {
        case .new: lists.0
        case .idle: lists.1
        case .used: lists.2
        case .tested: lists.3
        case .active: lists.4
        case .beingCanceled: lists.5
        case .leaving: lists.6
        }
    }

    /// How many servers are in a state.
    public func count(_ state: ServerState) -> Int { Int(list(state).count) }

    /// How many servers this worker has in the pool.
    public var serverCount: Int {
        Int(lists.0.count + lists.1.count + lists.2.count + lists.3.count + lists.4.count + lists.5.count)
            + Int(lists.6.count)
    }

    private mutating func enter(_ server: UInt32, _ state: ServerState, _ now: Int64, _ table: inout LinkTable) {
        switch state {
        case .new: table.append(server, to: &lists.0, now: now)
        case .idle: table.append(server, to: &lists.1, now: now)
        case .used: table.append(server, to: &lists.2, now: now)
        case .tested: table.append(server, to: &lists.3, now: now)
        case .active: table.append(server, to: &lists.4, now: now)
        case .beingCanceled: table.append(server, to: &lists.5, now: now)
        case .leaving: table.append(server, to: &lists.6, now: now)
        }
    }

    private mutating func leave(_ server: UInt32, _ state: ServerState, _ table: inout LinkTable) {
        switch state {
        case .new: table.remove(server, from: &lists.0)
        case .idle: table.remove(server, from: &lists.1)
        case .used: table.remove(server, from: &lists.2)
        case .tested: table.remove(server, from: &lists.3)
        case .active: table.remove(server, from: &lists.4)
        case .beingCanceled: table.remove(server, from: &lists.5)
        case .leaving: table.remove(server, from: &lists.6)
        }
    }

    /// Moves a server to another state. Taking it out of `idle` is how it stops being offered to clients.
    public mutating func move(
        _ server: UInt32, from old: ServerState, to new: ServerState, now: Int64, servers: inout LinkTable
    ) {
        leave(server, old, &servers)
        enter(server, new, now, &servers)
        if old == .idle || new == .idle || old == .used || new == .used { publishIdle() }
    }

    /// A connect is started: the permit was taken by `grow`.
    public mutating func opened(_ server: UInt32, now: Int64, servers: inout LinkTable) {
        enter(server, .new, now, &servers)
        bounds.connecting.add(1, ordering: .relaxed)
    }

    /// A client waits for the pool's first login.
    public mutating func welcomeWanted(now: Int64) {
        if welcomeWaiters == 0 { welcomeSince = now }
        welcomeWaiters += 1
    }

    /// A client that waited for the first login has been welcomed, or has left.
    public mutating func welcomeEnded() {
        welcomeWaiters -= 1
        if welcomeWaiters == 0, waiting.isEmpty { clearStarved() }
    }

    /// A login succeeded: nothing keeps the next connect back.
    public mutating func loginSucceeded() { retryAt = 0 }

    /// A connect is over, well or badly; the server stays in `new` until it is moved or closed.
    public mutating func connectEnded() {
        bounds.connecting.subtract(1, ordering: .relaxed)
    }

    /// A server is gone. Its permit is given back.
    public mutating func closed(_ server: UInt32, from state: ServerState, servers: inout LinkTable) {
        departed(server, from: state, servers: &servers)
        bounds.giveBackPermit()
    }

    /// A server now belongs to another worker; its permit goes with it.
    public mutating func departed(_ server: UInt32, from state: ServerState, servers: inout LinkTable) {
        leave(server, state, &servers)
        if state == .idle || state == .used { publishIdle() }
    }

    /// A server has come from another worker, with its permit.
    public mutating func arrived(_ server: UInt32, now: Int64, servers: inout LinkTable) {
        enter(server, .leaving, now, &servers)
    }

    // MARK: Clients

    /// A client needs a server: takes an idle one, or puts the client in line and returns nil.
    public mutating func request(
        client: UInt32, now: Int64, clients: inout LinkTable, servers: inout LinkTable
    ) -> UInt32? {
        let idle = lists.1
        if !isPaused, waiting.isEmpty, !idle.isEmpty {
            let server = UInt32(limits.roundRobin ? idle.first : idle.last)
            move(server, from: .idle, to: .active, now: now, servers: &servers)
            return server
        }
        clients.append(client, to: &waiting, now: now)
        publishWaiter(clients)
        return nil
    }

    /// A client that waits goes away: it has timed out, was cancelled or has left.
    public mutating func gaveUp(client: UInt32, clients: inout LinkTable) {
        clients.remove(client, from: &waiting)
        publishWaiter(clients)
        if waiting.isEmpty { clearStarved() }
    }

    /// A server is free: who gets it? `state` is where it stands now; it has been moved when this returns.
    ///
    /// - Parameter mayEvict: it may be closed in favour of a starved pool; a server that has not served anybody yet
    ///   may not, or two starved pools would take the permit from each other for ever.
    public mutating func assign(
        _ server: UInt32, from state: ServerState, mayEvict: Bool, now: Int64, clients: inout LinkTable,
        servers: inout LinkTable
    ) -> Assignment {
        if isPaused { return .closePaused }
        let own = waiting.isEmpty ? Int64.max : clients.since(UInt32(waiting.first))
        if mayEvict, bounds.isOtherStarving(before: own, slack: Self.starvationSlackMicroseconds) {
            return .closeEvicted
        }
        if !bounds.shares.isEmpty,
            let worker = bounds.worker(
                waitingBefore: own, slack: limits.handOverSlackMicroseconds, except: worker)
        {
            move(server, from: state, to: .leaving, now: now, servers: &servers)
            return .handOver(worker: worker)
        }
        if let client = takeWaiter(&clients) {
            if state != .active { move(server, from: state, to: .active, now: now, servers: &servers) }
            clearStarved()
            return .serve(client: client)
        }
        if state != .idle { move(server, from: state, to: .idle, now: now, servers: &servers) }
        return .idle
    }

    private mutating func takeWaiter(_ clients: inout LinkTable) -> UInt32? {
        guard waiting.first >= 0 else { return nil }
        let client = UInt32(waiting.first)
        clients.remove(client, from: &waiting)
        publishWaiter(clients)
        return client
    }

    private func clearStarved() {
        bounds.database.clearStarved(pool: bounds.identity)
        bounds.user.clearStarved(pool: bounds.identity)
    }

    // MARK: Growth

    /// Whether to open a server for the clients that wait; called until it says `none`.
    public mutating func grow(now: Int64, clients: borrowing LinkTable) -> Growth {
        let needed = Int(waiting.count) + (welcomeWaiters > 0 && serverCount == 0 ? 1 : 0)
        guard !isPaused, needed > count(.new) + count(.tested), now >= retryAt,
            bounds.connecting.load(ordering: .relaxed) < limits.connectParallel
        else { return .none }
        let inLine = waiting.isEmpty ? now : clients.since(UInt32(waiting.first))
        let first = welcomeWaiters > 0 ? min(welcomeSince, inLine) : inLine
        return takePermit(first: first, now: now)
    }

    /// Whether to open a server to keep `min_pool_size` of them.
    public mutating func growToMinimum(now: Int64) -> Growth {
        // The size is the stronger word: more would be closed as too many and opened again for ever.
        let minimum = limits.size == 0 ? limits.minimum : min(limits.minimum, limits.size)
        guard !isPaused, bounds.servers.taken < minimum, now >= retryAt,
            bounds.connecting.load(ordering: .relaxed) < limits.connectParallel,
            !isForOthers(bounds.database, .max), !isForOthers(bounds.user, .max),
            bounds.takePermit(poolMax: minimum) == .granted
        else { return .none }
        return .open(fromReserve: false)
    }

    private func takePermit(first: Int64, now: Int64) -> Growth {
        if isForOthers(bounds.database, first) || isForOthers(bounds.user, first) {
            clearStarved()
            return .none
        }
        let ordinary = limits.size == 0 ? 0 : limits.size + limits.overflow
        var permit = bounds.takePermit(poolMax: ordinary)
        var fromReserve = false
        if permit == .poolFull, limits.reserve > 0, limits.reserveWaitMicroseconds > 0,
            now - first >= limits.reserveWaitMicroseconds
        {
            permit = bounds.takePermit(poolMax: ordinary + limits.reserve)
            fromReserve = true
        }
        switch permit {
        case .granted:
            clearStarved()
            return .open(fromReserve: fromReserve)
        case .poolFull:
            // It is its own size that keeps it back: nobody may wait for its sake.
            clearStarved()
            return .none
        case .databaseFull:
            markStarved(bounds.database, other: bounds.user, since: first, now: now)
            return .evict(bounds.database)
        case .userFull:
            markStarved(bounds.user, other: bounds.database, since: first, now: now)
            return .evict(bounds.user)
        }
    }

    /// A permit of a shared bound is for the pool whose client has waited longest.
    private func isForOthers(_ bound: BoundCount, _ first: Int64) -> Bool {
        guard let starved = bound.starved else { return false }
        return starved.pool != bounds.identity && starved.since < first
    }

    /// The pool waits for `full`. A pool that has waited long and has no server at all keeps the `other` bound's permit
    /// from younger ones too: it would else find now this one taken and now that one, for ever. Nobody else makes
    /// others wait for the sake of a permit that it cannot use yet.
    private func markStarved(_ full: BoundCount, other: BoundCount, since: Int64, now: Int64) {
        full.markStarved(pool: bounds.identity, since: since)
        if bounds.servers.taken == 0, now - since >= Self.reservationWaitMicroseconds {
            other.markStarved(pool: bounds.identity, since: since)
        } else {
            other.clearStarved(pool: bounds.identity)
        }
    }

    // MARK: Idle servers

    /// The longest-idle server that should be closed now because there are more than the pool's size.
    public func overflowServer(now: Int64, servers: borrowing LinkTable) -> UInt32? {
        guard limits.size > 0, limits.overflow > 0, bounds.servers.taken > limits.size, lists.1.first >= 0
        else { return nil }
        let server = UInt32(lists.1.first)
        return now - servers.since(server) >= limits.overflowIdleMicroseconds ? server : nil
    }

    /// Whether more servers are open than the pool may ever have, after its limits were lowered.
    public var hasTooMany: Bool {
        limits.size > 0 && bounds.servers.taken > limits.size + limits.overflow + limits.reserve
    }

    // MARK: What other workers see

    private func publishWaiter(_ clients: borrowing LinkTable) {
        guard !bounds.shares.isEmpty else { return }
        let oldest = waiting.first < 0 || isPaused ? Int64.max : clients.since(UInt32(waiting.first))
        bounds.shares[worker].oldestWaiter.store(oldest, ordering: .sequentiallyConsistent)
    }

    private func publishIdle() {
        guard !bounds.shares.isEmpty else { return }
        bounds.shares[worker].idle.store(Int(lists.1.count + lists.2.count), ordering: .sequentiallyConsistent)
    }

    /// A worker that holds an idle server of this pool, to be asked when a client waits here.
    ///
    /// Whoever makes a server idle publishes it before looking who waits, and whoever waits publishes that before
    /// looking here: one of the two sees the other.
    public var workerWithIdleServer: Int? {
        var found: Int?
        var most = 0
        for (index, share) in bounds.shares.enumerated() where index != worker {
            let idle = share.idle.load(ordering: .sequentiallyConsistent)
            if idle > most {
                most = idle
                found = index
            }
        }
        return found
    }

    /// After a server was made idle: whether another worker's client has begun to wait in the meantime.
    public var workerThatWaits: Int? {
        bounds.shares.isEmpty ? nil : bounds.worker(waitingBefore: .max, slack: 0, except: worker)
    }
}
