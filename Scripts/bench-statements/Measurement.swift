// The measuring: each function runs many times over copies of a statement that lie in different places, so that
// nothing can be computed once for all; the median of the rounds is reported.

import Glibc
import Pooling
import SQLText

/// Nanoseconds that one statement costs.
struct StatementCost {
    var isPlain = false
    var quick = 0.0
    var scan = 0.0
    var table = 0.0
    var client = 0.0
    var server = 0.0

    /// What is done for a statement at most: a text that is surely plain is not scanned.
    var sum: Double { quick + (isPlain ? 0 : scan) + table + client + server }
}

/// A statement in many places.
struct Copies: ~Copyable {
    static var count: Int { 64 }
    private let memory: UnsafeMutableRawBufferPointer
    private let stride: Int
    private let bytes: Int

    init(_ bytes: [UInt8]) {
        self.bytes = bytes.count
        stride = bytes.count + 13
        memory = .allocate(byteCount: stride * Self.count, alignment: 64)
        for copy in 0..<Self.count {
            UnsafeMutableRawBufferPointer(rebasing: memory[(copy * stride)...]).copyBytes(from: bytes)
        }
    }

    deinit { memory.deallocate() }

    subscript(iteration: Int) -> UnsafeRawBufferPointer {
        let start = (iteration & (Self.count - 1)) * stride
        return UnsafeRawBufferPointer(rebasing: memory[start..<start + bytes])
    }
}

/// What a worker, a client and a server know while a statement is measured: the 500 statements of `distinct-500`, of
/// which the server has 200.
struct Measurement: ~Copyable {
    static let rounds = 11
    static let iterations = 20_000

    private var table = StatementTable(worker: 0, seed: 0x5DEE_CE66_D123_4567, bytesMax: 1 << 24)
    private var client = ClientStatements()
    private var server = ServerStatements()
    /// Keeps results from being thrown away unseen.
    private(set) var checksum = 0

    init() {
        for number in 1...500 { add(.distinct(number), name: "P0_\(number)") }
        for statement in MeasuredStatement.measured { add(statement, name: statement.name) }
    }

    private mutating func add(_ statement: MeasuredStatement, name: String) {
        let (body, nameBytes) = (statement.body, Array(name.utf8))
        guard let id = body.withUnsafeBytes({ table.intern($0) }) else { fatalError("a statement is refused") }
        let definition = nameBytes.withUnsafeBytes { client.define($0, as: id, limit: 1_000) }
        guard definition == .defined else { fatalError("a name is refused") }
        table.retain(id)
        if let evicted = server.insert(id, limit: 200) { table.release(evicted) }
        server.settled()
    }

    mutating func cost(of statement: MeasuredStatement) -> StatementCost {
        let texts = Copies(Array(statement.text.utf8))
        let bodies = Copies(statement.body)
        let names = Copies(Array(statement.name.utf8))
        let another = Copies(MeasuredStatement.distinct(500).body)
        guard let own = table.find(bodies[0]), let other = table.find(another[0]) else {
            fatalError("a statement is not found")
        }
        var found = 0
        var cost = StatementCost()
        cost.isPlain = isSurelyPlainStatement(texts[0])
        cost.quick = Self.median { found &+= isSurelyPlainStatement(texts[$0]) ? 1 : 0 }
        cost.scan = Self.median { scanStatements(texts[$0], standardConformingStrings: true) { _, _ in found &+= 1 } }
        cost.table = Self.median { found &+= table.find(bodies[$0]) == own ? 1 : 0 }
        cost.client = Self.median { found &+= client.find(names[$0]) == own ? 1 : 0 }
        // In turn with another one, so that it is never the newest already.
        cost.server = Self.median { found &+= server.touch($0 & 1 == 0 ? own : other) ? 1 : 0 }
        let expected = Self.rounds * Self.iterations
        precondition(found == (cost.isPlain ? 1 : 0) * expected + 4 * expected, "a statement was not found each time")
        checksum &+= found
        return cost
    }

    /// The median over the rounds of the nanoseconds that one call takes.
    @inline(__always)
    private static func median(_ call: (Int) -> Void) -> Double {
        var costs: [Double] = []
        for _ in 0..<rounds {
            let start = nanoseconds()
            for iteration in 0..<iterations { call(iteration) }
            costs.append(Double(nanoseconds() - start) / Double(iterations))
        }
        return costs.sorted()[rounds / 2]
    }

    private static func nanoseconds() -> Int {
        var time = timespec()
        clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
        return time.tv_sec * 1_000_000_000 + time.tv_nsec
    }
}
