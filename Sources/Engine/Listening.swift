// The sockets that clients come to. They are made before anything else runs, so that a bad address stops the start;
// worker 0 accepts from them.

import CLinux
import Configuration
import Glibc
import Reactor

/// A socket that clients connect to.
struct Listener {
    let fd: Int32
    let address: SocketAddress?
    let isUnix: Bool
    var isInherited = false
    var socket = SocketID.none
    /// Accepting starts again at this time, after it failed; 0 = it goes on.
    var pausedUntil: Int64 = 0
}

/// Closes a file descriptor that no loop knows.
func closeDescriptor(_ fd: Int32) { _ = linux_close(fd) }

/// Makes every listening socket of a configuration, or says why none works.
func makeListeners(_ settings: Settings, log: LogSink) -> Result<[Listener], StartError> {
    let inherited = inheritedListeners()
    if !inherited.isEmpty { return .success(adopt(inherited, log: log)) }
    var listeners: [Listener] = []
    for name in settings.listenAddr { listeners += makeTCPListeners(name, settings, log: log) }
    if !settings.listenAddr.isEmpty && listeners.isEmpty {
        return .failure(StartError("failed to listen on any address in listen_addr list"))
    }
    if !settings.unixSocketDir.isEmpty {
        switch makeUnixListener(settings) {
        case .success(let listener): listeners.append(listener)
        case .failure(let error): return .failure(error)
        }
    }
    guard !listeners.isEmpty else { return .failure(StartError("nowhere to listen on")) }
    for listener in listeners { log.write(.log, "listening on \(listener.address?.description ?? "?")") }
    return .success(listeners)
}

/// Removes the files of Unix sockets that were made here.
func removeSockets(_ listeners: [Listener]) {
    for listener in listeners where listener.isUnix && !listener.isInherited {
        guard let path = listener.address?.host, path.hasPrefix("/") else { continue }
        unlink(path)
    }
}

private func adopt(_ descriptors: [Int32], log: LogSink) -> [Listener] {
    log.write(.warning, "sockets come from the service manager: listen_addr and unix_socket_dir are ignored")
    return descriptors.map { fd in
        log.write(.log, "socket passed from service manager (fd \(fd))")
        let address = SocketAddress.ofLocal(fd)
        return Listener(fd: fd, address: address, isUnix: address?.family == .unix, isInherited: true)
    }
}

private func makeTCPListeners(_ name: String, _ settings: Settings, log: LogSink) -> [Listener] {
    let names = name == "*" ? ["0.0.0.0", "::"] : [name]
    var made: [Listener] = []
    for name in names {
        for address in addresses(of: name, port: UInt16(clamping: settings.listenPort)) {
            do {
                let fd = try SocketOptions.makeListener(
                    address: address, backlog: Int32(clamping: settings.listenBacklog),
                    deferAccept: settings.tcpDeferAccept > 0 ? Int32(clamping: settings.tcpDeferAccept) : nil)
                made.append(Listener(fd: fd, address: address, isUnix: false))
            } catch {
                log.write(.warning, "cannot listen on \(address): \(error)")
            }
        }
    }
    if made.isEmpty { log.write(.warning, "cannot listen on \"\(name)\"") }
    return made
}

/// The addresses of a name to listen on; looked up at once, since nothing else runs yet.
private func addresses(of name: String, port: UInt16) -> [SocketAddress] {
    if let literal = SocketAddress(literal: name, port: port) { return [literal] }
    guard case .success(let found) = systemLookup(name) else { return [] }
    return found.compactMap { bytes in
        guard let address = bytes.withUnsafeBytes({ SocketAddress($0) }) else { return nil }
        return SocketAddress(literal: address.host, port: port)
    }
}

private func makeUnixListener(_ settings: Settings) -> Result<Listener, StartError> {
    let path = "\(settings.unixSocketDir)/.s.PGSQL.\(settings.listenPort)"
    guard let address = SocketAddress(unixPath: path) else {
        return .failure(StartError("failed to create unix socket: path too long: \(path)"))
    }
    do {
        let fd = try SocketOptions.makeListener(
            address: address, backlog: Int32(clamping: settings.listenBacklog),
            unixMode: UInt32(clamping: settings.unixSocketMode), group: groupID(settings.unixSocketGroup))
        return .success(Listener(fd: fd, address: address, isUnix: true))
    } catch {
        return .failure(StartError("failed to create unix socket: \(error)"))
    }
}

private func groupID(_ name: String) -> UInt32? {
    guard !name.isEmpty, let entry = getgrnam(name) else { return nil }
    return entry.pointee.gr_gid
}

extension Worker {
    /// Begins to accept clients.
    mutating func listen(_ made: [Listener]) {
        for listener in made {
            var listener = listener
            listener.socket = loop.listen(fd: listener.fd, token: Token.make(.listener, UInt32(listeners.count)))
            listeners.append(listener)
        }
    }

    /// `accept` failed, for want of file descriptors perhaps: it is tried again in five seconds.
    mutating func pauseListener(_ index: Int) {
        guard index < listeners.count, listeners[index].pausedUntil == 0 else { return }
        listeners[index].pausedUntil = now + 5_000_000
        loop.pauseAccepting(listeners[index].socket)
    }

    mutating func resumeListeners() {
        for index in listeners.indices where listeners[index].pausedUntil != 0 && now >= listeners[index].pausedUntil {
            listeners[index].pausedUntil = 0
            loop.resumeAccepting(listeners[index].socket)
        }
    }

    /// A graceful shutdown: no new clients, but the Unix socket stays for the console.
    mutating func closeTCPListeners() {
        // Their places stay: what comes from the others names those.
        for index in listeners.indices where !listeners[index].isUnix {
            loop.close(listeners[index].socket, flushing: false)
            listeners[index].socket = .none
        }
    }
}
