// The few messages whose content is read: what the writer writes is read back, and whatever is cut off or too long is
// malformed, at every length.

import Testing

@testable import Wire

/// One parser with a payload that it accepts.
struct ParserCase: Sendable, CustomTestStringConvertible {
    let name: String
    let whole: [UInt8]
    /// From how many bytes on a prefix is accepted; the payload's length for most.
    let acceptedFrom: Int
    /// Whether a byte too many is accepted too.
    let acceptsMore: Bool
    let accepts: @Sendable (UnsafeRawBufferPointer) -> Bool

    init(
        _ name: String, _ whole: [UInt8], acceptedFrom: Int? = nil, acceptsMore: Bool = false,
        _ accepts: @escaping @Sendable (UnsafeRawBufferPointer) -> Bool
    ) {
        self.name = name
        self.whole = whole
        self.acceptedFrom = acceptedFrom ?? whole.count
        self.acceptsMore = acceptsMore
        self.accepts = accepts
    }

    var testDescription: String { name }

    static let parsePayload = ascii("s1\0select $1\0") + [0, 2, 0, 0, 0, 23, 0, 0, 0, 25]
    static let bindPayload = ascii("p1\0s1\0") + [0, 0, 0, 0, 0, 0]

    static let all: [ParserCase] = [
        ParserCase("ParameterStatus", payload { $0.parameterStatus(name: "TimeZone", value: "UTC") }) {
            parseParameterStatus($0) != nil
        },
        ParserCase("BackendKeyData", [0, 0, 0, 1] + [UInt8](repeating: 7, count: 4), acceptsMore: true) {
            parseBackendKeyData($0) != nil
        },
        ParserCase("BackendKeyData 3.2", [0, 0, 0, 1] + [UInt8](repeating: 7, count: 256), acceptedFrom: 8) {
            parseBackendKeyData($0) != nil
        },
        ParserCase("ReadyForQuery", [0x45]) { parseReadyForQuery($0) != nil },
        ParserCase("AuthenticationOk", payload { $0.authenticationOk() }) { parseAuthentication($0) != nil },
        ParserCase("AuthenticationMD5", payload { $0.authenticationMD5(salt: [1, 2, 3, 4]) }) {
            parseAuthentication($0) != nil
        },
        ParserCase("AuthenticationSASL", payload { $0.authenticationSASL(mechanisms: ["A", "B"]) }) {
            parseAuthentication($0) != nil
        },
        ParserCase(
            "AuthenticationSASLContinue", payload { $0.authenticationSASLContinue([1, 2]) }, acceptedFrom: 4,
            acceptsMore: true
        ) { parseAuthentication($0) != nil },
        ParserCase("SASLInitialResponse", payload { $0.saslInitialResponse(mechanism: "M", response: [1, 2]) }) {
            parseSASLInitialResponse($0) != nil
        },
        ParserCase(
            "SASLInitialResponse without response", payload { $0.saslInitialResponse(mechanism: "M", response: nil) }
        ) {
            parseSASLInitialResponse($0) != nil
        },
        ParserCase("Query", payload { $0.query("select 1") }) { parseQueryText($0) != nil },
        ParserCase("PasswordMessage", payload { $0.password("secret") }) { parsePasswordMessage($0) != nil },
        ParserCase("Parse", parsePayload) { parseParse($0) != nil },
        ParserCase("Bind", bindPayload, acceptedFrom: 6, acceptsMore: true) { parseBind($0) != nil },
        ParserCase("Describe", ascii("Sname\0")) { parseDescribeOrClose($0) != nil },
        ParserCase("Execute", ascii("portal\0") + [0, 0, 0, 9]) { parseExecute($0) != nil },
    ]
}

@Suite struct ControlMessagesTests {
    @Test("a payload is malformed at every length but its own", arguments: ParserCase.all)
    func truncated(parser: ParserCase) {
        for count in 0...parser.whole.count {
            let isAccepted = withExactBytes([UInt8](parser.whole.prefix(count))) { parser.accepts($0) }
            #expect(isAccepted == (count >= parser.acceptedFrom), "\(count) of \(parser.whole.count) bytes")
        }
        #expect(withExactBytes(parser.whole + [1]) { parser.accepts($0) } == parser.acceptsMore)
    }

    @Test("what is written is read back")
    func roundTrips() {
        let status = withExactBytes(payload { $0.parameterStatus(name: "DateStyle", value: "ISO, é") }) {
            parseParameterStatus($0)
        }
        #expect(status?.name == "DateStyle")
        #expect(status?.value == "ISO, é")

        let key = withExactBytes(payload { $0.backendKeyData(processID: -2, secret: [5, 6, 7, 8]) }) {
            parseBackendKeyData($0)
        }
        #expect(key?.processID == -2)
        #expect(key?.secret == [5, 6, 7, 8])

        let query = withExactBytes(payload { $0.query("select 'ü'") }) { parseQueryText($0) }
        #expect(query == "select 'ü'")
        #expect(withExactBytes(payload { $0.password([0xff, 1]) }) { parsePasswordMessage($0) } == [0xff, 1])
    }

