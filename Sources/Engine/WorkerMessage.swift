// What threads tell each other: the only way in which one worker touches what another one owns.

import Configuration
import Console
import Pooling
import Reactor
import Synchronization
import Wire

/// Where a client or server lives: a worker's slab, an index in it and the generation that was meant.
struct CellAddress: Sendable {
    var worker: Int
    var index: UInt32
    var generation: UInt32
    /// Of a console client: which of its commands is meant.
    var command: UInt64 = 0
}

/// A server connection on its way from one worker to another. Its permit goes with it.
struct ServerHandOver: Sendable {
    var pool: Int
    var fd: Int32
    var identifier: UInt64
    var connectedAt: Int64
    var settings: [(name: String, value: String)]
    /// Its values of settings that it does not report.
    var extras: [(name: String, value: String)]
    var processID: Int32
    var secret: [UInt8]
    var address: SocketAddress?
    var addressText: String
    var closeNeeded: Bool
    /// It has served a client.
    var hasServed: Bool
    /// How often its database's servers had been marked to be closed when it left.
    var epoch: Int
    /// It was idle for so long that it is checked before use.
    var needsCheck: Bool
    /// Statements were prepared on it under names of the worker that it comes from.
    var hasStatements: Bool
}

/// A message to a worker.
enum WorkerMessage: Sendable {
    /// A connection that was accepted for this worker.
    case adoptClient(fd: Int32, isUnix: Bool)
    /// A free server for a client that waits in this worker.
    case adoptServer(ServerHandOver)
    /// A client of `worker` waits, and this worker was seen to hold an idle server of the pool.
    case wantServer(pool: Int, worker: Int)
    /// A permit of the pool may have become free.
    case mayGrow(pool: Int)
    /// Another worker has learnt what the pool's servers report.
    case welcomeKnown(pool: Int)
    /// A pool that shares a bound with others waits: close an idle server of another pool, or of any pool.
    case evictIdle(pool: Int, sparesOwn: Bool)
    /// A CancelRequest for a client of this worker, shown by a client of another one.
    case cancel(CancelKey, from: CellAddress)
    /// The cancel request of this worker's client has been dealt with.
    case cancelDone(client: UInt32, generation: UInt32)
    /// A client's secret was derived from its password.
    case clientSecret(client: UInt32, generation: UInt32, secret: SCRAMSecret)
    /// A client's plain password was checked against a stored SCRAM secret.
    case passwordChecked(client: UInt32, generation: UInt32, keys: SCRAMKeys?)
    /// A server login's keys were derived.
    case serverKeys(server: UInt32, generation: UInt32, keys: SCRAMKeys)
    /// A client of `worker` listens to a channel of a database that this worker listens for.
    case channelWanted(database: String, pool: Int, channel: String, worker: Int, serial: UInt64)
    /// No client of `worker` listens to the channel any more.
    case channelGivenUp(database: String, channel: String, worker: Int)
    /// The listening connection has the channel, anew if it was lost in between.
    case channelReady(database: String, channel: String, serial: UInt64, wasLost: Bool)
    case channelFailed(database: String, channel: String, serial: UInt64, error: ErrorFields)
    /// The listening connection is lost.
    case channelsLost(database: String)
    /// A NotificationResponse, whole.
    case notification(database: String, channel: String, message: [UInt8])
    /// A host name was looked up.
    case resolved(name: String)
    /// Something that every worker does and reports about.
    case control(ControlJob)
    /// All workers have done a job that this worker's console client asked for.
    case controlDone(ControlJob)
}

/// What every worker is asked to do.
enum ControlAction: Sendable {
    case snapshot
    case reload(changed: Set<String>, removed: Set<String>)
    case pause(database: String?)
    case resume(database: String?)
    case reconnect(database: String?)
    case waitClose(database: String?)
    case kill(database: String?)
    case killClient(id: UInt64)
    case shutdown(ShutdownMode)
}

/// A job for all workers, with what they report; the last one to finish tells whoever asked.
final class ControlJob: Sendable {
    struct Report: Sendable {
        var pools: [PoolSnapshot] = []
        var clients: [ClientSnapshot] = []
        var servers: [ServerSnapshot] = []
        var pins: [PinSnapshot] = []
        var stats: [StatsSnapshot] = []
        var memory: [MemorySnapshot] = []
        var loginClients = 0
        /// Why the job could not be done at all.
        var failure: ErrorFields?
        var matches = 0
    }

    let action: ControlAction
    let requester: CellAddress?
    let report = Locked(Report())
    /// Called by the last worker, for jobs that no console client asked for.
    let whenDone: (@Sendable (ControlJob) -> Void)?
    private let remaining: Atomic<Int>

    init(
        _ action: ControlAction, workers: Int, requester: CellAddress?,
        whenDone: (@Sendable (ControlJob) -> Void)? = nil
    ) {
        self.action = action
        self.requester = requester
        self.whenDone = whenDone
        remaining = Atomic(workers)
    }

    /// A worker has done its part; true for the last one.
    func finished() -> Bool {
        remaining.subtract(1, ordering: .acquiringAndReleasing).newValue == 0
    }
}
