// The console's commands as values, and the one table that says who may use which.
//
// The names and their meaning are PgBouncer's (its manual, "Admin console"). What is not listed for a role is refused:
// the table is an exhaustive switch, so a new command does not compile before somebody has decided who may use it.

/// How SHUTDOWN ends the process.
public enum ShutdownMode: Equatable, Sendable {
    /// At once, without a reply.
    case immediate
    /// When every server connection has been released.
    case waitForServers
    /// When the last client has left.
    case waitForClients
}

/// One statement sent to the console.
public enum ConsoleCommand: Equatable, Sendable {
    /// No statement at all.
    case empty
    /// SHOW of a topic.
    case show(ShowTopic)
    /// SHOW of a server parameter that drivers ask for (canonical name); answered with a fixed value.
    case showParameter(String)
    /// SET of a parameter that drivers set (canonical name); answered and ignored.
    case setParameter(String)
    /// A statement of drivers that has nothing to do here (BEGIN, RESET ALL, …), with its tag.
    case noOperation(tag: String)
    /// DEALLOCATE of one prepared statement, or (nil) of all; DISCARD ALL does the latter too.
    case deallocate(statement: String?, tag: String)
    /// A SELECT of drivers with a fixed answer of one row and one column.
    case selectConstant(ConsoleColumn, String)
    /// PAUSE of everything or of one database.
    case pause(database: String?)
    /// RESUME of everything or of one database.
    case resume(database: String?)
    /// SUSPEND, known and always refused.
    case suspend
    /// RELOAD of the configuration.
    case reload
    /// SET of a setting.
    case set(key: String, value: String)
    /// KILL of everything or of one database.
    case kill(database: String?)
    /// KILL_CLIENT by the `id` (or `ptr`) of SHOW CLIENTS.
    case killClient(id: UInt64)
    /// RECONNECT of every server or of one database's.
    case reconnect(database: String?)
    /// DISABLE of one database.
    case disable(database: String)
    /// ENABLE of one database.
    case enable(database: String)
    /// WAIT_CLOSE: until the servers that RECONNECT or RELOAD made obsolete are closed.
    case waitClose(database: String?)
    /// SHUTDOWN.
    case shutdown(ShutdownMode)

    /// The tag of CommandComplete.
    public var tag: String {
        switch self {
        case .empty: ""
        case .show, .showParameter: "SHOW"
        case .setParameter: "SET"
        case .noOperation(let tag), .deallocate(_, let tag): tag
        case .selectConstant: "SELECT 1"
        case .pause: "PAUSE"
        case .resume: "RESUME"
        case .suspend: "SUSPEND"
        case .reload: "RELOAD"
        case .set(let key, let value): "SET \(key)=\(value)"
        case .kill: "KILL"
        case .killClient: "KILL_CLIENT"
        case .reconnect: "RECONNECT"
        case .disable: "DISABLE"
        case .enable: "ENABLE"
        case .waitClose: "WAIT_CLOSE"
        case .shutdown: "SHUTDOWN"
        }
    }

    /// The columns of the command's result, nil when it returns no rows.
    public var columns: [ConsoleColumn]? {
        switch self {
        case .show(.help): nil
        case .show(let topic): topic.columns
        case .showParameter(let name): [ConsoleColumn(name, .text)]
        case .selectConstant(let column, _): [column]
        case .empty, .setParameter, .noOperation, .deallocate, .pause, .resume, .suspend, .reload, .set, .kill,
            .killClient, .reconnect, .disable, .enable, .waitClose, .shutdown:
            nil
        }
    }

    /// Whether drivers send it for their own set-up and it touches nothing: only such statements may come several in
    /// one query.
    var isHarmless: Bool {
        switch self {
        case .empty, .showParameter, .setParameter, .noOperation, .deallocate, .selectConstant: true
        case .show, .pause, .resume, .suspend, .reload, .set, .kill, .killClient, .reconnect, .disable, .enable,
            .waitClose, .shutdown:
            false
        }
    }
}

/// What a user of the console may do; `admin` may do all that `stats` may.
public enum ConsoleRole: Int, Comparable, Sendable {
    /// A user of `stats_users`.
    case stats = 0
    /// A user of `admin_users`, or the process's own user over the Unix socket.
    case admin = 1

    /// `stats` is less than `admin`.
    public static func < (left: ConsoleRole, right: ConsoleRole) -> Bool { left.rawValue < right.rawValue }
}

/// The role that a command needs.
public func requiredRole(for command: ConsoleCommand) -> ConsoleRole {
    switch command {
    case .show(.fds): .admin
    case .show, .showParameter, .setParameter, .noOperation, .deallocate, .selectConstant, .empty: .stats
    case .pause, .resume, .suspend, .reload, .set, .kill, .killClient, .reconnect, .disable, .enable, .waitClose,
        .shutdown:
        .admin
    }
}
