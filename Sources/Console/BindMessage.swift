// The content of a Bind message, as far as the console needs it: names, how many parameters, result formats.
//
// The payload comes from a client and is laid out as the manual says or it is nil: every field is checked against
// the bytes that are left, so a lying count or length ends the reading and nothing else.

/// Reads a payload front to back; every read that does not fit is nil.
private struct PayloadReader {
    private let bytes: [UInt8]
    private var position = 0

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    var remaining: Int { bytes.count - position }

    mutating func cString() -> String? {
        guard let end = bytes[position...].firstIndex(of: 0) else { return nil }
        defer { position = end + 1 }
        return String(validating: bytes[position..<end], as: UTF8.self)
    }

    mutating func uint16() -> UInt16? {
        guard remaining >= 2 else { return nil }
        defer { position += 2 }
        return UInt16(bytes[position]) << 8 | UInt16(bytes[position + 1])
    }

    mutating func int32() -> Int32? {
        guard let high = uint16(), let low = uint16() else { return nil }
        return Int32(bitPattern: UInt32(high) << 16 | UInt32(low))
    }

    mutating func skip(_ count: Int) -> Bool {
        guard count >= 0, count <= remaining else { return false }
        position += count
        return true
    }

    mutating func uint16s() -> [UInt16]? {
        guard let count = uint16(), remaining >= Int(count) * 2 else { return nil }
        return (0..<count).compactMap { _ in uint16() }
    }
}

/// A Bind message.
struct BindMessage: Equatable {
    /// The portal to make; empty for the unnamed one.
    var portal: String
    /// The prepared statement.
    var statement: String
    /// How many parameter values it carries.
    var parameterCount: Int
    /// The result format codes, not yet checked.
    var resultFormatCodes: [UInt16]

    /// Parses a payload; nil when it is malformed.
    init?(_ payload: [UInt8]) {
        var reader = PayloadReader(payload)
        guard let portal = reader.cString(), let statement = reader.cString(), reader.uint16s() != nil,
            let parameterCount = reader.uint16()
        else { return nil }
        for _ in 0..<parameterCount {
            // A length of -1 is NULL and has no bytes.
            guard let length = reader.int32(), length >= -1, reader.skip(max(0, Int(length))) else { return nil }
        }
        guard let formats = reader.uint16s(), reader.remaining == 0 else { return nil }
        self.portal = portal
        self.statement = statement
        self.parameterCount = Int(parameterCount)
        self.resultFormatCodes = formats
    }
}
