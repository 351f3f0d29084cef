// A connection URI, as in PostgreSQL's manual ("Connection URIs", section 34.1.1.2):
//
//     postgres://user:password@host1,host2:5432/database?host=/folder&application_name=x
//
// with percent-encoding, IPv6 addresses in brackets and `?host=` for a Unix socket. The scheme may name a driver
// (postgresql+asyncpg://), since that is what SQLAlchemy users have in DATABASE_URL. The text holds a password that a
// misplaced `/` or `:` can move into any part: no error repeats any of it.

/// The parts of a connection URI, decoded.
struct ConnectionAddress: Equatable {
    var user = ""
    var password: Password?
    var hosts: [HostAddress] = []
    var port = 5432
    var dbname = ""
    /// The pairs after `?` that are none of the above.
    var parameters: [ConnectionPair] = []
}

/// Why a connection URI was refused.
struct AddressError: Error, Equatable {
    let key: String
    let message: String
}

extension ConnectionAddress {
    init(parsing text: String) throws(AddressError) {
        let bytes = Array(text.utf8)
        guard let schemeEnd = bytes.firstIndex(of: UInt8(ascii: ":")), isScheme(bytes[..<schemeEnd]),
            bytes[schemeEnd...].starts(with: "://".utf8)
        else { throw AddressError(key: "", message: "expected postgres://user:password@host:port/database") }

        let rest = bytes[(schemeEnd + 3)...]
        let authority = rest.prefix { $0 != UInt8(ascii: "/") && $0 != UInt8(ascii: "?") }
        let afterAuthority = rest.dropFirst(authority.count)
        let path = afterAuthority.prefix { $0 != UInt8(ascii: "?") }
        let query = afterAuthority.dropFirst(path.count).dropFirst()

        let hostStart = authority.lastIndex(of: UInt8(ascii: "@")).map { $0 + 1 } ?? authority.startIndex
        if hostStart > authority.startIndex {
            try readCredentials(authority[..<(hostStart - 1)])
        }
        try readHosts(authority[hostStart...])
        dbname = try decoded(path.dropFirst(), of: "database")
        for pair in query.split(separator: UInt8(ascii: "&")) { try readParameter(pair) }
    }

    private mutating func readCredentials(_ bytes: ArraySlice<UInt8>) throws(AddressError) {
        let name = bytes.prefix { $0 != UInt8(ascii: ":") }
        user = try decoded(name, of: "user")
        if name.count < bytes.count {
            password = Password(try decoded(bytes.dropFirst(name.count + 1), of: "password"))
        }
    }

    private mutating func readHosts(_ bytes: ArraySlice<UInt8>) throws(AddressError) {
        if bytes.isEmpty { return }
        var ports: Set<Int> = []
        for item in bytes.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false) {
            var host = item.prefix { $0 != UInt8(ascii: ":") }
            if item.first == UInt8(ascii: "[") {
                guard let end = item.firstIndex(of: UInt8(ascii: "]")) else {
                    throw AddressError(key: "host", message: "expected a closing ] after an IPv6 address")
                }
                host = item[...end]
            }
            let afterHost = item.dropFirst(host.count)
            if afterHost.count > 1 {
                guard afterHost.first == UInt8(ascii: ":") else {
                    throw AddressError(key: "host", message: "expected : or / after the host")
                }
                ports.insert(try parsePort(try decoded(afterHost.dropFirst(), of: "port")))
            } else if afterHost.isEmpty || afterHost.first == UInt8(ascii: ":") {
                ports.insert(5432)
            } else {
                throw AddressError(key: "host", message: "expected : or / after the host")
            }
            if !host.isEmpty { hosts.append(try hostAddress(try decoded(host, of: "host"))) }
        }
        guard ports.count <= 1 else { throw AddressError(key: "port", message: "expected one port for all hosts") }
        port = ports.first ?? 5432
    }

    private mutating func readParameter(_ bytes: ArraySlice<UInt8>) throws(AddressError) {
        let name = bytes.prefix { $0 != UInt8(ascii: "=") }
        let key = try decoded(name, of: "parameter")
        guard !name.isEmpty, name.count < bytes.count else {
            throw AddressError(key: "", message: "expected ?key=value&key=value after the database")
        }
        let value = try decoded(bytes.dropFirst(name.count + 1), of: "parameter")
        switch key {
        case "user": user = value
        case "password": password = Password(value)
        case "dbname": dbname = value
        case "port": port = try parsePort(value)
        case "host":
            hosts = []
            for name in value.utf8.split(separator: UInt8(ascii: ",")) {
                hosts.append(try hostAddress(String(decoding: name, as: UTF8.self)))
            }
        default: parameters.append(ConnectionPair(key: key, value: value))
        }
    }
}

private func isScheme(_ bytes: ArraySlice<UInt8>) -> Bool {
    let name = bytes.prefix { $0 != UInt8(ascii: "+") }
    return name.elementsEqual("postgres".utf8) || name.elementsEqual("postgresql".utf8)
}

private func hostAddress(_ text: String) throws(AddressError) -> HostAddress {
    guard !text.isEmpty, text != "[]" else { throw AddressError(key: "host", message: "expected a host") }
    return HostAddress(text)
}

private func parsePort(_ text: String) throws(AddressError) -> Int {
    guard text.utf8.allSatisfy(isDecimalDigit), let port = Int(text), (1...65_535).contains(port) else {
        throw AddressError(key: "port", message: "expected a whole number from 1 to 65535")
    }
    return port
}

/// The text that percent-encoded bytes stand for (RFC 3986, section 2.1).
private func decoded(_ bytes: ArraySlice<UInt8>, of key: String) throws(AddressError) -> String {
    var result: [UInt8] = []
    var rest = bytes
    while let byte = rest.popFirst() {
        guard byte == UInt8(ascii: "%") else {
            result.append(byte)
            continue
        }
        guard let high = rest.popFirst().flatMap({ digitValue($0, radix: 16) }),
            let low = rest.popFirst().flatMap({ digitValue($0, radix: 16) }), high + low > 0
        else { throw AddressError(key: key, message: "expected two hexadecimal digits after %, and not 00") }
        result.append(UInt8(high << 4 | low))
    }
    guard let text = String(validating: result, as: UTF8.self) else {
        throw AddressError(key: key, message: "expected UTF-8")
    }
    return text
}
