// What a server is asked about its session, and what any answer at all means.

import Testing

@testable import Pooling

private func question(
    _ effects: SessionEffects, held: HoldReasons = [], known: [String] = []
) -> SessionQuestion {
    SessionQuestion(effects, held: held, known: known) { $0 == "timezone" || $0 == "is_superuser" }
}

/// A DataRow's payload; nil is NULL.
private func row(_ fields: String?...) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: 2)
    bytes[1] = UInt8(fields.count)
    for field in fields {
        let value = field.map { Array($0.utf8) }
        let length = UInt32(bitPattern: Int32(value?.count ?? -1))
        bytes += [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: length >> $0) } + (value ?? [])
    }
    return bytes
}

private func answer(_ rows: [[UInt8]]) -> SessionAnswer {
    var answer = SessionAnswer()
    for row in rows { row.withUnsafeBytes { answer.add(row: $0) } }
    return answer
}

private let unasked: [(String, HoldReasons, [String])] = [
    ("SELECT pg_advisory_unlock_all(); CLOSE ALL; UNLISTEN *; RESET ALL;", [], []), ("RESET ALL", [], []),
    ("DISCARD ALL", [], []), ("RESET work_mem", [], ["a.b"]), ("DROP TABLE t", .advisoryLocks, []),
    ("DEALLOCATE ALL", .temporaryObjects, ["a.b"]), ("SET timezone = 'UTC'", [], ["a.b"]),
    ("SELECT setseed(0.5)", [], []), ("LOAD 'x'", [], []), ("UNLISTEN a", [], []),
    ("EXECUTE p", .preparedStatements, []),
]

@Suite struct SessionQuestionTests {
    @Test("nothing is asked where nothing can have changed", arguments: unasked)
    func nothingToAsk(text: String, held: HoldReasons, known: [String]) {
        let asked = question(effects(text), held: held, known: known)
        #expect(asked.isEmpty)
        #expect(asked.query.isEmpty)
    }

    @Test("a setting that was set is asked for by its name alone")
    func oneSetting() {
        let asked = question(effects("SET work_mem = 1; SET timezone = 'UTC'; SET a.it = 1"), known: ["lock_timeout"])
        #expect(asked.names == ["work_mem", "a.it"] && !asked.asksAll && asked.kinds.isEmpty)
        #expect(!asked.query.contains("pg_settings"))
        #expect(asked.query.contains("ARRAY['work_mem','a.it']"))
        #expect(asked.asks("work_mem") && !asked.asks("lock_timeout"))
    }

    @Test("where something failed only what the session has set counts")
    func afterAFailure() {
        let failed = effects("SET log_statement = 'all'")
        failed.errorCame()
        let query = question(failed).query
        #expect(query.contains("pg_settings") && query.contains("'session'") && query.contains("'log_statement'"))
    }

    @Test("what the client has is asked for when it may have been reset")
    func resets() {
        for text in ["RESET ALL", "DISCARD ALL", "RESET work_mem"] {
            let asked = question(effects(text), known: ["work_mem", "a.b"])
            #expect(asked.asksAll && asked.names == ["work_mem", "a.b"], "\(text)")
        }
        #expect(question(effects("BEGIN; SET a.b = 1; RESET a.b")).asksAll)
        #expect(question(effects("RESET ALL"), held: .settings).asksAll)
    }

    @Test("of unknown changes the role is asked too, which no list has")
    func unknownChanges() {
        let asked = question(effects("DO $$ BEGIN END $$"), known: ["a.b"])
        #expect(asked.asksAll)
        #expect(Set(asked.names) == ["a.b", "role", "session_authorization"])
    }

    @Test("kinds are asked for when they may have begun, or ended where they hold")
    func kinds() {
        #expect(question(effects("CREATE TEMP TABLE t (a int)")).kinds == .temporaryObjects)
        #expect(question(effects("DROP TABLE t"), held: [.temporaryObjects, .library]).kinds == .temporaryObjects)
        #expect(question(effects("DISCARD ALL"), held: [.heldCursors, .randomSeed]).kinds == .heldCursors)
        let query = question(effects("SELECT pg_advisory_lock(1)")).query
        #expect(query.contains("pg_catalog.pg_locks") && query.contains("'h','a'"))
    }

