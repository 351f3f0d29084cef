// What each statement does to its session: the table of StatementTexts, and the two ways to read it.

import SQLText
import Testing

extension Case: CustomTestStringConvertible {
    var testDescription: String { text }
}

@Suite struct StatementTests {
    @Test("the findings are those of the table", arguments: StatementTexts.all)
    func findingsOfTheTable(_ text: Case) {
        #expect(findings(text.text) == text.expected)
    }

    @Test("the table holds enough and each text once")
    func tableIsLarge() {
        #expect(StatementTexts.all.count >= 250)
        #expect(Set(StatementTexts.all.map(\.text)).count == StatementTexts.all.count)
    }

    @Test("comments and newlines between the tokens change no finding", arguments: StatementTexts.all)
    func blanksDoNotMatter(_ text: Case) {
        let bytes = Array(text.text.utf8)
        var spread: [UInt8] = Array(" /* ; ' \" $$ */ ".utf8)
        var values: [[UInt8]] = []
        bytes.withUnsafeBytes { sql in
            var lexer = Lexer(sql, standardConformingStrings: true)
            while true {
                let token = lexer.next()
                guard token.kind != .end else { break }
                values.append(Array(sql[token.range]))
            }
        }
        for value in values {
            spread += value
            // A newline would join two strings, and a blank alone would not tell much.
            spread += value.first == 0x24 || value.last == 0x27 ? Array(" /**/ ".utf8) : Array("\n--;\n\t/*/**/*/".utf8)
        }
        // Values are reported as written, so that only what stands before them can be compared.
        let kinds = { (lines: [String]) in
            lines.map { $0.prefix { $0 != "=" && $0 != "(" }.split(separator: " ").first }
        }
        #expect(kinds(findings(spread)) == kinds(text.expected), "\(String(decoding: spread, as: UTF8.self))")
    }

    @Test("keywords have no case", arguments: StatementTexts.all)
    func caseDoesNotMatter(_ text: Case) {
        func words(_ lines: [String]) -> [String] {
            lines.map { $0.split(separator: " ").prefix(2).joined(separator: " ") }
        }
        // Quoted names and escapes do have case; changing those would be another text.
        guard !text.text.contains("\""), !text.text.contains("E'") else { return }
        #expect(words(findings(text.text.uppercased())) == words(text.expected))
        #expect(words(findings(text.text.lowercased())) == words(text.expected))
    }

    @Test("a backslash hides a quote while standard_conforming_strings is off")
    func backslashesCountWhenTheSettingSaysSo() {
        let text = "SELECT 'a\\'; SET a = 1; --'"
        #expect(findings(text) == ["0 other", "1 set a = 1"])
        #expect(findings(text, standardConformingStrings: false) == ["0 other"])
        #expect(findings("SELECT N'a\\'; SET a = 1; --'", standardConformingStrings: false) == ["0 other"])
    }
}
