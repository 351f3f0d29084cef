// One run from its seed to its verdict, and which seeds are run.

import Glibc
import Pooling

/// `WEIR_SEED=n` replays one seed and prints its last steps; `WEIR_SEEDS=n` runs the first n.
enum Seeds {
    static let replayed: UInt64? = value("WEIR_SEED").flatMap { UInt64($0) }

    static var chosen: [UInt64] {
        if let replayed { return [replayed] }
        let count = value("WEIR_SEEDS").flatMap { UInt64($0) } ?? 200
        return Array(1...max(1, count))
    }

    private static func value(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }
}

enum Simulation {
    struct Result {
        var violation: String?
        var trace = ""
        var transactions = 0
        var told = 0
        var handOvers = 0
        var evictions = 0
    }

    static func run(seed: UInt64, isTraced: Bool = false) -> Result {
        let world = World(Scenario(seed: seed))
        if isTraced { world.trace = ["\(world.scenario)"] }
        defer { world.dissolve() }
        world.begin()
        world.run(until: world.scenario.endAt + World.waitMaxMicroseconds)
        if world.violation == nil {
            for client in world.clients where !client.isFinished {
                world.fail("client \(client.identity) was neither served nor told")
            }
            world.closeEverything()
            if world.violation == nil { world.checkEmpty() }
        }
        return Result(
            violation: world.violation, trace: (world.trace ?? []).joined(separator: "\n"),
            transactions: world.transactions, told: world.told, handOvers: world.handOvers,
            evictions: world.evictions)
    }
}
