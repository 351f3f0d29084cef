// The settings of every session, interned.
//
// A client's settings (DateStyle, TimeZone, application_name, …) must follow it from server to server. Each
// client and each server carries the name of one set, and equal names mean equal settings: attaching a client
// to a server that already has its settings costs one integer comparison and nothing else. Only when the names
// differ is it worked out which settings to send.
//
// A set never changes once it exists; changing a setting means moving to another set. Sets are counted by
// their owners and vanish with the last one. The empty set always exists and is not counted.

/// The name of one set of session settings within one `ParameterSets`. Equal names mean equal settings.
public struct ParameterSetID: Hashable, Sendable {
    @usableFromInline let rawValue: UInt32

    @inlinable
    init(rawValue: UInt32) {
        self.rawValue = rawValue
    }
}

/// Interned, reference-counted sets of session settings.
public struct ParameterSets: ~Copyable {
    /// The most settings that one set may hold.
    public static var namesMax: Int { 64 }
    /// The longest name of a setting, as PostgreSQL's `NAMEDATALEN - 1`.
    public static var nameBytesMax: Int { 63 }
    /// The longest value of a setting.
    public static var valueBytesMax: Int { 1_024 }

    /// The set without any setting. It needs neither `retain` nor `release`.
    @inlinable
    public static var empty: ParameterSetID { ParameterSetID(rawValue: 0) }

    private struct Entry {
        var settings: Settings
        /// Zero means that the entry is free.
        var references: Int
        /// A hash of the settings on which depends what a statement means.
        var meaning: UInt64
    }

    /// The entry at index 0 is the empty set.
    private var entries = [Entry(settings: Settings(parameters: []), references: 1, meaning: 0)]
    private var freeEntries: [UInt32] = []
    private var identifiers: [Settings: UInt32] = [:]

    /// Creates the collection with nothing but the empty set in it.
    public init() {}

    /// How many sets exist besides the empty one.
    public var liveCount: Int { identifiers.count }

    /// The set that has all of `id`'s settings, and `value` for `name`. Consumes the caller's reference of `id`;
    /// the caller owns one reference of the result. What `accepts` refuses, and a name beyond the sixty-fourth,
    /// leaves the set as it is: `update` tells the two cases apart.
    ///
    /// Names are compared without regard to case. Complexity: O(names in the set).
    public mutating func set(_ id: ParameterSetID, name: String, value: String) -> ParameterSetID {
        var current = id
        _ = update(&current, name: name, value: value)
        return current
    }

    /// As `set`, with the caller's reference in place. False when the value cannot be held, so that the set no
    /// longer describes its session: the caller must then not rely on it to carry the session elsewhere.
    public mutating func update(_ id: inout ParameterSetID, name: String, value: String) -> Bool {
        guard Self.accepts(name: name, value: value) else { return false }
        let settings = settings(of: id)
        let position = settings.position(of: name)
        if let found = position.found {
            if settings.parameters[found].value.hasSameBytes(as: value) { return true }
        } else if settings.parameters.count == Self.namesMax {
            return false
        }
        var changed = settings.parameters
        if let found = position.found {
            changed[found].value = value
        } else {
            changed.insert(Parameter(name: serverSpelling(of: name), value: value), at: position.insertion)
        }
        let result = intern(Settings(parameters: changed))
        release(id)
        id = result
        return true
    }

    /// Whether a set can hold this name with this value: not empty, not too long, no NUL.
    public static func accepts(name: String, value: String) -> Bool {
        (1...nameBytesMax).contains(name.utf8.count) && value.utf8.count <= valueBytesMax
            && !name.utf8.contains(0) && !value.utf8.contains(0)
    }

    /// Adds an owner to a set.
    public mutating func retain(_ id: ParameterSetID) {
        precondition(isLive(id))
        if id != Self.empty { entries[Int(id.rawValue)].references += 1 }
    }

    /// Takes an owner from a set; the last one takes the set with it.
    public mutating func release(_ id: ParameterSetID) {
        precondition(isLive(id))
        if id == Self.empty { return }
        let index = Int(id.rawValue)
        entries[index].references -= 1
        if entries[index].references > 0 { return }
        identifiers[entries[index].settings] = nil
        entries[index].settings = Settings(parameters: [])
        freeEntries.append(id.rawValue)
    }

