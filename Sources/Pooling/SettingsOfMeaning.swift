// The settings on which depends what a text means when it is prepared.

import SQLText

/// PostgreSQL reads the constants of a text when it prepares it: `'1/2/2024'::date` is a day from then on, whatever
/// DateStyle becomes. So it does with what it can compute at once, such as the text of a number. (A search_path that
/// changes makes it look again.)
let settingsOfMeaning = [
    "client_encoding", "DateStyle", "IntervalStyle", "standard_conforming_strings", "TimeZone", "array_nulls",
    "backslash_quote", "bytea_output", "default_text_search_config", "extra_float_digits", "lc_monetary", "lc_numeric",
    "timezone_abbreviations", "transform_null_equals", "xmloption",
]

/// Whether a statement may give one of these settings another value that lasts until the transaction is over.
///
/// - Parameter reader: reads names of the statement's text.
public func mayChangeMeaningLocally(_ kind: StatementKind, _ reader: NameReader) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: 256, alignment: 1) { buffer in
        switch kind {
        case .set(let name, _, isLocal: true):
            // What is too long to be read is none of them.
            return givesMeaning(buffer, reader.read(name, into: buffer) ?? 0)
        case .setConfigCall(let call) where call.locality == .transaction:
            guard case .constant(let range) = call.name else { return true }
            return givesMeaning(buffer, reader.read(range, into: buffer) ?? 0)
        default: return false
        }
    }
}

private func givesMeaning(_ buffer: UnsafeMutableRawBufferPointer, _ count: Int) -> Bool {
    settingsOfMeaning.contains { name in
        name.utf8.lazy.map(folded).elementsEqual(buffer[..<count].lazy.map(folded))
    }
}
