// Text to numbers, times, booleans, lists, and back.
//
// Parsing is strict: the whole text must be the value, nothing may overflow, and every refusal says what
// would have been accepted. Whole numbers follow C's strtol with base 0 (0x1f, 0777), since the files that
// people already have were read that way; times are seconds unless a unit follows.

/// A text that is not a value of the wanted type.
struct ValueError: Error, Equatable {
    /// What would have been accepted, as in "a whole number".
    let expected: String
}

/// The unit of a time, as it may follow the number.
public enum TimeUnit: String, CaseIterable, Sendable {
    /// One millionth of a second.
    case microsecond = "us"
    /// One thousandth of a second.
    case millisecond = "ms"
    /// The unit of most bare numbers.
    case second = "s"
    /// 60 seconds.
    case minute = "min"
    /// 60 minutes.
    case hour = "h"
    /// 24 hours.
    case day = "d"

    /// How many microseconds one of it is.
    public var microseconds: Int64 {
        switch self {
        case .microsecond: 1
        case .millisecond: 1_000
        case .second: 1_000_000
        case .minute: 60_000_000
        case .hour: 3_600_000_000
        case .day: 86_400_000_000
        }
    }

    /// Its name for people.
    var plural: String {
        switch self {
        case .microsecond: "microseconds"
        case .millisecond: "milliseconds"
        case .second: "seconds"
        case .minute: "minutes"
        case .hour: "hours"
        case .day: "days"
        }
    }
}

/// The longest time that a setting can have: 100 years, so that sums with a clock cannot overflow.
let timeMicrosecondsMax: Int64 = 36_500 * 86_400_000_000

/// Reads a whole number, decimal, 0x… or 0…, that must lie in `range`.
func parseInteger(_ text: String, in range: ClosedRange<Int>) throws(ValueError) -> Int {
    var digits = trimmed(Substring(text).utf8)
    let isNegative = digits.first == UInt8(ascii: "-")
    if isNegative || digits.first == UInt8(ascii: "+") { digits = digits.dropFirst() }
    var radix = 10
    if digits.first == UInt8(ascii: "0"), digits.count > 1 {
        digits = digits.dropFirst()
        radix = 8
        if digits.first == UInt8(ascii: "x") || digits.first == UInt8(ascii: "X") {
            digits = digits.dropFirst()
            radix = 16
        }
    }
    guard !digits.isEmpty, digits.allSatisfy({ digitValue($0, radix: radix) != nil }) else {
        throw ValueError(expected: "a whole number")
    }
    let outside = ValueError(expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
    guard let magnitude = Int(Substring(digits), radix: radix) else { throw outside }
    let value = isNegative ? -magnitude : magnitude
    guard range.contains(value) else { throw outside }
    return value
}

/// Reads 0 or 1, or a word for it.
func parseBoolean(_ text: String) throws(ValueError) -> Bool {
    switch text.trimmedBlanks.lowercasedASCII {
    case "1", "true", "yes", "on": return true
    case "0", "false", "no", "off": return false
    default: throw ValueError(expected: "0 or 1")
    }
}

/// Reads a time such as `30`, `1.5`, `500ms` or `5 min` in microseconds; digits beyond the sixth decimal are dropped.
func parseTime(_ text: String, bareUnit: TimeUnit) throws(ValueError) -> Int64 {
    let expected = ValueError(expected: "a time such as 30, 1.5, 500ms or 5min")
    var rest = trimmed(Substring(text).utf8)
    if rest.first == UInt8(ascii: "+") { rest = rest.dropFirst() }
    let whole = rest.prefix(while: isDecimalDigit)
    rest = rest.dropFirst(whole.count)
    var fraction = rest.prefix(0)
    if rest.first == UInt8(ascii: ".") {
        rest = rest.dropFirst()
        fraction = rest.prefix(while: isDecimalDigit)
        rest = rest.dropFirst(fraction.count)
    }
    guard !whole.isEmpty || !fraction.isEmpty else { throw expected }
    let unitText = String(decoding: trimmed(rest), as: UTF8.self)
    guard let unit = unitText.isEmpty ? bareUnit : TimeUnit(rawValue: unitText) else { throw expected }

    let tooLong = ValueError(expected: "a time of at most 36500 days")
    guard let wholeUnits = whole.isEmpty ? 0 : Int64(Substring(whole)) else { throw tooLong }
    let (wholeMicroseconds, overflow) = wholeUnits.multipliedReportingOverflow(by: unit.microseconds)
    guard !overflow, wholeMicroseconds <= timeMicrosecondsMax else { throw tooLong }
    var millionths: Int64 = 0
    for index in 0..<6 {
        let digit = fraction.dropFirst(index).first.map { Int64($0 - UInt8(ascii: "0")) } ?? 0
        millionths = millionths * 10 + digit
    }
    let microseconds = wholeMicroseconds + millionths * unit.microseconds / 1_000_000
    guard microseconds <= timeMicrosecondsMax else { throw tooLong }
    return microseconds
}

/// The index in `words` of the word that `text` is, whatever the case of its letters.
func parseChoice(_ text: String, of words: [String]) throws(ValueError) -> Int {
    let word = text.trimmedBlanks.lowercasedASCII
    guard let index = words.firstIndex(of: word) else { throw ValueError(expected: joinedWithOr(words)) }
    return index
}

/// Reads `auto` or a number of threads from 1 to 256.
func parseWorkers(_ text: String) throws(ValueError) -> WorkerCount {
    if text.trimmedBlanks.lowercasedASCII == "auto" { return .auto }
    do {
        return .count(try parseInteger(text, in: 1...256))
    } catch {
        throw ValueError(expected: "auto or a whole number from 1 to 256")
    }
}

/// The names between commas, without blanks around them; empty ones are dropped.
func parseList(_ text: String) -> [String] {
    text.utf8.split(separator: UInt8(ascii: ",")).compactMap { item in
        let name = String(decoding: trimmed(item), as: UTF8.self)
        return name.isEmpty ? nil : name
    }
}

/// A time as a plain number of `unit`, with as many decimals as it needs (at most six).
func formatTime(microseconds: Int64, unit: TimeUnit) -> String {
    let whole = microseconds / unit.microseconds
    let remainder = microseconds % unit.microseconds
    guard remainder > 0 else { return String(whole) }
    var decimals = String(remainder * 1_000_000 / unit.microseconds + 1_000_000).dropFirst()
    while decimals.last == "0" { decimals = decimals.dropLast() }
    return decimals.isEmpty ? String(whole) : "\(whole).\(decimals)"
}
