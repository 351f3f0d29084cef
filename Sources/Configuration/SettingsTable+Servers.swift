// Rows of the settings table: timeouts, and what is done with server connections.

let clientTimeoutSettings: [Setting] = [
    .time(
        "query_wait_timeout", \.queryWaitTimeoutMicroseconds, default: "120",
        "How long a client waits for a server before it gets an error. 0: for ever."),
    .time(
        "query_wait_notify", \.queryWaitNotifyMicroseconds, default: "5",
        "A client that has waited so long is told that it waits. 0: never."),
    .time(
        "query_timeout", \.queryTimeoutMicroseconds, default: "0",
        "A query that runs longer loses its server and its client. 0: no limit."),
    .time(
        "transaction_timeout", \.transactionTimeoutMicroseconds, default: "0",
        "A transaction that is open longer loses its server and its client. 0: no limit."),
    .time(
        "idle_transaction_timeout", \.idleTransactionTimeoutMicroseconds, default: "0",
        "A client that does nothing in an open transaction for longer is disconnected. 0: no limit."),
    .time(
        "client_idle_timeout", \.clientIdleTimeoutMicroseconds, default: "0",
        "A client that does nothing for longer is disconnected. 0: no limit."),
    .time(
        "client_login_timeout", \.clientLoginTimeoutMicroseconds, default: "60",
        "A client whose login takes longer is disconnected. 0: no limit."),
    .time(
        "cancel_wait_timeout", \.cancelWaitTimeoutMicroseconds, default: "10",
        "How long a cancel request may wait for a connection to its server. 0: for ever."),
    .time(
        "suspend_timeout", \.suspendTimeoutMicroseconds, default: "10", support: .noEffect,
        "How long SUSPEND waits for buffers to empty."),
]

let serverTimeoutSettings: [Setting] = [
    .time(
        "server_lifetime", \.serverLifetimeMicroseconds, default: "3600",
        "A server connection older than this is closed when it is free. 0: each is used once."),
    .time(
        "server_idle_timeout", \.serverIdleTimeoutMicroseconds, default: "600",
        "A server connection idle for longer is closed, but not below min_pool_size. 0: never."),
    .time(
        "server_connect_timeout", \.serverConnectTimeoutMicroseconds, default: "15",
        "How long connecting and logging in to a server may take. 0: no limit."),
    .time(
        "server_login_retry", \.serverLoginRetryMicroseconds, default: "15",
        "The longest pause after failed connects or logins; pauses begin at 100 ms and grow up to this."),
    .time(
        "server_check_delay", \.serverCheckDelayMicroseconds, default: "30",
        """
        A server idle for longer is asked server_check_query before it is given to a client. A connection that listens \
        and is silent for longer is asked too: without an answer within server_connect_timeout it is lost.
        """),
]

let serverSettings: [Setting] = [
    .text(
        "server_reset_query", \.serverResetQuery, default: "DISCARD ALL",
        """
        Sent to a server before another client gets it, in session mode only: in the other modes clients must not \
        rely on what a session keeps. Empty: nothing is sent.
        """),
    .boolean(
        "server_reset_query_always", \.serverResetQueryAlways, default: "0",
        "1: send server_reset_query in every pool mode."),
    .text(
        "server_check_query", \.serverCheckQuery, default: "<empty>",
        "Asked after server_check_delay. The word <empty> means the empty query, the cheapest. Empty: never ask."),
    .boolean(
        "server_fast_close", \.serverFastClose, default: "0",
        """
        1: in session mode, close servers that RECONNECT, RELOAD or PAUSE want closed when their transaction ends, \
        without waiting for the client to disconnect.
        """),
]
