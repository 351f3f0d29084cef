// Why a server stays with its client between transactions: its session has something that cannot be taken along.

/// Kinds of session state that hold a server for its client.
public struct HoldReasons: OptionSet, Hashable, Sendable {
    public let rawValue: UInt16

    /// Reasons with these bits.
    public init(rawValue: UInt16) { self.rawValue = rawValue }

    /// Temporary tables, views, sequences or whatever else lies in pg_temp.
    public static var temporaryObjects: Self { Self(rawValue: 1 << 0) }
    /// Session-level advisory locks.
    public static var advisoryLocks: Self { Self(rawValue: 1 << 1) }
    /// Cursors WITH HOLD.
    public static var heldCursors: Self { Self(rawValue: 1 << 2) }
    /// Statements of the SQL command PREPARE.
    public static var preparedStatements: Self { Self(rawValue: 1 << 3) }
    /// The state of the random generator after setseed.
    public static var randomSeed: Self { Self(rawValue: 1 << 4) }
    /// A library that LOAD brought in.
    public static var library: Self { Self(rawValue: 1 << 5) }
    /// Settings that cannot be read back: their names are computed, or they are too many or too long.
    public static var settings: Self { Self(rawValue: 1 << 6) }

    /// The reasons of which the server can be asked whether they are still there.
    public static var provable: Self { [.temporaryObjects, .advisoryLocks, .heldCursors, .preparedStatements] }

    private static let names: [(Self, String)] = [
        (.temporaryObjects, "temporary objects"), (.advisoryLocks, "advisory locks"),
        (.heldCursors, "cursors with hold"), (.preparedStatements, "PREPARE"), (.randomSeed, "setseed"),
        (.library, "LOAD"), (.settings, "settings"),
    ]

    /// The reasons as the console and messages name them, with commas.
    public var text: String {
        Self.names.filter { contains($0.0) }.map(\.1).joined(separator: ", ")
    }
}
