// The channels of one database's listening connection: which workers want which, and which the connection is sure to
// listen to.
//
//     wanted ──LISTEN sent──▶ under way ──answered──▶ confirmed
//        ▲                                               │
//        └──────────── the connection is lost ───────────┘
//
// A worker may pass a client's own LISTEN on to a server once its channel is confirmed: a notification sent after that
// LISTEN is committed cannot be missed then.

/// The channels of one listening connection.
public struct ListenerChannels: ~Copyable {
    /// The command that was sent for a channel.
    public enum Command: Equatable, Sendable {
        case listen(String)
        case unlisten(String)

        /// Its SQL.
        public var query: String {
            switch self {
            case .listen(let channel): "LISTEN \(quotedIdentifier(channel))"
            case .unlisten(let channel): "UNLISTEN \(quotedIdentifier(channel))"
            }
        }
    }

    private struct Channel {
        var workers: Set<Int> = []
        var isConfirmed = false
        /// It was confirmed on a connection that was lost, so that notifications may have been missed.
        var wasLost = false
    }

    private var channels: [String: Channel] = [:]
    /// The commands that were sent and not answered.
    private var underWay: [Command] = []

    /// No channels.
    public init() {}

    /// Whether nobody wants any channel.
    public var isEmpty: Bool { channels.isEmpty }

    /// Everything that is wanted.
    public var names: [String] { Array(channels.keys) }

    /// A worker wants a channel. True when it is confirmed already.
    public mutating func want(_ channel: String, worker: Int) -> Bool {
        channels[channel, default: Channel()].workers.insert(worker)
        return channels[channel]?.isConfirmed ?? false
    }

    /// Whether a LISTEN has to be sent for a channel: it is neither confirmed nor under way.
    public func needsListen(_ channel: String) -> Bool {
        guard let known = channels[channel], !known.isConfirmed else { return false }
        let last = underWay.last { $0 == .listen(channel) || $0 == .unlisten(channel) }
        return last != .listen(channel)
    }

    /// A worker has no use for a channel any more. True when an UNLISTEN has to be sent.
    public mutating func giveUp(_ channel: String, worker: Int) -> Bool {
        guard channels[channel]?.workers.remove(worker) != nil, channels[channel]?.workers.isEmpty ?? false else {
            return false
        }
        channels[channel] = nil
        return true
    }

    /// A command was sent.
    public mutating func sent(_ command: Command) { underWay.append(command) }

    /// What a confirmed channel's workers are told.
    public struct Outcome {
        public var channel: String
        public var workers: Set<Int>
        /// The connection was lost in between: notifications may have been missed.
        public var wasLost: Bool
    }

    /// The oldest command was answered; what follows from it for the workers, if anything. A channel that could not be
    /// listened to is forgotten: who wants it is told.
    public mutating func answered(hasFailed: Bool) -> Outcome? {
        guard !underWay.isEmpty else { return nil }
        guard case .listen(let channel) = underWay.removeFirst(), let known = channels[channel] else { return nil }
        let outcome = Outcome(channel: channel, workers: known.workers, wasLost: known.wasLost)
        if hasFailed {
            channels[channel] = nil
            return outcome
        }
        // An UNLISTEN and another LISTEN may have been sent since.
        let isLast = !underWay.contains { $0 == .unlisten(channel) }
        if isLast {
            channels[channel]?.isConfirmed = true
            channels[channel]?.wasLost = false
        }
        return isLast ? outcome : nil
    }

    /// The workers that a notification on a channel is for.
    public func workers(of channel: String) -> Set<Int> { channels[channel]?.workers ?? [] }

    /// The connection is lost: every channel has to be listened to anew.
    public mutating func lost() {
        underWay = []
        for name in channels.keys where channels[name]?.isConfirmed ?? false {
            channels[name]?.isConfirmed = false
            channels[name]?.wasLost = true
        }
    }

    /// No connection can be had: who waits for a channel is told. Channels that were confirmed before are still wanted.
    public mutating func failed() -> [Outcome] {
        underWay = []
        var outcomes: [Outcome] = []
        for (name, channel) in channels where !channel.isConfirmed {
            outcomes.append(Outcome(channel: name, workers: channel.workers, wasLost: channel.wasLost))
        }
        for outcome in outcomes where !outcome.wasLost { channels[outcome.channel] = nil }
        return outcomes
    }
}

/// An SQL identifier in double quotes.
public func quotedIdentifier(_ name: String) -> String {
    "\"" + name.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
}
