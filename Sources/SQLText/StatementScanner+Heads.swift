// The statements that are known by their first keyword, but SET, RESET, CREATE and EXPLAIN.
// PostgreSQL manual, part VI "SQL Commands".

extension StatementScanner {
    /// Recognises the statement that starts at the next token and passes as much of it as that needs.
    mutating func scanHead(_ report: Report) {
        guard token.kind == .word else { return }
        if accept("select", report) {
            found.plainSetConfig = isPlainSetConfigList()
        } else if accept("set", report) {
            scanSet(report)
        } else if accept("reset", report) {
            scanReset(report)
        } else if accept("create", report) {
            scanCreate(report)
        } else if accept("explain", report) {
            scanExplain(report)
        } else if !scanTransactionHead(report) {
            scanSessionHead(report)
        }
    }

    // MARK: - Transactions

    /// Whether the statement begins, ends or divides a transaction; if so it is reported.
    private mutating func scanTransactionHead(_ report: Report) -> Bool {
        if accept("begin", report) {
            emit(.begin, report)
        } else if isWord("start"), peekIsWord("transaction") {
            emit(.begin, report)
        } else if accept("commit", report) || accept("end", report) {
            if isWord("prepared") { return true }
            skipTransactionWord(report)
            emit(.commit(andChain: acceptAndChain(report)), report)
        } else if accept("rollback", report) || accept("abort", report) {
            if isWord("prepared") { return true }
            skipTransactionWord(report)
            if accept("to", report) {
                if let name = acceptSavepointName(report) { emit(.rollbackToSavepoint(name: name), report) }
            } else {
                emit(.rollback(andChain: acceptAndChain(report)), report)
            }
        } else if accept("savepoint", report) {
            if let name = acceptName(report) { emit(.savepoint(name: name), report) }
        } else if accept("release", report) {
            if let name = acceptSavepointName(report) { emit(.releaseSavepoint(name: name), report) }
        } else {
            return false
        }
        return true
    }

    private mutating func skipTransactionWord(_ report: Report) {
        _ = accept("work", report) || accept("transaction", report)
    }

    /// `AND CHAIN`, or `AND NO CHAIN` which is the same as nothing.
    private mutating func acceptAndChain(_ report: Report) -> Bool {
        accept("and", report) && accept("chain", report)
    }

    /// A savepoint's name with or without the word SAVEPOINT, which may also be the name.
    private mutating func acceptSavepointName(_ report: Report) -> ByteRange? {
        if isWord("savepoint"), peek().isName { advance(report) }
        return acceptName(report)
    }

    // MARK: - Prepared statements, notifications, cursors and what is left

    private mutating func scanSessionHead(_ report: Report) {
        if accept("prepare", report) {
            scanPrepare(report)
        } else if accept("execute", report) {
            scanExecute(report)
        } else if accept("deallocate", report) {
            scanDeallocate(report)
        } else if accept("discard", report) {
            scanDiscard(report)
        } else if accept("listen", report) {
            if let channel = acceptName(report) { emit(.listen(channel: channel), report) }
        } else if accept("unlisten", report) {
            scanUnlisten(report)
        } else if accept("notify", report) {
            if let channel = acceptName(report) { emit(.notify(channel: channel), report) }
        } else if accept("declare", report) {
            scanDeclare(report)
        } else if accept("close", report) {
            scanClose(report)
        } else if accept("drop", report) {
            scanDrop(report)
        } else if isWord("grant") || isWord("revoke") || isWord("comment") {
            found.runsNothing = true
        } else if isWord("copy") {
            emit(.copy, report)
        } else if isWord("load") {
            emit(.load, report)
        } else if accept("do", report) {
            scanDo(report)
        }
    }

    private mutating func scanPrepare(_ report: Report) {
        if isWord("transaction"), Self.isString(peek().kind) {
            return emit(.prepareTransaction, report)
        }
        found.runsNothing = true
        guard let name = acceptName(report) else { return }
        let types = acceptParenthesized(report)
        guard accept("as", report) else { return }
        let body = acceptRest(report)
        if !body.isEmpty { emit(.prepare(name: name, types: types, body: body), report) }
    }

