// The way in: what each statement of a text does to its session.
//
//     text → first word → QuickFilter ─ nothing in sight → `other`, done
//                              └─────── else ───────────→ StatementScanner, token by token

/// Reports what each statement of a text does to its session: at least one finding for each statement that is not
/// empty, in the order of the text; `other` only when there is nothing else to say. A statement may have several
/// findings: `SELECT set_config(…), pg_advisory_lock(1)`.
///
/// A finding says what the statement does if it succeeds: a text that PostgreSQL refuses may report anything. It errs
/// towards reporting, but cannot see into functions, views or dynamic SQL.
///
/// - Parameters:
///   - sql: the text of a Query or Parse message, without the NUL that ends it.
///   - standardConformingStrings: the server's setting of that name.
///   - body: called with a finding and its statement's number among the text's statements, from 0, without the empty
///     ones: the number of CommandCompletes that come before its own.
public func scanStatements(
    _ sql: UnsafeRawBufferPointer, standardConformingStrings: Bool, body: (StatementKind, Int) -> Void
) {
    var lexer = Lexer(sql, standardConformingStrings: standardConformingStrings)
    let first = lexer.next()
    guard !isSurelyPlain(lexer, first) else { return body(.other, 0) }
    var scanner = StatementScanner(lexer, first: first)
    scanner.scan(body)
}

/// Whether a text is one statement of a common kind without any effect on its session; false says nothing.
///
/// - Parameter sql: as for `scanStatements`, which then would report `other` once.
public func isSurelyPlainStatement(_ sql: UnsafeRawBufferPointer) -> Bool {
    // No string comes before the first word of a statement, so the setting has no influence.
    var lexer = Lexer(sql, standardConformingStrings: true)
    let first = lexer.next()
    return isSurelyPlain(lexer, first)
}

private func isSurelyPlain(_ lexer: Lexer, _ first: Token) -> Bool {
    let countsInto: Bool
    switch first.kind {
    case .openParenthesis: countsInto = true
    case .word:
        if lexer.matches(first, "insert") || lexer.matches(first, "merge") {
            countsInto = false
        } else if lexer.matches(first, "select") || lexer.matches(first, "update") || lexer.matches(first, "delete")
            || lexer.matches(first, "with") || lexer.matches(first, "values") || lexer.matches(first, "table")
            || lexer.matches(first, "fetch") || lexer.matches(first, "show")
        {
            countsInto = true
        } else {
            return false
        }
    default: return false
    }
    let range = first.end..<endWithoutSemicolon(lexer.sql, from: first.end)
    return !QuickFilter.mayHaveEffect(lexer.sql, in: range, countsInto: countsInto)
}

/// The end of a text without white space and one semicolon at its end.
private func endWithoutSemicolon(_ sql: UnsafeRawBufferPointer, from start: Int) -> Int {
    // SAFETY: every index lies between `start`, at least 0, and the text's end.
    var end = sql.count
    while end > start, ByteClass.isSpace(sql[end - 1]) { end -= 1 }
    guard end > start, sql[end - 1] == 0x3B else { return end }
    return end - 1
}
