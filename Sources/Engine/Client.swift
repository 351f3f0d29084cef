// One client connection as its worker sees it.
//
//     startup ──▶ authenticating ──▶ welcoming ──▶ ready ──▶ (closed)
//        │              │  ▲
//        │              ▼  │ keys derived off the loop
//        │           hashing
//        ├──▶ console      the admin database
//        └──▶ canceling    a CancelRequest that is under way
//
// In `ready` a client either has a server, waits in its pool's line, waits for its settings to be put in place, or
// is idle. While it waits its bytes are held, not yet looked at.

import Configuration
import Pooling
import Reactor
import Wire

/// Where a client connection stands.
enum ClientState: UInt8 {
    /// Its start-up packet has not come yet.
    case startup
    /// It is proving who it is.
    case authenticating
    /// Its keys are being derived on the hashing thread.
    case hashing
    /// It is logged in, but no server has told yet what its parameters are.
    case welcoming
    /// It may send queries.
    case ready
    /// It talks to the admin console.
    case console
    /// It has sent a CancelRequest and waits for the end of the connection.
    case canceling
}

/// What a client waits for in `ready` before its bytes are looked at.
enum ClientWait: UInt8 {
    case none
    /// A server.
    case server
    /// Its settings, which are being put in place on the linked server.
    case settings
    /// What becomes of a RESET: its settings may have to be put back to what its login asked for.
    case reset
    /// The answers to earlier batches: what they prepare decides what its next message means.
    case answers
    /// The connection that listens for it does not have its channel yet.
    case listener
}

/// What a batch does with prepared statements, which decides whether it could be sent a second time.
enum StatementUse: UInt8 {
    case none
    /// It uses statements that were prepared before.
    case uses
    /// It gives or takes away names, which happens once.
    case changes
}

/// Bytes that were received and not yet looked at: in the loop's buffer that they came in or, when many clients
/// wait, in memory of just their size.
struct HeldBytes {
    var buffer: BufferID
    var from: Int32
    var end: Int32
    var memory: UnsafeMutableRawPointer?

    static var none: HeldBytes { HeldBytes(buffer: .max, from: 0, end: 0, memory: nil) }
    var isNone: Bool { end == 0 }
}

/// An error that is kept for a client's next statement; a class so that a client without one pays a word.
final class Refusal {
    let error: ErrorFields
    init(_ error: ErrorFields) { self.error = error }
}

/// A message or header that is being gathered, in a buffer of the loop.
struct Gather {
    var buffer: BufferID = .max
    var count: Int32 = 0
    var isEmpty: Bool { count == 0 }
}

