// Fuzzes the framer: the same stream in two buffers, cut anywhere, must have the same messages as in one.

import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzMessageFramer(_ start: UnsafePointer<UInt8>?, _ count: Int) -> CInt {
    guard count > 2, let start else { return 0 }
    // The first byte chooses the cut, the second whether some messages are needed whole.
    let stream = [UInt8](UnsafeBufferPointer(start: start + 2, count: count - 2))
    let whole = start[1] & 1 == 0 ? TagSet() : TagSet(0x51, 0x50, 0x5A)
    let cut = Int(start[0]) % (stream.count + 1)
    let inOne = boundaries(of: [stream], whole: whole)
    let inTwo = boundaries(of: [Array(stream[..<cut]), Array(stream[cut...])], whole: whole)
    precondition(inOne == inTwo, "a cut changed what messages there are")
    return 0
}

private struct Boundary: Equatable {
    var position: Int
    var tag: UInt8
}

/// Where messages start in a stream that arrives in pieces. What a piece leaves incomplete is put before the next one.
private func boundaries(of pieces: [[UInt8]], whole: TagSet) -> [Boundary] {
    var framer = MessageFramer()
    var found: [Boundary] = []
    var pending: [UInt8] = []
    var position = 0
    for piece in pieces {
        let buffer = pending + piece
        var offset = 0
        var isIncomplete = false
        while offset < buffer.count, !isIncomplete {
            let frame = buffer.withUnsafeBytes { bytes in
                // The buffer is not empty here, so it has an address.
                bytes.baseAddress.map {
                    framer.next($0, from: offset, count: bytes.count, whole: whole, lengthMax: 0x3FFF_FFFF)
                }
            }
            guard let frame else { preconditionFailure("no address") }
            switch frame.kind {
            case .message:
                precondition(frame.end > offset && frame.end <= buffer.count && frame.length >= 5)
                found.append(Boundary(position: position + offset, tag: frame.tag))
                offset = frame.end
            case .continuation:
                precondition(frame.end > offset && frame.end <= buffer.count)
                offset = frame.end
            case .incomplete:
                isIncomplete = true
            case .invalid:
                return found
            }
        }
        pending = Array(buffer[offset...])
        position += offset
    }
    return found
}
