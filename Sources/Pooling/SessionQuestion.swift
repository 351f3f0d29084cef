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
        asksAll = effects.changesUnknownSettings
        if effects.resetsAll, !known.isEmpty || !names.isEmpty { asksAll = true }
        for name in effects.resets where known.contains(name) || names.contains(name) { asksAll = true }
        if asksAll { names += known.filter { !names.contains($0) } }
        asksChannels = effects.listens
        kinds = effects.begins.intersection(.provable).union(effects.ends.intersection(held))
        if effects.executes, held.contains(.preparedStatements) { kinds.formUnion(held.intersection(.provable)) }
    }

    /// Whether there is nothing to ask.
    public var isEmpty: Bool { names.isEmpty && !asksAll && kinds.isEmpty && !asksChannels }

    /// Settings that belong to a transaction, though the server lists them among the session's.
    public static var ofTransaction: [String] {
        ["transaction_isolation", "transaction_read_only", "transaction_deferrable"]
    }

    /// The query. Its rows have a kind (`s` for a setting, `h` for what holds, `l` for a channel), a name and a value.
    ///
    /// Everything is named with its schema, so that no search_path turns it into something else.
    public var query: String {
        var parts: [String] = []
        if asksAll {
            parts.append(
                "SELECT 's',name,pg_catalog.left(pg_catalog.current_setting(name),1025) FROM pg_catalog.pg_settings WHERE source='session'"
            )
        }
        if !names.isEmpty {
            let list = names.map { sqlLiteral(of: $0) }.joined(separator: ",")
            // Of a custom setting the list above does not know.
            let only = asksAll ? " WHERE n LIKE '%.%' OR n IN ('role','session_authorization')" : ""
            parts.append(
                "SELECT 's',n,pg_catalog.left(pg_catalog.current_setting(n,true),1025) FROM pg_catalog.unnest(ARRAY[\(list)]::text[]) n\(only)"
            )
        }
        for (kind, code, condition) in Self.conditions where kinds.contains(kind) {
            parts.append("SELECT 'h','\(code)',NULL WHERE EXISTS(\(condition))")
        }
        if asksChannels { parts.append("SELECT 'l',c,NULL FROM pg_catalog.pg_listening_channels() c") }
        return parts.joined(separator: " UNION ALL ") + (asksChannels ? ";UNLISTEN *" : "")
    }

    private static let conditions: [(HoldReasons, String, String)] = [
        (
            .temporaryObjects, "t",
            "SELECT FROM pg_catalog.pg_depend WHERE refclassid='pg_catalog.pg_namespace'::pg_catalog.regclass"
                + " AND refobjid=pg_catalog.pg_my_temp_schema()"
        ),
        (
            .advisoryLocks, "a",
            "SELECT FROM pg_catalog.pg_locks WHERE locktype='advisory' AND pid=pg_catalog.pg_backend_pid()"
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
    /// The values of settings; those that have none are empty.
    public private(set) var settings: [(name: String, value: String)] = []
    /// What is there of what was asked for.
    public private(set) var kinds: HoldReasons = []

    /// The channels that the session has come to listen to.
    public private(set) var channels: Set<String> = []
    /// A value is not UTF-8, so that it could not be given back as it is.
    public private(set) var isUnreadable = false

    /// No rows yet.
    public init() {}

    /// Takes a DataRow.
    ///
    /// - Parameter payload: the message without tag and length (PostgreSQL manual, section 55.7).
    public mutating func add(row payload: UnsafeRawBufferPointer) {
        var fields: [String] = []
        var offset = 2
        while fields.count < 3, offset + 4 <= payload.count {
            let length = Int(Int32(bigEndian: payload.loadUnaligned(fromByteOffset: offset, as: Int32.self)))
            offset += 4
            guard length <= payload.count - offset else { return }
            let count = max(0, length)
            let text = String(decoding: payload[offset..<offset + count], as: UTF8.self)
            if text.utf8.count != count || !text.utf8.elementsEqual(payload[offset..<offset + count]) {
                isUnreadable = true
            }
            fields.append(text)
            offset += count
        }
        guard fields.count == 3 else { return }
        switch fields[0] {
        case "h": kinds.formUnion(SessionQuestion.kind(fields[1]))
        case "l": channels.insert(fields[1])
        default: settings.append((fields[1].lowercased(), fields[2]))
        }
    }
}
