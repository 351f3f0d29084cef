// `weir postgres://…`: what an address means, and that no error repeats it.

import Testing

@testable import Configuration

@Suite struct AddressTests {
    @Test("an address is a whole configuration")
    func meaning() throws {
        let loaded = try configuration(fromURL: "postgres://me:secret@db.example:5433/app").get()
        #expect(loaded.settings.listenAddr == ["127.0.0.1"])
        #expect(loaded.settings.listenPort == 6432)
        #expect(loaded.settings.unixSocketDir == "")
        #expect(loaded.settings.poolMode == .transaction)
        #expect(loaded.settings.authType == .scramSHA256)
        #expect(loaded.settings.adminUsers == ["me"])
        #expect(loaded.secrets == ["me": .plain("secret")])
        #expect(Array(loaded.databases.keys) == ["app"])
        let app = try #require(loaded.database(named: "app"))
        #expect(app.hosts == [.tcp("db.example")])
        #expect(app.port == 5433)
        #expect(app.user == "me")
        #expect(app.password == Password("secret"))
        let other = try #require(loaded.database(named: "other"))
        #expect(other.hosts == app.hosts)
        #expect(other.serverDatabase == "other")
    }

    @Test(
        "the parts of an address are found and decoded",
        arguments: [
            ("postgres://u:p@h/d", "u", "p", ["h"], 5432, "d"),
            ("postgresql://u:p@h:1/d", "u", "p", ["h"], 1, "d"),
            ("postgresql+asyncpg://u:p@h:/d", "u", "p", ["h"], 5432, "d"),
            ("postgres://u:p@h", "u", "p", ["h"], 5432, ""),
            ("postgres://u:p@h/", "u", "p", ["h"], 5432, ""),
            ("postgres://u:p@/d", "u", "p", [], 5432, "d"),
            ("postgres://u:p@[::1]:7/d", "u", "p", ["::1"], 7, "d"),
            ("postgres://u:p@[::1]/d", "u", "p", ["::1"], 5432, "d"),
            ("postgres://u%40x:p%3A%2f%25%C3%BC@h/a%20b", "u@x", "p:/%ü", ["h"], 5432, "a b"),
            ("postgres://u:p@q@h/d", "u", "p@q", ["h"], 5432, "d"),
            ("postgres://u:p:q@h/d", "u", "p:q", ["h"], 5432, "d"),
            ("postgres://u:p@/d?host=/run/pg", "u", "p", ["/run/pg"], 5432, "d"),
            ("postgres://u:p@%2Frun%2Fpg/d", "u", "p", ["/run/pg"], 5432, "d"),
            ("postgres://?host=h&user=u&password=p&port=9&dbname=d", "u", "p", ["h"], 9, "d"),
            ("postgres://u:p@a:1,b:1/d", "u", "p", ["a", "b"], 1, "d"),
            ("postgres://u:p@a,b/d", "u", "p", ["a", "b"], 5432, "d"),
            ("postgres://u:p@h?dbname=d", "u", "p", ["h"], 5432, "d"),
        ])
    func parts(url: String, user: String, password: String, hosts: [String], port: Int, dbname: String) throws {
        let address = try ConnectionAddress(parsing: url)
        #expect(address.user == user)
        #expect(address.password == Password(password))
        #expect(address.hosts.map(\.text) == hosts)
        #expect(address.port == port)
        #expect(address.dbname == dbname)
        #expect(address.parameters == [])
    }

    @Test("libpq's parameters keep their meaning")
    func parameters() throws {
        let loaded = try configuration(
            fromURL: "postgres://u:p@h/d?sslmode=disable&connect_timeout=3&application_name=a%20b&client_encoding=utf8"
                + "&load_balance_hosts=disable"
        ).get()
        #expect(loaded.settings.serverTlsSslmode == .disable)
        #expect(loaded.settings.serverConnectTimeoutMicroseconds == 3_000_000)
        let database = try #require(loaded.database(named: "d"))
        #expect(database.applicationName == "a b")
        #expect(database.clientEncoding == "utf8")
        #expect(database.loadBalanceHosts == .disable)
    }

    @Test("a missing database is named like the user, a missing host is localhost")
    func defaults() throws {
        let loaded = try configuration(fromURL: "postgres://u:p@").get()
        #expect(loaded.databases["u"]?.hosts == [.tcp("localhost")])
    }

    @Test(
        "a wrong address is refused without repeating it",
        arguments: [
            ("mysql://u:hunter2@h/d", ["address: expected postgres://user:password@host:port/database"]),
            ("hunter2", ["address: expected postgres://user:password@host:port/database"]),
            ("postgres:hunter2", ["address: expected postgres://user:password@host:port/database"]),
            (
                "postgres://h/d",
                [
                    "address: user: expected a user, as in postgres://user:password@host:port/database",
                    "address: password: expected a password, with which clients log in to Weir and Weir to the server",
                ]
            ),
            (
                "postgres://u@h/d",
                [
                    "address: password: expected a password, with which clients log in to Weir and Weir to the server"
                ]
            ),
            ("postgres://u:hunter2/x@h/d", ["address: port: expected a whole number from 1 to 65535"]),
            ("postgres://u:p@h:0/d", ["address: port: expected a whole number from 1 to 65535"]),
            ("postgres://u:p@h:1,i:2/d", ["address: port: expected one port for all hosts"]),
            ("postgres://u:p@[::1/d", ["address: host: expected a closing ] after an IPv6 address"]),
            ("postgres://u:p@[::1]x/d", ["address: host: expected : or / after the host"]),
            (
                "postgres://u:hunter2%4@h/d",
                [
                    "address: password: expected two hexadecimal digits after %, and not 00"
                ]
            ),
            (
                "postgres://u:hunter2%00@h/d",
                [
                    "address: password: expected two hexadecimal digits after %, and not 00"
                ]
            ),
            ("postgres://u:hunter2%ff@h/d", ["address: password: expected UTF-8"]),
            ("postgres://u:p@h/pgbouncer", ["address: database: the name \"pgbouncer\" is reserved for the console"]),
            ("postgres://u:p@h/d?x", ["address: expected ?key=value&key=value after the database"]),
            (
                "postgres://u:p@h/d?target_session_attrs=any",
                [
                    "address: target_session_attrs: unrecognized connection parameter: target_session_attrs"
                ]
            ),
            (
                "postgres://u:p@h/d?sslmode=require",
                [
                    "address: sslmode: not supported by this version of Weir, only disable, allow or prefer is"
                ]
            ),
        ] as [(String, [String])])
    func refused(url: String, lines: [String]) {
        switch configuration(fromURL: url) {
        case .success: Issue.record("accepted")
        case .failure(let errors):
            #expect(errors.errors.map(\.description) == lines)
            #expect(!errors.description.contains("hunter2"))
        }
    }
}
