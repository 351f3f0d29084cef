// What a text may do to its session: every kind of effect, and none where there is none.

import Testing

@testable import Pooling

/// The effects of texts that are sent one after the other.
func effects(_ texts: String...) -> SessionEffects {
    let effects = SessionEffects()
    for text in texts {
        Array(text.utf8).withUnsafeBytes { effects.add($0, standardConformingStrings: true) }
    }
    return effects
}

private let settings: [(String, [String])] = [
    ("SET statement_timeout = '5s'", ["statement_timeout"]), ("set Work_Mem to 1", ["work_mem"]),
    ("SET SESSION app.\"User\" = 'x'", ["app.user"]), ("SET TIME ZONE 'UTC'", ["timezone"]),
    ("SET SCHEMA 'a'", ["search_path"]), ("SET NAMES 'LATIN1'", ["client_encoding"]),
    ("SET XML OPTION DOCUMENT", ["xmloption"]), ("SET ROLE a", ["role"]), ("SET role TO none", ["role"]),
    ("RESET ROLE", ["role"]), ("SET SESSION AUTHORIZATION a", ["session_authorization", "role"]),
    ("RESET SESSION AUTHORIZATION", ["session_authorization", "role"]),
    (
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY",
        ["default_transaction_isolation", "default_transaction_read_only", "default_transaction_deferrable"]
    ),
    ("SELECT set_config('App.A', $1, false)", ["app.a"]),
    ("SELECT 1; SET a.b = 1; SET a.b = 2; SET a.c = 3", ["a.b", "a.c"]),
    ("SELECT pg_catalog.set_config('x.y', 'z', $1)", ["x.y"]),
    ("DO $$ BEGIN PERFORM set_config('d.e', '1', false); END $$", ["d.e"]),
    ("DO $$ BEGIN SET d.f = 1; SET LOCAL d.g = 1; UPDATE t SET x = 1; END $$", ["d.f"]),
]

private let begins: [(String, HoldReasons)] = [
    ("CREATE TEMP TABLE a (b int)", .temporaryObjects), ("SELECT 1 INTO TEMP a", .temporaryObjects),
    ("CREATE VIEW pg_temp.v AS SELECT 1", .temporaryObjects), ("SELECT pg_advisory_lock(1)", .advisoryLocks),
    ("SELECT pg_try_advisory_lock_shared(1)", .advisoryLocks),
    ("DECLARE c CURSOR WITH HOLD FOR SELECT 1", .heldCursors), ("PREPARE p AS SELECT 1", .preparedStatements),
    ("SELECT setseed(0.5)", .randomSeed), ("SET seed = 0.5", .randomSeed), ("LOAD 'x'", .library),
    ("SELECT set_config(a, 'x', false) FROM t", .settings), ("SELECT set_config($1, 'x', false)", .settings),
    ("CREATE TEMP TABLE a (b int); SELECT pg_advisory_lock(1)", [.temporaryObjects, .advisoryLocks]),
]

private let ends: [(String, HoldReasons)] = [
    ("DROP TABLE a", .temporaryObjects), ("DISCARD TEMP", .temporaryObjects), ("CLOSE c", .heldCursors),
    ("CLOSE ALL", .heldCursors), ("DEALLOCATE p", .preparedStatements), ("DEALLOCATE ALL", .preparedStatements),
    ("SELECT pg_advisory_unlock(1)", .advisoryLocks), ("SELECT pg_advisory_unlock_all()", .advisoryLocks),
    ("DISCARD ALL", .provable),
]

private let nothing = [
    "", "SELECT 1", "INSERT INTO t VALUES ('SET a.b = 1')", "SET LOCAL work_mem = 1", "SET LOCAL ROLE a",
    "SELECT set_config('a.b', 'c', true)", "BEGIN", "SET TRANSACTION READ ONLY",
    "SET transaction_isolation = 'serializable'", "CREATE TEMP TABLE a (b int) ON COMMIT DROP", "DISCARD PLANS",
    "DECLARE c CURSOR FOR SELECT 1", "SELECT pg_advisory_xact_lock(1)", "NOTIFY a", "COPY t FROM STDIN", "SET",
    "PREPARE TRANSACTION 'a'", "SELECT 'set_config(''a'', ''b'', false)'", "-- SET a.b = 1",
]

@Suite struct SessionEffectsTests {
    @Test("the settings that may have changed are known by their names", arguments: settings)
    func settingsAreNamed(text: String, names: [String]) {
        let found = effects(text)
        #expect(found.settings == names)
        #expect(found.begins.isEmpty && found.ends.isEmpty && !found.isEmpty)
    }

