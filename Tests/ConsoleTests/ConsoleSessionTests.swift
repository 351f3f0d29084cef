// The console's protocol, message by message, as psql, psycopg, asyncpg and JDBC use it.

import Testing
import Wire

@testable import Console

private let poolsTable = renderPools([PoolSnapshot(database: "d", user: "u", poolMode: "session")])

@Suite struct SimpleProtocolTests {
    @Test("SHOW is run, and its table answers")
    func show() {
        var session = ConsoleSession(role: .stats)
        #expect(session.query("SHOW POOLS;") == ConsoleStep(reply: [], next: .run(.show(.pools))))
        #expect(session.isRunning)
        let step = session.finish(with: .success(.table(poolsTable)))
        #expect(step.next == .proceed)
        #expect(tags(step) == "TDCZ")
        #expect(completion(step) == "SHOW")
        #expect(!session.isRunning)
    }

    @Test("a command without rows answers with its notices and tag")
    func completed() {
        var session = ConsoleSession(role: .admin)
        #expect(session.query("SET verbose = 2").next == .run(.set(key: "verbose", value: "2")))
        let notice = ErrorFields(severity: "NOTICE", code: "00000", message: "TLS settings could not be applied")
        let step = session.finish(with: .success(.completed(notices: [notice])))
        #expect(tags(step) == "NCZ")
        #expect(completion(step) == "SET verbose=2")
        #expect(fields(step, "N") == notice)
    }

    @Test("a command that fails answers with its error and is ready again")
    func failed() {
        var session = ConsoleSession(role: .admin)
        #expect(session.query("PAUSE nowhere").next == .run(.pause(database: "nowhere")))
        let step = session.finish(
            with: .failure(ErrorFields(code: SQLState.invalidCatalogName, message: "no such database: nowhere")))
        #expect(tags(step) == "EZ")
        #expect(fields(step)?.message == "no such database: nowhere")
        #expect(messages(step.reply).last?.payload == [UInt8(ascii: "I")])
    }

    @Test(
        "a stats user may look and nothing else", arguments: ["PAUSE", "SET a = b", "RELOAD", "SHUTDOWN", "SHOW FDS"])
    func adminNeeded(text: String) {
        var session = ConsoleSession(role: .stats)
        let step = session.query(text)
        #expect(tags(step) == "EZ")
        #expect(fields(step)?.message == "admin access needed")
        #expect(fields(step)?.code == "42501")
        #expect(step.next == .proceed)
    }

    @Test("what belongs to the hand-over of sockets is refused", arguments: ["SUSPEND", "SHOW FDS"])
    func takeover(text: String) {
        var session = ConsoleSession(role: .admin)
        #expect(fields(session.query(text))?.code == "0A000")
    }

    @Test("an empty query has its own answer")
    func emptyQuery() {
        var session = ConsoleSession(role: .stats)
        #expect(tags(session.query(" ; ")) == "IZ")
    }

    @Test("HELP is a notice, VERSION a row")
    func helpAndVersion() {
        var session = ConsoleSession(role: .stats)
        let help = session.query("SHOW HELP")
        #expect(tags(help) == "NCZ")
        #expect(fields(help, "N")?.message == "Console usage")
        #expect(fields(help, "N")?.severity == "NOTICE")
        #expect(completion(help) == "SHOW")
        #expect(textRows(session.query("SHOW VERSION")) == [["Weir 0.1.0 (PgBouncer 1.25.2 compatible)"]])
    }

    @Test("asyncpg's reset of a pooled connection is answered statement by statement")
    func asyncpgReset() {
        var session = ConsoleSession(role: .stats)
        let step = session.query("SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;")
        #expect(tags(step) == "TDCCCCZ")
        #expect(step.next == .proceed)
    }

    @Test("psycopg's transactions around SHOW are harmless")
    func psycopgTransaction() {
        var session = ConsoleSession(role: .stats)
        #expect(completion(session.query("BEGIN")) == "BEGIN")
        #expect(session.query("SHOW POOLS").next == .run(.show(.pools)))
        _ = session.finish(with: .success(.table(poolsTable)))
        let commit = session.query("COMMIT")
        #expect(completion(commit) == "COMMIT")
        #expect(messages(commit.reply).last?.payload == [UInt8(ascii: "I")])
    }

