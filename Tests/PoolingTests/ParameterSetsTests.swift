// Interned session settings: equal names of sets mean equal settings, nothing leaks, and what is sent to a server
// means the same there as it did where it was reported.

import Pooling
import Testing

@Suite struct ParameterSetsTests {
    @Test("equal settings have one name, however they came about")
    func interning() {
        var sets = ParameterSets()
        var one = sets.set(ParameterSets.empty, name: "DateStyle", value: "ISO, MDY")
        one = sets.set(one, name: "TimeZone", value: "UTC")
        var other = sets.set(ParameterSets.empty, name: "timezone", value: "Europe/Berlin")
        other = sets.set(other, name: "datestyle", value: "ISO, MDY")
        #expect(one != other)
        let live = sets.liveCount
        #expect(live == 2)
        other = sets.set(other, name: "TIMEZONE", value: "UTC")
        #expect(one == other)
        sets.release(one)
        let value = sets.value(other, "timeZone")
        #expect(value == "UTC")
        sets.release(other)
        let left = sets.liveCount
        #expect(left == 0)
    }

    @Test("names keep the spelling that servers report, whoever named them first")
    func spelling() {
        var sets = ParameterSets()
        var id = ParameterSets.empty
        for name in ["datestyle", "TIMEZONE", "intervalstyle", "Application_Name", "my.Own"] {
            id = sets.set(id, name: name, value: "x")
        }
        var names: [String] = []
        sets.forEach(id) { name, _ in names.append(name) }
        #expect(names == ["application_name", "DateStyle", "IntervalStyle", "my.Own", "TimeZone"])
    }

    @Test("values are told apart byte for byte")
    func bytes() {
        var sets = ParameterSets()
        let composed = sets.set(ParameterSets.empty, name: "application_name", value: "\u{e9}")
        let decomposed = sets.set(ParameterSets.empty, name: "application_name", value: "e\u{301}")
        #expect(composed != decomposed)
        let upper = sets.set(ParameterSets.empty, name: "application_name", value: "A")
        let lower = sets.set(ParameterSets.empty, name: "application_name", value: "a")
        #expect(upper != lower)
        let missing = sets.value(upper, "DateStyle")
        #expect(missing == nil)
    }

    @Test("what a set cannot hold leaves it as it is, and is told")
    func limits() {
        let longest = String(repeating: "v", count: ParameterSets.valueBytesMax)
        var sets = ParameterSets()
        var id = sets.set(ParameterSets.empty, name: "a", value: longest)
        let before = id
        let refused: [(String, String)] = [
            ("a", longest + "v"), ("", "x"), (String(repeating: "n", count: 64), "x"), ("a\0", "x"), ("a", "x\0y"),
        ]
        for (name, value) in refused {
            let accepted = sets.update(&id, name: name, value: value)
            #expect(!accepted && id == before)
            #expect(!ParameterSets.accepts(name: name, value: value))
        }
        for number in 1..<ParameterSets.namesMax {
            let accepted = sets.update(&id, name: "a\(number)", value: "x")
            #expect(accepted)
        }
        let full = id
        let another = sets.update(&id, name: "b", value: "x")
        #expect(!another && id == full)
        let change = sets.update(&id, name: "a5", value: "y")
        #expect(change && id != full)
        let live = sets.liveCount
        #expect(live == 1)
    }

    @Test("a difference names what the server has otherwise or lacks, and nothing else")
    func difference() {
        var sets = ParameterSets()
        func make(_ settings: [(String, String)]) -> ParameterSetID {
            settings.reduce(ParameterSets.empty) { sets.set($0, name: $1.0, value: $1.1) }
        }
        let server = make([("a", "1"), ("b", "2"), ("d", "4"), ("z", "9")])
        let client = make([("B", "2"), ("c", "3"), ("D", "5"), ("e", "6")])
        let toClient = sets.difference(from: server, to: client).map { "\($0.name)=\($0.value)" }
        #expect(toClient == ["c=3", "D=5", "e=6"])
        let toServer = sets.difference(from: client, to: server).map { "\($0.name)=\($0.value)" }
        #expect(toServer == ["a=1", "d=4", "z=9"])
        let none =
            sets.difference(from: server, to: server).count
            + sets.difference(from: server, to: ParameterSets.empty).count
        #expect(none == 0)
        let all = sets.difference(from: ParameterSets.empty, to: client).count
        #expect(all == 4)
    }

