// What one worker knows about one pool besides who gets a server: how to reach and log in to its servers, what
// they told about themselves, its timeouts and its counters.

import Configuration
import Console
import Pooling
import Wire

/// What clients that ask for the same settings are told at the end of their login, but for their key.
struct Welcome {
    let asked: [(name: String, value: String)]
    let settings: ParameterSetID
    /// What was asked for and is not reported.
    let extras: ParameterSetID
    /// A server is sure to accept the settings, or has accepted them.
    var isConfirmed: Bool
    let messages: [UInt8]

    func isFor(_ other: [(name: String, value: String)]) -> Bool {
        asked.count == other.count && zip(asked, other).allSatisfy { $0.name == $1.name && $0.value == $1.value }
    }
}

/// One worker's side of a pool.
struct PoolState: ~Copyable {
    /// The timeouts that a pool's clients and servers are held to, in microseconds; 0 = off.
    struct Timeouts {
        var query: Int64 = 0
        var queryWait: Int64 = 0
        var transaction: Int64 = 0
        var idleTransaction: Int64 = 0
        var clientIdle: Int64 = 0
        var serverLifetime: Int64 = 0
        var serverIdle: Int64 = 0
        var serverCheckDelay: Int64 = 0
        var serverConnect: Int64 = 0
        var loginRetry: Int64 = 0
        var queryWaitNotify: Int64 = 0
        var cancelWait: Int64 = 0
    }

    let key: PoolKey
    var pool: Pool
    let database: DatabaseState
    let user: UserState
    var options: DatabaseOptions
    var mode: PoolMode
    /// The reset query runs after each transaction too (`server_reset_query_always`).
    var resetsAlways = false
    /// On servers that are opened now, statements of clients are renamed, so that any server will do for them
    /// (`max_prepared_statements`).
    var tracksStatements = false
    /// Texts of clients are looked at for what they do to the session (not in session mode).
    var followsSession = false
    /// What happens where a session has something that cannot be taken along (`pin`).
    var pinMode = PinMode.hold
    /// How many servers may stay with their clients, 0 = no limit (`max_pinned`).
    var maxPinned = 0
    /// In session mode, servers that are to be closed do not wait for the end of the session (`server_fast_close`).
    var closesFast = false
    /// Every server is checked before each use (`server_check_delay = 0`).
    var checksEveryUse = false
    var timeouts = Timeouts()
    /// What a server of this pool reported at login, as settings that clients start from.
    var defaults = ParameterSets.empty
    /// What it reported besides, which no client can change.
    var fixedParameters: [(name: String, value: String)] = []
    /// What clients were told at login lately, for those that ask for the same settings.
    var welcomes: [Welcome] = []
    var isWelcomeKnown = false
    /// The minor version of protocol 3 that its servers were asked for and took, or answered with an older one; nil
    /// while none has answered.
    var serverMinorVersion: Int?
    var backoff = RetryBackoff()
    /// The last error of a connect or login, given to clients while no server can be had.
    var lastFailure: Refusal?
    /// Clients that wait for the first login.
    var welcoming: [UInt32] = []
    /// Its servers outside the pool.
    var dedicated: [UInt32] = []
    /// Replication clients that cannot have their server yet.
    var replicationWaiting: [UInt32] = []
    var clientCount = 0
    var nextHost = 0
    /// The database's epoch when this worker last marked its servers.
    var epoch: Int
    var totals = StatsCounters()
    var totalsBefore = StatsCounters()
    var averages = StatsCounters()
    /// When a server of it was last closed for its age, so that they are not all closed at once.
    var lifetimeClosedAt: Int64 = 0
    /// When its last client left or last server was used, to forget pools that nobody uses.
    var usedAt: Int64

    init(
        key: PoolKey, bounds: PoolBounds, worker: Int, database: DatabaseState, user: UserState,
        options: DatabaseOptions, configuration: Configuration, now: Int64
    ) {
        self.key = key
        pool = Pool(bounds: bounds, worker: worker, limits: PoolLimits())
        self.database = database
        self.user = user
        self.options = options
        mode = .session
        epoch = database.epoch
        usedAt = now
        configure(options, configuration)
    }

    /// Takes sizes, mode and timeouts from a configuration.
    mutating func configure(_ options: DatabaseOptions, _ configuration: Configuration) {
        let settings = configuration.settings
        self.options = options
        mode = configuration.poolMode(database: options, user: key.user)
        tracksStatements = mode != .session && settings.maxPreparedStatements > 0
        followsSession = mode != .session
        pinMode = options.pin ?? settings.pin
        maxPinned = settings.maxPinned
        closesFast = settings.serverFastClose
        resetsAlways = settings.serverResetQueryAlways
        pool.limits.size = configuration.poolSize(database: options, user: key.user)
        pool.limits.minimum = configuration.minPoolSize(database: options)
        pool.limits.overflow = configuration.maxOverflow(database: options)
        pool.limits.overflowIdleMicroseconds = settings.overflowIdleTimeoutMicroseconds
        pool.limits.reserve = configuration.reservePoolSize(database: options, user: key.user)
        pool.limits.reserveWaitMicroseconds = settings.reservePoolTimeoutMicroseconds
        pool.limits.connectParallel = settings.serverConnectParallel
        pool.limits.roundRobin = settings.serverRoundRobin
        timeouts.query = configuration.queryTimeoutMicroseconds(user: key.user)
        timeouts.queryWait = configuration.queryWaitTimeoutMicroseconds(database: options, user: key.user)
        timeouts.transaction = configuration.transactionTimeoutMicroseconds(user: key.user)
        timeouts.idleTransaction = configuration.idleTransactionTimeoutMicroseconds(user: key.user)
        timeouts.clientIdle = configuration.clientIdleTimeoutMicroseconds(user: key.user)
        timeouts.serverLifetime = configuration.serverLifetimeMicroseconds(database: options)
        timeouts.serverIdle = settings.serverIdleTimeoutMicroseconds
        timeouts.serverCheckDelay = settings.serverCheckDelayMicroseconds
        checksEveryUse = timeouts.serverCheckDelay == 0 && !settings.serverCheckQuery.isEmpty
        timeouts.serverConnect = settings.serverConnectTimeoutMicroseconds
        timeouts.loginRetry = settings.serverLoginRetryMicroseconds
        timeouts.queryWaitNotify = settings.queryWaitNotifyMicroseconds
        timeouts.cancelWait = settings.cancelWaitTimeoutMicroseconds
    }

    /// Whether clients are told just this of what no client can change.
    func isTold(_ parameters: [(name: String, value: String)]) -> Bool {
        fixedParameters.count == parameters.count
            && zip(fixedParameters, parameters).allSatisfy { $0.name == $1.name && $0.value == $1.value }
    }

    /// Whether idle servers must pass the check query before use.
    func checksIdleServers(_ settings: Settings) -> Bool {
        !settings.serverCheckQuery.isEmpty && timeouts.serverCheckDelay > 0
    }
}
