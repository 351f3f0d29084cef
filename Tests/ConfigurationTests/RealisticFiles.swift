// A pgbouncer.ini with userlist.txt as they stand on real hosts: Debian's layout, most settings at their default,
// everything that is quoted quoted once.

let realisticFiles = [
    "/etc/pgbouncer/pgbouncer.ini": """
    ;; Production pooler
    [databases]
    app = host=10.0.0.5 port=5432 dbname=app pool_size=50 connect_query='select 1'
    reports = host=10.0.0.6,10.0.0.7 user=reports password='it''s' pool_mode=session load_balance_hosts=disable
    "Strange Name" = host=::1 dbname=strange
    legacy =
    * = host=10.0.0.8

    [users]
    batch = pool_mode=session pool_size=5 max_user_connections=10

    [peers]

    [pgbouncer]
    logfile = /var/log/postgresql/pgbouncer.log
    pidfile = /var/run/postgresql/pgbouncer.pid
    listen_addr = 127.0.0.1, ::1
    listen_port = 6432
    unix_socket_dir = /var/run/postgresql
    unix_socket_mode = 0770
    unix_socket_group = postgres
    client_tls_sslmode = disable
    server_tls_sslmode = prefer
    server_tls_protocols = secure
    auth_type = SCRAM-SHA-256
    auth_file = /etc/pgbouncer/userlist.txt
    admin_users = postgres, dba
    stats_users = stats, postgres
    pool_mode = transaction
    max_prepared_statements = 0
    server_reset_query = DISCARD ALL
    server_reset_query_always = 0
    ignore_startup_parameters = extra_float_digits, options
    server_check_query = select 1
    server_check_delay = 30
    application_name_add_host = 1
    max_client_conn = 2000
    default_pool_size = 20
    min_pool_size = 0
    reserve_pool_size = 5
    reserve_pool_timeout = 5
    max_db_connections = 100
    max_user_connections = 0
    server_round_robin = 0
    log_connections = 1
    log_disconnections = 1
    log_pooler_errors = 1
    stats_period = 60
    verbose = 0
    server_lifetime = 3600
    server_idle_timeout = 600
    server_connect_timeout = 15
    server_login_retry = 15
    query_timeout = 0
    query_wait_timeout = 90.5
    client_idle_timeout = 0
    client_login_timeout = 60
    autodb_idle_timeout = 3600
    suspend_timeout = 10
    idle_transaction_timeout = 0
    pkt_buf = 4096
    listen_backlog = 128
    sbuf_loopcnt = 5
    so_reuseport = 0
    tcp_defer_accept = 0
    tcp_socket_buffer = 0
    tcp_keepalive = 1
    tcp_keepcnt = 3
    tcp_keepidle = 300
    tcp_keepintvl = 10
    tcp_user_timeout = 30000
    dns_max_ttl = 15
    dns_zone_check_period = 0
    dns_nxdomain_ttl = 15
    """,
    "/etc/pgbouncer/userlist.txt": """
    ; name, secret, and what very old files add
    "app" "open ""sesame""\"
    "dba" "md50123456789abcdef0123456789abcdef" ""

    "empty" ""
    """,
]
