// Who wins where user, database and main section each say something, and what a reload changes.

import Testing

@testable import Configuration

@Suite struct EffectiveTests {
    /// A configuration whose every level says something else: main section 1…, database 2…, user 3….
    static func threeLevels() throws -> Configuration {
        try load([
            "weir.ini": """
            [weir]
            auth_type = trust
            pool_mode = session
            default_pool_size = 10
            reserve_pool_size = 11
            min_pool_size = 12
            max_overflow = 13
            max_db_connections = 14
            max_db_client_connections = 15
            max_user_connections = 16
            max_user_client_connections = 17
            server_lifetime = 18
            query_wait_timeout = 19
            query_timeout = 110
            transaction_timeout = 111
            idle_transaction_timeout = 112
            client_idle_timeout = 113
            [databases]
            d = host=h pool_mode=transaction pool_size=20 reserve_pool_size=21 min_pool_size=22 max_overflow=23 \
            max_db_connections=24 max_db_client_connections=25 server_lifetime=28 query_wait_timeout=29
            plain = host=h
            * = host=wild port=1
            [users]
            u = pool_mode=statement pool_size=30 reserve_pool_size=31 max_user_connections=36 \
            max_user_client_connections=37 query_wait_timeout=39 query_timeout=310 transaction_timeout=311 \
            idle_transaction_timeout=312 client_idle_timeout=313
            zero = query_timeout=0 max_user_connections=0 pool_size=0 query_wait_timeout=0
            """
        ]).get()
    }

    @Test("the user's word comes first, then the database's, then the main section's")
    func userDatabaseMain() throws {
        let all = try Self.threeLevels()
        let database = try #require(all.database(named: "d"))
        let plain = try #require(all.database(named: "plain"))
        let rows: [(DatabaseOptions, String, PoolMode, Int, Int, Int64)] = [
            (database, "u", .statement, 30, 31, 39), (database, "other", .transaction, 20, 21, 29),
            (plain, "u", .statement, 30, 31, 39), (plain, "other", .session, 10, 11, 19),
            (database, "zero", .transaction, 0, 21, 0),
        ]
        for (database, user, mode, size, reserve, wait) in rows {
            #expect(all.poolMode(database: database, user: user) == mode)
            #expect(all.poolSize(database: database, user: user) == size)
            #expect(all.reservePoolSize(database: database, user: user) == reserve)
            #expect(all.queryWaitTimeoutMicroseconds(database: database, user: user) == wait * 1_000_000)
        }
    }

    @Test("a database's own limits come before the main section's")
    func databaseMain() throws {
        let all = try Self.threeLevels()
        for (name, sizes) in [("d", [22, 23, 24, 25, 28]), ("plain", [12, 13, 14, 15, 18])] {
            let database = try #require(all.database(named: name))
            #expect(
                [
                    all.minPoolSize(database: database), all.maxOverflow(database: database),
                    all.maxDbConnections(database: database), all.maxDbClientConnections(database: database),
                    Int(all.serverLifetimeMicroseconds(database: database) / 1_000_000),
                ] == sizes)
        }
    }

    @Test("a user's own limits and timeouts come before the main section's, unless they are 0")
    func userMain() throws {
        let all = try Self.threeLevels()
        for (user, values) in [
            ("u", [36, 37, 310, 311, 312, 313]), ("other", [16, 17, 110, 111, 112, 113]),
            ("zero", [16, 17, 110, 111, 112, 113]),
        ] {
            let times = [
                all.queryTimeoutMicroseconds(user: user), all.transactionTimeoutMicroseconds(user: user),
                all.idleTransactionTimeoutMicroseconds(user: user), all.clientIdleTimeoutMicroseconds(user: user),
            ].map { Int($0 / 1_000_000) }
            #expect([all.maxUserConnections(user: user), all.maxUserClientConnections(user: user)] + times == values)
        }
    }

    @Test("an unknown database is made from * under its own name; the console's names are not databases")
    func wildcard() throws {
        let all = try Self.threeLevels()
        let made = try #require(all.database(named: "new"))
        #expect(made.name == "new")
        #expect(made.serverDatabase == "new")
        #expect(made.port == 1)
        for name in ["weir", "pgbouncer", "*", ""] { #expect(all.database(named: name) == nil) }
        #expect(Configuration().database(named: "new") == nil)
    }

    @Test("a database without a host is looked for in unix_socket_dir")
    func defaultHost() {
        let configuration = Configuration()
        #expect(configuration.hosts(database: DatabaseOptions(name: "d")) == [.unix("/tmp")])
        #expect(configuration.loadBalanceHosts(database: DatabaseOptions(name: "d")) == .roundRobin)
    }

    @Test(
        "servers are recycled when they would lead elsewhere, and only then",
        arguments: [
            ("host=h", false), ("host=h dbname=d", false), ("host=h load_balance_hosts=round-robin", false),
            ("host=h password=x", false), ("host=h pool_size=3 pool_mode=session", false), ("host=i", true),
            ("host=h,i", true), ("host=h port=1", true), ("host=h dbname=e", true), ("host=h user=u", true),
            ("host=h connect_query='select 1'", true), ("host=h load_balance_hosts=disable", true), ("", true),
        ])
    func recycling(after: String, recycled: Bool) {
        let old = DatabaseOptions.parse(name: "d", connectionString: "host=h").options
        let new = DatabaseOptions.parse(name: "d", connectionString: after).options
        #expect(mustRecycleServers(from: old, to: new) == recycled)
        #expect(mustRecycleServers(from: new, to: old) == recycled)
        let found = changes(
            from: Configuration(databases: ["d": old]), to: Configuration(databases: ["d": new]))
        #expect(found.recycledDatabases == (recycled ? ["d"] : []))
        #expect(found.removedDatabases == [] && found.addedDatabases == [])
    }

    @Test("a reload's changes are named")
    func reload() throws {
        let old = try load([
            "weir.ini": """
            [weir]
            auth_type=trust
            auth_file=users
            [databases]
            gone = host=a
            kept = host=a
            moved = host=a
            * = host=w
            """, "users": "\"a\" \"1\"\n\"b\" \"2\"",
        ]).get()
        let withWildcard = try load([
            "weir.ini": """
            [weir]
            auth_type=trust
            auth_file=users
            listen_port=7000
            verbose=1
            query_timeout=3
            [databases]
            kept = host=a
            moved = host=b
            new = host=w
            * = host=w
            """, "users": "\"b\" \"3\"",
        ]).get()
        var expected = ConfigurationChanges()
        expected.addedDatabases = ["new"]
        expected.recycledDatabases = ["gone", "moved"]
        expected.removedUsers = ["a"]
        expected.changedSettings = ["query_timeout", "verbose"]
        expected.settingsNeedingRestart = ["listen_port"]
        #expect(changes(from: old, to: withWildcard) == expected)

        var withoutWildcard = withWildcard
        withoutWildcard.wildcard = nil
        expected.recycledDatabases = ["moved"]
        expected.removedDatabases = ["gone"]
        expected.wildcardRecycled = true
        #expect(changes(from: old, to: withoutWildcard) == expected)
        #expect(changes(from: old, to: old).isEmpty)

        let applied = withWildcard.keepingFixedSettings(of: old)
        #expect(applied.settings.listenPort == 6432)
        #expect(applied.settings.verbose == 1)
        #expect(changes(from: old, to: applied).settingsNeedingRestart == [])
    }
}
