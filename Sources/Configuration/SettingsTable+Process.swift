// Rows of the settings table: listeners, the process, threads.

let processSettings: [Setting] = [
    .list(
        "listen_addr", \.listenAddr, fixed: true,
        "Addresses to accept TCP connections on, between commas; * means all of them. Empty: no TCP at all."),
    .integer(
        "listen_port", \.listenPort, default: "6432", in: 1...65_535, fixed: true,
        "The port, for TCP and in the name of the Unix socket."),
    .integer(
        "listen_backlog", \.listenBacklog, default: "128", in: 1...2_147_483_647, unit: "connections", fixed: true,
        "How many connections the kernel holds ready while Weir has not accepted them yet."),
    .text(
        "unix_socket_dir", \.unixSocketDir, default: "/tmp", fixed: true,
        """
        Folder of the Unix socket .s.PGSQL.<listen_port>; a name that starts with @ is an abstract socket. It is \
        also where a database without host is looked for. Empty: no Unix socket.
        """),
    .integer(
        "unix_socket_mode", \.unixSocketMode, default: "0777", in: 0...0o7777, fixed: true,
        "Permissions of the Unix socket. A leading 0 means octal; SHOW CONFIG shows the number in decimal."),
    .text("unix_socket_group", \.unixSocketGroup, fixed: true, "Group that the Unix socket shall belong to."),
    .boolean(
        "so_reuseport", \.soReuseport, default: "0", fixed: true, support: .refused(accepted: []),
        "Several processes on one TCP port. Weir uses several cores with workers instead."),
    .text(
        "user", \.user, fixed: true,
        "User to become after start. Weir refuses to run as root without it. The flag -u says the same."),
    .text("pidfile", \.pidfile, fixed: true, "File for the process id; needed by -d."),
    .text(
        "job_name", \.jobName, default: "pgbouncer", fixed: true, support: .noEffect, aliases: ["service_name"],
        "Name of the service."),
    .text("conffile", \.conffile, "The file that the next RELOAD reads. By default the file given at start."),
    .integer(
        "peer_id", \.peerId, default: "0", in: 0...16_383, support: .refused(accepted: []),
        "Number of this process among its peers; 0 means that there are none."),
]

let engineSettings: [Setting] = [
    .workers(
        "workers", \.workers, default: "1",
        """
        Event-loop threads. They share every limit: a pool of 20 stays a pool of 20. auto takes one for each \
        processor that the process may use. 1 is right until one core is busy.
        """),
    .choice(
        "io_backend", \.ioBackend, default: "auto", fixed: true,
        """
        The kernel interface that moves the bytes. io_uring is cheaper and needs Linux 6.1; auto takes it where it \
        works and else epoll, and says so in the log.
        """),
    .integer(
        "pkt_buf", \.pktBuf, default: "4096", unit: "bytes", fixed: true, support: .noEffect,
        "Size of an I/O buffer."),
    .integer(
        "sbuf_loopcnt", \.sbufLoopcnt, default: "5", support: .noEffect,
        "How often one connection is read before the others have their turn."),
    .integer(
        "max_packet_size", \.maxPacketSize, default: "2147483647", in: 1...2_147_483_647, unit: "bytes",
        "A longer message closes its connection."),
]

let nameSettings: [Setting] = [
    .time("dns_max_ttl", \.dnsMaxTtlMicroseconds, default: "15", "How long an address found for a name is used."),
    .time(
        "dns_nxdomain_ttl", \.dnsNxdomainTtlMicroseconds, default: "15",
        "How long a name that was not found is not asked for again."),
    .time(
        "dns_zone_check_period", \.dnsZoneCheckPeriodMicroseconds, default: "0", support: .refused(accepted: []),
        "How often the serial number of a DNS zone is looked at; 0 means never."),
    .text(
        "resolv_conf", \.resolvConf, fixed: true, support: .refused(accepted: []),
        "Another resolver configuration file than the system's."),
]

let tcpSettings: [Setting] = [
    .integer(
        "tcp_defer_accept", \.tcpDeferAccept, default: "1", unit: "seconds",
        "The kernel hands over a new TCP connection only when it has sent something. 0: at once."),
    .boolean("tcp_keepalive", \.tcpKeepalive, default: "1", "Probe idle TCP connections, on both sides."),
    .integer("tcp_keepcnt", \.tcpKeepcnt, default: "0", "Unanswered probes before giving up. 0: the system's number."),
    .integer(
        "tcp_keepidle", \.tcpKeepidle, default: "0", unit: "seconds",
        "How long a connection is idle before the first probe. 0: the system's time."),
    .integer(
        "tcp_keepintvl", \.tcpKeepintvl, default: "0", unit: "seconds", "Time between probes. 0: the system's time."),
    .integer(
        "tcp_socket_buffer", \.tcpSocketBuffer, default: "0", unit: "bytes",
        "Size of the kernel's buffers for a connection. 0: the system's size."),
    .time(
        "tcp_user_timeout", \.tcpUserTimeoutMicroseconds, default: "0", unit: .millisecond,
        "How long sent bytes may stay unacknowledged before the connection is given up. 0: the system's time."),
]
