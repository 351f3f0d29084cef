// The old log-in method (PostgreSQL manual, 55.2): the stored form is a hash of password and user name, and the
// answer to a challenge is a hash of that hash and four bytes of salt. Kept because people have such passwords.

/// The stored form of a password, `md5` and 32 hexadecimal digits. Nil where the system's policy forbids MD5.
public func md5Password(user: String, password: String) -> String? {
    md5Password(user: user, password: [UInt8](password.utf8))
}

/// The stored form of a password given as bytes, `md5` and 32 hexadecimal digits. Nil where the system's policy
/// forbids MD5.
public func md5Password(user: String, password: [UInt8]) -> String? {
    md5Text(password + user.utf8)
}

/// The answer to an MD5 challenge by somebody who knows the stored form. Nil when `stored` is not `md5` and 32 more
/// characters, or where the system's policy forbids MD5.
public func md5Response(stored: String, salt: [UInt8]) -> String? {
    guard isMD5Password(stored) else { return nil }
    return md5Text(stored.utf8.dropFirst(3) + salt)
}

/// Whether a stored password has the form that `md5Password` makes.
public func isMD5Password(_ stored: String) -> Bool {
    stored.utf8.count == 35 && stored.hasPrefix("md5")
        && stored.utf8.dropFirst(3).allSatisfy { (0x30...0x39).contains($0) || (0x61...0x66).contains($0) }
}

private func md5Text(_ bytes: [UInt8]) -> String? {
    guard let digits = md5Hexadecimal(bytes) else { return nil }
    return "md5" + String(decoding: digits, as: UTF8.self)
}
