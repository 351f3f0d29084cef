// The resolver with a look-up of the test's own in getaddrinfo's place, and a clock that stands still.

import Glibc
import Testing

@testable import Reactor

/// A look-up that counts, and that answers only when the test lets it.
private final class FakeNames: Sendable {
    let counts = Locked<[String: Int]>([:])
    let gates = Locked<[String: CountingSemaphore]>([:])

    func hold(_ name: String) -> CountingSemaphore {
        let gate = CountingSemaphore()
        gates.withLock { $0[name] = gate }
        return gate
    }

    @Sendable func lookup(_ name: String) -> Result<[[UInt8]], NameLookupError> {
        counts.withLock { $0[name, default: 0] += 1 }
        gates.withLock { $0[name] }?.wait()
        if name.hasPrefix("missing") { return .failure(NameLookupError("Name or service not known")) }
        if name == "empty" { return .success([]) }
        return .success([literalAddress("192.0.2.1") ?? [], literalAddress("2001:db8::1") ?? []])
    }

    func count(_ name: String) -> Int { counts.withLock { $0[name] ?? 0 } }
}

private let second: Int64 = 1_000_000

private func resolver(_ names: FakeNames, maxTTL: Int64 = 15 * second, threadCount: Int = 1) -> Resolver {
    Resolver(
        maxTTLMicroseconds: maxTTL, failureTTLMicroseconds: 5 * second, threadCount: threadCount,
        lookup: names.lookup, clock: { 100 * second })
}

/// Looks a name up that is not cached and waits for its completion.
private func settle(_ resolver: Resolver, _ name: String, now: Int64 = 100 * second) {
    let done = CountingSemaphore()
    let answer = resolver.resolve(name: name, port: 5432, now: now) { completed in
        if completed == name { done.signal() }
    }
    #expect(answer == .pending)
    #expect(done.wait(timeoutMicroseconds: 30 * second))
}

private func answer(_ resolver: Resolver, _ name: String, port: UInt16 = 5432, now: Int64) -> NameAnswer {
    resolver.resolve(name: name, port: port, now: now) { _ in }
}

@Suite struct ResolverTests {
    @Test("a literal address is answered at once, with its port")
    func literals() throws {
        let names = FakeNames()
        let resolver = resolver(names)
        guard case .cached(let ipv4) = answer(resolver, "127.0.0.1", port: 0x1520, now: 0),
            case .cached(let ipv6) = answer(resolver, "::1", port: 1, now: 0)
        else {
            Issue.record("not answered")
            return
        }
        #expect(ipv4.count == 1 && ipv4[0].count == 16)
        #expect(Array(ipv4[0][2..<8]) == [0x15, 0x20, 127, 0, 0, 1])
        #expect(ipv6.count == 1 && ipv6[0].count == 28)
        #expect(addressText(ipv6[0]) == "::1")
        #expect(resolver.snapshot(now: 0).isEmpty)
    }

    @Test("a name is pending first and cached when its completion is called")
    func pendingThenCached() {
        let names = FakeNames()
        let resolver = resolver(names)
        settle(resolver, "db")
        guard case .cached(let addresses) = answer(resolver, "db", port: 0x1234, now: 100 * second) else {
            Issue.record("not cached")
            return
        }
        #expect(addresses.map(addressText) == ["192.0.2.1", "2001:db8::1"])
        #expect(addresses.allSatisfy { Array($0[2..<4]) == [0x12, 0x34] })
        #expect(names.count("db") == 1)
    }

