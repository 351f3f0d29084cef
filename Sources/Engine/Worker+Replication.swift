// Replication clients (PostgreSQL manual, 55.4): pg_basebackup, pg_receivewal, subscriptions, standbys. Each has a
// server of its own in every pool mode, which is opened when the client has proven who it is, told at its start-up
// what the client asked for, and closed when the client leaves. In between both sides hear each other byte for byte:
//
//     client ── start-up: replication, options, … ──▶ server
//            ◀── ParameterStatus …, a key of ours, ReadyForQuery
//            ◀──────────── CopyBoth, whatever ─────────────▶
//
// Only headers are looked at: to see Terminate, and to know whether a message of ours would fall into the midst of
// another one. No timeout of queries, transactions or idle clients applies: a stream is meant to be endless.

import Configuration
import Pooling
import Reactor
import Wire

extension Worker {
    // MARK: Login

    /// How long a client waits for other workers to close idle servers when `max_db_connections` is reached.
    private static var permitWaitMicroseconds: Int64 { 1_000_000 }

    /// A replication client has proven who it is.
    mutating func beginReplication(_ index: UInt32, _ login: ClientLogin) {
        let client = clients[index]
        client.pointee.state = .welcoming
        client.pointee.replication = login.replication
        client.pointee.activeAt = now
        openReplicationServer(index)
    }

    /// Opens the client's server, or lets the client wait, or refuses it.
    private mutating func openReplicationServer(_ index: UInt32) {
        let client = clients[index]
        guard let login = client.pointee.login else { return }
        let poolIndex = UInt32(client.pointee.pool)
        let parameters = [("replication", login.replication.parameter)] + login.settings.map { ($0.name, $0.value) }
        switch makeDedicatedServer(
            poolIndex, for: .replication, parameters: parameters.map { (name: $0.0, value: $0.1) })
        {
        case .made(let server):
            client.pointee.server = Int32(server)
            servers[server].pointee.client = Int32(index)
            connectDedicatedServer(server)
        case .paused: pools[poolIndex].pointee.replicationWaiting.append(index)
        case .full(let error):
            guard shared.workerCount > 1, now - client.pointee.activeAt < Self.permitWaitMicroseconds else {
                return closeClient(index, .refused(error))
            }
            let pool = pools[poolIndex].pointee.pool.bounds.identity
            shared.broadcast(.evictIdle(pool: pool, sparesOwn: false), except: number)
            pools[poolIndex].pointee.replicationWaiting.append(index)
        }
    }

    /// Tries again for those who could not have their server yet.
    mutating func openWaitingReplication(_ poolIndex: UInt32) {
        if pools[poolIndex].pointee.pool.isPaused { return }
        let waiting = pools[poolIndex].pointee.replicationWaiting
        pools[poolIndex].pointee.replicationWaiting = []
        for index in waiting { openReplicationServer(index) }
    }

    /// Forgets a client that waited.
    mutating func leaveReplicationWait(_ index: UInt32, _ poolIndex: UInt32) {
        pools[poolIndex].pointee.replicationWaiting.removeAll { $0 == index }
    }

    /// The client's server is logged in: the client hears what the server has told, but for the key, which is ours.
    mutating func replicationServerLoggedIn(_ serverIndex: UInt32, _ serverLogin: ServerLogin) {
        let server = servers[serverIndex]
        let index = UInt32(server.pointee.client)
        let client = clients[index]
        server.pointee.isPassing = true
        parameterSets.retain(server.pointee.settings)
        client.pointee.settings = server.pointee.settings
        client.pointee.cancelKey = makeCancelKey(index)
        var writer = MessageWriter()
        for (name, value) in serverLogin.fixedParameters { writer.parameterStatus(name: name, value: value) }
        writer.backendKeyData(
            processID: client.pointee.cancelKey.processID, secret: client.pointee.cancelKey.secretBytes)
        writer.readyForQuery(TransactionStatus.idle)
        sendToClient(index, writer)
        client.pointee.state = .ready
        client.pointee.login = nil
        client.pointee.activeAt = now
        pools[UInt32(client.pointee.pool)].pointee.usedAt = now
    }

