// The words in which a pool is asked and answers: where a server stands, what the limits are, and what a decision says.

/// Where a server connection stands. The names are those of the console's `SHOW SERVERS` and `SHOW POOLS`.
public enum ServerState: UInt8, CaseIterable, Sendable {
    /// Connecting or logging in.
    case new
    /// Free.
    case idle
    /// Free, but idle for so long that it is checked before use (`server_check_delay`).
    case used
    /// Being reset or checked.
    case tested
    /// Linked to a client.
    case active
    /// No longer linked, but a cancel request for its last query is still under way.
    case beingCanceled
    /// On its way to another worker.
    case leaving
}

/// The sizes and times of a pool. All times are microseconds, 0 = off.
public struct PoolLimits: Equatable, Sendable {
    /// Servers that may be open (`pool_size`); 0 = no bound.
    public var size = 20
    /// Servers that are kept open (`min_pool_size`).
    public var minimum = 0
    /// Servers that may be opened at once beyond the size (`max_overflow`).
    public var overflow = 0
    /// How long an overflow server may be idle (`overflow_idle_timeout`).
    public var overflowIdleMicroseconds: Int64 = 10_000_000
    /// Servers that may be opened when a client has waited long (`reserve_pool_size`).
    public var reserve = 0
    /// How long the first client waits before the reserve is used (`reserve_pool_timeout`).
    public var reserveWaitMicroseconds: Int64 = 5_000_000
    /// Connects under way at once (`server_connect_parallel`).
    public var connectParallel = 4
    /// Take the longest idle server first (`server_round_robin`).
    public var roundRobin = false
    /// By how much another worker's client must have waited longer than one of our own to be served first.
    public var handOverSlackMicroseconds: Int64 = 2_000

    /// PgBouncer's defaults.
    public init() {}
}

/// What happens to a server that has become free.
public enum Assignment: Equatable, Sendable {
    /// The client at the head of the line gets it.
    case serve(client: UInt32)
    /// It moves to a worker whose client has waited longer.
    case handOver(worker: Int)
    /// It stands idle now.
    case idle
    /// It is closed: the pool is paused.
    case closePaused
    /// It is closed to let a pool grow that shares a bound and whose client has waited longer.
    case closeEvicted
}

/// Whether a server is to be opened.
public enum Growth: Equatable {
    /// Nobody needs one, or enough are being opened, or it is too early after a failure, or the pool is full.
    case none
    /// Open one: the permit is taken.
    case open(fromReserve: Bool)
    /// `max_db_connections` or `max_user_connections` is reached: a server of another pool may be closed for it.
    case evict(BoundCount)

    public static func == (left: Growth, right: Growth) -> Bool {
        switch (left, right) {
        case (.none, .none): true
        case (.open(let one), .open(let other)): one == other
        case (.evict(let one), .evict(let other)): one === other
        default: false
        }
    }
}
