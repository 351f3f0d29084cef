// The extended protocol of the console: Parse, Bind, Describe, Execute, Close, Sync (the manual, "Extended Query").
//
// Statements have no parameters. A portal remembers the formats that Bind asked for; when Execute limits the rows, it
// also keeps the rest of them. Portals that are not half-way through their rows end at Sync, as they do in a server
// outside a transaction; half-way ones stay, because drivers that believe to be in a transaction (BEGIN is answered
// and means nothing) fetch the rest after a Sync.

import Wire

/// A bound statement.
struct Portal: Sendable {
    /// How far it has been executed.
    enum State: Sendable {
        case ready
        case suspended(ConsoleTable, nextRow: Int)
        case done
    }

    var command: ConsoleCommand
    var formats: [ValueFormat]
    var state = State.ready
}

extension ConsoleSession {
    mutating func receivedParse(_ payload: [UInt8]) {
        // SAFETY: parseParse reads inside the buffer and keeps nothing of it.
        guard let message = payload.withUnsafeBytes({ parseParse($0) }) else { return failBadPacket() }
        let name = message.statement
        guard name.utf8.count <= ConsoleLimits.nameBytesMax else { return refuse(nameTooLong) }
        if !name.isEmpty, statements[name] != nil {
            return refuse(
                consoleError(
                    SQLState.duplicatePreparedStatement, "prepared statement \"\(name)\" already exists"))
        }
        guard statements[name] != nil || statements.count < ConsoleLimits.statementsMax else {
            return refuse(
                consoleError(
                    SQLState.configurationLimitExceeded,
                    "more than \(ConsoleLimits.statementsMax) prepared statements"))
        }
        switch parseConsoleCommand(message.query) {
        case .failure(let error): refuse(error)
        case .success(let command):
            statements[name] = command
            writer.parseComplete()
        }
    }

    mutating func receivedBind(_ payload: [UInt8]) {
        guard let message = BindMessage(payload) else { return failBadPacket() }
        guard let command = statements[message.statement] else {
            return refuse(noSuchStatement(message.statement))
        }
        guard message.portal.utf8.count <= ConsoleLimits.nameBytesMax else { return refuse(nameTooLong) }
        guard message.parameterCount == 0 else {
            return refuse(
                consoleError(
                    SQLState.protocolViolation,
                    "bind message supplies \(message.parameterCount) parameters, "
                        + "but prepared statement \"\(message.statement)\" requires 0"))
        }
        var formats: [ValueFormat] = []
        for code in message.resultFormatCodes {
            guard let format = ValueFormat(rawValue: Int16(truncatingIfNeeded: code)) else {
                return refuse(consoleError(SQLState.invalidParameterValue, "unsupported format code: \(code)"))
            }
            formats.append(format)
        }
        if let columns = command.columns, formats.count > 1, formats.count != columns.count {
            return refuse(
                consoleError(
                    SQLState.protocolViolation,
                    "bind message has \(formats.count) result formats but query has \(columns.count) columns"))
        }
        guard message.portal.isEmpty || portals.count < ConsoleLimits.portalsMax else {
            return refuse(
                consoleError(
                    SQLState.configurationLimitExceeded, "more than \(ConsoleLimits.portalsMax) open portals"))
        }
        portals[message.portal] = Portal(command: command, formats: formats)
        writer.bindComplete()
    }

    mutating func receivedDescribe(_ payload: [UInt8]) {
        // SAFETY: parseDescribeOrClose reads inside the buffer and keeps nothing of it.
        guard let (kind, name) = payload.withUnsafeBytes({ parseDescribeOrClose($0) }) else {
            return failBadPacket()
        }
        if kind == UInt8(ascii: "S") {
            guard let command = statements[name] else { return refuse(noSuchStatement(name)) }
            writer.parameterDescription([])
            describe(command, formats: [])
        } else {
            guard let portal = portals[name] else { return refuse(noSuchPortal(name)) }
            describe(portal.command, formats: portal.formats)
        }
    }

