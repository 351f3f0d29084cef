// What a server is asked about its session when a transaction is over that may have changed it, and what its answer
// means. The answer is the truth: what a failed statement or a rolled back transaction did not do is not in it.
//
//     effects, what the client has, what holds the server  →  a query, or nothing to ask
//     its rows: (kind, name, value)                         →  the client's settings, what holds the server

import Wire

/// What to ask a server about its session.
public struct SessionQuestion {
    /// Settings whose values are asked for.
    public private(set) var names: [String] = []
    /// Besides, every setting that the session has changed is asked for.
    public private(set) var asksAll = false
    /// Kinds of state of which is asked whether they are there.
    public private(set) var kinds: HoldReasons = []
    /// Which channels the session listens to is asked, and then it listens to none any more.
    public private(set) var asksChannels = false
    /// Something has failed, so that settings may have no value of the session's own.
    public private(set) var mayHaveFailed = false

    /// What there is to ask after a transaction.
    ///
    /// - Parameters:
    ///   - effects: what its texts may have done.
    ///   - known: the settings that the client has a value of its own for, apart from reported ones.
    ///   - isReported: whether the server reports a setting of itself.
    ///   - held: what holds the server already.
    public init(
        _ effects: SessionEffects, held: HoldReasons, known: [String], isReported: (String) -> Bool
    ) {
        names = effects.settings.filter { !isReported($0) && !Self.ofTransaction.contains($0) }
        mayHaveFailed = effects.hadError
        asksAll = effects.changesUnknownSettings
        if effects.resetsAll, !known.isEmpty || !names.isEmpty || held.contains(.settings) { asksAll = true }
        for name in effects.resets where !Self.ofIdentity.contains(name) {
            if known.contains(name) || names.contains(name) { asksAll = true }
        }
        if asksAll { names += known.filter { !names.contains($0) } }
        if effects.changesUnknownSettings { names += Self.ofIdentity.filter { !names.contains($0) } }
        asksChannels = effects.listens
        kinds = effects.begins.intersection(.provable).union(effects.ends.intersection(held))
    }

    /// Whether there is nothing to ask.
    public var isEmpty: Bool { names.isEmpty && !asksAll && kinds.isEmpty && !asksChannels }

    /// Settings that belong to a transaction, though the server lists them among the session's.
    public static var ofTransaction: [String] {
        ["transaction_isolation", "transaction_read_only", "transaction_deferrable"]
    }

    /// Who the session is: settings that the server never lists.
    public static var ofIdentity: [String] { ["role", "session_authorization"] }

    /// The query. Its rows have a kind (`s` for a setting, `h` for what holds, `l` for a channel), a name and a value.
    ///
    /// Everything is named with its schema, so that no search_path turns it into something else.
    public var query: String {
        var parts = settingsQueries
        for (kind, code, condition) in Self.conditions where kinds.contains(kind) {
            parts.append("SELECT 'h','\(code)',NULL WHERE EXISTS(\(condition))")
        }
        if asksChannels { parts.append("SELECT 'l',c,NULL FROM pg_catalog.pg_listening_channels() c") }
        return parts.joined(separator: " UNION ALL ") + (asksChannels ? ";UNLISTEN *" : "")
    }

    /// The query for a session whose statement_timeout is so short that it struck the question down: what the timeout
    /// is comes first, as a row of one value, and then it is off for the rest.
    public var unhurriedQuery: String { "SHOW statement_timeout;SET LOCAL statement_timeout=0;" + query }

    /// Whether a name is among what was asked for.
    public func asks(_ name: String) -> Bool { asksAll || names.contains(name) }

    /// The value of a setting is read by its name, which is cheap. But only the list of all settings tells which of
    /// them have a value of the session's own: where that is in doubt it is asked too, for settings that are refused
    /// to the session must not be put in place on another server. Some settings the list does not have.
    private var settingsQueries: [String] {
        let list = "ARRAY[\(names.map { sqlLiteral(of: $0) }.joined(separator: ","))]::pg_catalog.text[]"
        let byName =
            "SELECT 's',n,pg_catalog.left(pg_catalog.current_setting(n,true),\(Self.characters))"
            + " FROM pg_catalog.unnest(\(list)) n"
        guard asksAll || mayHaveFailed else { return names.isEmpty ? [] : [byName] }
        guard asksAll || !names.isEmpty else { return [] }
        let ofSession =
            "SELECT 's',name,pg_catalog.left(pg_catalog.current_setting(name),\(Self.characters))"
            + " FROM pg_catalog.pg_settings WHERE source OPERATOR(pg_catalog.=) 'session'"
        let ofNames = " AND pg_catalog.lower(name) OPERATOR(pg_catalog.=) ANY(\(list))"
        let isUnlisted =
            " WHERE n OPERATOR(pg_catalog.=) ANY('{role,session_authorization}'::pg_catalog.text[])"
            + " OR n OPERATOR(pg_catalog.~~) '%.%' AND NOT EXISTS(SELECT FROM pg_catalog.pg_settings p"
            + " WHERE pg_catalog.lower(p.name) OPERATOR(pg_catalog.=) n)"
        return [asksAll ? ofSession : ofSession + ofNames] + (names.isEmpty ? [] : [byName + isUnlisted])
    }

