// What the epoll back end keeps: the descriptor of the set, and the events of this turn. Few events are taken
// at a time, so that the first reply is not held back by a long batch.

import CLinux

struct Poll: ~Copyable {
    static var eventsMax: Int { 32 }
    /// How often one socket is read, or at most one listener asked, per readiness.
    static var receivesMax: Int { 4 }
    static var acceptsMax: Int { 16 }
    /// The user data of the wake-up descriptor: no socket has it.
    static var wakeupData: UInt64 { .max }

    let fd: Int32
    let events: UnsafeMutablePointer<epoll_event>
    let pieces: UnsafeMutablePointer<iovec>
    var eventCount = 0
    var position = 0
    /// Sockets that were just accepted and have mostly sent something already: they are read before the kernel is asked
    /// who is ready, which for a connection that comes alone saves asking.
    var expectantCount = 0
    /// How often a listener is asked: once while connections come one by one, so that nothing is asked in vain, and
    /// more as long as there are more.
    var acceptsLimit = 1
    /// How often the event at `position` has been served.
    var repeats = 0

    private init(fd: Int32) {
        self.fd = fd
        events = .allocate(capacity: Self.eventsMax)
        events.initialize(repeating: epoll_event(), count: Self.eventsMax)
        pieces = .allocate(capacity: ChunkSlab.piecesMax)
        pieces.initialize(repeating: iovec(), count: ChunkSlab.piecesMax)
    }

    static func inactive() -> Poll { Poll(fd: -1) }

    init(wakeup: Wakeup) throws(ReactorError) {
        let created = linux_epoll_create()
        guard created >= 0 else { throw .systemCall(name: "epoll_create1", errno: -created) }
        let result = linux_epoll_control(created, EPOLL_CTL_ADD, wakeup.fd, LINUX_EPOLL_IN, Self.wakeupData)
        guard result == 0 else {
            _ = linux_close(created)
            throw .systemCall(name: "epoll_ctl", errno: -result)
        }
        self.init(fd: created)
    }

    deinit {
        if fd >= 0 { _ = linux_close(fd) }
        events.deallocate()
        pieces.deallocate()
    }

    /// Goes on to the next event of the turn.
    @inline(__always)
    mutating func advance() {
        position &+= 1
        repeats = 0
    }
}
