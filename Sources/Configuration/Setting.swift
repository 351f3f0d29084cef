// What one row of the settings table says about a setting, and how the row reads and writes its
// typed field in `Settings`.
//
// Everything that knows settings by name (the file, the console's SET and SHOW CONFIG,
// `weir --print-config`, Conf/weir.ini) goes through `Setting`; everything that uses settings
// reads the fields of `Settings`. The row's `SettingField` is the only bridge between the two.

/// The place of a setting's value in `Settings`.
typealias SettingPath<Value> = any WritableKeyPath<Settings, Value> & Sendable

/// How a setting's text becomes its typed field.
enum SettingField: Sendable {
    /// Any text, kept as written; empty means unset.
    case text(SettingPath<String>)
    /// A whole number within a range.
    case integer(SettingPath<Int>, ClosedRange<Int>)
    /// 0 or 1, or one of their words.
    case boolean(SettingPath<Bool>)
    /// A time, kept in microseconds; a bare number is in `unit`; a value below `minimum` is refused.
    case time(SettingPath<Int64>, unit: TimeUnit, minimumMicroseconds: Int64)
    /// Names between commas.
    case list(SettingPath<[String]>)
    /// One of a few words, by its index in `words`; the case of letters does not matter.
    case choice(
        words: [String], read: @Sendable (Settings) -> String, write: @Sendable (inout Settings, Int) -> Void)
    /// `auto` or a number of threads.
    case workers(SettingPath<WorkerCount>)
}

/// How far this version of Weir carries out what a setting asks for.
public enum SettingSupport: Sendable, Equatable {
    /// Fully built.
    case full
    /// Accepted with any valid value, because nothing in Weir needs it.
    case noEffect
    /// Known, but refused unless the value is the default or one of `accepted`.
    case refused(accepted: [String])
}

/// One setting of the main section: a row of the settings table.
public struct Setting: Sendable {
    /// The key as written in the file, as in `default_pool_size`.
    public let name: String
    /// Other keys with the same meaning.
    public let aliases: [String]
    /// The default, in the words of the file.
    public let defaultText: String
    /// The unit of a bare number ("seconds", "bytes"), or empty.
    public let unit: String
    /// Whether RELOAD and SET can change it while Weir runs.
    public let isReloadable: Bool
    /// Whether this version carries it out.
    public let support: SettingSupport
    /// One paragraph for people. Line breaks mean nothing.
    public let explanation: String
    let field: SettingField

    /// What kind of value is expected, for people: "whole number", "time", "one of a, b or c".
    public var typeDescription: String {
        switch field {
        case .text: "text"
        case .integer: "whole number"
        case .boolean: "0 or 1"
        case .time: "time"
        case .list: "list of names between commas"
        case .choice(let words, _, _): "one of " + joinedWithOr(words)
        case .workers: "auto or a whole number"
        }
    }

    /// The value in `settings` as SHOW CONFIG prints it: times as plain numbers of their unit, booleans as
    /// 0 or 1, numbers in decimal.
    public func text(in settings: Settings) -> String {
        switch field {
        case .text(let path): settings[keyPath: path]
        case .integer(let path, _): String(settings[keyPath: path])
        case .boolean(let path): settings[keyPath: path] ? "1" : "0"
        case .time(let path, let unit, _): formatTime(microseconds: settings[keyPath: path], unit: unit)
        case .list(let path): settings[keyPath: path].joined(separator: ",")
        case .choice(_, let read, _): read(settings)
        case .workers(let path): settings[keyPath: path].description
        }
    }

    /// Reads `text` into the field of `settings`; on an error `settings` is unchanged.
    public func assign(_ text: String, to settings: inout Settings) throws(SettingError) {
        var changed = settings
        do {
            try store(text, in: &changed)
        } catch {
            throw .invalid(key: name, expected: error.expected, found: text)
        }
        if case .refused(let accepted) = support {
            let value = self.text(in: changed)
            guard value == self.text(in: Settings.defaults) || accepted.contains(value) else {
                throw .notSupported(key: name, accepted: accepted.isEmpty ? [defaultText] : accepted)
            }
        }
        settings = changed
    }

