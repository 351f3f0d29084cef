// What the control thread does while the workers work: signals, reload, settings changed on the console, statistics
// in the log, and the ways to end.

import Configuration
import Console
import Glibc
import Pooling
import Reactor
import Synchronization
import Wire

extension WeirProcess {
    /// Handles requests until the process is to end; returns the exit code.
    func control() -> Int32 {
        while true {
            let request = shared.control.next(timeoutMicroseconds: 1_000_000)
            logStatisticsIfDue()
            switch request {
            case nil: continue
            case .signal(let signal):
                if handle(signal) { return endNow() }
            case .reload(let requester): reload(requester)
            case .set(let key, let value, let requester): set(key, value, requester)
            case .shutdown(let mode):
                if mode == .immediate { return endNow() }
                shutDown(mode)
            case .drained(let worker):
                drained.insert(worker)
                if drained.count == shared.workerCount {
                    let isClients = shared.shutdown.load(ordering: .relaxed) == Shutdown.waitForClients
                    log.write(.log, "\(isClients ? "client" : "server") connections dropped, exiting")
                    return endNow()
                }
            case .ended, .started, .failed: continue
            }
        }
    }

    func startSignalThread() -> Bool {
        let control = shared.control
        return startThread(name: "weir-signals") {
            var signals = handledSignals()
            while true {
                var signal: Int32 = 0
                if sigwait(&signals, &signal) == 0 { control.post(.signal(signal)) }
            }
        } == 0
    }

    /// A signal; true when the process is to end now.
    private func handle(_ signal: Int32) -> Bool {
        let mode = shared.shutdown.load(ordering: .relaxed)
        switch signal {
        case SIGHUP:
            log.write(.log, "got SIGHUP, re-reading config")
            reload(nil)
        case SIGTERM:
            if mode != 0 {
                log.write(.log, "got SIGTERM while shutting down, fast exit")
                return true
            }
            log.write(.log, "got SIGTERM, shutting down, waiting for all clients disconnect")
            shutDown(.waitForClients)
        case SIGINT:
            if mode != 0 {
                log.write(.log, "got SIGINT while shutting down, fast exit")
                return true
            }
            log.write(.log, "got SIGINT, shutting down, waiting for all servers connections to be released")
            shutDown(.waitForServers)
        case SIGQUIT:
            log.write(.log, "got SIGQUIT, fast exit")
            return true
        case SIGUSR1:
            if shared.isPaused.exchange(true, ordering: .relaxed) {
                log.write(.log, "got SIGUSR1, but already paused/suspended")
            } else {
                log.write(.log, "got SIGUSR1, pausing all activity")
                start(.pause(database: nil), nil)
            }
        case SIGUSR2:
            if mode != 0 {
                log.write(.log, "got SIGUSR2 while shutting down, ignoring")
            } else if shared.isPaused.exchange(false, ordering: .relaxed) {
                log.write(.log, "got SIGUSR2, continuing from PAUSE")
                start(.resume(database: nil), nil)
            } else {
                log.write(.log, "got SIGUSR2, but not paused/suspended")
            }
        default: break
        }
        return false
    }

    private func start(_ action: ControlAction, _ requester: CellAddress?) {
        shared.broadcast(.control(ControlJob(action, workers: shared.workerCount, requester: requester)))
    }

    // MARK: Configuration

    /// Reads the configuration anew: all of it is taken, or nothing.
    private func reload(_ requester: CellAddress?) {
        notifier.reloading(monotonicMicroseconds: readMonotonicMicroseconds())
        defer { notifier.ready() }
        if let error = log.reopen() { log.write(.error, error) }
        switch WeirProcess.load(options) {
        case .failure(let error):
            for line in error.description.split(separator: "\n") { log.write(.error, String(line)) }
            log.write(.error, "RELOAD failed: the old configuration stays in force")
            fail(
                requester,
                ErrorFields(
                    code: SQLState.configurationFileError,
                    message: "RELOAD failed, see logs for additional details", detail: error.description))
        case .success(let loaded):
            let kept = loaded.keepingFixedSettings(of: configuration)
            let difference = changes(from: configuration, to: loaded)
            for name in difference.settingsNeedingRestart {
                log.write(.warning, "\(name) was changed, but takes effect only after a restart")
            }
            apply(kept, changed: difference, requester)
        }
    }

