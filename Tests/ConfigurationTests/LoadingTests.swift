// Whole files: sections, includes, error lines, and a pgbouncer.ini as people have it.

import Testing

@testable import Configuration

@Suite struct LoadingTests {
    @Test("a realistic pgbouncer.ini loads with its meaning")
    func realisticFile() throws {
        let configuration = try load(realisticFiles, path: "/etc/pgbouncer/pgbouncer.ini").get()
        let settings = configuration.settings
        #expect(settings.listenAddr == ["127.0.0.1", "::1"])
        #expect(settings.listenPort == 6432)
        #expect(settings.unixSocketDir == "/var/run/postgresql")
        #expect(settings.unixSocketMode == 0o770)
        #expect(settings.authType == .scramSHA256)
        #expect(settings.adminUsers == ["postgres", "dba"])
        #expect(settings.statsUsers == ["stats", "postgres"])
        #expect(settings.poolMode == .transaction)
        #expect(settings.serverResetQuery == "DISCARD ALL")
        #expect(settings.ignoreStartupParameters == ["extra_float_digits", "options"])
        #expect(settings.serverCheckQuery == "select 1")
        #expect(settings.maxClientConn == 2_000)
        #expect(settings.queryWaitTimeoutMicroseconds == 90_500_000)
        #expect(settings.tcpKeepidle == 300)
        #expect(settings.tcpUserTimeoutMicroseconds == 30_000_000)
        #expect(settings.conffile == "/etc/pgbouncer/pgbouncer.ini")
        #expect(Set(configuration.databases.keys) == ["app", "reports", "Strange Name", "legacy"])
        #expect(configuration.databases["app"]?.hosts == [.tcp("10.0.0.5")])
        #expect(configuration.databases["reports"]?.password == Password("it's"))
        #expect(configuration.databases["reports"]?.hosts == [.tcp("10.0.0.6"), .tcp("10.0.0.7")])
        #expect(configuration.databases["Strange Name"]?.dbname == "strange")
        #expect(configuration.databases["legacy"].map(configuration.hosts) == [.unix("/var/run/postgresql")])
        #expect(configuration.wildcard?.hosts == [.tcp("10.0.0.8")])
        #expect(configuration.users["batch"]?.poolSize == 5)
        #expect(configuration.secrets["app"] == .plain("open \"sesame\""))
        #expect(configuration.secrets["dba"] == .md5("md50123456789abcdef0123456789abcdef"))
        #expect(configuration.secrets.count == 3)
    }

