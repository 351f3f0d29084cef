// Deriving a SCRAM key costs thousands of hash rounds: a millisecond or more. During a login storm that would stall
// every other client of a worker, so it is done on a thread of its own, one job after another, and the result is
// kept: a user's secret is derived once, not once a login.

import Reactor
import Wire

/// Derives keys off the workers' loops.
final class HashingThread: Sendable {
    /// What the derived keys are for.
    struct Key: Hashable, Sendable {
        var user: String
        var password: String
        var salt: [UInt8]
        var iterations: Int
    }

    private struct State: Sendable {
        var jobs: [@Sendable () -> Void] = []
        var secrets: [String: (password: String, iterations: Int, secret: SCRAMSecret)] = [:]
        var keys: [Key: SCRAMKeys] = [:]
        var learnt: [String: SCRAMKeys] = [:]
    }

    /// How many results are kept of each kind; more, and the cache starts anew.
    private static var cachedMax: Int { 10_000 }

    private let state = Locked(State())
    private let semaphore = CountingSemaphore()

    /// Starts the thread; it runs until the process ends.
    func start() -> Bool {
        startThread(name: "weir-hashing") { [self] in
            while true {
                semaphore.wait()
                guard let job = state.withLock({ $0.jobs.isEmpty ? nil : $0.jobs.removeFirst() }) else { continue }
                job()
            }
        } == 0
    }

    private func enqueue(_ job: @escaping @Sendable () -> Void) {
        state.withLock { $0.jobs.append(job) }
        semaphore.signal()
    }

    /// The secret that proves a user who has a plain-text password, if it has been derived.
    func cachedSecret(user: String, password: String, iterations: Int) -> SCRAMSecret? {
        state.withLock { state in
            guard let found = state.secrets[user], found.password == password, found.iterations == iterations
            else { return nil }
            return found.secret
        }
    }

    /// Derives a user's secret, once for all who ask, and then calls `then`.
    ///
    /// - Parameter salt: must look like the salt of a user who does not exist, see `SCRAMSecret.mockSalt`.
    func deriveSecret(
        user: String, password: String, salt: [UInt8], iterations: Int, then: @escaping @Sendable (SCRAMSecret) -> Void
    ) {
        enqueue { [self] in
            if let found = cachedSecret(user: user, password: password, iterations: iterations) { return then(found) }
            let secret = SCRAMSecret.derive(password: password, salt: salt, iterations: iterations)
            state.withLock { state in
                if state.secrets.count >= Self.cachedMax { state.secrets = [:] }
                state.secrets[user] = (password, iterations, secret)
            }
            then(secret)
        }
    }

    /// The keys for a server's salt, if they have been derived.
    func cachedKeys(_ key: Key) -> SCRAMKeys? { state.withLock { $0.keys[key] } }

    /// Derives the keys for a server's salt and then calls `then`.
    func deriveKeys(_ key: Key, then: @escaping @Sendable (SCRAMKeys) -> Void) {
        enqueue { [self] in
            if let found = cachedKeys(key) { return then(found) }
            let keys = SCRAMKeys.derive(password: key.password, salt: key.salt, iterations: key.iterations)
            state.withLock { state in
                if state.keys.count >= Self.cachedMax { state.keys = [:] }
                state.keys[key] = keys
            }
            then(keys)
        }
    }

    /// Checks a plain password against a stored secret and then calls `then` with the keys, nil if it is wrong.
    func check(password: [UInt8], against secret: SCRAMSecret, then: @escaping @Sendable (SCRAMKeys?) -> Void) {
        enqueue { then(secret.keys(ifPassword: password)) }
    }

    /// Keeps the keys that a client's own login has proven, to log in to servers as that user.
    func learn(user: String, keys: SCRAMKeys) {
        state.withLock { state in
            if state.learnt.count >= Self.cachedMax { state.learnt = [:] }
            state.learnt[user] = keys
        }
    }

    /// The keys that a client of this name has proven to have.
    func learntKeys(user: String) -> SCRAMKeys? { state.withLock { $0.learnt[user] } }
}
