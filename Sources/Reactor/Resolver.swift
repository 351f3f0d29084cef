// Name look-up off the event loops: getaddrinfo blocks for as long as the name servers like, so a few threads do it.
//
//   loop: resolve(name) ──▶ .cached / .failed          answered from the cache
//                      └──▶ .pending                   queued; threads look it up; then the completion is called
//                                                      (on their thread: it posts to the loop's mailbox), and the
//                                                      loop calls resolve again
//
// Look-ups of one name that are asked for at the same time become one. getaddrinfo tells no time to live, so an answer
// is kept for dns_max_ttl and a failure for dns_nxdomain_ttl, and both for at least a second: whoever is told that the
// answer has come must still find it.

import Glibc

/// What a look-up came to.
public enum NameAnswer: Equatable, Sendable {
    /// Addresses as raw `sockaddr_in` or `sockaddr_in6`, in the order to try them; never empty.
    case cached([[UInt8]])
    /// The answer comes later.
    case pending
    /// The name cannot be looked up, and why.
    case failed(String)
}

/// The error of one look-up, as text.
public struct NameLookupError: Error, Equatable, Sendable {
    /// What getaddrinfo says.
    public var message: String

    /// An error with that text.
    public init(_ message: String) { self.message = message }
}

/// One name of the cache, for SHOW DNS_HOSTS.
public struct ResolvedName: Equatable, Sendable {
    /// The name.
    public var name: String
    /// Seconds until it is looked up again, 0 while that is under way.
    public var ttlSeconds: Int64
    /// Its addresses as text, empty when the look-up failed.
    public var addresses: [String]
}

/// A cache of names, and the threads that fill it. Any thread may use it.
public final class Resolver: Sendable {
    /// Looks a name up, blocking: raw socket addresses with port 0, at least one.
    public typealias Lookup = @Sendable (String) -> Result<[[UInt8]], NameLookupError>

    /// Names in the cache at most.
    public static var namesMax: Int { 1_000 }
    /// The shortest life of an answer.
    public static var lifetimeMicrosecondsMin: Int64 { 1_000_000 }

    private let shared: SharedNames

    /// A resolver with an empty cache.
    ///
    /// - Parameters:
    ///   - maxTTLMicroseconds: dns_max_ttl, how long addresses are kept.
    ///   - failureTTLMicroseconds: dns_nxdomain_ttl, how long failures are kept.
    ///   - threadCount: how many names are looked up at once.
    ///   - lookup: replaces getaddrinfo.
    ///   - clock: replaces CLOCK_MONOTONIC, in microseconds.
    public init(
        maxTTLMicroseconds: Int64, failureTTLMicroseconds: Int64, threadCount: Int = 2,
        lookup: @escaping Lookup = systemLookup, clock: (@Sendable () -> Int64)? = nil
    ) {
        shared = SharedNames(
            maxTTLMicroseconds: maxTTLMicroseconds, failureTTLMicroseconds: failureTTLMicroseconds,
            threadsMax: max(1, threadCount), lookup: lookup, clock: clock ?? readMonotonicMicroseconds)
    }

    deinit { shared.close() }

    /// Changes how long answers are kept from now on.
    public func setTTL(maxMicroseconds: Int64, failureMicroseconds: Int64) {
        shared.names.withLock {
            $0.maxTTLMicroseconds = maxMicroseconds
            $0.failureTTLMicroseconds = failureMicroseconds
        }
    }

    /// Looks a name up, without blocking. An IPv4 or IPv6 literal is answered at once.
    ///
    /// - Parameters:
    ///   - now: CLOCK_MONOTONIC in microseconds.
    ///   - completion: called once with the name, on another thread, when the answer is `.pending`.
    public func resolve(
        name: String, port: UInt16, now: Int64, completion: @escaping @Sendable (String) -> Void
    ) -> NameAnswer {
        if let literal = literalAddress(name) { return .cached([withPort(literal, port)]) }
        return shared.resolve(name: name, port: port, now: now, completion: completion)
    }

    /// The cache, sorted by name.
    public func snapshot(now: Int64) -> [ResolvedName] { shared.snapshot(now: now) }

    /// Names that are being looked up or wait for that.
    public var pendingCount: Int { shared.names.withLock { $0.entries.count { $0.value.isPending } } }
}

/// What the resolver and its threads share. The threads keep it alive, not the resolver itself, so that the resolver's
/// end can end them.
private final class SharedNames: Sendable {
    struct Entry: Sendable {
        var addresses: [[UInt8]] = []
        var failure: String?
        var expiresMicroseconds: Int64 = 0
        var isPending = true
        var completions: [@Sendable (String) -> Void] = []
    }

