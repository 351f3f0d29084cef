// What the tests of this module share: bytes at the end of their own allocation, so that reading past them is seen by
// the address sanitizer; seeded chance; and shorthands for building messages.

import Glibc

@testable import Wire

/// Runs `body` on a copy of `bytes` in an allocation of exactly that size.
func withExactBytes<Result, Failure: Error>(
    _ bytes: [UInt8], _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
) throws(Failure) -> Result {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: bytes.count, alignment: 1)
    defer { copy.deallocate() }
    copy.copyBytes(from: bytes)
    return try body(UnsafeRawBufferPointer(copy))
}

/// The bytes of `write`'s messages.
func written(_ write: (inout MessageWriter) -> Void) -> [UInt8] {
    var writer = MessageWriter()
    write(&writer)
    return writer.bytes
}

/// The payload of the one tagged message that `write` writes.
func payload(_ write: (inout MessageWriter) -> Void) -> [UInt8] {
    [UInt8](written(write).dropFirst(5))
}

/// A text as bytes.
func ascii(_ text: String) -> [UInt8] { [UInt8](text.utf8) }

/// Repeatable chance (SplitMix64).
struct SeededGenerator: RandomNumberGenerator {
    private var state: UInt64

    init(seed: UInt64) {
        state = seed
    }

    mutating func next() -> UInt64 {
        state &+= 0x9e37_79b9_7f4a_7c15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xbf58_476d_1ce4_e5b9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94d0_49bb_1331_11eb
        return mixed ^ (mixed >> 31)
    }

    /// Up to `countMax` bytes, half of the time from `alphabet`, so that parsers get past their first checks.
    mutating func bytes(countMax: Int, alphabet: [UInt8]) -> [UInt8] {
        let isPicky = Bool.random(using: &self)
        return (0..<Int.random(in: 0...countMax, using: &self)).map { _ in
            isPicky ? alphabet.randomElement(using: &self) ?? 0 : UInt8.random(in: 0...255, using: &self)
        }
    }

    /// `original` with a few bytes changed, removed or doubled.
    mutating func mutated(_ original: [UInt8]) -> [UInt8] {
        var bytes = original
        for _ in 0..<Int.random(in: 1...4, using: &self) {
            guard let index = bytes.indices.randomElement(using: &self) else { break }
            switch Int.random(in: 0..<4, using: &self) {
            case 0: bytes[index] = UInt8.random(in: 0...255, using: &self)
            case 1: bytes.remove(at: index)
            case 2: bytes.insert(bytes[index], at: index)
            case _: bytes.removeSubrange(index...)
            }
        }
        return bytes
    }
}
