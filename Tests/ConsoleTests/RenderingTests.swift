// Values of tables: times, counters, merging, and how each value goes on the wire.

import Testing
import Wire

@testable import Console

private let times: [(Int64, String)] = [
    (0, "1970-01-01 00:00:00 UTC"), (-1, "1969-12-31 23:59:59 UTC"), (999_999, "1970-01-01 00:00:00 UTC"),
    (951_782_399_000_000, "2000-02-28 23:59:59 UTC"), (951_782_400_000_000, "2000-02-29 00:00:00 UTC"),
    (951_868_800_000_000, "2000-03-01 00:00:00 UTC"), (1_709_251_199_000_000, "2024-02-29 23:59:59 UTC"),
    (1_764_220_683_123_456, "2025-11-27 05:18:03 UTC"), (4_107_542_400_000_000, "2100-03-01 00:00:00 UTC"),
    (-62_135_596_800_000_000, "0001-01-01 00:00:00 UTC"),
]

private let numerics: [(String, [Int])] = [
    ("0", [0, 0, 0, 0]), ("1", [1, 0, 0, 0, 1]), ("9999", [1, 0, 0, 0, 9999]), ("10000", [1, 1, 0, 0, 1]),
    ("10001", [2, 1, 0, 0, 1, 1]), ("123456789", [3, 2, 0, 0, 1, 2345, 6789]), ("-5", [1, 0, 0x4000, 0, 5]),
    ("120000000", [2, 2, 0, 0, 1, 2000]), ("-0", [0, 0, 0, 0]), ("007", [1, 0, 0, 0, 7]),
    ("18446744073709551615", [5, 4, 0, 0, 1844, 6744, 737, 955, 1615]),
]

@Suite struct RenderingTests {
    @Test("Unix time is shown as a date and time in UTC", arguments: times)
    func unixTime(microseconds: Int64, text: String) {
        #expect(renderUnixTime(microseconds: microseconds) == text)
    }

    @Test("the most distant times do not trap", arguments: [Int64.min, Int64.max])
    func distantTime(microseconds: Int64) {
        #expect(renderUnixTime(microseconds: microseconds).hasSuffix(" UTC"))
    }

    @Test("numeric in binary is PostgreSQL's form", arguments: numerics)
    func numericForm(text: String, fields: [Int]) {
        #expect(encode(text, as: .numeric, format: .binary) == fields.flatMap { int16($0) })
    }

    @Test("what is no whole number has no binary form", arguments: ["", "-", "--1", "1.5", "x", "1-"])
    func noNumber(text: String) {
        #expect(encode(text, as: .numeric, format: .binary) == nil)
        #expect(encode(text, as: .int4, format: .binary) == nil)
        #expect(encode(text, as: .int8, format: .binary) == nil)
    }

    @Test("integers in binary are big-endian, texts are their bytes")
    func binaryForms() {
        #expect(encode("258", as: .int4, format: .binary) == [0, 0, 1, 2])
        #expect(encode("-1", as: .int4, format: .binary) == [255, 255, 255, 255])
        #expect(encode("4294967296", as: .int4, format: .binary) == nil)
        #expect(encode("4294967296", as: .int8, format: .binary) == [0, 0, 0, 1, 0, 0, 0, 0])
        #expect(encode("é", as: .text, format: .binary) == [0xC3, 0xA9])
        #expect(encode("258", as: .int4, format: .text) == Array("258".utf8))
    }

