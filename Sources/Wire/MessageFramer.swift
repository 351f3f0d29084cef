// Finds where messages start and end, and knows nothing else: no sockets, no sessions, no SQL.
//
//     | tag | length (4)   | payload …            |      every message after start-up
//       1     counts itself   length - 4 bytes
//
// Only the five header bytes are looked at. A payload streams through as `continuation` pieces, however long it
// is. Where a caller needs a message whole it names the tag in `whole`; the framer then reports `incomplete`
// without moving, and the caller gathers the bytes. A header that is cut by the end of a buffer is reported the
// same way. PostgreSQL manual, section 55.7 "Message Formats".

/// What lies at the position that was asked about.
public struct Frame: Equatable {
    /// The kinds of finding.
    public enum Kind: UInt8 {
        /// More payload of the message that an earlier buffer began.
        case continuation
        /// A message starts here; its header is complete.
        case message
        /// The header, or a message that is needed whole, is cut by the end of the bytes.
        case incomplete
        /// A length that no message may have.
        case invalid
    }

    /// What was found.
    public var kind: Kind
    /// The message's tag; 0 when the header is incomplete.
    public var tag: UInt8
    /// The offset one past this message's bytes as far as they lie in the buffer.
    public var end: Int
    /// The whole message's size in bytes, header included; 0 when not known.
    public var length: Int

    @inlinable
    init(kind: Kind, tag: UInt8, end: Int, length: Int) {
        self.kind = kind
        self.tag = tag
        self.end = end
        self.length = length
    }
}

/// Splits one direction of a connection into messages.
///
/// Invariant: 0 ≤ `remaining` < 2^32, and a message is open (`remaining` > 0) only between the frames that
/// announced and ended it.
public struct MessageFramer {
    /// The size of a message header: the tag and the length.
    @inlinable public static var headerBytes: Int { 5 }

    /// Payload bytes of the current message that have not arrived yet.
    public var remaining: UInt32
    /// The tag of the message that `remaining` belongs to.
    public var tag: UInt8

    /// A framer at a message boundary.
    @inlinable
    public init() {
        remaining = 0
        tag = 0
    }

    /// Whether the last byte looked at ended a message.
    @inlinable public var isAtBoundary: Bool { remaining == 0 }

    /// Reports what lies at `offset` and moves past it, unless it is `incomplete` or `invalid`.
    ///
    /// - Parameters:
    ///   - bytes: the buffer; at least `count` bytes can be read.
    ///   - offset: where to look; less than `count`.
    ///   - count: how many bytes of the buffer are filled.
    ///   - whole: tags of messages that are only reported when every byte of them is there.
    ///   - lengthMax: the largest value that a length field may have.
    @inlinable
    public mutating func next(
        _ bytes: UnsafeRawPointer, from offset: Int, count: Int, whole: TagSet, lengthMax: UInt32
    ) -> Frame {
        precondition(offset >= 0 && offset < count)
        let available = count &- offset
        if remaining > 0 {
            let take = min(Int(remaining), available)
            remaining &-= UInt32(truncatingIfNeeded: take)
            return Frame(kind: .continuation, tag: tag, end: offset &+ take, length: 0)
        }
        guard available >= MessageFramer.headerBytes else {
            return Frame(kind: .incomplete, tag: 0, end: offset, length: 0)
        }
        // SAFETY: the guard above proved five readable bytes at `offset`.
        let found = bytes.loadUnaligned(fromByteOffset: offset, as: UInt8.self)
        let field = UInt32(bigEndian: bytes.loadUnaligned(fromByteOffset: offset &+ 1, as: UInt32.self))
        guard field >= 4, field <= lengthMax else {
            return Frame(kind: .invalid, tag: found, end: offset, length: 0)
        }
        let length = Int(field) &+ 1
        if length > available {
            if whole.contains(found) {
                return Frame(kind: .incomplete, tag: found, end: offset, length: length)
            }
            remaining = UInt32(truncatingIfNeeded: length &- available)
            tag = found
            return Frame(kind: .message, tag: found, end: count, length: length)
        }
        tag = found
        return Frame(kind: .message, tag: found, end: offset &+ length, length: length)
    }
}
