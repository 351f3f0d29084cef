// A pool on the bench: its tables and its time, so that a test reads like what happens.

import Synchronization
import Testing

@testable import Pooling

/// A pool with its tables, so that a test reads like what happens.
final class Bench {
    var pool: Pool
    var clients = LinkTable()
    var servers = LinkTable()
    var now: Int64 = 1_000_000
    private var opened: UInt32 = 0

    init(_ bounds: PoolBounds, worker: Int = 0, _ change: (inout PoolLimits) -> Void = { _ in }) {
        var limits = PoolLimits()
        change(&limits)
        pool = Pool(bounds: bounds, worker: worker, limits: limits)
        for index in 0..<32 as Range<UInt32> {
            clients.prepare(index)
            servers.prepare(index)
        }
    }

    convenience init(size: Int, _ change: (inout PoolLimits) -> Void = { _ in }) {
        self.init(Bench.bounds()) {
            $0.size = size
            change(&$0)
        }
    }

    static func bounds(
        _ identity: Int = 0, database: BoundCount = BoundCount(limit: 0), user: BoundCount = BoundCount(limit: 0),
        workers: Int = 1
    ) -> PoolBounds {
        PoolBounds(identity: identity, database: database, user: user, workers: workers)
    }

    func request(_ client: UInt32) -> UInt32? {
        now += 1
        return pool.request(client: client, now: now, clients: &clients, servers: &servers)
    }

    func wait(_ clients: UInt32...) {
        for client in clients { #expect(request(client) == nil) }
    }

    func grow() -> Growth { pool.grow(now: now, clients: clients) }

    /// Opens what the pool asks for; how many servers that were.
    func growAll() -> Int {
        var count = 0
        while case .open = grow() {
            open()
            count += 1
        }
        return count
    }

    func open() {
        pool.opened(opened, now: now, servers: &servers)
        opened += 1
    }

    func assign(_ server: UInt32, from state: ServerState = .active, mayEvict: Bool = true) -> Assignment {
        now += 1
        return pool.assign(
            server, from: state, mayEvict: mayEvict, now: now, clients: &clients, servers: &servers)
    }

    /// A login is over.
    func loggedIn(_ server: UInt32) -> Assignment {
        pool.connectEnded()
        return assign(server, from: .new, mayEvict: false)
    }

    /// A server is there that does nothing.
    func addIdle() {
        #expect(pool.bounds.takePermit(poolMax: 0) == .granted)
        open()
        #expect(loggedIn(opened - 1) == .idle)
    }

    /// A server is there that serves a client.
    func addActive() {
        #expect(pool.bounds.takePermit(poolMax: 0) == .granted)
        open()
        pool.connectEnded()
        pool.move(opened - 1, from: .new, to: .active, now: now, servers: &servers)
    }

    func setPaused(_ paused: Bool) { pool.setPaused(paused, clients: clients) }

    var hasTooMany: Bool { pool.hasTooMany }
    var serverCount: Int { pool.serverCount }
    var workerWithIdleServer: Int? { pool.workerWithIdleServer }
    var workerThatWaits: Int? { pool.workerThatWaits }

    var published: (waiter: Int64, idle: Int) {
        let share = pool.bounds.shares[pool.worker]
        return (share.oldestWaiter.load(ordering: .relaxed), share.idle.load(ordering: .relaxed))
    }
}
