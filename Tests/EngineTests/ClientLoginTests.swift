// The pure decisions of a login: which start-up parameters are taken and how a client has to prove who it is.

import Configuration
import Testing
import Wire

@testable import Engine

@Suite struct ClientLoginTests {
    private func read(
        _ parameters: [(name: String, value: String)], ignored: [String] = [], reported: Set<String> = []
    ) -> Result<LoginRequest, LoginRefusal> {
        var settings = Settings()
        settings.ignoreStartupParameters = ignored
        do throws(LoginRefusal) {
            return .success(
                try readStartupParameters(
                    StartupMessage(minorVersion: 0, parameters: parameters), names: StartupNames(settings),
                    reported: reported))
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

    @Test("settings that servers report follow the client, in options too")
    func trackedSettings() throws {
        let request = try read(
            [("user", "a"), ("application_name", "x"), ("options", "-c search_path=s --TimeZone=UTC")],
            reported: ["search_path"]
        ).get()
        #expect(request.settings.map(\.name) == ["application_name", "search_path", "TimeZone"])
        #expect(request.settings.map(\.value) == ["x", "s", "UTC"])
    }

    @Test("a setting that cannot follow the client is refused by name, unless it is to be ignored")
    func unknownSettings() throws {
        let parameters = [(name: "user", value: "a"), (name: "extra_float_digits", value: "2")]
        #expect(refusal(read(parameters)) == "unsupported startup parameter: extra_float_digits")
        #expect(try read(parameters, ignored: ["extra_float_digits"]).get().settings.isEmpty)
        let options = [(name: "user", value: "a"), (name: "options", value: "-c geqo=off")]
        #expect(refusal(read(options)) == "unsupported startup parameter in options: geqo")
        #expect(try read(options, ignored: ["options"]).get().settings.isEmpty)
        #expect(try read(options, ignored: ["geqo"]).get().settings.isEmpty)
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
