// Cancel keys: where they point, and that only the whole key is accepted.

import Pooling
import Testing

@Suite struct CancelKeyTests {
    static let places: [(UInt8, UInt32, UInt32)] = [
        (0, 0, 0), (63, (1 << 20) - 1, 30), (63, (1 << 20) - 1, 31), (1, 2, 3), (17, 1, .max), (0, 1 << 19, 62),
    ]

    @Test("a key names the worker, the slot and the generation it was made for", arguments: places)
    func roundTrip(worker: UInt8, slot: UInt32, generation: UInt32) throws {
        let key = CancelKey.encode(worker: worker, slot: slot, generation: generation, random: 0xDEAD_BEEF)
        #expect(key.processID > 0)
        #expect(key.secretBytes == [0xDE, 0xAD, 0xBE, 0xEF])
        let place = try #require(key.decode())
        #expect(place.worker == worker)
        #expect(place.slot == slot)
        #expect(place.checkBits == CancelKey.checkBits(ofGeneration: generation))
    }

    @Test("all 32 random bits are in the secret", arguments: [0, 1, 0x8000_0000, .max] as [UInt32])
    func randomBits(random: UInt32) throws {
        let key = CancelKey.encode(worker: 3, slot: 4, generation: 5, random: random)
        #expect(UInt32(bitPattern: key.secret) == random)
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

    @Test("a key with one wrong bit does not match")
    func oneBit() {
        let key = CancelKey.encode(worker: 9, slot: 1_000, generation: 8, random: 0x1234_5678)
        #expect(key.matches(key))
        for bit in 0..<32 {
            let flipped = Int32(bitPattern: 1 << UInt32(bit))
            #expect(!CancelKey(processID: key.processID ^ flipped, secret: key.secret).matches(key))
            #expect(!CancelKey(processID: key.processID, secret: key.secret ^ flipped).matches(key))
        }
    }

    @Test("keys that are none of ours point nowhere", arguments: [0, 1, (1 << 26) - 1, -1, .min] as [Int32])
    func foreign(processID: Int32) {
        #expect(CancelKey(processID: processID, secret: 0).decode() == nil)
    }

    @Test("a secret of another length is no key", arguments: [0, 1, 3, 5, 32])
    func length(count: Int) {
        #expect(CancelKey(processID: 1 << 26, secret: [UInt8](repeating: 0, count: count)) == nil)
    }
}
