// Cells keep their addresses, and a handle to a cell that was used again is recognised.

import Testing

@testable import Engine

@Suite struct SlabTests {
    @Test("a cell keeps its address while the slab grows")
    func stableAddresses() throws {
        var slab = Slab<Int>(cellsMax: 10_000)
        let first = try #require(slab.insert { _, _ in 7 })
        let address = slab[first]
        for value in 0..<5_000 { _ = slab.insert { _, _ in value } }
        let isSame = slab[first] == address
        let value = slab[first].pointee
        #expect(isSame)
        #expect(value == 7)
    }

    @Test("a handle to a cell that was used again is stale")
    func generations() throws {
        var slab = Slab<Int>(cellsMax: 10)
        let index = try #require(slab.insert { _, _ in 1 })
        let generation = slab.generation(index)
        slab.remove(index)
        let afterRemoval = slab.isLive(index, generation: generation)
        let again = try #require(slab.insert { _, _ in 2 })
        let afterReuse = slab.isLive(index, generation: generation)
        let isLive = slab.isLive(again, generation: slab.generation(again))
        #expect(again == index)
        #expect(!afterRemoval)
        #expect(!afterReuse)
        #expect(isLive)
    }

    @Test("a full slab hands out nothing, and again after a removal")
    func bound() {
        var slab = Slab<Int>(cellsMax: 256)
        for value in 0..<256 { _ = slab.insert { _, _ in value } }
        let tooMany = slab.insert { _, _ in 0 }
        slab.remove(17)
        let reused = slab.insert { _, _ in 1 }
        let count = slab.count
        #expect(tooMany == nil)
        #expect(reused == 17)
        #expect(count == 256)
    }

    @Test("cells that are left are destroyed with the slab")
    func destruction() {
        final class Witness {}
        weak var left: Witness?
        do {
            var slab = Slab<Witness>(cellsMax: 10)
            let witness = Witness()
            left = witness
            _ = slab.insert { _, _ in witness }
            let isAlive = left != nil
            #expect(isAlive)
        }
        #expect(left == nil)
    }
}
