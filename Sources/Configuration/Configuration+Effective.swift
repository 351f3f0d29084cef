// What counts where a user, a database and the main section each may say something.
//
//     pool_mode, pool_size, reserve_pool_size, query_wait_timeout   user, then database, then main section
//     other timeouts, max_user_*                                    user, then main section
//     max_db_*, min_pool_size, server_lifetime, max_overflow        database, then main section
//
// `user` is the user whose pool it is (the forced user, if the database has one), except for the limits and
// timeouts of clients, where it is the user who logged in.

extension Configuration {
    /// The hosts of a database; empty only if there is neither a host nor a unix_socket_dir, which loading refuses.
    public func hosts(database: DatabaseOptions) -> [HostAddress] {
        if !database.hosts.isEmpty { return database.hosts }
        return settings.unixSocketDir.isEmpty ? [] : [.unix(settings.unixSocketDir)]
    }

    /// The order in which a database's hosts are connected to.
    public func loadBalanceHosts(database: DatabaseOptions) -> LoadBalanceHosts {
        database.loadBalanceHosts ?? .roundRobin
    }

    /// When a server is released.
    public func poolMode(database: DatabaseOptions, user: String) -> PoolMode {
        users[user]?.poolMode ?? database.poolMode ?? settings.poolMode
    }

    /// Servers of the pool; 0 is no limit.
    public func poolSize(database: DatabaseOptions, user: String) -> Int {
        users[user]?.poolSize ?? database.poolSize ?? settings.defaultPoolSize
    }

    /// Servers that the pool keeps open.
    public func minPoolSize(database: DatabaseOptions) -> Int { database.minPoolSize ?? settings.minPoolSize }

    /// Servers more after reserve_pool_timeout.
    public func reservePoolSize(database: DatabaseOptions, user: String) -> Int {
        users[user]?.reservePoolSize ?? database.reservePoolSize ?? settings.reservePoolSize
    }

    /// Servers more at once when the pool is busy.
    public func maxOverflow(database: DatabaseOptions) -> Int { database.maxOverflow ?? settings.maxOverflow }

    /// Servers of the database over all users; 0 is no limit.
    public func maxDbConnections(database: DatabaseOptions) -> Int {
        database.maxDbConnections ?? settings.maxDbConnections
    }

    /// Clients of the database; 0 is no limit.
    public func maxDbClientConnections(database: DatabaseOptions) -> Int {
        database.maxDbClientConnections ?? settings.maxDbClientConnections
    }

    /// Servers of the user over all databases; 0 is no limit.
    public func maxUserConnections(user: String) -> Int {
        users[user]?.maxUserConnections ?? settings.maxUserConnections
    }

    /// Clients of the user; 0 is no limit.
    public func maxUserClientConnections(user: String) -> Int {
        users[user]?.maxUserClientConnections ?? settings.maxUserClientConnections
    }

    /// Longest life of a server connection; 0 is one use.
    public func serverLifetimeMicroseconds(database: DatabaseOptions) -> Int64 {
        database.serverLifetimeMicroseconds ?? settings.serverLifetimeMicroseconds
    }

    /// Longest wait for a server; 0 is no limit.
    public func queryWaitTimeoutMicroseconds(database: DatabaseOptions, user: String) -> Int64 {
        users[user]?.queryWaitTimeoutMicroseconds ?? database.queryWaitTimeoutMicroseconds
            ?? settings.queryWaitTimeoutMicroseconds
    }

    /// Longest query; 0 is no limit.
    public func queryTimeoutMicroseconds(user: String) -> Int64 {
        users[user]?.queryTimeoutMicroseconds ?? settings.queryTimeoutMicroseconds
    }

    /// Longest transaction; 0 is no limit.
    public func transactionTimeoutMicroseconds(user: String) -> Int64 {
        users[user]?.transactionTimeoutMicroseconds ?? settings.transactionTimeoutMicroseconds
    }

    /// Longest idleness in a transaction; 0 is no limit.
    public func idleTransactionTimeoutMicroseconds(user: String) -> Int64 {
        users[user]?.idleTransactionTimeoutMicroseconds ?? settings.idleTransactionTimeoutMicroseconds
    }

    /// Longest idleness of a client; 0 is no limit.
    public func clientIdleTimeoutMicroseconds(user: String) -> Int64 {
        users[user]?.clientIdleTimeoutMicroseconds ?? settings.clientIdleTimeoutMicroseconds
    }
}
