// Values of connection strings' keys: the types of the settings table, with the extra rule that a negative size
// and a limit of 0 or less mean "not given", so that existing files which say -1 or 0 keep their meaning.

/// A key's value on its way to a typed option.
struct OptionValue {
    private let key: String
    private let value: String

    init(_ key: String, _ value: String) {
        self.key = key
        self.value = value
    }

    /// A whole number in a range.
    func integer(in range: ClosedRange<Int>) throws(OptionError) -> Int {
        do { return try parseInteger(value, in: range) } catch { throw refused(error) }
    }

    /// A whole number, nil if negative.
    func size() throws(OptionError) -> Int? {
        let number = try integer(in: -2_147_483_648...2_147_483_647)
        return number >= 0 ? number : nil
    }

    /// A whole number, nil unless above 0.
    func limit() throws(OptionError) -> Int? {
        let number = try integer(in: -2_147_483_648...2_147_483_647)
        return number > 0 ? number : nil
    }

    /// A time in microseconds, nil if negative.
    func time() throws(OptionError) -> Int64? {
        if value.hasPrefix("-"), (try? parseInteger(value, in: -2_147_483_648 ... -1)) != nil { return nil }
        do { return try parseTime(value, bareUnit: .second) } catch { throw refused(error) }
    }

    /// A time in microseconds, nil unless above 0.
    func timeAboveZero() throws(OptionError) -> Int64? {
        try time().flatMap { $0 > 0 ? $0 : nil }
    }

    /// One of an enum's words.
    func choice<Choice: RawRepresentable<String> & CaseIterable>() throws(OptionError) -> Choice {
        let choices = Array(Choice.allCases)
        do { return choices[try parseChoice(value, of: choices.map(\.rawValue))] } catch { throw refused(error) }
    }

    /// Hosts between commas.
    func hosts() throws(OptionError) -> [HostAddress] {
        let names = value.utf8.split(separator: UInt8(ascii: ","), omittingEmptySubsequences: false)
            .map { String(decoding: trimmed($0), as: UTF8.self) }
        guard names.allSatisfy({ !$0.isEmpty && $0 != "[]" }) else {
            throw refused(ValueError(expected: "hosts between commas"))
        }
        return names.map(HostAddress.init)
    }

    private func refused(_ error: ValueError) -> OptionError {
        OptionError(key: key, message: "expected \(error.expected), found \(quoted(value))")
    }
}
