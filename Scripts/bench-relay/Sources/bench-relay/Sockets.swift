// Sockets on loopback, shared by both relays, and the one way to give up.
import CRelay
import Glibc

/// Writes one line to standard error and ends the process with exit code 1.
func fail(_ message: String) -> Never {
    let line = "bench-relay: \(message)\n"
    _ = line.withCString { write(STDERR_FILENO, $0, strlen($0)) }
    exit(1)
}

/// `call` as text for `fail`, with the reason that `code` (an errno) stands for.
func failure(_ call: String, _ code: Int32) -> String {
    "\(call): \(String(cString: strerror(code)))"
}

/// Calls `body` with the address 127.0.0.1:`port`.
func withLoopbackAddress(_ port: UInt16, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    // SAFETY: sockaddr_in begins as sockaddr does, and the length passed is sockaddr_in's own.
    return withUnsafePointer(to: &address) {
        $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { body($0, socklen_t(MemoryLayout<sockaddr_in>.size)) }
    }
}

/// A socket that listens on 127.0.0.1:`port`.
func listeningSocket(port: UInt16, isBlocking: Bool) -> Int32 {
    let kind = Int32(SOCK_STREAM.rawValue) | (isBlocking ? 0 : Int32(SOCK_NONBLOCK.rawValue))
    let descriptor = socket(AF_INET, kind, 0)
    guard descriptor >= 0 else { fail(failure("socket", errno)) }
    setOption(descriptor, SOL_SOCKET, SO_REUSEADDR)
    guard withLoopbackAddress(port, { bind(descriptor, $0, $1) }) == 0 else {
        fail(failure("bind to port \(port)", errno))
    }
    guard listen(descriptor, 1024) == 0 else { fail(failure("listen", errno)) }
    return descriptor
}

/// A socket connected to 127.0.0.1:`port`, or nil when the server refuses. The call blocks: on loopback the handshake
/// is done by the same call and nobody waits, while a connect in the background would add work that is not copying.
func connectedSocket(port: UInt16) -> Int32? {
    let descriptor = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { return nil }
    guard withLoopbackAddress(port, { connect(descriptor, $0, $1) }) == 0 else {
        close(descriptor)
        return nil
    }
    setNoDelay(descriptor)
    return descriptor
}

/// Sends small messages at once, as every pooler and PostgreSQL itself do.
func setNoDelay(_ descriptor: Int32) {
    setOption(descriptor, Int32(IPPROTO_TCP), TCP_NODELAY)
}

private func setOption(_ descriptor: Int32, _ level: Int32, _ name: Int32) {
    var one: Int32 = 1
    // A socket that lacks the option still relays; the figures would show it.
    _ = setsockopt(descriptor, level, name, &one, socklen_t(MemoryLayout<Int32>.size))
}
