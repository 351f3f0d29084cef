// What the tests of the statement tables share: repeatable chance, bytes to pass, and the heap's own count of what is
// in use.

import Glibc
import Pooling

/// SplitMix64: the same numbers for the same seed, everywhere.
struct StatementChance: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) { state = seed }

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }

    mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

    mutating func bytes(_ count: Int) -> [UInt8] { (0..<count).map { _ in UInt8(truncatingIfNeeded: next()) } }
}

/// The body of a Parse message: text, NUL, number of parameter types, types.
func statementBody(_ text: String, _ types: [UInt32] = []) -> [UInt8] {
    var body = Array(text.utf8) + [0, UInt8(types.count >> 8), UInt8(types.count & 0xFF)]
    for type in types { body += (0..<4).map { UInt8(truncatingIfNeeded: type >> (24 - 8 * UInt32($0))) } }
    return body
}

extension StatementTable {
    mutating func intern(_ body: [UInt8]) -> StatementID? { body.withUnsafeBytes { intern($0) } }

    func find(_ body: [UInt8]) -> StatementID? { body.withUnsafeBytes { find($0) } }

    func serverName(_ id: StatementID) -> String {
        let name = [UInt8](unsafeUninitializedCapacity: StatementTable.serverNameBytesMax) { buffer, count in
            count = serverName(id, into: UnsafeMutableRawBufferPointer(buffer))
        }
        return String(decoding: name, as: UTF8.self)
    }

    /// A table for tests that are not about its bound.
    static func unbounded() -> StatementTable { StatementTable(worker: 0, seed: 1, bytesMax: .max) }
}

extension ClientStatements {
    mutating func define(_ name: [UInt8], as id: StatementID, limit: Int = 1_000_000) -> StatementDefinition {
        name.withUnsafeBytes { define($0, as: id, limit: limit) }
    }

    func find(_ name: [UInt8]) -> StatementID? { name.withUnsafeBytes { find($0) } }

    mutating func remove(_ name: [UInt8]) -> StatementID? { name.withUnsafeBytes { remove($0) } }
}

/// So many different statements of a table, each with one reference.
func makeStatements(_ count: Int, in table: inout StatementTable) -> [StatementID] {
    (0..<count).compactMap { table.intern(statementBody("SELECT \($0)")) }
}

/// The bytes of the heap that are in use, as glibc's `mallinfo2` counts them; nil where it cannot be asked.
///
/// The structure of ten words is returned in memory, which on x86-64 is the same as passing its address; elsewhere
/// the convention differs.
func heapBytesInUse() -> UInt? {
    #if arch(x86_64)
        typealias Mallinfo2 = @convention(c) (UnsafeMutableRawPointer) -> UnsafeMutableRawPointer?
        guard let symbol = dlsym(nil, "mallinfo2") else { return nil }
        let mallinfo2 = unsafeBitCast(symbol, to: Mallinfo2.self)
        return withUnsafeTemporaryAllocation(of: UInt.self, capacity: 10) { words in
            words.initialize(repeating: 0)
            guard let base = words.baseAddress else { return nil }
            _ = mallinfo2(UnsafeMutableRawPointer(base))
            // uordblks and hblkhd: small pieces, and those that the system gave whole.
            let bytes = words[7] + words[4]
            // Under the address sanitizer another heap stands in, and glibc's is empty.
            return bytes > 0 ? bytes : nil
        }
    #else
        return nil
    #endif
}
