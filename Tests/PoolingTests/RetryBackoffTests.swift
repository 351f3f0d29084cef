// The pauses between attempts to reach a server.

import Pooling
import Testing

@Suite struct RetryBackoffTests {
    /// Chance that shortens nothing: zero is the remainder of zero.
    private let none: UInt64 = 0

    @Test("pauses double from 100 ms up to server_login_retry")
    func doubles() {
        var backoff = RetryBackoff()
        let pauses = (0..<10).map { _ in
            backoff.failed(nowMicroseconds: 1_000, retryMaxMicroseconds: 15_000_000, random: none) - 1_000
        }
        #expect(
            pauses == [
                100_000, 200_000, 400_000, 800_000, 1_600_000, 3_200_000, 6_400_000, 12_800_000, 15_000_000, 15_000_000,
            ])
    }

    @Test("a success resets the pause")
    func resets() {
        var backoff = RetryBackoff()
        for _ in 0..<5 { _ = backoff.failed(nowMicroseconds: 0, retryMaxMicroseconds: 15_000_000, random: none) }
        #expect(!backoff.mayTry(nowMicroseconds: 1_599_999))
        #expect(backoff.mayTry(nowMicroseconds: 1_600_000))
        backoff.succeeded()
        #expect(backoff == RetryBackoff())
        #expect(backoff.mayTry(nowMicroseconds: 0))
        #expect(backoff.failed(nowMicroseconds: 7, retryMaxMicroseconds: 15_000_000, random: none) == 100_007)
    }

    @Test(
        "a pause is never longer than server_login_retry",
        arguments: [(0, 0), (-5, 0), (1, 1), (30_000, 30_000), (100_000, 100_000), (150_000, 100_000)]
            as [(Int64, Int64)])
    func short(retryMaxMicroseconds: Int64, first: Int64) {
        var backoff = RetryBackoff()
        #expect(
            backoff.failed(nowMicroseconds: 0, retryMaxMicroseconds: retryMaxMicroseconds, random: none) == first)
        for _ in 0..<300 {
            let until = backoff.failed(nowMicroseconds: 0, retryMaxMicroseconds: retryMaxMicroseconds, random: none)
            #expect(until == max(0, retryMaxMicroseconds))
        }
    }

    @Test("chance shortens a pause by up to a quarter, and the same chance gives the same pause")
    func chance() {
        var seen: Set<Int64> = []
        for random in stride(from: 0 as UInt64, to: 100_000, by: 997) {
            var backoff = RetryBackoff()
            let until = backoff.failed(nowMicroseconds: 0, retryMaxMicroseconds: 15_000_000, random: random)
            var again = RetryBackoff()
            #expect(
                again.failed(nowMicroseconds: 0, retryMaxMicroseconds: 15_000_000, random: random) == until)
            #expect((75_000...100_000).contains(until))
            seen.insert(until)
        }
        #expect(seen.count > 50)
    }

    @Test("the end of time does not overflow")
    func endOfTime() {
        var backoff = RetryBackoff()
        for _ in 0..<100 {
            #expect(backoff.failed(nowMicroseconds: .max - 1, retryMaxMicroseconds: .max, random: .max) == .max)
        }
    }
}
