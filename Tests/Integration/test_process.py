"""Weir as a process: its command line and its files."""

from __future__ import annotations

import os
import signal
import subprocess

import pytest

import wire
from pooler import weir_binary
from postgres import PASSWORD, unprivileged_user
from waiting import wait_until


def run(*arguments: str, timeout: float = 15) -> subprocess.CompletedProcess:
    return subprocess.run(
        [weir_binary(), *arguments], capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL
    )


@pytest.fixture
def idle(weir_factory):
    """A Weir that has not been started."""
    return weir_factory(start=False)


def refused(idle, *arguments: str) -> str:
    """Starts it, expects exit code 1, and returns what it said."""
    idle.write()
    done = run(*arguments, idle.path("weir.ini"))
    assert done.returncode == 1, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.one_backend
@pytest.mark.parametrize(
    "key, value, expected",
    [
        ("default_pool_size", "10x", ["default_pool_size", "10x"]),
        ("default_pol_size", "10", ["default_pol_size"]),
        ("pool_mode", "sometimes", ["pool_mode", "sometimes"]),
        ("query_timeout", "soon", ["query_timeout", "soon"]),
        ("auth_file", "/no/such/file", ["/no/such/file"]),
        ("io_backend", "kqueue", ["io_backend", "kqueue"]),
        ("workers", "-3", ["workers", "-3"]),
        ("client_tls_sslmode", "require", ["client_tls_sslmode"]),
        ("auth_type", "pam", ["weir.ini", "auth_type", "scram-sha-256"]),
        ("listen_addr", "300.1.2.3", ["300.1.2.3"]),
        ("user", "no_such_user_here", ["no_such_user_here"]),
    ],
)
def test_a_wrong_setting_is_told_in_one_line_and_nothing_starts(idle, key, value, expected):
    idle.settings[key] = value
    said = refused(idle)
    lines = [line for line in said.splitlines() if all(word in line for word in expected)]
    assert lines, said
    assert "process up" not in said
    assert not os.path.exists(idle.path(f".s.PGSQL.{idle.port}"))


@pytest.mark.one_backend
def test_a_wrong_setting_is_told_with_file_and_line(idle):
    idle.settings = {"default_pool_size": "10x"} | {k: v for k, v in idle.settings.items() if k != "default_pool_size"}
    said = refused(idle)
    with open(idle.path("weir.ini")) as file:
        number = next(n for n, line in enumerate(file, 1) if "10x" in line)
    assert f"weir.ini:{number}" in said


@pytest.mark.one_backend
def test_a_missing_file_is_told(idle):
    done = run(idle.path("nowhere.ini"))
    assert done.returncode == 1 and "nowhere.ini" in done.stderr + done.stdout


@pytest.mark.one_backend
def test_no_file_at_all_is_an_error(idle):
    done = run()
    assert done.returncode != 0 and done.stderr


@pytest.mark.one_backend
@pytest.mark.skipif(os.geteuid() != 0, reason="the tests are not run by root")
def test_root_is_refused_without_a_user(idle):
    del idle.settings["user"]
    assert "should not run as root" in refused(idle)


@pytest.mark.one_backend
@pytest.mark.skipif(os.geteuid() != 0, reason="the tests are not run by root")
def test_it_becomes_the_user_of_the_command_line(idle):
    del idle.settings["user"]
    idle.flags = ["-u", unprivileged_user()]
    idle.start()
    with open(f"/proc/{idle.process.pid}/status") as status:
        identities = next(line for line in status if line.startswith("Uid:")).split()[1:]
    assert "0" not in identities and len(set(identities)) == 1


@pytest.mark.one_backend
@pytest.mark.parametrize("flag", ["-V", "--version"])
def test_version(idle, flag):
    done = run(flag)
    assert done.returncode == 0 and done.stdout.splitlines()[0].strip()


@pytest.mark.one_backend
@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help(idle, flag):
    done = run(flag)
    assert done.returncode == 0 and "config" in done.stdout.lower()


@pytest.mark.one_backend
def test_print_config_explains_every_setting(idle):
    done = run("--print-config")
    assert done.returncode == 0
    for key in (
        "default_pool_size",
        "max_overflow",
        "io_backend",
        "workers",
        "query_wait_timeout",
        "cancel_on_disconnect",
    ):
        assert key in done.stdout


@pytest.mark.one_backend
def test_a_busy_port_is_told(weir_factory):
    first = weir_factory()
    second = weir_factory(start=False)
    second.settings["listen_port"] = first.port
    second.write()
    done = run(second.path("weir.ini"))
    assert done.returncode == 1 and str(first.port) in done.stdout + done.stderr


@pytest.mark.one_backend
def test_the_file_limit_is_raised_to_its_hard_bound(weir):
    with open(f"/proc/{weir.process.pid}/limits") as limits:
        soft, hard = next(line for line in limits if line.startswith("Max open files")).split()[3:5]
    assert soft == hard


