// What the threads share: the configuration snapshot, the counts behind the limits, the workers' mailboxes, the log
// and the helper threads. Nothing here is touched for a message on the data path.

import Configuration
import Pooling
import Reactor
import Synchronization
import Wire

/// One immutable configuration. A reload replaces the whole.
final class ConfigurationSnapshot: Sendable {
    let value: Configuration
    // What each login asks for, beside the whole: the whole is large, and to reach into it would copy it.
    private let databases: [String: DatabaseOptions]
    private let users: [String: UserOptions]
    private let secrets: [String: Secret]
    let authType: AuthType

    init(_ value: Configuration) {
        self.value = value
        databases = value.databases
        users = value.users
        secrets = value.secrets
        authType = value.settings.authType
    }

    /// The database of a name, made from `*` if it is not listed.
    func database(named name: String) -> DatabaseOptions? { databases[name] ?? value.database(named: name) }

    func secret(of user: String) -> Secret? { secrets[user] }

    /// Whether the files speak of a user.
    func names(user: String) -> Bool { secrets[user] != nil || users[user] != nil }
}

/// A database as clients name it, over all workers.
final class DatabaseState: Sendable {
    let name: String
    let servers: BoundCount
    let clients: BoundCount
    /// `DISABLE`: no new clients.
    let isDisabled = Atomic<Bool>(false)
    /// `PAUSE db` or `KILL db`: no server is given out.
    let isPaused = Atomic<Bool>(false)
    /// How often its servers were marked to be closed (`RECONNECT`, a reload): a server that was on its way from one
    /// worker to another in that moment is recognised by the older number.
    private let epochs = Atomic<Int>(0)

    init(name: String, serversMax: Int, clientsMax: Int) {
        self.name = name
        servers = BoundCount(limit: serversMax)
        clients = BoundCount(limit: clientsMax)
    }

    /// The number of the last marking.
    var epoch: Int { epochs.load(ordering: .relaxed) }

    /// Its servers are about to be marked to be closed.
    func beginEpoch() { epochs.add(1, ordering: .relaxed) }
}

/// A user, over all workers: as the name that clients log in with and as the name that servers are logged in to with.
final class UserState: Sendable {
    let name: String
    let servers: BoundCount
    let clients: BoundCount

    init(name: String, serversMax: Int, clientsMax: Int) {
        self.name = name
        servers = BoundCount(limit: serversMax)
        clients = BoundCount(limit: clientsMax)
    }
}

/// What names a pool.
struct PoolKey: Hashable, Sendable {
    var database: String
    var user: String
}

/// What the servers of a pool report at login, learnt once by the process.
struct PoolWelcome: Sendable {
    var settings: [(name: String, value: String)]
    var fixedParameters: [(name: String, value: String)]
}

/// Where other threads reach a worker.
final class WorkerPort: Sendable {
    let mailbox = Mailbox<WorkerMessage>()
    let wakeup = Locked<Wakeup?>(nil)
    /// How many clients the worker has, to deal new ones evenly.
    let clientCount = Atomic<Int>(0)

    /// Puts a message into the mailbox and wakes the worker if it may be asleep.
    func post(_ message: WorkerMessage) {
        if mailbox.post(message) { wakeup.withLock { $0 }?.signal() }
    }
}

/// What all threads share.
final class Shared: Sendable {
    struct Registry: Sendable {
        var databases: [String: DatabaseState] = [:]
        var users: [String: UserState] = [:]
        var pools: [PoolKey: PoolBounds] = [:]
        var keys: [Int: PoolKey] = [:]
        var welcomes: [PoolKey: PoolWelcome] = [:]
        var nextPool = 0
    }

    let log: LogSink
    let ports: [WorkerPort]
    let resolver: Resolver
    let hasher: HashingThread
    let clients: BoundCount
    let registry = Locked(Registry())
    let snapshot: Locked<ConfigurationSnapshot>
    let identifiers = Atomic<UInt64>(0)
    let isPaused = Atomic<Bool>(false)
    let shutdown = Atomic<UInt8>(0)
    let mockKey: [UInt8]
    let control: ControlPort
    /// The connections' Unix time at start minus the monotonic clock's, to show times of day.
    let clockOffset: Int64

    init(configuration: Configuration, workers: Int, log: LogSink, resolver: Resolver, clockOffset: Int64) {
        self.log = log
        self.resolver = resolver
        self.clockOffset = clockOffset
        ports = (0..<workers).map { _ in WorkerPort() }
        clients = BoundCount(limit: configuration.settings.maxClientConn)
        snapshot = Locked(ConfigurationSnapshot(configuration))
        mockKey = randomBytes(32)
        hasher = HashingThread()
        control = ControlPort()
    }

    var workerCount: Int { ports.count }

