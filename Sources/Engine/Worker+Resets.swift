// RESET, SET … TO DEFAULT and DISCARD ALL go back to what the session began with. For a server that is what Weir's own
// login gave it; for a client what its start-up packet asked for. So where a client has asked for something, what it
// sends behind such a statement waits until the transaction is over and its values are back in place:
//
//     RESET ALL ─▶ ReadyForQuery idle ─▶ question ─▶ answer ─▶ what the login asked for is the client's again
//        what follows is held                                 └▶ it goes on, on this server or another one

import Pooling
import Wire

extension Worker {
    // MARK: What a text may reset

    /// Notes that a text may put back what a client's login asked for.
    func noteResets(_ effects: SessionEffects, _ index: UInt32) {
        if mayResetLogin(effects, index) { clients[index].pointee.mayReset = true }
    }

    /// In session mode nothing else of a session is followed.
    func noteSessionResets(_ effects: SessionEffects, _ index: UInt32, _ serverIndex: UInt32) {
        guard mayResetLogin(effects, index) else { return }
        effects.keepResets()
        if let known = servers[serverIndex].pointee.effects {
            known.add(effects)
        } else {
            servers[serverIndex].pointee.effects = effects
        }
        clients[index].pointee.mayReset = true
    }

    /// Whether something may go back to a default for which the client's login has a value of its own.
    func mayResetLogin(_ effects: SessionEffects, _ index: UInt32) -> Bool {
        let client = clients[index]
        let resets = effects.resetsAll || !effects.resets.isEmpty
        if client.pointee.loginExtras != ParameterSets.empty { return resets || effects.changesUnknownSettings }
        return resets && client.pointee.loginSettings != pools[UInt32(client.pointee.pool)].pointee.defaults
    }

    /// Whether what comes behind a message waits for its answer.
    func waitsForReset(
        _ frame: Frame, _ client: UnsafeMutablePointer<Client>, _ server: UnsafeMutablePointer<Server>
    ) -> Bool {
        guard frame.tag == FrontendTag.query || frame.tag == FrontendTag.sync, client.pointee.framer.isAtBoundary,
            !server.pointee.owed.isEmpty
        else { return false }
        client.pointee.wait = .reset
        return true
    }

    /// The transaction is over, and what comes behind it waits for the server's answer to a question.
    func beginResetWait(_ effects: SessionEffects, _ index: UInt32) {
        guard mayResetLogin(effects, index) else { return }
        switch clients[index].pointee.wait {
        case .none, .answers: clients[index].pointee.wait = .reset
        case .server, .settings, .reset, .listener: break
        }
    }

    // MARK: The way back

    /// A transaction with a RESET is over in session mode, or the server has told what has become of it.
    mutating func settleResets(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        if servers[serverIndex].pointee.effects != nil, settleSession(clientIndex, serverIndex),
            servers[serverIndex].pointee.question != nil
        {
            return
        }
        putBack(clientIndex, serverIndex)
    }

    /// Puts in place on a client's server what a RESET has taken away.
    mutating func putBack(_ clientIndex: UInt32, _ serverIndex: UInt32) {
        let client = clients[clientIndex]
        let server = servers[serverIndex]
        guard client.pointee.settings != server.pointee.settings || client.pointee.extras != server.pointee.extras
        else { return }
        _ = putSettings(clientIndex, serverIndex)
    }

    /// The client goes on, unless its settings are still being asked for or put in place.
    mutating func resumeAfterReset(_ index: UInt32, _ generation: UInt32) {
        guard clients.isLive(index, generation: generation) else { return }
        let client = clients[index]
        guard client.pointee.wait == .reset else { return }
        if client.pointee.server >= 0 {
            let server = servers[UInt32(client.pointee.server)]
            if server.pointee.question != nil || server.pointee.owed.awaitsClientReady { return }
        }
        resumeAfterAnswers(index)
    }

    /// A RESET has put settings to what Weir's login to the server gave them; for the client it is what its own login
    /// gave them.
    mutating func restoreLoginSettings(_ clientIndex: UInt32, _ effects: SessionEffects) {
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

    /// What a client's session has beyond what servers report, when its server has `extras`: a value that its login
    /// asked for and that is gone from the server was reset. Takes nobody's reference; the caller owns the result's.
    mutating func restoreLoginExtras(
        _ clientIndex: UInt32, _ extras: ParameterSetID, _ pending: PendingQuestion
    ) -> ParameterSetID {
        let login = clients[clientIndex].pointee.loginExtras
        parameterSets.retain(extras)
        var mine = extras
        for (name, value) in parameterSets.difference(from: extras, to: login) {
            guard parameterSets.value(extras, name) == nil, pending.question.asks(name) else { continue }
            // Who has no role may have given it up.
            if SessionQuestion.ofIdentity.contains(name), !pending.effects.isResetByName(name) { continue }
            _ = parameterSets.update(&mine, name: name, value: value)
        }
        return mine
    }
}
