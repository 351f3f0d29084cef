// Fuzzes the console: commands as text, and a session as a run of messages (tag, one byte of length, payload).

import Console
import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzConsole(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    _ = parseConsoleCommand(String(decoding: bytes, as: UTF8.self))

    var session = ConsoleSession(role: .admin)
    var offset = 0
    while offset + 2 <= bytes.count {
        let end = min(bytes.count, offset + 2 + Int(bytes[offset + 1]))
        var step = session.received(tag: bytes[offset], payload: Array(bytes[(offset + 2)..<end]))
        while case .run = step.next { step = session.finish(with: .success(.completed())) }
        if case .close = step.next { return 0 }
        offset = end
    }
    return 0
}
