// After DDL a statement that was prepared before may fail with "cached plan must not change result type", on every server
// that has it. When nothing of the batch's reply was passed on, no transaction is open and the batch asks what its
// statements return, the client need not know: the server forgets its statements, the batch is sent once more, and its
// statements are prepared anew.
//
//     Bind, Describe, Execute, Sync ──▶ ErrorResponse 0A000 (swallowed), ReadyForQuery (swallowed)
//     DEALLOCATE ALL, Parse, Bind, Describe, Execute, Sync ──▶ …, ReadyForQuery
//
// Other clients get the error and prepare the statement anew. That is then another one, which no server has yet.

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    /// Keeps a batch that was just passed on whole, and is all that its server owes. What was answered without a server
    /// is none of it.
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

    /// Whether an error says that a statement's result type has changed.
    func saysResultHasChanged(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) -> Bool {
        guard servers[index].pointee.framer.isAtBoundary else { return false }
        let payload = UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes)
        // Of other errors nothing is made that would have to be allocated.
        let starts = payload.indices.lazy.filter { payload[$0] == UInt8(ascii: "C") }
        guard starts.contains(where: { payload[$0...].dropFirst().starts(with: SQLState.featureNotSupported.utf8) })
        else { return false }
        let error = ErrorFields.parse(payload)
        return error.code == SQLState.featureNotSupported
            && error.message == "cached plan must not change result type"
    }

    /// Whether the batch that has failed can be sent again. Then the client waits for its answer.
    func canRetry(_ index: UInt32) -> Bool {
        let server = servers[index]
        guard server.pointee.client >= 0 else { return false }
        let batch = clients[UInt32(server.pointee.client)].pointee.retry
        return !batch.isNone && server.pointee.owed.clientRequestCount == 1 && !server.pointee.owed.isBatchOpen
            && asksForResults(batch) && holdBehindRetry(server)
    }

    /// What the client sends from now on comes behind the batch that is sent again; false when it has begun already.
    private func holdBehindRetry(_ server: UnsafeMutablePointer<Server>) -> Bool {
        let client = clients[UInt32(server.pointee.client)]
        guard client.pointee.framer.isAtBoundary, client.pointee.gather.isEmpty else { return false }
        switch client.pointee.wait {
        case .none: client.pointee.wait = .answers
        case .answers: break
        case .server, .settings, .reset, .listener: return false
        }
        return true
    }

    /// Whether a client asks in its batch what each portal returns that it executes. One that does not goes by what it
    /// was once told, and must hear that this has changed.
    private func asksForResults(_ batch: HeldBytes) -> Bool {
        let bytes = UnsafeRawPointer(loop.memory(of: batch.buffer))
        var offset = Int(batch.from)
        var isDescribed = true
        while offset + MessageFramer.headerBytes < Int(batch.end) {
            let tag = bytes.load(fromByteOffset: offset, as: UInt8.self)
            let length = bytes.loadUnaligned(fromByteOffset: offset + 1, as: UInt32.self).bigEndian
            switch tag {
            case FrontendTag.bind: isDescribed = false
            case FrontendTag.describe:
                let kind = bytes.load(fromByteOffset: offset + MessageFramer.headerBytes, as: UInt8.self)
                if kind == UInt8(ascii: "P") { isDescribed = true }
            case FrontendTag.execute: if !isDescribed { return false }
            case _: break
            }
            offset += 1 + Int(length)
        }
        return true
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
        server.pointee.effects?.willBeRepeated()
        log(.log, "\(name(ofServer: index)) cached plan must not change result type: its statements are prepared anew")
        dropStatements(ofServer: index)
        sendOwnQuery(index, "DEALLOCATE ALL", .statement)
        processAgain(clientIndex, batch)
    }
}
