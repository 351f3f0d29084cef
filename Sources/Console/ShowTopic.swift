// What SHOW can show, and the columns of each topic.
//
// The columns, their order and their types are PgBouncer 1.25.2's (it has no PINS): exporters and check scripts find
// columns by name and by position. RowDescription of a Describe comes from here as well, before any data has been collected.

/// A topic of SHOW.
public enum ShowTopic: String, CaseIterable, Equatable, Sendable {
    case activeSockets = "active_sockets"
    case clients
    case config
    case databases
    case dnsHosts = "dns_hosts"
    case dnsZones = "dns_zones"
    case fds
    case help
    case lists
    case mem
    case peerPools = "peer_pools"
    case peers
    case pins
    case pools
    case servers
    case sockets
    case state
    case stats
    case statsAverages = "stats_averages"
    case statsTotals = "stats_totals"
    case totals
    case users
    case version

    /// The topic's columns. HELP has none: it answers with a notice.
    public var columns: [ConsoleColumn] {
        switch self {
        case .databases: databaseColumns
        case .pools: poolColumns
        case .clients, .servers: connectionColumns
        case .pins: pinColumns
        case .sockets, .activeSockets: connectionColumns + socketColumns
        case .users: userColumns
        case .lists: [text("list"), int4("items")]
        case .peers: [int4("peer_id"), text("host"), int4("port"), int4("pool_size")]
        case .peerPools: peerPoolColumns
        case .stats: statsColumns
        case .statsTotals: statsTotalsColumns
        case .statsAverages: statsAveragesColumns
        case .totals: [text("name"), numeric("value")]
        case .config: [text("key"), text("value"), text("default"), text("changeable")]
        case .mem: [text("name"), int4("size"), int4("used"), int4("free"), int4("memtotal")]
        case .state: [text("key"), text("value")]
        case .dnsHosts: [text("hostname"), int8("ttl"), text("addrs")]
        case .dnsZones: [text("zonename"), int8("serial"), int4("count")]
        case .version: [text("version")]
        case .fds: fileDescriptorColumns
        case .help: []
        }
    }
}

private func text(_ name: String) -> ConsoleColumn { ConsoleColumn(name, .text) }
private func int4(_ name: String) -> ConsoleColumn { ConsoleColumn(name, .int4) }
private func int8(_ name: String) -> ConsoleColumn { ConsoleColumn(name, .int8) }
private func numeric(_ name: String) -> ConsoleColumn { ConsoleColumn(name, .numeric) }
private func bytea(_ name: String) -> ConsoleColumn { ConsoleColumn(name, .bytea) }

private let databaseColumns = [
    text("name"), text("host"), int4("port"), text("database"), text("force_user"), int4("pool_size"),
    int4("min_pool_size"), int4("reserve_pool_size"), int4("server_lifetime"), text("pool_mode"),
    text("load_balance_hosts"), int4("max_connections"), int4("current_connections"),
    int4("max_client_connections"), int4("current_client_connections"), int4("paused"), int4("disabled"),
]

private let poolColumns = [
    text("database"), text("user"), int4("cl_active"), int4("cl_waiting"), int4("cl_active_cancel_req"),
    int4("cl_waiting_cancel_req"), int4("sv_active"), int4("sv_active_cancel"), int4("sv_being_canceled"),
    int4("sv_idle"), int4("sv_used"), int4("sv_tested"), int4("sv_login"), int4("maxwait"), int4("maxwait_us"),
    text("pool_mode"), text("load_balance_hosts"),
]

private let connectionColumns = [
    text("type"), text("user"), text("database"), text("replication"), text("state"), text("addr"), int4("port"),
    text("local_addr"), int4("local_port"), text("connect_time"), text("request_time"), int4("wait"),
    int4("wait_us"), int4("close_needed"), text("ptr"), text("link"), int4("remote_pid"), text("tls"),
    text("application_name"), int4("prepared_statements"), int4("id"),
]

private let pinColumns = [
    text("database"), text("user"), text("client"), text("server"), text("reason"), text("since"), int4("seconds"),
    text("statement"),
]

private let socketColumns = [
    int4("recv_pos"), int4("pkt_pos"), int4("pkt_remain"), int4("send_pos"), int4("send_remain"),
    int4("pkt_avail"), int4("send_avail"),
]

private let userColumns = [
    text("name"), text("pool_size"), text("reserve_pool_size"), text("pool_mode"), int4("max_user_connections"),
    int4("current_connections"), int4("max_user_client_connections"), int4("current_client_connections"),
]

private let peerPoolColumns = [
    int4("peer_id"), int4("cl_active_cancel_req"), int4("cl_waiting_cancel_req"), int4("sv_active_cancel"),
    int4("sv_login"),
]

private let statsColumns =
    [
        text("database"), numeric("total_server_assignment_count"), numeric("total_xact_count"),
        numeric("total_query_count"), numeric("total_received"), numeric("total_sent"), numeric("total_xact_time"),
        numeric("total_query_time"), numeric("total_wait_time"), numeric("total_client_parse_count"),
        numeric("total_server_parse_count"), numeric("total_bind_count"),
    ] + [
        numeric("avg_server_assignment_count"), numeric("avg_xact_count"), numeric("avg_query_count"),
        numeric("avg_recv"), numeric("avg_sent"), numeric("avg_xact_time"), numeric("avg_query_time"),
        numeric("avg_wait_time"), numeric("avg_client_parse_count"), numeric("avg_server_parse_count"),
        numeric("avg_bind_count"),
    ]

private let statsTotalsColumns = [
    text("database"), numeric("server_assignment_count"), numeric("xact_count"), numeric("query_count"),
    numeric("bytes_received"), numeric("bytes_sent"), numeric("xact_time"), numeric("query_time"),
    numeric("wait_time"), numeric("client_parse_count"), numeric("server_parse_count"), numeric("bind_count"),
]

private let statsAveragesColumns = [
    text("database"), numeric("server_assignment_count"), numeric("xact_count"), numeric("query_count"),
    numeric("bytes_received"), numeric("bytes_sent"), numeric("xact_time"), numeric("query_time"),
    numeric("wait_time"), numeric("avg_client_parse_count"), numeric("avg_server_parse_count"),
    numeric("avg_bind_count"),
]

private let fileDescriptorColumns = [
    int4("fd"), text("task"), text("user"), text("database"), text("addr"), int4("port"), int8("cancel"),
    int4("link"), text("client_encoding"), text("std_strings"), text("datestyle"), text("timezone"),
    text("password"), bytea("scram_client_key"), bytea("scram_server_key"),
]
