"""Ten thousand clients on twenty servers."""

from __future__ import annotations

import asyncio
import resource
import struct

import pytest

import wire

CLIENTS = 10_000
SERVERS = 20
# Weir has a descriptor for each client and so has the test.
DESCRIPTORS = CLIENTS + 500


async def read_until_ready(reader: asyncio.StreamReader) -> bytes:
    """The bodies of all DataRows up to ReadyForQuery."""
    rows = b""
    while True:
        header = await reader.readexactly(5)
        (length,) = struct.unpack("!i", header[1:])
        body = await reader.readexactly(length - 4)
        kind = header[:1]
        if kind == b"E":
            raise wire.ServerError(wire.error_fields(body))
        if kind == b"D":
            rows += body
        if kind == b"Z":
            return rows


@pytest.mark.no_sanitizer
@pytest.mark.every_backend
@pytest.mark.timeout(180)
def test_ten_thousand_clients_on_a_pool_of_twenty(weir_factory, postgres):
    if resource.getrlimit(resource.RLIMIT_NOFILE)[1] < DESCRIPTORS:
        pytest.skip(f"the hard limit of open files is below {DESCRIPTORS}")
    weir = weir_factory(
        default_pool_size=SERVERS,
        max_client_conn=CLIENTS + 100,
        listen_backlog=1024,
        query_wait_timeout=120,
        log_connections=0,
        log_disconnections=0,
    )
    most = 0

    async def main() -> None:
        nonlocal most
        gate = asyncio.Semaphore(200)
        clients: list[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = []

        async def log_in() -> None:
            async with gate:
                reader, writer = await asyncio.open_connection("127.0.0.1", weir.port, limit=4096)
                writer.write(wire.startup(user="app", database="app"))
                await read_until_ready(reader)
                clients.append((reader, writer))

        async def ask(number: int) -> None:
            reader, writer = clients[number]
            writer.write(wire.query(f"select {number}"))
            assert (await read_until_ready(reader))[6:] == str(number).encode()

        await asyncio.gather(*(log_in() for _ in range(CLIENTS)))
        assert len(clients) == CLIENTS
        asking = asyncio.gather(*(ask(number) for number in range(CLIENTS)))
        while not asking.done():
            most = max(most, postgres.server_count("app"))
            await asyncio.wait([asking], timeout=0.05)
        await asking
        for _, writer in clients:
            writer.transport.abort()

    asyncio.run(main())
    assert most <= SERVERS
    assert weir.connect().value("select 1") == 1
