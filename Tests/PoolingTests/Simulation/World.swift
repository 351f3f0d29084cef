// The world of a simulation: time, the queue of events, the workers' mailboxes, and what all workers share.
//
// One thread runs everything. An event happens, its worker reacts at once, and then all invariants are asserted.

import Pooling

/// What can happen next.
enum SimulatedEvent {
    case tick(worker: Int)
    case mailbox(worker: Int)
    case clientActs(SimulatedClient, plan: Int)
    case clientLeaves(SimulatedClient)
    case clientArrives
    case connectEnds(Backend, isWell: Bool)
    case backendWorks(Backend)
    case reply(Backend, Reply)
    case backendDisconnects(Backend)
    case detached(Backend)
    case cancelArrives(SimulatedServer, client: Int)
    case cancelEnds(SimulatedServer)
    case fault
    case calm
}

/// A message from one worker to another.
enum SimulatedMessage {
    case adoptServer(Backend, connectedAt: Int64, closeNeeded: Bool, needsCheck: Bool, hasServed: Bool)
    case wantServer(pool: Int, worker: Int)
    case mayGrow(pool: Int)
    case evictIdle(pool: Int)
    case pauseChanged
    case reconnect(pool: Int)
    case limits(pool: Int, PoolLimits)
}

final class World {
    var scenario: Scenario
    var chance: SeededGenerator
    private(set) var now: Int64 = 1_000_000
    private var queue = EventQueue()
    private(set) var workers: [SimulatedWorker] = []
    let bounds: [PoolBounds]
    let databases: [BoundCount]
    let users: [BoundCount]
    var isPaused: [Bool]
    var clients: [SimulatedClient] = []
    /// Backends that live, for faults to choose from.
    var backends: [Backend] = []
    private var mailboxes: [[SimulatedMessage]]
    private var mailboxTimes: [Int64]
    /// Servers of each pool that are in a mailbox.
    var inFlight: [Int]
    var isCalm = false
    private var nextIdentity = 0
    private var backendsMade = 0
    var steps = 0
    var transactions = 0
    var told = 0
    var handOvers = 0
    var evictions = 0
    var watch: Watch
    /// The worker whose state the current event may change; nil: any.
    private(set) var touched: Int?
    /// The pools that count in each database and user.
    let databasePools: [[PoolBounds]]
    let userPools: [[PoolBounds]]
    /// What went wrong first; the run ends with it.
    private(set) var violation: String?
    /// The last events, kept when one seed is replayed.
    var trace: [String]?

    init(_ scenario: Scenario) {
        self.scenario = scenario
        chance = SeededGenerator(seed: scenario.seed ^ 0x5DEE_CE66)
        let databases = scenario.databaseMax.map { BoundCount(limit: $0) }
        let users = scenario.userMax.map { BoundCount(limit: $0) }
        self.databases = databases
        self.users = users
        let bounds = (0..<scenario.pools).map { pool in
            PoolBounds(
                identity: pool, database: databases[pool / scenario.users], user: users[pool % scenario.users],
                workers: scenario.workers)
        }
        self.bounds = bounds
        databasePools = databases.map { bound in bounds.filter { $0.database === bound } }
        userPools = users.map { bound in bounds.filter { $0.user === bound } }
        isPaused = Array(repeating: false, count: scenario.databases)
        mailboxes = Array(repeating: [], count: scenario.workers)
        mailboxTimes = Array(repeating: 0, count: scenario.workers)
        inFlight = Array(repeating: 0, count: scenario.pools)
        watch = Watch(pools: scenario.pools, workers: scenario.workers)
        workers = (0..<scenario.workers).map { SimulatedWorker(number: $0, world: self) }
    }

    /// The workers know the world and the world its workers.
    func dissolve() {
        workers = []
        clients = []
        backends = []
        queue = EventQueue()
    }

    func fail(_ what: @autoclosure () -> String) {
        if violation == nil { violation = "\(what()) (at \(now) us, step \(steps))" }
    }

    func note(_ text: @autoclosure () -> String) {
        guard trace != nil else { return }
        trace?.append("\(now) \(text())")
        if let count = trace?.count, count > 2_000 { trace?.removeFirst(1_000) }
    }

    // MARK: Time

    func schedule(after delay: Int64, _ event: SimulatedEvent) {
        queue.push(at: now + delay, event)
    }

    /// Messages reach a mailbox in order, each after some time.
    func post(_ message: SimulatedMessage, to worker: Int) {
        let at = max(mailboxTimes[worker], now + chance.between(20, 2_000))
        mailboxTimes[worker] = at
        mailboxes[worker].append(message)
        queue.push(at: at, .mailbox(worker: worker))
    }

    func broadcast(_ message: SimulatedMessage, except own: Int? = nil) {
        for worker in 0..<scenario.workers where worker != own { post(message, to: worker) }
    }

    /// Runs until `end` or the first violation.
    func run(until end: Int64) {
        while violation == nil, let time = queue.nextTime, time <= end, let event = queue.pop() {
            now = time
            steps += 1
            note("\(event)")
            touched = worker(of: event)
            handle(event)
            if violation == nil { checkInvariants() }
        }
        if violation == nil { now = max(now, end) }
    }

