// The channels that one client listens to, and the notifications that wait for it. A channel is tentative from the
// moment its LISTEN is sent until the transaction is over: what arrives for it meanwhile is kept, and delivered or
// dropped when it is known whether the LISTEN counts.

/// One client's channels and waiting notifications; a class so that a client without any pays a word.
public final class ClientChannels {
    /// How many bytes of notifications may wait for one client.
    public static var bytesMax: Int { 1 << 20 }

    /// The channels that it listens to.
    public private(set) var channels: Set<String> = []
    /// Channels of LISTENs in its current transaction.
    public private(set) var tentative: Set<String> = []
    /// Whole messages that wait until the client is between transactions, in their order.
    public private(set) var queue: [[UInt8]] = []
    private var early: [(channel: String, message: [UInt8])] = []
    public private(set) var bytes = 0

    /// No channels.
    public init() {}

    /// Whether it has no use for this any more.
    public var isEmpty: Bool { channels.isEmpty && tentative.isEmpty && queue.isEmpty }

    /// A LISTEN is about to be sent. False when the channel is known already.
    public func tryOut(_ channel: String) -> Bool {
        if channels.contains(channel) || tentative.contains(channel) { return false }
        tentative.insert(channel)
        return true
    }

    /// The transaction is over.
    ///
    /// - Parameters:
    ///   - changes: its LISTENs and UNLISTENs in their order.
    ///   - isListening: whether the server's session has come to listen to a channel.
    ///   - unlistens: whether its UNLISTENs count.
    /// - Returns: the channels that it has no use for any more.
    public func settle(
        _ changes: [SessionEffects.ChannelChange], isListening: (String) -> Bool, unlistens: Bool
    ) -> [String] {
        let before = channels.union(tentative)
        for change in changes {
            switch change {
            case .listen(let channel): if isListening(channel) { channels.insert(channel) }
            case .unlisten(let channel): if unlistens { channels.remove(channel) }
            case .unlistenAll: if unlistens { channels.removeAll() }
            }
        }
        tentative.removeAll()
        for (channel, message) in early {
            if channels.contains(channel) { queue.append(message) } else { bytes -= message.count }
        }
        early = []
        return before.subtracting(channels).sorted()
    }

    /// A notification is for this client. False when too many wait.
    public func add(_ message: [UInt8], channel: String) -> Bool {
        let isTentative = !channels.contains(channel)
        guard !isTentative || tentative.contains(channel) else { return true }
        guard bytes + message.count <= Self.bytesMax else { return false }
        bytes += message.count
        if isTentative { early.append((channel, message)) } else { queue.append(message) }
        return true
    }

    /// Something else for the client is due between its transactions.
    public func add(_ message: [UInt8]) {
        bytes += message.count
        queue.append(message)
    }

    /// What waits; nothing waits any more.
    public func takeQueue() -> [[UInt8]] {
        let taken = queue
        queue = []
        for message in taken { bytes -= message.count }
        return taken
    }
}
