// A value and the lock that guards it, for what is shared between threads off the data path.
//
// Synchronization.Mutex would do, but on Linux a contended one is handed over inside the kernel (a PI futex), where
// ThreadSanitizer cannot see it: every contended use is reported as a race. pthread_mutex is seen, so the sanitizer's
// run proves something.

import Glibc

/// A value that is touched only under its lock.
public final class Locked<Value: Sendable>: @unchecked Sendable {
    // SAFETY: allocated and initialised in `init`, freed in `deinit`; pthread_mutex functions may be called by any
    // thread. `value` is read and written between lock and unlock only, which makes the class Sendable.
    private let mutex: UnsafeMutablePointer<pthread_mutex_t>
    private var value: Value

    /// A guarded value.
    public init(_ value: Value) {
        self.value = value
        mutex = .allocate(capacity: 1)
        precondition(pthread_mutex_init(mutex, nil) == 0, "a default mutex needs no resources")
    }

    deinit {
        pthread_mutex_destroy(mutex)
        mutex.deallocate()
    }

    /// Runs `body` with the value, while no other thread has it. `body` must not come back to the same lock.
    public func withLock<Result>(_ body: (inout Value) -> Result) -> Result {
        pthread_mutex_lock(mutex)
        defer { pthread_mutex_unlock(mutex) }
        return body(&value)
    }
}
