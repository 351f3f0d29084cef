// The prepared statements that one worker knows, interned: one query text with the same parameter types is one
// statement, whoever prepared it, as long as it means the same to them.
//
//     client A   "s1"  ─┐
//     client B   "q7"  ─┼──▶  statement 42:  SELECT … $1, int4        references: 4
//     server 1, server 2 ┘                   name on servers: WEIR_0_42
//
// Clients and servers hold statements by name; each of them owns a reference, and the last one takes the statement
// with it. A statement that is made anew gets a new number, so that a name on a server never means anything else
// than it did when it was prepared there. To find a known statement costs one hash of its bytes and one comparison.

import Glibc

/// The name of one statement within one worker's `StatementTable`. Equal names mean equal statements.
public struct StatementID: Hashable, Sendable {
    /// The place of its entry.
    @usableFromInline let place: UInt32
    /// The low half of its number: tells a statement from one that had the same place before.
    @usableFromInline let check: UInt32

    @inlinable
    init(place: UInt32, check: UInt32) {
        self.place = place
        self.check = check
    }

    /// The name as one word, to be kept where this type is not known.
    public var rawValue: UInt64 { UInt64(place) << 32 | UInt64(check) }

    /// The name that was made into a word.
    public init(rawValue: UInt64) {
        place = UInt32(rawValue >> 32)
        check = UInt32(truncatingIfNeeded: rawValue)
    }
}

/// What is known of what a statement does to its session.
public enum StatementEffect: UInt8, Sendable {
    /// Nobody has looked.
    case unknown
    /// Nothing.
    case none
    /// Something, which its text tells.
    case some
}

/// Interned, reference-counted bodies of prepared statements. A body is what follows the statement's name in a Parse
/// message (PostgreSQL manual, section 55.7): the query text, a NUL, the number of parameter types and their OIDs.
/// The table compares bytes and does not look into them.
public struct StatementTable: ~Copyable {
    /// What a statement is taken to cost beside its body: its entry, its slots and the allocator's own share.
    public static var overheadBytes: Int { 88 }
    /// The room that `serverName` asks for.
    public static var serverNameBytesMax: Int { 48 }

    private struct Entry {
        /// Nil while the entry is free.
        var body: UnsafeMutableRawPointer?
        var bodyBytes: Int
        var references: Int
        var number: UInt64
        /// What its text means where it was prepared.
        var meaning: UInt64
        var hash: UInt32
        var effect: StatementEffect
        /// While the entry is free: the next free one.
        var nextFree: UInt32
    }

    private static var initialCapacity: Int { 16 }
    private static var noPlace: UInt32 { .max }

    private var entries: UnsafeMutablePointer<Entry>?
    private var capacity = 0
    /// Entries from here on have never been used. Invariant: count ≤ used ≤ capacity.
    private var used = 0
    private var firstFree = Self.noPlace
    private var index = HashIndex()
    private var nextNumber: UInt64 = 1
    private let seed: UInt64
    private let worker: UInt32

    /// The bound of `bytes`; more, and `intern` refuses what it does not know yet. May change at any time.
    public var bytesMax: Int
    /// What the statements cost: their bodies, and `overheadBytes` for each.
    public private(set) var bytes = 0

    /// A table without statements, and without memory.
    ///
    /// - Parameter worker: the number of the worker: makes names on servers differ between workers.
    /// - Parameter seed: random, so that nobody can choose statements whose hashes collide.
    /// - Parameter bytesMax: the bound of `bytes`.
    public init(worker: UInt32, seed: UInt64, bytesMax: Int) {
        self.worker = worker
        self.seed = seed
        self.bytesMax = bytesMax
    }

    deinit {
        guard let entries else { return }
        // SAFETY: entries below `used` are initialised.
        for place in 0..<used { free(entries[place].body) }
        entries.deallocate()
    }

    /// How many statements there are.
    public var count: Int { index.count }

    // MARK: Finding and owning

    /// The statement with this body, made if there is none yet. The caller owns one reference of it. Nil when a new
    /// one would exceed `bytesMax` or the system has no memory for it.
    ///
    /// Complexity: O(bytes of the body), amortised.
    ///
    /// - Parameter meaning: the same for all sessions in which the text means the same (`ParameterSets.meaning`).
    public mutating func intern(_ body: UnsafeRawBufferPointer, meaning: UInt64 = 0) -> StatementID? {
        let hash = HashIndex.hash(body, seed: seed ^ meaning)
        if let place = place(of: body, meaning, hash), let entries {
            // SAFETY: a place in the index is below `used`.
            entries[Int(place)].references += 1
            return id(at: place)
        }
        return add(body, meaning, hash)
    }

    /// The statement with this body, if there is one; its references stay as they are.
    ///
    /// Complexity: O(bytes of the body).
    public func find(_ body: UnsafeRawBufferPointer) -> StatementID? {
        place(of: body, 0, HashIndex.hash(body, seed: seed)).map { id(at: $0) }
    }

    /// Adds an owner to a statement.
    public mutating func retain(_ id: StatementID) {
        entry(id).pointee.references += 1
    }

    /// Takes an owner from a statement; the last one takes the statement with it.
    public mutating func release(_ id: StatementID) {
        let entry = entry(id)
        entry.pointee.references -= 1
        if entry.pointee.references > 0 { return }
        index.remove(entry.pointee.hash, id.place)
        bytes -= entry.pointee.bodyBytes + Self.overheadBytes
        free(entry.pointee.body)
        entry.pointee.body = nil
        entry.pointee.nextFree = firstFree
        firstFree = id.place
        // A storm of statements must not leave its memory behind for ever.
        if index.count == 0, capacity > Self.initialCapacity { shrink() }
    }

