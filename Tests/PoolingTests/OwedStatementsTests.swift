// Batches whose statements are renamed: what is swallowed, what is invented, and what is not prepared after all.

import Testing
import Wire

@testable import Pooling

@Suite struct OwedStatementsTests {
    private static let statement: UInt64 = 7

    @Test("each reply of a batch ends its own message")
    func batch() {
        var owed = OwedReplies()
        owed.sent(.parse, .client)
        owed.sent(.bind, .client)
        owed.sent(.describe, .client)
        owed.sent(.execute, .client)
        owed.sentSync()
        let tags = [
            BackendTag.parseComplete, BackendTag.bindComplete, BackendTag.rowDescription, BackendTag.dataRow,
            BackendTag.commandComplete,
        ]
        for tag in tags { _ = owed.received(tag) }
        let left = owed.readyForQueryCount
        let origin = owed.receivedReadyForQuery()
        let isEmpty = owed.isEmpty
        #expect(left == 1)
        #expect(origin == .client)
        #expect(isEmpty)
    }

    @Test("an invented reply is due at once when nothing comes before it")
    func inventedAtOnce() {
        var owed = OwedReplies()
        let isDue = owed.invented(.parseComplete)
        let isOpen = owed.isBatchOpen
        #expect(isDue)
        #expect(isOpen, "its batch still waits for Sync")
    }

    @Test("an invented reply comes after the replies before it and before those behind it")
    func inventedInOrder() {
        var owed = OwedReplies()
        owed.sent(.bind, .client)
        owed.sent(.execute, .client)
        let isDue = owed.invented(.closeComplete)
        owed.sent(.bind, .client)
        owed.sentSync()
        _ = owed.received(BackendTag.bindComplete)
        let early = owed.nextInvention()
        _ = owed.received(BackendTag.commandComplete)
        let inTime = owed.nextInvention()
        let again = owed.nextInvention()
        #expect(!isDue)
        #expect(early == nil)
        #expect(inTime == .closeComplete)
        #expect(again == nil)
    }

    @Test("what Weir prepares before a query ends with a Sync of its own, which is answered unseen")
    func preparedBeforeAQuery() {
        var owed = OwedReplies()
        owed.sent(.close, .statement)
        owed.sent(.parse, .statement, statement: Self.statement)
        owed.sentSync(.statement)
        owed.sentQuery(.client)
        let isOpen = owed.isBatchOpen
        let waiting = owed.clientRequestsAhead
        #expect(!isOpen && waiting == 1)
        let closed = owed.received(BackendTag.closeComplete)
        #expect(closed == .nothing)
        owed.receivedError()
        let discarded = owed.takeDiscarded()
        #expect(discarded == .parse(Self.statement, isClients: false))
        let none = owed.takeDiscarded()
        #expect(none == nil)
        let own = owed.receivedReadyForQuery()
        let client = owed.receivedReadyForQuery()
        let isEmpty = owed.isEmpty
        #expect(own == .statement && client == .client && isEmpty)
    }

    @Test("a statement that Weir prepares for a batch is answered unseen")
    func swallowedParse() {
        var owed = OwedReplies()
        owed.sent(.parse, .statement, statement: Self.statement)
        owed.sent(.bind, .client)
        let first = owed.origin
        let end = owed.received(BackendTag.parseComplete)
        let second = owed.origin
        #expect(first == .statement)
        #expect(end == .nothing)
        #expect(second == .client)
    }

