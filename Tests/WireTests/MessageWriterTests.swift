// What is written must be what the manual says, byte for byte, and what the parsers of this module read back.

import Testing

@testable import Wire

@Suite struct MessageWriterTests {
    private static let layouts: [(name: String, bytes: [UInt8], expected: [UInt8])] = [
        ("ReadyForQuery", written { $0.readyForQuery(TransactionStatus.idle) }, [0x5a, 0, 0, 0, 5, 0x49]),
        ("Sync", written { $0.sync() }, [0x53, 0, 0, 0, 4]),
        ("Terminate", written { $0.terminate() }, [0x58, 0, 0, 0, 4]),
        ("ParseComplete", written { $0.parseComplete() }, ascii("1\0\0\0\u{4}")),
        ("BindComplete", written { $0.bindComplete() }, ascii("2\0\0\0\u{4}")),
        ("CloseComplete", written { $0.closeComplete() }, ascii("3\0\0\0\u{4}")),
        ("NoData", written { $0.noData() }, ascii("n\0\0\0\u{4}")),
        ("PortalSuspended", written { $0.portalSuspended() }, ascii("s\0\0\0\u{4}")),
        ("EmptyQueryResponse", written { $0.emptyQueryResponse() }, ascii("I\0\0\0\u{4}")),
        ("SSLRequest", written { $0.sslRequest() }, [0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f]),
        (
            "CancelRequest", written { $0.cancelRequest(processID: 258, secret: [9, 8, 7, 6]) },
            [0, 0, 0, 16, 0x04, 0xd2, 0x16, 0x2e, 0, 0, 1, 2, 9, 8, 7, 6]
        ),
        ("Query", written { $0.query("x") }, ascii("Q\0\0\0\u{6}x\0")),
        ("CommandComplete", written { $0.commandComplete("SHOW") }, ascii("C\0\0\0\u{9}SHOW\0")),
        (
            "StartupMessage", written { $0.startup(minorVersion: 2, parameters: [("user", "a")]) },
            [0, 0, 0, 16, 0, 3, 0, 2] + ascii("user\0a\0\0")
        ),
        (
            "DataRow", written { $0.dataRow(["é", nil, ""]) },
            ascii("D") + [0, 0, 0, 20, 0, 3, 0, 0, 0, 2, 0xc3, 0xa9, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0]
        ),
        (
            "RowDescription", written { $0.rowDescription([("n", 20), ("t", 25)]) },
            ascii("T") + [0, 0, 0, 46, 0, 2]
                + [0x6e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 8, 0xff, 0xff, 0xff, 0xff, 0, 0]
                + [0x74, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 25, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]
        ),
        (
            "ParameterDescription", written { $0.parameterDescription([23, 25]) },
            ascii("t") + [0, 0, 0, 14, 0, 2, 0, 0, 0, 23, 0, 0, 0, 25]
        ),
        (
            "NegotiateProtocolVersion", written { $0.negotiateProtocolVersion(minor: 0, unknownOptions: ["_pq_.x"]) },
            ascii("v") + [0, 0, 0, 19, 0, 3, 0, 0, 0, 0, 0, 1] + ascii("_pq_.x\0")
        ),
        ("AuthenticationOk", written { $0.authenticationOk() }, ascii("R") + [0, 0, 0, 8, 0, 0, 0, 0]),
        ("PasswordMessage", written { $0.password("pw") }, ascii("p\0\0\0\u{7}pw\0")),
        ("PasswordMessage of bytes", written { $0.password([0xff, 0xfe]) }, ascii("p\0\0\0\u{7}") + [0xff, 0xfe, 0]),
        ("SASLResponse", written { $0.saslResponse([1, 2]) }, ascii("p\0\0\0\u{6}\u{1}\u{2}")),
        (
            "ErrorResponse",
            written { $0.errorResponse(ErrorFields(code: "08006", message: "m", detail: "d", hint: "h")) },
            ascii("E\0\0\0\u{23}SERROR\0VERROR\0C08006\0Mm\0Dd\0Hh\0\0")
        ),
        (
            "NoticeResponse",
            written { writer in
                writer.noticeResponse(
                    ErrorFields(severity: "NOTICE", code: "00000", message: "", includeNonLocalized: false))
            }, ascii("N\0\0\0\u{16}SNOTICE\0C00000\0M\0\0")
        ),
    ]

