// Which statements end a transaction, however they are written.

import Testing

@testable import Wire

@Suite struct StatementKeywordTests {
    private func leading(_ sql: String) -> StatementKeyword { withExactBytes(ascii(sql)) { leadingKeyword($0) } }
    private func lone(_ sql: String) -> StatementKeyword { withExactBytes(ascii(sql)) { loneKeyword($0) } }

    private static let statements: [(sql: String, leading: StatementKeyword, lone: StatementKeyword)] = [
        ("COMMIT", .commit, .commit),
        ("commit;", .commit, .commit),
        ("End Work", .commit, .commit),
        ("END TRANSACTION ; ;", .commit, .commit),
        ("COMMIT AND NO CHAIN", .commit, .commit),
        ("COMMIT WORK AND CHAIN", .commitAndChain, .commitAndChain),
        ("ROLLBACK", .rollback, .rollback),
        ("abort transaction;", .rollback, .rollback),
        ("rollback work and chain;", .rollbackAndChain, .rollbackAndChain),
        ("ROLLBACK TO s", .rollbackToSavepoint, .rollbackToSavepoint),
        ("ROLLBACK WORK TO SAVEPOINT s;", .rollbackToSavepoint, .rollbackToSavepoint),
        ("rollback transaction to \"s;1\"", .rollbackToSavepoint, .other),
        ("COMMIT PREPARED 'x'", .commitPrepared, .other),
        ("ROLLBACK PREPARED 'x;'", .rollbackPrepared, .other),
        ("BEGIN", .begin, .begin),
        ("begin isolation level serializable, read only;", .begin, .begin),
        ("START TRANSACTION", .begin, .begin),
        ("START x", .other, .other),
        ("COMMIT; SELECT 1", .commit, .other),
        ("COMMIT;,", .commit, .other),
        ("ROLLBACK;BEGIN", .rollback, .other),
        ("; ;ROLLBACK", .rollback, .rollback),
        (" \t\r\n\u{b}\u{c}rollback -- done", .rollback, .rollback),
        ("-- a\ncommit", .commit, .commit),
        ("-- a\rcommit", .commit, .commit),
        ("-- commit", .empty, .empty),
        ("/* a /* b */ c */ commit /**/ work", .commit, .commit),
        ("/* a /* b */ commit", .empty, .empty),
        ("commit/**/;--", .commit, .commit),
        ("/*/ */commit", .commit, .commit),
        ("", .empty, .empty),
        (" ; /* x */ ;", .empty, .empty),
        ("COMMITTED", .other, .other),
        ("commit_", .other, .other),
        ("committé", .other, .other),
        ("commit1", .other, .other),
        ("end$", .other, .other),
        ("COMMIT x", .other, .other),
        ("COMMIT AND", .other, .other),
        ("COMMIT AND NO", .other, .other),
        ("END PREPARED 'x'", .other, .other),
        ("END TO s", .other, .other),
        ("COMMIT WORK TRANSACTION", .other, .other),
        ("ROLLBACK AND CHAIN x", .other, .other),
        ("SELECT 'commit'", .other, .other),
        ("'commit'", .other, .other),
        ("-commit", .other, .other),
        ("/commit", .other, .other),
        ("SAVEPOINT commit", .other, .other),
    ]

    @Test("the first statement is told by its words, and whether it is alone", arguments: statements)
    func statement(sql: String, leading expected: StatementKeyword, lone expectedLone: StatementKeyword) {
        #expect(leading(sql) == expected)
        #expect(lone(sql) == expectedLone)
    }

    @Test("a text ends at its first NUL")
    func nul() {
        #expect(lone("COMMIT\0") == .commit)
        #expect(lone("COMMIT\0; SELECT 1") == .commit)
        #expect(lone("\0COMMIT") == .empty)
    }

    @Test("nothing is told of a text whose words lie too deep")
    func limit() {
        let blank = String(repeating: " ", count: leadingKeywordBytesMax - 6)
        #expect(leading(blank + "commit") == .commit)
        #expect(leading(" " + blank + "commit") == .other)
        #expect(leading(blank + "commit ") == .other)
        #expect(leading("commit;" + blank + "x") == .commit)
        #expect(lone("commit;" + blank + blank + "x") == .other)
        #expect(leading(blank + blank) == .other)
        #expect(leading("/*" + String(repeating: "/*", count: 40_000)) == .other)
        #expect(leading("begin " + blank + "x") == .begin)
    }
}
