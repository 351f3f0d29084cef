// The key that a client gets in BackendKeyData and shows again in a CancelRequest, on another connection that any
// worker may have accepted. The key itself says where its client lives, so there is no table of all clients:
//
//     processID   0 ggggg wwwwww ssssssssssssssssssss      secret   4 random bytes, or 32 in protocol 3.2
//                   |     |      slot in the worker
//                   |     worker
//                   generation of the slot, 1...31
//
// The place is public knowledge; the secret is what proves the right to cancel. The worker compares all of the key
// with what it gave to the client in that slot. The generation is never zero, so the process ID is always positive,
// as clients and monitoring expect of one.

/// A client's cancel key. Not Equatable on purpose: keys are compared by `matches`, in constant time.
public struct CancelKey: Sendable {
    /// The most workers that a key can tell apart.
    public static var workersMax: Int { 64 }
    /// The most client slots of one worker that a key can tell apart.
    public static var slotsMax: Int { 1 << 20 }
    /// How long the secret is for a client that speaks protocol 3.0.
    public static var shortSecretBytes: Int { 4 }
    /// How long the secret is for a client that speaks protocol 3.2; PostgreSQL 18 uses as much.
    public static var longSecretBytes: Int { 32 }

    /// The first four bytes of BackendKeyData. Always positive in a key made by `encode`.
    public let processID: Int32
    /// The secret in the order of its bytes, the rest zero.
    private var secret: InlineArray<32, UInt8>
    private let secretCount: UInt8

    /// A key that nobody has: it matches nothing that a CancelRequest can carry.
    public static var none: CancelKey { CancelKey(processID: 0) }

    private init(processID: Int32) {
        self.processID = processID
        secret = InlineArray(repeating: 0)
        secretCount = 0
    }

    /// A key as a CancelRequest carries it; nil when the secret has not the length of one of ours.
    public init?(processID: Int32, secret bytes: [UInt8]) {
        guard bytes.count == Self.shortSecretBytes || bytes.count == Self.longSecretBytes else { return nil }
        self.processID = processID
        secret = InlineArray(repeating: 0)
        secretCount = UInt8(bytes.count)
        for (index, byte) in bytes.enumerated() { secret[index] = byte }
    }

    /// The secret as BackendKeyData carries it.
    public var secretBytes: [UInt8] { (0..<Int(secretCount)).map { secret[$0] } }

    /// The key of the client in a slot. `secret` must be fresh and unpredictable for each client, and have one of the
    /// two lengths.
    public static func encode(worker: UInt8, slot: UInt32, generation: UInt32, secret: [UInt8]) -> CancelKey {
        precondition(worker < workersMax && slot < slotsMax)
        let place = checkBits(ofGeneration: generation) << 26 | UInt32(worker) << 20 | slot
        guard let key = CancelKey(processID: Int32(bitPattern: place), secret: secret) else {
            preconditionFailure("a secret has one of two lengths")
        }
        return key
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
        var difference = UInt32(bitPattern: processID ^ other.processID) | UInt32(secretCount ^ other.secretCount)
        for index in secret.indices { difference |= UInt32(secret[index] ^ other.secret[index]) }
        return difference == 0
    }
}
