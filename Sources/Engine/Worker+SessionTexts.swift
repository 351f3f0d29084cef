// In transaction and statement mode the texts of Query and Parse messages are looked at before they are passed on: for
// what they may do to the session on the server (SessionEffects). Nearly all texts are found to do nothing by a look
// at their first word and one pass over their bytes; nothing is kept of them.
//
//     plain                        → passed on
//     SET, CREATE TEMP, LISTEN …   → noted on the server, passed on; or refused, if it would hold a server that may
//                                    not be held

import Configuration
import Pooling
import Reactor
import SQLText
import Wire

/// Whether a text may be passed on, for what it does to the session.
enum TextVerdict {
    case pass
    /// The listening connection must have its channels first.
    case waits
    case refused(ErrorFields)
}

extension Worker {
    /// Looks at the text of a Query or an unnamed Parse. `bytes` is the buffer's memory; the message begins at `offset`,
    /// and what precedes it from `run` on has not been sent yet.
    @inline(__always)
    mutating func lookAtText(
        _ index: UInt32, _ frame: Frame, _ buffer: BufferID, _ bytes: UnsafeRawPointer, run: Int, offset: Int
    ) -> BatchOutcome {
        let payload = UnsafeRawBufferPointer(
            start: bytes + offset + MessageFramer.headerBytes, count: frame.end - offset - MessageFramer.headerBytes)
        let isWhole = frame.end - offset == frame.length
        if isWhole, frame.tag == FrontendTag.query, !payload.isEmpty,
            isSurelyPlainStatement(UnsafeRawBufferPointer(rebasing: payload.dropLast()))
        {
            return .pass
        }
        return lookCloser(index, frame, buffer, bytes + offset, payload, isWhole, run: run, offset: offset)
    }

    @inline(never)
    private mutating func lookCloser(
        _ index: UInt32, _ frame: Frame, _ buffer: BufferID, _ message: UnsafeRawPointer,
        _ payload: UnsafeRawBufferPointer, _ isWhole: Bool, run: Int, offset: Int
    ) -> BatchOutcome {
        let serverIndex = UInt32(clients[index].pointee.server)
        // What the server skips has no effect, and nothing may be put in its place.
        if servers[serverIndex].pointee.owed.isSkipping { return .pass }
        guard isWhole || frame.length > EventLoop.bufferBytes else { return .needs(frame.length) }
        guard let text = Self.text(of: payload, frame.tag), !isSurelyPlainStatement(text) else {
            if !isWhole { beginToWatch(index, payload) }
            return .pass
        }
        if frame.tag == FrontendTag.parse, mayBeInTransaction(servers[serverIndex]) {
            Self.noteCommit(text, servers[serverIndex])
        }
        guard isWhole else {
            noteUnseen(serverIndex)
            return .pass
        }
        guard let effects = effects(of: text, on: serverIndex) else { return .pass }
        if !pools[UInt32(servers[serverIndex].pointee.pool)].pointee.followsSession {
            noteSessionResets(effects, index, serverIndex)
            return .pass
        }
        if mayHaveNames(index, serverIndex), let name = deallocatedName(text) {
            // Whether there is such a statement, and whether the transaction has failed, earlier answers tell.
            let server = servers[serverIndex]
            if server.pointee.owed.awaitsClientReady { return .waits(.answers) }
            let isKnown = name.withUnsafeBytes { clients[index].pointee.statements.find($0) != nil }
            if isKnown, server.pointee.transactionStatus != TransactionStatus.failed {
                flush(serverIndex, buffer, run: run, offset: offset)
                return deallocate(name, index, serverIndex, frame, payload)
            }
        }
        if frame.tag == FrontendTag.query, payload.count == text.count + 1,
            let outcome = rewriteNames(
                text, effects, index, frame, buffer, message, run: run, offset: offset)
        {
            return outcome
        }
        switch noteEffects(effects, index, serverIndex) {
        case .pass: return .pass
        case .waits: return .waits(.listener)
        case .refused(let error):
            flush(serverIndex, buffer, run: run, offset: offset)
            if frame.tag == FrontendTag.parse {
                servers[serverIndex].pointee.unnamedNumber = 0
                return refuse(serverIndex, frame, error)
            }
            refuseQuery(serverIndex, frame, error)
            return .rewritten(next: frame.end)
        }
    }

