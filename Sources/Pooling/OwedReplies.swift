// What a server still owes: an entry for each request that will be answered, in the order in which the requests were
// sent, each marked with who asked.
//
//     client sends          the queue                 server sends
//     Q                     [Q]
//     P B E S               [Q P B E S]               … ReadyForQuery     → [P B E S]
//                                                     ParseComplete       → [B E S]
//                                                     ErrorResponse       → [S]          the rest is skipped
//                                                     ReadyForQuery       → []           nothing owed
//
// A server may be given to another client only when nothing is owed: the queue is empty, no extended-protocol
// batch is waiting for its Sync, and no COPY is taking data. Requests that Weir itself sends (settings, reset,
// check, statements that a server lacks) stand in the same queue, so that their replies are swallowed at their right
// place; replies that the server does not send because it was not asked (a statement that it has already) stand in it
// to be invented at theirs.
//
// COPY FROM STDIN needs care. While a server takes copy data it ignores Sync and Flush (PostgreSQL manual,
// section 55.2.6), and many drivers send Sync right after Execute. So when CopyInResponse arrives, the Syncs that
// were sent before the end of the copy data are struck from the queue: the server will never answer them. The end
// of the copy data is an entry of its own because a client may send it before CopyInResponse has come.

import Wire

/// Why a request was sent, and so what happens to its replies.
public enum RequestOrigin: UInt8 {
    /// The client asked: replies are passed on.
    case client
    /// The client's settings are put in place; replies are swallowed.
    case settings
    /// The server is cleaned after a session; replies are swallowed.
    case reset
    /// The server is tested before use; replies are swallowed.
    case check
    /// The `connect_query` of a new server; replies are swallowed.
    case connect
    /// A statement is prepared or closed on the server for a client's batch; replies are swallowed, errors are not.
    case statement
    /// A message that can only fail stands for one that the client may not have sent: the error is replaced.
    case refusal
    /// The server is asked about its session when a transaction is over; replies are read and swallowed.
    case state
}

/// A message of an extended-protocol batch that is answered by itself.
public enum BatchMessage: UInt8 {
    case parse = 0x40
    case bind = 0x50
    case describe = 0x60
    case execute = 0x70
    case close = 0x80
}

/// A reply that the server is not asked for and the client waits for.
public enum InventedReply: UInt8 {
    case parseComplete = 0x90
    case closeComplete = 0xA0
}

/// The queue of expected replies of one server connection.
public struct OwedReplies: ~Copyable {
    private enum Kind {
        static var query: UInt8 { 0x00 }
        static var sync: UInt8 { 0x10 }
        static var functionCall: UInt8 { 0x20 }
        static var copyEnd: UInt8 { 0x30 }
        static var mask: UInt8 { 0xF0 }
    }

    /// How many requests may be under way at once on one server.
    public static var requestsMax: Int { 1 << 20 }
    /// Stands for a statement that no table knows, as the unnamed one.
    public static var noStatement: UInt64 { .max }

    private var entries = Ring<UInt8>()
    /// The statements of the Parse entries, of the Parses that are answered in the server's place, and of the Closes
    /// that Weir sends itself, in their order.
    private var parses = Ring<UInt64>()
    private var batchOpen = false
    private var copyIn = false
    /// The server skips everything up to the next Sync, which has not been sent yet.
    private var skipping = false
    /// How many ReadyForQuery the client waits for.
    private var clientReadyCount = 0
    /// The batch that is open, or one before it that has not been answered whole, changes what is prepared.
    private var openBatchChanges = false
    private var earlierBatchChanges = false

    /// A queue that owes nothing.
    public init() {}

    /// Whether the server owes nothing and may serve somebody else.
    @inlinable public var isEmpty: Bool { isSettled }

    @usableFromInline var isSettled: Bool { entries.count == 0 && !batchOpen && !copyIn }

    /// The number of ReadyForQuery messages that are still to come.
    public var readyForQueryCount: Int { countOfReady { _ in true } }

    /// The number of ReadyForQuery messages that the client, not Weir, waits for.
    public var clientRequestCount: Int { countOfReady { $0 & 0x0F == RequestOrigin.client.rawValue } }

