// Fuzzes both sides of SCRAM: the two messages of a hostile client, and the two of a hostile server. The nonces are
// fixed, so that the corpus can hold messages that get through to the end.

import Wire

/// Eighteen zero bytes: in messages this nonce reads AAAAAAAAAAAAAAAAAAAAAAAA.
private let nonce = [UInt8](repeating: 0, count: 18)
private let secret = SCRAMSecret.derive(password: "secret", salt: Array("salt".utf8), iterations: 1)
private let keys = SCRAMKeys.derive(password: "secret", salt: Array("salt".utf8), iterations: 1)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzSCRAM(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    let bytes = [UInt8](UnsafeBufferPointer(start: start, count: count))
    // The first line is the first message, the rest the second.
    let parts = bytes.split(separator: 0x0A, maxSplits: 1, omittingEmptySubsequences: false)
    let first = Array(parts[0])
    let second = parts.count == 2 ? Array(parts[1]) : []

    for isMock in [false, true] {
        var server = SCRAMServer(secret: secret, serverNonce: nonce, isMock: isMock)
        _ = server.receivedClientFirst(first)
        if case .success = server.receivedClientFinal(second) {
            precondition(!isMock, "a user who does not exist got in")
        }
    }
    for credential in [SCRAMClientCredential.password, .keys(keys)] {
        var client = SCRAMClient(credential: credential, clientNonce: nonce)
        if case .deriveKeys(_, let iterations) = client.receivedServerFirst(first) {
            precondition((1...scramIterationsMax).contains(iterations))
            _ = client.clientFinal(keys: keys)
        }
        _ = client.receivedServerFinal(second)
    }
    _ = SCRAMSecret(parsing: String(decoding: bytes, as: UTF8.self))
    return 0
}
