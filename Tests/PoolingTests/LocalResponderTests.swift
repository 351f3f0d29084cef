// The answers that a client gets while no server is there for it. The first table was taken from PostgreSQL 15, which
// was sent the same messages in a failed transaction: a client must not notice that nobody but Weir answers.

import Pooling
import Testing
import Wire

@Suite struct LocalResponderTests {
    /// Messages | separated, and the replies: a tag, with the SQLSTATE, the command or the status.
    static let asPostgreSQLAnswers: [(String, String)] = [
        ("Q:ROLLBACK", "C(ROLLBACK) ZI"),
        ("Q:rollback work;", "C(ROLLBACK) ZI"),
        ("Q: /* a /* b */ */ ABORT -- done", "C(ROLLBACK) ZI"),
        ("Q:COMMIT", "C(ROLLBACK) ZI"),
        ("Q:END TRANSACTION", "C(ROLLBACK) ZI"),
        ("Q:COMMIT AND NO CHAIN", "C(ROLLBACK) ZI"),
        ("Q:SELECT 1", "E(25P02) ZE"),
        ("Q:BEGIN", "E(25P02) ZE"),
        ("Q:", "I ZE"),
        ("Q: ; -- nothing", "I ZE"),
        ("Q:COMMIT PREPARED 'x'", "E(25P02) ZE"),
        ("Q:SELECT 1|Q:ROLLBACK", "E(25P02) ZE C(ROLLBACK) ZI"),
        ("F", "E(25P02) ZE"),
        ("F|Q:ROLLBACK", "E(25P02) ZE C(ROLLBACK) ZI"),
        ("S", "ZE"),
        ("H", ""),
        ("d|c|f|Q:ROLLBACK", "C(ROLLBACK) ZI"),
        ("P:ROLLBACK|B|E|S", "1 2 C(ROLLBACK) ZI"),
        ("P:ROLLBACK|DS|B|DP|E|CS|CP|S", "1 t n 2 n C(ROLLBACK) 3 3 ZI"),
        ("P:COMMIT|B|E|H|S", "1 2 C(ROLLBACK) ZI"),
        ("P:ROLLBACK|S|B|S|E|S", "1 ZE 2 ZE C(ROLLBACK) ZI"),
        ("P:SELECT 1|B|DP|E|S", "E(25P02) ZE"),
        ("P:SELECT 1|Q:ROLLBACK|S|Q:ROLLBACK", "E(25P02) ZE C(ROLLBACK) ZI"),
        ("P:SELECT 1|F|CS|H|d|S", "E(25P02) ZE"),
        ("P:|S", "1 ZE"),
        ("P:|DS|B|S", "1 t n E(25P02) ZE"),
        ("CS|CP|S", "3 3 ZE"),
        ("P:ROLLBACK|B|CS|E|S", "1 2 3 C(ROLLBACK) ZI"),
        ("P:ROLLBACK|P:SELECT 1|B|E|S", "1 E(25P02) ZE"),
        ("P:ROLLBACK|B|Q:SELECT 1|E|S", "1 2 E(25P02) ZE C(ROLLBACK) ZI"),
    ]

    /// Where Weir knows less than a server would, or cannot do what a server could.
    static let refusedOnPurpose: [(String, String)] = [
        ("Q:ROLLBACKX", "E(25P02) ZE"),
        ("Q:ROLLBACK; SELECT 1", "E(25P02) ZE"),
        ("Q:COMMIT; COMMIT", "E(25P02) ZE"),
        ("Q:ROLLBACK TO s", "E(25P02) ZE"),
        ("Q:COMMIT AND CHAIN", "E(25P02) ZE"),
        ("Q:PREPARE TRANSACTION 'x'", "E(25P02) ZE"),
        ("B|S", "E(25P02) ZE"),
        ("E|S", "E(25P02) ZE"),
        ("DP|S", "E(25P02) ZE"),
        ("DS|S", "E(25P02) ZE"),
        ("Bn|E|S", "E(25P02) ZE"),
        ("Pn:ROLLBACK|Bn|E|S", "E(25P02) ZE"),
        ("P1:ROLLBACK|B|E|S", "E(25P02) ZE"),
        ("P:ROLLBACK|CS|B|S", "1 3 E(25P02) ZE"),
        ("P:ROLLBACK|B|CP|E|S", "1 2 3 E(25P02) ZE"),
        ("P:ROLLBACK|B|E|P:SELECT 1|B|E|S", "1 2 C(ROLLBACK) E(08006) ZI"),
        ("P:ROLLBACK|B|E|E|S", "1 2 C(ROLLBACK) E(08006) ZI"),
        ("P:ROLLBACK|B|E|Q:SELECT 1", "1 2 C(ROLLBACK) E(08006) ZI"),
    ]

