// The names that a client has given to statements, or closed, in messages that the server has not answered yet. A reply
// takes the oldest away; an error discards the newest ones, and what they did is undone.
//
//     Parse "a"   Close "b"   Parse "c" …       entries  [a][b][c]      bytes  a b c
//     └─ answered: popFirst    └─ discarded: popLast
//
// All of them are of one batch, so the queue is empty after every batch: then it starts anew in the memory that it has,
// and a driver that prepares and closes a known statement each time makes it allocate nothing.

import Pooling

/// A name that a client gave to a statement, or closed, in a message that has not been answered.
struct NameUnderWay {
    let name: [UInt8]
    /// What it means, or meant before a Close, which then has a reference of it; nil when it was not known.
    let statement: StatementID?
    let isClose: Bool
    /// It was not named: a command that closes all closes it.
    let isImplied: Bool
}

/// A queue of names; all of them are of one batch, so that what an error discards is its end.
struct NamesUnderWay {
    private struct Entry {
        let statement: StatementID?
        let isClose: Bool
        let isImplied: Bool
        /// Where the name ends in `bytes`; it begins where the one before it ends.
        let end: Int
    }

    /// What an empty queue keeps at most: names, and bytes of them.
    private static var keptEntriesMax: Int { 64 }
    private static var keptBytesMax: Int { 2_048 }
    /// Answered names at the front are dropped when there are so many, and more of them than others.
    private static var answeredMax: Int { 64 }

    private var entries: [Entry] = []
    private var bytes: [UInt8] = []
    /// How many at the front are answered. Invariant: 0 when there are no others.
    private var answered = 0

    var isEmpty: Bool { answered == entries.count }

    /// The names, the oldest first. Makes an array: for what happens seldom.
    var names: [NameUnderWay] { (answered..<entries.count).map { name(at: $0) } }

    /// Whether the oldest, or the newest, is one that a command that closes all closes.
    var beginsImplied: Bool { !isEmpty && entries[answered].isImplied }
    var endsImplied: Bool { !isEmpty && entries[entries.count - 1].isImplied }

    mutating func append(
        _ name: UnsafeRawBufferPointer, _ statement: StatementID?, isClose: Bool, isImplied: Bool = false
    ) {
        bytes.append(contentsOf: name)
        entries.append(Entry(statement: statement, isClose: isClose, isImplied: isImplied, end: bytes.count))
    }

    /// Takes the oldest away: its message is answered. Returns what it means, and whether it was closed.
    mutating func popFirst() -> (statement: StatementID?, isClose: Bool)? {
        guard !isEmpty else { return nil }
        let entry = entries[answered]
        answered += 1
        if isEmpty {
            removeAll()
        } else if answered >= Self.answeredMax, answered > entries.count / 2 {
            dropAnswered()
        }
        return (entry.statement, entry.isClose)
    }

    /// The same, with its name.
    mutating func takeFirst() -> NameUnderWay? {
        guard !isEmpty else { return nil }
        let first = name(at: answered)
        _ = popFirst()
        return first
    }

    /// Takes the newest away: its message was discarded.
    mutating func popLast() -> NameUnderWay? {
        guard !isEmpty else { return nil }
        let last = name(at: entries.count - 1)
        entries.removeLast()
        bytes.removeLast(last.name.count)
        if isEmpty { removeAll() }
        return last
    }

    private func name(at index: Int) -> NameUnderWay {
        let start = index > 0 ? entries[index - 1].end : 0
        let entry = entries[index]
        return NameUnderWay(
            name: Array(bytes[start..<entry.end]), statement: entry.statement, isClose: entry.isClose,
            isImplied: entry.isImplied)
    }

    private mutating func removeAll() {
        answered = 0
        entries.removeAll(keepingCapacity: entries.capacity <= Self.keptEntriesMax)
        bytes.removeAll(keepingCapacity: bytes.capacity <= Self.keptBytesMax)
    }

    private mutating func dropAnswered() {
        let dropped = entries[answered - 1].end
        bytes.removeFirst(dropped)
        entries.removeFirst(answered)
        answered = 0
        for index in entries.indices {
            let entry = entries[index]
            entries[index] = Entry(
                statement: entry.statement, isClose: entry.isClose, isImplied: entry.isImplied,
                end: entry.end - dropped)
        }
    }
}
