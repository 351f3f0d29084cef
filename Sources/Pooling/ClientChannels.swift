// The channels that one client listens to, and the notifications that wait for it.
//
//     LISTEN ──▶ awaited ──the listening connection has it──▶ under way ──committed──▶ listened to
//                   └───────────── failed, or rolled back ───────┴──▶ nothing
//
// What arrives for a channel whose LISTEN is under way is kept in its place among the others: when the transaction is
// over it is delivered or dropped. What arrives for an awaited channel came before its LISTEN, and is none of the
// client's. Transactions can overlap here (a client sends on while it is asked what became of the last one), so LISTENs
// that are under way are counted, and each transaction settles its own.

/// One client's channels and waiting notifications; a class so that a client without any pays a word.
public final class ClientChannels {
    /// How many bytes of notifications may wait for one client.
    public static var bytesMax: Int { 1 << 20 }
    /// How many channels one client may listen to.
    public static var channelsMax: Int { 10_000 }

    /// How many channels of which notifications may have been missed are named, before one notice stands for the rest.
    public static var gapsMax: Int { 100 }

    private struct Waiting {
        /// Nil when it is about several.
        var channel: String?
        var message: [UInt8]
        var isGap = false
    }

    /// The channels that it listens to.
    public private(set) var channels: Set<String> = []
    /// The channels of LISTENs that have not been passed on yet.
    public private(set) var awaited: Set<String> = []
    /// How many LISTENs of a channel were passed on whose transaction is not settled.
    private var underWay: [String: Int] = [:]
    private var queue: [Waiting] = []
    /// How many bytes wait.
    public private(set) var bytes = 0
    /// How many notices of gaps wait.
    private var gapsWaiting = 0

    /// No channels.
    public init() {}

    /// Whether it has no use for this any more.
    public var isEmpty: Bool { channels.isEmpty && awaited.isEmpty && underWay.isEmpty && queue.isEmpty }

    /// Whether a LISTEN was passed on whose transaction is not settled.
    public var isUnderWay: Bool { !underWay.isEmpty }

    /// Whether it listens to a channel, or may soon.
    public func wants(_ channel: String) -> Bool {
        channels.contains(channel) || underWay[channel] != nil || awaited.contains(channel)
    }

    // MARK: LISTEN

    /// LISTENs are to be passed on, as soon as the listening connection has these channels.
    ///
    /// - Returns: those that it had no use for before; nil when they are too many.
    public func await(_ names: [String]) -> [String]? {
        var news = Set<String>()
        for name in names where !wants(name) { news.insert(name) }
        guard channels.count + underWay.count + awaited.count + news.count <= Self.channelsMax else { return nil }
        awaited.formUnion(names)
        return news.sorted()
    }

    /// These LISTENs, awaited until now, are passed on.
    public func passedOn(_ names: [String]) {
        for name in names {
            awaited.remove(name)
            underWay[name, default: 0] += 1
        }
    }

    /// What is awaited will not be passed on. Returns the channels that it has no use for any more.
    public func dropAwaited() -> [String] {
        let dropped = awaited
        awaited = []
        return dropped.filter { !wants($0) }.sorted()
    }

    // MARK: The transaction is over

    /// A transaction is over.
    ///
    /// - Parameters:
    ///   - changes: its LISTENs in their order, and the UNLISTENs among them that count.
    ///   - isListening: whether the server's session has come to listen to a channel.
    /// - Returns: the channels that it has no use for any more.
    public func settle(_ changes: [ChannelChange], isListening: (String) -> Bool) -> [String] {
        var before = channels
        for change in changes {
            switch change {
            case .listen(let channel):
                before.insert(channel)
                if isListening(channel) { channels.insert(channel) }
                if let count = underWay[channel] { underWay[channel] = count > 1 ? count - 1 : nil }
            case .unlisten(let channel): channels.remove(channel)
            case .unlistenAll: channels.removeAll()
            case .savepoint, .release, .rollbackTo, .rollback, .commit: break
            }
        }
        return dropUnwanted(before)
    }

    /// The server is gone, and with it what it was to say of the LISTENs that are under way.
    public func dropUnderWay() -> [String] {
        let before = Set(underWay.keys)
        underWay = [:]
        return dropUnwanted(before)
    }

    private func dropUnwanted(_ before: Set<String>) -> [String] {
        queue.removeAll { waiting in
            let isDropped = !isKept(waiting.channel)
            if isDropped { noteRemoval(waiting) }
            return isDropped
        }
        return before.filter { !wants($0) }.sorted()
    }

    private func isKept(_ channel: String?) -> Bool {
        guard let channel else { return !channels.isEmpty || !underWay.isEmpty }
        return channels.contains(channel) || underWay[channel] != nil
    }

    private func noteRemoval(_ waiting: Waiting) {
        bytes -= waiting.message.count
        if waiting.isGap { gapsWaiting -= 1 }
    }

    // MARK: Notifications

    /// A notification is for this client. False when too much waits.
    public func add(_ message: [UInt8], channel: String) -> Bool { add(Waiting(channel: channel, message: message)) }

    /// Notifications on a channel may have been missed. False when too much waits.
    ///
    /// - Parameter notice: what the client is told of a channel; of several, if that is nil.
    public func addGap(_ channel: String, notice: (String?) -> [UInt8]) -> Bool {
        // The one that stands for the rest is not said twice.
        guard isKept(channel), gapsWaiting <= Self.gapsMax else { return true }
        let named = gapsWaiting < Self.gapsMax ? channel : nil
        guard add(Waiting(channel: named, message: notice(named), isGap: true)) else { return false }
        gapsWaiting += 1
        return true
    }

    private func add(_ waiting: Waiting) -> Bool {
        guard isKept(waiting.channel) else { return true }
        guard bytes + waiting.message.count <= Self.bytesMax else { return false }
        bytes += waiting.message.count
        queue.append(waiting)
        return true
    }

    /// Whether something may be delivered.
    public var hasWaiting: Bool { !queue.isEmpty }

    /// What may be delivered, which does not wait any more.
    public func takeQueue() -> [[UInt8]] {
        var taken: [[UInt8]] = []
        queue.removeAll { waiting in
            guard waiting.channel.map(channels.contains) ?? !channels.isEmpty else { return false }
            noteRemoval(waiting)
            taken.append(waiting.message)
            return true
        }
        return taken
    }
}