    /// What follows EXECUTE.
    mutating func scanExecute(_ report: Report) {
        guard let name = acceptName(report) else { return }
        let arguments = acceptParenthesized(report)
        emit(.execute(name: name, arguments: arguments), report)
    }

    private mutating func scanDeallocate(_ report: Report) {
        if isWord("prepare"), peek().isName { advance(report) }
        if isWord("all") {
            emit(.deallocateAll, report)
        } else if let name = acceptName(report) {
            emit(.deallocate(name: name), report)
        }
    }

    private mutating func scanDiscard(_ report: Report) {
        if isWord("all") {
            emit(.discardAll, report)
        } else if isWord("plans") {
            emit(.discardPlans, report)
        } else if isWord("temp") || isWord("temporary") {
            emit(.discardTemp, report)
        } else if isWord("sequences") {
            emit(.discardSequences, report)
        }
    }

    private mutating func scanUnlisten(_ report: Report) {
        // An operator is one token, and this one consists of the asterisk alone.
        if token.kind == .operator, token.range.count == 1, lexer.byte(at: token.start) == 0x2A {
            emit(.unlistenAll, report)
        } else if let channel = acceptName(report) {
            emit(.unlisten(channel: channel), report)
        }
    }

    /// `DECLARE name [BINARY] [ASENSITIVE | INSENSITIVE] [[NO] SCROLL] CURSOR [WITH | WITHOUT HOLD] FOR query`.
    private mutating func scanDeclare(_ report: Report) {
        guard let name = acceptName(report) else { return }
        while token.kind == .word, !isWord("cursor") { advance(report) }
        guard accept("cursor", report), accept("with", report), isWord("hold") else { return }
        emit(.declareCursorWithHold(name: name), report)
    }

    private mutating func scanClose(_ report: Report) {
        if isWord("all") {
            emit(.closeAll, report)
        } else if let name = acceptName(report) {
            emit(.close(name: name), report)
        }
    }

    private mutating func scanDrop(_ report: Report) {
        found.runsNothing = true
        if isWord("table") || isWord("view") || isWord("sequence") || isWord("function") || isWord("procedure")
            || isWord("routine") || isWord("aggregate") || isWord("type") || isWord("domain") || isWord("schema")
        {
            emit(.dropMaybeTemporary, report)
        }
    }

    /// A program in one or more strings (one may be the language's name); what its body shows is reported as well.
    private mutating func scanDo(_ report: Report) {
        emit(.doBlock, report)
        while !isAtEnd {
            let contents = Self.isString(token.kind) ? token.range : nil
            advance(report)
            if let contents { scanProgram(contents, report) }
        }
    }

    /// Reads the text of a program for calls, for the making of temporary objects, and for SET of a custom setting.
    private mutating func scanProgram(_ literal: ByteRange, _ report: Report) {
        var contents = lexer.inside(literal)
        let first = contents.next()
        var program = StatementScanner(contents, first: first, statement: statement)
        program.found = found
        while program.token.kind != .end {
            if program.accept("create", report) {
                if program.acceptTemporary(report) { program.found.createsTemporary = true }
            } else if program.accept("set", report) {
                program.scanSetInProgram(report)
            } else {
                program.advance(report)
            }
        }
        if let call = program.pendingCall { program.emitCall(call, report) }
        found = program.found
    }

    static func isString(_ kind: TokenKind) -> Bool {
        switch kind {
        case .string, .escapeString, .unicodeString, .dollarString: true
        case .end, .word, .quotedIdentifier, .unicodeIdentifier, .bitString, .number, .parameter, .semicolon,
            .openParenthesis, .closeParenthesis, .comma, .dot, .equals, .typeCast, .operator, .other, .unterminated:
            false
        }
    }
}
