// The address of a socket, as the kernel has it: one trivial value for IPv4, IPv6 and Unix sockets, with the
// texts that administrators write in a configuration and read in a log.

import CLinux
import Glibc

/// An IPv4, IPv6 or Unix socket address.
public struct SocketAddress: Equatable, Hashable, Sendable, CustomStringConvertible {
    /// What kind of address it is.
    public enum Family: Sendable { case ipv4, ipv6, unix }

    /// Enough for `sockaddr_un`, the longest of the three.
    private var storage: [16 of UInt64]
    private var length: UInt32

    private init() {
        storage = [16 of UInt64](repeating: 0)
        length = 0
    }

    /// An IPv4 or IPv6 address from its literal (`127.0.0.1`, `::1`, `fe80::1%eth0`); nil for anything else.
    public init?(literal: String, port: UInt16) {
        self.init()
        var ipv4 = sockaddr_in()
        if inet_pton(AF_INET, literal, &ipv4.sin_addr) == 1 {
            ipv4.sin_family = sa_family_t(AF_INET)
            ipv4.sin_port = port.bigEndian
            store(&ipv4, bytes: MemoryLayout<sockaddr_in>.size)
            return
        }
        var ipv6 = sockaddr_in6()
        let parts = literal.split(separator: "%", maxSplits: 1, omittingEmptySubsequences: false)
        guard let address = parts.first, inet_pton(AF_INET6, String(address), &ipv6.sin6_addr) == 1 else { return nil }
        if parts.count == 2 {
            let zone = UInt32(parts[1]) ?? if_nametoindex(String(parts[1]))
            guard zone != 0 else { return nil }
            ipv6.sin6_scope_id = zone
        }
        ipv6.sin6_family = sa_family_t(AF_INET6)
        ipv6.sin6_port = port.bigEndian
        store(&ipv6, bytes: MemoryLayout<sockaddr_in6>.size)
    }

