// The protocol of one console connection after login, as a state machine without any I/O.
//
//   message ──▶ received ──▶ answered here (SHOW VERSION, BEGIN, errors, Parse, Bind, …)
//                       └──▶ .run(command) ── collected and done elsewhere ──▶ finish ──▶ reply
//
// Rule 1: one command runs at a time. Messages that arrive while it runs are kept (up to a bound) and are handled when
//         it has finished, so the order of replies is the order of requests.
// Rule 2: an error in the extended protocol skips everything up to the next Sync; in the simple protocol it ends the
//         query. Both end with ReadyForQuery `I`: the console knows no transactions.
// Rule 3: what cannot be understood as a message at all closes the connection.
// The extended protocol's own part is in ConsoleSession+Extended.swift.

import Wire

/// What a command came to.
public enum ConsoleOutcome: Equatable, Sendable {
    /// Rows.
    case table(ConsoleTable)
    /// No rows; these notices come before the tag.
    case completed(notices: [ErrorFields] = [])
}

/// What to do after a message or a finished command: send the reply first.
public struct ConsoleStep: Equatable, Sendable {
    /// What comes after the reply.
    public enum Next: Equatable, Sendable {
        /// Go on with the next message.
        case proceed
        /// Do this command, then call `finish`. SHUTDOWN at once needs no `finish`.
        case run(ConsoleCommand)
        /// Close the connection; a command that still runs for it is given up.
        case close
    }

    /// Bytes to send, perhaps none.
    public var reply: [UInt8]
    /// What comes next.
    public var next: Next
}

/// One console connection.
public struct ConsoleSession: Sendable {
    /// Where the answer of the running command goes.
    enum Origin: Equatable, Sendable {
        /// Query: the whole answer and ReadyForQuery.
        case simple
        /// Execute of this portal: rows up to the limit (0 = all).
        case execute(portal: String, rowsMax: Int)
    }

    /// A message that waits for the running command.
    private struct QueuedMessage: Sendable {
        var tag: UInt8
        var payload: [UInt8]
    }

    /// What the user may do.
    public let role: ConsoleRole
    /// Whether a command was handed out by `.run` and has not finished.
    public var isRunning: Bool { running != nil }

    var writer = MessageWriter()
    var statements: [String: ConsoleCommand] = [:]
    var portals: [String: Portal] = [:]
    var isSkippingToSync = false
    private var running: (command: ConsoleCommand, origin: Origin)?
    private var isRunRequested = false
    private var isClosed = false
    private var queue: [QueuedMessage] = []
    private var queuedBytes = 0

    /// A session of a user who has just logged in.
    public init(role: ConsoleRole) { self.role = role }

    /// A whole message from the client: its tag and the bytes behind the length.
    public mutating func received(tag: UInt8, payload: [UInt8]) -> ConsoleStep {
        if tag == FrontendTag.terminate { isClosed = true }
        if isClosed { return takeStep() }
        if running != nil {
            keep(QueuedMessage(tag: tag, payload: payload))
        } else {
            handle(tag: tag, payload: payload)
        }
        return takeStep()
    }

    /// The running command has ended. Ignored when none runs (the client has left in the meantime).
    public mutating func finish(with outcome: Result<ConsoleOutcome, ErrorFields>) -> ConsoleStep {
        guard !isClosed, let (command, origin) = running else { return takeStep() }
        running = nil
        switch origin {
        case .simple:
            writeSimple(command, outcome)
            writer.readyForQuery(TransactionStatus.idle)
        case .execute(let portal, let rowsMax):
            writeExecuted(command, outcome, portal: portal, rowsMax: rowsMax)
        }
        handleQueue()
        return takeStep()
    }

    private mutating func takeStep() -> ConsoleStep {
        let reply = writer.bytes
        writer.removeAll()
        defer { isRunRequested = false }
        if isClosed {
            running = nil
            queue = []
            return ConsoleStep(reply: reply, next: .close)
        }
        if isRunRequested, let running { return ConsoleStep(reply: reply, next: .run(running.command)) }
        return ConsoleStep(reply: reply, next: .proceed)
    }

    // MARK: - Messages

    private mutating func keep(_ message: QueuedMessage) {
        // Five bytes of header, so that empty messages count too.
        queuedBytes += message.payload.count + 5
        guard queuedBytes <= ConsoleLimits.queuedBytesMax else {
            return fail(SQLState.programLimitExceeded, "too many messages while a command is running")
        }
        queue.append(message)
    }

    private mutating func handleQueue() {
        var handled = 0
        while running == nil, !isClosed, handled < queue.count {
            let message = queue[handled]
            handled += 1
            queuedBytes -= message.payload.count + 5
            handle(tag: message.tag, payload: message.payload)
        }
        queue.removeFirst(min(handled, queue.count))
    }

    private mutating func handle(tag: UInt8, payload: [UInt8]) {
        if isSkippingToSync, tag != FrontendTag.sync { return }
        switch tag {
        case FrontendTag.query: receivedQuery(payload)
        case FrontendTag.parse: receivedParse(payload)
        case FrontendTag.bind: receivedBind(payload)
        case FrontendTag.describe: receivedDescribe(payload)
        case FrontendTag.execute: receivedExecute(payload)
        case FrontendTag.close: receivedClose(payload)
        case FrontendTag.sync: receivedSync()
        case FrontendTag.flush: break  // Every reply is sent at once.
        case FrontendTag.functionCall:
            writer.errorResponse(
                consoleError(SQLState.featureNotSupported, "function calls are not supported by the admin console"))
            writer.readyForQuery(TransactionStatus.idle)
        case FrontendTag.copyData, FrontendTag.copyDone, FrontendTag.copyFail:
            break  // Left over from a COPY that was refused; servers ignore them too.
        default: fail(SQLState.protocolViolation, "unknown message type \(tag)")
        }
    }