    /// Parses `text` as this setting's type, without asking whether the feature is built.
    func store(_ text: String, in settings: inout Settings) throws(ValueError) {
        switch field {
        case .text(let path):
            settings[keyPath: path] = text
        case .integer(let path, let range):
            settings[keyPath: path] = try parseInteger(text, in: range)
        case .boolean(let path):
            settings[keyPath: path] = try parseBoolean(text)
        case .time(let path, let unit, let minimumMicroseconds):
            let microseconds = try parseTime(text, bareUnit: unit)
            guard microseconds >= minimumMicroseconds else { throw ValueError(expected: "a time greater than 0") }
            settings[keyPath: path] = microseconds
        case .list(let path):
            settings[keyPath: path] = parseList(text)
        case .choice(let words, _, let write):
            write(&settings, try parseChoice(text, of: words))
        case .workers(let path):
            settings[keyPath: path] = try parseWorkers(text)
        }
    }
}

extension Setting {
    private init(
        _ name: String, _ field: SettingField, default defaultText: String, unit: String, aliases: [String],
        fixed: Bool,
        support: SettingSupport, _ explanation: String
    ) {
        self.name = name
        self.field = field
        self.defaultText = defaultText
        self.unit = unit
        self.aliases = aliases
        self.isReloadable = !fixed
        self.support = support
        self.explanation = explanation
    }

    static func text(
        _ name: String, _ path: SettingPath<String>, default defaultText: String = "", fixed: Bool = false,
        support: SettingSupport = .full, aliases: [String] = [], _ explanation: String
    ) -> Setting {
        Setting(
            name, .text(path), default: defaultText, unit: "", aliases: aliases, fixed: fixed, support: support,
            explanation)
    }

    static func integer(
        _ name: String, _ path: SettingPath<Int>, default defaultText: String,
        in range: ClosedRange<Int> = 0...2_147_483_647,
        unit: String = "", aliases: [String] = [], fixed: Bool = false, support: SettingSupport = .full,
        _ explanation: String
    ) -> Setting {
        Setting(
            name, .integer(path, range), default: defaultText, unit: unit, aliases: aliases, fixed: fixed,
            support: support, explanation)
    }

    static func boolean(
        _ name: String, _ path: SettingPath<Bool>, default defaultText: String, fixed: Bool = false,
        support: SettingSupport = .full, _ explanation: String
    ) -> Setting {
        Setting(
            name, .boolean(path), default: defaultText, unit: "", aliases: [], fixed: fixed, support: support,
            explanation)
    }

    static func time(
        _ name: String, _ path: SettingPath<Int64>, default defaultText: String, unit: TimeUnit = .second,
        minimumMicroseconds: Int64 = 0, fixed: Bool = false, support: SettingSupport = .full, _ explanation: String
    ) -> Setting {
        Setting(
            name, .time(path, unit: unit, minimumMicroseconds: minimumMicroseconds), default: defaultText,
            unit: unit.plural, aliases: [], fixed: fixed, support: support, explanation)
    }

    static func list(
        _ name: String, _ path: SettingPath<[String]>, default defaultText: String = "", fixed: Bool = false,
        support: SettingSupport = .full, _ explanation: String
    ) -> Setting {
        Setting(
            name, .list(path), default: defaultText, unit: "", aliases: [], fixed: fixed, support: support, explanation)
    }

    static func choice<Value: RawRepresentable<String> & CaseIterable & Sendable>(
        _ name: String, _ path: SettingPath<Value>, default defaultText: String, fixed: Bool = false,
        support: SettingSupport = .full, _ explanation: String
    ) -> Setting {
        let values = Array(Value.allCases)
        let field = SettingField.choice(
            words: values.map(\.rawValue),
            read: { $0[keyPath: path].rawValue },
            write: { settings, index in settings[keyPath: path] = values[index] })
        return Setting(
            name, field, default: defaultText, unit: "", aliases: [], fixed: fixed, support: support, explanation)
    }

    static func workers(
        _ name: String, _ path: SettingPath<WorkerCount>, default defaultText: String, _ explanation: String
    ) -> Setting {
        Setting(
            name, .workers(path), default: defaultText, unit: "threads", aliases: [], fixed: true, support: .full,
            explanation)
    }
}