    /// The value of a setting, or nil when the set lacks it. Complexity: O(log names).
    public func value(_ id: ParameterSetID, _ name: String) -> String? {
        let settings = settings(of: id)
        return settings.position(of: name).found.map { settings.parameters[$0].value }
    }

    /// Calls `body` for each setting, in the order of the names.
    public func forEach(_ id: ParameterSetID, _ body: (_ name: String, _ value: String) -> Void) {
        for parameter in settings(of: id).parameters { body(parameter.name, parameter.value) }
    }

    /// The settings that must be sent to a server that has the set `server` before a client that has the set
    /// `client` may use it: those that the server has otherwise or lacks. What the client's set does not name is
    /// left alone. Complexity: O(names of both).
    public func difference(
        from server: ParameterSetID, to client: ParameterSetID
    ) -> [(name: String, value: String)] {
        if server == client { return [] }
        let held = settings(of: server).parameters
        var result: [(name: String, value: String)] = []
        var index = 0
        for wanted in settings(of: client).parameters {
            while index < held.count, foldedOrder(held[index].name, wanted.name) < 0 { index += 1 }
            let isHeld =
                index < held.count && foldedOrder(held[index].name, wanted.name) == 0
                && held[index].value.hasSameBytes(as: wanted.value)
            if !isHeld { result.append((wanted.name, wanted.value)) }
        }
        return result
    }

    /// The names that a set has and another has not. Complexity: O(names of both).
    public func names(of id: ParameterSetID, missingIn other: ParameterSetID) -> [String] {
        if id == other { return [] }
        let others = settings(of: other)
        return settings(of: id).parameters.map(\.name).filter { others.position(of: $0).found == nil }
    }

    /// The names of a set.
    public func names(_ id: ParameterSetID) -> [String] { settings(of: id).parameters.map(\.name) }

    /// The set that has all of `id`'s settings but this one. Consumes the caller's reference of `id`; the caller owns
    /// one reference of the result.
    public mutating func remove(_ id: ParameterSetID, name: String) -> ParameterSetID {
        let settings = settings(of: id)
        guard let found = settings.position(of: name).found else { return id }
        var rest = settings.parameters
        rest.remove(at: found)
        let result = intern(Settings(parameters: rest))
        release(id)
        return result
    }

    /// The set that has all of `overlay`'s settings, and `base`'s where `overlay` has none: what a client asked for
    /// at its start over what the pool's servers have. Takes nobody's reference; the caller owns one reference of
    /// the result. Beyond sixty-four names those of `base` are left out.
    public mutating func overlay(_ base: ParameterSetID, with overlay: ParameterSetID) -> ParameterSetID {
        if base == overlay || overlay == Self.empty {
            retain(base)
            return base
        }
        var merged = settings(of: overlay)
        for parameter in settings(of: base).parameters where merged.parameters.count < Self.namesMax {
            let position = merged.position(of: parameter.name)
            if position.found == nil { merged.parameters.insert(parameter, at: position.insertion) }
        }
        return intern(merged)
    }

    /// A hash of those settings on which it depends what a text means when it is prepared: how constants in it are read.
    /// Zero where there is none of them.
    public func meaning(_ id: ParameterSetID) -> UInt64 {
        precondition(isLive(id))
        return entries[Int(id.rawValue)].meaning
    }

    private func isLive(_ id: ParameterSetID) -> Bool {
        Int(id.rawValue) < entries.count && entries[Int(id.rawValue)].references > 0
    }

    private func settings(of id: ParameterSetID) -> Settings {
        precondition(isLive(id))
        return entries[Int(id.rawValue)].settings
    }

