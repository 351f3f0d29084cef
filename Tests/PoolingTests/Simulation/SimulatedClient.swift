// A client: thinks, runs a transaction of one of a dozen shapes, thinks again; checks that each reply is its own.
//
// It counts as served when all its requests are answered, and as told when the pooler answers with an error of its
// own; then it forgets the rest of its transaction.

import Pooling

/// What a client sends at once, and what it waits for before it goes on.
struct Round {
    enum Pause {
        /// All its requests are answered.
        case answers
        /// The server takes copy data; answers without that skip the next round.
        case copyStart(continuesOnError: Bool)
        /// Nothing: it sends on after so many microseconds.
        case time(Int64)
    }

    let messages: [ServerMessage]
    let pause: Pause
}

final class SimulatedClient: CustomStringConvertible {
    let identity: Int
    let worker: Int
    let pool: Int
    /// Its index in the worker's slab.
    let slot: UInt32
    var server: SimulatedServer?
    var isWaiting = false
    var waitsSince: Int64 = 0
    /// What it sent while it waited.
    var held: [ServerMessage] = []
    /// The server was lost between two statements: it hears of it with the next one.
    var hasRefusal = false
    var isGone = false
    /// It has begun its last transaction and that is over.
    var isFinished = false
    /// Changes when the rest of a transaction is forgotten, so that what was planned for it does not happen.
    var plan = 0
    var rounds: [Round] = []
    private(set) var pause = Round.Pause.answers
    private(set) var expected: [RequestToken] = []
    private var numbers = 0
    /// Its longest pause between two transactions.
    let thinkMax: Int64

    init(identity: Int, worker: Int, pool: Int, slot: UInt32, thinkMax: Int64) {
        self.thinkMax = thinkMax
        self.identity = identity
        self.worker = worker
        self.pool = pool
        self.slot = slot
    }

    var description: String { "client \(identity)" }

    /// The next round goes out.
    func takeRound() -> Round {
        let round = rounds.removeFirst()
        for message in round.messages {
            switch message {
            case .query(let token, _), .batch(let token, _), .sync(let token):
                if !expected.contains(token) { expected.append(token) }
            case .copyData, .copyEnd, .own: break
            }
        }
        pause = round.pause
        return round
    }

    enum Progress {
        case goesOn, waits
        case wrong(String)
    }

    /// A reply has been passed on to the client.
    func received(_ reply: Reply) -> Progress {
        guard let token = reply.token, token.client == identity else {
            return .wrong("client \(identity) got a reply that was not for it: \(reply)")
        }
        guard expected.contains(token) else { return .wrong("client \(identity) got a second reply: \(reply)") }
        switch reply {
        case .data: return .waits
        case .copyInResponse:
            if case .copyStart = pause { return .goesOn }
            return .waits
        case .error:
            if case .copyStart(continuesOnError: true) = pause { return .goesOn }
            return .waits
        case .ready: return receivedReady(token)
        }
    }

    private func receivedReady(_ token: RequestToken) -> Progress {
        while let first = expected.first, first != token {
            guard first.isSkippable else {
                return .wrong("client \(identity): request \(first.number) was not answered")
            }
            expected.removeFirst()
        }
        expected.removeFirst()
        guard expected.isEmpty else { return .waits }
        switch pause {
        case .answers: return .goesOn
        case .copyStart:
            rounds.removeFirst()
            return .goesOn
        case .time: return .waits
        }
    }

    /// The pooler has answered with an error of its own.
    func forgetTransaction() {
        plan += 1
        rounds = []
        held = []
        expected = []
        hasRefusal = false
    }

    private func token(isSkippable: Bool = false) -> RequestToken {
        numbers += 1
        return RequestToken(client: identity, number: numbers, isSkippable: isSkippable)
    }

    // MARK: Shapes of transactions

    func makeTransaction(_ chance: inout SeededGenerator) {
        switch chance.below(13) {
        case 0, 1: rounds = [simple(.select)]
        case 2: rounds = [Round(messages: (0..<3).map { _ in .query(token(), .select) }, pause: .answers)]
        case 3: rounds = [Round(messages: (0..<4).flatMap { _ in synced(.select) }, pause: .answers)]
        case 4:
            // Two requests in a row that do not wait for each other.
            let pause = chance.between(100, 6_000)
            rounds = [Round(messages: synced(.select), pause: .time(pause)), simple(.select)]
        case 5: rounds = splitBatch(chance.between(200, 8_000), chance.happens(perMille: 300) ? .failing : .select)
        case 6, 7:
            rounds = [simple(.begin)] + (0..<chance.below(4)).map { _ in simple(.select) } + [simple(.commit)]
        case 8: rounds = [simple(.begin), simple(.failing), simple(.commit)]
        case 9: rounds = simpleCopy(chance.happens(perMille: 300))
        case 10: rounds = extendedCopy(&chance)
        case 11:
            // The answer to the first finds the second begun but not ended.
            let pause = chance.between(10, 1_000)
            let first = Round(messages: [.query(token(), .select)], pause: .time(pause))
            rounds = [first] + splitBatch(chance.between(2_000, 9_000), .select)
        default: rounds = [simple(.begin)] + simpleCopy(false) + [Round(messages: synced(.commit), pause: .answers)]
        }
    }

    private func simple(_ statement: Statement) -> Round {
        Round(messages: [.query(token(), statement)], pause: .answers)
    }

    private func synced(_ statement: Statement) -> [ServerMessage] {
        let token = token()
        return [.batch(token, statement), .sync(token)]
    }

    private func splitBatch(_ pause: Int64, _ statement: Statement) -> [Round] {
        let token = token()
        return [
            Round(messages: [.batch(token, statement)], pause: .time(pause)),
            Round(messages: [.sync(token)], pause: .answers),
        ]
    }

    private func simpleCopy(_ failing: Bool) -> [Round] {
        let token = token()
        return [
            Round(messages: [.query(token, .copy(failing: failing))], pause: .copyStart(continuesOnError: false)),
            Round(messages: [.copyData(token), .copyData(token), .copyEnd(token)], pause: .answers),
        ]
    }

    private func extendedCopy(_ chance: inout SeededGenerator) -> [Round] {
        let statement =
            chance.happens(perMille: 250) ? Statement.failing : .copy(failing: chance.happens(perMille: 250))
        switch chance.below(3) {
        case 0:
            // Sync right after Execute, as many drivers do.
            let (early, late) = (token(isSkippable: true), token())
            return [
                Round(messages: [.batch(early, statement), .sync(early)], pause: .copyStart(continuesOnError: false)),
                Round(messages: [.copyData(early), .copyEnd(early), .sync(late)], pause: .answers),
            ]
        case 1:
            let token = token()
            return [
                Round(messages: [.batch(token, statement)], pause: .copyStart(continuesOnError: true)),
                Round(messages: [.copyData(token), .copyEnd(token), .sync(token)], pause: .answers),
            ]
        default:
            // Everything at once, before the server has said that it takes data.
            let (early, late) = (token(isSkippable: true), token())
            let messages: [ServerMessage] = [
                .batch(early, statement), .sync(early), .copyData(early), .copyEnd(early), .sync(late),
            ]
            return [Round(messages: messages, pause: .answers)]
        }
    }
}
