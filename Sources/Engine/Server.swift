// One server connection as its worker sees it.
//
//     resolving ──▶ connecting ──▶ loggingIn ──▶ ready
//                                    │  ▲
//                                    ▼  │ keys derived off the loop
//                                  hashing
//
// Where it stands in its pool (`idle`, `active`, …) is the pool's ``ServerState``; what it still owes is in
// ``OwedReplies``.

import Pooling
import Reactor
import Wire

/// How far a server connection has come.
enum ServerPhase: UInt8 {
    case resolving
    case connecting
    case loggingIn
    case hashing
    case ready
}

/// What a server connection is for. All but the pooled ones are outside the pool (Worker+DedicatedServers).
enum ServerPurpose: UInt8 {
    /// It serves whatever client of its pool comes next.
    case pooled
    /// It is one replication client's.
    case replication
    /// The worker itself listens on it for notifications.
    case listener
}

/// One server connection.
struct Server: ~Copyable {
    let generation: UInt32
    let identifier: UInt64
    let purpose: ServerPurpose
    var connectedAt: Int64
    var socket = SocketID.none
    var phase = ServerPhase.resolving
    var state = ServerState.new
    var transactionStatus = TransactionStatus.idle
    /// Statements of clients are renamed on it. As its pool had it when it was opened: a server whose pool changes its
    /// mind finishes what it has begun and is closed.
    var tracksStatements = false
    /// The current message is passed on to the client.
    var isPassing = false
    /// It is closed when it becomes free (`RECONNECT`, changed configuration).
    var closeNeeded = false
    /// How many requests of the client are answered before the one with its COMMIT; negative when none is under way.
    var requestsBeforeCommit = -1
    /// Its client has gone while a query ran; the rest of the reply is thrown away.
    var isOrphan = false
    /// An error came in reply to a request of our own.
    var hasOwnError = false
    /// The error that a client's settings met with.
    var settingsError: Refusal?
    /// The batch failed because a statement's result type has changed; it is sent again when it has ended.
    var isRetrying = false
    /// A session that ended needs the reset query before the next client.
    var needsReset = false
    /// Its client got the FATAL error that announced its end, as the server sent it.
    var hasToldItsEnd = false
    /// It is on its way to another worker, which has to check it before use.
    var needsCheck = false
    /// It has served a client.
    var hasServed = false
    /// The pool counts its connect as under way.
    var countsAsConnecting = true
    var client: Int32 = -1
    /// The worker that it is on its way to, −1 for none.
    var destination: Int32 = -1
    let pool: Int32
    var framer = MessageFramer()
    var owed = OwedReplies()
    var settings = ParameterSets.empty
    /// The values of settings that it does not report, other than its defaults.
    var extras = ParameterSets.empty
    /// What its client's transaction may have done to the session.
    var effects: SessionEffects?
    /// What it is being asked about the session.
    var question: PendingQuestion?
    /// Why it stays with its client between transactions.
    var pin: Pin?
    /// It has one of the places of `max_pinned`: it stays with its client, or may when the transaction is over.
    var hasPinPlace = false
    /// A setting that gives texts a meaning may have another value until the transaction is over (SET LOCAL).
    var mayHaveLocalMeaning = false
    /// Its session is not known and has to be cleaned before the next client.
    var needsCleaning = false
    var gather = Gather()
    /// The statements that were prepared on it under names of ours.
    var statements = ServerStatements()
    /// Which unnamed statement was last prepared on it, by number; 0 after a simple query or a Close, which leave none.
    var unnamedNumber: UInt64 = 0
    /// How many requests of the client are answered before the one that prepared the unnamed statement.
    var requestsBeforeUnnamed = 0
    /// The names that the client gave or closed in messages that have not been answered, in their order.
    var namesUnderWay = NamesUnderWay()
    /// The next Execute carries out a command that closes all statements.
    var closesAtExecute = false
    /// The statements that such commands close which have not been answered: those of each.
    var closing: [[StatementID]] = []
    /// The errors that take the place of the server's, in the order of the messages that stand for them.
    var refusals: [Refusal] = []
    /// The DEALLOCATEs of the text that it executes.
    var deallocations: TextDeallocations?
    /// Statements that stood for others in texts that failed before their DEALLOCATE.
    var standIns: [String] = []
    /// A message that ends a reply is only partly there; the reply ends with it.
    var endingTag: UInt8 = 0
    var processID: Int32 = 0
    var secret: [UInt8] = []
    /// Cancel requests that are on their way to it.
    var cancelsUnderWay = 0
    /// When its client's current query began, or 0.
    var queryAt: Int64 = 0
    /// When it last became part of a client's transaction, and when it was last heard of.
    var transactionAt: Int64 = 0
    var activeAt: Int64
    var address: SocketAddress?
    var addressText = ""
    var login: ServerLogin?
    /// The FATAL error that announced its end; the client hears of it in an error that lets it go on.
    var lastWords: Refusal?

