// One database that clients can ask for: a line of [databases].
//
// A field that the line does not give is nil; what then counts (the user's, the global setting) is decided in
// Configuration+Effective.swift. Sizes below 0 and limits of 0 also mean "not given", as they always have.

/// Where a server is reached.
public enum HostAddress: Sendable, Equatable {
    /// A host name, an IPv4 or an IPv6 address (without brackets).
    case tcp(String)
    /// The folder of a Unix socket, or an abstract name that starts with `@`.
    case unix(String)

    /// Tells the kinds apart by the first character; brackets around an IPv6 address are taken off.
    public init(_ text: String) {
        if text.hasPrefix("/") || text.hasPrefix("@") {
            self = .unix(text)
        } else if text.hasPrefix("["), text.hasSuffix("]") {
            self = .tcp(String(text.dropFirst().dropLast()))
        } else {
            self = .tcp(text)
        }
    }

    /// The host as the file writes it.
    public var text: String {
        switch self {
        case .tcp(let name): name
        case .unix(let folder): folder
        }
    }
}

/// A database that clients can connect to, and how its servers are reached.
public struct DatabaseOptions: Sendable, Equatable {
    /// The name that clients ask for; `*` for the wildcard.
    public var name: String
    /// The servers' hosts. Empty: the Unix socket in Weir's own unix_socket_dir.
    public var hosts: [HostAddress] = []
    /// The servers' port.
    public var port = 5432
    /// The database's name on the server, if it is another.
    public var dbname: String?
    /// The forced user: all clients share his pool.
    public var user: String?
    /// The forced user's password, or the password for every user.
    public var password: Password?
    /// Servers for each user; 0 is no limit.
    public var poolSize: Int?
    /// Servers kept open.
    public var minPoolSize: Int?
    /// Servers more after reserve_pool_timeout.
    public var reservePoolSize: Int?
    /// Servers more at once.
    public var maxOverflow: Int?
    /// Servers over all users, above 0.
    public var maxDbConnections: Int?
    /// Clients, above 0.
    public var maxDbClientConnections: Int?
    /// Longest life of a server connection, above 0.
    public var serverLifetimeMicroseconds: Int64?
    /// Longest wait for a server; 0 is no limit.
    public var queryWaitTimeoutMicroseconds: Int64?
    /// Order of the hosts.
    public var loadBalanceHosts: LoadBalanceHosts?
    /// Pool mode of this database.
    public var poolMode: PoolMode?
    /// `pin`.
    public var pin: PinMode?
    /// Query that is run once on each new server connection.
    public var connectQuery: String?
    /// `client_encoding` for new server connections.
    public var clientEncoding: String?
    /// `DateStyle` for new server connections.
    public var datestyle: String?
    /// `TimeZone` for new server connections.
    public var timezone: String?
    /// `application_name` for new server connections.
    public var applicationName: String?

    /// A database with nothing but its name.
    public init(name: String) { self.name = name }

    /// The database's name on the server.
    public var serverDatabase: String { dbname ?? name }
}

/// What is wrong with one key of a connection string.
struct OptionError: Error, Equatable {
    let key: String
    let message: String
}

extension DatabaseOptions {
    /// Reads a line of [databases]; every error is reported, and the options that are right are kept.
    static func parse(name: String, connectionString: String) -> (options: DatabaseOptions, errors: [OptionError]) {
        var options = DatabaseOptions(name: name)
        var errors: [OptionError] = []
        do {
            for pair in try connectionPairs(of: connectionString) {
                do throws(OptionError) {
                    try options.set(pair.key, to: pair.value)
                } catch {
                    errors.append(error)
                }
            }
        } catch {
            errors.append(OptionError(key: "", message: error.message))
        }
        return (options, errors)
    }

    mutating func set(_ key: String, to value: String) throws(OptionError) {
        switch key {
        case "dbname": dbname = value
        case "user": user = value
        case "password": password = Password(value)
        case "connect_query": connectQuery = value
        case "client_encoding": clientEncoding = value
        case "datestyle": datestyle = value
        case "timezone": timezone = value
        case "application_name": applicationName = value
        case "host": hosts = try OptionValue(key, value).hosts()
        case "port": port = try OptionValue(key, value).integer(in: 1...65_535)
        case "pool_size": poolSize = try OptionValue(key, value).size()
        case "min_pool_size": minPoolSize = try OptionValue(key, value).size()
        case "reserve_pool_size", "reserve_pool": reservePoolSize = try OptionValue(key, value).size()
        case "max_overflow": maxOverflow = try OptionValue(key, value).size()
        case "max_db_connections": maxDbConnections = try OptionValue(key, value).limit()
        case "max_db_client_connections": maxDbClientConnections = try OptionValue(key, value).limit()
        case "server_lifetime": serverLifetimeMicroseconds = try OptionValue(key, value).timeAboveZero()
        case "query_wait_timeout": queryWaitTimeoutMicroseconds = try OptionValue(key, value).time()
        case "pool_mode": poolMode = try OptionValue(key, value).choice()
        case "pin": pin = try OptionValue(key, value).choice()
        case "load_balance_hosts": loadBalanceHosts = try OptionValue(key, value).choice()
        case "auth_user", "auth_dbname", "auth_query":
            throw OptionError(key: key, message: notSupportedMessage)
        default:
            throw OptionError(key: key, message: "unrecognized connection parameter: \(quotedIfOdd(key))")
        }
    }
}

/// Said of everything that is known and not built yet.
let notSupportedMessage = "not supported by this version of Weir"
