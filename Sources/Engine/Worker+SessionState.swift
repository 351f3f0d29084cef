// When a transaction is over that may have changed the session on its server, the server is asked what has become of
// it, and stays with its client until it has answered:
//
//     ReadyForQuery idle ─▶ effects? ─ no ─▶ released
//                              │ yes
//                              ▼
//                       question ─▶ answer ─▶ settings: now the client's, and the server's
//                                          └▶ temporary tables, locks, …: the server stays, with its reason
//
// The client has its ReadyForQuery already, and what it sends meanwhile goes to the same server behind the question.

import Configuration
import Pooling
import Wire

extension Worker {
    /// A transaction is over on a server that has something to settle: true when the server stays with its client.
    @inline(never)
    mutating func settleSession(_ clientIndex: UInt32, _ serverIndex: UInt32) -> Bool {
        let server = servers[serverIndex]
        guard let effects = server.pointee.effects else { return server.pointee.hasSessionState }
        server.pointee.effects = nil
        clients[clientIndex].pointee.mayReset = false
        effects.addExecuted(server.pointee.pin?.prepared)
        if effects.resetsAll || !effects.resets.isEmpty { restoreLoginSettings(clientIndex, effects) }
        let question = SessionQuestion(
            effects, held: server.pointee.pin?.reasons ?? [],
            known: parameterSets.names(clients[clientIndex].pointee.extras)
        ) { isReported($0, by: server) }
        guard !question.isEmpty else {
            let held = server.pointee.pin?.reasons ?? []
            holdServer(serverIndex, held.union(unprovable(effects)), effects)
            settleChannels(clientIndex, effects.channels.list) { _ in false }
            return server.pointee.pin != nil
        }
        beginResetWait(effects, clientIndex)
        server.pointee.question = PendingQuestion(question, effects)
        sendOwnQuery(serverIndex, effects.attempts > 0 ? question.unhurriedQuery : question.query, .state)
        return true
    }

    /// A request has been answered. UNLISTENs that nothing can undo any more are settled before what comes next.
    @inline(never)
    mutating func settleUnlistens(_ clientIndex: UInt32, _ serverIndex: UInt32, _ status: UInt8) {
        let server = servers[serverIndex]
        guard let effects = server.pointee.effects else { return }
        let isIdle = status == TransactionStatus.idle
        effects.requestAnswered(
            isIdle: isIdle, isFailed: status == TransactionStatus.failed, isLast: server.pointee.owed.isEmpty)
        if isIdle { effects.isConfirmed = true }
        settleChannels(clientIndex, effects.takeFinalChannels()) { _ in false }
    }