    @Test("what may hold the server is known by its kind", arguments: begins)
    func kindsBegin(text: String, kinds: HoldReasons) {
        let found = effects(text)
        #expect(found.begins == kinds)
        #expect(found.ends.isEmpty && !found.isEmpty)
    }

    @Test("what may have come to its end is known by its kind", arguments: ends)
    func kindsEnd(text: String, kinds: HoldReasons) {
        let found = effects(text)
        #expect(found.ends == kinds)
        #expect(found.begins.isEmpty && !found.isEmpty)
    }

    @Test("what leaves no trace has no effect", arguments: nothing)
    func nothingIsFound(text: String) {
        #expect(effects(text).isEmpty)
    }

    @Test("settings go back one by one or all at once")
    func resets() {
        #expect(effects("RESET Work_Mem").resets == ["work_mem"])
        #expect(effects("SET work_mem TO DEFAULT").resets == ["work_mem"])
        #expect(effects("RESET ALL").resetsAll && effects("DISCARD ALL").resetsAll)
        #expect(!effects("RESET work_mem").resetsAll)
        #expect(effects("SELECT set_config(a, b, false) FROM t").changesUnknownSettings)
        #expect(effects("DO $$ BEGIN END $$").changesUnknownSettings)
    }

    @Test("whether a setting was set or reset last is known, within a text and from one to the next")
    func setOrReset() {
        for reset in ["RESET a.b", "SET a.b TO DEFAULT", "RESET ALL", "DISCARD ALL"] {
            #expect(effects("SET a.b = 1; \(reset)").isReset("a.b"), "\(reset)")
            #expect(!effects("\(reset); SET a.b = 1").isReset("a.b"), "\(reset)")
            let earlier = effects("SET a.b = 1")
            earlier.add(effects(reset))
            #expect(earlier.isReset("a.b"), "\(reset)")
            earlier.add(effects("SET a.b = 1"))
            #expect(!earlier.isReset("a.b"), "\(reset)")
        }
        #expect(!effects("RESET ALL").isResetByName("role"))
        #expect(effects("SET ROLE a; RESET ROLE").isResetByName("role"))
        #expect(!effects("RESET ROLE; SET ROLE NONE").isResetByName("role"))
        #expect(effects("DISCARD ALL").isResetByName("role"))
    }

    @Test("which names a reset query gives back is known: RESET ALL leaves a role")
    func resetsEverything() {
        #expect(effects("RESET ALL").resets(everythingOf: ["work_mem", "a.b"]))
        #expect(!effects("RESET ALL").resets(everythingOf: ["role"]))
        #expect(effects("RESET ALL; RESET ROLE").resets(everythingOf: ["role"]))
        #expect(effects("DISCARD ALL").resets(everythingOf: ["role", "session_authorization"]))
        #expect(!effects("RESET work_mem").resets(everythingOf: ["work_mem"]))
    }

    @Test("channels are kept in their order")
    func channels() {
        let found = effects("LISTEN a; UNLISTEN \"B\"", "DISCARD ALL; LISTEN c")
        #expect(found.channels.list == [.listen("a"), .unlisten("B"), .unlistenAll, .listen("c")])
    }

    @Test("settings beyond the sixty-fourth hold the server, since their names are not known any more")
    func tooManySettings() {
        let texts = (0..<64).map { "SET a.s\($0) = 1" }
        let found = effects(texts.joined(separator: ";"))
        #expect(found.settings.count == 64 && found.begins.isEmpty)
        let again = effects(texts.joined(separator: ";"), "SET a.s7 = 2")
        #expect(again.begins.isEmpty && !again.changesUnknownSettings)
        let more = effects(texts.joined(separator: ";"), "SET a.more = 1")
        #expect(more.settings.count == 64 && more.begins == .settings && more.changesUnknownSettings)
    }

    @Test("what PREPARE hides counts when it is executed, in the same transaction or a later one")
    func executedStatements() {
        let prepared = effects("PREPARE p AS SELECT pg_advisory_lock(1), set_config('a.b', $1, false)")
        #expect(prepared.begins == .preparedStatements && prepared.settings.isEmpty)
        let executed = effects("EXECUTE p")
        #expect(executed.settings.isEmpty)
        executed.addExecuted(prepared.prepared)
        #expect(executed.settings == ["a.b"])
        #expect(executed.begins == .advisoryLocks)
        let both = effects("PREPARE p AS SELECT set_config('a.b', $1, false); PREPARE q AS SELECT 1; EXECUTE p('x')")
        both.addExecuted(nil)
        #expect(both.settings == ["a.b"])
        let unexecuted = effects("DEALLOCATE p")
        unexecuted.addExecuted(prepared.prepared)
        #expect(unexecuted.settings.isEmpty)
    }