    @Test("SET of a driver's parameter is ignored with a notice, SHOW gives the welcome value")
    func driverParameters() {
        var session = ConsoleSession(role: .stats)
        let step = session.query("SET client_encoding TO 'UTF8'")
        #expect(tags(step) == "NCZ")
        #expect(fields(step, "N")?.message == "SET ignored")
        #expect(completion(step) == "SET")
        for (name, value) in [
            ("client_encoding", "UTF8"), ("default_transaction_isolation", "read committed"),
            ("standard_conforming_strings", "on"), ("datestyle", "ISO"), ("timezone", "GMT"),
            ("server_version", "1.25.2/bouncer"),
        ] {
            #expect(textRows(session.query("SHOW \(name)")) == [[value]])
        }
    }

    @Test("the welcome parameters are the reference's, in its order")
    func welcome() {
        var writer = MessageWriter()
        writeConsoleWelcome(into: &writer)
        let expected = [
            ("server_version", "1.25.2/bouncer"), ("client_encoding", "UTF8"), ("server_encoding", "UTF8"),
            ("DateStyle", "ISO"), ("TimeZone", "GMT"), ("standard_conforming_strings", "on"), ("is_superuser", "on"),
        ]
        #expect(messages(writer.bytes).map(\.payload) == expected.map { cString($0.0) + cString($0.1) })
    }

    @Test("messages that arrive while a command runs are answered afterwards, in order")
    func queuedMessages() {
        var session = ConsoleSession(role: .admin)
        #expect(session.query("PAUSE").next == .run(.pause(database: nil)))
        #expect(session.query("SHOW VERSION") == ConsoleStep(reply: [], next: .proceed))
        #expect(session.query("SHOW POOLS") == ConsoleStep(reply: [], next: .proceed))
        #expect(session.query("BEGIN") == ConsoleStep(reply: [], next: .proceed))
        let first = session.finish(with: .success(.completed()))
        #expect(tags(first) == "CZTDCZ")
        #expect(first.next == .run(.show(.pools)))
        let second = session.finish(with: .success(.table(poolsTable)))
        #expect(tags(second) == "TDCZCZ")
        #expect(second.next == .proceed)
    }

    @Test("too much sent while a command runs closes the connection")
    func tooMuchQueued() {
        var session = ConsoleSession(role: .admin)
        _ = session.query("PAUSE")
        let large = [UInt8](repeating: 0, count: ConsoleLimits.queuedBytesMax - 4)
        let step = session.received(tag: FrontendTag.query, payload: large)
        #expect(step.next == .close)
        #expect(fields(step)?.severity == "FATAL")
        #expect(session.finish(with: .success(.completed())) == ConsoleStep(reply: [], next: .close))
    }

    @Test("Terminate closes at once, even while a command runs")
    func terminate() {
        var session = ConsoleSession(role: .admin)
        _ = session.query("PAUSE")
        #expect(session.received(tag: FrontendTag.terminate, payload: []) == ConsoleStep(reply: [], next: .close))
        #expect(!session.isRunning)
    }

    @Test("finish without a running command is ignored")
    func finishedTwice() {
        var session = ConsoleSession(role: .admin)
        #expect(session.finish(with: .success(.completed())) == ConsoleStep(reply: [], next: .proceed))
    }

    @Test("a function call is refused, COPY data is ignored, an unknown message closes")
    func otherMessages() {
        var session = ConsoleSession(role: .admin)
        #expect(tags(session.received(tag: FrontendTag.functionCall, payload: [])) == "EZ")
        #expect(session.received(tag: FrontendTag.copyData, payload: [1]) == ConsoleStep(reply: [], next: .proceed))
        let step = session.received(tag: FrontendTag.password, payload: [0])
        #expect(step.next == .close)
        #expect(fields(step)?.code == "08P01")
    }
}

@Suite struct ExtendedProtocolTests {
    @Test("Describe tells the columns before the command has run")
    func describeBeforeExecute() {
        var session = ConsoleSession(role: .stats)
        #expect(tags(session.parse("SHOW POOLS")) == "1")
        #expect(tags(session.describe("S")) == "tT")
        #expect(tags(session.bind()) == "2")
        #expect(tags(session.describe("P")) == "T")
        #expect(session.execute() == ConsoleStep(reply: [], next: .run(.show(.pools))))
        #expect(session.sync() == ConsoleStep(reply: [], next: .proceed))
        let step = session.finish(with: .success(.table(poolsTable)))
        #expect(tags(step) == "DCZ")
        #expect(completion(step) == "SHOW")
    }

