// Messages from any thread to the one thread that owns an event loop.
//
//   poster:  if mailbox.post(message) { loop.wakeup.signal() }
//   owner:   on `.woken`: mailbox.drain(into: &messages)
//
// Only the first message after a drain needs a wake-up: whoever posts later knows that the owner has one on its way.
// A drain swaps two arrays, so the lock is held for a moment and neither array is allocated again.

/// A queue of messages, first in, first out, for one reader.
public final class Mailbox<Message: Sendable>: Sendable {
    private struct Contents: Sendable {
        var messages: [Message] = []
        var isClosed = false
    }

    private let contents = Locked(Contents())

    /// An empty mailbox.
    public init() {}

    /// Puts a message in. True when the mailbox was empty: the poster must then signal the owner's wake-up. A message
    /// posted after `close` is dropped, which `isClosed` tells whoever hands over something that must be closed.
    public func post(_ message: consuming Message) -> Bool {
        // A closure cannot consume what it captures, so the message goes in by way of an optional.
        var posted: Message? = consume message
        return contents.withLock { contents in
            guard !contents.isClosed, let message = posted.take() else { return false }
            contents.messages.append(message)
            return contents.messages.count == 1
        }
    }

    /// Takes all messages out, in the order they were posted, and appends them to `messages`. Without allocation when
    /// that array is empty and has been here before.
    public func drain(into messages: inout [Message]) {
        contents.withLock { contents in
            if messages.isEmpty {
                swap(&contents.messages, &messages)
            } else {
                messages.append(contentsOf: contents.messages)
                contents.messages.removeAll(keepingCapacity: true)
            }
        }
    }

    /// Takes no more messages. Those already in can still be drained.
    public func close() { contents.withLock { $0.isClosed = true } }

    /// Whether `close` was called.
    public var isClosed: Bool { contents.withLock { $0.isClosed } }
}
