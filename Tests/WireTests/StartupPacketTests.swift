// The first packet comes from somebody unknown: what is accepted, what is refused and with which reason.

import Testing

@testable import Wire

@Suite struct StartupPacketTests {
    private func parse(_ bytes: [UInt8]) throws -> StartupRequest {
        try withExactBytes(bytes) { (packet) throws(StartupError) in try parseStartupPacket(packet) }
    }

    private func length(_ bytes: [UInt8]) throws -> Int? {
        try withExactBytes(bytes) { (packet) throws(StartupError) in try startupPacketLength(packet) }
    }

    /// A packet with a correct length.
    private func packet(_ code: UInt32, _ rest: [UInt8] = []) -> [UInt8] {
        var writer = MessageWriter()
        writer.beginUntagged()
        writer.int32(Int32(bitPattern: code))
        writer.rawBytes(rest)
        writer.end()
        return writer.bytes
    }

    private let session = written { writer in
        writer.startup(
            minorVersion: 0, parameters: [("user", "alice"), ("database", "shop"), ("application_name", "")])
    }

    @Test("a session request gives its parameters in order")
    func sessionRequest() throws {
        guard case .startup(let message) = try parse(session) else {
            Issue.record("not a session request")
            return
        }
        #expect(message.minorVersion == 0)
        #expect(message.parameters.map(\.name) == ["user", "database", "application_name"])
        #expect(message.parameters.map(\.value) == ["alice", "shop", ""])
        #expect(message.value("database") == "shop")
        #expect(message.value("options") == nil)
    }

    @Test("of a repeated parameter the last one counts")
    func repeatedParameter() {
        let message = StartupMessage(minorVersion: 0, parameters: [("user", "a"), ("user", "b")])
        #expect(message.value("user") == "b")
    }

    @Test(
        "the newest version that both know is spoken, and 3.1 is none",
        arguments: [(0, 0), (1, 0), (2, 2), (3, 2), (9999, 2), (65535, 2)])
    func spoken(asked: Int, spoken: Int) {
        #expect(spokenMinorVersion(askedFor: asked) == spoken)
    }

    @Test("newer minor versions of protocol 3 are accepted", arguments: [0, 2, 9999, 65535])
    func minorVersions(minor: Int) throws {
        let bytes = written { $0.startup(minorVersion: minor, parameters: [("user", "alice")]) }
        guard case .startup(let message) = try parse(bytes) else {
            Issue.record("not a session request")
            return
        }
        #expect(message.minorVersion == minor)
    }

