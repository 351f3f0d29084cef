// The log: whole lines, written by a thread of its own, so that a full pipe or a slow disk stalls no event loop.
//
//   any thread: write ──▶ queue (at most 1 MiB) ──▶ writer thread ──▶ one write(2) a line: standard error, log file
//                           └─ full: the line is counted, and one line tells how many were dropped
//
// A line is `2026-01-31 12:00:00.000 UTC [4711] LOG text`. Control characters are escaped: what a client chose as its
// name cannot forge a line or move a terminal's cursor.
//
// The writer thread starts with the first line. A process that forks must do so before it logs anything.

import Glibc
import Synchronization

/// How important a line is. PgBouncer's levels: `verbose = 0` shows LOG and above, 1 also DEBUG, 2 also NOISE.
public enum LogLevel: Int, Comparable, CaseIterable, Sendable {
    /// Everything that moves.
    case noise
    /// What helps to find a fault.
    case debug
    /// What an operator reads: logins, closings, statistics.
    case log
    /// Something to look after.
    case warning
    /// Something that failed.
    case error
    /// What ends the process.
    case fatal

    /// `noise` is the least.
    public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }

    /// The level as it stands in a line.
    public var text: String {
        switch self {
        case .noise: "NOISE"
        case .debug: "DEBUG"
        case .log: "LOG"
        case .warning: "WARNING"
        case .error: "ERROR"
        case .fatal: "FATAL"
        }
    }

    /// The least level that is shown with this `verbose`.
    public init(verbose: Int) {
        self = verbose <= 0 ? .log : verbose == 1 ? .debug : .noise
    }
}

/// Where the log goes. Any thread may write to it.
public final class LogSink: Sendable {
    /// Bytes of waiting lines at most.
    public static var queueBytesMax: Int { 1_048_576 }
    /// The longest text of a line; also short enough that a pipe takes the line whole (PIPE_BUF).
    public static var textBytesMax: Int { 3_900 }

    private struct Queue: Sendable {
        var lines: [[UInt8]] = []
        var byteCount = 0
        var droppedCount: UInt64 = 0
        /// Lines ever queued and ever written: the log is flushed up to a line when it has been written.
        var queuedCount: UInt64 = 0
        var writtenCount: UInt64 = 0
        var flushers: [(line: UInt64, semaphore: CountingSemaphore)] = []
        var hasThread = false
        var isClosed = false
        var usesStandardError: Bool
        var logfilePath: String?
        var logfile: Int32 = -1
        /// Closed by the writer when it no longer uses them.
        var obsoleteLogfiles: [Int32] = []
    }

    private let queue: Locked<Queue>
    private let work = CountingSemaphore()
    private let threshold: Atomic<Int>
    private let standardError: Int32

    /// A log on standard error alone.
    ///
    /// - Parameters:
    ///   - level: the least level that is written.
    ///   - standardError: the descriptor for lines outside the log file.
    public init(level: LogLevel = .log, standardError: Int32 = STDERR_FILENO) {
        threshold = Atomic(level.rawValue)
        self.standardError = standardError
        queue = Locked(Queue(usesStandardError: true))
    }

    /// The least level that is written.
    public var level: LogLevel {
        get { LogLevel(rawValue: threshold.load(ordering: .relaxed)) ?? .log }
        set { threshold.store(newValue.rawValue, ordering: .relaxed) }
    }

    /// Whether lines of this level are written: asks no lock, so it may be asked on the data path.
    public func isEnabled(_ level: LogLevel) -> Bool { level.rawValue >= threshold.load(ordering: .relaxed) }

    /// Turns standard error on or off (`-q`).
    public func setStandardError(_ isUsed: Bool) { queue.withLock { $0.usesStandardError = isUsed } }

