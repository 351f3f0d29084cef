// Fuzzes the readers of single messages, from clients and from servers.

import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzControlMessages(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    // Every reader sees every payload: none of them may believe that its message is what it should be.
    let payload = UnsafeRawBufferPointer(start: start, count: count)
    _ = parseParameterStatus(payload)
    _ = parseBackendKeyData(payload)
    _ = parseNegotiateProtocolVersion(payload)
    _ = parseReadyForQuery(payload)
    _ = parseAuthentication(payload)
    _ = parseSASLInitialResponse(payload)
    _ = parseQueryText(payload)
    _ = parsePasswordMessage(payload)
    _ = parseBind(payload)
    _ = parseDescribeOrClose(payload)
    _ = parseExecute(payload)
    _ = leadingKeyword(payload)
    _ = loneKeyword(payload)
    if let message = parseParse(payload) {
        precondition(message.queryRange.lowerBound >= 0 && message.queryRange.upperBound <= count)
    }
    var writer = MessageWriter()
    writer.errorResponse(ErrorFields.parse(payload))
    return 0
}
