// How long a pool waits before it tries again to reach a server that it could not connect or log in to.
//
// One flat pause makes a restart of two seconds cost every client fifteen. So the first pause is a tenth of a second
// and each further failure doubles it, up to `server_login_retry`. Chance shortens every pause by up to a quarter:
// pools that lost the same server do not all come back in the same instant.

/// The pause between attempts to reach a server.
public struct RetryBackoff: Equatable, Sendable {
    /// The first pause, before chance shortens it.
    public static var firstPauseMicroseconds: Int64 { 100_000 }

    /// Failures since the last success, counted no further than the pause can grow.
    public private(set) var failures: UInt8 = 0

    /// When the next attempt may begin; in the past when there is no pause.
    public private(set) var notBeforeMicroseconds: Int64 = .min

    /// No failure so far: the first attempt may begin at once.
    public init() {}

    /// An attempt failed. The next one may begin at the returned time, which is also `notBeforeMicroseconds`.
    ///
    /// - Parameters:
    ///   - nowMicroseconds: the time of the failure.
    ///   - retryMaxMicroseconds: `server_login_retry`; zero or less means no pause at all.
    ///   - random: any 64 random bits; the same bits give the same pause.
    public mutating func failed(
        nowMicroseconds: Int64, retryMaxMicroseconds: Int64, random: UInt64
    ) -> Int64 {
        let longest = max(0, retryMaxMicroseconds)
        var pause = min(Self.firstPauseMicroseconds, longest)
        for _ in 0..<failures { pause = pause > longest / 2 ? longest : pause * 2 }
        if failures < UInt8(Int64.bitWidth) { failures += 1 }
        let quarter = UInt64(pause / 4)
        pause -= Int64(random % (quarter + 1))
        let (sum, overflows) = nowMicroseconds.addingReportingOverflow(pause)
        notBeforeMicroseconds = overflows ? .max : sum
        return notBeforeMicroseconds
    }

    /// An attempt succeeded: the next failure starts again with the shortest pause.
    public mutating func succeeded() {
        self = RetryBackoff()
    }

    /// Whether an attempt may begin now.
    public func mayTry(nowMicroseconds: Int64) -> Bool {
        nowMicroseconds >= notBeforeMicroseconds
    }
}
