// The messages that put one session's settings in place of another's, kept: the same clients meet the same servers
// again and again.

import Pooling
import Wire

/// A worker's Query messages by what they change. The sets of settings that they name are owned while they are kept.
struct SettingsMessages {
    /// From what a server has to what a client wants.
    struct Change: Hashable {
        let serverSettings: ParameterSetID
        let serverExtras: ParameterSetID
        let clientSettings: ParameterSetID
        let clientExtras: ParameterSetID

        fileprivate var sets: [ParameterSetID] { [serverSettings, serverExtras, clientSettings, clientExtras] }
    }

    /// How many messages are kept. Beyond that all are forgotten: clients come that no others resemble.
    private static var keptMax: Int { 64 }
    /// A longer one is made anew each time.
    private static var keptBytesMax: Int { 4_096 }

    private var messages: [Change: [UInt8]] = [:]

    /// The message for a change; empty when a server needs no telling. Made if it is not kept.
    mutating func message(for change: Change, _ parameterSets: inout ParameterSets) -> [UInt8] {
        if let kept = messages[change] { return kept }
        let made = Self.make(change, parameterSets)
        guard made.count <= Self.keptBytesMax else { return made }
        if messages.count >= Self.keptMax { forgetAll(&parameterSets) }
        for set in change.sets { parameterSets.retain(set) }
        messages[change] = made
        return made
    }

    private static func make(_ change: Change, _ parameterSets: borrowing ParameterSets) -> [UInt8] {
        let reported = setStatement(
            for: parameterSets.difference(from: change.serverSettings, to: change.clientSettings))
        let unreported = parameterSets.changeStatement(from: change.serverExtras, to: change.clientExtras)
        if reported.isEmpty && unreported.isEmpty { return [] }
        var writer = MessageWriter()
        writer.query(reported.isEmpty || unreported.isEmpty ? reported + unreported : "\(reported);\(unreported)")
        return writer.bytes
    }

    private mutating func forgetAll(_ parameterSets: inout ParameterSets) {
        for change in messages.keys {
            for set in change.sets { parameterSets.release(set) }
        }
        messages = [:]
    }
}
