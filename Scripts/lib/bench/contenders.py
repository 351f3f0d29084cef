# The processes in the middle: their configuration, start and end. All get the same pool, the same limits and no log
# line for each connection. Root's contenders run as an unprivileged user.
import os
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

POOL_SIZE = 20

INI = """\
[databases]
bench = host=127.0.0.1 port={server_port} dbname=bench

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = trust
auth_file = {directory}/userlist.txt
pool_mode = transaction
default_pool_size = {pool_size}
max_client_conn = 10000
log_connections = 0
log_disconnections = 0
log_stats = 0
{more}"""


class ContenderFailed(Exception):
    """A contender could not be started or measured; the text says why."""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Contender:
    """One process in the middle; a context manager that ends it."""

    def __init__(self, name, server_port, directory, user):
        self.name = name
        self.server_port = server_port
        self.directory = Path(directory) / f"{name}-{time.monotonic_ns()}"
        self.user = user
        self.port = free_port()
        self.process = None

    def __enter__(self):
        self.directory.mkdir()
        command = self._command()
        if os.geteuid() == 0:
            shutil.chown(self.directory, self.user)
            command = ["setpriv", "--reuid", self.user, "--regid", str(self._group()), "--init-groups",
                       "--pdeathsig", "KILL", *command]
        with open(self.directory / "log", "wb") as log:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)
        self._wait_until_accepting()
        return self

    def __exit__(self, *_):
        # SIGQUIT ends poolers at once; a relay has no handler and ends too.
        self.process.send_signal(signal.SIGQUIT)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    @property
    def pid(self):
        return self.process.pid

    def log_tail(self):
        text = (self.directory / "log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-15:])

    def _group(self):
        import pwd
        return pwd.getpwnam(self.user).pw_gid

    def _program(self, source):
        """A copy in our directory: the unprivileged user may not reach the folder that it was built in."""
        if not source or not os.access(source, os.X_OK):
            raise ContenderFailed(f"{self.name}: no program at '{source}'")
        copy = self.directory / Path(source).name
        shutil.copy(source, copy)
        copy.chmod(0o755)
        return str(copy)

    def _ini(self, more):
        (self.directory / "userlist.txt").write_text('"bench" ""\n')
        path = self.directory / "contender.ini"
        path.write_text(INI.format(server_port=self.server_port, port=self.port, directory=self.directory,
                                   pool_size=POOL_SIZE, more=more))
        return str(path)

    def _command(self):
        kind, _, back_end = self.name.partition("-")
        if kind == "relay":
            return [self._program(os.environ["RELAY_BINARY"]), back_end, str(self.port), str(self.server_port)]
        if kind == "weir":
            return [self._program(os.environ["WEIR_BINARY"]), self._ini(f"workers = 1\nio_backend = {back_end}\n")]
        return [self._program(shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")), self._ini("")]

    def _wait_until_accepting(self):
        deadline = time.monotonic() + 10
        while self.process.poll() is None and time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return
            except OSError:
                time.sleep(0.02)
        status = self.process.poll()
        if status is None:
            self.__exit__()
            raise ContenderFailed(f"{self.name} does not accept connections:\n{self.log_tail()}")
        raise ContenderFailed(f"{self.name} ended at once (exit code {status}):\n{self.log_tail()}")
