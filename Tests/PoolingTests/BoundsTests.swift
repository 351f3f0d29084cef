// The limits that all workers share: what is taken is counted once in each, and comes back in each.

import Synchronization
import Testing

@testable import Pooling

@Suite struct BoundsTests {
    private func bounds(database: Int = 0, user: Int = 0, workers: Int = 1) -> PoolBounds {
        PoolBounds(
            identity: 1, database: BoundCount(limit: database), user: BoundCount(limit: user), workers: workers)
    }

    @Test("a bound gives out what it allows and no more; 0 allows any number", arguments: [(0, 50), (1, 1), (7, 7)])
    func givesOut(limit: Int, granted: Int) {
        let bound = BoundCount(limit: limit)
        #expect((0..<50).count { _ in bound.take() } == granted)
        #expect(bound.taken == granted)
        for _ in 0..<granted { bound.giveBack() }
        #expect(bound.taken == 0)
    }

    @Test("a server outside the pool needs room in the database and the user, whatever the pool's size")
    func dedicated() {
        let full = bounds(database: 1)
        #expect(full.takeDedicatedPermit() == nil)
        #expect(full.takeDedicatedPermit() === full.database)
        #expect((full.servers.taken, full.database.taken, full.user.taken) == (0, 1, 1))
        #expect(full.takePermit(poolMax: 9) == .databaseFull)
        full.giveBackDedicatedPermit()
        #expect(full.takePermit(poolMax: 1) == .granted)
        full.giveBackPermit()

        let taken = bounds(database: 9, user: 1)
        #expect(taken.takeDedicatedPermit() == nil)
        #expect(taken.takeDedicatedPermit() === taken.user)
        taken.giveBackDedicatedPermit()
        #expect((taken.servers.taken, taken.database.taken, taken.user.taken) == (0, 0, 0))
    }

    @Test("a lowered limit takes nothing away and gives nothing out until enough has come back")
    func lowered() {
        let bound = BoundCount(limit: 3)
        for _ in 0..<3 { #expect(bound.take()) }
        bound.limit = 1
        #expect(bound.taken == 3)
        bound.giveBack()
        bound.giveBack()
        #expect(!bound.take())
        bound.giveBack()
        #expect(bound.take())
    }

    @Test(
        "a permit needs room in the pool, the database and the user, and is refused by the first that has none",
        arguments: [
            (pool: 1, database: 9, user: 9, refusal: PoolBounds.Permit.poolFull),
            (pool: 9, database: 1, user: 9, refusal: .databaseFull),
            (pool: 9, database: 9, user: 1, refusal: .userFull),
            (pool: 0, database: 0, user: 1, refusal: .userFull),
            (pool: 1, database: 1, user: 1, refusal: .poolFull),
        ])
    func refuses(pool: Int, database: Int, user: Int, refusal: PoolBounds.Permit) {
        let bounds = bounds(database: database, user: user)
        #expect(bounds.takePermit(poolMax: pool) == .granted)
        #expect(bounds.takePermit(poolMax: pool) == refusal)
        // What was refused has left nothing behind.
        #expect(bounds.servers.taken == 1 && bounds.database.taken == 1 && bounds.user.taken == 1)
        bounds.giveBackPermit()
        #expect(bounds.servers.taken == 0 && bounds.database.taken == 0 && bounds.user.taken == 0)
        #expect(bounds.takePermit(poolMax: pool) == .granted)
    }

    @Test("the pool that has waited longest for a bound is the starved one")
    func starved() {
        let bound = BoundCount(limit: 1)
        #expect(bound.starved == nil)
        bound.markStarved(pool: 4, since: 200)
        bound.markStarved(pool: 5, since: 300)
        #expect(bound.starved?.pool == 4 && bound.starved?.since == 200)
        bound.markStarved(pool: 6, since: 100)
        #expect(bound.starved?.pool == 6)
        bound.clearStarved(pool: 4)
        #expect(bound.starved?.pool == 6)
        bound.clearStarved(pool: 6)
        #expect(bound.starved == nil)
    }

    @Test(
        "the other worker whose client has waited longest is found, if it has waited longer by more than the slack",
        arguments: [
            (waits: [Int64.max, .max, .max], since: Int64.max, slack: Int64(0), found: Int?.none),
            (waits: [5, .max, .max], since: .max, slack: 0, found: nil),
            (waits: [.max, 40, 30], since: .max, slack: 10, found: 2),
            (waits: [.max, 40, 30], since: 41, slack: 0, found: 2),
            (waits: [.max, 40, 30], since: 31, slack: 1, found: nil),
            (waits: [.max, 40, 30], since: 32, slack: 1, found: 2),
            (waits: [1, 40, .max], since: 50, slack: 9, found: 1),
        ])
    func findsWorker(waits: [Int64], since: Int64, slack: Int64, found: Int?) {
        let bounds = bounds(workers: 3)
        for (share, time) in zip(bounds.shares, waits) { share.oldestWaiter.store(time, ordering: .relaxed) }
        #expect(bounds.worker(waitingBefore: since, slack: slack, except: 0) == found)
    }

    @Test("one worker alone publishes nothing")
    func alone() {
        #expect(bounds(workers: 1).shares.isEmpty)
        #expect(bounds(workers: 2).shares.count == 2)
    }
}
