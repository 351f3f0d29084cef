// Interned statements: equal bytes are one statement, nothing else is, and the last owner takes it away.

import Glibc
import Pooling
import Testing

@Suite struct StatementTableTests {
    @Test("the same text with the same parameter types is one statement, whoever prepared it")
    func interning() {
        var table = StatementTable.unbounded()
        let first = table.intern(statementBody("SELECT $1", [23]))
        let second = table.intern(statementBody("SELECT $1", [23]))
        #expect(first != nil && first == second)
        let found = table.find(statementBody("SELECT $1", [23]))
        #expect(found == first)
        let references = table.references(first!)
        let count = table.count
        #expect(references == 2 && count == 1)
    }

    @Test(
        "whatever differs in a byte is another statement",
        arguments: [
            (statementBody("SELECT $1", [23]), statementBody("SELECT $1", [20])),
            (statementBody("SELECT $1", [23]), statementBody("SELECT $1", [])),
            (statementBody("SELECT $1", [23]), statementBody("SELECT $1", [23, 23])),
            (statementBody("SELECT 1"), statementBody("select 1")),
            (statementBody("SELECT \u{e9}"), statementBody("SELECT e\u{301}")),
            ([], [0]), ([0], [0, 0]), ([1, 2, 3], [1, 2, 4]), ([0xFF, 0xFE], [0xFF, 0xFF]),
        ] as [([UInt8], [UInt8])])
    func telling(one: [UInt8], other: [UInt8]) {
        var table = StatementTable.unbounded()
        let first = table.intern(one)
        let missing = table.find(other)
        #expect(missing == nil)
        let second = table.intern(other)
        #expect(first != second)
        let bodies = (Array(table.body(first!)), Array(table.body(second!)))
        #expect(bodies.0 == one && bodies.1 == other)
    }

    @Test("bodies of every small length, and large ones, come back whole", arguments: [1, 2] as [UInt64])
    func lengths(seed: UInt64) {
        print("StatementTableTests.lengths seed \(seed)")
        var chance = StatementChance(seed: seed)
        var table = StatementTable.unbounded()
        let bodies = (Array(0...300) + [4_095, 65_536, 1 << 20, 16 << 20]).map {
            chance.bytes(min($0, 70_000)) + .init(repeating: 7, count: max(0, $0 - 70_000))
        }
        let ids = bodies.compactMap { table.intern($0) }
        #expect(Set(ids).count == bodies.count)
        for (body, id) in zip(bodies, ids) {
            let (own, found) = (Array(table.body(id)), table.find(body))
            #expect(own == body && found == id)
            table.release(id)
        }
        let (count, bytes) = (table.count, table.bytes)
        #expect(count == 0 && bytes == 0)
    }

    @Test("a buffer without an address is an empty body")
    func emptyBody() {
        var table = StatementTable.unbounded()
        let none = UnsafeRawBufferPointer(start: nil, count: 0)
        let id = table.intern(none)
        let found = (table.find(none), table.find([]))
        #expect(id != nil && found.0 == id && found.1 == id)
    }

    @Test("a statement lives until its last owner lets go, and made anew has a new number")
    func numbers() {
        var table = StatementTable.unbounded()
        var numbers: Set<UInt64> = []
        for _ in 0..<100 {
            let id = table.intern(statementBody("SELECT 1"))!
            table.retain(id)
            table.release(id)
            let alive = table.find(statementBody("SELECT 1"))
            #expect(alive == id)
            numbers.insert(table.number(id))
            table.release(id)
            let gone = table.find(statementBody("SELECT 1"))
            #expect(gone == nil)
        }
        #expect(numbers.count == 100)
    }

    @Test("the name on servers has the worker and the number in it")
    func serverNames() {
        for (worker, prefix) in [(0, "WEIR_0_"), (7, "WEIR_7_"), (.max, "WEIR_4294967295_")] as [(UInt32, String)] {
            var table = StatementTable(worker: worker, seed: 1, bytesMax: .max)
            for number in 1...1_001 {
                let id = table.intern(statementBody("SELECT \(number)"))!
                let (name, own) = (table.serverName(id), table.number(id))
                #expect(name == prefix + "\(number)" && own == UInt64(number))
                #expect(name.utf8.count < 64, "PostgreSQL would cut it short")
            }
        }
    }

    @Test("beyond the bound what is new is refused and what is known is not")
    func bound() {
        let cost = 100 + StatementTable.overheadBytes
        var table = StatementTable(worker: 0, seed: 1, bytesMax: 2 * cost)
        let bodies = (0..<3).map { [UInt8](repeating: $0, count: 100) }
        let (first, second, third) = (table.intern(bodies[0]), table.intern(bodies[1]), table.intern(bodies[2]))
        #expect(first != nil && second != nil && third == nil)
        let (again, bytes) = (table.intern(bodies[1]), table.bytes)
        #expect(again == second && bytes == 2 * cost)
        table.release(first!)
        let fits = table.intern(bodies[2])
        #expect(fits != nil)
        table.bytesMax += cost - 1
        let almost = table.intern(bodies[0])
        #expect(almost == nil)
        table.bytesMax += 1
        let raised = table.intern(bodies[0])
        #expect(raised != nil)
    }

    @Test("a bound that leaves no room refuses everything", arguments: [.min, -1, 0, 1, 79, 82])
    func noRoom(bytesMax: Int) {
        var table = StatementTable(worker: 0, seed: 1, bytesMax: bytesMax)
        let refused = table.intern([1, 2, 3])
        let (count, bytes) = (table.count, table.bytes)
        #expect(refused == nil && count == 0 && bytes == 0)
    }

    @Test("any order of operations gives what a dictionary gives", arguments: [11, 12, 13] as [UInt64])
    func model(seed: UInt64) {
        print("StatementTableTests.model seed \(seed)")
        var chance = StatementChance(seed: seed)
        var table = StatementTable(worker: 3, seed: seed, bytesMax: .max)
        var model: [[UInt8]: (id: StatementID, references: Int)] = [:]
        var numbers: Set<UInt64> = []
        for _ in 0..<10_000 {
            // Few distinct bodies, so that each one comes and goes often, some of them alike but for one byte.
            let which = chance.below(400)
            let body = statementBody(String(repeating: "x", count: which / 20), [UInt32(which % 20)])
            let known = model[body]
            switch chance.below(8) {
            case 0...2:
                let id = table.intern(body)!
                #expect(known == nil || known!.id == id)
                if known == nil { #expect(numbers.insert(table.number(id)).inserted) }
                model[body] = (id, (known?.references ?? 0) + 1)
            case 3:
                let found = table.find(body)
                #expect(found == known?.id)
            case 4:
                guard let known else { continue }
                table.retain(known.id)
                model[body] = (known.id, known.references + 1)
            default:
                guard let known else { continue }
                table.release(known.id)
                model[body] = known.references == 1 ? nil : (known.id, known.references - 1)
            }
            let count = table.count
            #expect(count == model.count)
        }
        for (body, (id, references)) in model {
            let (own, found, held) = (Array(table.body(id)), table.find(body), table.references(id))
            #expect(own == body && found == id && held == references)
            for _ in 0..<references { table.release(id) }
        }
        let (count, bytes) = (table.count, table.bytes)
        #expect(count == 0 && bytes == 0)
    }

    @Test("a statement that is gone cannot be used by its old name, though another has its place")
    func staleNames() async {
        await #expect(processExitsWith: .failure) {
            var table = StatementTable.unbounded()
            let stale = table.intern([1])!
            table.release(stale)
            _ = table.intern([2])
            table.retain(stale)
        }
    }
}
