// From snapshots to tables: one function for each topic of SHOW, each giving its values in the order of
// `ShowTopic.columns`.

/// SHOW POOLS.
public func renderPools(_ pools: [PoolSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .pools,
        rows: pools.map { pool in
            let counts = [
                pool.activeClients, pool.waitingClients, pool.activeCancelClients, pool.waitingCancelClients,
                pool.activeServers, pool.activeCancelServers, pool.beingCanceledServers, pool.idleServers,
                pool.usedServers, pool.testedServers, pool.loginServers, pool.maxWaitMicroseconds / 1_000_000,
                pool.maxWaitMicroseconds % 1_000_000,
            ]
            return [pool.database, pool.user] + counts.map(int4Text) + [pool.poolMode, pool.loadBalanceHosts]
        })
}

/// SHOW CLIENTS.
public func renderClients(_ clients: [ClientSnapshot]) -> ConsoleTable {
    ConsoleTable(topic: .clients, rows: clients.map(connectionRow))
}

/// SHOW SERVERS.
public func renderServers(_ servers: [ServerSnapshot]) -> ConsoleTable {
    ConsoleTable(topic: .servers, rows: servers.map(connectionRow))
}

/// SHOW PINS, the oldest first.
public func renderPins(_ pins: [PinSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .pins,
        rows: pins.sorted { $0.sinceMicroseconds < $1.sinceMicroseconds }.map { pin in
            [
                pin.database, pin.user, pointerText(pin.clientID), pointerText(pin.serverID), pin.reason,
                renderUnixTime(microseconds: pin.sinceMicroseconds), int4Text(pin.heldMicroseconds / 1_000_000),
                pin.statement,
            ]
        })
}

/// SHOW SOCKETS and SHOW ACTIVE_SOCKETS.
public func renderSockets(_ sockets: [SocketSnapshot], topic: ShowTopic = .sockets) -> ConsoleTable {
    ConsoleTable(
        topic: topic,
        rows: sockets.map { socket in
            let positions = [
                socket.receivedBytes, 0, socket.messageRemainingBytes, 0, socket.unsentBytes,
                socket.receivedBytes, socket.unsentBytes,
            ]
            return connectionRow(socket.connection) + positions.map(int4Text)
        })
}

private func connectionRow(_ connection: ConnectionSnapshot) -> [String?] {
    [
        connection.kind.rawValue, connection.user, connection.database, connection.replication, connection.state,
        connection.address, int4Text(connection.port), connection.localAddress, int4Text(connection.localPort),
        renderUnixTime(microseconds: connection.connectTimeMicroseconds),
        connection.requestTimeMicroseconds == 0
            ? "" : renderUnixTime(microseconds: connection.requestTimeMicroseconds),
        int4Text(connection.waitMicroseconds / 1_000_000), int4Text(connection.waitMicroseconds % 1_000_000),
        connection.isCloseNeeded ? "1" : "0", pointerText(connection.id), connection.linkID.map(pointerText) ?? "",
        String(connection.remoteProcessID), connection.tls, connection.applicationName,
        int4Text(connection.preparedStatements), String(connection.id),
    ]
}

/// SHOW DATABASES.
public func renderDatabases(_ databases: [DatabaseSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .databases,
        rows: databases.map { database in
            [
                database.name, database.host, int4Text(database.port), database.database, database.forceUser,
                int4Text(database.poolSize), int4Text(database.minPoolSize), int4Text(database.reservePoolSize),
                int4Text(database.serverLifetimeSeconds), database.poolMode, database.loadBalanceHosts,
                int4Text(database.maxConnections), int4Text(database.currentConnections),
                int4Text(database.maxClientConnections), int4Text(database.currentClientConnections),
                database.isPaused ? "1" : "0", database.isDisabled ? "1" : "0",
            ]
        })
}

/// SHOW USERS. Pool sizes that are not set are empty texts.
public func renderUsers(_ users: [UserSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .users,
        rows: users.map { user in
            [
                user.name, user.poolSize.map(int4Text) ?? "", user.reservePoolSize.map(int4Text) ?? "",
                user.poolMode, int4Text(user.maxUserConnections), int4Text(user.currentConnections),
                int4Text(user.maxUserClientConnections), int4Text(user.currentClientConnections),
            ]
        })
}

