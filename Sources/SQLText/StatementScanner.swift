// Reads a text statement by statement and token by token.
//
//     statement:   head handler (+Heads, +Set, +Create)  →  rest, token by token  →  end: `;` outside parentheses
//                  └──────────── every token goes through `advance` ───────────┘
//
// Head handlers know the statements that begin with a certain keyword. `advance` is the one way past a token; it
// keeps the depth of parentheses and notices what can stand anywhere: calls of certain functions and SELECT INTO.
// A semicolon ends a statement only outside of parentheses (CREATE RULE has them inside) and outside of the
// BEGIN ATOMIC body of a function. Each token is lexed once, or a bounded number of times where a handler looks
// ahead, so the whole is linear.

/// The state of one scan. Not copyable, because the compiler would copy it for each question asked of it.
struct StatementScanner: ~Copyable {
    typealias Report = (StatementKind, Int) -> Void

    private(set) var lexer: Lexer
    /// The token that comes next; not passed yet.
    private(set) var token: Token
    /// The tokens of this statement passed last, the last one first.
    private(set) var passed: (Token, Token, Token)
    /// How many parentheses are open.
    private(set) var depth = 0
    /// The statement's number.
    private(set) var statement: Int

    /// What was found in this statement so far.
    var found = Found()
    /// The call of set_config that is being read.
    var pendingCall: PendingSetConfigCall?
    var into = IntoClause.none
    var atomicBody = AtomicBody.notPossible

    /// What one statement's findings are, apart from those reported at once.
    struct Found {
        var any = false
        /// The statement does not run the calls that it holds.
        var runsNothing = false
        var plainSetConfig = false
        var advisoryLock = false
        var advisoryUnlock = false
        var createsTemporary = false
        var dropsAtCommit = false
    }

    /// How much of `INTO [LOCAL | GLOBAL] TEMP[ORARY] [TABLE] name` or `INTO pg_temp.name` was passed.
    enum IntoClause { case none, into, temporary, temporarySchema }

    /// How deep in the BEGIN ATOMIC … END body of a function or procedure the scan is.
    enum AtomicBody: Equatable { case notPossible, before, inside(depth: Int) }

    init(_ lexer: Lexer, first: Token, statement: Int = 0) {
        self.lexer = lexer
        self.statement = statement
        token = first
        passed = Self.nothingPassed
    }

    private static var nothingPassed: (Token, Token, Token) {
        (Token(.end, 0, 0), Token(.end, 0, 0), Token(.end, 0, 0))
    }

    /// Reports on every statement of the text.
    mutating func scan(_ report: Report) {
        while true {
            while token.kind == .semicolon { token = lexer.next() }
            guard token.kind != .end else { return }
            passed = Self.nothingPassed
            depth = 0
            found = Found()
            pendingCall = nil
            into = .none
            atomicBody = .notPossible
            scanHead(report)
            advanceToEnd(report)
            finishStatement(report)
            statement += 1
        }
    }

    private mutating func finishStatement(_ report: Report) {
        if let call = pendingCall { emitCall(call, report) }
        if found.createsTemporary { emit(.createTemporary(dropsAtCommit: found.dropsAtCommit), report) }
        if !found.any { emit(.other, report) }
    }

    mutating func emit(_ kind: StatementKind, _ report: Report) {
        found.any = true
        report(kind, statement)
    }

    // MARK: - Moving

    /// Whether the statement has no further token.
    var isAtEnd: Bool {
        switch token.kind {
        case .end: true
        case .semicolon: depth == 0 && !isInAtomicBody
        default: false
        }
    }

    private var isInAtomicBody: Bool {
        if case .inside = atomicBody { true } else { false }
    }

    /// Passes one token.
    mutating func advance(_ report: Report) {
        guard token.kind != .end else { return }
        notice(token, report)
        switch token.kind {
        case .openParenthesis: depth += 1
        case .closeParenthesis: depth = max(0, depth - 1)
        default: break
        }
        passed = (token, passed.0, passed.1)
        token = lexer.next()
    }

    mutating func advanceToEnd(_ report: Report) {
        while !isAtEnd { advance(report) }
    }

    /// Passes the next token if it is this word.
    @inline(__always)
    mutating func accept(_ word: StaticString, _ report: Report) -> Bool {
        guard isWord(word) else { return false }
        advance(report)
        return true
    }

    /// Passes the next token if it can be a name, and returns its range.
    mutating func acceptName(_ report: Report) -> ByteRange? {
        guard token.isName else { return nil }
        let range = token.range
        advance(report)
        return range
    }

    /// Passes the rest of the statement and returns its range, which may be empty.
    mutating func acceptRest(_ report: Report) -> ByteRange {
        guard !isAtEnd else { return token.start..<token.start }
        let start = token.start
        advanceToEnd(report)
        return start..<passed.0.end
    }

    /// Passes what stands in parentheses and returns its range without them; an empty one if there are none.
    mutating func acceptParenthesized(_ report: Report) -> ByteRange {
        guard token.kind == .openParenthesis else { return token.start..<token.start }
        let outside = depth
        advance(report)
        let start = token.start
        var end = start
        while !isAtEnd, !(token.kind == .closeParenthesis && depth == outside + 1) {
            advance(report)
            end = passed.0.end
        }
        advance(report)
        return start..<end
    }

    /// Whether the next token is this word; `lower` in lower case.
    @inline(__always)
    func isWord(_ lower: StaticString) -> Bool {
        token.kind == .word && lexer.matches(token, lower)
    }

    /// The token after the next one.
    func peek() -> Token {
        var ahead = lexer
        return ahead.next()
    }

    /// Whether the token after the next one is this word.
    func peekIsWord(_ lower: StaticString) -> Bool {
        let following = peek()
        return following.kind == .word && lexer.matches(following, lower)
    }
}
