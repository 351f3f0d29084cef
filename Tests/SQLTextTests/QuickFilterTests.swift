// What the quick filter lets pass must be what the scanner would have found nothing in.

import Testing

@testable import SQLText

private func isPlain(_ bytes: [UInt8]) -> Bool {
    bytes.withUnsafeBytes { isSurelyPlainStatement($0) }
}

/// The findings of the scanner alone.
private func scannedOnly(_ bytes: [UInt8]) -> [StatementKind] {
    bytes.withUnsafeBytes { sql in
        var kinds: [StatementKind] = []
        var lexer = Lexer(sql, standardConformingStrings: true)
        let first = lexer.next()
        var scanner = StatementScanner(lexer, first: first)
        scanner.scan { kind, _ in kinds.append(kind) }
        return kinds
    }
}

@Suite struct QuickFilterTests {
    @Test(
        "the common statements of applications pass",
        arguments: [
            "SELECT 1", "SELECT abalance FROM pgbench_accounts WHERE aid = 1;", " select * from t ; ",
            "SELECT id, name, created_at FROM customers WHERE tenant_id = $1 AND state = $2 ORDER BY id LIMIT 50",
            "INSERT INTO orders (id, set, total) VALUES ($1, $2, $3) RETURNING id",
            "UPDATE t SET updated_at = now() WHERE id = $1", "DELETE FROM t USING u WHERE t.id = u.id",
            "WITH a AS (SELECT 1) SELECT * FROM a", "/* app */ SELECT 1 OFFSET 5",
        ])
    func commonStatementsPass(_ text: String) {
        #expect(isPlain(Array(text.utf8)))
    }

    @Test("what passes has no effect, whatever stands around it", arguments: StatementTexts.all)
    func passingMeansNoEffect(_ text: Case) {
        let bytes = Array(text.text.utf8)
        let variants =
            [bytes]
            + (0..<24).map { count in
                Array("SELECT ".utf8) + Array(repeating: 0x20, count: count) + bytes
                    + Array(repeating: 0x31, count: count % 5)
            }
        for variant in variants where isPlain(variant) {
            #expect(scannedOnly(variant) == [.other], "\(String(decoding: variant, as: UTF8.self))")
        }
        if text.expected.contains(where: { !$0.hasSuffix("other") }) { #expect(!isPlain(bytes)) }
    }

    @Test(
        "a sequence is found wherever it stands",
        arguments: [";", "pg_advisory_lock(1)", "PG_", "Set_", "setSeed", "inTo", "&\""])
    func everyPosition(_ needle: String) {
        for before in 0..<40 {
            for after in 3..<40 {
                let bytes =
                    Array("SELECT ".utf8) + Array(repeating: 0x78, count: before) + Array(needle.utf8)
                    + Array(repeating: 0x78, count: after)
                #expect(!isPlain(bytes), "\(before) \(needle) \(after)")
            }
        }
        #expect(isPlain(Array("SELECT \(String(repeating: "x", count: 50))".utf8)))
    }

    @Test("a semicolon is found near the end as well", arguments: 0..<40)
    func semicolonsNearTheEnd(_ after: Int) {
        #expect(isPlain(Array("SELECT 1 FROM some_table;".utf8)))
        #expect(!isPlain(Array("SELECT 1 FROM some_table;".utf8) + Array(repeating: 0x78, count: after + 1)))
        #expect(!isPlain(Array("SELECT 1;;".utf8) + Array(repeating: 0x20, count: after)))
    }
}