    /// How many owners a statement has.
    public func references(_ id: StatementID) -> Int { entry(id).pointee.references }

    // MARK: What a statement is

    /// The body of a statement, valid until the caller's reference is released.
    public func body(_ id: StatementID) -> UnsafeRawBufferPointer {
        let entry = entry(id)
        return UnsafeRawBufferPointer(start: entry.pointee.body, count: entry.pointee.bodyBytes)
    }

    /// What the statement's text means where it was prepared.
    public func meaning(_ id: StatementID) -> UInt64 { entry(id).pointee.meaning }

    /// What the statement does to its session, as far as its owner has noted it.
    public func effect(_ id: StatementID) -> StatementEffect { entry(id).pointee.effect }

    /// Notes what a statement does to its session.
    public mutating func setEffect(_ id: StatementID, _ effect: StatementEffect) {
        entry(id).pointee.effect = effect
    }

    /// The number of a statement: no other one of this table ever had it or will.
    public func number(_ id: StatementID) -> UInt64 { entry(id).pointee.number }

    /// Writes the name that the statement has on servers, `WEIR_<worker>_<number>` in ASCII without a NUL, to the
    /// front of `buffer`, which has room for `serverNameBytesMax`. Returns the length.
    public func serverName(_ id: StatementID, into buffer: UnsafeMutableRawBufferPointer) -> Int {
        precondition(buffer.count >= Self.serverNameBytesMax)
        // SAFETY: 5 + 10 + 1 + 20 bytes at most are written, fewer than was just proven to fit.
        buffer[0] = UInt8(ascii: "W")
        buffer[1] = UInt8(ascii: "E")
        buffer[2] = UInt8(ascii: "I")
        buffer[3] = UInt8(ascii: "R")
        buffer[4] = UInt8(ascii: "_")
        let end = writeDecimal(UInt64(worker), to: buffer, at: 5)
        buffer[end] = UInt8(ascii: "_")
        return writeDecimal(number(id), to: buffer, at: end + 1)
    }

    private func writeDecimal(_ value: UInt64, to buffer: UnsafeMutableRawBufferPointer, at start: Int) -> Int {
        var end = start + 1
        var rest = value / 10
        while rest > 0 {
            end += 1
            rest /= 10
        }
        rest = value
        for position in stride(from: end - 1, through: start, by: -1) {
            buffer[position] = UInt8(ascii: "0") + UInt8(truncatingIfNeeded: rest % 10)
            rest /= 10
        }
        return end
    }

    // MARK: Entries

    private func entry(_ id: StatementID) -> UnsafeMutablePointer<Entry> {
        guard let entries, Int(id.place) < used else { preconditionFailure("no such statement") }
        let entry = entries + Int(id.place)
        precondition(entry.pointee.body != nil && UInt32(truncatingIfNeeded: entry.pointee.number) == id.check)
        return entry
    }

    @inline(__always)
    private func id(at place: UInt32) -> StatementID {
        guard let entries else { preconditionFailure("the entries exist") }
        // SAFETY: a place in the index is below `used`.
        return StatementID(place: place, check: UInt32(truncatingIfNeeded: entries[Int(place)].number))
    }

    @inline(__always)
    private func place(of body: UnsafeRawBufferPointer, _ meaning: UInt64, _ hash: UInt32) -> UInt32? {
        guard let entries else { return nil }
        return index.find(hash) { place in
            // SAFETY: a place in the index is below `used` and its body has `bodyBytes` bytes.
            let entry = entries + Int(place)
            guard entry.pointee.bodyBytes == body.count, entry.pointee.meaning == meaning, let own = entry.pointee.body
            else { return false }
            guard let other = body.baseAddress else { return true }
            return memcmp(own, other, body.count) == 0
        }
    }

    @inline(never)
    private mutating func add(_ body: UnsafeRawBufferPointer, _ meaning: UInt64, _ hash: UInt32) -> StatementID? {
        guard bytes <= bytesMax, bytesMax - bytes >= Self.overheadBytes,
            body.count <= bytesMax - bytes - Self.overheadBytes, count < HashIndex.countMax,
            // A body may be a gigabyte: that the system has no room for it must not end the process.
            let own = malloc(max(1, body.count))
        else { return nil }
        if let other = body.baseAddress { own.copyMemory(from: other, byteCount: body.count) }
        let place = takePlace()
        guard let entries else { preconditionFailure("the entries exist") }
        // SAFETY: `takePlace` returns a place below `used`.
        (entries + Int(place)).initialize(
            to: Entry(
                body: own, bodyBytes: body.count, references: 1, number: nextNumber, meaning: meaning, hash: hash,
                effect: .unknown, nextFree: Self.noPlace))
        nextNumber += 1
        bytes += body.count + Self.overheadBytes
        index.insert(hash, place)
        return id(at: place)
    }

    private mutating func takePlace() -> UInt32 {
        if firstFree != Self.noPlace, let entries {
            let place = firstFree
            // SAFETY: places in the list of free entries are below `used`.
            firstFree = entries[Int(place)].nextFree
            return place
        }
        if used == capacity { grow() }
        used += 1
        return UInt32(used - 1)
    }

    private mutating func grow() {
        let largerCapacity = max(Self.initialCapacity, capacity * 2)
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: largerCapacity)
        if let entries {
            // SAFETY: `used` ≤ `capacity` entries move into twice the room.
            larger.moveInitialize(from: entries, count: used)
            entries.deallocate()
        }
        entries = larger
        capacity = largerCapacity
    }

    private mutating func shrink() {
        entries?.deallocate()
        entries = nil
        capacity = 0
        used = 0
        firstFree = Self.noPlace
        index.removeAll()
    }
}
