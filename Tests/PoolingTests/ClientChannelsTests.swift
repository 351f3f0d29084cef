import Pooling
import Testing

private func message(_ number: UInt8, bytes: Int = 8) -> [UInt8] { [UInt8](repeating: number, count: bytes) }

/// What a client listens to and hears, driven like by a worker.
struct ClientChannelsTests {
    /// LISTENs that are passed on at once and commit.
    private func listening(_ names: String...) -> ClientChannels {
        let channels = ClientChannels()
        _ = channels.await(names)
        channels.passedOn(names)
        _ = channels.settle(names.map { .listen($0) }, isListening: { _ in true })
        return channels
    }

    @Test func aCommittedListenIsListenedTo() {
        let channels = ClientChannels()
        #expect(channels.await(["a", "b"]) == ["a", "b"])
        channels.passedOn(["a", "b"])
        #expect(channels.settle([.listen("a"), .listen("b")], isListening: { $0 == "a" }) == ["b"])
        #expect(channels.channels == ["a"])
        #expect(!channels.wants("b"))
    }

    @Test func aKnownChannelIsNotSubscribedToTwice() {
        let channels = listening("a")
        #expect(channels.await(["a", "b", "b"]) == ["b"])
        #expect(channels.await(["b"]) == [])
    }

    @Test func whatArrivesWhileTheListenIsUnderWayIsKeptUntilItCounts() {
        let channels = ClientChannels()
        _ = channels.await(["a"])
        channels.passedOn(["a"])
        #expect(channels.add(message(1), channel: "a"))
        #expect(channels.takeQueue() == [])
        #expect(channels.settle([.listen("a")], isListening: { _ in true }) == [])
        #expect(channels.takeQueue() == [message(1)])
        #expect(channels.bytes == 0)
    }

    @Test func whatArrivesForARolledBackListenIsDropped() {
        let channels = ClientChannels()
        _ = channels.await(["a"])
        channels.passedOn(["a"])
        #expect(channels.add(message(1), channel: "a"))
        #expect(channels.settle([.listen("a")], isListening: { _ in false }) == ["a"])
        #expect(channels.takeQueue() == [])
        #expect(channels.bytes == 0)
        #expect(channels.isEmpty)
    }

    @Test func whatArrivesBeforeTheListenIsPassedOnIsNoneOfTheClients() {
        let channels = ClientChannels()
        _ = channels.await(["a"])
        #expect(channels.add(message(1), channel: "a"))
        #expect(!channels.hasWaiting)
    }

    @Test func orderIsKeptAcrossChannels() {
        let channels = listening("a")
        _ = channels.await(["b"])
        channels.passedOn(["b"])
        for (number, channel) in [(1, "b"), (2, "a"), (3, "b")] {
            #expect(channels.add(message(UInt8(number)), channel: channel))
        }
        _ = channels.settle([.listen("b")], isListening: { _ in true })
        #expect(channels.takeQueue() == [message(1), message(2), message(3)])
    }

    @Test func aTransactionSettlesOnlyItsOwnListens() {
        let channels = ClientChannels()
        _ = channels.await(["a"])
        channels.passedOn(["a"])
        // The client has sent on, and its next LISTENs are under way and awaited.
        _ = channels.await(["b"])
        channels.passedOn(["b"])
        _ = channels.await(["c"])
        #expect(channels.settle([.listen("a")], isListening: { $0 == "a" }) == [])
        #expect(channels.wants("b"))
        #expect(channels.awaited == ["c"])
        #expect(channels.settle([.listen("b")], isListening: { $0 == "b" }) == [])
        #expect(channels.channels == ["a", "b"])
    }

    @Test func aChannelIsWantedUntilTheLastOfItsListensIsSettled() {
        let channels = ClientChannels()
        for _ in 0..<2 {
            _ = channels.await(["a"])
            channels.passedOn(["a"])
        }
        #expect(channels.settle([.listen("a")], isListening: { _ in false }) == [])
        #expect(channels.settle([.listen("a")], isListening: { _ in false }) == ["a"])
    }

    @Test func aLostServerTakesWhatWasUnderWay() {
        let channels = listening("a")
        _ = channels.await(["a", "b"])
        channels.passedOn(["a", "b"])
        _ = channels.await(["c"])
        #expect(channels.dropUnderWay() == ["b"])
        #expect(channels.channels == ["a"])
        #expect(channels.awaited == ["c"])
        #expect(channels.dropAwaited() == ["c"])
    }

