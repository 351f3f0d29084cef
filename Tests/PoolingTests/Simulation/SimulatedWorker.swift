// One worker of the simulation: clients and servers in slabs, one part of each pool, and the way from a client's
// message to its server and back.
//
// Its rules mirror Sources/Engine step by step (Worker+Attach, Worker+HandOver, Worker+Losses, Worker+Maintenance,
// Worker+Control, the order of calls included), so that what is proven here holds there. Whoever changes a rule there
// changes it here. What is left out: bytes, logins and settings' content.

import Pooling

final class SimulatedServer: CustomStringConvertible {
    let pool: Int
    let slot: UInt32
    let worker: Int
    let backend: Backend
    var state = ServerState.new
    var client: SimulatedClient?
    var owed = OwedReplies()
    var status = TransactionState.idle
    var isLoggedIn = false
    var countsAsConnecting = true
    var closeNeeded = false
    var needsReset = false
    var needsCheck = false
    var hasServed = false
    var isOrphan = false
    var isClosed = false
    var cancelsUnderWay = 0
    var connectedAt: Int64
    var activeAt: Int64
    var destination = -1

    init(pool: Int, slot: UInt32, worker: Int, backend: Backend, now: Int64) {
        self.pool = pool
        self.slot = slot
        self.worker = worker
        self.backend = backend
        connectedAt = now
        activeAt = now
    }

    var description: String { "server \(worker).\(slot) = \(backend)" }
}

/// Why a server is closed, as far as it matters here.
enum SimulatedCloseReason {
    case connectFailed, connectTimeout, crashed, closeNeeded, pauseMode, evicted, lifetimeOver, tooMany
    case idleTimeout, clientLeft, testFailed
}

/// One worker's side of one pool.
final class PoolPart {
    var pool: Pool
    var backoff = RetryBackoff()
    var hasFailed = false
    var lifetimeClosedAt: Int64 = 0
    /// Who waits, kept apart from the pool's own line to check it.
    var line: [SimulatedClient] = []

    init(bounds: PoolBounds, worker: Int, limits: PoolLimits) {
        pool = Pool(bounds: bounds, worker: worker, limits: limits)
    }
}

final class SimulatedWorker {
    unowned let world: World
    let number: Int
    var clientLinks = LinkTable()
    var serverLinks = LinkTable()
    var clients: [SimulatedClient?] = []
    var servers: [SimulatedServer?] = []
    let parts: [PoolPart]

    init(number: Int, world: World) {
        self.number = number
        self.world = world
        parts = world.bounds.map {
            PoolPart(bounds: $0, worker: number, limits: world.scenario.limits[$0.identity])
        }
    }

    var now: Int64 { world.now }

    // MARK: Slabs

    func accept(identity: Int, pool: Int) -> SimulatedClient {
        let slot = clients.firstIndex { $0 == nil } ?? clients.count
        if slot == clients.count { clients.append(nil) }
        clientLinks.prepare(UInt32(slot))
        // Some have little to do, so that servers stay idle for long where they are.
        let thinkMax = world.chance.happens(perMille: 400) ? 700_000 : world.scenario.thinkMax
        let client = SimulatedClient(
            identity: identity, worker: number, pool: pool, slot: UInt32(slot), thinkMax: thinkMax)
        clients[slot] = client
        return client
    }

    func insert(_ backend: Backend) -> SimulatedServer {
        let slot = servers.firstIndex { $0 == nil } ?? servers.count
        if slot == servers.count { servers.append(nil) }
        serverLinks.prepare(UInt32(slot))
        let server = SimulatedServer(
            pool: backend.pool, slot: UInt32(slot), worker: number, backend: backend, now: now)
        servers[slot] = server
        backend.server = server
        return server
    }

    func remove(_ server: SimulatedServer) {
        server.backend.server = nil
        servers[Int(server.slot)] = nil
    }

    func server(_ slot: UInt32) -> SimulatedServer {
        guard let server = servers[Int(slot)] else { preconditionFailure("a pool named a server that is not there") }
        return server
    }

    /// The servers of a pool in a state, copied so that they can be closed while they are walked.
    func members(_ pool: Int, _ state: ServerState) -> [SimulatedServer] {
        var found: [SimulatedServer] = []
        var next = parts[pool].pool.list(state).first
        while next >= 0 {
            found.append(server(UInt32(next)))
            next = serverLinks.next(after: next)
        }
        return found
    }

