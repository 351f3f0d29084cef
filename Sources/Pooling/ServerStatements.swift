// Which statements one server connection has, in the order in which they were last used.
//
//     newest                              eldest
//     [ 9 ] ⇄ [ 4 ] ⇄ [ 7 ] ⇄ [ 2 ] ⇄ [ 5 ]
//     └── pinned ──┘           evicted from here
//
// A server keeps at most `limit` statements; for a new one the eldest must go (`max_prepared_statements`). But a
// statement that requests still under way use must stay, so what was touched or inserted since the server last owed
// nothing (`settled`) is pinned. The pinned ones are always the newest: if the eldest is pinned, all are, and the
// server has more than `limit` until it is settled and `evictExcess` has been asked.
//
// The table owns one reference of each statement in it, given with `insert` or `restore` and handed back with every
// statement that is evicted or removed.

/// One server's prepared statements. It is one word and holds no memory until the first statement.
public struct ServerStatements: ~Copyable {
    private var uses: UnsafeMutablePointer<StatementUses>?

    /// A server without statements.
    public init() {}

    deinit {
        uses?.deinitialize(count: 1)
        uses?.deallocate()
    }

    /// How many statements the server has.
    public var count: Int { uses?.pointee.count ?? 0 }

    /// Whether the server has the statement; nothing changes.
    ///
    /// Complexity: O(1).
    public func contains(_ id: StatementID) -> Bool { uses?.pointee.place(of: id) != nil }

    /// A request uses the statement. True if the server has it: it is the newest now, and pinned.
    ///
    /// Complexity: O(1).
    public mutating func touch(_ id: StatementID) -> Bool {
        guard let uses, let place = uses.pointee.place(of: id) else { return false }
        uses.pointee.touch(place)
        return true
    }

    /// A statement that the server does not have is prepared on it: it is the newest now, and pinned. Returns the
    /// eldest statement if it must be closed to stay within the limit and is not pinned; the caller owns its
    /// reference.
    ///
    /// - Parameter limit: how many statements the server may have (`max_prepared_statements`).
    /// - Complexity: O(1), amortised.
    public mutating func insert(_ id: StatementID, limit: Int) -> StatementID? {
        let uses = self.uses ?? allocate()
        precondition(uses.pointee.place(of: id) == nil, "the caller has asked touch")
        let evicted = uses.pointee.count >= limit ? uses.pointee.removeEldest() : nil
        uses.pointee.insertNewest(id)
        return evicted
    }

    /// The server owes nothing: no statement is pinned any more.
    ///
    /// Complexity: O(1).
    public mutating func settled() { uses?.pointee.settled() }

    /// The eldest statement if the server has more than it may have, or nil if it has not or all are pinned. The
    /// statement is gone from the table and the caller owns its reference. To be asked until nil after `settled` and
    /// when the limit has been lowered.
    ///
    /// Complexity: O(1).
    public mutating func evictExcess(limit: Int) -> StatementID? {
        guard let uses, uses.pointee.count > limit else { return nil }
        return uses.pointee.removeEldest()
    }

    /// The server still has a statement that was evicted, because an error in its batch kept it from being closed:
    /// it is the eldest again, and not pinned.
    ///
    /// Complexity: O(1), amortised.
    public mutating func restore(_ id: StatementID) {
        let uses = self.uses ?? allocate()
        precondition(uses.pointee.place(of: id) == nil, "the statement was evicted")
        uses.pointee.insertEldest(id)
    }

    /// The server does not have the statement any more. True if the table had it: the caller owns its reference.
    ///
    /// Complexity: O(1).
    public mutating func remove(_ id: StatementID) -> Bool {
        guard let uses, let place = uses.pointee.place(of: id) else { return false }
        uses.pointee.remove(place)
        return true
    }

    /// The server has no statements any more (`DISCARD ALL`, or it is closed). `body` is called for each statement,
    /// the eldest first, and owns its reference. The memory is given back.
    public mutating func removeAll(_ body: (StatementID) -> Void) {
        guard let uses else { return }
        uses.pointee.forEachFromEldest(body)
        free()
    }

    private mutating func allocate() -> UnsafeMutablePointer<StatementUses> {
        let made = UnsafeMutablePointer<StatementUses>.allocate(capacity: 1)
        made.initialize(to: StatementUses())
        uses = made
        return made
    }