    @Test func whatIsAwaitedInVainLeavesTheRestAlone() {
        let channels = listening("a")
        _ = channels.await(["a", "b"])
        #expect(channels.dropAwaited() == ["b"])
        #expect(channels.wants("a"))
    }

    @Test func unlistenDropsWhatWaits() {
        let channels = listening("a", "b")
        #expect(channels.add(message(1), channel: "a"))
        #expect(channels.add(message(2), channel: "b"))
        #expect(channels.settle([.unlisten("a")], isListening: { _ in false }) == ["a"])
        #expect(channels.takeQueue() == [message(2)])
        #expect(channels.settle([.unlistenAll], isListening: { _ in false }) == ["b"])
        #expect(channels.isEmpty)
    }

    @Test func theQueueIsBounded() {
        let channels = listening("a")
        let size = 1 << 16
        for _ in 0..<(ClientChannels.bytesMax / size) { #expect(channels.add(message(1, bytes: size), channel: "a")) }
        #expect(!channels.add(message(2), channel: "a"))
        #expect(channels.takeQueue().count == ClientChannels.bytesMax / size)
        #expect(channels.add(message(3), channel: "a"))
    }

    @Test func manyGapsAreToldInABoundedNumberOfNotices() {
        let names = (0..<500).map { "c\($0)" }
        let channels = ClientChannels()
        _ = channels.await(names)
        channels.passedOn(names)
        _ = channels.settle(names.map { .listen($0) }, isListening: { _ in true })
        for _ in 0..<2 {
            var told: [String?] = []
            for name in names + names {
                let isAdded = channels.addGap(name) {
                    told.append($0)
                    return message(1)
                }
                #expect(isAdded)
            }
            #expect(told == names.prefix(ClientChannels.gapsMax).map(Optional.some) + [nil])
            #expect(channels.takeQueue().count == ClientChannels.gapsMax + 1)
            #expect(channels.bytes == 0)
        }
        #expect(channels.addGap("other") { _ in message(1) })
        #expect(!channels.hasWaiting)
        // Who gives the channels up is told nothing of them.
        for name in names { #expect(channels.addGap(name) { _ in message(1) }) }
        _ = channels.settle([.unlistenAll]) { _ in false }
        #expect(channels.isEmpty && channels.bytes == 0)
    }

    @Test func channelsAreBounded() {
        let channels = ClientChannels()
        #expect(channels.await((0...ClientChannels.channelsMax).map { "c\($0)" }) == nil)
        #expect(channels.isEmpty)
        #expect(channels.await((0..<ClientChannels.channelsMax).map { "c\($0)" })?.count == ClientChannels.channelsMax)
        #expect(channels.await(["one more"]) == nil)
    }

    /// Random transactions against a model that remembers only what was told and what each transaction did.
    @Test func aModelAgrees() {
        let seed = UInt64.random(in: 0...UInt64.max)
        var random = StatementChance(seed: seed)
        let names = ["a", "b", "c"]
        let channels = ClientChannels()
        var expected: Set<String> = []
        // Who is registered with the listening connection, which must be exactly what is wanted.
        var registered: Set<String> = []
        var open: [[ChannelChange]] = []
        for _ in 0..<20_000 {
            switch Int.random(in: 0..<5, using: &random) {
            case 0:
                let listens = (0..<Int.random(in: 1...3, using: &random)).map { _ in
                    names.randomElement(using: &random) ?? "a"
                }
                registered.formUnion(channels.await(listens) ?? [])
                if Bool.random(using: &random) {
                    channels.passedOn(listens)
                    open.append(listens.map { .listen($0) })
                } else {
                    registered.subtract(channels.dropAwaited())
                }
            case 1: open.append([.unlisten(names.randomElement(using: &random) ?? "a")])
            case 2: open.append([.unlistenAll])
            case 3 where !open.isEmpty:
                let changes = open.removeFirst()
                let commits = Bool.random(using: &random)
                registered.subtract(
                    channels.settle(changes.filter { commits || $0.isListen }, isListening: { _ in commits }))
                for change in changes where commits {
                    switch change {
                    case .listen(let name): expected.insert(name)
                    case .unlisten(let name): expected.remove(name)
                    default: expected.removeAll()
                    }
                }
            case 4 where Int.random(in: 0..<10, using: &random) == 0:
                registered.subtract(channels.dropUnderWay())
                open = []
            default: break
            }
            #expect(channels.channels == expected, "seed \(seed)")
            #expect(registered == Set(names.filter { channels.wants($0) }), "seed \(seed)")
        }
    }
}
