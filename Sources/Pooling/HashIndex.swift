// From a hash to the place of an entry: what the statement tables share.
//
//     slots   [ . | hash,7 | hash,2 | . | . | hash,0 | . | . ]        entries   [ 0 | 1 | 2 | … ]
//                                 └─────────────────────────────────────────────────────┘
//
// A slot holds 32 bits of the hash beside the place, so that a look-up reads an entry only when it is almost
// certainly the right one, and growing needs no entry at all. Collisions go to the next slot; a removal moves the
// followers back, so no dead slots gather however many statements come and go.

/// An open-addressed index: places of entries by the hash of their key. It holds no memory until something is in it.
struct HashIndex: ~Copyable {
    /// The most entries: a place and one more must fit into half a slot.
    static var countMax: Int { 1 << 30 }
    private static var initialSlotCount: Int { 16 }

    // Hash << 32 | place + 1, or zero for a free slot. Invariant: count ≤ ¾ of the slots, so that one is free.
    private var slots: UnsafeMutablePointer<UInt64>?
    private var mask = 0
    private(set) var count = 0

    init() {}

    deinit { slots?.deallocate() }

    /// The part of a hash that is kept. Hasher has a random key for each process, so a peer cannot choose what
    /// collides.
    @inline(__always)
    static func hash(_ bytes: UnsafeRawBufferPointer, seed: UInt64 = 0) -> UInt32 {
        var hasher = Hasher()
        hasher.combine(seed)
        hasher.combine(bytes: bytes)
        return UInt32(truncatingIfNeeded: hasher.finalize())
    }

    /// The same for a small number of our own making, which needs spreading but no key.
    @inline(__always)
    static func hash(_ number: UInt32) -> UInt32 {
        UInt32(truncatingIfNeeded: (UInt64(number) &* 0x9E37_79B9_7F4A_7C15) >> 32)
    }

    /// The place under `hash` for which `matches` says yes.
    @inline(__always)
    func find(_ hash: UInt32, where matches: (_ place: UInt32) -> Bool) -> UInt32? {
        guard let slots else { return nil }
        var position = Int(hash) & mask
        // SAFETY: the mask keeps the position inside the slots; a free slot, which always exists, ends the walk.
        while slots[position] != 0 {
            let slot = slots[position]
            if Self.hash(in: slot) == hash, matches(Self.place(in: slot)) { return Self.place(in: slot) }
            position = (position + 1) & mask
        }
        return nil
    }

    /// Adds a place that is not in the index yet.
    mutating func insert(_ hash: UInt32, _ place: UInt32) {
        precondition(count < Self.countMax && Int(place) < Self.countMax, "the tables bound their entries")
        if slots == nil || (count + 1) * 4 > (mask + 1) * 3 { grow() }
        put(UInt64(hash) << 32 | UInt64(place + 1))
        count += 1
    }

    /// Takes out a place that is in the index.
    mutating func remove(_ hash: UInt32, _ place: UInt32) {
        guard let slots else { preconditionFailure("nothing is in the index") }
        var hole = position(of: hash, place)
        var next = (hole + 1) & mask
        // SAFETY: as in `find`.
        while slots[next] != 0 {
            // What already stands between its own slot and the hole must not move in front of its own slot.
            let home = Int(Self.hash(in: slots[next])) & mask
            if (next - home) & mask >= (next - hole) & mask {
                slots[hole] = slots[next]
                hole = next
            }
            next = (next + 1) & mask
        }
        slots[hole] = 0
        count -= 1
    }

    /// An entry has moved to another place.
    mutating func move(_ hash: UInt32, from old: UInt32, to new: UInt32) {
        precondition(Int(new) < Self.countMax)
        let position = position(of: hash, old)
        // SAFETY: `position` lies inside the slots, and they exist when it has been found.
        slots?[position] = UInt64(hash) << 32 | UInt64(new + 1)
    }

    /// Forgets everything and gives the memory back.
    mutating func removeAll() {
        slots?.deallocate()
        slots = nil
        mask = 0
        count = 0
    }

    @inline(__always)
    private static func hash(in slot: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: slot >> 32) }

    @inline(__always)
    private static func place(in slot: UInt64) -> UInt32 { UInt32(truncatingIfNeeded: slot) - 1 }

    private func position(of hash: UInt32, _ place: UInt32) -> Int {
        guard let slots else { preconditionFailure("nothing is in the index") }
        let wanted = UInt64(hash) << 32 | UInt64(place + 1)
        var position = Int(hash) & mask
        // SAFETY: the mask keeps the position inside the slots.
        while slots[position] != wanted {
            precondition(slots[position] != 0, "the place is in the index")
            position = (position + 1) & mask
        }
        return position
    }

    private mutating func grow() {
        let old = slots
        let oldCount = old == nil ? 0 : mask + 1
        let newCount = old == nil ? Self.initialSlotCount : oldCount * 2
        let larger = UnsafeMutablePointer<UInt64>.allocate(capacity: newCount)
        larger.initialize(repeating: 0, count: newCount)
        slots = larger
        mask = newCount - 1
        guard let old else { return }
        // SAFETY: the old slots are `oldCount` many.
        for position in 0..<oldCount where old[position] != 0 { put(old[position]) }
        old.deallocate()
    }

    private func put(_ slot: UInt64) {
        guard let slots else { preconditionFailure("the slots exist") }
        var position = Int(Self.hash(in: slot)) & mask
        // SAFETY: as in `find`.
        while slots[position] != 0 { position = (position + 1) & mask }
        slots[position] = slot
    }
}
