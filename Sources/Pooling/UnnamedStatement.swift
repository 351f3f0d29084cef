// A client's unnamed statement. Any Parse without a name may be bound again much later, so each is kept; nearly all are
// soon replaced by the next. They come with every transaction of many drivers: so the text lies in memory of the client
// that the next one uses again, and it is copied, not looked up in a table.
//
//     memory  ──▶  | capacity, bytes, effect, … | body: text, NUL, parameter types | room |

import Glibc

/// The unnamed statement of one client. It is one word and holds no memory until the first Parse.
public struct UnnamedStatement: ~Copyable {
    private struct Header {
        /// How many bytes of body there is room for.
        var capacity: Int
        /// How many there are, −1 for no statement.
        var bodyBytes: Int
        var effect: StatementEffect
        var isFresh: Bool
    }

    /// What a client keeps that has no statement at the moment.
    static var idleCapacityMax: Int { 4_096 }
    /// Room that is larger is given back when a statement needs less than a quarter of it.
    static var reusedCapacityMax: Int { 16_384 }
    private static var step: Int { 128 }

    private var header: UnsafeMutablePointer<Header>?

    /// A client without an unnamed statement.
    public init() {}

    deinit { Glibc.free(header) }

    /// The memory that is held, in bytes.
    public var bytes: Int { header.map { MemoryLayout<Header>.size + $0.pointee.capacity } ?? 0 }

    /// What follows the name in the statement's Parse; nil when there is none. Valid until the next change.
    public var body: UnsafeRawBufferPointer? {
        guard let header, header.pointee.bodyBytes >= 0 else { return nil }
        // SAFETY: the body lies behind its header and has as many bytes.
        return UnsafeRawBufferPointer(start: header + 1, count: header.pointee.bodyBytes)
    }

    /// What is known of what the statement does to its session.
    public var effect: StatementEffect {
        get { header?.pointee.effect ?? .none }
        set { header?.pointee.effect = newValue }
    }

    /// What the statement does has been noted with its Parse, and holds for the first Bind too.
    public var isFresh: Bool {
        get { header?.pointee.isFresh ?? false }
        set { header?.pointee.isFresh = newValue }
    }

    /// Keeps a new statement in the place of the one before it. It is not kept, and there is none, when it would take
    /// more than `bytesMax` or the system has no memory for it.
    ///
    /// Complexity: O(bytes of the body).
    public mutating func keep(_ body: UnsafeRawBufferPointer, isFresh: Bool, bytesMax: Int) {
        if !fits(body.count) { allocate(body.count, bytesMax: bytesMax) }
        guard let header else { return }
        header.pointee.bodyBytes = body.count
        header.pointee.effect = .unknown
        header.pointee.isFresh = isFresh
        // SAFETY: there is room for so many bytes: it fits, or memory was allocated for it.
        if let source = body.baseAddress {
            UnsafeMutableRawPointer(header + 1).copyMemory(from: source, byteCount: body.count)
        }
    }

    /// There is no statement any more.
    public mutating func forget() {
        guard let header else { return }
        header.pointee.bodyBytes = -1
        header.pointee.effect = .none
        if header.pointee.capacity > Self.idleCapacityMax { free() }
    }

    @inline(__always)
    private func fits(_ count: Int) -> Bool {
        guard let header, header.pointee.capacity >= count else { return false }
        return header.pointee.capacity <= Self.reusedCapacityMax || count > header.pointee.capacity / 4
    }

    @inline(never)
    private mutating func allocate(_ count: Int, bytesMax: Int) {
        free()
        let wanted = MemoryLayout<Header>.size + count
        let bytes = (wanted + Self.step - 1) / Self.step * Self.step
        guard bytes <= bytesMax, let memory = malloc(bytes) else { return }
        let made = memory.bindMemory(to: Header.self, capacity: 1)
        made.initialize(
            to: Header(
                capacity: bytes - MemoryLayout<Header>.size, bodyBytes: -1, effect: .none, isFresh: false))
        header = made
    }

    private mutating func free() {
        Glibc.free(header)
        header = nil
    }
}
