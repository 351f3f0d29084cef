// The log: its lines, its destinations, and that a blocked one stalls nobody.

import Glibc
import Testing

@testable import Reactor

/// A pipe that stands for standard error.
private final class Pipe {
    let readEnd: Int32
    let writeEnd: Int32
    private var isWriteEndOpen = true

    init() {
        var ends: [Int32] = [-1, -1]
        precondition(pipe(&ends) == 0)
        (readEnd, writeEnd) = (ends[0], ends[1])
    }

    deinit {
        closeWriteEnd()
        close(readEnd)
    }

    func closeWriteEnd() {
        if isWriteEndOpen { close(writeEnd) }
        isWriteEndOpen = false
    }

    /// Reads what is there, until `isEnough` or the end.
    func read(until isEnough: ([UInt8]) -> Bool = { _ in false }) -> [UInt8] {
        var bytes: [UInt8] = []
        var chunk = [UInt8](repeating: 0, count: 65_536)
        while !isEnough(bytes) {
            let count = Glibc.read(readEnd, &chunk, chunk.count)
            guard count > 0 else { return bytes }
            bytes += chunk.prefix(count)
        }
        return bytes
    }
}

private func lines(_ bytes: [UInt8]) -> [String] {
    String(decoding: bytes, as: UTF8.self).split(separator: "\n").map { String($0) }
}

/// The sum of what the lines say was dropped.
private func droppedCount(_ lines: [String]) -> Int {
    lines.filter { $0.contains(" log lines were dropped") }
        .compactMap { line in line.split(separator: " ").compactMap { Int($0) }.last }.reduce(0, +)
}

/// What a fresh sink has written after `body`.
private func written(level: LogLevel = .log, _ body: (LogSink) -> Void) -> [String] {
    let pipe = Pipe()
    let sink = LogSink(level: level, standardError: pipe.writeEnd)
    body(sink)
    #expect(sink.flush(timeoutMicroseconds: 30_000_000))
    sink.close()
    pipe.closeWriteEnd()
    return lines(pipe.read())
}

private func fileLines(_ path: String) -> [String] {
    let file = open(path, O_RDONLY)
    guard file >= 0 else { return [] }
    defer { close(file) }
    var bytes = [UInt8](repeating: 0, count: 65_536)
    let count = read(file, &bytes, bytes.count)
    return lines(Array(bytes.prefix(max(0, count))))
}

