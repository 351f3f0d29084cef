// Texts that people are shown have nothing secret in them.

import SQLText
import Testing

private func shown(_ text: String, bytesMax: Int = 100, standardConformingStrings: Bool = true) -> String {
    Array(text.utf8).withUnsafeBytes {
        textWithoutConstants($0, standardConformingStrings: standardConformingStrings, bytesMax: bytesMax)
    }
}

private let texts: [(String, String)] = [
    ("", ""), ("  SELECT\n\t1", "SELECT 1"), ("a('s')", "a('…')"), ("a 's''s' b", "a '…' b"),
    ("a E's\\'s' b", "a '…' b"), ("a $x$ s $x$ b", "a '…' b"), ("a U&'s' b", "a '…' b"), ("a B'01' b", "a '…' b"),
    ("a /* s */ b -- s", "a b"), ("a 's", "a '…'"), ("a $$ s", "a '…'"), ("a \"b c\".d", "a \"b c\".d"),
    ("ALTER ROLE a PASSWORD 's'; SELECT 1", "ALTER ROLE a PASSWORD '…'; SELECT 1"),
]

@Suite struct TextToShowTests {
    @Test("constants and comments are left out", arguments: texts)
    func constants(text: String, expected: String) {
        #expect(shown(text) == expected)
    }

    @Test("a backslash ends a string where it is an ordinary character, and nowhere else")
    func backslashes() {
        #expect(shown("a '\\' b", standardConformingStrings: true) == "a '…' b")
        #expect(shown("a '\\' s' b", standardConformingStrings: false) == "a '…' b")
    }

    @Test("a text is cut, whatever it is made of", arguments: ["x", "x ", "'s'", "\"", "é", "((", "/* */ "])
    func length(piece: String) {
        let long = shown(String(repeating: piece, count: 10_000), bytesMax: 50)
        #expect(long.utf8.count <= 50 + 50 + 10)
    }
}
