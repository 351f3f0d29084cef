// What SHOW shows: each worker writes down its pools, clients and servers; the one that was asked puts them together.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

extension Worker {
    /// Adds what this worker has to a report.
    mutating func takeSnapshot(_ job: ControlJob) {
        var report = ControlJob.Report()
        for index in 0..<pools.indexEnd where pools.isLive(index) { report.pools.append(snapshot(ofPool: index)) }
        for index in 0..<pools.indexEnd where pools.isLive(index) {
            let pool = pools[index]
            report.stats.append(
                StatsSnapshot(
                    database: pool.pointee.key.database, totals: pool.pointee.totals,
                    averages: pool.pointee.averages))
        }
        for index in 0..<clients.indexEnd where clients.isLive(index) {
            let state = clients[index].pointee.state
            if state == .ready || state == .console {
                report.clients.append(snapshot(ofClient: index))
            } else {
                report.loginClients += 1
            }
        }
        for index in 0..<servers.indexEnd where servers.isLive(index) {
            report.servers.append(snapshot(ofServer: index))
            if let pin = snapshot(ofPinnedServer: index) { report.pins.append(pin) }
        }
        report.memory = memory
        job.report.withLock { shared in
            shared.pools += report.pools
            shared.stats += report.stats
            shared.clients += report.clients
            shared.servers += report.servers
            shared.pins += report.pins
            shared.memory += report.memory
            shared.loginClients += report.loginClients
        }
    }

    private func snapshot(ofPool index: UInt32) -> PoolSnapshot {
        let pool = pools[index]
        var snapshot = PoolSnapshot(
            database: pool.pointee.key.database, user: pool.pointee.key.user, poolMode: pool.pointee.mode.rawValue,
            loadBalanceHosts: loadBalanceHosts(pool.pointee.options))
        let waiting = pool.pointee.pool.waiting
        var cancels = 0
        for cancel in 0..<self.cancels.indexEnd where self.cancels.isLive(cancel) {
            let cell = self.cancels[cancel]
            if servers.isLive(cell.pointee.server, generation: cell.pointee.serverGeneration),
                servers[cell.pointee.server].pointee.pool == Int32(index)
            {
                cancels += 1
                snapshot.activeCancelClients += UInt64(cell.pointee.requesters.count)
            }
        }
        let atLogin = pool.pointee.welcoming.count + pool.pointee.replicationWaiting.count
        snapshot.activeClients = UInt64(max(0, pool.pointee.clientCount - Int(waiting.count) - atLogin))
        snapshot.waitingClients = UInt64(Int(waiting.count) + atLogin)
        snapshot.activeServers = UInt64(pool.pointee.pool.count(.active) + pool.pointee.pool.count(.leaving))
        snapshot.activeCancelServers = UInt64(cancels)
        snapshot.beingCanceledServers = UInt64(pool.pointee.pool.count(.beingCanceled))
        snapshot.idleServers = UInt64(pool.pointee.pool.count(.idle))
        snapshot.usedServers = UInt64(pool.pointee.pool.count(.used))
        snapshot.testedServers = UInt64(pool.pointee.pool.count(.tested))
        snapshot.loginServers = UInt64(pool.pointee.pool.count(.new))
        for server in pool.pointee.dedicated {
            let isReady = servers[server].pointee.phase == .ready
            if isReady { snapshot.activeServers += 1 } else { snapshot.loginServers += 1 }
        }
        if waiting.first >= 0 {
            snapshot.maxWaitMicroseconds = UInt64(max(0, now - clientLinks.since(UInt32(waiting.first))))
        }
        return snapshot
    }

    private func loadBalanceHosts(_ options: DatabaseOptions) -> String? {
        options.hosts.count > 1 ? configuration.value.loadBalanceHosts(database: options).rawValue : nil
    }

    private func snapshot(ofClient index: UInt32) -> ClientSnapshot {
        let client = clients[index]
        let isConsole = client.pointee.state == .console
        let database = isConsole ? "pgbouncer" : pools[UInt32(client.pointee.pool)].pointee.key.database
        let waits = client.pointee.wait == .server || client.pointee.wait == .settings
        let state =
            waits ? "waiting" : client.pointee.server >= 0 || isConsole ? "active" : "idle"
        var snapshot = ClientSnapshot(
            kind: .client, id: client.pointee.identifier,
            user: client.pointee.user?.name ?? client.pointee.login?.user ?? "pgbouncer", database: database,
            state: state)
        let peer = SocketAddress.ofPeer(loop.fileDescriptor(client.pointee.socket))
        fill(
            &snapshot, client.pointee.socket, client.pointee.isUnixSocket ? nil : peer, client.pointee.connectedAt)
        snapshot.replication = client.pointee.replication.text
        if isConsole == false {
            snapshot.requestTimeMicroseconds = client.pointee.activeAt + shared.clockOffset
            if waits {
                snapshot.waitMicroseconds = UInt64(max(0, now - client.pointee.activeAt))
            }
            snapshot.applicationName = parameterSets.value(client.pointee.settings, "application_name") ?? ""
        }
        if client.pointee.server >= 0 {
            snapshot.linkID = servers[UInt32(client.pointee.server)].pointee.identifier
        }
        return snapshot
    }