/// SHOW STATS.
public func renderStats(_ stats: [StatsSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .stats,
        rows: stats.map { [$0.database] + ($0.totals.inOrder + $0.averages.inOrder).map { String($0) } })
}

/// SHOW STATS_TOTALS.
public func renderStatsTotals(_ stats: [StatsSnapshot]) -> ConsoleTable {
    ConsoleTable(topic: .statsTotals, rows: stats.map { [$0.database] + $0.totals.inOrder.map { String($0) } })
}

/// SHOW STATS_AVERAGES.
public func renderStatsAverages(_ stats: [StatsSnapshot]) -> ConsoleTable {
    ConsoleTable(topic: .statsAverages, rows: stats.map { [$0.database] + $0.averages.inOrder.map { String($0) } })
}

/// SHOW TOTALS: the sum of all databases, the console's included, one value for each row.
public func renderTotals(_ stats: [StatsSnapshot]) -> ConsoleTable {
    let names = [
        "server_assignment_count", "xact_count", "query_count", "client_bytes", "server_bytes", "xact_time",
        "query_time", "wait_time", "ps_client_parse_count", "ps_server_parse_count", "ps_bind_count",
    ]
    let sum = sumStats(stats)
    let totals = zip(names, sum.totals.inOrder).map { ["total_\($0)", String($1)] }
    let averages = zip(names, sum.averages.inOrder).map { ["avg_\($0)", String($1)] }
    return ConsoleTable(topic: .totals, rows: totals + averages)
}

/// SHOW LISTS.
public func renderLists(_ lists: ListsSnapshot) -> ConsoleTable {
    let items: [(String, UInt64)] = [
        ("databases", lists.databases), ("users", lists.users), ("peers", lists.peers), ("pools", lists.pools),
        ("peer_pools", lists.peerPools), ("free_clients", lists.freeClients), ("used_clients", lists.usedClients),
        ("login_clients", lists.loginClients), ("free_servers", lists.freeServers),
        ("used_servers", lists.usedServers), ("dns_names", lists.dnsNames), ("dns_zones", lists.dnsZones),
        ("dns_queries", lists.dnsQueries), ("dns_pending", lists.dnsPending),
    ]
    return ConsoleTable(topic: .lists, rows: items.map { [$0.0, int4Text($0.1)] })
}

/// SHOW CONFIG, sorted by key.
public func renderConfig(_ settings: [SettingSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .config,
        rows: settings.sorted { $0.key < $1.key }.map {
            [$0.key, $0.value, $0.defaultValue, $0.isChangeable ? "yes" : "no"]
        })
}

/// SHOW STATE.
public func renderState(_ state: StateSnapshot) -> ConsoleTable {
    let isActive = !state.isPaused && !state.isSuspended
    return ConsoleTable(
        topic: .state,
        rows: [
            ["active", isActive ? "yes" : "no"], ["paused", state.isPaused ? "yes" : "no"],
            ["suspended", state.isSuspended ? "yes" : "no"],
        ])
}

/// SHOW MEM.
public func renderMemory(_ slabs: [MemorySnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .mem,
        rows: slabs.map {
            [$0.name, int4Text($0.sizeBytes), int4Text($0.used), int4Text($0.free), int4Text($0.totalBytes)]
        })
}

/// SHOW DNS_HOSTS.
public func renderDNSHosts(_ hosts: [DNSHostSnapshot]) -> ConsoleTable {
    ConsoleTable(
        topic: .dnsHosts,
        rows: hosts.map { [$0.hostname, String($0.ttlSeconds), $0.addresses.joined(separator: ",")] })
}

/// SHOW VERSION.
public func renderVersion() -> ConsoleTable {
    ConsoleTable(topic: .version, rows: [[consoleVersionText]])
}

/// A count in an `int4` column: one that does not fit is shown as the largest that does.
private func int4Text(_ value: UInt64) -> String { String(min(value, UInt64(Int32.max))) }

/// An id as `ptr` and `link` show it.
private func pointerText(_ id: UInt64) -> String { "0x" + String(id, radix: 16) }