/// One client connection.
struct Client: ~Copyable {
    let generation: UInt32
    /// Unique in the process, for the console.
    let identifier: UInt64
    let connectedAt: Int64
    var socket: SocketID
    var state = ClientState.startup
    var wait = ClientWait.none
    /// The server that it is linked to, −1 for none.
    var server: Int32 = -1
    /// Its pool, −1 before login.
    var pool: Int32 = -1
    var framer = MessageFramer()
    var responder = LocalResponder()
    /// What the next statement is answered with instead of getting a server.
    var refusal: Refusal?
    /// Its settings are known to be acceptable to a server, so they can be put in place without waiting.
    var hasConfirmedSettings = false
    /// It waits so long that it was told so.
    var wasNotified = false
    /// It stops receiving while it waits and more comes.
    var isReceivingStopped = false
    /// A message from its server is only half passed on and will not be ended: nothing may be written after it.
    var isReplyCut = false
    var isUnixSocket = false
    /// It has a server of its own, and all bytes are passed on as they are.
    var replication = ReplicationKind.none
    var isAdmin = false
    /// Counted in `max_client_conn` and the database's and user's client limits.
    var isCounted = false
    var settings = ParameterSets.empty
    /// The settings that it had after its login, to which a RESET goes back.
    var loginSettings = ParameterSets.empty
    /// Its values of settings that servers do not report.
    var extras = ParameterSets.empty
    /// Those of them that its login asked for.
    var loginExtras = ParameterSets.empty
    /// Its transaction may put settings back: what comes behind each request waits for the answer.
    var mayReset = false
    /// What it was told about that holds its server.
    var holdsTold: HoldReasons = []
    /// The channels that it listens to, and what waits for it; nil for none.
    var notifications: ClientChannels?
    /// Why a channel cannot be listened to.
    var channelError: Refusal?
    /// A long text is on its way whose beginning is plain: the rest is looked through.
    var watchesRest = false
    /// The last three bytes of what has come of it.
    var textBefore: (UInt8, UInt8, UInt8) = (0, 0, 0)
    var held = HeldBytes.none
    var heldMore: [HeldBytes] = []
    /// The batch that its server is working on, kept until the first reply is passed on: it can be sent once more.
    var retry = HeldBytes.none
    /// The rest of the message that has begun to come is thrown away: it was refused.
    var dropsMessage = false
    /// What the bytes that are being passed on do with prepared statements.
    var statementUse = StatementUse.none
    var gather = Gather()
    /// The start of a Parse that is larger than a buffer.
    var largeMessage: [UInt8] = []
    /// How many bytes of the gathered message are needed before it can be looked at.
    var gatherWanted: Int32 = Int32(MessageFramer.headerBytes)
    /// The names that it gave to prepared statements.
    var statements = ClientStatements()
    /// Its unnamed statement, where that is kept.
    var unnamedStatement = UnnamedStatement()
    /// The number of its unnamed statement, kept or not; 0 when it has none.
    var unnamedNumber: UInt64 = 0
    var cancelKey = CancelKey.none
    /// When it began to wait, or last sent a request, or became idle.
    var activeAt: Int64
    /// When its transaction and its query began; 0 when there is none.
    var transactionAt: Int64 = 0
    var queryAt: Int64 = 0
    /// What is needed only until it is logged in.
    var login: ClientLogin?
    /// The login name and what belongs to it.
    var user: UserState?
    var console: ConsoleLink?

    init(generation: UInt32, identifier: UInt64, socket: SocketID, now: Int64) {
        self.generation = generation
        self.identifier = identifier
        self.socket = socket
        connectedAt = now
        activeAt = now
    }

    var isLinked: Bool { server >= 0 }
}

/// Why a client connection ends: the text of the log and, for some, of the client's last error.
enum ClientCloseReason: Equatable {
    case closeRequest
    case unexpectedEOF
    case connectionError(Int32)
    case loginTimeout
    case loginTimeoutServerDown
    case idleTimeout
    case cancelDone
    /// The client's server, its own for good, has ended and has said why.
    case serverEnded
    case refused(ErrorFields)
    case fatal(ErrorFields)

    var text: String {
        switch self {
        case .closeRequest: "client close request"
        case .unexpectedEOF: "client unexpected eof"
        case .connectionError(let code): "client connection error: \(describeErrno(code))"
        case .loginTimeout: "client_login_timeout"
        case .loginTimeoutServerDown: "client_login_timeout (server down)"
        case .idleTimeout: "client_idle_timeout"
        case .cancelDone: "cancel request done"
        case .serverEnded: "server conn crashed?"
        case .refused(let error), .fatal(let error): error.message
        }
    }

    /// The error that the client gets before its connection is closed.
    var message: ErrorFields? {
        switch self {
        case .closeRequest, .unexpectedEOF, .connectionError, .cancelDone, .serverEnded: return nil
        case .loginTimeout, .loginTimeoutServerDown: return fatalFields(SQLState.connectionException, text)
        case .idleTimeout: return fatalFields(SQLState.idleSessionTimeout, text)
        case .refused(let error), .fatal(let error): return error
        }
    }
}

/// A FATAL error of ours.
func fatalFields(_ code: String, _ message: String, detail: String? = nil, hint: String? = nil) -> ErrorFields {
    ErrorFields(severity: "FATAL", code: code, message: message, detail: detail, hint: hint)
}