    @Test("look-ups of one name at the same time become one, and all are told")
    func coalescing() {
        let names = FakeNames()
        let gate = names.hold("db")
        let resolver = resolver(names, threadCount: 4)
        let done = CountingSemaphore()
        for _ in 0..<10 {
            #expect(resolver.resolve(name: "db", port: 1, now: 0) { _ in done.signal() } == .pending)
        }
        #expect(resolver.pendingCount == 1)
        gate.signal()
        for _ in 0..<10 { #expect(done.wait(timeoutMicroseconds: 30 * second)) }
        #expect(names.count("db") == 1)
        #expect(resolver.pendingCount == 0)
    }

    @Test("addresses are kept for dns_max_ttl, failures for dns_nxdomain_ttl")
    func timesToLive() {
        let names = FakeNames()
        let resolver = resolver(names)
        settle(resolver, "db")
        settle(resolver, "missing")
        settle(resolver, "empty")
        if case .cached = answer(resolver, "db", now: 115 * second - 1) {} else { Issue.record("expired early") }
        #expect(answer(resolver, "missing", now: 105 * second - 1) == .failed("Name or service not known"))
        #expect(answer(resolver, "empty", now: 100 * second) == .failed("the name has no address"))
        settle(resolver, "db", now: 115 * second)
        settle(resolver, "missing", now: 105 * second)
        #expect(names.count("db") == 2)
        #expect(names.count("missing") == 2)
    }

    @Test("a changed dns_max_ttl holds for the next answer, and a zero one keeps it for a second")
    func changedTTL() {
        let names = FakeNames()
        let resolver = resolver(names)
        resolver.setTTL(maxMicroseconds: 0, failureMicroseconds: 0)
        settle(resolver, "db")
        if case .cached = answer(resolver, "db", now: 101 * second - 1) {} else { Issue.record("lost") }
        #expect(answer(resolver, "db", now: 101 * second) == .pending)
    }

    @Test("a slow name does not hold up another one")
    func slowName() {
        let names = FakeNames()
        let gate = names.hold("slow")
        let resolver = resolver(names, threadCount: 2)
        let slow = CountingSemaphore()
        #expect(resolver.resolve(name: "slow", port: 1, now: 0) { _ in slow.signal() } == .pending)
        settle(resolver, "db")
        #expect(resolver.snapshot(now: 100 * second).map(\.name) == ["db", "slow"])
        gate.signal()
        #expect(slow.wait(timeoutMicroseconds: 30 * second))
    }

    @Test("the cache is bounded: the name that expires first makes room")
    func bounded() {
        let names = FakeNames()
        let resolver = resolver(names)
        settle(resolver, "missing")
        for number in 1..<Resolver.namesMax { settle(resolver, "db\(number)") }
        #expect(resolver.snapshot(now: 0).count == Resolver.namesMax)
        settle(resolver, "more")
        #expect(resolver.snapshot(now: 0).count == Resolver.namesMax)
        #expect(!resolver.snapshot(now: 0).contains { $0.name == "missing" })
    }

    @Test("when every name is still being looked up, one more is refused")
    func allPending() {
        let names = FakeNames()
        let gate = names.hold("db0")
        let resolver = resolver(names)
        for number in 0..<Resolver.namesMax { #expect(answer(resolver, "db\(number)", now: 0) == .pending) }
        #expect(answer(resolver, "more", now: 0) == .failed("more than 1000 names are being looked up"))
        gate.signal()
    }

    @Test("the snapshot has names, seconds left and addresses")
    func snapshot() {
        let names = FakeNames()
        let resolver = resolver(names)
        settle(resolver, "b")
        settle(resolver, "missing")
        #expect(
            resolver.snapshot(now: 103 * second) == [
                ResolvedName(name: "b", ttlSeconds: 12, addresses: ["192.0.2.1", "2001:db8::1"]),
                ResolvedName(name: "missing", ttlSeconds: 2, addresses: []),
            ])
    }

    @Test("getaddrinfo knows localhost")
    func systemLookupOfLocalhost() throws {
        let addresses = try systemLookup("localhost").get().compactMap(addressText)
        #expect(!addresses.isEmpty)
        #expect(addresses.allSatisfy { $0 == "::1" || $0.hasPrefix("127.") })
    }

    @Test("text of an address that is cut short is nothing", arguments: 0..<16)
    func truncatedAddress(count: Int) {
        let ipv6 = Array((literalAddress("::1") ?? []).prefix(count))
        #expect(addressText(ipv6) == nil)
        #expect(withPort(ipv6, 1).count == count)
    }
}