    /// A COMMIT of the client's has been answered: what its transaction changed of what the client listens to stays.
    func noteCommitAnswered(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        let server = servers[index]
        guard let effects = server.pointee.effects, server.pointee.owed.origin == .client else { return }
        let text = UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes - 1)
        if text.elementsEqual("COMMIT".utf8) { effects.committed() }
    }

    private func unprovable(_ effects: SessionEffects) -> HoldReasons { effects.begins.subtracting(.provable) }

    /// Whether a server reports a setting, or reports what belongs to it.
    private func isReported(_ name: String, by server: UnsafeMutablePointer<Server>) -> Bool {
        // What a server says of itself is no setting, but for who the session is, which is put in place.
        if name == "session_authorization" { return false }
        return !isTrackable(name) || parameterSets.value(server.pointee.settings, name) != nil
    }

    /// A row of the answer has come.
    func sessionRow(_ serverIndex: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        servers[serverIndex].pointee.question?.answer.add(
            row: UnsafeRawBufferPointer(
                start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes))
    }

    /// The answer is complete.
    mutating func sessionAnswered(_ serverIndex: UInt32) {
        let server = servers[serverIndex]
        guard let pending = server.pointee.question, server.pointee.client >= 0 else { return }
        server.pointee.question = nil
        let clientIndex = UInt32(server.pointee.client)
        let generation = clients[clientIndex].pointee.generation
        if server.pointee.hasOwnError, pending.effects.failedToAsk() {
            // The client's own timeout or cancel request may have struck it. The answer is asked for anew when nothing
            // of the client's runs.
            pending.effects.isConfirmed = true
            if let later = server.pointee.effects { pending.effects.add(later) }
            server.pointee.effects = pending.effects
        } else {
            takeAnswer(pending, clientIndex, serverIndex)
        }
        deliverNotifications(clientIndex)
        if server.pointee.owed.isEmpty, server.pointee.transactionStatus == TransactionStatus.idle {
            let isSession = pools[UInt32(server.pointee.pool)].pointee.mode == .session
            if isSession { settleResets(clientIndex, serverIndex) } else { transactionEnded(clientIndex, serverIndex) }
        }
        resumeAfterReset(clientIndex, generation)
    }

    private mutating func takeAnswer(_ pending: PendingQuestion, _ clientIndex: UInt32, _ serverIndex: UInt32) {
        let server = servers[serverIndex]
        let isUnknown = server.pointee.hasOwnError
        var reasons = (server.pointee.pin?.reasons ?? []).subtracting(pending.question.kinds)
        reasons.formUnion(pending.answer.kinds)
        // A session that cannot be asked cannot be carried over.
        if isUnknown || !takeSettings(pending, clientIndex, serverIndex) {
            reasons.insert(.settings)
        } else if pending.effects.resetsAll, pending.effects.settings.isEmpty {
            reasons.remove(.settings)
        }
        reasons.formUnion(unprovable(pending.effects))
        holdServer(serverIndex, reasons, pending.effects)
        let channels = pending.answer.channels
        settleChannels(clientIndex, pending.effects.channels.list) { isUnknown || channels.contains($0) }
    }

    /// The settings that were asked for are the client's from now on; false when they cannot be held.
    private mutating func takeSettings(
        _ pending: PendingQuestion, _ clientIndex: UInt32, _ serverIndex: UInt32
    ) -> Bool {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        let answer = pending.answer
        var isComplete = !answer.isUnreadable && (answer.isASCII || isUnicode(server))
        // What was asked for and has no value in the answer has none in the session.
        let valued = answer.names
        var extras = client.pointee.extras
        parameterSets.retain(extras)
        for name in parameterSets.names(extras) where pending.question.asks(name) && !valued.contains(name) {
            extras = parameterSets.remove(extras, name: name)
        }
        for (name, value) in settings(of: pending) where !isReported(name, by: server) {
            if isDefault(name, value, pending.effects, serverIndex) {
                extras = parameterSets.remove(extras, name: name)
            } else if !parameterSets.update(&extras, name: name, value: value) {
                isComplete = false
            }
        }
        parameterSets.retain(extras)
        parameterSets.release(client.pointee.extras)
        parameterSets.release(server.pointee.extras)
        client.pointee.extras = restoreLoginExtras(clientIndex, extras, pending)
        server.pointee.extras = extras
        return isComplete
    }

    /// The values in an answer that may be the session's own.
    private func settings(of pending: PendingQuestion) -> [(name: String, value: String)] {
        pending.answer.settings.compactMap { name, value in
            if SessionQuestion.ofTransaction.contains(name) { return nil }
            if name == "statement_timeout", let own = pending.answer.statementTimeout { return (name, own) }
            return value.map { (name, $0) }
        }
    }

    /// Whether a value that is read in the client's encoding and written as Unicode escapes stays what it is.
    private func isUnicode(_ server: UnsafeMutablePointer<Server>) -> Bool {
        let fixed = pools[UInt32(server.pointee.pool)].pointee.fixedParameters
        return parameterSets.value(server.pointee.settings, "client_encoding") == "UTF8"
            && !fixed.contains { $0.name == "server_encoding" && $0.value == "SQL_ASCII" }
    }

    /// Whether a value means that the session has none of its own.
    private func isDefault(_ name: String, _ value: String, _ effects: SessionEffects, _ serverIndex: UInt32) -> Bool {
        switch name {
        case "role": value == "none"
        case "session_authorization": value == loginUser(ofServer: serverIndex)
        // What was once set and then reset is empty, not absent.
        case _ where name.contains(".") && value.isEmpty: effects.isReset(name)
        default: false
        }
    }

    private func loginUser(ofServer index: UInt32) -> String {
        let pool = pools[UInt32(servers[index].pointee.pool)]
        return pool.pointee.options.user ?? pool.pointee.key.user
    }

    // MARK: Settings of a new server

    /// What a client asked for at its login and the server does not report follows it with the rest of that kind.
    mutating func keepUnreported(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        let names = parameterSets.names(of: client.pointee.settings, missingIn: server.pointee.settings)
        guard !names.isEmpty else { return }
        for name in names {
            guard let value = parameterSets.value(client.pointee.settings, name) else { continue }
            _ = parameterSets.update(&client.pointee.extras, name: name.lowercased(), value: value)
        }
        parameterSets.retain(client.pointee.extras)
        parameterSets.release(server.pointee.extras)
        server.pointee.extras = client.pointee.extras
    }

    /// The server did not take the client's settings, none of them.
    mutating func settingsRefused(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        guard client.pointee.wait == .settings else {
            // What the client sent may have run without them. Next time they are waited for.
            client.pointee.hasConfirmedSettings = false
            noteWelcome(of: clientIndex, isConfirmed: false)
            return closeServer(serverIndex, .settingsFailed)
        }
        let cause = server.pointee.settingsError?.error
        let error = fatalFields(
            cause?.code ?? SQLState.invalidParameterValue, cause?.message ?? "invalid server parameter",
            detail: cause?.detail ?? "invalid server parameter: the server refused a setting of this session",
            hint: cause?.hint)
        // Nothing of the client's was sent: once it is clean the server is as good as before.
        server.pointee.settingsError = nil
        server.pointee.needsCleaning = true
        unlink(clientIndex, serverIndex)
        release(serverIndex)
        closeClient(clientIndex, .fatal(error))
    }

    // MARK: Servers that stay

    /// What holds a server for its client, now; nothing lets it go.
    private mutating func holdServer(_ serverIndex: UInt32, _ reasons: HoldReasons, _ effects: SessionEffects) {
        let server = servers[serverIndex]
        let pool = pools[UInt32(server.pointee.pool)]
        let held = pool.pointee.pinMode == .ignore ? [] : reasons
        guard !held.isEmpty else { return dropPin(server) }
        if let pin = server.pointee.pin {
            pin.reasons = held
        } else {
            server.pointee.pin = Pin(reasons: held, since: now, statement: effects.statement)
            // What no text showed cannot be refused any more.
            if !server.pointee.hasPinPlace { _ = takePinPlace(server, limit: 0) }
        }
        if let prepared = effects.prepared, let pin = server.pointee.pin {
            if let known = pin.prepared { known.add(prepared) } else { pin.prepared = prepared }
        }
        tellOfHold(serverIndex, held)
        putBack(UInt32(server.pointee.client), serverIndex)
    }

    private mutating func dropPin(_ server: UnsafeMutablePointer<Server>) {
        server.pointee.pin = nil
        giveBackPinPlace(server)
    }

    /// A server may have to stay with its client: takes one of the places for that, all workers' together; false when
    /// there is none.
    func takePinPlace(_ server: UnsafeMutablePointer<Server>, limit: Int) -> Bool {
        if server.pointee.hasPinPlace { return true }
        server.pointee.hasPinPlace = pools[UInt32(server.pointee.pool)].pointee.pool.bounds.pinned.take(within: limit)
        return server.pointee.hasPinPlace
    }

    /// Gives the place back, unless something holds the server, or may when the transaction is over.
    mutating func giveBackPinPlace(_ server: UnsafeMutablePointer<Server>) {
        guard server.pointee.hasPinPlace, server.pointee.pin == nil, server.pointee.question == nil,
            server.pointee.effects?.begins.isEmpty ?? true
        else { return }
        server.pointee.hasPinPlace = false
        pools[UInt32(server.pointee.pool)].pointee.pool.bounds.pinned.giveBack()
    }

    /// Tells the client once for each reason, if that is wanted.
    private mutating func tellOfHold(_ serverIndex: UInt32, _ reasons: HoldReasons) {
        guard settings.pinNotice, servers[serverIndex].pointee.client >= 0 else { return }
        let clientIndex = UInt32(servers[serverIndex].pointee.client)
        let news = reasons.subtracting(clients[clientIndex].pointee.holdsTold)
        guard !news.isEmpty else { return }
        clients[clientIndex].pointee.holdsTold.formUnion(news)
        var writer = MessageWriter()
        writer.noticeResponse(
            ErrorFields(
                severity: "NOTICE", code: SQLState.successfulCompletion,
                message: "this session keeps a server connection: \(news.text)",
                hint: "It is shared again when the session has none of this any more."))
        sendToClient(clientIndex, writer)
    }

    /// A server parts from its client with a session that is not known, or not fit for others.
    mutating func forgetSession(_ server: UnsafeMutablePointer<Server>) {
        guard server.pointee.hasSessionState else { return }
        server.pointee.needsCleaning = true
        // What a library does to a process is not undone by anything.
        if server.pointee.pin?.reasons.contains(.library) ?? false { server.pointee.closeNeeded = true }
        if server.pointee.effects?.begins.contains(.library) ?? false { server.pointee.closeNeeded = true }
        server.pointee.effects = nil
        server.pointee.question = nil
        dropPin(server)
    }

    /// Makes a server fit for others again whose session is not known.
    mutating func cleanServer(_ serverIndex: UInt32) {
        move(serverIndex, to: .tested)
        sendOwnQuery(serverIndex, "DISCARD ALL", .reset)
        forgetExtras(serverIndex)
    }

    /// A query of ours puts a server's settings back; if it fails the server is closed.
    mutating func forgetExtras(_ serverIndex: UInt32) {
        parameterSets.release(servers[serverIndex].pointee.extras)
        servers[serverIndex].pointee.extras = ParameterSets.empty
    }
}
