// The words that settings choose among, as Swift enums. A raw value is the word in the file; the order of
// cases is the order in which error messages list them.

/// When a server connection goes back to its pool.
public enum PoolMode: String, CaseIterable, Sendable {
    /// When the client disconnects.
    case session
    /// When the client's transaction ends.
    case transaction
    /// After each statement; transactions of several statements are refused.
    case statement
}

/// What happens where a client's session has something that cannot follow it to another server.
public enum PinMode: String, CaseIterable, Sendable {
    /// The server stays with the client until the session has none of it any more.
    case hold
    /// The statement that would bring it about gets an error.
    case refuse
    /// The server goes on to the next client as it is.
    case ignore
}

/// How clients prove who they are.
public enum AuthType: String, CaseIterable, Sendable {
    /// Nobody is asked, and every client is the forced user of its database.
    case any
    /// The name must be known, no password is asked.
    case trust
    /// The password in clear text.
    case plain
    /// An MD5 hash, or SCRAM where the stored secret is a SCRAM verifier.
    case md5
    /// SCRAM-SHA-256 (RFC 7677).
    case scramSHA256 = "scram-sha-256"
    /// A TLS client certificate.
    case cert
    /// As the HBA file says.
    case hba
    /// An LDAP server decides.
    case ldap
    /// PAM decides.
    case pam
}

/// How TLS is used, with libpq's words.
public enum TLSMode: String, CaseIterable, Sendable {
    /// Never.
    case disable
    /// If the other side asks for it.
    case allow
    /// If the other side can.
    case prefer
    /// Always, without looking at certificates.
    case require
    /// Always, and the certificate must come from a known authority.
    case verifyCA = "verify-ca"
    /// Always, and the certificate must also name the host.
    case verifyFull = "verify-full"
}

/// Which of the kernel's interfaces moves the bytes.
public enum IOBackend: String, CaseIterable, Sendable {
    /// io_uring where the kernel offers it, else epoll.
    case auto
    /// io_uring or nothing.
    case ioUring = "io_uring"
    /// epoll.
    case epoll
}

/// In which order a database's hosts are connected to.
public enum LoadBalanceHosts: String, CaseIterable, Sendable {
    /// Each new connection takes the next host.
    case roundRobin = "round-robin"
    /// The first host, and the next ones only after it failed.
    case disable
}

/// How many event-loop threads run.
public enum WorkerCount: Sendable, Equatable, CustomStringConvertible {
    /// One for each processor that the process may use.
    case auto
    /// This many.
    case count(Int)

    /// The value in the words of the file.
    public var description: String {
        switch self {
        case .auto: "auto"
        case .count(let count): String(count)
        }
    }
}
