// Socket addresses as raw bytes, for the resolver: from getaddrinfo, from literals, with a port, as text.

import Glibc

/// Looks a name up with getaddrinfo: its addresses for TCP in the order of RFC 6724, with port 0.
@Sendable public func systemLookup(_ name: String) -> Result<[[UInt8]], NameLookupError> {
    var hints = addrinfo()
    hints.ai_family = AF_UNSPEC
    hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var first: UnsafeMutablePointer<addrinfo>?
    let result = getaddrinfo(name, nil, &hints, &first)
    guard result == 0 else {
        // SAFETY: gai_strerror returns a constant text for every code.
        let text =
            result == EAI_SYSTEM ? strerror(errno).map { String(cString: $0) } : String(cString: gai_strerror(result))
        return .failure(NameLookupError(text ?? "name look-up failed"))
    }
    defer { freeaddrinfo(first) }
    var addresses: [[UInt8]] = []
    var next = first
    // SAFETY: `next` is a node of the list that getaddrinfo made, or nil at its end; each has ai_addrlen bytes at ai_addr.
    while let info = next?.pointee {
        if let address = info.ai_addr, info.ai_family == AF_INET || info.ai_family == AF_INET6 {
            addresses.append(Array(UnsafeRawBufferPointer(start: address, count: Int(info.ai_addrlen))))
        }
        next = info.ai_next
    }
    return .success(addresses)
}

/// The raw address of an IPv4 or IPv6 literal with port 0; nil for anything else. A scope (`fe80::1%eth0`) is left to
/// getaddrinfo.
func literalAddress(_ text: String) -> [UInt8]? {
    var ipv4 = sockaddr_in()
    ipv4.sin_family = sa_family_t(AF_INET)
    if inet_pton(AF_INET, text, &ipv4.sin_addr) == 1 { return withUnsafeBytes(of: ipv4) { Array($0) } }
    var ipv6 = sockaddr_in6()
    ipv6.sin6_family = sa_family_t(AF_INET6)
    if inet_pton(AF_INET6, text, &ipv6.sin6_addr) == 1 { return withUnsafeBytes(of: ipv6) { Array($0) } }
    return nil
}

/// The address with this port. In both families the port is the two bytes behind the family, big-endian.
func withPort(_ address: [UInt8], _ port: UInt16) -> [UInt8] {
    guard address.count >= 4 else { return address }
    var changed = address
    changed[2] = UInt8(truncatingIfNeeded: port >> 8)
    changed[3] = UInt8(truncatingIfNeeded: port)
    return changed
}

/// The host part of a raw address as text.
func addressText(_ address: [UInt8]) -> String? {
    var text = [CChar](repeating: 0, count: Int(INET6_ADDRSTRLEN))
    // SAFETY: the guards see to it that the address holds the 4 or 16 bytes that inet_ntop reads at its offset.
    let isText = address.withUnsafeBytes { bytes -> Bool in
        guard bytes.count >= 8, let base = bytes.baseAddress else { return false }
        let family = Int32(bytes.loadUnaligned(as: sa_family_t.self))
        let length = socklen_t(text.count)
        if family == AF_INET { return inet_ntop(AF_INET, base + 4, &text, length) != nil }
        guard family == AF_INET6, bytes.count >= 24 else { return false }
        return inet_ntop(AF_INET6, base + 8, &text, length) != nil
    }
    guard isText else { return nil }
    return String(decoding: text.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }, as: UTF8.self)
}