    @Test("every message has the manual's layout", arguments: layouts)
    func layout(name: String, bytes: [UInt8], expected: [UInt8]) {
        #expect(bytes == expected, "\(name)")
    }

    @Test("messages follow each other in one buffer, each with its own length")
    func severalMessages() {
        var writer = MessageWriter()
        writer.commandComplete("SET")
        writer.readyForQuery(TransactionStatus.inTransaction)
        #expect(writer.bytes == ascii("C\0\0\0\u{8}SET\0") + ascii("Z\0\0\0\u{5}T"))
        writer.removeAll()
        #expect(writer.bytes.isEmpty)
    }

    @Test("a NUL in a text ends it, so that it cannot begin a field of its own")
    func embeddedNul() {
        #expect(written { $0.query("a\0b") } == written { $0.query("a") })
        #expect(written { $0.password([0x61, 0, 0x62]) } == written { $0.password("a") })
        let fields = ErrorFields(code: "XX000", message: "no database \"x\0C00000\0\"")
        let read = withExactBytes(payload { $0.errorResponse(fields) }) { ErrorFields.parse($0) }
        #expect(read.code == "XX000")
        #expect(read.message == "no database \"x")
    }

    @Test("lengths beyond one byte are big-endian")
    func longMessage() {
        let bytes = written { $0.query(String(repeating: "x", count: 70_000)) }
        #expect([UInt8](bytes.prefix(5)) == [0x51, 0x00, 0x01, 0x11, 0x75])
        #expect(bytes.count == 70_006)
    }
}

@Suite struct ErrorFieldsTests {
    private func parse(_ bytes: [UInt8]) -> ErrorFields {
        withExactBytes(bytes) { ErrorFields.parse($0) }
    }

    /// A payload with a bar for every NUL, so that the names of the tests can be printed.
    private func fields(_ text: String) -> [UInt8] { text.utf8.map { $0 == UInt8(ascii: "|") ? 0 : $0 } }

    @Test("an error is read back as it was written")
    func roundTrip() {
        let plain = ErrorFields(severity: "FATAL", code: SQLState.tooManyConnections, message: "too many", hint: "wait")
        var older = plain
        older.includeNonLocalized = false
        older.detail = "1 of 1"
        for fields in [plain, older] {
            #expect(parse(payload { $0.errorResponse(fields) }) == fields)
            #expect(parse(payload { $0.noticeResponse(fields) }) == fields)
        }
    }

    @Test(
        "the untranslated severity wins, wherever it stands", arguments: ["SFEHLER|VERROR||", "VERROR|SFEHLER||"])
    func severities(text: String) {
        #expect(parse(fields(text)).severity == "ERROR")
    }

    @Test(
        "what is missing or unknown leaves the defaults",
        arguments: ["", "|", "X", "Xx|", "SERROR", "Fpostgres.c|L12||C00000|"])
    func defaults(text: String) {
        #expect(parse(fields(text)) == ErrorFields(code: "XX000", message: "", includeNonLocalized: false))
    }

    @Test("an error that is cut off keeps the fields that are whole")
    func truncated() {
        let whole = payload { $0.errorResponse(ErrorFields(code: "57P01", message: "bye", detail: "d", hint: "h")) }
        for count in 0..<whole.count {
            let fields = parse([UInt8](whole.prefix(count)))
            #expect(fields.code == (count >= 21 ? "57P01" : "XX000"))
            #expect(fields.message == (count >= 26 ? "bye" : ""))
        }
    }
}

@Suite struct TagSetTests {
    @Test("a set contains its tags and nothing else")
    func membership() {
        let tags: [UInt8] = [0, 0x31, 0x3f, 0x40, BackendTag.readyForQuery, BackendTag.errorResponse, 0x7f]
        let set = TagSet(0, 0x31, 0x3f, 0x40, BackendTag.readyForQuery, BackendTag.errorResponse, 0x7f)
        for tag in UInt8.min...UInt8.max {
            #expect(set.contains(tag) == tags.contains(tag))
        }
        #expect(!TagSet().contains(0))
    }
}
