// How another thread makes a sleeping event loop look up: an eventfd, and a flag so that a hundred
// signals between two turns cost one system call and one event.

import CLinux
import Synchronization

/// Wakes one event loop. May be used from any thread, and may outlive its loop.
public final class Wakeup: Sendable {
    let fd: Int32
    private let isSignalled = Atomic<Bool>(false)

    init() throws(ReactorError) {
        let result = linux_eventfd()
        guard result >= 0 else { throw .systemCall(name: "eventfd", errno: -result) }
        fd = result
    }

    deinit { _ = linux_close(fd) }

    /// Makes the loop return from `wait` and yield one `woken` event. What this thread wrote before is
    /// visible to the loop's thread when that event comes.
    public func signal() {
        guard !isSignalled.exchange(true, ordering: .acquiringAndReleasing) else { return }
        _ = linux_eventfd_signal(fd)
    }

    /// Called by the loop when the eventfd has been read: from here on a signal is a new one.
    func acknowledge() {
        _ = isSignalled.exchange(false, ordering: .acquiringAndReleasing)
    }
}
