// One state is one list: whatever is put in and taken out, the lists say what is so.

import Testing

@testable import Pooling

@Suite struct LinkTableTests {
    private func contents(_ list: LinkedList, _ table: borrowing LinkTable) -> [Int32] {
        var found: [Int32] = []
        var next = list.first
        while next >= 0, found.count <= Int(list.count) {
            found.append(next)
            next = table.next(after: next)
        }
        return found
    }

    @Test("a list keeps the order in which indices came", arguments: [[UInt32](), [7], [0, 1, 2], [9, 3, 5, 1]])
    func keepsOrder(indices: [UInt32]) {
        var table = LinkTable()
        var list = LinkedList()
        for (time, index) in indices.enumerated() {
            table.prepare(index)
            table.append(index, to: &list, now: Int64(time))
        }
        #expect(contents(list, table) == indices.map { Int32($0) })
        #expect(list.count == Int32(indices.count))
        #expect(list.isEmpty == indices.isEmpty)
        #expect(list.last == indices.last.map { Int32($0) } ?? -1)
    }

    @Test("taking an index out leaves the others in order", arguments: [0, 1, 2, 3] as [UInt32])
    func removes(index: UInt32) {
        var table = LinkTable()
        var list = LinkedList()
        for other in 0..<4 as Range<UInt32> {
            table.prepare(other)
            table.append(other, to: &list, now: 1)
        }
        table.remove(index, from: &list)
        let expected = (0..<4 as Range<Int32>).filter { $0 != Int32(index) }
        #expect(contents(list, table) == expected)
        #expect(list.first == expected.first && list.last == expected.last && list.count == 3)
        let isLinked = table.isLinked(index)
        #expect(!isLinked)
    }

    @Test("a node remembers since when it stands where it stands, and the time of its last place after that")
    func remembersTime() {
        var table = LinkTable()
        var (one, other) = (LinkedList(), LinkedList())
        table.prepare(3)
        table.append(3, to: &one, now: 100)
        #expect(table.since(3) == 100)
        table.remove(3, from: &one)
        #expect(table.since(3) == 100)
        table.append(3, to: &other, now: 250)
        #expect(table.since(3) == 250)
        #expect(one.isEmpty && other.count == 1)
    }

    @Test("indices beyond the first chunk have nodes of their own")
    func growsByChunks() {
        var table = LinkTable()
        var list = LinkedList()
        let indices: [UInt32] = [0, 1023, 1024, 5000]
        for index in indices {
            table.prepare(index)
            table.append(index, to: &list, now: Int64(index))
        }
        #expect(contents(list, table) == indices.map { Int32($0) })
        for index in indices { #expect(table.since(index) == Int64(index)) }
    }

    @Test("after thousands of random moves each index stands where an array says", arguments: [1, 2, 3] as [UInt64])
    func agreesWithArrays(seed: UInt64) {
        var chance = SeededGenerator(seed: seed)
        var table = LinkTable()
        var lists = [LinkedList(), LinkedList(), LinkedList()]
        var model: [[Int32]] = [[], [], []]
        for index in 0..<40 as Range<UInt32> { table.prepare(index) }
        for step in 0..<4_000 {
            let index = UInt32(chance.below(40))
            if let place = model.firstIndex(where: { $0.contains(Int32(index)) }) {
                table.remove(index, from: &lists[place])
                model[place].removeAll { $0 == Int32(index) }
            } else {
                let place = chance.below(3)
                table.append(index, to: &lists[place], now: Int64(step))
                model[place].append(Int32(index))
            }
        }
        for place in 0..<3 {
            #expect(contents(lists[place], table) == model[place], "seed \(seed)")
            #expect(lists[place].count == Int32(model[place].count), "seed \(seed)")
        }
    }
}
