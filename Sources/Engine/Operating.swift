// What a daemon needs of its system: files, users, process ids, limits and signals. Used at start only.

import CLinux
import Configuration
import Glibc
import Reactor

/// One line, or several, on standard error.
public func writeError(_ text: String) {
    let bytes = Array((text + "\n").utf8)
    _ = bytes.withUnsafeBytes { Glibc.write(STDERR_FILENO, $0.baseAddress, $0.count) }
}

/// `configuration(fromURL:)` under a name that a property called `configuration` does not hide.
func configurationFromURL(_ url: String) -> Result<Configuration, ConfigurationErrors> {
    configuration(fromURL: url)
}

/// Every setting with its default, unit and explanation.
public func settingsReference() -> String { printConfig() }

/// The text of a file.
func readFile(_ path: String) -> Result<String, FileError> {
    let fd = open(path, O_RDONLY | O_CLOEXEC)
    guard fd >= 0 else { return .failure(FileError(reason: describeErrno(errno))) }
    defer { closeDescriptor(fd) }
    var bytes: [UInt8] = []
    var chunk = [UInt8](repeating: 0, count: 65_536)
    while true {
        let count = chunk.withUnsafeMutableBytes { read(fd, $0.baseAddress, $0.count) }
        if count < 0 && errno == EINTR { continue }
        guard count >= 0 else { return .failure(FileError(reason: describeErrno(errno))) }
        if count == 0 { break }
        bytes.append(contentsOf: chunk[..<count])
    }
    return .success(String(decoding: bytes, as: UTF8.self))
}

/// Gives up root for the configured user; refuses to stay root.
func dropPrivileges(_ user: String) throws(StartError) {
    guard getuid() == 0 else { return }
    guard !user.isEmpty else {
        throw StartError("Weir should not run as root: set user in the configuration, or give -u")
    }
    guard let entry = getpwnam(user) else { throw StartError("could not find user \"\(user)\" to switch to") }
    let (uid, gid) = (entry.pointee.pw_uid, entry.pointee.pw_gid)
    guard uid != 0 else { throw StartError("Weir should not run as root") }
    guard initgroups(user, gid) == 0, setgid(gid) == 0, setuid(uid) == 0 else {
        throw StartError("could not switch to user \"\(user)\": \(describeErrno(errno))")
    }
}

// MARK: The pid file

/// Refuses to start beside a process that lives; removes what a dead one left.
func checkPidfile(_ path: String) throws(StartError) {
    guard !path.isEmpty, access(path, F_OK) == 0 else { return }
    guard case .success(let text) = readFile(path) else { throw StartError("could not read pidfile '\(path)'") }
    let trimmed = text.filter { !$0.isWhitespace }
    guard !trimmed.isEmpty else { throw StartError("pidfile '\(path)' is empty: remove it if no instance runs") }
    guard let process = Int32(trimmed), process > 0 else { throw StartError("pidfile '\(path)' holds no process id") }
    if kill(process, 0) == 0 || errno == EPERM {
        throw StartError("pidfile '\(path)' exists, another instance running?")
    }
    writeError("stale pidfile, removing")
    unlink(path)
}

func writePidfile(_ path: String) throws(StartError) {
    guard !path.isEmpty else { return }
    let fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0o644)
    guard fd >= 0 else { throw StartError("could not write pidfile '\(path)': \(describeErrno(errno))") }
    let bytes = Array("\(getpid())\n".utf8)
    _ = bytes.withUnsafeBytes { Glibc.write(fd, $0.baseAddress, $0.count) }
    closeDescriptor(fd)
}

// MARK: The background

/// Becomes a process of its own without a terminal. Must come before any thread is started.
func daemonize() throws(StartError) {
    for round in 0..<2 {
        let child = linux_fork()
        guard child >= 0 else { throw StartError("fork failed: \(describeErrno(-child))") }
        if child > 0 { _exit(0) }
        if round == 0 { setsid() }
    }
    let null = open("/dev/null", O_RDWR)
    guard null >= 0 else { throw StartError("could not open /dev/null: \(describeErrno(errno))") }
    for fd in [STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO] { dup2(null, fd) }
    if null > STDERR_FILENO { closeDescriptor(null) }
}

// MARK: Limits and signals

/// Raises the file limit to its hard bound, and says so when the configuration cannot fit in it.
func raiseFileLimit(_ configuration: Configuration, _ log: LogSink) {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return }
    let before = limit.rlim_cur
    limit.rlim_cur = limit.rlim_max
    if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) != 0 { limit.rlim_cur = before }
    let settings = configuration.settings
    let names = max(1, configuration.secrets.count)
    var servers = 0
    for database in configuration.databases.values {
        let size =
            configuration.poolSize(database: database, user: database.user ?? "")
            + configuration.maxOverflow(database: database)
            + configuration.reservePoolSize(database: database, user: database.user ?? "")
        let users = database.user == nil ? names : 1
        let (product, overflows) = size.multipliedReportingOverflow(by: users)
        servers = overflows ? .max / 4 : min(.max / 4, servers + product)
    }
    let expected = settings.maxClientConn + servers + 32
    log.write(
        .log,
        "kernel file descriptor limit: \(limit.rlim_cur) (hard: \(limit.rlim_max)); max_client_conn: "
            + "\(settings.maxClientConn), max expected fd use: \(expected)")
    if UInt(expected) > limit.rlim_cur {
        log.write(
            .warning,
            "max_client_conn and the pools may need \(expected) file descriptors, but only \(limit.rlim_cur) are "
                + "allowed: raise LimitNOFILE (ulimit -n) or lower max_client_conn")
    }
}

/// The signals that the signal thread waits for.
func handledSignals() -> sigset_t {
    var signals = sigset_t()
    sigemptyset(&signals)
    for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP, SIGUSR1, SIGUSR2] { sigaddset(&signals, signal) }
    return signals
}

/// Blocks the handled signals in this thread and all that it starts, and ignores SIGPIPE.
func blockSignals() {
    var signals = handledSignals()
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    signal(SIGPIPE, SIG_IGN)
}

/// Unix time minus the monotonic clock, in microseconds.
func clockOffset() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Int64(time.tv_sec) * 1_000_000 + Int64(time.tv_nsec) / 1_000 - readMonotonicMicroseconds()
}
