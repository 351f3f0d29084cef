// The limits that all workers share. A permit is taken to open a server connection and given back when it is
// closed; handing a server that exists to a client touches nothing here.
//
// Where several workers run, each also publishes for each pool since when its oldest client waits and how many
// servers it holds idle, so that whoever releases a server sees with one load per worker who is next. With one
// worker these shares do not exist.

import Synchronization

/// A count that may not pass a limit: the servers of a pool, a database or a user.
public final class BoundCount: Sendable {
    private let takenCount = Atomic<Int>(0)
    private let limitValue: Atomic<Int>
    private let starvedSinceValue = Atomic<Int64>(.max)
    private let starvedPoolValue = Atomic<Int>(-1)

    /// A bound of `limit`; 0 means no bound.
    public init(limit: Int) {
        limitValue = Atomic(limit)
    }

    /// How many are taken.
    public var taken: Int { takenCount.load(ordering: .relaxed) }

    /// The bound; 0 means none. Changed by a reload.
    public var limit: Int {
        get { limitValue.load(ordering: .relaxed) }
        set { limitValue.store(newValue, ordering: .relaxed) }
    }

    /// Takes one if the count stays within `limit` (0: no bound).
    public func take(within limit: Int) -> Bool {
        var current = takenCount.load(ordering: .relaxed)
        while limit == 0 || current < limit {
            let (done, found) = takenCount.weakCompareExchange(
                expected: current, desired: current + 1, ordering: .relaxed)
            if done { return true }
            current = found
        }
        return false
    }

    /// Takes one if the count stays within the bound.
    public func take() -> Bool { take(within: limit) }

    /// Gives one back.
    public func giveBack() {
        let left = takenCount.subtract(1, ordering: .relaxed).newValue
        precondition(left >= 0, "a permit was given back twice")
    }

    // MARK: Pools that wait for each other

    /// The pool whose client has waited longest for this bound, and since when; nil when none waits.
    public var starved: (pool: Int, since: Int64)? {
        let since = starvedSinceValue.load(ordering: .relaxed)
        return since == .max ? nil : (starvedPoolValue.load(ordering: .relaxed), since)
    }

    /// Whether a pool other than `pool` waits for this bound since before `latest`.
    @inline(__always)
    func isStarved(before latest: Int64, except pool: Int) -> Bool {
        starvedSinceValue.load(ordering: .relaxed) < latest && starvedPoolValue.load(ordering: .relaxed) != pool
    }

    /// A pool cannot grow because of this bound; its oldest client waits since `since`.
    public func markStarved(pool: Int, since: Int64) {
        guard since < starvedSinceValue.load(ordering: .relaxed) || starvedPoolValue.load(ordering: .relaxed) == pool
        else { return }
        starvedPoolValue.store(pool, ordering: .relaxed)
        starvedSinceValue.store(since, ordering: .relaxed)
    }

    /// The pool has got what it waited for, or nobody waits in it any more.
    public func clearStarved(pool: Int) {
        guard starvedPoolValue.load(ordering: .relaxed) == pool else { return }
        starvedSinceValue.store(.max, ordering: .relaxed)
        starvedPoolValue.store(-1, ordering: .relaxed)
    }
}

/// What one worker lets the others know about its part of a pool.
public final class WorkerShare: Sendable {
    /// Since when the worker's oldest client waits for a server; `Int64.max` when none does.
    public let oldestWaiter = Atomic<Int64>(.max)
    /// How many servers of the pool the worker holds idle, those that need a check included.
    public let idle = Atomic<Int>(0)

    init() {}
}

/// The shared side of one pool: its permits and what the workers publish about it.
public final class PoolBounds: Sendable {
    /// Names the pool among all pools of the process.
    public let identity: Int
    /// Servers of this pool over all workers, those being opened included.
    public let servers = BoundCount(limit: 0)
    /// Connects and logins that are under way over all workers.
    public let connecting = Atomic<Int>(0)
    /// How many of its servers stay with their clients, or may when their transactions are over, over all workers.
    public let pinned = BoundCount(limit: 0)
    /// How many workers have a part of the pool.
    public let workersUsing = Atomic<Int>(0)
    /// The bound of the database (`max_db_connections`).
    public let database: BoundCount
    /// The bound of the user (`max_user_connections`).
    public let user: BoundCount
    /// One for each worker; empty when there is only one worker.
    public let shares: [WorkerShare]

    /// - Parameter workers: how many workers share the pool.
    public init(identity: Int, database: BoundCount, user: BoundCount, workers: Int) {
        self.identity = identity
        self.database = database
        self.user = user
        shares = workers > 1 ? (0..<workers).map { _ in WorkerShare() } : []
    }

    /// What a request for a permit brought.
    public enum Permit: Equatable, Sendable {
        /// The server may be opened.
        case granted
        /// The pool itself is at its size.
        case poolFull
        /// `max_db_connections` is reached.
        case databaseFull
        /// `max_user_connections` is reached.
        case userFull
    }

    /// Takes a permit to open one server, if pool, database and user all allow it.
    public func takePermit(poolMax: Int) -> Permit {
        guard servers.take(within: poolMax) else { return .poolFull }
        guard database.take() else {
            servers.giveBack()
            return .databaseFull
        }
        guard user.take() else {
            database.giveBack()
            servers.giveBack()
            return .userFull
        }
        return .granted
    }

    /// Gives back the permit of a server that was closed or could not be opened.
    public func giveBackPermit() {
        user.giveBack()
        database.giveBack()
        servers.giveBack()
    }

    /// Takes a permit for a server that is none of the pool's: the pool's size does not matter, but database and user
    /// must allow it. Returns the bound that is full, or nil when the permit was taken.
    public func takeDedicatedPermit() -> BoundCount? {
        guard database.take() else { return database }
        guard user.take() else {
            database.giveBack()
            return user
        }
        return nil
    }

    /// Gives back what `takeDedicatedPermit` took.
    public func giveBackDedicatedPermit() {
        user.giveBack()
        database.giveBack()
    }

    /// Whether another pool waits for a bound that this one shares, and has done so for longer than by `slack`: since
    /// before `own`, when the oldest client here began to wait; `Int64.max` if none does.
    ///
    /// Asked for every transaction: from here the two bounds are reached without counting references.
    func isOtherStarving(before own: Int64, slack: Int64) -> Bool {
        let latest = own == .max ? Int64.max : own - slack
        return database.isStarved(before: latest, except: identity) || user.isStarved(before: latest, except: identity)
    }

    /// The worker whose client has waited longest, if it waits longer than `since` by more than `slack`.
    public func worker(waitingBefore since: Int64, slack: Int64, except own: Int) -> Int? {
        var found: Int?
        var oldest = since == .max ? Int64.max : since - slack
        for (index, share) in shares.enumerated() where index != own {
            let waits = share.oldestWaiter.load(ordering: .sequentiallyConsistent)
            if waits < oldest {
                oldest = waits
                found = index
            }
        }
        return found
    }
}
