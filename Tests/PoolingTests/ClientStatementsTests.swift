// One client's names of statements: a name means what it was last given to, any bytes are a name, and the client's
// limit holds.

import Pooling
import Testing

@Suite struct ClientStatementsTests {
    @Test("a client that prepares nothing pays one word")
    func size() {
        #expect(MemoryLayout<ClientStatements>.size == MemoryLayout<UInt>.size)
    }

    @Test("a name is taken until it is removed, and hands back what it meant")
    func definitions() {
        var table = StatementTable.unbounded()
        let ids = makeStatements(2, in: &table)
        var client = ClientStatements()
        let name = Array("S_1".utf8)
        let nothing = (client.find(name), client.remove(name))
        #expect(nothing.0 == nil && nothing.1 == nil)
        let first = client.define(name, as: ids[0])
        let second = client.define(name, as: ids[1])
        #expect(first == .defined && second == .alreadyDefined)
        let (found, removed, missing) = (client.find(name), client.remove(name), client.find(name))
        #expect(found == ids[0] && removed == ids[0] && missing == nil)
        let again = client.define(name, as: ids[1])
        let (meaning, count) = (client.find(name), client.count)
        #expect(again == .defined && meaning == ids[1] && count == 1)
    }

    @Test("a statement leads back to a name that it has", arguments: [3, 24, 25, 60])
    func namesOfStatements(nameBytes: Int) {
        var table = StatementTable.unbounded()
        let ids = makeStatements(3, in: &table)
        var client = ClientStatements()
        let names = (0..<2).map { [UInt8](repeating: UInt8(ascii: "a") + UInt8($0), count: nameBytes) }
        for (name, id) in zip(names, ids) { _ = client.define(name, as: id) }
        let found = (client.name { $0 == ids[0] }, client.name { $0 == ids[1] }, client.name { $0 == ids[2] })
        #expect(found.0 == names[0] && found.1 == names[1] && found.2 == nil)
    }

    @Test("any bytes of any length are a name", arguments: [1, 7, 8, 9, 40])
    func names(copies: Int) {
        var chance = StatementChance(seed: 5)
        var table = StatementTable.unbounded()
        var client = ClientStatements()
        // Each length several times, so that both the linear and the hashed search meet names of equal length.
        let lengths = [1, 8, 23, 24, 25, 32, 62, 63, 64, 255, 16_384]
        let names = [[]] + lengths.flatMap { length in (0..<copies).map { [UInt8($0)] + chance.bytes(length - 1) } }
        let ids = makeStatements(names.count, in: &table)
        for (name, id) in zip(names, ids) {
            let defined = client.define(name, as: id)
            #expect(defined == .defined)
        }
        for (name, id) in zip(names, ids) {
            let (found, longer, other) = (
                client.find(name), client.find(name + [0xFD]), client.find(name.dropLast() + [0xEE, 0xEE])
            )
            #expect(found == id && longer == nil && other == nil)
        }
        for (name, id) in zip(names, ids) {
            let removed = client.remove(name)
            #expect(removed == id)
        }
        let count = client.count
        #expect(count == 0)
    }

    @Test("a client has no more names than its limit, which may change", arguments: [-1, 0, 1, 7, 8, 9, 100])
    func limits(limit: Int) {
        var table = StatementTable.unbounded()
        let ids = makeStatements(102, in: &table)
        var client = ClientStatements()
        for number in 0..<101 {
            let outcome = client.define(Array("s\(number)".utf8), as: ids[number], limit: limit)
            #expect(outcome == (number < limit ? .defined : .tooMany(limit: limit)))
        }
        guard limit > 0 else { return }
        let taken = client.define(Array("s0".utf8), as: ids[1], limit: limit)
        #expect(taken == .alreadyDefined)
        let raised = client.define(Array("more".utf8), as: ids[1], limit: limit + 1)
        let lowered = client.define(Array("again".utf8), as: ids[1], limit: 1)
        let count = client.count
        #expect(raised == .defined && lowered == .tooMany(limit: 1) && count == limit + 1)
    }

    @Test("removing all hands back every statement once and leaves an empty client", arguments: [0, 1, 8, 9, 500])
    func removingAll(names: Int) {
        var table = StatementTable.unbounded()
        let ids = makeStatements(names, in: &table)
        var client = ClientStatements()
        for (number, id) in ids.enumerated() {
            _ = client.define(Array("a name of some length \(number)".utf8), as: id)
        }
        client.removeAll { table.release($0) }
        let (count, left) = (client.count, table.count)
        #expect(count == 0 && left == 0)
        let missing = client.find(Array("a name of some length 0".utf8))
        #expect(missing == nil)
    }

    @Test("any order of operations gives what a dictionary gives", arguments: [21, 22, 23, 24] as [UInt64])
    func model(seed: UInt64) {
        print("ClientStatementsTests.model seed \(seed)")
        var chance = StatementChance(seed: seed)
        var table = StatementTable.unbounded()
        var client = ClientStatements()
        var model: [[UInt8]: StatementID] = [:]
        // From a handful of names to hundreds, so that the search changes its form on the way.
        let spread = [6, 12, 60, 600][Int(seed % 4)]
        for _ in 0..<10_000 {
            let which = chance.below(spread)
            let name = Array(repeating: UInt8(ascii: "n"), count: which % 40) + Array("\(which)".utf8)
            switch chance.below(5) {
            case 0, 1:
                let id = table.intern(statementBody("SELECT \(chance.below(50))"))!
                let outcome = client.define(name, as: id)
                #expect(outcome == (model[name] == nil ? .defined : .alreadyDefined))
                if outcome == .defined { model[name] = id } else { table.release(id) }
            case 2:
                let found = client.find(name)
                #expect(found == model[name])
            default:
                let removed = client.remove(name)
                #expect(removed == model.removeValue(forKey: name))
                if let removed { table.release(removed) }
            }
            if chance.below(3_000) == 0 {
                var handed: [StatementID: Int] = [:]
                client.removeAll {
                    handed[$0, default: 0] += 1
                    table.release($0)
                }
                #expect(handed == Dictionary(model.values.map { ($0, 1) }, uniquingKeysWith: +))
                model = [:]
            }
            let count = client.count
            #expect(count == model.count)
        }
        for (name, id) in model {
            let found = client.find(name)
            #expect(found == id)
        }
        client.removeAll { table.release($0) }
        let left = table.count
        #expect(left == 0)
    }
}
