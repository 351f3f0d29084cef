// Messages that Weir makes itself: errors, log-in messages, the console's rows. They are few and short, so they are
// built in an array that the caller sends and reuses; what servers and clients say to each other never comes here.
//
//     | tag | length: 4 bytes, big-endian, itself included | fields ... |
//             ^ written as 0 by `begin`, patched by `end`

/// Builds whole messages one behind the other in `bytes`.
public struct MessageWriter: Sendable {
    /// The messages so far.
    public var bytes: [UInt8] = []

    /// Where the length of the open message stands.
    private var lengthOffset: Int?

    /// A writer without any message.
    public init() {}

    /// Forgets all messages but keeps the memory.
    public mutating func removeAll() {
        precondition(lengthOffset == nil, "a message is open")
        bytes.removeAll(keepingCapacity: true)
    }

    /// Makes room for so many bytes more.
    public mutating func reserve(_ count: Int) { bytes.reserveCapacity(bytes.count + count) }

    /// Opens a message with this tag.
    public mutating func begin(_ tag: UInt8) {
        byte(tag)
        beginUntagged()
    }

    /// Opens a message without a tag: only those of the start-up phase.
    mutating func beginUntagged() {
        precondition(lengthOffset == nil, "a message is open")
        lengthOffset = bytes.count
        int32(0)
    }

    /// Closes the open message: its length is written where it belongs.
    public mutating func end() {
        guard let offset = lengthOffset else { preconditionFailure("no message is open") }
        let length = Int32(exactly: bytes.count - offset)
        guard let length else { preconditionFailure("a message of more than 2 GiB") }
        let field = UInt32(bitPattern: length)
        for index in 0..<4 {
            bytes[offset + index] = UInt8(truncatingIfNeeded: field >> UInt32(24 - 8 * index))
        }
        lengthOffset = nil
    }

    /// Appends one byte.
    public mutating func byte(_ value: UInt8) {
        bytes.append(value)
    }

    /// Appends two bytes, big-endian.
    public mutating func int16(_ value: Int16) {
        let field = UInt16(bitPattern: value)
        bytes.append(UInt8(truncatingIfNeeded: field >> 8))
        bytes.append(UInt8(truncatingIfNeeded: field))
    }

    /// Appends four bytes, big-endian.
    public mutating func int32(_ value: Int32) {
        let field = UInt32(bitPattern: value)
        bytes.append(UInt8(truncatingIfNeeded: field >> 24))
        bytes.append(UInt8(truncatingIfNeeded: field >> 16))
        bytes.append(UInt8(truncatingIfNeeded: field >> 8))
        bytes.append(UInt8(truncatingIfNeeded: field))
    }

    /// Appends a text and its terminating NUL. A text ends at its first NUL: what stands behind one must not become
    /// a field of its own.
    public mutating func cString(_ value: String) {
        var value = value
        value.withUTF8 { text in
            let end = text.firstIndex(of: 0) ?? text.count
            bytes.append(contentsOf: text[..<end])
        }
        bytes.append(0)
    }

    /// Appends these bytes as they are.
    public mutating func rawBytes(_ value: some Sequence<UInt8>) {
        bytes.append(contentsOf: value)
    }

    /// Appends a 16-bit count; counts of fields are unsigned in PostgreSQL's own code.
    mutating func count16(_ value: Int) {
        precondition(value >= 0 && value <= Int(UInt16.max), "too many fields for a message")
        int16(Int16(truncatingIfNeeded: value))
    }
}
