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
    /// A database's channels in this worker, made if there are none yet.
    mutating func channelHub(_ database: String) -> ChannelHub {
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
        if effects.hasUnreadableChannel { return .failed(unreadableChannel) }
        if let error = takeChannelError(index) { return .failed(error) }
        let pool = pools[UInt32(clients[index].pointee.pool)]
        let hub = channelHub(pool.pointee.key.database)
        let own = clients[index].pointee.notifications ?? ClientChannels()
        clients[index].pointee.notifications = own
        let names = effects.listenedChannels
        guard let news = own.await(names) else { return .failed(tooManyChannels) }
        for channel in news {
            let subscription = ChannelHub.Subscription(serial: shared.nextIdentifier())
            hub.subscriptions[channel, default: subscription].clients.append(index)
        }
        wantChannels(index, hub, pool.pointee.pool.bounds.identity)
        if let error = takeChannelError(index) { return .failed(error) }
        guard areChannelsReady(index, hub) else { return .waits }
        own.passedOn(names)
        return .ready
    }

    /// Asks for what the listening connection does not have yet. The owner may be this worker, and answer within the call.
    private mutating func wantChannels(_ index: UInt32, _ hub: ChannelHub, _ pool: Int) {
        guard let own = clients[index].pointee.notifications, !areChannelsReady(index, hub) else { return }
        clients[index].pointee.wait = .listener
        for channel in own.awaited {
            guard let wanted = hub.subscriptions[channel], !wanted.isReady else { continue }
            tell(
                owner(of: hub.database),
                .channelWanted(
                    database: hub.database, pool: pool, channel: channel, worker: number, serial: wanted.serial))
        }
        clients[index].pointee.wait = .none
    }

    /// Why the LISTENs of a client cannot be passed on, if they cannot; they are awaited no more.
    private mutating func takeChannelError(_ index: UInt32) -> ErrorFields? {
        guard let error = clients[index].pointee.channelError else { return nil }
        clients[index].pointee.channelError = nil
        dropAwaitedChannels(index)
        return error.error
    }

    private func areChannelsReady(_ index: UInt32, _ hub: ChannelHub) -> Bool {
        clients[index].pointee.notifications?.awaited.allSatisfy { hub.isReady($0) } ?? true
    }

    /// The listening connection has a channel.
    mutating func channelReady(_ database: String, _ channel: String, serial: UInt64, wasLost: Bool) {
        guard let hub = channelHubs[database], hub.subscriptions[channel]?.serial == serial else { return }
        hub.subscriptions[channel]?.isReady = true
        for index in subscribers(hub, channel) where listens(index, channel) {
            if wasLost { tellOfGap(index, channel) }
            if isAwaiting(index, channel), !clients[index].pointee.held.isNone, areChannelsReady(index, hub) {
                resumeAfterAnswers(index)
            }
        }
    }

    /// The listening connection cannot have a channel: clients that wait for it get the error.
    mutating func channelFailed(_ database: String, _ channel: String, serial: UInt64, _ error: ErrorFields) {
        guard let hub = channelHubs[database], hub.subscriptions[channel]?.serial == serial else { return }
        for index in subscribers(hub, channel) where isAwaiting(index, channel) {
            failListen(index, error)
        }
    }

    /// A client's LISTEN that waits for the listening connection gets an error.
    mutating func failListen(_ index: UInt32, _ error: ErrorFields) {
        clients[index].pointee.channelError = Refusal(error)
        // Its bytes are held, unless it is only just asking.
        if !clients[index].pointee.held.isNone { resumeAfterAnswers(index) }
    }

    /// Those who have to do with a channel: a copy, since some may leave while it is walked.
    private func subscribers(_ hub: ChannelHub, _ channel: String) -> [UInt32] {
        hub.subscriptions[channel]?.clients ?? []
    }

    /// Whether a client is still there and has to do with a channel.
    private func listens(_ index: UInt32, _ channel: String) -> Bool {
        clients.isLive(index) && clients[index].pointee.notifications?.wants(channel) ?? false
    }

    private func isAwaiting(_ index: UInt32, _ channel: String) -> Bool {
        clients.isLive(index) && clients[index].pointee.wait == .listener
            && clients[index].pointee.notifications?.awaited.contains(channel) ?? false
    }

    // MARK: The transaction is over

    /// It is known what came of a client's LISTENs and UNLISTENs.
    mutating func settleChannels(_ index: UInt32, _ changes: [ChannelChange], isListening: (String) -> Bool) {
        guard !changes.isEmpty, let own = clients[index].pointee.notifications else { return }
        leaveChannels(own.settle(changes, isListening: isListening), index)
    }

    /// A client and its server part: nothing will be heard of LISTENs that are still under way.
    ///
    /// - Parameter unanswered: what was done in a transaction that is over, of which the server was still asked.
    mutating func partChannels(_ index: UInt32, _ unanswered: SessionEffects?) {
        let client = clients[index]
        guard let own = client.pointee.notifications else { return }
        if let unanswered {
            // The client was told that it is over: what was not undone has happened.
            let assumed = unanswered.channels.listenedTo
            settleChannels(index, unanswered.channels.list) { assumed.contains($0) }
        }
        if own.isUnderWay { leaveChannels(own.dropUnderWay(), index) }
        if client.pointee.wait == .none { giveUpListens(index) }
    }

    /// The LISTENs of a client that waited for their channels will not be passed on.
    mutating func giveUpListens(_ index: UInt32) {
        clients[index].pointee.channelError = nil
        dropAwaitedChannels(index)
    }

    private mutating func dropAwaitedChannels(_ index: UInt32) {
        guard let own = clients[index].pointee.notifications, !own.awaited.isEmpty else { return }
        leaveChannels(own.dropAwaited(), index)
    }

    private mutating func leaveChannels(_ channels: [String], _ index: UInt32) {
        let client = clients[index]
        guard client.pointee.pool >= 0 else { return }
        let database = pools[UInt32(client.pointee.pool)].pointee.key.database
        for channel in channels { leaveChannel(database, channel, index) }
        if client.pointee.notifications?.isEmpty ?? false { client.pointee.notifications = nil }
    }

    private mutating func leaveChannel(_ database: String, _ channel: String, _ index: UInt32) {
        guard let hub = channelHubs[database] else { return }
        hub.subscriptions[channel]?.clients.removeAll { $0 == index }
        guard hub.subscriptions[channel]?.clients.isEmpty ?? false else { return }
        hub.subscriptions[channel] = nil
        tell(owner(of: database), .channelGivenUp(database: database, channel: channel, worker: number))
    }

    /// A client is going away.
    mutating func dropChannels(ofClient index: UInt32) {
        guard let own = clients[index].pointee.notifications else { return }
        leaveChannels(own.dropAwaited(), index)
        leaveChannels(own.dropUnderWay(), index)
        leaveChannels(own.settle([.unlistenAll]) { _ in false }, index)
        clients[index].pointee.notifications = nil
    }

    // MARK: Delivery

    /// A notification for this worker's clients.
    mutating func notified(_ database: String, _ channel: String, _ message: [UInt8]) {
        guard let hub = channelHubs[database] else { return }
        for index in subscribers(hub, channel) where listens(index, channel) { give(message, channel, to: index) }
    }

    /// Gives a client a message as soon as it may have it.
    private mutating func give(_ message: [UInt8], _ channel: String, to index: UInt32) {
        guard clients[index].pointee.notifications?.add(message, channel: channel) ?? true else {
            return closeClient(index, .fatal(tooManyNotifications))
        }
        deliverNotifications(index)
    }

    private mutating func tellOfGap(_ index: UInt32, _ channel: String) {
        guard clients[index].pointee.notifications?.addGap(channel, notice: gapNotice) ?? true else {
            return closeClient(index, .fatal(tooManyNotifications))
        }
        deliverNotifications(index)
    }

    /// Sends what waits for a client, if it is between transactions and takes it.
    mutating func deliverNotifications(_ index: UInt32) {
        let client = clients[index]
        guard let own = client.pointee.notifications, own.hasWaiting, client.pointee.state == .ready,
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
            && !isReplyCut(server)
    }

    // MARK: Errors

    private var unreadableChannel: ErrorFields {
        ErrorFields(
            code: SQLState.featureNotSupported, message: "the name of the channel is not UTF-8",
            detail: "Server connections are shared, and one connection listens for all clients.")
    }

    private var tooManyChannels: ErrorFields {
        ErrorFields(
            code: SQLState.programLimitExceeded, message: "too many channels",
            detail: "A client may listen to \(ClientChannels.channelsMax).")
    }

    private var tooManyNotifications: ErrorFields {
        fatalFields(
            SQLState.programLimitExceeded, "too many notifications wait for this client",
            detail: "They take more than \(ClientChannels.bytesMax) bytes.",
            hint: "Read notifications more often, and keep transactions of listening clients short.")
    }
}

/// A WARNING that notifications may have been missed, on a channel or on several.
private func gapNotice(_ channel: String?) -> [UInt8] {
    let channels = channel.map { "channel \"\($0)\"" } ?? "other channels"
    var writer = MessageWriter()
    writer.noticeResponse(
        ErrorFields(
            severity: "WARNING", code: SQLState.connectionFailure,
            message: "notifications on \(channels) may have been missed",
            detail: "The connection that listens was lost and is there again."))
    return writer.bytes
}
