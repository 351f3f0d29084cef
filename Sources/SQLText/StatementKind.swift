// What a statement does to the state that a session keeps on its server, in the terms of transaction pooling:
// what must follow the client (SET), what can be virtualised (PREPARE, LISTEN), what holds the server for the
// client (temporary tables, session-level advisory locks) and what ends such a hold (DISCARD, CLOSE, unlocking).
//
// Everything is a trivial value with ranges of the scanned text; `NameReader` turns a range into the name.

/// How the name of a setting was written.
public struct SettingName: Equatable, Sendable {
    /// The forms of SET that have a grammar of their own, and the common one.
    public enum Spelling: UInt8, Equatable, Sendable {
        /// `SET name …`; the range holds the name, with its dots.
        case written
        /// `SET TIME ZONE`, the setting TimeZone.
        case timeZone
        /// `SET SCHEMA`, the setting search_path.
        case schema
        /// `SET NAMES`, the setting client_encoding.
        case names
        /// `SET XML OPTION`, the setting xmloption.
        case xmlOption
    }

    /// The form.
    public var spelling: Spelling
    /// The name, or the words that stand for it.
    public var range: ByteRange

    /// A name in this form.
    public init(_ spelling: Spelling, _ range: ByteRange) {
        self.spelling = spelling
        self.range = range
    }
}

/// A call of set_config with what can be known of its arguments from the text alone.
public struct SetConfigCall: Equatable, Sendable {
    /// One of the first two arguments.
    public enum Argument: Equatable, Sendable {
        /// A string constant.
        case constant(ByteRange)
        /// A parameter such as `$1`, to be looked up in the Bind message.
        case parameter(ByteRange)
        /// Anything else, NULL among it.
        case expression
    }

    /// The third argument.
    public enum Locality: UInt8, Equatable, Sendable {
        /// `true`: until the transaction ends, as SET LOCAL.
        case transaction
        /// `false`: as SET.
        case session
        /// Not written as true or false.
        case unknown
    }

    /// The setting's name.
    public var name: Argument
    /// The new value.
    public var value: Argument
    /// How long it lasts.
    public var locality: Locality
    /// Whether the statement is nothing but `SELECT set_config(…), …` with constants and parameters: then, if it
    /// succeeds, this call has happened exactly once.
    public var isPlain: Bool
}

/// One finding about a statement.
public enum StatementKind: Equatable, Sendable {
    // Settings
    /// `SET [SESSION | LOCAL] name TO value`; the value is as written, a list with its commas.
    case set(SettingName, value: ByteRange, isLocal: Bool)
    /// `RESET name`, or `SET name TO DEFAULT` unless LOCAL (then the value of `set` is DEFAULT).
    case reset(SettingName)
    /// `RESET ALL`.
    case resetAll
    /// `SET ROLE value` or `SET role TO value`; NONE and DEFAULT are values.
    case setRole(value: ByteRange, isLocal: Bool)
    /// `RESET ROLE`, `SET role TO DEFAULT`.
    case resetRole
    /// `SET SESSION AUTHORIZATION value`; DEFAULT is a value.
    case setSessionAuthorization(value: ByteRange, isLocal: Bool)
    /// `RESET SESSION AUTHORIZATION`, `SET SESSION AUTHORIZATION DEFAULT`.
    case resetSessionAuthorization
    /// `SET TRANSACTION …` or a SET of transaction_isolation and its like: gone when the transaction ends.
    case setTransaction
    /// `SET SESSION CHARACTERISTICS AS TRANSACTION modes`; the modes as written.
    case setSessionCharacteristics(modes: ByteRange)
    /// A call of set_config anywhere in the statement.
    case setConfigCall(SetConfigCall)
    /// A call of setseed, or a SET of seed: the random generator's state cannot be carried over.
    case setseed

    // Prepared statements
    /// `PREPARE name (types) AS body`; `types` without the parentheses, empty if there are none. Calls inside of the
    /// body are not reported: they happen at EXECUTE, when the body is to be scanned.
    case prepare(name: ByteRange, types: ByteRange, body: ByteRange)
    /// `EXECUTE name (arguments)`, also in EXPLAIN and CREATE TABLE AS; `arguments` without the parentheses.
    case execute(name: ByteRange, arguments: ByteRange)
    /// `DEALLOCATE [PREPARE] name`.
    case deallocate(name: ByteRange)
    /// `DEALLOCATE [PREPARE] ALL`.
    case deallocateAll

