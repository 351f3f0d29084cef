// The hashes of the log-in methods, computed by libcrypto. SHA-256 and HMAC cannot fail except when memory is gone,
// so they trap then; MD5 may be forbidden by the system's policy and answers nil.

import COpenSSL

/// The length of a SHA-256 hash, an HMAC made with it and a key derived with it, in bytes.
var sha256Bytes: Int { 32 }

/// SHA-256 (FIPS 180-4).
func sha256(_ bytes: [UInt8]) -> [UInt8] {
    digest(sha256Bytes) { output in
        bytes.withUnsafeBytes { input in weir_sha256(input.baseAddress, input.count, output) }
    }
}

/// HMAC-SHA-256 (RFC 2104).
func hmacSHA256(key: [UInt8], _ bytes: [UInt8]) -> [UInt8] {
    let keyCount = Int32(clamping: key.count)
    return digest(sha256Bytes) { output in
        key.withUnsafeBytes { key in
            bytes.withUnsafeBytes { input in
                weir_hmac_sha256(key.baseAddress, keyCount, input.baseAddress, input.count, output)
            }
        }
    }
}

/// PBKDF2 with HMAC-SHA-256 and a key of 32 bytes (RFC 8018). Slow on purpose: about a millisecond for 4096 iterations.
func pbkdf2SHA256(password: [UInt8], salt: [UInt8], iterations: Int) -> [UInt8] {
    precondition(iterations >= 1 && iterations <= scramIterationsMax, "iterations were checked before")
    return digest(sha256Bytes) { output in
        password.withUnsafeBytes { password in
            salt.withUnsafeBytes { salt in
                weir_pbkdf2_sha256(
                    password.baseAddress, Int32(clamping: password.count), salt.baseAddress,
                    Int32(clamping: salt.count), Int32(iterations), output)
            }
        }
    }
}

/// MD5 (RFC 1321) in lower-case hexadecimal, or nil where the system's policy forbids it.
func md5Hexadecimal(_ bytes: [UInt8]) -> [UInt8]? {
    var hash = [UInt8](repeating: 0, count: 16)
    // SAFETY: an MD5 hash has 16 bytes, the size of `hash`.
    let status = hash.withUnsafeMutableBufferPointer { output in
        bytes.withUnsafeBytes { input in weir_md5(input.baseAddress, input.count, output.baseAddress) }
    }
    guard status == 1 else { return nil }
    let digits = [UInt8]("0123456789abcdef".utf8)
    return hash.flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }
}

/// Whether two secrets are equal, in a time that depends only on their lengths.
public func constantTimeEquals(_ left: [UInt8], _ right: [UInt8]) -> Bool {
    guard left.count == right.count else { return false }
    // SAFETY: both have left.count bytes, by the guard above.
    return left.withUnsafeBytes { left in
        right.withUnsafeBytes { right in
            weir_equal_in_constant_time(left.baseAddress, right.baseAddress, left.count) == 1
        }
    }
}

/// Whether two secrets are equal as UTF-8, in a time that depends only on their lengths.
public func constantTimeEquals(_ left: String, _ right: String) -> Bool {
    constantTimeEquals([UInt8](left.utf8), [UInt8](right.utf8))
}

/// Runs a function of libcrypto that fills `count` bytes and returns 1.
private func digest(_ count: Int, _ body: (UnsafeMutablePointer<UInt8>?) -> Int32) -> [UInt8] {
    [UInt8](unsafeUninitializedCapacity: count) { buffer, initializedCount in
        // SAFETY: the buffer has at least `count` bytes, which is what every caller's function writes.
        precondition(body(buffer.baseAddress) == 1, "libcrypto is out of memory")
        initializedCount = count
    }
}
