// What a reload changes: which databases are gone, whose servers must be replaced, which settings must wait for
// a restart. Pure comparison; closing and logging is done by whoever reloads.

/// The difference between two configurations. Every list is sorted.
public struct ConfigurationChanges: Sendable, Equatable {
    /// Databases that are new in [databases].
    public var addedDatabases: [String] = []
    /// Databases that can no longer be reached, not even through `*`: their clients are disconnected with
    /// `database removed`.
    public var removedDatabases: [String] = []
    /// Databases whose servers lead elsewhere now and are closed when released (`database configuration changed`).
    public var recycledDatabases: [String] = []
    /// The same for databases made from `*`; also true when there is no `*` any more, and they are removed.
    public var wildcardRecycled = false
    /// Users who are no longer in auth_file.
    public var removedUsers: [String] = []
    /// Settings that have another value now.
    public var changedSettings: [String] = []
    /// Settings whose new value counts only after a restart.
    public var settingsNeedingRestart: [String] = []

    /// Nothing has changed.
    public init() {}

    /// Whether nothing that is listed here changed.
    public var isEmpty: Bool { self == ConfigurationChanges() }
}

/// Compares the configuration in force with the one just loaded.
public func changes(from old: Configuration, to new: Configuration) -> ConfigurationChanges {
    var changes = ConfigurationChanges()
    for name in Set(old.databases.keys).union(new.databases.keys).sorted() {
        switch (old.database(named: name), new.database(named: name)) {
        case (.some(let before), .some(let after)):
            if mustRecycleServers(from: before, to: after) { changes.recycledDatabases.append(name) }
            if old.databases[name] == nil { changes.addedDatabases.append(name) }
        case (.some, nil): changes.removedDatabases.append(name)
        case (nil, .some): changes.addedDatabases.append(name)
        case (nil, nil): break
        }
    }
    if let before = old.wildcard {
        changes.wildcardRecycled = new.wildcard.map { mustRecycleServers(from: before, to: $0) } ?? true
    }
    changes.removedUsers = old.secrets.keys.filter { new.secrets[$0] == nil }.sorted()
    for setting in settingsTable where setting.text(in: old.settings) != setting.text(in: new.settings) {
        if setting.isReloadable {
            changes.changedSettings.append(setting.name)
        } else {
            changes.settingsNeedingRestart.append(setting.name)
        }
    }
    changes.changedSettings.sort()
    changes.settingsNeedingRestart.sort()
    return changes
}

/// Whether servers opened for a database under its old options must not serve under the new ones. Another password
/// is no reason: a server connection that is logged in stays logged in.
public func mustRecycleServers(from old: DatabaseOptions, to new: DatabaseOptions) -> Bool {
    old.hosts != new.hosts || old.port != new.port || old.serverDatabase != new.serverDatabase
        || old.user != new.user || old.connectQuery != new.connectQuery
        || (old.loadBalanceHosts ?? .roundRobin) != (new.loadBalanceHosts ?? .roundRobin)
}

extension Configuration {
    /// This configuration as it can take the place of `running`: settings that only a restart can change keep the
    /// value that is in force.
    public func keepingFixedSettings(of running: Configuration) -> Configuration {
        var result = self
        for setting in settingsTable where !setting.isReloadable {
            setting.copy(from: running.settings, to: &result.settings)
        }
        return result
    }
}

extension Setting {
    /// Copies this setting's field.
    func copy(from source: Settings, to target: inout Settings) {
        switch field {
        case .text(let path): target[keyPath: path] = source[keyPath: path]
        case .integer(let path, _): target[keyPath: path] = source[keyPath: path]
        case .boolean(let path): target[keyPath: path] = source[keyPath: path]
        case .time(let path, _, _): target[keyPath: path] = source[keyPath: path]
        case .list(let path): target[keyPath: path] = source[keyPath: path]
        case .choice(let words, let read, let write):
            if let index = words.firstIndex(of: read(source)) { write(&target, index) }
        case .workers(let path): target[keyPath: path] = source[keyPath: path]
        }
    }
}
