// The answer of one console command as a table: columns with PostgreSQL types and rows of text.
//
// Everything SHOW prints passes through here, so that the simple protocol (text) and the extended protocol
// (text or binary, as the driver asks in Bind) encode a value in one place. Drivers such as asyncpg and JDBC
// ask for binary results; PgBouncer's console cannot serve them.
//
// The manual: "Message Formats" (RowDescription, DataRow) and the send functions of int4, int8 and numeric.

import Wire

/// The types that occur in the console's results.
public enum ColumnType: Equatable, Sendable {
    /// `text`, also used for timestamps.
    case text
    /// `int4`.
    case int4
    /// `int8`.
    case int8
    /// `numeric`, always a whole number here.
    case numeric
    /// `bytea`.
    case bytea

    /// The type's OID in `pg_type`.
    public var typeOID: Int32 {
        switch self {
        case .text: 25
        case .int4: 23
        case .int8: 20
        case .numeric: 1700
        case .bytea: 17
        }
    }

    /// `typlen`: bytes of a value, -1 when it varies.
    public var lengthBytes: Int16 {
        switch self {
        case .int4: 4
        case .int8: 8
        case .text, .numeric, .bytea: -1
        }
    }
}

/// One column of a result.
public struct ConsoleColumn: Equatable, Sendable {
    /// The column's name as RowDescription gives it.
    public var name: String
    /// The column's type.
    public var type: ColumnType

    /// A column of that name and type.
    public init(_ name: String, _ type: ColumnType) {
        self.name = name
        self.type = type
    }
}

/// How a driver wants a column's values: the format codes of Bind.
public enum ValueFormat: Int16, Equatable, Sendable {
    /// Format code 0.
    case text = 0
    /// Format code 1.
    case binary = 1
}

/// Columns, rows and the tag of CommandComplete.
public struct ConsoleTable: Equatable, Sendable {
    /// The columns in order.
    public var columns: [ConsoleColumn]
    /// One array for each row, one text (or nil for NULL) for each column.
    public var rows: [[String?]]
    /// The tag of CommandComplete, `SHOW` for all tables.
    public var tag: String

    /// A table of these rows.
    public init(columns: [ConsoleColumn], rows: [[String?]] = [], tag: String = "SHOW") {
        self.columns = columns
        self.rows = rows
        self.tag = tag
    }

    /// A table with a topic's columns.
    public init(topic: ShowTopic, rows: [[String?]] = []) {
        self.init(columns: topic.columns, rows: rows)
    }

    /// Appends the answer of the simple protocol: RowDescription, every DataRow, CommandComplete. The caller
    /// adds ReadyForQuery.
    public func simpleReply(into writer: inout MessageWriter) {
        writeRowDescription(columns, formats: [], into: &writer)
        for row in rows {
            writeDataRow(row, columns: columns, formats: [], into: &writer)
        }
        writer.commandComplete(tag)
    }
}

/// The format of one column: no code means text for all, one code is for all columns, else one for each.
func format(ofColumn index: Int, in formats: [ValueFormat]) -> ValueFormat {
    if formats.count == 1 { return formats[0] }
    return index < formats.count ? formats[index] : .text
}

/// Appends a RowDescription: table OID 0, attribute 0 and type modifier -1, as for any computed column.
func writeRowDescription(_ columns: [ConsoleColumn], formats: [ValueFormat], into writer: inout MessageWriter) {
    writer.begin(BackendTag.rowDescription)
    writer.int16(Int16(clamping: columns.count))
    for (index, column) in columns.enumerated() {
        writer.cString(column.name)
        writer.int32(0)
        writer.int16(0)
        writer.int32(column.type.typeOID)
        writer.int16(column.type.lengthBytes)
        writer.int32(-1)
        writer.int16(format(ofColumn: index, in: formats).rawValue)
    }
    writer.end()
}

/// Appends a DataRow with each value in the format asked for. A row that is too short is filled with NULL.
func writeDataRow(
    _ row: [String?], columns: [ConsoleColumn], formats: [ValueFormat], into writer: inout MessageWriter
) {
    writer.begin(BackendTag.dataRow)
    writer.int16(Int16(clamping: columns.count))
    for (index, column) in columns.enumerated() {
        let text = index < row.count ? row[index] : nil
        guard let text, let value = encode(text, as: column.type, format: format(ofColumn: index, in: formats)) else {
            writer.int32(-1)
            continue
        }
        writer.int32(Int32(clamping: value.count))
        writer.rawBytes(value)
    }
    writer.end()
}

/// One value on the wire. In binary a text that is no number of its column's type has no form: nil, sent as NULL.
func encode(_ text: String, as type: ColumnType, format: ValueFormat) -> [UInt8]? {
    switch (format, type) {
    case (.text, _), (.binary, .text), (.binary, .bytea): Array(text.utf8)
    case (.binary, .int4): Int32(text).map { bigEndian(UInt32(bitPattern: $0)) }
    case (.binary, .int8): Int64(text).map { bigEndian(UInt64(bitPattern: $0)) }
    case (.binary, .numeric): encodeNumeric(text)
    }
}

/// PostgreSQL's binary `numeric` (`numeric_send`) of a whole number in decimal: count of base-10000 digits, weight of
/// the first one, sign, decimals (0), digits. Trailing zero digits are left out, the weight stands for them.
func encodeNumeric(_ text: String) -> [UInt8]? {
    let isNegative = text.hasPrefix("-")
    let decimal = Array(text.utf8.drop { $0 == 0x2D }.drop { $0 == 0x30 })
    guard text.utf8.count <= 1_000, !text.isEmpty, text != "-", decimal.allSatisfy({ (0x30...0x39).contains($0) }),
        !text.hasPrefix("--")
    else { return nil }
    let groupCount = (decimal.count + 3) / 4
    var digits: [UInt16] = []
    var start = 0
    var end = decimal.count - (groupCount - 1) * 4
    while start < decimal.count {
        digits.append(decimal[start..<end].reduce(0) { $0 * 10 + UInt16($1 - 0x30) })
        start = end
        end += 4
    }
    while digits.last == 0 { digits.removeLast() }
    let weight: UInt16 = groupCount > 0 ? UInt16(groupCount - 1) : 0
    let sign: UInt16 = isNegative && !digits.isEmpty ? 0x4000 : 0
    return ([UInt16(digits.count), weight, sign, 0] + digits).flatMap { bigEndian($0) }
}

private func bigEndian<Value: FixedWidthInteger>(_ value: Value) -> [UInt8] {
    let byteCount = Value.bitWidth / 8
    return (0..<byteCount).map { UInt8(truncatingIfNeeded: value >> ((byteCount - 1 - $0) * 8)) }
}
