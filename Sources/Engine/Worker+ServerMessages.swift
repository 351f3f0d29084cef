// server → client, the messages whose content matters: what the server reports of its session (ParameterStatus), how
// requests end (ErrorResponse, CopyInResponse), and the rows that answer a question of ours. All others pass by in
// Worker+ServerTraffic, where only their headers are looked at.
//
//     ErrorResponse  →  to the client as it is, with its own statement's name, or replaced by an error of ours
//     ParameterStatus  →  the settings of the server, and of the client that caused it

import Configuration
import Console
import Pooling
import Reactor
import Wire

extension Worker {
    /// A message of interest; false when it is not passed on.
    @inline(never)
    mutating func watchedMessage(
        _ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer, _ passes: Bool
    ) -> Bool {
        let server = servers[index]
        switch frame.tag {
        case BackendTag.parameterStatus:
            noteParameter(index, frame, bytes)
            return passes
        case BackendTag.copyInResponse:
            server.pointee.owed.receivedCopyInResponse()
            // Without its client nobody sends the copy data that it waits for.
            guard server.pointee.client >= 0 else {
                closeServer(index, .clientLeftQuery)
                return passes
            }
            // The Sync that the client waits for may have been struck.
            let client = UInt32(server.pointee.client)
            if clients[client].pointee.wait == .answers, !server.pointee.owed.awaitsClientReady {
                resumeAfterAnswers(client)
            }
            if clients[client].pointee.wait == .reset { resumeAfterAnswers(client) }
            return passes
        case BackendTag.copyBothResponse:
            return passes
        case BackendTag.errorResponse:
            let origin = server.pointee.owed.origin
            let goesToClient = passes || (origin == .statement && server.pointee.client >= 0)
            if passes, saysResultHasChanged(index, frame, bytes) {
                statementGeneration &+= 1
                server.pointee.isRetrying = canRetry(index)
            }
            let isReplaced = replaceError(index, frame, bytes) || server.pointee.isRetrying
            let renamed = goesToClient && !isReplaced ? errorWithClientsNames(index, frame, bytes) : nil
            server.pointee.owed.receivedError()
            forgetDiscarded(index)
            // What is sent again has not failed.
            if goesToClient, !server.pointee.isRetrying { server.pointee.effects?.errorCame() }
            let isLast = isLastWord(index, frame, bytes)
            if isReplaced || (isLast && !endsWithServer(server)) { return false }
            if let renamed {
                let socket = clients[UInt32(server.pointee.client)].pointee.socket
                renamed.withUnsafeBytes { loop.send(socket, copying: $0) }
                return false
            }
            // A statement of the client's that cannot be prepared here is the client's error.
            if goesToClient {
                server.pointee.hasToldItsEnd = isLast
                return true
            }
            server.pointee.hasOwnError = true
            if origin == .settings { noteSettingsError(index, frame, bytes) }
            if server.pointee.client < 0, server.pointee.owed.isEmpty { idleServerSpoke(index, frame, bytes) }
            return false
        case BackendTag.dataRow:
            if server.pointee.owed.origin == .state { sessionRow(index, frame, bytes) }
            return passes
        case BackendTag.commandComplete:
            noteCommitAnswered(index, frame, bytes)
            return passes
        case BackendTag.noticeResponse:
            // Notices are harmless; without a client there is nobody to tell.
            return passes
        case BackendTag.notificationResponse:
            // Where servers are shared they listen only until they have been asked what to: the listening connection
            // has the same notification.
            return passes && !pools[UInt32(server.pointee.pool)].pointee.followsSession
        default:
            return passes
        }
    }

    /// A session's client ends with its server; others go on, and must not be told that they do not.
    private func endsWithServer(_ server: UnsafeMutablePointer<Server>) -> Bool {
        pools[UInt32(server.pointee.pool)].pointee.mode == .session
    }

    /// Whether an error is FATAL: the server ends.
    private func isLastWord(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) -> Bool {
        let server = servers[index]
        guard server.pointee.client >= 0 else { return false }
        // Of an error that fits no buffer the start is enough.
        let payload = payloadSoFar(index, frame, bytes)
        // The severity comes first: `SERROR`, `SFATAL`, `SPANIC`; it may be translated, field V is not.
        guard payload.count > 1, payload[1] != UInt8(ascii: "E") else { return false }
        let error = ErrorFields.parse(payload)
        guard error.severity == "FATAL" || error.severity == "PANIC" else { return false }
        server.pointee.lastWords = Refusal(error)
        return true
    }

    private func noteSettingsError(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        servers[index].pointee.settingsError = Refusal(ErrorFields.parse(payloadSoFar(index, frame, bytes)))
    }

    /// A server without a client sent an error: it is about to go, or worse.
    private mutating func idleServerSpoke(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        closeServer(index, .gotDirty(ErrorFields.parse(payloadSoFar(index, frame, bytes)).message))
    }

    /// The payload of a message of which a part may still be on its way: what is here ends at the frame's end.
    func payloadSoFar(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes,
            count: max(0, frame.length - MessageFramer.headerBytes - Int(servers[index].pointee.framer.remaining)))
    }

    /// The server reports a parameter: the server's settings change, and those of the client that caused it.
    private mutating func noteParameter(_ index: UInt32, _ frame: Frame, _ bytes: UnsafeRawPointer) {
        let payload = UnsafeRawBufferPointer(
            start: bytes + MessageFramer.headerBytes, count: frame.length - MessageFramer.headerBytes)
        guard let (name, value) = parseParameterStatus(payload) else { return }
        guard isTrackable(name) else { return learnFact(UInt32(servers[index].pointee.pool), name, value) }
        let server = servers[index]
        server.pointee.settings = parameterSets.set(server.pointee.settings, name: name, value: value)
        guard server.pointee.client >= 0, server.pointee.owed.isForClient else { return }
        let client = clients[UInt32(server.pointee.client)]
        client.pointee.settings = parameterSets.set(client.pointee.settings, name: name, value: value)
    }
}
