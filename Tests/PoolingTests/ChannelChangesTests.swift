// Which LISTENs and UNLISTENs count, for texts and how they were answered.

import Testing

@testable import Pooling

/// A request and the ReadyForQuery that answers it: idle, in a transaction, or failed.
private struct Request {
    var changes: [ChannelChange]
    var status: Character
    /// How many COMMITs were answered as such, and whether an error came after them.
    var commits = 0
    var fails = false

    init(_ changes: [ChannelChange], _ status: Character, commits: Int = 0, fails: Bool = false) {
        self.changes = changes
        self.status = status
        self.commits = commits
        self.fails = fails
    }
}

/// What is left of requests that are sent one after the other, or all before the first answer.
private func outcome(_ requests: [Request], pipelined: Bool) -> ChannelChanges {
    var all = ChannelChanges()
    func note(_ request: Request, after count: Int) {
        var text = ChannelChanges()
        for change in request.changes { text.append(change) }
        all.append(text)
        all.numberRequest(after: count)
    }
    if pipelined { for (number, request) in requests.enumerated() { note(request, after: number) } }
    for (number, request) in requests.enumerated() {
        if !pipelined { note(request, after: 0) }
        for _ in 0..<request.commits { all.committed() }
        if request.fails { all.errorCame() }
        all.requestAnswered(
            isIdle: request.status == "I", isFailed: request.status == "E",
            isLast: !pipelined || number == requests.count - 1)
    }
    return all
}

private let a = ChannelChange.unlisten("a")
private let b = ChannelChange.unlisten("b")

private let cases: [([Request], [ChannelChange])] = [
    ([Request([a], "I")], [a]),
    ([Request([a], "I", fails: true)], []),
    ([Request([a], "T"), Request([.rollback], "I")], []),
    ([Request([a], "T"), Request([.commit], "I", commits: 1)], [a]),
    ([Request([.savepoint("s"), a], "T"), Request([.rollbackTo("s")], "T")], [.savepoint("s")]),
    (
        [
            Request([a, .savepoint("s")], "T"), Request([b], "T"),
            Request([.rollbackTo("s"), .commit], "I", commits: 1),
        ],
        [a]
    ),
    ([Request([a], "T"), Request([.rollbackTo("s")], "T")], []),
    ([Request([.savepoint("s"), a, .release("s")], "T"), Request([.rollbackTo("s")], "T")], []),
    (
        [
            Request([.savepoint("r"), a, .savepoint("s"), .release("s")], "T"), Request([.rollbackTo("r")], "T"),
            Request([b, .commit], "I", commits: 1),
        ], [b]
    ),
    ([Request([a], "T"), Request([.commit], "T", commits: 1), Request([b, .rollback], "I")], [a]),
    ([Request([a], "T"), Request([.rollback], "T"), Request([b, .commit], "I", commits: 1)], [b]),
    // An error in the same text counts for what comes after the COMMIT.
    ([Request([a, .commit, b], "I", commits: 1, fails: true)], [a]),
    ([Request([a, .commit, b], "I", fails: true)], []),
    // A transaction that has failed is rolled back by COMMIT.
    ([Request([a], "T"), Request([], "E", fails: true), Request([.commit], "I")], []),
    ([Request([a], "T"), Request([], "E", fails: true), Request([.commit, b, .commit], "T", commits: 1)], [b]),
    ([Request([a], "T"), Request([], "E", fails: true), Request([.rollback, b], "I")], [b]),
    (
        [Request([a, .savepoint("s"), b], "T"), Request([b], "E", fails: true), Request([.rollbackTo("s")], "T")],
        [a, .savepoint("s")]
    ),
    // Its end was not seen.
    ([Request([a], "T"), Request([], "E", fails: true), Request([b], "I")], [b]),
    ([Request([a], "I"), Request([b], "I", fails: true), Request([.rollback], "I")], [a]),
]

@Suite struct ChannelChangesTests {
    @Test("an UNLISTEN counts unless it was rolled back", arguments: cases.indices)
    func unlistens(number: Int) {
        for pipelined in [false, true] {
            let found = outcome(cases[number].0, pipelined: pipelined)
            #expect(found.list == cases[number].1, "pipelined: \(pipelined)")
        }
    }

    @Test("a LISTEN is kept until it is settled, and known to be undone")
    func listens() {
        let requests = [
            Request([.listen("a"), .savepoint("s"), .listen("b")], "T"),
            Request([.rollbackTo("s"), .listen("c")], "T"),
            Request([.commit], "T", commits: 1), Request([.listen("d"), .unlisten("c")], "E", fails: true),
            Request([.rollback], "I"),
        ]
        for pipelined in [false, true] {
            var found = outcome(requests, pipelined: pipelined)
            #expect(found.list == ["a", "b", "c", "d"].map { .listen($0) })
            #expect(found.listenedTo == ["a", "c"])
            let final = found.takeFinal()
            #expect(final.isEmpty, "the server has to be asked")
        }
    }

    @Test("what is final is taken once, and what comes after it stays")
    func finals() {
        var found = outcome([Request([a, .commit, b], "T", commits: 1)], pipelined: false)
        let first = found.takeFinal()
        let second = found.takeFinal()
        #expect(first == [a] && second.isEmpty && found.list == [b])
    }

    @Test("what was asked in vain is asked again together with what came later")
    func later() {
        var first = outcome([Request([.listen("a")], "I")], pipelined: false)
        let second = outcome([Request([b], "T")], pipelined: false)
        first.append(second)
        var rollback = ChannelChanges()
        rollback.append(.rollback)
        first.append(rollback)
        first.numberRequest(after: 0)
        first.requestAnswered(isIdle: true, isFailed: false, isLast: true)
        #expect(first.list == [.listen("a")] && first.listenedTo == ["a"])
    }
}
