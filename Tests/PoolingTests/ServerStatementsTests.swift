// One server's statements: the eldest goes first, and what requests under way use never goes.

import Pooling
import Testing

@Suite struct ServerStatementsTests {
    @Test("a server without statements pays one word")
    func size() {
        #expect(MemoryLayout<ServerStatements>.size == MemoryLayout<UInt>.size)
    }

    @Test("the statement that was not used for the longest time is evicted first")
    func order() {
        var table = StatementTable.unbounded()
        let ids = makeStatements(6, in: &table)
        var server = ServerStatements()
        for id in ids[0..<4] {
            let evicted = server.insert(id, limit: 4)
            #expect(evicted == nil)
            server.settled()
        }
        let known = (server.touch(ids[0]), server.touch(ids[2]), server.touch(ids[5]))
        #expect(known == (true, true, false))
        server.settled()
        let first = server.insert(ids[4], limit: 4)
        server.settled()
        let second = server.insert(ids[5], limit: 4)
        #expect(first == ids[1] && second == ids[3])
        var left: [StatementID] = []
        server.removeAll { left.append($0) }
        #expect(left == [ids[0], ids[2], ids[4], ids[5]])
        let count = server.count
        #expect(count == 0)
    }

    @Test("what requests under way use is not evicted, however many they are")
    func pinning() {
        var table = StatementTable.unbounded()
        let ids = makeStatements(20, in: &table)
        var server = ServerStatements()
        for id in ids[0..<3] { _ = server.insert(id, limit: 3) }
        server.settled()
        let touched = server.touch(ids[0])
        #expect(touched)
        var evicted: [StatementID] = []
        for id in ids[3..<20] {
            if let eldest = server.insert(id, limit: 3) { evicted.append(eldest) }
        }
        #expect(evicted == [ids[1], ids[2]])
        let (count, excess) = (server.count, server.evictExcess(limit: 3))
        #expect(count == 18 && excess == nil)
        server.settled()
        while let eldest = server.evictExcess(limit: 3) { evicted.append(eldest) }
        let left = server.count
        #expect(left == 3 && evicted == [ids[1], ids[2], ids[0]] + ids[3..<17])
    }

    @Test("a lowered limit evicts the eldest, a raised one nothing", arguments: [-1, 0, 1, 5, 10, 11])
    func changedLimit(limit: Int) {
        var table = StatementTable.unbounded()
        let ids = makeStatements(10, in: &table)
        var server = ServerStatements()
        let nothing = server.evictExcess(limit: limit)
        #expect(nothing == nil)
        for id in ids { _ = server.insert(id, limit: 10) }
        server.settled()
        var evicted: [StatementID] = []
        while let eldest = server.evictExcess(limit: limit) { evicted.append(eldest) }
        #expect(evicted == Array(ids.dropLast(max(0, limit))))
    }

    @Test("a statement that could not be closed is the eldest again, and not pinned")
    func restoring() {
        var table = StatementTable.unbounded()
        let ids = makeStatements(4, in: &table)
        var server = ServerStatements()
        for id in ids[0..<3] { _ = server.insert(id, limit: 3) }
        server.settled()
        let evicted = server.insert(ids[3], limit: 3)
        let removed = server.remove(ids[3])
        #expect(evicted == ids[0] && removed)
        server.restore(ids[0])
        let again = server.insert(ids[3], limit: 3)
        #expect(again == ids[0])
        var empty = ServerStatements()
        empty.restore(ids[0])
        let held = empty.touch(ids[0])
        #expect(held)
    }

    @Test("any order of operations gives what a list gives", arguments: [31, 32, 33] as [UInt64])
    func model(seed: UInt64) {
        print("ServerStatementsTests.model seed \(seed)")
        var chance = StatementChance(seed: seed)
        var table = StatementTable.unbounded()
        let ids = makeStatements(60, in: &table)
        var server = ServerStatements()
        var model = ServerModel()
        var limit = 20
        var allPinned = 0
        for _ in 0..<10_000 {
            let id = ids.randomElement(using: &chance)!
            switch chance.below(12) {
            case 0...6:
                let known = server.touch(id)
                #expect(known == model.touch(id))
                if known { continue }
                let evicted = server.insert(id, limit: limit)
                if evicted == nil && model.list.count >= limit { allPinned += 1 }
                #expect(evicted == model.insert(id, limit: limit))
                if let evicted, chance.below(4) == 0 {
                    server.restore(evicted)
                    model.list.insert((evicted, false), at: 0)
                }
            case 7, 8:
                let removed = server.remove(id)
                #expect(removed == model.remove(id))
            case 9:
                limit = chance.below(40)
                let evicted = server.evictExcess(limit: limit)
                #expect(evicted == (model.list.count > limit ? model.evict() : nil))
            default:
                // Seldom enough that at times all statements are pinned.
                guard chance.below(20) == 0 else { continue }
                server.settled()
                for place in model.list.indices { model.list[place].pinned = false }
            }
            let (count, contains) = (server.count, server.contains(id))
            #expect(count == model.list.count && contains == model.list.contains { $0.id == id })
            if chance.below(2_000) == 0 {
                var handed: [StatementID] = []
                server.removeAll { handed.append($0) }
                #expect(handed == model.list.map(\.id))
                model.list = []
            }
        }
        #expect(allPinned > 10, "the run meets servers on which everything is pinned")
    }
}

/// The same in the plainest form: the eldest first.
private struct ServerModel {
    var list: [(id: StatementID, pinned: Bool)] = []

    mutating func touch(_ id: StatementID) -> Bool {
        guard remove(id) else { return false }
        list.append((id, true))
        return true
    }

    mutating func insert(_ id: StatementID, limit: Int) -> StatementID? {
        let evicted = list.count >= limit ? evict() : nil
        list.append((id, true))
        return evicted
    }

    mutating func evict() -> StatementID? {
        guard let eldest = list.first, !eldest.pinned else { return nil }
        list.removeFirst()
        return eldest.id
    }

    mutating func remove(_ id: StatementID) -> Bool {
        guard let place = list.firstIndex(where: { $0.id == id }) else { return false }
        list.remove(at: place)
        return true
    }
}
