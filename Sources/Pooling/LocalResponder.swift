// What a client hears while no server is there for it, so that it keeps its connection.
//
//     a refusal      no server can be had (query_wait_timeout, server unreachable): each simple query, batch or
//                    function call is answered by that error, and the client may try again.
//     failed         its server died inside a transaction. The client gets what PostgreSQL would say in a failed
//                    transaction: 25P02 to everything until ROLLBACK or COMMIT, either of which ends it.
//
//     idle ──serverLost(inTransaction: true)──▶ failed ──ROLLBACK, COMMIT──▶ idle
//
// An extended-protocol batch adds a second, independent state: after an error everything is skipped until Sync, and
// after anything else in a batch the Sync is still ours to answer, because no server has seen the batch:
//
//     none ──Parse, Bind, …──▶ open ──error──▶ skipping        open, skipping ──Sync──▶ none

import Wire

/// Answers one client's messages in the place of a server.
public struct LocalResponder: Equatable, Sendable {
    /// The transaction status that the client believes in.
    public enum Status: UInt8, Sendable {
        /// No transaction.
        case idle
        /// A failed transaction, which the client has to end.
        case failed
    }

    private enum Batch: UInt8 {
        case none
        case open
        case skipping
    }

    /// The transaction status that the client believes in.
    public private(set) var status = Status.idle
    private var batch = Batch.none
    private var unnamedStatement = StatementShape.other
    /// Whether the unnamed portal is bound to a statement that ends the transaction.
    private var portalEndsTransaction = false

    /// Nothing special: no transaction, no batch.
    public init() {}

    /// Whether messages are dropped until the next Sync.
    public var skipsUntilSync: Bool { batch == .skipping }

    /// Whether nothing special is left, so that the client may use a server again.
    public var isFinished: Bool { status == .idle && batch == .none }

    /// The client's server is gone. The caller has told the client so, with an ErrorResponse and, unless a batch is
    /// open, with a ReadyForQuery of `readyStatus`.
    ///
    /// - Parameters:
    ///   - inTransaction: the client was in a transaction, so that it must end it before anything else.
    ///   - insideBatch: the client has not yet sent the Sync that ends the batch that failed.
    public mutating func serverLost(inTransaction: Bool, insideBatch: Bool) {
        self = LocalResponder()
        if inTransaction { status = .failed }
        if insideBatch { batch = .skipping }
    }

    /// The status byte of a ReadyForQuery that is sent now: `I` or `E`.
    public var readyStatus: UInt8 {
        switch status {
        case .idle: TransactionStatus.idle
        case .failed: TransactionStatus.failed
        }
    }

    /// The client sent a message; the answer, if there is one, is appended to `writer`.
    ///
    /// - Parameters:
    ///   - tag: the message's first byte.
    ///   - payload: what follows the length, or as much of it as has arrived. A statement of which the end is not
    ///     there does not end a transaction.
    ///   - refusal: the error that answers each query, batch and function call. Nil while the client only has to end
    ///     its failed transaction.
    public mutating func received(
        tag: UInt8, payload: UnsafeRawBufferPointer, refusal: ErrorFields?, into writer: inout MessageWriter
    ) {
        switch tag {
        case FrontendTag.sync:
            batch = .none
            writer.readyForQuery(readyStatus)
        case FrontendTag.query, FrontendTag.functionCall:
            if batch == .skipping { return }
            batch = .none
            if let refusal {
                writer.errorResponse(refusal)
            } else if tag == FrontendTag.query {
                answerQuery(payload, into: &writer)
            } else {
                writer.errorResponse(refusalOfStatement)
            }
            writer.readyForQuery(readyStatus)
        case FrontendTag.parse, FrontendTag.bind, FrontendTag.describe, FrontendTag.execute, FrontendTag.close:
            if batch == .skipping { return }
            batch = .open
            if let refusal {
                fail(refusal, into: &writer)
            } else if !answerBatch(tag, payload, into: &writer) {
                fail(refusalOfStatement, into: &writer)
            }
        default:
            // Flush asks for nothing that is held back here; Terminate is for the caller to act upon; the rest of a
            // COPY that failed is dropped, as PostgreSQL drops it.
            return
        }
    }

    /// Answers a simple query, but for its ReadyForQuery.
    private mutating func answerQuery(_ payload: UnsafeRawBufferPointer, into writer: inout MessageWriter) {
        // Without its final NUL the text is a prefix, and what follows is unknown.
        let shape = payload.last == 0 ? statementShape(payload) : .other
        unnamedStatement = .other
        switch shape {
        case .empty:
            writer.emptyQueryResponse()
        case .endsTransaction where status == .failed:
            status = .idle
            portalEndsTransaction = false
            writer.commandComplete("ROLLBACK")
        case .endsTransaction, .other:
            writer.errorResponse(refusalOfStatement)
        }
    }

