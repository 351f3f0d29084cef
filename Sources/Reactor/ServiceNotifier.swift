// What a service manager (systemd) is told, and what it may hand over: sd_notify(3) and sd_listen_fds(3), which are
// one datagram and a few variables; no library is needed for either.

import Glibc

/// Tells the service manager how the service is. Without NOTIFY_SOCKET it does nothing.
public struct ServiceNotifier: Sendable {
    /// The manager's socket: a path, or a name of the abstract namespace with `@` in front.
    private let socketName: String?

    /// A notifier for this socket, nil or empty for none.
    public init(socketName: String?) {
        self.socketName = socketName.flatMap { $0.hasPrefix("/") || $0.hasPrefix("@") ? $0 : nil }
    }

    /// The notifier that the environment asks for ($NOTIFY_SOCKET).
    public static func fromEnvironment() -> ServiceNotifier {
        ServiceNotifier(socketName: environmentValue("NOTIFY_SOCKET"))
    }

    /// Whether anybody listens.
    public var isEnabled: Bool { socketName != nil }

    /// Start-up or a reload is complete.
    @discardableResult public func ready() -> Bool { notify("READY=1") }

    /// A reload begins; `monotonicMicroseconds` is CLOCK_MONOTONIC now (Type=notify-reload demands it).
    @discardableResult public func reloading(monotonicMicroseconds: Int64) -> Bool {
        notify("RELOADING=1\nMONOTONIC_USEC=\(monotonicMicroseconds)")
    }

    /// Shut-down begins.
    @discardableResult public func stopping() -> Bool { notify("STOPPING=1") }

    /// One line for `systemctl status`. Line feeds become spaces: each would begin a new assignment.
    @discardableResult public func status(_ text: String) -> Bool {
        notify("STATUS=" + String(text.map { $0.isNewline ? " " : $0 }))
    }

    /// Sends one datagram; false when nobody took it. Never waits.
    private func notify(_ text: String) -> Bool {
        guard let socketName, var address = unixAddress(socketName) else { return false }
        let file = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
        guard file >= 0 else { return false }
        defer { close(file) }
        let message = Array(text.utf8)
        // The terminating NUL of a path counts or not as one likes; for an abstract name every byte counts.
        let length = socklen_t(MemoryLayout<sa_family_t>.size + socketName.utf8.count)
        // SAFETY: unixAddress has checked that the name fits, so `length` bytes lie inside the sockaddr_un.
        let sent = withUnsafePointer(to: &address) { pointer in
            pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
                sendto(
                    file, message, message.count, Int32(MSG_NOSIGNAL) | Int32(MSG_DONTWAIT), $0,
                    length)
            }
        }
        return sent == message.count
    }
}

/// A Unix socket's address; nil when the name is too long for one.
private func unixAddress(_ name: String) -> sockaddr_un? {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    var bytes = Array(name.utf8)
    let isAbstract = bytes.first == UInt8(ascii: "@")
    if isAbstract { bytes[0] = 0 }
    // SAFETY: the guard sees to it that the bytes fit into sun_path, one place kept for the NUL.
    return withUnsafeMutableBytes(of: &address.sun_path) { path in
        guard bytes.count < path.count else { return false }
        path.copyBytes(from: bytes)
        return true
    } ? address : nil
}

/// The listening sockets that the service manager passed on (LISTEN_PID, LISTEN_FDS, LISTEN_FDNAMES), made
/// close-on-exec and non-blocking. Descriptors that are no listening stream sockets are left alone and not returned.
/// The variables are removed, so that no child takes them for its own.
public func inheritedListeners() -> [Int32] {
    let listeners = inheritedListeners(
        processID: environmentValue("LISTEN_PID"), count: environmentValue("LISTEN_FDS"),
        names: environmentValue("LISTEN_FDNAMES"), firstDescriptor: 3)
    for name in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] { unsetenv(name) }
    return listeners
}

/// The same with the values of the variables as arguments. All or nothing: variables that contradict themselves name
/// no descriptor.
func inheritedListeners(processID: String?, count: String?, names: String?, firstDescriptor: Int32) -> [Int32] {
    guard let processID, Int32(processID) == getpid(), let count, let count = Int32(count), count > 0, count <= 256
    else {
        return []
    }
    if let names, names.split(separator: ":", omittingEmptySubsequences: false).count != count { return [] }
    return (firstDescriptor..<firstDescriptor + count).filter { file in
        guard socketOption(file, SO_ACCEPTCONN) == 1, socketOption(file, SO_TYPE) == Int32(SOCK_STREAM.rawValue) else {
            return false
        }
        let flags = fcntl(file, F_GETFL)
        return flags >= 0 && fcntl(file, F_SETFL, flags | O_NONBLOCK) == 0 && fcntl(file, F_SETFD, FD_CLOEXEC) == 0
    }
}

private func socketOption(_ file: Int32, _ option: Int32) -> Int32? {
    var value: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    return getsockopt(file, SOL_SOCKET, option, &value, &length) == 0 ? value : nil
}

/// A variable of the environment; nil when it is not set or empty.
private func environmentValue(_ name: String) -> String? {
    // SAFETY: getenv returns a NUL-terminated text that nobody changes: no thread calls setenv.
    guard let value = getenv(name) else { return nil }
    let text = String(cString: value)
    return text.isEmpty ? nil : text
}
