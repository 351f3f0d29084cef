// The framer must find the same messages however a stream is cut, and must refuse lengths that lie.

import Testing

@testable import Wire

/// One message as the tests see it.
private struct Seen: Equatable {
    var tag: UInt8
    var bytes: [UInt8]
}

private func message(_ tag: Character, _ payload: [UInt8]) -> [UInt8] {
    let length = UInt32(payload.count + 4)
    return [tag.asciiValue ?? 0] + withUnsafeBytes(of: length.bigEndian) { Array($0) } + payload
}

/// Runs a stream through a framer in pieces, gathering what is reported incomplete as a connection would.
private func frame(_ pieces: [[UInt8]], whole: TagSet = TagSet(), lengthMax: UInt32 = 1 << 30) -> [Seen]? {
    var framer = MessageFramer()
    var seen: [Seen] = []
    var gathered: [UInt8] = []
    for piece in pieces {
        let bytes = gathered + piece
        gathered = []
        var offset = 0
        while offset < bytes.count {
            let found = bytes.withUnsafeBytes { raw in
                // SAFETY: the loop's condition says that the array is not empty, so it has a base address.
                framer.next(raw.baseAddress!, from: offset, count: bytes.count, whole: whole, lengthMax: lengthMax)
            }
            switch found.kind {
            case .invalid: return nil
            case .incomplete:
                gathered = Array(bytes[offset...])
                offset = bytes.count
            case .message:
                seen.append(Seen(tag: found.tag, bytes: Array(bytes[offset..<found.end])))
                offset = found.end
            case .continuation:
                seen[seen.count - 1].bytes += bytes[offset..<found.end]
                offset = found.end
            }
        }
    }
    return gathered.isEmpty && framer.isAtBoundary ? seen : nil
}

@Suite struct MessageFramerTests {
    fileprivate static let messages: [Seen] = [
        Seen(tag: 0x51, bytes: message("Q", Array("select 1".utf8) + [0])),
        Seen(tag: 0x53, bytes: message("S", [])),
        Seen(tag: 0x64, bytes: message("d", Array(repeating: 7, count: 40))),
        Seen(tag: 0x5A, bytes: message("Z", [0x49])),
    ]
    static let stream = messages.flatMap(\.bytes)

    @Test("a stream cut in two at any byte yields the same messages", arguments: 0...stream.count)
    func cutAnywhere(at cut: Int) {
        let pieces = [Array(Self.stream[..<cut]), Array(Self.stream[cut...])]
        #expect(frame(pieces) == Self.messages)
        #expect(frame(pieces, whole: TagSet(0x51, 0x5A)) == Self.messages)
    }

    @Test("a stream that arrives byte by byte yields the same messages")
    func byteByByte() {
        let pieces = Self.stream.map { [$0] }
        #expect(frame(pieces) == Self.messages)
        #expect(frame(pieces, whole: TagSet(0x51, 0x64, 0x5A)) == Self.messages)
    }

    @Test("a message that is wanted whole is never reported in parts", arguments: 1..<messages[0].bytes.count)
    func wholeMessages(cut: Int) {
        var framer = MessageFramer()
        let bytes = Self.messages[0].bytes
        let found = bytes.withUnsafeBytes {
            framer.next($0.baseAddress!, from: 0, count: cut, whole: TagSet(0x51), lengthMax: 1000)
        }
        #expect(found.kind == .incomplete)
        #expect(found.length == (cut >= 5 ? bytes.count : 0))
        #expect(framer.isAtBoundary)
    }

    @Test("a length that lies is refused", arguments: [0, 1, 3, 1001, 0x7FFF_FFFF, 0x8000_0000, .max] as [UInt32])
    func hostileLengths(length: UInt32) {
        var framer = MessageFramer()
        let bytes: [UInt8] = [0x51] + withUnsafeBytes(of: length.bigEndian) { Array($0) } + [0, 0, 0]
        let found = bytes.withUnsafeBytes {
            framer.next($0.baseAddress!, from: 0, count: bytes.count, whole: TagSet(), lengthMax: 1000)
        }
        #expect(found.kind == .invalid)
        #expect(framer.isAtBoundary)
    }

    @Test("random bytes never lose count: what is passed adds up to what came", arguments: 0..<64 as Range<UInt64>)
    func randomBytes(seed: UInt64) {
        var state = seed &* 0x9E37_79B9_7F4A_7C15 | 1
        func random() -> UInt64 {
            state ^= state << 13
            state ^= state >> 7
            state ^= state << 17
            return state
        }
        let bytes = (0..<2000).map { _ in UInt8(truncatingIfNeeded: random() % 7 == 0 ? random() : 0) }
        var framer = MessageFramer()
        var offset = 0
        while offset < bytes.count {
            let found = bytes.withUnsafeBytes {
                framer.next($0.baseAddress!, from: offset, count: bytes.count, whole: TagSet(), lengthMax: 100_000)
            }
            guard found.kind == .message || found.kind == .continuation else { break }
            #expect(found.end > offset && found.end <= bytes.count, "seed \(seed)")
            offset = found.end
        }
    }
}