    /// Answers a message of a batch, as long as it serves to end the failed transaction. False: it does not.
    private mutating func answerBatch(
        _ tag: UInt8, _ payload: UnsafeRawBufferPointer, into writer: inout MessageWriter
    ) -> Bool {
        switch tag {
        case FrontendTag.parse:
            return answerParse(payload, into: &writer)
        case FrontendTag.bind:
            return answerBind(payload, into: &writer)
        case FrontendTag.describe:
            return answerDescribe(payload, into: &writer)
        case FrontendTag.execute:
            guard parseExecute(payload)?.portal == "", portalEndsTransaction, status == .failed else { return false }
            portalEndsTransaction = false
            status = .idle
            writer.commandComplete("ROLLBACK")
            return true
        default:
            answerClose(payload, into: &writer)
            return true
        }
    }

    /// Only the unnamed statement is accepted: a named one would have to be there on the next server as well.
    private mutating func answerParse(_ payload: UnsafeRawBufferPointer, into writer: inout MessageWriter) -> Bool {
        unnamedStatement = .other
        guard let message = parseParse(payload), message.statement == "", message.parameterCount == 0 else {
            return false
        }
        let shape = statementShape(UnsafeRawBufferPointer(rebasing: payload[message.queryRange]))
        if shape == .other { return false }
        unnamedStatement = shape
        writer.parseComplete()
        return true
    }

    private mutating func answerBind(_ payload: UnsafeRawBufferPointer, into writer: inout MessageWriter) -> Bool {
        portalEndsTransaction = false
        guard unnamedStatement == .endsTransaction, let names = parseBind(payload),
            names.portal == "", names.statement == ""
        else { return false }
        portalEndsTransaction = true
        writer.bindComplete()
        return true
    }

    private func answerDescribe(_ payload: UnsafeRawBufferPointer, into writer: inout MessageWriter) -> Bool {
        guard let target = parseDescribeOrClose(payload), target.name == "" else { return false }
        if target.kind == UInt8(ascii: "S"), unnamedStatement != .other {
            writer.parameterDescription([])
        } else if target.kind == UInt8(ascii: "S") || !portalEndsTransaction {
            return false
        }
        writer.noData()
        return true
    }

    /// PostgreSQL lets statements and portals be closed at any time, also those that do not exist.
    private mutating func answerClose(_ payload: UnsafeRawBufferPointer, into writer: inout MessageWriter) {
        if let target = parseDescribeOrClose(payload), target.name == "" {
            if target.kind == UInt8(ascii: "S") { unnamedStatement = .other } else { portalEndsTransaction = false }
        }
        writer.closeComplete()
    }

    /// Answers by an error in the middle of a batch, and skips the rest of it.
    private mutating func fail(_ error: ErrorFields, into writer: inout MessageWriter) {
        batch = .skipping
        writer.errorResponse(error)
    }

    /// What a statement gets that neither the client's state nor a refusal lets through.
    private var refusalOfStatement: ErrorFields {
        switch status {
        case .failed:
            ErrorFields(
                code: SQLState.inFailedTransaction,
                message: "current transaction is aborted, commands ignored until end of transaction block",
                detail: "The connection to the server was lost inside this transaction.",
                hint: "Send ROLLBACK, then run the transaction again.")
        case .idle:
            // The rest of a batch of which no server has seen the beginning, behind the ROLLBACK in it.
            ErrorFields(
                code: SQLState.connectionFailure,
                message: "the connection to the server was lost before this batch",
                detail: "The batch has ended the failed transaction; what follows in the same batch was not run.",
                hint: "Send it again after the next Sync.")
        }
    }
}

/// What matters here about the text of a statement.
private enum StatementShape: UInt8 {
    /// Nothing but white space, comments and semicolons.
    case empty
    /// Exactly one ROLLBACK or COMMIT, in any of their spellings.
    case endsTransaction
    /// Anything else.
    case other
}

/// Tells what a statement is. It must end the transaction and do nothing else:
///
/// - `ROLLBACK; INSERT …` is refused as a whole. Without a server the INSERT cannot run, and answering only the
///   ROLLBACK would let the client believe that it has; refused, the client still knows that nothing was done.
/// - ROLLBACK TO needs the savepoint, and AND CHAIN a new transaction; both were lost with the server.
/// - COMMIT PREPARED and ROLLBACK PREPARED need a server.
private func statementShape(_ text: UnsafeRawBufferPointer) -> StatementShape {
    switch loneKeyword(text) {
    case .empty: .empty
    case .commit, .rollback: .endsTransaction
    case .begin, .commitAndChain, .commitPrepared, .rollbackAndChain, .rollbackPrepared, .rollbackToSavepoint,
        .other:
        .other
    }
}
