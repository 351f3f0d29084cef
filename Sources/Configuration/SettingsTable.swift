// The one table of settings: every key of the main section with its type, default, unit and explanation.
//
// Parsing, the console's SET and SHOW CONFIG, `weir --print-config` and Conf/weir.ini all come from it; a new
// setting is one row here and one field in `Settings`. The rows stand in files by subject,
// SettingsTable+Subject.swift.

/// Settings of one subject, in the order in which people should read them.
public struct SettingGroup: Sendable {
    /// The subject, as a heading.
    public let title: String
    /// The rows.
    public let settings: [Setting]
}

/// The settings table, by subject.
public let settingGroups: [SettingGroup] = [
    SettingGroup(title: "Where Weir listens, and as what it runs", settings: processSettings),
    SettingGroup(title: "Threads and I/O", settings: engineSettings),
    SettingGroup(title: "Pools and their limits", settings: poolingSettings),
    SettingGroup(title: "Client sessions", settings: sessionSettings),
    SettingGroup(title: "Timeouts of clients", settings: clientTimeoutSettings),
    SettingGroup(title: "Timeouts of servers", settings: serverTimeoutSettings),
    SettingGroup(title: "Handling of server connections", settings: serverSettings),
    SettingGroup(title: "Names of hosts", settings: nameSettings),
    SettingGroup(title: "Who may log in", settings: authenticationSettings),
    SettingGroup(title: "TLS towards clients", settings: clientTLSSettings),
    SettingGroup(title: "TLS towards servers", settings: serverTLSSettings),
    SettingGroup(title: "Log and statistics", settings: loggingSettings),
    SettingGroup(title: "TCP", settings: tcpSettings),
]

/// Every setting.
public let settingsTable: [Setting] = settingGroups.flatMap(\.settings)

private let settingsByKey: [String: Setting] = {
    var byKey: [String: Setting] = [:]
    for setting in settingsTable {
        for key in [setting.name] + setting.aliases {
            precondition(byKey[key] == nil, "two settings answer to \(key)")
            byKey[key] = setting
        }
    }
    return byKey
}()

extension Setting {
    /// The setting with this name or alias.
    public static func named(_ key: String) -> Setting? { settingsByKey[key] }
}
