// A free server moves to the worker whose client has waited longest:
//
//     this worker                               the other worker
//     detach from the loop ──▶ message ──▶ open in its loop, give it to its oldest waiter
//
// Its permit goes with it, so the bound holds at every moment. If nobody waits there any more it is assigned like any
// free server: to another worker's client, or to the idle list.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

extension Worker {
    /// Moves a server that the pool has put into `leaving`.
    mutating func handOver(_ index: UInt32, to worker: Int) {
        let server = servers[index]
        server.pointee.state = .leaving
        server.pointee.destination = Int32(worker)
        loop.detach(server.pointee.socket)
    }

    /// The server's socket is no longer this loop's.
    mutating func serverDetached(_ index: UInt32, fd: Int32) {
        let server = servers[index]
        let pool = pools[UInt32(server.pointee.pool)]
        let worker = Int(server.pointee.destination)
        precondition(server.pointee.state == .leaving && worker >= 0 && worker < shared.workerCount)
        guard server.pointee.framer.isAtBoundary, server.pointee.gather.isEmpty else {
            // The other worker would take the rest of the message for the start of one.
            closeDescriptor(fd)
            return closeServer(index, .gotDirty("half a message"))
        }
        var settings: [(name: String, value: String)] = []
        parameterSets.forEach(server.pointee.settings) { settings.append(($0, $1)) }
        var extras: [(name: String, value: String)] = []
        parameterSets.forEach(server.pointee.extras) { extras.append(($0, $1)) }
        let message = ServerHandOver(
            pool: pool.pointee.pool.bounds.identity, fd: fd, identifier: server.pointee.identifier,
            connectedAt: server.pointee.connectedAt, settings: settings, extras: extras,
            processID: server.pointee.processID,
            secret: server.pointee.secret, address: server.pointee.address, addressText: server.pointee.addressText,
            closeNeeded: server.pointee.closeNeeded, hasServed: server.pointee.hasServed,
            epoch: pool.pointee.epoch, needsCheck: server.pointee.needsCheck,
            hasStatements: server.pointee.statements.count > 0)
        dropStatements(ofServer: index)
        pool.pointee.pool.departed(index, from: .leaving, servers: &serverLinks)
        parameterSets.release(server.pointee.settings)
        parameterSets.release(server.pointee.extras)
        servers.remove(index)
        shared.ports[worker].post(.adoptServer(message))
        checkWaitingJobs()
    }

    /// A server has come from another worker.
    mutating func adoptServer(_ message: ServerHandOver) {
        guard let key = shared.poolKey(identity: message.pool),
            let poolIndex = poolIndices[key]
                ?? configuration.value.database(named: key.database).map({ pool(for: key, $0) })
        else {
            closeDescriptor(message.fd)
            shared.giveBackPermit(identity: message.pool)
            return
        }
        let now = now
        let index = servers.insert { _, generation in
            Server(generation: generation, identifier: message.identifier, pool: Int32(poolIndex), now: now)
        }
        guard let index else {
            closeDescriptor(message.fd)
            return pools[poolIndex].pointee.pool.bounds.giveBackPermit()
        }
        serverLinks.prepare(index)
        let server = servers[index]
        pools[poolIndex].pointee.pool.arrived(index, now: now, servers: &serverLinks)
        server.pointee.state = .leaving
        server.pointee.phase = .ready
        server.pointee.countsAsConnecting = false
        server.pointee.tracksStatements = pools[poolIndex].pointee.tracksStatements
        server.pointee.hasServed = message.hasServed
        server.pointee.connectedAt = message.connectedAt
        server.pointee.processID = message.processID
        server.pointee.secret = message.secret
        server.pointee.address = message.address
        server.pointee.addressText = message.addressText
        // RECONNECT may have passed while it was on its way.
        server.pointee.closeNeeded = message.closeNeeded || message.epoch < pools[poolIndex].pointee.epoch
        for (name, value) in message.settings {
            server.pointee.settings = parameterSets.set(server.pointee.settings, name: name, value: value)
        }
        for (name, value) in message.extras {
            server.pointee.extras = parameterSets.set(server.pointee.extras, name: name, value: value)
        }
        server.pointee.socket = loop.open(fd: message.fd, token: Token.make(.server, index))
        loop.startReceiving(server.pointee.socket)
        if message.hasStatements {
            // Their names are the other worker's.
            move(index, to: .tested)
            sendOwnQuery(index, "DEALLOCATE ALL", .reset)
            return
        }
        guard message.needsCheck else { return release(index) }
        move(index, to: .tested)
        sendCheck(index)
    }

    /// Another worker's client waits and this worker was seen to hold an idle server.
    mutating func lendServer(identity: Int, to worker: Int) {
        guard let key = shared.poolKey(identity: identity), let poolIndex = poolIndices[key] else {
            return shared.ports[worker].post(.mayGrow(pool: identity))
        }
        let pool = pools[poolIndex]
        let share = pool.pointee.pool.bounds.shares[worker]
        guard share.oldestWaiter.load(ordering: .sequentiallyConsistent) != .max else { return }
        let idle = pool.pointee.pool.list(pool.pointee.pool.count(.idle) > 0 ? .idle : .used)
        guard idle.first >= 0 else { return shared.ports[worker].post(.mayGrow(pool: identity)) }
        let server = UInt32(idle.first)
        servers[server].pointee.needsCheck = servers[server].pointee.state == .used
        move(server, to: .leaving)
        handOver(server, to: worker)
    }
}
