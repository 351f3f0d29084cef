// One event-loop thread: it owns its clients, its servers and its part of every pool, and it is the only one that
// touches them. Events come from the loop one at a time; pure code decides; the functions in the other files of
// this folder carry the decisions out.
//
//     Worker+ClientLogin       from the first byte to ReadyForQuery
//     Worker+ClientTraffic     client → server, the hot path; Worker+ClientMessages what is noted of a message
//     Worker+Statements        prepared statements that follow their client; Worker+UnnamedStatements the unnamed one
//     Worker+SessionTexts      what texts may do to the session on the server
//     Worker+SessionState      what they have done: settings that follow, servers that are held
//     Worker+Notifications     LISTEN, the clients' side; Worker+ListenerOwner the side of the listening connection
//     Worker+ServerLogin       connect, log in, learn the server's parameters
//     Worker+ServerTraffic     server → client, the hot path; Worker+ServerMessages messages whose content matters
//     Worker+Attach            who gets a server, settings, release, growth
//     Worker+Losses            what a client hears when its server is gone
//     Worker+Cancel            cancel requests
//     Worker+HandOver          servers that move between workers
//     Worker+DedicatedServers  servers outside the pools
//     Worker+Replication       replication clients, each with a server of its own
//     Worker+Maintenance       timeouts, ten times a second
//     Worker+Control           what the console and signals ask of every worker

import CLinux
import Configuration
import Console
import Pooling
import Reactor
import Wire

/// What an event's token names: a kind and an index.
enum Token {
    enum Kind: UInt64 {
        case listener = 1
        case client = 2
        case server = 3
        case cancel = 4
    }

    static func make(_ kind: Kind, _ index: UInt32) -> UInt64 { kind.rawValue << 32 | UInt64(index) }
    static func index(_ token: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: token) }
}

/// Which messages of a server are looked at.
struct ServerTags {
    /// All others stream through.
    let watched = TagSet(
        BackendTag.readyForQuery, BackendTag.errorResponse, BackendTag.parameterStatus, BackendTag.copyInResponse,
        BackendTag.copyBothResponse, BackendTag.noticeResponse, BackendTag.notificationResponse,
        BackendTag.parseComplete, BackendTag.bindComplete, BackendTag.closeComplete, BackendTag.rowDescription,
        BackendTag.noData, BackendTag.commandComplete, BackendTag.emptyQueryResponse, BackendTag.portalSuspended)
    /// Their content is needed, so that they are looked at when they are there whole.
    let whole = TagSet(BackendTag.readyForQuery, BackendTag.parameterStatus, BackendTag.errorResponse)
    /// What ends the reply to one message of a batch.
    let replyEnds = TagSet(
        BackendTag.parseComplete, BackendTag.bindComplete, BackendTag.closeComplete, BackendTag.rowDescription,
        BackendTag.noData, BackendTag.commandComplete, BackendTag.emptyQueryResponse, BackendTag.portalSuspended)
    /// Where statements are renamed, what may close them all too.
    let wholeWithStatements = TagSet(
        BackendTag.readyForQuery, BackendTag.parameterStatus, BackendTag.errorResponse, BackendTag.commandComplete)
    /// In the answer to a question about the session, rows too.
    let watchedInAnswer = TagSet(
        BackendTag.readyForQuery, BackendTag.errorResponse, BackendTag.parameterStatus, BackendTag.noticeResponse,
        BackendTag.notificationResponse, BackendTag.dataRow)
    let wholeInAnswer = TagSet(
        BackendTag.readyForQuery, BackendTag.parameterStatus, BackendTag.errorResponse, BackendTag.dataRow)
    /// What the owner of a listener hears about; needed whole.
    let listener = TagSet(BackendTag.notificationResponse, BackendTag.errorResponse, BackendTag.readyForQuery)
    /// The messages of a login, which are all needed whole.
    let login = TagSet(
        BackendTag.authentication, BackendTag.backendKeyData, BackendTag.parameterStatus, BackendTag.readyForQuery,
        BackendTag.errorResponse, BackendTag.noticeResponse, BackendTag.negotiateProtocolVersion)
}

/// One event-loop thread's world.
///
/// A method that does not mutate it is called, where it is not inlined, on a copy of its thousand bytes (Swift 6.3). So
/// those that are called for a transaction or a login mutate it, or are static.
struct Worker: ~Copyable {
    /// How often the timeouts are looked at.
    static var tickMicroseconds: Int64 { 100_000 }

