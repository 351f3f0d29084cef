// One line of the log as bytes: time, process, level and a text that is safe to print.

import Glibc

/// `2026-01-31 12:00:00.000 UTC [4711] LOG text` and a line feed, for this moment and process.
func logLine(_ level: LogLevel, _ text: String) -> [UInt8] {
    var now = timespec()
    clock_gettime(CLOCK_REALTIME, &now)
    return logLine(
        level, text, unixMicroseconds: Int64(now.tv_sec) * 1_000_000 + Int64(now.tv_nsec) / 1_000, processID: getpid())
}

/// The same for a given moment and process.
func logLine(_ level: LogLevel, _ text: String, unixMicroseconds: Int64, processID: Int32) -> [UInt8] {
    var seconds = time_t(unixMicroseconds / 1_000_000)
    var calendar = tm()
    gmtime_r(&seconds, &calendar)
    let date = [Int(calendar.tm_year) + 1900, Int(calendar.tm_mon) + 1, Int(calendar.tm_mday)]
    let clock = [Int(calendar.tm_hour), Int(calendar.tm_min), Int(calendar.tm_sec)]
    let milliseconds = Int(unixMicroseconds / 1_000 % 1_000)
    var line: [UInt8] = []
    line.reserveCapacity(64 + text.utf8.count)
    append(date, separator: "-", to: &line)
    line.append(UInt8(ascii: " "))
    append(clock, separator: ":", to: &line)
    line += ".".utf8
    append(milliseconds, digits: 3, to: &line)
    line += " UTC [\(processID)] \(level.text) ".utf8
    appendSanitised(text, to: &line)
    line.append(UInt8(ascii: "\n"))
    return line
}

private func append(_ numbers: [Int], separator: Character, to line: inout [UInt8]) {
    for (index, number) in numbers.enumerated() {
        if index > 0 { line += String(separator).utf8 }
        append(number, digits: 2, to: &line)
    }
}

private func append(_ number: Int, digits: Int, to line: inout [UInt8]) {
    let text = String(number)
    for _ in 0..<max(0, digits - text.utf8.count) { line.append(UInt8(ascii: "0")) }
    line += text.utf8
}

/// Appends the text with control characters (also those of U+0080–U+009F, and the separators U+2028 and U+2029)
/// escaped, cut at `LogSink.textBytesMax`.
private func appendSanitised(_ text: String, to line: inout [UInt8]) {
    let start = line.count
    for scalar in text.unicodeScalars {
        guard line.count - start < LogSink.textBytesMax else {
            line += "…".utf8
            return
        }
        switch scalar.value {
        case 0x0A: line += "\\n".utf8
        case 0x0D: line += "\\r".utf8
        case 0x09: line += "\\t".utf8
        case 0..<0x20, 0x7F...0x9F: line += "\\x\(hexadecimal(scalar.value, digits: 2))".utf8
        case 0x2028, 0x2029: line += "\\u\(hexadecimal(scalar.value, digits: 4))".utf8
        default: line += UTF8.encode(scalar).map(Array.init) ?? []
        }
    }
}

private func hexadecimal(_ value: UInt32, digits: Int) -> String {
    let text = String(value, radix: 16)
    return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
}
