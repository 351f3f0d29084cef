// The settings table: complete, consistent, and what SET, SHOW CONFIG and --print-config make of it.

import Glibc
import Testing

@testable import Configuration

@Suite struct SettingsTableTests {
    /// Every key of the main section that an existing pgbouncer.ini may hold, with its default as SHOW CONFIG shows it.
    static let referenceDefaults: [(String, String)] = [
        ("listen_addr", ""), ("listen_port", "6432"), ("listen_backlog", "128"), ("unix_socket_dir", "/tmp"),
        ("unix_socket_mode", "511"), ("unix_socket_group", ""), ("so_reuseport", "0"), ("user", ""), ("pidfile", ""),
        ("job_name", "pgbouncer"), ("conffile", ""), ("resolv_conf", ""), ("peer_id", "0"), ("pool_mode", "session"),
        ("max_client_conn", "100"), ("default_pool_size", "20"), ("min_pool_size", "0"), ("reserve_pool_size", "0"),
        ("reserve_pool_timeout", "5"), ("max_db_connections", "0"), ("max_db_client_connections", "0"),
        ("max_user_connections", "0"), ("max_user_client_connections", "0"), ("server_round_robin", "0"),
        ("max_prepared_statements", "200"), ("track_extra_parameters", "IntervalStyle"),
        ("ignore_startup_parameters", ""), ("disable_pqexec", "0"), ("application_name_add_host", "0"),
        ("autodb_idle_timeout", "3600"), ("pool_idle_timeout", "0"), ("max_packet_size", "2147483647"),
        ("pkt_buf", "4096"), ("sbuf_loopcnt", "5"), ("login_notify_message", ""), ("server_lifetime", "3600"),
        ("server_idle_timeout", "600"), ("server_connect_timeout", "15"), ("server_login_retry", "15"),
        ("server_check_delay", "30"), ("client_login_timeout", "60"), ("client_idle_timeout", "0"),
        ("query_timeout", "0"), ("query_wait_timeout", "120"), ("query_wait_notify", "5"),
        ("idle_transaction_timeout", "0"), ("transaction_timeout", "0"), ("cancel_wait_timeout", "10"),
        ("suspend_timeout", "10"), ("dns_max_ttl", "15"), ("dns_nxdomain_ttl", "15"), ("dns_zone_check_period", "0"),
        ("server_reset_query", "DISCARD ALL"), ("server_reset_query_always", "0"), ("server_check_query", "<empty>"),
        ("server_fast_close", "0"), ("auth_type", "md5"), ("auth_file", ""), ("auth_hba_file", ""),
        ("auth_ident_file", ""), ("auth_user", ""), ("auth_dbname", ""),
        (
            "auth_query",
            "SELECT rolname, CASE WHEN rolvaliduntil < now() THEN NULL ELSE rolpassword END "
                + "FROM pg_authid WHERE rolname=$1 AND rolcanlogin"
        ), ("auth_ldap_options", ""), ("scram_iterations", "4096"), ("admin_users", ""), ("stats_users", ""),
        ("client_tls_sslmode", "disable"), ("client_tls_key_file", ""), ("client_tls_cert_file", ""),
        ("client_tls_ca_file", ""), ("client_tls_protocols", "secure"), ("client_tls_ciphers", "default"),
        ("client_tls13_ciphers", ""), ("client_tls_ecdhcurve", "auto"), ("client_tls_dheparams", "auto"),
        ("server_tls_sslmode", "prefer"), ("server_tls_ca_file", ""), ("server_tls_key_file", ""),
        ("server_tls_cert_file", ""), ("server_tls_protocols", "secure"), ("server_tls_ciphers", "default"),
        ("server_tls13_ciphers", ""), ("logfile", ""), ("syslog", "0"), ("syslog_ident", "pgbouncer"),
        ("syslog_facility", "daemon"), ("log_connections", "1"), ("log_disconnections", "1"),
        ("log_pooler_errors", "1"), ("log_stats", "1"), ("stats_period", "60"), ("verbose", "0"),
        ("tcp_defer_accept", "1"), ("tcp_keepalive", "1"), ("tcp_keepcnt", "0"), ("tcp_keepidle", "0"),
        ("tcp_keepintvl", "0"), ("tcp_socket_buffer", "0"), ("tcp_user_timeout", "0"),
    ]