    /// What all prepared statements of a worker may take together.
    static var statementBytesMax: Int { 1 << 30 }

    let shared: Shared
    let number: Int
    let serverTags = ServerTags()
    var loop: EventLoop
    var configuration: ConfigurationSnapshot
    var clients: Slab<Client>
    var servers: Slab<Server>
    var cancels: Slab<CancelConnection>
    var pools: Slab<PoolState>
    var poolIndices: [PoolKey: UInt32] = [:]
    var clientLinks = LinkTable()
    var serverLinks = LinkTable()
    var parameterSets = ParameterSets()
    var settingsMessages = SettingsMessages()
    var statements: StatementTable
    var listeners: [Listener] = []
    var messages: [WorkerMessage] = []
    var waitingJobs: [WaitingJob] = []
    var channelHubs: [String: ChannelHub] = [:]
    var nextTick: Int64 = 0
    var statisticsAt: Int64 = 0
    var serial: UInt32 = 0
    var isFinished = false
    var isDrained = false
    /// Settings read on the hot path and for each login, copied out of the snapshot.
    var ignoredStartupParameters: Set<String> = []
    var knownStartups = KnownStartups()
    var packetBytesMax: UInt32 = 0x7FFF_FFFF
    var isQueryProtocolForbidden = false
    var serverStatementsMax = 0
    var clientStatementsMax = 0
    var cachesUnnamed = false
    /// Numbers the unnamed statements of this worker's clients.
    var lastUnnamedNumber: UInt64 = 0
    /// Grows when a statement's results turn out to have changed: what is prepared from then on is another statement.
    var statementGeneration: UInt64 = 0
    /// The memory of all clients' unnamed statements.
    var unnamedBytes = 0
    var randomWords = RandomWords()

    init(shared: Shared, number: Int, loop: consuming EventLoop, snapshot: ConfigurationSnapshot) {
        self.shared = shared
        self.number = number
        self.loop = loop
        configuration = snapshot
        statements = StatementTable(
            worker: UInt32(number), seed: SystemRandomNumberGenerator.word(), bytesMax: Self.statementBytesMax)
        clients = Slab(cellsMax: CancelKey.slotsMax)
        servers = Slab(cellsMax: 1 << 20)
        cancels = Slab(cellsMax: 1 << 16)
        pools = Slab(cellsMax: 1 << 20)
        readHotSettings()
    }

    var now: Int64 { loop.now }
    /// The settings, lent: they are many, and a copy of them would be most of a login's work.
    var settings: Settings {
        _read { yield configuration.value.settings }
    }

    mutating func readHotSettings() {
        knownStartups = KnownStartups()
        ignoredStartupParameters = Set(settings.ignoreStartupParameters.map { $0.lowercased() })
        packetBytesMax = UInt32(clamping: settings.maxPacketSize)
        isQueryProtocolForbidden = settings.disablePqexec
        serverStatementsMax = settings.maxPreparedStatements
        cachesUnnamed = settings.cacheUnnamedStatements
        clientStatementsMax = settings.maxClientPreparedStatements
    }

    // MARK: The loop

    mutating func run() {
        nextTick = now
        while !isFinished {
            loop.wait(until: nextTick)
            while let event = loop.nextEvent() { handle(event) }
            if now >= nextTick {
                tick()
                nextTick = now + Self.tickMicroseconds
            }
        }
    }

    private mutating func handle(_ event: Event) {
        if event.kind == .woken {
            handleMessages()
            return
        }
        let index = Token.index(event.token)
        switch Token.Kind(rawValue: event.token >> 32) {
        case .client: handleClient(event, index)
        case .server: handleServer(event, index)
        case .cancel: handleCancel(event, index)
        case .listener: accepted(event, listener: Int(index))
        case nil: preconditionFailure("an event with a token that was never given")
        }
    }

    private mutating func handleClient(_ event: Event, _ index: UInt32) {
        switch event.kind {
        case .received: clientReceived(index, event.buffer, Int(event.value))
        case .closed: clientDisconnected(index, error: event.value)
        case .blocked: clientBlocked(index)
        case .drained: clientDrained(index)
        case .accepted, .connected, .detached, .woken: break
        }
    }

    private mutating func handleServer(_ event: Event, _ index: UInt32) {
        switch event.kind {
        case .received: serverReceived(index, event.buffer, Int(event.value))
        case .closed: serverDisconnected(index, error: event.value)
        case .blocked: serverBlocked(index)
        case .drained: serverDrained(index)
        case .connected: serverConnected(index)
        case .detached: serverDetached(index, fd: event.value)
        case .accepted, .woken: break
        }
    }

