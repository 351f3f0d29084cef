// Who gets a server and when, decision by decision: pools that share a bound, and workers that share a pool.

import Synchronization
import Testing

@testable import Pooling

@Suite struct SharedPoolTests {
    /// Two pools that share a bound of the given size; the other pool has a server for each permit.
    private func rivals(limit: Int) -> (mine: Bench, other: Bench, bound: BoundCount) {
        let bound = BoundCount(limit: limit)
        let mine = Bench(Bench.bounds(1, database: bound))
        let other = Bench(Bench.bounds(2, database: bound))
        for _ in 0..<limit { other.addActive() }
        return (mine, other, bound)
    }

    @Test("at max_db_connections and at max_user_connections a server of another pool may be closed")
    func evicts() {
        for isUser in [false, true] {
            let bound = BoundCount(limit: 1)
            let other = BoundCount(limit: 0)
            let bench = Bench(Bench.bounds(database: isUser ? other : bound, user: isUser ? bound : other))
            #expect(bound.take())
            bench.wait(0)
            #expect(bench.grow() == .evict(bound))
            #expect(bound.starved?.pool == 0 && other.starved == nil)
            bound.giveBack()
            #expect(bench.grow() == .open(fromReserve: false))
            #expect(bound.starved == nil)
        }
    }

    @Test("a free server is closed for a pool that starves, unless its own client has waited about as long")
    func closesForStarved() {
        for (lead, expected) in [
            (Pool.starvationSlackMicroseconds + 10, Assignment.closeEvicted), (10, .serve(client: 0)),
        ] {
            let (mine, other, bound) = rivals(limit: 1)
            mine.wait(0)
            #expect(mine.grow() == .evict(bound))
            other.now = mine.now + lead
            other.wait(0)
            #expect(other.assign(0) == expected)
        }
    }

    @Test("a server that nobody needs is closed for a pool that starves; one that has served nobody yet is not")
    func closesUnneeded() {
        let (mine, other, bound) = rivals(limit: 1)
        mine.wait(0)
        #expect(mine.grow() == .evict(bound))
        #expect(other.assign(0, mayEvict: false) == .idle)
        #expect(other.assign(0, from: .idle) == .closeEvicted)
    }

    @Test("a permit that came back is for the pool whose client has waited longest")
    func yields() {
        let (mine, other, bound) = rivals(limit: 1)
        mine.wait(0)
        #expect(mine.grow() == .evict(bound))
        other.now = mine.now + 1_000
        other.wait(0)
        other.pool.closed(0, from: .active, servers: &other.servers)
        #expect(other.grow() == .none)
        #expect(mine.grow() == .open(fromReserve: false))
    }

    @Test("min_pool_size takes no permit for which a client waits")
    func minimumYields() {
        let (mine, other, bound) = rivals(limit: 1)
        mine.wait(0)
        #expect(mine.grow() == .evict(bound))
        other.pool.closed(0, from: .active, servers: &other.servers)
        other.pool.limits.minimum = 1
        #expect(other.pool.growToMinimum(now: other.now) == .none)
        #expect(mine.grow() == .open(fromReserve: false))
    }

    @Test(
        "a pool that cannot use a permit now does not keep it from others",
        arguments: ["it is paused", "its connect failed", "its client gave up", "its size is reached"])
    func doesNotBlock(why: String) {
        let (mine, other, bound) = rivals(limit: 2)
        mine.wait(0)
        #expect(mine.grow() == .evict(bound))
        #expect(bound.starved?.pool == 1)
        switch why {
        case "it is paused": mine.setPaused(true)
        case "its connect failed": mine.pool.connectFailed(retryAt: mine.now + 1_000_000)
        case "its client gave up": mine.pool.gaveUp(client: 0, clients: &mine.clients)
        default:
            other.pool.closed(0, from: .active, servers: &other.servers)
            mine.pool.limits.size = 1
            #expect(mine.pool.bounds.takePermit(poolMax: 1) == .granted)
            #expect(mine.grow() == .none)
        }
        #expect(bound.starved == nil)
        #expect(other.assign(1) == .idle)
    }

    @Test("a pool waits for one bound at a time while it has servers, or has not waited long")
    func oneBound() {
        let (database, user) = (BoundCount(limit: 1), BoundCount(limit: 2))
        let bench = Bench(Bench.bounds(1, database: database, user: user))
        #expect(database.take())
        bench.wait(0)
        #expect(bench.grow() == .evict(database))
        #expect(database.starved?.pool == 1 && user.starved == nil)
        // Now the other bound is the full one.
        database.giveBack()
        #expect(user.take() && user.take())
        #expect(bench.grow() == .evict(user))
        #expect(user.starved?.pool == 1 && database.starved == nil)
    }

