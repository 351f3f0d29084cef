// A seeded simulation of clients, workers, pools, servers and faults.
//
// Several workers in one thread, with mailboxes between them that take their time, drive the real Pool, Bounds,
// LinkTable and OwedReplies. Servers refuse, hang and die in every state; clients vanish, are cancelled, pipeline and
// COPY; pools are paused, resumed, reconnected and resized. After each step everything that must hold is asserted
// (World+Invariants); then faults end, and nobody may wait long; at last everything is closed, and all permits must
// be back.
//
// What it catches, tried out: a line that is not first in, first out; a permit lost on a failed connect or on a full
// user; a server released while a request or batch is open, or given out while paused or while a cancel request may
// hit it; more connects at once, servers, or servers of the reserve than allowed; waiters and idle servers that other
// workers do not hear of; a permit given back that nobody is told about; starvation between pools that share a bound.

import Testing

@Suite struct SimulationTests {
    @Test("bounds hold, replies reach who asked, nobody starves and every permit comes back", arguments: Seeds.chosen)
    func simulate(seed: UInt64) {
        let result = Simulation.run(seed: seed, isTraced: Seeds.replayed != nil)
        #expect(result.violation == nil, "WEIR_SEED=\(seed) shows it again\n\(result.trace)")
    }

    @Test("the runs reach what they are about: transactions, refusals, hand-overs and evictions")
    func reaches() {
        let results = (1...12 as ClosedRange<UInt64>).map { Simulation.run(seed: $0) }
        #expect(results.reduce(0) { $0 + $1.transactions } > 1_000)
        #expect(results.reduce(0) { $0 + $1.told } > 50)
        #expect(results.reduce(0) { $0 + $1.handOvers } > 50)
        #expect(results.reduce(0) { $0 + $1.evictions } > 20)
    }
}
