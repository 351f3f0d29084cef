// SET and RESET, whose grammar has grown over forty years: modifiers that may be names, five spellings of settings,
// and settings that are really roles or transaction modes. PostgreSQL manual, "SET", "SET ROLE", "SET TRANSACTION",
// "SET SESSION AUTHORIZATION", "RESET"; gram.y, `set_rest` and `var_name`.

extension StatementScanner {
    /// What follows SET.
    mutating func scanSet(_ report: Report) {
        let isLocal = acceptModifier(report)
        // Each of these words is a setting's name if what follows says so.
        if !nextEndsName {
            if isWord("transaction") { return emit(.setTransaction, report) }
            if isWord("session") { return scanSetSession(isLocal, report) }
            if accept("role", report) { return emit(.setRole(value: acceptRest(report), isLocal: isLocal), report) }
            if let spelling = acceptSpelling(report) {
                return emitSet(spelling, acceptRest(report), isLocal, report)
            }
        }
        guard let name = acceptSettingName(report) else { return }
        guard token.kind == .equals || isWord("to") else { return }
        advance(report)
        emitSet(SettingName(.written, name), acceptRest(report), isLocal, report)
    }

    /// Passes SESSION or LOCAL where it is a modifier; whether it was LOCAL.
    private mutating func acceptModifier(_ report: Report) -> Bool {
        guard !nextEndsName else { return false }
        if accept("local", report) { return true }
        if isWord("session"), !peekIsWord("authorization"), !peekIsWord("characteristics") { advance(report) }
        return false
    }

    /// Whether the token after the next one shows that the next one is a setting's name: `=`, TO, FROM or a dot.
    private var nextEndsName: Bool {
        let following = peek()
        return following.kind == .equals || following.kind == .dot
            || (following.kind == .word && (lexer.matches(following, "to") || lexer.matches(following, "from")))
    }

    /// SESSION AUTHORIZATION or SESSION CHARACTERISTICS AS TRANSACTION.
    private mutating func scanSetSession(_ isLocal: Bool, _ report: Report) {
        advance(report)
        if accept("authorization", report) {
            let value = acceptRest(report)
            let isReset = !isLocal && lexer.matches(value, "default")
            if isReset { return emit(.resetSessionAuthorization, report) }
            emit(.setSessionAuthorization(value: value, isLocal: isLocal), report)
        } else if accept("characteristics", report), accept("as", report), accept("transaction", report) {
            emit(.setSessionCharacteristics(modes: acceptRest(report)), report)
        }
    }

    /// The forms that have words of their own instead of a name.
    private mutating func acceptSpelling(_ report: Report) -> SettingName? {
        let start = token.start
        if isWord("time"), peekIsWord("zone") {
            advance(report)
            advance(report)
            return SettingName(.timeZone, start..<passed.0.end)
        }
        if isWord("xml"), peekIsWord("option") {
            advance(report)
            advance(report)
            return SettingName(.xmlOption, start..<passed.0.end)
        }
        if isWord("schema"), Self.isString(peek().kind) {
            advance(report)
            return SettingName(.schema, start..<passed.0.end)
        }
        if accept("names", report) { return SettingName(.names, start..<passed.0.end) }
        return nil
    }

    /// What follows SET within a program, which may be an UPDATE's. Only a name with dots is reported: the server
    /// does not list settings of such names, so that nothing else tells of them.
    mutating func scanSetInProgram(_ report: Report) {
        if !nextEndsName, isWord("session") || isWord("local") {
            if isWord("local") { return }
            advance(report)
        }
        guard token.isName, peek().kind == .dot, let name = acceptSettingName(report),
            token.kind == .equals || isWord("to")
        else { return }
        emit(.set(SettingName(.written, name), value: token.start..<token.start, isLocal: false), report)
    }

    /// A name with any number of dots.
    private mutating func acceptSettingName(_ report: Report) -> ByteRange? {
        let start = token.start
        guard acceptName(report) != nil else { return nil }
        while token.kind == .dot {
            advance(report)
            guard acceptName(report) != nil else { return nil }
        }
        return start..<passed.0.end
    }

    private mutating func emitSet(_ name: SettingName, _ value: ByteRange, _ isLocal: Bool, _ report: Report) {
        if name.spelling == .written {
            let isReset = !isLocal && isDefault(name, value)
            if isSetting(name, "role") {
                return emit(isReset ? .resetRole : .setRole(value: value, isLocal: isLocal), report)
            }
            if isSetting(name, "session_authorization") {
                if isReset { return emit(.resetSessionAuthorization, report) }
                return emit(.setSessionAuthorization(value: value, isLocal: isLocal), report)
            }
            if isSetting(name, "seed") { return emit(.setseed, report) }
            if isTransactionMode(name) { return emit(.setTransaction, report) }
        }
        if !isLocal, isDefault(name, value) { return emit(.reset(name), report) }
        // NAMES without a value and TIME ZONE LOCAL are the default; everything else needs a value.
        if !value.isEmpty || name.spelling == .names {
            emit(.set(name, value: value, isLocal: isLocal), report)
        }
    }

    private func isDefault(_ name: SettingName, _ value: ByteRange) -> Bool {
        switch name.spelling {
        case .names: value.isEmpty || lexer.matches(value, "default")
        case .timeZone: lexer.matches(value, "default") || lexer.matches(value, "local")
        case .written, .schema, .xmlOption: lexer.matches(value, "default")
        }
    }

    /// Whether a name without a dot is this one; names of settings have no case, even quoted.
    private func isSetting(_ name: SettingName, _ lower: StaticString) -> Bool {
        let range = name.range
        if lexer.matches(range, lower) { return true }
        guard range.count > 2, lexer.byte(at: range.lowerBound) == 0x22 else { return false }
        return lexer.matches(range.lowerBound + 1..<range.upperBound - 1, lower)
    }

    /// Settings that every transaction begins anew.
    private func isTransactionMode(_ name: SettingName) -> Bool {
        isSetting(name, "transaction_isolation") || isSetting(name, "transaction_read_only")
            || isSetting(name, "transaction_deferrable")
    }

    /// What follows RESET.
    mutating func scanReset(_ report: Report) {
        let start = token.start
        if isWord("all") { return emit(.resetAll, report) }
        if isWord("transaction"), peekIsWord("isolation") { return emit(.setTransaction, report) }
        if isWord("session"), peekIsWord("authorization") { return emit(.resetSessionAuthorization, report) }
        if isWord("time"), peekIsWord("zone") {
            advance(report)
            advance(report)
            return emit(.reset(SettingName(.timeZone, start..<passed.0.end)), report)
        }
        guard let range = acceptSettingName(report) else { return }
        let name = SettingName(.written, range)
        if isSetting(name, "role") { return emit(.resetRole, report) }
        if isSetting(name, "session_authorization") { return emit(.resetSessionAuthorization, report) }
        emit(isTransactionMode(name) ? .setTransaction : .reset(name), report)
    }
}
