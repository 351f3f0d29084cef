// One database's channels in one worker. Every worker knows which of its clients listen to what; one worker, the
// database's owner, has the listening connection too.
//
//     client ─ LISTEN c ─▶ its worker ── channelWanted ──▶ owner ── LISTEN c ──▶ PostgreSQL
//        │ waits                  ◀──── channelReady ─────┘
//        ▼ goes on
//     a server: LISTEN c, COMMIT; Weir asks what came of it, UNLISTEN *
//
//     PostgreSQL ── NotificationResponse ──▶ owner ── notification ──▶ workers ──▶ clients, between transactions

import Pooling

/// One database's channels in one worker.
final class ChannelHub {
    /// A channel of this worker's clients.
    struct Subscription {
        /// Under which the owner was asked for it: an answer to an earlier wish has another one.
        let serial: UInt64
        /// Who listens to it, or may after its transaction.
        var clients: [UInt32] = []
        /// The listening connection is sure to listen to it.
        var isReady = false
    }

    let database: String
    var subscriptions: [String: Subscription] = [:]

    // What only the owner has.
    var channels = ListenerChannels()
    /// The listening connection, −1 for none.
    var server: Int32 = -1
    var isLoggedIn = false
    /// The pool in whose place it is opened: that of the client that asked last.
    var pool: PoolKey?
    /// The error in reply to the command that is being answered.
    var error: Refusal?
    /// When it may be opened again, or asked again for what it refused.
    var retryAt: Int64 = 0
    var retryAfter: Int64 = ChannelHub.retryAfterMin
    /// The connection has refused channels that clients listen to.
    var hasRefused = false
    /// Since when nobody wants any channel.
    var unusedSince: Int64 = 0

    /// Since when an answer is awaited, or none is.
    var askedAt: Int64 = 0

    /// How long to wait before it is opened again, in microseconds: twice as long after each failure.
    static var retryAfterMin: Int64 { 100_000 }
    static var retryAfterMax: Int64 { 1_000_000 }
    /// After how much silence it is asked whether it is there, unless `server_check_delay` says so.
    static var silenceMax: Int64 { 30_000_000 }
    /// How long it is kept without use.
    static var unusedMax: Int64 { 10_000_000 }

    init(database: String) { self.database = database }

    func isReady(_ channel: String) -> Bool { subscriptions[channel]?.isReady ?? false }
}
