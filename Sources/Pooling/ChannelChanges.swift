// The LISTENs and UNLISTENs of one client in their order, and which of them count. No server can be asked about an
// UNLISTEN; so what the texts say is compared with how the requests were answered:
//
//     noted ─┬─ COMMIT answered, or a reply that ends outside of a transaction ──▶ final
//            └─ ROLLBACK, ROLLBACK TO, an error in the same request ──▶ undone
//
// An UNLISTEN that is undone is forgotten. A LISTEN stays, since it was passed on and somebody waits for what becomes of
// it; of LISTENs the server is asked.

/// A LISTEN or UNLISTEN, or something that decides whether UNLISTENs count.
public enum ChannelChange: Equatable, Sendable {
    case listen(String)
    case unlisten(String)
    case unlistenAll
    case savepoint(String)
    case release(String)
    case rollbackTo(String)
    case rollback
    case commit

    /// Whether it changes no channel itself.
    public var isTransactionControl: Bool {
        switch self {
        case .listen, .unlisten, .unlistenAll: false
        case .savepoint, .release, .rollbackTo, .rollback, .commit: true
        }
    }

    /// Whether it is a LISTEN.
    public var isListen: Bool { if case .listen = self { true } else { false } }

    var isSavepoint: Bool { if case .savepoint = self { true } else { false } }

    /// Whether it ends a transaction that has failed, or a part of one.
    fileprivate var endsFailure: Bool {
        switch self {
        case .rollbackTo, .rollback, .commit: true
        case .listen, .unlisten, .unlistenAll, .savepoint, .release: false
        }
    }
}

/// What one client's requests change of what it listens to, in their order.
public struct ChannelChanges: Sendable {
    private struct Entry {
        var change: ChannelChange
        /// The number of the request that it came in; nil until that is known.
        var request: Int?
        /// A LISTEN that was rolled back, or never executed.
        var isUndone = false
    }

    private var entries: [Entry] = []
    /// So many of the first ones are final: nothing that follows undoes them.
    private var finalCount = 0
    /// How many requests have been answered: the number of the one whose answer comes next.
    private var answeredCount = 0
    /// The transaction had failed before that request.
    private var hadFailedBefore = false
    /// An error has come in reply to that request.
    var hasError = false

    /// No changes.
    public init() {}

    /// The changes.
    public var list: [ChannelChange] { entries.map(\.change) }

    /// How many there are.
    public var count: Int { entries.count }

    /// Whether there are none.
    public var isEmpty: Bool { entries.isEmpty }

    /// Whether one of them is a LISTEN.
    public var listens: Bool { entries.contains { $0.change.isListen } }

    /// Whether there is nothing but the end of a transaction.
    var onlyEndTransactions: Bool { entries.allSatisfy { $0.change == .rollback || $0.change == .commit } }

    /// Whether no channel changes.
    var areControlOnly: Bool { entries.allSatisfy(\.change.isTransactionControl) }

    /// The channels that they lead to listening to, as far as answers tell.
    public var listenedTo: Set<String> {
        var channels: Set<String> = []
        for entry in entries where !entry.isUndone {
            switch entry.change {
            case .listen(let channel): channels.insert(channel)
            case .unlisten(let channel): channels.remove(channel)
            case .unlistenAll: channels.removeAll()
            case .savepoint, .release, .rollbackTo, .rollback, .commit: break
            }
        }
        return channels
    }

    // MARK: Requests

    /// Adds what a text does.
    mutating func append(_ change: ChannelChange) { entries.append(Entry(change: change)) }

    /// Adds what came later; of a text, or of requests that are numbered.
    mutating func append(_ later: ChannelChanges) {
        // What comes before the first change has no influence on it.
        if entries.isEmpty, later.areControlOnly { return }
        if later.entries.contains(where: { $0.request != nil }) {
            answeredCount = later.answeredCount
            hadFailedBefore = later.hadFailedBefore
            hasError = later.hasError
        }
        entries += later.entries
    }

    /// Those that were added last are of a request that has so many of the client's before it.
    mutating func numberRequest(after count: Int) {
        for index in entries.indices.reversed() {
            guard entries[index].request == nil else { return }
            entries[index].request = answeredCount + count
        }
    }

    // MARK: Answers

