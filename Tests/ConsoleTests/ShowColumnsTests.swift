// The columns of every topic against literal lists: what exporters and check scripts rely on.

import Testing
import Wire

@testable import Console

/// Names with the reference's type letters: s text, i int4, q int8, N numeric, b bytea, T timestamp as text.
private let expectedColumns: [(ShowTopic, String)] = [
    (
        .databases,
        """
        name s, host s, port i, database s, force_user s, pool_size i, min_pool_size i, reserve_pool_size i, \
        server_lifetime i, pool_mode s, load_balance_hosts s, max_connections i, current_connections i, \
        max_client_connections i, current_client_connections i, paused i, disabled i
        """
    ),
    (
        .pools,
        """
        database s, user s, cl_active i, cl_waiting i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active i, \
        sv_active_cancel i, sv_being_canceled i, sv_idle i, sv_used i, sv_tested i, sv_login i, maxwait i, \
        maxwait_us i, pool_mode s, load_balance_hosts s
        """
    ),
    (.pins, "database s, user s, client s, server s, reason s, since T, seconds i, statement s"),
    (.clients, connection), (.servers, connection), (.sockets, connection + socket),
    (.activeSockets, connection + socket),
    (
        .users,
        """
        name s, pool_size s, reserve_pool_size s, pool_mode s, max_user_connections i, current_connections i, \
        max_user_client_connections i, current_client_connections i
        """
    ),
    (.lists, "list s, items i"),
    (.peers, "peer_id i, host s, port i, pool_size i"),
    (
        .peerPools,
        "peer_id i, cl_active_cancel_req i, cl_waiting_cancel_req i, sv_active_cancel i, sv_login i"
    ),
    (
        .stats,
        """
        database s, total_server_assignment_count N, total_xact_count N, total_query_count N, total_received N, \
        total_sent N, total_xact_time N, total_query_time N, total_wait_time N, total_client_parse_count N, \
        total_server_parse_count N, total_bind_count N, avg_server_assignment_count N, avg_xact_count N, \
        avg_query_count N, avg_recv N, avg_sent N, avg_xact_time N, avg_query_time N, avg_wait_time N, \
        avg_client_parse_count N, avg_server_parse_count N, avg_bind_count N
        """
    ),
    (
        .statsTotals,
        """
        database s, server_assignment_count N, xact_count N, query_count N, bytes_received N, bytes_sent N, \
        xact_time N, query_time N, wait_time N, client_parse_count N, server_parse_count N, bind_count N
        """
    ),
    (
        .statsAverages,
        """
        database s, server_assignment_count N, xact_count N, query_count N, bytes_received N, bytes_sent N, \
        xact_time N, query_time N, wait_time N, avg_client_parse_count N, avg_server_parse_count N, avg_bind_count N
        """
    ),
    (.totals, "name s, value N"),
    (.config, "key s, value s, default s, changeable s"),
    (.mem, "name s, size i, used i, free i, memtotal i"),
    (.state, "key s, value s"),
    (.dnsHosts, "hostname s, ttl q, addrs s"),
    (.dnsZones, "zonename s, serial q, count i"),
    (.version, "version s"),
    (
        .fds,
        """
        fd i, task s, user s, database s, addr s, port i, cancel q, link i, client_encoding s, std_strings s, \
        datestyle s, timezone s, password s, scram_client_key b, scram_server_key b
        """
    ),
    (.help, ""),
]

private let connection = """
    type s, user s, database s, replication s, state s, addr s, port i, local_addr s, local_port i, connect_time T, \
    request_time T, wait i, wait_us i, close_needed i, ptr s, link s, remote_pid i, tls s, application_name s, \
    prepared_statements i, id i
    """

private let socket = ", recv_pos i, pkt_pos i, pkt_remain i, send_pos i, send_remain i, pkt_avail i, send_avail i"

private func columns(_ list: String) -> [ConsoleColumn] {
    list.split(separator: ",").map { item in
        let parts = item.split(separator: " ")
        let types: [String: ColumnType] = [
            "s": .text, "T": .text, "i": .int4, "q": .int8, "N": .numeric, "b": .bytea,
        ]
        return ConsoleColumn(String(parts[0]), types[String(parts[1])] ?? .bytea)
    }
}

@Suite struct ShowColumnsTests {
    @Test("every topic has exactly the reference's columns", arguments: ShowTopic.allCases)
    func columnsAreTheReferences(topic: ShowTopic) throws {
        let expected = try #require(expectedColumns.first { $0.0 == topic }).1
        #expect(topic.columns == columns(expected))
    }

    @Test("rendered rows are as wide as their columns")
    func rowsFitTheirColumns() {
        let connection = ConnectionSnapshot(kind: .client, id: 7, user: "u", database: "d", state: "active")
        let pin = PinSnapshot(
            database: "d", user: "u", clientID: 26, serverID: 27, reason: "PREPARE", sinceMicroseconds: 0,
            heldMicroseconds: 5_999_999, statement: "prepare a as select 1")
        let tables = [
            renderPools([PoolSnapshot(database: "d", user: "u", poolMode: "session")]),
            renderClients([connection]), renderServers([connection]), renderPins([pin]),
            renderSockets([SocketSnapshot(connection: connection)]),
            renderDatabases([DatabaseSnapshot(name: "d", host: nil, port: 5432, database: "d")]),
            renderUsers([UserSnapshot(name: "u")]), renderStats([StatsSnapshot(database: "d")]),
            renderStatsTotals([StatsSnapshot(database: "d")]), renderStatsAverages([StatsSnapshot(database: "d")]),
            renderTotals([]), renderLists(ListsSnapshot()), renderState(StateSnapshot()), renderVersion(),
            renderConfig([SettingSnapshot(key: "k", value: "v", defaultValue: "d", isChangeable: true)]),
            renderMemory([MemorySnapshot(name: "m", sizeBytes: 1, used: 1, free: 1, totalBytes: 2)]),
            renderDNSHosts([DNSHostSnapshot(hostname: "h", ttlSeconds: 1, addresses: ["::1"])]),
        ]
        for table in tables {
            #expect(!table.rows.isEmpty)
            #expect(table.rows.allSatisfy { $0.count == table.columns.count })
            #expect(table.tag == "SHOW")
        }
    }

    @Test("held servers are listed by their age, with the pointers of SHOW CLIENTS and SHOW SERVERS")
    func pinsAreListedByAge() {
        func pin(_ client: UInt64, since: Int64) -> PinSnapshot {
            PinSnapshot(
                database: "d", user: "u", clientID: client, serverID: 27, reason: "PREPARE, LOAD",
                sinceMicroseconds: since, heldMicroseconds: 5_999_999, statement: "prepare a as select '…'")
        }
        let table = renderPins([pin(26, since: 1_000_000), pin(255, since: 0)])
        #expect(
            table.rows == [
                [
                    "d", "u", "0xff", "0x1b", "PREPARE, LOAD", "1970-01-01 00:00:00 UTC", "5",
                    "prepare a as select '…'",
                ],
                [
                    "d", "u", "0x1a", "0x1b", "PREPARE, LOAD", "1970-01-01 00:00:01 UTC", "5",
                    "prepare a as select '…'",
                ],
            ])
    }

    @Test("type OIDs and lengths are PostgreSQL's")
    func typeOIDs() {
        let types: [ColumnType] = [.text, .int4, .int8, .numeric, .bytea]
        #expect(types.map(\.typeOID) == [25, 23, 20, 1700, 17])
        #expect(types.map(\.lengthBytes) == [-1, 4, 8, -1, -1])
    }
}
