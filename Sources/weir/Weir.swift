// The command: arguments in PgBouncer's manner, then the process.

import ArgumentParser
import Console
import Engine

@main
struct Weir: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "weir",
        abstract: "A connection pooler for PostgreSQL.",
        usage: "weir [OPTION]... CONFIG.ini\n       weir [OPTION]... postgres://user:password@host:port/db")

    @Flag(name: [.customShort("d"), .long], help: "Run in the background (needs pidfile and logfile).")
    var daemon = false

    @Flag(name: [.customShort("q"), .long], help: "Write nothing to standard error; the log file is still written.")
    var quiet = false

    @Flag(name: [.customShort("v"), .customLong("verbose")], help: "Write more to the log; may be repeated.")
    var verbose: Int

    @Option(name: [.customShort("u"), .long], help: "Switch to this user after start.")
    var user: String?

    @Flag(name: [.customShort("V"), .long], help: "Print the version and exit.")
    var version = false

    @Flag(name: .customLong("print-config"), help: "Print every setting with its default, unit and explanation.")
    var printConfig = false

    @Argument(help: "The configuration file, or the address of the one server.")
    var arguments: [String] = []

    mutating func run() throws {
        if version {
            print("Weir \(weirVersion)")
            return
        }
        if printConfig {
            print(settingsReference(), terminator: "")
            return
        }
        guard arguments.count == 1 else {
            let what = arguments.isEmpty ? "no configuration file specified" : "too many command line arguments"
            writeError("weir: \(what)\nTry \"weir --help\" for more information.")
            throw ExitCode(1)
        }
        var options = LaunchOptions()
        if arguments[0].hasPrefix("postgres://") || arguments[0].hasPrefix("postgresql") && arguments[0].contains("://")
        {
            options.url = arguments[0]
        } else {
            options.path = arguments[0]
        }
        options.isDaemon = daemon
        options.isQuiet = quiet
        options.verbose = verbose
        options.user = user
        throw ExitCode(WeirProcess.run(options))
    }
}
