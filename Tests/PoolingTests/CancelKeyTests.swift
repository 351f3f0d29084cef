// Cancel keys: where they point, and that only the whole key is accepted.

import Pooling
import Testing

@Suite struct CancelKeyTests {
    static let places: [(worker: UInt8, slot: UInt32, generation: UInt32)] = [
        (0, 0, 0), (63, (1 << 20) - 1, 30), (63, (1 << 20) - 1, 31), (1, 2, 3), (17, 1, .max), (0, 1 << 19, 62),
    ]

    static let short: [UInt8] = [0xDE, 0xAD, 0xBE, 0xEF]
    static let long = [UInt8](0xE0...0xFF)

    @Test("a key names the worker, the slot and the generation it was made for", arguments: places, [short, long])
    func roundTrip(place: (worker: UInt8, slot: UInt32, generation: UInt32), secret: [UInt8]) throws {
        let key = CancelKey.encode(
            worker: place.worker, slot: place.slot, generation: place.generation, secret: secret)
        #expect(key.processID > 0)
        #expect(key.secretBytes == secret)
        let found = try #require(key.decode())
        #expect(found.worker == place.worker)
        #expect(found.slot == place.slot)
        #expect(found.checkBits == CancelKey.checkBits(ofGeneration: place.generation))
        let shown = try #require(CancelKey(processID: key.processID, secret: key.secretBytes))
        #expect(shown.matches(key))
    }

    @Test("successive generations of a slot have different keys")
    func generations() {
        for generation in 0..<200 as Range<UInt32> {
            #expect(
                CancelKey.checkBits(ofGeneration: generation) != CancelKey.checkBits(ofGeneration: generation + 1))
            #expect((1...31).contains(CancelKey.checkBits(ofGeneration: generation)))
        }
    }

    @Test("a key with one wrong bit does not match", arguments: [short, long])
    func oneBit(secret: [UInt8]) throws {
        let key = CancelKey.encode(worker: 9, slot: 1_000, generation: 8, secret: secret)
        #expect(key.matches(key))
        for bit in 0..<32 {
            let place = key.processID ^ Int32(bitPattern: 1 << UInt32(bit))
            let shown = try #require(CancelKey(processID: place, secret: secret))
            #expect(!shown.matches(key))
        }
        for bit in 0..<secret.count * 8 {
            var wrong = secret
            wrong[bit / 8] ^= 1 << UInt8(bit % 8)
            let shown = try #require(CancelKey(processID: key.processID, secret: wrong))
            #expect(!shown.matches(key))
        }
    }

    @Test("a short secret is not the long one that begins like it")
    func lengthsDiffer() throws {
        let key = CancelKey.encode(worker: 1, slot: 2, generation: 3, secret: Self.short)
        let longer = try #require(
            CancelKey(processID: key.processID, secret: Self.short + [UInt8](repeating: 0, count: 28)))
        #expect(!longer.matches(key))
        #expect(!key.matches(longer))
    }

    @Test("the key that nobody has matches no key that can be shown", arguments: [4, 32])
    func none(count: Int) throws {
        let shown = try #require(CancelKey(processID: 0, secret: [UInt8](repeating: 0, count: count)))
        #expect(!shown.matches(CancelKey.none))
    }

    @Test("keys that are none of ours point nowhere", arguments: [0, 1, (1 << 26) - 1, -1, .min] as [Int32])
    func foreign(processID: Int32) throws {
        let key = try #require(CancelKey(processID: processID, secret: Self.short))
        #expect(key.decode() == nil)
    }

    @Test("a secret of another length is no key", arguments: [0, 1, 3, 5, 31, 33, 256])
    func length(count: Int) {
        #expect(CancelKey(processID: 1 << 26, secret: [UInt8](repeating: 0, count: count)) == nil)
    }
}
