// Replies to requests that Weir itself sent to a server, and those that nobody waits for any more: the client does not
// see them; they decide whether the server is fit for the next one.

import Configuration
import Pooling
import Wire

extension Worker {
    mutating func ownRequestAnswered(_ index: UInt32, _ origin: RequestOrigin, _ status: UInt8) {
        let server = servers[index]
        let hasFailed = server.pointee.hasOwnError
        switch origin {
        case .client, .statement, .refusal: return
        case .state:
            if server.pointee.isOrphan || server.pointee.client < 0 { return orphanAnswered(index) }
            return sessionAnswered(index)
        case .settings:
            if server.pointee.isOrphan {
                // Of what it does not report nobody has noted what it has now.
                server.pointee.needsCleaning = true
                return orphanAnswered(index)
            }
            return settingsAnswered(index)
        case .reset:
            if hasFailed || status != TransactionStatus.idle { return closeServer(index, .resetFailed) }
        case .check:
            if hasFailed || status != TransactionStatus.idle { return closeServer(index, .testFailed) }
        case .connect:
            if hasFailed || status != TransactionStatus.idle { return connectQueryFailed(index) }
            return serverLoggedIn(index)
        }
        release(index)
    }

    /// A reply has ended that nobody waits for any more.
    mutating func orphanAnswered(_ index: UInt32) {
        let server = servers[index]
        guard server.pointee.owed.isEmpty else { return }
        server.pointee.isOrphan = false
        guard server.pointee.transactionStatus == TransactionStatus.idle else {
            return closeServer(index, .clientLeftNotReady)
        }
        if pools[UInt32(server.pointee.pool)].pointee.mode == .session { server.pointee.needsReset = true }
        release(index)
    }
}