    private func countOfReady(_ matches: (UInt8) -> Bool) -> Int {
        var found = 0
        for index in 0..<entries.count where entries[index] & Kind.mask <= Kind.functionCall && matches(entries[index])
        {
            found += 1
        }
        return found
    }

    /// Whether the server cannot finish without more messages of the client: a Sync or the end of its copy data.
    public var waitsForClient: Bool { batchOpen || copyIn }

    /// Whether messages of the extended protocol were sent that no Sync has followed.
    public var isBatchOpen: Bool { batchOpen }

    /// Whether the server throws away what it is sent until the next Sync.
    public var isSkipping: Bool { skipping }

    /// How many ReadyForQuery the client waits for before that of its next request.
    public var clientRequestsAhead: Int { clientReadyCount }

    /// Whether the client waits for a ReadyForQuery: until it has come nobody knows whether a transaction has failed.
    public var awaitsClientReady: Bool { clientReadyCount > 0 }

    /// Whether a batch before the open one prepares or closes statements and has not been answered whole. It may fail,
    /// and then what is prepared is not what it seems.
    public var hasUnsettledStatements: Bool { clientReadyCount > 0 && earlierBatchChanges }

    /// Whether the server takes copy data.
    public var isCopyInOpen: Bool { copyIn }

    /// The most entries that one message of a client adds: a Close, a Parse and its own, with room to spare.
    private static var entriesOfOneMessageMax: Int { 8 }

    /// Whether there may be no room for what another message adds.
    public var isFull: Bool { entries.count > Self.requestsMax - Self.entriesOfOneMessageMax }

    /// Who gets the next reply: the client unless the oldest request is one of Weir's own.
    public var origin: RequestOrigin {
        entries.count == 0 ? .client : RequestOrigin(rawValue: entries[0] & 0x0F) ?? .client
    }

    /// Whether the next reply goes to the client. The error of a message that stands for one of the client's does, and
    /// where the messages before it in its batch are not followed their replies come first.
    public var isForClient: Bool {
        guard entries.count > 0 else { return true }
        let asked = entries[0] & 0x0F
        return asked == RequestOrigin.client.rawValue || asked == RequestOrigin.refusal.rawValue
    }

    // MARK: Requests sent

    /// A simple query was sent.
    public mutating func sentQuery(_ origin: RequestOrigin) {
        // A server that skips to the next Sync skips queries too.
        guard !skipping else { return }
        if origin == .client { clientReadyCount += 1 }
        append(Kind.query | origin.rawValue)
    }

    /// The client sent FunctionCall.
    public mutating func sentFunctionCall() {
        guard !skipping else { return }
        clientReadyCount += 1
        append(Kind.functionCall)
    }

    /// The beginning of a message of a batch has come, which is sent when it is whole.
    public mutating func batchBegins() { batchOpen = true }

    /// The client's message of a batch was sent as it is, whether the server skips it or not.
    public mutating func sentUnlessSkipped(_ message: BatchMessage) {
        guard !skipping else { return }
        sent(message, .client)
    }

    /// A message of a batch was sent.
    ///
    /// - Parameter statement: for a Parse, what is prepared; `takeDiscarded` tells it if the server skips it.
    public mutating func sent(_ message: BatchMessage, _ origin: RequestOrigin, statement: UInt64 = noStatement) {
        precondition(!skipping, "what the server skips is passed on without an entry")
        batchOpen = true
        append(message.rawValue | origin.rawValue)
        if Self.namesStatement(message.rawValue | origin.rawValue) {
            parses.append(statement)
            if statement != Self.noStatement { openBatchChanges = true }
        }
    }

    /// Whether an entry has its statement in `parses`.
    private static func namesStatement(_ entry: UInt8) -> Bool {
        switch entry & Kind.mask {
        case BatchMessage.parse.rawValue, InventedReply.parseComplete.rawValue: true
        case BatchMessage.close.rawValue: entry & 0x0F == RequestOrigin.statement.rawValue
        default: false
        }
    }

