// The command: `bench-relay io_uring|epoll LISTEN_PORT SERVER_PORT`, all on 127.0.0.1. It runs until a signal ends it.
// It is a measuring device, so whatever goes wrong outside a single connection ends it with one line and exit code 1.
import Glibc

let usage = "usage: bench-relay io_uring|epoll LISTEN_PORT SERVER_PORT"
let arguments = CommandLine.arguments
guard arguments.count == 4, let listenPort = UInt16(arguments[2]), let serverPort = UInt16(arguments[3]) else {
    fail(usage)
}
let listener = listeningSocket(port: listenPort, isBlocking: arguments[1] == "io_uring")
switch arguments[1] {
case "io_uring":
    var relay = UringRelay(listener: listener, serverPort: serverPort)
    relay.run()
case "epoll":
    var relay = EpollRelay(listener: listener, serverPort: serverPort)
    relay.run()
default:
    fail(usage)
}
