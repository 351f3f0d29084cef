// The channels of one database's listening connection: which workers want which, and which the connection is sure to
// listen to.
//
//     wanted ──LISTEN sent──▶ under way ──answered──▶ confirmed
//        ▲                                               │
//        └──────────── the connection is lost ───────────┘
//
// A worker may pass a client's own LISTEN on to a server once its channel is confirmed: a notification sent after that
// LISTEN is committed cannot be missed then. A worker can give a channel up and want it again before it has its answer;
// so each time it wants it under another serial, which stands in the answer.

/// The channels of one listening connection.
public struct ListenerChannels: ~Copyable {
    /// A command that was sent.
    public enum Command: Equatable, Sendable {
        case listen(String)
        case unlisten(String)
        /// Nothing but a question whether the connection answers.
        case check

        /// Its SQL.
        public var query: String {
            switch self {
            case .listen(let channel): "LISTEN \(quotedIdentifier(channel))"
            case .unlisten(let channel): "UNLISTEN \(quotedIdentifier(channel))"
            case .check: ""
            }
        }

        var channel: String? {
            switch self {
            case .listen(let channel), .unlisten(let channel): channel
            case .check: nil
            }
        }
    }

    private struct Channel {
        /// Who wants it, with the serials under which they do.
        var workers: [Int: UInt64] = [:]
        var isConfirmed = false
        /// It was confirmed on a connection that was lost, so that notifications may have been missed.
        var wasLost = false
    }

    /// The commands for a channel that were sent and not answered.
    private struct Sent {
        var count = 0
        var endsWithListen = false
    }

    private var channels: [String: Channel] = [:]
    private var sent: [String: Sent] = [:]
    /// The commands that were sent; those before `answeredCount` have been answered.
    private var underWay: [Command] = []
    private var answeredCount = 0

    /// No channels.
    public init() {}

    /// Whether nobody wants any channel.
    public var isEmpty: Bool { channels.isEmpty }

    /// The channels for which a LISTEN has to be sent.
    public var needingListen: [String] { channels.keys.filter { needsListen($0) }.sorted() }

    /// A worker wants a channel, from now on under this serial. True when it is confirmed already.
    public mutating func want(_ channel: String, worker: Int, serial: UInt64) -> Bool {
        channels[channel, default: Channel()].workers[worker] = serial
        return channels[channel]?.isConfirmed ?? false
    }

    /// Whether a LISTEN has to be sent for a channel: it is neither confirmed nor under way.
    public func needsListen(_ channel: String) -> Bool {
        guard let known = channels[channel], !known.isConfirmed else { return false }
        return !(sent[channel]?.endsWithListen ?? false)
    }

    /// A worker has no use for a channel any more. True when an UNLISTEN has to be sent.
    public mutating func giveUp(_ channel: String, worker: Int) -> Bool {
        guard channels[channel]?.workers.removeValue(forKey: worker) != nil,
            channels[channel]?.workers.isEmpty ?? false
        else { return false }
        channels[channel] = nil
        return true
    }

    /// A command was sent.
    public mutating func sent(_ command: Command) {
        underWay.append(command)
        guard let channel = command.channel else { return }
        sent[channel, default: Sent()].count += 1
        sent[channel]?.endsWithListen = command == .listen(channel)
    }

    /// Whether a command that was sent has not been answered.
    public var awaitsAnswer: Bool { answeredCount < underWay.count }

    /// What a channel's workers are told.
    public struct Outcome {
        /// The channel.
        public var channel: String
        /// Who is told, with the serials under which they want it.
        public var workers: [Int: UInt64]
        /// The connection was lost in between: notifications may have been missed.
        public var wasLost: Bool
    }

    /// The oldest command was answered; what follows from it for the workers, if anything. A channel that could not be
    /// listened to is forgotten, unless it once was: then it is wanted still.
    public mutating func answered(hasFailed: Bool) -> Outcome? {
        guard answeredCount < underWay.count else { return nil }
        let command = underWay[answeredCount]
        answeredCount += 1
        if answeredCount == underWay.count || answeredCount > 1_000 {
            underWay.removeFirst(answeredCount)
            answeredCount = 0
        }
        guard let name = command.channel else { return nil }
        let left = (sent[name]?.count ?? 1) - 1
        if left > 0 { sent[name]?.count = left } else { sent[name] = nil }
        // An UNLISTEN and another LISTEN may have been sent since.
        guard case .listen(let channel) = command, left == 0, let known = channels[channel] else { return nil }
        let outcome = Outcome(channel: channel, workers: known.workers, wasLost: known.wasLost)
        if !hasFailed {
            channels[channel]?.isConfirmed = true
            channels[channel]?.wasLost = false
        } else if !known.wasLost {
            channels[channel] = nil
        }
        return outcome
    }

    /// The workers that a notification on a channel is for.
    public func workers(of channel: String) -> [Int] { channels[channel].map { Array($0.workers.keys) } ?? [] }

    /// The connection is lost: every channel has to be listened to anew.
    public mutating func lost() {
        forgetSent()
        for name in channels.keys where channels[name]?.isConfirmed ?? false {
            channels[name]?.isConfirmed = false
            channels[name]?.wasLost = true
        }
    }

    /// No connection can be had: who waits for a channel is told. Channels that were confirmed before are still wanted.
    public mutating func failed() -> [Outcome] {
        forgetSent()
        var outcomes: [Outcome] = []
        for (name, channel) in channels where !channel.isConfirmed {
            outcomes.append(Outcome(channel: name, workers: channel.workers, wasLost: channel.wasLost))
        }
        for outcome in outcomes where !outcome.wasLost { channels[outcome.channel] = nil }
        return outcomes
    }

    private mutating func forgetSent() {
        underWay = []
        answeredCount = 0
        sent = [:]
    }
}
