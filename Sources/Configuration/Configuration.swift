// Everything that Weir was told, as one immutable value: settings, databases, users, secrets.
//
// A reload builds a new value and swaps it for the old one, or, if anything at all is wrong with it, keeps the
// old one. Nothing here refers to a file any more.

/// A whole configuration.
public struct Configuration: Sendable, Equatable {
    /// The main section.
    public var settings: Settings
    /// [databases] by name, without the wildcard.
    public var databases: [String: DatabaseOptions]
    /// The database `*`, from which unknown names are made.
    public var wildcard: DatabaseOptions?
    /// [users] by name.
    public var users: [String: UserOptions]
    /// auth_file by user.
    public var secrets: [String: Secret]

    /// Puts a configuration together.
    public init(
        settings: Settings = Settings(), databases: [String: DatabaseOptions] = [:], wildcard: DatabaseOptions? = nil,
        users: [String: UserOptions] = [:], secrets: [String: Secret] = [:]
    ) {
        self.settings = settings
        self.databases = databases
        self.wildcard = wildcard
        self.users = users
        self.secrets = secrets
    }

    /// The options of a database that a client asks for: its own, or those of `*` under its name. Nil if there is
    /// neither, and for the console's names.
    public func database(named name: String) -> DatabaseOptions? {
        if isConsoleDatabase(name) { return nil }
        if let database = databases[name] { return database }
        guard var database = wildcard, name != "*", !name.isEmpty else { return nil }
        database.name = name
        return database
    }
}

/// Whether a database name is the console's: `weir`, or `pgbouncer` for everybody who comes from there.
public func isConsoleDatabase(_ name: String) -> Bool { name == "weir" || name == "pgbouncer" }
