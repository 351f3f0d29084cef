// The service manager's side, played by a datagram socket.

import Glibc
import Testing

@testable import Reactor

/// A datagram socket under a name as $NOTIFY_SOCKET has it.
private final class Manager {
    let file: Int32
    let name: String

    init(name: String) {
        self.name = name
        file = socket(AF_UNIX, Int32(SOCK_DGRAM.rawValue), 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: name.utf8.map { $0 == 0x40 ? 0 : $0 }) }
        let length = socklen_t(2 + name.utf8.count)
        let result = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(file, $0, length) }
        }
        precondition(result == 0)
    }

    deinit {
        close(file)
        if name.hasPrefix("/") { unlink(name) }
    }

    func receive() -> String {
        var bytes = [UInt8](repeating: 0, count: 4_096)
        let count = recv(file, &bytes, bytes.count, Int32(MSG_DONTWAIT))
        return String(decoding: bytes.prefix(max(0, count)), as: UTF8.self)
    }
}

@Suite struct ServiceNotifierTests {
    @Test(
        "each state is one datagram, to a path as to an abstract name",
        arguments: ["@weir-notify-test-\(getpid())", "/tmp/weir-notify-test-\(getpid())"])
    func states(name: String) {
        let manager = Manager(name: name)
        let notifier = ServiceNotifier(socketName: name)
        #expect(notifier.isEnabled)
        #expect(notifier.ready())
        #expect(manager.receive() == "READY=1")
        #expect(notifier.reloading(monotonicMicroseconds: 123))
        #expect(manager.receive() == "RELOADING=1\nMONOTONIC_USEC=123")
        #expect(notifier.status("2 clients\nREADY=1\r\nx"))
        #expect(manager.receive() == "STATUS=2 clients READY=1 x")
        #expect(notifier.stopping())
        #expect(manager.receive() == "STOPPING=1")
    }

    @Test(
        "without a manager, or with a name that is none, nothing is sent",
        arguments: [nil, "", "relative", "/nonexistent/notify", "@" + String(repeating: "n", count: 200)])
    func nobodyListens(name: String?) {
        #expect(!ServiceNotifier(socketName: name).ready())
    }

    @Test("a listening socket is inherited, close-on-exec and non-blocking")
    func inheritedListener() {
        let file = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
        defer { close(file) }
        let process = "\(getpid())"
        func inherited(_ processID: String? = process, _ count: String? = "1", _ names: String? = nil) -> [Int32] {
            inheritedListeners(processID: processID, count: count, names: names, firstDescriptor: file)
        }
        #expect(inherited() == [], "it does not listen yet")
        #expect(listen(file, 1) == 0)
        #expect(inherited("\(getpid() + 1)") == [])
        #expect(inherited(nil) == [])
        #expect(inherited("x") == [])
        for count in [nil, "0", "-1", "257", "99999999999", "1x"] { #expect(inherited(process, count) == []) }
        #expect(inherited(process, "1", "a:b") == [])
        #expect(fcntl(file, F_GETFD) == 0)
        #expect(inherited(process, "1", "weir.socket") == [file])
        #expect(fcntl(file, F_GETFD) == FD_CLOEXEC)
        #expect(fcntl(file, F_GETFL) & O_NONBLOCK != 0)
    }
}
