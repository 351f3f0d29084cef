// After DDL a statement that was prepared before may fail with "cached plan must not change result type", on every server
// that has it. When nothing of the batch's reply was passed on and no transaction is open, the client need not know: the
// server forgets its statements, the batch is sent once more, and its statements are prepared anew.
//
//     Bind, Execute, Sync ──▶ ErrorResponse 0A000 (swallowed), ReadyForQuery (swallowed)
//     DEALLOCATE ALL, Parse, Bind, Execute, Sync ──▶ …, ReadyForQuery

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    /// Keeps a batch that was just passed on whole, and is all that its server owes.
    mutating func keepForRetry(_ index: UInt32, _ buffer: BufferID, from: Int, end: Int) {
        let client = clients[index]
        guard client.pointee.server >= 0, client.pointee.framer.isAtBoundary, client.pointee.retry.isNone else {
            return
        }
        let server = servers[UInt32(client.pointee.server)]
        guard server.pointee.transactionStatus == TransactionStatus.idle, !server.pointee.owed.isBatchOpen,
            server.pointee.owed.clientRequestCount == 1, loop.buffersInUse <= Self.heldBuffersMax
        else { return }
        loop.retain(buffer)
        client.pointee.retry = HeldBytes(buffer: buffer, from: Int32(from), end: Int32(end), memory: nil)
    }

    /// The batch can no longer be sent again.
    mutating func dropRetry(_ client: UnsafeMutablePointer<Client>) {
        loop.release(client.pointee.retry.buffer)
        client.pointee.retry = .none
    }

    /// Whether an error says that a statement's result type has changed, and the batch can be sent again.
    func isStale(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) -> Bool {
        let server = servers[index]
        guard server.pointee.client >= 0, server.pointee.framer.isAtBoundary,
            !clients[UInt32(server.pointee.client)].pointee.retry.isNone,
            server.pointee.owed.clientRequestCount == 1, !server.pointee.owed.isBatchOpen
        else { return false }
        let payload = UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes)
        let error = ErrorFields.parse(payload)
        return error.code == SQLState.featureNotSupported
            && error.message == "cached plan must not change result type"
    }

    /// The failed batch has ended: it is sent once more, to a server that has forgotten its statements.
    mutating func retryBatch(_ index: UInt32) {
        let server = servers[index]
        server.pointee.isRetrying = false
        let clientIndex = UInt32(server.pointee.client)
        let client = clients[clientIndex]
        let batch = client.pointee.retry
        client.pointee.retry = .none
        guard !batch.isNone else { return }
        log(.log, "\(name(ofServer: index)) cached plan must not change result type: its statements are prepared anew")
        dropStatements(ofServer: index)
        sendOwnQuery(index, "DEALLOCATE ALL", .statement)
        processAgain(clientIndex, batch)
    }
}