    /// A message of a batch was answered in the server's place: true when the reply is due now, before anything else;
    /// otherwise it comes out of `nextInvention` when it is.
    ///
    /// - Parameter isBetweenMessages: the client has the server's last message whole.
    public mutating func invented(
        _ reply: InventedReply, statement: UInt64 = noStatement, isBetweenMessages: Bool = true
    ) -> Bool {
        precondition(!skipping, "what the server skips is passed on without an entry")
        batchOpen = true
        if entries.count == 0, isBetweenMessages { return true }
        append(reply.rawValue)
        openBatchChanges = true
        if reply == .parseComplete { parses.append(statement) }
        return false
    }

    /// Sync was sent, by the client or behind messages of Weir's own.
    public mutating func sentSync(_ origin: RequestOrigin = .client) {
        // A server that takes copy data ignores Sync: the one after CopyDone is answered.
        guard !copyIn else { return }
        batchOpen = false
        skipping = false
        if openBatchChanges { earlierBatchChanges = true }
        openBatchChanges = false
        if origin == .client { clientReadyCount += 1 }
        append(Kind.sync | origin.rawValue)
    }

    /// The client sent CopyDone or CopyFail.
    public mutating func sentCopyEnd() {
        if copyIn {
            copyIn = false
        } else if !skipping, entries.count > 0 || batchOpen {
            append(Kind.copyEnd)
        }
    }

    // MARK: Replies received

    /// What the end of a reply means for the statements that are known.
    public enum ReplyEnd: Equatable {
        /// Nothing.
        case nothing
        /// A Parse by which the client gave a name to a statement was answered.
        case namedParse
        /// A statement that Weir had closed is gone from the server.
        case closedStatement(UInt64)
    }

    /// The server sent a message that may end the reply to a message of a batch.
    public mutating func received(_ tag: UInt8) -> ReplyEnd {
        guard entries.count > 0 else { return .nothing }
        let entry = entries[0]
        let kind = entry & Kind.mask
        let isLast: Bool =
            switch tag {
            case BackendTag.parseComplete: kind == BatchMessage.parse.rawValue
            case BackendTag.bindComplete: kind == BatchMessage.bind.rawValue
            case BackendTag.closeComplete: kind == BatchMessage.close.rawValue
            case BackendTag.rowDescription, BackendTag.noData: kind == BatchMessage.describe.rawValue
            case BackendTag.commandComplete, BackendTag.emptyQueryResponse, BackendTag.portalSuspended:
                kind == BatchMessage.execute.rawValue
            default: false
            }
        guard isLast else { return .nothing }
        copyIn = false
        entries.removeFirst()
        guard Self.namesStatement(entry) else { return .nothing }
        let statement = parses[0]
        parses.removeFirst()
        if kind == BatchMessage.close.rawValue {
            return statement == Self.noStatement ? .nothing : .closedStatement(statement)
        }
        let isClients = entry & 0x0F == RequestOrigin.client.rawValue
        return isClients && statement != Self.noStatement ? .namedParse : .nothing
    }

    /// Whether a reply is due now that the server will not send.
    public var hasInvention: Bool {
        entries.count > 0 && entries[0] & Kind.mask >= InventedReply.parseComplete.rawValue
    }

    /// The reply that is due now and that the server will not send; call until nil after each reply.
    public mutating func nextInvention() -> InventedReply? {
        guard entries.count > 0, let reply = InventedReply(rawValue: entries[0] & Kind.mask) else { return nil }
        entries.removeFirst()
        if reply == .parseComplete { parses.removeFirst() }
        return reply
    }

    /// The server sent CopyInResponse: it ignores every Sync up to the end of the copy data.
    public mutating func receivedCopyInResponse() {
        // The request that is being answered keeps its entry, if it has one.
        let first =
            entries.count > 0 && entries[0] & Kind.mask != Kind.sync && entries[0] & Kind.mask != Kind.copyEnd
            ? 1 : 0
        var index = first
        while index < entries.count, entries[index] & Kind.mask == Kind.sync { index += 1 }
        clientsReadyDrops(index - first)
        let ended = index < entries.count && entries[index] & Kind.mask == Kind.copyEnd
        if ended { index += 1 }
        entries.remove(first..<index)
        copyIn = !ended
        if !ended, first == 0 || entries[0] & Kind.mask != Kind.query { batchOpen = true }
    }

