// What the console's tests share: payloads as a driver would send them, and replies cut into messages.

import Wire

@testable import Console

/// One message of a reply.
struct ReplyMessage: Equatable {
    var tag: String
    var payload: [UInt8]
}

/// Cuts a reply into its messages.
func messages(_ bytes: [UInt8]) -> [ReplyMessage] {
    var result: [ReplyMessage] = []
    var rest = bytes[...]
    while rest.count >= 5 {
        let header = Array(rest.prefix(5))
        let length = header[1...].reduce(0) { $0 << 8 | Int($1) }
        result.append(
            ReplyMessage(
                tag: String(decoding: [header[0]], as: UTF8.self), payload: Array(rest.dropFirst(5).prefix(length - 4)))
        )
        rest = rest.dropFirst(1 + length)
    }
    return result
}

/// The tags of a reply, one letter each.
func tags(_ step: ConsoleStep) -> String { messages(step.reply).map(\.tag).joined() }

/// The first error or notice of a reply.
func fields(_ step: ConsoleStep, _ tag: String = "E") -> ErrorFields? {
    messages(step.reply).first { $0.tag == tag }.map { $0.payload.withUnsafeBytes { ErrorFields.parse($0) } }
}

/// The tag of the last CommandComplete.
func completion(_ step: ConsoleStep) -> String? {
    messages(step.reply).last { $0.tag == "C" }.map { String(decoding: $0.payload.dropLast(), as: UTF8.self) }
}

/// The values of all DataRows; nil is NULL.
func rows(_ step: ConsoleStep) -> [[[UInt8]?]] {
    messages(step.reply).filter { $0.tag == "D" }.map { message in
        var values: [[UInt8]?] = []
        var rest = message.payload.dropFirst(2)
        while rest.count >= 4 {
            let length = rest.prefix(4).reduce(UInt32(0)) { $0 << 8 | UInt32($1) }
            rest = rest.dropFirst(4)
            if length == UInt32.max {
                values.append(nil)
            } else {
                values.append(Array(rest.prefix(Int(length))))
                rest = rest.dropFirst(Int(length))
            }
        }
        return values
    }
}

/// The same as texts.
func textRows(_ step: ConsoleStep) -> [[String?]] {
    rows(step).map { $0.map { $0.map { String(decoding: $0, as: UTF8.self) } } }
}

func cString(_ text: String) -> [UInt8] { Array(text.utf8) + [0] }

func int16(_ value: Int) -> [UInt8] { [UInt8(value >> 8 & 0xFF), UInt8(value & 0xFF)] }

func int32(_ value: Int) -> [UInt8] { int16(value >> 16 & 0xFFFF) + int16(value & 0xFFFF) }

func parsePayload(_ query: String, name: String = "") -> [UInt8] { cString(name) + cString(query) + int16(0) }

func bindPayload(portal: String = "", statement: String = "", formats: [Int] = []) -> [UInt8] {
    cString(portal) + cString(statement) + int16(0) + int16(0) + int16(formats.count) + formats.flatMap { int16($0) }
}

func describePayload(_ kind: Character, _ name: String = "") -> [UInt8] {
    [kind.asciiValue ?? 0] + cString(name)
}

func executePayload(_ portal: String = "", rowsMax: Int = 0) -> [UInt8] { cString(portal) + int32(rowsMax) }

extension ConsoleSession {
    mutating func query(_ text: String) -> ConsoleStep { received(tag: FrontendTag.query, payload: cString(text)) }
    mutating func sync() -> ConsoleStep { received(tag: FrontendTag.sync, payload: []) }

    mutating func parse(_ query: String, name: String = "") -> ConsoleStep {
        received(tag: FrontendTag.parse, payload: parsePayload(query, name: name))
    }

    mutating func bind(portal: String = "", statement: String = "", formats: [Int] = []) -> ConsoleStep {
        received(
            tag: FrontendTag.bind, payload: bindPayload(portal: portal, statement: statement, formats: formats))
    }

    mutating func describe(_ kind: Character, _ name: String = "") -> ConsoleStep {
        received(tag: FrontendTag.describe, payload: describePayload(kind, name))
    }

    mutating func execute(_ portal: String = "", rowsMax: Int = 0) -> ConsoleStep {
        received(tag: FrontendTag.execute, payload: executePayload(portal, rowsMax: rowsMax))
    }
}
