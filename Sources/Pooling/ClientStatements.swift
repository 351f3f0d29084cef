// The prepared statements of one client: its own names, and the worker's statement that each one means.
//
// Most clients prepare nothing or a handful of statements, some prepare thousands. So an idle client pays one word
// for this, a few names are searched one by one, and only many names get a hash index. Names of up to 24 bytes, as
// the drivers make them, lie in the entry itself.
//
// Names are compared byte for byte over their whole length. The table owns one reference of each statement in it,
// given with `define` and handed back by `remove` and `removeAll`.

import Glibc

/// What became of a name that a client gave to a statement.
public enum StatementDefinition: Equatable, Sendable {
    /// The name means the statement now, and the table owns the caller's reference.
    case defined
    /// The name is taken (SQLSTATE 42P05); the caller keeps its reference.
    case alreadyDefined
    /// The client has as many names as it may have; the caller keeps its reference.
    case tooMany(limit: Int)
}

/// One client's names of prepared statements. It is one word and holds no memory until the first name.
public struct ClientStatements: ~Copyable {
    /// As many names as are searched one by one.
    static var linearMax: Int { 8 }

    private var names: UnsafeMutablePointer<StatementNames>?

    /// A client without statements.
    public init() {}

    deinit {
        names?.deinitialize(count: 1)
        names?.deallocate()
    }

    /// How many names there are.
    public var count: Int { names?.pointee.count ?? 0 }

    /// Gives a name to a statement. A name that is taken is reported as such even at the limit.
    ///
    /// - Parameter limit: how many names the client may have (`max_client_prepared_statements`).
    /// - Complexity: O(bytes of the name), amortised.
    public mutating func define(
        _ name: UnsafeRawBufferPointer, as id: StatementID, limit: Int
    ) -> StatementDefinition {
        let hash = HashIndex.hash(name)
        if let names, names.pointee.place(of: name, hash) != nil { return .alreadyDefined }
        let bound = min(limit, HashIndex.countMax)
        if count >= bound { return .tooMany(limit: limit) }
        let names = self.names ?? allocate()
        names.pointee.append(name, hash, id)
        return .defined
    }

    /// The statement that a name means; its references stay as they are.
    ///
    /// Complexity: O(bytes of the name).
    public func find(_ name: UnsafeRawBufferPointer) -> StatementID? {
        guard let names, let place = names.pointee.place(of: name, HashIndex.hash(name)) else { return nil }
        return names.pointee.id(at: place)
    }

    /// A name that the client gave to a statement for which `matches` is true.
    ///
    /// Complexity: O(names).
    public func name(where matches: (StatementID) -> Bool) -> [UInt8]? {
        guard let names else { return nil }
        for place in 0..<UInt32(truncatingIfNeeded: names.pointee.count) where matches(names.pointee.id(at: place)) {
            return names.pointee.name(at: place)
        }
        return nil
    }

    /// Forgets a name; the caller owns the reference of the statement that it meant.
    ///
    /// Complexity: O(bytes of the name).
    public mutating func remove(_ name: UnsafeRawBufferPointer) -> StatementID? {
        guard let names, let place = names.pointee.place(of: name, HashIndex.hash(name)) else { return nil }
        let id = names.pointee.remove(place)
        if names.pointee.count == 0, names.pointee.isLarge { free() }
        return id
    }

    /// Forgets all names and gives the memory back. `body` is called for the statement of each name, and owns its
    /// reference.
    public mutating func removeAll(_ body: (StatementID) -> Void) {
        removeAll { (_: UnsafeRawBufferPointer, id) in body(id) }
    }

    /// The same; `body` is given each name too.
    public mutating func removeAll(_ body: (_ name: UnsafeRawBufferPointer, StatementID) -> Void) {
        guard let names else { return }
        for place in 0..<UInt32(truncatingIfNeeded: names.pointee.count) {
            body(names.pointee.nameBytes(at: place), names.pointee.id(at: place))
        }
        free()
    }

    private mutating func allocate() -> UnsafeMutablePointer<StatementNames> {
        let made = UnsafeMutablePointer<StatementNames>.allocate(capacity: 1)
        made.initialize(to: StatementNames())
        names = made
        return made
    }

    private mutating func free() {
        names?.deinitialize(count: 1)
        names?.deallocate()
        names = nil
    }
}

/// The names themselves: entries without gaps, and an index of them when they are many.
private struct StatementNames: ~Copyable {
    struct Entry {
        let id: StatementID
        let hash: UInt32
        let nameBytes: UInt32
        /// The name, or its address if it is longer. The last field, see `nameOffset`.
        var name: (UInt64, UInt64, UInt64) = (0, 0, 0)
    }

