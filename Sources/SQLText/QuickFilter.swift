// Lets the common statements of applications pass without reading them token by token.
//
// A SELECT, INSERT, UPDATE, DELETE or the like can do something to its session only by calling one of a few functions
// or by SELECT INTO TEMP, and a text can hold a second statement only behind a semicolon. So when a text starts with
// such a keyword and holds none of these byte sequences anywhere, quotes and comments included, it has no effect:
//
//     ;      pg_ (pg_advisory_…, pg_temp)      set_ (set_config)      sets (setseed)      into      &" (U&"…")
//
// Letters count in either case. The sequences are looked for in 16 positions at once, with four loads that overlap.
// A hit proves nothing: it only sends the text to the lexer.

/// Whether a part of a text may do something to its session: false when it holds none of the byte sequences that all
/// such statements have, nor a second statement. Says nothing of a sequence that the part's borders cut: three bytes of
/// what comes before are enough to find it.
public func mayHaveSessionEffect(_ part: UnsafeRawBufferPointer) -> Bool {
    QuickFilter.mayHaveEffect(part, in: 0..<part.count, countsInto: false)
}

/// The search for byte sequences that might mean an effect.
enum QuickFilter {
    private typealias Chunk = SIMD16<UInt8>

    /// Bytes that one step reads: 16 positions and the three bytes after the last.
    private static var stepBytes: Int { 19 }

    /// Whether any sequence that might mean an effect lies in these bytes.
    ///
    /// - Parameter countsInto: whether `into` is such a sequence; in an INSERT it always stands and means nothing.
    static func mayHaveEffect(_ sql: UnsafeRawBufferPointer, in range: ByteRange, countsInto: Bool) -> Bool {
        precondition(range.upperBound <= sql.count)
        guard range.count >= stepBytes, let base = sql.baseAddress else {
            return mayHaveEffectShort(sql, in: range, countsInto: countsInto)
        }
        let into = SIMDMask<SIMD16<Int8>>(repeating: countsInto)
        let last = range.upperBound - stepBytes
        var offset = range.lowerBound
        var hits = SIMDMask<SIMD16<Int8>>(repeating: false)
        while offset < last {
            // SAFETY: offset < last, and last + 19 is the range's end, which the precondition puts inside the text.
            hits = hits .| step(base + offset, into)
            offset += 16
        }
        // SAFETY: last + 19 is the range's end. The last step may look at some bytes again; it leaves none out.
        hits = hits .| step(base + last, into)
        if anyLane(hits) { return true }
        // The last three bytes start no call; only a semicolon matters there.
        return (range.upperBound - 3..<range.upperBound).contains { sql[$0] == 0x3B }
    }

    @inline(__always)
    private static func step(_ bytes: UnsafeRawPointer, _ into: SIMDMask<SIMD16<Int8>>) -> SIMDMask<SIMD16<Int8>> {
        // SAFETY: the caller says that 19 bytes can be read here.
        let lower = Chunk(repeating: 0x20)
        let first = bytes.loadUnaligned(as: Chunk.self) | lower
        let second = bytes.loadUnaligned(fromByteOffset: 1, as: Chunk.self) | lower
        let third = bytes.loadUnaligned(fromByteOffset: 2, as: Chunk.self) | lower
        let fourth = bytes.loadUnaligned(fromByteOffset: 3, as: Chunk.self) | lower
        // With the case bit set an underscore is 0x7F; what else becomes one of these bytes only costs a lexing.
        let underscore = Chunk(repeating: 0x7F)
        let letterS = Chunk(repeating: 0x73)
        let letterT = Chunk(repeating: 0x74)
        let semicolon = first .== Chunk(repeating: 0x3B)
        let unicode = (first .== Chunk(repeating: 0x26)) .& (second .== Chunk(repeating: 0x22))
        let system =
            (first .== Chunk(repeating: 0x70)) .& (second .== Chunk(repeating: 0x67)) .& (third .== underscore)
        let set =
            (first .== letterS) .& (second .== Chunk(repeating: 0x65)) .& (third .== letterT)
            .& ((fourth .== underscore) .| (fourth .== letterS))
        let selectInto =
            (first .== Chunk(repeating: 0x69)) .& (second .== Chunk(repeating: 0x6E)) .& (third .== letterT)
            .& (fourth .== Chunk(repeating: 0x6F)) .& into
        return semicolon .| unicode .| system .| set .| selectInto
    }

    @inline(__always)
    private static func anyLane(_ mask: SIMDMask<SIMD16<Int8>>) -> Bool {
        // SAFETY: a mask of sixteen one-byte lanes, each 0 or -1, is sixteen bytes, as two UInt64 are.
        let halves = unsafeBitCast(mask, to: SIMD2<UInt64>.self)
        return halves[0] | halves[1] != 0
    }

    /// A text too short for one step: copied with zeros behind it, of which no sequence has any.
    private static func mayHaveEffectShort(
        _ sql: UnsafeRawBufferPointer, in range: ByteRange, countsInto: Bool
    ) -> Bool {
        withUnsafeTemporaryAllocation(byteCount: stepBytes + 3, alignment: 16) { padded in
            for index in 0..<padded.count {
                // SAFETY: the range is shorter than a step and ends inside the text, as the caller has checked.
                padded[index] = index < range.count ? sql[range.lowerBound + index] : 0
            }
            return mayHaveEffect(UnsafeRawBufferPointer(padded), in: 0..<padded.count, countsInto: countsInto)
        }
    }
}
