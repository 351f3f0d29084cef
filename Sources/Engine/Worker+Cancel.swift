// Cancel requests. A request names its client by worker and slot, so it goes straight to the worker that has it. What
// happens depends on where the client stands:
//
//     it waits for a server    it hears 57014 at once and leaves the line
//     it has a server          a new connection carries the request to that server
//     it is idle               nothing
//
// The connection that carries the request is outside the pool's bound, so that a full pool can still be cancelled;
// one at most is under way for each server. Until it is over the server serves nobody else: a late cancel must not
// hit the next client's query. The requester's connection is closed last, so that its driver knows when it is done.

import Configuration
import Console
import Pooling
import Reactor
import Wire

/// A connection that carries one cancel request to a server.
struct CancelConnection {
    let generation: UInt32
    var socket = SocketID.none
    let server: UInt32
    let serverGeneration: UInt32
    /// The clients that asked; none when a client vanished.
    var requesters: [CellAddress]
    let startedAt: Int64
}

extension Worker {
    // MARK: The key

    /// A fresh key for a client that logs in, as long as its protocol allows.
    mutating func makeCancelKey(_ index: UInt32) -> CancelKey {
        let isLong = (clients[index].pointee.login?.minorVersion ?? 0) >= longKeysMinorVersion
        var secret: [UInt8] = []
        while secret.count < (isLong ? CancelKey.longSecretBytes : CancelKey.shortSecretBytes) {
            withUnsafeBytes(of: UInt32(truncatingIfNeeded: randomWord())) { secret.append(contentsOf: $0) }
        }
        return CancelKey.encode(
            worker: UInt8(number), slot: index, generation: clients[index].pointee.generation, secret: secret)
    }

    // MARK: The request

    mutating func cancelRequested(_ index: UInt32, _ processID: Int32, _ secret: [UInt8]) {
        clients[index].pointee.state = .canceling
        let requester = CellAddress(worker: number, index: index, generation: clients[index].pointee.generation)
        guard let key = CancelKey(processID: processID, secret: secret), let place = key.decode(),
            Int(place.worker) < shared.workerCount
        else {
            log(.log, "\(name(ofClient: index)) failed cancel request")
            return closeClient(index, .cancelDone)
        }
        if Int(place.worker) == number {
            cancelClient(key, requester)
        } else {
            shared.ports[Int(place.worker)].post(.cancel(key, from: requester))
        }
    }

    /// A cancel request for a client of this worker.
    mutating func cancelClient(_ key: CancelKey, _ requester: CellAddress) {
        guard let place = key.decode(), clients.isLive(place.slot), clients[place.slot].pointee.cancelKey.matches(key),
            clients[place.slot].pointee.state == .ready || clients[place.slot].pointee.state == .console
        else {
            log(.log, "failed cancel request")
            return answer(requester)
        }
        let client = clients[place.slot]
        if client.pointee.state == .console {
            consoleCanceled(place.slot)
            return answer(requester)
        }
        if client.pointee.wait == .server {
            refuseWaiting(place.slot, canceled("The statement was waiting for a server connection."))
            return answer(requester)
        }
        if client.pointee.wait == .listener {
            failListen(place.slot, canceled("The statement was waiting for the connection that listens."))
            return answer(requester)
        }
        if client.pointee.wait == .settings {
            cancelSettings(place.slot)
            return answer(requester)
        }
        guard client.pointee.server >= 0, isCancelable(UInt32(client.pointee.server)) else {
            log(.debug, "cancel request for idle client")
            return answer(requester)
        }
        cancelQuery(ofServer: UInt32(client.pointee.server), requester: requester)
    }

    /// The client parts from a server that has not answered its settings, which ends alone.
    private mutating func cancelSettings(_ index: UInt32) {
        let server = UInt32(clients[index].pointee.server)
        unlink(index, server)
        servers[server].pointee.isOrphan = true
        servers[server].pointee.activeAt = now
        refuse(index, canceled("The statement was waiting for the settings of its session."))
    }

    private func canceled(_ detail: String) -> ErrorFields {
        ErrorFields(
            code: SQLState.queryCanceled, message: "canceling statement due to user request", detail: detail)
    }

    /// Whether a server works on something of its client's. What a replication client's server does is not looked at;
    /// nobody else can be hit there.
    private func isCancelable(_ index: UInt32) -> Bool {
        !servers[index].pointee.owed.isEmpty || servers[index].pointee.purpose == .replication
    }

