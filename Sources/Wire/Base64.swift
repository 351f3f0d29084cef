// Base64 (RFC 4648, section 4) as SCRAM uses it: with padding, without line breaks, and strict, so that one value
// has exactly one spelling.

/// The Base64 text of `bytes`, as ASCII.
func base64Encode(_ bytes: some Collection<UInt8>) -> [UInt8] {
    let alphabet = base64Alphabet
    var text: [UInt8] = []
    text.reserveCapacity((bytes.count + 2) / 3 * 4)
    var pending: UInt32 = 0
    var pendingBits = 0
    for byte in bytes {
        pending = (pending << 8 | UInt32(byte)) & 0xffff
        pendingBits += 8
        while pendingBits >= 6 {
            pendingBits -= 6
            text.append(alphabet[Int(pending >> UInt32(pendingBits) & 63)])
        }
    }
    if pendingBits > 0 { text.append(alphabet[Int(pending << UInt32(6 - pendingBits) & 63)]) }
    while text.count % 4 != 0 { text.append(UInt8(ascii: "=")) }
    return text
}

/// The bytes that a Base64 text stands for; nil if it is not exactly what `base64Encode` would have written.
func base64Decode(_ text: some Collection<UInt8>) -> [UInt8]? {
    guard text.count % 4 == 0 else { return nil }
    let paddingCount = text.suffix(2).reversed().prefix { $0 == UInt8(ascii: "=") }.count
    var bytes: [UInt8] = []
    bytes.reserveCapacity(text.count / 4 * 3)
    var pending: UInt32 = 0
    var pendingBits = 0
    for character in text.dropLast(paddingCount) {
        guard let digit = base64Digit(character) else { return nil }
        pending = (pending << 6 | digit) & 0xffff
        pendingBits += 6
        if pendingBits >= 8 {
            pendingBits -= 8
            bytes.append(UInt8(truncatingIfNeeded: pending >> UInt32(pendingBits)))
        }
    }
    // Bits left over must be zero, or two texts would mean the same.
    guard pending & ((1 << UInt32(pendingBits)) - 1) == 0 else { return nil }
    return bytes
}

private var base64Alphabet: [UInt8] {
    [UInt8]("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".utf8)
}

private func base64Digit(_ character: UInt8) -> UInt32? {
    switch character {
    case 0x41...0x5a: UInt32(character) - 0x41
    case 0x61...0x7a: UInt32(character) - 0x61 + 26
    case 0x30...0x39: UInt32(character) - 0x30 + 52
    case UInt8(ascii: "+"): 62
    case UInt8(ascii: "/"): 63
    case _: nil
    }
}
