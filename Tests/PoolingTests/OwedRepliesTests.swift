// When a server may go to another client: the cases in which other poolers have let it go too early or never.

import Testing

@testable import Pooling

/// One thing that happens on a server connection.
private enum Step {
    case query, batch, sync, call, copyEnd
    case copyInResponse, error, ready
}

private func run(_ steps: [Step]) -> (isEmpty: Bool, owed: Int, unsolicited: Int) {
    var owed = OwedReplies()
    var unsolicited = 0
    for step in steps {
        switch step {
        case .query: owed.sentQuery(.client)
        case .batch: owed.sentUnlessSkipped(.execute)
        case .sync: owed.sentSync()
        case .call: owed.sentFunctionCall()
        case .copyEnd: owed.sentCopyEnd()
        case .copyInResponse: owed.receivedCopyInResponse()
        case .error: owed.receivedError()
        case .ready: if owed.receivedReadyForQuery() == nil { unsolicited += 1 }
        }
    }
    return (owed.isEmpty, owed.readyForQueryCount, unsolicited)
}

@Suite struct OwedRepliesTests {
    @Test("a server is free when every request was answered")
    func answered() {
        #expect(run([]).isEmpty)
        #expect(run([.query, .ready]).isEmpty)
        #expect(run([.batch, .batch, .sync, .ready]).isEmpty)
        #expect(run([.call, .ready]).isEmpty)
        #expect(run([.query, .query, .batch, .sync, .ready, .ready, .ready]).isEmpty)
    }

    @Test("a server is not free while anything is owed")
    func owed() {
        #expect(!run([.query]).isEmpty)
        #expect(!run([.query, .query, .ready]).isEmpty)
        #expect(!run([.batch]).isEmpty)
        #expect(!run([.batch, .sync, .batch, .ready]).isEmpty, "a second batch waits for its Sync")
        #expect(!run([.sync, .sync, .ready]).isEmpty)
    }

    @Test("a ReadyForQuery that nobody asked for is noticed")
    func unsolicited() {
        #expect(run([.ready]).unsolicited == 1)
        #expect(run([.query, .ready, .ready]).unsolicited == 1)
    }

    @Test("a server is not released while a COPY is open")
    func copyOpen() {
        #expect(!run([.query, .copyInResponse]).isEmpty)
        #expect(!run([.query, .copyInResponse, .copyEnd]).isEmpty)
        #expect(run([.query, .copyInResponse, .copyEnd, .ready]).isEmpty)
        #expect(run([.query, .copyInResponse, .error, .ready]).isEmpty)
        #expect(
            run([.query, .copyInResponse, .error, .ready, .copyEnd]).isEmpty, "late CopyDone is ignored by the server")
    }

    @Test("the Sync that a driver sends before its copy data is never answered")
    func earlySync() {
        #expect(!run([.batch, .sync, .copyInResponse]).isEmpty)
        #expect(!run([.batch, .sync, .copyInResponse, .copyEnd]).isEmpty)
        #expect(run([.batch, .sync, .copyInResponse, .copyEnd, .sync]).owed == 1)
        #expect(run([.batch, .sync, .copyInResponse, .copyEnd, .sync, .ready]).isEmpty)
        #expect(run([.batch, .sync, .copyInResponse, .sync, .copyEnd, .sync, .ready]).isEmpty)
    }

    @Test("copy data may be sent before the server has asked for it")
    func blindCopy() {
        #expect(run([.batch, .copyEnd, .sync, .copyInResponse]).owed == 1)
        #expect(run([.batch, .copyEnd, .sync, .copyInResponse, .ready]).isEmpty)
        #expect(run([.query, .copyEnd, .copyInResponse, .ready]).isEmpty)
        #expect(run([.query, .copyEnd, .error, .ready]).isEmpty)
        #expect(run([.batch, .copyEnd, .sync, .error, .ready]).isEmpty)
    }

    @Test("a simple query with two COPYs waits for both")
    func twoCopies() {
        #expect(run([.query, .copyInResponse, .copyEnd, .copyInResponse, .copyEnd, .ready]).isEmpty)
        #expect(run([.query, .copyEnd, .copyEnd, .copyInResponse, .copyInResponse, .ready]).isEmpty)
    }

    @Test("an error in copy data of the extended protocol waits for the next Sync")
    func copyError() {
        #expect(!run([.batch, .sync, .copyInResponse, .error]).isEmpty)
        #expect(!run([.batch, .sync, .copyInResponse, .error, .copyEnd]).isEmpty)
        #expect(run([.batch, .sync, .copyInResponse, .error, .copyEnd, .sync, .ready]).isEmpty)
    }

    @Test("the replies to requests of the pooler are told from the client's")
    func origins() {
        var owed = OwedReplies()
        owed.sentQuery(.settings)
        owed.sentQuery(.client)
        let requests = owed.clientRequestCount
        let origins = [owed.receivedReadyForQuery(), owed.receivedReadyForQuery(), owed.receivedReadyForQuery()]
        #expect(requests == 1)
        #expect(origins == [.settings, .client, nil])
    }

    @Test("a long pipeline keeps its order")
    func longPipeline() {
        var owed = OwedReplies()
        for round in 0..<1000 {
            owed.sentQuery(round % 3 == 0 ? .settings : .client)
            if round % 4 == 3 { _ = owed.receivedReadyForQuery() }
        }
        let left = owed.readyForQueryCount
        #expect(left == 750)
        for round in 250..<1000 {
            let origin = owed.receivedReadyForQuery()
            #expect(origin == (round % 3 == 0 ? .settings : .client))
        }
        let isEmpty = owed.isEmpty
        #expect(isEmpty)
    }
}