    private mutating func free() {
        uses?.deinitialize(count: 1)
        uses?.deallocate()
        uses = nil
    }
}

/// The statements themselves: entries in a list by their last use, and an index of them.
private struct StatementUses: ~Copyable {
    struct Entry {
        var id: StatementID
        /// The period in which it was last used: pinned if that is the current one.
        var period: UInt64
        var newer: UInt32
        /// The next elder entry; while the entry is free, the next free one.
        var elder: UInt32
    }

    private static var initialCapacity: Int { 8 }
    private static var noPlace: UInt32 { .max }

    private var entries: UnsafeMutablePointer<Entry>
    private var capacity = Self.initialCapacity
    /// Entries from here on have never been used. Invariant: count ≤ used ≤ capacity.
    private var used = 0
    private var newest = Self.noPlace
    private var eldest = Self.noPlace
    private var firstFree = Self.noPlace
    /// Counts the calls of `settled`. What was used in an earlier period is not pinned.
    private var period: UInt64 = 1
    private var index = HashIndex()

    init() { entries = .allocate(capacity: Self.initialCapacity) }

    deinit { entries.deallocate() }

    var count: Int { index.count }

    @inline(__always)
    func place(of id: StatementID) -> UInt32? {
        let entries = entries
        // SAFETY: a place in the index is below `used`.
        return index.find(HashIndex.hash(id.place)) { entries[Int($0)].id == id }
    }

    mutating func settled() { period += 1 }

    // SAFETY (for all below): places come from the index, the list or `takePlace`, all of which are below `used`.

    mutating func touch(_ place: UInt32) {
        entries[Int(place)].period = period
        if place == newest { return }
        unlink(place)
        linkNewest(place)
    }

    mutating func insertNewest(_ id: StatementID) {
        linkNewest(makeEntry(id, period: period))
    }

    mutating func insertEldest(_ id: StatementID) {
        let place = makeEntry(id, period: 0)
        entries[Int(place)].newer = eldest
        if eldest == Self.noPlace { newest = place } else { entries[Int(eldest)].elder = place }
        eldest = place
    }

    mutating func removeEldest() -> StatementID? {
        guard eldest != Self.noPlace, entries[Int(eldest)].period < period else { return nil }
        let id = entries[Int(eldest)].id
        remove(eldest)
        return id
    }

    mutating func remove(_ place: UInt32) {
        index.remove(HashIndex.hash(entries[Int(place)].id.place), place)
        unlink(place)
        entries[Int(place)].elder = firstFree
        firstFree = place
    }

    func forEachFromEldest(_ body: (StatementID) -> Void) {
        var place = eldest
        while place != Self.noPlace {
            body(entries[Int(place)].id)
            place = entries[Int(place)].newer
        }
    }

    private mutating func unlink(_ place: UInt32) {
        let (newer, elder) = (entries[Int(place)].newer, entries[Int(place)].elder)
        if newer == Self.noPlace { newest = elder } else { entries[Int(newer)].elder = elder }
        if elder == Self.noPlace { eldest = newer } else { entries[Int(elder)].newer = newer }
    }

    private mutating func linkNewest(_ place: UInt32) {
        entries[Int(place)].newer = Self.noPlace
        entries[Int(place)].elder = newest
        if newest == Self.noPlace { eldest = place } else { entries[Int(newest)].newer = place }
        newest = place
    }

    private mutating func makeEntry(_ id: StatementID, period: UInt64) -> UInt32 {
        let place = takePlace()
        (entries + Int(place)).initialize(
            to: Entry(id: id, period: period, newer: Self.noPlace, elder: Self.noPlace))
        index.insert(HashIndex.hash(id.place), place)
        return place
    }

    private mutating func takePlace() -> UInt32 {
        if firstFree != Self.noPlace {
            let place = firstFree
            firstFree = entries[Int(place)].elder
            return place
        }
        if used == capacity { grow() }
        used += 1
        return UInt32(used - 1)
    }

    private mutating func grow() {
        let larger = UnsafeMutablePointer<Entry>.allocate(capacity: capacity * 2)
        larger.moveInitialize(from: entries, count: used)
        entries.deallocate()
        entries = larger
        capacity *= 2
    }
}
