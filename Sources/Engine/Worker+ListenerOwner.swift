// LISTEN in transaction and statement mode: the side of the worker that has a database's listening connection.

import Configuration
import Pooling
import Reactor
import Wire

extension Worker {
    /// A worker wants a channel of a database that this one owns.
    mutating func channelWanted(_ database: String, pool: Int, _ channel: String, worker: Int, serial: UInt64) {
        let hub = channelHub(database)
        if let key = shared.poolKey(identity: pool) { hub.pool = key }
        if hub.channels.want(channel, worker: worker, serial: serial) {
            return tell(worker, .channelReady(database: database, channel: channel, serial: serial, wasLost: false))
        }
        guard hub.server < 0 else { return listen([channel], hub) }
        if now >= hub.retryAt { openListener(hub) }
    }

    mutating func channelGivenUp(_ database: String, _ channel: String, worker: Int) {
        guard let hub = channelHubs[database], hub.channels.giveUp(channel, worker: worker) else { return }
        hub.unusedSince = now
        if hub.isLoggedIn { send(.unlisten(channel), hub) }
    }

    private mutating func listen(_ channels: [String], _ hub: ChannelHub) {
        guard hub.isLoggedIn else { return }
        for channel in channels where hub.channels.needsListen(channel) { send(.listen(channel), hub) }
    }

    private mutating func send(_ command: ListenerChannels.Command, _ hub: ChannelHub) {
        if !hub.channels.awaitsAnswer { hub.askedAt = now }
        hub.channels.sent(command)
        sendToListener(UInt32(hub.server), command.query)
    }

    private mutating func openListener(_ hub: ChannelHub) {
        guard let key = hub.pool,
            let options = configuration.value.database(named: key.database)
        else { return listenerFailed(hub, noServer("the database is not configured any more")) }
        let poolIndex = pool(for: key, options)
        if let bound = boundOfOne(pools[poolIndex].pointee.pool.bounds) {
            return listenerFailed(hub, noServer("\(bound) is 1, and clients need a connection too"))
        }
        switch makeDedicatedServer(
            poolIndex, for: .listener,
            parameters: [
                (name: "application_name", value: "weir listener"), (name: "client_encoding", value: "UTF8"),
            ])
        {
        case .paused: hub.retryAt = now + ChannelHub.retryAfterMin
        case .full(let error): listenerFailed(hub, noServer(error.message))
        case .made(let server):
            hub.server = Int32(server)
            hub.isLoggedIn = false
            hub.error = nil
            connectDedicatedServer(server)
        }
    }

    /// What allows one connection only: if it were the one that listens, no client would ever have a server.
    private func boundOfOne(_ bounds: PoolBounds) -> String? {
        if bounds.database.limit == 1 { return "max_db_connections" }
        return bounds.user.limit == 1 ? "max_user_connections" : nil
    }

    private func noServer(_ cause: String) -> ErrorFields {
        ErrorFields(
            code: SQLState.connectionFailure, message: "no server connection to listen on", detail: cause,
            hint: "The client connection is still usable: try again.")
    }

    /// It cannot be opened: who waits is told, and later it is tried again for who listened before.
    private mutating func listenerFailed(_ hub: ChannelHub, _ error: ErrorFields) {
        hub.retryAt = now + hub.retryAfter
        hub.retryAfter = min(hub.retryAfter * 2, ChannelHub.retryAfterMax)
        hub.unusedSince = now
        for outcome in hub.channels.failed() { tell(outcome, hub, error) }
    }

    /// Tells those who want a channel what became of it.
    private mutating func tell(_ outcome: ListenerChannels.Outcome, _ hub: ChannelHub, _ error: ErrorFields?) {
        for (worker, serial) in outcome.workers {
            if let error {
                tell(
                    worker,
                    .channelFailed(database: hub.database, channel: outcome.channel, serial: serial, error: error))
            } else {
                tell(
                    worker,
                    .channelReady(
                        database: hub.database, channel: outcome.channel, serial: serial, wasLost: outcome.wasLost))
            }
        }
    }

