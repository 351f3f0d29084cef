// What the event loop tells its owner, and the handles by which both speak of sockets and buffers.
// Everything here is trivial: an event is copied into registers, never allocated or retained.

/// Names one socket of one event loop. A handle outlives its socket harmlessly: once the socket is closed
/// its generation has changed, and every call with the old handle is ignored.
public struct SocketID: Equatable, Hashable, Sendable {
    /// The socket's place in the loop's table.
    public var index: UInt32
    /// Which of the sockets that have had this place; 24 bits are used.
    public var generation: UInt32

    /// Makes a handle from its parts.
    public init(index: UInt32, generation: UInt32) {
        self.index = index
        self.generation = generation
    }

    /// Names no socket; every call with it is ignored.
    public static var none: SocketID { SocketID(index: .max, generation: .max) }
}

/// Names one buffer of one event loop's pool.
public typealias BufferID = UInt32

/// Something that happened to a socket, or to the loop.
public struct Event {
    /// What happened.
    public enum Kind: UInt8, Sendable {
        /// A listener accepted a connection. `value` is its descriptor, now the caller's, or `-errno`.
        case accepted
        /// Bytes arrived: `value` of them, at the start of `buffer`, one reference of which is now the caller's.
        case received
        /// The socket has ended: `value` is 0 at the end of the stream and `errno` otherwise. No event follows
        /// for it; it must still be closed.
        case closed
        /// A connection attempt succeeded.
        case connected
        /// The peer does not take our bytes as fast as they are sent: its source should not be read.
        case blocked
        /// After `blocked`: everything sent so far has been taken.
        case drained
        /// After `detach`: `value` is the descriptor, now the caller's.
        case detached
        /// `Wakeup.signal()` was called. Concerns no socket.
        case woken
    }

    /// What happened.
    public var kind: Kind
    /// The caller's own word for the socket, as given when it was opened or by `setToken`.
    public var token: UInt64
    /// The socket, or `.none`.
    public var socket: SocketID
    /// The buffer of a `received` event; meaningless otherwise.
    public var buffer: BufferID
    /// A byte count, a descriptor or an `errno`, as the kind says.
    public var value: Int32

    init(_ kind: Kind, token: UInt64 = 0, socket: SocketID = .none, buffer: BufferID = 0, value: Int32 = 0) {
        self.kind = kind
        self.token = token
        self.socket = socket
        self.buffer = buffer
        self.value = value
    }
}
