// The settings of the main section as typed values, one field for each row of the settings table.
//
// What a setting means, its default and its range stand in the table (SettingsTable*.swift) and nowhere else; the
// values written here are only what Swift needs before the table's defaults are read in. Times are microseconds,
// whatever the unit in the file, and 0 is "off" or "no limit" as the table says; an unset text is empty.

/// The value of every setting of the main section.
public struct Settings: Sendable, Equatable {
    /// `listen_addr`.
    public var listenAddr: [String] = []
    /// `listen_port`.
    public var listenPort: Int = 0
    /// `listen_backlog`, in connections.
    public var listenBacklog: Int = 0
    /// `unix_socket_dir`.
    public var unixSocketDir: String = ""
    /// `unix_socket_mode`.
    public var unixSocketMode: Int = 0
    /// `unix_socket_group`.
    public var unixSocketGroup: String = ""
    /// `so_reuseport`.
    public var soReuseport: Bool = false
    /// `user`.
    public var user: String = ""
    /// `pidfile`.
    public var pidfile: String = ""
    /// `job_name`.
    public var jobName: String = ""
    /// `conffile`.
    public var conffile: String = ""
    /// `peer_id`.
    public var peerId: Int = 0
    /// `workers`.
    public var workers: WorkerCount = .auto
    /// `io_backend`.
    public var ioBackend: IOBackend = .auto
    /// `pkt_buf`, in bytes.
    public var pktBuf: Int = 0
    /// `sbuf_loopcnt`.
    public var sbufLoopcnt: Int = 0
    /// `max_packet_size`, in bytes.
    public var maxPacketSize: Int = 0
    /// `dns_max_ttl`, in microseconds.
    public var dnsMaxTtlMicroseconds: Int64 = 0
    /// `dns_nxdomain_ttl`, in microseconds.
    public var dnsNxdomainTtlMicroseconds: Int64 = 0
    /// `dns_zone_check_period`, in microseconds.
    public var dnsZoneCheckPeriodMicroseconds: Int64 = 0
    /// `resolv_conf`.
    public var resolvConf: String = ""
    /// `tcp_defer_accept`, in seconds.
    public var tcpDeferAccept: Int = 0
    /// `tcp_keepalive`.
    public var tcpKeepalive: Bool = false
    /// `tcp_keepcnt`.
    public var tcpKeepcnt: Int = 0
    /// `tcp_keepidle`, in seconds.
    public var tcpKeepidle: Int = 0
    /// `tcp_keepintvl`, in seconds.
    public var tcpKeepintvl: Int = 0
    /// `tcp_socket_buffer`, in bytes.
    public var tcpSocketBuffer: Int = 0
    /// `tcp_user_timeout`, in microseconds.
    public var tcpUserTimeoutMicroseconds: Int64 = 0
    /// `cache_unnamed_statements`.
    public var cacheUnnamedStatements = false
    /// `pin`.
    public var pin: PinMode = .hold
    /// `max_pinned`, servers of one pool, over all workers; 0 = no limit.
    public var maxPinned: Int = 0
    /// `pin_notice`.
    public var pinNotice = false
    /// `pool_mode`.
    public var poolMode: PoolMode = .session
    /// `max_client_conn`, in connections.
    public var maxClientConn: Int = 0
    /// `default_pool_size`, in connections.
    public var defaultPoolSize: Int = 0
    /// `max_overflow`, in connections.
    public var maxOverflow: Int = 0
    /// `overflow_idle_timeout`, in microseconds.
    public var overflowIdleTimeoutMicroseconds: Int64 = 0
    /// `min_pool_size`, in connections.
    public var minPoolSize: Int = 0
    /// `reserve_pool_size`, in connections.
    public var reservePoolSize: Int = 0
    /// `reserve_pool_timeout`, in microseconds.
    public var reservePoolTimeoutMicroseconds: Int64 = 0
    /// `max_db_connections`, in connections.
    public var maxDbConnections: Int = 0
    /// `max_db_client_connections`, in connections.
    public var maxDbClientConnections: Int = 0
    /// `max_user_connections`, in connections.
    public var maxUserConnections: Int = 0
    /// `max_user_client_connections`, in connections.
    public var maxUserClientConnections: Int = 0
    /// `server_connect_parallel`, in connections.
    public var serverConnectParallel: Int = 0
    /// `server_round_robin`.
    public var serverRoundRobin: Bool = false
    /// `autodb_idle_timeout`, in microseconds.
    public var autodbIdleTimeoutMicroseconds: Int64 = 0
    /// `pool_idle_timeout`, in microseconds.
    public var poolIdleTimeoutMicroseconds: Int64 = 0
    /// `max_prepared_statements`, in statements.
    public var maxPreparedStatements: Int = 0
    public var maxClientPreparedStatements: Int = 0
    /// `track_extra_parameters`.
    public var trackExtraParameters: [String] = []
    /// `ignore_startup_parameters`.
    public var ignoreStartupParameters: [String] = []
    /// `disable_pqexec`.
    public var disablePqexec: Bool = false
    /// `application_name_add_host`.
    public var applicationNameAddHost: Bool = false
    /// `login_notify_message`.
    public var loginNotifyMessage: String = ""
    /// `cancel_on_disconnect`.
    public var cancelOnDisconnect: Bool = false
    /// `query_wait_timeout`, in microseconds.
    public var queryWaitTimeoutMicroseconds: Int64 = 0
    /// `query_wait_notify`, in microseconds.
    public var queryWaitNotifyMicroseconds: Int64 = 0
    /// `query_timeout`, in microseconds.
    public var queryTimeoutMicroseconds: Int64 = 0
    /// `transaction_timeout`, in microseconds.
    public var transactionTimeoutMicroseconds: Int64 = 0
    /// `idle_transaction_timeout`, in microseconds.
    public var idleTransactionTimeoutMicroseconds: Int64 = 0
    /// `client_idle_timeout`, in microseconds.
    public var clientIdleTimeoutMicroseconds: Int64 = 0
    /// `client_login_timeout`, in microseconds.
    public var clientLoginTimeoutMicroseconds: Int64 = 0
    /// `cancel_wait_timeout`, in microseconds.
    public var cancelWaitTimeoutMicroseconds: Int64 = 0
    /// `suspend_timeout`, in microseconds.
    public var suspendTimeoutMicroseconds: Int64 = 0
    /// `server_lifetime`, in microseconds.
    public var serverLifetimeMicroseconds: Int64 = 0
    /// `server_idle_timeout`, in microseconds.
    public var serverIdleTimeoutMicroseconds: Int64 = 0
    /// `server_connect_timeout`, in microseconds.
    public var serverConnectTimeoutMicroseconds: Int64 = 0
    /// `server_login_retry`, in microseconds.
    public var serverLoginRetryMicroseconds: Int64 = 0
    /// `server_check_delay`, in microseconds.
    public var serverCheckDelayMicroseconds: Int64 = 0
    /// `server_reset_query`.
    public var serverResetQuery: String = ""
    /// `server_reset_query_always`.
    public var serverResetQueryAlways: Bool = false
    /// `server_check_query`.
    public var serverCheckQuery: String = ""
    /// `server_fast_close`.
    public var serverFastClose: Bool = false
    /// `auth_type`.
    public var authType: AuthType = .any
    /// `auth_file`.
    public var authFile: String = ""
    /// `auth_hba_file`.
    public var authHbaFile: String = ""
    /// `auth_ident_file`.
    public var authIdentFile: String = ""
    /// `auth_user`.
    public var authUser: String = ""
    /// `auth_dbname`.
    public var authDbname: String = ""
    /// `auth_query`.
    public var authQuery: String = ""
    /// `auth_ldap_options`.
    public var authLdapOptions: String = ""
    /// `scram_iterations`.
    public var scramIterations: Int = 0
    /// `admin_users`.
    public var adminUsers: [String] = []
    /// `stats_users`.
    public var statsUsers: [String] = []
    /// `client_tls_sslmode`.
    public var clientTlsSslmode: TLSMode = .disable
    /// `client_tls_key_file`.
    public var clientTlsKeyFile: String = ""
    /// `client_tls_cert_file`.
    public var clientTlsCertFile: String = ""
    /// `client_tls_ca_file`.
    public var clientTlsCaFile: String = ""
    /// `client_tls_protocols`.
    public var clientTlsProtocols: String = ""
    /// `client_tls_ciphers`.
    public var clientTlsCiphers: String = ""
    /// `client_tls13_ciphers`.
    public var clientTls13Ciphers: String = ""
    /// `client_tls_ecdhcurve`.
    public var clientTlsEcdhcurve: String = ""
    /// `client_tls_dheparams`.
    public var clientTlsDheparams: String = ""
    /// `server_tls_sslmode`.
    public var serverTlsSslmode: TLSMode = .disable
    /// `server_tls_ca_file`.
    public var serverTlsCaFile: String = ""
    /// `server_tls_key_file`.
    public var serverTlsKeyFile: String = ""
    /// `server_tls_cert_file`.
    public var serverTlsCertFile: String = ""
    /// `server_tls_protocols`.
    public var serverTlsProtocols: String = ""
    /// `server_tls_ciphers`.
    public var serverTlsCiphers: String = ""
    /// `server_tls13_ciphers`.
    public var serverTls13Ciphers: String = ""
    /// `logfile`.
    public var logfile: String = ""
    /// `syslog`.
    public var syslog: Bool = false
    /// `syslog_ident`.
    public var syslogIdent: String = ""
    /// `syslog_facility`.
    public var syslogFacility: String = ""
    /// `log_connections`.
    public var logConnections: Bool = false
    /// `log_disconnections`.
    public var logDisconnections: Bool = false
    /// `log_pooler_errors`.
    public var logPoolerErrors: Bool = false
    /// `log_stats`.
    public var logStats: Bool = false
    /// `stats_period`, in microseconds.
    public var statsPeriodMicroseconds: Int64 = 0
    /// `verbose`.
    public var verbose: Int = 0

    /// Every setting at its default.
    public static let defaults: Settings = {
        var settings = Settings(beforeDefaults: ())
        for setting in settingsTable {
            do {
                try setting.store(setting.defaultText, in: &settings)
            } catch {
                preconditionFailure("the default of \(setting.name) is not a value of its type")
            }
        }
        return settings
    }()

    /// Makes settings with every value at its default.
    public init() { self = Settings.defaults }

    private init(beforeDefaults: Void) {}
}