    // MARK: Bytes

    /// client → server; returns how far it came, which is the end but for a cut header.
    @inline(never)
    mutating func passToServer(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) -> Int {
        let client = clients[index]
        let socket = servers[UInt32(client.pointee.server)].pointee.socket
        let bytes = UnsafeRawPointer(loop.memory(of: buffer))
        client.pointee.activeAt = now
        var offset = from
        while offset < end {
            let frame = client.pointee.framer.next(
                bytes, from: offset, count: end, whole: .none, lengthMax: packetBytesMax)
            switch frame.kind {
            case .message where frame.tag == FrontendTag.terminate:
                loop.send(socket, buffer: buffer, offset: from, count: offset - from)
                closeClient(index, .closeRequest)
                return end
            case .message, .continuation: offset = frame.end
            case .incomplete:
                loop.send(socket, buffer: buffer, offset: from, count: offset - from)
                client.pointee.gatherWanted = Int32(MessageFramer.headerBytes)
                return offset
            case .invalid:
                closeClient(index, .fatal(fatalFields(SQLState.protocolViolation, "bad packet header")))
                return end
            }
        }
        loop.send(socket, buffer: buffer, offset: from, count: end - from)
        return end
    }

    /// server → client; returns how far it came, which is the end but for a cut header.
    mutating func passToClient(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) -> Int {
        let server = servers[index]
        let socket = clients[UInt32(server.pointee.client)].pointee.socket
        let bytes = UnsafeRawPointer(loop.memory(of: buffer))
        var offset = from
        while offset < end {
            let frame = server.pointee.framer.next(
                bytes, from: offset, count: end, whole: .none, lengthMax: 0x7FFF_FFFF)
            switch frame.kind {
            case .message, .continuation: offset = frame.end
            case .incomplete:
                loop.send(socket, buffer: buffer, offset: from, count: offset - from)
                return offset
            case .invalid:
                loop.send(socket, buffer: buffer, offset: from, count: offset - from)
                closeServer(index, .protocolViolation("bad packet header"))
                return end
            }
        }
        loop.send(socket, buffer: buffer, offset: from, count: end - from)
        return end
    }

    // MARK: The end

    /// A replication client's server is about to be gone: the client hears why and is closed, since what it was told
    /// and what it has told the server cannot be had from another one.
    mutating func loseReplicationServer(_ index: UInt32, _ serverIndex: UInt32, _ reason: ServerCloseReason) {
        let server = servers[serverIndex]
        let wasLoggedIn = server.pointee.phase == .ready
        noteCutReply(index, serverIndex)
        let hasSaidWhy =
            wasLoggedIn && server.pointee.framer.isAtBoundary && server.pointee.framer.tag == BackendTag.errorResponse
        unlink(index, serverIndex)
        if !wasLoggedIn, reason == .pauseMode || reason == .closeNeeded {
            // It gets another one.
            return pools[UInt32(server.pointee.pool)].pointee.replicationWaiting.append(index)
        }
        if hasSaidWhy { return closeClient(index, .serverEnded) }
        closeClient(index, wasLoggedIn ? .fatal(error(for: reason)) : .refused(loginError(for: reason)))
    }

    private func error(for reason: ServerCloseReason) -> ErrorFields {
        switch reason {
        case .databaseRemoved, .shuttingDown, .closeNeeded, .pauseMode, .configurationChanged:
            fatalFields(SQLState.adminShutdown, reason.text)
        default:
            fatalFields(
                SQLState.connectionFailure, reason.text, detail: "The server connection was lost.",
                hint: "Connect again.")
        }
    }

    private func loginError(for reason: ServerCloseReason) -> ErrorFields {
        switch reason {
        case .loginFailed(let own): own
        case .databaseRemoved, .shuttingDown, .closeNeeded, .pauseMode, .configurationChanged: error(for: reason)
        default:
            fatalFields(
                SQLState.unableToEstablishConnection, "server cannot be reached", detail: reason.text)
        }
    }
}