    @Test("a pool without servers that has waited long keeps the permits of both bounds from younger ones")
    func bothBounds() {
        let (database, user) = (BoundCount(limit: 1), BoundCount(limit: 1))
        let bench = Bench(Bench.bounds(1, database: database, user: user))
        let other = Bench(Bench.bounds(2, database: database))
        #expect(user.take())
        bench.wait(0)
        other.now = bench.now + 1_000
        bench.now += Pool.reservationWaitMicroseconds
        #expect(bench.grow() == .evict(user))
        other.wait(0)
        #expect(other.grow() == .none)
        user.giveBack()
        #expect(bench.grow() == .open(fromReserve: false))
        #expect(database.starved == nil && user.starved == nil)
    }

    // MARK: Workers

    @Test(
        "a free server goes to another worker when a client there has waited longer by more than the slack",
        arguments: [
            (own: Int64?.none, other: Int64?.none, expected: Assignment.idle),
            (own: nil, other: 5_000, expected: .handOver(worker: 1)),
            (own: 5_000, other: nil, expected: .serve(client: 0)),
            (own: 5_000, other: 4_000, expected: .serve(client: 0)),
            (own: 5_000, other: 3_000, expected: .serve(client: 0)),
            (own: 5_000, other: 2_999, expected: .handOver(worker: 1)),
            (own: 5_000, other: 9_000, expected: .serve(client: 0)),
        ])
    func handsOver(own: Int64?, other: Int64?, expected: Assignment) {
        let bounds = Bench.bounds(workers: 2)
        let (here, there) = (Bench(bounds, worker: 0), Bench(bounds, worker: 1))
        for bench in [here, there] { bench.pool.limits.handOverSlackMicroseconds = 2_000 }
        here.addActive()
        for (bench, since) in [(here, own), (there, other)] {
            guard let since else { continue }
            bench.now = since - 1
            bench.wait(0)
        }
        here.now = 20_000
        #expect(here.assign(0) == expected)
        let state: ServerState =
            switch expected {
            case .handOver: .leaving
            case .idle: .idle
            case .serve, .closePaused, .closeEvicted: .active
            }
        #expect(here.pool.count(state) == 1 && here.serverCount == 1)
    }

    @Test("a server that moves keeps its permit, and the line there gets it")
    func moves() {
        let bounds = Bench.bounds(workers: 2)
        let (here, there) = (Bench(bounds, worker: 0), Bench(bounds, worker: 1))
        here.addActive()
        there.wait(7)
        #expect(here.assign(0) == .handOver(worker: 1))
        here.pool.departed(0, from: .leaving, servers: &here.servers)
        #expect(bounds.servers.taken == 1 && here.serverCount == 0)
        there.pool.arrived(3, now: there.now, servers: &there.servers)
        #expect(there.assign(3, from: .leaving) == .serve(client: 7))
        #expect(bounds.servers.taken == 1 && there.pool.count(.active) == 1)
    }

    @Test("each worker publishes since when its oldest client waits, and how many servers it could lend")
    func publishes() {
        let bench = Bench(Bench.bounds(workers: 2), worker: 1)
        #expect(bench.published == (.max, 0))
        bench.addIdle()
        bench.addIdle()
        #expect(bench.published == (.max, 2))
        bench.pool.move(0, from: .idle, to: .used, now: bench.now, servers: &bench.servers)
        #expect(bench.published == (.max, 2))
        #expect(bench.request(9) == 1)
        #expect(bench.published == (.max, 1))
        bench.pool.closed(0, from: .used, servers: &bench.servers)
        bench.wait(0, 1)
        #expect(bench.published == (bench.clients.since(0), 0))
        bench.setPaused(true)
        #expect(bench.published == (.max, 0))
        bench.setPaused(false)
        bench.pool.gaveUp(client: 0, clients: &bench.clients)
        #expect(bench.published == (bench.clients.since(1), 0))
        #expect(bench.assign(1) == .serve(client: 1))
        #expect(bench.published == (.max, 0))
    }

    @Test("the worker that holds most idle servers is asked, never oneself")
    func asks() {
        let bench = Bench(Bench.bounds(workers: 3), worker: 0)
        #expect(bench.workerWithIdleServer == nil)
        for (share, idle) in zip(bench.pool.bounds.shares, [9, 1, 2]) { share.idle.store(idle, ordering: .relaxed) }
        #expect(bench.workerWithIdleServer == 2)
        #expect(bench.workerThatWaits == nil)
        bench.pool.bounds.shares[1].oldestWaiter.store(77, ordering: .relaxed)
        #expect(bench.workerThatWaits == 1)
    }
}