    private mutating func handleMessages() {
        shared.ports[number].mailbox.drain(into: &messages)
        var index = 0
        while index < messages.count {
            handle(messages[index])
            index += 1
        }
        messages.removeAll(keepingCapacity: messages.count < 1024)
    }

    mutating func handle(_ message: WorkerMessage) {
        switch message {
        case .adoptClient(let fd, let isUnix): adoptClient(fd, isUnix: isUnix)
        case .adoptServer(let server): adoptServer(server)
        case .wantServer(let pool, let worker): lendServer(identity: pool, to: worker)
        case .mayGrow(let pool): growPool(identity: pool)
        case .welcomeKnown(let pool): welcomeLearnt(identity: pool)
        case .evictIdle(let pool, let sparesOwn): evictIdle(identity: pool, sparesOwn: sparesOwn)
        case .cancel(let key, let requester): cancelClient(key, requester)
        case .cancelDone(let client, let generation): cancelAnswered(client, generation)
        case .clientSecret(let client, let generation, let secret): clientSecretDerived(client, generation, secret)
        case .passwordChecked(let client, let generation, let keys): clientPasswordChecked(client, generation, keys)
        case .serverKeys(let server, let generation, let keys): serverKeysDerived(server, generation, keys)
        case .resolved(let name): nameResolved(name)
        case .channelWanted(let database, let pool, let channel, let worker, let serial):
            channelWanted(database, pool: pool, channel, worker: worker, serial: serial)
        case .channelGivenUp(let database, let channel, let worker): channelGivenUp(database, channel, worker: worker)
        case .channelReady(let database, let channel, let serial, let wasLost):
            channelReady(database, channel, serial: serial, wasLost: wasLost)
        case .channelFailed(let database, let channel, let serial, let error):
            channelFailed(database, channel, serial: serial, error)
        case .channelsLost(let database): channelsLost(database)
        case .notification(let database, let channel, let message): notified(database, channel, message)
        case .control(let job): perform(job)
        case .controlDone(let job): controlDone(job)
        }
    }

    // MARK: Helpers for all files

    func log(_ level: LogLevel, _ text: String) { shared.log.write(level, text) }

    /// The prefix by which a connection is found in the log.
    func name(ofClient index: UInt32) -> String {
        let client = clients[index]
        let pool = client.pointee.pool
        let database = client.pointee.login?.database ?? (pool >= 0 ? pools[UInt32(pool)].pointee.key.database : "")
        let user = client.pointee.user?.name ?? client.pointee.login?.user ?? ""
        return "C-\(hexadecimal(client.pointee.identifier)): "
            + "\(database.isEmpty ? "(nodb)" : database)/\(user.isEmpty ? "(nouser)" : user)"
            + "@\(peerText(index))"
    }

    func name(ofServer index: UInt32) -> String {
        let server = servers[index]
        let key = pools[UInt32(server.pointee.pool)].pointee.key
        return "S-\(hexadecimal(server.pointee.identifier)): \(key.database)/\(key.user)@\(server.pointee.addressText)"
    }

    /// Where a client comes from, as text. The kernel is asked when somebody wants to know, not for each login.
    func peerText(_ index: UInt32) -> String {
        let client = clients[index]
        if client.pointee.isUnixSocket { return "unix" }
        return SocketAddress.ofPeer(loop.fileDescriptor(client.pointee.socket))?.description ?? "?"
    }

    mutating func randomWord() -> UInt64 { randomWords.next() }

    /// Sends bytes of ours to a client.
    mutating func sendToClient(_ index: UInt32, _ writer: borrowing MessageWriter) {
        let socket = clients[index].pointee.socket
        writer.bytes.withUnsafeBytes { loop.send(socket, copying: $0) }
    }

    /// Sends bytes of ours to a server.
    mutating func sendToServer(_ index: UInt32, _ writer: borrowing MessageWriter) {
        let socket = servers[index].pointee.socket
        writer.bytes.withUnsafeBytes { loop.send(socket, copying: $0) }
    }
}

extension SystemRandomNumberGenerator {
    /// A random word.
    static func word() -> UInt64 {
        var generator = SystemRandomNumberGenerator()
        return generator.next()
    }
}

/// A number as the log shows connections.
func hexadecimal(_ value: UInt64) -> String {
    let digits = String(value, radix: 16)
    return "0x" + String(repeating: "0", count: max(0, 12 - digits.count)) + digits
}
