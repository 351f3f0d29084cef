// The server connection on which a worker listens for notifications: whole messages of it become events.

import Pooling
import Reactor
import Wire

/// What a listener tells.
enum ListenerEvent {
    /// It can be sent queries (`sendToListener`).
    case loggedIn
    /// A NotificationResponse: the whole message, as a client would get it. Valid during the call.
    case notification(UnsafeRawBufferPointer)
    /// An ErrorResponse; a FATAL one is followed by `ended`.
    case failed(ErrorFields)
    /// The ReadyForQuery that ends the reply to one query.
    case answered
    /// It is gone, or could not log in. It must not be opened again within the call.
    case ended(ServerCloseReason)
}

extension Worker {
    /// Sends a query of the worker's own; `answered` follows, after `failed` if it failed.
    mutating func sendToListener(_ index: UInt32, _ query: String) {
        precondition(servers[index].pointee.purpose == .listener && servers[index].pointee.phase == .ready)
        var writer = MessageWriter()
        writer.query(query)
        sendToServer(index, writer)
    }

    /// Bytes of a listener; what is no event is passed over.
    mutating func listenerReceived(
        _ index: UInt32, _ generation: UInt32, _ buffer: BufferID, from: Int, end: Int
    ) -> Int {
        let server = servers[index]
        let poolIndex = UInt32(server.pointee.pool)
        let bytes = UnsafeRawPointer(loop.memory(of: buffer))
        var offset = from
        while offset < end {
            let frame = server.pointee.framer.next(
                bytes, from: offset, count: end, whole: serverTags.listener, lengthMax: 0x7FFF_FFFF)
            switch frame.kind {
            case .incomplete: return offset
            case .invalid:
                closeServer(index, .protocolViolation("bad packet header"))
                return end
            case .message where serverTags.listener.contains(frame.tag):
                // SAFETY: the framer reports these only when every byte of them is there.
                let message = UnsafeRawBufferPointer(start: bytes + offset, count: frame.length)
                let payload = UnsafeRawBufferPointer(rebasing: message[MessageFramer.headerBytes...])
                switch frame.tag {
                case BackendTag.notificationResponse: listenerEvent(poolIndex, index, .notification(message))
                case BackendTag.errorResponse: listenerEvent(poolIndex, index, .failed(ErrorFields.parse(payload)))
                default: listenerEvent(poolIndex, index, .answered)
                }
            case .message, .continuation: break
            }
            guard servers.isLive(index, generation: generation) else { return end }
            offset = frame.end
        }
        return end
    }
}