    @Test(
        "a wrong file is one line for each mistake, with file, line, key and what was expected",
        arguments: [
            (
                "[weir]\ndefault_pool_size = 10x",
                ["weir.ini:2: default_pool_size: expected a whole number, found \"10x\""]
            ),
            ("[weir]\nfoo = 1", ["weir.ini:2: foo: unknown parameter: weir/foo"]),
            ("[pgbouncer]\n\n# x\nfoo = 1", ["weir.ini:4: foo: unknown parameter: pgbouncer/foo"]),
            ("[weir]\nPool_Mode = session", ["weir.ini:2: Pool_Mode: unknown parameter: weir/Pool_Mode"]),
            ("[weir]\npool_mode", ["weir.ini:2: syntax error in configuration, expected key = value"]),
            ("[weir]\n= 3", ["weir.ini:2: syntax error in configuration, expected key = value"]),
            ("[weir]\n\"pool_mode = x", ["weir.ini:2: syntax error in configuration, expected a closing quote"]),
            ("[weir\n[weir]", ["weir.ini:1: syntax error in configuration, expected [section]"]),
            ("[weir]\n%exclude x", ["weir.ini:2: syntax error in configuration, expected %include path"]),
            ("[weir]\n%include", ["weir.ini:2: syntax error in configuration, expected %include path"]),
            (
                "x = 1\n[weir]", ["weir.ini:1: x: expected a section such as [weir] before the first key"]
            ),
            (
                "[odd]\nx = 1\n[weir]",
                ["weir.ini:1: [odd]: unknown section, expected weir, pgbouncer, databases, users or peers"]
            ),
            ("[databases]\na = host=b", ["weir.ini: main section missing from config file, expected [weir]"]),
            ("", ["weir.ini: main section missing from config file, expected [weir]"]),
            (
                "[weir]\n[databases]\npgbouncer = host=a\nweir = host=a",
                [
                    "weir.ini:3: pgbouncer: database name \"pgbouncer\" is reserved for the console",
                    "weir.ini:4: weir: database name \"weir\" is reserved for the console",
                ]
            ),
            (
                "[weir]\n[databases]\na = port=x pool_size=y\n'b c' = host",
                [
                    "weir.ini:3: a: port: expected a whole number, found \"x\"",
                    "weir.ini:3: a: pool_size: expected a whole number, found \"y\"",
                    "weir.ini:4: \"b c\": syntax error in connection string, expected key=value",
                ]
            ),
            ("[weir]\n[users]\nu = pool=1", ["weir.ini:3: u: pool: unrecognized user parameter: pool"]),
            ("[weir]\n[peers]\n1 = host=a", ["weir.ini:3: 1: peers are not supported by this version of Weir"]),
            ("[weir]\nauth_file = x", ["weir.ini:2: auth_file: cannot read \"x\": No such file or directory"]),
            (
                "[weir]\nunix_socket_dir =\n[databases]\na = port=1\n* = host=h",
                ["weir.ini:4: a: expected host=, since unix_socket_dir is empty"]
            ),
        ] as [(String, [String])])
    func errors(text: String, lines: [String]) {
        let found = errorLines(["weir.ini": text]).filter { !$0.contains("expected a file of users") }
        #expect(found == lines)
    }

