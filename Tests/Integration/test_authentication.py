"""Clients prove who they are in every way that is offered; those who cannot learn nothing; servers are logged in to."""

from __future__ import annotations

import struct

import pytest

import wire
from postgres import PASSWORD
from waiting import wait_until


def md5_secret(user: str) -> str:
    import hashlib

    return "md5" + hashlib.md5((PASSWORD + user).encode()).hexdigest()


def refusal(weir, user: str, password: str, database: str = "app") -> wire.ServerError:
    with pytest.raises(wire.ServerError) as raised:
        weir.raw().login(user, database, password)
    assert raised.value.severity == "FATAL"
    return raised.value


def scram_secret(postgres, user: str = "scramuser") -> str:
    return postgres.value("select rolpassword from pg_authid where rolname = %s", (user,))


def test_trust_asks_nothing_of_a_known_user(weir):
    assert weir.connect("app").value("select current_user") == "app"


def test_trust_refuses_an_unknown_user(weir):
    with pytest.raises(wire.ServerError) as raised:
        weir.connect("stranger")
    assert raised.value.severity == "FATAL" and raised.value.sqlstate in ("28000", "28P01")


def test_any_lets_everybody_in_as_the_forced_user(weir_factory, postgres):
    weir = weir_factory(
        auth_type="any", databases={"app": f"host=127.0.0.1 port={postgres.port} user=app password={PASSWORD}"}
    )
    assert weir.connect("whoever").value("select current_user") == "app"


@pytest.mark.every_backend
@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_a_password_is_proven(weir_factory, auth_type):
    weir = weir_factory(auth_type=auth_type)
    assert weir.connect("app", password=PASSWORD).value("select current_user") == "app"
    with weir.psycopg(user="app") as connection:
        assert connection.execute("select 1").fetchone() == (1,)


@pytest.mark.parametrize("auth_type", ["plain", "md5", "scram-sha-256"])
def test_a_wrong_password_and_an_unknown_user_look_the_same(weir_factory, auth_type):
    weir = weir_factory(auth_type=auth_type)
    wrong, unknown = refusal(weir, "app", "wrong"), refusal(weir, "stranger", "wrong")
    assert wrong.sqlstate == unknown.sqlstate == "28P01"
    assert wrong.message.replace("app", "?") == unknown.message.replace("stranger", "?")
    assert "authentication failed" in wrong.message
    assert weir.connect("app", password=PASSWORD).value("select 1") == 1