    init(generation: UInt32, identifier: UInt64, pool: Int32, now: Int64, purpose: ServerPurpose = .pooled) {
        self.generation = generation
        self.identifier = identifier
        self.purpose = purpose
        self.pool = pool
        connectedAt = now
        activeAt = now
    }

    /// Whether there is something to settle when a transaction is over.
    var hasSessionState: Bool { effects != nil || question != nil || pin != nil }
}

/// Why a server connection ends; the texts are those that people search their logs for.
enum ServerCloseReason: Equatable {
    case lifetimeOver
    case idleTimeout
    case overflowIdleTimeout
    case tooMany
    case connectTimeout
    case connectFailed(String)
    case dnsFailed(String)
    case crashed(Int32)
    case silent
    case loginFailed(ErrorFields)
    case protocolViolation(String)
    case queryTimeout
    case idleTransactionTimeout
    case transactionTimeout
    case configurationChanged
    case gotDirty(String)
    case closeNeeded
    case pauseMode
    case evicted
    case testFailed
    case resetFailed
    case connectQueryFailed
    case settingsFailed
    case settingsTimeout
    case clientLeftNotReady
    case clientLeftQuery
    case cancelTimeout
    case replicationClientLeft
    case statementModeTransaction
    case databaseRemoved
    case shuttingDown

    var text: String {
        switch self {
        case .lifetimeOver: "server lifetime over"
        case .idleTimeout: "server idle timeout"
        case .overflowIdleTimeout: "overflow_idle_timeout"
        case .tooMany: "too many servers in the pool"
        case .connectTimeout: "connect timeout"
        case .connectFailed(let cause): "connect failed: \(cause)"
        case .dnsFailed(let cause): "server DNS lookup failed: \(cause)"
        case .crashed(let code): code == 0 ? "server conn crashed?" : "server conn crashed? (\(describeErrno(code)))"
        case .silent: "server does not answer"
        case .loginFailed(let error): "login failed: \(error.message)"
        case .protocolViolation(let what): what
        case .queryTimeout: "query timeout"
        case .idleTransactionTimeout: "idle transaction timeout"
        case .transactionTimeout: "transaction timeout"
        case .configurationChanged: "database configuration changed"
        case .gotDirty(let what): "idle server got dirty" + (what.isEmpty ? "" : " (\(what))")
        case .closeNeeded: "close_needed"
        case .pauseMode: "pause mode"
        case .evicted: "evicted"
        case .testFailed: "test query failed"
        case .resetFailed: "reset query failed"
        case .connectQueryFailed: "exec_on_connect query failed"
        case .settingsFailed: "invalid server parameter"
        case .settingsTimeout: "settings were not put in place in time (server_connect_timeout)"
        case .clientLeftNotReady: "client disconnect while server was not ready"
        case .clientLeftQuery: "client disconnected with query in progress"
        case .cancelTimeout: "cancel_wait_timeout"
        case .replicationClientLeft: "replication client was closed"
        case .statementModeTransaction: "transaction blocks not allowed in statement pooling mode"
        case .databaseRemoved: "database removed"
        case .shuttingDown: "server shutting down"
        }
    }
}