    private mutating func receivedQuery(_ payload: [UInt8]) {
        // SAFETY: parseQueryText reads inside the buffer and keeps nothing of it.
        guard let text = payload.withUnsafeBytes({ parseQueryText($0) }) else { return failBadPacket() }
        statements[""] = nil
        portals[""] = nil
        switch parseConsoleQuery(text) {
        case .failure(let error): writer.errorResponse(error)
        case .success(let commands):
            if commands.isEmpty { writer.emptyQueryResponse() }
            for command in commands {
                guard let outcome = immediateOutcome(of: command) else {
                    return run(command, .simple)  // Never one of several: those are all answered at once.
                }
                writeSimple(command, outcome)
                if case .failure = outcome { break }
            }
        }
        writer.readyForQuery(TransactionStatus.idle)
    }

    private mutating func writeSimple(_ command: ConsoleCommand, _ outcome: Result<ConsoleOutcome, ErrorFields>) {
        switch outcome {
        case .failure(let error): writer.errorResponse(error)
        case .success(.table(let table)): table.simpleReply(into: &writer)
        case .success(.completed(let notices)):
            for notice in notices { writer.noticeResponse(notice) }
            writer.commandComplete(command.tag)
        }
    }

    // MARK: - Commands

    mutating func run(_ command: ConsoleCommand, _ origin: Origin) {
        running = (command, origin)
        isRunRequested = true
    }

    /// The outcome of a command that needs nobody else: it is refused, or its answer is known. nil: it must be run.
    mutating func immediateOutcome(of command: ConsoleCommand) -> Result<ConsoleOutcome, ErrorFields>? {
        guard role >= requiredRole(for: command) else {
            return .failure(consoleError(SQLState.insufficientPrivilege, "admin access needed"))
        }
        switch command {
        case .empty, .noOperation: return .success(.completed())
        case .setParameter: return .success(.completed(notices: [notice("SET ignored")]))
        case .deallocate(let statement, _):
            if let statement { statements[statement] = nil } else { statements = [:] }
            return .success(.completed())
        case .showParameter(let name):
            let column = ConsoleColumn(name, .text)
            return .success(.table(ConsoleTable(columns: [column], rows: [[driverParameterValue(name)]])))
        case .selectConstant(let column, let value):
            return .success(.table(ConsoleTable(columns: [column], rows: [[value]], tag: command.tag)))
        case .show(.version): return .success(.table(renderVersion()))
        case .show(.help): return .success(.completed(notices: [consoleUsage]))
        case .show(.fds), .suspend: return .failure(takeoverRefused)
        case .show, .pause, .resume, .reload, .set, .kill, .killClient, .reconnect, .disable, .enable, .waitClose,
            .shutdown:
            return nil
        }
    }

    // MARK: - Ends

    /// Closes the connection with a FATAL error.
    mutating func fail(_ code: String, _ message: String) {
        writer.errorResponse(ErrorFields(severity: "FATAL", code: code, message: message))
        isClosed = true
    }

    /// Closes the connection of a client whose message is not laid out as its tag demands.
    mutating func failBadPacket() { fail(SQLState.protocolViolation, "bad packet") }
}

/// Appends the ParameterStatus messages of the console's login, between AuthenticationOk and BackendKeyData.
public func writeConsoleWelcome(into writer: inout MessageWriter) {
    for parameter in consoleWelcomeParameters {
        writer.parameterStatus(name: parameter.name, value: parameter.value)
    }
}

private func notice(_ message: String, detail: String? = nil) -> ErrorFields {
    ErrorFields(severity: "NOTICE", code: SQLState.successfulCompletion, message: message, detail: detail)
}

/// SUSPEND and SHOW FDS serve PgBouncer's deprecated hand-over of sockets to a new process; SHOW FDS also prints
/// passwords.
private var takeoverRefused: ErrorFields {
    ErrorFields(
        code: SQLState.featureNotSupported, message: "the hand-over of sockets to a new process is not supported",
        hint: "Use PAUSE, or SHUTDOWN WAIT_FOR_CLIENTS behind a second listener.")
}

/// The answer of SHOW HELP.
private var consoleUsage: ErrorFields {
    notice(
        "Console usage",
        detail: """

            \tSHOW HELP|CONFIG|DATABASES|POOLS|CLIENTS|SERVERS|PINS|USERS|VERSION
            \tSHOW PEERS|PEER_POOLS
            \tSHOW SOCKETS|ACTIVE_SOCKETS|LISTS|MEM|STATE
            \tSHOW DNS_HOSTS|DNS_ZONES
            \tSHOW STATS|STATS_TOTALS|STATS_AVERAGES|TOTALS
            \tSET key = arg
            \tRELOAD
            \tPAUSE [<db>]
            \tRESUME [<db>]
            \tDISABLE <db>
            \tENABLE <db>
            \tRECONNECT [<db>]
            \tKILL [<db>]
            \tKILL_CLIENT <client_id>
            \tWAIT_CLOSE [<db>]
            \tSHUTDOWN
            \tSHUTDOWN WAIT_FOR_SERVERS|WAIT_FOR_CLIENTS
            """)
}
