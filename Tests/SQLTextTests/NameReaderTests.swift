// Names and strings as the server reads them.

import SQLText
import Testing

@Suite struct NameReaderTests {
    @Test(
        "a name is folded or unquoted",
        arguments: [
            ("Foo", "foo"), ("\u{C4}B", "\u{C4}b"), ("\"Foo\"", "Foo"), ("\"a\"\"B\"", "a\"B"), ("'it''s'", "it's"),
            ("''", ""), ("N'x'", "x"), ("'a'\n 'b'", "ab"), ("'a'--c\n'b'", "ab"), ("$$a'b$$", "a'b"),
            ("$T$a$$b$T$", "a$$b"),
            ("E'a\\n\\t\\'\\\\\\q'", "a\n\t'\\q"), ("e'\\x41\\101\\u00e9\\U0001F600'", "AA\u{E9}\u{1F600}"),
            ("E'\\xg'", "xg"),
            ("E'a'\n'\\x41'", "aA"), ("U&\"d\\0061t\\+000061\\\\\"", "data\\"), ("U&'\\00e9'", "\u{E9}"),
            ("U&\"d!0061t\\!!\" /**/ uescape '!'", "dat\\!"), ("U&'$0041'\n'$0042' UESCAPE '$'", "AB"),
        ])
    func readable(_ text: String, _ expected: String) {
        #expect(reading(text) == expected)
    }

    @Test(
        "what is no name or cannot be decoded gives nothing",
        arguments: [
            "", "1", "a b", "a.b", "$1", "B'1'", "'open", "E'\\u12'", "U&\"\\12\"", "U&\"a\" UESCAPE 'a'",
            "U&\"a\" UESCAPE '!!'", "U&\"a\" UESCAPE ''", "U&'!12' UESCAPE '!'", "U&'\\d800'", "E'\\uD83D'",
        ])
    func unreadable(_ text: String) {
        #expect(reading(text) == nil)
    }

    @Test("a plain string has escapes while standard_conforming_strings is off")
    func oldStrings() {
        #expect(reading("'a\\'b'", standardConformingStrings: false) == "a'b")
        #expect(reading("'a\\b'") == "a\\b")
    }

    @Test("an identifier is cut at 63 bytes, not inside of a character; a string is not cut")
    func longIdentifiers() {
        let long = String(repeating: "a", count: 62)
        #expect(reading(long + "bc") == long + "b")
        #expect(reading("\"\(long)\u{E9}\"") == long)
        #expect(reading("'\(long)abc'") == long + "abc")
    }

    @Test("a buffer too small gives nothing instead of a part")
    func smallBuffers() {
        #expect(reading("abc", bytesMax: 3) == "abc")
        #expect(reading("abc", bytesMax: 2) == nil)
    }
}
