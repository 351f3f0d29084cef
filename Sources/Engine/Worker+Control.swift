// What the console and signals ask of every worker. A worker does its part and reports; some jobs are done only when
// the last server of a kind is gone, and wait for that here.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

/// A job that is finished when no server holds it up any more.
struct WaitingJob {
    let job: ControlJob
    let database: String?
    /// Only servers that are to be closed count (`WAIT_CLOSE`); otherwise all do (`PAUSE`).
    let onlyClosing: Bool
}

extension Worker {
    mutating func perform(_ job: ControlJob) {
        switch job.action {
        case .snapshot: takeSnapshot(job)
        case .reload(let changed, let removed): reload(changed: changed, removed: removed)
        case .pause(let database):
            applyPause(database)
            return wait(job, database, onlyClosing: false)
        case .resume(let database): applyPause(database)
        case .reconnect(let database): markServers(database)
        case .waitClose(let database): return wait(job, database, onlyClosing: true)
        case .kill(let database): kill(database)
        case .killClient(let id): killClient(id, job)
        case .shutdown(let mode): shutDown(mode)
        }
        complete(job)
    }

    private func complete(_ job: ControlJob) {
        guard job.finished() else { return }
        job.whenDone?(job)
        guard let requester = job.requester else { return }
        shared.ports[requester.worker].post(.controlDone(job))
    }

    private mutating func wait(_ job: ControlJob, _ database: String?, onlyClosing: Bool) {
        waitingJobs.append(WaitingJob(job: job, database: database, onlyClosing: onlyClosing))
        checkWaitingJobs()
    }

    /// Finishes the jobs that nothing holds up any more.
    mutating func checkWaitingJobs() {
        guard !waitingJobs.isEmpty else { return }
        var index = 0
        while index < waitingJobs.count {
            let waiting = waitingJobs[index]
            if isHeldUp(waiting) {
                index += 1
            } else {
                waitingJobs.remove(at: index)
                complete(waiting.job)
            }
        }
    }

    private func isHeldUp(_ waiting: WaitingJob) -> Bool {
        if !waiting.onlyClosing {
            // A PAUSE that was undone in the meantime waits no longer.
            guard isPauseWanted(waiting.database) else { return false }
        }
        for index in 0..<servers.indexEnd where servers.isLive(index) {
            let server = servers[index]
            guard matches(UInt32(server.pointee.pool), waiting.database) else { continue }
            if !waiting.onlyClosing || server.pointee.closeNeeded { return true }
        }
        return false
    }

    private func isPauseWanted(_ database: String?) -> Bool {
        guard let database else { return shared.isPaused.load(ordering: .relaxed) }
        guard let options = configuration.value.database(named: database) else { return false }
        return shared.database(options, configuration).isPaused.load(ordering: .relaxed)
    }

    private func matches(_ pool: UInt32, _ database: String?) -> Bool {
        database.map { pools[pool].pointee.key.database == $0 } ?? true
    }

    // MARK: PAUSE, RESUME, RECONNECT, KILL

    private mutating func applyPause(_ database: String?) {
        for index in 0..<pools.indexEnd where pools.isLive(index) && matches(index, database) {
            let isPaused = isPaused(pools[index].pointee.database)
            pools[index].pointee.pool.setPaused(isPaused, clients: clientLinks)
            if isPaused {
                for state in [ServerState.idle, .used, .new, .tested] {
                    for server in members(index, state) where servers.isLive(server) {
                        closeServer(server, .pauseMode)
                    }
                }
                closeFast(index)
                pauseDedicatedServers(index)
            } else {
                lookForServers(index)
            }
        }
    }

    /// In session mode a server is released when its client leaves; `server_fast_close` does not wait for that.
    private mutating func closeFast(_ pool: UInt32) {
        guard settings.serverFastClose, pools[pool].pointee.mode == .session else { return }
        for server in members(pool, .active) where servers.isLive(server) {
            let cell = servers[server]
            if cell.pointee.owed.isEmpty && cell.pointee.transactionStatus == TransactionStatus.idle {
                closeServer(server, .closeNeeded)
            }
        }
    }

    private mutating func markServers(_ database: String?) {
        for index in 0..<pools.indexEnd where pools.isLive(index) && matches(index, database) {
            recycle(index)
        }
    }