    @Test(
        "other protocol versions are refused by their numbers",
        arguments: [(0x0002_0000, 2, 0), (0x0004_0001, 4, 1), (0xffff_fffe, 65535, 65534), (80_877_105, 1234, 5681)])
    func unsupportedVersions(code: UInt32, major: Int, minor: Int) {
        #expect(throws: StartupError.unsupportedProtocol(major: major, minor: minor)) {
            try parse(packet(code, [0]))
        }
    }

    @Test("requests for encryption are nothing but their code")
    func encryptionRequests() throws {
        guard case .sslRequest = try parse(written { $0.sslRequest() }) else {
            Issue.record("not an SSLRequest")
            return
        }
        guard case .gssEncryptionRequest = try parse(packet(80_877_104)) else {
            Issue.record("not a GSSENCRequest")
            return
        }
        #expect(throws: StartupError.badLength) { try parse(packet(80_877_103, [0])) }
        #expect(throws: StartupError.badLength) { try parse(packet(80_877_104, [0])) }
    }

    @Test("a cancel request carries 4 to 256 bytes of secret", arguments: [4, 32, 256])
    func cancelRequests(secretBytes: Int) throws {
        let secret = (0..<secretBytes).map { UInt8(truncatingIfNeeded: $0) }
        guard
            case .cancel(let processID, let found) = try parse(
                written { $0.cancelRequest(processID: -7, secret: secret) })
        else {
            Issue.record("not a cancel request")
            return
        }
        #expect(processID == -7)
        #expect(found == secret)
    }

    @Test("a cancel request with any other length is refused", arguments: [0, 3, 4, 7, 261])
    func badCancelRequests(bytes: Int) {
        #expect(throws: StartupError.badLength) {
            try parse(packet(80_877_102, [UInt8](repeating: 1, count: bytes)))
        }
    }

    @Test("a packet that is not all there is incomplete, at every length")
    func truncated() {
        for count in 0..<session.count {
            #expect(throws: StartupError.incomplete) { try parse([UInt8](session.prefix(count))) }
        }
    }

    @Test("bytes behind the packet are refused")
    func tooManyBytes() {
        #expect(throws: StartupError.badLength) { try parse(session + [0]) }
    }

    @Test("a layout that does not end in its terminator is refused, wherever it is cut")
    func badLayout() {
        let parameters = [UInt8](session.dropFirst(8))
        let expected = StartupError.badLayout("invalid startup packet layout: expected terminator as last byte")
        for count in 0..<parameters.count {
            #expect(throws: expected) { try parse(packet(0x0003_0000, [UInt8](parameters.prefix(count)))) }
        }
        #expect(throws: expected) { try parse(packet(0x0003_0000, [0, 0])) }
        #expect(throws: Never.self) { try parse(packet(0x0003_0000, [0])) }
    }

    @Test("names that are not UTF-8 are refused, other values are repaired")
    func notUTF8() throws {
        let bad = ascii("caf") + [0xe9, 0]
        for name in ["user", "database"] {
            #expect(throws: StartupError.badLayout("invalid startup packet layout: \"\(name)\" is not valid UTF-8")) {
                try parse(packet(0x0003_0000, ascii("\(name)\0") + bad + [0]))
            }
        }
        #expect(throws: StartupError.badLayout("invalid startup packet layout: parameter name is not valid UTF-8")) {
            try parse(packet(0x0003_0000, bad + [0x78, 0, 0]))
        }
        guard case .startup(let message) = try parse(packet(0x0003_0000, ascii("application_name\0") + bad + [0]))
        else {
            Issue.record("not a session request")
            return
        }
        #expect(message.value("application_name") == "caf\u{fffd}")
    }

    @Test("the length is known after four bytes and has a limit")
    func lengths() throws {
        #expect(try length([]) == nil)
        #expect(try length([0, 0, 0]) == nil)
        #expect(try length([0, 0, 0, 8]) == 8)
        #expect(try length([0, 0, 0x27, 0x10]) == 10_000)
        #expect(throws: StartupError.tooLong) { try length([0, 0, 0x27, 0x11]) }
        #expect(throws: StartupError.tooLong) { try length([0x7f, 0xff, 0xff, 0xff]) }
        #expect(throws: StartupError.badLength) { try length([0, 0, 0, 7]) }
        #expect(throws: StartupError.badLength) { try length([0xff, 0xff, 0xff, 0xff]) }
    }
}

@Suite struct StartupOptionsTests {
    private static let accepted: [(text: String, settings: [String])] = [
        ("", []),
        (" \t\n", []),
        ("-c search_path=a", ["search_path|a"]),
        ("-csearch_path=a  --work-mem=1MB", ["search_path|a", "work_mem|1MB"]),
        ("-c a=1\t-c b=", ["a|1", "b|"]),
        ("--a=b=c", ["a|b=c"]),
        (#"-c a=x\ y\\z"#, [#"a|x y\z"#]),
        (#"-c a=\-c"#, ["a|-c"]),
        (#"-c a=1\"#, ["a|1"]),
        ("-c datestyle=ISO,\\ MDY --é=ü", ["datestyle|ISO, MDY", "é|ü"]),
    ]

    @Test("settings in options are read as PostgreSQL reads them", arguments: accepted)
    func settings(text: String, settings: [String]) throws {
        #expect(try parseOptions(text).map { "\($0.name)|\($0.value)" } == settings)
    }

    @Test(
        "switches that set nothing are refused",
        arguments: ["-c", "-c a", "-c =1", "--", "--a", "--=1", "-B 100", "a=1", "-", "-c a=1 x", #"\"#, "-C a=1"])
    func refused(text: String) {
        #expect(
            throws: StartupError.badLayout(
                "unsupported options startup parameter: only '-c config=val' and '--config=val' are allowed")
        ) { try parseOptions(text) }
    }
}
