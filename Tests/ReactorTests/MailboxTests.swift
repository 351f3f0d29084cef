// The mailbox: order, the one wake-up that is needed, and many posters at once.

import Testing

@testable import Reactor

@Suite struct MailboxTests {
    @Test("only the first message after a drain asks for a wake-up")
    func firstMessageWakes() {
        let mailbox = Mailbox<Int>()
        var messages: [Int] = []
        #expect(mailbox.post(1))
        #expect(!mailbox.post(2))
        mailbox.drain(into: &messages)
        #expect(messages == [1, 2])
        #expect(mailbox.post(3))
        mailbox.drain(into: &messages)
        #expect(messages == [1, 2, 3])
        mailbox.drain(into: &messages)
        #expect(messages == [1, 2, 3])
        #expect(mailbox.post(4))
    }

    @Test("a closed mailbox drops what is posted and keeps what was in it")
    func closedMailbox() {
        let mailbox = Mailbox<Int>()
        _ = mailbox.post(1)
        mailbox.close()
        #expect(mailbox.isClosed)
        #expect(!mailbox.post(2))
        var messages: [Int] = []
        mailbox.drain(into: &messages)
        #expect(messages == [1])
    }

    @Test("messages of many threads all arrive, each thread's in its order, with one wake-up a drain")
    func manyPosters() {
        struct Letter: Sendable {
            var poster: Int
            var number: Int
        }
        let posterCount = 4
        let letterCount = 20_000
        let mailbox = Mailbox<Letter>()
        let wakeup = CountingSemaphore()
        for poster in 0..<posterCount {
            let result = startThread(name: "poster") {
                for number in 0..<letterCount where mailbox.post(Letter(poster: poster, number: number)) {
                    wakeup.signal()
                }
            }
            #expect(result == 0)
        }
        var next = [Int](repeating: 0, count: posterCount)
        var received = 0
        var letters: [Letter] = []
        while received < posterCount * letterCount {
            guard wakeup.wait(timeoutMicroseconds: 30_000_000) else {
                Issue.record("no wake-up after \(received) letters")
                return
            }
            mailbox.drain(into: &letters)
            #expect(!letters.isEmpty)
            for letter in letters {
                if letter.number != next[letter.poster] { Issue.record("out of order") }
                next[letter.poster] += 1
            }
            received += letters.count
            letters.removeAll(keepingCapacity: true)
        }
        #expect(next == [Int](repeating: letterCount, count: posterCount))
    }
}