    @Test("an overlay has the client's settings over the pool's")
    func overlay() {
        var sets = ParameterSets()
        var base = sets.set(ParameterSets.empty, name: "DateStyle", value: "ISO, MDY")
        base = sets.set(base, name: "TimeZone", value: "UTC")
        let client = sets.set(ParameterSets.empty, name: "timezone", value: "Asia/Tokyo")
        let merged = sets.overlay(base, with: client)
        let values = [sets.value(merged, "DateStyle"), sets.value(merged, "TimeZone"), sets.value(base, "TimeZone")]
        #expect(values == ["ISO, MDY", "Asia/Tokyo", "UTC"])
        let same = sets.overlay(base, with: ParameterSets.empty)
        #expect(same == base)
        let clientOnly = sets.overlay(ParameterSets.empty, with: client)
        #expect(clientOnly == client)
        for id in [base, same, client, clientOnly, merged] { sets.release(id) }
        let left = sets.liveCount
        #expect(left == 0)
    }

    @Test("an overlay of two full sets keeps all of the client's settings and no more than 64")
    func fullOverlay() {
        var sets = ParameterSets()
        var base = ParameterSets.empty
        var client = ParameterSets.empty
        for number in 0..<ParameterSets.namesMax {
            base = sets.set(base, name: "a\(number)", value: "base")
            client = sets.set(client, name: "b\(number)", value: "client")
        }
        let merged = sets.overlay(base, with: client)
        #expect(merged == client)
    }

    @Test("sets behave as dictionaries, and none outlives its owners", arguments: [1, 2, 3, 4] as [UInt64])
    func model(seed: UInt64) {
        print("ParameterSetsTests.model seed \(seed)")
        var chance = LinearChance(state: seed)
        var sets = ParameterSets()
        var held: [(id: ParameterSetID, settings: [String: String])] = [(ParameterSets.empty, [:])]
        for _ in 0..<500 {
            let index = Int.random(in: 0..<held.count, using: &chance)
            let (id, settings) = held[index]
            switch Int.random(in: 0..<4, using: &chance) {
            case 0 where held.count < 40:
                sets.retain(id)
                held.append((id, settings))
            case 1 where held.count > 1:
                sets.release(id)
                held.remove(at: index)
            case 2 where held.count < 40:
                let other = held[Int.random(in: 0..<held.count, using: &chance)]
                let merged = sets.overlay(id, with: other.id)
                held.append((merged, settings.merging(other.settings) { $1 }))
            default:
                let name = "n\(Int.random(in: 0..<4, using: &chance))"
                let value = "v\(Int.random(in: 0..<3, using: &chance))"
                held[index].id = sets.set(id, name: name, value: value)
                held[index].settings[name] = value
            }
            var isAsModelled = true
            for (left, right) in zip(held, held.dropFirst()) {
                var applied = left.settings
                for change in sets.difference(from: left.id, to: right.id) { applied[change.name] = change.value }
                isAsModelled =
                    isAsModelled && (left.id == right.id) == (left.settings == right.settings)
                    && applied == left.settings.merging(right.settings) { $1 }
            }
            #expect(isAsModelled)
        }
        let live = sets.liveCount
        #expect(live == Set(held.map(\.settings).filter { !$0.isEmpty }).count)
        for owner in held { sets.release(owner.id) }
        let left = sets.liveCount
        #expect(left == 0)
    }

    @Test(
        "facts about a server are not settings",
        arguments: [
            "server_version", "server_encoding", "integer_datetimes", "in_hot_standby", "is_superuser",
            "session_authorization", "Server_Version",
        ])
    func facts(name: String) {
        #expect(!isTrackable(name))
    }

    @Test(
        "what a client may set is tracked",
        arguments: [
            "application_name", "client_encoding", "DateStyle", "default_transaction_read_only", "IntervalStyle",
            "scram_iterations", "search_path", "standard_conforming_strings", "TimeZone",
        ])
    func settings(name: String) {
        #expect(isTrackable(name))
    }

    static let statements: [([(name: String, value: String)], String)] = [
        ([], ""),
        ([("DateStyle", "ISO, MDY")], "SET DateStyle='ISO, MDY'"),
        ([("TimeZone", "UTC"), ("application_name", "")], "SET TimeZone='UTC';SET application_name=''"),
        ([("application_name", "it's")], "SET application_name='it''s'"),
        ([("application_name", "a\\' b")], "SET application_name=E'a\\\\'' b'"),
        ([("application_name", "\u{e9}\u{1F600}")], "SET application_name=E'\\u00e9\\U0001f600'"),
        (
            [("search_path", "\"$user\", public")],
            "SELECT pg_catalog.set_config('search_path','\"$user\", public',false)"
        ),
        ([("a b", "x"), ("", "x"), ("a'", "x"), ("my.own_1", "x"), ("\u{e9}", "x")], "SET my.own_1='x'"),
    ]

    @Test("settings are sent as plain ASCII statements with every value quoted", arguments: statements)
    func statement(settings: [(name: String, value: String)], expected: String) {
        let statement = setStatement(for: settings)
        #expect(statement == expected)
        #expect(statement.utf8.allSatisfy { $0 < 0x80 })
    }
}

/// A small seeded source of chance.
private struct LinearChance: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        return state ^ state >> 33
    }
}
