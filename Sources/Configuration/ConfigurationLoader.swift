// From files to a `Configuration`, or to the list of everything that is wrong with them.
//
//     file ── lines ──▶ section ──▶ main section: settings table
//        └─ %include                [databases], [users]: connection strings
//                                   then: auth_file, and what needs the whole to be judged
//
// Nothing is applied while reading: the caller gets a whole configuration or none.

/// Reads a configuration from a file and everything it includes. `readFile` gives a file's text, so that this
/// function itself touches no file system. All or nothing.
public func loadConfiguration(
    path: String, readFile: (String) -> Result<String, FileError>
) -> Result<Configuration, ConfigurationErrors> {
    withoutActuallyEscaping(readFile) { readFile in
        var loader = ConfigurationLoader(path: path, readFile: readFile)
        return loader.load()
    }
}

private struct ConfigurationLoader {
    /// How deep %include may nest, and how many files may be read: ten files that include themselves ten times
    /// each would never end.
    static let includeDepthMax = 10
    static let filesMax = 1_000

    enum Section {
        case none, unknown, databases, users, peers
        case main(name: String)
    }

    struct Place {
        var file: String
        var line: Int
    }

    let path: String
    let readFile: (String) -> Result<String, FileError>
    var configuration = Configuration()
    var errors: [ConfigurationError] = []
    var section = Section.none
    var hasMainSection = false
    var filesRead = 0
    var place: Place
    /// Where settings and databases were last given, for errors that show only at the end.
    var settingPlaces: [String: Place] = [:]
    var databasePlaces: [String: Place] = [:]

    init(path: String, readFile: @escaping (String) -> Result<String, FileError>) {
        self.path = path
        self.readFile = readFile
        place = Place(file: path, line: 0)
        configuration.settings.conffile = path
    }

    mutating func load() -> Result<Configuration, ConfigurationErrors> {
        switch readFile(path) {
        case .failure(let error):
            return .failure(
                ConfigurationErrors([
                    ConfigurationError(file: path, line: 0, key: "", message: "cannot read the file: \(error.reason)")
                ]))
        case .success(let text):
            read(text, file: path, depth: 0)
        }
        if !hasMainSection {
            report("", "main section missing from config file, expected [weir]", at: Place(file: path, line: 0))
        }
        checkHosts()
        loadAuthFile()
        return errors.isEmpty ? .success(configuration) : .failure(ConfigurationErrors(errors))
    }

    mutating func report(_ key: String, _ message: String, at place: Place? = nil) {
        let place = place ?? self.place
        errors.append(ConfigurationError(file: place.file, line: place.line, key: key, message: message))
    }
}

extension ConfigurationLoader {
    private mutating func read(_ text: String, file: String, depth: Int) {
        for (index, bytes) in lines(of: text).enumerated() {
            place = Place(file: file, line: index + 1)
            switch parseIniLine(bytes) {
            case .nothing: break
            case .section(let name): enter(section: name)
            case .entry(let key, let value): take(key: key, value: value)
            case .include(let path): include(path, depth: depth + 1)
            case .malformed(let expected): report("", "syntax error in configuration, expected \(expected)")
            }
        }
    }

    private mutating func include(_ path: String, depth: Int) {
        guard depth <= Self.includeDepthMax else {
            return report("%include", "include nesting level too deep, expected at most \(Self.includeDepthMax)")
        }
        filesRead += 1
        guard filesRead <= Self.filesMax else {
            // Said once: a file that includes itself would say it for each of its thousand readings.
            if filesRead == Self.filesMax + 1 {
                report("%include", "too many files, expected at most \(Self.filesMax)")
            }
            return
        }
        switch readFile(path) {
        case .success(let text): read(text, file: path, depth: depth)
        case .failure(let error): report("%include", "cannot read \(quoted(path)): \(error.reason)")
        }
    }

    private mutating func enter(section name: String) {
        switch name {
        case "weir", "pgbouncer":
            // Each occurrence starts from the defaults again, as it always has.
            section = .main(name: name)
            hasMainSection = true
            configuration.settings = Settings()
            configuration.settings.conffile = path
            settingPlaces = [:]
        case "databases": section = .databases
        case "users": section = .users
        case "peers": section = .peers
        default:
            section = .unknown
            report(
                "[\(String(quoted(name).dropFirst().dropLast()))]",
                "unknown section, expected weir, pgbouncer, databases, users or peers")
        }
    }

    private mutating func take(key: String, value: String) {
        switch section {
        case .none: report(quotedIfOdd(key), "expected a section such as [weir] before the first key")
        case .unknown: break
        case .main(let name): takeSetting(key, value, section: name)
        case .databases: takeDatabase(key, value)
        case .users: takeUser(key, value)
        case .peers: report(quotedIfOdd(key), "peers are \(notSupportedMessage)")
        }
    }

    private mutating func takeSetting(_ key: String, _ value: String, section: String) {
        guard let setting = Setting.named(key) else {
            return report(quotedIfOdd(key), "unknown parameter: \(section)/\(key.isEmpty ? key : quotedIfOdd(key))")
        }
        do {
            try setting.assign(value, to: &configuration.settings)
            settingPlaces[setting.name] = place
        } catch {
            report(key, error.message)
        }
    }

    private mutating func takeDatabase(_ name: String, _ value: String) {
        guard !isConsoleDatabase(name) else {
            return report(name, "database name \(quoted(name)) is reserved for the console")
        }
        guard !name.isEmpty else { return report("", "expected a name of a database before =") }
        let (options, problems) = DatabaseOptions.parse(name: name, connectionString: value)
        report(problems, of: name)
        databasePlaces[name] = place
        if name == "*" {
            configuration.wildcard = options
        } else {
            configuration.databases[name] = options
        }
    }

    private mutating func takeUser(_ name: String, _ value: String) {
        guard !name.isEmpty else { return report("", "expected a name of a user before =") }
        let (options, problems) = UserOptions.parse(name: name, text: value)
        report(problems, of: name)
        configuration.users[name] = options
    }

    private mutating func report(_ problems: [OptionError], of name: String) {
        for problem in problems {
            let option = problem.key.isEmpty ? "" : ": " + quotedIfOdd(problem.key)
            report(quotedIfOdd(name) + option, problem.message)
        }
    }

    /// A database without a host lives in unix_socket_dir; without that it could never be reached.
    private mutating func checkHosts() {
        guard configuration.settings.unixSocketDir.isEmpty else { return }
        let databases = configuration.databases.values.sorted { $0.name < $1.name }
        for database in databases + [configuration.wildcard].compactMap(\.self) where database.hosts.isEmpty {
            report(
                quotedIfOdd(database.name), "expected host=, since unix_socket_dir is empty",
                at: databasePlaces[database.name])
        }
    }

    private mutating func loadAuthFile() {
        let settings = configuration.settings
        let authPlace = settingPlaces["auth_file"] ?? Place(file: path, line: 0)
        guard !settings.authFile.isEmpty else {
            guard hasMainSection, settings.authType != .any, settings.authType != .trust else { return }
            report(
                "auth_file", "expected a file of users, since auth_type is \(settings.authType.rawValue)",
                at: settingPlaces["auth_type"] ?? authPlace)
            return
        }
        switch readFile(settings.authFile) {
        case .failure(let error):
            report("auth_file", "cannot read \(quoted(settings.authFile)): \(error.reason)", at: authPlace)
        case .success(let text):
            let (secrets, problems) = parseAuthFile(text, name: settings.authFile)
            configuration.secrets = secrets
            errors += problems
        }
    }
}
