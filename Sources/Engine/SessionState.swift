// What a server knows of its client's session beyond the settings that it reports, in transaction and statement mode.

import Pooling

/// The record of a server that stays with its client between transactions; a class so that other servers pay a word.
final class Pin {
    /// What holds it.
    var reasons: HoldReasons
    /// Since when, CLOCK_MONOTONIC in microseconds.
    let since: Int64
    /// The start of the text that first made it stay.
    let statement: String
    /// What an EXECUTE may do.
    var prepared: SessionEffects?

    init(reasons: HoldReasons, since: Int64, statement: String) {
        self.reasons = reasons
        self.since = since
        self.statement = statement
    }
}

/// A question that a server is answering about its session.
final class PendingQuestion {
    let question: SessionQuestion
    let effects: SessionEffects
    var answer = SessionAnswer()

    init(_ question: SessionQuestion, _ effects: SessionEffects) {
        self.question = question
        self.effects = effects
    }
}
