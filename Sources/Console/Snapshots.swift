// What the workers report about themselves for SHOW: plain values, collected elsewhere, merged and rendered here.
//
// Each worker answers with its own snapshots; pools and statistics of the same name from several workers are added up
// by the merge functions, connections are just listed one after the other.

/// One pool of one worker, or of all after `mergePools`.
public struct PoolSnapshot: Equatable, Sendable {
    /// The database as clients name it.
    public var database: String
    /// The user the servers log in as.
    public var user: String
    /// Clients that have a server or wait for nothing.
    public var activeClients: UInt64 = 0
    /// Clients waiting for a server.
    public var waitingClients: UInt64 = 0
    /// Cancel requests already forwarded, waiting for the server's answer.
    public var activeCancelClients: UInt64 = 0
    /// Cancel requests not yet forwarded.
    public var waitingCancelClients: UInt64 = 0
    /// Servers attached to a client.
    public var activeServers: UInt64 = 0
    /// Servers forwarding a cancel request.
    public var activeCancelServers: UInt64 = 0
    /// Servers that would be idle but whose query is being cancelled.
    public var beingCanceledServers: UInt64 = 0
    /// Servers ready for a client.
    public var idleServers: UInt64 = 0
    /// Servers that need server_check_query before they are used again.
    public var usedServers: UInt64 = 0
    /// Servers running server_reset_query or server_check_query.
    public var testedServers: UInt64 = 0
    /// Servers logging in.
    public var loginServers: UInt64 = 0
    /// How long the first waiting client has waited, in microseconds.
    public var maxWaitMicroseconds: UInt64 = 0
    /// `session`, `transaction` or `statement`.
    public var poolMode: String
    /// The database's load_balance_hosts, nil when it has one host only.
    public var loadBalanceHosts: String?

    /// An empty pool.
    public init(database: String, user: String, poolMode: String, loadBalanceHosts: String? = nil) {
        self.database = database
        self.user = user
        self.poolMode = poolMode
        self.loadBalanceHosts = loadBalanceHosts
    }
}

/// One client or server connection: SHOW CLIENTS and SHOW SERVERS have the same columns.
public struct ConnectionSnapshot: Equatable, Sendable {
    /// Which side of the pooler.
    public enum Kind: String, Sendable {
        /// A client.
        case client = "C"
        /// A server.
        case server = "S"
    }

    /// Client or server.
    public var kind: Kind
    /// The user logged in.
    public var user: String
    /// The database.
    public var database: String
    /// `none`, `logical` or `physical`.
    public var replication = "none"
    /// A client's `active`, `idle`, `waiting`, …; a server's `active`, `idle`, `used`, `tested`, `new`, ….
    public var state: String
    /// The peer's address, `unix` for Unix sockets.
    public var address = ""
    /// The peer's port.
    public var port: UInt64 = 0
    /// Our address on this connection.
    public var localAddress = ""
    /// Our port on this connection.
    public var localPort: UInt64 = 0
    /// When the connection was made, Unix time in microseconds.
    public var connectTimeMicroseconds: Int64 = 0
    /// When the last request began, Unix time in microseconds; 0 when there was none.
    public var requestTimeMicroseconds: Int64 = 0
    /// How long the client has been waiting for a server, in microseconds.
    public var waitMicroseconds: UInt64 = 0
    /// Whether the connection closes as soon as it can.
    public var isCloseNeeded = false
    /// What KILL_CLIENT takes; also shown in hexadecimal as `ptr`. Below 2^31, so that `int4` can carry it.
    public var id: UInt64
    /// The id of the connection it is attached to.
    public var linkID: UInt64?
    /// The process id of the server's backend, or of a client on a Unix socket; 0 when unknown.
    public var remoteProcessID: Int32 = 0
    /// The TLS version and cipher, empty without TLS.
    public var tls = ""
    /// The application_name.
    public var applicationName = ""
    /// Prepared statements the connection has.
    public var preparedStatements: UInt64 = 0

    /// A connection with what is always known.
    public init(kind: Kind, id: UInt64, user: String, database: String, state: String) {
        self.kind = kind
        self.id = id
        self.user = user
        self.database = database
        self.state = state
    }
}

/// A client as SHOW CLIENTS lists it.
public typealias ClientSnapshot = ConnectionSnapshot
/// A server as SHOW SERVERS lists it.
public typealias ServerSnapshot = ConnectionSnapshot