    /// The text in the part of a Query or Parse message that is there; nil when even its beginning is missing.
    private static func text(of payload: UnsafeRawBufferPointer, _ tag: UInt8) -> UnsafeRawBufferPointer? {
        var start = 0
        if tag == FrontendTag.parse {
            guard let nameEnd = firstNUL(in: payload) else { return nil }
            start = nameEnd + 1
        }
        let rest = UnsafeRawBufferPointer(rebasing: payload[start...])
        guard let end = firstNUL(in: rest) else { return rest }
        return UnsafeRawBufferPointer(rebasing: rest[..<end])
    }

    /// More of a text has come whose beginning is plain: what follows may still do something.
    func watchRest(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) {
        let client = clients[index]
        let before = client.pointee.textBefore
        keepTextBefore(client, bytes)
        guard mayHaveSessionEffect(bytes) || isAcross(before, bytes) else { return }
        client.pointee.watchesRest = false
        if client.pointee.server >= 0 { noteUnseen(UInt32(client.pointee.server)) }
    }

    private func beginToWatch(_ index: UInt32, _ bytes: UnsafeRawBufferPointer) {
        let client = clients[index]
        client.pointee.watchesRest = true
        client.pointee.textBefore = (0, 0, 0)
        keepTextBefore(client, bytes)
    }

    private func keepTextBefore(_ client: UnsafeMutablePointer<Client>, _ bytes: UnsafeRawBufferPointer) {
        for byte in bytes.suffix(3) {
            let before = client.pointee.textBefore
            client.pointee.textBefore = (before.1, before.2, byte)
        }
    }

