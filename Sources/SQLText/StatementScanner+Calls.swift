// What can stand anywhere in a statement: calls of the functions that touch session state, and SELECT INTO.

/// The arguments of a set_config call as far as they are read.
struct PendingSetConfigCall {
    /// The depth of parentheses inside of the call.
    var depth: Int
    var isPlain: Bool
    var name = SetConfigCall.Argument.expression
    var value = SetConfigCall.Argument.expression
    var locality = SetConfigCall.Locality.unknown
    /// The number of the argument that is being read.
    var argument = 0
    /// How many tokens of the argument were read, and the first of them.
    var tokens = 0
    var first = Token(.end, 0, 0)
    /// Whether these tokens are a lone token or one with a cast.
    var isSimple = true

    mutating func take(_ token: Token) {
        switch tokens {
        case 0: first = token
        case 1: isSimple = token.kind == .typeCast
        case 2: isSimple = isSimple && token.kind == .word
        default: isSimple = false
        }
        tokens = min(tokens + 1, 3 + 1)
    }

    /// An argument is complete.
    mutating func finishArgument(_ lexer: Lexer) {
        if isSimple, tokens == 1 || tokens == 3 {
            switch argument {
            case 0: name = plainArgument
            case 1: value = plainArgument
            case 2 where first.kind == .word && lexer.matches(first, "true"): locality = .transaction
            case 2 where first.kind == .word && lexer.matches(first, "false"): locality = .session
            default: break
            }
        }
        argument += 1
        tokens = 0
        isSimple = true
    }

    private var plainArgument: SetConfigCall.Argument {
        switch first.kind {
        case .string, .escapeString, .unicodeString, .dollarString: .constant(first.range)
        case .parameter: .parameter(first.range)
        default: .expression
        }
    }
}

extension StatementScanner {
    /// Looks at a token that is about to be passed.
    mutating func notice(_ token: Token, _ report: Report) {
        if pendingCall != nil { noticeArgument(token, report) }
        switch token.kind {
        case .openParenthesis: noticeCall(report)
        case .word:
            noticeInto(token)
            if atomicBody != .notPossible { noticeAtomicBody(token) }
        case .quotedIdentifier, .unicodeIdentifier, .dot: noticeInto(token)
        default: into = .none
        }
    }

    // MARK: - Calls

    /// An opening parenthesis: is it the call of a function that matters? The schema may be named.
    private mutating func noticeCall(_ report: Report) {
        into = .none
        let name = passed.0
        guard name.isName, name.range.count >= 7, !found.runsNothing else { return }
        if passed.1.kind == .dot, !lexer.names(passed.2, "pg_catalog") { return }
        // EXECUTE runs a prepared statement of that name; FUNCTION stands before one that is defined or set up.
        if passed.1.kind == .word, lexer.matches(passed.1, "execute") || lexer.matches(passed.1, "function") { return }
        if lexer.names(name, "set_config") {
            if let outer = pendingCall { emitCall(outer, report) }
            pendingCall = PendingSetConfigCall(depth: depth + 1, isPlain: found.plainSetConfig)
        } else if lexer.names(name, "setseed") {
            emit(.setseed, report)
        } else if isAnyOf(name, Self.locking) {
            if !found.advisoryLock { emit(.advisoryLock, report) }
            found.advisoryLock = true
        } else if isAnyOf(name, Self.unlocking) {
            if !found.advisoryUnlock { emit(.advisoryUnlock, report) }
            found.advisoryUnlock = true
        }
    }

    private typealias FourNames = (StaticString, StaticString, StaticString, StaticString)

    private static var locking: FourNames {
        ("pg_advisory_lock", "pg_advisory_lock_shared", "pg_try_advisory_lock", "pg_try_advisory_lock_shared")
    }

    private static var unlocking: FourNames {
        ("pg_advisory_unlock", "pg_advisory_unlock_shared", "pg_advisory_unlock_all", "pg_advisory_unlock_all")
    }

    private func isAnyOf(_ name: Token, _ names: FourNames) -> Bool {
        lexer.names(name, names.0) || lexer.names(name, names.1) || lexer.names(name, names.2)
            || lexer.names(name, names.3)
    }

    /// A token while a set_config call is open.
    private mutating func noticeArgument(_ token: Token, _ report: Report) {
        guard var call = pendingCall else { return }
        if depth == call.depth, token.kind == .comma {
            call.finishArgument(lexer)
        } else if depth == call.depth, token.kind == .closeParenthesis {
            call.finishArgument(lexer)
            pendingCall = nil
            return emitCall(call, report)
        } else {
            call.take(token)
        }
        pendingCall = call
    }