    /// What Weir adds.
    static let ownDefaults: [(String, String)] = [
        ("workers", "1"), ("io_backend", "auto"), ("max_overflow", "0"), ("overflow_idle_timeout", "10"),
        ("server_connect_parallel", "4"), ("cancel_on_disconnect", "1"), ("max_client_prepared_statements", "10000"),
        ("pin", "hold"), ("max_pinned", "0"), ("pin_notice", "0"), ("cache_unnamed_statements", "0"),
    ]

    @Test("every key is known with its default", arguments: referenceDefaults + ownDefaults)
    func knownKeys(key: String, value: String) throws {
        let setting = try #require(Setting.named(key))
        #expect(setting.text(in: Settings()) == value)
        var settings = Settings()
        try setting.assign(setting.defaultText, to: &settings)
        #expect(settings == Settings())
    }

    @Test("the table holds no key that these tests do not know")
    func noUnknownKeys() {
        let known = Set((Self.referenceDefaults + Self.ownDefaults).map(\.0))
        #expect(Set(settingsTable.map(\.name)) == known)
        #expect(settingsTable.count == known.count)
    }

    @Test("each row has its own field of Settings")
    func fieldsAreDistinct() throws {
        for setting in settingsTable {
            var settings = Settings()
            let other =
                switch setting.field {
                case .text: "other"
                case .integer: setting.defaultText == "7" ? "8" : "7"
                case .boolean: setting.defaultText == "1" ? "0" : "1"
                case .time: "77"
                case .list: "x,y"
                case .choice(let words, _, _): words.first { $0 != setting.defaultText } ?? ""
                case .workers: "3"
                }
            try setting.store(other, in: &settings)
            let changed = settingsTable.filter { $0.text(in: settings) != $0.text(in: Settings()) }.map(\.name)
            #expect(changed == [setting.name])
            #expect(setting.text(in: settings) == other)
            setting.copy(from: Settings(), to: &settings)
            #expect(settings == Settings())
        }
    }

    @Test("every setting is explained in a sentence")
    func explanations() {
        for setting in settingsTable {
            #expect(setting.explanation.hasSuffix(".") || setting.explanation.hasSuffix(".\n"), "\(setting.name)")
        }
    }

    @Test("pool_size is another name of default_pool_size")
    func alias() throws {
        #expect(try loadSettings("pool_size = 7").defaultPoolSize == 7)
        #expect(try loadSettings("pool_size = 7\ndefault_pool_size = 8").defaultPoolSize == 8)
    }

    @Test(
        "a value whose feature is not built is refused by name",
        arguments: [
            (
                "client_tls_sslmode = allow",
                "client_tls_sslmode: not supported by this version of Weir, only disable is"
            ),
            (
                "server_tls_sslmode = verify-full",
                "server_tls_sslmode: not supported by this version of Weir, only disable, allow or prefer is"
            ),
            (
                "auth_type = HBA",
                "auth_type: not supported by this version of Weir, only any, trust, plain, md5 or scram-sha-256 is"
            ),
            ("auth_hba_file = x", "auth_hba_file: not supported by this version of Weir, only an empty value is"),
            ("so_reuseport = 1", "so_reuseport: not supported by this version of Weir, only 0 is"),
            ("peer_id = 3", "peer_id: not supported by this version of Weir, only 0 is"),
            ("auth_user = u", "auth_user: not supported by this version of Weir, only an empty value is"),
            ("syslog = 1", "syslog: not supported by this version of Weir, only 0 is"),
        ])
    func refused(line: String, error: String) {
        #expect(errorLines(["weir.ini": "[weir]\nauth_type = trust\n\(line)"]) == ["weir.ini:3: " + error])
    }

    @Test(
        "a refused setting may be given its default, and a setting without effect any value",
        arguments: [
            "client_tls_sslmode = disable", "server_tls_sslmode = allow", "server_tls_sslmode = disable",
            "client_tls_protocols = secure", "so_reuseport = 0", "auth_user =", "sbuf_loopcnt = 0", "pkt_buf = 8192",
            "suspend_timeout = 3", "job_name = x", "max_prepared_statements = 0", "auth_query = \(defaultAuthQuery)",
        ])
    func accepted(line: String) throws { _ = try loadSettings(line) }

    @Test("SET changes a setting and nothing else")
    func set() throws {
        let changed = try applySet(key: "query_wait_timeout", value: "500ms", to: Settings()).get()
        var expected = Settings()
        expected.queryWaitTimeoutMicroseconds = 500_000
        #expect(changed == expected)
    }

