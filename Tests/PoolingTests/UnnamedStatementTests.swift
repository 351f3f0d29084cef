// The memory of an unnamed statement: used again, and given back.

import Pooling
import Testing

@Suite struct UnnamedStatementTests {
    private func body(_ count: Int, _ byte: UInt8 = 7) -> [UInt8] { Array(repeating: byte, count: count) }

    @Test("each statement takes the place of the one before it", arguments: [[0, 1, 500, 3], [70_000, 10, 40_000]])
    func replaces(sizes: [Int]) {
        var statement = UnnamedStatement()
        for (number, size) in sizes.enumerated() {
            let text = body(size, UInt8(number))
            text.withUnsafeBytes { statement.keep($0, isFresh: number == 0, bytesMax: 1 << 20) }
            let kept = statement.body.map(Array.init)
            let isFresh = statement.isFresh
            #expect(kept == text)
            #expect(isFresh == (number == 0))
        }
    }

    @Test("a client without one takes no memory, and one that had one little")
    func idle() {
        var statement = UnnamedStatement()
        let (none, before) = (statement.body == nil, statement.bytes)
        #expect(none && before == 0)
        statement.forget()
        for size in [100, 1_000_000] {
            body(size).withUnsafeBytes { statement.keep($0, isFresh: false, bytesMax: 1 << 30) }
            let held = statement.bytes
            #expect(held >= size && held < size + 256)
            statement.effect = .some
            statement.forget()
            let (isGone, effect, left) = (statement.body == nil, statement.effect, statement.bytes)
            #expect(isGone && effect == .none && left <= 4_200)
        }
    }

    @Test("memory is used again, but not much for little")
    func reuse() {
        var statement = UnnamedStatement()
        func bytes(afterKeeping size: Int) -> Int {
            body(size).withUnsafeBytes { statement.keep($0, isFresh: false, bytesMax: 1 << 30) }
            return statement.bytes
        }
        let most = bytes(afterKeeping: 10_000)
        #expect(bytes(afterKeeping: 10) == most)
        #expect(bytes(afterKeeping: 900_000) > 900_000)
        #expect(bytes(afterKeeping: 10) < 256)
    }

    @Test("one that is too large is not kept, nor the one before it")
    func bound() {
        var statement = UnnamedStatement()
        body(10).withUnsafeBytes { statement.keep($0, isFresh: false, bytesMax: 1_000) }
        body(2_000).withUnsafeBytes { statement.keep($0, isFresh: false, bytesMax: 1_000) }
        let (isGone, bytes) = (statement.body == nil, statement.bytes)
        #expect(isGone && bytes == 0)
    }
}
