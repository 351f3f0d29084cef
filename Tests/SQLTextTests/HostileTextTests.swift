// Any bytes at all: nothing traps, nothing loops, every range lies inside of the text, the time stays linear.

import SQLText
import Testing

/// Scans a text with both settings and reads every name found: nothing may trap. Whether its tokens advance, do not
/// overlap and lie inside of it.
private func isReadable(_ bytes: [UInt8]) -> Bool {
    for setting in [true, false] {
        let isInOrder = bytes.withUnsafeBytes { sql in
            var lexer = Lexer(sql, standardConformingStrings: setting)
            var position = 0
            while true {
                let token = lexer.next()
                guard token.start >= position, token.end <= sql.count else { return false }
                guard token.kind != .end else { return token.start == sql.count }
                guard token.end > token.start else { return false }
                position = token.end
            }
        }
        guard isInOrder else { return false }
        _ = findings(bytes, standardConformingStrings: setting)
    }
    return true
}

@Suite struct HostileTextTests {
    @Test("a text cut at any byte is read", arguments: StatementTexts.all)
    func cutTexts(_ text: Case) {
        let bytes = Array(text.text.utf8)
        for count in 0...bytes.count { #expect(isReadable(Array(bytes[..<count])), "\(count)") }
        for start in 0...bytes.count { #expect(isReadable(Array(bytes[start...])), "\(start)") }
    }

    @Test("a text with random bytes changed is read")
    func changedTexts() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("HostileTextTests.changedTexts seed \(seed)")
        var random = SplitMix64(state: seed)
        let signs = Array("'\"$;\\()/*-.,Ee&Uu \n\u{0}".utf8)
        for text in StatementTexts.all where !text.text.isEmpty {
            for _ in 0..<20 {
                var bytes = Array(text.text.utf8)
                for _ in 0...random.next() % 3 {
                    let index = Int(random.next() % UInt64(bytes.count))
                    bytes[index] = signs[Int(random.next() % UInt64(signs.count))]
                }
                #expect(isReadable(bytes), "\(bytes)")
            }
        }
    }

    @Test("random bytes are read")
    func randomBytes() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("HostileTextTests.randomBytes seed \(seed)")
        var random = SplitMix64(state: seed)
        for length in 0..<600 {
            let bytes = (0..<length).map { _ in UInt8(truncatingIfNeeded: random.next() >> 32) }
            #expect(isReadable(bytes), "\(bytes)")
        }
    }

    @Test(
        "a text that repeats itself is read in linear time",
        arguments: [
            "'", "\"", "$", "$a", "$a$", "/*", "*/", "--", "(", ")", ";", "E'\\", "''\n", "'a'\n--\n", "U&\"a\" ",
            "U&'a' uescape ",
            "set_config(", "SELECT set_config('a','b',", "into temp ", "pg_temp ", "DO '/*'", "DO '\"'",
            "DO $$ $a$ $$ '$a$' ",
            "CREATE ", "SET a=1;", "BEGIN ATOMIC ", "EXPLAIN (", "SAVEPOINT savepoint ", "1.", "1e", "0x", "1_",
            "U&\"a\" UESCAPE '!' ",
            "SELECT set_config('a','b',true), /*", "PREPARE p(", "a.", "pg_advisory_lock(",
        ])
    func repeatedTexts(_ piece: String) {
        let bytes = Array(repeating: Array(piece.utf8), count: 120_000 / piece.utf8.count).flatMap { $0 }
        // Linear, this takes a fraction of a second in a debug build; quadratic, some 10^10 steps.
        let time = ContinuousClock().measure {
            #expect(isReadable(Array("SELECT ".utf8) + bytes))
            #expect(isReadable(Array("CREATE FUNCTION ".utf8) + bytes))
            #expect(isReadable(Array("DO $q$".utf8) + bytes + Array("$q$".utf8)))
            #expect(isReadable(bytes))
        }
        #expect(time < .seconds(20))
    }
}

/// A small generator whose whole state is its seed.
struct SplitMix64: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
        return mixed ^ mixed >> 31
    }
}