@pytest.mark.one_backend
def test_a_postgres_address_instead_of_a_file(postgres, tmp_path):
    """It listens on 127.0.0.1:6432; where that is taken, the test has nothing to say."""
    import socket

    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1", 6432)) == 0:
            pytest.skip("something listens on 127.0.0.1:6432")
    arguments = ["-u", unprivileged_user()] if unprivileged_user() else []
    process = subprocess.Popen(
        [weir_binary(), *arguments, f"postgres://scramuser:{PASSWORD}@127.0.0.1:{postgres.port}/app"],
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        cwd="/tmp",
    )
    try:

        def log_in():
            try:
                return wire.Connection(("127.0.0.1", 6432)).login("scramuser", "app", PASSWORD)
            except ConnectionRefusedError:
                return None

        with wait_until(log_in, "it listens on 6432") as client:
            assert client.value("select current_user") == "scramuser"
        with pytest.raises(wire.ServerError):
            wire.Connection(("127.0.0.1", 6432)).login("scramuser", "app", "wrong")
    finally:
        process.send_signal(signal.SIGQUIT)
        assert process.wait(10) == 0


@pytest.mark.one_backend
def test_a_postgres_address_that_is_none_is_told(idle):
    done = run("postgres://user:secret-word@host:notaport/db")
    assert done.returncode == 1 and "secret-word" not in done.stderr + done.stdout


# Files


@pytest.mark.one_backend
def test_the_pidfile_holds_the_pid_and_goes_at_the_end(idle):
    idle.settings["pidfile"] = idle.path("weir.pid")
    idle.start()
    with open(idle.path("weir.pid")) as file:
        assert file.read() == f"{idle.process.pid}\n"
    idle.signal(signal.SIGQUIT)
    assert idle.wait_for_exit() == 0
    assert not os.path.exists(idle.path("weir.pid"))


@pytest.mark.one_backend
def test_a_second_process_with_the_same_pidfile_is_refused(weir_factory):
    first = weir_factory(start=False)
    first.settings["pidfile"] = first.path("weir.pid")
    first.start()
    second = weir_factory(start=False, pidfile=first.path("weir.pid"))
    second.write()
    done = run(second.path("weir.ini"))
    assert done.returncode == 1 and "another instance running" in done.stdout + done.stderr
    assert first.connect().value("select 1") == 1


@pytest.mark.one_backend
def test_a_stale_pidfile_is_removed(idle):
    ended = subprocess.Popen(["true"])
    ended.wait()
    idle.settings["pidfile"] = idle.path("weir.pid")
    with open(idle.path("weir.pid"), "w") as file:
        file.write(f"{ended.pid}\n")
    os.chmod(idle.path("weir.pid"), 0o666)
    idle.start()
    assert "stale pidfile, removing" in idle.log()


def test_clients_come_by_the_unix_socket(weir):
    with weir.raw_unix() as client:
        assert client.login("app", "app").value("select current_user") == "app"


@pytest.mark.one_backend
def test_the_unix_socket_has_its_mode_and_goes_at_the_end(idle):
    idle.settings["unix_socket_mode"] = "0700"
    idle.start()
    path = idle.path(f".s.PGSQL.{idle.port}")
    assert os.stat(path).st_mode & 0o777 == 0o700
    idle.signal(signal.SIGQUIT)
    idle.wait_for_exit()
    assert not os.path.exists(path)


@pytest.mark.one_backend
def test_a_logfile_gets_the_same_lines(idle):
    idle.settings["logfile"] = idle.path("own.log")
    idle.start()
    with open(idle.path("own.log")) as file:
        assert "process up" in file.read()


@pytest.mark.one_backend
def test_daemon_mode_leaves_a_pidfile_and_a_log(idle):
    idle.settings |= {"pidfile": idle.path("weir.pid"), "logfile": idle.path("own.log")}
    idle.write()
    done = run("-d", idle.path("weir.ini"))
    assert done.returncode == 0, done.stderr
    wait_until(
        lambda: os.path.exists(idle.path("weir.pid")) and open(idle.path("weir.pid")).read().strip(),
        "the pidfile is written",
    )
    pid = int(open(idle.path("weir.pid")).read())
    try:
        wait_until(lambda: "process up" in open(idle.path("own.log")).read(), "it is up")
        assert idle.connect().value("select 1") == 1
        assert os.getsid(pid) != os.getsid(0)
    finally:
        os.kill(pid, signal.SIGQUIT)
        wait_until(lambda: not os.path.exists(idle.path("weir.pid")), "it has ended")


@pytest.mark.one_backend
def test_systemd_is_told_ready_reloading_and_stopping(idle, monkeypatch):
    import socket

    path = idle.path("notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.bind(path)
        os.chmod(path, 0o777)
        notify.settimeout(15)
        monkeypatch.setenv("NOTIFY_SOCKET", path)
        idle.start()

        def wait_for(word: bytes) -> None:
            while word not in notify.recv(4096):
                pass

        wait_for(b"READY=1")
        idle.signal(signal.SIGHUP)
        wait_for(b"RELOADING=1")
        wait_for(b"READY=1")
        idle.signal(signal.SIGTERM)
        wait_for(b"STOPPING=1")
        assert idle.wait_for_exit() == 0