    /// The server sent ErrorResponse: it ends a COPY, and in a batch everything up to the Sync is skipped.
    public mutating func receivedError() {
        copyIn = false
        guard entries.count > 0, entries[0] & Kind.mask >= BatchMessage.parse.rawValue else { return }
        while entries.count > 0, entries[0] & Kind.mask != Kind.sync { dropFirst() }
        skipping = entries.count == 0 && batchOpen
    }

    /// The server sent ReadyForQuery; returns who had asked, or nil when nothing was owed.
    public mutating func receivedReadyForQuery() -> RequestOrigin? {
        // The end of copy data that the server did not want was ignored by it.
        while entries.count > 0, entries[0] & Kind.mask > Kind.functionCall { dropFirst() }
        guard entries.count > 0 else { return nil }
        let origin = RequestOrigin(rawValue: entries[0] & 0x0F) ?? .client
        entries.removeFirst()
        if origin == .client { clientsReadyDrops(1) }
        copyIn = false
        while entries.count > 0, entries[0] & Kind.mask == Kind.copyEnd { entries.removeFirst() }
        return origin
    }

    /// So many ReadyForQuery for the client have come, or will not come.
    private mutating func clientsReadyDrops(_ count: Int) {
        clientReadyCount -= count
        if clientReadyCount == 0 { earlierBatchChanges = false }
    }

    // MARK: Statements that were not prepared after all

    /// A message that the server has skipped or refused, and what it was to do.
    public enum Discarded: Equatable {
        /// A Parse that was sent; the client's own, or one of Weir's.
        case parse(UInt64, isClients: Bool)
        /// A Parse of the client's that was not sent because the server has the statement.
        case inventedParse(UInt64)
        /// A Close of the client's, which is not sent to the server: the name is still in use.
        case inventedClose
        /// A message that stood for one that had to be refused.
        case refusal
        /// A Parse of the client's unnamed statement: whether there is still an older one depends on why.
        case unnamedParse
        /// The statement is still on the server.
        case close(UInt64)
    }

    private var discarded: [Discarded] = []

    /// The messages that the server has skipped, the newest first, so that what they were to do is undone in order;
    /// nil when there are no more.
    public mutating func takeDiscarded() -> Discarded? { discarded.popLast() }

    /// The statements of the Parses that the server has still to answer, in their order.
    public func statementsUnderWay() -> [UInt64] {
        var found: [UInt64] = []
        var position = 0
        for index in 0..<entries.count where Self.namesStatement(entries[index]) {
            let isParse = entries[index] & Kind.mask == BatchMessage.parse.rawValue
            if isParse, parses[position] != Self.noStatement { found.append(parses[position]) }
            position += 1
        }
        return found
    }

    private mutating func dropFirst() {
        let entry = entries[0]
        entries.removeFirst()
        if entry & Kind.mask == InventedReply.closeComplete.rawValue { discarded.append(.inventedClose) }
        let bringsReady = entry & Kind.mask <= Kind.functionCall
        if bringsReady, entry & 0x0F == RequestOrigin.client.rawValue { clientsReadyDrops(1) }
        guard Self.namesStatement(entry) else { return }
        let statement = parses[0]
        parses.removeFirst()
        let origin = entry & 0x0F
        if entry & Kind.mask == BatchMessage.close.rawValue {
            if statement != Self.noStatement { discarded.append(.close(statement)) }
        } else if origin == RequestOrigin.refusal.rawValue {
            discarded.append(.refusal)
        } else if statement != Self.noStatement {
            let isSent = entry & Kind.mask == BatchMessage.parse.rawValue
            discarded.append(
                isSent
                    ? .parse(statement, isClients: origin == RequestOrigin.client.rawValue) : .inventedParse(statement))
        } else if origin == RequestOrigin.client.rawValue {
            discarded.append(.unnamedParse)
        }
    }

    private mutating func append(_ entry: UInt8) {
        precondition(entries.count < Self.requestsMax, "the caller asks isFull first")
        entries.append(entry)
    }
}