    private mutating func describe(_ command: ConsoleCommand, formats: [ValueFormat]) {
        guard let columns = command.columns else { return writer.noData() }
        writeRowDescription(columns, formats: formats, into: &writer)
    }

    mutating func receivedExecute(_ payload: [UInt8]) {
        // SAFETY: parseExecute reads inside the buffer and keeps nothing of it.
        guard let (name, limit) = payload.withUnsafeBytes({ parseExecute($0) }) else { return failBadPacket() }
        guard let portal = portals[name] else { return refuse(noSuchPortal(name)) }
        let rowsMax = max(0, Int(limit))
        switch portal.state {
        case .done: writer.commandComplete(portal.command.tag)
        case .suspended(let table, let nextRow):
            writeRows(of: table, from: nextRow, portal: name, rowsMax: rowsMax)
        case .ready where portal.command == .empty:
            portals[name]?.state = .done
            writer.emptyQueryResponse()
        case .ready:
            guard let outcome = immediateOutcome(of: portal.command) else {
                return run(portal.command, .execute(portal: name, rowsMax: rowsMax))
            }
            writeExecuted(portal.command, outcome, portal: name, rowsMax: rowsMax)
        }
    }

    /// The answer of Execute when its command has ended.
    mutating func writeExecuted(
        _ command: ConsoleCommand, _ outcome: Result<ConsoleOutcome, ErrorFields>, portal: String, rowsMax: Int
    ) {
        portals[portal]?.state = .done
        switch outcome {
        case .failure(let error): refuse(error)
        case .success(.table(let table)): writeRows(of: table, from: 0, portal: portal, rowsMax: rowsMax)
        case .success(.completed(let notices)):
            for notice in notices { writer.noticeResponse(notice) }
            writer.commandComplete(command.tag)
        }
    }

    private mutating func writeRows(of table: ConsoleTable, from first: Int, portal: String, rowsMax: Int) {
        let formats = portals[portal]?.formats ?? []
        let remaining = table.rows.count - first
        let count = rowsMax > 0 ? min(rowsMax, remaining) : remaining
        for row in table.rows[first..<(first + count)] {
            writeDataRow(row, columns: table.columns, formats: formats, into: &writer)
        }
        // A server suspends as well when the limit is reached exactly: it has not looked for one row more.
        if rowsMax > 0, count == rowsMax {
            portals[portal]?.state = .suspended(table, nextRow: first + count)
            writer.portalSuspended()
        } else {
            portals[portal]?.state = .done
            writer.commandComplete(table.tag)
        }
    }

    mutating func receivedClose(_ payload: [UInt8]) {
        // SAFETY: parseDescribeOrClose reads inside the buffer and keeps nothing of it.
        guard let (kind, name) = payload.withUnsafeBytes({ parseDescribeOrClose($0) }) else {
            return failBadPacket()
        }
        if kind == UInt8(ascii: "S") {
            statements[name] = nil
        } else {
            portals[name] = nil
        }
        writer.closeComplete()
    }

    mutating func receivedSync() {
        isSkippingToSync = false
        portals = portals.filter { _, portal in
            if case .suspended = portal.state { return true }
            return false
        }
        writer.readyForQuery(TransactionStatus.idle)
    }

    /// Answers with an error and skips to the next Sync.
    private mutating func refuse(_ error: ErrorFields) {
        writer.errorResponse(error)
        isSkippingToSync = true
    }
}

private func noSuchStatement(_ name: String) -> ErrorFields {
    consoleError(SQLState.invalidStatementName, "prepared statement \"\(name)\" does not exist")
}

private func noSuchPortal(_ name: String) -> ErrorFields {
    consoleError(SQLState.invalidCursorName, "portal \"\(name)\" does not exist")
}

private var nameTooLong: ErrorFields {
    consoleError(
        SQLState.programLimitExceeded, "a statement or portal name has at most \(ConsoleLimits.nameBytesMax) bytes")
}
