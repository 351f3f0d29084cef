// What the statements that a client sends may do to the session on its server, gathered from their texts until the
// transaction ends. A text says only what may happen: a statement can fail, a transaction can be rolled back, a lock
// can be refused. So the effects decide what the server is asked when the transaction is over (SessionQuestion), and
// its answer is what counts.
//
//     SET statement_timeout = '5s'     →  settings: statement_timeout
//     CREATE TEMP TABLE t (…)          →  begins: temporary objects
//     SELECT pg_advisory_unlock(1)     →  ends: advisory locks
//     SET LOCAL …, SELECT …, INSERT …  →  nothing

import SQLText

/// What texts of one client may have done to its server's session since they were last asked for.
public final class SessionEffects {
    /// How many names of settings are remembered; beyond that all settings are read.
    static var namesMax: Int { 64 }
    /// How many LISTENs and UNLISTENs, with the savepoints among them, one client may have under way.
    public static var channelChangesMax: Int { 20_000 }
    /// How much of a text is kept to be shown.
    static var statementBytesMax: Int { 200 }
    /// How often a question may be asked again that the server could not answer.
    static var attemptsMax: Int { 10 }

    /// The settings that may have a new value, in lower case.
    public private(set) var settings: [String] = []
    /// Settings that may have gone back to their defaults.
    public private(set) var resets: [String] = []
    /// All settings may have gone back to their defaults.
    public private(set) var resetsAll = false
    /// The settings whose last change, if all of them count, was not back to the default.
    private var setLast: Set<String> = []
    /// Settings may have changed whose names are not known.
    public private(set) var changesUnknownSettings = false
    /// What may have come into being.
    public private(set) var begins: HoldReasons = []
    /// What may have come to its end.
    public private(set) var ends: HoldReasons = []
    /// The LISTENs and UNLISTENs in their order.
    public private(set) var channels = ChannelChanges()
    /// What statements that were prepared by SQL do when they are executed.
    public private(set) var prepared: SessionEffects?
    /// A prepared statement was executed by SQL.
    public private(set) var executes = false
    /// The text added last closes all prepared statements.
    public private(set) var closesStatements = false
    /// The client has been told that one of these transactions is over.
    public var isConfirmed = false
    /// How often the server could not answer what was asked about this.
    public private(set) var attempts = 0
    /// The start of the text that first began or set something, without its constants.
    public private(set) var statement = ""
    /// A channel's name cannot be read.
    public private(set) var hasUnreadableChannel = false
    /// An error has come: settings may be without a value of the session's own.
    public private(set) var hadError = false
    /// The text is the body of a PREPARE.
    private var isBody = false

    /// No effects.
    public init() {}

    /// Whether nothing was found.
    public var isEmpty: Bool {
        settings.isEmpty && resets.isEmpty && !resetsAll && !changesUnknownSettings && begins.isEmpty && ends.isEmpty
            && channels.isEmpty && !hasUnreadableChannel && !executes
    }

    /// Whether more may have changed than what the session listens to, which is known without its server.
    public var changesMoreThanChannels: Bool {
        !settings.isEmpty || !resets.isEmpty || resetsAll || changesUnknownSettings || !begins.isEmpty || executes
    }

    /// Adds what a text may do.
    ///
    /// - Parameters:
    ///   - text: the text of a Query or Parse message without its NUL.
    ///   - standardConformingStrings: the server's setting of that name.
    public func add(_ text: UnsafeRawBufferPointer, standardConformingStrings: Bool) {
        let before = (begins, settings.count, changesUnknownSettings)
        let reader = NameReader(text, standardConformingStrings: standardConformingStrings)
        scanStatements(text, standardConformingStrings: standardConformingStrings) { kind, _ in
            add(kind, text, reader, standardConformingStrings)
        }
        if statement.isEmpty, (begins, settings.count, changesUnknownSettings) != before {
            statement = textWithoutConstants(
                text, standardConformingStrings: standardConformingStrings, bytesMax: Self.statementBytesMax)
        }
    }

    /// A text of which only a part was seen may have done anything.
    public func addUnseen() {
        changesUnknownSettings = true
        begins.formUnion(.provable)
    }

    /// Adds another's findings, which came after these.
    public func add(_ other: SessionEffects) {
        for name in other.settings { touch(name) }
        for name in other.resets { reset(name) }
        if other.resetsAll { resetAll() }
        setLast.formUnion(other.setLast)
        if other.changesUnknownSettings { changesUnknownSettings = true }
        begins.formUnion(other.begins)
        ends.formUnion(other.ends)
        channels.append(other.channels)
        if let more = other.prepared { prepare(more) }
        if other.executes { executes = true }
        if other.hadError { hadError = true }
        if other.isConfirmed { isConfirmed = true }
        if statement.isEmpty { statement = other.statement }
    }