def test_an_unknown_user_is_shown_the_same_salt_each_time(weir_factory):
    """A salt that changes from try to try would tell that the user is made up."""
    weir = weir_factory(auth_type="scram-sha-256")

    def salt(user: str) -> tuple[str, str]:
        client = weir.raw()
        client.send(wire.startup(user=user, database="app"))
        assert client.read().body[4:].startswith(b"SCRAM-SHA-256\0")
        initial = b"n,,n=,r=abcdefghijklmnopqr"
        client.send(wire.message("p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(initial)) + initial))
        parts = dict(part.split("=", 1) for part in client._sasl_reply(11).split(","))
        assert parts["r"].startswith("abcdefghijklmnopqr") and len(parts["r"]) > 30
        return parts["s"], parts["i"]

    assert salt("stranger") == salt("stranger")
    assert salt("stranger")[0] != salt("another")[0]
    assert salt("stranger")[1] == salt("app")[1]
    assert len(salt("stranger")[0]) == len(salt("app")[0])


def test_an_unknown_database_is_told_only_after_the_password(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256")
    assert refusal(weir, "app", "wrong", "nowhere").sqlstate == "28P01"
    error = refusal(weir, "app", PASSWORD, "nowhere")
    assert error.sqlstate == "3D000" and "no such database: nowhere" in error.message


@pytest.mark.parametrize("auth_type", ["md5", "plain"])
def test_an_md5_secret_in_the_auth_file(weir_factory, auth_type):
    weir = weir_factory(auth_type=auth_type, userlist={"md5user": md5_secret("md5user")})
    assert weir.connect("md5user", password=PASSWORD).value("select current_user") == "md5user"
    assert refusal(weir, "md5user", "wrong").sqlstate == "28P01"


@pytest.mark.every_backend
@pytest.mark.parametrize("auth_type", ["scram-sha-256", "md5"])
def test_a_scram_secret_in_the_auth_file_opens_the_server_too(weir_factory, postgres, auth_type):
    """Weir has no password for the server: it uses the key learnt from the client's own login."""
    weir = weir_factory(auth_type=auth_type, userlist={"scramuser": scram_secret(postgres)})
    assert weir.connect("scramuser", password=PASSWORD).value("select current_user") == "scramuser"
    assert refusal(weir, "scramuser", "wrong").sqlstate == "28P01"
    assert weir.connect("scramuser", password=PASSWORD).value("select 1") == 1


def test_a_plain_password_opens_servers_of_every_kind(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256")
    for user in ("md5user", "scramuser", "plainuser", "app"):
        assert weir.connect(user, password=PASSWORD).value("select current_user") == user


def test_a_wrong_server_password_is_the_servers_own_error(weir_factory, postgres):
    weir = weir_factory(databases={"app": f"host=127.0.0.1 port={postgres.port} user=scramuser password=wrong"})
    with pytest.raises(wire.ServerError) as raised:
        weir.connect("app")
    assert raised.value.sqlstate == "28P01"
    assert 'password authentication failed for user "scramuser"' in raised.value.message


@pytest.mark.parametrize("user", ["md5user", "scramuser", "plainuser"])
def test_a_forced_user_of_the_database(weir_factory, postgres, user):
    forced = f"host=127.0.0.1 port={postgres.port} user={user} password={PASSWORD} pool_size=1"
    weir = weir_factory(databases={"app": forced})
    assert weir.connect("other").value("select current_user") == user
    assert weir.connect("third").value("select current_user") == user
    assert [row["user"] for row in weir.show("POOLS", database="app")] == [user], "they share one pool"
    assert postgres.server_count("app") == 1


def test_a_scram_login_needs_a_plain_or_scram_secret(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256", userlist={"app": md5_secret("app")})
    assert refusal(weir, "app", PASSWORD).sqlstate == "28P01"


@pytest.mark.parametrize(
    "mechanism, initial",
    [
        (b"SCRAM-SHA-256-PLUS", b"p=tls-server-end-point,,n=,r=abcdefghijklmnopqr"),
        (b"NTLM", b"n,,n=,r=abcdefghijklmnopqr"),
        (b"SCRAM-SHA-256", b""),
        (b"SCRAM-SHA-256", b"n,,"),
        (b"SCRAM-SHA-256", b"n,,n=,r="),
        (b"SCRAM-SHA-256", b"p=tls-unique,,n=,r=abcdefghijklmnopqr"),
        (b"SCRAM-SHA-256", b"n,a=admin,n=,r=abcdefghijklmnopqr"),
        (b"SCRAM-SHA-256", b"n,,m=ext,n=,r=abcdefghijklmnopqr"),
        (b"SCRAM-SHA-256", b"\xff\xfe\xfd"),
        (b"SCRAM-SHA-256", b"n,,n=,r=" + b"x" * 60_000),
    ],
    ids=["plus", "ntlm", "empty", "no-first", "no-nonce", "binding", "authzid", "extension", "not-utf8", "long"],
)
@pytest.mark.one_backend
def test_a_malformed_first_sasl_message_is_refused(weir_factory, mechanism, initial):
    weir = weir_factory(auth_type="scram-sha-256")
    client = weir.raw()
    client.send(wire.startup(user="app", database="app"))
    client.read()
    client.send(wire.message("p", mechanism + b"\0" + struct.pack("!i", len(initial)) + initial))
    messages = b""
    try:
        reply = client.read()
        if reply.type == "R":
            client.send(wire.message("p", b"c=biws,r=wrong,p=AAAA"))
            reply = client.read()
        messages += reply.type.encode()
    except EOFError:
        pass
    assert messages in (b"", b"E")
    assert client.is_closed_by_peer()
    assert weir.connect("app", password=PASSWORD).value("select 1") == 1


@pytest.mark.parametrize(
    "final", ["c=biws,r=other,p=AAAA", "c=eSws", "r=", "c=biws,r={r},p=", "c=biws,r={r},p=!!!!", "c=biws,r={r},p=AAAA"]
)
@pytest.mark.one_backend
def test_a_malformed_final_sasl_message_is_refused(weir_factory, final):
    weir = weir_factory(auth_type="scram-sha-256")
    client = weir.raw()
    client.send(wire.startup(user="app", database="app"))
    client.read()
    initial = b"n,,n=,r=abcdefghijklmnopqr"
    client.send(wire.message("p", b"SCRAM-SHA-256\0" + struct.pack("!i", len(initial)) + initial))
    nonce = client._sasl_reply(11).split(",")[0][2:]
    client.send(wire.message("p", final.replace("{r}", nonce).encode()))
    reply = client.read()
    assert reply.type == "E" and wire.error_fields(reply.body)["S"] == "FATAL"
    assert client.is_closed_by_peer()


@pytest.mark.one_backend
def test_an_empty_password_is_refused(weir_factory):
    weir = weir_factory(auth_type="plain", userlist={"other": ""})
    assert refusal(weir, "other", "").severity == "FATAL"


def test_the_auth_file_is_read_again_on_reload(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256")
    client = weir.connect("app", password=PASSWORD)
    weir.userlist["app"] = "changed"
    weir.userlist["other"] = "fresh"
    weir.reload()
    assert client.value("select 1") == 1, "a connected client stays"
    assert refusal(weir, "app", PASSWORD).sqlstate == "28P01"
    assert weir.connect("app", password="changed").value("select 1") == 1
    assert weir.connect("other", password="fresh").value("select 1") == 1


def test_a_broken_auth_file_changes_nothing(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256")
    with open(weir.path("userlist.txt"), "w") as file:
        file.write('"app" "changed"\n"broken\n')
    with weir.console() as console, pytest.raises(wire.ServerError):
        console.query("RELOAD")
    assert weir.connect("app", password=PASSWORD).value("select 1") == 1


def test_a_user_taken_out_of_the_auth_file_cannot_log_in_again(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256")
    assert weir.connect("other", password=PASSWORD).value("select 1") == 1
    del weir.userlist["other"]
    weir.reload()
    assert refusal(weir, "other", PASSWORD).sqlstate == "28P01"


def test_no_secret_is_ever_logged(weir_factory, postgres):
    weir = weir_factory(
        auth_type="md5",
        userlist={"md5user": md5_secret("md5user"), "scramuser": scram_secret(postgres)},
        verbose=2,
        databases={"second": f"host=127.0.0.1 port={postgres.port} user=app password=hush-{PASSWORD}"},
    )
    for user in ("app", "md5user", "scramuser"):
        weir.connect(user, password=PASSWORD).value("select 1")
        refusal(weir, user, "guess-4711")
    weir.admin("SHOW CONFIG")
    log = weir.log()
    for secret in (f"hush-{PASSWORD}", "guess-4711", md5_secret("md5user")[3:], scram_secret(postgres)[14:]):
        assert secret not in log
    assert PASSWORD not in log


@pytest.mark.sanitizer_short
@pytest.mark.every_backend
def test_a_storm_of_logins_does_not_stall_a_client(weir_factory):
    """Fifty SCRAM logins at once; a client that is logged in keeps getting answers meanwhile."""
    import threading
    import time

    weir = weir_factory(auth_type="scram-sha-256")
    client = weir.connect(password=PASSWORD)
    client.value("select 1")
    problems = []

    def log_in():
        try:
            weir.connect(password=PASSWORD, timeout=40).value("select 1")
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=log_in) for _ in range(50)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        start = time.monotonic()
        client.value("select 1")
        slowest = max(slowest, time.monotonic() - start)
    assert not problems
    assert slowest < 2


def test_a_client_that_leaves_during_its_login_is_forgotten(weir_factory):
    weir = weir_factory(auth_type="scram-sha-256")
    for _ in range(20):
        client = weir.raw()
        client.send(wire.startup(user="app", database="app"))
        client.read()
        client.reset()
    wait_until(lambda: weir.show("LISTS", list="login_clients")[0]["items"] == 0, "no client is logging in")
    assert weir.connect(password=PASSWORD).value("select 1") == 1
