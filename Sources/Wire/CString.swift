// Where texts on the wire end.

import Glibc

/// The offset of the first NUL in `bytes`, or nil when there is none. Complexity: O(bytes), many bytes at a time.
public func firstNUL(in bytes: UnsafeRawBufferPointer) -> Int? {
    guard let start = bytes.baseAddress, let found = memchr(start, 0, bytes.count) else { return nil }
    return UnsafeRawPointer(found) - UnsafeRawPointer(start)
}