    struct Names: Sendable {
        var maxTTLMicroseconds: Int64
        var failureTTLMicroseconds: Int64
        var entries: [String: Entry] = [:]
        var queue: [String] = []
        var threadCount = 0
        var idleThreadCount = 0
        var isClosed = false
    }

    let names: Locked<Names>
    private let work = CountingSemaphore()
    private let threadsMax: Int
    private let lookup: Resolver.Lookup
    private let clock: @Sendable () -> Int64

    init(
        maxTTLMicroseconds: Int64, failureTTLMicroseconds: Int64, threadsMax: Int, lookup: @escaping Resolver.Lookup,
        clock: @escaping @Sendable () -> Int64
    ) {
        names = Locked(
            Names(maxTTLMicroseconds: maxTTLMicroseconds, failureTTLMicroseconds: failureTTLMicroseconds))
        self.threadsMax = threadsMax
        self.lookup = lookup
        self.clock = clock
    }

    func close() {
        let threadCount = names.withLock { names in
            names.isClosed = true
            names.queue = []
            return names.threadCount
        }
        for _ in 0..<threadCount { work.signal() }
    }

    func resolve(
        name: String, port: UInt16, now: Int64, completion: @escaping @Sendable (String) -> Void
    ) -> NameAnswer {
        let answer: NameAnswer = names.withLock { names in
            if let entry = names.entries[name] {
                if entry.isPending {
                    names.entries[name]?.completions.append(completion)
                    return .pending
                }
                if now < entry.expiresMicroseconds {
                    if let failure = entry.failure { return .failed(failure) }
                    return .cached(entry.addresses.map { withPort($0, port) })
                }
            } else if !makeRoom(in: &names) {
                return .failed("more than \(Resolver.namesMax) names are being looked up")
            }
            names.entries[name, default: Entry()].isPending = true
            names.entries[name]?.completions = [completion]
            names.queue.append(name)
            return .pending
        }
        if answer == .pending { wakeThread() }
        return answer
    }

    /// Removes the entry that expires first when the cache is full; false when all are being looked up.
    private func makeRoom(in names: inout Names) -> Bool {
        guard names.entries.count >= Resolver.namesMax else { return true }
        let settled = names.entries.filter { !$0.value.isPending }
        guard let first = settled.min(by: { $0.value.expiresMicroseconds < $1.value.expiresMicroseconds }) else {
            return false
        }
        names.entries[first.key] = nil
        return true
    }

    /// Wakes a thread for the name just queued, after starting one more when all are busy. When there is none at all,
    /// what waits fails.
    private func wakeThread() {
        let isMissing = names.withLock { names in
            guard names.idleThreadCount < names.queue.count, names.threadCount < threadsMax else { return false }
            names.threadCount += 1
            return true
        }
        if isMissing, startThread(name: "resolver", { [self] in runThread() }) != 0 {
            let abandoned = names.withLock { names in
                names.threadCount -= 1
                guard names.threadCount == 0 else { return [String]() }
                defer { names.queue = [] }
                return names.queue
            }
            for name in abandoned {
                settle(name, .failure(NameLookupError("cannot start a thread for name look-up")))
            }
        }
        work.signal()
    }

    private func runThread() {
        while true {
            names.withLock { $0.idleThreadCount += 1 }
            work.wait()
            let (name, isClosed): (String?, Bool) = names.withLock { names in
                names.idleThreadCount -= 1
                return (names.queue.isEmpty ? nil : names.queue.removeFirst(), names.isClosed)
            }
            if isClosed { return }
            if let name { settle(name, lookup(name)) }
        }
    }

    private func settle(_ name: String, _ result: Result<[[UInt8]], NameLookupError>) {
        let now = clock()
        let completions = names.withLock { names in
            var entry = Entry(isPending: false)
            let ttl: Int64
            switch result {
            case .success(let addresses) where !addresses.isEmpty:
                entry.addresses = addresses
                ttl = names.maxTTLMicroseconds
            case .success:
                entry.failure = "the name has no address"
                ttl = names.failureTTLMicroseconds
            case .failure(let error):
                entry.failure = error.message
                ttl = names.failureTTLMicroseconds
            }
            let (expires, overflow) = now.addingReportingOverflow(max(ttl, Resolver.lifetimeMicrosecondsMin))
            entry.expiresMicroseconds = overflow ? Int64.max : expires
            let completions = names.entries[name]?.completions ?? []
            names.entries[name] = entry
            return completions
        }
        for completion in completions { completion(name) }
    }

    func snapshot(now: Int64) -> [ResolvedName] {
        let entries = names.withLock { $0.entries }
        return entries.sorted { $0.key < $1.key }.map { name, entry in
            let remaining = entry.isPending ? 0 : max(0, entry.expiresMicroseconds - now)
            return ResolvedName(
                name: name, ttlSeconds: remaining / 1_000_000, addresses: entry.addresses.compactMap(addressText))
        }
    }
}
