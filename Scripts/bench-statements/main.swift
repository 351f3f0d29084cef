// What Weir's looking at statements costs: nanoseconds for each of the benchmark's statements, for finding out what it
// does to its session and for finding it among prepared ones. `Scripts/bench --statements` builds and runs it.

/// The goal: all of it together for one statement.
let nanosecondsMax = 500.0

func cell(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.utf8.count)) + text
}

func cell(_ nanoseconds: Double) -> String { cell("\(Int(nanoseconds.rounded()))", 10) }

func report() -> Bool {
    print("Nanoseconds a statement: medians of \(Measurement.rounds) rounds of \(Measurement.iterations) calls;")
    print("500 statements are known, of which the server has 200.")
    print("  quick: isSurelyPlainStatement")
    print("  scan: scanStatements, which a plain statement is spared, so its sum leaves it out")
    print("  table, client, server: StatementTable.find, ClientStatements.find, ServerStatements.touch\n")
    let heads = ["bytes", "quick", "scan", "table", "client", "server", "sum", "under \(Int(nanosecondsMax))"]
    print(cell("", 16) + heads.map { cell($0, 10) }.joined())
    var measurement = Measurement()
    var areReached = true
    for statement in MeasuredStatement.measured {
        let cost = measurement.cost(of: statement)
        let isReached = cost.sum < nanosecondsMax
        areReached = areReached && isReached
        let name = statement.name + String(repeating: " ", count: 16 - statement.name.utf8.count)
        let figures = [cost.quick, cost.scan, cost.table, cost.client, cost.server, cost.sum]
        print(
            name + cell("\(statement.text.utf8.count)", 10) + figures.map { cell($0) }.joined()
                + cell(isReached ? "yes" : "NO", 10))
    }
    print("\nlexer and look-up together under \(Int(nanosecondsMax)) ns: \(areReached ? "yes, all" : "NO")")
    return measurement.checksum > 0
}

precondition(report())