    /// Chooses the log file, nil for none; it is appended to. nil is success, else what went wrong, and the old
    /// destination stays.
    public func setLogfile(_ path: String?) -> String? {
        var file: Int32 = -1
        if let path {
            file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY, 0o640)
            guard file >= 0 else { return "could not open log file \"\(path)\": \(errnoText(errno))" }
        }
        queue.withLock { queue in
            if queue.logfile >= 0 { queue.obsoleteLogfiles.append(queue.logfile) }
            queue.logfile = file
            queue.logfilePath = path
        }
        work.signal()
        return nil
    }

    /// Opens the log file anew under its name, after logrotate has moved the old one away. Lines still waiting go to
    /// the new file. nil is success.
    public func reopen() -> String? {
        guard let path = queue.withLock({ $0.logfilePath }) else { return nil }
        return setLogfile(path)
    }

    /// Writes a line if its level is enabled; the text is not even made otherwise.
    public func write(_ level: LogLevel, _ text: @autoclosure () -> String) {
        guard isEnabled(level) else { return }
        enqueue(logLine(level, text()))
    }

    /// Waits until every line written so far is out, at most so long; for the end of the process. false: not all.
    @discardableResult
    public func flush(timeoutMicroseconds: Int64 = 1_000_000) -> Bool {
        let semaphore = CountingSemaphore()
        let isWaiting = queue.withLock { queue in
            guard queue.writtenCount < queue.queuedCount || queue.droppedCount > 0 else { return false }
            queue.flushers.append((queue.queuedCount, semaphore))
            return true
        }
        guard isWaiting else { return true }
        work.signal()
        return semaphore.wait(timeoutMicroseconds: timeoutMicroseconds)
    }

    /// Flushes and ends the writer thread. Later lines are dropped.
    public func close() {
        flush()
        queue.withLock { $0.isClosed = true }
        work.signal()
    }

    // MARK: - Queue

    private func enqueue(_ line: [UInt8]) {
        let (isSignalled, needsThread) = queue.withLock { queue in
            guard !queue.isClosed else { return (false, false) }
            guard queue.byteCount + line.count <= Self.queueBytesMax else {
                queue.droppedCount += 1
                return (false, false)
            }
            queue.lines.append(line)
            queue.byteCount += line.count
            queue.queuedCount += 1
            defer { queue.hasThread = true }
            return (queue.lines.count == 1, !queue.hasThread)
        }
        if needsThread, startThread(name: "log", { [self] in writeLines() }) != 0 {
            // Without a thread the line is written here: late is better than never.
            queue.withLock { $0.hasThread = false }
            _ = writeBatch()
            return
        }
        if isSignalled { work.signal() }
    }

    // MARK: - Writer thread

    private func writeLines() {
        while true {
            work.wait()
            if !writeBatch() { return }
        }
    }

    /// What the writer takes out of the queue at once.
    private struct Batch {
        var lines: [[UInt8]]
        /// Lines dropped after these had filled the queue.
        var droppedCount: UInt64
        var files: [Int32]
        var obsoleteLogfiles: [Int32]
    }

    /// Writes all lines that wait now; false when the log is closed.
    private func writeBatch() -> Bool {
        let batch = takeBatch()
        for file in batch.obsoleteLogfiles { Glibc.close(file) }
        var lines = batch.lines
        if batch.droppedCount > 0 {
            lines.append(
                logLine(
                    .warning, "\(batch.droppedCount) log lines were dropped: the log is not written fast enough"))
        }
        for line in lines {
            for file in batch.files { writeWhole(line, to: file) }
        }
        return finish(batch)
    }

    private func takeBatch() -> Batch {
        queue.withLock { queue in
            var files: [Int32] = queue.usesStandardError ? [standardError] : []
            if queue.logfile >= 0 { files.append(queue.logfile) }
            let batch = Batch(
                lines: queue.lines, droppedCount: queue.droppedCount, files: files,
                obsoleteLogfiles: queue.obsoleteLogfiles)
            queue.lines = []
            queue.droppedCount = 0
            queue.obsoleteLogfiles = []
            return batch
        }
    }

    /// The bytes of a batch count as waiting until now, so that what a blocked writer holds is within the bound too.
    private func finish(_ batch: Batch) -> Bool {
        let (flushed, hasMore, isClosed) = queue.withLock { queue in
            queue.byteCount -= batch.lines.reduce(0) { $0 + $1.count }
            queue.writtenCount += UInt64(batch.lines.count)
            let written = queue.droppedCount == 0 ? queue.writtenCount : 0
            let flushed = queue.flushers.filter { $0.line <= written }.map(\.semaphore)
            queue.flushers.removeAll { $0.line <= written }
            return (flushed, queue.droppedCount > 0, queue.isClosed)
        }
        for semaphore in flushed { semaphore.signal() }
        // Lines dropped while this batch was being written may have left none behind that would wake the thread.
        if hasMore { work.signal() }
        return !isClosed
    }

    deinit {
        let files = queue.withLock { $0.obsoleteLogfiles + ($0.logfile >= 0 ? [$0.logfile] : []) }
        for file in files { Glibc.close(file) }
    }
}

/// Writes all bytes, with one write(2) unless the kernel takes only a part. A destination that fails loses the line.
private func writeWhole(_ bytes: [UInt8], to file: Int32) {
    bytes.withUnsafeBytes { buffer in
        var offset = 0
        while offset < buffer.count {
            // SAFETY: 0 <= offset < buffer.count, and count - offset bytes lie behind it.
            let count = Glibc.write(file, buffer.baseAddress.map { $0 + offset }, buffer.count - offset)
            if count >= 0 {
                offset += count
            } else if errno == EAGAIN {
                // Somebody else made this pipe non-blocking; the thread may wait, the loops do not.
                var ready = pollfd(fd: file, events: Int16(POLLOUT), revents: 0)
                poll(&ready, 1, 1_000)
            } else if errno != EINTR {
                return
            }
        }
    }
}

/// The text of an errno.
private func errnoText(_ code: Int32) -> String {
    // SAFETY: strerror returns a text for every number.
    strerror(code).map { String(cString: $0) } ?? "error \(code)"
}
