// The console's grammar, its errors, and who may do what.

import Testing
import Wire

@testable import Console

private func parsed(_ text: String) -> ConsoleCommand? { try? parseConsoleCommand(text).get() }

private func message(_ text: String) -> String? {
    if case .failure(let error) = parseConsoleCommand(text) { return error.message }
    return nil
}

private let accepted: [(String, ConsoleCommand)] = [
    ("", .empty), (" \n\t;; ", .empty), ("-- nothing", .empty), ("SHOW POOLS", .show(.pools)),
    ("show pools;", .show(.pools)), ("  sHoW\n\tPools  ; ", .show(.pools)), ("SHOW \"pools\"", .show(.pools)),
    ("SELECT pools", .show(.pools)), ("/* psql /* nested */ */ SHOW/**/STATS -- end", .show(.stats)),
    ("SHOW ACTIVE_SOCKETS", .show(.activeSockets)), ("SHOW STATS_TOTALS", .show(.statsTotals)),
    ("SHOW VERSION", .show(.version)), ("SHOW FDS", .show(.fds)),
    ("PAUSE", .pause(database: nil)), ("PAUSE MyDb", .pause(database: "MyDb")),
    ("pause \"my \"\"db\"\"; x\";", .pause(database: "my \"db\"; x")), ("RESUME", .resume(database: nil)),
    ("RESUME db", .resume(database: "db")), ("SUSPEND", .suspend), ("RELOAD;", .reload),
    ("KILL", .kill(database: nil)), ("KILL db", .kill(database: "db")), ("KILL_CLIENT 17", .killClient(id: 17)),
    ("KILL_CLIENT 0x1F", .killClient(id: 31)), ("RECONNECT", .reconnect(database: nil)),
    ("RECONNECT db", .reconnect(database: "db")), ("DISABLE db", .disable(database: "db")),
    ("ENABLE db", .enable(database: "db")), ("WAIT_CLOSE", .waitClose(database: nil)),
    ("WAIT_CLOSE db", .waitClose(database: "db")), ("SHUTDOWN", .shutdown(.immediate)),
    ("SHUTDOWN WAIT_FOR_SERVERS", .shutdown(.waitForServers)),
    ("shutdown wait_for_clients", .shutdown(.waitForClients)),
    ("SET pool_mode = session", .set(key: "pool_mode", value: "session")),
    ("set pool_mode=session;", .set(key: "pool_mode", value: "session")),
    ("SET pool_mode TO 'session'", .set(key: "pool_mode", value: "session")),
    (
        "SET server_reset_query = 'SELECT ''a''; DISCARD ALL'",
        .set(
            key: "server_reset_query", value: "SELECT 'a'; DISCARD ALL")
    ),
    ("SET query_timeout = 1.5", .set(key: "query_timeout", value: "1.5")),
    ("SET x = ''", .set(key: "x", value: "")), ("SET x = \"A b\"", .set(key: "x", value: "A b")),
    // What drivers send.
    ("SHOW client_encoding", .showParameter("client_encoding")), ("SHOW DateStyle", .showParameter("datestyle")),
    ("SHOW server_version", .showParameter("server_version")), ("SHOW TIME ZONE", .showParameter("timezone")),
    ("SHOW TRANSACTION ISOLATION LEVEL", .showParameter("transaction_isolation")),
    ("SET client_encoding TO 'UTF8'", .setParameter("client_encoding")),
    ("SET datestyle TO ISO, MDY", .setParameter("datestyle")), ("SET timezone=UTC", .setParameter("timezone")),
    ("SET TIME ZONE 'UTC'", .setParameter("timezone")),
    ("SET SESSION CHARACTERISTICS AS TRANSACTION READ ONLY", .setParameter("transaction_isolation")),
    ("SET LOCAL search_path TO a", .setParameter("search_path")), ("BEGIN", .noOperation(tag: "BEGIN")),
    ("BEGIN ISOLATION LEVEL SERIALIZABLE;", .noOperation(tag: "BEGIN")),
    ("START TRANSACTION", .noOperation(tag: "START TRANSACTION")), ("COMMIT", .noOperation(tag: "COMMIT")),
    ("END", .noOperation(tag: "COMMIT")), ("ROLLBACK WORK", .noOperation(tag: "ROLLBACK")),
    ("RESET ALL", .noOperation(tag: "RESET")), ("UNLISTEN *", .noOperation(tag: "UNLISTEN")),
    ("CLOSE ALL", .noOperation(tag: "CLOSE CURSOR ALL")),
    ("DISCARD ALL", .deallocate(statement: nil, tag: "DISCARD ALL")),
    ("DEALLOCATE ALL", .deallocate(statement: nil, tag: "DEALLOCATE ALL")),
    ("DEALLOCATE PREPARE \"_pg3_0\"", .deallocate(statement: "_pg3_0", tag: "DEALLOCATE")),
    ("select 1", .selectConstant(ConsoleColumn("?column?", .int4), "1")),
    ("select pg_catalog.version()", .selectConstant(ConsoleColumn("version", .text), consoleVersionText)),
    ("SELECT version()", .selectConstant(ConsoleColumn("version", .text), consoleVersionText)),
]

private let invalid = [
    "SHOW", "SHOW nothing", "SHOW POOLS STATS", "SHOW 'pools'", "RELOAD now", "SUSPEND x", "SHUTDOWN soon", "PAUSE a b",
    "PAUSE 'db'", "SET", "SET x", "SET x y", "SET x =", "SET x = a b", "SET x = 'a' 'b'", "SET x 5", "SELECT 1, 2",
    "SELECT pg_sleep(1)", "SELECT a FROM b", "UPDATE x SET y = 1", "ROLLBACK TO a", "COMMIT PREPARED 'x'",
    "\"SHOW\" pools",
    "'x'", "= 1", "PAUSE \"open", "SHOW pools /* open", "SET x = 'open", "PAUSE dätabase", "SHOW pools\u{0}", "CLOSE c",
    "DISCARD TEMP", "SHOW $1", "SELECT 99999999999",
]