    @Test("everything in the question has its schema")
    func schemas() {
        let all = effects("SELECT set_config(a, b, false) FROM t; SET a.b = 1; LISTEN a")
        all.addUnseen()
        all.errorCame()
        let query = question(all).query
        for operation in ["=", "~~"] {
            let bare = query.replacing("OPERATOR(pg_catalog.\(operation))", with: "")
            #expect(!bare.contains(" \(operation) "), "\(operation)")
        }
        let names = [
            "current_setting(", "left(", "unnest(", "pg_settings", "pg_locks", "pg_cursors", "pg_depend", "text[]",
        ]
        for name in names {
            let pieces = query.split(separator: name, omittingEmptySubsequences: false)
            #expect(pieces.count > 1)
            for piece in pieces.dropLast() { #expect(piece.hasSuffix("pg_catalog."), "\(name)") }
        }
        #expect(query.utf8.allSatisfy { $0 < 0x80 })
    }

    @Test("a name with a quote in it stays a name")
    func quoting() {
        let query = question(effects("SELECT set_config('a''); drop table t; --', 'x', false)")).query
        #expect(query.contains("'a''); drop table t; --'"))
    }

    @Test("the question without a hurry asks for the timeout before it is off")
    func unhurried() {
        let asked = question(effects("SET work_mem = 1"))
        #expect(asked.unhurriedQuery == "SHOW statement_timeout;SET LOCAL statement_timeout=0;" + asked.query)
    }
}

@Suite struct SessionAnswerTests {
    @Test("rows say what there is")
    func rows() {
        let found = answer([
            row("s", "Work_Mem", "9MB"), row("s", "a.b", ""), row("s", "a.c", nil), row("h", "t", nil),
            row("h", "a", nil), row("l", "Channel", nil), row("1ms"),
        ])
        #expect(found.settings.map(\.name) == ["work_mem", "a.b", "a.c"])
        #expect(found.settings.map(\.value) == ["9MB", "", nil])
        #expect(found.names == ["work_mem", "a.b"])
        #expect(found.kinds == [.temporaryObjects, .advisoryLocks])
        #expect(found.channels == ["Channel"])
        #expect(found.statementTimeout == "1ms")
        #expect(found.isASCII && !found.isUnreadable)
    }

    @Test("rows that no question of ours has are passed over")
    func strangeRows() {
        let found = answer([
            [], [0], [0, 3], [0, 3, 0, 0, 0], [0, 3, 0x7F, 0xFF, 0xFF, 0xFF], [0xFF, 0xFF, 0, 0, 0, 0],
            row("s", "a.b"), row("s", nil, "x"), row("z", "a.b", "x"), row(nil, nil, nil), row("h", "?", nil),
            row("s", "a.b", "x", "y"), Array(row("s", "a.b", "value").dropLast()), row("s", "ok.ok", "v") + [1, 2, 3],
            [0, 3, 0x80, 0, 0, 0, 0x80, 0, 0, 0, 0x80, 0, 0, 0],
        ])
        #expect(found.settings.map(\.name) == ["ok.ok"])
        #expect(found.kinds.isEmpty && found.channels.isEmpty && found.statementTimeout == nil)
    }

    @Test("what is no UTF-8 is told apart, and what is no ASCII")
    func encodings() {
        let accented = answer([row("s", "a.b", "é")])
        #expect(!accented.isASCII && !accented.isUnreadable)
        var latin = row("s", "a.b", "e")
        latin[latin.count - 1] = 0xE9
        #expect(answer([latin]).isUnreadable)
    }

    @Test("an answer without end is not kept")
    func endless() {
        let rows = (0..<4_100).map { row("s", "a.b\($0)", "1") } + (0..<20_100).map { row("l", "c\($0)", nil) }
        let found = answer(rows)
        #expect(found.settings.count == SessionAnswer.settingsMax && found.isUnreadable)
        #expect(found.channels.count == SessionEffects.channelChangesMax)
    }
}
