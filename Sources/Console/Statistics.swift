// The counters behind SHOW STATS, their sums over workers and their averages over a period.
//
// Counters only grow (they wrap at 2^64); times are in microseconds. The averages are PgBouncer's: counts, bytes and
// waiting are per second, the time of a transaction or query is per transaction or query.

/// Counters of one database.
public struct StatsCounters: Equatable, Sendable {
    /// How often a server was given to a client.
    public var serverAssignments: UInt64 = 0
    /// Transactions that ended.
    public var transactions: UInt64 = 0
    /// Queries that ended.
    public var queries: UInt64 = 0
    /// Bytes received from clients.
    public var receivedBytes: UInt64 = 0
    /// Bytes sent to clients.
    public var sentBytes: UInt64 = 0
    /// Time clients spent in a transaction with a server, in microseconds.
    public var transactionMicroseconds: UInt64 = 0
    /// Time servers spent on queries, in microseconds.
    public var queryMicroseconds: UInt64 = 0
    /// Time clients spent waiting for a server, in microseconds.
    public var waitMicroseconds: UInt64 = 0
    /// Parse messages of clients.
    public var clientParses: UInt64 = 0
    /// Parse messages sent to servers.
    public var serverParses: UInt64 = 0
    /// Bind messages.
    public var binds: UInt64 = 0

    /// All zero.
    public init() {}

    /// The counters in the order of SHOW STATS.
    var inOrder: [UInt64] {
        [
            serverAssignments, transactions, queries, receivedBytes, sentBytes, transactionMicroseconds,
            queryMicroseconds, waitMicroseconds, clientParses, serverParses, binds,
        ]
    }

    /// Applies an operation to each pair of counters.
    private static func combine(
        _ left: StatsCounters, _ right: StatsCounters, _ operation: (UInt64, UInt64) -> UInt64
    ) -> StatsCounters {
        var result = StatsCounters()
        result.serverAssignments = operation(left.serverAssignments, right.serverAssignments)
        result.transactions = operation(left.transactions, right.transactions)
        result.queries = operation(left.queries, right.queries)
        result.receivedBytes = operation(left.receivedBytes, right.receivedBytes)
        result.sentBytes = operation(left.sentBytes, right.sentBytes)
        result.transactionMicroseconds = operation(left.transactionMicroseconds, right.transactionMicroseconds)
        result.queryMicroseconds = operation(left.queryMicroseconds, right.queryMicroseconds)
        result.waitMicroseconds = operation(left.waitMicroseconds, right.waitMicroseconds)
        result.clientParses = operation(left.clientParses, right.clientParses)
        result.serverParses = operation(left.serverParses, right.serverParses)
        result.binds = operation(left.binds, right.binds)
        return result
    }

    /// The sum, counter by counter.
    public static func + (left: StatsCounters, right: StatsCounters) -> StatsCounters {
        combine(left, right) { $0 &+ $1 }
    }

    /// What was counted since `older`; a counter that is below its older value counts as zero.
    public func since(_ older: StatsCounters) -> StatsCounters {
        Self.combine(self, older) { $0 >= $1 ? $0 - $1 : 0 }
    }

    /// The averages between two readings taken `elapsedMicroseconds` apart; all zero when no time has passed.
    public static func averages(
        from older: StatsCounters, to newer: StatsCounters, elapsedMicroseconds: Int64
    ) -> StatsCounters {
        guard elapsedMicroseconds > 0 else { return StatsCounters() }
        let difference = newer.since(older)
        let elapsed = UInt64(elapsedMicroseconds)
        var average = combine(difference, StatsCounters()) { value, _ in perSecond(value, elapsed) }
        average.transactionMicroseconds =
            difference.transactions > 0 ? difference.transactionMicroseconds / difference.transactions : 0
        average.queryMicroseconds =
            difference.queries > 0 ? difference.queryMicroseconds / difference.queries : 0
        return average
    }

    private static func perSecond(_ value: UInt64, _ elapsedMicroseconds: UInt64) -> UInt64 {
        let product = value.multipliedFullWidth(by: 1_000_000)
        guard product.high < elapsedMicroseconds else { return UInt64.max }
        return elapsedMicroseconds.dividingFullWidth(product).quotient
    }
}

/// The statistics of one database: totals since the start and averages over the last stats_period.
public struct StatsSnapshot: Equatable, Sendable {
    /// The database.
    public var database: String
    /// Since the start.
    public var totals: StatsCounters
    /// Over the last stats_period.
    public var averages: StatsCounters

    /// A database's statistics.
    public init(
        database: String, totals: StatsCounters = StatsCounters(), averages: StatsCounters = StatsCounters()
    ) {
        self.database = database
        self.totals = totals
        self.averages = averages
    }
}

/// Adds up the statistics of several workers by database, in the order of first sight. The times for a transaction and
/// for a query are weighted by how many there were.
public func mergeStats(_ stats: [StatsSnapshot]) -> [StatsSnapshot] {
    var indexes: [String: Int] = [:]
    var merged: [StatsSnapshot] = []
    for snapshot in stats {
        guard let index = indexes[snapshot.database] else {
            indexes[snapshot.database] = merged.count
            merged.append(snapshot)
            continue
        }
        merged[index].totals = merged[index].totals + snapshot.totals
        merged[index].averages = mergeAverages(merged[index].averages, snapshot.averages)
    }
    return merged
}

/// The sum of all databases, for SHOW TOTALS and the statistics line in the log.
public func sumStats(_ stats: [StatsSnapshot]) -> StatsSnapshot {
    mergeStats(stats.map { StatsSnapshot(database: "", totals: $0.totals, averages: $0.averages) }).first
        ?? StatsSnapshot(database: "")
}

private func mergeAverages(_ left: StatsCounters, _ right: StatsCounters) -> StatsCounters {
    var merged = left + right
    merged.transactionMicroseconds = weightedMean(
        left.transactionMicroseconds, left.transactions, right.transactionMicroseconds, right.transactions)
    merged.queryMicroseconds = weightedMean(
        left.queryMicroseconds, left.queries, right.queryMicroseconds, right.queries)
    return merged
}

/// The mean of two values by their weights; the larger value when neither has any weight (rates below one a second are
/// rounded to zero and still have a time).
private func weightedMean(_ left: UInt64, _ leftWeight: UInt64, _ right: UInt64, _ rightWeight: UInt64) -> UInt64 {
    let (weight, overflow) = leftWeight.addingReportingOverflow(rightWeight)
    guard weight > 0, !overflow else { return max(left, right) }
    let mean = (Double(left) * Double(leftWeight) + Double(right) * Double(rightWeight)) / Double(weight)
    return UInt64(exactly: mean.rounded(.down)) ?? max(left, right)
}
