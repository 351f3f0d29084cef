// How connections end. Every client ends in `closeClient`, every server in `closeServer`: there it is logged,
// counted, taken out of its lists, and the other side is told. A client survives its server wherever the protocol
// allows it (what it hears is the table of the README's "When things fail").

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    // MARK: Clients

    mutating func clientDisconnected(_ index: UInt32, error: Int32) {
        closeClient(index, error == 0 ? .unexpectedEOF : .connectionError(error))
    }

    /// The one way out for a client.
    mutating func closeClient(_ index: UInt32, _ reason: ClientCloseReason) {
        let client = clients[index]
        logClosing(index, reason)
        if client.pointee.server >= 0 { noteCutReply(index, UInt32(client.pointee.server)) }
        if client.pointee.state != .canceling { tellClient(index, reason) }
        let pool = client.pointee.pool
        if client.pointee.state == .canceling { cancelRequesterLeft(index) }
        if client.pointee.console != nil { consoleLeft(index) }
        if pool >= 0 {
            let poolIndex = UInt32(pool)
            if client.pointee.state == .welcoming { leaveWelcoming(index, poolIndex) }
            if client.pointee.replication != .none { leaveReplicationWait(index, poolIndex) }
            if client.pointee.wait == .server {
                pools[poolIndex].pointee.pool.gaveUp(client: index, clients: &clientLinks)
            }
            pools[poolIndex].pointee.clientCount -= 1
            pools[poolIndex].pointee.usedAt = now
        }
        if client.pointee.server >= 0 { abandonServer(index, UInt32(client.pointee.server)) }
        forget(index)
        clientWasDealt(-1)
    }

    private mutating func tellClient(_ index: UInt32, _ reason: ClientCloseReason) {
        let client = clients[index]
        guard let error = reason.message, !client.pointee.isReplyCut else {
            return loop.close(client.pointee.socket, flushing: true)
        }
        var writer = MessageWriter()
        writer.errorResponse(error)
        sendToClient(index, writer)
        loop.close(client.pointee.socket, flushing: true)
    }

    /// Bytes of ours in the middle of a server's message would be taken for a part of it.
    mutating func noteCutReply(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        if isReplyCut(servers[serverIndex]) { clients[clientIndex].pointee.isReplyCut = true }
    }

    /// Whether the client has only a part of the server's last message.
    func isReplyCut(_ server: UnsafeMutablePointer<Server>) -> Bool {
        server.pointee.isPassing && !server.pointee.framer.isAtBoundary
    }

    /// Gives back what the client held.
    private mutating func forget(_ index: UInt32) {
        let client = clients[index]
        if client.pointee.state == .canceling { loop.close(client.pointee.socket, flushing: false) }
        dropChannels(ofClient: index)
        dropHeld(index)
        dropStatements(ofClient: index)
        if client.pointee.isCounted { shared.clients.giveBack() }
        if let user = client.pointee.user {
            user.clients.giveBack()
            if user.clients.taken == 0 { shared.forgetUser(user, configuration) }
            if client.pointee.pool >= 0 { pools[UInt32(client.pointee.pool)].pointee.database.clients.giveBack() }
        }
        parameterSets.release(client.pointee.settings)
        parameterSets.release(client.pointee.loginSettings)
        parameterSets.release(client.pointee.extras)
        parameterSets.release(client.pointee.loginExtras)
        clients.remove(index)
    }

    private mutating func logClosing(_ index: UInt32, _ reason: ClientCloseReason) {
        let client = clients[index]
        let age = (now - client.pointee.connectedAt) / 1_000_000
        if let error = reason.message {
            guard settings.logPoolerErrors else { return }
            log(.warning, "\(name(ofClient: index)) pooler error: \(error.message)")
        }
        guard settings.logDisconnections, client.pointee.state != .startup || reason.message != nil else { return }
        log(.log, "\(name(ofClient: index)) closing because: \(reason.text) (age=\(age)s)")
    }

    /// A client leaves while it has a server: the server goes back clean, or its query is cancelled, or it is closed.
    private mutating func abandonServer(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        let server = servers[serverIndex]
        let mode = pools[UInt32(server.pointee.pool)].pointee.mode
        let isHalfSent = !clients[clientIndex].pointee.framer.isAtBoundary
        unlink(clientIndex, serverIndex)
        // It was not read if its client did not read, whose socket can no longer tell.
        loop.startReceiving(server.pointee.socket)
        if server.pointee.purpose != .pooled { return closeServer(serverIndex, .replicationClientLeft) }
        if server.pointee.owed.isEmpty && !isHalfSent {
            guard server.pointee.transactionStatus == TransactionStatus.idle else {
                return closeServer(serverIndex, .clientLeftNotReady)
            }
            if mode == .session { server.pointee.needsReset = true }
            return release(serverIndex)
        }
        if !isHalfSent, server.pointee.owed.clientRequestCount == 0, !server.pointee.owed.waitsForClient {
            // It only answers questions of ours.
            server.pointee.isOrphan = true
            server.pointee.activeAt = now
            return
        }
        guard settings.cancelOnDisconnect else { return closeServer(serverIndex, .clientLeftQuery) }
        cancelOrphan(serverIndex, isHalfSent: isHalfSent)
    }

    /// Ends a query that takes too long: its client is told, and the server runs it no longer.
    mutating func endQuery(ofServer serverIndex: UInt32, _ reason: ServerCloseReason) {
        let server = servers[serverIndex]
        guard server.pointee.client >= 0, !server.pointee.owed.isEmpty else { return closeServer(serverIndex, reason) }
        let clientIndex = UInt32(server.pointee.client)
        let isHalfSent = !clients[clientIndex].pointee.framer.isAtBoundary
        log(.log, "\(name(ofServer: serverIndex)) canceling its query because: \(reason.text)")
        loseServer(clientIndex, serverIndex, reason)
        cancelOrphan(serverIndex, isHalfSent: isHalfSent)
    }

    /// A server without a client still works on a query: it is cancelled. What cannot end without its client is closed
    /// when the cancel request has been delivered.
    private mutating func cancelOrphan(_ serverIndex: UInt32, isHalfSent: Bool) {
        let server = servers[serverIndex]
        server.pointee.activeAt = now
        // A batch without its Sync and a COPY without its end would never be answered.
        let canEnd = !isHalfSent && !server.pointee.owed.waitsForClient
        server.pointee.isOrphan = canEnd
        cancelQuery(ofServer: serverIndex, requester: nil)
        if canEnd { return }
        if server.pointee.cancelsUnderWay > 0 {
            server.pointee.closeNeeded = true
        } else {
            closeServer(serverIndex, .clientLeftQuery)
        }
    }

    // MARK: Servers

    mutating func serverDisconnected(_ index: UInt32, error: Int32) {
        let server = servers[index]
        switch server.pointee.phase {
        case .connecting: connectFailed(index, describeErrno(error))
        case .loggingIn where asksAgain(index, wasTold: false): return
        case .loggingIn, .hashing, .resolving:
            closeServer(index, .connectFailed(error == 0 ? "server closed the connection" : describeErrno(error)))
        case .ready: closeServer(index, .crashed(error))
        }
    }

    /// The one way out for a server.
    mutating func closeServer(_ index: UInt32, _ reason: ServerCloseReason) {
        let server = servers[index]
        let poolIndex = UInt32(server.pointee.pool)
        if settings.logDisconnections {
            let age = (now - server.pointee.connectedAt) / 1_000_000
            log(.log, "\(name(ofServer: index)) closing because: \(reason.text) (age=\(age)s)")
        }
        if server.pointee.purpose != .pooled { return endDedicatedServer(index, reason) }
        let client = server.pointee.client
        if client >= 0 { loseServer(UInt32(client), index, reason) }
        let isLogin = server.pointee.login != nil
        endConnection(index, reason)
        dropStatements(ofServer: index)
        connectEnded(index)
        pools[poolIndex].pointee.pool.closed(index, from: server.pointee.state, servers: &serverLinks)
        servers.remove(index)
        if isLogin { loginFailed(poolIndex, reason) }
        permitGivenBack(poolIndex)
        checkWaitingJobs()
    }

    /// Takes leave of a server, closes its socket and gives back what it held of the worker's.
    mutating func endConnection(_ index: UInt32, _ reason: ServerCloseReason) {
        let server = servers[index]
        if server.pointee.socket != .none {
            if server.pointee.phase == .ready, !isCrash(reason) {
                var writer = MessageWriter()
                writer.terminate()
                sendToServer(index, writer)
            }
            loop.close(server.pointee.socket, flushing: true)
        }
        if !server.pointee.gather.isEmpty { loop.release(server.pointee.gather.buffer) }
        parameterSets.release(server.pointee.settings)
        parameterSets.release(server.pointee.extras)
    }

    private func isCrash(_ reason: ServerCloseReason) -> Bool {
        if case .crashed = reason { return true }
        return reason == .silent
    }

    /// The pool no longer counts this server's connect as under way.
    mutating func connectEnded(_ index: UInt32) {
        let server = servers[index]
        guard server.pointee.countsAsConnecting else { return }
        server.pointee.countsAsConnecting = false
        pools[UInt32(server.pointee.pool)].pointee.pool.connectEnded()
    }

    // MARK: A client loses its server

    static var lossError: ErrorFields {
        ErrorFields(
            code: SQLState.connectionFailure, message: "server conn crashed?",
            detail: "The server connection was lost.",
            hint: "The client connection is still usable: try again.")
    }

    private func error(for reason: ServerCloseReason, isCommit: Bool, _ lastError: ErrorFields?) -> ErrorFields {
        if isCommit {
            return ErrorFields(
                code: SQLState.transactionResolutionUnknown,
                message: "server conn crashed? while COMMIT was under way",
                detail: "Whether the transaction was committed is not known.",
                hint: "Check the outcome before trying again.")
        }
        switch reason {
        case .queryTimeout:
            return ErrorFields(
                code: SQLState.queryCanceled, message: reason.text,
                hint: "The query ran longer than query_timeout.")
        case .idleTransactionTimeout:
            return ErrorFields(code: SQLState.idleInTransactionTimeout, message: reason.text)
        case .transactionTimeout:
            return ErrorFields(code: SQLState.transactionTimeout, message: reason.text)
        case .databaseRemoved, .shuttingDown, .closeNeeded, .pauseMode:
            return ErrorFields(code: SQLState.adminShutdown, message: reason.text)
        case .crashed:
            var error = Self.lossError
            error.message = reason.text
            if let lastError { error.detail = "The server's last words: \(lastError.severity) \(lastError.message)" }
            return error
        case .statementModeTransaction:
            return ErrorFields(code: SQLState.featureNotSupported, message: reason.text)
        default:
            return ErrorFields(
                code: SQLState.connectionFailure, message: reason.text, hint: Self.lossError.hint)
        }
    }

    /// Tells a client that its server is gone and makes it ready to go on without.
    private mutating func loseServer(_ clientIndex: UInt32, _ serverIndex: UInt32, _ reason: ServerCloseReason) {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        let pool = pools[UInt32(server.pointee.pool)]
        noteCutReply(clientIndex, serverIndex)
        let inTransaction = server.pointee.transactionStatus != TransactionStatus.idle
        let commit = server.pointee.requestsBeforeCommit
        // Statement mode has no transaction that a COMMIT could end.
        let isCommit = commit >= 0 && server.pointee.queryAt != 0 && pool.pointee.mode != .statement
        let error = error(for: reason, isCommit: isCommit, server.pointee.lastWords?.error)
        let requests = server.pointee.owed.clientRequestCount
        let isBatchOpen = server.pointee.owed.isBatchOpen
        // The batch that is open has had its error if the server skips the rest of it.
        let hasError = server.pointee.owed.isSkipping
        let isHeld = hasSessionToLose(server)
        let waitsForSettings = client.pointee.wait == .settings
        undoNames(serverIndex)
        unlink(clientIndex, serverIndex)
        if waitsForSettings {
            // Nothing of the client's was sent yet: it simply waits for another server.
            return waitAgain(clientIndex)
        }
        if pool.pointee.mode == .session, server.pointee.hasToldItsEnd {
            return closeClient(clientIndex, .serverEnded)
        }
        // A session's state is gone with its server, and a message that is half passed on cannot be ended.
        if client.pointee.isReplyCut || endsSession(reason) || isHeld || pool.pointee.mode == .session {
            var last = error
            last.severity = "FATAL"
            last.hint = isHeld ? "What the session had on its server is lost: connect again." : nil
            return closeClient(clientIndex, .fatal(last))
        }
        if pool.pointee.mode == .statement, case .statementModeTransaction = reason {
            var last = error
            last.severity = "FATAL"
            return closeClient(clientIndex, .fatal(last))
        }
        // A COMMIT ends its transaction, whatever became of it.
        client.pointee.responder.serverLost(inTransaction: inTransaction && !isCommit, insideBatch: isBatchOpen)
        if requests == 0 && !isBatchOpen {
            // The client is between two statements: it hears of it with the next one, if it has lost anything.
            if inTransaction || !isCrash(reason) { client.pointee.refusal = Refusal(error) }
            return goOnWithoutServer(clientIndex)
        }
        var writer = MessageWriter()
        let last = isBatchOpen ? requests : requests - 1
        for request in 0...last {
            if request < requests || !hasError {
                writer.errorResponse(!isCommit || request == min(commit, last) ? error : Self.lossError)
            }
            if request < requests { writer.readyForQuery(client.pointee.responder.readyStatus) }
        }
        sendToClient(clientIndex, writer)
        goOnWithoutServer(clientIndex)
    }

    /// What the client sends, or has sent and waits, is looked at: nothing is to come from the server any more.
    private mutating func goOnWithoutServer(_ index: UInt32) {
        switch clients[index].pointee.wait {
        case .answers, .listener, .reset: resumeAfterAnswers(index)
        case .none, .server, .settings: resumeReceiving(client: index)
        }
    }

    /// Whether a server has something of its client's session that is nowhere else.
    private func hasSessionToLose(_ server: UnsafeMutablePointer<Server>) -> Bool {
        // What the client was told is done, but is not known yet, is lost as well.
        if server.pointee.pin != nil || server.pointee.question?.effects.changesMoreThanChannels ?? false {
            return true
        }
        guard let effects = server.pointee.effects else { return false }
        return effects.isConfirmed && effects.changesMoreThanChannels
    }

    /// Timeouts that end the client's session too, as they do in PostgreSQL.
    private func endsSession(_ reason: ServerCloseReason) -> Bool {
        switch reason {
        case .idleTransactionTimeout, .transactionTimeout, .databaseRemoved, .shuttingDown: true
        default: false
        }
    }

    private mutating func waitAgain(_ clientIndex: UInt32) {
        clients[clientIndex].pointee.wait = .none
        switch requestServer(clientIndex) {
        case .ready: resumeHeld(clientIndex)
        case .waiting: break
        case .refused(let refusal): refuse(clientIndex, refusal.error)
        }
    }

    /// Ends a client's wait with an error; its connection stays.
    mutating func refuse(_ clientIndex: UInt32, _ error: ErrorFields) {
        let client = clients[clientIndex]
        client.pointee.wait = .none
        client.pointee.refusal = Refusal(error)
        if settings.logPoolerErrors {
            log(.warning, "\(name(ofClient: clientIndex)) pooler error: \(error.message)")
        }
        resumeHeld(clientIndex)
    }

    /// Takes a client out of the line and ends its wait with an error.
    mutating func refuseWaiting(_ clientIndex: UInt32, _ error: ErrorFields) {
        let poolIndex = UInt32(clients[clientIndex].pointee.pool)
        pools[poolIndex].pointee.pool.gaveUp(client: clientIndex, clients: &clientLinks)
        refuse(clientIndex, error)
    }
}