private func makeFolder() -> String {
    var template = "/tmp/weir-log-XXXXXX".utf8CString.map { $0 }
    precondition(mkdtemp(&template) != nil)
    return String(decoding: template.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}

@Suite struct LogSinkTests {
    @Test("a line has time, process, level and text")
    func lineForm() {
        let line = logLine(.warning, "pool is full", unixMicroseconds: 1_764_220_683_045_999, processID: 4711)
        #expect(line == Array("2025-11-27 05:18:03.045 UTC [4711] WARNING pool is full\n".utf8))
    }

    @Test(
        "control characters are escaped",
        arguments: [
            ("a\nb\rc\td", "a\\nb\\rc\\td"), ("\u{0}\u{1B}[2J\u{7F}", "\\x00\\x1b[2J\\x7f"),
            ("\u{85}\u{9B}1m", "\\x85\\x9b1m"), ("\u{2028}", "\\u2028"), ("grün \\n", "grün \\n"),
        ])
    func sanitised(text: String, expected: String) {
        let line = String(decoding: logLine(.log, text, unixMicroseconds: 0, processID: 1), as: UTF8.self)
        #expect(line == "1970-01-01 00:00:00.000 UTC [1] LOG \(expected)\n")
    }

    @Test("a text too long is cut at a character and fits a pipe's atomic write")
    func longText() {
        let line = logLine(.fatal, String(repeating: "é\n", count: 10_000), unixMicroseconds: 0, processID: Int32.max)
        #expect(line.count <= Int(PIPE_BUF))
        #expect(String(validating: line, as: UTF8.self)?.hasSuffix("…\n") == true)
    }

    @Test("lines below the level are not written and their texts not made")
    func levels() {
        var madeCount = 0
        func text(_ text: String) -> String {
            madeCount += 1
            return text
        }
        let lines = written { sink in
            sink.write(.debug, text("hidden"))
            sink.write(.log, text("first"))
            sink.level = LogLevel(verbose: 1)
            sink.write(.noise, text("hidden"))
            sink.write(.debug, text("second"))
            sink.level = .fatal
            sink.write(.error, text("hidden"))
            sink.write(.fatal, text("third"))
        }
        #expect(lines.map { $0.split(separator: "] ").last ?? "" } == ["LOG first", "DEBUG second", "FATAL third"])
        #expect(lines.allSatisfy { $0.contains(" UTC [\(getpid())] ") })
        #expect(madeCount == 3)
        #expect([0, 1, 2, 7].map { LogLevel(verbose: $0) } == [.log, .debug, .noise, .noise])
    }

    @Test("lines of several threads stay whole and in each thread's order")
    func manyWriters() {
        let lines = written { sink in
            let done = CountingSemaphore()
            for writer in 0..<4 {
                let result = startThread(name: "writer") {
                    for number in 0..<100 { sink.write(.log, "writer \(writer) number \(number)") }
                    done.signal()
                }
                #expect(result == 0)
            }
            for _ in 0..<4 { #expect(done.wait(timeoutMicroseconds: 30_000_000)) }
        }
        #expect(lines.count == 400)
        for writer in 0..<4 {
            let own = lines.filter { $0.contains("writer \(writer) ") }
            #expect(own.count == 100)
            #expect(own.enumerated().allSatisfy { $0.element.hasSuffix("number \($0.offset)") })
        }
    }

    @Test("a log file gets the same lines, and is opened anew after it was moved away")
    func logfile() {
        let folder = makeFolder()
        let path = "\(folder)/weir.log"
        let standardError = written { sink in
            #expect(sink.setLogfile(path) == nil)
            sink.write(.log, "before")
            #expect(sink.flush())
            #expect(rename(path, "\(path).1") == 0)
            sink.write(.log, "moved")
            #expect(sink.flush())
            #expect(sink.reopen() == nil)
            sink.setStandardError(false)
            sink.write(.log, "after")
        }
        #expect(fileLines("\(path).1").map { $0.split(separator: " ").last } == ["before", "moved"])
        #expect(fileLines(path).map { $0.split(separator: " ").last } == ["after"])
        #expect(standardError.map { $0.split(separator: " ").last } == ["before", "moved"])
        for name in [path, "\(path).1"] { unlink(name) }
        rmdir(folder)
    }

    @Test("a log file that cannot be opened is an error, and the old destination stays")
    func badLogfile() {
        let lines = written { sink in
            #expect(
                sink.setLogfile("/nonexistent/weir.log")
                    == "could not open log file \"/nonexistent/weir.log\": No such file or directory")
            sink.write(.log, "still here")
        }
        #expect(lines.count == 1)
    }

    @Test("a blocked reader stalls no writer; what does not fit the queue is counted and told")
    func blockedReader() {
        let pipe = Pipe()
        let sink = LogSink(standardError: pipe.writeEnd)
        let text = String(repeating: "x", count: 1_000)
        let lineCount = 3_000
        for _ in 0..<lineCount { sink.write(.log, text) }
        #expect(!sink.flush(timeoutMicroseconds: 1_000))
        // A writer that is quick at times may say more than once that it has dropped some.
        let bytes = pipe.read { bytes in
            guard bytes.last == UInt8(ascii: "\n") else { return false }
            let received = lines(bytes)
            return received.count { $0.hasSuffix(" LOG \(text)") } + droppedCount(received) == lineCount
        }
        let received = lines(bytes)
        let whole = received.count { $0.hasSuffix(" LOG \(text)") }
        #expect(droppedCount(received) > 0)
        #expect(received.allSatisfy { $0.hasSuffix(" LOG \(text)") || $0.hasSuffix(" not written fast enough") })
        // The pipe itself holds 64 KiB.
        #expect(whole * text.utf8.count <= 2 * LogSink.queueBytesMax + 65_536)
        sink.close()
    }

    @Test("a destination that is gone loses its lines and nothing else")
    func brokenDestination() {
        let sink = LogSink(standardError: -1)
        sink.write(.log, "lost")
        #expect(sink.flush(timeoutMicroseconds: 30_000_000))
        sink.close()
    }
}
