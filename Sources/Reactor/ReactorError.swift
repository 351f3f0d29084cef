// The one error type of this module. It is thrown only where something is set up (a loop, a listener);
// what happens to a socket while the loop runs is an event, not an error.

import Glibc

/// Why a loop, a socket or an address could not be made.
public enum ReactorError: Error, Equatable, CustomStringConvertible {
    /// A system call failed with this `errno`.
    case systemCall(name: String, errno: Int32)
    /// The kernel, or what confines this process, lacks something that is needed.
    case unsupported(String)

    /// The `errno`, where a system call failed.
    public var errorNumber: Int32 {
        switch self {
        case .systemCall(_, let errno): errno
        case .unsupported: 0
        }
    }

    /// One line for a log: `bind: Address already in use`.
    public var description: String {
        switch self {
        case .systemCall(let name, let errno): "\(name): \(Self.text(of: errno))"
        case .unsupported(let what): what
        }
    }

    /// The C library's words for an `errno`, as in `strerror(3)`.
    public static func text(of errno: Int32) -> String {
        String(cString: strerror(errno))
    }
}
