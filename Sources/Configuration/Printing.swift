// The settings table for people: `weir --print-config` and Conf/weir.ini.
//
// Both are generated, so that they cannot say anything else than what the program does; a test compares
// Conf/weir.ini with its generator.

/// Every setting with its default, unit and explanation, in the form of a configuration file with nothing set.
public func printConfig() -> String {
    var text = """
        ; Every setting of Weir with its default.
        ; A time takes a unit: us, ms, s, min, h or d; a bare number has the unit that is named.

        [weir]

        """
    for group in settingGroups { text += "\n" + describe(group, values: [:]) }
    return text
}

/// The text of Conf/weir.ini: a configuration to start from, with every setting explained.
public func sampleConfiguration() -> String {
    var text = sampleHead
    for group in settingGroups { text += "\n" + describe(group, values: sampleValues) }
    return text
}

/// What Conf/weir.ini sets; everything else stands there as a comment.
private let sampleValues = [
    "listen_addr": "127.0.0.1",
    "auth_type": "scram-sha-256",
    "auth_file": "/etc/weir/userlist.txt",
    "pool_mode": "transaction",
    "admin_users": "postgres",
]

private let sampleHead = """
    ; Configuration of Weir. A pgbouncer.ini works as it is; its section [pgbouncer] is called [weir] here.
    ; A line that starts with ; or # is a comment. %include path reads another file at its place.
    ; Check it by starting Weir: every mistake is named with its line, and nothing is half started.
    ; The settings below are generated from the program's own table, as is `weir --print-config`.

    [databases]

    ; name = key=value ..., with the keys
    ;   host, port, dbname         where the server is: hosts between commas, /folder for a Unix socket
    ;   user, password             log in to the server as this user, whoever the client is
    ;   pool_size, min_pool_size, reserve_pool_size, max_overflow, pool_mode, pin
    ;   max_db_connections, max_db_client_connections, server_lifetime, query_wait_timeout
    ;   load_balance_hosts         round-robin, or disable to use the next host only when the first fails
    ;   connect_query              run once on each new server connection
    ;   client_encoding, datestyle, timezone, application_name
    ; A value with blanks stands in single quotes, a quote inside them is doubled.
    ;
    ; app = host=10.0.0.5 port=5432 dbname=app pool_size=30
    ; reports = host=10.0.0.5,10.0.0.6 dbname=app user=reports password='it''s secret' pool_mode=session

    ; Every other database, under its own name:
    * = host=127.0.0.1 port=5432

    [users]

    ; name = key=value ..., with the keys pool_mode, pool_size, reserve_pool_size, max_user_connections,
    ; max_user_client_connections, query_timeout, query_wait_timeout, idle_transaction_timeout,
    ; transaction_timeout, client_idle_timeout
    ;
    ; batch = pool_size=5 query_wait_timeout=10min

    ; In the rest, a time takes a unit: us, ms, s, min, h or d; a bare number has the unit that is named.
    ; "Restart" means that neither RELOAD nor SET changes the setting.

    [weir]

    """

private func describe(_ group: SettingGroup, values: [String: String]) -> String {
    let line = String(repeating: "-", count: max(4, 96 - group.title.count))
    var text = ";;; \(group.title) \(line)\n"
    for setting in group.settings {
        text += "\n" + wrapped(explanation(of: setting), columns: 100, prefix: "; ") + "\n"
        if let value = values[setting.name] {
            text += "\(setting.name) = \(value)\n"
        } else {
            text += setting.defaultText.isEmpty ? ";\(setting.name) =\n" : ";\(setting.name) = \(setting.defaultText)\n"
        }
    }
    return text
}

/// The explanation, then what kind of value is wanted and how far it is built.
private func explanation(of setting: Setting) -> String {
    var text = setting.explanation
    var notes = [setting.unit.isEmpty ? setting.typeDescription : "\(setting.typeDescription), in \(setting.unit)"]
    if !setting.aliases.isEmpty { notes.append("also called \(joinedWithOr(setting.aliases))") }
    if !setting.isReloadable { notes.append("restart") }
    text += " (\(notes.joined(separator: "; ")))"
    switch setting.support {
    case .full: break
    case .noEffect: text += " Accepted, but has no effect in Weir."
    case .refused(let accepted) where accepted.isEmpty:
        text += " Not supported by this version of Weir: only the default is accepted."
    case .refused(let accepted):
        text += " This version of Weir accepts only \(joinedWithOr(accepted))."
    }
    return text
}
