// The three tables together: references end at zero, memory comes back, what is known costs no memory, and how long
// it takes (`WEIR_BENCH=1 swift test -c release --filter StatementMemory`).

import Glibc
import Pooling
import Testing

@Suite struct StatementMemoryTests {
    @Test("when clients and servers are gone, no statement is left", arguments: [41, 42] as [UInt64])
    func references(seed: UInt64) {
        print("StatementMemoryTests.references seed \(seed)")
        let left = traffic(seed: seed, operations: 10_000)
        #expect(left.mostStatements > 50)
        #expect(left.statements == 0 && left.bytes == 0)
    }

    @Test("the memory of statements comes back to the heap", .enabled(if: heapBytesInUse() != nil))
    func memoryComesBack() async {
        // In a process of its own, where nothing else uses the heap.
        await #expect(processExitsWith: .success) {
            guard let before = heapBytesInUse() else { exit(EXIT_FAILURE) }
            for seed in 1...4 as ClosedRange<UInt64> { _ = traffic(seed: seed, operations: 2_000) }
            var table = StatementTable.unbounded()
            let ids = makeStatements(50_000, in: &table)
            var client = ClientStatements()
            var server = ServerStatements()
            for (number, id) in ids.enumerated() {
                table.retain(id)
                _ = client.define(Array("a name that is too long for its entry \(number)".utf8), as: id, limit: .max)
                _ = server.insert(id, limit: .max)
            }
            guard let most = heapBytesInUse(), most > before + 10_000_000 else { exit(EXIT_FAILURE) }
            client.removeAll { table.release($0) }
            server.removeAll { table.release($0) }
            // `ids` itself is still there, and glibc counts the few freed pieces that each thread keeps at hand.
            guard let after = heapBytesInUse(), after < before + 8 * UInt(ids.count) + 250_000 else {
                exit(EXIT_FAILURE)
            }
        }
    }

    @Test("a known statement costs no memory", .enabled(if: heapBytesInUse() != nil))
    func knownStatementsAreFree() async {
        await #expect(processExitsWith: .success) {
            var known = KnownStatements(count: 500)
            _ = known.useAll(rounds: 1)
            guard let before = heapBytesInUse() else { exit(EXIT_FAILURE) }
            let used = known.useAll(rounds: 2_000)
            // The test's own threads may take a little; anything kept for each use would be 24 megabytes and more.
            guard used == 1_000_000, let after = heapBytesInUse(), after < before + 100_000 else {
                exit(EXIT_FAILURE)
            }
        }
    }

    @Test("how long a known statement takes", .enabled(if: getenv("WEIR_BENCH") != nil))
    func bench() {
        for count in [1, 20, 500] {
            var known = KnownStatements(count: count)
            let rounds = 200_000 / count
            print("\(count) statements, CPU time of one use:")
            print("  find the body", bestNanoseconds { known.findBodies(rounds: rounds) })
            print("  find the name", bestNanoseconds { known.findNames(rounds: rounds) })
            print("  touch on the server", bestNanoseconds { known.touch(rounds: rounds) })
            print("  all three, and the name on the server", bestNanoseconds { known.useAll(rounds: rounds) })
        }
    }
}

/// The least CPU time of this thread that one use took in ten runs.
private func bestNanoseconds(_ work: () -> Int) -> String {
    func now() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
    var best = Double.infinity
    for _ in 0..<10 {
        let start = now()
        let used = work()
        best = min(best, Double(now() - start) / Double(max(1, used)))
    }
    return "\((best * 10).rounded() / 10) ns"
}

/// Statements of about 100 bytes that a table, a client and a server know.
private struct KnownStatements: ~Copyable {
    var table = StatementTable(worker: 0, seed: 7, bytesMax: .max)
    var client = ClientStatements()
    var server = ServerStatements()
    let bodies: [[UInt8]]
    let names: [[UInt8]]

