// What holds for one user in every database: a line of [users].

/// Settings of one user; nil is "not given". Limits and timeouts of 0 count as not given, as they always have,
/// except `query_wait_timeout`, where 0 is "for ever".
public struct UserOptions: Sendable, Equatable {
    /// The user's name.
    public var name: String
    /// Pool mode of this user's pools.
    public var poolMode: PoolMode?
    /// Servers for each database; 0 is no limit.
    public var poolSize: Int?
    /// Servers more after reserve_pool_timeout.
    public var reservePoolSize: Int?
    /// Servers over all databases, above 0.
    public var maxUserConnections: Int?
    /// Clients over all databases, above 0.
    public var maxUserClientConnections: Int?
    /// Longest query, above 0.
    public var queryTimeoutMicroseconds: Int64?
    /// Longest wait for a server; 0 is no limit.
    public var queryWaitTimeoutMicroseconds: Int64?
    /// Longest idleness in a transaction, above 0.
    public var idleTransactionTimeoutMicroseconds: Int64?
    /// Longest transaction, above 0.
    public var transactionTimeoutMicroseconds: Int64?
    /// Longest idleness, above 0.
    public var clientIdleTimeoutMicroseconds: Int64?

    /// A user with nothing but a name.
    public init(name: String) { self.name = name }
}

extension UserOptions {
    /// Reads a line of [users]; every error is reported, and the options that are right are kept.
    static func parse(name: String, text: String) -> (options: UserOptions, errors: [OptionError]) {
        var options = UserOptions(name: name)
        var errors: [OptionError] = []
        do {
            for pair in try connectionPairs(of: text) {
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

    private mutating func set(_ key: String, to text: String) throws(OptionError) {
        let value = OptionValue(key, text)
        switch key {
        case "pool_mode": poolMode = try value.choice()
        case "pool_size": poolSize = try value.size()
        case "reserve_pool_size": reservePoolSize = try value.size()
        case "max_user_connections": maxUserConnections = try value.limit()
        case "max_user_client_connections": maxUserClientConnections = try value.limit()
        case "query_timeout": queryTimeoutMicroseconds = try value.timeAboveZero()
        case "query_wait_timeout": queryWaitTimeoutMicroseconds = try value.time()
        case "idle_transaction_timeout": idleTransactionTimeoutMicroseconds = try value.timeAboveZero()
        case "transaction_timeout": transactionTimeoutMicroseconds = try value.timeAboveZero()
        case "client_idle_timeout": clientIdleTimeoutMicroseconds = try value.timeAboveZero()
        default: throw OptionError(key: key, message: "unrecognized user parameter: \(quotedIfOdd(key))")
        }
    }
}
