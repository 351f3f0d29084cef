// The relay on io_uring: multishot receives fill buffers that the kernel picks from a ring of ours; each buffer is sent
// from where it lies and then goes back to the ring.
//
//      source --multishot recv--> buffer 17 -> buffer 4 -> ... --one send at a time--> target
//
// Rule 1: a target has at most one send under way; what arrives meanwhile queues behind it and leaves in one gathered
// send, so order is kept. Rule 2: a source whose queue is long is not received from until the queue is short again.
// Rule 3: a pair is freed only when no request of the kernel's names it any more (`requests` is 0).
import CRelay
import Glibc

/// The bytes that flow one way through a pair.
struct Direction {
    let source: Int32
    let target: Int32
    let pair: UnsafeMutablePointer<Pair>
    /// The queue: buffer numbers linked through `UringRelay.next`; -1 is none.
    var first = -1
    var last = -1
    var queued = 0
    /// How many buffers from the queue's front the send under way covers.
    var sending = 0
    var sendingBytes = 0
    /// The kernel has a receive for `source`.
    var isReceiving = false
    /// The queue was too long, or the ring had no buffer: nothing is received until that has changed.
    var isPaused = false
    /// `source` has said all it will say.
    var hasEnded = false
    /// Made when the first gathered send is.
    var gather: UnsafeMutablePointer<Gather>?
}

/// A client, its server, and how many requests the kernel still has for them.
struct Pair {
    var toServer: UnsafeMutablePointer<Direction>
    var toClient: UnsafeMutablePointer<Direction>
    var requests = 0
    var isClosing = false
}

/// What a gathered send needs to stay in place until it completes.
struct Gather {
    var message = msghdr()
    let pieces: UnsafeMutablePointer<iovec>
}

/// What a request was; kept in the low bits of its user data, above them the address of its direction.
private enum Request: UInt64 {
    case accept, receive, send, cancel
    static let mask: UInt64 = 7
}

struct UringRelay: ~Copyable {
    private let listener: Int32
    private let serverPort: UInt16
    private let ring: UnsafeMutablePointer<io_uring>
    private let bufferRing: UnsafeMutablePointer<io_uring_buf_ring>
    private let memory: UnsafeMutableRawPointer
    private let bufferCount = 4096
    private let bufferBytes = 8192
    private let gatherMax = 64
    private let pauseAt = 64
    private let resumeAt = 16
    /// For each buffer, the one behind it in its queue, and how many bytes it holds.
    private let next: UnsafeMutablePointer<Int>
    private let length: UnsafeMutablePointer<Int>
    /// Buffers put back but not yet shown to the kernel.
    private var returned: Int32 = 0
    /// Directions with an empty queue that found no buffer in the ring.
    private var starved: [UnsafeMutablePointer<Direction>] = []

    init(listener: Int32, serverPort: UInt16) {
        self.listener = listener
        self.serverPort = serverPort
        ring = .allocate(capacity: 1)
        var parameters = io_uring_params()
        parameters.flags = relay_ring_flags()
        parameters.cq_entries = 8192
        let made = io_uring_queue_init_params(2048, ring, &parameters)
        guard made == 0 else { fail(failure("io_uring_queue_init_params (Linux 6.1 or newer is needed)", -made)) }
        memory = .allocate(byteCount: bufferCount * bufferBytes, alignment: 4096)
        let ringBytes = bufferCount * MemoryLayout<io_uring_buf>.stride
        let block = UnsafeMutableRawPointer.allocate(byteCount: ringBytes, alignment: 4096)
        memset(block, 0, ringBytes)
        bufferRing = block.bindMemory(to: io_uring_buf_ring.self, capacity: 1)
        next = .allocate(capacity: bufferCount)
        length = .allocate(capacity: bufferCount)
        var registration = io_uring_buf_reg()
        registration.ring_addr = UInt64(UInt(bitPattern: block))
        registration.ring_entries = UInt32(bufferCount)
        let registered = io_uring_register_buf_ring(ring, &registration, 0)
        guard registered == 0 else { fail(failure("io_uring_register_buf_ring", -registered)) }
        for buffer in 0..<bufferCount { giveBack(buffer) }
        showReturned()
    }

    /// Relays for ever.
    mutating func run() {
        armAccept()
        let completionsMax: UInt32 = 512
        let completions = UnsafeMutablePointer<UnsafeMutablePointer<io_uring_cqe>?>.allocate(capacity: 512)
        while true {
            let entered = io_uring_submit_and_wait(ring, 1)
            guard entered >= 0 || entered == -EINTR else { fail(failure("io_uring_submit_and_wait", -entered)) }
            let count = io_uring_peek_batch_cqe(ring, completions, completionsMax)
            for index in 0..<Int(count) {
                guard let completion = completions[index] else { continue }
                handle(completion)
            }
            io_uring_cq_advance(ring, count)
            if returned > 0 { showReturned() }
        }
    }

