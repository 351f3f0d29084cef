// What one seed means: how many workers, pools and clients there are, which limits hold and what goes wrong.

import Pooling

/// The fixed side of a run. Times are microseconds; 0 = off.
struct Scenario {
    let seed: UInt64
    var workers = 1
    var databases = 1
    var users = 1
    var clients = 8
    /// One for each pool; pool = database × users + user.
    var limits: [PoolLimits] = []
    /// `max_db_connections`; 0 = no bound.
    var databaseMax: [Int] = []
    /// `max_user_connections`; 0 = no bound.
    var userMax: [Int] = []
    var queryWait: Int64 = 0
    var serverConnect: Int64 = 150_000
    var serverCheckDelay: Int64 = 0
    var serverIdle: Int64 = 0
    /// Below 0 = off, 0 = every server serves once.
    var serverLifetime: Int64 = -1
    var resetsAlways = false
    var cancelsOnDisconnect = true
    /// Servers need their settings put in place before so many of a thousand clients.
    var settingsPerMille = 0
    /// The longest pause between two transactions of a client.
    var thinkMax: Int64 = 40_000
    /// What goes wrong before `calmAt`, in microseconds between two faults; 0 = nothing.
    var faultEvery: Int64 = 0
    var connectFailsPerMille = 0
    /// Faults end, all pools are resumed.
    let calmAt: Int64 = 2_000_000
    /// Clients begin no further transaction.
    let endAt: Int64 = 3_200_000

    var pools: Int { databases * users }

    /// Whether a pool can be held back by another one.
    var hasSharedBounds: Bool { databaseMax.contains { $0 > 0 } || userMax.contains { $0 > 0 } }

    init(seed: UInt64) {
        self.seed = seed
        var chance = SeededGenerator(seed: seed)
        workers = chance.pick([1, 1, 2, 2, 3, 4])
        databases = chance.pick([1, 1, 2])
        users = chance.pick([1, 2, 2, 3])
        clients = pools + chance.below(chance.pick([4, 8, 16]))
        for _ in 0..<pools { limits.append(Self.limits(&chance)) }
        let isShared = chance.happens(perMille: 550)
        databaseMax = (0..<databases).map { _ in isShared ? chance.pick([0, 1, 2, 3, 4]) : 0 }
        userMax = (0..<users).map { _ in isShared ? chance.pick([0, 0, 1, 2, 3]) : 0 }
        queryWait = chance.pick([0, 0, 200_000, 600_000])
        serverCheckDelay = chance.pick([0, 0, 60_000])
        serverIdle = chance.pick([0, 0, 250_000])
        serverLifetime = chance.pick([-1, -1, -1, 300_000, 0])
        resetsAlways = chance.happens(perMille: 200)
        cancelsOnDisconnect = chance.happens(perMille: 700)
        settingsPerMille = chance.pick([0, 0, 300])
        thinkMax = chance.pick([5_000, 40_000, 200_000])
        faultEvery = chance.pick([0, 40_000, 40_000, 15_000])
        if faultEvery > 0 { connectFailsPerMille = chance.pick([0, 0, 100, 400]) }
    }

    static func limits(_ chance: inout SeededGenerator) -> PoolLimits {
        var limits = PoolLimits()
        limits.size = chance.pick([0, 1, 1, 2, 2, 3, 5])
        limits.minimum = chance.pick([0, 0, 0, 1, 3])
        limits.overflow = chance.pick([0, 0, 1, 2])
        limits.overflowIdleMicroseconds = chance.pick([20_000, 300_000])
        limits.reserve = chance.pick([0, 0, 1, 2])
        limits.reserveWaitMicroseconds = chance.pick([20_000, 120_000])
        limits.connectParallel = chance.pick([1, 2, 4])
        limits.roundRobin = chance.happens(perMille: 300)
        limits.handOverSlackMicroseconds = chance.pick([0, 2_000, 10_000])
        return limits
    }
}