@Suite struct ConsoleCommandTests {
    @Test("a statement of the grammar is understood", arguments: accepted)
    func acceptedStatements(text: String, command: ConsoleCommand) {
        #expect(parsed(text) == command)
    }

    @Test("every topic is shown by its name, in any case", arguments: ShowTopic.allCases)
    func everyTopic(topic: ShowTopic) {
        #expect(parsed("SHOW \(topic.rawValue.uppercased());") == .show(topic))
    }

    @Test("anything else is an invalid command", arguments: invalid)
    func invalidStatements(text: String) {
        #expect(message(text) == "invalid command '\(text)', use SHOW HELP;")
    }

    @Test("too long a command, argument, key or value is a bad argument, the longest allowed is not")
    func lengths() {
        func word(_ count: Int) -> String { String(repeating: "a", count: count) }
        #expect(message(word(15))?.hasPrefix("invalid command") == true)
        #expect(message(word(16)) == "bad arguments")
        #expect(parsed("PAUSE \(word(63))") == .pause(database: word(63)))
        #expect(message("PAUSE \(word(64))") == "bad arguments")
        #expect(message("SHOW \(word(64))") == "bad arguments")
        #expect(parsed("SET \(word(63)) = '\(word(255))'") == .set(key: word(63), value: word(255)))
        #expect(message("SET \(word(64)) = 1") == "bad arguments")
        #expect(message("SET k = '\(word(256))'") == "bad arguments")
        #expect(message(String(repeating: " ", count: ConsoleLimits.queryBytesMax + 1)) == "bad arguments")
    }

    @Test("an error repeats only the beginning of a long query")
    func longQuery() throws {
        let text = String(repeating: "é", count: 5_000)
        let found = try #require(message(text))
        #expect(found.utf8.count < 320)
        #expect(found.hasSuffix("…', use SHOW HELP;"))
    }

    @Test("errors carry the SQLSTATE that PostgreSQL would use")
    func codes() {
        for (text, code, message) in [
            ("DISABLE", "42601", "a database is required"), ("ENABLE;", "42601", "a database is required"),
            ("KILL_CLIENT", "22023", "invalid client pointer supplied"),
            ("KILL_CLIENT bob", "22023", "invalid client pointer supplied"),
            ("KILL_CLIENT 99999999999999999999", "22023", "invalid client pointer supplied"),
            ("KILL_CLIENT 0x", "22023", "invalid client pointer supplied"),
            ("nonsense", "42601", "invalid command 'nonsense', use SHOW HELP;"),
        ] {
            guard case .failure(let error) = parseConsoleCommand(text) else {
                Issue.record("accepted: \(text)")
                continue
            }
            #expect(error.code == code)
            #expect(error.message == message)
            #expect(error.severity == "ERROR")
        }
    }

    @Test("several statements are accepted only when all of them are harmless")
    func severalStatements() throws {
        let reset = "SELECT pg_advisory_unlock_all();\nCLOSE ALL;\nUNLISTEN *;\nRESET ALL;"
        #expect(try parseConsoleQuery(reset).get().map(\.tag) == ["SELECT 1", "CLOSE CURSOR ALL", "UNLISTEN", "RESET"])
        for text in ["SHOW POOLS; SHOW STATS", "BEGIN; RELOAD", "PAUSE; BEGIN"] {
            guard case .failure(let error) = parseConsoleQuery(text) else {
                Issue.record("accepted: \(text)")
                continue
            }
            #expect(error.message == "invalid command '\(text)', use SHOW HELP;")
        }
    }

    @Test("only looking needs no admin")
    func roles() {
        for (_, command) in accepted {
            let isLooking: Bool =
                switch command {
                case .show(.fds): false
                case .show, .showParameter, .setParameter, .noOperation, .deallocate, .selectConstant, .empty: true
                default: false
                }
            #expect(requiredRole(for: command) == (isLooking ? .stats : .admin), "\(command)")
        }
        for topic in ShowTopic.allCases where topic != .fds {
            #expect(requiredRole(for: .show(topic)) == .stats)
        }
        #expect(ConsoleRole.admin > .stats)
    }

    @Test("the tag is the command word, and for SET the setting")
    func commandTags() {
        #expect(ConsoleCommand.set(key: "verbose", value: "2").tag == "SET verbose=2")
        #expect(ConsoleCommand.waitClose(database: "x").tag == "WAIT_CLOSE")
        #expect(ConsoleCommand.shutdown(.waitForClients).tag == "SHUTDOWN")
        #expect(ConsoleCommand.killClient(id: 1).tag == "KILL_CLIENT")
    }

    @Test("random text never traps")
    func randomText() {
        let seed = UInt64.random(in: 0...UInt64.max)
        print("seed \(seed)")
        var state = seed
        let pieces = [
            "SHOW ", "SET ", "'", "\"", "--", "/*", "*/", ";", "=", "x", "\n", "é", "\u{0}", "pools", ".", "0x",
            "KILL_CLIENT ",
        ]
        for _ in 0..<20_000 {
            var text = ""
            for _ in 0..<12 {
                state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
                text += pieces[Int(state >> 33) % pieces.count]
            }
            switch parseConsoleQuery(text) {
            case .success(let commands): #expect(commands.count <= 1 || commands.allSatisfy(\.isHarmless))
            case .failure(let error): #expect(!error.message.isEmpty)
            }
        }
    }
}