    /// A listener tells its worker something.
    mutating func listenerEvent(_ poolIndex: UInt32, _ index: UInt32, _ event: ListenerEvent) {
        guard let hub = channelHubs[pools[poolIndex].pointee.key.database], hub.server == Int32(index) else { return }
        switch event {
        case .loggedIn:
            hub.isLoggedIn = true
            hub.retryAfter = ChannelHub.retryAfterMin
            listen(hub.channels.needingListen, hub)
        case .notification(let message): passOn(hub, message)
        case .failed(let error): hub.error = Refusal(error)
        case .answered: listenerAnswered(hub)
        case .ended(let reason): listenerEnded(hub, reason)
        }
    }

    private mutating func listenerAnswered(_ hub: ChannelHub) {
        let error = hub.error?.error
        hub.error = nil
        guard let outcome = hub.channels.answered(hasFailed: error != nil) else { return }
        if error != nil {
            hub.unusedSince = now
            // A standby refuses LISTEN until it is promoted: it is asked again.
            hub.hasRefused = true
            hub.retryAt = now + ChannelHub.retryAfterMax
        }
        tell(outcome, hub, error)
    }

    private mutating func listenerEnded(_ hub: ChannelHub, _ reason: ServerCloseReason) {
        hub.server = -1
        hub.hasRefused = false
        hub.channels.lost()
        for worker in 0..<shared.workerCount { tell(worker, .channelsLost(database: hub.database)) }
        if hub.isLoggedIn {
            hub.isLoggedIn = false
            hub.retryAt = now + ChannelHub.retryAfterMin
        } else {
            listenerFailed(hub, noServer(reason.text))
        }
    }

    mutating func channelsLost(_ database: String) {
        guard let hub = channelHubs[database] else { return }
        for channel in hub.subscriptions.keys { hub.subscriptions[channel]?.isReady = false }
    }

    private mutating func passOn(_ hub: ChannelHub, _ message: UnsafeRawBufferPointer) {
        // Tag, length and process id come before the channel's name.
        guard message.count > 9, let end = message[9...].firstIndex(of: 0) else { return }
        let channel = String(decoding: message[9..<end], as: UTF8.self)
        let bytes = Array(message)
        for worker in hub.channels.workers(of: channel) {
            tell(worker, .notification(database: hub.database, channel: channel, message: bytes))
        }
    }

    /// Opens connections again that were lost, and closes those that nobody has used for a while.
    mutating func checkListeners() {
        for hub in channelHubs.values {
            checkAnswers(hub)
            if hub.channels.isEmpty {
                if hub.server >= 0, now - hub.unusedSince > ChannelHub.unusedMax {
                    closeServer(UInt32(hub.server), .idleTimeout)
                }
                if hub.server < 0, hub.subscriptions.isEmpty { channelHubs[hub.database] = nil }
            } else if now >= hub.retryAt {
                if hub.server < 0 { openListener(hub) }
                guard hub.hasRefused else { continue }
                hub.hasRefused = false
                listen(hub.channels.needingListen, hub)
            }
        }
    }

    /// A connection whose peer is gone says nothing, as one that has nothing to say: it is asked now and then, and lost
    /// if it does not answer.
    private mutating func checkAnswers(_ hub: ChannelHub) {
        guard hub.server >= 0, hub.isLoggedIn else { return }
        let server = servers[UInt32(hub.server)]
        let timeouts = pools[UInt32(server.pointee.pool)].pointee.timeouts
        let silence = now - max(server.pointee.activeAt, hub.askedAt)
        if !hub.channels.awaitsAnswer {
            if silence > (timeouts.serverCheckDelay > 0 ? timeouts.serverCheckDelay : ChannelHub.silenceMax) {
                send(.check, hub)
            }
        } else if timeouts.serverConnect > 0, silence > timeouts.serverConnect {
            closeServer(UInt32(hub.server), .silent)
        }
    }
}
