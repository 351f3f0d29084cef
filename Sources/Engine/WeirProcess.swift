// The process: start, signals, reload, shutdown. Everything that can go wrong at start goes wrong here, before
// anything runs: one line on standard error and exit code 1, nothing half started.
//
//     configuration → log → privileges → pidfile and socket free? → daemon → file limit → listen → pidfile
//         → workers → "process up" → READY=1 → requests, until the end

import CLinux
import Configuration
import Console
import Glibc
import Pooling
import Reactor
import Synchronization

/// Why the process could not start.
public struct StartError: Error, CustomStringConvertible, Sendable {
    /// What went wrong, in one line or several.
    public let description: String

    init(_ description: String) { self.description = description }
}

/// What the command line says.
public struct LaunchOptions: Sendable {
    /// The configuration file; nil when an address was given instead.
    public var path: String?
    /// The address of the one server, `postgres://…`.
    public var url: String?
    /// Run in the background (`-d`).
    public var isDaemon = false
    /// Nothing on standard error (`-q`).
    public var isQuiet = false
    /// How often `-v` was given.
    public var verbose = 0
    /// The user to run as (`-u`), instead of the setting.
    public var user: String?

    /// Nothing given.
    public init() {}
}

/// The running process: the control thread's side.
public final class WeirProcess {
    let options: LaunchOptions
    let log: LogSink
    let shared: Shared
    let notifier: ServiceNotifier
    var configuration: Configuration
    var drained: Set<Int> = []
    var ended: Set<Int> = []
    var statisticsAt: Int64
    var shutdownSignals = 0

    private init(options: LaunchOptions, configuration: Configuration, log: LogSink, shared: Shared) {
        self.options = options
        self.configuration = configuration
        self.log = log
        self.shared = shared
        notifier = ServiceNotifier.fromEnvironment()
        statisticsAt = readMonotonicMicroseconds()
    }

    // MARK: Start

    /// Starts Weir and runs it to its end.
    ///
    /// - Returns: the exit code.
    public static func run(_ options: LaunchOptions) -> Int32 {
        let configuration: Configuration
        switch load(options) {
        case .success(let loaded): configuration = loaded
        case .failure(let error):
            writeError(error.description)
            return 1
        }
        let settings = configuration.settings
        do {
            if options.isDaemon && settings.pidfile.isEmpty { throw StartError("daemon needs pidfile configured") }
            if options.isDaemon && settings.logfile.isEmpty { throw StartError("daemon needs logfile configured") }
            try dropPrivileges(options.user ?? settings.user)
            try checkPidfile(settings.pidfile)
            if options.isDaemon { try daemonize() }
            return try start(options, configuration)
        } catch {
            writeError("FATAL \(error)")
            return 1
        }
    }

    private static func start(_ options: LaunchOptions, _ configuration: Configuration) throws(StartError) -> Int32 {
        let settings = configuration.settings
        let log = LogSink(level: LogLevel(verbose: max(settings.verbose, options.verbose)))
        if options.isQuiet || options.isDaemon { log.setStandardError(false) }
        if !settings.logfile.isEmpty, let error = log.setLogfile(settings.logfile) { throw StartError(error) }
        defer { log.close() }
        raiseFileLimit(configuration, log)
        let listeners = try makeListeners(settings, log: log).get()
        defer { removeSockets(listeners) }
        try writePidfile(settings.pidfile)
        defer { if !settings.pidfile.isEmpty { unlink(settings.pidfile) } }
        blockSignals()
        let resolver = Resolver(
            maxTTLMicroseconds: settings.dnsMaxTtlMicroseconds,
            failureTTLMicroseconds: settings.dnsNxdomainTtlMicroseconds)
        let shared = Shared(
            configuration: configuration, workers: workerCount(settings), log: log, resolver: resolver,
            clockOffset: clockOffset())
        let process = WeirProcess(options: options, configuration: configuration, log: log, shared: shared)
        guard shared.hasher.start(), process.startSignalThread() else { throw StartError("cannot start threads") }
        try process.startWorkers(listeners)
        log.write(.log, "process up: Weir \(weirVersion), workers: \(shared.workerCount), tls: not built in")
        process.notifier.ready()
        let code = process.control()
        process.notifier.stopping()
        log.flush()
        return code
    }

    static func load(_ options: LaunchOptions) -> Result<Configuration, StartError> {
        let result: Result<Configuration, ConfigurationErrors>
        if let url = options.url {
            result = configurationFromURL(url)
        } else {
            result = loadConfiguration(path: options.path ?? "", readFile: readFile)
        }
        return result.mapError { errors in
            StartError(errors.errors.map(\.description).joined(separator: "\n"))
        }
    }

    private static func workerCount(_ settings: Settings) -> Int {
        switch settings.workers {
        case .count(let count): min(count, CancelKey.workersMax)
        case .auto: min(max(1, sysconf(Int32(_SC_NPROCESSORS_ONLN))), CancelKey.workersMax)
        }
    }

    /// Starts the worker threads and waits until every loop runs.
    private func startWorkers(_ listeners: [Listener]) throws(StartError) {
        let backend: EventLoop.BackendChoice =
            switch configuration.settings.ioBackend {
            case .auto: .auto
            case .ioUring: .ioUring
            case .epoll: .epoll
            }
        for number in 0..<shared.workerCount {
            let shared = shared
            let mine = number == 0 ? listeners : []
            let code = startThread(name: "weir-worker-\(number)") {
                runWorker(number, shared: shared, backend: backend, listeners: mine)
            }
            guard code == 0 else { throw StartError("cannot start a thread: \(describeErrno(code))") }
        }
        var running = 0
        while running < shared.workerCount {
            switch shared.control.next(timeoutMicroseconds: 10_000_000) {
            case .started(let worker, let backend, let fallback):
                running += 1
                if worker == 0 {
                    log.write(.log, "event loop: \(backend)" + (fallback.map { " (io_uring not used: \($0))" } ?? ""))
                }
            case .failed(_, let error): throw StartError("cannot start the event loop: \(error)")
            case nil: throw StartError("the event loops did not start")
            case .signal(let signal) where signal == SIGTERM || signal == SIGINT || signal == SIGQUIT:
                throw StartError("stopped by a signal during start")
            default: continue
            }
        }
    }
}

/// A worker thread's whole life.
private func runWorker(_ number: Int, shared: Shared, backend: EventLoop.BackendChoice, listeners: [Listener]) {
    do {
        let loop = try EventLoop(backend: backend, socketsMax: 1 << 21)
        shared.ports[number].wakeup.withLock { $0 = loop.wakeup }
        let name = loop.backend == .ioUring ? "io_uring" : "epoll"
        let fallback = loop.fallbackReason
        var worker = Worker(shared: shared, number: number, loop: loop, snapshot: shared.snapshot.withLock { $0 })
        worker.listen(listeners)
        worker.openForcedPools()
        shared.control.post(.started(worker: number, backend: name, fallback: fallback))
        worker.run()
        shared.control.post(.ended(worker: number))
    } catch {
        shared.control.post(.failed(worker: number, "\(error)"))
    }
}
