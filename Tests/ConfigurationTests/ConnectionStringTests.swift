// Quoting of connection strings, and the options that databases and users are made of.

import Testing

@testable import Configuration

@Suite struct ConnectionStringTests {
    @Test(
        "pairs are read with their quoting",
        arguments: [
            ("", []),
            ("  ", []),
            ("host=a", ["host:a"]),
            ("host=a port=1", ["host:a", "port:1"]),
            (" host = a   port =1 ", ["host:a", "port:1"]),
            ("a='x y' b=z", ["a:x y", "b:z"]),
            ("a='it''s' b=''", ["a:it's", "b:"]),
            ("a=x\ty b=z", ["a:x\ty", "b:z"]),
            ("a=x'y' b=z", ["a:x'y'", "b:z"]),
            ("a='\\' b=z", ["a:\\", "b:z"]),
            ("a='x'b=z", ["a:x", "b:z"]),
            ("a=b=c", ["a:b=c"]),
            ("a=ü", ["a:ü"]),
            ("a=1 a=2", ["a:1", "a:2"]),
        ] as [(String, [String])])
    func pairs(text: String, expected: [String]) throws {
        #expect(try connectionPairs(of: text).map { "\($0.key):\($0.value)" } == expected)
    }

    @Test(
        "a broken connection string is an error that does not repeat it",
        arguments: [
            ("host", "syntax error in connection string, expected key=value"),
            ("host=a secret", "syntax error in connection string, expected key=value after host"),
            ("=a", "syntax error in connection string, expected key=value"),
            ("password='secret", "syntax error in connection string, expected a closing quote"),
            ("port=1 host=", "syntax error in connection string, expected a value after = after port"),
            ("host= ", "syntax error in connection string, expected a value after ="),
        ])
    func broken(text: String, message: String) {
        #expect(throws: ConnectionStringError(message: message)) { try connectionPairs(of: text) }
    }

    @Test("every key of a database is understood")
    func databaseKeys() {
        let (options, errors) = DatabaseOptions.parse(
            name: "app",
            connectionString: """
                dbname=real host=a,::1,[::2],/run/pg,@abstract port=5433 user=u password='p w' pool_size=0 \
                min_pool_size=1 reserve_pool=2 max_overflow=3 max_db_connections=4 max_db_client_connections=5 \
                server_lifetime=1.5 query_wait_timeout=0 load_balance_hosts=Disable pool_mode=TRANSACTION \
                connect_query='select 1' client_encoding=utf8 datestyle='ISO, DMY' timezone=GMT application_name=x
                """)
        #expect(errors == [])
        var expected = DatabaseOptions(name: "app")
        expected.dbname = "real"
        expected.hosts = [.tcp("a"), .tcp("::1"), .tcp("::2"), .unix("/run/pg"), .unix("@abstract")]
        expected.port = 5433
        expected.user = "u"
        expected.password = Password("p w")
        expected.poolSize = 0
        expected.minPoolSize = 1
        expected.reservePoolSize = 2
        expected.maxOverflow = 3
        expected.maxDbConnections = 4
        expected.maxDbClientConnections = 5
        expected.serverLifetimeMicroseconds = 1_500_000
        expected.queryWaitTimeoutMicroseconds = 0
        expected.loadBalanceHosts = .disable
        expected.poolMode = .transaction
        expected.connectQuery = "select 1"
        expected.clientEncoding = "utf8"
        expected.datestyle = "ISO, DMY"
        expected.timezone = "GMT"
        expected.applicationName = "x"
        #expect(options == expected)
        #expect(options.serverDatabase == "real")
        #expect(DatabaseOptions(name: "app").serverDatabase == "app")
    }

    @Test("every key of a user is understood")
    func userKeys() {
        let (options, errors) = UserOptions.parse(
            name: "u",
            text: """
                pool_mode=statement pool_size=1 reserve_pool_size=2 max_user_connections=3 \
                max_user_client_connections=4 query_timeout=5 query_wait_timeout=6 idle_transaction_timeout=7 \
                transaction_timeout=8 client_idle_timeout=9
                """)
        #expect(errors == [])
        var expected = UserOptions(name: "u")
        expected.poolMode = .statement
        expected.poolSize = 1
        expected.reservePoolSize = 2
        expected.maxUserConnections = 3
        expected.maxUserClientConnections = 4
        expected.queryTimeoutMicroseconds = 5_000_000
        expected.queryWaitTimeoutMicroseconds = 6_000_000
        expected.idleTransactionTimeoutMicroseconds = 7_000_000
        expected.transactionTimeoutMicroseconds = 8_000_000
        expected.clientIdleTimeoutMicroseconds = 9_000_000
        #expect(options == expected)
    }

