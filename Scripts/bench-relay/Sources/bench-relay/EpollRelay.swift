// The relay on epoll: wait, receive into one shared buffer, send on.
//
//      client --recv--> shared buffer --send--> server        (and the same the other way)
//
// Rule 1: bytes that the target does not take at once are kept beside it, and its source is not read until they are
// gone; so order is kept and memory is bounded. Rule 2: when a side ends, the pair closes as soon as what it said
// before has been sent.
import CRelay
import Glibc

/// One socket of a pair and what still has to be sent to it.
struct EpollSide {
    let descriptor: Int32
    /// The other socket of the pair; set once, right after both exist.
    var peer: UnsafeMutablePointer<EpollSide>?
    /// Bytes that this socket has not taken yet: `pending[pendingStart..<pendingEnd]`.
    var pending: UnsafeMutableRawPointer?
    var pendingStart = 0
    var pendingEnd = 0
    /// Both sockets are closed; the memory is given back at the end of the loop turn.
    var isClosed = false

    init(descriptor: Int32) {
        self.descriptor = descriptor
    }
}

struct EpollRelay {
    private let listener: Int32
    private let serverPort: UInt16
    private let epoll: Int32
    private let bufferBytes = 65536
    private let buffer: UnsafeMutableRawPointer
    /// Sides closed in this loop turn: later events of the same turn may still name them.
    private var closed: [UnsafeMutablePointer<EpollSide>] = []

    init(listener: Int32, serverPort: UInt16) {
        self.listener = listener
        self.serverPort = serverPort
        epoll = epoll_create1(0)
        guard epoll >= 0 else { fail(failure("epoll_create1", errno)) }
        buffer = .allocate(byteCount: bufferBytes, alignment: 4096)
        // The listener is the one registration without a side.
        watch(EPOLL_CTL_ADD, listener, nil, EPOLLIN.rawValue)
    }

    /// Relays for ever.
    mutating func run() {
        let eventsMax = 256
        let events = UnsafeMutablePointer<epoll_event>.allocate(capacity: eventsMax)
        while true {
            let count = epoll_wait(epoll, events, Int32(eventsMax), -1)
            guard count >= 0 || errno == EINTR else { fail(failure("epoll_wait", errno)) }
            for index in 0..<max(0, Int(count)) {
                // SAFETY: epoll_wait filled `count` events, and a pointer in one is nil or a side that `free` has not
                // seen, because closed sides are freed only after the last event of the turn.
                guard let pointer = events[index].data.ptr else {
                    acceptClients()
                    continue
                }
                handle(pointer.assumingMemoryBound(to: EpollSide.self), events[index].events)
            }
            free()
        }
    }

    private func watch(
        _ operation: Int32, _ descriptor: Int32, _ side: UnsafeMutablePointer<EpollSide>?, _ mask: UInt32
    ) {
        var event = epoll_event()
        event.events = mask
        event.data.ptr = UnsafeMutableRawPointer(side)
        guard epoll_ctl(epoll, operation, descriptor, &event) == 0 else { fail(failure("epoll_ctl", errno)) }
    }

    private func acceptClients() {
        while true {
            let descriptor = relay_accept(listener)
            if descriptor == -EAGAIN || descriptor == -ECONNABORTED || descriptor == -EINTR { return }
            guard descriptor >= 0 else { fail(failure("accept4", -descriptor)) }
            guard let server = connectedSocket(port: serverPort) else {
                close(descriptor)
                continue
            }
            setNoDelay(descriptor)
            guard fcntl(server, F_SETFL, O_NONBLOCK) == 0 else { fail(failure("fcntl", errno)) }
            let sides = UnsafeMutablePointer<EpollSide>.allocate(capacity: 2)
            sides.initialize(to: EpollSide(descriptor: descriptor))
            (sides + 1).initialize(to: EpollSide(descriptor: server))
            sides[0].peer = sides + 1
            sides[1].peer = sides
            watch(EPOLL_CTL_ADD, descriptor, sides, EPOLLIN.rawValue)
            watch(EPOLL_CTL_ADD, server, sides + 1, EPOLLIN.rawValue)
        }
    }