    /// The set with these settings, with one more owner.
    private mutating func intern(_ settings: Settings) -> ParameterSetID {
        if settings.parameters.isEmpty { return Self.empty }
        if let existing = identifiers[settings] {
            entries[Int(existing)].references += 1
            return ParameterSetID(rawValue: existing)
        }
        let index: UInt32
        if let free = freeEntries.popLast() {
            index = free
            entries[Int(free)] = Entry(settings: settings, references: 1, meaning: settings.meaning)
        } else {
            index = UInt32(entries.count)
            entries.append(Entry(settings: settings, references: 1, meaning: settings.meaning))
        }
        identifiers[settings] = index
        return ParameterSetID(rawValue: index)
    }
}

/// One setting.
private struct Parameter {
    var name: String
    var value: String
}

/// The content of a set: settings in the order of their names, each name once. Two contents are equal when names
/// (without regard to case) and values are equal byte for byte; Swift's own equality of strings would take
/// different spellings of one accented letter for the same value.
private struct Settings: Hashable {
    var parameters: [Parameter]

    /// Where a name is, or else where it belongs.
    func position(of name: String) -> (found: Int?, insertion: Int) {
        var low = 0
        var high = parameters.count
        while low < high {
            let middle = (low + high) / 2
            let order = foldedOrder(parameters[middle].name, name)
            if order == 0 { return (middle, middle) }
            if order < 0 { low = middle + 1 } else { high = middle }
        }
        return (nil, low)
    }

    static func == (left: Settings, right: Settings) -> Bool {
        left.parameters.elementsEqual(right.parameters) {
            foldedOrder($0.name, $1.name) == 0 && $0.value.hasSameBytes(as: $1.value)
        }
    }

    /// See `ParameterSets.meaning`.
    var meaning: UInt64 {
        var hasher = Hasher()
        var isPlain = true
        for (number, name) in settingsOfMeaning.enumerated() {
            guard let found = position(of: name).found else { continue }
            isPlain = false
            hasher.combine(number)
            var value = parameters[found].value
            value.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
        }
        return isPlain ? 0 : UInt64(truncatingIfNeeded: hasher.finalize())
    }

    func hash(into hasher: inout Hasher) {
        for parameter in parameters {
            for byte in parameter.name.utf8 { hasher.combine(folded(byte)) }
            hasher.combine(0 as UInt8)
            var value = parameter.value
            value.withUTF8 { hasher.combine(bytes: UnsafeRawBufferPointer($0)) }
            hasher.combine(0 as UInt8)
        }
    }
}

extension String {
    fileprivate func hasSameBytes(as other: String) -> Bool {
        utf8.elementsEqual(other.utf8)
    }
}

/// ASCII letters without their case, as PostgreSQL compares the names of settings.
func folded(_ byte: UInt8) -> UInt8 {
    byte >= 0x41 && byte <= 0x5A ? byte | 0x20 : byte
}

/// Negative, zero or positive as `left` sorts before, with or after `right`, without regard to ASCII case.
func foldedOrder(_ left: String, _ right: String) -> Int {
    var rightBytes = right.utf8.makeIterator()
    for byte in left.utf8 {
        guard let other = rightBytes.next() else { return 1 }
        if folded(byte) != folded(other) { return Int(folded(byte)) - Int(folded(other)) }
    }
    return rightBytes.next() == nil ? 0 : -1
}

/// The name of a setting spelled as PostgreSQL reports it. Some drivers look for the exact word, and a client may
/// have asked for `datestyle` long before a server first said `DateStyle`.
private func serverSpelling(of name: String) -> String {
    for known in ["DateStyle", "IntervalStyle", "TimeZone"] where foldedOrder(known, name) == 0 { return known }
    for known in reportedInLowerCase where foldedOrder(known, name) == 0 { return known }
    return name
}

/// The reported settings whose names PostgreSQL spells in lower case.
private let reportedInLowerCase = [
    "application_name", "client_encoding", "default_transaction_read_only", "scram_iterations", "search_path",
    "standard_conforming_strings",
]

/// Whether a parameter that a server reports belongs to the session's settings: whether a client may `SET` it.
/// The others tell what the server is, or (session_authorization) who is logged in, and stay with their server.
public func isTrackable(_ name: String) -> Bool {
    let facts = [
        "server_version", "server_encoding", "integer_datetimes", "in_hot_standby", "is_superuser",
        "session_authorization",
    ]
    return !facts.contains { foldedOrder($0, name) == 0 }
}
