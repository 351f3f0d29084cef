"""Servers are found by name, by list and by several addresses."""

from __future__ import annotations

import pytest

import wire
from faultproxy import FaultProxy
from postgres import free_port
from waiting import Stopwatch, wait_until
from wire import query


@pytest.fixture
def two_hosts(postgres):
    """Proxies to the same PostgreSQL on 127.0.0.2 and 127.0.0.3, on one port."""
    first = FaultProxy(postgres.port, "127.0.0.2", free_port())
    second = FaultProxy(postgres.port, "127.0.0.3", first.port)
    yield first, second
    first.close()
    second.close()


def hold(weir, count: int) -> None:
    for _ in range(count):
        weir.connect().query("begin")


def test_new_servers_go_round_the_list_of_hosts(weir_factory, two_hosts):
    first, second = two_hosts
    weir = weir_factory(databases={"app": f"host=127.0.0.2,127.0.0.3 port={first.port}"})
    hold(weir, 4)
    assert (len(first.open_links), len(second.open_links)) == (2, 2)


def test_without_load_balancing_the_first_host_has_all(weir_factory, two_hosts):
    first, second = two_hosts
    weir = weir_factory(databases={"app": f"host=127.0.0.2,127.0.0.3 port={first.port} load_balance_hosts=disable"})
    hold(weir, 3)
    assert (len(first.open_links), len(second.open_links)) == (3, 0)


@pytest.mark.parametrize("balance", ["round-robin", "disable"])
def test_the_next_host_is_tried_when_one_is_down(weir_factory, two_hosts, balance):
    first, second = two_hosts
    first.refuse()
    weir = weir_factory(databases={"app": f"host=127.0.0.2,127.0.0.3 port={first.port} load_balance_hosts={balance}"})
    assert weir.connect(timeout=20).value("select 1") == 1
    assert len(second.open_links) == 1


def test_a_host_is_found_by_name(weir_factory, postgres):
    weir = weir_factory(databases={"app": f"host=localhost port={postgres.port}"})
    assert weir.connect().value("select 1") == 1


def test_a_name_that_does_not_exist_is_told(weir_factory):
    weir = weir_factory(
        databases={"lost": "host=no-such-host.invalid port=5432"}, query_wait_timeout=4, client_login_timeout=6
    )
    with pytest.raises(wire.ServerError) as raised:
        weir.connect(database="lost")
    assert raised.value.sqlstate == "08001"
    weir.wait_for_log("server DNS lookup failed")
    assert weir.connect().value("select 1") == 1


@pytest.mark.every_backend
def test_a_client_is_told_each_time_that_its_server_has_no_address_any_more(weir_factory):
    """While the name is known not to exist an attempt fails at once, before the client has begun to wait."""
    weir = weir_factory(server_login_retry=0.1)
    client = weir.connect()
    assert client.value("select 1") == 1
    weir.databases["app"] = "host=no-such-host.invalid port=5432"
    weir.reload()

    def attempts() -> int:
        assert [error.sqlstate for error in client.exchange(query("select 2")).errors] == ["08001"]
        return weir.log().count("server login failed")

    wait_until(lambda: attempts() >= 4, "several attempts have failed")


def test_other_clients_are_served_while_a_name_is_looked_up(weir_factory):
    weir = weir_factory(databases={"lost": "host=no-such-host.invalid port=5432"}, query_wait_timeout=3)
    client = weir.connect()
    client.value("select 1")
    lost = weir.raw()
    lost.send(wire.startup(user="app", database="lost"))
    with Stopwatch() as watch:
        for number in range(20):
            assert client.value(f"select {number}") == number
    assert watch.seconds < 1


@pytest.mark.one_backend
def test_several_listen_addresses(weir_factory):
    weir = weir_factory(listen_addr="127.0.0.1, 127.0.0.9")
    with wire.Connection(("127.0.0.9", weir.port)) as client:
        assert client.login("app", "app").value("select 1") == 1
    assert weir.connect().value("select 1") == 1
