// Random numbers for keys that nobody may guess.

import Glibc

/// Words from the kernel's random generator, fetched many at a time: a system call for the key of each login is more
/// than its randomness costs.
struct RandomWords {
    /// getentropy(3) gives at most 256 bytes at once.
    private static var fetchedAtOnce: Int { 32 }

    private var words: [UInt64] = []

    /// A word that nobody can guess and that is given once.
    mutating func next() -> UInt64 {
        if words.isEmpty {
            words = [UInt64](repeating: 0, count: Self.fetchedAtOnce)
            let result = words.withUnsafeMutableBytes { getentropy($0.baseAddress, $0.count) }
            precondition(result == 0, "the kernel has no random numbers")
        }
        return words.removeLast()
    }
}