    private func apply(_ new: Configuration, changed: ConfigurationChanges, _ requester: CellAddress?) {
        let old = configuration
        configuration = new
        shared.apply(new)
        shared.resolver.setTTL(
            maxMicroseconds: new.settings.dnsMaxTtlMicroseconds,
            failureMicroseconds: new.settings.dnsNxdomainTtlMicroseconds)
        log.level = LogLevel(verbose: max(new.settings.verbose, options.verbose))
        if new.settings.logfile != old.settings.logfile {
            if let error = log.setLogfile(new.settings.logfile.isEmpty ? nil : new.settings.logfile) {
                log.write(.error, error)
            }
        }
        shared.beginEpoch()
        start(
            .reload(changed: Set(changed.recycledDatabases), removed: Set(changed.removedDatabases)), requester)
    }

    /// `SET` on the console: one setting, until the next reload.
    private func set(_ key: String, _ value: String, _ requester: CellAddress) {
        switch applySet(key: key, value: value, to: configuration.settings) {
        case .failure(let error):
            fail(requester, ErrorFields(code: SQLState.invalidParameterValue, message: error.description))
        case .success(let settings):
            var new = configuration
            new.settings = settings
            apply(new, changed: ConfigurationChanges(), requester)
        }
    }

    private func fail(_ requester: CellAddress?, _ error: ErrorFields) {
        guard let requester else { return }
        let job = ControlJob(.snapshot, workers: 0, requester: requester)
        job.report.withLock { $0.failure = error }
        shared.ports[requester.worker].post(.controlDone(job))
    }

    // MARK: Statistics

    private func logStatisticsIfDue() {
        let now = readMonotonicMicroseconds()
        let period = configuration.settings.statsPeriodMicroseconds
        guard period > 0, now - statisticsAt >= period else { return }
        statisticsAt = now
        guard configuration.settings.logStats || notifier.isEnabled else { return }
        let (log, notifier, writes) = (log, notifier, configuration.settings.logStats)
        let job = ControlJob(.snapshot, workers: shared.workerCount, requester: nil) { job in
            let line = statisticsLine(sumStats(mergeStats(job.report.withLock { $0.stats })).averages)
            if writes { log.write(.log, line) }
            notifier.status(line)
        }
        shared.broadcast(.control(job))
    }

    // MARK: The end

    private func shutDown(_ mode: ShutdownMode) {
        notifier.stopping()
        let value = mode == .waitForClients ? Shutdown.waitForClients : Shutdown.waitForServers
        shared.shutdown.store(value, ordering: .relaxed)
        if mode == .waitForServers { shared.isPaused.store(true, ordering: .relaxed) }
        start(.shutdown(mode), nil)
    }

    /// Tells every client, closes everything and ends; does not wait longer than a moment for that.
    private func endNow() -> Int32 {
        start(.shutdown(.immediate), nil)
        let deadline = readMonotonicMicroseconds() + 1_000_000
        while ended.count < shared.workerCount {
            let left = deadline - readMonotonicMicroseconds()
            guard left > 0 else { break }
            if case .ended(let worker) = shared.control.next(timeoutMicroseconds: left) { ended.insert(worker) }
        }
        return 0
    }
}

/// The line that is logged each `stats_period`, in PgBouncer's words.
func statisticsLine(_ stats: StatsCounters) -> String {
    "stats: \(stats.transactions) xacts/s, \(stats.queries) queries/s, \(stats.clientParses) client parses/s, "
        + "\(stats.serverParses) server parses/s, \(stats.binds) binds/s, in \(stats.receivedBytes) B/s, "
        + "out \(stats.sentBytes) B/s, xact \(stats.transactionMicroseconds) us, "
        + "query \(stats.queryMicroseconds) us, wait \(stats.waitMicroseconds) us"
}