    /// A Unix socket from its path; a leading `@` stands for Linux's abstract namespace (`unix(7)`). Nil when
    /// the path is empty, contains a zero byte, or is longer than the kernel allows (107 bytes).
    public init?(unixPath path: String) {
        self.init()
        let bytes = Array(path.utf8)
        let isAbstract = bytes.first == UInt8(ascii: "@")
        var unix = sockaddr_un()
        let pathOffset = MemoryLayout<sockaddr_un>.size - MemoryLayout.size(ofValue: unix.sun_path)
        let bytesMax = MemoryLayout.size(ofValue: unix.sun_path) - 1
        guard !bytes.isEmpty, bytes.count <= bytesMax, !bytes.contains(0), !(isAbstract && bytes.count == 1) else {
            return nil
        }
        unix.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &unix.sun_path) { target in
            target.copyBytes(from: bytes)
            if isAbstract { target[0] = 0 }
        }
        store(&unix, bytes: pathOffset + bytes.count + (isAbstract ? 0 : 1))
    }

    /// The address of the other end of a connected socket; nil when it has none.
    public static func ofPeer(_ fd: Int32) -> SocketAddress? { fetched { linux_peer_name(fd, $0, $1) } }

    /// The address that a socket is bound to; nil when it has none.
    public static func ofLocal(_ fd: Int32) -> SocketAddress? { fetched { linux_local_name(fd, $0, $1) } }

    /// An address from the kernel's own form, such as `getaddrinfo` yields; nil for other families.
    public init?(_ address: UnsafeRawBufferPointer) {
        self.init()
        guard address.count >= MemoryLayout<sa_family_t>.size, address.count <= 128 else { return nil }
        withUnsafeMutableBytes(of: &storage) { $0.copyMemory(from: address) }
        length = UInt32(address.count)
        guard family != nil else { return nil }
    }

    /// What kind of address this is; nil for none of the three.
    public var family: Family? {
        switch Int32(rawFamily) {
        case AF_INET where Int(length) >= MemoryLayout<sockaddr_in>.size: .ipv4
        case AF_INET6 where Int(length) >= MemoryLayout<sockaddr_in6>.size: .ipv6
        case AF_UNIX: .unix
        case _: nil
        }
    }

    /// The TCP port; 0 for Unix sockets. May be changed.
    public var port: UInt16 {
        get {
            guard family == .ipv4 || family == .ipv6 else { return 0 }
            // IPv4 and IPv6 addresses both have the port behind the family.
            return UInt16(bigEndian: withBytes { $0.loadUnaligned(fromByteOffset: 2, as: UInt16.self) })
        }
        set {
            guard family == .ipv4 || family == .ipv6 else { return }
            withUnsafeMutableBytes(of: &storage) {
                $0.storeBytes(of: newValue.bigEndian, toByteOffset: 2, as: UInt16.self)
            }
        }
    }

    /// The address of the host alone: `127.0.0.1`, `::1`; for Unix sockets the path, with `@` for abstract
    /// ones, or nothing for unnamed ones.
    public var host: String {
        switch family {
        case .ipv4: text(of: AF_INET, addressOffset: 4)
        case .ipv6: text(of: AF_INET6, addressOffset: 8)
        case .unix: path
        case nil: ""
        }
    }

    /// The bytes of the IP address in network order: 4, 16, or none for Unix sockets.
    public var addressBytes: [UInt8] {
        switch family {
        case .ipv4: withBytes { Array($0[4..<8]) }
        case .ipv6: withBytes { Array($0[8..<24]) }
        case .unix, nil: []
        }
    }

    /// As written in logs: `127.0.0.1:6432`, `[::1]:6432`, `unix:/tmp/.s.PGSQL.6432`.
    public var description: String {
        switch family {
        case .ipv4: "\(host):\(port)"
        case .ipv6: "[\(host)]:\(port)"
        case .unix: "unix:\(path)"
        case nil: "unknown"
        }
    }

    /// Lends the kernel's form of the address.
    func withAddress<Result>(_ body: (UnsafeRawPointer, UInt32) -> Result) -> Result {
        withUnsafePointer(to: storage) { body(UnsafeRawPointer($0), length) }
    }

    private var rawFamily: sa_family_t { withBytes { $0.loadUnaligned(as: sa_family_t.self) } }

    private var path: String {
        withBytes { bytes in
            let end = min(Int(length), bytes.count)
            guard end > 2 else { return "" }
            let path = bytes[2..<end]
            if path.first == 0 { return "@" + String(decoding: path.dropFirst(), as: UTF8.self) }
            return String(decoding: path.prefix { $0 != 0 }, as: UTF8.self)
        }
    }

    private func text(of family: Int32, addressOffset: Int) -> String {
        withBytes { bytes in
            withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { text in
                // SAFETY: the address lies within the 128 bytes of storage; 64 bytes hold every literal.
                guard let source = bytes.baseAddress, let target = text.baseAddress,
                    inet_ntop(family, source + addressOffset, target, 64) != nil
                else { return "" }
                return String(cString: target)
            }
        }
    }

    private func withBytes<Result>(_ body: (UnsafeRawBufferPointer) -> Result) -> Result {
        withUnsafeBytes(of: storage, body)
    }

    private mutating func store<Address>(_ address: inout Address, bytes: Int) {
        length = UInt32(bytes)
        withUnsafeBytes(of: &address) { source in
            let source = source.prefix(bytes)
            withUnsafeMutableBytes(of: &storage) { $0.copyBytes(from: source) }
        }
    }

    private static func fetched(_ fetch: (UnsafeMutableRawPointer, UnsafeMutablePointer<socklen_t>) -> Int32) -> Self? {
        var result = SocketAddress()
        var length = socklen_t(128)
        let status = withUnsafeMutablePointer(to: &result.storage) { fetch(UnsafeMutableRawPointer($0), &length) }
        guard status == 0, length <= 128 else { return nil }
        result.length = length
        return result.family == nil ? nil : result
    }

    /// Equal when the kernel's forms are.
    public static func == (left: SocketAddress, right: SocketAddress) -> Bool {
        left.length == right.length && left.storage.indices.allSatisfy { left.storage[$0] == right.storage[$0] }
    }

    /// Feeds the kernel's form to the hasher.
    public func hash(into hasher: inout Hasher) {
        for index in storage.indices { hasher.combine(storage[index]) }
    }
}