    // DISCARD
    /// `DISCARD ALL`: everything a session has.
    case discardAll
    /// `DISCARD PLANS`: cached plans only, no prepared statement.
    case discardPlans
    /// `DISCARD TEMP` or `TEMPORARY`.
    case discardTemp
    /// `DISCARD SEQUENCES`: what currval and lastval answer.
    case discardSequences

    // Notifications
    /// `LISTEN channel`.
    case listen(channel: ByteRange)
    /// `UNLISTEN channel`.
    case unlisten(channel: ByteRange)
    /// `UNLISTEN *`.
    case unlistenAll
    /// `NOTIFY channel`.
    case notify(channel: ByteRange)

    // What holds a server, and what may end it
    /// A temporary table, view, sequence or anything in the schema pg_temp is made, by CREATE or SELECT INTO.
    case createTemporary(dropsAtCommit: Bool)
    /// A DROP of a kind of object that can be temporary.
    case dropMaybeTemporary
    /// `DECLARE name … CURSOR WITH HOLD`.
    case declareCursorWithHold(name: ByteRange)
    /// `CLOSE name`.
    case close(name: ByteRange)
    /// `CLOSE ALL`.
    case closeAll
    /// A call of pg_advisory_lock or another function that takes a session-level advisory lock. Once a statement.
    case advisoryLock
    /// A call of pg_advisory_unlock or a relative. Once a statement.
    case advisoryUnlock
    /// `LOAD 'library'`: the library stays in the server's process.
    case load

    // Transactions
    /// `BEGIN` or `START TRANSACTION`.
    case begin
    /// `COMMIT` or `END`.
    case commit(andChain: Bool)
    /// `ROLLBACK` or `ABORT`, whole.
    case rollback(andChain: Bool)
    /// `SAVEPOINT name`.
    case savepoint(name: ByteRange)
    /// `RELEASE [SAVEPOINT] name`.
    case releaseSavepoint(name: ByteRange)
    /// `ROLLBACK TO [SAVEPOINT] name`.
    case rollbackToSavepoint(name: ByteRange)
    /// `PREPARE TRANSACTION 'id'`: ends the session's transaction; its settings stay as after COMMIT.
    case prepareTransaction

    // The rest
    /// `COPY …`.
    case copy
    /// `DO …`: a program. What is found in its body is reported as well, but not dynamic SQL, and of SET only
    /// that of a setting whose name has a dot.
    case doBlock
    /// A statement with none of these effects.
    case other
}

extension StatementKind {
    /// Whether the session is, or may be, another one afterwards than before, and not only until the transaction ends.
    public var changesSession: Bool {
        switch self {
        case .set(_, _, let isLocal), .setRole(_, let isLocal), .setSessionAuthorization(_, let isLocal): !isLocal
        case .setConfigCall(let call): call.locality != .transaction
        case .createTemporary(let dropsAtCommit): !dropsAtCommit
        case .setTransaction, .discardPlans, .discardSequences, .notify, .begin, .commit, .rollback, .savepoint,
            .releaseSavepoint, .rollbackToSavepoint, .prepareTransaction, .copy, .other:
            false
        case .reset, .resetAll, .resetRole, .resetSessionAuthorization, .setSessionCharacteristics, .setseed, .prepare,
            .execute, .deallocate, .deallocateAll, .discardAll, .discardTemp, .listen, .unlisten, .unlistenAll,
            .dropMaybeTemporary, .declareCursorWithHold, .close, .closeAll, .advisoryLock, .advisoryUnlock, .load,
            .doBlock:
            true
        }
    }

    /// Whether statements before it in the transaction may be undone by it, or it marks how far.
    public var mayUndoChanges: Bool {
        switch self {
        case .commit, .rollback, .savepoint, .releaseSavepoint, .rollbackToSavepoint: true
        default: false
        }
    }
}