    @Test("a simple reply is RowDescription, rows and the tag")
    func simpleReply() {
        var writer = MessageWriter()
        let columns = [ConsoleColumn("a", .text), ConsoleColumn("b", .int4)]
        ConsoleTable(columns: columns, rows: [["x", nil]]).simpleReply(into: &writer)
        let reply = messages(writer.bytes)
        #expect(reply.map(\.tag) == ["T", "D", "C"])
        #expect(
            reply[0].payload == int16(2) + cString("a") + int32(0) + int16(0) + int32(25) + int16(0xFFFF)
                + int32(0xFFFF_FFFF) + int16(0) + cString("b") + int32(0) + int16(0) + int32(23) + int16(4)
                + int32(0xFFFF_FFFF) + int16(0))
        #expect(reply[1].payload == int16(2) + int32(1) + Array("x".utf8) + int32(0xFFFF_FFFF))
        #expect(reply[2].payload == cString("SHOW"))
    }

    @Test("a pool's row has its counts in the reference's order")
    func poolRow() {
        var pool = PoolSnapshot(database: "d", user: "u", poolMode: "transaction", loadBalanceHosts: "disable")
        (pool.activeClients, pool.waitingClients, pool.activeCancelClients, pool.waitingCancelClients) = (1, 2, 3, 4)
        (pool.activeServers, pool.activeCancelServers, pool.beingCanceledServers) = (5, 6, 7)
        (pool.idleServers, pool.usedServers, pool.testedServers, pool.loginServers) = (8, 9, 10, 11)
        pool.maxWaitMicroseconds = 12_000_013
        let counts = (1...13).map { String($0) }
        #expect(renderPools([pool]).rows == [["d", "u"] + counts + ["transaction", "disable"]])
    }

    @Test("a connection's row names it by id and pointer")
    func connectionRow() {
        var client = ClientSnapshot(kind: .client, id: 255, user: "u", database: "d", state: "waiting")
        client.address = "127.0.0.1"
        client.port = 40_000
        client.localAddress = "127.0.0.1"
        client.localPort = 6432
        client.waitMicroseconds = 1_500_000
        client.linkID = 16
        client.isCloseNeeded = true
        client.applicationName = "psql"
        #expect(
            renderClients([client]).rows == [
                [
                    "C", "u", "d", "none", "waiting", "127.0.0.1", "40000", "127.0.0.1", "6432",
                    "1970-01-01 00:00:00 UTC", "", "1", "500000", "1", "0xff", "0x10", "0", "", "psql", "0", "255",
                ]
            ])
    }

    @Test("a database's row has NULL where nothing is set, a user's row has empty texts")
    func databaseAndUserRows() {
        var database = DatabaseSnapshot(name: "d", host: nil, port: 5432, database: "e")
        (database.poolSize, database.minPoolSize, database.reservePoolSize) = (20, 1, 2)
        (database.serverLifetimeSeconds, database.isDisabled) = (3600, true)
        (database.maxConnections, database.currentConnections) = (3, 4)
        (database.maxClientConnections, database.currentClientConnections) = (5, 6)
        #expect(
            renderDatabases([database]).rows == [
                ["d", nil, "5432", "e", nil, "20", "1", "2", "3600", nil, nil, "3", "4", "5", "6", "0", "1"]
            ])
        var user = UserSnapshot(name: "u")
        user.currentConnections = 9
        #expect(renderUsers([user]).rows == [["u", "", "", nil, "0", "9", "0", "0"]])
    }

    @Test("a count too large for its column is shown as the largest that fits")
    func clampedCount() {
        var lists = ListsSnapshot()
        lists.usedClients = UInt64.max
        #expect(renderLists(lists).rows[6] == ["used_clients", "2147483647"])
    }

    @Test("lists, state, settings and totals come in the reference's order")
    func fixedRows() {
        #expect(
            renderLists(ListsSnapshot()).rows.map { $0[0] } == [
                "databases", "users", "peers", "pools", "peer_pools", "free_clients", "used_clients",
                "login_clients", "free_servers", "used_servers", "dns_names", "dns_zones", "dns_queries",
                "dns_pending",
            ])
        var state = StateSnapshot()
        state.isPaused = true
        #expect(renderState(state).rows == [["active", "no"], ["paused", "yes"], ["suspended", "no"]])
        let settings = [
            SettingSnapshot(key: "b", value: "1", defaultValue: "2", isChangeable: true),
            SettingSnapshot(key: "a", value: "3", defaultValue: "3", isChangeable: false),
        ]
        #expect(renderConfig(settings).rows == [["a", "3", "3", "no"], ["b", "1", "2", "yes"]])
        let totals = renderTotals([counted("x", 1), counted("y", 2)]).rows
        #expect(totals.count == 22)
        #expect(totals[0] == ["total_server_assignment_count", "3"])
        #expect(totals[3] == ["total_client_bytes", "12"])
        #expect(totals[10] == ["total_ps_bind_count", "33"])
        #expect(totals[11] == ["avg_server_assignment_count", "0"])
    }

    @Test("the rows of the statistics have totals, then averages")
    func statsRows() {
        var snapshot = counted("d", 1)
        snapshot.averages = counted("d", 100).totals
        let totals = (1...11).map { String($0) }
        let averages = (1...11).map { String($0 * 100) }
        #expect(renderStats([snapshot]).rows == [["d"] + totals + averages])
        #expect(renderStatsTotals([snapshot]).rows == [["d"] + totals])
        #expect(renderStatsAverages([snapshot]).rows == [["d"] + averages])
    }

    @Test("pools of several workers are summed, the longest wait wins")
    func mergedPools() {
        var left = PoolSnapshot(database: "d", user: "u", poolMode: "session")
        var right = left
        let other = PoolSnapshot(database: "d", user: "v", poolMode: "session")
        (left.activeClients, left.idleServers, left.maxWaitMicroseconds) = (1, 2, 30)
        (right.activeClients, right.idleServers, right.maxWaitMicroseconds) = (10, 20, 3)
        let merged = mergePools([left, other, right])
        #expect(merged.map(\.user) == ["u", "v"])
        #expect(merged[0].activeClients == 11)
        #expect(merged[0].idleServers == 22)
        #expect(merged[0].maxWaitMicroseconds == 30)
    }

    @Test("statistics of several workers are summed, times per transaction are weighted")
    func mergedStats() {
        var left = counted("d", 1)
        var right = counted("d", 10)
        (left.averages.transactions, left.averages.transactionMicroseconds) = (1, 100)
        (right.averages.transactions, right.averages.transactionMicroseconds) = (3, 200)
        (right.averages.queries, right.averages.queryMicroseconds) = (0, 7)
        let merged = mergeStats([left, counted("e", 1), right])
        #expect(merged.map(\.database) == ["d", "e"])
        #expect(merged[0].totals == counted("d", 11).totals)
        #expect(merged[0].averages.transactions == 4)
        #expect(merged[0].averages.transactionMicroseconds == 175)
        #expect(merged[0].averages.queryMicroseconds == 7)
    }

    @Test("averages are per second, times per transaction and per query")
    func averages() {
        var newer = StatsCounters()
        newer.transactions = 30
        newer.queries = 60
        newer.receivedBytes = UInt64.max
        newer.transactionMicroseconds = 3_000
        newer.queryMicroseconds = 600
        newer.waitMicroseconds = 45
        let average = StatsCounters.averages(from: StatsCounters(), to: newer, elapsedMicroseconds: 15_000_000)
        #expect(average.transactions == 2)
        #expect(average.queries == 4)
        #expect(average.receivedBytes == UInt64.max / 15)
        #expect(average.transactionMicroseconds == 100)
        #expect(average.queryMicroseconds == 10)
        #expect(average.waitMicroseconds == 3)
        #expect(StatsCounters.averages(from: newer, to: newer, elapsedMicroseconds: 1) == StatsCounters())
        #expect(StatsCounters.averages(from: newer, to: newer, elapsedMicroseconds: 0) == StatsCounters())
        #expect(
            StatsCounters.averages(from: StatsCounters(), to: newer, elapsedMicroseconds: 1).receivedBytes
                == UInt64.max)
    }

    /// Totals of 1…11 times a factor.
    private func counted(_ database: String, _ factor: UInt64) -> StatsSnapshot {
        var totals = StatsCounters()
        (totals.serverAssignments, totals.transactions, totals.queries) = (factor, 2 * factor, 3 * factor)
        (totals.receivedBytes, totals.sentBytes) = (4 * factor, 5 * factor)
        (totals.transactionMicroseconds, totals.queryMicroseconds) = (6 * factor, 7 * factor)
        (totals.waitMicroseconds, totals.clientParses) = (8 * factor, 9 * factor)
        (totals.serverParses, totals.binds) = (10 * factor, 11 * factor)
        return StatsSnapshot(database: database, totals: totals)
    }
}