    /// Reports a call that is complete, or one that another call inside of it (or the text's end) cut short.
    mutating func emitCall(_ call: PendingSetConfigCall, _ report: Report) {
        emit(
            .setConfigCall(
                SetConfigCall(name: call.name, value: call.value, locality: call.locality, isPlain: call.isPlain)),
            report)
    }

    /// Whether a statement whose SELECT was just passed is only a list of set_config calls with constants and
    /// parameters. Looks ahead up to the first token that does not fit, once for a statement.
    func isPlainSetConfigList() -> Bool {
        var ahead = lexer
        var token = self.token
        while true {
            if lexer.names(token, "pg_catalog") {
                guard ahead.next().kind == .dot else { return false }
                token = ahead.next()
            }
            guard lexer.names(token, "set_config"), ahead.next().kind == .openParenthesis else { return false }
            for argument in 0..<3 {
                let closing: TokenKind = argument < 2 ? .comma : .closeParenthesis
                guard Self.skipPlainArgument(&ahead, until: closing) else { return false }
            }
            token = ahead.next()
            if token.kind == .word, lexer.matches(token, "as") { token = ahead.next() }
            if token.isName { token = ahead.next() }
            switch token.kind {
            case .comma: token = ahead.next()
            case .semicolon, .end: return true
            default: return false
            }
        }
    }

    private static func skipPlainArgument(_ lexer: inout Lexer, until closing: TokenKind) -> Bool {
        let argument = lexer.next()
        switch argument.kind {
        case .string, .escapeString, .unicodeString, .dollarString, .parameter: break
        case .word where lexer.matches(argument, "true") || lexer.matches(argument, "false"): break
        default: return false
        }
        var token = lexer.next()
        if token.kind == .typeCast {
            guard lexer.next().kind == .word else { return false }
            token = lexer.next()
        }
        return token.kind == closing
    }

    // MARK: - SELECT INTO

    /// `INTO` after anything but INSERT and MERGE belongs to a SELECT; is what it makes temporary?
    private mutating func noticeInto(_ token: Token) {
        switch into {
        case .none:
            if token.kind == .word, lexer.matches(token, "into"), startsSelectInto { into = .into }
        case .into:
            if lexer.names(token, "pg_temp") {
                into = .temporarySchema
            } else if token.kind == .word, lexer.matches(token, "temp") || lexer.matches(token, "temporary") {
                into = .temporary
            } else if token.kind == .word,
                lexer.matches(token, "local") || lexer.matches(token, "global")
                    || lexer.matches(token, "table")
            {
                break
            } else {
                into = .none
            }
        case .temporary:
            // TEMP and TEMPORARY are no reserved words: `INTO temp FROM …` makes a lasting table of that name.
            if token.isName, !endsIntoClause(token) { found.createsTemporary = true }
            into = .none
        case .temporarySchema:
            if token.kind == .dot { found.createsTemporary = true }
            into = .none
        }
    }

    /// Whether an `INTO` that comes now is that of a SELECT.
    private var startsSelectInto: Bool {
        guard !found.runsNothing else { return false }
        return !wasWord("insert") && !wasWord("merge")
    }

    /// Whether a word after `INTO temp` is a keyword that goes on with the SELECT.
    private func endsIntoClause(_ token: Token) -> Bool {
        guard token.kind == .word else { return false }
        return lexer.matches(token, "from") || lexer.matches(token, "where") || lexer.matches(token, "group")
            || lexer.matches(token, "having") || lexer.matches(token, "window") || lexer.matches(token, "union")
            || lexer.matches(token, "intersect") || lexer.matches(token, "except") || lexer.matches(token, "order")
            || lexer.matches(token, "limit") || lexer.matches(token, "offset") || lexer.matches(token, "fetch")
            || lexer.matches(token, "for")
    }

    // MARK: - BEGIN ATOMIC

    /// A word of a CREATE FUNCTION or PROCEDURE: the body's semicolons end no statement. The END that closes a body
    /// can stand only behind a semicolon or ATOMIC, which tells it from that of a CASE and from a label.
    private mutating func noticeAtomicBody(_ token: Token) {
        let begins = wasWord("begin") && lexer.matches(token, "atomic")
        switch atomicBody {
        case .notPossible: break
        case .before:
            if begins { atomicBody = .inside(depth: 1) }
        case .inside(let depth):
            if begins {
                atomicBody = .inside(depth: depth + 1)
            } else if passed.0.kind == .semicolon || wasWord("atomic"), lexer.matches(token, "end") {
                atomicBody = depth > 1 ? .inside(depth: depth - 1) : .before
            }
        }
    }

    /// Whether the token passed last is this word.
    private func wasWord(_ lower: StaticString) -> Bool {
        passed.0.kind == .word && lexer.matches(passed.0, lower)
    }
}
