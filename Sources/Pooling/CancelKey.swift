// The key that a client gets in BackendKeyData and shows again in a CancelRequest, on another connection that any
// worker may have accepted. The key itself says where its client lives, so there is no table of all clients:
//
//     processID   0 ggggg wwwwww ssssssssssssssssssss      secret   32 random bits
//                   |     |      slot in the worker
//                   |     worker
//                   generation of the slot, 1...31
//
// The place is public knowledge; the secret is what proves the right to cancel. The worker compares all eight bytes
// with what it gave to the client in that slot. The generation is never zero, so the process ID is always positive,
// as clients and monitoring expect of one.

/// A client's cancel key. Not Equatable on purpose: keys are compared by `matches`, in constant time.
public struct CancelKey: Sendable {
    /// The most workers that a key can tell apart.
    public static var workersMax: Int { 64 }
    /// The most client slots of one worker that a key can tell apart.
    public static var slotsMax: Int { 1 << 20 }

    /// The first four bytes of BackendKeyData. Always positive in a key made by `encode`.
    public let processID: Int32
    /// The last four bytes of BackendKeyData.
    public let secret: Int32

    /// A key as a client shows it.
    public init(processID: Int32, secret: Int32) {
        self.processID = processID
        self.secret = secret
    }

    /// A key as a CancelRequest carries it; nil when the secret has not the length of ours.
    public init?(processID: Int32, secret bytes: [UInt8]) {
        guard bytes.count == 4 else { return nil }
        self.processID = processID
        secret = Int32(bitPattern: bytes.reduce(0 as UInt32) { $0 << 8 | UInt32($1) })
    }

    /// The secret as BackendKeyData carries it, in network order.
    public var secretBytes: [UInt8] {
        let bits = UInt32(bitPattern: secret)
        return [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: bits >> $0) }
    }

    /// The key of the client in a slot. `random` must be fresh and unpredictable for each client.
    public static func encode(worker: UInt8, slot: UInt32, generation: UInt32, random: UInt32) -> CancelKey {
        precondition(worker < workersMax && slot < slotsMax)
        let place = checkBits(ofGeneration: generation) << 26 | UInt32(worker) << 20 | slot
        return CancelKey(processID: Int32(bitPattern: place), secret: Int32(bitPattern: random))
    }

    /// Where the client of this key lives, and the check bits of its slot's generation: stale when they differ from
    /// `checkBits(ofGeneration:)`. Nil when no key of ours looks like this. The worker need not exist, nor the slot.
    public func decode() -> (worker: UInt8, slot: UInt32, checkBits: UInt32)? {
        guard processID >= 1 << 26 else { return nil }
        let place = UInt32(bitPattern: processID)
        return (UInt8(place >> 20 & 0x3F), place & 0xF_FFFF, place >> 26)
    }

    /// What a key keeps of a generation: 1...31, different for successive generations.
    public static func checkBits(ofGeneration generation: UInt32) -> UInt32 {
        generation % 31 + 1
    }

    /// Whether two keys are the same, in a time that does not depend on where they differ.
    @inline(never)
    public func matches(_ other: CancelKey) -> Bool {
        (processID ^ other.processID) | (secret ^ other.secret) == 0
    }
}