    init(count: Int) {
        let text = "SELECT abalance, bbalance, filler FROM pgbench_accounts WHERE aid = $1 AND bid > $2 -- "
        bodies = (0..<count).map { statementBody(text + "\($0)", [23, 23]) }
        names = (0..<count).map { Array("__asyncpg_stmt_\($0)__".utf8) }
        for (body, name) in zip(bodies, names) {
            guard let id = table.intern(body) else { preconditionFailure("the table has no bound") }
            precondition(client.define(name, as: id) == .defined)
            table.retain(id)
            precondition(server.insert(id, limit: count) == nil)
        }
    }

    func findBodies(rounds: Int) -> Int {
        var used = 0
        for _ in 0..<rounds { for body in bodies where table.find(body) != nil { used += 1 } }
        return used
    }

    func findNames(rounds: Int) -> Int {
        var used = 0
        for _ in 0..<rounds { for name in names where client.find(name) != nil { used += 1 } }
        return used
    }

    mutating func touch(rounds: Int) -> Int {
        var used = 0
        let ids = bodies.compactMap { table.find($0) }
        for _ in 0..<rounds { for id in ids where server.touch(id) { used += 1 } }
        return used
    }

    /// What a Parse and a Bind of known statements need. Returns how many there were.
    mutating func useAll(rounds: Int) -> Int {
        var used = 0
        withUnsafeTemporaryAllocation(byteCount: StatementTable.serverNameBytesMax, alignment: 1) { buffer in
            for _ in 0..<rounds {
                for place in bodies.indices {
                    guard let id = table.intern(bodies[place]) else { continue }
                    table.release(id)
                    guard client.find(names[place]) == id, server.touch(id) else { continue }
                    if table.serverName(id, into: buffer) > 0 { used += 1 }
                }
                server.settled()
            }
        }
        return used
    }
}

/// Clients that prepare, use and close statements on servers of a small limit, and then all leave.
private func traffic(
    seed: UInt64, operations: Int
) -> (mostStatements: Int, statements: Int, bytes: Int) {
    var chance = StatementChance(seed: seed)
    var table = StatementTable(worker: 0, seed: seed, bytesMax: 40_000)
    let clients = UnsafeMutableBufferPointer<ClientStatements>.allocate(capacity: 8)
    let servers = UnsafeMutableBufferPointer<ServerStatements>.allocate(capacity: 3)
    for place in clients.indices { clients.initializeElement(at: place, to: ClientStatements()) }
    for place in servers.indices { servers.initializeElement(at: place, to: ServerStatements()) }
    var mostStatements = 0
    for _ in 0..<operations {
        let (client, server) = (chance.below(clients.count), chance.below(servers.count))
        let name = Array("statement number \(chance.below(40))".utf8)
        switch chance.below(10) {
        case 0...2:
            guard let id = table.intern(statementBody("SELECT \(chance.below(200))")) else { continue }
            if clients[client].define(name, as: id, limit: 20) != .defined { table.release(id) }
        case 3...6:
            guard let id = clients[client].find(name), !servers[server].touch(id) else { continue }
            table.retain(id)
            if let evicted = servers[server].insert(id, limit: 10) { table.release(evicted) }
        case 7:
            if let id = clients[client].remove(name) { table.release(id) }
        case 8:
            servers[server].settled()
            while let evicted = servers[server].evictExcess(limit: 10) { table.release(evicted) }
        default:
            guard chance.below(50) == 0 else { continue }
            clients[client].removeAll { table.release($0) }
            servers[server].removeAll { table.release($0) }
        }
        mostStatements = max(mostStatements, table.count)
    }
    for place in clients.indices { clients[place].removeAll { table.release($0) } }
    for place in servers.indices { servers[place].removeAll { table.release($0) } }
    clients.deinitialize().deallocate()
    servers.deinitialize().deallocate()
    return (mostStatements, table.count, table.bytes)
}