    /// Every server of a pool is closed as soon as it is free.
    private mutating func recycle(_ pool: UInt32) {
        pools[pool].pointee.epoch = pools[pool].pointee.database.epoch
        for state in ServerState.allCases {
            for server in members(pool, state) where servers.isLive(server) {
                servers[server].pointee.closeNeeded = true
                if state == .idle || state == .used || state == .new { closeServer(server, .closeNeeded) }
            }
        }
        closeFast(pool)
        recycleDedicatedServers(pool)
    }

    private mutating func kill(_ database: String?) {
        let error = fatalFields(SQLState.adminShutdown, "database removed")
        for index in 0..<pools.indexEnd where pools.isLive(index) && matches(index, database) {
            pools[index].pointee.pool.setPaused(true, clients: clientLinks)
            closeEverything(ofPool: index, error)
        }
    }

    private mutating func closeEverything(ofPool pool: UInt32, _ error: ErrorFields) {
        for client in 0..<clients.indexEnd where clients.isLive(client) {
            if clients[client].pointee.pool == Int32(pool) { closeClient(client, .fatal(error)) }
        }
        for server in 0..<servers.indexEnd where servers.isLive(server) {
            if servers[server].pointee.pool == Int32(pool) { closeServer(server, .databaseRemoved) }
        }
    }

    private mutating func killClient(_ id: UInt64, _ job: ControlJob) {
        for index in 0..<clients.indexEnd where clients.isLive(index) {
            guard clients[index].pointee.identifier == id else { continue }
            job.report.withLock { $0.matches += 1 }
            closeClient(index, .fatal(fatalFields(SQLState.adminShutdown, "admin forced disconnect")))
        }
    }

    // MARK: Reload

    private mutating func reload(changed: Set<String>, removed: Set<String>) {
        configuration = shared.snapshot.withLock { $0 }
        readHotSettings()
        let value = configuration.value
        for index in 0..<pools.indexEnd where pools.isLive(index) {
            let name = pools[index].pointee.key.database
            guard let options = value.database(named: name), !removed.contains(name) else {
                closeEverything(ofPool: index, fatalFields(SQLState.invalidCatalogName, "database removed"))
                continue
            }
            // A database that `*` made is compared like any other.
            let mustRecycle =
                changed.contains(name) || mustRecycleServers(from: pools[index].pointee.options, to: options)
            let before = (pools[index].pointee.tracksStatements, pools[index].pointee.followsSession)
            pools[index].pointee.configure(options, value)
            // A server keeps to the way in which it has begun to serve.
            let hasChanged = before != (pools[index].pointee.tracksStatements, pools[index].pointee.followsSession)
            if mustRecycle || hasChanged { recycle(index) }
            grow(index)
        }
        openForcedPools()
    }

    // MARK: Shutdown

    private mutating func shutDown(_ mode: ShutdownMode) {
        switch mode {
        case .immediate: endNow()
        case .waitForServers:
            closeTCPListeners()
            applyPause(nil)
        case .waitForClients: closeTCPListeners()
        }
    }

    /// Tells everybody that the process ends, and ends the loop.
    private mutating func endNow() {
        let error = fatalFields(SQLState.adminShutdown, "server shutting down")
        for index in 0..<clients.indexEnd where clients.isLive(index) {
            closeClient(index, .fatal(error))
        }
        for index in 0..<servers.indexEnd where servers.isLive(index) { closeServer(index, .shuttingDown) }
        for listener in listeners { loop.close(listener.socket, flushing: false) }
        listeners = []
        loop.wait(until: now)
        isFinished = true
    }

    /// During a graceful shutdown: tells the control thread when nothing is left to wait for.
    mutating func checkDrained() {
        let mode = shared.shutdown.load(ordering: .relaxed)
        guard mode != 0, !isDrained else { return }
        if mode == Shutdown.waitForClients {
            for index in 0..<clients.indexEnd where clients.isLive(index) {
                if clients[index].pointee.state != .console { return }
            }
        } else {
            guard servers.count == 0 else { return }
        }
        isDrained = true
        shared.control.post(.drained(worker: number))
    }
}

/// The values of `Shared.shutdown`.
enum Shutdown {
    static var waitForClients: UInt8 { 1 }
    static var waitForServers: UInt8 { 2 }
}