    @Test("later findings are added to earlier ones, and failures are not forgotten")
    func addition() {
        let first = effects("SET a.b = 1", "CREATE TEMP TABLE t (a int)")
        let second = effects("SET a.c = 1; RESET x", "DROP TABLE t")
        second.errorCame()
        second.isConfirmed = true
        first.add(second)
        #expect(first.settings == ["a.b", "a.c"] && first.resets == ["x"])
        #expect(first.begins == .temporaryObjects && first.ends == .temporaryObjects)
        #expect(first.hadError && first.isConfirmed)
        first.ignoreHolds()
        #expect(first.begins.isEmpty && first.ends.isEmpty && !first.isEmpty)
    }

    @Test("a text that was not seen may have done anything")
    func unseen() {
        let found = SessionEffects()
        found.addUnseen()
        #expect(found.changesUnknownSettings && found.begins == .provable)
    }

    @Test("the text is remembered that first did something, without what may be secret in it")
    func statement() {
        let found = effects("SELECT 1", "CREATE  TEMP TABLE t AS SELECT 'secret' /* secret */", "LOAD 'x'")
        #expect(found.statement == "CREATE TEMP TABLE t AS SELECT '…'")
        let long = effects("CREATE TEMP TABLE t (" + String(repeating: "column_name int, ", count: 1_000) + "x int)")
        #expect((200..<260).contains(long.statement.utf8.count))
        #expect(effects("SET a.password = 'secret").statement.contains("secret") == false)
    }

    @Test("a question is asked again only so often")
    func attempts() {
        let found = effects("SET a.b = 1")
        var asked = 1
        while found.failedToAsk() { asked += 1 }
        #expect(asked == 10)
    }

    @Test("hold reasons are named in one order")
    func names() {
        #expect(HoldReasons([.library, .temporaryObjects, .settings]).text == "temporary objects, LOAD, settings")
        #expect(HoldReasons().text.isEmpty)
    }

    @Test("a long transaction does not make them grow")
    func bounded() {
        let all = SessionEffects()
        func run(_ text: String) {
            all.add(effects(text))
            all.noteRequest(after: 0)
            all.requestAnswered(isIdle: false, isFailed: false, isLast: true)
        }
        run("LISTEN a")
        for _ in 0..<1_000 {
            for text in ["SAVEPOINT s", "SAVEPOINT t", "RELEASE t", "RELEASE SAVEPOINT s", "RESET a.b", "UNLISTEN b"] {
                run(text)
            }
        }
        #expect(all.channels.list == [.listen("a"), .unlisten("b")])
        #expect(all.resets == ["a.b"])
        for _ in 0..<1_000 { for text in ["SAVEPOINT s", "UNLISTEN c", "ROLLBACK AND CHAIN"] { run(text) } }
        #expect(all.channels.list == [.listen("a")])
    }

    @Test("changes of channels that are too many are refused, but for the end of the transaction")
    func full() {
        let all = SessionEffects()
        for number in 0..<SessionEffects.channelChangesMax { all.add(effects("UNLISTEN a\(number)")) }
        #expect(all.isFull(for: effects("LISTEN b")) && all.isFull(for: effects("SAVEPOINT b")))
        for text in ["ROLLBACK", "COMMIT", "SET a.b = 1"] { #expect(!all.isFull(for: effects(text))) }
    }

    @Test("the end of a transaction in which no channel has changed is forgotten")
    func loneControls() {
        let lone = effects("BEGIN; COMMIT; SAVEPOINT s; ROLLBACK")
        lone.forgetLoneControls()
        #expect(lone.isEmpty)
        let found = effects("COMMIT; LISTEN a")
        found.forgetLoneControls()
        #expect(found.channels.list == [.commit, .listen("a")])
    }

    @Test("in the body of PREPARE another PREPARE and LISTEN are not looked at")
    func bodies() {
        let nested = effects(String(repeating: "PREPARE a AS ", count: 50_000) + "SELECT 1")
        #expect(nested.begins == .preparedStatements && nested.prepared?.prepared == nil)
        let listening = effects("PREPARE a AS LISTEN b", "EXECUTE a")
        listening.addExecuted(nil)
        #expect(listening.channels.isEmpty && !listening.listens)
    }
}
