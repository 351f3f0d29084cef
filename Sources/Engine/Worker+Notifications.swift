// LISTEN, UNLISTEN and notifications in transaction and statement mode: the clients' side (ChannelHub has the picture).
//
// A client's LISTEN goes to its server like any statement, so that PostgreSQL checks it, answers it and rolls it back;
// only first the listening connection must have the channel, so that nothing can be missed. When the transaction is over
// the server is asked what it listens to: that is what the client listens to from now on.

import Configuration
import Pooling
import Reactor
import Wire

/// Whether a text with LISTEN may be passed on.
enum ChannelReadiness {
    case ready
    /// The listening connection does not have the channel yet.
    case waits
    case failed(ErrorFields)
}

extension Worker {
    func channelHub(_ database: String) -> ChannelHub? { channelHubs[database] }

    private mutating func madeChannelHub(_ database: String) -> ChannelHub {
        if let known = channelHubs[database] { return known }
        let made = ChannelHub(database: database)
        channelHubs[database] = made
        return made
    }

    /// The worker that has a database's listening connection.
    private func owner(of database: String) -> Int {
        Int(database.utf8.reduce(UInt(0)) { $0 &* 31 &+ UInt($1) } % UInt(shared.workerCount))
    }

    /// Gives a message to a worker, which may be this one.
    mutating func tell(_ worker: Int, _ message: WorkerMessage) {
        if worker == number { handle(message) } else { shared.ports[worker].post(message) }
    }

    // MARK: LISTEN

    /// A client is about to send these LISTENs.
    mutating func prepareChannels(_ effects: SessionEffects, _ index: UInt32) -> ChannelReadiness {
        guard effects.listens else { return .ready }
        let client = clients[index]
        if let error = client.pointee.channelError {
            client.pointee.channelError = nil
            return .failed(error.error)
        }
        let pool = pools[UInt32(client.pointee.pool)]
        let hub = madeChannelHub(pool.pointee.key.database)
        let own = client.pointee.notifications ?? ClientChannels()
        client.pointee.notifications = own
        var isReady = true
        for case .listen(let channel) in effects.channels {
            if own.tryOut(channel) { hub.subscribers[channel, default: []].append(index) }
            if !hub.ready.contains(channel) {
                isReady = false
                client.pointee.wait = .listener
                tell(
                    owner(of: hub.database),
                    .channelWanted(
                        database: hub.database, pool: pool.pointee.pool.bounds.identity, channel: channel,
                        worker: number))
            }
        }
        if isReady || areChannelsReady(index, hub) {
            client.pointee.wait = .none
            return .ready
        }
        if let error = client.pointee.channelError {
            client.pointee.channelError = nil
            client.pointee.wait = .none
            return .failed(error.error)
        }
        return .waits
    }

    private func areChannelsReady(_ index: UInt32, _ hub: ChannelHub) -> Bool {
        clients[index].pointee.notifications?.tentative.isSubset(of: hub.ready) ?? true
    }

    /// The listening connection has a channel.
    mutating func channelReady(_ database: String, _ channel: String, wasLost: Bool) {
        guard let hub = channelHub(database), let subscribers = hub.subscribers[channel] else { return }
        hub.ready.insert(channel)
        for index in subscribers {
            guard hub.subscribers[channel]?.contains(index) ?? false else { continue }
            if wasLost { tellOfGap(index, channel) }
            if clients[index].pointee.wait == .listener, !clients[index].pointee.held.isNone,
                areChannelsReady(index, hub)
            {
                resumeAfterAnswers(index)
            }
        }
    }

    /// The listening connection cannot have a channel: clients that wait for it get the error.
    mutating func channelFailed(_ database: String, _ channel: String, _ error: ErrorFields) {
        guard let hub = channelHub(database), let subscribers = hub.subscribers[channel] else { return }
        for index in subscribers where clients[index].pointee.wait == .listener {
            clients[index].pointee.channelError = Refusal(error)
            settleChannels(index, [], isListening: { _ in false }, unlistens: false)
            // Its bytes are held, unless it is only just asking.
            if !clients[index].pointee.held.isNone { resumeAfterAnswers(index) }
        }
    }

    // MARK: The transaction is over

    /// It is known what came of a client's LISTENs and UNLISTENs.
    mutating func settleChannels(
        _ index: UInt32, _ changes: [SessionEffects.ChannelChange], isListening: (String) -> Bool, unlistens: Bool
    ) {
        let client = clients[index]
        guard let own = client.pointee.notifications, client.pointee.pool >= 0 else { return }
        let database = pools[UInt32(client.pointee.pool)].pointee.key.database
        for channel in own.settle(changes, isListening: isListening, unlistens: unlistens) {
            leaveChannel(database, channel, index)
        }
        if own.isEmpty { client.pointee.notifications = nil }
    }

    private mutating func leaveChannel(_ database: String, _ channel: String, _ index: UInt32) {
        guard let hub = channelHub(database) else { return }
        hub.subscribers[channel]?.removeAll { $0 == index }
        guard hub.subscribers[channel]?.isEmpty ?? false else { return }
        hub.subscribers[channel] = nil
        hub.ready.remove(channel)
        tell(owner(of: database), .channelGivenUp(database: database, channel: channel, worker: number))
    }

    /// A client is going away.
    mutating func dropChannels(ofClient index: UInt32) {
        settleChannels(index, [.unlistenAll], isListening: { _ in false }, unlistens: true)
        clients[index].pointee.notifications = nil
    }

    // MARK: Delivery

    /// A notification for this worker's clients.
    mutating func notified(_ database: String, _ channel: String, _ message: [UInt8]) {
        guard let subscribers = channelHub(database)?.subscribers[channel] else { return }
        for index in subscribers {
            guard let own = clients[index].pointee.notifications else { continue }
            if own.add(message, channel: channel) {
                deliverNotifications(index)
            } else {
                closeClient(index, .fatal(tooManyNotifications))
            }
        }
    }

    /// Sends what waits for a client, if it is between transactions and takes it.
    mutating func deliverNotifications(_ index: UInt32) {
        let client = clients[index]
        guard let own = client.pointee.notifications, !own.queue.isEmpty, client.pointee.state == .ready,
            isBetweenTransactions(client), !loop.isBlocked(client.pointee.socket)
        else { return }
        let socket = client.pointee.socket
        for message in own.takeQueue() { message.withUnsafeBytes { loop.send(socket, copying: $0) } }
        if own.isEmpty { client.pointee.notifications = nil }
    }

    private func isBetweenTransactions(_ client: UnsafeMutablePointer<Client>) -> Bool {
        guard client.pointee.server >= 0 else { return client.pointee.responder.isFinished }
        let server = servers[UInt32(client.pointee.server)]
        return server.pointee.owed.isEmpty && server.pointee.transactionStatus == TransactionStatus.idle
    }

    private mutating func tellOfGap(_ index: UInt32, _ channel: String) {
        guard let own = clients[index].pointee.notifications, own.channels.contains(channel) else { return }
        var writer = MessageWriter()
        writer.noticeResponse(
            ErrorFields(
                severity: "WARNING", code: SQLState.connectionFailure,
                message: "notifications on channel \"\(channel)\" may have been missed",
                detail: "The connection that listens was lost and is there again."))
        own.add(writer.bytes)
        deliverNotifications(index)
    }

    private var tooManyNotifications: ErrorFields {
        fatalFields(
            SQLState.programLimitExceeded, "too many notifications wait for this client",
            detail: "They take more than \(ClientChannels.bytesMax) bytes.",
            hint: "Read notifications more often, and keep transactions of listening clients short.")
    }
}