    private mutating func handle(_ side: UnsafeMutablePointer<EpollSide>, _ mask: UInt32) {
        guard !side.pointee.isClosed, let peer = side.pointee.peer else { return }
        if mask & EPOLLOUT.rawValue != 0 { flush(to: side, source: peer) }
        guard !side.pointee.isClosed else { return }
        let isReadable = mask & (EPOLLIN.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0
        guard isReadable, peer.pointee.pendingStart == peer.pointee.pendingEnd else {
            // A socket that was reset is reported even while it is not read: what is pending can go nowhere useful.
            if mask & EPOLLERR.rawValue != 0 { closePair(side, peer) }
            return
        }
        copy(from: side, to: peer)
    }

    /// Receives once from `source` and sends all of it, or as much as `target` takes.
    private mutating func copy(from source: UnsafeMutablePointer<EpollSide>, to target: UnsafeMutablePointer<EpollSide>)
    {
        let received = recv(source.pointee.descriptor, buffer, bufferBytes, 0)
        if received < 0 && (errno == EAGAIN || errno == EINTR) { return }
        guard received > 0 else { return closePair(source, target) }
        let sent = send(target.pointee.descriptor, buffer, received, Int32(MSG_NOSIGNAL))
        if sent == received { return }
        guard sent >= 0 || errno == EAGAIN || errno == EINTR else { return closePair(source, target) }
        keep(from: max(0, sent), to: received, for: target)
        rearm(source: source, target: target)
    }

    /// Keeps `buffer[start..<end]` until `target` takes more.
    private func keep(from start: Int, to end: Int, for target: UnsafeMutablePointer<EpollSide>) {
        let pending = target.pointee.pending ?? .allocate(byteCount: bufferBytes, alignment: 16)
        // SAFETY: 0 <= start < end <= bufferBytes, the size of both blocks, and nothing is pending now.
        pending.copyMemory(from: buffer + start, byteCount: end - start)
        target.pointee.pending = pending
        target.pointee.pendingStart = 0
        target.pointee.pendingEnd = end - start
    }

    /// Sends what is pending for `target`; once all is gone, its source is read again.
    private mutating func flush(
        to target: UnsafeMutablePointer<EpollSide>, source: UnsafeMutablePointer<EpollSide>
    ) {
        guard let pending = target.pointee.pending, target.pointee.pendingStart < target.pointee.pendingEnd else {
            return
        }
        let length = target.pointee.pendingEnd - target.pointee.pendingStart
        // SAFETY: pendingStart...pendingEnd lie inside the block that `keep` allocated.
        let sent = send(
            target.pointee.descriptor, pending + target.pointee.pendingStart, length, Int32(MSG_NOSIGNAL))
        guard sent >= 0 || errno == EAGAIN || errno == EINTR else { return closePair(source, target) }
        target.pointee.pendingStart += max(0, sent)
        if target.pointee.pendingStart == target.pointee.pendingEnd { rearm(source: source, target: target) }
    }

    /// What each side waits for follows from what is pending: a side with pending bytes waits to send, and a side
    /// whose peer has pending bytes is not read.
    private func rearm(source: UnsafeMutablePointer<EpollSide>, target: UnsafeMutablePointer<EpollSide>) {
        for (side, peer) in [(source, target), (target, source)] {
            let hasPending = side.pointee.pendingStart < side.pointee.pendingEnd
            let isHeldBack = peer.pointee.pendingStart < peer.pointee.pendingEnd
            watch(
                EPOLL_CTL_MOD, side.pointee.descriptor, side,
                (hasPending ? EPOLLOUT.rawValue : 0) | (isHeldBack ? 0 : EPOLLIN.rawValue))
        }
    }

    private mutating func closePair(_ one: UnsafeMutablePointer<EpollSide>, _ two: UnsafeMutablePointer<EpollSide>) {
        for side in [one, two] {
            close(side.pointee.descriptor)
            side.pointee.isClosed = true
        }
        closed.append(min(one, two))
    }

    private mutating func free() {
        for sides in closed {
            sides[0].pending?.deallocate()
            sides[1].pending?.deallocate()
            sides.deallocate()
        }
        closed.removeAll(keepingCapacity: true)
    }
}