    private func snapshot(ofServer index: UInt32) -> ServerSnapshot {
        let server = servers[index]
        let key = pools[UInt32(server.pointee.pool)].pointee.key
        var snapshot = ServerSnapshot(
            kind: .server, id: server.pointee.identifier, user: key.user, database: key.database,
            state: name(of: server.pointee.state))
        if let address = server.pointee.address {
            fill(&snapshot, server.pointee.socket, address, server.pointee.connectedAt)
        }
        snapshot.requestTimeMicroseconds = server.pointee.activeAt + shared.clockOffset
        snapshot.isCloseNeeded = server.pointee.closeNeeded
        snapshot.remoteProcessID = server.pointee.processID
        snapshot.applicationName = parameterSets.value(server.pointee.settings, "application_name") ?? ""
        if server.pointee.client >= 0 {
            snapshot.linkID = clients[UInt32(server.pointee.client)].pointee.identifier
            snapshot.replication = clients[UInt32(server.pointee.client)].pointee.replication.text
        }
        return snapshot
    }

    private func snapshot(ofPinnedServer index: UInt32) -> PinSnapshot? {
        let server = servers[index]
        guard let pin = server.pointee.pin, server.pointee.client >= 0 else { return nil }
        let key = pools[UInt32(server.pointee.pool)].pointee.key
        return PinSnapshot(
            database: key.database, user: key.user,
            clientID: clients[UInt32(server.pointee.client)].pointee.identifier, serverID: server.pointee.identifier,
            reason: pin.reasons.text, sinceMicroseconds: pin.since + shared.clockOffset,
            heldMicroseconds: UInt64(max(0, now - pin.since)), statement: pin.statement)
    }

    private func fill(
        _ snapshot: inout ConnectionSnapshot, _ socket: SocketID, _ peer: SocketAddress?, _ connectedAt: Int64
    ) {
        let isUnix = peer?.family == .unix || peer == nil
        snapshot.address = isUnix ? "unix" : peer?.host ?? ""
        snapshot.port = UInt64(isUnix ? UInt16(clamping: settings.listenPort) : peer?.port ?? 0)
        let local = SocketAddress.ofLocal(loop.fileDescriptor(socket))
        snapshot.localAddress = isUnix ? "unix" : local?.host ?? ""
        snapshot.localPort = isUnix ? UInt64(settings.listenPort) : UInt64(local?.port ?? 0)
        snapshot.connectTimeMicroseconds = connectedAt + shared.clockOffset
    }

    private func name(of state: ServerState) -> String {
        switch state {
        case .new: "new"
        case .idle: "idle"
        case .used: "used"
        case .tested: "tested"
        case .active, .leaving: "active"
        case .beingCanceled: "being_canceled"
        }
    }

    private var memory: [MemorySnapshot] {
        func slab(_ name: String, _ size: Int, _ used: Int, _ total: UInt32) -> MemorySnapshot {
            MemorySnapshot(
                name: name, sizeBytes: UInt64(size), used: UInt64(used), free: UInt64(Int(total) - used),
                totalBytes: UInt64(size * Int(total)))
        }
        return [
            slab("client_cache", MemoryLayout<Client>.stride, clients.count, clients.indexEnd),
            slab("server_cache", MemoryLayout<Server>.stride, servers.count, servers.indexEnd),
            slab("pool_cache", MemoryLayout<PoolState>.stride, pools.count, pools.indexEnd),
            slab("iobuf_cache", EventLoop.bufferBytes, loop.buffersInUse, UInt32(loop.buffersInUse)),
        ]
    }

    // MARK: Putting it together

    /// The table of a topic, from the reports of all workers.
    func table(_ topic: ShowTopic, _ report: ControlJob.Report) -> ConsoleTable {
        switch topic {
        case .pools: renderPools(mergePools(report.pools) + [consolePool(report)])
        case .clients: renderClients(report.clients)
        case .servers: renderServers(report.servers)
        case .pins: renderPins(report.pins)
        case .sockets, .activeSockets: renderSockets(sockets(report, topic), topic: topic)
        case .stats: renderStats(statistics(report))
        case .statsTotals: renderStatsTotals(statistics(report))
        case .statsAverages: renderStatsAverages(statistics(report))
        case .totals: renderTotals(statistics(report))
        case .lists: renderLists(lists(report))
        case .mem: renderMemory(report.memory)
        case .databases: renderDatabases(databases(report))
        case .users: renderUsers(users())
        case .config, .state, .dnsHosts, .dnsZones, .peers, .peerPools, .fds, .version, .help:
            ConsoleTable(topic: topic)
        }
    }

