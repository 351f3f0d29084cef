// Where tokens start and end, against section 4.1 of the PostgreSQL manual.

import SQLText
import Testing

@Suite struct LexerTests {
    @Test(
        "tokens end where PostgreSQL ends them",
        arguments: [
            ("", []),
            (" \t\r\n\u{0B}\u{0C}", []),
            ("a _b \u{E9}t\u{E9} a$1", ["word:a", "word:_b", "word:\u{E9}t\u{E9}", "word:a$1"]),
            ("\"a b\" \"a\"\"b\"", ["quotedIdentifier:\"a b\"", "quotedIdentifier:\"a\"\"b\""]),
            (
                "U&\"a\" u&\"b\" UESCAPE '!' x",
                ["unicodeIdentifier:U&\"a\"", "unicodeIdentifier:u&\"b\" UESCAPE '!'", "word:x"]
            ),
            ("u&a U& 'a'", ["word:u", "operator:&", "word:a", "word:U", "operator:&", "string:'a'"]),
            ("'a' 'b''c' ''", ["string:'a'", "string:'b''c'", "string:''"]),
            ("'a'\n'b'", ["string:'a'\n'b'"]),
            ("'a' -- x\n -- y\n\t'b'c", ["string:'a' -- x\n -- y\n\t'b'", "word:c"]),
            ("'a' --'b'", ["string:'a'"]),
            ("E'\\'' e'a'\n'\\''", ["escapeString:E'\\''", "escapeString:e'a'\n'\\''"]),
            (
                "B'01' x'1F' N'n' U&'a' uescape",
                ["bitString:B'01'", "bitString:x'1F'", "string:N'n'", "unicodeString:U&'a'", "word:uescape"]
            ),
            ("ze'a'", ["word:ze", "string:'a'"]),
            (
                "$$a$$ $b$ $$ $b $b$ $é1$é$é1$",
                ["dollarString:$$a$$", "dollarString:$b$ $$ $b $b$", "dollarString:$é1$é$é1$"]
            ),
            ("$1 $23a $ $a", ["parameter:$1", "parameter:$23", "word:a", "other:$", "other:$", "word:a"]),
            ("$a$ $A$", ["unterminated:$a$ $A$"]),
            ("$a$$a$a$", ["dollarString:$a$$a$", "word:a$"]),
            ("$aa$ $a$aa$", ["dollarString:$aa$ $a$aa$"]),
            (
                "1 1.5 .5 1. 1e5 1.e-5 1_000",
                ["number:1", "number:1.5", "number:.5", "number:1.", "number:1e5", "number:1.e-5", "number:1_000"]
            ),
            (
                "1..2 0x1F 0b01 0o7 0x 1e",
                [
                    "number:1", "other:..", "number:2", "number:0x1F", "number:0b01", "number:0o7", "number:0",
                    "word:x",
                    "number:1", "word:e",
                ]
            ),
            ("2E'a\\'b'", ["number:2", "escapeString:E'a\\'b'"]),
            (
                "a.b,c;(d)",
                [
                    "word:a", "dot:.", "word:b", "comma:,", "word:c", "semicolon:;", "openParenthesis:(", "word:d",
                    "closeParenthesis:)",
                ]
            ),
            (
                "a=1::b<=c =- :x [1]",
                [
                    "word:a", "equals:=", "number:1", "typeCast:::", "word:b", "operator:<=", "word:c", "equals:=",
                    "operator:-", "other::", "word:x", "other:[", "number:1", "other:]",
                ]
            ),
            (
                "*-1 <=+ @- =-- x",
                ["operator:*", "operator:-", "number:1", "operator:<=", "operator:+", "operator:@-", "equals:="]
            ),
            ("1+/* c */2*--x\n3", ["number:1", "operator:+", "number:2", "operator:*", "number:3"]),
            ("/* /* */ ' */a/**/b/***/", ["word:a", "word:b"]),
            ("/*/ a */ b", ["word:b"]),
            ("a /* open", ["word:a"]),
            ("a -- b\rc", ["word:a", "word:c"]),
            ("'open", ["unterminated:'open"]),
            ("E'open\\'", ["unterminated:E'open\\'"]),
            ("\"open", ["unterminated:\"open"]),
            ("a\u{0}b", ["word:a", "other:\u{0}", "word:b"]),
        ] as [(String, [String])])
    func tokensOfTheTable(_ text: String, _ expected: [String]) {
        #expect(tokens(Array(text.utf8)) == expected)
    }

    @Test("the end is reported as often as it is asked for")
    func endStays() {
        let text = Array("a".utf8)
        text.withUnsafeBytes { sql in
            var lexer = Lexer(sql, standardConformingStrings: true)
            #expect(lexer.next() == Token(.word, 0, 1))
            #expect(lexer.next() == Token(.end, 1, 1))
            #expect(lexer.next() == Token(.end, 1, 1))
        }
    }

    @Test("a buffer without an address is an empty text")
    func emptyBuffer() {
        var lexer = Lexer(UnsafeRawBufferPointer(start: nil, count: 0), standardConformingStrings: true)
        #expect(lexer.next().kind == .end)
    }
}
