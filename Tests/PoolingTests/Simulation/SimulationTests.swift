// A seeded simulation of clients, workers, pools, servers and faults.

import Testing

@Suite struct SimulationTests {
    @Test("bounds hold, replies reach who asked, nobody starves and every permit comes back", arguments: Seeds.chosen)
    func simulate(seed: UInt64) {
        let result = Simulation.run(seed: seed, isTraced: Seeds.replayed != nil)
        #expect(result.violation == nil, "WEIR_SEED=\(seed) shows it again\n\(result.trace)")
    }
}