    private mutating func handle(_ completion: UnsafeMutablePointer<io_uring_cqe>) {
        let userData = completion.pointee.user_data
        let result = completion.pointee.res
        // SAFETY: the address in the user data is a direction of a pair with `requests` > 0, and such a pair lives.
        let direction = UnsafeMutablePointer<Direction>(bitPattern: UInt(userData & ~Request.mask))
        switch (Request(rawValue: userData & Request.mask), direction) {
        case (.accept, nil):
            if relay_has_more(completion) == 0 { armAccept() }
            accepted(result)
        case (.receive, let direction?):
            received(direction, result, Int(relay_buffer_id(completion)), isLast: relay_has_more(completion) == 0)
        case (.send, let direction?):
            sent(direction, result)
        case (.cancel, let direction?):
            direction.pointee.pair.pointee.requests -= 1
            freeIfDone(direction.pointee.pair)
        default:
            fail("a completion that nobody asked for")
        }
    }

    private mutating func accepted(_ result: Int32) {
        if result == -ECONNABORTED || result == -EINTR { return }
        guard result >= 0 else { fail(failure("accept", -result)) }
        guard let server = connectedSocket(port: serverPort) else {
            close(result)
            return
        }
        setNoDelay(result)
        let pair = UnsafeMutablePointer<Pair>.allocate(capacity: 1)
        let directions = UnsafeMutablePointer<Direction>.allocate(capacity: 2)
        directions.initialize(to: Direction(source: result, target: server, pair: pair))
        (directions + 1).initialize(to: Direction(source: server, target: result, pair: pair))
        pair.initialize(to: Pair(toServer: directions, toClient: directions + 1))
        armReceive(directions)
        armReceive(directions + 1)
    }

    private mutating func received(
        _ direction: UnsafeMutablePointer<Direction>, _ result: Int32, _ buffer: Int, isLast: Bool
    ) {
        let pair = direction.pointee.pair
        if isLast {
            direction.pointee.isReceiving = false
            pair.pointee.requests -= 1
        }
        if pair.pointee.isClosing {
            if buffer >= 0 { giveBack(buffer) }
            return freeIfDone(pair)
        }
        if result > 0, buffer >= 0 {
            enqueue(direction, buffer, Int(result))
            if direction.pointee.sending == 0 { armSend(direction) }
            if direction.pointee.queued >= pauseAt { pause(direction) }
            if isLast && !direction.pointee.isPaused { armReceive(direction) }
            return
        }
        switch result {
        case -ENOBUFS:
            direction.pointee.isPaused = true
            if direction.pointee.queued == 0 { starved.append(direction) }
        case -ECANCELED:
            resumeIfShort(direction)
        default:
            direction.pointee.hasEnded = true
            if direction.pointee.queued == 0 { closePair(pair) }
        }
    }

    private mutating func sent(_ direction: UnsafeMutablePointer<Direction>, _ result: Int32) {
        let pair = direction.pointee.pair
        pair.pointee.requests -= 1
        for _ in 0..<direction.pointee.sending { giveBack(dequeue(direction)) }
        direction.pointee.sending = 0
        if pair.pointee.isClosing { return freeIfDone(pair) }
        // MSG_WAITALL makes the kernel go on after a part, so less than all means that the target is gone.
        guard result == direction.pointee.sendingBytes else { return closePair(pair) }
        if direction.pointee.queued > 0 {
            armSend(direction)
        } else if direction.pointee.hasEnded {
            return closePair(pair)
        }
        if direction.pointee.isPaused { resumeIfShort(direction) }
    }

    // MARK: Requests

    private func nextEntry() -> UnsafeMutablePointer<io_uring_sqe> {
        if let entry = io_uring_get_sqe(ring) { return entry }
        let submitted = io_uring_submit(ring)
        guard submitted >= 0, let entry = io_uring_get_sqe(ring) else { fail("the submission queue stays full") }
        return entry
    }

    private func armAccept() {
        let entry = nextEntry()
        io_uring_prep_multishot_accept(entry, listener, nil, nil, 0)
        entry.pointee.user_data = Request.accept.rawValue
    }

    private func armReceive(_ direction: UnsafeMutablePointer<Direction>) {
        let entry = nextEntry()
        relay_prepare_receive(entry, direction.pointee.source)
        entry.pointee.user_data = userData(direction, .receive)
        direction.pointee.isReceiving = true
        direction.pointee.isPaused = false
        direction.pointee.pair.pointee.requests += 1
    }

    /// Sends the queue's front: one buffer as it is, several as one gathered message.
    private func armSend(_ direction: UnsafeMutablePointer<Direction>) {
        let flags = Int32(MSG_NOSIGNAL) | Int32(MSG_WAITALL)
        let entry = nextEntry()
        let first = direction.pointee.first
        if direction.pointee.queued == 1 {
            direction.pointee.sending = 1
            direction.pointee.sendingBytes = length[first]
            // SAFETY: `first` is a buffer number below bufferCount, and the kernel wrote `length` bytes into it.
            io_uring_prep_send(
                entry, direction.pointee.target, memory + first * bufferBytes, length[first], flags)
        } else {
            let gather = direction.pointee.gather ?? makeGather(direction)
            fill(gather, from: direction)
            io_uring_prep_sendmsg(entry, direction.pointee.target, &gather.pointee.message, UInt32(flags))
        }
        entry.pointee.user_data = userData(direction, .send)
        direction.pointee.pair.pointee.requests += 1
    }

