// What clients and servers say to each other, as far as the pool's decisions depend on it. Every request carries who
// asked, and the fake server answers in order, so that a reply in the wrong place is seen at once.

import Pooling

/// Who asked what.
struct RequestToken: Equatable {
    /// The client, by a number that is never used again.
    let client: Int
    let number: Int
    /// A Sync that the server ignores when the COPY before it succeeds.
    var isSkippable = false
}

/// What a statement does.
enum Statement {
    case select, begin, commit, failing
    /// COPY FROM STDIN; `failing`: the server refuses the data.
    case copy(failing: Bool)
}

/// A message to the server.
enum ServerMessage {
    case query(RequestToken, Statement)
    /// Parse, Bind and Execute.
    case batch(RequestToken, Statement)
    case sync(RequestToken)
    case copyData(RequestToken)
    case copyEnd(RequestToken)
    /// A request of the pooler's own.
    case own(RequestOrigin)

    var token: RequestToken? {
        switch self {
        case .query(let token, _), .batch(let token, _), .sync(let token), .copyData(let token), .copyEnd(let token):
            token
        case .own: nil
        }
    }
}

/// A message from the server.
enum Reply {
    case data(RequestToken?)
    case copyInResponse(RequestToken)
    case error(RequestToken?)
    case ready(RequestToken?, TransactionState)

    var token: RequestToken? {
        switch self {
        case .data(let token), .error(let token), .ready(let token, _): token
        case .copyInResponse(let token): token
        }
    }
}

enum TransactionState { case idle, open, failed }

/// A PostgreSQL backend: takes messages in order, works on each for some time, answers in order.
final class Backend: CustomStringConvertible {
    private enum Copy: Equatable {
        case none
        case simple(RequestToken, failing: Bool)
        case extended(RequestToken, failing: Bool)
    }

    let number: Int
    let pool: Int
    /// Where the connection lives now; nil while it is in a mailbox, or closed.
    var server: SimulatedServer?
    /// The process is gone.
    var isDead = false
    /// Weir has closed the connection.
    var isClosed = false
    var inbox: [ServerMessage] = []
    var isWorking = false
    /// When its last reply arrives: replies do not overtake each other.
    var lastReplyAt: Int64 = 0
    private var status = TransactionState.idle
    private var copy = Copy.none
    private var skipsUntilSync = false

    init(number: Int, pool: Int) {
        self.number = number
        self.pool = pool
    }

    var description: String { "backend \(number)" }

    /// Works off the oldest message; returns what it answers.
    func work() -> [Reply] {
        switch inbox.removeFirst() {
        case .own: return [.data(nil), .ready(nil, status)]
        case .query(let token, let statement): return query(token, statement)
        case .batch(let token, let statement):
            return skipsUntilSync ? [] : batch(token, statement)
        case .sync(let token):
            if copy != .none { return [] }
            skipsUntilSync = false
            return [.ready(token, status)]
        case .copyData: return endCopy(isData: true)
        case .copyEnd: return endCopy(isData: false)
        }
    }

    /// Whose statement it works on, which a cancel request would hit; not counting what it only throws away.
    var workingFor: Int? {
        guard isWorking, let first = inbox.first, !isIgnored(first) else { return nil }
        return first.token?.client
    }

    /// Whether another client may have it. Copy data behind an error lies there harmless.
    var isClean: Bool { status == .idle && !skipsUntilSync && inbox.allSatisfy { isIgnored($0) } }

    private func isIgnored(_ message: ServerMessage) -> Bool {
        switch message {
        case .copyData, .copyEnd: copy == .none
        case .query, .batch, .sync, .own: false
        }
    }

    private func fail() {
        if status == .open { status = .failed }
    }

    private func query(_ token: RequestToken, _ statement: Statement) -> [Reply] {
        switch statement {
        case .select: return [.data(token), .ready(token, status)]
        case .begin: status = .open
        case .commit: status = .idle
        case .failing:
            fail()
            return [.error(token), .ready(token, status)]
        case .copy(let failing):
            if status == .failed { return [.error(token), .ready(token, status)] }
            copy = .simple(token, failing: failing)
            return [.copyInResponse(token)]
        }
        return [.data(token), .ready(token, status)]
    }

    private func batch(_ token: RequestToken, _ statement: Statement) -> [Reply] {
        switch statement {
        case .select: break
        case .begin: status = .open
        case .commit: status = .idle
        case .failing:
            fail()
            skipsUntilSync = true
            return [.error(token)]
        case .copy(let failing):
            copy = .extended(token, failing: failing)
            return [.copyInResponse(token)]
        }
        return [.data(token)]
    }

    private func endCopy(isData: Bool) -> [Reply] {
        switch copy {
        case .none: return []
        case .simple(let token, let failing):
            if isData && !failing { return [] }
            copy = .none
            if failing { fail() }
            return [failing ? .error(token) : .data(token), .ready(token, status)]
        case .extended(let token, let failing):
            if isData && !failing { return [] }
            copy = .none
            guard failing else { return [.data(token)] }
            fail()
            skipsUntilSync = true
            return [.error(token)]
        }
    }
}
