// What goes wrong, and what an administrator does while it goes wrong.

import Pooling

extension World {
    /// Everything is put in place and the first events are planned.
    func begin() {
        for worker in 0..<scenario.workers {
            schedule(after: 7_000 + Int64(worker) * 23_000, .tick(worker: worker))
        }
        for _ in 0..<scenario.clients { schedule(after: chance.between(0, 100_000), .clientArrives) }
        if scenario.faultEvery > 0 { schedule(after: scenario.faultEvery, .fault) }
        schedule(after: scenario.calmAt - now, .calm)
    }

    func makeFault() {
        guard !isCalm else { return }
        schedule(after: chance.between(1_000, 2 * scenario.faultEvery), .fault)
        switch chance.below(12) {
        case 0, 1, 2: killBackend()
        case 3, 4:
            // A client vanishes, wherever it is, and another one comes.
            guard !clients.isEmpty else { return }
            schedule(after: 0, .clientLeaves(chance.pick(clients)))
            schedule(after: chance.between(0, 50_000), .clientArrives)
        case 5: leaveWhileWaiting()
        case 6: cancelWaiting()
        case 7: timeOutQuery()
        case 8, 9:
            let database = chance.below(scenario.databases)
            isPaused[database].toggle()
            broadcast(.pauseChanged)
        case 10: broadcast(.reconnect(pool: chance.below(scenario.pools)))
        default: changeLimits()
        }
    }

    private func killBackend() {
        guard !backends.isEmpty else { return }
        let backend = chance.pick(backends)
        guard !backend.isDead else { return }
        backend.isDead = true
        // What it had already sent still arrives, then the end of the stream.
        let at = max(backend.lastReplyAt - now, 0) + chance.between(10, 500)
        schedule(after: at, .backendDisconnects(backend))
    }

    private func leaveWhileWaiting() {
        guard let client = clients.first(where: { $0.isWaiting }) else { return }
        schedule(after: 0, .clientLeaves(client))
        schedule(after: chance.between(0, 50_000), .clientArrives)
    }

    /// A cancel request for a client that waits for a server.
    private func cancelWaiting() {
        guard let client = clients.last(where: { $0.isWaiting }) else { return }
        workers[client.worker].refuseWaiting(client)
    }

    private func timeOutQuery() {
        guard let client = clients.first(where: { $0.server.map { !$0.owed.isEmpty } ?? false }),
            let server = client.server
        else { return }
        workers[server.worker].endQuery(client, server)
    }

    private func changeLimits() {
        let pool = chance.below(scenario.pools)
        scenario.limits[pool] = Scenario.limits(&chance)
        if scenario.hasSharedBounds {
            bounds[pool].database.limit = chance.pick([0, 1, 2, 4])
            bounds[pool].user.limit = chance.pick([0, 1, 2, 4])
        }
        broadcast(.limits(pool: pool, scenario.limits[pool]))
    }

    /// Faults are over: what is paused is resumed, and from now on nobody may wait for long.
    func becomeCalm() {
        isCalm = true
        for database in isPaused.indices { isPaused[database] = false }
        broadcast(.pauseChanged)
    }

    /// A client has gone.
    func left(_ client: SimulatedClient) { clients.removeAll { $0 === client } }

    /// All clients leave and all servers are closed, as at a shutdown.
    func closeEverything() {
        for client in clients { workers[client.worker].closeClient(client) }
        for database in isPaused.indices { isPaused[database] = true }
        broadcast(.pauseChanged)
        run(until: now + 1_000_000)
    }
}
