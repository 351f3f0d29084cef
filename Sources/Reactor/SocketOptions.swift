// Making sockets and setting their options: the plain system calls that happen once per connection or once
// per listener, outside the loop. Every socket made here is non-blocking and close-on-exec.

import CLinux
import Glibc

/// Makes sockets and sets their options. Setters return false when the kernel refuses.
public enum SocketOptions {
    /// A new stream socket for an address of this family, to be given to `EventLoop.connect`.
    public static func makeStreamSocket(for address: SocketAddress) throws(ReactorError) -> Int32 {
        let family =
            switch address.family {
            case .ipv4: AF_INET
            case .ipv6: AF_INET6
            case .unix: AF_UNIX
            case nil: AF_UNSPEC
            }
        let fd = linux_socket(family, Int32(SOCK_STREAM.rawValue))
        guard fd >= 0 else { throw .systemCall(name: "socket", errno: -fd) }
        return fd
    }

    /// A new TCP socket; `family` must not be `.unix`.
    public static func makeTCPSocket(_ family: SocketAddress.Family) throws(ReactorError) -> Int32 {
        precondition(family != .unix)
        let fd = linux_socket(family == .ipv4 ? AF_INET : AF_INET6, Int32(SOCK_STREAM.rawValue))
        guard fd >= 0 else { throw .systemCall(name: "socket", errno: -fd) }
        return fd
    }

    /// Two connected stream sockets, both the caller's.
    public static func makePair() throws(ReactorError) -> (Int32, Int32) {
        var fds: [2 of Int32] = [-1, -1]
        let result = withUnsafeMutableBytes(of: &fds) { bytes -> Int32 in
            // SAFETY: the array is two Int32, which is what socketpair fills.
            guard let first = bytes.bindMemory(to: Int32.self).baseAddress else { return -EINVAL }
            return linux_stream_pair(first)
        }
        guard result == 0 else { throw .systemCall(name: "socketpair", errno: -result) }
        return (fds[0], fds[1])
    }

    /// A socket that listens on an address, to be given to `EventLoop.listen`.
    ///
    /// - `deferAccept`: seconds to wait for the first bytes before a TCP connection is shown
    ///   (TCP_DEFER_ACCEPT in `tcp(7)`); nil: show it at once.
    /// - `reusePort`: lets several sockets listen on the same TCP address (SO_REUSEPORT in `socket(7)`).
    /// - `unixMode`, `group`: permissions and group of a Unix socket's file.
    ///
    /// A Unix socket's file that a dead process left behind, recognised by refusing connections, is replaced.
    public static func makeListener(
        address: SocketAddress, backlog: Int32, deferAccept: Int32? = nil, reusePort: Bool = false,
        unixMode: UInt32? = nil, group: UInt32? = nil
    ) throws(ReactorError) -> Int32 {
        let fd = try makeStreamSocket(for: address)
        do throws(ReactorError) {
            if address.family != .unix { try prepare(fd, address, deferAccept: deferAccept, reusePort: reusePort) }
            try bind(fd, to: address)
            if address.family == .unix, !address.host.hasPrefix("@") {
                try own(path: address.host, unixMode: unixMode, group: group)
            }
            try check(linux_listen(fd, backlog), "listen")
        } catch {
            _ = linux_close(fd)
            throw error
        }
        return fd
    }

    /// Sends small messages at once (TCP_NODELAY). Meaningless, and refused, for Unix sockets.
    @discardableResult
    public static func setNoDelay(_ fd: Int32) -> Bool { set(fd, Int32(IPPROTO_TCP), TCP_NODELAY, 1) }

    /// Detects dead peers: probes after `idle` seconds of silence, every `interval` seconds, `count` times.
    /// Nil leaves the kernel's own value.
    @discardableResult
    public static func setKeepalive(_ fd: Int32, idle: Int32?, interval: Int32?, count: Int32?) -> Bool {
        var succeeded = set(fd, SOL_SOCKET, SO_KEEPALIVE, 1)
        for case (let name, let value?) in [(TCP_KEEPIDLE, idle), (TCP_KEEPINTVL, interval), (TCP_KEEPCNT, count)] {
            succeeded = set(fd, Int32(IPPROTO_TCP), name, value) && succeeded
        }
        return succeeded
    }