    @Test(
        "a negative size, and a limit or lifetime of 0, mean that it is not given",
        arguments: [
            "pool_size=-1", "min_pool_size=-1", "max_db_connections=0", "max_db_connections=-1", "server_lifetime=0",
            "server_lifetime=-1", "query_wait_timeout=-1", "max_db_client_connections=0",
        ])
    func notGiven(text: String) {
        let (options, errors) = DatabaseOptions.parse(name: "d", connectionString: text)
        #expect(errors == [])
        #expect(options == DatabaseOptions(name: "d"))
    }

    @Test(
        "what is wrong with an option is said",
        arguments: [
            ("port=0", "expected a whole number from 1 to 65535, found \"0\""),
            ("port=5432,5433", "expected a whole number, found \"5432,5433\""),
            ("pool_size=10x", "expected a whole number, found \"10x\""),
            ("server_lifetime=1y", "expected a time such as 30, 1.5, 500ms or 5min, found \"1y\""),
            ("pin=x", "expected hold, refuse or ignore, found \"x\""),
            ("pool_mode=x", "expected session, transaction or statement, found \"x\""),
            ("load_balance_hosts=x", "expected round-robin or disable, found \"x\""),
            ("host=a,,b", "expected hosts between commas, found \"a,,b\""),
            ("host=''", "expected hosts between commas, found \"\""),
            ("auth_user=a", "not supported by this version of Weir"),
            ("auth_dbname=a", "not supported by this version of Weir"),
            ("auth_query=a", "not supported by this version of Weir"),
            ("sslmode=require", "unrecognized connection parameter: sslmode"),
            ("Host=a", "unrecognized connection parameter: Host"),
        ])
    func wrongOptions(text: String, message: String) {
        #expect(DatabaseOptions.parse(name: "d", connectionString: text).errors.map(\.message) == [message])
    }

    @Test("nothing that is printed shows a password")
    func redaction() {
        var database = DatabaseOptions(name: "d")
        database.password = Password("hunter2")
        let secrets: [String: Secret] = [
            "a": .plain("hunter2"), "b": .md5("md5hunter2"), "c": .scram("SCRAM-SHA-256$hunter2"),
        ]
        let configuration = Configuration(databases: ["d": database], secrets: secrets)
        var printed = "\(configuration) \(String(reflecting: configuration)) \(database)"
        dump(configuration, to: &printed)
        #expect(!printed.contains("hunter2"))
        #expect(printed.contains("redacted"))
    }

    @Test(
        "a stored secret is told by its form",
        arguments: [
            ("secret", "plain"), ("", "plain"), ("md5", "plain"),
            ("md50123456789abcdef0123456789abcdef", "md5"), ("md50123456789ABCDEF0123456789ABCDEF", "plain"),
            ("md50123456789abcdef0123456789abcde", "plain"),
            ("SCRAM-SHA-256$4096:c2FsdA==$\(key):\(key)", "scram"), ("SCRAM-SHA-256$0:c2FsdA==$\(key):\(key)", "plain"),
            ("SCRAM-SHA-256$+1:c2FsdA==$\(key):\(key)", "plain"), ("SCRAM-SHA-256$4096:c2Fsd$\(key):\(key)", "plain"),
            ("SCRAM-SHA-256$4096:c2FsdA==$\(key):", "plain"),
            ("SCRAM-SHA-256$99999999999:c2FsdA==$\(key):\(key)", "plain"),
            ("SCRAM-SHA-256$4096:$\(key):\(key)", "plain"), ("SCRAM-SHA-256", "plain"),
            ("SCRAM-SHA-1$1:a$b:c", "plain"),
        ])
    func secretKinds(text: String, kind: String) { #expect(Secret(stored: text).description == kind + " <redacted>") }

    /// 32 zero bytes in Base64.
    static let key = String(repeating: "A", count: 43) + "="
}
