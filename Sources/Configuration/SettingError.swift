// Why a setting could not be given a value. One type serves the file, SET and the command line, so that a
// wrong value is described in the same words wherever it was written.

/// Why a value was refused for a setting.
public enum SettingError: Error, Sendable, Equatable, CustomStringConvertible {
    /// No setting has this name.
    case unknown(key: String)
    /// The value is not of the setting's type or out of its range.
    case invalid(key: String, expected: String, found: String)
    /// The setting is known, but what the value asks for is not built; `accepted` are the values that are.
    case notSupported(key: String, accepted: [String])
    /// The setting can only be given in the file, and takes a restart.
    case notReloadable(key: String)

    /// The setting's name.
    public var key: String {
        switch self {
        case .unknown(let key), .invalid(let key, _, _), .notSupported(let key, _), .notReloadable(let key): key
        }
    }

    /// What is wrong, without the setting's name.
    public var message: String {
        switch self {
        case .unknown:
            return "unknown parameter"
        case .invalid(_, let expected, let found):
            return "expected \(expected), found \(quoted(found))"
        case .notSupported(_, let accepted):
            let words = accepted.map { $0.isEmpty ? "an empty value" : $0 }
            return "not supported by this version of Weir, only \(joinedWithOr(words)) is"
        case .notReloadable:
            return "cannot be changed while Weir runs: change it in the file and restart"
        }
    }

    /// The setting's name and what is wrong, in one line.
    public var description: String { "\(quotedIfOdd(key)): \(message)" }
}