    private func makeGather(_ direction: UnsafeMutablePointer<Direction>) -> UnsafeMutablePointer<Gather> {
        let gather = UnsafeMutablePointer<Gather>.allocate(capacity: 1)
        gather.initialize(to: Gather(pieces: .allocate(capacity: gatherMax)))
        direction.pointee.gather = gather
        return gather
    }

    private func fill(_ gather: UnsafeMutablePointer<Gather>, from direction: UnsafeMutablePointer<Direction>) {
        var buffer = direction.pointee.first
        var count = 0
        var bytes = 0
        while buffer >= 0 && count < gatherMax {
            // SAFETY: count < gatherMax, the capacity of `pieces`; `buffer` is a buffer number of ours.
            gather.pointee.pieces[count] = iovec(iov_base: memory + buffer * bufferBytes, iov_len: length[buffer])
            bytes += length[buffer]
            buffer = next[buffer]
            count += 1
        }
        gather.pointee.message.msg_iov = gather.pointee.pieces
        gather.pointee.message.msg_iovlen = count
        direction.pointee.sending = count
        direction.pointee.sendingBytes = bytes
    }

    private func pause(_ direction: UnsafeMutablePointer<Direction>) {
        guard !direction.pointee.isPaused else { return }
        direction.pointee.isPaused = true
        guard direction.pointee.isReceiving else { return }
        let entry = nextEntry()
        io_uring_prep_cancel64(entry, userData(direction, .receive), 0)
        entry.pointee.user_data = userData(direction, .cancel)
        direction.pointee.pair.pointee.requests += 1
    }

    private func resumeIfShort(_ direction: UnsafeMutablePointer<Direction>) {
        guard !direction.pointee.isReceiving, !direction.pointee.hasEnded else { return }
        if direction.pointee.queued <= resumeAt { armReceive(direction) }
    }

    private func userData(_ direction: UnsafeMutablePointer<Direction>, _ request: Request) -> UInt64 {
        UInt64(UInt(bitPattern: direction)) | request.rawValue
    }

    // MARK: Buffers

    private func enqueue(_ direction: UnsafeMutablePointer<Direction>, _ buffer: Int, _ bytes: Int) {
        precondition(buffer < bufferCount && bytes <= bufferBytes)
        length[buffer] = bytes
        next[buffer] = -1
        if direction.pointee.last >= 0 {
            next[direction.pointee.last] = buffer
        } else {
            direction.pointee.first = buffer
        }
        direction.pointee.last = buffer
        direction.pointee.queued += 1
    }

    private func dequeue(_ direction: UnsafeMutablePointer<Direction>) -> Int {
        let buffer = direction.pointee.first
        precondition(buffer >= 0)
        direction.pointee.first = next[buffer]
        if direction.pointee.first < 0 { direction.pointee.last = -1 }
        direction.pointee.queued -= 1
        return buffer
    }

    private mutating func giveBack(_ buffer: Int) {
        // SAFETY: `buffer` is below bufferCount, so the bytes named lie inside `memory`; the mask wraps the ring.
        io_uring_buf_ring_add(
            bufferRing, memory + buffer * bufferBytes, UInt32(bufferBytes), UInt16(buffer), Int32(bufferCount - 1),
            returned)
        returned += 1
    }

    private mutating func showReturned() {
        io_uring_buf_ring_advance(bufferRing, returned)
        returned = 0
        let waiting = starved
        starved.removeAll(keepingCapacity: true)
        for direction in waiting where !direction.pointee.isReceiving && !direction.pointee.pair.pointee.isClosing {
            armReceive(direction)
        }
    }

    // MARK: The end of a pair

    /// Ends both sockets, so that every request of theirs completes; the last completion frees the pair.
    private mutating func closePair(_ pair: UnsafeMutablePointer<Pair>) {
        pair.pointee.isClosing = true
        shutdown(pair.pointee.toServer.pointee.source, Int32(SHUT_RDWR))
        shutdown(pair.pointee.toServer.pointee.target, Int32(SHUT_RDWR))
        freeIfDone(pair)
    }

    private mutating func freeIfDone(_ pair: UnsafeMutablePointer<Pair>) {
        guard pair.pointee.isClosing, pair.pointee.requests == 0 else { return }
        let directions = pair.pointee.toServer
        close(directions[0].source)
        close(directions[0].target)
        for index in 0..<2 {
            while directions[index].queued > 0 { giveBack(dequeue(directions + index)) }
            if let gather = directions[index].gather {
                gather.pointee.pieces.deallocate()
                gather.deallocate()
            }
        }
        starved.removeAll { $0.pointee.pair == pair }
        directions.deallocate()
        pair.deallocate()
    }
}