/// A server that stays with its client between transactions.
public struct PinSnapshot: Equatable, Sendable {
    /// The database as the client names it.
    public var database: String
    /// The user that the server is logged in as.
    public var user: String
    /// The ids of the client and the server, as SHOW CLIENTS and SHOW SERVERS have them.
    public var clientID: UInt64
    public var serverID: UInt64
    /// What holds it, with commas.
    public var reason: String
    /// Since when, Unix time in microseconds, and for how long.
    public var sinceMicroseconds: Int64
    public var heldMicroseconds: UInt64
    /// The start of the text that brought it about, without its constants.
    public var statement: String

    /// A held server.
    public init(
        database: String, user: String, clientID: UInt64, serverID: UInt64, reason: String, sinceMicroseconds: Int64,
        heldMicroseconds: UInt64, statement: String
    ) {
        self.database = database
        self.user = user
        self.clientID = clientID
        self.serverID = serverID
        self.reason = reason
        self.sinceMicroseconds = sinceMicroseconds
        self.heldMicroseconds = heldMicroseconds
        self.statement = statement
    }
}

/// A connection with its buffers, for SHOW SOCKETS and SHOW ACTIVE_SOCKETS. The states are `cl_active`, `sv_idle`, ….
public struct SocketSnapshot: Equatable, Sendable {
    /// The connection; its state has the prefix `cl_` or `sv_`.
    public var connection: ConnectionSnapshot
    /// Bytes received and not yet passed on.
    public var receivedBytes: UInt64 = 0
    /// Bytes of the current message that are still to come.
    public var messageRemainingBytes: UInt64 = 0
    /// Bytes queued and not yet sent.
    public var unsentBytes: UInt64 = 0

    /// A socket with empty buffers.
    public init(connection: ConnectionSnapshot) { self.connection = connection }
}

/// One configured or automatic database.
public struct DatabaseSnapshot: Equatable, Sendable {
    /// The name clients use.
    public var name: String
    /// The host list, nil for the Unix socket of the default folder.
    public var host: String?
    /// The server's port.
    public var port: UInt64
    /// The database's name on the server.
    public var database: String
    /// The user all servers log in as, nil when it is the client's.
    public var forceUser: String?
    /// pool_size in effect.
    public var poolSize: UInt64 = 0
    /// min_pool_size in effect.
    public var minPoolSize: UInt64 = 0
    /// reserve_pool_size in effect.
    public var reservePoolSize: UInt64 = 0
    /// server_lifetime in effect, in whole seconds.
    public var serverLifetimeSeconds: UInt64 = 0
    /// The pool mode in effect, nil when it is the default.
    public var poolMode: String?
    /// load_balance_hosts, nil with one host only.
    public var loadBalanceHosts: String?
    /// max_db_connections.
    public var maxConnections: UInt64 = 0
    /// Server connections now.
    public var currentConnections: UInt64 = 0
    /// max_db_client_connections.
    public var maxClientConnections: UInt64 = 0
    /// Client connections now.
    public var currentClientConnections: UInt64 = 0
    /// Whether PAUSE or KILL holds it.
    public var isPaused = false
    /// Whether DISABLE holds it.
    public var isDisabled = false

    /// A database with what is always known.
    public init(name: String, host: String?, port: UInt64, database: String) {
        self.name = name
        self.host = host
        self.port = port
        self.database = database
    }
}

/// One user.
public struct UserSnapshot: Equatable, Sendable {
    /// The user's name.
    public var name: String
    /// The user's own pool_size.
    public var poolSize: UInt64?
    /// The user's own reserve_pool_size.
    public var reservePoolSize: UInt64?
    /// The user's own pool mode.
    public var poolMode: String?
    /// max_user_connections.
    public var maxUserConnections: UInt64 = 0
    /// Server connections now.
    public var currentConnections: UInt64 = 0
    /// max_user_client_connections.
    public var maxUserClientConnections: UInt64 = 0
    /// Client connections now.
    public var currentClientConnections: UInt64 = 0

    /// A user with no limits of his own.
    public init(name: String) { self.name = name }
}