    /// An error has come in reply to the oldest request. What that was to do was not executed, or is undone, unless it
    /// was committed before.
    mutating func errorCame() {
        hasError = true
        guard let last = entries.last?.request, last >= answeredCount else { return }
        let (start, end) = answeredNow
        let kept = entries[start..<end].compactMap { entry -> Entry? in
            switch entry.change {
            case .listen: undone(entry)
            case .savepoint, .rollbackTo, .rollback: entry
            case .unlisten, .unlistenAll, .release, .commit: nil
            }
        }
        entries.replaceSubrange(start..<end, with: kept)
    }

    /// A COMMIT has been answered as such: what precedes it is final.
    mutating func committed() {
        noteEndOfFailure()
        let (start, end) = answeredNow
        guard let marker = entries[start..<end].firstIndex(where: { $0.change == .commit }) else { return }
        resolve(finalCount..<marker + 1)
    }

    /// The oldest request has been answered.
    ///
    /// - Parameters:
    ///   - isIdle: no transaction is open.
    ///   - isFailed: the transaction that is open has failed.
    ///   - isLast: nothing that was sent is left to be answered.
    mutating func requestAnswered(isIdle: Bool, isFailed: Bool, isLast: Bool) {
        if !isFailed { noteEndOfFailure() }
        let end = isLast ? entries.count : answeredNow.end
        if end > finalCount, isIdle || entries[end - 1].request == answeredCount {
            // Outside of a transaction nothing remains of one that an error has ended.
            resolve(finalCount..<end, undoes: isIdle && hasError, isFinal: isIdle)
        }
        answeredCount += 1
        hasError = false
        hadFailedBefore = isFailed
    }

    /// All that are final, if the server need not be asked about them; they are forgotten.
    mutating func takeFinal() -> [ChannelChange] {
        let found = entries[..<finalCount].map(\.change)
        guard !found.isEmpty, !found.contains(where: \.isListen) else { return [] }
        entries.removeFirst(finalCount)
        finalCount = 0
        return found
    }

    /// Those of the request whose answer comes next.
    private var answeredNow: (start: Int, end: Int) {
        var end = entries.count
        while end > finalCount, entries[end - 1].request ?? .max > answeredCount { end -= 1 }
        var start = end
        while start > finalCount, entries[start - 1].request == answeredCount { start -= 1 }
        return (start, end)
    }

    /// A transaction that has failed ends with a ROLLBACK, even if that is called COMMIT.
    private mutating func noteEndOfFailure() {
        guard hadFailedBefore else { return }
        hadFailedBefore = false
        let (start, end) = answeredNow
        guard let first = entries[start..<end].firstIndex(where: \.change.endsFailure) else {
            // It was not seen.
            return entries.insert(Entry(change: .rollback, request: answeredCount), at: start)
        }
        if entries[first].change == .commit { entries[first].change = .rollback }
    }

    /// Leaves of some entries what counts, and the savepoints that are open.
    private mutating func resolve(_ range: Range<Int>, undoes: Bool = false, isFinal: Bool = false) {
        var kept: [Entry] = []
        // Where the transaction begins.
        var floor = 0
        for entry in entries[range] {
            switch entry.change {
            case .listen, .savepoint: kept.append(entry)
            case .unlisten, .unlistenAll: if kept.last?.change != entry.change { kept.append(entry) }
            case .release(let name):
                // It ends with those that were set within it; what was done since then stays.
                guard let start = kept[floor...].lastIndex(where: { $0.change == .savepoint(name) }) else { continue }
                kept.replaceSubrange(start..., with: kept[start...].filter { !$0.change.isSavepoint })
            case .rollbackTo(let name):
                // A savepoint that was set before the first change is not among them.
                let start = kept[floor...].lastIndex { $0.change == .savepoint(name) }
                undo(&kept, from: start.map { $0 + 1 } ?? floor)
            case .rollback: undo(&kept, from: floor)
            case .commit:
                kept.removeAll { $0.change.isSavepoint }
                floor = kept.count
            }
        }
        if undoes { undo(&kept, from: floor) }
        if isFinal {
            kept.removeAll { $0.change.isSavepoint }
            floor = kept.count
        }
        entries.replaceSubrange(range, with: kept)
        finalCount = range.lowerBound + floor
    }

    private func undo(_ kept: inout [Entry], from start: Int) {
        kept.replaceSubrange(start..., with: kept[start...].filter(\.change.isListen).map(undone))
    }

    private func undone(_ entry: Entry) -> Entry {
        var entry = entry
        entry.isUndone = true
        return entry
    }
}
