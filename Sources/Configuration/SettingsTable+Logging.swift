// Rows of the settings table: what Weir writes about itself.

let loggingSettings: [Setting] = [
    .text("logfile", \.logfile, "File to write the log to, opened again at each RELOAD. Empty: standard error only."),
    .boolean("syslog", \.syslog, default: "0", support: .refused(accepted: []), "1: write the log to syslog too."),
    .text(
        "syslog_ident", \.syslogIdent, default: "pgbouncer", support: .refused(accepted: []),
        "Name of the program in syslog."),
    .text(
        "syslog_facility", \.syslogFacility, default: "daemon", support: .refused(accepted: []), "Facility in syslog."),
    .boolean("log_connections", \.logConnections, default: "1", "Log each successful login."),
    .boolean("log_disconnections", \.logDisconnections, default: "1", "Log each disconnection, with its reason."),
    .boolean(
        "log_pooler_errors", \.logPoolerErrors, default: "1", "Log each error that Weir itself sends to a client."),
    .boolean("log_stats", \.logStats, default: "1", "Log a line of statistics each stats_period."),
    .time(
        "stats_period", \.statsPeriodMicroseconds, default: "60", minimumMicroseconds: 1,
        "The period of the statistics line, and that over which SHOW STATS builds its averages."),
    .integer(
        "verbose", \.verbose, default: "0", in: 0...10,
        "How much more is logged: 0 little, 1 debug, 2 and more everything. The flag -v adds one each."),
]
