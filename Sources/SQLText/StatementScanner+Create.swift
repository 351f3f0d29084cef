// CREATE, which may make something temporary or run a prepared statement, and EXPLAIN, which may do either.

extension StatementScanner {
    /// What follows CREATE. Reported at the statement's end, since ON COMMIT DROP comes late.
    mutating func scanCreate(_ report: Report) {
        let isTemporary = acceptTemporary(report)
        if isTemporary { found.createsTemporary = true }
        if isWord("function") || isWord("procedure") { atomicBody = .before }
        while !isAtEnd {
            if depth == 0, accept("on", report) {
                if accept("commit", report), accept("drop", report) { found.dropsAtCommit = true }
            } else if depth == 0, accept("as", report) {
                // CREATE TABLE … AS EXECUTE
                if accept("execute", report) { scanExecute(report) }
            } else if isTemporarySchema {
                // Also where it names something else: a view on a temporary table is temporary.
                found.createsTemporary = true
                advance(report)
            } else {
                advance(report)
            }
        }
    }

    /// Passes `[OR REPLACE] [GLOBAL | LOCAL] TEMP[ORARY]` as far as it is there; whether the last word was.
    mutating func acceptTemporary(_ report: Report) -> Bool {
        if accept("or", report) { _ = accept("replace", report) }
        _ = accept("global", report) || accept("local", report)
        return accept("temp", report) || accept("temporary", report)
    }

    private var isTemporarySchema: Bool {
        token.isName && token.range.count >= 7 && lexer.names(token, "pg_temp") && peek().kind == .dot
    }

    /// What follows EXPLAIN. Without ANALYZE nothing is run, but EXECUTE must find its statement all the same.
    mutating func scanExplain(_ report: Report) {
        if token.kind == .openParenthesis, !startsQuery(peek()) {
            _ = acceptParenthesized(report)
        } else {
            while accept("analyze", report) || accept("analyse", report) || accept("verbose", report) {}
        }
        if accept("execute", report) {
            scanExecute(report)
        } else if accept("create", report) {
            scanCreate(report)
        }
    }

    /// Whether a token after a parenthesis begins a query, so that it is no list of options.
    private func startsQuery(_ token: Token) -> Bool {
        token.kind == .openParenthesis
            || (token.kind == .word
                && (lexer.matches(token, "select") || lexer.matches(token, "with") || lexer.matches(token, "values")
                    || lexer.matches(token, "table")))
    }
}
