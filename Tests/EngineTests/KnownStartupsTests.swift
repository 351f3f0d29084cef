import Testing

@testable import Engine

@Suite struct KnownStartupsTests {
    private func request(_ user: String) -> LoginRequest {
        var request = LoginRequest()
        request.user = user
        return request
    }

    @Test("a packet is known by all of its bytes")
    func byContent() {
        var known = KnownStartups()
        known.keep([1, 2, 3], request("a"), minorVersion: 2)
        #expect(known.find([1, 2, 3])?.request.user == "a")
        #expect(known.find([1, 2, 3])?.minorVersion == 2)
        #expect(known.find([1, 2]) == nil)
        #expect(known.find([1, 2, 3, 4]) == nil)
        #expect(known.find([1, 2, 4]) == nil)
    }

    @Test("the oldest goes first, and long packets are not kept")
    func bounds() {
        var known = KnownStartups()
        for number in 0..<UInt8(KnownStartups.keptMax + 2) {
            known.keep([number], request("\(number)"), minorVersion: 0)
        }
        #expect(known.find([0]) == nil && known.find([1]) == nil)
        for number in 2..<UInt8(KnownStartups.keptMax + 2) {
            #expect(known.find([number])?.request.user == "\(number)")
        }
        let long = [UInt8](repeating: 0, count: KnownStartups.packetBytesMax + 1)
        known.keep(long, request("long"), minorVersion: 0)
        #expect(known.find(long) == nil)
    }
}