    @Test(
        "SET refuses what it cannot do, and says why",
        arguments: [
            ("nonsense", "1", "nonsense: unknown parameter"),
            ("pool size", "1", "\"pool size\": unknown parameter"),
            ("default_pool_size", "10x", "default_pool_size: expected a whole number, found \"10x\""),
            ("pool_mode", "x", "pool_mode: expected session, transaction or statement, found \"x\""),
            ("stats_period", "0", "stats_period: expected a time greater than 0, found \"0\""),
            ("verbose", "11", "verbose: expected a whole number from 0 to 10, found \"11\""),
            (
                "listen_port", "6433",
                "listen_port: cannot be changed while Weir runs: change it in the file and restart"
            ),
            ("workers", "2", "workers: cannot be changed while Weir runs: change it in the file and restart"),
            (
                "auth_type", "pam",
                "auth_type: not supported by this version of Weir, only any, trust, plain, md5 or scram-sha-256 is"
            ),
        ])
    func setErrors(key: String, value: String, error: String) {
        switch applySet(key: key, value: value, to: Settings()) {
        case .success: Issue.record("SET \(key) = \(value) was accepted")
        case .failure(let found): #expect(found.description == error)
        }
    }

    @Test("SHOW CONFIG is sorted and prints values as it always did")
    func show() throws {
        var settings = Settings()
        settings.serverLifetimeMicroseconds = 1_500_000
        settings.tcpUserTimeoutMicroseconds = 250_000
        settings.adminUsers = ["a", "b"]
        settings.workers = .auto
        let rows = showConfig(settings)
        #expect(rows.map(\.key) == rows.map(\.key).sorted())
        #expect(rows.count == settingsTable.count)
        let values = Dictionary(uniqueKeysWithValues: rows.map { ($0.key, $0) })
        #expect(values["server_lifetime"]?.value == "1.5")
        #expect(values["server_lifetime"]?.defaultText == "3600")
        #expect(values["tcp_user_timeout"]?.value == "250")
        #expect(values["admin_users"]?.value == "a,b")
        #expect(values["workers"]?.value == "auto")
        #expect(values["log_connections"]?.value == "1")
        #expect(
            values["unix_socket_mode"]
                == ConfigRow(key: "unix_socket_mode", value: "511", defaultText: "0777", isChangeable: false))
        #expect(values["pool_mode"]?.isChangeable == true)
    }

    @Test("--print-config names every setting with default and explanation, and loads")
    func print() throws {
        let text = printConfig()
        for setting in settingsTable {
            let line = setting.defaultText.isEmpty ? ";\(setting.name) =" : ";\(setting.name) = \(setting.defaultText)"
            #expect(text.split(separator: "\n").contains { $0 == line }, "\(setting.name)")
        }
        #expect(text.split(separator: "\n").allSatisfy { $0.count <= 120 || $0.contains("auth_query") })
        #expect(try load(["weir.ini": text + "\nauth_type = trust\n"]).get().settings.defaultPoolSize == 20)
    }

    @Test("Conf/weir.ini is what the table generates (WEIR_WRITE_SAMPLE=1 writes it), and loads")
    func sample() throws {
        let folder = #filePath.split(separator: "/").dropLast(3).map { "/" + $0 }.joined() + "/Conf"
        if getenv("WEIR_WRITE_SAMPLE") != nil {
            let file = try #require(fopen(folder + "/weir.ini", "w"))
            fputs(sampleConfiguration(), file)
            fclose(file)
        }
        let text = try #require(contents(of: folder + "/weir.ini"))
        #expect(text == sampleConfiguration())
        let users = try #require(contents(of: folder + "/userlist.txt"))
        let configuration = try load(["weir.ini": text, "/etc/weir/userlist.txt": users]).get()
        #expect(configuration.settings.listenAddr == ["127.0.0.1"])
        #expect(configuration.settings.poolMode == .transaction)
        #expect(configuration.wildcard?.hosts == [.tcp("127.0.0.1")])
    }

    private func contents(of path: String) -> String? {
        guard let file = fopen(path, "r") else { return nil }
        defer { fclose(file) }
        var bytes: [UInt8] = []
        while case let byte = fgetc(file), byte != EOF { bytes.append(UInt8(byte)) }
        return String(decoding: bytes, as: UTF8.self)
    }
}
