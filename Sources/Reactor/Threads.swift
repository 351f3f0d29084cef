// The two things that helper threads need and Swift's library does not offer: to be started without Foundation, and to
// wait for work. The event loops do not wait here: they wait in the kernel for events, and a mailbox wakes them.

import Glibc

/// Starts a detached thread with all signals blocked, so that signals are delivered where they are expected.
///
/// - Parameters:
///   - name: shown by `ps -L` and `top -H`; the kernel keeps 15 bytes.
///   - body: what the thread does.
/// - Returns: 0, or the errno of pthread_create.
public func startThread(name: String, _ body: @escaping @Sendable () -> Void) -> Int32 {
    var all = sigset_t()
    var previous = sigset_t()
    sigfillset(&all)
    // The new thread inherits the mask, so it never runs with any signal unblocked.
    pthread_sigmask(SIG_BLOCK, &all, &previous)
    defer { pthread_sigmask(SIG_SETMASK, &previous, nil) }
    let start = Unmanaged.passRetained(ThreadStart(name: name, body: body))
    var thread = pthread_t()
    // SAFETY: the argument is the retained `start`; the thread takes over that one reference.
    let result = pthread_create(
        &thread, nil,
        { argument in
            guard let argument else { return nil }
            let start = Unmanaged<ThreadStart>.fromOpaque(argument).takeRetainedValue()
            nameThisThread(start.name)
            start.body()
            return nil
        }, start.toOpaque())
    if result == 0 {
        pthread_detach(thread)
    } else {
        start.release()
    }
    return result
}

/// pthread_setname_np is a GNU extension that Swift's Glibc module leaves out; this file is what it writes to.
private func nameThisThread(_ name: String) {
    let file = open("/proc/thread-self/comm", O_WRONLY | O_CLOEXEC)
    guard file >= 0 else { return }
    let bytes = Array(name.utf8.prefix(15))
    _ = write(file, bytes, bytes.count)
    close(file)
}

private final class ThreadStart {
    let name: String
    let body: @Sendable () -> Void

    init(name: String, body: @escaping @Sendable () -> Void) {
        self.name = name
        self.body = body
    }
}

/// A counting semaphore between threads.
public final class CountingSemaphore: Sendable {
    // SAFETY: allocated and initialised in `init`, freed in `deinit`; the sem_ functions may be called by any thread.
    private nonisolated(unsafe) let semaphore: UnsafeMutablePointer<sem_t>

    /// A semaphore that nobody has signalled.
    public init() {
        semaphore = .allocate(capacity: 1)
        precondition(sem_init(semaphore, 0, 0) == 0, "sem_init refuses only wrong arguments")
    }

    deinit {
        sem_destroy(semaphore)
        semaphore.deallocate()
    }

    /// Lets one waiting thread, now or later, go on.
    public func signal() { sem_post(semaphore) }

    /// Waits for a signal.
    public func wait() {
        while sem_wait(semaphore) != 0 && errno == EINTR {}
    }

    /// Waits for a signal, at most so long; false when none came.
    public func wait(timeoutMicroseconds: Int64) -> Bool {
        var deadline = timespec()
        clock_gettime(CLOCK_REALTIME, &deadline)
        let nanoseconds = Int64(deadline.tv_nsec) + max(0, timeoutMicroseconds) % 1_000_000 * 1_000
        deadline.tv_sec += Int(max(0, timeoutMicroseconds) / 1_000_000 + nanoseconds / 1_000_000_000)
        deadline.tv_nsec = Int(nanoseconds % 1_000_000_000)
        while sem_timedwait(semaphore, &deadline) != 0 {
            if errno != EINTR { return false }
        }
        return true
    }
}

/// CLOCK_MONOTONIC in microseconds.
public func readMonotonicMicroseconds() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000
}