    /// Answers to a client that has no transaction and gets no server.
    static let withRefusal: [(String, String)] = [
        ("Q:SELECT 1", "E(53300) ZI"),
        ("Q:", "E(53300) ZI"),
        ("Q:ROLLBACK|Q:SELECT 1", "E(53300) ZI E(53300) ZI"),
        ("F", "E(53300) ZI"),
        ("P:SELECT 1|DS|B|DP|E|H|S", "E(53300) ZI"),
        ("P:SELECT 1|Q:SELECT 1|S", "E(53300) ZI"),
        ("P:SELECT 1|S|B|E|S", "E(53300) ZI E(53300) ZI"),
        ("Bn|E|S", "E(53300) ZI"),
        ("CS|S", "E(53300) ZI"),
        ("S", "ZI"),
        ("H|d|c|f", ""),
        ("X", ""),
    ]

    @Test("a failed transaction is answered as PostgreSQL answers it", arguments: asPostgreSQLAnswers)
    func failedTransaction(messages: String, replies: String) {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: true, insideBatch: false)
        #expect(answers(&responder, messages) == replies)
        #expect(responder.isFinished == replies.hasSuffix("ZI"))
    }

    @Test(
        "what cannot be done without a server is refused, and the transaction stays failed", arguments: refusedOnPurpose
    )
    func refused(messages: String, replies: String) {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: true, insideBatch: false)
        #expect(answers(&responder, messages) == replies)
        #expect(responder.isFinished == replies.hasSuffix("ZI"))
    }

    @Test("each query, batch and function call gets the refusal once", arguments: withRefusal)
    func refusal(messages: String, replies: String) {
        var responder = LocalResponder()
        let refusal = ErrorFields(code: SQLState.tooManyConnections, message: "query_wait_timeout")
        #expect(answers(&responder, messages, refusal: refusal) == replies)
        #expect(responder.isFinished)
    }

    @Test("a refusal in a failed transaction leaves it failed")
    func refusalInFailedTransaction() {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: true, insideBatch: false)
        let refusal = ErrorFields(code: SQLState.connectionFailure, message: "server closed the connection")
        #expect(answers(&responder, "Q:SELECT 1|P:x|E|S", refusal: refusal) == "E(08006) ZE E(08006) ZE")
        #expect(!responder.isFinished)
    }

    @Test(
        "a batch that lost its server is skipped until its Sync",
        arguments: [(true, "ZE"), (false, "ZI")])
    func lostInsideBatch(inTransaction: Bool, ready: String) {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: inTransaction, insideBatch: true)
        #expect(responder.skipsUntilSync)
        #expect(answers(&responder, "B|E|Q:ROLLBACK|P:ROLLBACK|F|d|c|H") == "")
        #expect(!responder.isFinished)
        #expect(answers(&responder, "S") == ready)
        #expect(responder.isFinished == !inTransaction)
    }

    @Test("losing a server outside of a transaction leaves nothing special")
    func lostWhileIdle() {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: false, insideBatch: false)
        #expect(responder == LocalResponder())
        #expect(responder.isFinished)
        #expect(responder.readyStatus == UInt8(ascii: "I"))
    }

    @Test("a rollback in a batch is finished only with its Sync")
    func finishedWithSync() {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: true, insideBatch: false)
        #expect(answers(&responder, "P:ROLLBACK|B|E") == "1 2 C(ROLLBACK)")
        #expect(!responder.isFinished)
        #expect(answers(&responder, "S") == "ZI")
        #expect(responder.isFinished)
    }

    @Test("a statement of which the end has not arrived does not end the transaction", arguments: ["Q", "P"])
    func prefixes(kind: String) {
        let whole = message("\(kind):ROLLBACK")
        for length in 0..<whole.payload.count {
            var responder = LocalResponder()
            responder.serverLost(inTransaction: true, insideBatch: false)
            var writer = MessageWriter()
            whole.payload.withUnsafeBytes { payload in
                let prefix = UnsafeRawBufferPointer(rebasing: payload[..<length])
                responder.received(tag: whole.tag, payload: prefix, refusal: nil, into: &writer)
            }
            #expect(replies(in: writer.bytes).hasPrefix("E(25P02)"))
            #expect(responder.status == .failed)
        }
    }

    @Test("the error in a failed transaction has PostgreSQL's words")
    func words() throws {
        var responder = LocalResponder()
        responder.serverLost(inTransaction: true, insideBatch: false)
        var writer = MessageWriter()
        responder.received(
            tag: FrontendTag.functionCall, payload: UnsafeRawBufferPointer(start: nil, count: 0), refusal: nil,
            into: &writer)
        let fields = writer.bytes.withUnsafeBytes { ErrorFields.parse(UnsafeRawBufferPointer(rebasing: $0[5...])) }
        #expect(fields.severity == "ERROR")
        #expect(fields.message == "current transaction is aborted, commands ignored until end of transaction block")
        #expect(fields.hint != nil)
    }

    @Test(
        "any bytes get an answer or none, and leave a state that Sync and ROLLBACK end",
        arguments: [1, 2, 3] as [UInt64])
    func anyBytes(seed: UInt64) {
        print("LocalResponderTests.anyBytes seed \(seed)")
        var chance = SplitMix(state: seed)
        for _ in 0..<500 {
            var responder = LocalResponder()
            responder.serverLost(inTransaction: true, insideBatch: Bool.random(using: &chance))
            var writer = MessageWriter()
            for _ in 0..<Int.random(in: 0...6, using: &chance) {
                let tag = "QPBDECHSFdcfXp".utf8.randomElement(using: &chance) ?? 0
                let letters = Array("ROLLBACKS P;\0\0\0/*-\u{e9}".utf8)
                let payload = (0..<Int.random(in: 0...12, using: &chance)).map { _ in
                    letters.randomElement(using: &chance) ?? 0
                }
                payload.withUnsafeBytes {
                    responder.received(tag: tag, payload: $0, refusal: nil, into: &writer)
                }
            }
            #expect(answers(&responder, "S").hasPrefix("Z"))
            _ = answers(&responder, "Q:ROLLBACK")
            #expect(responder.isFinished)
        }
    }

    @Test("a responder is small enough to live in every client")
    func size() {
        #expect(MemoryLayout<LocalResponder>.size <= 16)
    }

    /// The replies to the messages, in the tables' form.
    private func answers(_ responder: inout LocalResponder, _ text: String, refusal: ErrorFields? = nil) -> String {
        var writer = MessageWriter()
        for word in text.split(separator: "|") {
            let (tag, payload) = message(String(word))
            payload.withUnsafeBytes { responder.received(tag: tag, payload: $0, refusal: refusal, into: &writer) }
        }
        return replies(in: writer.bytes)
    }

    /// A message from its short form: a tag, for some tags a letter more, and for statements `:` with their text.
    private func message(_ word: String) -> (tag: UInt8, payload: [UInt8]) {
        let parts = word.split(separator: ":", maxSplits: 1, omittingEmptySubsequences: false)
        let text = Array((parts.count == 2 ? String(parts[1]) : "").utf8) + [0]
        let tag = word.utf8.first ?? 0
        switch parts[0] {
        case "Q": return (tag, text)
        case "P": return (tag, [0] + text + [0, 0])
        case "Pn": return (tag, Array("n\0".utf8) + text + [0, 0])
        case "P1": return (tag, [0] + text + [0, 1, 0, 0, 0, 23])
        case "B": return (tag, [0, 0, 0, 0, 0, 0, 0, 0])
        case "Bn": return (tag, [0] + Array("n\0".utf8) + [0, 0, 0, 0, 0, 0])
        case "DS", "CS": return (tag, Array("S\0".utf8))
        case "DP", "CP": return (tag, Array("P\0".utf8))
        case "E": return (tag, [0, 0, 0, 0, 0])
        case "F": return (tag, [0, 0, 0, 1, 0, 0, 0, 0, 0, 0])
        case "d", "f": return (tag, Array("x\0".utf8))
        default: return (tag, [])
        }
    }

    /// The short form of a run of server messages.
    private func replies(in bytes: [UInt8]) -> String {
        var words: [String] = []
        var offset = 0
        while offset + 5 <= bytes.count {
            let length = bytes[(offset + 1)..<(offset + 5)].reduce(0) { $0 << 8 | Int($1) }
            let payload = bytes[(offset + 5)..<(offset + 1 + length)]
            var word = String(UnicodeScalar(bytes[offset]))
            switch word {
            case "Z": word += String(decoding: payload, as: UTF8.self)
            case "C": word += "(" + String(decoding: payload.dropLast(), as: UTF8.self) + ")"
            case "E": word += "(" + Array(payload).withUnsafeBytes { ErrorFields.parse($0).code } + ")"
            default: break
            }
            words.append(word)
            offset += 1 + length
        }
        return words.joined(separator: " ")
    }
}

/// A small seeded source of chance.
private struct SplitMix: RandomNumberGenerator {
    var state: UInt64

    mutating func next() -> UInt64 {
        state &+= 0x9E37_79B9_7F4A_7C15
        var mixed = state
        mixed = (mixed ^ (mixed >> 30)) &* 0xBF58_476D_1CE4_E5B9
        mixed = (mixed ^ (mixed >> 27)) &* 0x94D0_49BB_1331_11EB
        return mixed ^ (mixed >> 31)
    }
}
