// The hashes against published vectors and an independent implementation.

import Testing

@testable import Wire

@Suite struct HashingTests {
    private func hexadecimal(_ bytes: [UInt8]) -> String {
        bytes.map { byte in (byte < 16 ? "0" : "") + String(byte, radix: 16) }.joined()
    }

    @Test("SHA-256 and HMAC give the published values (FIPS 180-4, RFC 4231)")
    func hashes() {
        #expect(hexadecimal(sha256([])) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
        #expect(hexadecimal(sha256(ascii("abc"))) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
        #expect(
            hexadecimal(hmacSHA256(key: ascii("Jefe"), ascii("what do ya want for nothing?")))
                == "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843")
        #expect(
            hexadecimal(hmacSHA256(key: [], []))
                == "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad")
    }

    @Test("an MD5 password and its answer are PostgreSQL's")
    func md5() {
        let stored = md5Password(user: "alice", password: "secret")
        #expect(stored == "md54a0a68b43b6cd5cf266fa02f196e2371")
        #expect(
            md5Response(stored: "md54a0a68b43b6cd5cf266fa02f196e2371", salt: [1, 2, 3, 4])
                == "md598a0412b9c31436fc53776e863350083")
        #expect(md5Password(user: "bob", password: [UInt8]()) == "md59f9d51bc70ef21ca5c14f307980a29d8")
    }

    @Test(
        "what is not an MD5 password has no answer",
        arguments: [
            "", "md5", "secret", "md54a0a68b43b6cd5cf266fa02f196e237", "md54a0a68b43b6cd5cf266fa02f196e23711",
            "md54A0A68B43B6CD5CF266FA02F196E2371", "MD54a0a68b43b6cd5cf266fa02f196e2371",
        ])
    func notMD5(stored: String) {
        #expect(!isMD5Password(stored))
        #expect(md5Response(stored: stored, salt: [1, 2, 3, 4]) == nil)
    }

    @Test("secrets are equal only if all bytes are")
    func constantTime() {
        #expect(constantTimeEquals([UInt8](), []))
        #expect(constantTimeEquals([1, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEquals([1, 2, 3], [1, 2, 4]))
        #expect(!constantTimeEquals([0, 2, 3], [1, 2, 3]))
        #expect(!constantTimeEquals([1, 2], [1, 2, 3]))
        #expect(constantTimeEquals("é", "é"))
        #expect(!constantTimeEquals("a", "b"))
    }

    @Test(
        "Base64 has one text for each value (RFC 4648)",
        arguments: [
            ("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy"), ("\u{3f}\u{3e}", "Pz4="),
        ])
    func base64(plain: String, text: String) {
        #expect(base64Encode(ascii(plain)) == ascii(text))
        #expect(base64Decode(ascii(text)) == ascii(plain))
    }

    @Test(
        "any other Base64 text is refused",
        arguments: ["Zg", "Zg=", "Zg===", "Zh==", "Zm9=", "====", "Z===", "Zg==Zg==", "Zm9v\n", "Zm 9", "Zm-_", "=Zg="])
    func badBase64(text: String) {
        #expect(base64Decode(ascii(text)) == nil)
    }

    @Test("all bytes survive Base64")
    func base64RoundTrip() {
        let bytes = (0...255).map { UInt8($0) }
        for count in 0...bytes.count {
            #expect(base64Decode(base64Encode(bytes.prefix(count))) == [UInt8](bytes.prefix(count)))
        }
    }
}