    /// What was prepared, now or before, may have been executed.
    public func addExecuted(_ before: SessionEffects?) {
        guard executes else { return }
        for known in [before, prepared] { if let known { add(known) } }
    }

    /// What is executed is known, and not SQL's.
    public func forgetExecutes() { executes = false }

    /// The server could not answer; whether it may be asked again.
    public func failedToAsk() -> Bool {
        attempts += 1
        return attempts < Self.attemptsMax
    }

    /// Whether another's changes of channels are too many after these. A transaction can always be ended.
    public func isFull(for other: SessionEffects) -> Bool {
        channels.count + other.channels.count > Self.channelChangesMax && !other.channels.onlyEndTransactions
    }

    /// The texts added last are of a request that has so many of the client's before it.
    public func noteRequest(after count: Int) { channels.numberRequest(after: count) }

    /// A request has been answered (see `ChannelChanges`).
    public func requestAnswered(isIdle: Bool, isFailed: Bool, isLast: Bool) {
        channels.requestAnswered(isIdle: isIdle, isFailed: isFailed, isLast: isLast)
    }

    /// A COMMIT of the client's has been answered as such.
    public func committed() { channels.committed() }

    /// An error has come in reply to the oldest request.
    public func errorCame() {
        hadError = true
        channels.errorCame()
    }

    /// The request that failed is sent once more.
    public func willBeRepeated() { channels.hasError = false }

    /// The changes of channels that nothing can undo any more, if the server need not be asked about them; they are
    /// forgotten.
    public func takeFinalChannels() -> [ChannelChange] { channels.takeFinal() }

    /// The ends of transactions matter to nothing if no channel has changed.
    public func forgetLoneControls() { if channels.areControlOnly { channels = ChannelChanges() } }

    /// Whether settings may have another value than is known.
    public var mayChangeSettings: Bool {
        !settings.isEmpty || !resets.isEmpty || resetsAll || changesUnknownSettings || executes
    }

    /// Nobody knows whether what was noted was executed.
    public func mayNotBeExecuted() { hadError = true }

    /// Whether one of the texts holds a LISTEN.
    public var listens: Bool { hasUnreadableChannel || channels.listens }

    /// The channels of the LISTENs, in their order.
    public var listenedChannels: [String] {
        channels.list.compactMap { if case .listen(let channel) = $0 { channel } else { nil } }
    }

    /// Forgets what may have begun: nothing is held for this client.
    public func ignoreHolds() {
        begins = []
        ends = []
    }

    /// Forgets everything but which settings may have gone back to their defaults.
    public func keepResets() {
        ignoreHolds()
        settings = []
        channels = ChannelChanges()
        hasUnreadableChannel = false
        executes = false
        prepared = nil
    }

    /// Whether a setting has no value of the session's any more, if nothing failed.
    public func isReset(_ name: String) -> Bool {
        (resetsAll || resets.contains(name)) && !setLast.contains(name)
    }

    /// The same for who the session is, which RESET ALL leaves as it is.
    public func isResetByName(_ name: String) -> Bool { resets.contains(name) && !setLast.contains(name) }

    /// Whether settings of these names have no value of the session's any more, if nothing failed.
    public func resets(everythingOf names: [String]) -> Bool {
        resetsAll && names.allSatisfy { !SessionQuestion.ofIdentity.contains($0) || resets.contains($0) }
    }