    private func consolePool(_ report: ControlJob.Report) -> PoolSnapshot {
        var pool = PoolSnapshot(database: "pgbouncer", user: "pgbouncer", poolMode: "statement")
        pool.activeClients = UInt64(report.clients.count { $0.database == "pgbouncer" })
        return pool
    }

    private func sockets(_ report: ControlJob.Report, _ topic: ShowTopic) -> [SocketSnapshot] {
        let connections = report.clients.map { ("cl_", $0) } + report.servers.map { ("sv_", $0) }
        return connections.compactMap { prefix, connection in
            if topic == .activeSockets && connection.state == "idle" { return nil }
            var connection = connection
            connection.state = prefix + (connection.state == "new" ? "login" : connection.state)
            return SocketSnapshot(connection: connection)
        }
    }

    private func statistics(_ report: ControlJob.Report) -> [StatsSnapshot] {
        mergeStats(report.stats + [StatsSnapshot(database: "pgbouncer")])
    }

    private func lists(_ report: ControlJob.Report) -> ListsSnapshot {
        let configuration = configuration.value
        var lists = ListsSnapshot()
        lists.databases = UInt64(configuration.databases.count + 1)
        lists.users = UInt64(configuration.secrets.count)
        lists.pools = UInt64(mergePools(report.pools).count + 1)
        lists.usedClients = UInt64(report.clients.count)
        lists.loginClients = UInt64(report.loginClients)
        lists.usedServers = UInt64(report.servers.count)
        lists.freeClients = report.memory.filter { $0.name == "client_cache" }.reduce(0) { $0 + $1.free }
        lists.freeServers = report.memory.filter { $0.name == "server_cache" }.reduce(0) { $0 + $1.free }
        lists.dnsNames = UInt64(shared.resolver.snapshot(now: now).count)
        lists.dnsPending = UInt64(shared.resolver.pendingCount)
        return lists
    }

    private func databases(_ report: ControlJob.Report) -> [DatabaseSnapshot] {
        let configuration = configuration.value
        var names = Set(configuration.databases.keys)
        for pool in report.pools { names.insert(pool.database) }
        var rows = names.sorted().compactMap { name in
            configuration.database(named: name).map { databaseRow($0, configuration) }
        }
        var console = DatabaseSnapshot(
            name: "pgbouncer", host: nil, port: UInt64(settings.listenPort), database: "pgbouncer")
        console.forceUser = "pgbouncer"
        console.poolSize = 2
        console.poolMode = "statement"
        rows.append(console)
        return rows
    }

    private func databaseRow(_ options: DatabaseOptions, _ configuration: Configuration) -> DatabaseSnapshot {
        let state = shared.database(options, self.configuration)
        let host = options.hosts.isEmpty ? nil : options.hosts.map(\.text).joined(separator: ",")
        var row = DatabaseSnapshot(
            name: options.name, host: host, port: UInt64(options.port), database: options.serverDatabase)
        row.forceUser = options.user
        row.poolSize = UInt64(options.poolSize ?? configuration.settings.defaultPoolSize)
        row.minPoolSize = UInt64(configuration.minPoolSize(database: options))
        row.reservePoolSize = UInt64(options.reservePoolSize ?? configuration.settings.reservePoolSize)
        row.serverLifetimeSeconds = UInt64(
            max(0, configuration.serverLifetimeMicroseconds(database: options)) / 1_000_000)
        row.poolMode = options.poolMode?.rawValue
        row.loadBalanceHosts = loadBalanceHosts(options)
        row.maxConnections = UInt64(configuration.maxDbConnections(database: options))
        row.currentConnections = UInt64(state.servers.taken)
        row.maxClientConnections = UInt64(configuration.maxDbClientConnections(database: options))
        row.currentClientConnections = UInt64(state.clients.taken)
        row.isPaused = state.isPaused.load(ordering: .relaxed) || shared.isPaused.load(ordering: .relaxed)
        row.isDisabled = state.isDisabled.load(ordering: .relaxed)
        return row
    }

    private func users() -> [UserSnapshot] {
        let configuration = configuration.value
        let names = Set(configuration.secrets.keys).union(configuration.users.keys)
        return names.sorted().map { name in
            let state = shared.user(name, self.configuration)
            let options = configuration.users[name]
            var row = UserSnapshot(name: name)
            row.poolSize = options?.poolSize.map { UInt64($0) }
            row.reservePoolSize = options?.reservePoolSize.map { UInt64($0) }
            row.poolMode = options?.poolMode?.rawValue
            row.maxUserConnections = UInt64(configuration.maxUserConnections(user: name))
            row.currentConnections = UInt64(state.servers.taken)
            row.maxUserClientConnections = UInt64(configuration.maxUserClientConnections(user: name))
            row.currentClientConnections = UInt64(state.clients.taken)
            return row
        }
    }
}