    /// How long sent bytes may stay unacknowledged before the connection fails (TCP_USER_TIMEOUT).
    @discardableResult
    public static func setUserTimeout(_ fd: Int32, milliseconds: Int32) -> Bool {
        set(fd, Int32(IPPROTO_TCP), TCP_USER_TIMEOUT, milliseconds)
    }

    /// The size of the kernel's send and receive buffers (SO_SNDBUF, SO_RCVBUF).
    @discardableResult
    public static func setBuffer(_ fd: Int32, bytes: Int32) -> Bool {
        let sends = set(fd, SOL_SOCKET, SO_SNDBUF, bytes)
        return set(fd, SOL_SOCKET, SO_RCVBUF, bytes) && sends
    }

    /// The process at the other end of a Unix socket, as it was when it connected (SO_PEERCRED in `unix(7)`);
    /// nil for other sockets.
    public static func peerCredentials(_ fd: Int32) -> (processID: Int32, userID: UInt32, groupID: UInt32)? {
        var process: pid_t = 0
        var user: uid_t = 0
        var group: gid_t = 0
        guard SocketAddress.ofLocal(fd)?.family == .unix, linux_peer_credentials(fd, &process, &user, &group) == 0
        else { return nil }
        return (process, user, group)
    }

    private static func prepare(
        _ fd: Int32, _ address: SocketAddress, deferAccept: Int32?, reusePort: Bool
    ) throws(ReactorError) {
        try check(linux_set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1), "setsockopt SO_REUSEADDR")
        if reusePort { try check(linux_set_option(fd, SOL_SOCKET, SO_REUSEPORT, 1), "setsockopt SO_REUSEPORT") }
        if address.family == .ipv6 {
            // So that `0.0.0.0` and `::` may be listened on side by side.
            try check(linux_set_option(fd, Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1), "setsockopt IPV6_V6ONLY")
        }
        if let deferAccept {
            let result = linux_set_option(fd, Int32(IPPROTO_TCP), TCP_DEFER_ACCEPT, deferAccept)
            try check(result, "setsockopt TCP_DEFER_ACCEPT")
        }
    }

    private static func bind(_ fd: Int32, to address: SocketAddress) throws(ReactorError) {
        var result = address.withAddress { linux_bind(fd, $0, $1) }
        if result == -EADDRINUSE, address.family == .unix, !address.host.hasPrefix("@"), isAbandoned(address) {
            _ = unlink(address.host)
            result = address.withAddress { linux_bind(fd, $0, $1) }
        }
        try check(result, "bind to \(address)")
    }

    /// Whether nobody listens on a Unix socket's file.
    private static func isAbandoned(_ address: SocketAddress) -> Bool {
        let fd = linux_socket(AF_UNIX, Int32(SOCK_STREAM.rawValue))
        guard fd >= 0 else { return false }
        defer { _ = linux_close(fd) }
        return address.withAddress { linux_connect(fd, $0, $1) } == -ECONNREFUSED
    }

    private static func own(path: String, unixMode: UInt32?, group: UInt32?) throws(ReactorError) {
        if let unixMode, chmod(path, unixMode) != 0 { throw .systemCall(name: "chmod \(path)", errno: errno) }
        if let group, chown(path, uid_t.max, group) != 0 { throw .systemCall(name: "chown \(path)", errno: errno) }
    }

    private static func set(_ fd: Int32, _ level: Int32, _ name: Int32, _ value: Int32) -> Bool {
        linux_set_option(fd, level, name, value) == 0
    }

    private static func check(_ result: Int32, _ name: String) throws(ReactorError) {
        guard result >= 0 else { throw .systemCall(name: name, errno: -result) }
    }
}