    /// A number that no other connection of this process has.
    func nextIdentifier() -> UInt64 {
        identifiers.add(1, ordering: .relaxed).newValue & 0x7FFF_FFFF
    }

    func database(_ options: DatabaseOptions, _ snapshot: ConfigurationSnapshot) -> DatabaseState {
        registry.withLock { registry in
            if let found = registry.databases[options.name] { return found }
            let configuration = snapshot.value
            let made = DatabaseState(
                name: options.name, serversMax: configuration.maxDbConnections(database: options),
                clientsMax: configuration.maxDbClientConnections(database: options))
            registry.databases[options.name] = made
            return made
        }
    }

    /// The databases that have been used or asked for, those that `*` made among them.
    var databases: [DatabaseState] { registry.withLock { Array($0.databases.values) } }

    func user(_ name: String, _ snapshot: ConfigurationSnapshot) -> UserState {
        registry.withLock { registry in
            if let found = registry.users[name] { return found }
            let configuration = snapshot.value
            let made = UserState(
                name: name, serversMax: configuration.maxUserConnections(user: name),
                clientsMax: configuration.maxUserClientConnections(user: name))
            registry.users[name] = made
            return made
        }
    }

    func bounds(_ key: PoolKey, database: DatabaseState, user: UserState) -> PoolBounds {
        registry.withLock { registry in
            if let found = registry.pools[key] { return found }
            let made = PoolBounds(
                identity: registry.nextPool, database: database.servers, user: user.servers, workers: workerCount)
            registry.pools[key] = made
            registry.keys[registry.nextPool] = key
            registry.nextPool += 1
            return made
        }
    }

    /// A reload may mark servers of any database to be closed.
    func beginEpoch() {
        registry.withLock { registry in
            for database in registry.databases.values { database.beginEpoch() }
        }
    }

    /// Gives back the permit of a server whose pool no worker has any more.
    func giveBackPermit(identity: Int) {
        registry.withLock { registry in
            registry.keys[identity].flatMap { registry.pools[$0] }?.giveBackPermit()
        }
    }

    /// Forgets a pool that no worker has any more, so that names that clients make up cost nothing for ever.
    func forgetPool(_ key: PoolKey) {
        let value = snapshot.withLock { $0 }.value
        registry.withLock { registry in
            guard let bounds = registry.pools[key], bounds.workersUsing.load(ordering: .relaxed) == 0,
                bounds.servers.taken == 0
            else { return }
            registry.pools[key] = nil
            registry.keys[bounds.identity] = nil
            registry.welcomes[key] = nil
            if value.databases[key.database] == nil, registry.databases[key.database]?.clients.taken == 0,
                !registry.pools.keys.contains(where: { $0.database == key.database })
            {
                registry.databases[key.database] = nil
            }
        }
    }

    /// Forgets a user whose last connection has gone and whom the configuration does not name.
    func forgetUser(_ user: UserState, _ snapshot: ConfigurationSnapshot) {
        guard !snapshot.names(user: user.name) else { return }
        registry.withLock { registry in
            guard user.clients.taken == 0, user.servers.taken == 0,
                !registry.pools.keys.contains(where: { $0.user == user.name })
            else { return }
            registry.users[user.name] = nil
        }
    }

    func poolKey(identity: Int) -> PoolKey? { registry.withLock { $0.keys[identity] } }

    func welcome(_ key: PoolKey) -> PoolWelcome? { registry.withLock { $0.welcomes[key] } }

    func learn(_ key: PoolKey, _ welcome: PoolWelcome) { registry.withLock { $0.welcomes[key] = welcome } }

    /// Applies the limits of a new configuration to the counts that exist.
    func apply(_ configuration: Configuration) {
        snapshot.withLock { $0 = ConfigurationSnapshot(configuration) }
        clients.limit = configuration.settings.maxClientConn
        registry.withLock { registry in
            for state in registry.databases.values {
                guard let options = configuration.database(named: state.name) else { continue }
                state.servers.limit = configuration.maxDbConnections(database: options)
                state.clients.limit = configuration.maxDbClientConnections(database: options)
            }
            for state in registry.users.values {
                state.servers.limit = configuration.maxUserConnections(user: state.name)
                state.clients.limit = configuration.maxUserClientConnections(user: state.name)
            }
        }
    }

    func broadcast(_ message: WorkerMessage, except own: Int? = nil) {
        for (index, port) in ports.enumerated() where index != own { port.post(message) }
    }
}

/// Random bytes from the kernel's generator.
func randomBytes(_ count: Int) -> [UInt8] {
    var generator = SystemRandomNumberGenerator()
    return (0..<count).map { _ in UInt8.random(in: .min ... .max, using: &generator) }
}

/// A file descriptor's error in words.
func describeErrno(_ code: Int32) -> String { ReactorError.text(of: code) }