    @Test("all mistakes of all files are reported at once, and nothing is loaded")
    func allErrors() {
        let files = [
            "weir.ini": """
            [weir]
            listen_port = 0
            auth_file = users.txt
            %include more.ini
            query_timeout = soon
            """, "more.ini": "\nverbose = loud\n", "users.txt": "\"a\" \"b\"\n\n\"c\"\nd e\n\"\" \"x\"\n",
        ]
        #expect(
            errorLines(files) == [
                "weir.ini:2: listen_port: expected a whole number from 1 to 65535, found \"0\"",
                "more.ini:2: verbose: expected a whole number, found \"loud\"",
                "weir.ini:5: query_timeout: expected a time such as 30, 1.5, 500ms or 5min, found \"soon\"",
                "users.txt:3: broken auth file, expected \"user\" \"secret\"",
                "users.txt:4: broken auth file, expected \"user\" \"secret\"",
                "users.txt:5: broken auth file, expected \"user\" \"secret\"",
            ])
    }

    @Test("a file that cannot be read is named")
    func missingFile() {
        #expect(
            errorLines([:], path: "/x/weir.ini") == ["/x/weir.ini: cannot read the file: No such file or directory"])
    }

    @Test(
        "an auth_file is needed by every auth_type that asks for a password",
        arguments: [
            ("", "weir.ini: auth_file: expected a file of users, since auth_type is md5"),
            ("auth_type = plain", "weir.ini:2: auth_file: expected a file of users, since auth_type is plain"),
            (
                "auth_type = scram-sha-256",
                "weir.ini:2: auth_file: expected a file of users, since auth_type is scram-sha-256"
            ),
        ])
    func missingAuthFile(line: String, error: String) {
        #expect(errorLines(["weir.ini": "[weir]\n\(line)"]) == [error])
        #expect(errorLines(["weir.ini": "[weir]\nauth_type = trust"]) == [])
        #expect(errorLines(["weir.ini": "[weir]\nauth_type = any"]) == [])
    }

    @Test("an include continues the section, and what it opens stays open")
    func include() throws {
        let configuration = try load([
            "weir.ini": "[weir]\nauth_type=trust\n%include a.ini\nb = host=y\n",
            "a.ini": "verbose=2\n[databases]\na = host=x",
        ]).get()
        #expect(configuration.settings.verbose == 2)
        #expect(Set(configuration.databases.keys) == ["a", "b"])
    }

    @Test("includes nest ten deep and no deeper")
    func includeDepth() throws {
        var files = ["weir.ini": "[weir]\nauth_type=trust\n%include 1.ini"]
        for depth in 1...9 { files["\(depth).ini"] = "%include \(depth + 1).ini" }
        files["10.ini"] = "verbose = 3"
        #expect(try load(files).get().settings.verbose == 3)
        files["10.ini"] = "%include 11.ini"
        #expect(errorLines(files) == ["10.ini:1: %include: include nesting level too deep, expected at most 10"])
    }

    @Test("a file that includes itself many times ends with an error, soon")
    func includeExplosion() {
        let text = "[weir]\n" + String(repeating: "%include weir.ini\n", count: 20)
        #expect(errorLines(["weir.ini": text]).contains { $0.hasSuffix("too many files, expected at most 1000") })
    }

    @Test("a second main section starts from the defaults again; other sections add up, and the later line counts")
    func repeatedSections() throws {
        let configuration = try load([
            "weir.ini": """
            [weir]
            verbose = 2
            [databases]
            a = host=x
            [pgbouncer]
            auth_type = trust
            [databases]
            a = host=y
            b = host=z
            """
        ]).get()
        #expect(configuration.settings.verbose == 0)
        #expect(configuration.databases["a"]?.hosts == [.tcp("y")])
        #expect(configuration.databases.count == 2)
    }

    @Test("carriage returns, a byte order mark, blanks and comments do not matter")
    func whitespace() throws {
        let configuration = try load([
            "weir.ini": "\u{feff} [weir] \r\n\t; x\r\n  # y\r\n auth_type\t=\ttrust \r\n'verbose'=1\r\n"
                + "server_reset_query = a ; b\r\n"
        ]).get()
        #expect(configuration.settings.verbose == 1)
        #expect(configuration.settings.serverResetQuery == "a ; b")
    }

    @Test("random bytes are refused or accepted, but never stop the process", arguments: [1, 2, 3, 4] as [UInt64])
    func randomBytes(seed: UInt64) {
        // The seed is the argument, so a failure names it.
        var generator = SeededGenerator(seed: seed)
        let pieces = [
            "[weir]\n", "[databases]\n", "[users]\n", "%include y", "=", "'", "\"", "\n", " ", "host=", "port=",
            "pool_size = ",
            "server_lifetime=", "9223372036854775808", "-", "0x", "1.5d", ",", "[", "]", "@", "\u{0}", "é", ";",
            "SCRAM-SHA-256$", "md5", ":", "listen_addr", "workers = ", "%", "postgres://", "/", "?",
        ]
        for _ in 0..<1_000 {
            var text = ""
            for _ in 0..<Int.random(in: 0...24, using: &generator) {
                if Bool.random(using: &generator) {
                    text += pieces.randomElement(using: &generator) ?? ""
                } else {
                    let bytes = (0..<Int.random(in: 0...4, using: &generator)).map { _ in
                        UInt8.random(in: 0...255, using: &generator)
                    }
                    text += String(decoding: bytes, as: UTF8.self)
                }
            }
            _ = loadConfiguration(path: "x") { $0 == "x" ? .success(text) : .failure(FileError(reason: "none")) }
            _ = configuration(fromURL: "postgres://" + text)
            _ = DatabaseOptions.parse(name: "d", connectionString: text)
            _ = UserOptions.parse(name: "u", text: text)
            _ = parseAuthFile(text, name: "users")
            for setting in settingsTable {
                var settings = Settings()
                try? setting.assign(text, to: &settings)
            }
        }
    }
}
