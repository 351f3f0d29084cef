// Start-up packets that were read before. Applications log in again and again with the same packet, some of them for
// each transaction, and what it asks for need not be read anew.

/// What a worker's last start-up packets ask for.
struct KnownStartups {
    /// What one packet asks for.
    struct Known {
        fileprivate let packet: [UInt8]
        let request: LoginRequest
        /// The minor version of the protocol that is asked for.
        let minorVersion: Int
    }

    /// How many are kept: then the oldest goes.
    static var keptMax: Int { 16 }
    /// A longer packet is not kept.
    static var packetBytesMax: Int { 1_024 }

    private var known: [Known] = []
    private var oldest = 0

    /// What a packet asks for that was kept; the packet is compared byte for byte.
    func find(_ packet: [UInt8]) -> Known? {
        for known in known where known.packet == packet { return known }
        return nil
    }

    /// Keeps what a packet asks for that could be taken.
    mutating func keep(_ packet: [UInt8], _ request: LoginRequest, minorVersion: Int) {
        guard packet.count <= Self.packetBytesMax else { return }
        let new = Known(packet: packet, request: request, minorVersion: minorVersion)
        guard known.count == Self.keptMax else { return known.append(new) }
        known[oldest] = new
        oldest = (oldest + 1) % Self.keptMax
    }
}