    private static let authentications: [(bytes: [UInt8], request: AuthenticationRequest)] = [
        (payload { $0.authenticationOk() }, .ok),
        (payload { $0.authenticationCleartext() }, .cleartextPassword),
        (payload { $0.authenticationMD5(salt: [1, 2, 3, 4]) }, .md5Password(salt: [1, 2, 3, 4])),
        (
            payload { $0.authenticationSASL(mechanisms: ["SCRAM-SHA-256-PLUS", scramMechanism]) },
            .sasl(mechanisms: ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"])
        ),
        (payload { $0.authenticationSASL(mechanisms: []) }, .sasl(mechanisms: [])),
        (payload { $0.authenticationSASLContinue([]) }, .saslContinue([])),
        (payload { $0.authenticationSASLFinal([1]) }, .saslFinal([1])),
        ([0, 0, 0, 7], .unsupported(7)),
        ([0xff, 0xff, 0xff, 0xff, 9], .unsupported(-1)),
    ]

    @Test("every Authentication message is told apart", arguments: authentications)
    func authentication(bytes: [UInt8], request: AuthenticationRequest) {
        #expect(withExactBytes(bytes) { parseAuthentication($0) } == request)
    }

    @Test("a SASL response may be empty or missing, and these differ")
    func saslInitialResponses() {
        for response in [nil, [], [0, 1]] as [[UInt8]?] {
            let read = withExactBytes(payload { $0.saslInitialResponse(mechanism: "M", response: response) }) {
                parseSASLInitialResponse($0)
            }
            #expect(read?.mechanism == "M")
            #expect(read.map(\.response) == .some(response))
        }
        #expect(withExactBytes(ascii("M\0") + [0xff, 0xff, 0xff, 0xfe]) { parseSASLInitialResponse($0) } == nil)
        #expect(withExactBytes(ascii("M\0") + [0x7f, 0xff, 0xff, 0xff, 1]) { parseSASLInitialResponse($0) } == nil)
    }

    @Test("a Parse tells its name, its text, where the text stands and how many types it has")
    func parse() {
        let whole = ParserCase.parsePayload
        let message = withExactBytes(whole) { parseParse($0) }
        #expect(message?.statement == "s1")
        #expect(message?.query == "select $1")
        #expect(message.map { [UInt8](whole[$0.queryRange]) } == ascii("select $1"))
        #expect(message?.parameterCount == 2)
        #expect(withExactBytes(ascii("\0\0") + [0xff, 0xff]) { parseParse($0) } == nil)
    }

    @Test("two statement texts that are not UTF-8 still have different bytes")
    func notUTF8() {
        let first = ascii("\0select '") + [0xe8] + ascii("'\0\0\0")
        let message = withExactBytes(first) { parseParse($0) }
        #expect(message?.query == "select '\u{fffd}'")
        #expect(message.map { [UInt8](first[$0.queryRange]) } == [UInt8](first[1..<11]))
    }

    @Test("names that are not UTF-8 are malformed")
    func badNames() {
        #expect(withExactBytes([0xe8, 0, 0]) { parseBind($0) } == nil)
        #expect(withExactBytes([0x53, 0xe8, 0]) { parseDescribeOrClose($0) } == nil)
        #expect(withExactBytes([0xe8, 0, 0, 0, 0, 0]) { parseExecute($0) } == nil)
        #expect(withExactBytes([0xe8, 0, 0, 0, 0]) { parseParse($0) } == nil)
    }

    @Test("Bind, Describe, Close and Execute tell what they name")
    func names() {
        let bind = withExactBytes(ParserCase.bindPayload) { parseBind($0) }
        #expect(bind?.portal == "p1")
        #expect(bind?.statement == "s1")
        let close = withExactBytes(ascii("P\0")) { parseDescribeOrClose($0) }
        #expect(close?.kind == UInt8(ascii: "P"))
        #expect(close?.name == "")
        #expect(withExactBytes(ascii("X\0")) { parseDescribeOrClose($0) } == nil)
        let execute = withExactBytes(ascii("c\0") + [0xff, 0xff, 0xff, 0xff]) { parseExecute($0) }
        #expect(execute?.portal == "c")
        #expect(execute?.rowsMax == -1)
        #expect(withExactBytes([0x58]) { parseReadyForQuery($0) } == nil)
    }

    private static let negotiations: [(bytes: [UInt8], minor: Int, unknown: Int)] = [
        (payload { $0.negotiateProtocolVersion(minor: 0, unknownOptions: []) }, 0, 0),
        (payload { $0.negotiateProtocolVersion(minor: 2, unknownOptions: ["_pq_.a", "_pq_.b"]) }, 2, 2),
        ([0, 0, 0, 2, 0, 0, 0, 0], 2, 0),
    ]

    @Test("a negotiation tells the minor version, whole or alone, and the unknown options", arguments: negotiations)
    func negotiation(bytes: [UInt8], minor: Int, unknown: Int) {
        let read = withExactBytes(bytes) { parseNegotiateProtocolVersion($0) }
        #expect(read?.minorVersion == minor)
        #expect(read?.unknownOptions == unknown)
    }

    @Test(
        "a negotiation of another major version, or whose options are not there, is malformed",
        arguments: [
            [], [0, 3, 0, 0], [0, 4, 0, 0, 0, 0, 0, 0], [0xff, 0xff, 0, 0, 0, 0, 0, 0],
            [0, 3, 0, 0, 0xff, 0xff, 0xff, 0xff], [0, 3, 0, 0, 0x7f, 0xff, 0xff, 0xff, 0], [0, 3, 0, 0, 0, 0, 0, 0, 0],
            [0, 3, 0, 0, 0, 0, 0, 1, 65],
        ] as [[UInt8]])
    func badNegotiation(bytes: [UInt8]) {
        #expect(withExactBytes(bytes) { parseNegotiateProtocolVersion($0) } == nil)
    }
}