    /// Whether something that may have an effect lies across the border of two parts.
    private func isAcross(_ before: (UInt8, UInt8, UInt8), _ bytes: UnsafeRawBufferPointer) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: 6, alignment: 1) { border in
            (border[0], border[1], border[2]) = before
            let count = min(3, bytes.count)
            for index in 0..<count { border[3 + index] = bytes[index] }
            return mayHaveSessionEffect(UnsafeRawBufferPointer(rebasing: border[..<(3 + count)]))
        }
    }

    /// A text is not seen whole, or a function is called by number: when its transaction is over the server is asked
    /// for everything.
    func noteUnseen(_ serverIndex: UInt32) {
        guard pools[UInt32(servers[serverIndex].pointee.pool)].pointee.followsSession else { return }
        let effects = servers[serverIndex].pointee.effects ?? SessionEffects()
        effects.addUnseen()
        let pool = pools[UInt32(servers[serverIndex].pointee.pool)]
        if pool.pointee.pinMode == .ignore {
            effects.ignoreHolds()
        } else {
            _ = takePinPlace(servers[serverIndex], limit: pool.pointee.maxPinned)
        }
        servers[serverIndex].pointee.effects = effects
    }

    /// What a text may do to the session; nil for nothing.
    func effects(of text: UnsafeRawBufferPointer, on serverIndex: UInt32) -> SessionEffects? {
        // The setting matters only where there is a backslash.
        let isStandard =
            !text.contains(0x5C)
            || parameterSets.value(servers[serverIndex].pointee.settings, "standard_conforming_strings") != "off"
        var changes = false
        var undoes = false
        let server = servers[serverIndex]
        scanStatements(text, standardConformingStrings: isStandard) { kind, _ in
            if kind.changesSession { changes = true }
            if kind.mayUndoChanges { undoes = true }
            if mayChangeMeaningLocally(kind, NameReader(text, standardConformingStrings: isStandard)) {
                server.pointee.mayHaveLocalMeaning = true
            }
        }
        // Whether UNLISTENs count is told by nothing but what came after them.
        let isAfterChannels = server.pointee.effects?.channels.isEmpty == false
        if undoes, isAfterChannels { changes = true }
        guard changes else { return nil }
        let effects = SessionEffects()
        effects.add(text, standardConformingStrings: isStandard)
        if !isAfterChannels { effects.forgetLoneControls() }
        return effects.isEmpty ? nil : effects
    }

    /// Notes what a text may do before it is passed on.
    mutating func noteEffects(_ effects: SessionEffects, _ index: UInt32, _ serverIndex: UInt32) -> TextVerdict {
        let server = servers[serverIndex]
        let pool = pools[UInt32(server.pointee.pool)]
        switch pool.pointee.pinMode {
        case .ignore: effects.ignoreHolds()
        case .refuse: if !effects.begins.isEmpty { return .refused(pinRefused(effects.begins)) }
        case .hold:
            if !effects.begins.isEmpty, !takePinPlace(server, limit: pool.pointee.maxPinned) {
                return .refused(tooManyPinned(effects.begins, pool.pointee.maxPinned))
            }
        }
        if effects.closesStatements { server.pointee.closesAtExecute = true }
        defer { giveBackPinPlace(server) }
        guard !effects.isEmpty else { return .pass }
        if server.pointee.effects?.isFull(for: effects) ?? false { return .refused(tooManyChannelChanges) }
        switch prepareChannels(effects, index) {
        case .ready: break
        case .waits: return .waits
        case .failed(let error): return .refused(error)
        }
        let known = server.pointee.effects ?? effects
        if known !== effects { known.add(effects) }
        server.pointee.effects = known
        if !effects.channels.isEmpty {
            known.noteRequest(after: server.pointee.owed.clientRequestsAhead)
        }
        noteResets(effects, index)
        return .pass
    }

    /// Notes what executing a prepared statement may do, and whether it is to be looked at each time.
    ///
    /// - Parameter body: what follows the name in its Parse.
    mutating func noteEffects(
        ofBody body: UnsafeRawBufferPointer, _ index: UInt32, _ serverIndex: UInt32
    ) -> (StatementEffect, TextVerdict) {
        guard let end = firstNUL(in: body) else { return (.none, .pass) }
        let text = UnsafeRawBufferPointer(rebasing: body[..<end])
        if isSurelyPlainStatement(text) { return (.none, .pass) }
        guard let found = effects(of: text, on: serverIndex) else {
            return (mattersToTransaction(text) ? .some : .none, .pass)
        }
        return (.some, noteEffects(found, index, serverIndex))
    }

    /// Notes what a statement does to the session when it is executed, before the Bind that asks for it is passed on;
    /// nil when it may be.
    @inline(__always)
    mutating func noteUse(
        _ id: StatementID, _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID, _ isWhole: Bool,
        run: Int, offset: Int
    ) -> BatchOutcome? {
        if statements.effect(id) == .none { return nil }
        let (effect, verdict) = noteEffects(ofBody: statements.body(id), index, serverIndex)
        statements.setEffect(id, effect)
        return outcomeOfUse(verdict, index, serverIndex, frame, buffer, isWhole, run: run, offset: offset)
    }

    /// What becomes of the Bind of a statement that does something to the session; nil when it is passed on.
    mutating func outcomeOfUse(
        _ verdict: TextVerdict, _ index: UInt32, _ serverIndex: UInt32, _ frame: Frame, _ buffer: BufferID,
        _ isWhole: Bool, run: Int, offset: Int
    ) -> BatchOutcome? {
        switch verdict {
        case .pass: return nil
        case .waits: return .waits(.listener)
        case .refused(let error):
            flush(serverIndex, buffer, run: run, offset: offset)
            clients[index].pointee.dropsMessage = !isWhole
            return refuse(serverIndex, frame, error)
        }
    }

    /// Whether what a text does depends on what was done before it, or what comes after it depends on the text.
    private func mattersToTransaction(_ text: UnsafeRawBufferPointer) -> Bool {
        var found = false
        scanStatements(text, standardConformingStrings: true) { kind, _ in
            if kind.mayUndoChanges
                || mayChangeMeaningLocally(kind, NameReader(text, standardConformingStrings: true))
            {
                found = true
            }
        }
        return found
    }

    private func pinRefused(_ reasons: HoldReasons) -> ErrorFields {
        ErrorFields(
            code: SQLState.featureNotSupported, message: "session state is not available here: \(reasons.text)",
            detail: "Server connections are shared, and this database does not let a client keep one (pin = refuse).",
            hint: "Keep it within one transaction if that is possible, or set pin = hold for the database.")
    }

    private func tooManyPinned(_ reasons: HoldReasons, _ limit: Int) -> ErrorFields {
        ErrorFields(
            code: SQLState.configurationLimitExceeded, message: "too many clients keep a server connection",
            detail: "The statement needs one of its own (\(reasons.text)); \(limit) (max_pinned) have one already, "
                + "or may have when their transactions are over.",
            hint: "SHOW PINS lists them. Close sessions that are no longer used, or raise max_pinned.")
    }

    private var tooManyChannelChanges: ErrorFields {
        ErrorFields(
            code: SQLState.programLimitExceeded, message: "too many changes of channels in one transaction",
            detail: "With the savepoints among them there may be \(SessionEffects.channelChangesMax).")
    }

    /// Puts an error in the place of a Query: a message that can only fail stands for it, so that a transaction fails as
    /// it should.
    mutating func refuseQuery(_ serverIndex: UInt32, _ frame: Frame, _ error: ErrorFields) {
        _ = refuse(serverIndex, frame, error)
        var writer = MessageWriter()
        writer.sync()
        sendToServer(serverIndex, writer)
        servers[serverIndex].pointee.owed.sentSync()
    }
}
