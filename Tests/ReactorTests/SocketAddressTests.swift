// Addresses as text and as the kernel has them.

import Glibc
import Testing

@testable import Reactor

@Suite("Addresses read and write as administrators expect")
struct SocketAddressTests {
    @Test(
        "literals are written back as they are read",
        arguments: [
            ("127.0.0.1", 6432 as UInt16, "127.0.0.1:6432"), ("0.0.0.0", 0, "0.0.0.0:0"),
            ("255.255.255.255", 65_535, "255.255.255.255:65535"), ("::1", 6432, "[::1]:6432"),
            ("2001:db8::2", 5432, "[2001:db8::2]:5432"), ("fe80::1%1", 1, "[fe80::1]:1"),
        ])
    func literals(literal: String, port: UInt16, text: String) throws {
        let address = try #require(SocketAddress(literal: literal, port: port))
        #expect(address.description == text && address.port == port)
        #expect(address.family == (literal.contains(":") ? .ipv6 : .ipv4))
        #expect(address.addressBytes.count == (literal.contains(":") ? 16 : 4))
        #expect(address == SocketAddress(literal: literal, port: port))
        #expect(address != SocketAddress(literal: literal, port: port ^ 1))
    }

    @Test(
        "what is no address is refused", arguments: ["", "localhost", "127.0.0.1:80", "1.2.3", "[::1]", "::1%", "::g"])
    func notAddresses(literal: String) {
        #expect(SocketAddress(literal: literal, port: 1) == nil)
    }

    @Test("Unix paths, abstract ones with @, are written back", arguments: ["/tmp/.s.PGSQL.6432", "@weir", "relative"])
    func unixPaths(path: String) throws {
        let address = try #require(SocketAddress(unixPath: path))
        #expect(address.description == "unix:\(path)" && address.family == .unix && address.port == 0)
    }

    @Test(
        "Unix paths that the kernel cannot hold are refused",
        arguments: ["", "@", "a\0b", String(repeating: "x", count: 108)])
    func impossibleUnixPaths(path: String) {
        #expect(SocketAddress(unixPath: path) == nil)
        #expect(SocketAddress(unixPath: String(repeating: "x", count: 107)) != nil)
    }

    @Test("the kernel tells both ends of a connection the same")
    func bothEnds() throws {
        let any = try #require(SocketAddress(literal: "::1", port: 0))
        let listener = Peer(fd: try SocketOptions.makeListener(address: any, backlog: 1))
        let address = try #require(SocketAddress.ofLocal(listener.fd))
        let client = Peer(fd: try SocketOptions.makeStreamSocket(for: address))
        _ = address.withAddress { Glibc.connect(client.fd, $0.assumingMemoryBound(to: sockaddr.self), $1) }
        #expect(SocketAddress.ofPeer(client.fd) == address)
        #expect(SocketAddress.ofLocal(listener.fd)?.port != 0)
        #expect(SocketAddress.ofPeer(listener.fd) == nil)
        #expect(SocketOptions.peerCredentials(client.fd) == nil)
        #expect(SocketOptions.setNoDelay(client.fd))
        #expect(SocketOptions.setKeepalive(client.fd, idle: 60, interval: 10, count: 3))
        #expect(SocketOptions.setUserTimeout(client.fd, milliseconds: 5_000))
        #expect(SocketOptions.setBuffer(client.fd, bytes: 65_536))
    }

    @Test("a Unix listener takes over an abandoned file, never one in use, and sets its permissions")
    func unixListener() throws {
        let path = "/tmp/weir-reactor-test-\(getpid())"
        let address = try #require(SocketAddress(unixPath: path))
        let first = try SocketOptions.makeListener(address: address, backlog: 1, unixMode: 0o700)
        var status = stat()
        #expect(stat(path, &status) == 0 && status.st_mode & 0o777 == 0o700)
        #expect(throws: ReactorError.systemCall(name: "bind to unix:\(path)", errno: EADDRINUSE)) {
            _ = try SocketOptions.makeListener(address: address, backlog: 1)
        }
        _ = Glibc.close(first)
        let second = try SocketOptions.makeListener(address: address, backlog: 1)
        _ = Glibc.close(second)
        unlink(path)
    }
}
