"""What the tests of session settings share: two clients on one server, and what each is shown."""

from __future__ import annotations

import pytest

import wire
from wire import extended

# A value that is quoted right or not at all.
ODD = "it's \\ 100% \n\t \"é\" $1; drop table t -- /* \U0001f40d"


def pair(weir_factory, **settings):
    """A Weir with one server, and two clients of it."""
    weir = weir_factory(default_pool_size=1, **settings)
    return weir, weir.connect(), weir.connect()


def shown(client, name: str):
    return client.value(f"select current_setting('{name}', true)")


def check_follows(client, other, name: str, value: str, default) -> None:
    """The client has its value and the other has not, turn by turn on the same server."""
    for _ in range(3):
        assert shown(client, name) == value
        assert client.exchange(extended(f"select current_setting('{name}')")).value == value
        assert shown(other, name) in ((default, "") if default is None else (default,))
        assert other.exchange(extended("select current_setting($1, true)", name)).value in (default, "")


def directly(postgres, **parameters) -> wire.Connection:
    """The same start-up packet to PostgreSQL itself."""
    return wire.Connection(("127.0.0.1", postgres.port)).login("app", "app", None, **parameters)


def refusal(connect, **parameters) -> wire.ServerError:
    """The FATAL error at the login or at the first query."""
    with pytest.raises(wire.ServerError) as raised:
        connect(**parameters).query("select 1")
    assert raised.value.severity == "FATAL"
    return raised.value
