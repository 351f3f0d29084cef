// Reads a message's payload from front to back. Everything the parsers of this module know about bytes goes
// through here, so that the bounds checks stand in one place: a field that is not there is nil, never a trap.
//
//     0 ..< offset        read
//     offset ..< count    not yet read
//
// Invariant: 0 <= offset <= bytes.count

import Glibc

/// A cursor over borrowed bytes; valid as long as the bytes are.
struct ByteReader {
    private let bytes: UnsafeRawBufferPointer
    /// The number of bytes read so far.
    private(set) var offset = 0

    init(_ bytes: UnsafeRawBufferPointer) {
        self.bytes = bytes
    }

    /// The number of bytes not yet read.
    var remaining: Int { bytes.count - offset }

    /// The next `count` bytes, or nil if there are fewer.
    mutating func take(_ count: Int) -> UnsafeRawBufferPointer? {
        guard count >= 0, count <= remaining else { return nil }
        // SAFETY: offset + count <= bytes.count, by the guard above.
        let field = UnsafeRawBufferPointer(rebasing: bytes[offset..<(offset + count)])
        offset += count
        return field
    }

    /// All bytes not yet read.
    mutating func rest() -> UnsafeRawBufferPointer {
        // SAFETY: 0 <= offset <= bytes.count, by the invariant.
        let field = UnsafeRawBufferPointer(rebasing: bytes[offset..<bytes.count])
        offset = bytes.count
        return field
    }

    mutating func byte() -> UInt8? {
        guard remaining >= 1 else { return nil }
        // SAFETY: offset < bytes.count, by the guard above.
        let value = bytes[offset]
        offset += 1
        return value
    }

    mutating func uint16() -> UInt16? {
        guard let field = take(2) else { return nil }
        // SAFETY: `take` gave two bytes.
        return UInt16(bigEndian: field.loadUnaligned(as: UInt16.self))
    }

    mutating func int32() -> Int32? {
        guard let field = take(4) else { return nil }
        // SAFETY: `take` gave four bytes.
        return Int32(bigEndian: field.loadUnaligned(as: Int32.self))
    }

    /// The bytes before the next NUL, which is read too; nil if there is none.
    mutating func cString() -> UnsafeRawBufferPointer? {
        guard remaining > 0, let base = bytes.baseAddress else { return nil }
        // SAFETY: `remaining` bytes exist at offset.
        let start = base + offset
        guard let end = memchr(start, 0, remaining) else { return nil }
        let field = UnsafeRawBufferPointer(start: start, count: UnsafeRawPointer(end) - start)
        offset += field.count + 1
        return field
    }

    /// A NUL-terminated text; bytes that are not UTF-8 become U+FFFD.
    mutating func text() -> String? {
        guard let field = cString() else { return nil }
        return String(decoding: field, as: UTF8.self)
    }

    /// A NUL-terminated name that is compared later; nil if it is not UTF-8, because two repaired names could
    /// become one.
    mutating func name() -> String? {
        guard let field = cString() else { return nil }
        return validText(field)
    }
}

/// A text, or nil if the bytes are not UTF-8. Most are ASCII, which is seen much faster than UTF-8 is validated.
func validText(_ bytes: UnsafeRawBufferPointer) -> String? {
    if bytes.allSatisfy({ $0 < 0x80 }) { return String(decoding: bytes, as: UTF8.self) }
    return String(validating: bytes, as: UTF8.self)
}
