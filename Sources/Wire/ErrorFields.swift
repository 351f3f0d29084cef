// The part of an ErrorResponse or NoticeResponse that Weir writes and reads: severity, SQLSTATE, message, detail
// and hint. A server's own error is normally passed on as the bytes it came in; this form is for the log, for
// decisions, and for the errors that Weir makes itself.

/// The fields of an error or a notice (PostgreSQL manual, 55.8).
public struct ErrorFields: Equatable, Sendable {
    /// `ERROR`, `FATAL`, `PANIC`, or `WARNING`, `NOTICE`, `INFO`, …
    public var severity: String
    /// The SQLSTATE, see `SQLState`.
    public var code: String
    /// What happened, in one line.
    public var message: String
    /// What was known.
    public var detail: String?
    /// What to do.
    public var hint: String?
    /// Whether the severity is sent a second time as field `V`, which no server translates (PostgreSQL 9.6 and later).
    public var includeNonLocalized: Bool

    /// An error with the given fields.
    public init(
        severity: String = "ERROR", code: String, message: String, detail: String? = nil, hint: String? = nil,
        includeNonLocalized: Bool = true
    ) {
        self.severity = severity
        self.code = code
        self.message = message
        self.detail = detail
        self.hint = hint
        self.includeNonLocalized = includeNonLocalized
    }

    /// The fields in the payload of an ErrorResponse or NoticeResponse. What is missing or cut off gets its default:
    /// severity `ERROR`, code `XX000`, an empty message. The untranslated severity is preferred.
    public static func parse(_ payload: UnsafeRawBufferPointer) -> ErrorFields {
        var fields = ErrorFields(code: SQLState.internalError, message: "", includeNonLocalized: false)
        var reader = ByteReader(payload)
        while let kind = reader.byte(), kind != 0, let text = reader.text() {
            switch kind {
            case ErrorFieldKind.severity: if !fields.includeNonLocalized { fields.severity = text }
            case ErrorFieldKind.nonLocalizedSeverity:
                fields.severity = text
                fields.includeNonLocalized = true
            case ErrorFieldKind.code: fields.code = text
            case ErrorFieldKind.message: fields.message = text
            case ErrorFieldKind.detail: fields.detail = text
            case ErrorFieldKind.hint: fields.hint = text
            case _: continue
            }
        }
        return fields
    }
}

/// The letters before the fields of an error (PostgreSQL manual, 55.8).
enum ErrorFieldKind {
    static var severity: UInt8 { UInt8(ascii: "S") }
    static var nonLocalizedSeverity: UInt8 { UInt8(ascii: "V") }
    static var code: UInt8 { UInt8(ascii: "C") }
    static var message: UInt8 { UInt8(ascii: "M") }
    static var detail: UInt8 { UInt8(ascii: "D") }
    static var hint: UInt8 { UInt8(ascii: "H") }
}
