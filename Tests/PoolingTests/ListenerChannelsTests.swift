import Pooling
import Testing

/// The channels of one listening connection, driven like by the worker that owns it.
struct ListenerChannelsTests {
    @Test func aChannelIsConfirmedWhenItsListenIsAnswered() {
        var channels = ListenerChannels()
        let known = channels.want("a", worker: 1, serial: 7)
        #expect(!known)
        let needed = channels.needingListen
        #expect(needed == ["a"])
        channels.sent(.listen("a"))
        let again = channels.needsListen("a")
        #expect(!again)
        let outcome = channels.answered(hasFailed: false)
        #expect(outcome?.channel == "a")
        #expect(outcome?.workers == [1: 7])
        #expect(outcome?.wasLost == false)
        let confirmed = channels.want("a", worker: 0, serial: 8)
        #expect(confirmed)
        let workers = Set(channels.workers(of: "a"))
        #expect(workers == [0, 1])
    }

    @Test func theLastWorkerThatGivesAChannelUpEndsIt() {
        var channels = ListenerChannels()
        _ = channels.want("a", worker: 0, serial: 1)
        _ = channels.want("a", worker: 1, serial: 2)
        channels.sent(.listen("a"))
        _ = channels.answered(hasFailed: false)
        let first = channels.giveUp("a", worker: 0)
        let twice = channels.giveUp("a", worker: 0)
        let last = channels.giveUp("a", worker: 1)
        #expect(!first && !twice && last)
        let isEmpty = channels.isEmpty
        #expect(isEmpty)
    }

    @Test func aChannelWantedAgainIsConfirmedByItsOwnListenOnly() {
        var channels = ListenerChannels()
        _ = channels.want("a", worker: 0, serial: 1)
        channels.sent(.listen("a"))
        _ = channels.giveUp("a", worker: 0)
        channels.sent(.unlisten("a"))
        let known = channels.want("a", worker: 0, serial: 2)
        let needed = channels.needsListen("a")
        #expect(!known && needed)
        channels.sent(.listen("a"))
        let first = channels.answered(hasFailed: false)
        #expect(first == nil)
        let second = channels.answered(hasFailed: false)
        #expect(second == nil)
        let third = channels.answered(hasFailed: false)
        #expect(third?.workers == [0: 2])
    }

    @Test func aChannelThatCannotBeListenedToIsForgotten() {
        var channels = ListenerChannels()
        _ = channels.want("a", worker: 0, serial: 1)
        channels.sent(.listen("a"))
        let outcome = channels.answered(hasFailed: true)
        #expect(outcome?.workers == [0: 1])
        let isEmpty = channels.isEmpty
        #expect(isEmpty)
    }

    @Test func aLostConnectionMeansThatNotificationsMayHaveBeenMissed() {
        var channels = ListenerChannels()
        _ = channels.want("a", worker: 0, serial: 1)
        channels.sent(.listen("a"))
        _ = channels.answered(hasFailed: false)
        _ = channels.want("b", worker: 0, serial: 2)
        channels.sent(.listen("b"))
        channels.lost()
        let needed = channels.needingListen
        #expect(needed == ["a", "b"])
        channels.sent(.listen("a"))
        channels.sent(.listen("b"))
        let old = channels.answered(hasFailed: false)
        let new = channels.answered(hasFailed: false)
        #expect(old?.channel == "a" && old?.wasLost == true)
        #expect(new?.channel == "b" && new?.wasLost == false)
    }

    @Test func whatWasListenedToIsWantedStillWhenNoConnectionCanBeHad() {
        var channels = ListenerChannels()
        _ = channels.want("a", worker: 0, serial: 1)
        channels.sent(.listen("a"))
        _ = channels.answered(hasFailed: false)
        channels.lost()
        _ = channels.want("b", worker: 1, serial: 2)
        let told = Set(channels.failed().map(\.channel))
        #expect(told == ["a", "b"])
        let needed = channels.needingListen
        #expect(needed == ["a"])
    }