    @Test("asyncpg's flow: a named statement, binary results, used twice")
    func asyncpgFlow() {
        var session = ConsoleSession(role: .stats)
        _ = session.parse("SHOW STATS", name: "__asyncpg_stmt_1__")
        #expect(tags(session.describe("S", "__asyncpg_stmt_1__")) == "tT")
        #expect(tags(session.sync()) == "Z")
        var snapshot = StatsSnapshot(database: "d")
        snapshot.totals.transactions = 10_002
        for _ in 0..<2 {
            #expect(tags(session.bind(statement: "__asyncpg_stmt_1__", formats: [1])) == "2")
            #expect(session.execute().next == .run(.show(.stats)))
            _ = session.sync()
            let step = session.finish(with: .success(.table(renderStats([snapshot]))))
            #expect(tags(step) == "DCZ")
            let row = rows(step)[0]
            #expect(row[0] == Array("d".utf8))
            #expect(row[1] == [0, 0].flatMap { int16($0) } + [0, 0].flatMap { int16($0) })
            #expect(row[2] == [2, 1, 0, 0, 1, 2].flatMap { int16($0) })
        }
        #expect(
            tags(session.received(tag: FrontendTag.close, payload: describePayload("S", "__asyncpg_stmt_1__"))) == "3")
        #expect(fields(session.bind(statement: "__asyncpg_stmt_1__"))?.code == "26000")
    }

    @Test("a format for each column is honoured and described")
    func mixedFormats() {
        var session = ConsoleSession(role: .stats)
        _ = session.parse("SHOW LISTS")
        _ = session.bind(formats: [0, 1])
        let description = messages(session.describe("P").reply)[0].payload
        #expect(Array(description.suffix(2)) == [0, 1])
        _ = session.execute()
        var lists = ListsSnapshot()
        lists.databases = 3
        let step = session.finish(with: .success(.table(renderLists(lists))))
        #expect(rows(step)[0] == [Array("databases".utf8), [0, 0, 0, 3]])
    }

    @Test("an error skips everything up to Sync")
    func errorSkips() {
        var session = ConsoleSession(role: .admin)
        #expect(tags(session.parse("SHOW nothing")) == "E")
        #expect(session.bind().reply.isEmpty)
        #expect(session.execute() == ConsoleStep(reply: [], next: .proceed))
        #expect(session.query("RELOAD") == ConsoleStep(reply: [], next: .proceed))
        #expect(tags(session.sync()) == "Z")
        #expect(session.query("RELOAD").next == .run(.reload))
    }

    @Test("a command that fails in Execute skips up to Sync too")
    func failedExecuteSkips() {
        var session = ConsoleSession(role: .admin)
        _ = session.parse("RELOAD")
        _ = session.bind()
        #expect(session.execute().next == .run(.reload))
        _ = session.parse("SHOW POOLS", name: "later")
        _ = session.sync()
        let step = session.finish(with: .failure(ErrorFields(code: "F0000", message: "RELOAD failed")))
        #expect(tags(step) == "EZ")
        #expect(fields(session.describe("S", "later"))?.code == "26000")
    }

    @Test("Execute checks the role")
    func executeChecksTheRole() {
        var session = ConsoleSession(role: .stats)
        _ = session.parse("PAUSE")
        _ = session.bind()
        let step = session.execute()
        #expect(fields(step)?.message == "admin access needed")
        #expect(step.next == .proceed)
    }

    @Test("a limit on rows suspends the portal, which survives Sync")
    func rowLimit() {
        var session = ConsoleSession(role: .stats)
        _ = session.parse("SHOW STATE")
        _ = session.bind(portal: "C_1")
        #expect(session.execute("C_1", rowsMax: 2).next == .run(.show(.state)))
        #expect(tags(session.finish(with: .success(.table(renderState(StateSnapshot()))))) == "DDs")
        #expect(tags(session.sync()) == "Z")
        #expect(tags(session.execute("C_1", rowsMax: 2)) == "DC")
        #expect(tags(session.execute("C_1")) == "C")
        _ = session.sync()
        #expect(fields(session.execute("C_1"))?.code == "34000")
    }

    @Test("a statement that returns no rows is described as such")
    func noRows() {
        var session = ConsoleSession(role: .admin)
        for (query, answer) in [("BEGIN", "C"), ("SET datestyle TO 'ISO'", "NC"), ("SHOW HELP", "NC"), ("", "I")] {
            #expect(tags(session.parse(query)) == "1")
            #expect(tags(session.describe("S")) == "tn")
            #expect(tags(session.bind(formats: [1])) == "2")
            #expect(tags(session.describe("P")) == "n")
            #expect(tags(session.execute()) == answer)
            #expect(tags(session.sync()) == "Z")
        }
    }

    @Test("refusals name what is wrong")
    func refusals() {
        var session = ConsoleSession(role: .stats)
        _ = session.parse("SHOW LISTS", name: "s")
        let parameters = cString("") + cString("s") + int16(0) + int16(1) + int32(1) + [65] + int16(0)
        let cases: [(UInt8, [UInt8], String)] = [
            (FrontendTag.parse, parsePayload("SHOW LISTS", name: "s"), "42P05"),
            (FrontendTag.parse, parsePayload("BEGIN; COMMIT"), "42601"),
            (FrontendTag.parse, parsePayload("BEGIN", name: String(repeating: "n", count: 256)), "54000"),
            (FrontendTag.bind, bindPayload(statement: "t"), "26000"),
            (FrontendTag.bind, bindPayload(statement: "s", formats: [2]), "22023"),
            (FrontendTag.bind, bindPayload(statement: "s", formats: [0xFFFF]), "22023"),
            (FrontendTag.bind, bindPayload(statement: "s", formats: [1, 1, 1]), "08P01"),
            (FrontendTag.bind, parameters, "08P01"),
            (FrontendTag.describe, describePayload("S", "t"), "26000"),
            (FrontendTag.describe, describePayload("P", "p"), "34000"),
            (FrontendTag.execute, executePayload("p"), "34000"),
        ]
        for (tag, payload, code) in cases {
            let step = session.received(tag: tag, payload: payload)
            #expect(fields(step)?.code == code)
            #expect(fields(step)?.severity == "ERROR")
            #expect(step.next == .proceed)
            #expect(tags(session.sync()) == "Z")
        }
    }

    @Test("statements and portals are bounded")
    func bounds() {
        var session = ConsoleSession(role: .stats)
        for number in 0..<ConsoleLimits.statementsMax {
            #expect(tags(session.parse("BEGIN", name: "s\(number)")) == "1")
        }
        #expect(fields(session.parse("BEGIN", name: "more"))?.code == "53400")
        _ = session.sync()
        for number in 0..<ConsoleLimits.portalsMax {
            #expect(tags(session.bind(portal: "p\(number)", statement: "s0")) == "2")
        }
        #expect(fields(session.bind(portal: "more", statement: "s0"))?.code == "53400")
        _ = session.sync()
        #expect(tags(session.query("DEALLOCATE s1")) == "CZ")
        #expect(tags(session.parse("BEGIN", name: "more")) == "1")
        _ = session.query("DISCARD ALL")
        #expect(fields(session.bind(statement: "s0"))?.code == "26000")
    }

    @Test("a payload cut short at any place closes the connection and never traps")
    func truncatedPayloads() {
        let whole: [(UInt8, [UInt8])] = [
            (FrontendTag.query, cString("SHOW VERSION")), (FrontendTag.parse, parsePayload("SHOW LISTS", name: "s")),
            (
                FrontendTag.bind,
                cString("p") + cString("") + int16(1) + int16(1) + int16(2) + int32(2) + [1, 2]
                    + int32(0xFFFF_FFFF) + int16(1) + int16(1)
            ),
            (FrontendTag.describe, describePayload("S", "s")), (FrontendTag.execute, executePayload("p")),
            (FrontendTag.close, describePayload("P", "p")),
        ]
        for (tag, payload) in whole {
            for count in 0..<payload.count {
                var session = ConsoleSession(role: .admin)
                let step = session.received(tag: tag, payload: Array(payload.prefix(count)))
                #expect(step.next == .close)
                #expect(fields(step)?.message == "bad packet")
            }
            var session = ConsoleSession(role: .admin)
            #expect(session.received(tag: tag, payload: payload).next == .proceed)
            var other = ConsoleSession(role: .admin)
            #expect(other.received(tag: tag, payload: payload + [0]).next == .close)
        }
    }

    @Test("random messages never trap")
    func randomMessages() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var state = seed
        func next(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        let tags = Array("QPBDECSHF".utf8)
        let queries = ["SHOW LISTS", "BEGIN", "PAUSE", "", "SHOW VERSION", "nonsense"]
        for _ in 0..<2_000 {
            var session = ConsoleSession(role: .admin)
            for _ in 0..<20 {
                let query = queries[next(queries.count)]
                let payloads = [
                    cString(query), parsePayload(query), bindPayload(formats: [next(3)]),
                    describePayload(next(2) == 0 ? "S" : "P"), executePayload(rowsMax: next(3)), [],
                    (0..<next(20)).map { _ in UInt8(next(256)) },
                ]
                let step = session.received(tag: tags[next(tags.count)], payload: payloads[next(payloads.count)])
                if step.next == .close { break }
                if session.isRunning, next(2) == 0 {
                    _ = session.finish(with: .success(.table(renderLists(ListsSnapshot()))))
                }
            }
        }
    }
}