    @Test("an error discards the batch up to its Sync, and says what was not prepared")
    func errorDiscards() {
        var owed = OwedReplies()
        owed.sent(.parse, .client, statement: 1)
        owed.sent(.close, .statement, statement: 2)
        _ = owed.invented(.parseComplete, statement: 3)
        owed.sent(.parse, .statement, statement: 4)
        _ = owed.invented(.closeComplete)
        owed.sent(.parse, .refusal)
        owed.sent(.bind, .client)
        owed.sentSync()
        owed.sent(.parse, .client, statement: 5)
        owed.receivedError()
        var discarded: [OwedReplies.Discarded] = []
        while let next = owed.takeDiscarded() { discarded.append(next) }
        let isSkipping = owed.isSkipping
        let origin = owed.receivedReadyForQuery()
        let end = owed.received(BackendTag.parseComplete)
        #expect(
            discarded == [
                .refusal, .inventedClose, .parse(4, isClients: false), .inventedParse(3), .close(2),
                .parse(1, isClients: true),
            ], "the newest first, to be undone in order")
        #expect(!isSkipping, "the Sync was sent already")
        #expect(origin == .client)
        #expect(end == .namedParse, "the next batch is not touched")
    }

    @Test("a client's unnamed statement that was skipped or refused is told too, and one of Weir's is not")
    func discardedUnnamed() {
        for refused in [true, false] {
            var owed = OwedReplies()
            owed.sent(.parse, .statement)
            if !refused { owed.sent(.bind, .client) }
            owed.sent(.parse, .client)
            owed.sentSync()
            if refused { _ = owed.received(BackendTag.parseComplete) }
            owed.receivedError()
            var discarded: [OwedReplies.Discarded] = []
            while let next = owed.takeDiscarded() { discarded.append(next) }
            #expect(discarded == [.unnamedParse])
        }
    }

    @Test("while a batch that prepares something is unanswered, those behind it are unsettled")
    func unsettled() {
        var owed = OwedReplies()
        owed.sent(.parse, .client, statement: 1)
        owed.sent(.bind, .client)
        let within = owed.hasUnsettledStatements
        owed.sentSync()
        owed.sent(.bind, .client)
        owed.sentSync()
        let behind = owed.hasUnsettledStatements
        _ = owed.received(BackendTag.parseComplete)
        _ = owed.received(BackendTag.bindComplete)
        _ = owed.receivedReadyForQuery()
        _ = owed.received(BackendTag.bindComplete)
        let last = owed.awaitsClientReady
        _ = owed.receivedReadyForQuery()
        let after = owed.hasUnsettledStatements || owed.awaitsClientReady
        #expect(!within)
        #expect(behind)
        #expect(last)
        #expect(!after)
    }

    @Test("batches that prepare nothing keep nobody waiting, and neither do settings")
    func settled() {
        var owed = OwedReplies()
        owed.sentQuery(.settings)
        let settings = owed.awaitsClientReady
        owed.sent(.parse, .client)
        owed.sent(.bind, .client)
        owed.sentSync()
        let behind = owed.hasUnsettledStatements
        #expect(!settings)
        #expect(!behind)
    }

    @Test("a Sync that a COPY swallows is not waited for")
    func struckSync() {
        var owed = OwedReplies()
        owed.sent(.parse, .client, statement: 1)
        owed.sent(.execute, .client)
        owed.sentSync()
        _ = owed.received(BackendTag.parseComplete)
        owed.receivedCopyInResponse()
        let awaits = owed.awaitsClientReady || owed.hasUnsettledStatements
        #expect(!awaits)
    }

    @Test("a query that the server skips owes nothing")
    func skippedQuery() {
        var owed = OwedReplies()
        owed.sent(.parse, .client)
        owed.receivedError()
        owed.sentQuery(.client)
        owed.sentSync()
        let ready = owed.readyForQueryCount
        _ = owed.receivedReadyForQuery()
        let isEmpty = owed.isEmpty
        let awaits = owed.awaitsClientReady
        #expect(ready == 1)
        #expect(isEmpty)
        #expect(!awaits)
    }

    @Test("the Parses under way are told, whoever sent them, without those that are invented")
    func underWay() {
        var owed = OwedReplies()
        owed.sent(.parse, .client)
        owed.sent(.parse, .client, statement: 1)
        _ = owed.invented(.parseComplete, statement: 2)
        owed.sent(.close, .statement, statement: 3)
        owed.sent(.parse, .statement, statement: 4)
        let statements = owed.statementsUnderWay()
        #expect(statements == [1, 4])
    }

    @Test("after an error the server skips what comes until Sync")
    func skipping() {
        var owed = OwedReplies()
        owed.sent(.parse, .client)
        owed.receivedError()
        let before = owed.isSkipping
        let isEmptyBefore = owed.isEmpty
        owed.sentSync()
        let after = owed.isSkipping
        _ = owed.receivedReadyForQuery()
        let isEmpty = owed.isEmpty
        #expect(before)
        #expect(!isEmptyBefore)
        #expect(!after)
        #expect(isEmpty)
    }

    @Test("a COPY of the extended protocol ends with its own CommandComplete")
    func copyInBatch() {
        var owed = OwedReplies()
        owed.sent(.bind, .client)
        owed.sent(.execute, .client)
        owed.sentSync()
        _ = owed.received(BackendTag.bindComplete)
        owed.receivedCopyInResponse()
        owed.sentCopyEnd()
        owed.sentSync()
        _ = owed.received(BackendTag.commandComplete)
        let left = owed.readyForQueryCount
        let origin = owed.receivedReadyForQuery()
        let isEmpty = owed.isEmpty
        #expect(left == 1, "the Sync before the copy data is never answered")
        #expect(origin == .client)
        #expect(isEmpty)
    }

    @Test("a statement that Weir closes is gone when the server says so")
    func closedStatement() {
        var owed = OwedReplies()
        owed.sent(.close, .statement, statement: Self.statement)
        let end = owed.received(BackendTag.closeComplete)
        #expect(end == .closedStatement(Self.statement))
    }

    @Test("results of a simple query end nothing by themselves")
    func simpleQuery() {
        var owed = OwedReplies()
        owed.sentQuery(.client)
        for tag in [BackendTag.rowDescription, BackendTag.commandComplete, BackendTag.emptyQueryResponse] {
            _ = owed.received(tag)
        }
        let left = owed.readyForQueryCount
        #expect(left == 1)
    }

    @Test("a queue that is not full has room for all that one message adds")
    func roomForOneMessage() {
        var owed = OwedReplies()
        while !owed.isFull { owed.sent(.execute, .client) }
        owed.sent(.close, .statement, statement: 1)
        owed.sent(.parse, .statement, statement: 2)
        owed.sent(.bind, .client)
        let isFull = owed.isFull
        #expect(isFull)
    }
}