    @Test func whatWasListenedToIsWantedStillWhenAServerRefusesIt() {
        var channels = ListenerChannels()
        _ = channels.want("a", worker: 0, serial: 1)
        channels.sent(.listen("a"))
        _ = channels.answered(hasFailed: false)
        channels.lost()
        channels.sent(.listen("a"))
        let refused = channels.answered(hasFailed: true)
        #expect(refused?.wasLost == true)
        let needed = channels.needingListen
        #expect(needed == ["a"])
    }

    @Test(arguments: [
        ("a", "LISTEN \"a\""), ("A b", "LISTEN \"A b\""), ("q\"q", "LISTEN \"q\"\"q\""), ("\"", "LISTEN \"\"\"\""),
    ])
    func namesAreQuoted(name: String, query: String) {
        #expect(ListenerChannels.Command.listen(name).query == query)
    }

    @Test func aCheckConcernsNoChannel() {
        var channels = ListenerChannels()
        channels.sent(.check)
        _ = channels.want("a", worker: 0, serial: 1)
        channels.sent(.listen("a"))
        let first = channels.answered(hasFailed: false)
        #expect(first == nil)
        let isAwaited = channels.awaitsAnswer
        #expect(isAwaited)
        let second = channels.answered(hasFailed: false)
        #expect(second?.workers == [0: 1])
        let isAnswered = !channels.awaitsAnswer
        #expect(isAnswered)
        #expect(ListenerChannels.Command.check.query.isEmpty)
        channels.sent(.check)
        channels.lost()
        let isForgotten = !channels.awaitsAnswer
        #expect(isForgotten)
    }

    /// Workers that want and give up at random, and a connection that answers in order, is lost, or refuses.
    @Test func aModelAgrees() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = StatementChance(seed: seed)
        let names = ["a", "b", "c"]
        var channels = ListenerChannels()
        var wanted: [String: Set<Int>] = [:]
        // The server's side: what it listens to, and the commands on their way to it.
        var listening: Set<String> = []
        var onTheWay: [ListenerChannels.Command] = []
        var serial: UInt64 = 0
        for _ in 0..<20_000 {
            let name = names.randomElement(using: &random) ?? "a"
            let worker = Int.random(in: 0..<2, using: &random)
            switch Int.random(in: 0..<5, using: &random) {
            case 0, 1:
                serial += 1
                wanted[name, default: []].insert(worker)
                let isConfirmed = channels.want(name, worker: worker, serial: serial)
                // Confirmed means: it is listened to, and nothing that is on its way changes that.
                #expect(
                    !isConfirmed || (listening.contains(name) && !onTheWay.contains(.unlisten(name))), "seed \(seed)")
                if channels.needsListen(name) {
                    channels.sent(.listen(name))
                    onTheWay.append(.listen(name))
                }
            case 2:
                wanted[name]?.remove(worker)
                if channels.giveUp(name, worker: worker) {
                    channels.sent(.unlisten(name))
                    onTheWay.append(.unlisten(name))
                }
            case 3 where !onTheWay.isEmpty:
                switch onTheWay.removeFirst() {
                case .listen(let name): listening.insert(name)
                case .unlisten(let name): listening.remove(name)
                case .check: break
                }
                _ = channels.answered(hasFailed: false)
            case 4 where Int.random(in: 0..<20, using: &random) == 0:
                listening = []
                onTheWay = []
                channels.lost()
                for name in channels.needingListen {
                    channels.sent(.listen(name))
                    onTheWay.append(.listen(name))
                }
            default: break
            }
            for name in names {
                let workers = Set(channels.workers(of: name))
                #expect(workers == wanted[name] ?? [], "seed \(seed)")
                guard onTheWay.isEmpty else { continue }
                #expect(listening.contains(name) == !workers.isEmpty, "seed \(seed)")
            }
        }
    }
}