    /// Sends a cancel request to a server over a connection of its own.
    mutating func cancelQuery(ofServer serverIndex: UInt32, requester: CellAddress?) {
        let server = servers[serverIndex]
        if let requester, server.pointee.cancelsUnderWay > 0 { return join(serverIndex, requester) }
        guard let address = server.pointee.address, !server.pointee.secret.isEmpty,
            let fd = try? SocketOptions.makeStreamSocket(for: address)
        else {
            if let requester { answer(requester) }
            return
        }
        let (now, generation) = (now, server.pointee.generation)
        let index = cancels.insert { _, own in
            CancelConnection(
                generation: own, server: serverIndex, serverGeneration: generation,
                requesters: requester.map { [$0] } ?? [], startedAt: now)
        }
        guard let index else {
            closeDescriptor(fd)
            if let requester { answer(requester) }
            return
        }
        server.pointee.cancelsUnderWay += 1
        cancels[index].pointee.socket = loop.connect(fd: fd, address: address, token: Token.make(.cancel, index))
    }

    /// A second request for the same query rides along with the first.
    private mutating func join(_ serverIndex: UInt32, _ requester: CellAddress) {
        for index in 0..<cancels.indexEnd
        where cancels.isLive(index) && cancels[index].pointee.server == serverIndex {
            return cancels[index].pointee.requesters.append(requester)
        }
        answer(requester)
    }

    // MARK: The connection that carries it

    mutating func handleCancel(_ event: Event, _ index: UInt32) {
        switch event.kind {
        case .connected:
            let cancel = cancels[index]
            guard servers.isLive(cancel.pointee.server, generation: cancel.pointee.serverGeneration) else {
                return endCancel(index, wasSent: false)
            }
            let server = servers[cancel.pointee.server]
            var writer = MessageWriter()
            writer.cancelRequest(processID: server.pointee.processID, secret: server.pointee.secret)
            writer.bytes.withUnsafeBytes { loop.send(cancel.pointee.socket, copying: $0) }
            // The server closes the connection when it has signalled its backend.
            loop.startReceiving(cancel.pointee.socket)
        case .closed: endCancel(index, wasSent: event.value == 0)
        case .received: loop.release(event.buffer)
        case .blocked, .drained, .accepted, .detached, .woken: break
        }
    }

    /// The request has been delivered, or cannot be.
    mutating func endCancel(_ index: UInt32, wasSent: Bool) {
        let cancel = cancels[index].pointee
        loop.close(cancel.socket, flushing: false)
        cancels.remove(index)
        log(.log, wasSent ? "successfully sent cancel request" : "cancel request could not be sent")
        for requester in cancel.requesters { answer(requester) }
        guard servers.isLive(cancel.server, generation: cancel.serverGeneration) else { return }
        let server = servers[cancel.server]
        server.pointee.cancelsUnderWay -= 1
        guard server.pointee.cancelsUnderWay == 0 else { return }
        if server.pointee.state == .beingCanceled { return release(cancel.server) }
        if server.pointee.client < 0, server.pointee.closeNeeded, server.pointee.state == .active {
            closeServer(cancel.server, .clientLeftQuery)
        }
    }

    /// Tells the requester's worker that its request has been dealt with.
    private mutating func answer(_ requester: CellAddress) {
        if requester.worker == number {
            cancelAnswered(requester.index, requester.generation)
        } else {
            shared.ports[requester.worker].post(
                .cancelDone(client: requester.index, generation: requester.generation))
        }
    }

    mutating func cancelAnswered(_ index: UInt32, _ generation: UInt32) {
        guard clients.isLive(index, generation: generation) else { return }
        closeClient(index, .cancelDone)
    }

    /// The requester left before its request was delivered; the request itself goes on.
    mutating func cancelRequesterLeft(_ index: UInt32) {
        let generation = clients[index].pointee.generation
        for cancel in 0..<cancels.indexEnd where cancels.isLive(cancel) {
            cancels[cancel].pointee.requesters.removeAll {
                $0.worker == number && $0.index == index && $0.generation == generation
            }
        }
    }

    /// Cancel connections that take too long are given up (`cancel_wait_timeout`).
    mutating func checkCancels() {
        let limit = settings.cancelWaitTimeoutMicroseconds
        guard limit > 0, cancels.count > 0 else { return }
        for index in 0..<cancels.indexEnd where cancels.isLive(index) {
            if now - cancels[index].pointee.startedAt > limit { endCancel(index, wasSent: false) }
        }
    }
}
