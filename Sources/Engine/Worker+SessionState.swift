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
        guard let effects = server.pointee.effects else {
            return server.pointee.pin != nil || server.pointee.question != nil
        }
        server.pointee.effects = nil
        if effects.resetsAll || !effects.resets.isEmpty { restoreLoginSettings(clientIndex, effects) }
        if effects.executes, server.pointee.pin?.preparesEffects ?? false { effects.addUnseen() }
        let question = SessionQuestion(
            effects, held: server.pointee.pin?.reasons ?? [],
            known: parameterSets.names(clients[clientIndex].pointee.extras)
        ) { isReported($0, by: server) }
        guard !question.isEmpty else {
            let held = server.pointee.pin?.reasons ?? []
            holdServer(serverIndex, held.union(unprovable(effects)), effects)
            settleChannels(
                clientIndex, effects.channels, isListening: { _ in false }, unlistens: !effects.hasFailed)
            return server.pointee.pin != nil
        }
        server.pointee.question = PendingQuestion(question, effects)
        sendOwnQuery(serverIndex, question.query, .state)
        return true
    }

    /// A RESET has put settings to what Weir's login to the server gave them; for the client it is what its own login
    /// gave them.
    private mutating func restoreLoginSettings(_ clientIndex: UInt32, _ effects: SessionEffects) {
        let client = clients[clientIndex]
        let defaults = pools[UInt32(client.pointee.pool)].pointee.defaults
        var changes: [(name: String, value: String)] = []
        for (name, value) in parameterSets.difference(from: client.pointee.settings, to: client.pointee.loginSettings) {
            let isReset = effects.resetsAll || effects.resets.contains(name.lowercased())
            guard isReset, parameterSets.value(client.pointee.settings, name) == parameterSets.value(defaults, name)
            else { continue }
            changes.append((name, value))
        }
        guard !changes.isEmpty else { return }
        var writer = MessageWriter()
        for (name, value) in changes {
            client.pointee.settings = parameterSets.set(client.pointee.settings, name: name, value: value)
            writer.parameterStatus(name: name, value: value)
        }
        sendToClient(clientIndex, writer)
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
        var reasons = (server.pointee.pin?.reasons ?? []).subtracting(pending.question.kinds)
        reasons.formUnion(pending.answer.kinds)
        reasons.formUnion(unprovable(pending.effects))
        // A session that cannot be asked cannot be carried over.
        if server.pointee.hasOwnError || !takeSettings(pending, clientIndex, serverIndex) { reasons.insert(.settings) }
        holdServer(serverIndex, reasons, pending.effects)
        let channels = pending.answer.channels
        let isUnknown = server.pointee.hasOwnError
        settleChannels(
            clientIndex, pending.effects.channels, isListening: { isUnknown || channels.contains($0) },
            unlistens: !pending.effects.hasFailed)
        deliverNotifications(clientIndex)
        guard server.pointee.owed.isEmpty, server.pointee.transactionStatus == TransactionStatus.idle,
            !settleSession(clientIndex, serverIndex)
        else { return }
        finishTransaction(clientIndex, serverIndex)
    }

    /// The settings that were asked for are the client's from now on; false when they cannot be held.
    private mutating func takeSettings(
        _ pending: PendingQuestion, _ clientIndex: UInt32, _ serverIndex: UInt32
    ) -> Bool {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        var isComplete = !pending.answer.isUnreadable
        var extras = pending.question.asksAll ? ParameterSets.empty : client.pointee.extras
        if !pending.question.asksAll { parameterSets.retain(extras) }
        for (name, value) in pending.answer.settings
        where !isReported(name, by: server) && !SessionQuestion.ofTransaction.contains(name) {
            if isDefault(name, value, serverIndex) {
                extras = parameterSets.remove(extras, name: name)
            } else if !parameterSets.update(&extras, name: name, value: value) {
                isComplete = false
            }
        }
        parameterSets.retain(extras)
        parameterSets.release(client.pointee.extras)
        parameterSets.release(server.pointee.extras)
        client.pointee.extras = extras
        server.pointee.extras = extras
        return isComplete
    }

    /// Whether a value means that the session has none of its own.
    private func isDefault(_ name: String, _ value: String, _ serverIndex: UInt32) -> Bool {
        switch name {
        case "role": value == "none"
        case "session_authorization": value == loginUser(ofServer: serverIndex)
        // What was once set and then reset is empty, not absent.
        case _ where name.contains("."): value.isEmpty
        default: false
        }
    }

    private func loginUser(ofServer index: UInt32) -> String {
        let pool = pools[UInt32(servers[index].pointee.pool)]
        return pool.pointee.options.user ?? pool.pointee.key.user
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
            if effects.preparesEffects { pin.preparesEffects = true }
        } else {
            server.pointee.pin = Pin(
                reasons: held, since: now, statement: effects.statement, preparesEffects: effects.preparesEffects)
            pool.pointee.pinnedCount += 1
        }
        tellOfHold(serverIndex, held)
    }

    private func dropPin(_ server: UnsafeMutablePointer<Server>) {
        server.pointee.hasSessionState = server.pointee.effects != nil
        guard server.pointee.pin != nil else { return }
        server.pointee.pin = nil
        pools[UInt32(server.pointee.pool)].pointee.pinnedCount -= 1
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
    func forgetSession(_ server: UnsafeMutablePointer<Server>) {
        guard server.pointee.hasSessionState || server.pointee.question != nil else { return }
        if server.pointee.pin != nil || server.pointee.effects != nil || server.pointee.question != nil {
            server.pointee.needsCleaning = true
        }
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
