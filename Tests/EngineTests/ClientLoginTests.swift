// The pure decisions of a login: which start-up parameters are taken and how a client has to prove who it is.

import Configuration
import Testing
import Wire

@testable import Engine

@Suite struct ClientLoginTests {
    private func read(
        _ parameters: [(name: String, value: String)], ignored: Set<String> = []
    ) -> Result<LoginRequest, LoginRefusal> {
        do throws(LoginRefusal) {
            return .success(
                try readStartupParameters(
                    StartupMessage(minorVersion: 0, parameters: parameters), ignored: ignored))
        } catch {
            return .failure(error)
        }
    }

    private func refusal(_ result: Result<LoginRequest, LoginRefusal>) -> String? {
        if case .failure(let refusal) = result { return refusal.error.message }
        return nil
    }

    @Test("the database is named like the user when none is given")
    func databaseDefault() throws {
        let request = try read([("user", "app")]).get()
        #expect(request.user == "app")
        #expect(request.database == "app")
    }

    @Test("a login without a user is refused", arguments: [[], [(name: "database", value: "app")]])
    func noUser(parameters: [(name: String, value: String)]) {
        #expect(refusal(read(parameters)) == "no username supplied")
    }

    @Test("every parameter is a setting of the client, those in options first")
    func settings() throws {
        let request = try read(
            [("user", "a"), ("application_name", "x"), ("options", "-c search_path=s --TimeZone=UTC")]
        ).get()
        #expect(request.settings.map(\.name) == ["search_path", "TimeZone", "application_name"])
        #expect(request.settings.map(\.value) == ["s", "UTC", "x"])
    }

    @Test(
        "of a repeated setting the last value counts, the packet's own after that in options, whatever the case",
        arguments: [
            [("work_mem", "1"), ("WORK_MEM", "3")], [("Work_Mem", "3"), ("options", "-c work_mem=1 -c work_mem=2")],
            [("options", "-c work_mem=1"), ("options", "-c work_mem=2 --work-mem=3")],
        ])
    func repeatedSettings(parameters: [(name: String, value: String)]) throws {
        let request = try read([("user", "a")] + parameters).get()
        #expect(request.settings.map(\.value) == ["3"])
        #expect(request.settings.first?.name.lowercased() == "work_mem")
    }

    @Test("what is to be ignored is dropped, in options too")
    func ignoredSettings() throws {
        let parameters = [(name: "user", value: "a"), (name: "Extra_Float_Digits", value: "2")]
        #expect(try read(parameters, ignored: ["extra_float_digits"]).get().settings.isEmpty)
        let options = [(name: "user", value: "a"), (name: "options", value: "-c geqo=off")]
        #expect(try read(options, ignored: ["options"]).get().settings.isEmpty)
        #expect(try read(options, ignored: ["geqo"]).get().settings.isEmpty)
    }

    @Test("what begins anew with every transaction is no setting of a session")
    func settingsOfTransactions() throws {
        let parameters = [("user", "a"), ("transaction_isolation", "serializable"), ("SEED", "0.5")]
        #expect(try read(parameters).get().settings.isEmpty)
    }

    @Test(
        "a name that cannot be one of a setting is refused in PostgreSQL's words",
        arguments: ["", " ", "a b", "a-b", "a;b", "a\"", "1a", "é", "\u{212A}ey"])
    func unknownNames(name: String) {
        let found = read([("user", "a"), (name, "1")])
        #expect(refusal(found) == "unrecognized configuration parameter \"\(name)\"")
        let custom = read([("user", "a"), ("app.\(name)", "1")])
        #expect(refusal(custom) == "invalid configuration parameter name \"app.\(name)\"")
    }

    @Test("names of letters, digits, underscores and dollars are taken, with any number of dots")
    func goodNames() throws {
        for name in ["work_mem", "_a", "a1$", "app.x", "a.b.c$1"] {
            #expect(try read([("user", "a"), (name, "1")]).get().settings.map(\.name) == [name])
        }
    }

    @Test(
        "what no session can begin with is refused",
        arguments: [
            ("LOCAL_preload_libraries", "x"), ("app.x", String(repeating: "y", count: 1_025)),
            ("app." + String(repeating: "x", count: 60), "y"), ("app.x", "\u{FFFD}"),
        ])
    func impossibleSettings(name: String, value: String) {
        #expect(refusal(read([("user", "a"), (name, value)])) == "unsupported startup parameter: \(name)")
    }

    @Test("sixty-four settings are taken, one more is too many")
    func tooManySettings() throws {
        let parameters = (0..<64).map { (name: "app.s\($0)", value: "1") } + [(name: "user", value: "a")]
        #expect(try read(parameters).get().settings.count == 64)
        #expect(refusal(read(parameters + [("work_mem", "1MB")])) == "too many startup parameters")
    }

    @Test("protocol extensions are collected to be refused politely")
    func protocolOptions() throws {
        let request = try read([("user", "a"), ("_pq_.something", "1")]).get()
        #expect(request.unknownOptions == ["_pq_.something"])
    }

    @Test(
        "replication is physical, logical or none, by PostgreSQL's words",
        arguments: [
            ("true", ReplicationKind.physical), ("ON", .physical), ("yes", .physical), ("1", .physical),
            ("database", .logical), ("false", .none), ("off", .none), ("0", .none),
        ])
    func replication(value: String, expected: ReplicationKind) throws {
        #expect(try read([("user", "a"), ("replication", value)]).get().replication == expected)
    }

    @Test("another word for replication is refused")
    func unknownReplication() {
        let parameters = [(name: "user", value: "a"), (name: "replication", value: "maybe")]
        #expect(refusal(read(parameters)) == "invalid value for parameter \"replication\": \"maybe\"")
    }

    @Test("a replication client's settings are for the server to judge, in its order, ignored or not")
    func settingsOfReplication() throws {
        let parameters = [
            (name: "options", value: "-c geqo=off"), (name: "user", value: "a"),
            (name: "extra_float_digits", value: "2"), (name: "replication", value: "database"),
            (name: "application_name", value: "x"),
        ]
        let request = try read(parameters, ignored: ["options"]).get()
        #expect(request.settings.map(\.name) == ["options", "extra_float_digits", "application_name"])
        #expect(request.settings.map(\.value) == ["-c geqo=off", "2", "x"])
    }

    @Test("a name that is too long is refused", arguments: ["user", "database"])
    func longNames(parameter: String) {
        let parameters = [(name: "user", value: "a"), (name: parameter, value: String(repeating: "x", count: 500))]
        #expect(refusal(read(parameters))?.hasSuffix("too long") == true)
    }

    @Test(
        "the method follows auth_type and the stored secret",
        arguments: [
            (AuthType.trust, Secret?.some(.plain("x")), false, AuthenticationMethod.accept),
            (.trust, nil, false, .refuse),
            (.trust, nil, true, .accept),
            (.any, nil, true, .accept),
            (.any, .plain("x"), false, .refuse),
            (.plain, nil, false, .cleartext),
            (.md5, .plain("x"), false, .md5),
            (.md5, nil, false, .md5),
            (.md5, .scram("SCRAM-SHA-256$…"), false, .scram),
            (.scramSHA256, nil, false, .scram),
            (.scramSHA256, .md5("md5…"), false, .scram),
            (.hba, .plain("x"), true, .refuse),
        ])
    func methods(type: AuthType, secret: Secret?, hasForcedUser: Bool, expected: AuthenticationMethod) {
        #expect(authenticationMethod(type, secret: secret, hasForcedUser: hasForcedUser) == expected)
    }
}