    private static var inlineNameBytesMax: Int { 24 }
    /// Where in an entry the name lies: the last 24 bytes.
    private static var nameOffset: Int { MemoryLayout<Entry>.size - inlineNameBytesMax }
    private static var initialCapacity: Int { 4 }

    private var entries: UnsafeMutablePointer<Entry>
    private var capacity = Self.initialCapacity
    private(set) var count = 0
    private var index = HashIndex()

    init() { entries = .allocate(capacity: Self.initialCapacity) }

    deinit {
        for place in 0..<count { freeName(UInt32(place)) }
        entries.deallocate()
    }

    /// Whether there is more memory than a few names need.
    var isLarge: Bool { capacity > ClientStatements.linearMax }

    func id(at place: UInt32) -> StatementID {
        precondition(Int(place) < count)
        return entries[Int(place)].id
    }

    func name(at place: UInt32) -> [UInt8] { Array(nameBytes(at: place)) }

    func nameBytes(at place: UInt32) -> UnsafeRawBufferPointer {
        precondition(Int(place) < count)
        // SAFETY: the place is below `count`, and the address is that of a name with as many bytes as its entry says.
        return UnsafeRawBufferPointer(start: nameAddress(place), count: Int(entries[Int(place)].nameBytes))
    }

    @inline(__always)
    func place(of name: UnsafeRawBufferPointer, _ hash: UInt32) -> UInt32? {
        if index.count > 0 { return index.find(hash) { isName($0, name, hash) } }
        for place in 0..<UInt32(truncatingIfNeeded: count) where isName(place, name, hash) { return place }
        return nil
    }

    mutating func append(_ name: UnsafeRawBufferPointer, _ hash: UInt32, _ id: StatementID) {
        if count == capacity { grow() }
        let place = UInt32(count)
        let entry = entries + count
        // Neither conversion can fail: the count is bounded, and a message has less than 2³² bytes.
        entry.initialize(to: Entry(id: id, hash: hash, nameBytes: UInt32(name.count)))
        count += 1
        if let source = name.baseAddress {
            var target = UnsafeMutableRawPointer(entry) + Self.nameOffset
            if name.count > Self.inlineNameBytesMax {
                target = .allocate(byteCount: name.count, alignment: 1)
                entry.pointee.name.0 = UInt64(UInt(bitPattern: target))
            }
            // SAFETY: the target has room for `name.count` bytes: allocated just now, or 24 and the name is no longer.
            target.copyMemory(from: source, byteCount: name.count)
        }
        if index.count > 0 {
            index.insert(hash, place)
        } else if count > ClientStatements.linearMax {
            for place in 0..<count { index.insert(entries[place].hash, UInt32(place)) }
        }
    }

    /// Takes out an entry; the last one fills the gap.
    mutating func remove(_ place: UInt32) -> StatementID {
        let removed = id(at: place)
        let last = UInt32(count - 1)
        freeName(place)
        if index.count > 0 {
            index.remove(entries[Int(place)].hash, place)
            if place != last { index.move(entries[Int(last)].hash, from: last, to: place) }
        }
        entries[Int(place)] = entries[Int(last)]
        count -= 1
        return removed
    }

    @inline(__always)
    private func isName(_ place: UInt32, _ name: UnsafeRawBufferPointer, _ hash: UInt32) -> Bool {
        // SAFETY: callers pass a place below `count`.
        let entry = entries + Int(place)
        guard entry.pointee.hash == hash, Int(entry.pointee.nameBytes) == name.count else { return false }
        guard let other = name.baseAddress, let own = nameAddress(place) else { return name.count == 0 }
        return memcmp(own, other, name.count) == 0
    }

    @inline(__always)
    private func nameAddress(_ place: UInt32) -> UnsafeMutableRawPointer? {
        // SAFETY: callers pass a place below `count`; the offset lies inside the entry.
        let entry = entries + Int(place)
        if Int(entry.pointee.nameBytes) > Self.inlineNameBytesMax {
            return UnsafeMutableRawPointer(bitPattern: UInt(entry.pointee.name.0))
        }
        return UnsafeMutableRawPointer(entry) + Self.nameOffset
    }

    private func freeName(_ place: UInt32) {
        if Int(entries[Int(place)].nameBytes) > Self.inlineNameBytesMax { nameAddress(place)?.deallocate() }
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
        // SAFETY: `count` ≤ `capacity` entries move into twice the room.
        larger.moveInitialize(from: entries, count: count)
        entries.deallocate()
        entries = larger
        capacity *= 2
    }
}
