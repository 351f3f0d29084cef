"""LISTEN when the listening connection is there and does not answer: it is replaced, and who waits may give up."""

from __future__ import annotations

import os
import signal

import pytest

import wire
from listening import heard, listeners, warning
from waiting import wait_until
from wire import query

pytestmark = pytest.mark.every_backend


class Stopped:
    """The backend of the listening connection does not run in the meantime."""

    def __init__(self, postgres):
        self.pid = listeners(postgres)[0]["pid"]

    def __enter__(self):
        os.kill(self.pid, signal.SIGSTOP)

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGCONT)


def test_a_listening_connection_that_goes_silent_is_replaced(weir_factory, postgres, direct):
    weir = weir_factory(server_check_delay=1, server_connect_timeout=1)
    client, other = weir.connect(), weir.connect()
    client.query("listen a")
    with Stopped(postgres):
        assert warning(client).message == 'notifications on channel "a" may have been missed'
        direct.query("notify a, 'again'")
        assert heard(client) == [("a", "again")]
        assert other.query("listen b").tags == ["LISTEN"]
    assert "does not answer" in weir.log()


def test_a_listen_that_gets_no_answer_waits_for_the_next_connection(weir_factory, postgres, direct):
    weir = weir_factory(server_check_delay=30, server_connect_timeout=1)
    client, listener = weir.connect(), weir.connect()
    listener.query("listen kept")
    with Stopped(postgres):
        assert client.query("listen a").tags == ["LISTEN"]
    direct.query("notify a")
    assert heard(client) == [("a", "")]
    assert warning(listener).message == 'notifications on channel "kept" may have been missed'


def test_a_listening_connection_that_answers_stays(weir_factory, postgres, direct):
    weir = weir_factory(server_check_delay=1, server_connect_timeout=1)
    client = weir.connect()
    client.query("listen a")
    (before,) = listeners(postgres)
    # What asks whether it is there is an empty query.
    wait_until(lambda: listeners(postgres)[0]["query"] == "", "it is asked")
    client.query("listen b")
    wait_until(lambda: listeners(postgres)[0]["query"] == "", "it is asked again")
    direct.query("notify a; notify b")
    assert heard(client, 2) == [("a", ""), ("b", "")]
    assert [server["pid"] for server in listeners(postgres)] == [before["pid"]]


# While a LISTEN waits for it


def gives_up_in_time(client: wire.Connection) -> None:
    assert client.result().errors[0].message == "query_wait_timeout"


def cancels(client: wire.Connection) -> None:
    client.cancel()
    assert client.result().errors[0].sqlstate == "57014"


def leaves(client: wire.Connection) -> None:
    client.close()


@pytest.mark.parametrize("give_up", [gives_up_in_time, cancels, leaves])
def test_a_channel_whose_listen_gets_no_server_is_wanted_no_more(weir_factory, postgres, direct, give_up):
    weir = weir_factory(default_pool_size=1, query_wait_timeout=1 if give_up is gives_up_in_time else 0)
    client, other, listener = weir.connect(), weir.connect(), weir.connect()
    listener.query("listen kept")
    with Stopped(postgres):
        # While the LISTEN waits for the connection that listens, another client takes the only server.
        client.send(query("select 1") + query("listen a"))
        assert client.result().value == 1
        other.query("begin")
    weir.wait_for_pool(cl_waiting=1)
    give_up(client)
    wait_until(lambda: listeners(postgres)[0]["query"] == 'UNLISTEN "a"', "nobody wants the channel")
    other.query("commit")
    if give_up is not leaves:
        assert client.query("listen b").tags == ["LISTEN"]
        direct.query("notify a; notify b")
        assert heard(client) == [("b", "")]


@pytest.mark.parametrize("give_up", [cancels, leaves])
def test_a_channel_whose_listen_is_given_up_is_wanted_no_more(weir_factory, postgres, direct, give_up):
    weir = weir_factory(default_pool_size=1)
    client, listener = weir.connect(), weir.connect()
    listener.query("listen kept")
    with Stopped(postgres):
        client.send(query("select 1") + query("listen a"))
        assert client.result().value == 1
        give_up(client)
    wait_until(lambda: listeners(postgres)[0]["query"] == 'UNLISTEN "a"', "nobody wants the channel")


def test_a_canceled_listen_that_gets_no_server_fails_no_other(weir_factory, postgres, direct):
    weir = weir_factory(default_pool_size=1, query_wait_timeout=1)
    client, other, listener = weir.connect(), weir.connect(), weir.connect()
    listener.query("listen kept")
    with Stopped(postgres):
        client.send(query("select 1") + query("listen a"))
        assert client.result().value == 1
        other.query("begin")
        client.cancel()
        # The error of the LISTEN waits for a server, too.
        assert client.result().errors
    other.query("commit")
    assert client.query("listen b").tags == ["LISTEN"]
