"""What the tests of session settings share: two clients on one server, and what each is shown."""

from __future__ import annotations

from wire import extended


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
