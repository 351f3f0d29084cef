// The queue of names under way is one in memory that is used again: it must be what a plain array would be.

import Pooling
import Testing

@testable import Engine

@Suite struct NamesUnderWayTests {
    private struct Expected: Equatable {
        var name: [UInt8]
        var statement: UInt64?
        var isClose: Bool
        var isImplied = false
    }

    private func append(_ expected: Expected, to names: inout NamesUnderWay) {
        let statement = expected.statement.map { StatementID(rawValue: $0) }
        expected.name.withUnsafeBytes {
            names.append($0, statement, isClose: expected.isClose, isImplied: expected.isImplied)
        }
    }

    private func contents(_ names: NamesUnderWay) -> [Expected] {
        names.names.map {
            Expected(name: $0.name, statement: $0.statement?.rawValue, isClose: $0.isClose, isImplied: $0.isImplied)
        }
    }

    @Test("what is answered leaves at the front, what is discarded at the end, and the rest stays", arguments: 1...20)
    func likeAnArray(seed: UInt64) {
        var state = seed
        func chance(_ bound: Int) -> Int {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            return Int(state >> 33) % bound
        }
        var names = NamesUnderWay()
        var model: [Expected] = []
        for step in 0..<3_000 {
            // Long growing and shrinking times, so that the front is dropped and the queue is empty now and then.
            let grows = step / 300 % 2 == 0
            switch chance(10) {
            case 0..<(grows ? 6 : 3):
                let expected = Expected(
                    name: .init(repeating: UInt8(step % 251), count: chance(64)),
                    statement: chance(4) == 0 ? nil : UInt64(step), isClose: chance(2) == 0,
                    isImplied: chance(5) == 0)
                append(expected, to: &names)
                model.append(expected)
            case 9:
                let last = names.popLast()
                let expected = model.popLast()
                #expect(last?.name == expected?.name && last?.statement?.rawValue == expected?.statement)
            case 8:
                let first = names.takeFirst()
                let expected = model.isEmpty ? nil : model.removeFirst()
                #expect(first?.name == expected?.name && first?.statement?.rawValue == expected?.statement)
            default:
                let first = names.popFirst()
                let expected = model.isEmpty ? nil : model.removeFirst()
                #expect(first?.isClose == expected?.isClose && first?.statement?.rawValue == expected?.statement)
            }
            #expect(names.isEmpty == model.isEmpty)
            #expect(names.beginsImplied == (model.first?.isImplied ?? false))
            #expect(names.endsImplied == (model.last?.isImplied ?? false))
            if step % 50 == 0 { #expect(contents(names) == model) }
        }
        #expect(contents(names) == model)
    }
}