    private func add(
        _ kind: StatementKind, _ text: UnsafeRawBufferPointer, _ reader: NameReader, _ standardConformingStrings: Bool
    ) {
        switch kind {
        case .set(let name, _, let isLocal): if !isLocal { touch(read(name, reader)) }
        case .reset(let name): reset(read(name, reader))
        case .resetAll: resetAll()
        case .setRole(_, let isLocal): if !isLocal { touch("role") }
        case .resetRole:
            touch("role")
            reset("role")
        case .setSessionAuthorization(_, let isLocal): if !isLocal { touchAuthorization() }
        case .resetSessionAuthorization: resetAuthorization()
        case .setSessionCharacteristics:
            for name in ["isolation", "read_only", "deferrable"] { touch("default_transaction_\(name)") }
        case .setConfigCall(let call): add(call, reader)
        case .setseed: begins.insert(.randomSeed)
        case .prepare(_, _, let body): prepare(body, text, standardConformingStrings)
        case .execute: executes = true
        case .deallocate: ends.insert(.preparedStatements)
        case .deallocateAll:
            closesStatements = true
            ends.insert(.preparedStatements)
        case .discardAll:
            closesStatements = true
            resetAll()
            for name in SessionQuestion.ofIdentity { reset(name) }
            ends.formUnion(.provable)
            channels.append(.unlistenAll)
        case .discardTemp, .dropMaybeTemporary: ends.insert(.temporaryObjects)
        case .listen(let channel):
            guard let name = name(channel, reader) else { return hasUnreadableChannel = true }
            channels.append(.listen(name))
        case .unlisten(let channel): if let name = name(channel, reader) { channels.append(.unlisten(name)) }
        case .unlistenAll: channels.append(.unlistenAll)
        case .savepoint(let savepoint):
            if let name = name(savepoint, reader) { channels.append(.savepoint(name)) }
        case .releaseSavepoint(let savepoint):
            if let name = name(savepoint, reader) { channels.append(.release(name)) }
        case .rollbackToSavepoint(let savepoint):
            channels.append(.rollbackTo(name(savepoint, reader) ?? ""))
        case .rollback: channels.append(.rollback)
        case .commit: channels.append(.commit)
        case .createTemporary(let dropsAtCommit): if !dropsAtCommit { begins.insert(.temporaryObjects) }
        case .declareCursorWithHold: begins.insert(.heldCursors)
        case .close, .closeAll: ends.insert(.heldCursors)
        case .advisoryLock: begins.insert(.advisoryLocks)
        case .advisoryUnlock: ends.insert(.advisoryLocks)
        case .load: begins.insert(.library)
        case .doBlock: changesUnknownSettings = true
        case .setTransaction, .discardPlans, .discardSequences, .notify, .begin, .prepareTransaction, .copy, .other:
            break
        }
    }

    private func add(_ call: SetConfigCall, _ reader: NameReader) {
        if call.locality == .transaction { return }
        guard case .constant(let range) = call.name, let name = name(range, reader) else {
            changesUnknownSettings = true
            begins.insert(.settings)
            return
        }
        touch(name.lowercased())
    }

    private func prepare(_ more: SessionEffects) {
        // A copy, since what is prepared outlives the transaction.
        let all = SessionEffects()
        if let prepared { all.add(prepared) }
        all.add(more)
        prepared = all
    }

    /// What the body does is done by EXECUTE, in this transaction or a later one.
    private func prepare(_ body: ByteRange, _ text: UnsafeRawBufferPointer, _ standardConformingStrings: Bool) {
        begins.insert(.preparedStatements)
        // Only what SQL can prepare is looked at: neither another PREPARE, which would go as deep as the text is long,
        // nor LISTEN.
        guard !isBody else { return }
        let inner = SessionEffects()
        inner.isBody = true
        inner.add(UnsafeRawBufferPointer(rebasing: text[body]), standardConformingStrings: standardConformingStrings)
        inner.channels = ChannelChanges()
        inner.hasUnreadableChannel = false
        if !inner.isEmpty { prepare(inner) }
    }

    private func touchAuthorization() {
        touch("session_authorization")
        touch("role")
    }

    private func resetAuthorization() {
        touchAuthorization()
        for name in SessionQuestion.ofIdentity { reset(name) }
    }

    private func touch(_ name: String?) {
        guard let name, settings.count < Self.namesMax || settings.contains(name) else {
            // The server lists what it knows of itself, but not custom settings: their names are lost.
            changesUnknownSettings = true
            begins.insert(.settings)
            return
        }
        if !settings.contains(name) { settings.append(name) }
        setLast.insert(name)
    }

    private func reset(_ name: String?) {
        guard let name, resets.count < Self.namesMax else { return resetAll() }
        if !resets.contains(name) { resets.append(name) }
        setLast.remove(name)
    }

    private func resetAll() {
        resetsAll = true
        setLast = []
    }

    private func read(_ name: SettingName, _ reader: NameReader) -> String? {
        withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
            reader.read(name, into: buffer).map { String(decoding: buffer[..<$0], as: UTF8.self) }
        }
    }

    private func name(_ range: ByteRange, _ reader: NameReader) -> String? {
        withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
            reader.read(range, into: buffer).flatMap { String(validating: buffer[..<$0], as: UTF8.self) }
        }
    }
}
