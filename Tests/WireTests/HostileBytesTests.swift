// Bytes that no honest peer sends: no parser may stop the process, whatever it is given.

import Testing

@testable import Wire

@Suite struct HostileBytesTests {
    private static let seeds: [UInt64] = [1, 0x5eed, 20_260_927, 0xdead_beef]
    private let alphabet = ascii("\0\u{1}\u{4}SRPVCMDH,=nrscpveimQ-/*; commit") + [0xff, 0x80]

    /// Gives the bytes to every parser of the module that reads a payload or a packet.
    private func parseEverything(_ bytes: [UInt8]) {
        withExactBytes(bytes) { raw in
            for parser in ParserCase.all { _ = parser.accepts(raw) }
            _ = ErrorFields.parse(raw)
            _ = try? startupPacketLength(raw)
            _ = try? parseStartupPacket(raw)
            _ = leadingKeyword(raw)
            _ = loneKeyword(raw)
        }
        let text = String(decoding: bytes, as: UTF8.self)
        _ = try? parseOptions(text)
        _ = SCRAMSecret(parsing: text)
        _ = md5Response(stored: text, salt: bytes)
        // An answer must stay an answer: an array that was decoded can be encoded to the same text.
        if let decoded = base64Decode(bytes) { #expect(base64Encode(decoded) == bytes) }
    }

    @Test("random bytes stop no parser", arguments: seeds)
    func randomBytes(seed: UInt64) {
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<500 { parseEverything(generator.bytes(countMax: 64, alphabet: alphabet)) }
    }

    @Test("damaged messages stop no parser", arguments: seeds)
    func damagedMessages(seed: UInt64) {
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        let startup = written { $0.startup(minorVersion: 0, parameters: [("user", "a"), ("options", "-c a=b")]) }
        let error = payload { $0.errorResponse(ErrorFields(code: "57P01", message: "m", detail: "d")) }
        let originals = ParserCase.all.map(\.whole) + [startup, error]
        for original in originals {
            for _ in 0..<50 { parseEverything(generator.mutated(original)) }
        }
    }

    @Test("damaged SCRAM messages are refused and stop nobody", arguments: seeds)
    func damagedSCRAM(seed: UInt64) {
        print("seed \(seed)")
        var generator = SeededGenerator(seed: seed)
        for _ in 0..<300 {
            var client = SCRAMVector.client(.keys(SCRAMVector.keys))
            var server = SCRAMVector.server(isMock: false)
            let damagedFirst = generator.mutated(client.clientFirst)
            if case .success(let challenge) = server.receivedClientFirst(damagedFirst) {
                _ = server.receivedClientFinal(generator.mutated(ascii(SCRAMVector.clientFinal)))
                #expect(challenge.starts(with: ascii("r=")))
            }
            let damagedChallenge = generator.mutated(ascii(SCRAMVector.serverFirst))
            guard case .send = client.receivedServerFirst(damagedChallenge) else { continue }
            let damagedFinal = generator.mutated(ascii(SCRAMVector.serverFinal))
            guard damagedChallenge != ascii(SCRAMVector.serverFirst) || damagedFinal != ascii(SCRAMVector.serverFinal)
            else { continue }
            if case .success = client.receivedServerFinal(damagedFinal) {
                // Only text behind the signature may differ, which the RFC allows and nobody signs.
                #expect(damagedFinal.starts(with: ascii(SCRAMVector.serverFinal)))
            }
        }
    }
}