    /// One more than can be held shows that a value is too long.
    private static var characters: Int { ParameterSets.valueBytesMax + 1 }

    private static let conditions: [(HoldReasons, String, String)] = [
        (
            .temporaryObjects, "t",
            "SELECT FROM pg_catalog.pg_depend"
                + " WHERE refclassid OPERATOR(pg_catalog.=) 'pg_catalog.pg_namespace'::pg_catalog.regclass"
                + " AND refobjid OPERATOR(pg_catalog.=) pg_catalog.pg_my_temp_schema()"
        ),
        (
            .advisoryLocks, "a",
            "SELECT FROM pg_catalog.pg_locks WHERE locktype OPERATOR(pg_catalog.=) 'advisory'"
                + " AND pid OPERATOR(pg_catalog.=) pg_catalog.pg_backend_pid()"
        ),
        (.heldCursors, "c", "SELECT FROM pg_catalog.pg_cursors WHERE is_holdable"),
        (.preparedStatements, "p", "SELECT FROM pg_catalog.pg_prepared_statements WHERE from_sql"),
    ]

    static func kind(_ code: String) -> HoldReasons {
        conditions.first { $0.1 == code }?.0 ?? []
    }
}

/// What a server has answered to a question so far.
public struct SessionAnswer {
    /// How many settings are taken: several times as many as PostgreSQL has.
    static var settingsMax: Int { 4_096 }

    /// The values of settings; nil for those that the server does not know.
    public private(set) var settings: [(name: String, value: String?)] = []
    /// What is there of what was asked for.
    public private(set) var kinds: HoldReasons = []
    /// The channels that the session has come to listen to.
    public private(set) var channels: Set<String> = []
    /// A value is not UTF-8, so that it could not be given back as it is.
    public private(set) var isUnreadable = false
    /// The statement_timeout, where it had to be switched off for the question.
    public private(set) var statementTimeout: String?

    /// No rows yet.
    public init() {}

    /// Whether all values are of ASCII characters, which mean the same in every encoding.
    public var isASCII: Bool { settings.allSatisfy { $0.value?.utf8.allSatisfy { $0 < 0x80 } ?? true } }

    /// The names of the settings that have a value.
    public var names: Set<String> { Set(settings.lazy.filter { $0.value != nil }.map(\.name)) }

    /// Takes a DataRow.
    ///
    /// - Parameter payload: the message without tag and length (PostgreSQL manual, section 55.7).
    public mutating func add(row payload: UnsafeRawBufferPointer) {
        guard payload.count >= 2 else { return }
        let count = Int(UInt16(bigEndian: payload.loadUnaligned(as: UInt16.self)))
        guard count == 1 || count == 3 else { return }
        var fields: [String?] = []
        var offset = 2
        while fields.count < count {
            guard payload.count - offset >= 4 else { return }
            let length = Int(Int32(bigEndian: payload.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
            offset += 4
            guard length <= payload.count - offset else { return }
            let bytes = payload[offset..<offset + max(0, length)]
            let text = String(decoding: bytes, as: UTF8.self)
            if !text.utf8.elementsEqual(bytes) { isUnreadable = true }
            fields.append(length < 0 ? nil : text)
            offset += bytes.count
        }
        if count == 1 {
            statementTimeout = fields[0]
        } else {
            add(kind: fields[0], name: fields[1], value: fields[2])
        }
    }

    private mutating func add(kind: String?, name: String?, value: String?) {
        guard let name else { return }
        switch kind {
        case "h": kinds.formUnion(SessionQuestion.kind(name))
        case "l" where channels.count < SessionEffects.channelChangesMax: channels.insert(name)
        case "s" where settings.count < Self.settingsMax: settings.append((name.lowercased(), value))
        case "s": isUnreadable = true
        default: return
        }
    }
}
