// Who gets a server and when, decision by decision: one pool in one worker.

import Synchronization
import Testing

@testable import Pooling

@Suite struct PoolTests {
    // MARK: Waiting

    @Test("clients that wait are served first in, first out")
    func firstInFirstOut() {
        let bench = Bench(size: 1)
        bench.addActive()
        bench.wait(3, 1, 2)
        for client in [3, 1, 2] as [UInt32] { #expect(bench.assign(0) == .serve(client: client)) }
        #expect(bench.assign(0) == .idle)
    }

    @Test("a client that gives up leaves the order of the others", arguments: [4, 5, 6] as [UInt32])
    func givesUp(client: UInt32) {
        let bench = Bench(size: 1)
        bench.addActive()
        bench.wait(4, 5, 6)
        bench.pool.gaveUp(client: client, clients: &bench.clients)
        for other in [4, 5, 6] as [UInt32] where other != client {
            #expect(bench.assign(0) == .serve(client: other))
        }
        #expect(bench.assign(0) == .idle)
    }

    @Test("the server used last is given out first, or the one idle for longest when round robin is asked for")
    func order() {
        for (roundRobin, expected) in [(false, [2, 1, 0]), (true, [0, 1, 2])] as [(Bool, [UInt32])] {
            let bench = Bench(size: 3) { $0.roundRobin = roundRobin }
            for _ in 0..<3 { bench.addIdle() }
            #expect((0..<3 as Range<UInt32>).map { bench.request($0) } == expected.map { Optional($0) })
        }
    }

    @Test("a server that is used or tested is not given out")
    func onlyIdle() {
        let bench = Bench(size: 3)
        for _ in 0..<2 { bench.addIdle() }
        bench.pool.move(0, from: .idle, to: .used, now: bench.now, servers: &bench.servers)
        bench.pool.move(1, from: .idle, to: .tested, now: bench.now, servers: &bench.servers)
        #expect(bench.request(0) == nil)
    }

    // MARK: Growth

    @Test(
        "a pool opens no more servers than clients wait, than may connect at once, than its size and overflow",
        arguments: [
            (waiters: 0, size: 5, overflow: 0, parallel: 4, opened: 0),
            (waiters: 2, size: 5, overflow: 0, parallel: 4, opened: 2),
            (waiters: 9, size: 9, overflow: 0, parallel: 4, opened: 4),
            (waiters: 9, size: 3, overflow: 0, parallel: 4, opened: 3),
            (waiters: 9, size: 2, overflow: 1, parallel: 4, opened: 3),
            (waiters: 9, size: 0, overflow: 0, parallel: 8, opened: 8),
        ])
    func grows(waiters: Int, size: Int, overflow: Int, parallel: Int, opened: Int) {
        let bench = Bench(size: size) {
            $0.overflow = overflow
            $0.connectParallel = parallel
        }
        for client in 0..<UInt32(waiters) { bench.wait(client) }
        #expect(bench.growAll() == opened)
        #expect(bench.pool.bounds.servers.taken == opened)
        #expect(bench.pool.bounds.connecting.load(ordering: .relaxed) == opened)
    }

    @Test("when a connect is over the next one may begin, and a server under test counts as one that will be there")
    func growsOn() {
        let bench = Bench(size: 9) { $0.connectParallel = 2 }
        bench.wait(0, 1, 2)
        #expect(bench.growAll() == 2)
        #expect(bench.loggedIn(0) == .serve(client: 0))
        #expect(bench.growAll() == 1)
        #expect(bench.loggedIn(1) == .serve(client: 1))
        #expect(bench.loggedIn(2) == .serve(client: 2))
        bench.pool.move(0, from: .active, to: .tested, now: bench.now, servers: &bench.servers)
        bench.wait(3)
        #expect(bench.growAll() == 0)
    }

    @Test("the first login is made for those who wait to be welcomed, once")
    func growsForWelcome() {
        let bench = Bench(size: 5)
        for _ in 0..<3 { bench.pool.welcomeWanted(now: bench.now) }
        #expect(bench.growAll() == 1)
        #expect(bench.loggedIn(0) == .idle)
        #expect(bench.growAll() == 0)
    }

    @Test("after a failed connect none is tried before its time")
    func retries() {
        let bench = Bench(size: 5)
        bench.wait(0)
        bench.pool.connectFailed(retryAt: bench.now + 100)
        #expect(bench.grow() == .none)
        bench.now += 100
        #expect(bench.grow() == .open(fromReserve: false))
        bench.open()
        bench.pool.connectFailed(retryAt: bench.now + 1_000_000)
        bench.pool.loginSucceeded()
        bench.wait(1)
        #expect(bench.grow() == .open(fromReserve: false))
    }

    @Test("the reserve is opened when the first client has waited for the reserve's time, not before")
    func reserve() {
        let bench = Bench(size: 1) {
            $0.reserve = 1
            $0.reserveWaitMicroseconds = 500
        }
        bench.addActive()
        bench.wait(0, 1)
        #expect(bench.grow() == .none)
        let first = bench.clients.since(0)
        bench.now = first + 499
        #expect(bench.grow() == .none)
        bench.now = first + 500
        #expect(bench.grow() == .open(fromReserve: true))
        bench.open()
        #expect(bench.grow() == .none)
        #expect(bench.pool.bounds.servers.taken == 2)
    }

    @Test("a reserve without a time is never used")
    func reserveOff() {
        let bench = Bench(size: 1) {
            $0.reserve = 1
            $0.reserveWaitMicroseconds = 0
        }
        bench.addActive()
        bench.wait(0)
        bench.now += 1_000_000_000
        #expect(bench.grow() == .none)
    }

    @Test("a server beyond the size is closed once it was idle for the overflow's time, the longest idle one first")
    func overflow() {
        let bench = Bench(size: 1) {
            $0.overflow = 2
            $0.overflowIdleMicroseconds = 1_000
        }
        for _ in 0..<2 { bench.addIdle() }
        let first = bench.servers.since(0)
        #expect(bench.pool.overflowServer(now: first + 999, servers: bench.servers) == nil)
        #expect(bench.pool.overflowServer(now: first + 1_000, servers: bench.servers) == 0)
        bench.pool.closed(0, from: .idle, servers: &bench.servers)
        // One is left, which the size allows.
        #expect(bench.pool.overflowServer(now: first + 1_000_000, servers: bench.servers) == nil)
    }

    @Test("after its limits were lowered a pool says that it has too many")
    func tooMany() {
        let bench = Bench(size: 3)
        for _ in 0..<3 { bench.addIdle() }
        #expect(!bench.hasTooMany)
        bench.pool.limits.size = 1
        bench.pool.limits.reserve = 1
        #expect(bench.hasTooMany)
        bench.pool.closed(0, from: .idle, servers: &bench.servers)
        #expect(!bench.hasTooMany)
    }

    @Test(
        "min_pool_size is kept open, but never beyond the size",
        arguments: [(minimum: 0, size: 5, opened: 0), (3, 5, 3), (3, 2, 2), (3, 0, 3)])
    func minimum(minimum: Int, size: Int, opened: Int) {
        let bench = Bench(size: size) { $0.minimum = minimum }
        var count = 0
        while count < 9, case .open(fromReserve: false) = bench.pool.growToMinimum(now: bench.now) {
            bench.open()
            count += 1
        }
        #expect(count == opened)
        #expect(!bench.hasTooMany)
    }

    @Test("min_pool_size waits for PAUSE, for a failed connect and for connects under way")
    func minimumWaits() {
        let bench = Bench(size: 9) {
            $0.minimum = 9
            $0.connectParallel = 1
        }
        bench.setPaused(true)
        #expect(bench.pool.growToMinimum(now: bench.now) == .none)
        bench.setPaused(false)
        bench.pool.connectFailed(retryAt: bench.now + 1)
        #expect(bench.pool.growToMinimum(now: bench.now) == .none)
        #expect(bench.pool.growToMinimum(now: bench.now + 1) == .open(fromReserve: false))
        bench.open()
        #expect(bench.pool.growToMinimum(now: bench.now + 1) == .none)
    }

    @Test("a permit comes back from every state in which a server can be closed", arguments: ServerState.allCases)
    func permitsComeBack(state: ServerState) {
        let (database, user) = (BoundCount(limit: 1), BoundCount(limit: 1))
        let bench = Bench(Bench.bounds(database: database, user: user))
        bench.wait(0)
        #expect(bench.growAll() == 1)
        if state != .new { bench.pool.move(0, from: .new, to: state, now: bench.now, servers: &bench.servers) }
        bench.pool.connectEnded()
        #expect(bench.pool.count(state) == 1 && bench.serverCount == 1)
        bench.pool.closed(0, from: state, servers: &bench.servers)
        #expect(bench.serverCount == 0)
        #expect(bench.pool.bounds.servers.taken == 0 && database.taken == 0 && user.taken == 0)
        #expect(bench.grow() == .open(fromReserve: false))
    }

    // MARK: PAUSE

    @Test("a paused pool gives out nothing, opens nothing, and closes what becomes free")
    func paused() {
        let bench = Bench(size: 3)
        bench.addActive()
        bench.addIdle()
        bench.setPaused(true)
        bench.wait(0)
        #expect(bench.grow() == .none)
        #expect(bench.assign(0) == .closePaused)
        #expect(bench.pool.count(.active) == 1)
        bench.pool.closed(0, from: .active, servers: &bench.servers)
        bench.setPaused(false)
        #expect(bench.grow() == .open(fromReserve: false))
    }
}