    // MARK: Client → server

    func clientSent(_ client: SimulatedClient, _ messages: [ServerMessage]) {
        if client.isWaiting {
            client.held += messages
        } else if client.hasRefusal {
            world.tell(client)
        } else {
            forward(client, messages)
        }
    }

    private func forward(_ client: SimulatedClient, _ messages: [ServerMessage]) {
        for (index, message) in messages.enumerated() {
            if client.server == nil {
                switch message {
                case .query, .batch: break
                case .sync, .copyData, .copyEnd, .own:
                    return world.fail("client \(client.identity) lost its server in the middle of a request")
                }
                switch requestServer(client) {
                case .ready: break
                case .waiting:
                    client.held = Array(messages[index...])
                    return
                case .refused: return world.tell(client)
                }
            }
            guard let server = client.server else { return world.fail("ready without a server") }
            noteOwed(message, server)
            world.send(message, to: server.backend)
        }
    }

    private func noteOwed(_ message: ServerMessage, _ server: SimulatedServer) {
        switch message {
        case .query: server.owed.sentQuery(.client)
        case .batch: server.owed.sentUnlessSkipped(.execute)
        case .sync: server.owed.sentSync()
        case .copyEnd: server.owed.sentCopyEnd()
        case .copyData: break
        case .own(let origin): server.owed.sentQuery(origin)
        }
    }

    func resumeHeld(_ client: SimulatedClient) {
        let messages = client.held
        client.held = []
        forward(client, messages)
    }

    func sendOwn(_ server: SimulatedServer, _ origin: RequestOrigin) {
        server.owed.sentQuery(origin)
        server.activeAt = now
        world.send(.own(origin), to: server.backend)
    }

    // MARK: Server → client

    func serverReceived(_ server: SimulatedServer, _ reply: Reply) {
        let passes = server.client != nil && server.owed.origin == .client
        switch reply {
        case .data: break
        case .copyInResponse:
            server.owed.receivedCopyInResponse()
            // Nobody is there any more who would send the data.
            if server.client == nil { return closeServer(server, .clientLeft) }
        case .error: server.owed.receivedError()
        case .ready(_, let status): return receivedReady(server, reply, status, passes)
        }
        if passes, let client = server.client { world.pass(reply, to: client) }
    }

    private func receivedReady(_ server: SimulatedServer, _ reply: Reply, _ status: TransactionState, _ passes: Bool) {
        guard let origin = server.owed.receivedReadyForQuery() else {
            return world.fail("an answer that nobody had asked for: \(reply)")
        }
        server.status = status
        let asked = reply.token == nil
        if (origin != .client) != asked { world.fail("a reply of origin \(origin) was taken for another: \(reply)") }
        if passes, let client = server.client { world.pass(reply, to: client) }
        switch origin {
        case .client:
            guard let client = server.client else { return orphanAnswered(server) }
            guard server.owed.isEmpty, status == .idle else { return }
            unlink(client, server)
            if world.scenario.resetsAlways { server.needsReset = true }
            release(server)
        case .settings:
            if server.isOrphan { orphanAnswered(server) }
        case .reset, .check, .connect: release(server)
        case .statement, .refusal, .state: world.fail("a statement was answered by ReadyForQuery")
        }
    }

    private func orphanAnswered(_ server: SimulatedServer) {
        guard server.owed.isEmpty else { return }
        server.isOrphan = false
        guard server.status == .idle else { return closeServer(server, .clientLeft) }
        release(server)
    }

    // MARK: Mailbox

    func handle(_ message: SimulatedMessage) {
        switch message {
        case .adoptServer(let backend, let connectedAt, let closeNeeded, let needsCheck, let hasServed):
            adoptServer(
                backend, connectedAt: connectedAt, closeNeeded: closeNeeded, needsCheck: needsCheck,
                hasServed: hasServed)
        case .wantServer(let pool, let worker): lendServer(pool, to: worker)
        case .mayGrow(let pool): grow(pool)
        case .evictIdle(let pool): evictIdle(pool)
        case .pauseChanged: applyPause()
        case .reconnect(let pool): recycle(pool)
        case .limits(let pool, let limits):
            parts[pool].pool.limits = limits
            grow(pool)
        }
    }
}
