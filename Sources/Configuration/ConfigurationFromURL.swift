// `weir postgres://user:password@host:port/database` without any file: the configuration that such an address
// stands for. Weir listens on 127.0.0.1:6432, pools transactions, and lets in one user, the address's own, by SCRAM
// with the address's password.

/// The configuration for one server given as a connection URI. Errors name the part, and never repeat the address.
public func configuration(fromURL url: String) -> Result<Configuration, ConfigurationErrors> {
    let address: ConnectionAddress
    do {
        address = try ConnectionAddress(parsing: url)
    } catch {
        return .failure(ConfigurationErrors([addressError(error.key, error.message)]))
    }
    var errors: [ConfigurationError] = []
    if address.user.isEmpty {
        errors.append(addressError("user", "expected a user, as in postgres://user:password@host:port/database"))
    }
    if address.password?.text.isEmpty ?? true {
        errors.append(
            addressError(
                "password", "expected a password, with which clients log in to Weir and Weir to the server"))
    }

    var configuration = Configuration()
    configuration.settings.listenAddr = ["127.0.0.1"]
    configuration.settings.unixSocketDir = ""
    configuration.settings.poolMode = .transaction
    configuration.settings.authType = .scramSHA256
    configuration.settings.adminUsers = [address.user]

    var database = DatabaseOptions(name: address.dbname.isEmpty ? address.user : address.dbname)
    if isConsoleDatabase(database.name) {
        errors.append(addressError("database", "the name \(quoted(database.name)) is reserved for the console"))
    }
    database.hosts = address.hosts.isEmpty ? [.tcp("localhost")] : address.hosts
    database.port = address.port
    database.user = address.user
    database.password = address.password
    for parameter in address.parameters {
        do throws(AddressError) {
            try apply(parameter, to: &database, &configuration.settings)
        } catch {
            errors.append(addressError(error.key, error.message))
        }
    }
    guard errors.isEmpty, let password = address.password else { return .failure(ConfigurationErrors(errors)) }

    configuration.databases[database.name] = database
    database.name = "*"
    configuration.wildcard = database
    configuration.secrets[address.user] = .plain(password.text)
    return .success(configuration)
}

/// libpq's parameters that have a meaning here; others are refused, since dropping a wish is not fulfilling it.
private func apply(
    _ parameter: ConnectionPair, to database: inout DatabaseOptions, _ settings: inout Settings
) throws(AddressError) {
    switch parameter.key {
    case "application_name": database.applicationName = parameter.value
    case "client_encoding": database.clientEncoding = parameter.value
    case "sslmode": try assign(parameter, to: "server_tls_sslmode", of: &settings)
    case "connect_timeout": try assign(parameter, to: "server_connect_timeout", of: &settings)
    case "load_balance_hosts" where parameter.value == "random": database.loadBalanceHosts = .roundRobin
    case "load_balance_hosts" where parameter.value == "disable": database.loadBalanceHosts = .disable
    default:
        throw AddressError(
            key: quotedIfOdd(parameter.key), message: "unrecognized connection parameter: \(quotedIfOdd(parameter.key))"
        )
    }
}

private func assign(
    _ parameter: ConnectionPair, to key: String, of settings: inout Settings
) throws(AddressError) {
    guard let setting = Setting.named(key) else { preconditionFailure("\(key) is not in the table") }
    do {
        try setting.assign(parameter.value, to: &settings)
    } catch {
        throw AddressError(key: parameter.key, message: error.message)
    }
}

private func addressError(_ key: String, _ message: String) -> ConfigurationError {
    ConfigurationError(file: "address", line: 0, key: key, message: message)
}