/// The counts of SHOW LISTS.
public struct ListsSnapshot: Equatable, Sendable {
    /// Databases known.
    public var databases: UInt64 = 0
    /// Users known.
    public var users: UInt64 = 0
    /// Peers known.
    public var peers: UInt64 = 0
    /// Pools known.
    public var pools: UInt64 = 0
    /// Pools of peers.
    public var peerPools: UInt64 = 0
    /// Client slots that are free.
    public var freeClients: UInt64 = 0
    /// Clients logged in.
    public var usedClients: UInt64 = 0
    /// Clients logging in.
    public var loginClients: UInt64 = 0
    /// Server slots that are free.
    public var freeServers: UInt64 = 0
    /// Servers in use.
    public var usedServers: UInt64 = 0
    /// Names in the cache of the resolver.
    public var dnsNames: UInt64 = 0
    /// DNS zones in the cache.
    public var dnsZones: UInt64 = 0
    /// Look-ups running now.
    public var dnsQueries: UInt64 = 0
    /// Look-ups waiting for their turn.
    public var dnsPending: UInt64 = 0

    /// All counts zero.
    public init() {}
}

/// The answer of SHOW STATE.
public struct StateSnapshot: Equatable, Sendable {
    /// Whether PAUSE of everything is in effect.
    public var isPaused = false
    /// Whether SUSPEND is in effect.
    public var isSuspended = false

    /// Active.
    public init() {}
}

/// One line of SHOW CONFIG.
public struct SettingSnapshot: Equatable, Sendable {
    /// The setting's name.
    public var key: String
    /// Its value now.
    public var value: String
    /// Its default.
    public var defaultValue: String
    /// Whether SET and RELOAD can change it.
    public var isChangeable: Bool

    /// A setting as configured.
    public init(key: String, value: String, defaultValue: String, isChangeable: Bool) {
        self.key = key
        self.value = value
        self.defaultValue = defaultValue
        self.isChangeable = isChangeable
    }
}

/// One line of SHOW MEM: a slab of equal objects.
public struct MemorySnapshot: Equatable, Sendable {
    /// The slab's name.
    public var name: String
    /// Bytes of one object.
    public var sizeBytes: UInt64
    /// Objects in use.
    public var used: UInt64
    /// Objects that are free.
    public var free: UInt64
    /// Bytes the slab takes.
    public var totalBytes: UInt64

    /// A slab's counts.
    public init(name: String, sizeBytes: UInt64, used: UInt64, free: UInt64, totalBytes: UInt64) {
        self.name = name
        self.sizeBytes = sizeBytes
        self.used = used
        self.free = free
        self.totalBytes = totalBytes
    }
}

/// One line of SHOW DNS_HOSTS.
public struct DNSHostSnapshot: Equatable, Sendable {
    /// The name looked up.
    public var hostname: String
    /// Seconds until it is looked up again.
    public var ttlSeconds: Int64
    /// Its addresses as text.
    public var addresses: [String]

    /// A name with its addresses.
    public init(hostname: String, ttlSeconds: Int64, addresses: [String]) {
        self.hostname = hostname
        self.ttlSeconds = ttlSeconds
        self.addresses = addresses
    }
}

/// Adds up the pools of several workers: counts are summed, the longest wait wins. The order is that of first sight.
public func mergePools(_ pools: [PoolSnapshot]) -> [PoolSnapshot] {
    var indexes: [[String]: Int] = [:]
    var merged: [PoolSnapshot] = []
    for pool in pools {
        guard let index = indexes[[pool.database, pool.user]] else {
            indexes[[pool.database, pool.user]] = merged.count
            merged.append(pool)
            continue
        }
        merged[index].activeClients &+= pool.activeClients
        merged[index].waitingClients &+= pool.waitingClients
        merged[index].activeCancelClients &+= pool.activeCancelClients
        merged[index].waitingCancelClients &+= pool.waitingCancelClients
        merged[index].activeServers &+= pool.activeServers
        merged[index].activeCancelServers &+= pool.activeCancelServers
        merged[index].beingCanceledServers &+= pool.beingCanceledServers
        merged[index].idleServers &+= pool.idleServers
        merged[index].usedServers &+= pool.usedServers
        merged[index].testedServers &+= pool.testedServers
        merged[index].loginServers &+= pool.loginServers
        merged[index].maxWaitMicroseconds = max(merged[index].maxWaitMicroseconds, pool.maxWaitMicroseconds)
    }
    return merged
}
