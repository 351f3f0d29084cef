// What is wrong with a configuration: one line for each mistake, each with its file, line and key, and all of
// them at once, so that a person repairs a file in one go.

/// One mistake.
public struct ConfigurationError: Error, Sendable, Equatable, CustomStringConvertible {
    /// The file, as it was named; empty where there is none (an address on the command line).
    public let file: String
    /// The line in it from 1, or 0 if the mistake is in no particular line.
    public let line: Int
    /// The setting, database or user; for an option of one, both (`mydb: port`). Empty if the line has none.
    public let key: String
    /// What is wrong and what was expected.
    public let message: String

    /// Describes a mistake.
    public init(file: String, line: Int, key: String, message: String) {
        self.file = file
        self.line = line
        self.key = key
        self.message = message
    }

    /// The mistake in one line, as in `weir.ini:12: default_pool_size: expected a whole number, found "10x"`.
    public var description: String {
        var parts: [String] = []
        if !file.isEmpty { parts.append(line > 0 ? "\(file):\(line)" : file) }
        if !key.isEmpty { parts.append(key) }
        return (parts + [message]).joined(separator: ": ")
    }
}

/// Every mistake of a configuration: those of single lines in their order, then those that only the whole shows.
public struct ConfigurationErrors: Error, Sendable, Equatable, CustomStringConvertible {
    /// The mistakes; at least one.
    public let errors: [ConfigurationError]

    /// Collects mistakes.
    public init(_ errors: [ConfigurationError]) { self.errors = errors }

    /// One line for each.
    public var description: String { errors.map(\.description).joined(separator: "\n") }
}

/// Why a file could not be read, in the system's words ("No such file or directory").
public struct FileError: Error, Sendable, Equatable {
    /// The reason.
    public let reason: String

    /// Wraps a reason.
    public init(reason: String) { self.reason = reason }
}
