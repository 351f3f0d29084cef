// The SQL that turns one session's settings into another's.

import Testing

@testable import Pooling

/// What leads from one set of settings to another.
private func change(_ from: [(String, String)], _ to: [(String, String)]) -> String {
    var sets = ParameterSets()
    var (before, after) = (ParameterSets.empty, ParameterSets.empty)
    for (name, value) in from { before = sets.set(before, name: name, value: value) }
    for (name, value) in to { after = sets.set(after, name: name, value: value) }
    let statement = sets.changeStatement(from: before, to: after)
    sets.release(before)
    sets.release(after)
    let left = sets.liveCount
    #expect(left == 0)
    return statement
}

private let changes: [(from: [(String, String)], to: [(String, String)], sql: String)] = [
    ([], [], ""),
    ([("work_mem", "9MB")], [("work_mem", "9MB")], ""),
    ([], [("work_mem", "9MB")], "SET \"work_mem\"='9MB'"),
    ([("work_mem", "9MB")], [], "RESET \"work_mem\""),
    ([("work_mem", "9MB"), ("a.b", "1")], [("a.b", "2")], "RESET \"work_mem\";SET \"a\".\"b\"='2'"),
    ([], [("user.select", "it's \\ é")], "SET \"user\".\"select\"=E'it''s \\\\ \\u00e9'"),
    ([], [("a.\"b", "x")], "SET \"a\".\"\"\"b\"='x'"),
    ([], [("search_path", "\"A b\", public")], "SELECT pg_catalog.set_config('search_path','\"A b\", public',false)"),
    ([], [("temp_tablespaces", "\"\"")], "SELECT pg_catalog.set_config('temp_tablespaces','\"\"',false)"),
    ([], [("role", "a'b")], "SET ROLE 'a''b'"),
    ([("role", "a")], [], "RESET ROLE"),
    ([("role", "a")], [("role", "b")], "RESET ROLE;SET ROLE 'b'"),
    (
        [("role", "a"), ("work_mem", "1MB")], [("role", "a"), ("lock_timeout", "1s")],
        "RESET ROLE;RESET \"work_mem\";SET \"lock_timeout\"='1s';SET ROLE 'a'"
    ),
    (
        [("role", "a"), ("session_authorization", "b")], [("session_authorization", "c"), ("role", "d"), ("x.y", "1")],
        "RESET SESSION AUTHORIZATION;SET \"x\".\"y\"='1';SET SESSION AUTHORIZATION 'c';SET ROLE 'd'"
    ),
]

@Suite struct SettingStatementsTests {
    @Test("each difference becomes one statement, and the role comes last", arguments: changes)
    func statements(from: [(String, String)], to: [(String, String)], sql: String) {
        #expect(change(from, to) == sql)
        #expect(change(from, from).isEmpty)
    }

    @Test("who the session is can be told from its settings")
    func identity() {
        var sets = ParameterSets()
        let role = sets.set(ParameterSets.empty, name: "role", value: "a")
        let user = sets.set(ParameterSets.empty, name: "session_authorization", value: "a")
        let other = sets.set(ParameterSets.empty, name: "a.role", value: "a")
        let found = [ParameterSets.empty, role, user, other].map { sets.hasIdentity($0) }
        #expect(found == [false, true, true, false])
    }

    @Test("a setting can be taken out of a set, and the rest is shared with equal sets")
    func removal() {
        var sets = ParameterSets()
        var both = sets.set(ParameterSets.empty, name: "a.a", value: "1")
        let one = sets.set(ParameterSets.empty, name: "a.a", value: "1")
        both = sets.set(both, name: "a.b", value: "2")
        let names = sets.names(both)
        #expect(names == ["a.a", "a.b"])
        let missing = sets.names(of: both, missingIn: one)
        #expect(missing == ["a.b"])
        let none = sets.names(of: one, missingIn: both)
        #expect(none.isEmpty)
        both = sets.remove(both, name: "no.such")
        both = sets.remove(both, name: "A.B")
        #expect(both == one)
        both = sets.remove(both, name: "a.a")
        #expect(both == ParameterSets.empty)
        let empty = sets.remove(ParameterSets.empty, name: "a.a")
        #expect(empty == ParameterSets.empty)
        sets.release(one)
        let left = sets.liveCount
        #expect(left == 0)
    }
}
