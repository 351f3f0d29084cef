// Fuzzes the first bytes of a connection: the start-up packet and the `options` in it.

import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzStartupPacket(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = UnsafeRawBufferPointer(start: start, count: count)
    if let length = try? startupPacketLength(bytes) {
        precondition((8...startupPacketBytesMax).contains(length))
    }
    guard let request = try? parseStartupPacket(bytes) else { return 0 }
    switch request {
    case .sslRequest, .gssEncryptionRequest:
        break
    case .cancel(_, let secret):
        precondition((cancelSecretBytesMin...cancelSecretBytesMax).contains(secret.count))
    case .startup(let message):
        if let options = message.value("options") { _ = try? parseOptions(options) }
        rewritten(message)
    }
    return 0
}

/// What was understood can be written again, and is understood as the same.
private func rewritten(_ message: StartupMessage) {
    var writer = MessageWriter()
    writer.startup(minorVersion: message.minorVersion, parameters: message.parameters)
    guard writer.bytes.count <= startupPacketBytesMax else { return }
    let again = writer.bytes.withUnsafeBytes { try? parseStartupPacket($0) }
    guard case .startup(let copy)? = again else { preconditionFailure("a start-up packet of our own was refused") }
    precondition(copy.parameters.elementsEqual(message.parameters) { $0 == $1 })
}