    /// The one worker that an event concerns; nil when that is not known.
    private func worker(of event: SimulatedEvent) -> Int? {
        switch event {
        case .tick(let worker), .mailbox(let worker): worker
        case .clientActs(let client, _), .clientLeaves(let client): client.worker
        case .connectEnds(let backend, _), .backendWorks(let backend), .reply(let backend, _),
            .backendDisconnects(let backend), .detached(let backend):
            backend.server?.worker
        case .cancelArrives(let server, _), .cancelEnds(let server): server.worker
        case .clientArrives, .fault, .calm: nil
        }
    }

    private func handle(_ event: SimulatedEvent) {
        switch event {
        case .tick(let worker):
            workers[worker].tick()
            schedule(after: 100_000, .tick(worker: worker))
        case .mailbox(let worker):
            workers[worker].handle(mailboxes[worker].removeFirst())
        case .clientActs(let client, let plan):
            if !client.isGone, client.plan == plan { act(client) }
        case .clientLeaves(let client):
            if !client.isGone { workers[client.worker].closeClient(client) }
        case .clientArrives: arrive()
        case .connectEnds(let backend, let isWell):
            guard let server = backend.server, !backend.isDead else { return }
            if isWell {
                workers[server.worker].serverLoggedIn(server)
            } else {
                workers[server.worker].closeServer(server, .connectFailed)
            }
        case .backendWorks(let backend): work(backend)
        case .reply(let backend, let reply): deliver(backend, reply)
        case .backendDisconnects(let backend):
            guard let server = backend.server else { return }
            workers[server.worker].closeServer(server, server.isLoggedIn ? .crashed : .connectFailed)
        case .detached(let backend):
            if let server = backend.server { workers[server.worker].serverDetached(server) }
        case .cancelArrives(let server, let client): cancelArrives(server, client)
        case .cancelEnds(let server): workers[server.worker].endCancel(server)
        case .fault: makeFault()
        case .calm: becomeCalm()
        }
    }

    // MARK: Clients

    /// A new client takes a place.
    func arrive() {
        let worker = workers[chance.below(scenario.workers)]
        let client = worker.accept(identity: nextIdentity, pool: chance.below(scenario.pools))
        nextIdentity += 1
        clients.append(client)
        schedule(after: chance.between(0, scenario.thinkMax), .clientActs(client, plan: 0))
    }

    private func act(_ client: SimulatedClient) {
        if client.rounds.isEmpty {
            guard now < scenario.endAt else {
                client.isFinished = true
                return
            }
            client.makeTransaction(&chance)
        }
        let round = client.takeRound()
        let plan = client.plan
        workers[client.worker].clientSent(client, round.messages)
        guard case .time(let pause) = round.pause, client.plan == plan else { return }
        schedule(after: pause, .clientActs(client, plan: plan))
    }

    /// A client has what it waited for.
    private func goOn(_ client: SimulatedClient) {
        if client.rounds.isEmpty { transactions += 1 }
        let think = client.rounds.isEmpty ? client.thinkMax : 3_000
        schedule(after: chance.between(0, think), .clientActs(client, plan: client.plan))
    }

    /// The pooler answers all that a client has asked with an error.
    func tell(_ client: SimulatedClient) {
        told += 1
        client.forgetTransaction()
        schedule(after: chance.between(500, client.thinkMax), .clientActs(client, plan: client.plan))
    }

    /// A reply is passed on.
    func pass(_ reply: Reply, to client: SimulatedClient) {
        switch client.received(reply) {
        case .goesOn: goOn(client)
        case .waits: break
        case .wrong(let what): fail(what)
        }
    }

    // MARK: Servers

    func nextBackend() -> Int {
        backendsMade += 1
        return backendsMade
    }

    func connect(_ backend: Backend) {
        backends.append(backend)
        let isWell = !chance.happens(perMille: isCalm ? 0 : scenario.connectFailsPerMille)
        // A connect that hangs is for the time-out.
        let hangs = !isWell && chance.happens(perMille: 200)
        if !hangs { schedule(after: chance.between(500, 12_000), .connectEnds(backend, isWell: isWell)) }
    }

    func send(_ message: ServerMessage, to backend: Backend) {
        guard !backend.isDead else { return }
        backend.inbox.append(message)
        startWork(backend)
    }

    private func startWork(_ backend: Backend) {
        guard !backend.isWorking, !backend.isDead, !backend.inbox.isEmpty else { return }
        backend.isWorking = true
        let isSlow = !isCalm && chance.happens(perMille: 15)
        schedule(
            after: isSlow ? chance.between(50_000, 250_000) : chance.between(50, 4_000), .backendWorks(backend))
    }

    private func work(_ backend: Backend) {
        guard !backend.isDead, backend.isWorking else { return }
        backend.isWorking = false
        for reply in backend.work() {
            backend.lastReplyAt = max(backend.lastReplyAt, now + chance.between(10, 300))
            queue.push(at: backend.lastReplyAt, .reply(backend, reply))
        }
        startWork(backend)
    }

    private func deliver(_ backend: Backend, _ reply: Reply) {
        if backend.isClosed { return }
        guard let server = backend.server else { return fail("a server was handed over before it had answered") }
        workers[server.worker].serverReceived(server, reply)
    }

    private func cancelArrives(_ server: SimulatedServer, _ client: Int) {
        if let found = server.backend.workingFor, !server.isClosed, found != client {
            fail("a cancel request for client \(client) has hit a query of client \(found)")
        }
        schedule(after: chance.between(50, 3_000), .cancelEnds(server))
    }
}
