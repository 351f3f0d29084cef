// Rows of the settings table: pools, their limits, and what a client keeps from one server to the next.

let poolingSettings: [Setting] = [
    .choice(
        "pool_mode", \.poolMode, default: "session",
        """
        When a server goes back to its pool: when the client disconnects (session), when its transaction ends \
        (transaction), or after each statement (statement, which refuses transactions of several statements). \
        A user's or a database's own pool_mode comes first.
        """),
    .boolean(
        "cache_unnamed_statements", \.cacheUnnamedStatements, default: "0",
        """
        Unnamed statements with the same text share one prepared statement on each server, as named ones do, which \
        saves parsing and planning. PostgreSQL may then choose a generic plan for them (plan_cache_mode).
        """),
    .choice(
        "pin", \.pin, default: "hold",
        """
        What happens in transaction and statement mode when a client's session gets something that cannot follow it \
        to another server, as a temporary table, a session-level advisory lock, a cursor WITH HOLD or a statement of \
        PREPARE: the server stays with the client until that is gone (hold; SHOW PINS lists such servers), the \
        statement gets an error (refuse), or nothing is done about it (ignore). A database's own pin comes first.
        """),
    .integer(
        "max_pinned", \.maxPinned, default: "0", unit: "connections",
        """
        Servers of one pool that may stay with their clients at once (pin = hold); a statement that may need one more \
        gets an error. 0: no limit but the pool's size.
        """),
    .boolean(
        "pin_notice", \.pinNotice, default: "0",
        "Tells a client by a NOTICE, once for each reason, that it keeps a server."),
    .integer(
        "max_client_conn", \.maxClientConn, default: "100", unit: "connections",
        "Clients in all, those still logging in included. The console is not counted."),
    .integer(
        "default_pool_size", \.defaultPoolSize, default: "20", unit: "connections", aliases: ["pool_size"],
        "Servers for each pair of database and user. 0: no limit."),
    .integer(
        "max_overflow", \.maxOverflow, default: "0", unit: "connections",
        """
        Servers that a busy pool may open beyond its size at once, as SQLAlchemy's max_overflow does. They are \
        closed again after overflow_idle_timeout without use.
        """),
    .time(
        "overflow_idle_timeout", \.overflowIdleTimeoutMicroseconds, default: "10",
        "How long a server beyond the pool's size may be idle before it is closed."),
    .integer(
        "min_pool_size", \.minPoolSize, default: "0", unit: "connections",
        "Servers kept open in a pool that has clients, or whose database has a forced user."),
    .integer(
        "reserve_pool_size", \.reservePoolSize, default: "0", unit: "connections",
        "Servers more that a pool may open when a client has waited for reserve_pool_timeout."),
    .time(
        "reserve_pool_timeout", \.reservePoolTimeoutMicroseconds, default: "5",
        "How long the first client in line waits before the reserve is opened. 0: the reserve is off."),
    .integer(
        "max_db_connections", \.maxDbConnections, default: "0", unit: "connections",
        "Servers of one database over all its users. 0: no limit."),
    .integer(
        "max_db_client_connections", \.maxDbClientConnections, default: "0", unit: "connections",
        "Clients of one database. 0: no limit."),
    .integer(
        "max_user_connections", \.maxUserConnections, default: "0", unit: "connections",
        "Servers of one user over all databases. 0: no limit."),
    .integer(
        "max_user_client_connections", \.maxUserClientConnections, default: "0", unit: "connections",
        "Clients of one user. 0: no limit."),
    .integer(
        "server_connect_parallel", \.serverConnectParallel, default: "4", in: 1...1_000, unit: "connections",
        "Logins to a server that one pool may have under way at once; never more than clients wait for."),
    .boolean(
        "server_round_robin", \.serverRoundRobin, default: "0",
        "1: the server that has been idle longest serves next, so that all are used alike. 0: the one used last."),
    .time(
        "autodb_idle_timeout", \.autodbIdleTimeoutMicroseconds, default: "3600",
        "How long a database made from * may be without use before it is forgotten. 0: never."),
    .time(
        "pool_idle_timeout", \.poolIdleTimeoutMicroseconds, default: "0",
        "How long a pool may be without clients and servers before it is forgotten. 0: never."),
]

let sessionSettings: [Setting] = [
    .integer(
        "max_prepared_statements", \.maxPreparedStatements, default: "200", unit: "statements",
        """
        Prepared statements that one server may keep for its clients in transaction and statement mode; the one that \
        was not used for longest goes first. 0: named statements are passed on as they are, and work in session mode \
        only.
        """),
    .integer(
        "max_client_prepared_statements", \.maxClientPreparedStatements, default: "10000", unit: "statements",
        "Names of prepared statements that one client may have at once; more is an error."),
    .list(
        "track_extra_parameters", \.trackExtraParameters, default: "IntervalStyle", fixed: true,
        """
        Parameters more that follow a client from server to server. Weir makes every parameter follow that the \
        server reports, so this list adds nothing.
        """),
    .list(
        "ignore_startup_parameters", \.ignoreStartupParameters,
        """
        Start-up parameters that are dropped, between commas, as in extra_float_digits, options. All others become \
        settings of the client and follow it from server to server.
        """),
    .boolean(
        "disable_pqexec", \.disablePqexec, default: "0", fixed: true,
        "1: refuse the simple query protocol, in which one message can carry several statements."),
    .boolean(
        "application_name_add_host", \.applicationNameAddHost, default: "0",
        "1: append the client's address and port to its application_name."),
    .text(
        "login_notify_message", \.loginNotifyMessage,
        "A notice that every client gets after its login. Empty: none."),
    .boolean(
        "cancel_on_disconnect", \.cancelOnDisconnect, default: "1",
        "1: when a client vanishes in the middle of a query, the query is cancelled on the server."),
]
