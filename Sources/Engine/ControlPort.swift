// The control thread's inbox: signals and what the console asks of the whole process.

import Console
import Reactor

/// What the control thread is asked to do.
enum ControlRequest: Sendable {
    case signal(Int32)
    case reload(CellAddress?)
    case set(key: String, value: String, CellAddress)
    case shutdown(ShutdownMode)
    /// A worker has nothing left that a graceful shutdown waits for.
    case drained(worker: Int)
    /// A worker has closed everything and its loop has ended.
    case ended(worker: Int)
    /// A worker could not start.
    case failed(worker: Int, String)
    /// A worker's loop runs.
    case started(worker: Int, backend: String, fallback: String?)
}

/// A queue with one reader.
final class ControlPort: Sendable {
    private let queue = Locked<[ControlRequest]>([])
    private let semaphore = CountingSemaphore()

    func post(_ request: ControlRequest) {
        queue.withLock { $0.append(request) }
        semaphore.signal()
    }

    /// Waits for the next request, at most so long.
    func next(timeoutMicroseconds: Int64) -> ControlRequest? {
        guard semaphore.wait(timeoutMicroseconds: timeoutMicroseconds) else { return nil }
        return queue.withLock { $0.isEmpty ? nil : $0.removeFirst() }
    }
}
