// Numbers, times and booleans: what is accepted and what is refused.

import Testing

@testable import Configuration

@Suite struct ValueParsingTests {
    @Test(
        "a whole number is decimal, hexadecimal or octal, as strtol with base 0 reads it",
        arguments: [
            ("0", 0), ("10", 10), (" 10 ", 10), ("+7", 7), ("-7", -7), ("0x1F", 31), ("0777", 511), ("00", 0),
            ("2147483647", 2_147_483_647),
        ])
    func goodIntegers(text: String, value: Int) throws {
        #expect(try parseInteger(text, in: -2_147_483_648...2_147_483_647) == value)
    }

    @Test(
        "junk is not a whole number",
        arguments: ["", " ", "10x", "x", "1.5", "1 2", "0x", "08", "0xg", "--1", "+-1", "+", "１０", "1e3", "\0"])
    func badIntegers(text: String) {
        #expect(throws: ValueError(expected: "a whole number")) { try parseInteger(text, in: 0...100) }
    }

    @Test(
        "a whole number outside the range names the range, however large",
        arguments: ["101", "-1", "99999999999999999999999999", "-99999999999999999999999999", "0xffffffffffffffffff"])
    func integersOutOfRange(text: String) {
        #expect(throws: ValueError(expected: "a whole number from 0 to 100")) { try parseInteger(text, in: 0...100) }
    }

    @Test(
        "a boolean is 0 or 1, or a word for it",
        arguments: [
            ("0", false), ("1", true), ("TRUE", true), ("yes", true), ("On", true), ("false", false), ("no", false),
            (" off ", false),
        ])
    func goodBooleans(text: String, value: Bool) throws { #expect(try parseBoolean(text) == value) }

    @Test("anything else is no boolean", arguments: ["", "2", "-1", "maybe", "01", "t"])
    func badBooleans(text: String) { #expect(throws: ValueError.self) { try parseBoolean(text) } }

    @Test(
        "a time is a number with or without a unit",
        arguments: [
            ("0", 0), ("15", 15_000_000), ("1.5", 1_500_000), (".5", 500_000), ("2.", 2_000_000), ("+1", 1_000_000),
            ("500ms", 500_000), ("500 ms", 500_000), ("7us", 7), ("1.5us", 1), ("5min", 300_000_000),
            ("0.5h", 1_800_000_000), ("1d", 86_400_000_000), ("3s", 3_000_000), ("0.0000019", 1),
            ("36500d", 36_500 * 86_400_000_000),
        ] as [(String, Int64)])
    func goodTimes(text: String, microseconds: Int64) throws {
        #expect(try parseTime(text, bareUnit: .second) == microseconds)
    }

    @Test(
        "junk is not a time", arguments: ["", ".", "s", "10x", "-1", "1 2", "5m", "5S", "1e3", "nan", "inf", "0x10"])
    func badTimes(text: String) {
        #expect(throws: ValueError(expected: "a time such as 30, 1.5, 500ms or 5min")) {
            try parseTime(text, bareUnit: .second)
        }
    }

    @Test(
        "a time beyond 100 years is refused", arguments: ["36500.1d", "99999999999999999999", "9223372036854775807d"])
    func longTimes(text: String) {
        #expect(throws: ValueError(expected: "a time of at most 36500 days")) {
            try parseTime(text, bareUnit: .second)
        }
    }

    @Test(
        "a time is printed as a plain number of its unit",
        arguments: [
            (0, "0"), (15_000_000, "15"), (1_500_000, "1.5"), (7, "0.000007"), (1_050_000, "1.05"),
            (86_400_000_001, "86400.000001"),
        ] as [(Int64, String)])
    func formattedTimes(microseconds: Int64, text: String) throws {
        #expect(formatTime(microseconds: microseconds, unit: .second) == text)
        #expect(try parseTime(text, bareUnit: .second) == microseconds)
    }

    @Test(
        "a list is names between commas",
        arguments: [
            ("", []), ("a", ["a"]), (" a , b,c ", ["a", "b", "c"]), (",a,,", ["a"]), ("a b", ["a b"]),
        ] as [(String, [String])])
    func lists(text: String, names: [String]) { #expect(parseList(text) == names) }

    @Test(
        "a value is quoted for a message without control characters and not at any length",
        arguments: [
            ("10x", "\"10x\""), ("a\"b\\", "\"a\\\"b\\\\\""), ("a\nb\u{1b}", "\"a\\nb\\u{1b}\""),
            (String(repeating: "x", count: 70), "\"" + String(repeating: "x", count: 64) + "…\""),
        ])
    func quoting(text: String, expected: String) { #expect(quoted(text) == expected) }
}
