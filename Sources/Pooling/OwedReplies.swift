// What a server still owes: one entry for each request that will be answered by a ReadyForQuery, in the order in
// which the requests were sent, each marked with who asked.
//
//     client sends          the queue           server sends
//     Q                     [Q]
//     P B E S               [Q S]               … ReadyForQuery   → [S]
//                                               … ReadyForQuery   → []      nothing owed
//
// A server may be given to another client only when nothing is owed: the queue is empty, no extended-protocol
// batch is waiting for its Sync, and no COPY is taking data. Requests that Weir itself sends (settings, reset,
// check) stand in the same queue, so that their replies are swallowed at their right place.
//
// COPY FROM STDIN needs care. While a server takes copy data it ignores Sync and Flush (PostgreSQL manual,
// section 55.2.6), and many drivers send Sync right after Execute. So when CopyInResponse arrives, the Syncs that
// were sent before the end of the copy data are struck from the queue: the server will never answer them. The end
// of the copy data is an entry of its own because a client may send it before CopyInResponse has come.

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
}

/// The queue of expected replies of one server connection.
public struct OwedReplies: ~Copyable {
    /// The requests that stand in the queue.
    enum Kind: UInt8 {
        case query = 0x00
        case sync = 0x10
        case functionCall = 0x20
        case copyEnd = 0x30
    }

    /// How many requests may be under way at once on one server.
    public static var requestsMax: Int { 1 << 20 }
    private static var initialCapacity: Int { 16 }

    // A ring of entries, each origin | kind. The first entries live in place, more on the heap.
    private var entries: UnsafeMutablePointer<UInt8>
    private var capacity: Int
    private var head = 0
    private var count = 0
    private var batchOpen = false
    private var copyIn = false

    /// A queue that owes nothing.
    public init() {
        entries = .allocate(capacity: Self.initialCapacity)
        capacity = Self.initialCapacity
    }

    deinit { entries.deallocate() }

    /// Whether the server owes nothing and may serve somebody else.
    @inlinable public var isEmpty: Bool { isSettled }

    @usableFromInline var isSettled: Bool { count == 0 && !batchOpen && !copyIn }

    /// The number of ReadyForQuery messages that are still to come.
    public var readyForQueryCount: Int {
        var found = 0
        for index in 0..<count where entry(index) & 0xF0 != Kind.copyEnd.rawValue { found += 1 }
        return found
    }

    /// The number of ReadyForQuery messages that the client, not Weir, waits for.
    public var clientRequestCount: Int {
        var found = 0
        for index in 0..<count
        where entry(index) & 0xF0 != Kind.copyEnd.rawValue && entry(index) & 0x0F == RequestOrigin.client.rawValue {
            found += 1
        }
        return found
    }

    /// Whether the server cannot finish without more messages of the client: a Sync or the end of its copy data.
    public var waitsForClient: Bool { batchOpen || copyIn }

    /// Whether messages of the extended protocol were sent that no Sync has followed.
    public var isBatchOpen: Bool { batchOpen }

    /// Whether another request fits.
    public var isFull: Bool { count >= Self.requestsMax }

    /// Who gets the next reply: the client unless the oldest request is one of Weir's own.
    public var origin: RequestOrigin {
        count == 0 ? .client : RequestOrigin(rawValue: entry(0) & 0x0F) ?? .client
    }

    // MARK: Requests sent

    /// A simple query was sent.
    public mutating func sentQuery(_ origin: RequestOrigin) {
        append(.query, origin)
    }

    /// The client sent FunctionCall.
    public mutating func sentFunctionCall() {
        append(.functionCall, .client)
    }

    /// The client sent a message of the extended protocol that belongs to a batch (Parse, Bind, Execute, …).
    @inlinable public mutating func sentBatchMessage() { openBatch() }

    @usableFromInline mutating func openBatch() { batchOpen = true }

    /// The client sent Sync.
    public mutating func sentSync() {
        // A server that takes copy data ignores Sync: the one after CopyDone is answered.
        guard !copyIn else { return }
        batchOpen = false
        append(.sync, .client)
    }

    /// The client sent CopyDone or CopyFail.
    public mutating func sentCopyEnd() {
        if copyIn {
            copyIn = false
        } else if count > 0 || batchOpen {
            append(.copyEnd, .client)
        }
    }

    // MARK: Replies received

    /// The server sent CopyInResponse: it ignores every Sync up to the end of the copy data.
    public mutating func receivedCopyInResponse() {
        let isSimple = count > 0 && entry(0) & 0xF0 == Kind.query.rawValue
        var index = isSimple ? 1 : 0
        while index < count, entry(index) & 0xF0 == Kind.sync.rawValue { index += 1 }
        let ended = index < count && entry(index) & 0xF0 == Kind.copyEnd.rawValue
        if ended { index += 1 }
        // A simple query's own entry stays: its ReadyForQuery follows the copy.
        let struck = index - (isSimple ? 1 : 0)
        if struck > 0 {
            let origin = entry(0)
            head = (head + struck) & (capacity - 1)
            count -= struck
            if isSimple { entries[head] = origin }
        }
        copyIn = !ended
        if !isSimple && !ended { batchOpen = true }
    }

    /// The server sent ErrorResponse, which ends a COPY.
    public mutating func receivedError() {
        copyIn = false
    }

    /// The server sent ReadyForQuery; returns who had asked, or nil when nothing was owed.
    public mutating func receivedReadyForQuery() -> RequestOrigin? {
        // The end of copy data that the server did not want was ignored by it.
        dropCopyEnds()
        guard count > 0 else { return nil }
        let origin = RequestOrigin(rawValue: entry(0) & 0x0F) ?? .client
        head = (head + 1) & (capacity - 1)
        count -= 1
        copyIn = false
        dropCopyEnds()
        return origin
    }

    private mutating func dropCopyEnds() {
        while count > 0, entry(0) & 0xF0 == Kind.copyEnd.rawValue {
            head = (head + 1) & (capacity - 1)
            count -= 1
        }
    }

    // MARK: The ring

    private func entry(_ index: Int) -> UInt8 {
        // SAFETY: callers pass an index below `count` ≤ `capacity`; the mask keeps it inside the ring.
        entries[(head + index) & (capacity - 1)]
    }

    private mutating func append(_ kind: Kind, _ origin: RequestOrigin) {
        precondition(count < Self.requestsMax, "the caller asks isFull first")
        if count == capacity { grow() }
        entries[(head + count) & (capacity - 1)] = kind.rawValue | origin.rawValue
        count += 1
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<UInt8>.allocate(capacity: capacity * 2)
        for index in 0..<count { larger[index] = entry(index) }
        entries.deallocate()
        entries = larger
        capacity *= 2
        head = 0
    }
}
